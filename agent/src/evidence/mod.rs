//! What the operating system says about a stalled thread, and the cause that
//! follows from it.

mod cause;
mod object;
mod syscalls;
mod thread;

pub(crate) use cause::{Cause, Observed, Tally};
pub(crate) use object::Object;
#[cfg(test)]
pub(crate) use syscalls::number;
pub(crate) use syscalls::{Kind, is_futex, kind, may_idle, name};
pub(crate) use thread::{Baseline, Look, ThreadEvidence};
