//! Who holds the lock that a stalled thread waits for.
//!
//! A lock of std does not name its owner. But a guard points at its lock, and it
//! lives on the stack of the thread that holds it: so the frames of all other threads'
//! stacks are searched for words that point at the lock, twice, since a word may
//! be a left-over ([`search`]). What is found is probable, not certain, and taken
//! back where the lock passes on while that thread sleeps ([`refuted`]). Locks of the
//! C library, those with priority inheritance and std's for its standard streams name
//! their owner ([`looptop_procfs::lock`]).
//!
//! The search runs on a thread of its own, which sleeps while no stalled thread
//! waits for a lock: reading the stacks of 100 threads takes milliseconds, which
//! the watchdog does not have.

mod refuted;
mod search;
#[cfg(all(test, target_os = "linux", not(looptop_elsewhere)))]
mod tests;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use looptop_procfs::lock::Lock;

use self::refuted::Refuted;
use self::search::Searcher;
use crate::clock::now_ns;
use crate::evidence::Object;
use crate::ids::{StallId, Tid};
use crate::shared::Shared;
use crate::stall::{SeenStack, TaskInfo};
use crate::sync::lock as locked;

/// The name of its thread.
const THREAD_NAME: &str = "looptop-holder";
/// One lock is searched for at most this often while the holder of some stall's
/// is not known, ...
const AGAIN_NS: u64 = 100_000_000;
/// ... and this often afterwards: it may have passed on to another.
const RENEW_NS: u64 = 1_000_000_000;
/// The thread is woken at most this often.
const WAKE_NS: u64 = 10_000_000;
/// Searches in one turn, and locks that are remembered.
const MAX_SEARCHES: usize = 4;
const MAX_LOCKS: usize = 256;
/// After this many panics of its own the search gives up.
const MAX_PANICS: u32 = 3;

/// The thread that holds a lock.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Holder {
    pub(crate) tid: Tid,
    pub(crate) name: String,
    /// The lock itself says so.
    pub(crate) certain: bool,
    /// Empty where it could not be had.
    pub(crate) stack: SeenStack,
    pub(crate) task: Option<u64>,
    pub(crate) description: Option<TaskInfo>,
    /// The system call that it is in, and what that works on.
    pub(crate) doing: Option<std::borrow::Cow<'static, str>>,
    pub(crate) object: Option<Object>,
}

/// The watchdog's side: it says that there may be something to search for.
#[derive(Debug)]
pub(crate) struct Holders {
    shared: Arc<Shared>,
    wake: Option<SyncSender<()>>,
    next_wake_ns: u64,
    /// Whom the search has named may yet be refuted.
    open: Arc<AtomicBool>,
    /// What is known from the start; the search takes it.
    refuted: Option<Refuted>,
}

impl Holders {
    /// Reads how often each thread has run: some microseconds for each.
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            wake: None,
            next_wake_ns: 0,
            open: Arc::default(),
            refuted: Some(Refuted::at_start(search::threads().into_iter())),
        }
    }

    /// Whom the search has named may yet be refuted.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Wakes the search if a stalled thread waits for a lock, or has just got one.
    /// Below 1 µs, and some 50 µs for the first one.
    pub(crate) fn look(&mut self, now_ns: u64) {
        let due = || self.is_open() || locked(&self.shared.stalls).some_waits_for_lock();
        if now_ns < self.next_wake_ns || !due() {
            return;
        }
        self.next_wake_ns = now_ns + WAKE_NS;
        let wake = self.wake.get_or_insert_with(|| {
            let rounds = Rounds {
                refuted: self.refuted.take().unwrap_or_default(),
                open: Arc::clone(&self.open),
                ..Rounds::default()
            };
            start(&self.shared, rounds)
        });
        if let Err(TrySendError::Disconnected(())) = wake.try_send(()) {
            // It gave up; nobody is searched for any more.
            self.next_wake_ns = u64::MAX;
        }
    }
}

