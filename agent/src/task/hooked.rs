//! What the runtime's hooks see of a task, turned into its record.
//!
//! An aborted task is visited once more, to be dropped. Tokio reports that visit
//! as a poll, and counts it as one itself; so does this level.
//!
//! A task that the tracing layer has recorded is left to it; only its end, which
//! the hook knows exactly, is told.

use std::sync::atomic::Ordering::Relaxed;

use looptop_wire::proto::TaskKind;
use tokio::runtime::TaskMeta;

use super::local::{self, Frame, Level, Local};
use super::record::{Birth, Handle, flag};
use super::site::Spot;
use super::{id_number, table};
use crate::clock;

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
            parent: local.innermost().map_or(0, |frame| frame.task),
            spawned: clock::ticks().0,
            ..Birth::default()
        };
        if let Some(handle) = table().spawn(&birth, None) {
            local.remember_hooked(birth.id, handle);
        }
    });
}

/// A poll begins on this thread.
#[inline]
pub(crate) fn before_poll(meta: &TaskMeta<'_>) {
    local::with(|local| {
        let id = id_number(meta.id());
        let handle = local.hooked(id).or_else(|| look_up(local, id));
        let Some(handle) = handle else {
            return open_unseen(local, id, meta);
        };
        if handle.has(flag::TRACED) {
            return;
        }
        let hot = handle.hot();
        let now = clock::ticks();
        let frame = Frame {
            level: Level::Hooked,
            key: id,
            task: id,
            site: hot.site.load(Relaxed),
            is_poll: true,
            started: now,
            handle: Some(handle),
        };
        if local.open(frame) {
            hot.poll_begins(local.tid(), now);
            waited(local, handle, meta);
            table().changed(handle);
        }
    });
}

/// The poll has ended.
#[inline]
pub(crate) fn after_poll(meta: &TaskMeta<'_>) {
    local::with(|local| {
        let now = clock::ticks();
        let Some(frame) = local.close(Level::Hooked, id_number(meta.id()), now) else {
            return;
        };
        let ticks = now.0.saturating_sub(frame.started.0);
        local.with_share(frame.site, |share| share.polled(ticks));
        // A task that ended with this poll may have left the history meanwhile.
        if let Some(handle) = frame.handle.filter(|handle| handle.id() == frame.task) {
            handle.hot().poll_ends(ticks);
            table().changed(handle);
        }
    });
}

/// The task's future is gone; also told of blocking tasks, whose spawn is not.
pub(crate) fn terminate(meta: &TaskMeta<'_>) {
    local::with(|local| {
        let id = id_number(meta.id());
        let handle = local.hooked(id).or_else(|| table().find(id));
        let Some(handle) = handle else { return };
        let now = clock::ticks();
        if handle.has(flag::TRACED) {
            table().end(handle, id, now);
        } else {
            table().retire(handle, id, now);
        }
    });
}

fn spot(local: &Local, meta: &TaskMeta<'_>) -> Spot {
    let at = meta.spawned_at();
    local.spot(at.file(), at.line(), at.column(), TaskKind::Task)
}

#[cold]
#[inline(never)]
fn look_up(local: &Local, id: u64) -> Option<Handle> {
    let handle = table().find(id)?;
    local.remember_hooked(id, handle);
    Some(handle)
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
    local.open(Frame {
        level: Level::Hooked,
        key: id,
        task: id,
        site: spot.raw(),
        is_poll: true,
        started: clock::ticks(),
        handle: None,
    });
}

/// Counts the wait that the poll has ended, where tokio measured it.
#[cfg(feature = "schedule-latency")]
#[inline]
fn waited(local: &Local, handle: Handle, meta: &TaskMeta<'_>) {
    let Some(latency) = meta.schedule_latency() else {
        return;
    };
    if !handle.has(flag::TIMED) {
        handle.set(flag::TIMED);
    }
    let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
    let ticks = clock::duration_ticks(ns);
    handle.waited(ticks);
    let site = handle.hot().site.load(Relaxed);
    local.with_share(site, |share| share.waited(ticks));
}

#[cfg(not(feature = "schedule-latency"))]
#[inline]
fn waited(_: &Local, _: Handle, _: &TaskMeta<'_>) {}
