//! Jobs queue for the blocking pool.

use std::time::Duration;

use crate::{
    diagnose::{
        Finding, Severity, Subject,
        words::{count, counted},
    },
    model::{Capability, Runtime, Thread, ThreadRole},
};

use super::{Context, Rule};

pub(super) const RULE: Rule = Rule {
    id: "blocking-pool-full",
    summary: "jobs queue for the blocking pool",
    meaning: "Every thread of the blocking pool is taken, and jobs wait behind them. tokio::fs, DNS \
              look-ups and stdin go through the same pool and wait as well. Jobs that wait for one \
              of these themselves, in a block_on, never end.",
    threshold: "jobs have been queued, with no idle thread in the pool, for a second while the pool \
                had as many threads as it may. Where the agent does not know that number, the pool \
                is at its limit if it got no further thread for two seconds although several jobs \
                waited, and the host did not starve it",
    evidence: "threads, idle threads and queue length of the blocking pool",
    remedy: "bound the jobs in flight with a Semaphore, or give long ones a dedicated pool",
    needs: &[Capability::BlockingPool],
    rank: 60,
    over_window: false,
    scans_tasks: false,
    explained_by: &[],
    explained_here: &[],
    not_judged: |_| None,
    check,
};

const FOR: Duration = Duration::from_secs(1);
/// Samples that a second has at least.
const SAMPLES: usize = 5;
/// A pool whose limit is not known has reached it if it did not grow for so long.
const STANDS: Duration = Duration::from_secs(2);
/// One job may wait for a thread that was woken and has no CPU yet.
const SEVERAL: f64 = 2.0;

fn check(context: &Context<'_>) -> Vec<Finding> {
    context
        .model
        .runtimes
        .iter()
        .filter_map(|r| finding(context, r))
        .collect()
}

/// The pool cannot have another thread.
fn is_at_its_limit(context: &Context<'_>, runtime: &Runtime, threads: u64) -> bool {
    if let Some(most) = runtime.max_blocking_threads {
        return threads >= most;
    }
    let now = context.now();
    let stood = context.memory.pools.get(&runtime.id);
    let several = runtime
        .blocking_queue_series
        .last(now, STANDS)
        .any(|n| n >= SEVERAL);
    several
        && !context.is_distorted()
        && stood.is_some_and(|(since, _)| now.since(*since) >= STANDS)
}

fn finding(context: &Context<'_>, runtime: &Runtime) -> Option<Finding> {
    let model = context.model;
    let (queue, threads) = (runtime.blocking_queue?, runtime.blocking_threads?);
    let lengths: Vec<f64> = runtime.blocking_queue_series.last(model.now, FOR).collect();
    let lasting = lengths.len() >= SAMPLES && lengths.iter().all(|n| *n > 0.0);
    if queue == 0
        || threads == 0
        || runtime.idle_blocking_threads? > 0
        || !lasting
        || !is_at_its_limit(context, runtime, threads)
    {
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
    let full = format!(
        "the blocking pool{whose} is full: {} for {}",
        counted(queue, "job", "wait"),
        count(threads, "thread")
    );
    if waits_for_itself(context, runtime) {
        finding.title = format!(
            "{full}, whose jobs do nothing and do not end, as if they wait for the pool themselves \
             (block_on, tokio::fs)"
        );
        finding.remedy = "a job must not wait for the pool that runs it: await in the task, and \
                          give only what blocks to spawn_blocking"
            .to_owned();
    } else {
        finding.title = full;
        finding.remedy =
            "bound the jobs in flight with a Semaphore, or give long ones a dedicated pool"
                .to_owned();
    }
    Some(finding)
}

/// CPUs that jobs use which do something.
const WORK: f64 = 0.02;

/// For two seconds no job has left the queue, and the pool's threads use no CPU.
fn waits_for_itself(context: &Context<'_>, runtime: &Runtime) -> bool {
    let model = context.model;
    let stands = context.memory.pools.get(&runtime.id);
    let stands = stands.is_some_and(|(since, _)| model.now.since(*since) >= STANDS);
    let lengths: Vec<f64> = runtime
        .blocking_queue_series
        .last(model.now, STANDS)
        .collect();
    let threads = model.threads.values();
    let of_pool: Vec<f64> = threads
        .filter(|thread| thread.role == ThreadRole::Blocking)
        .filter_map(Thread::cpu_ratio)
        .collect();
    let idle = !of_pool.is_empty() && of_pool.iter().sum::<f64>() < WORK;
    stands && idle && lengths.windows(2).all(|pair| pair[1] >= pair[0])
}
