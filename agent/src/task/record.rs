//! What is held of one task: 96 bytes, and 136 more where wakes are known.
//!
//! Records live in chunks that are never freed but used again, so that a
//! [`Handle`] stays valid for ever and needs no counting; what it may *mean* is
//! guarded by the task's id, which no two tasks share.
//!
//! Who writes what: the `hot` line belongs to the thread that polls the task
//! (the scheduler hands a task to one thread at a time), except `flags`, `dirty`
//! and `dirty_next`. The `wake` line belongs to whoever wakes. All counters are
//! absolute and read by the collector at any time, each by itself: `Relaxed`
//! unless a comment says otherwise.

#[cfg(feature = "tracing")]
use std::sync::atomic::Ordering::Acquire;
use std::sync::atomic::Ordering::{AcqRel, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64};

use looptop_wire::proto::TaskKind;

use super::dirty::Link;
#[cfg(feature = "tracing")]
use super::spans::SpanKey;

/// Records that are allocated together.
pub(super) const CHUNK: usize = 128;

/// Bits of a record's index within its shard, which begin its number.
pub(super) const INDEX_BITS: u32 = 16;

/// The bit of [`Hot::since`] that says: not in a poll since this instant. No clock
/// counts that far.
pub(super) const RESTING: u64 = 1 << 63;

/// See [`Wake::last_poll`].
pub(super) const NOT_A_POLL: u64 = u64::MAX;

/// Bits of [`Hot::flags`].
pub(super) mod flag {
    /// The span that named it has closed; see [`Wake::named_by`](super::Wake::named_by).
    pub(in crate::task) const NAME_OVER: u16 = 1 << 0;
    /// Its future was dropped.
    pub(in crate::task) const ENDED: u16 = 1 << 1;
    /// A frame has shown it to a viewer.
    pub(in crate::task) const SENT: u16 = 1 << 2;
    /// Watched by the tracing layer; the hooks leave it alone.
    pub(in crate::task) const TRACED: u16 = 1 << 3;
    /// Its end is final; it waits in the history.
    pub(in crate::task) const RETIRED: u16 = 1 << 4;
    /// Waits between wake and poll are measured.
    pub(in crate::task) const TIMED: u16 = 1 << 5;
    /// Its wakes are not reported.
    pub(in crate::task) const WAKES_UNSEEN: u16 = 1 << 6;
    /// Its name is settled: it has one, or no span may give it one any more.
    pub(in crate::task) const NAMED: u16 = 1 << 7;
    pub(super) const KIND: u16 = 8;
}

/// Written at every poll. One cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Hot {
    /// Tokio's id of the task, 0 while the record is free.
    pub(super) id: AtomicU64,
    pub(super) polls: AtomicU64,
    pub(super) busy: AtomicU64,
    pub(super) longest_poll: AtomicU64,
    /// Ticks: when it ended, if it has; else when the poll began that is open;
    /// else, with [`RESTING`], when the last poll ended; 0 before the first.
    pub(super) since: AtomicU64,
    /// Ticks between wake and poll.
    pub(super) scheduled: AtomicU64,
    pub(super) tid: AtomicU32,
    pub(super) flags: AtomicU16,
    /// On the dirty list: changed since the last collection.
    pub(super) dirty: AtomicBool,
    /// The next record on its shard's dirty list, by index.
    pub(super) dirty_next: AtomicU32,
    pub(super) site: AtomicU16,
    /// The record's own index within its shard; never changes.
    pub(super) index: u16,
}

impl Hot {
    /// The id of the task that the record holds now; 0 for none.
    #[inline]
    pub(crate) fn id(&self) -> u64 {
        self.id.load(Relaxed)
    }

    /// Whether the record holds the task, and its end is not final.
    #[inline]
    pub(crate) fn is_open(&self, id: u64) -> bool {
        self.id() == id && !self.has(flag::RETIRED)
    }

