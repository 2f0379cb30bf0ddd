//! One slot for each thread that polls tasks: what it polls now, and since when.
//!
//! The owner only stores; whoever looks (watchdog, publisher) only loads, and
//! reads again if the slot changed under its eyes. A slot fills two cache
//! lines of its own, so that neither threads nor the prefetcher make it shared.

mod publication;

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};

use self::publication::Publication;
use crate::clock::Ticks;
use crate::task::site::SiteId;

/// Threads that can be watched at the same time. Tokio's blocking pool has 512
/// threads at most by default.
pub(crate) const SLOTS: usize = 1024;

static TABLE: [Slot; SLOTS] = [const { Slot::new() }; SLOTS];
/// Slots from here on were never used.
static USED: AtomicUsize = AtomicUsize::new(0);
static LOST: AtomicU64 = AtomicU64::new(0);

/// What one thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotView {
    /// Thread id of the operating system; 0 where it could not be read.
    pub(crate) tid: u64,
    /// Odd while in a poll. The same odd value twice means the same poll.
    pub(crate) sequence: u64,
    /// The task in poll, 0 for none. Tokio's own id of the task.
    pub(crate) task: u64,
    /// Where that task was spawned.
    pub(crate) site: Option<SiteId>,
    /// When the poll began.
    pub(crate) started: Ticks,
}

impl SlotView {
    fn idle(tid: u64) -> Self {
        Self {
            tid,
            sequence: 0,
            task: 0,
            site: None,
            started: Ticks(0),
        }
    }

    /// Whether a poll was open.
    pub(crate) fn polling(&self) -> bool {
        self.sequence % 2 == 1
    }
}

#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Slot {
    poll: Publication,
    tid: AtomicU64,
    claimed: AtomicBool,
}

impl Slot {
    const fn new() -> Self {
        Self {
            poll: Publication {
                sequence: AtomicU64::new(0),
                task: AtomicU64::new(0),
                started: AtomicU64::new(0),
                site: AtomicU32::new(0),
            },
            tid: AtomicU64::new(0),
            claimed: AtomicBool::new(false),
        }
    }

    /// A free slot for the calling thread; `None`, and counted, when all are
    /// taken.
    pub(crate) fn claim(tid: u64) -> Option<&'static Slot> {
        let slot = Self::claim_in(&TABLE, &USED, tid);
        if slot.is_none() {
            LOST.fetch_add(1, Relaxed);
        }
        slot
    }

    fn claim_in<'a>(table: &'a [Slot], used: &AtomicUsize, tid: u64) -> Option<&'a Slot> {
        let free = |slot: &Slot| {
            // Acquire: what the former owner stored happened before.
            let claim = slot.claimed.compare_exchange(false, true, Acquire, Relaxed);
            claim.is_ok()
        };
        let index = table.iter().position(free)?;
        table[index].tid.store(tid, Release);
        // Release: who sees the new bound may read the slots below it.
        used.fetch_max(index + 1, Release);
        Some(&table[index])
    }

    /// Gives the slot back; the calling thread must own it.
    pub(crate) fn release(&self) {
        self.close();
        self.tid.store(0, Release);
        self.claimed.store(false, Release);
    }

    /// A poll begins, or an outer one goes on after a nested one ended. Called
    /// by the owner only.
    #[inline]
    pub(crate) fn open(&self, task: u64, site: u32, started: Ticks) {
        self.poll.open(task, site, started.0);
    }

    /// The outermost poll ended. Called by the owner only.
    #[inline]
    pub(crate) fn close(&self) {
        self.poll.close();
    }

    fn view(&self) -> SlotView {
        let tid = self.tid.load(Acquire);
        let reading = self.poll.read();
        let now = self.tid.load(Acquire);
        if now != tid {
            // The thread that was read is not the one that has the slot now.
            return SlotView::idle(now);
        }
        SlotView {
            tid,
            sequence: reading.sequence,
            task: reading.task,
            site: SiteId::from_raw(reading.site),
            started: Ticks(reading.started),
        }
    }
}

