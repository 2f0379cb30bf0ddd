//! Tasks are spawned faster than they can be run.

use std::time::Duration;

use crate::{
    diagnose::{
        Finding, Severity,
        words::{counted, human},
    },
    model::{Capability, SiteKey, TaskKind},
};

use super::{Context, Rule};

pub(super) const RULE: Rule = Rule {
    id: "task-flood",
    summary: "tasks are spawned faster than they are run",
    meaning: "One location spawns a task for every item of a large batch, or retries without a \
              pause. All of them are in the queue at once; whatever comes next waits behind them.",
    threshold: "over 1,000 spawns/s from one location, while woken tasks of any kind wait over \
                20 ms (p99) or over 500 tasks are queued",
    evidence: "spawns of the location over the last seconds, delays between wake and poll, queue \
               depth. From outside: tasks of one future type that were seen for the first time, \
               and those that wait for a worker",
    remedy: "bound the work in flight: a Semaphore, or buffer_unordered; back off between retries",
    needs: &[Capability::Tasks],
    rank: 55,
    over_window: false,
    scans_tasks: false,
    explained_by: &["host-starved"],
    explained_here: &[],
    not_judged: |_| None,
    check,
};

const SPAWNS_PER_SECOND: f64 = 1_000.0;
const DELAY: Duration = Duration::from_millis(20);
const QUEUED: u64 = 500;

fn check(context: &Context<'_>) -> Vec<Finding> {
    let model = context.model;
    let flooding: Vec<(SiteKey, f64)> = model
        .sites
        .iter()
        .filter(|(key, _)| key.kind != TaskKind::Blocking)
        .filter_map(|(key, site)| Some((*key, site.rates(model.now)?.spawns)))
        .filter(|(_, spawns)| *spawns > SPAWNS_PER_SECOND)
        .collect();
    flooding
        .into_iter()
        .filter_map(|(key, spawns)| finding(context, key, spawns))
        .collect()
}

fn finding(context: &Context<'_>, key: SiteKey, spawns: f64) -> Option<Finding> {
    let model = context.model;
    let own = context
        .memory
        .recent_delay(key, 0.99)
        .map_or(Duration::ZERO, |(delay, _)| delay);
    let delay = own.max(context.lag_p99());
    let waiting = model.waiting_tasks();
    if delay < DELAY && waiting < QUEUED {
        return None;
    }
    let mut tasks = model.tasks.live();
    let one = tasks.find(|task| key.location.is_none() && SiteKey::of(task) == key);
    let mut finding = Finding::about_tasks(RULE.id, Severity::Warning, model, key, one)?;
    finding.count = spawns as u64;
    finding.max = delay;
    let wait = counted(waiting, "task", "wait");
    finding.title = if model.reads_tasks() {
        // Those that came and went between two looks are not among them.
        format!(
            "{} flood the loop: at least {spawns:.0} spawns/s, {wait}",
            finding.tasks_words()
        )
    } else {
        format!(
            "{} floods the loop: {spawns:.0} spawns/s, {wait}, up to {}",
            finding.location,
            human(delay)
        )
    };
    finding.remedy =
        "bound the work in flight: a Semaphore, or buffer_unordered; back off between retries"
            .to_owned();
    Some(finding)
}