    pub(super) fn link(&self) -> Link<'_> {
        Link {
            index: self.index.into(),
            mark: &self.dirty,
            next: &self.dirty_next,
        }
    }

    #[inline]
    pub(super) fn site(&self) -> u16 {
        self.site.load(Relaxed)
    }

    #[inline]
    pub(super) fn has(&self, flags: u16) -> bool {
        self.flags.load(Relaxed) & flags != 0
    }

    #[inline]
    pub(super) fn set(&self, flags: u16) -> u16 {
        self.flags.fetch_or(flags, AcqRel)
    }

    #[inline]
    pub(super) fn clear(&self, flags: u16) -> u16 {
        self.flags.fetch_and(!flags, AcqRel)
    }

    /// The future was dropped. `false` where that was known.
    pub(super) fn end(&self, now: u64) -> bool {
        if self.has(flag::ENDED) {
            return false;
        }
        // The instant first: who sees the flag sees it.
        self.since.store(now, Relaxed);
        self.set(flag::ENDED) & flag::ENDED == 0
    }

    /// The end is final. `false` where that was so before.
    pub(super) fn retire(&self, now: u64) -> bool {
        if !self.has(flag::ENDED) {
            self.since.store(now, Relaxed);
        }
        self.set(flag::ENDED | flag::RETIRED) & flag::RETIRED == 0
    }

    pub(super) fn kind(&self) -> TaskKind {
        let kind = (self.flags.load(Relaxed) >> flag::KIND) & 0xff;
        TaskKind::try_from(i32::from(kind)).unwrap_or(TaskKind::Unknown)
    }

    /// The future of `block_on`: no task to tokio's scheduler.
    #[inline]
    pub(crate) fn is_block_on(&self) -> bool {
        let kind = (self.flags.load(Relaxed) >> flag::KIND) & 0xff;
        kind == TaskKind::BlockOn as u16
    }
}

/// Written when the task is spawned and when it ends.
#[derive(Debug)]
pub(super) struct Cold {
    pub(super) spawned: AtomicU64,
    pub(super) parent: AtomicU64,
    /// Ticks, where the hooks measure waits; else [`Wake::longest_scheduled`].
    #[cfg(feature = "schedule-latency")]
    pub(super) longest_scheduled: AtomicU64,
    /// The next record of the same bucket, in the two sets of an index.
    pub(super) chain: [AtomicU32; 2],
    /// The runtime plus 1; 0 is unknown.
    pub(super) runtime: AtomicU32,
}

impl Default for Cold {
    fn default() -> Self {
        Self {
            spawned: AtomicU64::new(0),
            parent: AtomicU64::new(0),
            #[cfg(feature = "schedule-latency")]
            longest_scheduled: AtomicU64::new(0),
            chain: [const { AtomicU32::new(0) }; 2],
            runtime: AtomicU32::new(0),
        }
    }
}

impl Cold {
    /// Ticks; 0 where the hooks do not measure waits.
    #[allow(clippy::unused_self, reason = "only without the feature")]
    pub(super) fn longest_scheduled(&self) -> u64 {
        #[cfg(feature = "schedule-latency")]
        return self.longest_scheduled.load(Relaxed);
        #[cfg(not(feature = "schedule-latency"))]
        0
    }
}

/// What the tracing layer adds.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    /// Wakes by the task itself within its poll; written by the polling thread
    /// only. The two that follow and this one add up to all wakes.
    pub(super) own_wakes: AtomicU64,
    /// Wakes by the scheduler after the task had yielded. These consume a waker,
    /// which `drops` does not repeat.
    pub(super) deferred_wakes: AtomicU64,
    /// All other wakes. `Release` when added to, `Acquire` when a poll begins:
    /// the poll that sees a wake also sees its `unanswered_since`.
    pub(super) other_wakes: AtomicU64,
    /// Ticks; 0 is never.
    pub(super) woken_at: AtomicU64,
    /// Ticks of the first wake that no poll has answered; at first of the spawn.
    pub(super) unanswered_since: AtomicU64,
    /// Clones of its waker within its poll; written by the polling thread only.
    pub(super) own_clones: AtomicU64,
    pub(super) other_clones: AtomicU64,
    pub(super) drops: AtomicU64,
    /// When the last poll ended: ticks, and the polling thread's idle clock.
    pub(super) poll_ended: AtomicU64,
    pub(super) idle_clock: AtomicU64,
    /// Ticks that the last poll took; `NOT_A_POLL` where the span was entered
    /// for another reason.
    pub(super) last_poll: AtomicU64,
    /// Ticks; takes the place of [`Cold::longest_scheduled`].
    pub(super) longest_scheduled: AtomicU64,
    /// Ticks: the end of the first of the polls, up to the last, that each left a
    /// lock or permit of tokio's pending; 0 where the last one left none.
    pub(super) lock_wait: AtomicU64,
    /// The value of `wakes`, cut to 32 bits, that the last poll has answered.
    pub(super) answered: AtomicU32,
    pub(super) size: AtomicU32,
    pub(super) original_size: AtomicU32,
    /// The id of its span, where the map of spans holds it; else 0.
    span: AtomicU64,
    /// Whose span it is.
    realm: AtomicU16,
    /// A part of the id of the application's span that named the task; once that
    /// has closed, the low bits of `polls` at that moment.
    pub(super) named_by: AtomicU16,
    /// The next record of the same bucket of that map.
    pub(super) span_links: [AtomicU32; 2],
}

