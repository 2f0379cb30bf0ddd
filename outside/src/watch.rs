//! What the threads of a process do that run tokio, and polls that take too long.
//!
//! # What proves one long poll
//!
//! A stack with a poll on it says that the thread is in a poll; the same stack again does
//! not say that it is in the same one. A task that is polled ten thousand times a second
//! shows the same task, marked as running, in the same function, at each look. So these
//! count, and nothing else:
//!
//! - The thread is blocked, and has not been given a CPU since the last look
//!   (`schedstat`): it did not run, so it is in the same call of the same poll.
//! - Nothing was written to the return address of the poll's frame. The scheduler calls
//!   polls from one frame, so that the next poll writes its return address to the very
//!   same word of the stack. A hardware breakpoint of the kernel's
//!   (`perf_event_open`) notices the thread's first write to it and is gone then. A stack
//!   from after it was set must show the frame.
//! - The scheduler's own counters, where they were learned while the thread parked, have
//!   not moved: one turn of its loop, which is one poll, or up to four of tasks that wake
//!   one another ([`Scope::OneTurn`]).
//!
//! A thread that computes, of which neither is known (no `perf_event_open`, and it has not
//! parked since it is watched), is not reported. A poll's age counts from when it was
//! first proven, so that it is at least that.
//!
//! # What is looked at
//!
//! At each look one file of each thread that runs tokio (`schedstat`, 1 µs), and a second
//! one if it has run since (`syscall`, 2 µs). A blocked thread's stack is read once for
//! each place where it blocks (10 to 30 µs), and never again for those where it parks. A
//! computing thread's stack is wanted only once it has been on a CPU, or ready for one,
//! for half of the threshold without blocking at all, and without a turn of its scheduler
//! as far as that is known: healthy servers block, or turn, far more often. It comes from
//! the kernel's sampler where that is permitted, else from a stop.

mod poll;
mod sockets;
mod stall;
mod thread;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use looptop_procfs::SchedState;
use looptop_symbols::scheduler::{Kind, Place, Unknown};
use looptop_unwind::ModuleInfo;

use self::sockets::Sockets;
pub use self::stall::{Call, Life, RunningTask, Scope, StackSample, Stall};
use self::thread::Watched;
use crate::code::Program;
use crate::stop::Stopper;
use crate::tasks::Types;
use crate::{Changed, ProcessSpace, Subject};

/// Threads that are known at most.
const MAX_THREADS: usize = 4_096;
/// Threads whose files are open at most; two or three each.
const MAX_OPEN: usize = 200;
/// Stalls that have ended and nobody took yet.
const MAX_ENDED: usize = 1_024;
/// Between two lists of the threads.
const CENSUS: Duration = Duration::from_millis(100);
/// Threads that are sampled at the same time; the kernel limits the memory for it.
const MAX_SAMPLERS: usize = 8;

/// What a watch may do, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchOptions {
    /// A poll that takes longer is a stall.
    pub threshold: Duration,
    /// Between two looks.
    pub interval: Duration,
    /// The kernel's sampler may be used (`perf_event_open`).
    pub may_sample: bool,
    /// Threads that compute may be stopped where there is no sampler.
    pub may_stop: bool,
    /// The program's symbols are used. Without, it is watched as one that is stripped.
    pub use_symbols: bool,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            threshold: Duration::from_millis(10),
            interval: Duration::from_millis(10),
            may_sample: true,
            may_stop: true,
            use_symbols: true,
        }
    }
}

/// What a thread does for tokio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It is not known yet: its stack was not read.
    Unknown,
    /// A worker of a multi-thread runtime.
    Worker,
    /// It drives a current-thread runtime, perhaps with a `LocalSet`.
    CurrentThread,
    /// It is in `block_on` beside a multi-thread runtime.
    BlockOn,
    /// A thread of the blocking pool.
    BlockingPool,
    /// It runs no tokio.
    Other,
}

