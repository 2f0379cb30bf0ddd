//! The loop lags and nothing else explains it.

use std::time::Duration;

use crate::{
    diagnose::{Finding, Severity, Subject, stalls, verdict::count},
    model::{Capability, Worker},
};

use super::{Context, Rule, host_starved};

pub(super) const RULE: Rule = Rule {
    id: "loop-starved",
    summary: "the loop lags although no single poll is to blame",
    meaning: "A task that was due had to wait long for a worker. As a rule a finding about a stall, \
              the host or a flood of tasks explains it and stands in its place; this one means that \
              many polls, each of them short, add up.",
    threshold: "p99 of the loop lag over 100 ms in the last 2 s (warning), 1 s (critical), with work \
                queued or a worker busy, and no other finding that explains it",
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
        "host-starved",
        "self-wake-spin",
        "task-flood",
        "slow-schedule",
        "long-poll",
    ],
    check,
};

fn check(context: &Context<'_>) -> Vec<Finding> {
    let model = context.model;
    let lag = context.lag_p99();
    let busy = model
        .workers
        .values()
        .filter_map(Worker::busy_ratio)
        .fold(0.0, f64::max);
    let waiting = model.waiting_tasks();
    // An idle loop that lags was not run at all: suspended, or stopped.
    let idle = waiting == 0 && busy < 0.5;
    if lag < stalls::WARNING || idle || host_starved::distorts(model) {
        return Vec::new();
    }
    let severity = if lag >= Duration::from_secs(1) {
        Severity::Critical
    } else {
        Severity::Warning
    };
    let mut finding = Finding::new(RULE.id, severity, Subject::Process, model.now);
    finding.max = lag;
    finding.title = format!(
        "the loop lags by {}: {} wait, workers up to {:.0} % busy",
        stalls::human(lag),
        count(waiting, "task"),
        busy * 100.0
    );
    finding.remedy =
        "bound the work in flight (Semaphore, buffer_unordered) or shorten its polls".to_owned();
    vec![finding]
}
