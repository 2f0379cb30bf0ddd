//! Futures in which nothing is awaited, and what they wait for.

use std::sync::Arc;
use std::time::Duration;

use looptop_unwind::Memory;

use super::chain::{Interest, Leaf, Node, NodeKind, Wanted};
use super::view::{MAX_ELEMENTS, View};
use super::walk::{Around, Walk};
use crate::waits::ResourceKind;

/// Types of which [`of`] says what they wait for.
const LEAVES: &[&str] = &[
    ACQUIRE,
    NOTIFIED,
    OWNED_NOTIFIED,
    ONESHOT,
    JOIN_HANDLE,
    SLEEP,
    READINESS,
    BROADCAST,
    PENDING,
    "tokio::io::util::",
    "futures_channel::oneshot::Receiver<",
    "futures_channel::mpsc::Receiver<",
    "futures_channel::mpsc::UnboundedReceiver<",
];
const ACQUIRE: &str = "tokio::sync::batch_semaphore::Acquire";
const NOTIFIED: &str = "tokio::sync::notify::Notified";
const OWNED_NOTIFIED: &str = "tokio::sync::notify::OwnedNotified";
const ONESHOT: &str = "tokio::sync::oneshot::Receiver<";
const JOIN_HANDLE: &str = "tokio::runtime::task::join::JoinHandle<";
const SLEEP: &str = "tokio::time::sleep::Sleep";
const READINESS: &str = "tokio::runtime::io::scheduled_io::Readiness";
const BROADCAST: &str = "tokio::sync::broadcast::Recv<";
const PENDING: &str = "core::future::pending::Pending<";
/// They are polled as they are; what lives across an await as one is held.
const RECEIVER_STREAMS: &[&str] = &[
    "tokio_stream::wrappers::mpsc_bounded::ReceiverStream<",
    "tokio_stream::wrappers::mpsc_unbounded::UnboundedReceiverStream<",
];
const RECEIVERS: &[&str] = &[
    "tokio::sync::mpsc::bounded::Receiver<",
    "tokio::sync::mpsc::unbounded::UnboundedReceiver<",
];
const POLL_EVENTED: &str = "tokio::io::poll_evented::PollEvented<";

/// Values that are looked at for a descriptor.
const MAX_LOOKED: u32 = 400;
/// Permits are counted from this bit on; the one below says that it is closed.
pub(super) const PERMIT_SHIFT: u32 = 1;

/// Whether a type is one of those.
pub(super) fn is(name: &str) -> bool {
    LEAVES.iter().any(|leaf| name.starts_with(leaf))
}

/// Whether it is a stream that has nothing but an end of a channel.
pub(super) fn is_stream(name: &str) -> bool {
    RECEIVER_STREAMS
        .iter()
        .any(|stream| name.starts_with(stream))
}

/// Whether it is the receiving end of a channel with many senders.
pub(super) fn is_receiver(name: &str) -> bool {
    RECEIVERS.iter().any(|receiver| name.starts_with(receiver))
}

/// The node of one.
pub(super) fn of<M: Memory + ?Sized>(walk: &mut Walk<'_, '_, M>, view: &View) -> Node {
    let mut node = Node::new(NodeKind::Leaf, &view.ty.name, Some(view.at));
    node.leaf = read(walk, view);
    name(walk, &mut node);
    if view.is("tokio::io::util::") && node.leaf.is_none() {
        node.leaf = Some(Leaf::Socket {
            fd: descriptor(walk, view),
            interest: interest(&view.ty.name),
        });
    }
    node
}

