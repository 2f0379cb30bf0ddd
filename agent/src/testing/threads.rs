//! The threads of a test's runtime, by its own hooks: which are parked, and which worker
//! each drives.

use std::cell::RefCell;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Builder;

use crate::clock::now_ns;
use crate::ids::Tid;
use crate::sync::lock;
use crate::thread_clock::current_tid;

thread_local! {
    static OWN: RefCell<Option<Arc<Seat>>> = const { RefCell::new(None) };
}

/// A thread of the runtime: a worker's, or one of the blocking pool.
#[derive(Debug)]
struct Seat {
    tid: Tid,
    /// It has parked before: it is a worker's.
    works: AtomicBool,
    parked: AtomicBool,
    /// When it last parked or went on.
    changed_ns: AtomicU64,
}

/// A thread that runs as a worker, as of one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Working {
    pub(super) tid: Tid,
    /// `None` while it is parked.
    pub(super) since_ns: Option<u64>,
}

/// All threads of a runtime.
#[derive(Debug, Default)]
pub(super) struct Threads {
    seats: Mutex<Vec<Arc<Seat>>>,
    parked: Condvar,
}

impl Threads {
    /// Has the runtime's threads report to this.
    pub(super) fn hook(self: &Arc<Self>, builder: &mut Builder) {
        let (start, stop, park) = (Arc::clone(self), Arc::clone(self), Arc::clone(self));
        builder
            .on_thread_start(move || start.enter())
            .on_thread_stop(move || stop.leave())
            .on_thread_park(move || park.park())
            .on_thread_unpark(|| {
                with_own(|seat| seat.set(false));
            });
    }

    fn enter(&self) {
        let Some(tid) = current_tid() else { return };
        let seat = Arc::new(Seat {
            tid,
            works: AtomicBool::new(false),
            parked: AtomicBool::new(false),
            changed_ns: AtomicU64::new(now_ns()),
        });
        lock(&self.seats).push(Arc::clone(&seat));
        // A thread that ends has no local variables any more, and reports nothing.
        let _ = OWN.try_with(|own| own.replace(Some(seat)));
    }

    fn leave(&self) {
        let _ = OWN.try_with(|own| own.replace(None));
        let tid = current_tid();
        lock(&self.seats).retain(|seat| Some(seat.tid) != tid);
    }

    fn park(&self) {
        let is_first = with_own(|seat| {
            seat.set(true);
            !seat.works.swap(true, Relaxed)
        });
        if is_first == Some(true) {
            // Whoever waits for it looks under this lock.
            drop(lock(&self.seats));
            self.parked.notify_all();
        }
    }

