//! Tasks that are spawned, wait, and never end.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    diagnose::{
        Finding, Severity,
        words::{human, more},
    },
    model::{Capability, Model, Moment, Site, SiteKey, Task, TaskKind},
};

use super::{Context, Rule, trend};

pub(super) const RULE: Rule = Rule {
    id: "task-leak",
    summary: "tasks of one location wait for ever, and become more",
    meaning: "Tasks are spawned and wait for ever: nobody holds or cancels them, their peer never \
              answers, or a channel is never closed. Memory grows with them.",
    threshold: "20 or more live tasks of one location have done nothing for 20 s; they were spawned \
                over a minute or more up to now, some in each third of that time, however slowly; \
                and fewer than one in ten of all tasks spawned there ended. Tasks that are woken now \
                and then, such as connections that are served, are none, and neither are those that \
                were all spawned at the start, or that queue for a lock",
    evidence: "when each live task was spawned and when it was last woken or polled, which reaches \
               back to the start of the process, and the ended tasks of the location. From \
               outside: the tasks of one future type that came since looptop looks, and were \
               idle at each look",
    remedy: "hold them in a JoinSet or TaskTracker, cancel them, and put a time-out on what they \
             wait for",
    needs: &[Capability::Tasks],
    rank: 40,
    over_window: false,
    scans_tasks: true,
    explained_by: &["task-flood"],
    explained_here: &["lock-convoy"],
    not_judged,
    check,
};

/// A leak goes on for so long.
const FOR: Duration = Duration::from_mins(1);
/// Who has done nothing for so long is not being served.
const QUIET: Duration = Duration::from_secs(20);
const MANY: usize = 20;

/// A young process has no old tasks.
fn not_judged(context: &Context<'_>) -> Option<String> {
    let model = context.model;
    if model.reads_tasks() {
        // Only of tasks that came since is it known when they came.
        let observed = model.now.since(model.since.unwrap_or_default());
        let needed = model.session.scaled(FOR + QUIET);
        return (observed < needed).then(|| {
            format!(
                "from outside it needs {:.0} s, and {:.1} s were observed",
                needed.as_secs_f64(),
                observed.as_secs_f64()
            )
        });
    }
    if !model.session.has(Capability::Wakes) {
        // Since when a task is idle is only known from when it was first seen.
        if let Some(reason) = context.too_short(QUIET) {
            return Some(reason);
        }
    }
    let (needed, age) = (
        model.session.scaled(FOR + QUIET),
        model.session.uptime(model.now),
    );
    (age < needed).then(|| {
        format!(
            "it needs {:.0} s, and the process is {:.0} s old",
            needed.as_secs_f64(),
            age.as_secs_f64()
        )
    })
}

/// Tasks of one location that do nothing.
#[derive(Default)]
struct Quiet<'a> {
    spawned: Vec<Moment>,
    longest: Option<(Duration, &'a Task)>,
}

fn check(context: &Context<'_>) -> Vec<Finding> {
    let model = context.model;
    let quiet = model.session.scaled(QUIET);
    let mut sites: BTreeMap<SiteKey, Quiet<'_>> = BTreeMap::new();
    for task in model.tasks.live() {
        let is_task = matches!(task.kind, TaskKind::Task | TaskKind::Local);
        let key = SiteKey::of(task);
        let has_place = key.location.is_some() || key.future.is_some();
        let (true, None, true) = (is_task, task.lock_wait(), has_place) else {
            continue;
        };
        let Some(idle) = task.idle_for(model.now).filter(|idle| *idle >= quiet) else {
            continue;
        };
        // Those that were there when looptop came may be of any age.
        let Some(spawned_at) = task.spawned_at() else {
            continue;
        };
        let site = sites.entry(key).or_default();
        site.spawned.push(spawned_at);
        if site.longest.is_none_or(|(longest, _)| idle > longest) {
            site.longest = Some((idle, task));
        }
    }
    sites
        .into_iter()
        .filter_map(|(key, quiet)| finding(model, key, &quiet))
        .collect()
}

fn finding(model: &Model, key: SiteKey, quiet: &Quiet<'_>) -> Option<Finding> {
    let site = model.sites.get(&key);
    let ends = site.is_some_and(|site| site.ended * 10 >= site.spawned);
    let window = model.session.scaled(FOR);
    // The youngest are not quiet yet.
    let until = model.now.minus(model.session.scaled(QUIET));
    if quiet.spawned.len() < MANY || ends || !trend::is_spread(&quiet.spawned, until, window) {
        return None;
    }
    let (longest, task) = quiet.longest?;
    let first = quiet.spawned.iter().min()?;
    let live = site.map_or(quiet.spawned.len() as u64, Site::live);
    let mut finding = Finding::about_tasks(RULE.id, Severity::Warning, model, key, Some(task))?;
    finding.count = live;
    finding.max = longest;
    finding.first_seen = *first;
    let slope = quiet.spawned.len() as f64 / until.since(*first).as_secs_f64().max(1e-3);
    finding.title = format!(
        "{} never end: {live} live, {}, {} for up to {}",
        finding.tasks_words(),
        more(slope),
        if model.reads_tasks() {
            "seen idle only,"
        } else {
            "idle"
        },
        human(longest)
    );
    finding.remedy =
        "hold them in a JoinSet or TaskTracker, cancel them, and bound their waits with a time-out"
            .to_owned();
    finding.task = Some(task.id);
    Some(finding)
}
