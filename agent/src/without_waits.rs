//! Without the feature `waits`, and where a process cannot be read: nothing is.

use std::sync::Arc;

use looptop_wire::intern::Interner;

use crate::access::Permission;
use crate::publish::OfMemory;
use crate::shared::Shared;

/// Nobody asks.
#[derive(Debug, Default)]
pub(crate) struct Waits {}

impl Waits {
    #[allow(clippy::unused_self, reason = "the other one has a thread")]
    pub(crate) fn stop(&self) {}
}

/// Somebody asks; never made.
#[derive(Debug)]
pub(crate) struct Wanted;

pub(crate) fn want(_: &Arc<Shared>, _: Permission) -> Option<Wanted> {
    None
}

const WITHOUT: &str = if cfg!(feature = "waits") {
    "the agent reads its process on Linux with x86-64 alone"
} else {
    "the application enables looptop-agent without its feature `waits`"
};

#[allow(clippy::unnecessary_wraps, reason = "as the other one")]
pub(crate) fn know(_: &Shared, _: Permission) -> Result<(), String> {
    Err(WITHOUT.into())
}

pub(crate) fn mark_server(shared: &Arc<Shared>) {
    if shared.config.waits {
        crate::complain(&format!("LOOPTOP_WAITS is on, and {WITHOUT}"));
    }
}

#[cfg(feature = "test")]
pub(crate) fn tasks_beside(_: u64) -> Result<Vec<crate::testing::Task>, String> {
    Err(WITHOUT.into())
}

/// There are none.
#[derive(Debug, Default)]
pub(crate) struct Frames {}

#[allow(clippy::unused_self, reason = "the other one has tasks")]
impl Frames {
    pub(crate) fn sample(&mut self, _: &Shared, _: &mut Interner) {}

    pub(crate) fn delta(&mut self, _: &Shared, _: u64, _: bool) -> OfMemory {
        OfMemory::default()
    }

    pub(crate) fn state(&self, _: &Shared, _: u64) -> OfMemory {
        OfMemory::default()
    }
}