/// Texts of a task that has any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Text {
    /// The name that the application gave it.
    pub(crate) name: String,
    /// Further fields of its span (`fn=app::work`).
    pub(crate) fields: String,
    /// The name of the application's span that gave it this name; empty where the
    /// application named the task.
    pub(crate) span: &'static str,
}

impl Text {
    /// Whether its name is that of the task now.
    pub(super) fn names(&self, task: Handle) -> bool {
        self.span.is_empty() || task.has_span_name()
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.name.len() + self.fields.len()
    }
}

#[derive(Debug)]
pub(super) struct Chunk {
    shard: u32,
    hot: [Hot; CHUNK],
    cold: [Cold; CHUNK],
    wake: Option<Box<[Wake; CHUNK]>>,
}

impl Chunk {
    /// A chunk that is never freed.
    pub(super) fn leaked(shard: usize, base: u32, traced: bool) -> &'static Self {
        Box::leak(Box::new(Self {
            shard: shard as u32,
            hot: std::array::from_fn(|index| Hot {
                index: (base as usize + index) as u16,
                ..Hot::default()
            }),
            cold: std::array::from_fn(|_| Cold::default()),
            wake: traced.then(|| Box::new(std::array::from_fn(|_| Wake::default()))),
        }))
    }
}

/// Polls after its span closed in which a task that ends is seen for the last time:
/// that poll itself, and the drop of its future where it was taken for one.
const LAST_POLLS: u16 = 1;

/// A record, for ever; and which task it held when the handle was taken, only
/// as long as `hot().id` says so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handle {
    chunk: &'static Chunk,
    index: u32,
}

impl Handle {
    pub(super) fn new(chunk: &'static Chunk, index: usize) -> Self {
        let index = index as u32;
        Self { chunk, index }
    }

    #[inline]
    pub(crate) fn hot(&self) -> &'static Hot {
        &self.chunk.hot[self.index as usize % CHUNK]
    }

    #[inline]
    pub(super) fn cold(&self) -> &'static Cold {
        &self.chunk.cold[self.index as usize % CHUNK]
    }

    /// `None` for a task of which wakes are not known.
    #[inline]
    pub(crate) fn wake(&self) -> Option<&'static Wake> {
        let wake = self.chunk.wake.as_ref()?;
        Some(&wake[self.index as usize % CHUNK])
    }

    /// Whether a name that a span gave is still the task's: while the span is open,
    /// and ever after if the task ended with it.
    pub(super) fn has_span_name(&self) -> bool {
        let hot = self.hot();
        if !hot.has(flag::NAME_OVER) {
            return true;
        }
        let closed_at = self.wake().map_or(0, |wake| wake.named_by.load(Relaxed));
        let since = (hot.polls.load(Relaxed) as u16).wrapping_sub(closed_at);
        hot.has(flag::ENDED) && since <= LAST_POLLS
    }

    /// The index within the shard.
    #[inline]
    pub(super) fn index(&self) -> u32 {
        self.hot().index.into()
    }

    /// Distinguishes it from every other record of the table.
    #[inline]
    pub(super) fn number(&self) -> u32 {
        self.chunk.shard << INDEX_BITS | self.index()
    }

    /// The id of the task that the record holds now; 0 for none.
    #[inline]
    pub(crate) fn id(&self) -> u64 {
        self.hot().id.load(Relaxed)
    }

    /// Makes the record that of a new task, which it is to nobody else until its
    /// id is stored. `dirty` stays: the record may still be on the list, where the
    /// new task is as welcome as the old.
    pub(super) fn reset(&self, birth: &Birth) {
        let (hot, cold) = (self.hot(), self.cold());
        for counter in [&hot.polls, &hot.busy, &hot.longest_poll, &hot.since] {
            counter.store(0, Relaxed);
        }
        hot.scheduled.store(0, Relaxed);
        hot.tid.store(0, Relaxed);
        hot.site.store(birth.site, Relaxed);
        cold.spawned.store(birth.spawned, Relaxed);
        cold.parent.store(birth.parent, Relaxed);
        #[cfg(feature = "schedule-latency")]
        cold.longest_scheduled.store(0, Relaxed);
        cold.runtime.store(birth.runtime, Relaxed);
        if let Some(wake) = self.wake() {
            wake.reset(birth);
        }
        let traced = if birth.traced { flag::TRACED } else { 0 };
        let wakes_unseen = if birth.wakes_unseen {
            flag::WAKES_UNSEEN
        } else {
            0
        };
        let named = if birth.named { flag::NAMED } else { 0 };
        let kind = (birth.kind as u16) << flag::KIND;
        hot.flags
            .store(traced | wakes_unseen | named | kind, Relaxed);
        // Last: a stale handle that finds its old id finds its old task.
        hot.id.store(birth.id, Release);
    }
}

