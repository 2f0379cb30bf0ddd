//! Which tasks wait where, of many, within a budget: the engine that reads chains.
//!
//! What it reads from is a [`Readable`]: a process that runs, or a core file.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod descriptors;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod live;
mod readable;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use live::LiveProcess;
pub use readable::{Readable, ThreadAt};
