//! The host gives the workers too little CPU.

use std::time::Duration;

use crate::{
    diagnose::{Finding, Severity, Subject},
    model::{Capability, Cause, Model},
};

use super::{Context, Rule, demand::Demand, too_many_workers};

pub(super) const RULE: Rule = Rule {
    id: "host-starved",
    summary: "the host gives the workers too little CPU",
    meaning: "The workers were ready to run, but waited for a CPU for longer than they had one: \
              other processes take the CPUs, or a control group's quota holds the process back.",
    threshold: "for 1.5 s, workers spend over 60 % of their runnable time in the run queue behind \
                others (or a quota throttles the process for over 20 %), and the loop lags by over \
                50 ms or stalls. What the process's own threads take from one another is not the \
                host's doing: see too-many-workers",
    evidence: "run-queue wait and CPU time of each worker thread (schedstat), cpu.stat of the \
               control group, CPU use of the host",
    remedy: "not your code: take other load away, raise the quota, or give the process more CPUs",
    needs: &[Capability::WorkerThreads],
    rank: 33,
    over_window: false,
    scans_tasks: false,
    explained_by: &[],
    explained_here: &[],
    not_judged: |_| None,
    check,
};

/// Share of its runnable time that a worker waits for a CPU that others have.
const WAIT_SHARE: f64 = 0.6;
const THROTTLED: f64 = 0.2;
/// Share from which a busy machine has a hand in every delay.
const DISTORTING: f64 = 0.3;
const LAG: Duration = Duration::from_millis(50);
const FOR: Duration = Duration::from_millis(1_500);

/// Workers wait so much for a CPU, whoever has it, that times measured on them
/// show that rather than of the code.
pub(super) fn distorts(model: &Model) -> bool {
    Demand::of(model).is_some_and(|demand| {
        demand.throttled > THROTTLED
            || demand
                .waiting_share()
                .is_some_and(|share| share > DISTORTING)
    })
}

/// The workers want CPU and mostly do not get it, at this moment, because of
/// others.
pub(super) fn is_starved(model: &Model) -> bool {
    Demand::of(model).is_some_and(|demand| starvation(&demand).is_some())
}

/// What holds the workers back.
enum Starvation {
    Quota(f64),
    Others(f64),
}

fn starvation(demand: &Demand) -> Option<Starvation> {
    // Too many workers use up a quota by themselves.
    let crowded = too_many_workers::is_crowded(demand);
    if demand.throttled > THROTTLED && !crowded {
        return Some(Starvation::Quota(demand.throttled));
    }
    let share = demand.taken_by_others()?;
    (share > WAIT_SHARE).then_some(Starvation::Others(share))
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
    let Some(starvation) = Demand::of(model).and_then(|demand| starvation(&demand)) else {
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
    finding.title = title(model, &starvation);
    finding.remedy =
        "not your code: take other load away, raise the quota, or give it more CPUs".to_owned();
    vec![finding]
}

fn title(model: &Model, starvation: &Starvation) -> String {
    match starvation {
        Starvation::Quota(throttled) => format!(
            "the host starves the loop: a CPU quota held the process back {:.0} % of the time",
            throttled * 100.0
        ),
        Starvation::Others(share) => {
            let host = model.host.as_ref().map_or(String::new(), |host| {
                format!(
                    "; host CPU {:.0} %, load {:.1} on {} CPUs",
                    host.cpu_ratio * 100.0,
                    host.load,
                    host.cpus
                )
            });
            format!(
                "the host starves the loop: workers wait for a CPU {:.0} % of the time{host}",
                share * 100.0
            )
        }
    }
}
