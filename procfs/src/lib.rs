//! The parts of Linux's `/proc` that looptop reads.
//!
//! [`Procfs`] is the root, [`Process`] and [`Thread`] are directories in it. What is
//! read again and again is an open [`ProcFile`] and a parser: [`Stat`], [`SchedStat`],
//! [`SyscallState`]. Opening a file takes some 6 µs, reading an open one 0.8 µs.
//! [`syscalls`] knows the calls by name and what they wait for; [`cause`] decides from
//! what was read again and again why a thread does not go on.
//!
//! Whatever is missing or malformed is `None`, an error, or left out, never a panic: a
//! process may end while it is read, and chooses the names in these files itself.
//! On other systems the files do not exist, so that everything is unknown there.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod cause;
mod cgroup;
mod ends;
mod file;
mod file_id;
pub mod lock;
mod machine;
mod maps;
mod net;
mod object;
mod pagemap;
mod process;
mod stat;
mod status;
mod syscall;
pub mod syscalls;

pub use cause::{Cause, Look, Observed, Tally};
pub use cgroup::{cpu_stat_paths, throttled_ns};
pub use ends::Ends;
pub use file::{MAX_READ, ProcFile, read_at_start};
pub use file_id::FileId;
pub use machine::CpuTimes;
pub use maps::{Mapping, mappings};
pub use net::{Connection, Listening, TcpOwners, tcp_listeners, unix_listeners};
pub use object::{Object, Socket};
pub use pagemap::{PAGE, Page, Pagemap};
pub use process::{Process, Procfs, Thread};
pub use stat::{SchedStat, SchedState, Stat, TICK_NS};
pub use status::{Status, number};
pub use syscall::{Signature, SyscallState};
