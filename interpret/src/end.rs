//! Why a run ends.

use std::fmt;

use iced_x86::Code as Encoding;

/// What ended a run before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    Refused(Refusal),
    Limit(Limit),
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The function returned, and left this in RAX and RDX: of a `Poll<()>` the lowest
    /// byte of RAX is 0 if it is ready.
    Returned {
        /// RAX.
        rax: u64,
        /// RDX.
        rdx: u64,
    },
    /// The instruction at `at` was not executed.
    Refused {
        /// Its address.
        at: u64,
        /// Why not.
        why: Refusal,
    },
    /// A limit was reached before the instruction at `at`.
    Limit {
        /// Its address.
        at: u64,
        /// Which.
        limit: Limit,
    },
}

/// Why an instruction was not executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// This crate does not know it.
    Unknown(Encoding),
    /// A system call, by its number.
    SystemCall(u64),
    /// Memory at this address cannot be read.
    Memory(u64),
    /// Code at this address cannot be read.
    Code(u64),
    /// The code was written in this run.
    WrittenCode(u64),
    /// It reads what is the thread's own, and the thread is not known.
    ThreadUnknown,
    /// A division by zero, or its result is too large.
    Division,
    /// It ends a program: `ud2`, `int3`, `hlt`.
    Trap,
    /// It asks for the time, which was not given.
    Time,
    /// It asks for something of the processor that was not given.
    Processor,
    /// It changes how the processor rounds.
    Rounding,
}

/// What a run has used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// [`Limits::steps`].
    Steps,
    /// [`Limits::pages`].
    Pages,
    /// [`Limits::frames`].
    Frames,
    /// [`Host::expired`].
    Time,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Returned { .. } => f.write_str("returned"),
            Self::Refused { at, why } => write!(f, "{why} at {at:#x}"),
            Self::Limit { at, limit } => write!(f, "{limit} at {at:#x}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(encoding) => write!(f, "unknown instruction {encoding:?}"),
            Self::SystemCall(number) => write!(f, "system call {number}"),
            Self::Memory(address) => write!(f, "no memory at {address:#x}"),
            Self::Code(address) => write!(f, "no code at {address:#x}"),
            Self::WrittenCode(address) => write!(f, "code at {address:#x} was written"),
            Self::ThreadUnknown => f.write_str("memory of an unknown thread"),
            Self::Division => f.write_str("division without a result"),
            Self::Trap => f.write_str("trap"),
            Self::Time => f.write_str("time that was not given"),
            Self::Processor => f.write_str("question on the processor"),
            Self::Rounding => f.write_str("other rounding"),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Steps => "too many instructions",
            Self::Pages => "too many pages",
            Self::Frames => "too many calls",
            Self::Time => "no more time",
        })
    }
}
