//! A task as it is in memory.

use super::TaskState;
use super::types::Types;
use super::vtable::{self, CELL_ALIGN, OWNER_AT, VTABLE_AT};
use crate::space::{Space, word};

/// Bytes of a cell that are read first: the header, and nearly always scheduler, id
/// and spawn location.
pub(super) const HEAD: usize = 80;
/// Bytes that are read again: one line of the CPU's cache.
pub(super) const LINE: usize = 64;

/// A task as it is in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) header: u64,
    /// Which of the types.
    pub(super) kind: u32,
    pub(super) state: u64,
    /// The id of its list; 0 before it is in one, and for ever of a blocking job.
    pub(super) owner: u64,
    pub(super) id: u64,
    pub(super) scheduler: u64,
    /// The address of its spawn location.
    pub(super) location: u64,
}

/// Whether a cell may begin at an address.
pub(super) fn may_begin_at(address: u64) -> bool {
    address.is_multiple_of(CELL_ALIGN) && (1 << 16..1 << 47).contains(&address)
}

impl Cell {
    /// The cell at `header`, of which `head` was read; `None` where there is none that
    /// is alive.
    pub(super) fn of(
        space: &impl Space,
        types: &Types,
        header: u64,
        head: &[u8; HEAD],
    ) -> Option<Self> {
        Self::unread(header).again(space, types, head)
    }

    /// Takes over what the same task does now; whether it is the same, and has not
    /// ended. The beginning of its head is enough.
    pub(super) fn renew(&mut self, space: &impl Space, types: &Types, head: &[u8]) -> bool {
        let found = types.at(self.kind);
        let field = |offset: u64| {
            word(head, offset as usize).or_else(|| space.read_u64(self.header.checked_add(offset)?))
        };
        let same = word(head, VTABLE_AT) == Some(found.vtable)
            && word(head, OWNER_AT) == Some(self.owner)
            && field(found.id_offset) == Some(self.id);
        let state = word(head, 0)
            .filter(|state| same && vtable::is_plausible(*state) && state & vtable::COMPLETE == 0);
        self.state = state.unwrap_or(self.state);
        state.is_some()
    }

    fn of_kind(
        space: &impl Space,
        types: &Types,
        header: u64,
        head: &[u8; HEAD],
        kind: u32,
    ) -> Option<Self> {
        let found = types.at(kind);
        let state = word(head, 0).filter(|state| vtable::is_plausible(*state))?;
        // The offsets of futures that begin at multiples of 64 and more are larger.
        let field = |offset: u64| {
            word(head, offset as usize).or_else(|| space.read_u64(header.checked_add(offset)?))
        };
        Some(Self {
            header,
            kind,
            state,
            owner: word(head, OWNER_AT)?,
            id: field(found.id_offset).filter(|id| *id != 0)?,
            scheduler: field(found.scheduler_offset)?,
            location: found.location_offset.and_then(field).unwrap_or_default(),
        })
    }

    /// One of which nothing is known but where it is.
    pub(super) fn unread(header: u64) -> Self {
        Self {
            header,
            kind: u32::MAX,
            state: 0,
            owner: 0,
            id: 0,
            scheduler: 0,
            location: 0,
        }
    }

    /// The same cell, or another at its place, of which `head` was read just now.
    pub(super) fn again(
        &self,
        space: &impl Space,
        types: &Types,
        head: &[u8; HEAD],
    ) -> Option<Self> {
        let vtable = word(head, VTABLE_AT)?;
        let same = self.kind != u32::MAX && types.at(self.kind).vtable == vtable;
        let kind = if same {
            self.kind
        } else {
            types.index(vtable)?
        };
        Self::of_kind(space, types, self.header, head, kind)
    }

    /// Reads the one at `header`.
    pub(super) fn at(space: &impl Space, types: &Types, header: u64) -> Option<Self> {
        let mut head = [0; HEAD];
        let whole = may_begin_at(header) && space.read(header, &mut head) == HEAD;
        whole.then(|| Self::of(space, types, header, &head))?
    }
}

/// What a state word says.
pub(crate) fn task_state(word: u64) -> TaskState {
    match word {
        word if word & vtable::COMPLETE != 0 => TaskState::Complete,
        word if word & vtable::RUNNING != 0 => TaskState::Running,
        word if word & vtable::NOTIFIED != 0 => TaskState::Scheduled,
        _ => TaskState::Idle,
    }
}
