//! Tasks that are spawned and never end.

use std::{collections::VecDeque, time::Duration};

use crate::{
    diagnose::{Finding, Severity},
    model::{Capability, Moment, SiteKey, TaskKind},
};

use super::{Context, Rule, memory::SiteStep};

pub(super) const RULE: Rule = Rule {
    id: "task-leak",
    summary: "live tasks of one location grow without end",
    meaning: "Tasks are spawned and wait for ever: nobody holds or cancels them, their peer never \
              answers, or a channel is never closed. Memory grows with them.",
    threshold: "live tasks of one location have grown for 60 s, in nine of ten steps, by 20 at \
                least, while fewer than one in ten of the new ones ended",
    evidence: "spawned and ended tasks of the location over time",
    remedy: "hold them in a JoinSet or TaskTracker, cancel them, and put a time-out on what they \
             wait for",
    needs: &[Capability::Tasks],
    rank: 40,
    over_window: false,
    scans_tasks: false,
    explained_by: &["task-flood"],
    check,
};

const FOR: Duration = Duration::from_mins(1);
const GROWTH: u64 = 20;

fn check(context: &Context<'_>) -> Vec<Finding> {
    let sites = context
        .memory
        .sites
        .iter()
        .filter(|(key, _)| key.kind != TaskKind::Blocking);
    sites
        .filter_map(|(key, steps)| finding(context, *key, steps))
        .collect()
}

fn finding(context: &Context<'_>, key: SiteKey, steps: &VecDeque<SiteStep>) -> Option<Finding> {
    let model = context.model;
    let window = model.session.scaled(FOR);
    let growth = growth(steps, model.now, window)?;
    let location = key.location?;
    let live = model.sites.get(&key)?.live();
    let mut finding = Finding::about_site(RULE.id, Severity::Warning, model, location);
    finding.count = live;
    let slope = growth as f64 / window.as_secs_f64();
    finding.title = format!(
        "tasks spawned at {} never end: {live} live, {slope:.0} more every second",
        finding.location
    );
    finding.remedy =
        "hold them in a JoinSet or TaskTracker, cancel them, and bound their waits with a time-out"
            .to_owned();
    finding.task = model
        .tasks
        .live()
        .find(|t| t.location == Some(location))
        .map(|t| t.id);
    Some(finding)
}

/// By how much the live tasks grew over `window`, if they did all the time.
fn growth(steps: &VecDeque<SiteStep>, now: Moment, window: Duration) -> Option<u64> {
    let from = now.minus(window);
    let start = steps.iter().rposition(|s| s.at <= from)?;
    let steps: Vec<_> = steps.range(start..).collect();
    let (first, last) = (steps.first()?, steps.last()?);
    let live = |s: &SiteStep| s.spawned.saturating_sub(s.ended);
    let spawned = last.spawned.saturating_sub(first.spawned);
    let ended = last.ended.saturating_sub(first.ended);
    let growth = live(last).saturating_sub(live(first));
    let grew = steps
        .windows(2)
        .filter(|pair| live(pair[1]) > live(pair[0]))
        .count();
    let steady = grew * 10 >= (steps.len() - 1) * 9;
    (steady && steps.len() > 3 && growth >= GROWTH && ended * 10 < spawned).then_some(growth)
}
