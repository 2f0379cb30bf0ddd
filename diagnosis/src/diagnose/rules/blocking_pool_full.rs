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
    model::{
        Capability, JobState, Model, Runtime, TaskId, Thread, ThreadRole, ThreadWait, Want,
        brief_path,
    },
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
                waited, and the host did not starve it. From outside: somebody has awaited for over \
                3 s a job with which no thread has begun",
    evidence: "threads, idle threads and queue length of the blocking pool; from outside, the \
               state of the jobs that are awaited, and the threads that run jobs",
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

/// The remedy where jobs wait for the pool themselves.
const AWAIT: &str = "a job must not wait for the pool that runs it: await in the task, and give \
                     only what blocks to spawn_blocking";

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
        AWAIT.clone_into(&mut finding.remedy);
    } else {
        finding.title = full;
        finding.remedy =
            "bound the jobs in flight with a Semaphore, or give long ones a dedicated pool"
                .to_owned();
    }
    Some(finding)
}

/// A job that somebody has awaited for so long and that has not begun: while the pool has an
/// idle thread, or may have another one, a job begins at once.
const AWAITED: Duration = Duration::from_secs(3);

/// Jobs that have not begun, and who has awaited each of them for long.
#[derive(Default)]
struct Queued {
    by: BTreeMap<TaskId, Vec<Party>>,
    longest: Duration,
}

impl Queued {
    fn of(model: &Model) -> Self {
        let mut queued = Self::default();
        for wait in model.waits.tasks().filter(|wait| !wait.scheduled) {
            let (wants, _) = polled_wants(wait);
            queued.add(Party::Task(wait.task), waited(model, wait), &wants);
        }
        for thread in model.waits.threads() {
            let waited = model.now.since(thread.since);
            let wants: Vec<&Want> = thread.want.iter().collect();
            queued.add(Party::Thread(thread.tid), Some(waited), &wants);
        }
        queued
    }

    fn add(&mut self, party: Party, waited: Option<Duration>, wants: &[&Want]) {
        let Some(waited) = waited.filter(|waited| *waited >= AWAITED) else {
            return;
        };
        let jobs = wants.iter().filter(|want| want.job == JobState::Queued);
        for job in jobs.filter_map(|want| want.task) {
            self.by.entry(job).or_default().push(party);
            self.longest = self.longest.max(waited);
        }
    }

    /// "; they are awaited by 16 tasks in `shop::serve_file`": most of those that wait.
    fn whose(&self, model: &Model) -> String {
        let tasks = self.by.values().flatten().filter_map(|party| party.task());
        most(model, tasks).map_or(String::new(), |who| format!("; they are awaited by {who}"))
    }
}

/// Where nobody reads the pool's queue: jobs that are awaited say themselves that no thread
/// has begun with them.
fn awaited(model: &Model) -> Option<Finding> {
    let queued = Queued::of(model);
    if queued.by.is_empty() {
        return None;
    }
    let threads = model.threads.values();
    let threads = threads.filter(|thread| thread.role == ThreadRole::Blocking);
    let threads = threads.count() as u64;
    let running: Vec<(&ThreadWait, TaskId)> = model.jobs().collect();
    let waits_too = |thread: &ThreadWait| {
        let want = thread.want.as_ref();
        want.is_some_and(|want| want.job == JobState::Queued)
    };
    // Whatever a thread does that is not seen may be a job that ends.
    let never_ends = threads > 0
        && running.len() as u64 == threads
        && running.iter().all(|(thread, _)| waits_too(thread));
    let severity = if never_ends {
        Severity::Critical
    } else {
        Severity::Warning
    };
    let mut finding = Finding::new(RULE.id, severity, Subject::Process, model.now);
    finding.count = queued.by.len() as u64;
    finding.max = queued.longest;
    let of = match threads {
        0 => "its threads".to_owned(),
        n => count(n, "thread"),
    };
    let full = format!(
        "the blocking pool is full: at least {} for {of}, up to {}",
        counted(finding.count, "job", "wait"),
        human(queued.longest),
    );
    let culprit = culprit(model, &running);
    let within = culprit.map_or(String::new(), |thread| {
        format!(" in {}", brief_path(model.text(thread.function)))
    });
    let whose = queued.whose(model);
    if never_ends {
        finding.title = format!(
            "{full}, whose jobs{within} wait for jobs of the pool themselves (block_on), and \
             never end{whose}"
        );
        AWAIT.clone_into(&mut finding.remedy);
    } else {
        let runs = if within.is_empty() {
            let jobs = running.iter().map(|(_, job)| *job);
            let waiters = waiters(model, &jobs.collect());
            most(model, waiters.into_iter()).map_or(String::new(), |who| {
                format!("; those that run are awaited by {who}")
            })
        } else {
            format!("; those that run are{within}")
        };
        finding.title = format!("{full}{runs}{whose}");
        RULE.remedy.clone_into(&mut finding.remedy);
    }
    if let Some(thread) = culprit {
        finding.function = Some(model.text(thread.function).to_owned());
        let location = model.location(thread.location);
        finding.location = location.map(|l| l.to_string()).unwrap_or_default();
    }
    let parties: Vec<Party> = queued.by.values().flatten().copied().collect();
    finding.explains = explained(model, &parties);
    Some(finding)
}

/// One of the threads in whose function most jobs are.
fn culprit<'a>(model: &Model, running: &[(&'a ThreadWait, TaskId)]) -> Option<&'a ThreadWait> {
    let mut by_function: BTreeMap<&str, (u64, &ThreadWait)> = BTreeMap::new();
    for (thread, _) in running {
        let function = model.text(thread.function);
        if !function.is_empty() {
            by_function.entry(function).or_insert((0, thread)).0 += 1;
        }
    }
    let most = by_function.into_values().max_by_key(|(many, _)| *many);
    most.map(|(_, thread)| thread)
}

/// Tasks that await these jobs.
fn waiters(model: &Model, jobs: &BTreeSet<TaskId>) -> Vec<TaskId> {
    let waits = model.waits.tasks().filter(|wait| {
        let mut wants = wait.wants.iter().filter_map(|want| want.task);
        wants.any(|task| jobs.contains(&task))
    });
    waits.map(|wait| wait.task).collect()
}

/// "16 tasks in `shop::serve_file`": most of these tasks, by what they are called.
fn most(model: &Model, tasks: impl Iterator<Item = TaskId>) -> Option<String> {
    let mut names: BTreeMap<Name, u64> = BTreeMap::new();
    for task in tasks {
        *names.entry(name(model, Party::Task(task))).or_default() += 1;
    }
    names.remove(&Name::Unknown);
    let most = names.iter().max_by_key(|(_, many)| **many);
    most.map(|(name, many)| several(*many, name))
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
