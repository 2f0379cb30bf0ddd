//! Facts of waiting and holding, however they were found.

use std::sync::Arc;

/// Who waits or holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// A task, by tokio's id.
    Task(u64),
    /// A thread, by the kernel's id.
    Thread(u64),
}

/// What tasks share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    /// tokio's.
    Mutex,
    /// tokio's.
    RwLock,
    /// tokio's.
    Semaphore,
    /// tokio's, and its `SetOnce`: who waits does so until somebody has set it.
    OnceCell,
    /// tokio's.
    Notify,
    /// A channel for one message.
    Oneshot,
    /// A channel of many senders and one receiver; without a bound it has no permits.
    Mpsc,
    /// A channel for the newest value.
    Watch,
    /// A channel of which each receiver gets all.
    Broadcast,
    /// tokio's.
    Barrier,
    /// Of the standard library.
    StdMutex,
    /// Of the standard library.
    StdRwLock,
    /// Of `parking_lot`.
    ParkingLotMutex,
    /// Of `parking_lot`.
    ParkingLotRwLock,
    /// Another, or not known.
    Other,
}

/// Something that tasks share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// What it is called in the facts. Of tokio's locks and semaphores the address of the
    /// `batch_semaphore` within; of channels that of what their ends share (behind the
    /// counts of the `Arc`); of the standard library's locks that of `inner`, which for a
    /// mutex is its futex; of `parking_lot`'s that of `raw`, which is its key there.
    pub address: u64,
    /// What it is.
    pub kind: ResourceKind,
    /// Permits that are free.
    pub free: Option<u64>,
    /// Permits that there are; `None` where nothing says.
    pub total: Option<u64>,
    /// Senders that a channel has, which may be more than are known as holds.
    pub senders: Option<u64>,
    /// What it is called by a reader, where somebody knows.
    pub name: Option<Arc<str>>,
}

/// A line of a source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// As a reader knows it.
    pub file: Arc<str>,
    /// From 1.
    pub line: u32,
    /// The function, as a reader knows it.
    pub function: Option<Arc<str>>,
}

/// What a party needs to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// This.
    One(Want),
    /// All of them; none is nothing.
    All(Vec<Self>),
    /// Any of them; with none it never goes on.
    Any(Vec<Self>),
}

/// One thing that is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// What.
    pub target: Target,
    /// Where the wait is written.
    pub place: Option<Place>,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// So many permits of a resource.
    Permits {
        /// Its address.
        resource: u64,
        /// How many are still to be given.
        amount: u64,
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
    /// The end of a task or thread.
    End(Party),
    /// Anything else of a resource, which anybody may give.
    Other {
        /// Its address.
        resource: u64,
    },
    /// Time, the network, the outside.
    Outside,
    /// Nothing ever comes.
    Never,
}

/// What a party has of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Who.
    pub party: Party,
    /// Of what.
    pub resource: u64,
    /// In what way.
    pub role: HoldRole,
    /// The variable that it is in.
    pub name: Option<Arc<str>>,
    /// Where the holder is while it holds it.
    pub place: Option<Place>,
    /// It is known, and not only probable.
    pub is_certain: bool,
}

/// In what way a resource is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HoldRole {
    /// So many permits, until they are given back.
    Permits(u64),
    /// The end that receives, and so makes room.
    Receiver,
    /// An end that sends.
    Sender,
}

impl Need {
    /// Everything in it.
    pub fn wants(&self) -> Vec<&Want> {
        let mut wants = Vec::new();
        let mut stack = vec![self];
        while let Some(need) = stack.pop() {
            match need {
                Self::One(want) => wants.push(want),
                Self::All(needs) | Self::Any(needs) => stack.extend(needs.iter().rev()),
            }
        }
        wants
    }
}

impl Target {
    /// The resource that it is of.
    pub fn resource(self) -> Option<u64> {
        match self {
            Self::Permits { resource, .. }
            | Self::Message { resource }
            | Self::Room { resource }
            | Self::Other { resource } => Some(resource),
            Self::End(_) | Self::Outside | Self::Never => None,
        }
    }
}

impl std::fmt::Display for Party {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Task(id) => write!(f, "task {id}"),
            Self::Thread(tid) => write!(f, "thread {tid}"),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(function) = &self.function {
            write!(f, "{function} ({}:{})", self.file, self.line)
        } else {
            write!(f, "{}:{}", self.file, self.line)
        }
    }
}

impl ResourceKind {
    /// Who waits for it waits for permits, which others hold.
    pub fn has_permits(self) -> bool {
        !matches!(
            self,
            Self::Notify
                | Self::Oneshot
                | Self::Mpsc
                | Self::Watch
                | Self::Broadcast
                | Self::Barrier
                | Self::Other
        )
    }

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mutex => "Mutex",
            Self::RwLock => "RwLock",
            Self::Semaphore => "Semaphore",
            Self::OnceCell => "OnceCell",
            Self::Notify => "Notify",
            Self::Oneshot => "oneshot channel",
            Self::Mpsc => "mpsc channel",
            Self::Watch => "watch channel",
            Self::Broadcast => "broadcast channel",
            Self::Barrier => "Barrier",
            Self::StdMutex => "std Mutex",
            Self::StdRwLock => "std RwLock",
            Self::ParkingLotMutex => "parking_lot Mutex",
            Self::ParkingLotRwLock => "parking_lot RwLock",
            Self::Other => "resource",
        }
    }
}
