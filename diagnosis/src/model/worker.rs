//! Runtimes, their workers, the process's threads, and the machine.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use looptop_wire::proto::StackSample;

use super::{
    Flavor, Merge, Moment, Resolved, RuntimeFound, RuntimeId, Series, TaskId, TextId, ThreadRole,
    ThreadState, Tid, WorkerId, WorkerState,
};

pub use looptop_wire::proto::Loss;

/// A runtime and its aggregates.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// In the order of registration.
    pub id: RuntimeId,
    /// The name it was registered under.
    pub name: Option<TextId>,
    /// Its scheduler.
    pub flavor: Flavor,
    /// How many workers it has.
    pub workers: u32,
    /// Tasks that have not ended, as the runtime counts them.
    pub live_tasks: u64,
    /// Those of them that were found when they were listed from outside.
    pub listed_tasks: Option<u64>,
    /// That list changed while it was read, and is not whole.
    pub torn: bool,
    /// How it became known.
    pub found_by: RuntimeFound,
    /// Tasks in the queue that all workers share.
    pub global_queue: u64,
    /// Tasks spawned since it started.
    pub spawned: Option<u64>,
    /// Threads of the blocking pool.
    pub blocking_threads: Option<u64>,
    /// Those of them that have nothing to do.
    pub idle_blocking_threads: Option<u64>,
    /// Jobs that wait for a thread of the blocking pool.
    pub blocking_queue: Option<u64>,
    /// How many threads the blocking pool may have.
    pub max_blocking_threads: Option<u64>,
    /// Times that a task used up its budget and was made to yield.
    pub forced_yields: Option<u64>,
    /// Busy share of all its workers, 0 to 1.
    pub busy_ratio: Option<f64>,
    /// It was shut down.
    pub gone: bool,
    /// When its shutdown began; it may be over.
    pub shutdown_began: Option<Moment>,
    /// Where the threads are that the shutdown may wait for, and those that wait.
    pub shutdown_waits: Vec<Wait>,
    /// Length of the global queue over time.
    pub queue_series: Series,
    /// Length of the blocking pool's queue over time.
    pub blocking_queue_series: Series,
}

/// Something that is waited for: a thread that was found at a place.
#[derive(Debug, Clone, PartialEq)]
pub struct Wait {
    /// As addresses.
    pub stack: StackSample,
    /// With names, once they were looked up.
    pub resolved: Option<Arc<Resolved>>,
}

/// A worker of a runtime.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Which one it is.
    pub id: WorkerId,
    /// What it does.
    pub state: WorkerState,
    /// The thread that it runs on.
    pub tid: Option<Tid>,
    /// The task in poll.
    pub task: Option<TaskId>,
    /// When that poll began.
    pub poll_started: Option<Moment>,
    /// Time that it was not parked.
    pub busy: Duration,
    /// Times that it parked.
    pub parks: u64,
    /// Polls that it did.
    pub polls: Option<u64>,
    /// Tasks that it took from other workers.
    pub steals: Option<u64>,
    /// Tasks in its own queue.
    pub local_queue: Option<u64>,
    /// Mean duration of its polls, weighted towards the newest.
    pub mean_poll: Option<Duration>,
    /// Busy share over time, 0 to 1.
    pub busy_series: Series,
    /// 1 where a stall was in progress.
    pub stall_series: Series,
    /// Polls per second.
    pub poll_rate: Rate,
    pub(super) busy_rate: Rate,
}

impl Worker {
    pub(super) fn new(id: WorkerId) -> Self {
        Self {
            id,
            state: WorkerState::Unknown,
            tid: None,
            task: None,
            poll_started: None,
            busy: Duration::ZERO,
            parks: 0,
            polls: None,
            steals: None,
            local_queue: None,
            mean_poll: None,
            busy_series: Series::new(Merge::Mean),
            stall_series: Series::new(Merge::Max),
            poll_rate: Rate::default(),
            busy_rate: Rate::default(),
        }
    }

    /// How long the poll in progress runs.
    pub fn poll_age(&self, now: Moment) -> Option<Duration> {
        self.poll_started.map(|started| now.since(started))
    }

    /// Busy share over the last second, 0 to 1.
    pub fn busy_ratio(&self) -> Option<f64> {
        self.busy_rate
            .per_second()
            .map(|ns| (ns / 1e9).clamp(0.0, 1.0))
    }
}

