//! The agent's own subscriber, for an application that has none: what the layer
//! sees, without a registry beneath.
//!
//! It gives spans their ids, each of which says where the task's record is, so that
//! nothing has to be looked up. A task's span has one owner, the task: nobody can
//! come by another handle of it, as the subscriber has no current span. So nothing is
//! counted, and the first to let go closes it.

use tracing_core::subscriber::Interest;
use tracing_core::{Event, LevelFilter, Metadata, Subscriber, span};

use super::{TaskCallsites, is_task_span, seen};
use crate::task::traced::{Ids, LayerState};

/// See the module.
#[derive(Debug)]
pub(crate) struct TaskSubscriber {
    state: LayerState,
}

/// What the layer of [`super::layer`] wants.
const CALLSITES: TaskCallsites = TaskCallsites { wakers: true };

impl TaskSubscriber {
    // With the feature `console` the layer does it, beside console-subscriber's.
    #[cfg_attr(feature = "console", allow(dead_code))]
    pub(crate) fn new() -> Self {
        Self {
            state: LayerState::new(Ids::Own),
        }
    }
}

impl Subscriber for TaskSubscriber {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if CALLSITES.want(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        CALLSITES.want(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }

    fn new_span(&self, attrs: &span::Attributes<'_>) -> span::Id {
        let id = if is_task_span(attrs.metadata()) {
            seen::spawned_here(&self.state, attrs)
        } else {
            LayerState::own_id(None)
        };
        span::Id::from_u64(id)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    #[inline]
    fn event(&self, event: &Event<'_>) {
        seen::event(&self.state, event);
    }

    #[inline]
    fn enter(&self, id: &span::Id) {
        // Nobody's spans but tokio's are wanted here.
        let _ = seen::entered(&self.state, id.into_u64());
    }

    #[inline]
    fn exit(&self, id: &span::Id) {
        seen::left(&self.state, id.into_u64());
    }

    fn try_close(&self, id: span::Id) -> bool {
        let _ = seen::closed(&self.state, id.into_u64());
        true
    }
}
