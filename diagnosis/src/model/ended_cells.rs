//! Tasks that ended and whose result nobody has taken.

use std::sync::Arc;

use looptop_wire::proto::{self, CodeAddress};

use super::{LocationId, Moment, Resolved, TextId};

/// Those of one future type, as counted in the process's memory.
#[derive(Debug, Clone, PartialEq)]
pub struct EndedCells {
    /// The type's name, or module and offset of its poll function.
    pub label: Option<TextId>,
    /// How many there were when they were counted last.
    pub count: u64,
    /// How many there were when the type was counted first.
    pub first_count: u64,
    /// When that was.
    pub first_counted_at: Moment,
    /// Memory in bytes that they hold, without what their results point at.
    pub bytes: u64,
    /// When they were counted.
    pub counted_at: Moment,
    /// The function that polls the type.
    pub poll: CodeAddress,
    /// Where they were spawned, where tokio knows.
    pub location: Option<LocationId>,
    /// Its name, which says the type, once it was looked up.
    pub resolved: Option<Arc<Resolved>>,
}

impl EndedCells {
    pub(super) fn new(
        cells: &proto::EndedCells,
        poll: CodeAddress,
        earlier: Option<&Self>,
    ) -> Self {
        Self {
            label: (cells.r#type != 0).then_some(TextId(cells.r#type)),
            count: cells.count,
            first_count: cells.first_count,
            first_counted_at: Moment(cells.first_counted_at_ns),
            bytes: cells.bytes,
            counted_at: Moment(cells.counted_at_ns),
            poll,
            location: (cells.location != 0).then_some(LocationId(cells.location)),
            resolved: earlier.and_then(|e| e.resolved.clone()),
        }
    }

    pub(super) fn to_wire(&self) -> proto::EndedCells {
        proto::EndedCells {
            r#type: self.label.map_or(0, |id| id.0),
            count: self.count,
            bytes: self.bytes,
            counted_at_ns: self.counted_at.0,
            poll: Some(self.poll),
            first_count: self.first_count,
            first_counted_at_ns: self.first_counted_at.0,
            location: self.location.map_or(0, |id| id.0),
        }
    }
}
