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
               depth",
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
    let location = key.location?;
    let own = context
        .memory
        .recent_delay(key, 0.99)
        .map_or(Duration::ZERO, |(delay, _)| delay);
    let delay = own.max(context.lag_p99());
    let waiting = model.waiting_tasks();
    if delay < DELAY && waiting < QUEUED {
        return None;
    }
    let mut finding = Finding::about_site(RULE.id, Severity::Warning, model, location);
    finding.count = spawns as u64;
    finding.max = delay;
    finding.title = format!(
        "{} floods the loop: {spawns:.0} spawns/s, {}, up to {}",
        finding.location,
        counted(waiting, "task", "wait"),
        human(delay)
    );
    finding.remedy =
        "bound the work in flight: a Semaphore, or buffer_unordered; back off between retries"
            .to_owned();
    Some(finding)
}
