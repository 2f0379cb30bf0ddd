//! Capturing on Linux, x86-64 and aarch64; [`super`] says how.

mod engine;
mod memory;
mod restart;
mod search;
mod signal;
mod syscall;
#[cfg(test)]
mod tests;
mod thread;
mod unwind;

pub(crate) use engine::{capture, install, late, modules};
pub(crate) use search::{Words, is_registered, read_memory, words_of_blocked, words_of_running};
pub(crate) use thread::register_current_thread;

use super::{Captured, ModuleInfo, NoStack, Stack, Unavailable};
