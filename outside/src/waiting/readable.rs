//! What chains are read from: a process that runs, the one that asks, or a core file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use looptop_procfs::SyscallState;
use looptop_unwind::Registers;

use crate::Space;
use crate::awaits::interpreted::Sockets;

/// A tokio process as the engine reads it: its memory, its threads, its files. Everything
/// that the engine asks goes through it.
///
/// A process that runs is a [`LiveProcess`](super::LiveProcess), also where it is the one
/// that asks.
pub trait Readable {
    /// Its memory, and what is mapped into it.
    type Space: Space + Clone;

    /// Its memory.
    fn space(&self) -> &Self::Space;

    /// Where the file that is mapped as `path` can be read; `None` where it cannot.
    fn file(&self, path: &Path) -> Option<PathBuf>;

    /// Its threads as they are now, a bounded number of them.
    fn threads(&mut self) -> Vec<ThreadAt>;

    /// The same thread once more, to see whether it has moved.
    fn thread(&mut self, tid: u64) -> Option<ThreadAt>;

    /// What a descriptor is: `127.0.0.1:6379 <- 127.0.0.1:51234`. `None` where it is not
    /// known, or not yet.
    fn descriptor(&mut self, fd: i32) -> Option<Arc<str>>;

    /// The descriptors that tokio's driver waits for, by what it knows them by; none where
    /// that is not known.
    fn sockets(&self) -> Sockets {
        Sockets::unknown()
    }

    /// What the system's monotonic clock shows to it now.
    fn clock(&self) -> Option<Duration>;

    /// It goes on while it is read: what was read is read again, and may be read later.
    fn goes_on(&self) -> bool;

    /// What cannot be looked at here, each in words that stand alone: `the descriptors of
    /// a core file`.
    fn not_read(&self) -> Vec<Arc<str>> {
        Vec::new()
    }
}

/// Where a thread is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadAt {
    /// Its id.
    pub tid: u64,
    /// Where it stands with respect to the kernel, with stack pointer and code address
    /// where it is blocked.
    pub state: SyscallState,
    /// Its registers, where all that unwinding needs of them are known.
    pub registers: Option<Registers>,
    /// Where its own memory is: the register FS.
    pub fs: Option<u64>,
    /// How often it was given a CPU: as long as that stays the same, it has not run.
    pub slices: Option<u64>,
}

impl ThreadAt {
    /// Its stack pointer, where its stack can be read.
    pub fn stack(&self) -> Option<u64> {
        self.registers
            .map(|registers| registers.sp)
            .or_else(|| self.state.blocked_at().map(|(sp, _)| sp))
    }
}
