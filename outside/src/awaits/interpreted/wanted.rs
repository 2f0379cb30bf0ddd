//! What an innermost future waits for, by what its code has accessed.
//!
//! Which memory is what of tokio's the code itself shows: a semaphore is where a lock and
//! a number of permits were accessed, a channel where a waker was put. Where more is read
//! there than the code has read, by offsets that this compiler chose ([`layout`]), the
//! structure around is checked; what does not fit is not claimed.

use std::sync::Arc;
use std::time::Duration;

use looptop_interpret::{Read, Run};

use super::super::chain::{Leaf, Wanted};
use super::super::leaf::PERMIT_SHIFT;
use super::layout::{
    ACQUIRE, BARRIER, BROADCAST, CHANNEL, JOIN_SET, MAX_READERS, NOTIFIED, NOTIFY, RW_LOCK,
    SEMAPHORE, SLEEPS, WATCH,
};
use super::nodes::Around;
use super::sockets::Sockets;
use super::tree::Tree;
use crate::space::Space;
use crate::tasks::Types;
use crate::waits::ResourceKind;

/// A run, and the memory that it was made on.
pub(super) struct Accesses<'a, S> {
    pub(super) run: &'a Run,
    pub(super) space: &'a S,
    pub(super) types: &'a Types,
    pub(super) sockets: &'a Sockets,
    /// The task's allocation, and how long it is.
    pub(super) header: u64,
    pub(super) size: u64,
}

/// Where to look: futures, from the inside out.
type Scope = [usize];

/// Behind the counts of an `Arc`.
pub(super) const SHARED: u64 = 16;
/// Bytes before and behind a future in which what it was called with is searched.
const AROUND: u64 = 2 << 10;
/// Of a task: where the address of its vtable is, and what its own is a multiple of.
const VTABLE: u64 = 16;
const CELL: u64 = 128;
/// Of a task's vtable: the function that asks for the result.
const READS_OUTPUT: u64 = 3 * 8;
/// Bytes of a task's trailer: links of lists, and the waker of who waits for its end.
const TRAILER: u64 = 64;
/// Tasks of one set.
const MAX_TASKS: usize = 64;
/// A waker: the address of its functions, and what they are called with.
pub(super) const WAKER_SIZE: u64 = 16;
/// More of anything are garbage.
const MANY: u64 = 1 << 32;

