//! Systems without stack capture: every call says so, at no cost.

use super::{ModuleInfo, NoStack, RawStack, Unavailable};

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
pub(crate) fn capture(_tid: u64) -> Result<RawStack, NoStack> {
    Err(NoStack::Platform)
}

/// Always empty.
pub(crate) fn modules() -> Vec<ModuleInfo> {
    Vec::new()
}
