//! What the operating system says about a stalled thread, and the cause that
//! follows from it.

mod object;
mod thread;

use looptop_wire::proto;

#[cfg(test)]
pub(crate) use looptop_procfs::syscalls::number;
pub(crate) use looptop_procfs::syscalls::{Kind, is_futex, kind, may_idle, name};
pub(crate) use looptop_procfs::{Cause, Look, Object, Observed, Tally};
pub(crate) use object::object;
pub(crate) use thread::{Baseline, ThreadEvidence};

/// A cause as the wire has it.
pub(crate) fn on_wire(cause: Cause) -> proto::Cause {
    match cause {
        Cause::Unknown => proto::Cause::Unknown,
        Cause::Computing => proto::Cause::Computing,
        Cause::SystemCall => proto::Cause::SystemCall,
        Cause::Sleeping => proto::Cause::Sleeping,
        Cause::Lock => proto::Cause::Lock,
        Cause::StarvedByHost => proto::Cause::StarvedByHost,
        Cause::Stopped => proto::Cause::Stopped,
        Cause::Page => proto::Cause::Page,
    }
}