impl<S: Space> Accesses<'_, S> {
    /// What a future waits for, in which nothing else is polled. `path` is its type or
    /// function.
    pub(super) fn leaf(
        &self,
        tree: &Tree,
        future: usize,
        path: &str,
        around: Around<'_>,
    ) -> Option<Leaf> {
        let looked = self.look(tree, future, around);
        let own = &looked.scope[..1];
        let owner = looked.owner.map_or(path, |owner| &**owner);
        let is = |start: &str| path.starts_with(start);
        let by = |start: &str| owner.starts_with(start);
        if is("tokio::sync::batch_semaphore::Acquire") {
            return looked.permits();
        }
        if is("tokio::sync::notify::") {
            return looked.notified();
        }
        if is("tokio::sync::oneshot::Receiver") || is("futures_channel::oneshot::Receiver") {
            return looked.oneshot(own, 1);
        }
        if is("tokio::runtime::task::join::") {
            return looked.task();
        }
        if is("tokio::time::sleep::") || by("tokio::time::interval::") {
            return looked.timer();
        }
        if is("tokio::sync::broadcast::Recv") {
            return looked.broadcast();
        }
        if is("core::future::pending::Pending") {
            return Some(Leaf::Never);
        }
        if by("tokio::sync::mpsc::") {
            return looked.message();
        }
        if by("tokio::sync::oneshot::") {
            return looked.oneshot(&looked.scope, 0);
        }
        let names = [
            "tokio::runtime::io::",
            "tokio::io::",
            "tokio::net::",
            "tokio::process::",
        ];
        if names.iter().any(|start| is(start) || by(start)) {
            return looked.socket(owner, true);
        }
        // It was inlined, and has no name: what it is shows by itself.
        looked
            .task()
            .or_else(|| looked.permits())
            .or_else(|| looked.message())
            .or_else(|| looked.timer())
            .or_else(|| looked.broadcast())
            .or_else(|| looked.socket(owner, false))
            .or_else(|| looked.notified_itself())
    }

    /// The tasks that one of a `JoinSet` waits for.
    pub(super) fn tasks(&self, tree: &Tree, future: usize, around: Around<'_>) -> Vec<Leaf> {
        self.look(tree, future, around).join_set()
    }

    /// The messages that one future waits for, into which all receivers were inlined.
    pub(super) fn messages(&self, tree: &Tree, future: usize, around: Around<'_>) -> Vec<Leaf> {
        let messages = self.look(tree, future, around).messages();
        messages.into_iter().map(Leaf::Resource).collect()
    }

    /// The sockets that one future has asked, into which all was inlined that did.
    pub(super) fn sockets_asked(
        &self,
        tree: &Tree,
        future: usize,
        around: Around<'_>,
    ) -> Vec<Leaf> {
        let looked = self.look(tree, future, around);
        let places = looked.places_of_sockets();
        let asked = places.filter(|(io, _)| looked.asked(*io) != 0);
        looked.sockets_at(asked)
    }

    /// The sockets of what waits for several at once.
    pub(super) fn sockets(&self, tree: &Tree, future: usize, around: Around<'_>) -> Vec<Leaf> {
        let is_of_several =
            owner(around).is_some_and(|by| by.starts_with("tokio::io::util::copy_bidirectional"));
        if !is_of_several {
            return Vec::new();
        }
        let looked = self.look(tree, future, around);
        looked.sockets_at(looked.places_of_sockets())
    }

    /// Whether a waker of the task is within so many bytes: its functions, and the task.
    /// Where there is none, the address of the task may be left over from an earlier one.
    pub(super) fn has_waker(&self, at: u64, length: u64) -> bool {
        let mut memory = vec![0; length as usize];
        let read = self.space.read(at & !7, &mut memory);
        let words: Vec<u64> = crate::space::words(&memory[..read]).collect();
        has_waker_of(&words, self.header)
    }

    /// Whether the task's waker is where another one wakes who waits for its end.
    pub(super) fn waits_for_end(&self, header: u64) -> bool {
        let vtable = header.checked_add(VTABLE).and_then(|at| self.word(at));
        let of = vtable.and_then(|vtable| self.types.get(vtable));
        let trailer = of.and_then(|of| header.checked_add(of.trailer_offset));
        trailer.is_some_and(|trailer| self.has_waker(trailer, TRAILER))
    }

    fn look<'b>(&'b self, tree: &'b Tree, future: usize, around: Around<'b>) -> Looked<'b, S> {
        Looked {
            accesses: self,
            tree,
            scope: scope(tree, future, around),
            owner: owner(around),
        }
    }

    pub(super) fn word(&self, at: u64) -> Option<u64> {
        self.space.read_u64(at)
    }

    pub(super) fn byte(&self, at: u64) -> Option<u64> {
        let mut byte = [0];
        (self.space.read(at, &mut byte) == 1).then(|| u64::from(byte[0]))
    }

    /// Whether the counts of an `Arc` are at an address.
    pub(super) fn is_shared(&self, at: u64) -> bool {
        let count = |at: u64| self.word(at).is_some_and(|n| (1..MANY).contains(&n));
        at.is_multiple_of(8) && count(at) && at.checked_add(8).is_some_and(count)
    }

    /// Whether a list of waiters is there: both its ends, or none.
    pub(super) fn is_list(&self, at: u64) -> bool {
        let ends = self.word(at).zip(self.word(at.wrapping_add(8)));
        ends.is_some_and(|(head, tail)| {
            (head == 0 && tail == 0) || (is_pointer(head) && is_pointer(tail))
        })
    }
}