/// Shows every slot that has an owner, each consistent in itself. Allocates
/// nothing and takes no lock.
pub(crate) fn for_each(mut f: impl FnMut(SlotView)) {
    for slot in &TABLE[..USED.load(Acquire)] {
        if slot.claimed.load(Acquire) {
            f(slot.view());
        }
    }
}

/// The sequence number of the slot of thread `tid`, if it has one.
pub(crate) fn sequence_of(tid: u64) -> Option<&'static AtomicU64> {
    let used = &TABLE[..USED.load(Acquire)];
    let slot = used
        .iter()
        .find(|s| s.claimed.load(Acquire) && s.tid.load(Acquire) == tid)?;
    Some(&slot.poll.sequence)
}

/// Threads that polled tasks and found all slots taken. Absolute.
pub(crate) fn lost() -> u64 {
    LOST.load(Relaxed)
}

/// Thread id of the calling thread as the operating system counts; 0 where it
/// cannot be read. A few microseconds: once per thread.
pub(crate) fn current_tid() -> u64 {
    // "4211/task/4213"; reading the link needs no unsafe call.
    let link = std::fs::read_link("/proc/thread-self").ok();
    link.as_deref()
        .and_then(std::path::Path::file_name)
        .and_then(std::ffi::OsStr::to_str)
        .and_then(|tid| tid.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_shows_the_innermost_poll() {
        let slot = Slot::new();
        assert!(!slot.view().polling());
        slot.open(7, 3, Ticks(100));
        let outer = slot.view();
        assert!(outer.polling());
        assert_eq!((outer.task, outer.started), (7, Ticks(100)));
        slot.open(8, 4, Ticks(150));
        let inner = slot.view();
        assert_eq!((inner.task, inner.polling()), (8, true));
        slot.open(7, 3, Ticks(100));
        let restored = slot.view();
        assert_eq!((restored.task, restored.started), (7, Ticks(100)));
        assert_ne!(restored.sequence, outer.sequence, "not one unbroken poll");
        slot.close();
        assert_eq!((slot.view().task, slot.view().polling()), (0, false));
    }

    #[test]
    fn slots_are_bounded_and_reused() {
        let table = [const { Slot::new() }; 3];
        let used = AtomicUsize::new(0);
        let claim = |tid| Slot::claim_in(&table, &used, tid);
        let slots: Vec<_> = (1..=3).map(|tid| claim(tid).unwrap()).collect();
        assert!(claim(4).is_none());
        slots[1].open(9, 0, Ticks(1));
        slots[1].release();
        let again = claim(5).unwrap();
        let view = again.view();
        assert_eq!((view.tid, view.polling()), (5, false), "nothing left over");
        assert_eq!(used.load(Relaxed), 3);
    }

    /// The owner stores fields that belong together; no reader may ever see
    /// the fields of two polls mixed.
    #[test]
    fn a_view_is_never_torn() {
        let slot = Slot::new();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in (1..u32::MAX).cycle() {
                    slot.open(u64::from(n), n, Ticks(u64::from(n)));
                    if n % 3 == 0 {
                        slot.close();
                    }
                    if n % 64 == 0 && done.load(Acquire) {
                        break;
                    }
                }
            });
            let mut seen = 0;
            while seen < 20_000 {
                let view = slot.view();
                if view.polling() {
                    let site = SiteId::from_raw(view.task as u32);
                    assert_eq!((view.site, view.started), (site, Ticks(view.task)));
                    seen += 1;
                }
            }
            done.store(true, Release);
        });
    }

    #[cfg(all(target_os = "linux", not(looptop_elsewhere)))]
    #[test]
    fn threads_have_their_own_id() {
        let other = std::thread::spawn(current_tid).join().unwrap();
        assert!(current_tid() != 0 && other != 0 && other != current_tid());
    }
}
