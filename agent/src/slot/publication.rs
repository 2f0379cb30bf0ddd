//! The protocol by which one thread shows its poll to others.
//!
//! `sequence` is odd while a poll is open. The owner changes the other fields
//! only while `sequence` is even, and makes it odd with a new value afterwards.
//! A reader that finds the same odd value before and after has read the fields
//! of one poll.
//!
//! Orderings, once for all: the fields are stored with `Release` and loaded
//! with `Acquire`. A reader that sees a field of the next poll therefore also
//! sees the even `sequence` stored before it, hence a changed `sequence`. The
//! store that makes `sequence` odd is a `Release` and the reader's first load
//! an `Acquire`, so that an odd value comes with its fields. On x86-64 all of
//! these are plain moves. `agent/models` runs this file through every order that
//! the memory model allows.

use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::sync::atomic::{AtomicU32, AtomicU64};
use crate::sync::hint;

/// Attempts to read before the thread counts as "between polls": it began and
/// ended polls faster than they could be read.
const ATTEMPTS: usize = 16;

/// What one thread shows. Only the owner calls [`open`](Self::open) and
/// [`close`](Self::close).
#[derive(Debug)]
pub(crate) struct Publication {
    pub(super) sequence: AtomicU64,
    pub(super) task: AtomicU64,
    pub(super) started: AtomicU64,
    pub(super) site: AtomicU32,
}

/// What was read of it. All but `sequence` is 0 between polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) sequence: u64,
    pub(crate) task: u64,
    pub(crate) started: u64,
    pub(crate) site: u32,
}

impl Publication {
    /// A poll begins, or an outer one goes on after a nested one ended. Loads and
    /// stores instead of read-modify-write: nobody else stores.
    #[inline]
    pub(crate) fn open(&self, task: u64, site: u32, started: u64) {
        let mut sequence = self.sequence.load(Relaxed);
        if sequence % 2 == 1 {
            sequence += 1;
            self.sequence.store(sequence, Relaxed);
        }
        self.task.store(task, Release);
        self.site.store(site, Release);
        self.started.store(started, Release);
        self.sequence.store(sequence + 1, Release);
    }

    /// The outermost poll ended.
    #[inline]
    pub(crate) fn close(&self) {
        let sequence = self.sequence.load(Relaxed);
        self.sequence.store((sequence + 1) & !1, Release);
    }

    /// What is shown now, consistent in itself.
    pub(crate) fn read(&self) -> Reading {
        for _ in 0..ATTEMPTS {
            let sequence = self.sequence.load(Acquire);
            if sequence.is_multiple_of(2) {
                return Reading::between_polls(sequence);
            }
            let reading = Reading {
                sequence,
                task: self.task.load(Acquire),
                started: self.started.load(Acquire),
                site: self.site.load(Acquire),
            };
            if self.sequence.load(Relaxed) == sequence {
                return reading;
            }
            hint::spin_loop();
        }
        Reading::between_polls(self.sequence.load(Relaxed) & !1)
    }
}

impl Reading {
    fn between_polls(sequence: u64) -> Self {
        Self {
            sequence,
            task: 0,
            started: 0,
            site: 0,
        }
    }
}