/// A thread of the process.
#[derive(Debug, Clone)]
pub struct Thread {
    /// Its id.
    pub tid: Tid,
    /// Its name.
    pub name: Option<TextId>,
    /// What it does.
    pub state: ThreadState,
    /// What it is for.
    pub role: ThreadRole,
    /// CPU time in user mode.
    pub user: Duration,
    /// CPU time in the kernel.
    pub system: Duration,
    /// Time spent ready to run but without a CPU.
    pub run_queue: Option<Duration>,
    /// Times that it gave up its CPU.
    pub voluntary_switches: Option<u64>,
    /// Times that its CPU was taken away.
    pub involuntary_switches: Option<u64>,
    /// Share of one CPU over time, 0 to 1.
    pub cpu_series: Series,
    pub(super) cpu_rate: Rate,
    pub(super) system_rate: Rate,
    pub(super) run_queue_rate: Rate,
}

impl Thread {
    pub(super) fn new(tid: Tid) -> Self {
        Self {
            tid,
            name: None,
            state: ThreadState::Unknown,
            role: ThreadRole::Unknown,
            user: Duration::ZERO,
            system: Duration::ZERO,
            run_queue: None,
            voluntary_switches: None,
            involuntary_switches: None,
            cpu_series: Series::new(Merge::Mean),
            cpu_rate: Rate::default(),
            system_rate: Rate::default(),
            run_queue_rate: Rate::default(),
        }
    }

    /// CPU time.
    pub fn cpu(&self) -> Duration {
        self.user + self.system
    }

    /// Share of one CPU over the last second, 0 to 1.
    pub fn cpu_ratio(&self) -> Option<f64> {
        self.cpu_rate.per_second().map(|ns| (ns / 1e9).max(0.0))
    }

    /// Share of one CPU spent in the kernel over the last second.
    pub fn system_ratio(&self) -> Option<f64> {
        self.system_rate.per_second().map(|ns| (ns / 1e9).max(0.0))
    }

    /// Share of the last second in which it waited for a CPU.
    pub fn run_queue_ratio(&self) -> Option<f64> {
        self.run_queue_rate
            .per_second()
            .map(|ns| (ns / 1e9).max(0.0))
    }
}

/// The process as a whole.
#[derive(Debug, Clone)]
pub struct Process {
    /// CPU time of all threads.
    pub cpu: Duration,
    /// Resident memory in bytes.
    pub resident: u64,
    /// Virtual memory in bytes.
    pub virtual_bytes: u64,
    /// Open file descriptors.
    pub open_files: Option<u64>,
    /// Threads.
    pub thread_count: u64,
    /// CPU time of the agent's own threads.
    pub agent_cpu: Duration,
    /// Time that the control group's quota held it back.
    pub throttled: Option<Duration>,
    /// How many descriptors it may have open.
    pub open_file_limit: Option<u64>,
    /// Resident memory in bytes that is backed by no file.
    pub heap: Option<u64>,
    /// Resident memory when the agent started.
    pub started_resident: Option<u64>,
    /// The part of it that was backed by no file.
    pub started_heap: Option<u64>,
    /// Open file descriptors when the agent started.
    pub started_open_files: Option<u64>,
    /// Share of one CPU over time; 2.0 is two whole CPUs.
    pub cpu_series: Series,
    /// Resident memory in bytes over time.
    pub memory_series: Series,
    /// [`Process::heap`] over time.
    pub heap_series: Series,
    /// Open file descriptors over time.
    pub open_files_series: Series,
    pub(super) cpu_rate: Rate,
    pub(super) agent_rate: Rate,
    pub(super) throttled_rate: Rate,
}

impl Default for Process {
    fn default() -> Self {
        Self {
            cpu: Duration::ZERO,
            resident: 0,
            virtual_bytes: 0,
            open_files: None,
            thread_count: 0,
            agent_cpu: Duration::ZERO,
            throttled: None,
            open_file_limit: None,
            heap: None,
            started_resident: None,
            started_heap: None,
            started_open_files: None,
            cpu_series: Series::new(Merge::Mean),
            memory_series: Series::new(Merge::Max),
            heap_series: Series::new(Merge::Max),
            open_files_series: Series::new(Merge::Max),
            cpu_rate: Rate::default(),
            agent_rate: Rate::default(),
            throttled_rate: Rate::default(),
        }
    }
}

impl Process {
    /// CPUs used over the last second; 2.0 is two whole CPUs.
    pub fn cpu_ratio(&self) -> Option<f64> {
        self.cpu_rate.per_second().map(|ns| ns / 1e9)
    }