pub(super) fn is_pointer(word: u64) -> bool {
    word.is_multiple_of(8) && (1 << 12..1 << 47).contains(&word)
}

/// Whether a waker of a task is among words: where its functions are, then the task.
pub(super) fn has_waker_of(words: &[u64], task: u64) -> bool {
    let mut pairs = words.windows(2);
    pairs.any(|pair| is_pointer(pair[0]) && pair[1] == task)
}

/// A future and those around it up to the application's own code, whose functions it may
/// have been inlined into.
fn scope(tree: &Tree, future: usize, around: Around<'_>) -> Vec<usize> {
    // So many of tokio's, and the one that called them.
    let of_tokio = around.iter().rev().take_while(|name| is_of_tokio(name));
    let mut left = of_tokio.count() + 1;
    let mut scope = vec![future];
    // What is within it is of no futures that anybody knows.
    let mut number = 0;
    while let Some(next) = scope.get(number) {
        scope.extend(&tree.all[*next].children);
        number += 1;
    }
    let mut at = tree.all[future].parent;
    while let Some(next) = at.filter(|_| left > 0) {
        scope.push(next);
        left -= usize::from(tree.all[next].is_code());
        at = tree.all[next].parent;
    }
    scope
}

fn is_of_tokio(name: &str) -> bool {
    name.starts_with("tokio::")
}

/// The outermost of tokio's functions that are innermost around: the one that the
/// application called.
fn owner(around: Around<'_>) -> Option<&Arc<str>> {
    let of_tokio = around.iter().rev().take_while(|name| is_of_tokio(name));
    of_tokio.last()
}

/// One future, looked at.
pub(super) struct Looked<'a, S> {
    pub(super) accesses: &'a Accesses<'a, S>,
    pub(super) tree: &'a Tree,
    pub(super) scope: Vec<usize>,
    /// The function of tokio's that the application has called.
    pub(super) owner: Option<&'a Arc<str>>,
}

