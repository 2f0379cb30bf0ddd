//! The thread that looks at the runtimes of the tests that run, one for all of them.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor, RuntimeMetrics};

use super::polls::{Block, Live, Polls, Sight, Whose};
use super::root::Root;
use super::settings::Settings;
use super::standstill::{self, Standstill, Still};
use super::threads::{Pairs, Threads};
use crate::clock::now_ns;
use crate::ids::{Tid, WorkerIndex};
use crate::sync::lock;
use crate::thread_clock::current_tid;
use crate::watchdog::{Counters, Suspension};

/// Between two looks, while no poll is long, and while one may become too long.
const REST: Duration = Duration::from_millis(10);
const CLOSE: Duration = Duration::from_millis(2);
const LEAST_REST: Duration = Duration::from_millis(1);
/// Looks within the shortest limit, at least.
const LOOKS: u64 = 10;

/// One test and its runtime.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) settings: Mutex<Settings>,
    pub(super) root: Root,
    pub(super) threads: Arc<Threads>,
    /// Each worker publishes its counters after each poll.
    is_exact: bool,
    single: bool,
    /// The thread of a current-thread runtime.
    thread: Option<Tid>,
    looks: Mutex<Looks>,
}

#[derive(Debug)]
struct Looks {
    /// It holds the runtime open: gone after the last look.
    metrics: Option<RuntimeMetrics>,
    polls: Polls,
    workers: Vec<Progress>,
    pairs: Pairs,
    still: Standstill,
    live: Live,
}

/// What a worker, and the test's own future, had come to at a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Progress {
    counters: Counters,
    root: u64,
    since_ns: u64,
}

/// What was seen of a test, at its end.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) blocks: Vec<Block>,
    pub(super) more: u64,
    /// Nothing let it go on.
    pub(super) stood_still: Option<Still>,
}

impl Watched {
    pub(super) fn new(
        settings: Settings,
        handle: &Handle,
        threads: Arc<Threads>,
        is_exact: bool,
    ) -> Self {
        let metrics = handle.metrics();
        let now_ns = now_ns();
        let progress = |worker: usize| Progress {
            counters: Counters::of(&metrics, WorkerIndex(worker as u32)),
            root: 0,
            since_ns: now_ns,
        };
        let single = handle.runtime_flavor() == RuntimeFlavor::CurrentThread;
        Self {
            settings: Mutex::new(settings),
            root: Root::default(),
            threads,
            is_exact,
            single,
            thread: current_tid().filter(|_| single),
            looks: Mutex::new(Looks {
                workers: (0..metrics.num_workers()).map(progress).collect(),
                metrics: Some(metrics),
                polls: Polls::default(),
                pairs: Pairs::default(),
                still: Standstill::default(),
                live: Live::default(),
            }),
        }
    }

    /// Live tasks of the runtime; `None` after the last look.
    pub(super) fn alive(&self) -> Option<usize> {
        let looks = lock(&self.looks);
        Some(looks.metrics.as_ref()?.num_alive_tasks())
    }

    pub(super) fn is_single(&self) -> bool {
        self.single
    }

    fn limit_ns(&self) -> u64 {
        lock(&self.settings).max_poll_ns()
    }

    /// Whether it is to be looked at again soon.
    fn look(&self, now_ns: u64, gap_ns: Option<u64>) -> bool {
        let limit_ns = self.limit_ns();
        let watches_standstill = lock(&self.settings).deadlock;
        let mut looks = lock(&self.looks);
        let looks = &mut *looks;
        let Some(metrics) = &looks.metrics else {
            return false;
        };
        if let Some(gap_ns) = gap_ns {
            looks.polls.suspended(gap_ns);
            looks.still.moved(now_ns);
        }
        let Some(root) = self.root.view() else {
            looks.still.moved(now_ns);
            return true;
        };
        let mut moved = false;
        for (worker, progress) in looks.workers.iter_mut().enumerate() {
            let counters = Counters::of(metrics, WorkerIndex(worker as u32));
            // On the thread of a current-thread runtime both take turns.
            let root = if self.single { root.sequence } else { 0 };
            if (counters, root) != (progress.counters, progress.root) {
                *progress = Progress {
                    counters,
                    root,
                    since_ns: now_ns,
                };
                moved = true;
            }
        }
        let is_awake = |progress: &Progress| progress.counters.park_unpark.is_multiple_of(2);
        let awake: Vec<bool> = looks.workers.iter().map(is_awake).collect();
        let working = self.threads.working();
        let mut sights = Vec::new();
        if root.is_polled() {
            sights.push(Sight {
                whose: Whose::Root,
                key: (root.sequence, 0, 0),
                tid: root.tid,
                since_ns: root.started_ns,
                is_one: true,
            });
        }
        if !self.single {
            let stuck = looks.workers.iter().enumerate();
            let stuck = stuck.filter(|(worker, progress)| {
                awake[*worker] && now_ns.saturating_sub(progress.since_ns) >= limit_ns / 4
            });
            let stuck: Vec<usize> = stuck.map(|(worker, _)| worker).collect();
            looks.pairs.look(&awake, &stuck, &working);
        }
        if !(self.single && root.is_polled()) {
            for (worker, progress) in looks.workers.iter().enumerate() {
                let Counters {
                    park_unpark,
                    busy_ns,
                } = progress.counters;
                let tid = if self.single {
                    root.tid.or(self.thread)
                } else {
                    looks.pairs.thread(worker)
                };
                // Nothing was published yet: it may not have begun.
                let began = park_unpark > 0 || busy_ns > 0 || self.single;
                if awake[worker] && began {
                    sights.push(Sight {
                        whose: Whose::Worker(worker),
                        key: (park_unpark, busy_ns, progress.root),
                        tid,
                        since_ns: progress.since_ns,
                        is_one: self.is_exact,
                    });
                }
            }
        }
        let again = |sight: &Sight| self.is_still(metrics, sight);
        looks
            .polls
            .look(now_ns, &sights, limit_ns, &mut looks.live, again);
        let lasting = looks.polls.lasting(now_ns, limit_ns);
        if !lasting.is_empty() {
            // Names take a while to read, and this thread has other polls to look at.
            let settings = lock(&self.settings).clone();
            let thread = std::thread::Builder::new().name("looptop-report".into());
            drop(thread.spawn(move || super::report::goes_on(&settings, &lasting)));
        }
        if watches_standstill {
            let look = standstill::Look {
                root,
                alive: metrics.num_alive_tasks(),
                thread: self.thread,
                working: &working,
                in_poll: root.is_polled() || (self.single && awake.contains(&true)),
            };
            if let Some(still) = looks.still.look(now_ns, moved, &look) {
                self.give_up(&still, looks.polls.in_progress(now_ns));
            }
        }
        looks.polls.is_close(now_ns, limit_ns)
    }

