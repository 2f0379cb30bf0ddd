//! Level 1: every task, by tokio's own tracing instrumentation.
//!
//! The layer wants tokio's task spans, waker events, and the events of its locks
//! (which task waits for one, not for which), nothing else. For every other
//! callsite it says "never" in the way of a per-layer filter, so that it neither
//! enables nor slows what other layers want.

mod fields;
#[cfg(all(test, tokio_unstable))]
mod tests;

use std::any::TypeId;

use looptop_wire::proto::TaskKind;
use tracing_core::subscriber::Interest;
use tracing_core::{Dispatch, Event, LevelFilter, Metadata, Subscriber, span};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Filtered;
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::registry::LookupSpan;

use self::fields::{PollFields, TaskFields, WakerFields};
use crate::clock;
use crate::task::local::{self, Local, OpenPoll, TracedEntry};
use crate::task::site::Spot;
use crate::task::traced::Sight;
use crate::task::{self, Birth, Handle, id_number};

const TASK_SPAN: &str = "runtime.spawn";
const TASK_TARGET: &str = "tokio::task";
const BLOCKING_TARGET: &str = "tokio::task::blocking";
/// What tokio says when one of its locks, timers and channels was polled.
const OPERATION_TARGET: &str = "runtime::resource::poll_op";
const WAKER_TARGET: &str = "tokio::task::waker";

/// A layer that shows every task of this process to looptop.
///
/// ```
/// use tracing_subscriber::prelude::*;
///
/// tracing_subscriber::registry()
///     .with(looptop_agent::layer())
///     .init();
/// ```
///
/// It needs tokio's `tracing` feature and `--cfg tokio_unstable`; without them
/// it does nothing. Tasks that were spawned before the subscriber was set are
/// not seen. A filter in front of it must let the targets `tokio::task` pass.
pub(crate) fn layer<S>() -> TaskLayer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    TaskLayer {
        sight: Sight::new(),
        filtered: Nothing.with_filter(TaskCallsites { wakers: true }),
    }
}

/// The layer that [`layer`] makes.
#[derive(Debug)]
pub struct TaskLayer<S> {
    sight: Sight,
    // Tells the subscriber which callsites concern the layer. What happens there
    // is handled by the outer type: `Filtered` looks a span up in the registry
    // before it passes on that it was entered; our cache knows its own spans
    // sooner.
    filtered: Filtered<Nothing, TaskCallsites, S>,
}

impl<S> TaskLayer<S> {
    /// Leaves the events of wakers alone: half the cost of a poll, and neither
    /// wakes nor scheduled times.
    #[must_use]
    pub fn without_wakers(mut self) -> Self {
        crate::level::blind();
        self.sight.become_blind();
        self.filtered.filter_mut().wakers = false;
        self
    }
}

impl<S> Layer<S> for TaskLayer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        self.filtered.on_register_dispatch(dispatch);
    }

    fn on_layer(&mut self, subscriber: &mut S) {
        self.filtered.on_layer(subscriber);
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        crate::subscriber::callsite(metadata);
        self.filtered.register_callsite(metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        self.filtered.enabled(metadata, context)
    }

    fn event_enabled(&self, event: &Event<'_>, context: Context<'_, S>) -> bool {
        self.filtered.event_enabled(event, context)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Layer::max_level_hint(&self.filtered)
    }

    fn on_new_span(&self, attrs: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        if is_task_span(attrs.metadata()) {
            self.record_spawn(attrs, id);
        }
        self.filtered.on_new_span(attrs, id, context);
    }

    #[inline]
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if self.filtered.filter().wakers {
            match event.metadata().target() {
                WAKER_TARGET => self.record_waker(event),
                OPERATION_TARGET => record_operation(event),
                _ => {}
            }
        }
        self.filtered.on_event(event, context);
    }

    #[inline]
    fn on_enter(&self, id: &span::Id, _: Context<'_, S>) {
        local::with(|local| {
            if let Some(entry) = find(&self.sight, local, id.into_u64())
                && is_polled_here(&entry)
            {
                self.sight.enter(task::table(), local, &entry);
            }
        });
    }

    #[inline]
    fn on_exit(&self, id: &span::Id, _: Context<'_, S>) {
        local::with(|local| self.sight.exit(task::table(), local, id.into_u64()));
    }

    fn on_close(&self, id: span::Id, _: Context<'_, S>) {
        local::with(|local| {
            if let Some(entry) = find(&self.sight, local, id.into_u64()) {
                self.sight.closed(task::table(), local, &entry);
            }
        });
    }

    /// A per-layer filter is recognised by what it answers here; without, the
    /// layer's "never" would hold for every other layer too.
    #[doc(hidden)]
    #[allow(unsafe_code, reason = "the only way to pass the question on")]
    unsafe fn downcast_raw(&self, id: TypeId) -> Option<*const ()> {
        if id == TypeId::of::<Self>() {
            return Some(std::ptr::from_ref(self).cast());
        }
        // SAFETY: the pointer is to `self.filtered` or within, which lives as
        // long as `self`; its type is what `Filtered` vouches for.
        unsafe { self.filtered.downcast_raw(id) }
    }
}

