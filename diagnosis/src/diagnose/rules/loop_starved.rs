//! The loop lags and nothing else explains it.

use std::time::Duration;

use crate::{
    diagnose::{
        Finding, Severity, Subject, stalls,
        words::{counted, human},
    },
    model::{Capability, Worker},
};

use super::{Context, Rule};

pub(super) const RULE: Rule = Rule {
    id: "loop-starved",
    summary: "the loop lags although no single poll is to blame",
    meaning: "A task that was due had to wait long for a worker. As a rule a finding about a stall, \
              the host or a flood of tasks explains it and stands in its place; this one means that \
              many polls, each of them short, add up.",
    threshold: "p99 of the loop lag over 100 ms in the last 2 s (warning), 1 s (critical), while a \
                worker was busy for half of the time or more, and no other finding explains it. Idle \
                workers, and a watchdog that was late itself, are the host's doing",
    evidence: "the agent's probe task, queue depth, busy share of the workers",
    remedy: "bound the work in flight (Semaphore, buffer_unordered), make polls shorter, or add \
             workers",
    needs: &[Capability::Lag],
    rank: 10,
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
        "task-flood",
        "slow-schedule",
        "long-poll",
    ],
    explained_here: &[],
    not_judged: |_| None,
    check,
};

/// A worker less busy than this had time for whatever waited.
const IDLE: f64 = 0.5;
/// What the lag is of.
const LATELY: Duration = Duration::from_secs(2);

fn check(context: &Context<'_>) -> Vec<Finding> {
    let model = context.model;
    let lag = context.lag_p99();
    let busy = model
        .workers
        .values()
        .filter_map(Worker::busy_ratio)
        .reduce(f64::max);
    let waiting = model.waiting_tasks();
    // Workers that were idle meanwhile, or a watchdog that was as late as the
    // probe: they were not run at all, and the host is to blame.
    let idle = busy.map_or(waiting == 0, |busy| busy < IDLE);
    let (late, observed) = context.memory.watchdog_late(model, LATELY);
    let late = observed.is_zero() || late * 2 >= lag || late * 5 >= observed;
    if lag < stalls::WARNING || idle || late || context.is_distorted() {
        return Vec::new();
    }
    let severity = if lag >= Duration::from_secs(1) {
        Severity::Critical
    } else {
        Severity::Warning
    };
    let mut finding = Finding::new(RULE.id, severity, Subject::Process, model.now);
    finding.max = lag;
    let busy = busy.map_or(String::new(), |busy| {
        format!(", workers up to {:.0} % busy", busy * 100.0)
    });
    finding.title = format!(
        "the loop lags by {}: {}{busy}",
        human(lag),
        counted(waiting, "task", "wait"),
    );
    finding.remedy =
        "bound the work in flight (Semaphore, buffer_unordered) or shorten its polls".to_owned();
    vec![finding]
}
