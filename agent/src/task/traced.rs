//! What the tracing layer sees of a task, turned into its record.
//!
//! Tokio wraps a task's future in a span: entered for each poll, and once more
//! when the future is dropped; closed afterwards. Three things make that less
//! plain than it sounds:
//!
//! - *The last entry is no poll.* An entry of a task that was polled before and
//!   has not been woken since is the drop; so is the last one before the span
//!   closes, which is taken back if it was counted.
//! - *A span may outlive its task*, when an application's span within it lives
//!   on elsewhere. The task has ended nevertheless: when the entry that was
//!   recognised as the drop is left.
//! - *An application may enter the span from elsewhere* (`in_current_span()`).
//!   The id of the task that tokio polls on this thread distinguishes that.
//!
//! Wakes are seen only on threads whose subscriber is ours. That is all of
//! them, unless the subscriber is a scoped one. The first task that is polled
//! after its supposed drop proves that wakes are missed; from then on every
//! entry counts as a poll.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};

use super::local::{Level, Local, LockWait, OpenPoll, Poll, TracedEntry};
use super::record::{Handle, Hot, NOT_A_POLL, Text, Wake, flag};
use super::shard::Source;
use super::spans::SpanKey;
use super::{Table, add, raise};
use crate::clock::{self, Ticks};

/// See [`is_deferred`]. Without optimisation the scheduler itself takes so long.
const DEFERRED_NS: u64 = if cfg!(debug_assertions) {
    10_000
} else {
    3_000
};

/// A part of a span's id, never 0.
#[inline]
fn fold(span: u64) -> u16 {
    let half = span ^ (span >> 32);
    (half ^ (half >> 16)) as u16 | 1
}

/// What happened to a waker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WakerOp {
    Clone,
    Drop,
    /// Consumes the waker.
    Wake,
    WakeByRef,
}

/// Who gives spans their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ids {
    /// The registry of somebody else: a map leads to the task.
    Foreign,
    /// The agent's own subscriber: the id says where the task's record is.
    Own,
}

/// Bits of an own id that are tokio's id of the task; above them its record's index.
const TASK_BITS: u32 = 48;

/// What a layer, or the agent's own subscriber, keeps for itself.
#[derive(Debug)]
pub(crate) struct LayerState {
    ids: Ids,
    /// Distinguishes the layers of one process.
    pub(crate) realm: u16,
    /// No wake was seen to be missing.
    sees_wakes: AtomicBool,
    /// `DEFERRED_NS` in ticks.
    deferred: u64,
}

impl LayerState {
    pub(crate) fn new(ids: Ids) -> Self {
        static REALMS: AtomicU64 = AtomicU64::new(0);
        Self {
            ids,
            realm: REALMS.fetch_add(1, Relaxed) as u16,
            sees_wakes: AtomicBool::new(true),
            deferred: clock::duration_ticks(DEFERRED_NS),
        }
    }

    /// Wakes are not reported at all: every entry counts as a poll.
    pub(crate) fn leave_wakers(&self) {
        self.sees_wakes.store(false, Relaxed);
    }

    /// Whether wakes are unknown, by choice or because some were missed.
    pub(crate) fn misses_wakes(&self) -> bool {
        !self.sees_wakes.load(Relaxed)
    }

    fn key(&self, span: u64) -> SpanKey {
        let realm = self.realm;
        SpanKey { realm, span }
    }

    /// The id of a task's span, where the agent gives it; for a span that is no
    /// task's, with no task.
    pub(crate) fn own_id(task: Option<Handle>) -> u64 {
        task.map_or(1 << TASK_BITS, |task| {
            u64::from(task.index()) << TASK_BITS | (task.id() & ((1 << TASK_BITS) - 1))
        })
    }

    /// The task's span is open from now on; `None` where it is no task of a layer.
    pub(crate) fn opened(
        &self,
        table: &Table,
        local: &Local,
        span: u64,
        task: Handle,
    ) -> Option<TracedEntry> {
        if self.ids == Ids::Foreign {
            table.spans.insert(table, self.key(span), task);
        }
        self.entry(local, span, task)
    }

    /// The task of an open span. Takes no lock.
    pub(crate) fn find(&self, table: &Table, local: &Local, span: u64) -> Option<TracedEntry> {
        let task = match self.ids {
            Ids::Foreign => table.spans.find(table, self.key(span))?,
            Ids::Own => {
                let id = span & ((1 << TASK_BITS) - 1);
                let task = table.shard(id).record((span >> TASK_BITS) as u32)?;
                // The record may have become another task's.
                (id != 0 && task.hot().is_open(id)).then_some(task)?
            }
        };
        self.entry(local, span, task)
    }

    fn entry(&self, local: &Local, span: u64, task: Handle) -> Option<TracedEntry> {
        let hot = task.hot();
        Some(TracedEntry {
            key: span,
            id: hot.id(),
            realm: self.realm,
            hot,
            wake: task.wake()?,
            share: local.share_of(hot),
        })
    }

