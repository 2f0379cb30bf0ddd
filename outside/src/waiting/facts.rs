//! What the engine says: where tasks and threads wait, and who holds what.

use std::sync::Arc;
use std::time::{Duration, Instant};

use looptop_symbols::types::Location;
use looptop_unwind::ModuleInfo;

use crate::awaits::{By, Interest, Link, NodeKind};
use crate::waits::ResourceKind;

/// A tree of futures as many tasks have it, without what it is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shape {
    /// In preorder, the task's own future first.
    pub nodes: Vec<ShapeNode>,
    /// How it was had.
    pub by: By,
    /// Why it is not whole, in words; `None` where it is.
    pub cut: Option<Arc<str>>,
    /// The function that polls the task, where only that says of which type its future is:
    /// async blocks of one function have one name in a program without types, and in a
    /// stripped one nothing has a name.
    pub poll: Option<u64>,
}

/// A future of a [`Shape`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ShapeNode {
    /// 0 for the task's own future; at most 1 more than that of the node before.
    pub depth: u32,
    /// What it is.
    pub kind: NodeKind,
    /// Its type or poll function, whole.
    pub name: Arc<str>,
    /// Of async code: the await at which it is suspended.
    pub location: Option<Location>,
    /// A macro wrote that await.
    pub by_macro: bool,
    /// How it belongs to the node above.
    pub link: Link,
}

/// Which task: where it is, and tokio's id of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskAt {
    /// The address of its allocation.
    pub header: u64,
    /// tokio's id of it.
    pub id: u64,
}

/// Where a task waits, as of when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskWait {
    /// The task.
    pub task: TaskAt,
    /// Its futures: which of the shapes, counted from 1. See [`Found::shapes`].
    pub shape: u32,
    /// What it waits for.
    pub wants: Vec<Want>,
    /// What it has that others may wait for.
    pub holds: Vec<Hold>,
    /// It has waited so at least since then.
    pub since: Instant,
    /// When it was read.
    pub read_at: Instant,
    /// The tree is this task's for certain.
    pub is_certain: bool,
    /// It was woken, and will be polled.
    pub is_scheduled: bool,
    /// Nothing but what it waits for can wake it: each of its wakers is there.
    pub wakers_known: bool,
}

/// Something that is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// Position among the shape's nodes; of a thread, 0.
    pub node: u32,
    /// What.
    pub what: What,
}

/// See [`Want`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Permits of a lock or a semaphore.
    Permits {
        /// Its address.
        resource: u64,
        /// How many are asked for.
        amount: u64,
        /// How many of these it has already.
        given: u64,
    },
    /// A message of a channel.
    Message {
        /// The channel's address.
        resource: u64,
    },
    /// A place in a channel that is full.
    Room {
        /// The channel's address.
        resource: u64,
    },
    /// Something else of a resource, that anybody may give.
    Other {
        /// Its address.
        resource: u64,
    },
    /// The end of a task; `None` where it is gone.
    Task(Option<TaskAt>),
    /// The end of a job of the blocking pool.
    Job {
        /// Which.
        job: TaskAt,
        /// A thread of the pool has begun with it.
        has_begun: bool,
    },
    /// A moment, by the system's monotonic clock.
    Timer {
        /// When it is due.
        due: Duration,
    },
    /// A socket or another descriptor.
    Socket {
        /// Its number.
        descriptor: Option<i32>,
        /// What it is to be ready for.
        interest: Interest,
        /// What it is.
        object: Option<Arc<str>>,
    },
    /// Nothing ever comes.
    Never,
}

impl What {
    /// The resource that it is of.
    pub fn resource(&self) -> Option<u64> {
        match self {
            Self::Permits { resource, .. }
            | Self::Message { resource }
            | Self::Room { resource }
            | Self::Other { resource } => Some(*resource),
            Self::Task(_)
            | Self::Job { .. }
            | Self::Timer { .. }
            | Self::Socket { .. }
            | Self::Never => None,
        }
    }