impl Role {
    /// That of a thread that stands there, and had this one before.
    pub(crate) fn at(place: Place, before: Self) -> Self {
        let runs_tokio = matches!(before, Self::Worker | Self::CurrentThread | Self::BlockOn);
        match place {
            Place::Parked(kind) | Place::InPoll(kind) => match kind {
                Kind::Worker => Self::Worker,
                Kind::CurrentThread => Self::CurrentThread,
                Kind::BlockOn => Self::BlockOn,
            },
            Place::InFuture => Self::BlockOn,
            // It drove a worker before it entered, and does so again.
            Place::HandedOver if before == Self::Unknown => Self::Worker,
            Place::HandedOver => before,
            Place::Pool => Self::BlockingPool,
            Place::Waits if runs_tokio => before,
            Place::Waits => Self::Unknown,
            Place::Elsewhere => Self::Other,
        }
    }
}

/// What is known of a thread.
#[derive(Debug, Clone, PartialEq)]
pub struct ThreadView {
    /// Its id.
    pub tid: u64,
    /// At most 15 bytes.
    pub name: String,
    /// What the kernel says that it does.
    pub state: SchedState,
    /// What it does for tokio.
    pub role: Role,
    /// CPU time in the program, ns, in steps of 10 ms.
    pub user_ns: u64,
    /// CPU time in the kernel, likewise.
    pub system_ns: u64,
    /// Time on a CPU, ns, in steps of the scheduler's tick.
    pub cpu_ns: u64,
    /// Time ready to run but without a CPU, ns.
    pub run_queue_ns: u64,
    /// Times that it gave up its CPU.
    pub voluntary_switches: u64,
    /// Times that its CPU was taken from it.
    pub involuntary_switches: u64,
    /// The call in which it is blocked.
    pub call: Option<Call>,
    /// Whether it waits for work, as of the newest look.
    pub parked: bool,
    /// Since when it is in its present poll, at least.
    pub in_poll_since: Option<Instant>,
    /// The task of it, where it is known.
    pub task: Option<RunningTask>,
    /// Whether long polls of it that compute are seen: its scheduler's counters are
    /// known, or the kernel's sampler is permitted.
    pub polls_distinguished: bool,
}

/// What watching has cost, and what it could not do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Costs {
    /// Looks at threads.
    pub looks: u64,
    /// Stacks of blocked threads that were read.
    pub read: u64,
    /// Of these, given up because the thread ran on meanwhile.
    pub torn: u64,
    /// Samples of the kernel's.
    pub sampled: u64,
    /// Samples for which the kernel had no room.
    pub samples_lost: u64,
    /// Breakpoints that were set on the end of a poll.
    pub polls_watched: u64,
    /// Threads that were stopped.
    pub stopped: u64,
    /// Stops that found the thread in a system call that it had just entered, which may
    /// have returned `EINTR`.
    pub stopped_in_call: u64,
    /// Threads that were asked to stop and did not in time.
    pub stops_failed: u64,
    /// How long stopped threads stood still: half of them no longer than this.
    pub held_p50: Option<Duration>,
    /// The longest.
    pub held_max: Option<Duration>,
    /// Why the kernel's sampler is not used.
    pub no_sampler: Option<String>,
    /// Why threads are not stopped.
    pub no_stop: Option<String>,
    /// Threads that are not watched: over the bound.
    pub threads_skipped: u64,
    /// Stalls that ended and were dropped before anybody took them.
    pub stalls_dropped: u64,
}

/// Why a process cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// Its threads cannot be listed.
    #[error("the threads of process {pid} cannot be listed: {error}")]
    NoThreads {
        /// Whose.
        pid: u32,
        /// What happened.
        error: std::io::Error,
    },
}

/// Which threads of a process are watched: the others are left alone, and not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Chosen {
    /// All of them.
    #[default]
    All,
    /// These, by their ids.
    These(HashSet<u64>),
    /// All but these.
    Except(HashSet<u64>),
}

