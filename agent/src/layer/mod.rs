//! Level 1: every task, by tokio's own tracing instrumentation.
//!
//! The layer wants tokio's task spans, waker events, and the events of its locks
//! (which task waits for one, not for which), nothing else. For every other
//! callsite it says "never" in the way of a per-layer filter, so that it neither
//! enables nor slows what other layers want; of the spans that those want it sees
//! enough to name tasks by them ([`names`]). Where the application has no subscriber
//! at all, [`own`] takes the layer's place.

mod fields;
mod names;
#[cfg(tokio_unstable)]
pub(crate) mod own;
mod seen;
#[cfg(all(test, tokio_unstable))]
mod tests;
#[cfg(feature = "otlp")]
mod traces;

use std::any::TypeId;
use std::sync::Arc;

use tracing_core::subscriber::Interest;
use tracing_core::{Dispatch, Event, LevelFilter, Metadata, Subscriber, span};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Filtered;
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::registry::LookupSpan;

use self::names::{Names, SpanNames, SpanText};
#[cfg(tokio_unstable)]
pub(crate) use self::seen::take_any;
#[cfg(feature = "otlp")]
use self::traces::{Find, Traces};
use crate::task::traced::{Ids, LayerState};

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
        state: LayerState::new(Ids::Foreign),
        names: crate::config::names_by_spans().then(SpanNames::default),
        #[cfg(feature = "otlp")]
        traces: Traces::default(),
        filtered: Nothing.with_filter(TaskCallsites { wakers: true }),
    }
}

/// The layer that [`layer`] makes.
#[derive(Debug)]
pub struct TaskLayer<S> {
    state: LayerState,
    /// `None` where tasks are not named by spans.
    names: Option<SpanNames>,
    /// Leads to the traces of spans.
    #[cfg(feature = "otlp")]
    traces: Traces,
    // Answers which callsites concern the layer. What happens there
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
        crate::level::leave_wakers();
        self.state.leave_wakers();
        self.filtered.filter_mut().wakers = false;
        self
    }
}

impl<S> TaskLayer<S> {
    /// Leaves the application's spans alone: none gives the task that it wraps its
    /// name. `LOOPTOP_TASK_NAMES=off` does the same.
    #[must_use]
    pub fn without_span_names(mut self) -> Self {
        self.names = None;
        self
    }
}

impl<S> TaskLayer<S> {
    /// How the trace and the span of OpenTelemetry are found for a span that is entered, so
    /// that a stall sent by OTLP names them. Called on the span's thread, at most once for
    /// each stall. By default `tracing_opentelemetry::get_otel_context`, of the version that
    /// the agent depends on (0.34): for another version, or another layer.
    ///
    /// ```
    /// use looptop_agent::TaskLayer;
    /// use opentelemetry::trace::TraceContextExt;
    ///
    /// fn layer<S>() -> TaskLayer<S>
    /// where
    ///     S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
    /// {
    ///     looptop_agent::task_layer().with_trace_ids(|dispatch, span| {
    ///         let context = tracing_opentelemetry::get_otel_context(span, dispatch)?;
    ///         let ids = context.span().span_context().clone();
    ///         Some((ids.trace_id().to_bytes(), ids.span_id().to_bytes()))
    ///     })
    /// }
    /// ```
    #[cfg(feature = "otlp")]
    #[must_use]
    #[allow(
        clippy::type_complexity,
        reason = "a name would hide what is to be returned"
    )]
    pub fn with_trace_ids(
        mut self,
        find: fn(&Dispatch, &span::Id) -> Option<([u8; 16], [u8; 8])>,
    ) -> Self {
        self.traces.find = Find::Given(find);
        self
    }
}

