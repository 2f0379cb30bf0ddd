//! Typed ids, so that a thread is never taken for a task.

/// A thread id of the operating system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Tid(pub(crate) u64);

/// A runtime, counted from 0 in the order of registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RuntimeId(pub(crate) u32);

/// A worker of a runtime, as tokio counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct WorkerIndex(pub(crate) u32);

impl WorkerIndex {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A stall of this session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct StallId(pub(crate) u64);
