//! Systems without stack capture: every call says so, at no cost.

use looptop_procfs::SyscallState;

use super::{Captured, ModuleInfo, NoStack, Unavailable};
use crate::ids::Tid;

/// Words on a stack; none are ever found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) hits: Vec<(u64, u64)>,
}

/// Reads nothing.
pub(crate) fn read_memory(_address: u64, _buffer: &mut [u8]) -> usize {
    0
}

/// Finds nothing.
pub(crate) fn words_of_blocked(
    _tid: Tid,
    _state: SyscallState,
    _wanted: impl Fn(u64) -> bool,
) -> Option<Words> {
    None
}

/// Always fails.
pub(crate) fn words_of_running(_tid: Tid, _wanted: impl Fn(u64) -> bool) -> Result<Words, NoStack> {
    Err(NoStack::Platform)
}

/// No thread is.
pub(crate) fn is_registered(_tid: Tid) -> bool {
    false
}

/// Always fails, with the sentence for the screen.
pub(crate) fn install(_signal_offset: i32) -> Result<(), Unavailable> {
    Err(Unavailable::Platform {
        os: std::env::consts::OS,
        arch: std::env::consts::ARCH,
    })
}

/// Does nothing.
pub(crate) fn register_current_thread() {}

/// Always fails.
pub(crate) fn capture(_tid: u64) -> Result<Captured, NoStack> {
    Err(NoStack::Platform)
}

/// Never there.
pub(crate) fn late(_tid: u64) -> Option<Captured> {
    None
}

/// Always empty.
pub(crate) fn modules() -> Vec<ModuleInfo> {
    Vec::new()
}