impl<S: Space> Looked<'_, S> {
    fn is_by(&self, start: &str) -> bool {
        self.owner.is_some_and(|owner| owner.starts_with(start))
    }

    /// Atomic accesses, of so many bytes.
    fn atomics(&self, sizes: &'static [u8]) -> impl Iterator<Item = u64> {
        let futures = self.scope.iter();
        futures.flat_map(move |future| self.atomics_of(*future, sizes))
    }

    fn atomics_of(&self, future: usize, sizes: &'static [u8]) -> impl Iterator<Item = u64> {
        let numbers = self.tree.all[future].atomics.iter();
        let atomics = numbers.filter_map(|number| self.accesses.run.atomics.get(*number));
        let atomics = atomics.filter(|atomic| sizes.contains(&atomic.size));
        atomics.map(|atomic| atomic.address)
    }

    /// Locks that were taken.
    pub(super) fn locks(&self) -> impl Iterator<Item = u64> {
        self.atomics(&[1, 4])
    }

    fn reads_of<'b>(&'b self, scope: &'b Scope) -> impl Iterator<Item = &'b Read> {
        let numbers = scope.iter().flat_map(|at| &self.tree.all[*at].reads);
        numbers.filter_map(|number| self.accesses.run.reads.get(*number))
    }

    pub(super) fn reads(&self) -> impl Iterator<Item = &Read> {
        self.reads_of(&self.scope)
    }

    /// Where an address was read from.
    pub(super) fn pointers_to(&self, address: u64) -> impl Iterator<Item = u64> {
        let reads = self.reads();
        let found = reads.filter(move |read| read.size == 8 && read.value == address);
        found.map(|read| read.address)
    }

    /// The task that a handle is of: its vtable is asked for the result.
    pub(super) fn task(&self) -> Option<Leaf> {
        let (run, types) = (self.accesses.run, self.accesses.types);
        let calls: Vec<u32> = self
            .scope
            .iter()
            .flat_map(|at| self.tree.all[*at].calls.iter().copied())
            .collect();
        let frames = calls
            .iter()
            .filter_map(|call| run.frames.get(*call as usize));
        let called = frames.map(|frame| (frame.entry, frame.arguments[0]));
        // Or what was called jumps there.
        let visits = run
            .visits
            .iter()
            .filter(|visit| calls.contains(&visit.frame));
        let jumped = visits.filter_map(|visit| Some((visit.code.start, visit.tail?[0])));
        called.chain(jumped).find_map(|(entry, header)| {
            let vtable = self.accesses.word(header.checked_add(VTABLE)?)?;
            let reads_output = self.accesses.word(vtable.checked_add(READS_OUTPUT)?);
            // The vtable of a future in a box has its poll at the same place.
            let is_task = header.is_multiple_of(CELL) && types.get(vtable).is_some();
            (is_task && reads_output == Some(entry)).then(|| Leaf::Task {
                id: types.id_of(self.accesses.space, header),
                header,
            })
        })
    }

    /// The tasks of a `JoinSet`: its lists are behind the lock that was taken.
    fn join_set(&self) -> Vec<Leaf> {
        let (space, types) = (self.accesses.space, self.accesses.types);
        let mut tasks = Vec::new();
        for lock in self.locks() {
            for list in JOIN_SET.lists {
                let field = |at: u64, offset: u64| self.accesses.word(at.checked_add(offset)?);
                let mut entry = field(lock, list).filter(|at| is_pointer(*at));
                while let Some(at) = entry
                    && tasks.len() < MAX_TASKS
                {
                    let header = field(at, JOIN_SET.task);
                    // What is no list of tasks has none.
                    let Some(header) = header.filter(|at| types.id_of(space, *at).is_some()) else {
                        break;
                    };
                    let id = types.id_of(space, header);
                    tasks.push(Leaf::Task { id, header });
                    entry = field(at, JOIN_SET.next).filter(|at| is_pointer(*at));
                }
            }
            if !tasks.is_empty() {
                break;
            }
        }
        tasks
    }

    /// Permits of a semaphore: a lock, and the number that is free.
    pub(super) fn permits(&self) -> Option<Leaf> {
        let accesses = self.accesses;
        let semaphore = self.locks().find(|lock| {
            let permits = lock.wrapping_add(SEMAPHORE.permits);
            let is_permits = self.atomics(&[8]).any(|at| at == permits);
            is_permits && accesses.is_list(lock.wrapping_add(SEMAPHORE.queue))
        })?;
        let mut wanted = Wanted::of(ResourceKind::Semaphore, semaphore);
        let permits = accesses.word(semaphore.wrapping_add(SEMAPHORE.permits));
        wanted.free = permits.map(|permits| permits >> PERMIT_SHIFT);
        let acquire = self.pointers_to(semaphore).find_map(|at| self.acquire(at));
        if let Some((amount, given)) = acquire {
            (wanted.amount, wanted.given) = (amount, given);
        }
        let readers = accesses
            .word(semaphore.wrapping_add(RW_LOCK.readers))
            .map(|word| word & 0xffff_ffff);
        if self.is_by("tokio::sync::mutex::") {
            (wanted.kind, wanted.total) = (ResourceKind::Mutex, Some(1));
        } else if self.is_by("tokio::sync::once_cell::") {
            (wanted.kind, wanted.total) = (ResourceKind::OnceCell, Some(1));
        } else if self.is_by("tokio::sync::rwlock::") {
            wanted.kind = ResourceKind::RwLock;
            wanted.total = readers.filter(|readers| (1..=MAX_READERS).contains(readers));
        } else if self.is_by("tokio::sync::semaphore::") {
            // Nothing says how many there are.
        } else if let Some(channel) = semaphore
            .checked_sub(CHANNEL.semaphore)
            .and_then(|at| self.channel(at))
            && let Some(bound) = channel.bound
        {
            wanted.kind = ResourceKind::Mpsc;
            wanted.address = channel.address;
            wanted.total = Some(bound);
            wanted.queued = Some(channel.queued);
        } else if self.is_by("tokio::sync::mpsc::") {
            return None;
        } else if readers == Some(MAX_READERS) {
            (wanted.kind, wanted.total) = (ResourceKind::RwLock, readers);
        }
        Some(Leaf::Resource(wanted))
    }

    /// How many permits the future at an address asks for, and was given already.
    pub(super) fn acquire(&self, at: u64) -> Option<(u64, u64)> {
        let field = |offset: u64| self.accesses.word(at.checked_add(offset)?);
        let amount = field(ACQUIRE.amount)?;
        let left = field(ACQUIRE.left)?;
        let queued = self.accesses.byte(at.checked_add(ACQUIRE.queued)?)?;
        asked_and_given(amount, left, queued)
    }

    /// A message of a channel with many senders: where its receiver put its waker.
    pub(super) fn message(&self) -> Option<Leaf> {
        let first = self.messages().into_iter().next();
        first.map(Leaf::Resource)
    }

    /// The same of all channels to which the innermost future gave its waker that gave it
    /// to any, in the order in which it did.
    fn messages(&self) -> Vec<Wanted> {
        let mut wanted: Vec<Wanted> = Vec::new();
        for future in &self.scope {
            for at in self.atomics_of(*future, &[8]) {
                let address = at.checked_sub(CHANNEL.waker_state);
                let is_new = |at: &u64| wanted.iter().all(|known| known.address != *at);
                let channel = address.filter(is_new).and_then(|at| self.channel(at));
                wanted.extend(channel.map(|channel| channel.message()));
            }
            if !wanted.is_empty() {
                break;
            }
        }
        wanted
    }

    /// The channel at an address, if one is there.
    fn channel(&self, at: u64) -> Option<Channel> {
        let accesses = self.accesses;
        if !at.is_multiple_of(CHANNEL.align) || !accesses.is_shared(at.checked_sub(CHANNEL.align)?)
        {
            return None;
        }
        let field = |offset: u64| accesses.word(at.checked_add(offset)?);
        let blocks = [CHANNEL.tail, CHANNEL.head, CHANNEL.free_head];
        let are_blocks = blocks.iter().all(|at| field(*at).is_some_and(is_pointer));
        let is_behind = field(CHANNEL.index)? <= field(CHANNEL.position)?;
        let is_closed = accesses.byte(at.checked_add(CHANNEL.is_closed)?)?;
        if !are_blocks || !is_behind || is_closed > 1 {
            return None;
        }
        // Bounded and unbounded ones differ from here on.
        let semaphore = at.checked_add(CHANNEL.semaphore)?;
        let permits = field(CHANNEL.semaphore + SEMAPHORE.permits)?;
        let bound = field(CHANNEL.bound)?;
        let senders = field(CHANNEL.senders)?;
        let free = permits >> PERMIT_SHIFT;
        let is_bounded = accesses.is_list(semaphore.checked_add(SEMAPHORE.queue)?)
            && accesses.byte(semaphore.checked_add(SEMAPHORE.is_closed)?)? <= 1
            && bound > 0
            && free <= bound
            && senders < MANY;
        if is_bounded {
            return Some(Channel {
                address: at,
                bound: Some(bound),
                queued: bound - free,
                senders,
            });
        }
        let messages = field(CHANNEL.semaphore)?;
        let senders = field(CHANNEL.senders_unbounded)?;
        let weak = field(CHANNEL.senders_unbounded + 8)?;
        let fits = messages >> PERMIT_SHIFT < MANY && (1..MANY).contains(&senders) && weak < MANY;
        fits.then_some(Channel {
            address: at,
            bound: None,
            queued: messages >> PERMIT_SHIFT,
            senders,
        })
    }

    /// A notification: of a `Notify`, or of what is made of one.
    pub(super) fn notified(&self) -> Option<Leaf> {
        let accesses = self.accesses;
        let (notify, at) = self.locks().find_map(|lock| {
            let notify = lock.checked_sub(NOTIFY.lock)?;
            if !accesses.is_list(notify.checked_add(NOTIFY.waiters)?) {
                return None;
            }
            // One that owns it points to the counts of its `Arc`.
            let owned = notify.checked_sub(SHARED);
            let mut pointers = self
                .pointers_to(notify)
                .chain(owned.into_iter().flat_map(|owned| self.pointers_to(owned)));
            let at = pointers.find(|at| {
                let state = at.checked_add(NOTIFIED.state);
                state
                    .and_then(|at| accesses.byte(at))
                    .is_some_and(|state| state <= 2)
            })?;
            Some((notify, at))
        })?;
        let memory = self.memory_around(at);
        if let Some((channel, version)) = self.watch(notify, &memory) {
            let barrier = self.barrier(channel - SHARED, &memory);
            // Where its function was inlined no name says it.
            if barrier.is_some() || self.is_by("tokio::sync::barrier::") {
                return barrier;
            }
            // Memory that was never used looks like a channel that nobody sends to.
            if let Some(senders) = self.senders_of_watch(channel, version) {
                let mut wanted = Wanted::of(ResourceKind::Watch, channel);
                wanted.senders = Some(senders);
                return Some(Leaf::Resource(wanted));
            }
        }
        if self.is_by("tokio::sync::watch::") || self.is_by("tokio::sync::barrier::") {
            return None;
        }
        let kind = if self.is_by("tokio::sync::set_once::") {
            ResourceKind::OnceCell
        } else {
            ResourceKind::Notify
        };
        Some(Leaf::Resource(Wanted::of(kind, notify)))
    }

    /// The same where no name says that it is one: the task's own waker is in what waits.
    pub(super) fn notified_itself(&self) -> Option<Leaf> {
        let accesses = self.accesses;
        let mut notifies = self
            .locks()
            .filter_map(|lock| lock.checked_sub(NOTIFY.lock));
        let waits = notifies.any(|notify| {
            let owned = self.pointers_to(notify.saturating_sub(SHARED));
            let mut waiters = self.pointers_to(notify).chain(owned);
            waiters.any(|at| accesses.has_waker(at, NOTIFIED.state + 8))
        });
        waits.then(|| self.notified())?
    }

    /// The words of the future in which something is: of the task, if it is there, and
    /// otherwise of what is around it in memory.
    fn memory_around(&self, at: u64) -> Vec<u64> {
        let accesses = self.accesses;
        let task = accesses.header..accesses.header.saturating_add(accesses.size);
        let range = if task.contains(&at) && accesses.size <= 2 * AROUND {
            task
        } else {
            (at.saturating_sub(AROUND) & !7)..at.saturating_add(AROUND)
        };
        let mut memory = vec![0; (range.end - range.start) as usize];
        let read = accesses.space.read(range.start, &mut memory);
        crate::space::words(&memory[..read]).collect()
    }

    /// The watch channel that a `Notify` is a part of, and the version that its receiver
    /// has seen. The receiver is not always read again; it is in the future that waits.
    fn watch(&self, notify: u64, memory: &[u64]) -> Option<(u64, u64)> {
        let accesses = self.accesses;
        let mut channels = (0..WATCH.notifies).filter_map(|number| {
            let channel = notify.checked_sub(number * NOTIFY.size)?;
            Some((channel, channel.checked_sub(SHARED)?))
        });
        channels.find_map(|(channel, counts)| {
            let of_read = self
                .pointers_to(counts)
                .find_map(|at| accesses.word(at.checked_add(WATCH.version)?));
            let in_memory = || {
                let receivers = memory.windows(2);
                let mut receivers = receivers.filter(|words| words[0] == counts);
                receivers.find_map(|words| words[1].is_multiple_of(2).then_some(words[1]))
            };
            let of_pointer = || {
                // Behind a reference to a receiver.
                let mut pointers = memory.iter().filter(|word| is_pointer(**word));
                pointers.find_map(|at| {
                    let is_receiver = accesses.word(*at) == Some(counts);
                    is_receiver.then(|| accesses.word(at.checked_add(WATCH.version)?))?
                })
            };
            // All that receivers wait at, and the one of the senders behind them.
            let mut all = (0..=WATCH.notifies).map(|number| channel + number * NOTIFY.size);
            let fits = accesses.is_shared(counts)
                && all.all(|notify| {
                    accesses.word(notify).is_some_and(|state| state & 3 != 3)
                        && accesses.is_list(notify + NOTIFY.waiters)
                });
            if !fits {
                return None;
            }
            let version = of_read.or_else(in_memory).or_else(of_pointer)?;
            Some((channel, version))
        })
    }

    /// How many senders a watch channel has: behind its version, which is the one that the
    /// receiver has seen.
    fn senders_of_watch(&self, channel: u64, version: u64) -> Option<u64> {
        let accesses = self.accesses;
        let first = channel + (WATCH.notifies + 1) * NOTIFY.size;
        let mut memory = vec![0; AROUND as usize];
        let read = accesses.space.read(first, &mut memory);
        let words: Vec<u64> = crate::space::words(&memory[..read]).collect();
        let counts = words.windows(3).find(|words| {
            let is_version = words[0] & !1 == version;
            // A bit of the version says that there are no senders any more.
            let is_open = words[0] & 1 == 0;
            let fits = (1..MANY).contains(&words[1]) && words[2] < MANY;
            is_version && fits && is_open == (words[2] > 0)
        });
        counts.map(|words| words[2])
    }

    /// The barrier whose watch channel it is: it is not read again by who waits, but its
    /// address is in the future that does.
    fn barrier(&self, channel: u64, memory: &[u64]) -> Option<Leaf> {
        let accesses = self.accesses;
        let pointers = memory.iter().filter(|word| is_pointer(**word));
        // It may be known by its `Arc` alone.
        let mut pointers = pointers.flat_map(|at| [Some(*at), at.checked_add(SHARED)]);
        pointers.find_map(|at| {
            let at = at?;
            let field = |offset: u64| accesses.word(at.checked_add(offset)?);
            if field(BARRIER.receiver)? != channel || field(BARRIER.sender)? != channel {
                return None;
            }
            let (of, arrived) = (field(BARRIER.of)?, field(BARRIER.arrived)?);
            let mut wanted = Wanted::of(ResourceKind::Barrier, at);
            (wanted.total, wanted.arrived) = (Some(of), Some(arrived));
            (arrived < of && of < MANY).then_some(Leaf::Resource(wanted))
        })
    }

    /// A channel for one message: behind the counts of an `Arc`, in which the state was
    /// read.
    fn oneshot(&self, scope: &Scope, amount: u64) -> Option<Leaf> {
        const SENT: u64 = 2;
        const STATES: u64 = 16;
        let accesses = self.accesses;
        let mut pointers = self
            .reads_of(scope)
            .filter(|read| read.size == 8 && is_pointer(read.value));
        pointers.find_map(|pointer| {
            let channel = pointer.value + SHARED;
            let mut within = self
                .reads_of(scope)
                .filter(|read| (channel..channel + 4096).contains(&read.address));
            let state = within.find(|read| read.size == 8 && read.value < STATES)?;
            if !accesses.is_shared(pointer.value) {
                return None;
            }
            let mut wanted = Wanted::of(ResourceKind::Oneshot, channel);
            wanted.amount = amount;
            wanted.senders = (amount > 0).then_some(u64::from(state.value & SENT == 0));
            Some(Leaf::Resource(wanted))
        })
    }

    /// A channel of which each receiver gets all: the lock of its end was taken.
    pub(super) fn broadcast(&self) -> Option<Leaf> {
        let accesses = self.accesses;
        self.locks().find_map(|lock| {
            let channel = lock.checked_sub(BROADCAST.lock)?;
            let counts = channel.checked_sub(SHARED)?;
            self.pointers_to(counts).next()?;
            let field = |offset: u64| accesses.word(channel.checked_add(offset)?);
            let (length, mask) = (field(BROADCAST.length)?, field(BROADCAST.mask)?);
            let fits = length.is_power_of_two() && mask == length - 1;
            if !fits || !accesses.is_shared(counts) {
                return None;
            }
            let mut wanted = Wanted::of(ResourceKind::Broadcast, channel);
            wanted.senders = field(BROADCAST.senders).filter(|senders| *senders < MANY);
            Some(Leaf::Resource(wanted))
        })
    }

    /// A timer: where it put its waker. Its deadline is beside what the driver counts by.
    pub(super) fn timer(&self) -> Option<Leaf> {
        let accesses = self.accesses;
        let places = self.atomics(&[8]);
        let mut places = places.flat_map(|at| SLEEPS.iter().map(move |layout| (at, layout)));
        places.find_map(|(at, layout)| {
            let sleep = at.checked_sub(layout.waker_state)?;
            let field = |offset: u64| accesses.word(sleep.checked_add(offset)?);
            let (kind, driver) = (field(0)? & 0xffff_ffff, field(8)?);
            let again = layout.driver_again.map_or(Some(driver), field)?;
            let (registered, asked) = (field(layout.registered)?, field(layout.asked)?);
            let seconds = field(layout.seconds)?;
            let nanoseconds = field(layout.nanoseconds)? & 0xffff_ffff;
            let fits = kind <= 1
                && is_pointer(driver)
                && again == driver
                && accesses.is_shared(driver)
                && registered <= asked
                && asked < 1 << 62
                && nanoseconds < 1_000_000_000
                && seconds < MANY;
            fits.then(|| Leaf::Timer {
                due: Duration::new(seconds, nanoseconds as u32),
            })
        })
    }
}

