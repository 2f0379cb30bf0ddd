//! What the runtime's hooks see of a task, turned into its record.
//!
//! An aborted task is visited once more, to be dropped. Tokio reports that visit
//! as a poll, and counts it as one itself; so does this level.
//!
//! A task that the tracing layer has recorded is left to it; only its end, which
//! the hook knows exactly, is passed on.

use std::sync::atomic::Ordering::Relaxed;

use looptop_wire::proto::TaskKind;
use tokio::runtime::TaskMeta;

use super::local::{self, HookedEntry, Level, Local, OpenPoll, Poll};
use super::record::{Birth, flag};
use super::shard::Source;
use super::site::Spot;
use super::{id_number, table};
use crate::clock::{self, Ticks};

/// A task was spawned; runs on the thread that spawns.
pub(crate) fn spawn(meta: &TaskMeta<'_>) {
    local::with(|local| {
        let spot = spot(local, meta);
        if local.is_excluded() || spot == Spot::Hidden {
            return;
        }
        let birth = Birth {
            id: id_number(meta.id()),
            kind: TaskKind::Task,
            site: spot.raw(),
            parent: local.innermost().map_or(0, OpenPoll::task),
            spawned: clock::ticks().0,
            ..Birth::default()
        };
        let share = local.share(birth.site);
        if let Some(handle) = table().spawn(&birth, None, share) {
            local.remember_hooked(HookedEntry {
                id: birth.id,
                hot: handle.hot(),
                share,
            });
        }
    });
}

/// A poll begins on this thread.
///
/// Nearly each is of a task that the thread knows, and the only one there. For that no
/// function is called that returns here, so that no register is saved; all else is
/// [`begin`]'s.
pub(crate) fn before_poll(meta: &TaskMeta<'_>) {
    local::with(|local| {
        let id = id_number(meta.id());
        if local.is_between_polls()
            && let Some(entry) = local.hooked(id)
            && !entry.hot.has(flag::TRACED)
            && let Some(now) = clock::quick_ticks()
        {
            local.open_outermost(&poll(entry, now));
            begun(local, entry, now, meta);
        } else {
            begin(local, id, meta);
        }
    });
}

#[cold]
#[inline(never)]
fn begin(local: &Local, id: u64, meta: &TaskMeta<'_>) {
    let Some(entry) = local.hooked(id).or_else(|| look_up(local, id)) else {
        return open_unseen(local, id, meta);
    };
    if entry.hot.has(flag::TRACED) {
        return;
    }
    let now = clock::ticks();
    if local.open(&poll(entry, now)) {
        begun(local, entry, now, meta);
    }
}

#[inline]
fn poll(entry: HookedEntry, now: Ticks) -> Poll {
    Poll {
        level: Level::Hooked,
        key: entry.id,
        task: entry.id,
        site: entry.hot.site.load(Relaxed),
        counts: true,
        started: now,
        hot: Some(entry.hot),
        wake: None,
        share: entry.share,
    }
}

#[inline]
fn begun(local: &Local, entry: HookedEntry, now: Ticks, meta: &TaskMeta<'_>) {
    entry.hot.poll_begins(local.tid(), now);
    waited(entry, meta);
    table().changed(entry.hot);
}

/// The poll has ended.
pub(crate) fn after_poll(meta: &TaskMeta<'_>) {
    local::with(|local| {
        let id = id_number(meta.id());
        // As in `before_poll`.
        if let Some(now) = clock::quick_ticks()
            && let Some(poll) = local.only_open(Level::Hooked, id)
        {
            let ticks = local.close_outermost(now);
            ended(poll, ticks, now);
        } else {
            end(local, id);
        }
    });
}

#[cold]
#[inline(never)]
fn end(local: &Local, id: u64) {
    let now = clock::ticks();
    if let Some(poll) = local.close(Level::Hooked, id, now) {
        ended(poll, now.0.saturating_sub(poll.started().0), now);
    }
}

#[inline]
fn ended(poll: &OpenPoll, ticks: u64, now: Ticks) {
    if let Some(share) = poll.share.get() {
        share.polled(ticks);
    }
    // A task that ended with this poll may have left the history meanwhile.
    if let Some(hot) = poll.hot.get()
        && hot.id() == poll.task()
    {
        hot.poll_ends(ticks, now);
        table().changed(hot);
    }
}

/// The task's future is gone; also called for blocking tasks, whose spawn is not reported.
pub(crate) fn terminate(meta: &TaskMeta<'_>) {
    local::with(|local| {
        let id = id_number(meta.id());
        // Within the task's last poll, whose end sets the exact instant.
        let now = match local.innermost() {
            Some(poll) if poll.task() == id => poll.started(),
            _ => clock::ticks(),
        };
        table().retire(local, id, now, Source::Hooks);
    });
}

fn spot(local: &Local, meta: &TaskMeta<'_>) -> Spot {
    let at = meta.spawned_at();
    local.spot(at.file(), at.line(), at.column(), TaskKind::Task)
}

#[cold]
#[inline(never)]
fn look_up(local: &Local, id: u64) -> Option<HookedEntry> {
    let hot = table().find(id)?.hot();
    let share = local.share_of(hot);
    let entry = HookedEntry { id, hot, share };
    local.remember_hooked(entry);
    Some(entry)
}

/// A task that found no place in the table still shows in the thread's slot:
/// it can starve the loop as well as any other.
#[cold]
#[inline(never)]
fn open_unseen(local: &Local, id: u64, meta: &TaskMeta<'_>) {
    let spot = spot(local, meta);
    if spot == Spot::Hidden {
        return;
    }
    local.open(&Poll {
        level: Level::Hooked,
        key: id,
        task: id,
        site: spot.raw(),
        counts: true,
        started: clock::ticks(),
        hot: None,
        wake: None,
        share: local.share(spot.raw()),
    });
}

/// Counts the wait that the poll has ended, where tokio measured it.
#[cfg(feature = "schedule-latency")]
fn waited(entry: HookedEntry, meta: &TaskMeta<'_>) {
    let Some(latency) = meta.schedule_latency() else {
        return;
    };
    // Measuring has cost tokio two readings of the clock; a lock is no dearer.
    let Some(handle) = table().find(entry.id) else {
        return;
    };
    if !entry.hot.has(flag::TIMED) {
        entry.hot.set(flag::TIMED);
    }
    let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
    let ticks = clock::duration_ticks(ns);
    super::add(&entry.hot.scheduled, ticks);
    super::raise(&handle.cold().longest_scheduled, ticks);
    if let Some(share) = entry.share {
        share.waited(ticks);
    }
}

#[cfg(not(feature = "schedule-latency"))]
#[inline]
fn waited(_: HookedEntry, _: &TaskMeta<'_>) {}
