//! Stacks of stalled threads.
use std::path::PathBuf;

use self::syscall::SyscallState;

pub(crate) mod syscall {
    #[allow(dead_code)]
    pub(crate) enum SyscallState {
        Running,
        InSyscall {
            nr: u64,
            args: [u64; 6],
            sp: u64,
            pc: u64,
        },
        Unknown,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ModuleIndex(pub u32);

#[derive(Debug)]
pub(crate) struct Unavailable(pub String);

#[derive(Debug)]
pub(crate) struct NoStack(pub String);

impl std::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Display for NoStack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) struct RawStack {
    pub frames: Vec<(Option<ModuleIndex>, u64)>,
    pub truncated: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct ModuleInfo {
    pub path: PathBuf,
    pub build_id: Vec<u8>,
    pub base: u64,
}

pub(crate) fn install(_signal_offset: i32) -> Result<(), Unavailable> {
    Err(Unavailable("this build captures no stacks".into()))
}

pub(crate) fn register_current_thread() {}

pub(crate) fn capture(_tid: u64, _evidence: &SyscallState) -> Result<RawStack, NoStack> {
    Err(NoStack("this build captures no stacks".into()))
}

pub(crate) fn modules() -> Vec<ModuleInfo> {
    Vec::new()
}
