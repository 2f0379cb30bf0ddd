//! What a task waits for, as a tree.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use looptop_symbols::types::Location;

use super::names;
use crate::waits::ResourceKind;

/// Where a task waits: from its own future down to what it waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The task's id.
    pub task: u64,
    /// Its future; `None` where nothing of it is known.
    pub root: Option<Node>,
    /// How it was had.
    pub by: By,
    /// Why the tree is not whole; `None` where it is.
    pub cut: Option<Cut>,
    /// It was woken, and will be polled: what it waits for has perhaps come.
    pub is_scheduled: bool,
    /// The tree is this task's, and shows all that its async code waits for. By types it
    /// is not certain where the function that polls the task is that of several, by any of
    /// which the tree may be read: see
    /// [`DebugTypes::task_arguments`](looptop_symbols::types::DebugTypes::task_arguments).
    /// By interpretation it is not where functions were inlined that nothing names: what
    /// they poll may have been left out, such as a branch of a `select!`.
    pub is_certain: bool,
    /// Each waker that the task has is at something that the tree waits for: nothing else
    /// can let it go on. By interpretation; by types it is not asked.
    pub wakers_known: bool,
}

/// How a chain was had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum By {
    /// By the types that debug information describes.
    Types,
    /// The task's poll was interpreted on a copy: see
    /// [`interpreted`](super::interpreted).
    Interpreter,
}

/// Why a tree is not whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Cut {
    /// Something is over a bound.
    Bound,
    /// The poll came to something that is not interpreted.
    Poll(Arc<str>),
    /// A list of futures polls those only that were woken, and the others are not seen.
    List,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bound => f.write_str("there is more than is looked at"),
            Self::Poll(why) => write!(f, "the poll came to {why}"),
            Self::List => f.write_str("a list polls only those of its futures that were woken"),
        }
    }
}

/// A future.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Its type, with its full path and arguments. By interpretation the path of its poll
    /// function: `app::fetch::{{closure}}` of an async fn, `tokio::time::sleep::Sleep` of
    /// what has a `poll` of its own, `app::wrapped::{async_fn#0}` where debug information
    /// names the file alone.
    pub name: Arc<str>,
    /// Where it is in memory, where that is known.
    pub address: Option<u64>,
    /// Of async code: the await at which it is suspended.
    pub location: Option<Location>,
    /// A macro such as `select!` wrote that await, or it was not seen, and the location is
    /// where the function or block begins.
    pub by_macro: bool,
    /// Of async code, by types: the number of the await.
    pub(super) state: Option<u64>,
    /// How it belongs to the node above.
    pub link: Link,
    /// What it waits for itself.
    pub leaf: Option<Leaf>,
    /// What lives across the await and keeps others waiting, or could let them go on.
    pub holds: Vec<Held>,
    /// What it waits for in turn, and what it keeps.
    pub children: Vec<Self>,
}

/// What a future is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// An async fn.
    AsyncFn,
    /// An async block or closure.
    AsyncBlock,
    /// It goes on when one of its children does: `select!`, `FuturesUnordered`, a timeout.
    Select,
    /// It goes on when all of its children have ended: `join!`, `join_all`.
    Join,
    /// It passes the polls on to its only child.
    Wrapper,
    /// It has others within, in a way that is not known better: it may go on for a reason
    /// that is not seen.
    Combinator,
    /// Nothing is awaited in it.
    Leaf,
}

/// How a future belongs to the one above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Link {
    /// It is awaited, or polled with others.
    Awaited,
    /// It was not polled yet.
    NotStarted,
    /// It lives across the await, and is not polled meanwhile: what it holds nobody gets.
    Kept,
}

/// What a future waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leaf {
    /// Something that tasks share.
    Resource(Wanted),
    /// The end of a task.
    Task {
        /// Its id, if it is still there.
        id: Option<u64>,
        /// The address of its allocation.
        header: u64,
    },
    /// A moment, by the system's monotonic clock.
    Timer {
        /// When it is due.
        due: Duration,
    },
    /// A socket, or another descriptor.
    Socket {
        /// Its number in the process.
        fd: Option<i32>,
        /// What it is to be ready for.
        interest: Interest,
    },
    /// Nothing: it never ends.
    Never,
}

/// What a socket is to be ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Interest {
    /// To read.
    Readable,
    /// To write.
    Writable,
    /// One of them, or both.
    Unknown,
}

/// What is asked of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What it is.
    pub kind: ResourceKind,
    /// Where it is: see [`Resource::address`](crate::waits::Resource::address).
    pub address: u64,
    /// Permits that are asked for, in all.
    pub amount: u64,
    /// Those that the waiter was given already.
    pub given: u64,
    /// Permits that are free.
    pub free: Option<u64>,
    /// Permits that there are.
    pub total: Option<u64>,
    /// Messages that are in a channel.
    pub queued: Option<u64>,
    /// Senders that a channel has.
    pub senders: Option<u64>,
    /// Of a barrier: those that have arrived.
    pub arrived: Option<u64>,
    /// What holds the resource, where types say so: a variable, and fields of it
    /// (`state.registry`).
    pub name: Option<Arc<str>>,
}

impl Wanted {
    /// One of a resource of which nothing else is known.
    pub(super) fn of(kind: ResourceKind, address: u64) -> Self {
        Self {
            kind,
            address,
            amount: 1,
            given: 0,
            free: None,
            total: None,
            queued: None,
            senders: None,
            arrived: None,
            name: None,
        }
    }
}

/// What lives across an await.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The resource.
    pub kind: ResourceKind,
    /// Where it is, as in [`Wanted`].
    pub address: u64,
    /// In what way.
    pub role: Role,
    /// Permits.
    pub amount: u64,
    /// The variable, and the fields of it: `session.permit`.
    pub name: Arc<str>,
    /// What holds the resource, where types say so, as in [`Wanted::name`].
    pub resource: Option<Arc<str>>,
    /// Permits that there are of the resource, where it says.
    pub total: Option<u64>,
}

/// In what way a resource is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Others wait until it is let go.
    Guard,
    /// It can let those go on that send.
    Receiver,
    /// It can let those go on that receive.
    Sender,
}

impl Chain {
    /// All futures, from the outside in.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        let mut stack: Vec<&Node> = self.root.iter().collect();
        std::iter::from_fn(move || {
            let node = stack.pop()?;
            stack.extend(node.children.iter().rev());
            Some(node)
        })
    }
}

impl Node {
    pub(crate) fn new(kind: NodeKind, name: &Arc<str>, address: Option<u64>) -> Self {
        Self {
            kind,
            name: Arc::clone(name),
            address,
            location: None,
            by_macro: false,
            state: None,
            link: Link::Awaited,
            leaf: None,
            holds: Vec::new(),
            children: Vec::new(),
        }
    }

    /// A macro such as `select!` or `join!` wrote it.
    pub fn is_of_macro(&self) -> bool {
        matches!(self.kind, NodeKind::Select | NodeKind::Join) && names::is_poll_fn(&self.name)
    }

    /// It says something by itself, and does not only pass on.
    pub fn is_telling(&self) -> bool {
        self.leaf.is_some() || matches!(self.kind, NodeKind::AsyncFn | NodeKind::AsyncBlock)
    }
}
