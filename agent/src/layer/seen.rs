//! What is done with tokio's spans and events, by the layer and by the agent's own
//! subscriber alike.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use tracing_core::{Event, span};

use super::fields::{PollFields, TaskFields, WakerFields};
use super::{OPERATION_TARGET, WAKER_TARGET};
use crate::clock;
use crate::task::local::{self, Local, OpenPoll, TracedEntry};
use crate::task::site::Spot;
use crate::task::traced::LayerState;
use crate::task::{self, Birth, Handle, Text, id_number};

/// A span of some task has come since [`take_any`] was called.
static ANY: AtomicBool = AtomicBool::new(false);

/// Whether a task's span has come since the last call, the agent's own included.
#[cfg(tokio_unstable)]
pub(crate) fn take_any() -> bool {
    ANY.swap(false, Relaxed)
}

/// A task's span is made, under the id `span`.
pub(super) fn spawned(state: &LayerState, attrs: &span::Attributes<'_>, span: u64) {
    local::with(|local| {
        if let Some(task) = spawn(state, local, attrs) {
            open(state, local, span, task);
        }
    });
}

/// The same, where the agent gives the id.
#[cfg(tokio_unstable)]
pub(super) fn spawned_here(state: &LayerState, attrs: &span::Attributes<'_>) -> u64 {
    let made = local::with(|local| {
        let task = spawn(state, local, attrs)?;
        let span = LayerState::own_id(Some(task));
        open(state, local, span, task);
        Some(span)
    });
    made.flatten().unwrap_or_else(|| LayerState::own_id(None))
}

fn open(state: &LayerState, local: &Local, span: u64, task: Handle) {
    if let Some(entry) = state.opened(task::table(), local, span, task) {
        local.remember_traced(entry);
    }
}

/// A span is entered on this thread. Whether it may give the task that is polled
/// here its name, being the application's.
#[inline]
pub(super) fn entered(state: &LayerState, span: u64) -> bool {
    let may_name = local::with(|local| {
        let Some(entry) = find(state, local, span) else {
            return state.awaits_name(local);
        };
        if is_polled_here(&entry) {
            state.enter(task::table(), local, &entry);
        }
        false
    });
    may_name.unwrap_or(false)
}

/// The span names the task that is polled on this thread, which is returned.
pub(super) fn named(state: &LayerState, span: u64, text: Arc<Text>) -> Option<u64> {
    local::with(|local| state.name(task::table(), local, span, text)).flatten()
}

/// The span that named the task that is polled on this thread has closed.
pub(super) fn name_is_over(state: &LayerState) {
    local::with(|local| state.name_is_over(task::table(), local));
}

/// A span is left on this thread.
#[inline]
pub(super) fn left(state: &LayerState, span: u64) {
    local::with(|local| state.exit(task::table(), local, span));
}

/// Nobody has the span any more. The task that is polled on this thread, where the
/// span is the application's and may have named it.
pub(super) fn closed(state: &LayerState, span: u64) -> Option<u64> {
    local::with(|local| {
        let Some(entry) = find(state, local, span) else {
            return state.maybe_named_by(local, span);
        };
        state.closed(task::table(), local, &entry);
        None
    })
    .flatten()
}

/// An event of a waker or of a lock.
#[inline]
pub(super) fn event(state: &LayerState, event: &Event<'_>) {
    match event.metadata().target() {
        WAKER_TARGET => waker(state, event),
        OPERATION_TARGET => operation(event),
        _ => {}
    }
}

/// The span's task, if it has one.
#[inline]
fn find(state: &LayerState, local: &Local, span: u64) -> Option<TracedEntry> {
    let cached = local.traced(state.realm, span);
    cached.or_else(|| look_up(state, local, span))
}

#[inline(never)]
fn look_up(state: &LayerState, local: &Local, span: u64) -> Option<TracedEntry> {
    let entry = state.find(task::table(), local, span)?;
    local.remember_traced(entry);
    Some(entry)
}

/// Whether tokio itself polls or drops the span's task on this thread. An
/// application can enter a task's span from anywhere.
#[inline]
fn is_polled_here(entry: &TracedEntry) -> bool {
    // The future of `block_on` is not a task of its own to tokio.
    entry.hot.is_block_on() || current_task() == Some(entry.id)
}

/// Tokio's id of the task that it polls on this thread.
#[inline]
pub(super) fn current_task() -> Option<u64> {
    tokio::task::try_id().map(id_number)
}

#[inline]
fn waker(state: &LayerState, event: &Event<'_>) {
    let mut fields = WakerFields::default();
    event.record(&mut fields);
    let Some(op) = fields.op else { return };
    local::with(|local| {
        if let Some(entry) = find(state, local, fields.span) {
            state.waker(task::table(), local, &entry, op);
        }
    });
}

/// The task that is polled here waits for a lock, if it does.
fn operation(event: &Event<'_>) {
    let mut fields = PollFields::default();
    event.record(&mut fields);
    if let Some(op) = fields.pending() {
        local::with(|local| {
            if let Some(poll) = local.innermost() {
                poll.pending(op);
            }
        });
    }
}

fn spawn(state: &LayerState, local: &Local, attrs: &span::Attributes<'_>) -> Option<Handle> {
    // A line that all threads read, and that is written once a second.
    if !ANY.load(Relaxed) {
        ANY.store(true, Relaxed);
    }
    if local.is_excluded() {
        return None;
    }
    let mut fields = TaskFields::new(local);
    attrs.record(&mut fields);
    let spot = local.spot(fields.file, fields.line, fields.column, fields.kind);
    if spot == Spot::Hidden || fields.id == 0 {
        return None;
    }
    let text = fields.text();
    let birth = Birth {
        id: fields.id,
        kind: fields.kind,
        site: spot.raw(),
        parent: local.innermost().map_or(0, OpenPoll::task),
        spawned: clock::ticks().0,
        runtime: 0,
        traced: true,
        wakes_unseen: state.misses_wakes(),
        named: text.as_ref().is_some_and(|text| !text.name.is_empty()),
        size: fields.size,
        original_size: fields.original_size,
    };
    task::table().spawn(&birth, text, local.share(birth.site))
}