impl<S> TaskLayer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    /// The text of a span that may name a task is kept with it.
    fn keep_text(&self, attrs: &span::Attributes<'_>, id: &span::Id, context: &Context<'_, S>) {
        let Some(text) = self.names.as_ref().and_then(|names| names.text(attrs)) else {
            return;
        };
        if let Some(span) = context.span(id) {
            span.extensions_mut().replace(text);
        }
    }

    /// The application's span that is entered names the task that is polled here.
    #[cold]
    #[inline(never)]
    fn name_task(&self, id: &span::Id, context: &Context<'_, S>) {
        let (Some(names), Some(span)) = (&self.names, context.span(id)) else {
            return;
        };
        let metadata = span.metadata();
        if !names::is_the_applications(metadata) {
            return;
        }
        let full = span
            .extensions()
            .get::<SpanText>()
            .map(|text| Arc::clone(&text.0));
        let text = names.name(metadata, full);
        if let Some(task) = seen::named(&self.state, id.into_u64(), text) {
            span.extensions_mut().replace(Names(task));
        }
    }

    /// A span closes in a poll of the task that it may have named.
    #[cold]
    #[inline(never)]
    fn end_name(&self, id: &span::Id, task: u64, context: &Context<'_, S>) {
        let named = context.span(id).is_some_and(|span| {
            let extensions = span.extensions();
            extensions
                .get::<Names>()
                .is_some_and(|named| named.0 == task)
        });
        if named {
            seen::name_is_over(&self.state);
        }
    }
}

impl<S> Layer<S> for TaskLayer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        #[cfg(feature = "otlp")]
        self.traces.set(dispatch);
        self.filtered.on_register_dispatch(dispatch);
    }

    fn on_layer(&mut self, subscriber: &mut S) {
        self.filtered.on_layer(subscriber);
    }

    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
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
            seen::spawned(&self.state, attrs, id.into_u64());
        } else {
            self.keep_text(attrs, id, &context);
        }
        self.filtered.on_new_span(attrs, id, context);
    }

    #[inline]
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if self.filtered.filter().wakers {
            seen::event(&self.state, event);
        }
        self.filtered.on_event(event, context);
    }

    #[inline]
    fn on_enter(&self, id: &span::Id, context: Context<'_, S>) {
        if seen::entered(&self.state, id.into_u64()) {
            self.name_task(id, &context);
        }
        #[cfg(feature = "otlp")]
        self.traces.entered(id);
    }

    #[inline]
    fn on_exit(&self, id: &span::Id, _: Context<'_, S>) {
        #[cfg(feature = "otlp")]
        self.traces.left(id);
        seen::left(&self.state, id.into_u64());
    }

    fn on_close(&self, id: span::Id, context: Context<'_, S>) {
        if let Some(task) = seen::closed(&self.state, id.into_u64()) {
            self.end_name(&id, task, &context);
        }
    }

    /// A per-layer filter is recognised by what it answers here; without, the
    /// layer's "never" would hold for every other layer too.
    #[doc(hidden)]
    #[allow(unsafe_code, reason = "the only way to pass the question on")]
    unsafe fn downcast_raw(&self, id: TypeId) -> Option<*const ()> {
        if id == TypeId::of::<Self>() {
            return Some(std::ptr::from_ref(self).cast());
        }
        if id == TypeId::of::<Taken>() {
            return Some(std::ptr::from_ref(&TAKEN).cast());
        }
        // SAFETY: the pointer is to `self.filtered` or within, which lives as
        // long as `self`; its type is what `Filtered` vouches for.
        unsafe { self.filtered.downcast_raw(id) }
    }
}

/// What a subscriber says it is that has the layer, whatever else it is made of:
/// `Dispatch::is::<Taken>()`.
#[derive(Debug)]
pub(crate) struct Taken;

static TAKEN: Taken = Taken;

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

/// A lock is known by the place in tokio that makes the event: the callsites of timers
/// and channels, which are used more often, stay off.
fn is_of_lock(metadata: &Metadata<'_>) -> bool {
    let file = metadata.file().unwrap_or_default();
    let mut path = file.rsplit(['/', '\\']);
    matches!(
        (path.next(), path.next()),
        (Some("batch_semaphore.rs"), Some("sync")) | (Some("trace.rs"), Some("util"))
    )
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
