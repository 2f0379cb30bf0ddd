//! A tokio process, read from outside.
//!
//! A [`Subject`] is a process that may be read: its procfs directory, its identity and
//! its [`ProcessMemory`]. Everything here only reads. What is read is not to be
//! trusted: the process runs on while it is read, may end, exec, fork and map anew, and
//! chooses each byte of its memory itself. So lengths are bounded, walks end, and
//! nothing is allocated by another's say-so.
//!
//! [`tasks`] finds the runtimes of the process and lists their tasks.
//!
//! Linux on x86-64; elsewhere a [`Subject`] cannot be made.
#![warn(missing_docs)]

mod evidence;
mod memory;
mod space;
mod subject;
pub mod tasks;

pub use evidence::Evidence;
pub use memory::{Piece, ProcessMemory};
pub use space::{Page, ProcessSpace, Space};
pub use subject::{Changed, Subject, SubjectError};