fn read<M: Memory + ?Sized>(walk: &mut Walk<'_, '_, M>, view: &View) -> Option<Leaf> {
    Some(match &*view.ty.name {
        name if name.starts_with(ACQUIRE) => acquire(walk, view)?,
        name if name.starts_with(NOTIFIED) || name.starts_with(OWNED_NOTIFIED) => {
            notified(walk, view)?
        }
        name if name.starts_with(ONESHOT) => {
            // It is an `Option` of an `Arc`.
            let inner = walk.reader.field(view, "inner")?;
            let shared = shared(walk, &inner)?;
            let mut wanted = Wanted::of(ResourceKind::Oneshot, shared.at);
            wanted.senders = oneshot_senders(walk, &shared);
            Leaf::Resource(wanted)
        }
        name if name.starts_with(JOIN_HANDLE) => task(walk, view)?,
        name if name.starts_with(SLEEP) => timer(walk, view)?,
        name if name.starts_with(READINESS) => {
            let waiter = walk.reader.find(view, "interest");
            let bits = waiter.and_then(|interest| walk.reader.number(&interest));
            let around = owner(walk);
            let fd = around.and_then(|around| descriptor(walk, &around.fields));
            Leaf::Socket {
                fd,
                interest: match bits.map(|bits| bits & 3) {
                    Some(1) => Interest::Readable,
                    Some(2) => Interest::Writable,
                    _ => Interest::Unknown,
                },
            }
        }
        name if name.starts_with(BROADCAST) => {
            let receiver = walk.reader.field(view, "receiver")?;
            let receiver = walk.reader.behind(&receiver)?;
            receive(walk, &receiver, ResourceKind::Broadcast)?
        }
        name if name.starts_with(PENDING) => Leaf::Never,
        name if is_stream(name) => {
            let receiver = walk.reader.field(view, "inner")?;
            receive(walk, &receiver, ResourceKind::Mpsc)?
        }
        name if is_receiver(name) => receive(walk, view, ResourceKind::Mpsc)?,
        name if name.starts_with("futures_channel::oneshot::") => {
            let inner = walk.reader.field(view, "inner")?;
            let channel = shared(walk, &inner)?;
            let mut wanted = Wanted::of(ResourceKind::Oneshot, channel.at);
            // Of both ends the first that goes says so.
            let is_complete = walk.reader.field(&channel, "complete");
            let is_complete = is_complete.and_then(|complete| walk.reader.number(&complete));
            wanted.senders = is_complete.map(|complete| u64::from(complete == 0));
            Leaf::Resource(wanted)
        }
        name if name.starts_with("futures_channel::mpsc::") => {
            /// Of its state: it is open.
            const OPEN: u64 = 1 << 63;
            let inner = walk.reader.field(view, "inner")?;
            let channel = shared(walk, &inner)?;
            let mut wanted = Wanted::of(ResourceKind::Mpsc, channel.at);
            let senders = walk.reader.field(&channel, "num_senders")?;
            wanted.senders = Some(walk.reader.number(&senders)?);
            let state = walk.reader.field(&channel, "state")?;
            wanted.queued = Some(walk.reader.number(&state)? & !OPEN);
            Leaf::Resource(wanted)
        }
        _ => return None,
    })
}

/// What is polled by a function that shows nothing of what it waits for, by the async
/// function around it.
pub(super) fn by_place<M: Memory + ?Sized>(
    walk: &mut Walk<'_, '_, M>,
    view: &View,
) -> Option<Node> {
    let mut node = Node::new(NodeKind::Leaf, &view.ty.name, Some(view.at));
    let around = owner(walk)?;
    let by = &around.name;
    if by.starts_with("tokio::sync::mpsc::") {
        let this = this(walk, &around)?;
        node.leaf = receive(walk, &this, ResourceKind::Mpsc);
    } else if by.starts_with("tokio::sync::oneshot::") {
        // A sender that waits until nobody wants the answer any more.
        let this = this(walk, &around)?;
        let inner = walk.reader.field(&this, "inner")?;
        let shared = shared(walk, &inner)?;
        let mut wanted = Wanted::of(ResourceKind::Oneshot, shared.at);
        wanted.amount = 0;
        node.leaf = Some(Leaf::Resource(wanted));
    } else if by.starts_with("tokio::task::join_set::") {
        let this = this(walk, &around)?;
        node.kind = NodeKind::Select;
        node.children = join_set(walk, &this);
    } else if by.starts_with("tokio::time::interval::") {
        let this = this(walk, &around)?;
        let delay = walk.reader.field(&this, "delay")?;
        let sleep = walk.reader.behind(&delay)?;
        node.leaf = timer(walk, &sleep);
    } else if by.starts_with("tokio::io::util::copy_bidirectional::") {
        // Either of them may be the next that can be read.
        let both = sockets(walk, &around.fields, 2);
        node.kind = NodeKind::Select;
        node.children = both.iter().map(|socket| of_socket(walk, socket)).collect();
    } else if by.starts_with("tokio::net::")
        || by.starts_with("tokio::io::")
        || by.starts_with("tokio::runtime::io::")
        || by.starts_with("tokio::process::")
    {
        let socket = sockets(walk, &around.fields, 1).pop();
        let mut known = interest(by);
        if let (Interest::Unknown, Some(socket)) = (known, &socket) {
            known = by_wakers(walk, socket);
        }
        node.leaf = Some(Leaf::Socket {
            fd: socket.and_then(|socket| descriptor_of(walk, &socket)),
            interest: known,
        });
    }
    name(walk, &mut node);
    (node.leaf.is_some() || !node.children.is_empty()).then_some(node)
}

