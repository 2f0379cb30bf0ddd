//! console-subscriber's `Instrument` service on the agent's port, unmodified,
//! so that tokio-console can attach too.
//!
//! The layer and the server are made together and taken apart: the layer goes
//! into the application's subscriber, the server into the agent, in either
//! order.

use std::sync::Mutex;

use console_subscriber::{ConsoleLayer, Server, ServerParts};
use tonic::service::RoutesBuilder;
use tonic::service::interceptor::InterceptedService;
use tracing_core::{Dispatch, Metadata, Subscriber, dispatcher};
use tracing_subscriber::{Layer, filter::FilterFn, registry::LookupSpan};

use crate::mute::Mute;
use crate::sync::lock;

/// Lets a call through, or says why not.
pub(crate) type Admit = fn(tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status>;

#[derive(Default)]
struct Halves {
    made: bool,
    layer: Option<ConsoleLayer>,
    server: Option<Server>,
}

static HALVES: Mutex<Halves> = Mutex::new(Halves {
    made: false,
    layer: None,
    server: None,
});

fn halves() -> std::sync::MutexGuard<'static, Halves> {
    let mut halves = lock(&HALVES);
    if !halves.made {
        let (layer, server) = ConsoleLayer::builder().with_default_env().build();
        *halves = Halves {
            made: true,
            layer: Some(layer),
            server: Some(server),
        };
    }
    halves
}

/// console-subscriber's layer with the filter that it needs; `None` when it was
/// taken before, because there is one for each process.
pub(crate) fn layer<S>() -> Option<impl Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let layer = halves().layer.take()?;
    Some(layer.with_filter(FilterFn::new(is_of_runtime)))
}

/// What console-subscriber wants to see: events of the runtime by their target,
/// spans by their name, and everything of tokio's own.
fn is_of_runtime(metadata: &Metadata<'_>) -> bool {
    let of_runtime = if metadata.is_event() {
        metadata.target().starts_with("runtime")
    } else {
        metadata.name().starts_with("runtime.")
    };
    of_runtime || metadata.target().starts_with("tokio")
}

/// A subscriber for threads that are nobody's business.
///
/// `tracing` remembers for the whole process what the thread that first comes by
/// a callsite got as its answer. So this one says what the process's subscriber
/// says, and then takes no notice; without a subscriber at all on such a thread
/// the callsites of tokio's wakers would be off for everybody.
pub(crate) fn deaf() -> Dispatch {
    let known = dispatcher::get_default(Clone::clone);
    Dispatch::new(Mute(move |metadata| known.register_callsite(metadata)))
}

/// Adds the service, to those calls that `admit` lets through, and runs its aggregator
/// on this runtime.
pub(crate) fn serve(services: &mut RoutesBuilder, admit: Admit) {
    let Some(server) = halves().server.take() else {
        return;
    };
    let ServerParts {
        instrument_server,
        aggregator,
        ..
    } = server.into_parts();
    tokio::spawn(aggregator.run());
    services.add_service(InterceptedService::new(instrument_server, admit));
}
