//! More workers want to run than there are CPUs for them.

use std::time::Duration;

use crate::{
    diagnose::{Finding, Severity, Subject, words::count},
    model::{Capability, Model, ThreadRole},
};

use super::{Context, Rule, demand::Demand};

pub(super) const RULE: Rule = Rule {
    id: "too-many-workers",
    summary: "more workers want to run than the process has CPUs",
    meaning: "The workers take the CPUs from one another: each waits in the kernel's queue, a task \
              that was woken waits with its worker, and a lock is kept by a thread that does not \
              run. As a rule worker_threads or TOKIO_WORKER_THREADS was set for another machine, or \
              a container's quota was not looked at.",
    threshold: "for 1.5 s, twice as many workers as CPUs, which want at least one and a half times \
                the CPUs that there are (or than the quota allows), and wait for one for over half \
                of that time, most of it because of one another",
    evidence: "run-queue wait and CPU time of each thread (schedstat), the CPUs that the process may \
               use, the control group's quota",
    remedy: "set worker_threads to the number of CPUs that the process may use",
    needs: &[Capability::WorkerThreads],
    rank: 34,
    over_window: false,
    scans_tasks: false,
    explained_by: &[],
    explained_here: &[],
    not_judged: |_| None,
    check,
};

const FOR: Duration = Duration::from_millis(1_500);
/// CPUs wanted over CPUs that there are.
const CROWDED: f64 = 1.5;
/// Workers over CPUs.
const WORKERS: f64 = 2.0;
const WAIT_SHARE: f64 = 0.5;
const THROTTLED: f64 = 0.2;

/// The process's own threads want clearly more CPUs than it may use.
pub(super) fn is_crowded(demand: &Demand) -> bool {
    demand
        .cpus
        .is_some_and(|cpus| demand.wanted() >= cpus * CROWDED)
}

/// The workers stand in one another's way at this moment.
pub(super) fn holds(model: &Model) -> bool {
    let workers = workers(model) as f64;
    Demand::of(model).is_some_and(|demand| {
        let waits = demand
            .waiting_share()
            .is_some_and(|share| share > WAIT_SHARE);
        // Workers that want little do not, however much the other threads want.
        let crowd = demand.cpus.is_some_and(|cpus| {
            workers >= cpus * WORKERS && demand.workers_wanted >= cpus * CROWDED
        });
        // For most of their waiting the workers stand in one another's way.
        let own = demand.by_others() <= 0.5;
        crowd && is_crowded(&demand) && (waits && own || demand.throttled > THROTTLED)
    })
}

fn workers(model: &Model) -> usize {
    let threads = model.threads.values();
    let seen = threads.filter(|t| t.role == ThreadRole::Worker).count();
    // Those of a runtime that was shut down run no more.
    let gone = |id| model.runtimes.iter().any(|r| r.id == id && r.gone);
    let known = model.workers.keys().filter(|w| !gone(w.runtime)).count();
    seen.max(known)
}

fn check(context: &Context<'_>) -> Vec<Finding> {
    let model = context.model;
    let now = model.now;
    let Some(since) = context
        .memory
        .crowded_since
        .filter(|since| now.since(*since) >= FOR)
    else {
        return Vec::new();
    };
    let Some((demand, cpus)) = Demand::of(model).and_then(|d| Some((d, d.cpus?))) else {
        return Vec::new();
    };
    let mut finding = Finding::new(RULE.id, Severity::Warning, Subject::Process, now);
    let workers = workers(model) as u64;
    finding.count = workers;
    finding.first_seen = since;
    finding.max = context.lag_p99();
    finding.total = now.since(since);
    // A quota shows as fewer CPUs than the machine has, or as throttling.
    let host = model.host.as_ref().map(|host| f64::from(host.cpus));
    let limited = demand.throttled > THROTTLED || host.is_some_and(|host| host > cpus);
    let quota = if limited {
        " (its quota or affinity)"
    } else {
        ""
    };
    let wait = if demand.throttled > THROTTLED {
        format!(
            "the quota holds them back {:.0} % of the time",
            demand.throttled * 100.0
        )
    } else {
        format!(
            "{:.1} want to run on average, and each waits for a CPU {:.0} % of that time",
            demand.wanted(),
            demand.waiting_share().unwrap_or_default() * 100.0
        )
    };
    finding.title = format!(
        "{} on {}{quota}: {wait}",
        count(workers, "worker"),
        count(cpus as u64, "CPU")
    );
    finding.remedy = format!(
        "set worker_threads to {cpus:.0} (TOKIO_WORKER_THREADS, or Builder::worker_threads)"
    );
    vec![finding]
}
