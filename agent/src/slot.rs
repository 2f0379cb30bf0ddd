//! What each polling thread is doing.
use std::panic::Location;

use crate::clock::Ticks;

/// One thread's slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotView {
    pub tid: u64,
    pub sequence: u64,
    pub task: u64,
    pub location: Option<&'static Location<'static>>,
    pub started: Ticks,
}

/// Visits every live slot.
pub(crate) fn for_each(_f: impl FnMut(SlotView)) {}

/// Polling threads for which no slot was left.
pub(crate) fn lost() -> u64 {
    0
}