/// Says what the resource is called that a node waits for.
fn name<M: Memory + ?Sized>(walk: &mut Walk<'_, '_, M>, node: &mut Node) {
    if let Some(Leaf::Resource(wanted)) = &mut node.leaf {
        wanted.name = walk.name_of(wanted.address);
    }
}

/// Tokio's functions that are innermost around, the innermost first.
fn of_tokio_around<M: Memory + ?Sized>(walk: &Walk<'_, '_, M>) -> Vec<Around> {
    let of_tokio = |around: &&Around| around.name.starts_with("tokio::");
    let around = walk.around.iter().rev();
    around.take_while(of_tokio).cloned().collect()
}

/// The outermost of them: the one that the application called.
fn owner<M: Memory + ?Sized>(walk: &Walk<'_, '_, M>) -> Option<Around> {
    of_tokio_around(walk).pop()
}

/// What a method was called on, behind its references.
fn this<M: Memory + ?Sized>(walk: &mut Walk<'_, '_, M>, around: &Around) -> Option<View> {
    let this = walk.reader.field(&around.fields, "self")?;
    walk.reader.behind(&this)
}

/// The data behind an `Arc`, or an `Option` of one.
fn shared<M: Memory + ?Sized>(walk: &mut Walk<'_, '_, M>, view: &View) -> Option<View> {
    let arc = walk.reader.find_type(view, "alloc::sync::Arc<")?;
    walk.reader.target(&arc)
}

fn acquire<M: Memory + ?Sized>(walk: &mut Walk<'_, '_, M>, view: &View) -> Option<Leaf> {
    let semaphore = walk.reader.field(view, "semaphore")?;
    let semaphore = walk.reader.target(&semaphore)?;
    let amount = walk.reader.field(view, "num_permits")?;
    let amount = walk.reader.number(&amount)?;
    let mut wanted = Wanted::of(ResourceKind::Semaphore, semaphore.at);
    wanted.amount = amount;
    wanted.free = free(walk, &semaphore);
    let is_queued = walk.reader.field(view, "queued");
    let is_queued = is_queued.and_then(|queued| walk.reader.number(&queued));
    if is_queued == Some(1) {
        let left = walk.reader.find(view, "state");
        let left = left.and_then(|left| walk.reader.number(&left));
        wanted.given = amount.saturating_sub(left.unwrap_or(amount));
    }
    let Some(around) = owner(walk) else {
        return Some(Leaf::Resource(wanted));
    };
    let this = this(walk, &around);
    let (kind, total) = match &*around.name {
        name if name.starts_with("tokio::sync::mutex::") => (ResourceKind::Mutex, Some(1)),
        name if name.starts_with("tokio::sync::rwlock::") => {
            let readers = this.as_ref().and_then(|lock| walk.reader.find(lock, "mr"));
            let readers = readers.and_then(|readers| walk.reader.number(&readers));
            (ResourceKind::RwLock, readers)
        }
        name if name.starts_with("tokio::sync::once_cell::") => (ResourceKind::OnceCell, Some(1)),
        name if name.starts_with("tokio::sync::mpsc::") => {
            if let Some(channel) = this.and_then(|sender| channel(walk, &sender)) {
                wanted.address = channel.at;
                let bound = walk.reader.find(&channel, "bound");
                wanted.total = bound.and_then(|bound| walk.reader.number(&bound));
                let free = wanted.free.unwrap_or(0);
                wanted.queued = wanted.total.map(|total| total.saturating_sub(free));
            }
            (ResourceKind::Mpsc, wanted.total)
        }
        _ => (ResourceKind::Semaphore, None),
    };
    wanted.kind = kind;
    wanted.total = total;
    Some(Leaf::Resource(wanted))
}

