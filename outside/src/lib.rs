//! A tokio process, read from outside.
//!
//! A [`Subject`] is a process that may be read: its procfs directory, its identity and
//! its [`ProcessMemory`]. Everything here only reads. What is read is not to be
//! trusted: the process runs on while it is read, may end, exec, fork and map anew, and
//! chooses each byte of its memory itself. So lengths are bounded, walks end, and
//! nothing is allocated by another's say-so.
//!
//! [`tasks`] finds the runtimes of the process and lists their tasks; [`awaits`] says where
//! each waits, where debug information describes its types, and [`waits`] who waits for
//! whom.
//!
//! [`core`] reads the same of a core dump, in which nothing changes any more.
//!
//! Without its feature `watch` there is only what reads a process: nothing in it samples or
//! stops a thread, or opens a core dump.
//!
//! Linux on x86-64; elsewhere a [`Subject`] cannot be made.
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod access;
pub mod awaits;
#[cfg(all(
    feature = "watch",
    target_os = "linux",
    not(looptop_elsewhere),
    target_arch = "x86_64"
))]
mod code;
#[cfg(all(
    feature = "watch",
    target_os = "linux",
    not(looptop_elsewhere),
    target_arch = "x86_64"
))]
pub mod core;
mod evidence;
mod memory;
pub mod program;
#[cfg(all(
    feature = "watch",
    target_os = "linux",
    not(looptop_elsewhere),
    target_arch = "x86_64"
))]
mod sampler;
mod space;
#[cfg(all(
    feature = "watch",
    target_os = "linux",
    not(looptop_elsewhere),
    target_arch = "x86_64"
))]
mod stop;
mod subject;
#[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
#[cfg_attr(
    not(feature = "watch"),
    allow(dead_code, reason = "whoever watches asks more")
)]
mod sys;
pub mod tasks;
#[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
#[cfg_attr(
    not(feature = "watch"),
    allow(dead_code, reason = "whoever watches asks more")
)]
mod thread;
#[cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]
pub mod waiting;
#[cfg(all(
    feature = "watch",
    target_os = "linux",
    not(looptop_elsewhere),
    target_arch = "x86_64"
))]
mod watch;

pub use evidence::Evidence;
pub use looptop_waits as waits;
pub use memory::{Piece, ProcessMemory};
pub use space::{Page, ProcessSpace, Space};
pub use subject::{Changed, Subject, SubjectError};
#[cfg(all(
    feature = "watch",
    target_os = "linux",
    not(looptop_elsewhere),
    target_arch = "x86_64"
))]
pub use watch::{
    Call, Chosen, Costs, Life, Role, RunningTask, Scope, StackSample, Stall, ThreadView, Watch,
    WatchError, WatchOptions,
};