    /// Whether both are one wait: what was given or begun meanwhile, and what is called
    /// otherwise, does not count.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Permits {
                    resource, amount, ..
                },
                Self::Permits {
                    resource: others,
                    amount: theirs,
                    ..
                },
            ) => (resource, amount) == (others, theirs),
            (
                Self::Socket {
                    descriptor,
                    interest,
                    ..
                },
                Self::Socket {
                    descriptor: others,
                    interest: theirs,
                    ..
                },
            ) => (descriptor, interest) == (others, theirs),
            (Self::Job { job, .. }, Self::Job { job: other, .. }) => job == other,
            _ => self == other,
        }
    }
}

/// Something that a task or a thread has, and others may wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Position among the shape's nodes, in which it lives; of a thread, 0.
    pub node: u32,
    /// The resource's address.
    pub resource: u64,
    /// In what way.
    pub role: crate::awaits::Role,
    /// Permits.
    pub amount: u64,
    /// The variable that it is in.
    pub name: Option<Arc<str>>,
    /// Known, and not only probable.
    pub is_certain: bool,
}

/// What a thread waits for outside of tokio, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadWait {
    /// Its id.
    pub tid: u64,
    /// The lock that it waits for, if it is one; or a job of the blocking pool that has not
    /// begun.
    pub want: Option<Want>,
    /// Locks that it holds, as far as that was looked for.
    pub holds: Vec<Hold>,
    /// The task in whose poll it is, or the job of the blocking pool that it runs.
    pub task: Option<TaskAt>,
    /// It has stood so at least since then.
    pub since: Instant,
    /// The application's function on its stack, the innermost one.
    pub function: Option<Arc<str>>,
    /// Its source, as a reader knows it, and the line of its call.
    pub place: Option<(Arc<str>, u32)>,
    /// The system call in which it is.
    pub call: Option<u64>,
    /// Its stack, innermost first: of the modules of [`Found::modules`], and the file's
    /// own addresses.
    pub frames: Vec<(Option<u32>, u64)>,
}

/// What tasks share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceFact {
    /// See [`Resource::address`](crate::waits::Resource::address).
    pub address: u64,
    /// What it is.
    pub kind: ResourceKind,
    /// Permits that are free.
    pub free: Option<u64>,
    /// Permits that there are.
    pub total: Option<u64>,
    /// Messages in a channel; at a barrier those that have arrived.
    pub queued: Option<u64>,
    /// Its senders.
    pub senders: Option<u64>,
    /// Every task that points at it was asked what it would give back: those of them that
    /// hold it are known.
    pub holders_known: Option<bool>,
    /// What it is called.
    pub name: Option<Arc<str>>,
}

/// How much was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadSoFar {
    /// Tasks that wait.
    pub idle: u64,
    /// Those of them whose chain is known.
    pub read: u64,
    /// Those of these whose chain is not whole.
    pub partial: u64,
    /// Those tried of which nothing is known.
    pub without: u64,
    /// Why of most of them.
    pub without_reason: Option<Arc<str>>,
    /// Each was tried since it became idle.
    pub is_complete: bool,
    /// What could not be looked at.
    pub not_read: Vec<Arc<str>>,
}

/// What is new since it was last taken.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Shapes, with the numbers that waits call them by.
    pub shapes: Vec<(u32, Arc<Shape>)>,
    /// Tasks that were read.
    pub tasks: Vec<TaskWait>,
    /// Tasks of which nothing is known any more.
    pub void: Vec<TaskAt>,
    /// Threads that wait or hold otherwise than before.
    pub threads: Vec<ThreadWait>,
    /// Threads that do neither any more.
    pub threads_void: Vec<u64>,
    /// Resources of which more or something else is known.
    pub resources: Vec<ResourceFact>,
    /// Those of which nobody says anything any more.
    pub resources_void: Vec<u64>,
    /// All modules that frames of threads refer to.
    pub modules: Vec<ModuleInfo>,
    /// What the system's monotonic clock shows, by which timers are due; `None` where it is
    /// not known.
    pub clock: Option<Duration>,
    /// How much was read.
    pub read: ReadSoFar,
}

impl Found {
    /// Nothing is new.
    pub fn is_empty(&self) -> bool {
        self.shapes.is_empty()
            && self.tasks.is_empty()
            && self.void.is_empty()
            && self.threads.is_empty()
            && self.threads_void.is_empty()
            && self.resources.is_empty()
            && self.resources_void.is_empty()
    }
}
