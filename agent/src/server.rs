//! The gRPC server: its own OS thread with its own runtime, so that an
//! application whose workers are all blocked still answers.

use std::sync::Arc;

use looptop_wire::proto;
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::accept::{Accept, Acceptor, Arrival};
use self::listener::Listener;
pub(crate) use self::listener::{Listeners, listen};
use self::stream::{Io, Stream};
use self::visitor::Door;
use crate::publish::feed;
use crate::shared::Shared;

mod accept;
#[cfg(feature = "metrics")]
mod http1;
pub(crate) mod limits;
mod listener;
mod stream;
#[cfg(feature = "tls")]
pub(crate) mod tls;
mod visitor;
#[cfg(not(feature = "tls"))]
pub(crate) mod without_tls;

#[cfg(not(feature = "services"))]
mod alone;
#[cfg(feature = "services")]
mod with_services;

#[cfg(not(feature = "services"))]
use self::alone as service;
pub(crate) use self::service::Services;
#[cfg(feature = "services")]
use self::with_services as service;
#[cfg(not(feature = "tls"))]
pub(crate) use self::without_tls as tls;

/// The name of its thread.
pub(crate) const THREAD_NAME: &str = "looptop-agent";

/// Connections that wait to be served.
const BACKLOG: usize = 8;

/// Serves until the agent is shut down; to be called on its own thread.
pub(crate) fn run(
    shared: &Arc<Shared>,
    listeners: Listeners,
    services: Services,
    tls: Option<tls::Acceptor>,
) {
    shared.enter_own_thread();
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = match builder.enable_io().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            crate::complain(&format!(
                "cannot start its runtime: {error}; nobody can attach"
            ));
            return;
        }
    };
    without_tracing(|| {
        runtime.block_on(async {
            let (feed, publish) = feed::new(shared);
            tokio::spawn(publish);
            crate::waits::mark_server(shared);
            #[cfg(feature = "flight-recorder")]
            crate::flight::start(shared, &feed);
            #[cfg(feature = "otlp")]
            crate::otlp::start(shared, &feed);
            tokio::spawn(serve(Arc::clone(shared), listeners, feed, services, tls));
            shared.stopped().await;
        });
        // Connections and their tasks end here; nothing is waited for.
        runtime.shutdown_background();
    });
}

/// The agent's own tasks are nobody's business. Its layer skips them by their
/// thread; console-subscriber's would not, and a default subscriber of this
/// thread, which costs every event of every thread some nanoseconds, is only
/// worth it there.
fn without_tracing(run: impl FnOnce()) {
    #[cfg(feature = "console")]
    {
        tracing_core::dispatcher::with_default(&crate::console::deaf(), run);
    }
    #[cfg(not(feature = "console"))]
    run();
}

async fn serve(
    shared: Arc<Shared>,
    listeners: Listeners,
    feed: feed::Feed,
    services: Services,
    tls: Option<tls::Acceptor>,
) {
    let door = Door::new(&shared);
    let (connections, accepted) = mpsc::channel(BACKLOG);
    #[cfg(feature = "metrics")]
    let route = if shared.config.metrics.at_agent {
        Route::Both(connections, feed.clone())
    } else {
        Route::Services(connections)
    };
    #[cfg(not(feature = "metrics"))]
    let route = Route::Services(connections);
    for listener in listeners.all {
        let (door, route) = (Arc::clone(&door), route.clone());
        match listener {
            Listener::Tcp(listener) => match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    door.open_tables();
                    tokio::spawn(accept(listener, door, route, tls.clone()));
                }
                Err(error) => complain_of(&error),
            },
            #[cfg(unix)]
            Listener::Unix(listener, file) => match tokio::net::UnixListener::from_std(listener) {
                Ok(listener) => {
                    tokio::spawn(async move {
                        let is_old = looptop_wire::socket::is_old;
                        listener::remove_stale_beside(&file.0, is_old).await;
                        accept(listener, door, route, None).await;
                    });
                }
                Err(error) => complain_of(&error),
            },
        }
    }
    #[cfg(feature = "metrics")]
    if let Some(listener) = listeners.metrics {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => {
                door.open_tables();
                let (door, route) = (Arc::clone(&door), Route::Metrics(feed.clone()));
                tokio::spawn(accept(listener, door, route, tls.clone()));
            }
            Err(error) => complain_of(&error),
        }
    }
    drop(route);
    if let Err(error) = service::serve(accepted, feed, services).await {
        complain_of(&*error);
    }
}

