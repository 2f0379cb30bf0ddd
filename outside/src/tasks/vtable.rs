//! How tokio lays a task out in memory, as far as it must be known from outside.
//!
//! Each task is one allocation, a `Cell`, that begins with a `Header`: state word,
//! queue link, address of a static vtable, owner's id. The vtable belongs to one
//! type of future and one of scheduler, and says itself where scheduler, id and
//! trailer are, so that there is no table of offsets for each version. Seen in tokio
//! 1.38 to 1.54.

/// Where a `Header` holds the address of its vtable, and the id of its list.
pub(super) const VTABLE_AT: usize = 16;
pub(super) const OWNER_AT: usize = 24;
/// Cells begin at multiples of this, against false sharing.
pub(super) const CELL_ALIGN: u64 = 128;

/// Words of a vtable: seven functions and three offsets, with `tokio_unstable` that of
/// the spawn location as well.
pub(super) const WORDS: usize = 11;
pub(super) const FUNCTIONS: usize = 7;
/// What follows the trailer's offset: list links, a waker, a hook.
const TRAILER: u64 = 48;
/// The scheduler of an async task is one pointer.
const POINTER: u64 = 8;

/// A vtable of a task type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Vtable {
    /// poll, schedule, dealloc, `try_read_output`, `drop_join_handle_slow`,
    /// `drop_abort_handle`, shutdown.
    pub(super) functions: [u64; FUNCTIONS],
    pub(super) trailer: u64,
    pub(super) scheduler: u64,
    pub(super) id: u64,
    /// The word after it is the offset of a spawn location, or looks so.
    pub(super) location: bool,
}

impl Vtable {
    /// The vtable that begins with `words`, of which there are [`WORDS`], if they are
    /// one; `is_code` knows functions of the program.
    pub(super) fn of(words: &[u64], is_code: impl Fn(u64) -> bool) -> Option<Self> {
        let (functions, offsets) = words.first_chunk::<WORDS>()?.split_at(FUNCTIONS);
        let (trailer, scheduler, id) = (offsets[0], offsets[1], offsets[2]);
        // What fits least often comes first: nearly all constants end here.
        let of_scheduler = (0x20..=0x40).contains(&scheduler)
            || (scheduler.is_power_of_two() && (0x40..=0x1000).contains(&scheduler));
        let plausible = of_scheduler
            && (scheduler..=scheduler + 0x40).contains(&id)
            && (id..1 << 26).contains(&trailer)
            && (trailer | scheduler | id).is_multiple_of(8);
        if !plausible || trailer == id || !functions.iter().all(|address| is_code(*address)) {
            return None;
        }
        Some(Self {
            functions: functions.try_into().ok()?,
            trailer,
            scheduler,
            id,
            location: offsets[3] == id + 8,
        })
    }

    /// Bytes of a cell, at least.
    pub(super) fn cell(&self) -> u64 {
        (self.trailer + TRAILER).next_multiple_of(CELL_ALIGN)
    }

    /// Whether it is of an async task: those of the blocking pool have no pointer to a
    /// scheduler, but hooks or nothing.
    pub(super) fn is_async(&self) -> bool {
        self.id - self.scheduler == POINTER
    }
}

/// Flags of the state word; the reference count follows.
pub(super) const RUNNING: u64 = 1;
pub(super) const COMPLETE: u64 = 2;
pub(super) const NOTIFIED: u64 = 4;
const REFERENCES: u32 = 6;
/// More references to one task are garbage.
const MAX_REFERENCES: u64 = 1 << 24;

/// Whether a state word is that of a task that was not freed. A freed one has no
/// references, and what an allocator writes there is no such word.
pub(super) fn is_plausible(state: u64) -> bool {
    let references = state >> REFERENCES;
    (1..MAX_REFERENCES).contains(&references)
        && state & (RUNNING | COMPLETE) != (RUNNING | COMPLETE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vtable(offsets: [u64; 4]) -> Option<Vtable> {
        let functions = (0..7).map(|n| 0x1000 + n * 16);
        let words: Vec<u64> = functions.chain(offsets).collect();
        Vtable::of(&words, |address| (0x1000..0x2000).contains(&address))
    }

    #[test]
    fn vtables_are_told_from_other_constants() {
        let found = vtable([0x100, 0x28, 0x30, 0x38]).unwrap();
        assert_eq!((found.functions[0], found.cell()), (0x1000, 0x180));
        assert!(found.location && found.is_async());
        assert!(!vtable([0x100, 0x28, 0x30, 0x1000]).unwrap().location);
        let blocking = vtable([0x100, 0x20, 0x20, 0x28]).unwrap();
        assert!(!blocking.is_async());
        // Of a future that begins at a multiple of 128.
        assert!(vtable([0x200, 0x80, 0x88, 0]).unwrap().is_async());
        for offsets in [
            [0x10, 0x28, 0x30, 0x38],
            [0x100, 0x29, 0x30, 0x38],
            [0x100, 0x28, 0x20, 0x38],
            [0x100, 0x28, 0x100, 0x38],
            [0x100, 0x1028, 0x1030, 0x38],
            [1 << 30, 0x28, 0x30, 0x38],
            [0x30, 0x28, 0x30, 0x38],
            [u64::MAX, u64::MAX, u64::MAX, u64::MAX],
        ] {
            assert_eq!(vtable(offsets), None, "{offsets:x?}");
        }
        assert_eq!(Vtable::of(&[0x1000; 10], |_| true), None, "cut");
        assert_eq!(Vtable::of(&[0x28; WORDS], |_| false), None, "no functions");
    }

    #[test]
    fn states_of_tasks() {
        for (state, plausible, what) in [
            (3 << 6 | 0b1100, true, "just spawned"),
            (1 << 6 | COMPLETE | 8, true, "a handle holds its result"),
            (COMPLETE, false, "freed"),
            (0x5555_5555_5008, false, "a link of the allocator"),
            (1 << 6 | RUNNING | COMPLETE, false, "both at once"),
            (0, false, "zeroes"),
            (u64::MAX, false, "ones"),
        ] {
            assert_eq!(is_plausible(state), plausible, "{what}");
        }
    }
}