    /// CPUs used by the agent over the last second.
    pub fn agent_ratio(&self) -> Option<f64> {
        self.agent_rate.per_second().map(|ns| ns / 1e9)
    }

    /// Share of the last second in which a quota held it back.
    pub fn throttled_ratio(&self) -> Option<f64> {
        self.throttled_rate.per_second().map(|ns| ns / 1e9)
    }
}

/// The machine.
#[derive(Debug, Clone)]
pub struct Host {
    /// Logical CPUs.
    pub cpus: u32,
    /// Busy share of all CPUs, 0 to 1.
    pub cpu_ratio: f64,
    /// Memory in bytes.
    pub total_memory: u64,
    /// Memory that can still be had, in bytes.
    pub available_memory: u64,
    /// Load average over a minute.
    pub load: f64,
    /// Busy share of all CPUs over time, 0 to 1.
    pub cpu_series: Series,
}

/// A number that the application reports of itself.
#[derive(Debug, Clone)]
pub struct Gauge {
    /// Its newest value.
    pub value: f64,
    /// Its values over time.
    pub series: Series,
}

/// The rate of a growing counter over the last second or so.
#[derive(Debug, Clone, Default)]
pub struct Rate {
    samples: VecDeque<(Moment, u64)>,
}

/// A rate spans at least this.
const RATE_WINDOW: Duration = Duration::from_secs(1);
/// Samples kept at most: a second at the fastest frame rate.
const RATE_SAMPLES: usize = 64;

impl Rate {
    pub(super) fn push(&mut self, at: Moment, counter: u64) {
        let restarted = self
            .samples
            .back()
            .is_some_and(|(last, n)| *last > at || *n > counter);
        if restarted {
            self.samples.clear();
        }
        self.samples.push_back((at, counter));
        // The oldest sample that is kept is the newest one older than the window.
        while self.samples.len() > RATE_SAMPLES
            || self
                .samples
                .get(1)
                .is_some_and(|(second, _)| at.since(*second) >= RATE_WINDOW)
        {
            self.samples.pop_front();
        }
    }

    /// Increase per second; `None` before two samples.
    pub fn per_second(&self) -> Option<f64> {
        let ((from, first), (to, last)) = (self.samples.front()?, self.samples.back()?);
        let seconds = to.since(*from).as_secs_f64();
        (seconds > 0.0).then(|| last.saturating_sub(*first) as f64 / seconds)
    }

    /// The samples, oldest first, the first as it was and the others as what
    /// they add: instants and counters.
    pub(super) fn deltas(&self) -> (Vec<u64>, Vec<u64>) {
        let mut last = (0, 0);
        let delta = |(at, counter): &(Moment, u64)| {
            let added = (at.0.wrapping_sub(last.0), counter.wrapping_sub(last.1));
            last = (at.0, *counter);
            added
        };
        self.samples.iter().map(delta).unzip()
    }

    /// Takes over recorded samples in place of its own.
    pub(super) fn restore(&mut self, at_ns: &[u64], counter: &[u64]) {
        let mut last = (0u64, 0u64);
        self.samples = at_ns
            .iter()
            .zip(counter)
            .take(RATE_SAMPLES)
            .map(|(at, counter)| {
                last = (last.0.wrapping_add(*at), last.1.wrapping_add(*counter));
                (Moment(last.0), last.1)
            })
            .collect();
    }

    /// Increase per second between the last two samples.
    pub(super) fn newest(&self) -> Option<f64> {
        let mut newest = self.samples.iter().rev();
        let ((to, last), (from, first)) = (newest.next()?, newest.next()?);
        let seconds = to.since(*from).as_secs_f64();
        (seconds > 0.0).then(|| last.saturating_sub(*first) as f64 / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_spans_a_second_and_forgets_a_restart() {
        let mut rate = Rate::default();
        assert_eq!(rate.per_second(), None);
        for ms in (0..5_000u64).step_by(100) {
            rate.push(Moment(ms * 1_000_000), ms * ms);
        }
        // From 3,900 to 4,900 ms.
        let expected = f64::from(4_900 * 4_900 - 3_900 * 3_900);
        assert!((rate.per_second().unwrap() - expected).abs() < 1.0);
        rate.push(Moment(5_000_000_000), 3);
        assert_eq!(rate.per_second(), None);
    }
}
