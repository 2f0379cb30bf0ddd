//! What is reported of a poll that takes too long.

use std::time::{Duration, Instant};

use looptop_procfs::{Cause, Object};
use looptop_unwind::Frame;

use crate::Evidence;

/// Different stacks that are kept of one stall.
const MAX_SAMPLES: usize = 16;

/// A task that a thread runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RunningTask {
    /// Where its header is.
    pub header: u64,
    /// tokio's id of it.
    pub id: u64,
}

/// How sure it is that one poll took all of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// It was one: the thread did not run, or did not leave the poll's frame.
    OnePoll,
    /// One turn of its scheduler's loop: one poll, or up to four of tasks that wake one
    /// another.
    OneTurn,
}

/// Which part of a stall's life a report is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Life {
    /// It has reached the threshold since the last report.
    Began,
    /// It goes on.
    GoesOn,
    /// It is over.
    Ended,
}

/// A system call with its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Call {
    /// Its number, see [`looptop_procfs::syscalls`].
    pub number: u64,
    /// As it was called.
    pub args: [u64; 6],
}

/// A stack that was seen in a stall.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackSample {
    /// Innermost first.
    pub frames: Vec<Frame>,
    /// Outer frames are missing.
    pub truncated: bool,
    /// Looks that found it so.
    pub count: u32,
    /// How it was had.
    pub evidence: Evidence,
    /// What the thread was stalled by then.
    pub cause: Cause,
    /// The call in which it was.
    pub call: Option<Call>,
}

/// A poll that is, or was, in progress for longer than the threshold.
#[derive(Debug, Clone, PartialEq)]
pub struct Stall {
    /// Each stall of a watch has its own.
    pub id: u64,
    /// Whether it has just begun, goes on or is over.
    pub life: Life,
    /// The thread.
    pub tid: u64,
    /// Its task, where it is known.
    pub task: Option<RunningTask>,
    /// Since when the poll was seen: it began then, or a little before.
    pub started: Instant,
    /// From then to when it was last seen: at least so long.
    pub duration: Duration,
    /// Whether it is one poll.
    pub scope: Scope,
    /// What took most of the time.
    pub cause: Cause,
    /// CPU time in it, in steps of the scheduler's tick.
    pub cpu: Option<Duration>,
    /// Time without a CPU although it was ready.
    pub run_queue: Option<Duration>,
    /// The call that it was in most often, of those that the cause is about.
    pub call: Option<Call>,
    /// What that call works on.
    pub object: Option<Object>,
    /// Stacks, in the order in which they were first seen.
    pub samples: Vec<StackSample>,
    /// Stacks of which there is no sample: over the bound.
    pub samples_dropped: u64,
    /// Why there is no stack, where there is none.
    pub no_stack: Option<String>,
}

/// Counts a stack among those seen.
pub(crate) fn count(samples: &mut Vec<StackSample>, sample: StackSample) -> bool {
    let same = |s: &&mut StackSample| {
        s.frames == sample.frames && s.call.map(|c| c.number) == sample.call.map(|c| c.number)
    };
    if let Some(known) = samples.iter_mut().find(same) {
        known.count = known.count.saturating_add(sample.count);
    } else if samples.len() < MAX_SAMPLES {
        samples.push(sample);
    } else {
        return false;
    }
    true
}