/// A channel with many senders.
struct Channel {
    address: u64,
    /// Messages that it can hold.
    bound: Option<u64>,
    queued: u64,
    senders: u64,
}

impl Channel {
    /// What its receiver waits for.
    fn message(&self) -> Wanted {
        let mut wanted = Wanted::of(ResourceKind::Mpsc, self.address);
        wanted.senders = Some(self.senders);
        wanted.total = self.bound;
        wanted.free = self.bound.map(|bound| bound.saturating_sub(self.queued));
        wanted.queued = Some(self.queued);
        wanted
    }
}

/// What a future asks for and was given, of what is left of it and whether it queues; `None`
/// where memory has something else.
fn asked_and_given(amount: u64, left: u64, queued: u64) -> Option<(u64, u64)> {
    let given = amount.checked_sub(left)?;
    match queued {
        _ if !(1..MANY).contains(&amount) => None,
        0 => Some((amount, 0)),
        1 => Some((amount, given)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_never_left_than_was_asked_for() {
        for (amount, left, queued, expected) in [
            (5, 2, 1, Some((5, 3))),
            (5, 5, 1, Some((5, 0))),
            (5, 2, 0, Some((5, 0))),
            (5, 6, 1, None),
            (1, u64::MAX, 1, None),
            (0, 0, 1, None),
            (MANY, 0, 1, None),
            (5, 2, 2, None),
        ] {
            let found = asked_and_given(amount, left, queued);
            assert_eq!(found, expected, "{amount} {left} {queued}");
        }
    }

    #[test]
    fn where_no_waker_is_left_the_task_may_still_stand() {
        let (task, other, functions) = (0x5641_d6d5_8280, 0x7f24_f800_5fa0, 0x5641_9dca_0628);
        for (words, expected) in [
            ([functions, task, 0, 0], true),
            ([functions, other, functions, task], true),
            // The waker was taken, and what was behind it stays.
            ([functions, other, 0, task], false),
            ([0, task, 0, 0], false),
            ([functions, other, 0, 0], false),
            ([task, 0, 0, 0], false),
        ] {
            assert_eq!(has_waker_of(&words, task), expected, "{words:x?}");
        }
        assert!(!has_waker_of(&[], task));
    }
}