    /// Its span has closed: the future is gone, whatever was seen of it.
    pub(crate) fn closed(&self, table: &Table, local: &Local, entry: &TracedEntry) {
        // First: what is retired may soon be another task's.
        if let Some(task) = table.spans.find(table, self.key(entry.key)) {
            table.spans.remove(table, task);
        }
        let (hot, wake) = (entry.hot, entry.wake);
        if hot.id() == entry.id && !hot.has(flag::ENDED) {
            let ticks = wake.last_poll.swap(NOT_A_POLL, Relaxed);
            if ticks != NOT_A_POLL {
                hot.not_polled(ticks);
                if let Some(share) = entry.share {
                    share.not_polled(ticks);
                }
            }
        }
        table.retire(local, entry.id, clock::ticks(), Source::Layer);
    }

    /// The poll on this thread, if it was this layer that saw it begin.
    #[inline]
    fn poll<'a>(&self, local: &'a Local) -> Option<&'a OpenPoll> {
        let level = Level::Traced(self.realm);
        local.innermost().filter(|poll| poll.is_of(level))
    }

    /// Whether the task that is polled here, for the first time, has no name yet.
    #[inline]
    pub(crate) fn awaits_name(&self, local: &Local) -> bool {
        self.poll(local).is_some_and(|poll| {
            poll.hot.get().is_some_and(|hot| {
                !hot.has(flag::NAMED) && hot.polls.load(Relaxed) == 1 && poll.wake.get().is_some()
            })
        })
    }

    /// Names the task that is polled here, by a span of the application; its id.
    pub(crate) fn name(
        &self,
        table: &Table,
        local: &Local,
        span: u64,
        text: Arc<Text>,
    ) -> Option<u64> {
        let poll = self.poll(local)?;
        let (hot, wake) = (poll.hot.get()?, poll.wake.get()?);
        wake.named_by.store(fold(span), Relaxed);
        if hot.set(flag::NAMED) & flag::NAMED != 0 {
            return None;
        }
        table.set_name(hot, poll.task(), text);
        Some(poll.task())
    }

    /// The task that is polled here, if the span may be the one that named it: its
    /// closing within a poll ends the name.
    #[inline]
    pub(crate) fn maybe_named_by(&self, local: &Local, span: u64) -> Option<u64> {
        let poll = self.poll(local)?;
        let named = poll.wake.get()?.named_by.load(Relaxed) == fold(span)
            && poll.counts.get()
            && !poll.hot.get()?.has(flag::NAME_OVER);
        named.then(|| poll.task())
    }

    /// The span that named the task that is polled here has closed.
    pub(crate) fn name_is_over(&self, table: &Table, local: &Local) {
        let Some(poll) = self.poll(local) else {
            return;
        };
        if let (Some(hot), Some(wake)) = (poll.hot.get(), poll.wake.get()) {
            wake.named_by.store(hot.polls.load(Relaxed) as u16, Relaxed);
            hot.set(flag::NAME_OVER);
            table.changed(hot);
        }
    }

    /// Tokio polls the task, or drops it.
    #[inline]
    pub(crate) fn enter(&self, table: &Table, local: &Local, entry: &TracedEntry) {
        let (hot, wake) = (entry.hot, entry.wake);
        let due = wake.is_due();
        let is_poll = due || self.is_poll(hot, wake);
        let now = clock::ticks();
        let opened = local.open(&Poll {
            level: Level::Traced(self.realm),
            key: entry.key,
            task: entry.id,
            site: hot.site.load(Relaxed),
            counts: is_poll,
            started: now,
            hot: Some(hot),
            wake: Some(wake),
            share: entry.share,
        });
        if !(opened && is_poll) {
            return;
        }
        if hot.has(flag::ENDED) {
            self.revive(entry);
        }
        if due {
            // Woken while it was polled, it waits from the end of that poll.
            let since = wake.answer().max(wake.poll_ended.load(Relaxed));
            entry.waited(now.0.saturating_sub(since));
        } else if wake.poll_ended.load(Relaxed) == 0 {
            entry.waited_first(now);
        }
        hot.poll_begins(local.tid(), now);
        table.changed(hot);
    }

    #[inline]
    fn is_poll(&self, hot: &Hot, wake: &Wake) -> bool {
        wake.poll_ended.load(Relaxed) == 0
            || hot.is_block_on()
            || hot.has(flag::ENDED)
            || self.misses_wakes()
    }

    /// What was taken for the drop was a poll: wakes are missed.
    #[cold]
    fn revive(&self, entry: &TracedEntry) {
        entry.hot.clear(flag::ENDED);
        entry.hot.set(flag::WAKES_UNSEEN);
        // The poll that was not counted.
        add(&entry.hot.polls, 1);
        self.sees_wakes.store(false, Relaxed);
    }

    /// The span is left.
    #[inline]
    pub(crate) fn exit(&self, table: &Table, local: &Local, key: u64) {
        let level = Level::Traced(self.realm);
        // The span of an application, as a rule: no need to read the clock.
        if !local.has_open(level, key) {
            return;
        }
        let now = clock::ticks();
        let Some(poll) = local.close(level, key, now) else {
            return;
        };
        let (Some(hot), Some(wake)) = (poll.hot.get(), poll.wake.get()) else {
            return;
        };
        if !poll.counts.get() {
            wake.last_poll.store(NOT_A_POLL, Relaxed);
            return table.end(hot, now);
        }
        let ticks = now.0.saturating_sub(poll.started().0);
        if let Some(share) = poll.share.get() {
            share.polled(ticks);
        }
        hot.poll_ends(ticks, now);
        wake.last_poll.store(ticks, Relaxed);
        wake.poll_ended.store(now.0, Relaxed);
        wake.idle_clock.store(local.idle_clock(now), Relaxed);
        wake.note_lock(poll.lock.get() == LockWait::Lock, now);
        table.changed(hot);
    }

    /// A waker of the task was used.
    #[inline]
    pub(crate) fn waker(&self, table: &Table, local: &Local, entry: &TracedEntry, op: WakerOp) {
        let wake = entry.wake;
        let innermost = local.innermost();
        let own = innermost.filter(|poll| poll.task() == entry.id);
        match (op, own) {
            // Within the task's own poll no other thread writes these.
            (WakerOp::Clone, Some(_)) => add(&wake.own_clones, 1),
            (WakerOp::Clone, None) => drop(wake.other_clones.fetch_add(1, Relaxed)),
            (WakerOp::Drop, _) => drop(wake.drops.fetch_add(1, Relaxed)),
            (WakerOp::Wake | WakerOp::WakeByRef, Some(poll)) => {
                // Waiting begins when the poll ends. That it is dated by its
                // beginning until then saves a reading of the clock.
                wake.note(poll.started());
                add(&wake.own_wakes, 1);
                if op == WakerOp::Wake {
                    wake.drops.fetch_add(1, Relaxed);
                }
            }
            (WakerOp::Wake | WakerOp::WakeByRef, None) => {
                self.woken(local, entry, op, innermost.is_none());
            }
        }
        table.changed(entry.hot);
    }

    /// Woken by somebody else, or by the scheduler.
    #[inline]
    fn woken(&self, local: &Local, entry: &TracedEntry, op: WakerOp, between_polls: bool) {
        let (hot, wake) = (entry.hot, entry.wake);
        let now = clock::ticks();
        wake.note(now);
        // Release: the poll that sees this wake sees its `unanswered_since`.
        if op == WakerOp::WakeByRef {
            wake.other_wakes.fetch_add(1, Release);
        } else if between_polls && self.is_deferred(local, hot, wake, now) {
            wake.deferred_wakes.fetch_add(1, Release);
        } else {
            wake.drops.fetch_add(1, Relaxed);
            wake.other_wakes.fetch_add(1, Release);
        }
    }

    /// Whether a wake outside any poll is that of `yield_now` or of an exhausted
    /// budget. Tokio defers those: the scheduler itself wakes the task by value, on
    /// the same thread, once it has looked for other work. Its event is the same as
    /// that of a driver that found a socket ready; what distinguishes them is that
    /// hardly any time has passed on this thread but for other polls.
    fn is_deferred(&self, local: &Local, hot: &Hot, wake: &Wake, now: Ticks) -> bool {
        let same_thread = hot.tid.load(Relaxed) == local.tid() && local.tid() != 0;
        let idle = local.idle_clock(now) as i64 - wake.idle_clock.load(Relaxed) as i64;
        same_thread && wake.poll_ended.load(Relaxed) != 0 && idle < self.deferred as i64
    }
}

impl Wake {
    /// A poll has ended that left a lock pending, or none.
    #[inline]
    fn note_lock(&self, pending: bool, now: Ticks) {
        if pending != (self.lock_wait.load(Relaxed) != 0) {
            self.lock_wait
                .store(if pending { now.0 } else { 0 }, Relaxed);
        }
    }

    /// Dates a wake that is about to be counted.
    #[inline]
    fn note(&self, now: Ticks) {
        if !self.is_due() {
            self.unanswered_since.store(now.0, Relaxed);
        }
        self.woken_at.store(now.0, Relaxed);
    }
}

impl TracedEntry {
    /// A wait between wake and poll of so many ticks has ended.
    #[inline]
    fn waited(&self, ticks: u64) {
        add(&self.hot.scheduled, ticks);
        raise(&self.wake.longest_scheduled, ticks);
        if let Some(share) = self.share {
            share.waited(ticks);
        }
    }

    /// The first poll answers the spawn.
    #[cold]
    fn waited_first(&self, now: Ticks) {
        if !self.hot.is_block_on() {
            // Before the first wake this is when the task was spawned.
            let spawned = self.wake.unanswered_since.load(Relaxed);
            self.waited(now.0.saturating_sub(spawned));
        }
    }
}
