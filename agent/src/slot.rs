//! What each polling thread is doing.

use crate::clock::Ticks;
use crate::task::site::SiteId;

/// One thread's slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotView {
    pub(crate) tid: u64,
    pub(crate) sequence: u64,
    pub(crate) task: u64,
    pub(crate) site: Option<SiteId>,
    pub(crate) started: Ticks,
}

impl SlotView {
    pub(crate) fn polling(&self) -> bool {
        self.sequence % 2 == 1
    }
}

pub(crate) fn for_each(_f: impl FnMut(SlotView)) {}

pub(crate) fn lost() -> u64 {
    0
}
