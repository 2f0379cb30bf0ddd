//! The table of tasks: one record for each live task, a bounded history of
//! finished ones, and totals for each spawn location.
//!
//! Two sources feed it, the tracing layer (`crate::layer`, level 1) and the
//! runtime's hooks (`crate::hooks`, level 2); one [`collect::Collector`] reads.
//! A task is known by the id that tokio itself prints; it is unique in the
//! process, so that both sources mean the same task by it. Where both watch one
//! runtime the layer wins, because it knows more: the hooks recognise its
//! records and leave them alone, except that they give it the exact end.
//!
//! - [`record`]: what is held of one task
//! - [`shard`]: the map, the recycling of records, the bounds
//! - [`site`]: spawn locations and their totals
//! - [`index`]: a map that is read without a lock; [`chunks`], the records likewise
//! - [`spans`]: which span is which task's
//! - [`local`]: what each thread keeps for itself
//! - [`collect`]: what changed since the last time
//! - [`columns`]: records as columns of the wire
//!
//! **Cost.** A poll writes the task's own cache line, the thread's slot and the
//! thread's share of the site: no line that another polling thread writes, no
//! lock, no allocation. When nobody watches nothing else happens; when somebody
//! does, the first change of a task since the last collection puts it on a
//! list, so that collecting costs what has changed.

mod chunks;
pub(crate) mod collect;
mod columns;
mod dirty;
#[cfg(tokio_unstable)]
pub(crate) mod hooked;
mod index;
pub(crate) mod local;
mod prefetch;
pub(crate) mod record;
mod shard;
pub(crate) mod site;
#[cfg(feature = "tracing")]
mod spans;
#[cfg(test)]
mod tests;
#[cfg(feature = "tracing")]
pub(crate) mod traced;

use std::hash::{Hash, Hasher};
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, compiler_fence};
use std::sync::{Arc, OnceLock};

use looptop_wire::proto::TaskKind;

use self::index::{Index, LEVELS};
use self::local::Local;
pub(crate) use self::record::{Birth, Handle, Hot, Text, Wake};
use self::record::{INDEX_BITS, RESTING, flag};
#[cfg(test)]
use self::shard::Size;
pub(crate) use self::shard::{Limits, Losses};
use self::shard::{SHARDS, Shard, Source};
use self::site::{Share, SiteId, add, raise};
#[cfg(feature = "tracing")]
use self::spans::Spans;
use crate::clock::Ticks;

static TABLE: Table = Table::new();

/// The table of this process.
pub(crate) fn table() -> &'static Table {
    &TABLE
}

/// What is known of a task, for a stall's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Description {
    /// Empty where it has none, or where names are not known.
    pub(crate) name: String,
    pub(crate) kind: TaskKind,
    pub(crate) site: Option<SiteId>,
}

/// The task `id`, live or in the history. A lock and a short chain: below 1 µs.
pub(crate) fn describe(id: u64) -> Option<Description> {
    TABLE.describe(id)
}

/// What the table had to drop.
pub(crate) fn losses() -> Losses {
    TABLE.losses()
}

/// Sets the bounds; what is over them leaves when the next tasks end.
pub(crate) fn configure(limits: Limits) {
    TABLE.configure(limits);
}

/// From now on tasks that the calling thread spawns are not seen. For the
/// agent's own threads.
pub(crate) fn exclude_current_thread() {
    local::with(|local| local.excluded.set(true));
}

/// Runs `work`; tasks that it spawns from the calling thread are seen, or not.
pub(crate) fn seen<R>(is_seen: bool, work: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            local::with(|local| local.excluded.set(self.0));
        }
    }
    let _hidden = (!is_seen).then(crate::coverage::Hidden::current_thread);
    let before = local::with(|local| local.excluded.replace(!is_seen));
    let _restore = Restore(before.unwrap_or(!is_seen));
    work()
}

