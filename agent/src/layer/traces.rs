//! The traces of OpenTelemetry to which an application's spans belong.

use std::sync::OnceLock;

use opentelemetry::trace::TraceContextExt;
use tracing_core::dispatcher::WeakDispatch;
use tracing_core::{Dispatch, span};

use crate::stall::TraceIds;
use crate::traces;

/// Sees which spans are entered, and finds their traces when that is asked.
#[derive(Debug, Default)]
pub(super) struct Traces {
    dispatch: OnceLock<WeakDispatch>,
    pub(super) find: Find,
}

/// The ids of a trace and of a span in it.
type Ids = ([u8; 16], [u8; 8]);

/// How a span's ids are found.
#[derive(Debug, Default, Clone, Copy)]
pub(super) enum Find {
    /// As the agent's version of `tracing-opentelemetry` says.
    #[default]
    Own,
    /// As the application says.
    Given(fn(&Dispatch, &span::Id) -> Option<Ids>),
}

impl Traces {
    /// The layer is part of this subscriber.
    pub(super) fn set(&self, dispatch: &Dispatch) {
        drop(self.dispatch.set(dispatch.downgrade()));
    }

    #[inline]
    pub(super) fn entered(&self, span: &span::Id) {
        traces::entered(span.into_u64(), &|span| self.ids(span));
    }

    #[inline]
    pub(super) fn left(&self, span: &span::Id) {
        traces::left(span.into_u64(), &|span| self.ids(span));
    }

    /// The ids of a span that is entered on this thread.
    fn ids(&self, span: u64) -> Option<TraceIds> {
        let dispatch = self.dispatch.get()?.upgrade()?;
        let span = span::Id::from_u64(span);
        match self.find {
            Find::Own => {
                let context = tracing_opentelemetry::get_otel_context(&span, &dispatch)?;
                let entered = context.span();
                let ids = entered.span_context();
                ids.is_valid().then(|| TraceIds {
                    trace: ids.trace_id().to_bytes(),
                    span: ids.span_id().to_bytes(),
                    flags: ids.trace_flags().to_u8(),
                })
            }
            Find::Given(find) => {
                let (trace, span) = find(&dispatch, &span)?;
                let flags = 0;
                Some(TraceIds { trace, span, flags })
            }
        }
    }
}