/// The span's task, if it has one.
#[inline]
fn find(sight: &Sight, local: &Local, key: u64) -> Option<TracedEntry> {
    let cached = local.traced(sight.realm, key);
    cached.or_else(|| look_up(sight, local, key))
}

#[inline(never)]
fn look_up(sight: &Sight, local: &Local, key: u64) -> Option<TracedEntry> {
    crate::subscriber::leave();
    let entry = sight.find(local, key)?;
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
fn current_task() -> Option<u64> {
    tokio::task::try_id().map(id_number)
}

/// Which callsites concern the layer.
#[derive(Debug)]
struct TaskCallsites {
    wakers: bool,
}

fn is_task_span(metadata: &Metadata<'_>) -> bool {
    metadata.is_span()
        && metadata.name() == TASK_SPAN
        && matches!(metadata.target(), TASK_TARGET | BLOCKING_TARGET)
}

/// Locks are told by where in tokio the event is made: the callsites of timers
/// and channels, which are used more often, stay off.
fn is_of_lock(metadata: &Metadata<'_>) -> bool {
    let file = metadata.file().unwrap_or_default();
    let mut path = file.rsplit(['/', '\\']);
    matches!(
        (path.next(), path.next()),
        (Some("batch_semaphore.rs"), Some("sync")) | (Some("trace.rs"), Some("util"))
    )
}

/// Whether the layer wants to see this callsite.
#[cfg(tokio_unstable)]
pub(crate) fn wants(metadata: &Metadata<'_>) -> bool {
    TaskCallsites { wakers: true }.want(metadata)
}

impl TaskCallsites {
    fn want(&self, metadata: &Metadata<'_>) -> bool {
        let concerns_waits = || match metadata.target() {
            WAKER_TARGET => true,
            OPERATION_TARGET => is_of_lock(metadata),
            _ => false,
        };
        is_task_span(metadata) || (self.wakers && metadata.is_event() && concerns_waits())
    }
}

impl<S> Filter<S> for TaskCallsites {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.want(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.want(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }
}

/// Sees nothing; [`TaskLayer`] does.
#[derive(Debug)]
struct Nothing;

impl<S: Subscriber> Layer<S> for Nothing {}

/// The task that is polled here waits for a lock, if it does.
fn record_operation(event: &Event<'_>) {
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

impl<S> TaskLayer<S> {
    fn record_spawn(&self, attrs: &span::Attributes<'_>, id: &span::Id) {
        local::with(|local| {
            if let Some(task) = self.spawn(local, attrs)
                && let Some(entry) = self.sight.opened(local, id.into_u64(), task)
            {
                local.remember_traced(entry);
            }
        });
    }

    #[inline]
    fn record_waker(&self, event: &Event<'_>) {
        let mut fields = WakerFields::default();
        event.record(&mut fields);
        let Some(op) = fields.op else { return };
        local::with(|local| {
            if let Some(entry) = find(&self.sight, local, fields.span) {
                self.sight.waker(task::table(), local, &entry, op);
            }
        });
    }

    fn spawn(&self, local: &Local, attrs: &span::Attributes<'_>) -> Option<Handle> {
        if local.is_excluded() {
            return None;
        }
        let mut fields = TaskFields::new(local);
        attrs.record(&mut fields);
        let spot = local.spot(fields.file, fields.line, fields.column, fields.kind);
        if spot == Spot::Hidden || fields.id == 0 {
            return None;
        }
        let birth = Birth {
            id: fields.id,
            kind: fields.kind,
            site: spot.raw(),
            parent: local.innermost().map_or(0, OpenPoll::task),
            spawned: clock::ticks().0,
            runtime: 0,
            traced: true,
            blind: self.sight.is_blind(),
            size: fields.size,
            original_size: fields.original_size,
        };
        // What `tokio::fs` or a look-up of a name sends to the pool comes before
        // many an application's own subscriber.
        if fields.kind == TaskKind::Task {
            crate::subscriber::task_seen();
        }
        let text = fields.into_text().map(std::sync::Arc::new);
        task::table().spawn(&birth, text)
    }
}
