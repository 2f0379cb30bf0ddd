//! The host gives the workers too little CPU.

use std::time::Duration;

use crate::{
    diagnose::{Finding, Severity, Subject},
    model::{Capability, Cause, Model, Process, Thread, ThreadRole},
};

use super::{Context, Rule};

pub(super) const RULE: Rule = Rule {
    id: "host-starved",
    summary: "the host gives the workers too little CPU",
    meaning: "The workers were ready to run, but waited for a CPU for longer than they had one: \
              other processes take the CPUs, or a control group's quota holds the process back.",
    threshold: "for 1.5 s, workers spend over 60 % of their runnable time in the run queue (or a \
                quota throttles the process for over 20 %), and the loop lags by over 50 ms or \
                stalls",
    evidence: "run-queue wait and CPU time of each worker thread (schedstat), cpu.stat of the \
               control group, CPU use of the host",
    remedy: "not your code: take other load away, raise the quota, or give the process more CPUs",
    needs: &[Capability::WorkerThreads],
    rank: 65,
    over_window: false,
    scans_tasks: false,
    explained_by: &[],
    check,
};

/// Share of its runnable time that a worker waits for a CPU.
const WAIT_SHARE: f64 = 0.6;
/// A worker that wants less of a CPU than this tells nothing.
const MIN_DEMAND: f64 = 0.25;
const THROTTLED: f64 = 0.2;
/// Share from which the host has a hand in every delay.
const DISTORTING: f64 = 0.3;
const LAG: Duration = Duration::from_millis(50);
const FOR: Duration = Duration::from_millis(1_500);

/// The host takes so much from the workers that times measured on them tell of
/// the host rather than of the code.
pub(super) fn distorts(model: &Model) -> bool {
    throttled(model) > THROTTLED || wait_share(model).is_some_and(|share| share > DISTORTING)
}

/// The workers want CPU and mostly do not get it, at this moment.
pub(super) fn is_starved(model: &Model) -> bool {
    throttled(model) > THROTTLED || wait_share(model).is_some_and(|share| share > WAIT_SHARE)
}

fn throttled(model: &Model) -> f64 {
    model
        .process
        .as_ref()
        .and_then(Process::throttled_ratio)
        .unwrap_or_default()
}

/// Run-queue wait over run-queue wait and CPU time of all workers that want a CPU.
fn wait_share(model: &Model) -> Option<f64> {
    let workers: Vec<(f64, f64)> = model
        .threads
        .values()
        .filter(|t| t.role == ThreadRole::Worker)
        .filter_map(|t: &Thread| Some((t.run_queue_ratio()?, t.cpu_ratio()?)))
        .filter(|(wait, cpu)| wait + cpu > MIN_DEMAND)
        .collect();
    let wait: f64 = workers.iter().map(|(wait, _)| wait).sum();
    let cpu: f64 = workers.iter().map(|(_, cpu)| cpu).sum();
    (!workers.is_empty()).then(|| wait / (wait + cpu))
}

fn check(context: &Context<'_>) -> Vec<Finding> {
    let model = context.model;
    let now = model.now;
    let Some(since) = context
        .memory
        .host_starved_since
        .filter(|since| now.since(*since) >= FOR)
    else {
        return Vec::new();
    };
    let stalled = model
        .stalls
        .iter()
        .any(|s| s.cause == Cause::StarvedByHost && s.overlaps(context.since, now));
    if context.lag_p99() < LAG && !stalled {
        return Vec::new();
    }
    let mut finding = Finding::new(RULE.id, Severity::Warning, Subject::Process, now);
    finding.cause = Some(Cause::StarvedByHost);
    finding.cause_text = "starved by the host".to_owned();
    finding.first_seen = since;
    finding.max = context.lag_p99();
    finding.total = now.since(since);
    finding.title = title(model);
    finding.remedy =
        "not your code: take other load away, raise the quota, or give it more CPUs".to_owned();
    vec![finding]
}

fn title(model: &Model) -> String {
    let throttled = throttled(model);
    if throttled > THROTTLED {
        return format!(
            "the host starves the loop: a CPU quota held the process back {:.0} % of the time",
            throttled * 100.0
        );
    }
    let share = wait_share(model).unwrap_or_default() * 100.0;
    let host = model.host.as_ref().map_or(String::new(), |host| {
        format!(
            "; host CPU {:.0} %, load {:.1} on {} CPUs",
            host.cpu_ratio * 100.0,
            host.load,
            host.cpus
        )
    });
    format!("the host starves the loop: workers wait for a CPU {share:.0} % of the time{host}")
}
