//! The stack of another thread, from its registers and memory.
//!
//! [`modules`] reads what is mapped into a process, with its unwind rules; an
//! [`Unwinder`] unwinds stacks by them. Both read a [`Memory`]: this process's own,
//! another's, or a file. Nothing here looks at threads or signals: where registers come
//! from is for the caller, and of a thread that is blocked
//! `/proc/PID/task/TID/syscall` knows enough ([`Registers::blocked`]).
//!
//! A register that is not known there, the frame pointer, is computed from the
//! prologue of the first function that needs it (`prologue`), and checked: what is
//! found is right, or the stack is cut short and says so.
//!
//! Linux on x86-64 and aarch64; elsewhere there are the types alone. On aarch64 there is
//! no arithmetic on prologues: the C library keeps frame records there.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod memory;
#[cfg(all(
    target_os = "linux",
    not(looptop_elsewhere),
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod module;
#[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
mod prologue;
#[cfg(all(
    target_os = "linux",
    not(looptop_elsewhere),
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod unwinder;

use std::path::PathBuf;

pub use memory::{MemFile, Memory};
#[cfg(all(
    target_os = "linux",
    not(looptop_elsewhere),
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
pub use module::{Module, modules};
#[cfg(all(
    target_os = "linux",
    not(looptop_elsewhere),
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
pub use unwinder::{Beyond, StackCopy, Unwinder, Unwound};

/// Registers that unwinding starts with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Registers {
    /// Code address.
    pub pc: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer, where it is known.
    pub fp: Option<u64>,
    /// The register of the return address, on aarch64, where it is known.
    pub lr: Option<u64>,
}

impl Registers {
    /// Those that are known of a thread that is blocked.
    pub const fn blocked(pc: u64, sp: u64) -> Self {
        Self {
            pc,
            sp,
            fp: None,
            lr: None,
        }
    }
}

/// Position of a module in [`Unwinder::modules`]; it stays the same for as long as the
/// unwinder lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModuleIndex(pub u32);

/// A file (or the kernel's vDSO) whose code is mapped into a process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModuleInfo {
    /// As the process sees it: an absolute path, or `[vdso]`.
    pub path: PathBuf,
    /// The GNU build id; empty where the linker wrote none.
    pub build_id: Vec<u8>,
    /// What to add to an address of the file to get the one in memory.
    pub base: u64,
}

/// One frame: a module and the address as the file itself counts (SVMA), or no
/// module and the address in memory. Of a return address, one byte before it.
pub type Frame = (Option<ModuleIndex>, u64);

/// A stack, innermost frame first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// Its frames.
    pub frames: Vec<Frame>,
    /// Outer frames are missing: the stack is larger than the copy, has more frames
    /// than are kept, or could not be unwound to its end. Inner frames are right all the
    /// same.
    pub truncated: bool,
}
