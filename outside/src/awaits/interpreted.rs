//! Where an idle task waits, without types: its poll function is interpreted on a copy
//! of the pages that it touches, until it returns.
//!
//! An async fn compiles to a jump on its state byte to the code after its `.await`, which
//! polls the next future; so one poll of a task that waits goes down to what it waits
//! for, and comes back. The functions on the way, with those that were inlined into them,
//! are the chain of awaits ([`Interpreter::chain`]); where branches part (`select!`,
//! `join!`) it is a tree. What an innermost future accesses says what it waits for: a
//! semaphore, a channel, a task.
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

mod clock;
mod given_back;
mod layout;
mod nameless;
mod nodes;
mod readiness;
mod sites;
mod sockets;
mod thread;
mod tree;
mod wakers;
mod wanted;

use std::sync::Arc;
use std::time::Duration;

use looptop_interpret::{
    Answers, Code, End, Function, Host, Limits, PAGE, Refusal, Run, Start, run,
};

pub use given_back::{GivenBack, Lock};
pub(crate) use layout::is_queued_acquire;
pub use sites::Named;
pub use sockets::Sockets;

use super::NoChain;
use super::chain::{By, Chain, Cut};
use crate::Subject;
use crate::space::{ProcessSpace, Space};
use crate::sys;
use crate::tasks::{Task, TaskKind, TaskType, Types};
use nodes::Nodes;
use sites::Sites;
use thread::ThreadPointer;
use tree::Tree;
use wanted::Accesses;

/// Bits of a task's state word, see `tokio::runtime::task::state`.
const RUNNING: u64 = 1;
const COMPLETE: u64 = 2;
const NOTIFIED: u64 = 4;
const ONE_REFERENCE: u64 = 1 << 6;

/// How long a run may take, of this thread's time on a processor; this interpreter is slow
/// if it is not optimised.
const PATIENCE: Duration = Duration::from_millis(if cfg!(debug_assertions) { 400 } else { 20 });

/// Polls tasks of a process on copies.
#[derive(Debug)]
pub struct Interpreter<S = ProcessSpace> {
    space: S,
    code: Code,
    functions: Vec<(u64, Function)>,
    thread: Option<ThreadPointer>,
    /// Its id.
    tid: Option<u64>,
    limits: Limits,
    sites: Sites,
    sockets: Sockets,
}

/// Words that a poll reads which are noted.
const MAX_READS: usize = 20_000;

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
    /// It was woken before, and would have been polled anyway.
    pub was_scheduled: bool,
    /// The word of its header with its state and its references.
    state: u64,
}