/// Starts the search; it ends when the sender is dropped.
fn start(shared: &Arc<Shared>, rounds: Rounds) -> SyncSender<()> {
    let (sender, receiver) = sync_channel(1);
    let shared = Arc::clone(shared);
    let thread = std::thread::Builder::new().name(THREAD_NAME.into());
    // Without a thread the receiver is gone, which the sender learns.
    drop(thread.spawn(move || run(&shared, rounds, &receiver)));
    sender
}

fn run(shared: &Arc<Shared>, mut rounds: Rounds, woken: &Receiver<()>) {
    shared.enter_own_thread();
    let mut panics = 0;
    while woken.recv().is_ok() && !shared.is_stopping() {
        let turn = AssertUnwindSafe(|| rounds.turn(shared));
        if std::panic::catch_unwind(turn).is_err() {
            panics += 1;
            rounds = Rounds {
                open: rounds.open,
                ..Rounds::default()
            };
            if panics == MAX_PANICS {
                return;
            }
        }
    }
}

/// When each lock was searched for, and who turned out not to hold one.
#[derive(Debug, Default)]
struct Rounds {
    searched_ns: HashMap<u64, u64>,
    refuted: Refuted,
    open: Arc<AtomicBool>,
}

/// A stall whose thread waits in a futex.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) stall: StallId,
    pub(crate) tid: Tid,
    pub(crate) has_holder: bool,
    /// The stall ends when the thread goes on, and not before.
    pub(crate) is_exact: bool,
}

impl Rounds {
    /// Searches for the holders of the locks that stalled threads wait for.
    fn turn(&mut self, shared: &Arc<Shared>) {
        let waits_for = |tid| search::lock_of(tid).map(|lock| lock.address);
        let (taken_back, waiting) = {
            let mut log = locked(&shared.stalls);
            let taken_back = self.refuted.look(&mut log, waits_for);
            (taken_back, log.waiting_for_locks())
        };
        if taken_back {
            shared.news.notify_one();
        }
        self.search(shared, &waiting);
        self.open.store(self.refuted.is_open(), Ordering::Relaxed);
    }

    fn search(&mut self, shared: &Arc<Shared>, waiting: &[Waiting]) {
        let mut searcher = None;
        let mut turns = 0;
        for (lock, stalls) in by_lock(waiting, search::lock_of) {
            let waiters = if lock.gives_up { &[] } else { &*stalls };
            self.refuted.waits(lock.address, waiters);
            let now_ns = now_ns();
            let searched_ns = self.searched_ns.get(&lock.address).copied();
            let rest_ns = if stalls.iter().all(|w| w.has_holder) {
                RENEW_NS
            } else {
                AGAIN_NS
            };
            let rests = searched_ns.is_some_and(|at| now_ns.saturating_sub(at) < rest_ns);
            if rests || turns >= MAX_SEARCHES {
                continue;
            }
            turns += 1;
            let searcher = searcher.get_or_insert_with(|| Searcher::new(shared));
            let found = searcher.holder_of(&lock, &self.refuted);
            if let Some(candidate) = found.as_ref().and_then(|f| f.candidate.as_ref()) {
                self.refuted.named(lock.address, candidate, now_ns, waiters);
            }
            if self.searched_ns.len() >= MAX_LOCKS {
                self.searched_ns.clear();
            }
            self.searched_ns.insert(lock.address, now_ns);
            let found = found.map(|found| Box::new(found.holder));
            let mut log = locked(&shared.stalls);
            for waiting in stalls {
                log.set_holder(waiting.stall, lock.address, found.clone());
            }
            drop(log);
            if found.is_some() {
                shared.news.notify_one();
            }
        }
    }
}

/// The stalls of each lock, in the order of the stalls.
fn by_lock(
    waiting: &[Waiting],
    lock_of: impl Fn(Tid) -> Option<Lock>,
) -> Vec<(Lock, Vec<Waiting>)> {
    let mut locks: Vec<(Lock, Vec<Waiting>)> = Vec::new();
    for one in waiting {
        let Some(lock) = lock_of(one.tid) else {
            continue;
        };
        match locks.iter_mut().find(|(l, _)| l.address == lock.address) {
            Some((_, stalls)) => stalls.push(*one),
            None => locks.push((lock, vec![*one])),
        }
    }
    locks
}