/// The permits of a batch semaphore that are free.
fn free<M: Memory + ?Sized>(walk: &mut Walk<'_, '_, M>, semaphore: &View) -> Option<u64> {
    let permits = walk.reader.find(semaphore, "permits")?;
    Some(walk.reader.number(&permits)? >> PERMIT_SHIFT)
}

/// The channel behind one of its ends.
pub(super) fn channel<M: Memory + ?Sized>(walk: &mut Walk<'_, '_, M>, end: &View) -> Option<View> {
    let chan = walk.reader.field(end, "chan")?;
    shared(walk, &chan)
}

fn receive<M: Memory + ?Sized>(
    walk: &mut Walk<'_, '_, M>,
    receiver: &View,
    kind: ResourceKind,
) -> Option<Leaf> {
    let channel = if kind == ResourceKind::Mpsc {
        channel(walk, receiver)?
    } else {
        let inner = walk.reader.field(receiver, "shared")?;
        shared(walk, &inner)?
    };
    let mut wanted = Wanted::of(kind, channel.at);
    for senders in ["tx_count", "num_tx", "ref_count_tx"] {
        if let Some(count) = walk.reader.field(&channel, senders) {
            wanted.senders = walk.reader.number(&count);
        }
    }
    if kind == ResourceKind::Mpsc {
        let semaphore = walk.reader.field(&channel, "semaphore")?;
        if semaphore.is("tokio::sync::mpsc::bounded::") {
            let bound = walk.reader.field(&semaphore, "bound");
            wanted.total = bound.and_then(|bound| walk.reader.number(&bound));
            wanted.free = free(walk, &semaphore);
            let used = wanted.total.zip(wanted.free);
            wanted.queued = used.map(|(total, free)| total.saturating_sub(free));
        } else {
            let messages = walk.reader.number(&semaphore);
            wanted.queued = messages.map(|messages| messages >> PERMIT_SHIFT);
        }
    }
    Some(Leaf::Resource(wanted))
}

/// Whether the sender of a oneshot is there: its state says when it has sent, or gone.
fn oneshot_senders<M: Memory + ?Sized>(walk: &mut Walk<'_, '_, M>, channel: &View) -> Option<u64> {
    const SENT: u64 = 2;
    let state = walk.reader.field(channel, "state")?;
    Some(u64::from(walk.reader.number(&state)? & SENT == 0))
}

fn notified<M: Memory + ?Sized>(walk: &mut Walk<'_, '_, M>, view: &View) -> Option<Leaf> {
    let notify = walk.reader.field(view, "notify")?;
    let notify = walk.reader.behind(&notify)?;
    // Outermost first: a barrier has a watch channel.
    let around = of_tokio_around(walk);
    let by = |name: &str| around.iter().rev().find(|by| by.name.starts_with(name));
    if let Some(barrier) = by("tokio::sync::barrier::") {
        let barrier = this(walk, barrier)?;
        let mut wanted = Wanted::of(ResourceKind::Barrier, barrier.at);
        let of = walk.reader.field(&barrier, "n");
        wanted.total = of.and_then(|of| walk.reader.number(&of));
        let arrived = walk.reader.find(&barrier, "arrived");
        wanted.arrived = arrived.and_then(|arrived| walk.reader.number(&arrived));
        return Some(Leaf::Resource(wanted));
    }
    if let Some(watch) = by("tokio::sync::watch::") {
        let this = this(walk, watch)?;
        if let Some(inner) = walk.reader.field(&this, "shared") {
            let channel = shared(walk, &inner)?;
            let mut wanted = Wanted::of(ResourceKind::Watch, channel.at);
            let senders = walk.reader.field(&channel, "ref_count_tx");
            wanted.senders = senders.and_then(|senders| walk.reader.number(&senders));
            return Some(Leaf::Resource(wanted));
        }
    }
    let kind = if by("tokio::sync::set_once::").is_some() {
        ResourceKind::OnceCell
    } else {
        ResourceKind::Notify
    };
    Some(Leaf::Resource(Wanted::of(kind, notify.at)))
}