impl Chosen {
    /// Whether the thread with this id is watched.
    pub fn has(&self, tid: u64) -> bool {
        match self {
            Self::All => true,
            Self::These(tids) => tids.contains(&tid),
            Self::Except(tids) => !tids.contains(&tid),
        }
    }
}

/// Watches the threads of a process; see the module.
#[derive(Debug)]
pub struct Watch {
    subject: Subject,
    threads: BTreeMap<u64, Watched>,
    next_census: Option<Instant>,
    chosen: Chosen,
    shared: Shared,
}

/// What all threads of a watch have in common.
#[derive(Debug)]
struct Shared {
    options: WatchOptions,
    /// The id of the process, which is that of its first thread.
    pid: u64,
    program: Program,
    stopper: Option<Stopper>,
    /// How long threads stood still, the newest, in µs.
    held: VecDeque<u32>,
    costs: Costs,
    samplers: usize,
    ended: VecDeque<Stall>,
    next_id: u64,
    open: usize,
    sockets: Sockets,
}

impl Watch {
    /// Reads the program's modules and symbols, some ten milliseconds. Nothing is watched
    /// before the first look.
    ///
    /// # Errors
    ///
    /// The process has ended, or may not be looked at.
    pub fn new(subject: &Subject, options: WatchOptions) -> Result<Self, WatchError> {
        if let Err(error) = subject.process().tids() {
            let pid = subject.pid();
            return Err(WatchError::NoThreads { pid, error });
        }
        // Only threads that cannot be sampled are stopped.
        #[cfg(feature = "planted")]
        let options = WatchOptions {
            may_sample: options.may_sample
                && std::env::var_os("LOOPTOP_PLANTED").is_none_or(|d| d != "stopped-thread"),
            ..options
        };
        let mut costs = Costs::default();
        if !options.may_sample {
            costs.no_sampler = Some("it was not permitted".to_owned());
        }
        let mut stopper = None;
        if options.may_stop {
            match Stopper::start(ProcessSpace::of(subject)) {
                Ok(started) => stopper = Some(started),
                Err(error) => costs.no_stop = Some(format!("no thread for it: {error}")),
            }
        } else {
            costs.no_stop = Some("it was not permitted".to_owned());
        }
        Ok(Self {
            subject: subject.clone(),
            threads: BTreeMap::new(),
            next_census: None,
            chosen: Chosen::All,
            shared: Shared {
                options,
                pid: u64::from(subject.pid()),
                program: Program::load(ProcessSpace::of(subject), options.use_symbols),
                stopper,
                held: VecDeque::new(),
                costs,
                samplers: 0,
                ended: VecDeque::new(),
                next_id: 1,
                open: 0,
                sockets: Sockets::default(),
            },
        })
    }

    /// Why tokio's scheduler is not found in the program, where it is not: there are
    /// threads then, and neither polls nor stalls.
    pub fn unknown(&self) -> Option<Unknown> {
        let program = &self.shared.program;
        program.nameless().filter(|_| !program.is_bare())
    }

    /// Why only the polls of tasks are seen, and not those of the futures of `block_on`:
    /// the program's task types say which they are, for want of symbols.
    pub fn sees_tasks_only(&self) -> Option<Unknown> {
        let program = &self.shared.program;
        program.nameless().filter(|_| program.is_bare())
    }

    /// Takes over the program's task types: where its symbols do not name tokio's
    /// scheduler, these say where the polls of tasks are; otherwise which of its polls are
    /// those of tasks, which the older mangling leaves out. Some ten milliseconds.
    pub fn learn_types(&mut self, types: &Types) {
        self.shared.program.learn_types(types);
    }

    /// Watches these threads from the next look on. One that is no longer among them is
    /// as one that has ended.
    pub fn choose(&mut self, chosen: Chosen) {
        if self.chosen != chosen {
            self.chosen = chosen;
            self.next_census = None;
        }
    }

