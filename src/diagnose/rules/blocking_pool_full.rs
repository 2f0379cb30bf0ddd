//! Jobs queue for the blocking pool.

use std::time::Duration;

use crate::{
    diagnose::{Finding, Severity, Subject, verdict::count},
    model::{Capability, Runtime},
};

use super::{Context, Rule};

pub(super) const RULE: Rule = Rule {
    id: "blocking-pool-full",
    summary: "jobs queue for the blocking pool",
    meaning: "Every thread of the blocking pool is taken, and jobs wait behind them. tokio::fs, DNS \
              look-ups and stdin go through the same pool and wait as well.",
    threshold: "jobs have been queued, with no idle thread in the pool, for a second",
    evidence: "threads, idle threads and queue length of the blocking pool",
    remedy: "bound the jobs in flight with a Semaphore, or give long ones a dedicated pool",
    needs: &[Capability::BlockingPool],
    rank: 60,
    over_window: false,
    scans_tasks: false,
    explained_by: &[],
    check,
};

const FOR: Duration = Duration::from_secs(1);
/// Samples that a second has at least.
const SAMPLES: usize = 5;

fn check(context: &Context<'_>) -> Vec<Finding> {
    context
        .model
        .runtimes
        .iter()
        .filter_map(|r| finding(context, r))
        .collect()
}

fn finding(context: &Context<'_>, runtime: &Runtime) -> Option<Finding> {
    let model = context.model;
    let (queue, threads) = (runtime.blocking_queue?, runtime.blocking_threads?);
    let lengths: Vec<f64> = runtime.blocking_queue_series.last(model.now, FOR).collect();
    let lasting = lengths.len() >= SAMPLES && lengths.iter().all(|n| *n > 0.0);
    if queue == 0 || threads == 0 || runtime.idle_blocking_threads? > 0 || !lasting {
        return None;
    }
    let mut finding = Finding::new(
        RULE.id,
        Severity::Warning,
        Subject::Runtime(runtime.id),
        model.now,
    );
    finding.count = queue;
    let whose = match model.runtimes.len() {
        0 | 1 => String::new(),
        _ => format!(" of runtime {}", model.runtime_name(runtime.id)),
    };
    finding.title = format!(
        "the blocking pool{whose} is full: {} wait for {}",
        count(queue, "job"),
        count(threads, "thread")
    );
    finding.remedy =
        "bound the jobs in flight with a Semaphore, or give long ones a dedicated pool".to_owned();
    Some(finding)
}