impl Wake {
    pub(super) fn clones(&self) -> u64 {
        self.own_clones.load(Relaxed) + self.other_clones.load(Relaxed)
    }

    /// Wakers that were dropped or consumed.
    pub(super) fn drops(&self) -> u64 {
        self.drops.load(Relaxed) + self.deferred_wakes.load(Relaxed)
    }

    /// Its span, if the map of spans holds it.
    #[cfg(feature = "tracing")]
    #[inline]
    pub(super) fn span(&self) -> Option<SpanKey> {
        // Twice: both parts are of one key if the first has not changed.
        let span = self.span.load(Acquire);
        let realm = self.realm.load(Acquire);
        (span != 0 && self.span.load(Relaxed) == span).then_some(SpanKey { realm, span })
    }

    /// Under the map's lock, or before it holds the record.
    #[cfg(feature = "tracing")]
    pub(super) fn set_span(&self, key: Option<SpanKey>) {
        self.span.store(0, Relaxed);
        if let Some(key) = key {
            // Release: who sees this realm no longer sees the span before.
            self.realm.store(key.realm, Release);
            self.span.store(key.span, Release);
        }
    }

    fn reset(&self, birth: &Birth) {
        for counter in [
            &self.own_wakes,
            &self.deferred_wakes,
            &self.other_wakes,
            &self.woken_at,
            &self.own_clones,
            &self.other_clones,
            &self.drops,
            &self.poll_ended,
            &self.idle_clock,
            &self.longest_scheduled,
            &self.lock_wait,
        ] {
            counter.store(0, Relaxed);
        }
        self.unanswered_since.store(birth.spawned, Relaxed);
        self.last_poll.store(NOT_A_POLL, Relaxed);
        self.answered.store(0, Relaxed);
        self.named_by.store(0, Relaxed);
        self.size.store(birth.size, Relaxed);
        self.original_size.store(birth.original_size, Relaxed);
    }
}

/// What is known when a task is spawned.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Birth {
    pub(crate) id: u64,
    pub(crate) kind: TaskKind,
    /// Raw [`super::site::SiteId`]; 0 is unknown.
    pub(crate) site: u16,
    pub(crate) parent: u64,
    /// Ticks.
    pub(crate) spawned: u64,
    /// The runtime plus 1; 0 is unknown.
    pub(crate) runtime: u32,
    /// Seen by the tracing layer.
    pub(crate) traced: bool,
    /// Traced, but its wakes are not reported.
    pub(crate) wakes_unseen: bool,
    /// The application gave it a name.
    pub(crate) named: bool,
    /// Bytes; 0 is unknown.
    pub(crate) size: u32,
    pub(crate) original_size: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The budgets are 128 and 256 bytes; what else a task needs is 4 bytes of
    /// free list or history, and 4 to 8 of buckets in each of one or two maps.
    #[test]
    fn a_record_fits_its_budget() {
        assert_eq!(size_of::<Hot>(), 64);
        assert!(size_of::<Cold>() <= 32);
        assert!(size_of::<Wake>() <= 136);
        let chunk = size_of::<Chunk>();
        assert!(chunk <= CHUNK * 97, "{chunk}");
    }
}
