//! Ids of texts and locations that join the frames of another source: they are moved
//! beyond those which that one gives.

use looptop_wire::proto::{InternedString, Location};

/// By how much ids are moved.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shift(pub(super) u32);

impl Shift {
    /// 0, "none", stays.
    pub(super) fn id(self, id: u32) -> u32 {
        if id == 0 {
            0
        } else {
            id.saturating_add(self.0)
        }
    }

    pub(super) fn string(self, string: InternedString) -> InternedString {
        InternedString {
            id: self.id(string.id),
            ..string
        }
    }

    pub(super) fn location(self, location: Location) -> Location {
        Location {
            id: self.id(location.id),
            file: self.id(location.file),
            ..location
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_stays_none_and_all_else_moves() {
        let shift = Shift(1_000);
        assert_eq!(
            [0, 1, u32::MAX].map(|id| shift.id(id)),
            [0, 1_001, u32::MAX]
        );
        let place = Location {
            id: 3,
            file: 7,
            line: 12,
            column: 5,
        };
        let moved = Location {
            id: 1_003,
            file: 1_007,
            ..place
        };
        assert_eq!(shift.location(place), moved);
    }
}