    /// Returns once so many threads have parked, which they do at once where there is no
    /// work; a machine without a free CPU is not waited for.
    pub(super) fn wait_for(&self, workers: usize) {
        const PATIENCE: Duration = Duration::from_millis(100);
        let deadline = Instant::now() + PATIENCE;
        let mut seats = lock(&self.seats);
        loop {
            let working = seats.iter().filter(|seat| seat.works.load(Relaxed));
            let left = deadline.saturating_duration_since(Instant::now());
            if working.count() >= workers || left.is_zero() {
                return;
            }
            let waited = self.parked.wait_timeout(seats, left);
            seats = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Those of the blocking pool.
    pub(super) fn of_pool(&self) -> Vec<Tid> {
        let seats = lock(&self.seats);
        let seats = seats.iter().filter(|seat| !seat.works.load(Relaxed));
        seats.map(|seat| seat.tid).collect()
    }

    /// Those that run as workers.
    pub(super) fn working(&self) -> Vec<Working> {
        let seats = lock(&self.seats);
        let seats = seats.iter().filter(|seat| seat.works.load(Relaxed));
        let working = seats.map(|seat| {
            let changed_ns = seat.changed_ns.load(Acquire);
            let parked = seat.parked.load(Acquire);
            Working {
                tid: seat.tid,
                since_ns: (!parked).then_some(changed_ns),
            }
        });
        working.collect()
    }
}

impl Seat {
    fn set(&self, parked: bool) {
        self.parked.store(parked, Release);
        self.changed_ns.store(now_ns(), Release);
    }
}

fn with_own<T>(f: impl FnOnce(&Seat) -> T) -> Option<T> {
    OWN.try_with(|own| own.borrow().as_deref().map(f))
        .ok()
        .flatten()
}

/// Which thread drives which worker, as far as counters and threads have shown it.
#[derive(Debug, Default)]
pub(super) struct Pairs(Vec<Option<Tid>>);

impl Pairs {
    /// Takes in a look: `awake` says of each worker whether it is, `stuck` since when it
    /// has published nothing, where it is. Gives the thread of a worker that is stuck.
    ///
    /// One worker and one thread are awake: it is that thread's. As many threads are awake
    /// as workers are stuck: each thread is stuck, and it is all one which is which.
    pub(super) fn look(&mut self, awake: &[bool], stuck: &[usize], threads: &[Working]) {
        self.0.resize(awake.len(), None);
        let running: Vec<Tid> = threads
            .iter()
            .filter_map(|thread| thread.since_ns.map(|_| thread.tid))
            .collect();
        // A worker may be given to another thread (`block_in_place`).
        for (worker, pair) in self.0.iter_mut().enumerate() {
            let contradicts = |tid: Tid| awake[worker] != running.contains(&tid);
            if pair.is_some_and(contradicts) {
                *pair = None;
            }
        }
        let all_awake: Vec<usize> = (0..awake.len()).filter(|worker| awake[*worker]).collect();
        if let ([worker], [tid]) = (all_awake.as_slice(), running.as_slice()) {
            self.assign(*worker, *tid);
        }
        let free: Vec<Tid> = running
            .iter()
            .copied()
            .filter(|tid| !self.0.contains(&Some(*tid)))
            .collect();
        let open: Vec<usize> = stuck
            .iter()
            .copied()
            .filter(|worker| self.0[*worker].is_none())
            .collect();
        if free.len() == open.len() {
            for (worker, tid) in open.into_iter().zip(free) {
                self.assign(worker, tid);
            }
        }
    }

    fn assign(&mut self, worker: usize, tid: Tid) {
        for pair in &mut self.0 {
            if *pair == Some(tid) {
                *pair = None;
            }
        }
        self.0[worker] = Some(tid);
    }

    /// The thread of a worker.
    pub(super) fn thread(&self, worker: usize) -> Option<Tid> {
        self.0.get(worker).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threads(awake: &[(u64, bool)]) -> Vec<Working> {
        let working = |(tid, awake): &(u64, bool)| Working {
            tid: Tid(*tid),
            since_ns: awake.then_some(1),
        };
        awake.iter().map(working).collect()
    }

    #[test]
    fn the_only_thread_that_is_awake_drives_the_only_worker_that_is() {
        let mut pairs = Pairs::default();
        pairs.look(&[false, true], &[], &threads(&[(7, true), (8, false)]));
        assert_eq!((pairs.thread(0), pairs.thread(1)), (None, Some(Tid(7))));
        // Both are awake, and the other one is stuck.
        pairs.look(&[true, true], &[0], &threads(&[(7, true), (8, true)]));
        assert_eq!(pairs.thread(0), Some(Tid(8)));
    }

    #[test]
    fn as_many_threads_as_stuck_workers_are_stuck() {
        let mut pairs = Pairs::default();
        pairs.look(&[true, true], &[0, 1], &threads(&[(7, true), (8, true)]));
        assert_eq!(
            (pairs.thread(0), pairs.thread(1)),
            (Some(Tid(7)), Some(Tid(8)))
        );
    }

    #[test]
    fn which_of_two_is_stuck_is_not_said_before_it_is_known() {
        let mut pairs = Pairs::default();
        let both = threads(&[(7, true), (8, true)]);
        pairs.look(&[true, true], &[0], &both);
        assert_eq!(pairs.thread(0), None);
        pairs.look(&[true, false], &[0], &threads(&[(7, false), (8, true)]));
        assert_eq!(pairs.thread(0), Some(Tid(8)));
    }

    #[test]
    fn a_worker_that_was_given_away_is_forgotten() {
        let mut pairs = Pairs::default();
        pairs.look(&[true], &[], &threads(&[(7, true)]));
        assert_eq!(pairs.thread(0), Some(Tid(7)));
        pairs.look(&[false], &[], &threads(&[(7, true)]));
        assert_eq!(pairs.thread(0), None);
    }
}
