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
//!   The id of the task that tokio polls on this thread tells that apart.
//!
//! Wakes are seen only on threads whose subscriber is ours. That is all of
//! them, unless the subscriber is a scoped one. The first task that is polled
//! after its supposed drop proves that wakes are missed; from then on every
//! entry counts as a poll.

use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};

use looptop_wire::proto::TaskKind;

use super::local::{Frame, Level, Local, TracedEntry};
use super::record::{Handle, NOT_A_POLL, Wake, flag};
use super::site::Share;
use super::{Table, add};
use crate::clock::{self, Ticks};

/// See [`is_deferred`].
const DEFERRED_NS: u64 = 3_000;

/// What happened to a waker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WakerOp {
    Clone,
    Drop,
    /// Consumes the waker.
    Wake,
    WakeByRef,
}

/// What a layer knows of its own sight.
#[derive(Debug)]
pub(crate) struct Sight {
    /// Tells the layers of one process apart.
    pub(crate) realm: u16,
    /// Waker events are not asked for.
    blind: AtomicBool,
    /// No wake was seen to be missing.
    sees_wakes: AtomicBool,
    /// `DEFERRED_NS` in ticks.
    deferred: u64,
}

impl Sight {
    pub(crate) fn new() -> Self {
        static REALMS: AtomicU64 = AtomicU64::new(0);
        Self {
            realm: REALMS.fetch_add(1, Relaxed) as u16,
            blind: AtomicBool::new(false),
            sees_wakes: AtomicBool::new(true),
            deferred: clock::duration_ticks(DEFERRED_NS),
        }
    }

    /// Wakes are not reported at all: every entry counts as a poll.
    pub(crate) fn become_blind(&self) {
        self.blind.store(true, Relaxed);
        self.sees_wakes.store(false, Relaxed);
    }

    pub(crate) fn is_blind(&self) -> bool {
        self.blind.load(Relaxed)
    }

    /// Tokio polls the task, or drops it.
    #[inline]
    pub(crate) fn enter(&self, table: &Table, local: &Local, entry: TracedEntry) {
        let handle = entry.handle;
        let Some(wake) = handle.wake() else { return };
        let is_poll = self.is_poll(handle, wake);
        let hot = handle.hot();
        let now = clock::ticks();
        let opened = local.open(Frame {
            level: Level::Traced(self.realm),
            key: entry.key,
            task: entry.id,
            site: hot.site.load(Relaxed),
            is_poll,
            started: now,
            handle: Some(handle),
        });
        if !(opened && is_poll) {
            return;
        }
        if handle.has(flag::ENDED) {
            self.revive(handle);
        }
        if let Some(since) = due_since(handle, wake) {
            let waited = now.0.saturating_sub(since);
            handle.waited(waited);
            local.with_share(hot.site.load(Relaxed), |share| share.waited(waited));
        }
        hot.poll_begins(local.tid(), now);
        table.changed(handle);
    }

    #[inline]
    fn is_poll(&self, handle: Handle, wake: &Wake) -> bool {
        wake.is_due()
            || wake.poll_ended.load(Relaxed) == 0
            || handle.kind() == TaskKind::BlockOn
            || !self.sees_wakes.load(Relaxed)
    }

    /// What was taken for the drop was a poll: wakes are missed.
    #[cold]
    fn revive(&self, handle: Handle) {
        handle.clear(flag::ENDED);
        handle.cold().ended.store(0, Relaxed);
        // The poll that was not counted.
        add(&handle.hot().polls, 1);
        self.sees_wakes.store(false, Relaxed);
    }

