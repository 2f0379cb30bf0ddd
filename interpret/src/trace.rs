//! What a run has shown.

use std::ops::Range;

use crate::end::End;
use crate::memory::{Host, Pages, Written};
use crate::state::State;

/// A call, and what was seen of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The frame that called it, an index of [`Run::frames`]. `None`: the first.
    pub parent: Option<u32>,
    /// Frames above it.
    pub depth: u32,
    /// Where the call is. 0 of the first.
    pub site: u64,
    /// The function that was called, before any jump that it makes to another one.
    pub entry: u64,
    /// Where it returns to.
    pub return_address: u64,
    /// The stack pointer at its entry: there lies the return address.
    pub stack: u64,
    /// RDI, RSI, RDX and RCX at its entry.
    pub arguments: [u64; 4],
    /// RAX and RDX when it returned. `None`: it did not, or not to its caller.
    pub returned: Option<[u64; 2]>,
}

/// A straight run of code in a frame; each is noted once for a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// Index of [`Run::frames`].
    pub frame: u32,
    /// From the first instruction to the end of the last.
    pub code: Range<u64>,
    /// It was come to by an indirect jump with the stack as at the frame's entry: it
    /// may be another function, that takes these arguments (RDI, RSI, RDX, RCX).
    pub tail: Option<[u64; 4]>,
    /// Where its instructions begin, of [`Run::instructions`].
    pub(crate) instructions: Range<usize>,
}

/// A word that was read from memory other than the run's own stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// Index of [`Run::frames`].
    pub frame: u32,
    /// The instruction.
    pub at: u64,
    /// Its memory.
    pub address: u64,
    /// Bytes of it, at most eight: of more, there are several.
    pub size: u8,
    /// What was there.
    pub value: u64,
}

/// An access to memory that no other thread can come in between of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Atomic {
    /// Index of [`Run::frames`].
    pub frame: u32,
    /// The instruction.
    pub at: u64,
    /// Its memory.
    pub address: u64,
    /// Bytes of it.
    pub size: u8,
    /// What was there before.
    pub before: u64,
}

/// What a run has shown.
#[derive(Debug)]
pub struct Run {
    /// Why it ended.
    pub end: End,
    /// Calls, in the order of time; the function itself is the first.
    pub frames: Vec<Frame>,
    /// The code that was visited, in the order of time.
    pub visits: Vec<Visit>,
    /// Atomic accesses to memory other than the run's own stack, in the order of time.
    pub atomics: Vec<Atomic>,
    /// Those that were not noted any more.
    pub atomics_dropped: u64,
    /// What was read from memory other than the run's own stack, in the order of time, as
    /// far as [`Limits::reads`](crate::Limits::reads) allows.
    pub reads: Vec<Read>,
    /// Pages of the process's that were written, in the copy.
    pub written: Vec<Written>,
    /// The frame in which it ended.
    pub innermost: u32,
    /// Instructions.
    pub steps: u64,
    /// Pages that were copied, the stack's among them.
    pub pages: usize,
    /// Registers at the end.
    pub state: State,
    pub(crate) copy: Pages,
    pub(crate) instructions: Vec<u64>,
}

impl Run {
    /// Is everything that the run has read still the same in the process? Then what it
    /// shows was true of one moment, as far as nothing changed to and fro.
    pub fn unchanged(&self, host: &mut dyn Host) -> bool {
        self.copy.unchanged(host)
    }

    /// Memory as the run left it.
    pub fn read(&mut self, host: &mut dyn Host, address: u64, buffer: &mut [u8]) -> bool {
        self.copy.read(host, address, buffer).is_ok()
    }

    /// The addresses of the instructions of a visit.
    pub fn instructions(&self, visit: &Visit) -> &[u64] {
        self.instructions
            .get(visit.instructions.clone())
            .unwrap_or_default()
    }

    /// Whether an address is on the run's own stack, and not the process's.
    pub fn is_own(&self, address: u64) -> bool {
        self.copy.is_own(address)
    }

    /// The frames that lead to `frame`, the first one first.
    pub fn path(&self, frame: u32) -> Vec<u32> {
        let parents = |frame: &u32| self.frames.get(*frame as usize)?.parent;
        let mut path: Vec<u32> = std::iter::successors(Some(frame), parents).collect();
        path.reverse();
        path
    }
}