impl From<NotPolled> for NoChain {
    fn from(why: NotPolled) -> Self {
        match why {
            NotPolled::Running => Self::Running,
            NotPolled::Blocking => Self::Blocking,
            NotPolled::Complete | NotPolled::Gone | NotPolled::Moved => Self::Moved,
        }
    }
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
            tid: None,
            limits: Limits {
                reads: MAX_READS,
                ..Limits::default()
            },
            sites: Sites::default(),
            sockets: Sockets::default(),
        }
    }

    /// Whose part is played: that of a thread which is blocked now, by its id and its
    /// stack pointer. The best one is a worker of the runtime, which is parked. Whether
    /// its own memory was found.
    pub fn play(&mut self, tid: u64, stack: u64) -> bool {
        let found = thread::pointer(&self.space, tid, stack);
        if let Some(found) = found {
            (self.thread, self.tid) = (Some(found), Some(tid));
        }
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

    /// Says which descriptors the process waits for. Without it a socket has a descriptor
    /// where that was read on the way.
    pub fn know(&mut self, sockets: Sockets) {
        self.sockets = sockets;
    }

    /// Where a task waits. `functions` names those at a code address, innermost first; it
    /// is asked once for each.
    ///
    /// # Errors
    ///
    /// It does not wait, or nothing is known of it.
    pub fn chain(
        &mut self,
        task: &Task,
        types: &Types,
        functions: &mut dyn FnMut(u64) -> Vec<Named>,
    ) -> Result<Chain, NoChain> {
        let of = types.get(task.vtable).ok_or(NoChain::Moved)?;
        let polled = self.poll(task, of)?;
        let tree = Tree::of(&polled.run, &mut self.sites, functions);
        let accesses = Accesses {
            run: &polled.run,
            space: &self.space,
            types,
            sockets: &self.sockets,
            header: polled.header,
            size: polled.size,
        };
        let mut nodes = Nodes {
            tree: &tree,
            accesses: &accesses,
            has_list: false,
            depth: 0,
            is_cut: false,
        };
        let named = nodes.root();
        let (has_list, is_cut) = (nodes.has_list, nodes.is_cut);
        let cut = match polled.outcome {
            Outcome::Partial(end) => Some(Cut::Poll(Arc::from(end.to_string()))),
            _ if tree.is_cut || is_cut => Some(Cut::Bound),
            _ if has_list => Some(Cut::List),
            _ => None,
        };
        let is_certain = tree.is_complete && named.is_some();
        let root = named.or_else(|| nameless::root(&accesses));
        let Some(root) = root else {
            return Err(NoChain::Unnamed);
        };
        let wakers_known = cut.is_none() && wakers::are_known(&root, polled.state, &accesses);
        Ok(Chain {
            task: task.id,
            root: Some(root),
            by: By::Interpreter,
            cut,
            is_scheduled: polled.was_scheduled || polled.outcome == Outcome::Ready,
            is_certain,
            wakers_known,
        })
    }

    /// The state word of a task that waits.
    fn idle_state(&self, task: &Task, of: &TaskType) -> Result<u64, NotPolled> {
        if task.kind == TaskKind::Blocking {
            return Err(NotPolled::Blocking);
        }
        let state = self.space.read_u64(task.header).ok_or(NotPolled::Gone)?;
        let vtable = task.header.checked_add(16).ok_or(NotPolled::Gone)?;
        if self.space.read_u64(vtable) != Some(of.vtable) {
            return Err(NotPolled::Gone);
        }
        match state {
            state if state & COMPLETE != 0 => Err(NotPolled::Complete),
            state if state & RUNNING != 0 => Err(NotPolled::Running),
            state => Ok(state),
        }
    }

    /// The answers to code that asks for more than memory holds.
    fn answers(&self) -> Answers {
        Answers {
            clocks: clock::now(),
            counter: Some(sys::counter()),
            functions: self.functions.clone(),
            thread: self.tid,
            events: self.sockets.events().clone(),
            ..Answers::default()
        }
    }

    /// Polls a task.
    ///
    /// # Errors
    ///
    /// It is not one that waits, or does not wait as it did a moment ago.
    pub fn poll(&mut self, task: &Task, of: &TaskType) -> Result<Polled, NotPolled> {
        let state = self.idle_state(task, of)?;
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
        let answers = self.answers();
        let mut host = Copied {
            space: &self.space,
            end: clock::of_thread() + PATIENCE,
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
            was_scheduled: state & NOTIFIED != 0,
            state,
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
    end: Duration,
}

impl<S: Space> Host for Copied<'_, S> {
    fn page(&mut self, address: u64, page: &mut [u8; PAGE]) -> bool {
        self.space.read(address, page) == PAGE
    }

    fn pages(&mut self, addresses: &[u64], pages: &mut [[u8; PAGE]]) -> bool {
        let mut done = 0;
        while done < addresses.len() {
            let rest = pages[done..].as_flattened_mut();
            match self.space.read_batch(&addresses[done..], PAGE, rest) {
                0 => return false,
                read => done += read,
            }
        }
        true
    }

    fn expired(&mut self) -> bool {
        clock::of_thread() >= self.end
    }
}
