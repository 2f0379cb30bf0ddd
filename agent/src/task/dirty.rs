//! The list of records that changed since a collector last took them.
//!
//! Any thread puts a record on it, one collector takes all. A record is on the
//! list once at most: its mark is set by whoever puts it there, and cleared when
//! it is taken. `agent/models` runs this file through every order that the memory
//! model allows.

use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::sync::atomic::{AtomicBool, AtomicU32};

/// The index of no record.
pub(super) const NONE: u32 = u32::MAX;

/// The head of a list whose links are in the records.
#[derive(Debug)]
pub(super) struct DirtyList {
    pub(super) head: AtomicU32,
}

/// What a record has of the list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link<'a> {
    pub(super) index: u32,
    pub(super) mark: &'a AtomicBool,
    pub(super) next: &'a AtomicU32,
}

impl DirtyList {
    /// Puts a record on the list, unless it is there.
    pub(super) fn put(&self, link: Link<'_>) {
        // AcqRel: who finds the mark cleared stores the link after the collector
        // has followed it.
        if link.mark.swap(true, AcqRel) {
            return;
        }
        let mut head = self.head.load(Relaxed);
        loop {
            link.next.store(head, Relaxed);
            // Release: who takes the list sees the links.
            let swap = self
                .head
                .compare_exchange_weak(head, link.index, Release, Relaxed);
            match swap {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Takes the whole list: its first record, to be followed by [`taken`].
    pub(super) fn take(&self) -> Option<u32> {
        let first = self.head.swap(NONE, AcqRel);
        (first != NONE).then_some(first)
    }
}

/// Frees a record of a list that was taken, to be put on the new one from now
/// on; says which comes after it.
pub(super) fn taken(link: Link<'_>) -> Option<u32> {
    // The link first: once the mark is gone others may set it anew.
    let next = link.next.load(Acquire);
    // AcqRel, the other half of `put`.
    link.mark.swap(false, AcqRel);
    (next != NONE).then_some(next)
}