/// The number that a [`tokio::task::Id`] prints. It has no other accessor; its
/// derived hash feeds exactly that number.
#[inline]
pub(crate) fn id_number(id: tokio::task::Id) -> u64 {
    #[derive(Default)]
    struct Number(u64);

    impl Hasher for Number {
        fn write(&mut self, bytes: &[u8]) {
            for byte in bytes {
                self.0 = self.0 << 8 | u64::from(*byte);
            }
        }

        #[inline]
        fn write_u64(&mut self, number: u64) {
            self.0 = number;
        }

        fn finish(&self) -> u64 {
            self.0
        }
    }

    let mut number = Number::default();
    id.hash(&mut number);
    number.finish()
}

/// A map that holds nothing yet.
const fn empty_index() -> Index {
    Index {
        levels: [const { OnceLock::new() }; LEVELS],
        current: AtomicU32::new(0),
        first: 64,
        part: 0,
    }
}

#[derive(Debug)]
pub(crate) struct Table {
    shards: [Shard; SHARDS],
    #[cfg(feature = "tracing")]
    spans: Spans,
    live: AtomicUsize,
    history: AtomicUsize,
    history_bytes: AtomicUsize,
    /// Whether changes are put on the dirty lists.
    watched: AtomicBool,
    /// Whether a layer has seen a task: it may know one before the hooks do.
    layered: AtomicBool,
}

impl Table {
    #[allow(clippy::large_stack_arrays, reason = "evaluated for a static")]
    pub(crate) const fn new() -> Self {
        Self {
            shards: [const { Shard::new() }; SHARDS],
            #[cfg(feature = "tracing")]
            spans: Spans::new(),
            live: AtomicUsize::new(1 << 20),
            history: AtomicUsize::new(10_000),
            history_bytes: AtomicUsize::new(8 << 20),
            watched: AtomicBool::new(false),
            layered: AtomicBool::new(false),
        }
    }

    pub(crate) fn configure(&self, limits: Limits) {
        self.live.store(limits.live, Relaxed);
        self.history.store(limits.history, Relaxed);
        self.history_bytes.store(limits.history_bytes, Relaxed);
    }

    fn limits(&self) -> Limits {
        Limits {
            live: self.live.load(Relaxed),
            history: self.history.load(Relaxed),
            history_bytes: self.history_bytes.load(Relaxed),
        }
    }

    fn shard(&self, id: u64) -> &Shard {
        &self.shards[id as usize % SHARDS]
    }

    /// Adds a task, also to the calling thread's share of its site. `None` where the
    /// table is full or knows it already.
    pub(crate) fn spawn(
        &self,
        birth: &Birth,
        text: Option<Arc<Text>>,
        share: Option<&Share>,
    ) -> Option<Handle> {
        if birth.traced && !self.layered.load(Relaxed) {
            self.layered.store(true, Relaxed);
        }
        // Both sources see a task on the thread that spawns it, so that the flag is set here
        // if it was this task that set it.
        let may_be_known = self.layered.load(Relaxed);
        let handle = self
            .shard(birth.id)
            .insert(birth, text, self.limits(), may_be_known)?;
        if let Some(share) = share {
            share.spawned();
        }
        self.changed(handle.hot());
        Some(handle)
    }

    /// The record of a task, live or in the history.
    pub(crate) fn find(&self, id: u64) -> Option<Handle> {
        self.shard(id).find(id)
    }

    /// A record by its number.
    fn record(&self, number: u32) -> Option<Handle> {
        let shard = self.shards.get((number >> INDEX_BITS) as usize)?;
        shard.record(number & ((1 << INDEX_BITS) - 1))
    }

    /// A span of the application names the task.
    #[cfg(feature = "tracing")]
    fn set_name(&self, hot: &Hot, id: u64, text: Arc<Text>) {
        self.shard(id).set_name(hot, id, text);
        self.changed(hot);
    }

    /// A task's future was dropped.
    pub(crate) fn end(&self, hot: &Hot, now: Ticks) {
        if hot.end(now.0) {
            self.changed(hot);
        }
    }

