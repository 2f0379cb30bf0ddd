//! Woken tasks wait long for a worker.

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
    id: "slow-schedule",
    summary: "woken tasks wait long for a worker",
    meaning: "Between its wake and its poll a task waits in a queue. Where no single poll blocks, \
              there are simply more tasks ahead of it than the workers can poll in time.",
    threshold: "p99 of wake to poll over 50 ms in the last 2 s, 20 polls at least, the loop lag bears \
                it out, and no stall or \
                host explains it",
    evidence: "delays between wake and poll of each spawn location, queue depth",
    remedy: "bound the work in flight (Semaphore, buffer_unordered), shorten polls, or add workers",
    needs: &[Capability::Tasks],
    rank: 30,
    over_window: false,
    scans_tasks: false,
    explained_by: &[
        "nested-runtime",
        "lock-convoy",
        "blocked-worker",
        "never-yielded",
        "too-many-workers",
        "host-starved",
        "self-wake-spin",
    ],
    explained_here: &[],
    not_judged: |_| None,
    check,
};

const SLOW: Duration = Duration::from_millis(50);
const VERY_SLOW: Duration = Duration::from_millis(200);
const ENOUGH: u64 = 20;

fn check(context: &Context<'_>) -> Vec<Finding> {
    let keys = context
        .model
        .sites
        .keys()
        .filter(|key| key.kind != TaskKind::Blocking);
    keys.filter_map(|key| finding(context, *key))
        .max_by_key(|f| f.max)
        .into_iter()
        .collect()
}

fn finding(context: &Context<'_>, key: SiteKey) -> Option<Finding> {
    let model = context.model;
    let (delay, polls) = context.memory.recent_delay(key, 0.99)?;
    // Where tasks wait for a worker, so does the probe; without it, a delay is a
    // matter of when the target counts a wake.
    let corroborated = context.lag_p99() >= SLOW / 2 || model.lag.is_empty();
    if delay < SLOW || polls < ENOUGH || !corroborated {
        return None;
    }
    let location = key.location?;
    let severity = if delay >= VERY_SLOW {
        Severity::Warning
    } else {
        Severity::Notice
    };
    let mut finding = Finding::about_site(RULE.id, severity, model, location);
    finding.max = delay;
    finding.count = polls;
    finding.title = format!(
        "tasks spawned at {} wait {} (p99) for a worker; {} now",
        finding.location,
        human(delay),
        counted(model.waiting_tasks(), "task", "wait")
    );
    finding.remedy =
        "bound the work in flight (Semaphore, buffer_unordered) or shorten its polls".to_owned();
    Some(finding)
}