/// The task that a handle is of.
fn task<M: Memory + ?Sized>(walk: &mut Walk<'_, '_, M>, handle: &View) -> Option<Leaf> {
    let raw = walk.reader.field(handle, "raw")?;
    let header = walk.reader.number(&raw)?;
    Some(Leaf::Task {
        id: walk.tasks.id_of(walk.reader.memory, header),
        header,
    })
}

/// The tasks of a `JoinSet`: those of its two lists.
fn join_set<M: Memory + ?Sized>(walk: &mut Walk<'_, '_, M>, set: &View) -> Vec<Node> {
    let mut children = Vec::new();
    let lists = walk.reader.find_type(set, "alloc::sync::Arc<");
    let Some(lists) = lists.and_then(|lists| walk.reader.target(&lists)) else {
        return children;
    };
    for list in ["idle", "notified"] {
        let list = walk.reader.find(&lists, list);
        let head = list.and_then(|list| walk.reader.find(&list, "head"));
        let mut entry = head.and_then(|head| pointed(walk, &head));
        for number in 0..=MAX_ELEMENTS {
            let Some(at) = entry else { break };
            if number == MAX_ELEMENTS {
                walk.cut = true;
                break;
            }
            if let Some(handle) = walk.reader.find_type(&at, JOIN_HANDLE) {
                let mut node = Node::new(NodeKind::Leaf, &handle.ty.name, Some(handle.at));
                node.leaf = task(walk, &handle);
                children.push(node);
            }
            let next = walk.reader.find(&at, "next");
            let next = next.and_then(|next| walk.reader.number(&next));
            entry = next.filter(|next| *next != 0).map(|next| View {
                ty: Arc::clone(&at.ty),
                at: next,
            });
        }
    }
    children
}

/// What the pointer within an `Option` of one points to.
fn pointed<M: Memory + ?Sized>(walk: &mut Walk<'_, '_, M>, view: &View) -> Option<View> {
    walk.reader.number(view).filter(|at| *at != 0)?;
    walk.reader.target(view)
}

fn timer<M: Memory + ?Sized>(walk: &mut Walk<'_, '_, M>, sleep: &View) -> Option<Leaf> {
    let deadline = walk.reader.find(sleep, "deadline")?;
    let seconds = walk.reader.find(&deadline, "tv_sec")?;
    let seconds = walk.reader.number(&seconds)?;
    let nanoseconds = walk.reader.find(&deadline, "tv_nsec")?;
    let nanoseconds = walk.reader.number(&nanoseconds)?;
    let nanoseconds = u32::try_from(nanoseconds)
        .ok()
        .filter(|n| *n < 1_000_000_000)?;
    Some(Leaf::Timer {
        due: Duration::new(seconds, nanoseconds),
    })
}

/// The descriptor of what is read or written: that of the first of tokio's sockets or
/// pipes that its fields lead to.
pub(super) fn descriptor<M: Memory + ?Sized>(
    walk: &mut Walk<'_, '_, M>,
    view: &View,
) -> Option<i32> {
    let socket = sockets(walk, view, 1).pop()?;
    descriptor_of(walk, &socket)
}

/// One of tokio's sockets or pipes, and what it is waited for.
pub(super) fn of_socket<M: Memory + ?Sized>(walk: &mut Walk<'_, '_, M>, socket: &View) -> Node {
    let mut node = Node::new(NodeKind::Leaf, &socket.ty.name, Some(socket.at));
    node.leaf = Some(Leaf::Socket {
        fd: descriptor_of(walk, socket),
        interest: by_wakers(walk, socket),
    });
    node
}