    fn is_still(&self, metrics: &RuntimeMetrics, sight: &Sight) -> bool {
        match sight.whose {
            Whose::Root => self.root.sequence() == sight.key.0,
            Whose::Worker(worker) => {
                let counters = Counters::of(metrics, WorkerIndex(worker as u32));
                let root = if self.single { self.root.sequence() } else { 0 };
                (counters.park_unpark, counters.busy_ns, root) == sight.key
            }
        }
    }

    /// Nothing lets the test go on. Its future is polled once more and ends; where that is
    /// in a poll itself, or the guard is not around it, nothing can end this process but
    /// this thread.
    fn give_up(&self, still: &Still, in_progress: Vec<Block>) {
        if !still.in_poll {
            // Where it waits is seen then.
            let _ = super::install_capture();
            self.root.give_up();
            return;
        }
        let settings = lock(&self.settings).clone();
        super::report::for_ever(&settings, still, in_progress);
        std::process::exit(super::FAILED);
    }

    /// The last look, by whoever ran the test: what was seen of it.
    pub(super) fn finish(&self) -> Seen {
        let (now_ns, limit_ns) = (now_ns(), self.limit_ns());
        let mut looks = lock(&self.looks);
        let looks = &mut *looks;
        looks.metrics = None;
        looks.polls.end_all(now_ns, limit_ns, &mut looks.live);
        Seen {
            blocks: std::mem::take(&mut looks.polls.blocks),
            more: looks.polls.more,
            stood_still: looks.still.verdict.take(),
        }
    }

    /// The polls in progress.
    pub(super) fn in_progress(&self) -> Vec<Block> {
        lock(&self.looks).polls.in_progress(now_ns())
    }
}

#[derive(Default)]
struct State {
    watched: Vec<Arc<Watched>>,
    is_there: bool,
}

static STATE: Mutex<State> = Mutex::new(State {
    watched: Vec::new(),
    is_there: false,
});
static CHANGED: Condvar = Condvar::new();

/// Looks at it from now on.
pub(super) fn enter(watched: &Arc<Watched>) {
    let mut state = lock(&STATE);
    state.watched.push(Arc::clone(watched));
    if !state.is_there {
        let thread = std::thread::Builder::new().name("looptop-lookout".into());
        state.is_there = thread.spawn(run).is_ok();
    }
    drop(state);
    CHANGED.notify_all();
}

/// Looks at it no more.
pub(super) fn leave(watched: &Arc<Watched>) {
    lock(&STATE)
        .watched
        .retain(|other| !Arc::ptr_eq(other, watched));
}

fn run() {
    crate::task::exclude_current_thread();
    let mut suspension = Suspension::new(nanos(REST));
    let mut due_ns = u64::MAX;
    loop {
        let mut state = lock(&STATE);
        while state.watched.is_empty() {
            state = CHANGED.wait(state).unwrap_or_else(PoisonError::into_inner);
            due_ns = u64::MAX;
        }
        let watched = state.watched.clone();
        drop(state);
        let gap_ns = suspension.look(now_ns().saturating_sub(due_ns));
        let mut is_close = false;
        for watched in &watched {
            let look = std::panic::AssertUnwindSafe(|| watched.look(now_ns(), gap_ns));
            is_close |= std::panic::catch_unwind(look).unwrap_or(false);
        }
        let limits = watched.iter().map(|watched| watched.limit_ns());
        let rest = Duration::from_nanos(limits.min().unwrap_or(u64::MAX) / LOOKS);
        let rest = rest.clamp(LEAST_REST, if is_close { CLOSE } else { REST });
        // The thread that runs a test may drop the last one.
        drop(watched);
        due_ns = now_ns() + nanos(rest);
        std::thread::sleep(rest);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