    /// The end is final: the record moves to the history.
    fn retire(&self, local: &Local, id: u64, now: Ticks, source: Source) {
        let known = local.hooked(id);
        let hot = known.map(|known| known.hot);
        let limits = self.limits();
        let retired = self.shard(id).retire(id, hot, now.0, source, limits);
        let Some(hot) = retired else { return };
        let share = match known {
            Some(known) => known.share,
            None => local.share_of(hot),
        };
        share.map(Share::ended);
        self.changed(hot);
    }

    /// Puts the task on the dirty list unless it is there, or nobody watches.
    #[inline]
    pub(crate) fn changed(&self, hot: &Hot) {
        // The caller's stores come before the look at the flag, in program
        // order at least. The processor may still hold them back for some
        // nanoseconds after the look; the collector makes up for that by
        // reading what it read once more, the next time.
        compiler_fence(std::sync::atomic::Ordering::SeqCst);
        if self.watched.load(Relaxed) && !hot.dirty.load(Relaxed) {
            self.put_dirty(hot);
        }
    }

    #[cold]
    #[inline(never)]
    fn put_dirty(&self, hot: &Hot) {
        // A free record is nobody's, and a record stays in its shard.
        let id = hot.id();
        if id != 0 {
            self.shard(id).put_dirty(hot);
        }
    }

    pub(crate) fn describe(&self, id: u64) -> Option<Description> {
        let shard = self.shard(id);
        let inner = shard.lock();
        let handle = shard.find(id)?;
        let hot = handle.hot();
        let text = inner.text(handle).filter(|text| text.names(handle));
        Some(Description {
            name: text.map_or_else(String::new, |text| text.name.clone()),
            kind: hot.kind(),
            site: SiteId::from_raw(hot.site.load(Relaxed).into()),
        })
    }

    pub(crate) fn losses(&self) -> Losses {
        let all = self.shards.iter().map(|shard| shard.lock().losses());
        all.fold(Losses::default(), |sum, one| Losses {
            tasks: sum.tasks + one.tasks,
            history: sum.history + one.history,
        })
    }

    #[cfg(test)]
    fn size(&self) -> Size {
        let all = self.shards.iter().map(|shard| shard.lock().size());
        all.fold(Size::default(), |sum, one| Size {
            live: sum.live + one.live,
            finished: sum.finished + one.finished,
            records: sum.records + one.records,
        })
    }
}

impl Hot {
    /// A poll begins. Only the polling thread calls this and the next.
    #[inline]
    pub(crate) fn poll_begins(&self, tid: u32, now: Ticks) {
        add(&self.polls, 1);
        self.since.store(now.0, Relaxed);
        self.tid.store(tid, Relaxed);
    }

    /// The poll that began so many ticks ago ends. If the task has ended within
    /// it, which is reported first, this is when.
    #[inline]
    pub(crate) fn poll_ends(&self, ticks: u64, now: Ticks) {
        add(&self.busy, ticks);
        raise(&self.longest_poll, ticks);
        let resting = if self.has(flag::ENDED) { 0 } else { RESTING };
        let since = now.0 | resting;
        self.since.store(since, Relaxed);
    }

    /// Takes back a poll that was none.
    pub(crate) fn not_polled(&self, ticks: u64) {
        add(&self.polls, 1_u64.wrapping_neg());
        add(&self.busy, ticks.wrapping_neg());
    }
}

impl Wake {
    /// The poll that begins answers all wakes until now; ticks of the first.
    #[inline]
    pub(crate) fn answer(&self) -> u64 {
        self.answered.store(self.wakes() as u32, Relaxed);
        self.unanswered_since.load(Relaxed)
    }

    /// Whether somebody woke the task and no poll has answered yet.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        self.wakes() as u32 != self.answered.load(Relaxed)
    }

    /// All wakes.
    #[inline]
    pub(crate) fn wakes(&self) -> u64 {
        // Acquire: a wake that is seen comes with its `unanswered_since`. The
        // task's own wakes come from the thread that polls, or handed the task on.
        self.own_wakes.load(Relaxed)
            + self.deferred_wakes.load(Acquire)
            + self.other_wakes.load(Acquire)
    }
}