    /// The process stood still: how long polls took that went on meanwhile says nothing.
    /// From the next look on its threads are watched as if it had just begun.
    pub fn forget(&mut self) {
        for (_, mut watched) in std::mem::take(&mut self.threads) {
            watched.gone(&mut self.shared);
        }
        (self.shared.samplers, self.shared.open) = (0, 0);
        self.next_census = None;
    }

    /// One look at the threads that may run tokio. Returns how long to rest until the
    /// next. `task_of` is asked with words of a stack for the task that is in poll there.
    ///
    /// # Errors
    ///
    /// The process is no longer what it was.
    pub fn look(
        &mut self,
        now: Instant,
        task_of: &dyn Fn(&[u64]) -> Option<RunningTask>,
    ) -> Result<Duration, Changed> {
        if self.next_census.is_none_or(|due| now >= due) {
            self.subject.unchanged()?;
            let began = Instant::now();
            self.census(now);
            self.shared.program.renew(now);
            // Of many threads the list itself takes its time.
            let rest = CENSUS.max(began.elapsed() * 50);
            self.next_census = Some(now + rest);
        }
        for watched in self.threads.values_mut() {
            watched.look(now, &mut self.shared, task_of);
        }
        Ok(self.shared.options.interval)
    }

    fn census(&mut self, now: Instant) {
        let Ok(tids) = self.subject.process().tids() else {
            return;
        };
        let mut skipped = 0;
        let mut alive = HashSet::new();
        for tid in tids.filter(|tid| self.chosen.has(*tid)) {
            alive.insert(tid);
            if self.threads.contains_key(&tid) {
                continue;
            }
            if self.threads.len() < MAX_THREADS {
                self.threads.insert(tid, Watched::new(tid, now));
            } else {
                skipped += 1;
            }
        }
        self.shared.costs.threads_skipped = skipped;
        let shared = &mut self.shared;
        self.threads.retain(|tid, watched| {
            let lives = alive.contains(tid);
            if !lives {
                watched.gone(shared);
            }
            lives
        });
        shared.samplers = self.threads.values().filter(|t| t.has_sampler()).count();
        shared.open = self.threads.values().filter(|t| t.has_files()).count();
    }

    /// All threads as they are now. Reads two or three files of each, some 30 µs.
    pub fn threads(&mut self) -> Vec<ThreadView> {
        let shared = &self.shared;
        let process = self.subject.process();
        let all = self.threads.values_mut();
        all.filter_map(|watched| watched.view(process, shared))
            .collect()
    }

    /// The stalls that go on, and those that have ended since they were last taken.
    pub fn take_stalls(&mut self) -> Vec<Stall> {
        let mut stalls: Vec<Stall> = self.shared.ended.drain(..).collect();
        let shared = &self.shared;
        let live = self.threads.values_mut();
        stalls.extend(live.filter_map(|watched| watched.stall(shared)));
        stalls
    }

    /// The modules that frames refer to; one keeps its index for good.
    pub fn modules(&self) -> &[ModuleInfo] {
        self.shared.program.modules()
    }

    /// The ids of blocked threads that run tokio, or may, and where their stacks end, as
    /// of the newest look.
    pub fn stack_pointers(&self) -> Vec<(u64, u64)> {
        let bare = self.shared.program.is_bare();
        let all = self.threads.values();
        all.filter_map(|watched| watched.stack_pointer(bare))
            .collect()
    }

    /// What it has cost so far.
    pub fn costs(&self) -> Costs {
        let mut costs = self.shared.costs.clone();
        let mut held: Vec<u32> = self.shared.held.iter().copied().collect();
        held.sort_unstable();
        let us = |us: &u32| Duration::from_micros(u64::from(*us));
        costs.held_p50 = held.get(held.len() / 2).map(us);
        costs
    }
}