    /// The span is left.
    #[inline]
    pub(crate) fn exit(&self, table: &Table, local: &Local, key: u64) {
        let level = Level::Traced(self.realm);
        let now = clock::ticks();
        let Some(frame) = local.close(level, key, now) else {
            return;
        };
        let Some(handle) = frame.handle else { return };
        let Some(wake) = handle.wake() else { return };
        let ticks = now.0.saturating_sub(frame.started.0);
        if frame.is_poll {
            handle.hot().poll_ends(ticks);
            local.with_share(frame.site, |share| share.polled(ticks));
            wake.last_poll.store(ticks, Relaxed);
            wake.poll_ended.store(now.0, Relaxed);
            wake.idle_clock.store(local.idle_clock(now), Relaxed);
            table.changed(handle);
        } else {
            wake.last_poll.store(NOT_A_POLL, Relaxed);
            table.end(handle, frame.task, now);
        }
    }

    /// A waker of the task was used.
    #[inline]
    pub(crate) fn waker(&self, table: &Table, local: &Local, handle: Handle, op: WakerOp) {
        let Some(wake) = handle.wake() else { return };
        match op {
            WakerOp::Clone => drop(wake.clones.fetch_add(1, Relaxed)),
            WakerOp::Drop => drop(wake.drops.fetch_add(1, Relaxed)),
            WakerOp::Wake => {
                wake.drops.fetch_add(1, Relaxed);
                self.woken(local, handle, wake);
            }
            WakerOp::WakeByRef => self.woken(local, handle, wake),
        }
        table.changed(handle);
    }

    #[inline]
    fn woken(&self, local: &Local, handle: Handle, wake: &Wake) {
        if handle.has(flag::ENDED) && self.sees_wakes.load(Relaxed) {
            return;
        }
        let now = clock::ticks();
        if !wake.is_due() {
            wake.unanswered_since.store(now.0, Relaxed);
        }
        wake.woken_at.store(now.0, Relaxed);
        let by_itself = match local.innermost() {
            Some(polled) => polled.task == handle.id(),
            None => self.is_deferred(local, handle, wake, now),
        };
        if by_itself {
            wake.self_wakes.fetch_add(1, Relaxed);
        }
        // Release: the poll that sees this wake sees its `unanswered_since`.
        wake.wakes.fetch_add(1, Release);
    }

    /// Whether a wake outside any poll is that of `yield_now` or of an exhausted
    /// budget. Tokio defers those: the scheduler itself wakes the task, on the
    /// same thread, once it has looked for other work. Its event is the same as
    /// that of a driver that found a socket ready; what tells them apart is that
    /// hardly any time has passed on this thread but for other polls.
    fn is_deferred(&self, local: &Local, handle: Handle, wake: &Wake, now: Ticks) -> bool {
        let same_thread = handle.hot().tid.load(Relaxed) == local.tid() && local.tid() != 0;
        let idle = local.idle_clock(now) as i64 - wake.idle_clock.load(Relaxed) as i64;
        same_thread && wake.poll_ended.load(Relaxed) != 0 && idle < self.deferred as i64
    }
}

/// When the wait began that the poll which now begins has ended. Marks it as
/// ended. `None` where it is not known.
#[inline]
fn due_since(handle: Handle, wake: &Wake) -> Option<u64> {
    let ended = wake.poll_ended.load(Relaxed);
    if wake.is_due() {
        let wakes = wake.wakes.load(std::sync::atomic::Ordering::Acquire);
        wake.answered.store(wakes as u32, Relaxed);
        // Woken while it was polled, it waits from the end of that poll.
        return Some(wake.unanswered_since.load(Relaxed).max(ended));
    }
    let first = ended == 0 && handle.kind() != TaskKind::BlockOn;
    first.then(|| handle.cold().spawned.load(Relaxed))
}

/// The span closed: the future is gone, whatever was seen of it.
pub(crate) fn closed(table: &Table, local: &Local, handle: Handle, id: u64) {
    if handle.id() != id {
        return;
    }
    if let Some(wake) = handle.wake()
        && !handle.has(flag::ENDED)
    {
        let ticks = wake.last_poll.swap(NOT_A_POLL, Relaxed);
        if ticks != NOT_A_POLL {
            handle.hot().not_polled(ticks);
            let site = handle.hot().site.load(Relaxed);
            local.with_share(site, |share: &Share| share.not_polled(ticks));
        }
    }
    table.retire(handle, id, clock::ticks());
}
