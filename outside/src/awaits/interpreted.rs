//! Where an idle task waits, without types: its poll function is interpreted on a copy
//! of the pages that it touches, until it returns.
//!
//! An async fn compiles to a jump on its state byte to the code after its `.await`, which
//! polls the next future; so one poll of a task that waits goes down to what it waits
//! for, and comes back. The functions on the way, with those that were inlined into them,
//! are the chain of awaits ([`Polled::awaits`]); where branches part (`select!`, `join!`)
//! it is a tree. The atomic accesses of an innermost future are to what it waits for: a
//! semaphore, a channel, a mutex.
//!
//! Nothing runs in the process, and nothing is written to it. The chain is never wrong,
//! but it may be short: a poll that comes to something that the interpreter refuses ends
//! there, with what was seen until then and the reason. What was read is read again after
//! the run; where it has changed meanwhile, nothing is said.
//!
//! The run plays the part of a worker that has just found the task notified, on a thread
//! of the runtime whose thread-local memory it reads: see [`Interpreter::play`]. Without
//! a thread everything that asks for its context is refused, which most futures of tokio
//! do.

mod chain;
mod clock;
mod thread;

use std::time::{Duration, Instant};

use looptop_interpret::{
    Answers, Code, End, Function, Host, Limits, PAGE, Refusal, Run, Start, run,
};

pub use chain::{Await, Named, Resource};

use crate::Subject;
use crate::space::{ProcessSpace, Space};
use crate::tasks::{Task, TaskKind, TaskType};
use thread::ThreadPointer;

/// Bits of a task's state word, see `tokio::runtime::task::state`.
const RUNNING: u64 = 1;
const COMPLETE: u64 = 2;
const NOTIFIED: u64 = 4;
const ONE_REFERENCE: u64 = 1 << 6;

/// How long a run may take.
const PATIENCE: Duration = Duration::from_millis(20);

/// Polls tasks of a process on copies.
#[derive(Debug)]
pub struct Interpreter<S = ProcessSpace> {
    space: S,
    code: Code,
    functions: Vec<(u64, Function)>,
    thread: Option<ThreadPointer>,
    limits: Limits,
}

/// Why a task was not polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NotPolled {
    /// It is in a poll: its stack says where it is.
    #[error("the task is in a poll")]
    Running,
    /// It has ended.
    #[error("the task has ended")]
    Complete,
    /// It is a function of the blocking pool.
    #[error("it is a job of the blocking pool")]
    Blocking,
    /// Its memory cannot be read, or is no longer its.
    #[error("the task is no longer there")]
    Gone,
    /// Memory that the poll read has changed while it was interpreted.
    #[error("the task has gone on meanwhile")]
    Moved,
}

/// How a poll ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It waits: the chain is whole.
    Pending,
    /// It would go on to its end: it was woken, or is about to be.
    Ready,
    /// It came to something that is refused: the chain is that far.
    Partial(End),
}

/// A poll on a copy.
#[derive(Debug)]
pub struct Polled {
    /// How it ended.
    pub outcome: Outcome,
    /// What was seen.
    pub run: Run,
    /// The task's allocation.
    pub header: u64,
    /// Bytes of it.
    pub size: u64,
}

impl Interpreter {
    /// For the tasks of a process.
    pub fn new(subject: &Subject) -> Self {
        Self::over(ProcessSpace::of(subject))
    }
}

impl<S: Space> Interpreter<S> {
    /// For those in some address space.
    pub fn over(space: S) -> Self {
        let functions = clock::functions(&space);
        Self {
            space,
            code: Code::default(),
            functions,
            thread: None,
            limits: Limits::default(),
        }
    }

    /// Whose part is played: that of a thread which is blocked now, by its id and its
    /// stack pointer. The best one is a worker of the runtime, which is parked. Whether
    /// its own memory was found.
    pub fn play(&mut self, tid: u64, stack: u64) -> bool {
        let found = thread::pointer(&self.space, tid, stack);
        self.thread = found.or(self.thread);
        found.is_some()
    }

    /// The same of a thread of which the address in its register FS is known: of a core
    /// dump.
    pub fn play_at(&mut self, fs_base: u64) {
        self.thread = Some(ThreadPointer(fs_base));
    }

    /// Sets what one poll may take.
    pub fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Polls a task.
    ///
    /// # Errors
    ///
    /// It is not one that waits, or does not wait as it did a moment ago.
    pub fn poll(&mut self, task: &Task, of: &TaskType) -> Result<Polled, NotPolled> {
        if task.kind == TaskKind::Blocking {
            return Err(NotPolled::Blocking);
        }
        let state = self.space.read_u64(task.header).ok_or(NotPolled::Gone)?;
        let vtable = task.header.checked_add(16).ok_or(NotPolled::Gone)?;
        if self.space.read_u64(vtable) != Some(of.vtable) {
            return Err(NotPolled::Gone);
        }
        match state {
            state if state & COMPLETE != 0 => return Err(NotPolled::Complete),
            state if state & RUNNING != 0 => return Err(NotPolled::Running),
            _ => {}
        }
        // As a worker finds it: notified, which is a reference more.
        let notified = match state & NOTIFIED {
            0 => (state | NOTIFIED).wrapping_add(ONE_REFERENCE),
            _ => state,
        };
        let start = Start {
            function: of.poll(),
            arguments: [task.header, 0, 0, 0, 0, 0],
            fs: self.thread.map(|thread| thread.0),
            writes: vec![(task.header, notified.to_le_bytes().to_vec())],
        };
        let answers = Answers {
            clocks: clock::now(),
            functions: self.functions.clone(),
            ..Answers::default()
        };
        let mut host = Copied {
            space: &self.space,
            end: Instant::now() + PATIENCE,
        };
        let mut run = run(&mut host, &mut self.code, &start, &answers, &self.limits);
        let is_same = self.space.read_u64(task.header) == Some(state);
        if !is_same || !run.unchanged(&mut host) {
            return Err(NotPolled::Moved);
        }
        let outcome = match run.end {
            End::Returned { .. } => {
                let mut after = [0; 8];
                let read = run.read(&mut host, task.header, &mut after);
                match u64::from_le_bytes(after) & COMPLETE {
                    0 if read => Outcome::Pending,
                    _ => Outcome::Ready,
                }
            }
            end => Outcome::Partial(end),
        };
        Ok(Polled {
            outcome,
            run,
            header: task.header,
            size: of.size,
        })
    }
}

impl Polled {
    /// What ended the poll early, if something did.
    pub fn refused(&self) -> Option<Refusal> {
        match self.outcome {
            Outcome::Partial(End::Refused { why, .. }) => Some(why),
            _ => None,
        }
    }
}

/// The memory of the process, page by page.
struct Copied<'space, S> {
    space: &'space S,
    end: Instant,
}

impl<S: Space> Host for Copied<'_, S> {
    fn page(&mut self, address: u64, page: &mut [u8; PAGE]) -> bool {
        self.space.read(address, page) == PAGE
    }

    fn expired(&mut self) -> bool {
        Instant::now() >= self.end
    }
}