/// What those are served who come by a listener.
#[derive(Clone)]
enum Route {
    /// The services.
    Services(mpsc::Sender<Io>),
    /// The services, or `/metrics` to those who speak HTTP/1.
    #[cfg(feature = "metrics")]
    Both(mpsc::Sender<Io>, feed::Feed),
    /// `/metrics` alone.
    #[cfg(feature = "metrics")]
    Metrics(feed::Feed),
}

impl Route {
    /// The services are gone.
    fn is_closed(&self) -> bool {
        match self {
            Self::Services(connections) => connections.is_closed(),
            #[cfg(feature = "metrics")]
            Self::Both(connections, _) => connections.is_closed(),
            #[cfg(feature = "metrics")]
            Self::Metrics(_) => false,
        }
    }

    #[cfg_attr(not(feature = "metrics"), allow(unused_mut))]
    async fn take(self, mut io: Io) {
        match self {
            Self::Services(connections) => drop(connections.send(io).await),
            #[cfg(feature = "metrics")]
            Self::Both(connections, feed) => {
                tokio::spawn(async move {
                    match http1::is_spoken(&mut io).await {
                        Ok(true) => http1::serve(io, feed).await,
                        Ok(false) => drop(connections.send(io).await),
                        // It is gone.
                        Err(_) => {}
                    }
                });
            }
            #[cfg(feature = "metrics")]
            Self::Metrics(feed) => {
                tokio::spawn(http1::serve(io, feed));
            }
        }
    }
}

/// Passes on what a listener accepts, for ever.
async fn accept<A: Accept<Connection = Arrival>>(
    listener: A,
    door: Arc<Door>,
    route: Route,
    tls: Option<tls::Acceptor>,
) {
    let mut acceptor = Acceptor::new(listener);
    while !route.is_closed() {
        let Arrival { stream, origin } = acceptor.next().await;
        let since = Instant::now();
        let (visitor, closed) = door.enter(origin);
        match (&tls, stream) {
            (Some(tls), Stream::Tcp(stream)) => {
                let (tls, route) = (tls.clone(), route.clone());
                tokio::spawn(async move {
                    let greeted = tls.accept(stream, visitor, closed, since).await;
                    if let Some(io) = greeted {
                        route.take(io).await;
                    }
                });
            }
            (_, stream) => {
                let io = Io::new(stream, visitor, closed, since);
                route.clone().take(io).await;
            }
        }
    }
}

fn complain_of(error: &dyn std::error::Error) {
    crate::complain(&format!(
        "its server failed: {error}; nobody can attach any more"
    ));
}

/// Names for the frames of a viewer that cannot read the binary.
async fn resolve(
    #[allow(unused_variables, reason = "only with symbols")] shared: &Arc<Shared>,
    frames: Vec<proto::CodeAddress>,
) -> proto::ResolveFramesResponse {
    #[cfg(all(
        feature = "symbols",
        target_os = "linux",
        not(looptop_elsewhere),
        any(target_arch = "x86_64", target_arch = "aarch64")
    ))]
    return crate::symbols_of::resolve(shared, frames).await;
    #[cfg(not(all(
        feature = "symbols",
        target_os = "linux",
        not(looptop_elsewhere),
        any(target_arch = "x86_64", target_arch = "aarch64")
    )))]
    proto::ResolveFramesResponse {
        frames: vec![proto::ResolvedFrame::default(); frames.len()],
        reason: "this agent reads no symbols (its feature `symbols`, on Linux): run the viewer where it can read the binary".into(),
    }
}
