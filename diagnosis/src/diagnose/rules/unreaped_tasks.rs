//! Tasks that ended and whose results nobody takes.

use std::{collections::VecDeque, time::Duration};

use crate::{
    diagnose::{
        Finding, Severity, Subject,
        words::{bytes, more},
    },
    model::{EndedCells, Model, Moment, Site, SiteKey},
};

use super::{Context, Rule, trend};

pub(super) const RULE: Rule = Rule {
    id: "unreaped-tasks",
    summary: "tasks end, and nobody takes their results",
    meaning: "The result of a task is kept, with the task's memory, until its JoinHandle is awaited \
              or dropped. A JoinSet that only ever spawns, or a list of handles that is never \
              looked through, keeps every one of them.",
    threshold: "200 or more ended tasks of one spawn location, or of one future type, hold their \
                result, they have become more in each third of 30 s, and none was taken; or half of \
                all tasks that a location has spawned over a minute or more",
    evidence: "ended tasks that are still held, as the agent counts them in the process's memory",
    remedy: "take the results as they come: JoinSet::join_next in the loop (or try_join_next), or a \
             TaskTracker, which keeps none",
    needs: &[],
    rank: 45,
    over_window: false,
    scans_tasks: false,
    explained_by: &[],
    explained_here: &[],
    not_judged: |context| {
        let counted = context
            .model
            .sites
            .values()
            .any(|site| site.unreaped.is_some())
            || !context.model.ended_cells.is_empty();
        if counted {
            context.too_short(FOR)
        } else {
            None
        }
    },
    check,
};

const FOR: Duration = Duration::from_secs(30);
const LIFE: Duration = Duration::from_mins(1);
const MANY: u64 = 200;

fn check(context: &Context<'_>) -> Vec<Finding> {
    let model = context.model;
    let sites = model.sites.iter();
    let mut findings: Vec<_> = sites
        .filter_map(|(key, site)| of_site(context, *key, site))
        .collect();
    // The same tasks, where their spawn location is not known.
    if findings.is_empty() {
        let cells = model.ended_cells.iter();
        findings.extend(cells.filter_map(|(key, cells)| of_type(context, *key, cells)));
    }
    findings
}

fn of_site(context: &Context<'_>, key: SiteKey, site: &Site) -> Option<Finding> {
    let model = context.model;
    let (location, unreaped) = (key.location?, site.unreaped?);
    let now = model.now;
    let window = model.session.scaled(FOR);
    let steps = context.memory.unreaped.get(&key);
    let grown = steps.and_then(|steps| trend::growth(&steps.iter(), now.minus(window), now));
    let life = site.first_spawn.map(|first| now.since(first));
    let kept = life.is_some_and(|life| life >= model.session.scaled(LIFE))
        && steps.is_some_and(becomes_more)
        && unreaped.saturating_mul(2) >= site.spawned;
    if unreaped < MANY || (grown.is_none() && !kept) {
        return None;
    }
    let per_second = match (grown, life) {
        (Some(grown), _) => grown / window.as_secs_f64(),
        (_, Some(life)) => unreaped as f64 / life.as_secs_f64().max(1.0),
        (None, None) => return None,
    };
    let mut finding = Finding::about_site(RULE.id, Severity::Warning, model, location);
    finding.first_seen = site.first_spawn.unwrap_or(now);
    let who = format!("tasks spawned at {}", finding.location);
    complete(
        &mut finding,
        &who,
        unreaped,
        site.unreaped_bytes,
        per_second,
    );
    Some(finding)
}

fn of_type(context: &Context<'_>, key: (u32, u64, u32), cells: &EndedCells) -> Option<Finding> {
    let model = context.model;
    let window = model.session.scaled(FOR);
    let counted = cells.counted_at;
    let steps = context.memory.ended_cells.get(&key);
    let grown = steps.and_then(|s| trend::growth(&s.iter(), counted.minus(window), counted));
    // Between its first count and the last, more came than there were.
    let life = counted.since(cells.first_counted_at);
    let added = cells.count.saturating_sub(cells.first_count);
    let kept = life >= model.session.scaled(LIFE)
        && steps.is_some_and(becomes_more)
        && added >= cells.first_count.max(MANY);
    if cells.count < MANY || (grown.is_none() && !kept) {
        return None;
    }
    let per_second = match grown {
        Some(grown) => grown / window.as_secs_f64(),
        None => added as f64 / life.as_secs_f64().max(1.0),
    };
    let name = type_name(model, cells);
    let place = cells
        .location
        .filter(|l| model.location(Some(*l)).is_some());
    let mut finding = if let Some(location) = place {
        Finding::about_site(RULE.id, Severity::Warning, model, location)
    } else {
        let subject = Subject::Named(name.clone());
        Finding::new(RULE.id, Severity::Warning, subject, model.now)
    };
    finding.task_name.clone_from(&name);
    finding.first_seen = cells.first_counted_at;
    let who = match (name.as_str(), finding.location.as_str()) {
        ("", "") => "tasks".to_owned(),
        (name, "") => format!("tasks of {name}"),
        (_, location) => format!("tasks spawned at {location}"),
    };
    complete(
        &mut finding,
        &who,
        cells.count,
        Some(cells.bytes),
        per_second,
    );
    Some(finding)
}

/// A batch whose handles are awaited one by one keeps many results for long, but
/// no further ones come.
fn becomes_more(steps: &VecDeque<(Moment, f64)>) -> bool {
    let counts = steps.front().zip(steps.back());
    counts.is_some_and(|((_, first), (_, last))| last > first)
}

/// The future's function, or what the agent calls it.
fn type_name(model: &Model, cells: &EndedCells) -> String {
    let culprit = cells.resolved.as_ref().and_then(|r| r.culprit.as_ref());
    culprit.map_or_else(
        || model.text(cells.label).to_owned(),
        |culprit| culprit.function.clone(),
    )
}

fn complete(finding: &mut Finding, who: &str, count: u64, held: Option<u64>, per_second: f64) {
    finding.count = count;
    let held = held.map_or(String::new(), |held| {
        format!(", with {} of memory", bytes(held as f64))
    });
    finding.title = format!(
        "{who} ended, and nobody takes their results: {count} are kept{held}, {}",
        more(per_second)
    );
    finding.remedy =
        "take the results as they come (JoinSet::join_next, try_join_next), drop the JoinHandle, or \
         use a TaskTracker"
            .to_owned();
}

/// How many results are kept, as changes over time.
pub(super) fn count_of(site: &Site, now: Moment) -> Option<(Moment, f64)> {
    Some((now, site.unreaped? as f64))
}
