//! Jobs queue for the blocking pool.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    diagnose::{
        Finding, Severity, Subject,
        waits::{Party, polled_wants, waited},
        words::{count, counted, human},
    },
    model::{Capability, Model, Runtime, TaskId, Thread, ThreadRole, WantKind},
};

use super::{
    Context, Rule,
    chains::{Name, explained, name, several},
};

pub(super) const RULE: Rule = Rule {
    id: "blocking-pool-full",
    summary: "jobs queue for the blocking pool",
    meaning: "Every thread of the blocking pool is taken, and jobs wait behind them. tokio::fs, DNS \
              look-ups and stdin go through the same pool and wait as well. Jobs that wait for one \
              of these themselves, in a block_on, never end.",
    threshold: "jobs have been queued, with no idle thread in the pool, for a second while the pool \
                had as many threads as it may. Where the agent does not know that number, the pool \
                is at its limit if it got no further thread for two seconds although several jobs \
                waited, and the host did not starve it. From outside: tasks have awaited for over 3 s \
                the ends of more jobs than there are threads that could run them",
    evidence: "threads, idle threads and queue length of the blocking pool; from outside, the jobs \
               that tasks await, and the threads that are no workers",
    remedy: "bound the jobs in flight with a Semaphore, or give long ones a dedicated pool",
    needs: &[],
    rank: 60,
    over_window: false,
    scans_tasks: false,
    explained_by: &[],
    explained_here: &[],
    not_judged,
    check,
};

/// Of awaited jobs alone it is judged in part.
fn not_judged(context: &Context<'_>) -> Option<String> {
    let missing = context.model.session.missing(Capability::BlockingPool)?;
    let why = missing.split_once("; ").map_or(missing, |(why, _)| why);
    Some(why.to_owned())
}

const FOR: Duration = Duration::from_secs(1);
/// Samples that a second has at least.
const SAMPLES: usize = 5;
/// A pool whose limit is not known has reached it if it did not grow for so long.
const STANDS: Duration = Duration::from_secs(2);
/// One job may wait for a thread that was woken and has no CPU yet.
const SEVERAL: f64 = 2.0;

fn check(context: &Context<'_>) -> Vec<Finding> {
    if !context.model.session.has(Capability::BlockingPool) {
        return awaited(context.model).into_iter().collect();
    }
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

/// A task that awaits its jobs one after the other may be read at the same await each time.
const AWAITED: Duration = Duration::from_secs(3);
/// So many jobs more than threads are no matter of a reading.
const BEYOND: usize = 2;
/// CPUs that a pool uses at least whose jobs compute.
const COMPUTES: f64 = 0.5;

/// Where nobody reads the pool's queue: a thread of the pool runs one job at a time, so that
/// of the jobs that are awaited those beyond the threads have not begun. While the pool may
/// have another thread, a job begins at once.
fn awaited(model: &Model) -> Option<Finding> {
    let unlisted = model.outside.as_ref().map_or(0, |outside| outside.unlisted);
    if unlisted > 0 || model.runtimes.iter().any(|runtime| runtime.torn) {
        return None;
    }
    // By job: those that await it. Listed tasks are no jobs of the pool.
    let mut jobs: BTreeMap<TaskId, Vec<TaskId>> = BTreeMap::new();
    let mut longest = Duration::ZERO;
    for wait in model.waits.tasks().filter(|wait| !wait.scheduled) {
        let (wants, _) = polled_wants(wait);
        let ends = wants.iter().filter(|want| want.kind == WantKind::Task);
        let ends = ends.filter_map(|want| want.task);
        let ends: Vec<TaskId> = ends.filter(|id| model.tasks.get(*id).is_none()).collect();
        let Some(for_now) = waited(model, wait).filter(|waited| *waited >= AWAITED) else {
            continue;
        };
        if !ends.is_empty() {
            longest = longest.max(for_now);
        }
        for job in ends {
            jobs.entry(job).or_default().push(wait.task);
        }
    }
    // Any that may be the pool's, known as such or not.
    let may_run = |role: ThreadRole| match role {
        ThreadRole::Blocking | ThreadRole::Other | ThreadRole::Unknown => true,
        ThreadRole::Worker | ThreadRole::BlockOn | ThreadRole::Stranger | ThreadRole::Agent => {
            false
        }
    };
    let threads = model.threads.values();
    let threads = threads.filter(|thread| may_run(thread.role)).count();
    let queued = jobs.len().checked_sub(threads)?;
    let pool: BTreeSet<_> = model
        .threads
        .values()
        .filter(|thread| thread.role == ThreadRole::Blocking)
        .map(|thread| thread.tid)
        .collect();
    let running = model.waits.threads();
    let running = running.filter(|thread| pool.contains(&thread.tid));
    let running: Vec<TaskId> = running
        .filter_map(|thread| thread.task)
        .filter(|job| jobs.contains_key(job))
        .collect();
    let cpu = pool.iter().filter_map(|tid| model.threads.get(tid));
    let cpu: f64 = cpu.filter_map(Thread::cpu_ratio).sum();
    if queued < BEYOND || pool.is_empty() || (running.is_empty() && cpu < COMPUTES) {
        return None;
    }
    let mut finding = Finding::new(RULE.id, Severity::Warning, Subject::Process, model.now);
    finding.count = queued as u64;
    finding.max = longest;
    finding.title = format!(
        "the blocking pool is full: at least {} for {}, up to {}{}",
        counted(queued as u64, "job", "wait"),
        count(pool.len() as u64, "thread"),
        human(longest),
        whose(model, &jobs, &running),
    );
    let parties = jobs.values().flatten().copied().map(Party::Task);
    finding.explains = explained(model, &parties.collect::<Vec<_>>());
    RULE.remedy.clone_into(&mut finding.remedy);
    Some(finding)
}

/// "; those that run are awaited by 8 tasks in `shop::export`": most of those that run.
fn whose(model: &Model, jobs: &BTreeMap<TaskId, Vec<TaskId>>, running: &[TaskId]) -> String {
    let mut names: BTreeMap<Name, u64> = BTreeMap::new();
    for waiter in running.iter().filter_map(|job| jobs.get(job)).flatten() {
        *names.entry(name(model, Party::Task(*waiter))).or_default() += 1;
    }
    names.remove(&Name::Unknown);
    let most = names.iter().max_by_key(|(_, many)| **many);
    most.map_or(String::new(), |(name, many)| {
        format!("; those that run are awaited by {}", several(*many, name))
    })
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