/// The first so many of them that fields lead to.
fn sockets<M: Memory + ?Sized>(walk: &mut Walk<'_, '_, M>, view: &View, most: usize) -> Vec<View> {
    let mut found: Vec<View> = Vec::new();
    let mut queue = std::collections::VecDeque::from([view.clone()]);
    for _ in 0..MAX_LOOKED {
        let Some(next) = queue.pop_front() else { break };
        if next.is(POLL_EVENTED) {
            if found.iter().all(|known| known.at != next.at) {
                found.push(next);
            }
            if found.len() >= most {
                break;
            }
            continue;
        }
        if let Some(dynamic) = walk.reader.dynamic(&next) {
            queue.push_back(dynamic);
            continue;
        }
        let inner = walk.reader.behind(&next);
        let Some(inner) = inner.filter(|inner| inner.at != 0) else {
            continue;
        };
        let fields = walk.reader.fields(&inner);
        queue.extend(fields.into_iter().map(|(_, field)| field));
    }
    found
}

/// The descriptor of one of tokio's sockets or pipes.
fn descriptor_of<M: Memory + ?Sized>(walk: &mut Walk<'_, '_, M>, socket: &View) -> Option<i32> {
    let io = walk.reader.field(socket, "io")?;
    let fd = walk.reader.find(&io, "fd")?;
    let number = walk.reader.bytes(fd.at, 4)? as u32;
    Some(number.cast_signed()).filter(|fd| *fd >= 0)
}

/// What a socket is waited for, by the wakers that tokio has for it.
fn by_wakers<M: Memory + ?Sized>(walk: &mut Walk<'_, '_, M>, socket: &View) -> Interest {
    let shared = walk.reader.field(socket, "registration");
    let shared = shared.and_then(|registration| shared_of(walk, &registration));
    let waiters = shared.and_then(|shared| walk.reader.field(&shared, "waiters"));
    let mut is_there = |who: &str| {
        let waker = waiters.as_ref().and_then(|all| walk.reader.find(all, who));
        let variant = waker.and_then(|waker| walk.reader.variant(&waker));
        variant.is_some_and(|(variant, _)| &*variant.name == "Some")
    };
    match (is_there("reader"), is_there("writer")) {
        (true, false) => Interest::Readable,
        (false, true) => Interest::Writable,
        _ => Interest::Unknown,
    }
}

/// What tokio has for a descriptor.
fn shared_of<M: Memory + ?Sized>(walk: &mut Walk<'_, '_, M>, registration: &View) -> Option<View> {
    let arc = walk.reader.field(registration, "shared")?;
    shared(walk, &arc)
}

/// What a function that reads or writes waits for.
pub(super) fn interest(name: &str) -> Interest {
    let path = super::names::path_of(name);
    let parts = path.split("::").filter(|part| !part.starts_with('{'));
    let last = parts.last().unwrap_or(path).to_ascii_lowercase();
    if ["write", "flush", "shutdown", "send", "connect"]
        .iter()
        .any(|w| last.contains(w))
    {
        Interest::Writable
    } else if [
        "read", "recv", "accept", "fill", "lines", "line", "next", "split",
    ]
    .iter()
    .any(|w| last.contains(w))
    {
        Interest::Readable
    } else {
        Interest::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_function_waits_for() {
        for (name, expected) in [
            (
                "tokio::io::util::read::Read<tokio::net::TcpStream>",
                Interest::Readable,
            ),
            (
                "tokio::io::util::write_all::WriteAll<tokio::net::TcpStream>",
                Interest::Writable,
            ),
            (
                "tokio::net::udp::{impl#0}::recv_from::{async_fn_env#0}",
                Interest::Readable,
            ),
            (
                "tokio::net::tcp::listener::{impl#0}::accept::{async_fn_env#0}",
                Interest::Readable,
            ),
            ("tokio::io::util::copy::Copy<A, B>", Interest::Unknown),
        ] {
            assert_eq!(interest(name), expected, "{name}");
        }
    }
}
