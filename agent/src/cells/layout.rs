//! How tokio lays a task out in memory, as far as it must be known to count those
//! that have ended.
//!
//! Each task is one allocation, a `Cell`, that begins with a `Header`: state word,
//! queue link, pointer to a static vtable, owner. The vtable belongs to one future
//! type and says itself where the trailer is, so that there is no table of offsets
//! for each version. Seen in tokio 1.38 to 1.54; what looks different is not
//! counted at all.

use std::ops::Range;

/// Where a `Header` holds the address of its vtable.
pub(super) const VTABLE_AT: u64 = 16;
/// Cells begin at multiples of this, against false sharing.
pub(super) const CELL_ALIGN: u64 = 128;
/// Words of a vtable: seven functions and three offsets, with `tokio_unstable`
/// that of the spawn location as well.
pub(super) const VTABLE_WORDS: usize = if cfg!(tokio_unstable) { 11 } else { 10 };

const FUNCTIONS: usize = 7;
/// What follows the trailer's offset: list links, a waker, hooks.
const TRAILER_BYTES: u64 = 48;

/// Flags of the state word; the reference count follows.
const RUNNING: u64 = 1;
const COMPLETE: u64 = 2;
const JOIN_INTEREST: u64 = 8;
const REFERENCES: u32 = 6;
/// More references to one task are garbage: 2^20.
const MAX_REFERENCES: u64 = 1 << 20;

/// A future type, as its vtable says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vtable {
    /// The function that polls it.
    pub(super) poll: u64,
    /// Bytes of a cell.
    pub(super) cell: u64,
    /// Where a cell holds the address of its spawn location.
    pub(super) location_at: Option<u64>,
}

impl Vtable {
    /// The vtable that `words` are, if they are one; `code` is where functions of
    /// the program are.
    pub(super) fn of(words: &[u64], code: &[Range<u64>]) -> Option<Self> {
        let words = words.get(..VTABLE_WORDS)?;
        let (functions, offsets) = words.split_at(FUNCTIONS);
        let in_code = |address: &u64| code.iter().any(|range| range.contains(address));
        if !functions.iter().all(in_code) {
            return None;
        }
        let (trailer, scheduler, id) = (offsets[0], offsets[1], offsets[2]);
        let aligned = offsets.iter().all(|offset| offset % 8 == 0);
        let plausible = aligned
            && (0x20..1 << 24).contains(&trailer)
            && (0x18..0x100).contains(&scheduler)
            && (scheduler..scheduler + 0x40).contains(&id)
            && trailer > id;
        let location_at = offsets.get(3).copied();
        if !plausible || location_at.is_some_and(|at| at != id + 8) {
            return None;
        }
        Some(Self {
            poll: functions[0],
            cell: (trailer + TRAILER_BYTES).next_multiple_of(CELL_ALIGN),
            location_at,
        })
    }
}

/// Whether a state word is that of a task which has ended and whose handle waits
/// for its result. A freed one has no references, and what an allocator writes
/// there is no such word.
pub(super) fn is_unreaped(state: u64) -> bool {
    let references = state >> REFERENCES;
    state & (RUNNING | COMPLETE | JOIN_INTEREST) == COMPLETE | JOIN_INTEREST
        && (1..MAX_REFERENCES).contains(&references)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: [Range<u64>; 2] = [0x1000..0x2000, 0x3000..0x4000];

    fn vtable(offsets: &[u64]) -> Option<Vtable> {
        let words: Vec<u64> = (0..7).map(|n| 0x1000 + n * 16).collect();
        let words = [&words[..], offsets].concat();
        Vtable::of(&words, &CODE)
    }

    #[test]
    fn vtables_are_told_from_other_constants() {
        let location = if cfg!(tokio_unstable) { 0x38 } else { 0 };
        let found = vtable(&[0x100, 0x28, 0x30, location]).unwrap();
        assert_eq!((found.poll, found.cell), (0x1000, 0x180));
        assert_eq!(found.location_at.is_some(), cfg!(tokio_unstable));
        for offsets in [
            [0x10, 0x28, 0x30, location],
            [0x100, 0x29, 0x30, location],
            [0x100, 0x28, 0x20, location],
            [0x100, 0x1028, 0x1030, location],
            [1 << 30, 0x28, 0x30, location],
        ] {
            assert_eq!(vtable(&offsets), None, "{offsets:x?}");
        }
        assert_eq!(vtable(&[0x100, 0x28]), None, "cut");
        let data = [0x5000; VTABLE_WORDS];
        assert_eq!(Vtable::of(&data, &CODE), None, "no functions");
    }

    #[test]
    fn states_of_tasks_that_ended() {
        for (state, unreaped, what) in [
            (1 << 6 | COMPLETE | JOIN_INTEREST, true, "a handle holds it"),
            (2 << 6 | COMPLETE | JOIN_INTEREST | 16, true, "with a waker"),
            (1 << 6 | COMPLETE, false, "no handle"),
            (COMPLETE | JOIN_INTEREST, false, "freed"),
            (3 << 6 | JOIN_INTEREST | 4, false, "scheduled"),
            (2 << 6 | RUNNING | JOIN_INTEREST, false, "in a poll"),
            (0x5555_5555_500a, false, "a link of the allocator"),
        ] {
            assert_eq!(is_unreaped(state), unreaped, "{what}");
        }
    }
}
