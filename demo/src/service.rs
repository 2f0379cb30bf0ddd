//! The observed HTTP service: connections come from the front, requests run as
//! named tasks.

use std::{
    fmt::Write as _,
    future::Future,
    io::Write as _,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{Router, http::StatusCode, middleware, routing::get};
use futures::{FutureExt, future::BoxFuture};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{net::TcpStream, sync::mpsc};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    fixtures::Fixtures,
    observed,
    phase::{self, Ticket},
    registry,
    scenarios::shut_down,
};

/// Path of the tiny request that measures everybody else's pain.
pub(crate) const CANARY: &str = "/canary";

/// All endpoints of all scenarios.
pub(crate) fn router(fixtures: &Fixtures) -> anyhow::Result<Router> {
    let mut router = Router::new()
        .route("/", get(index))
        .route(CANARY, get(async || "ok\n"));
    for scenario in registry::scenarios() {
        router = router.merge((scenario.routes)(fixtures)?);
    }
    Ok(router.layer(middleware::from_fn_with_state(
        fixtures.phase.clone(),
        phase::admit,
    )))
}

async fn index() -> String {
    let mut text = String::from("looptop's starvation lab. Endpoints:\n\n");
    for scenario in registry::scenarios() {
        // A String takes whatever is written to it.
        let _ = writeln!(
            text,
            "{:<28} {:<34} {}",
            scenario.id, scenario.broken, scenario.fixed
        );
    }
    text.push_str("\nGET /lab shows the figures, POST /lab/SCENARIO/broken|fixed|off switches.\n");
    text
}

/// Serves the connections that the front hands over until `stop`, then lets open
/// requests finish.
pub(crate) async fn run(
    mut connections: mpsc::Receiver<std::net::TcpStream>,
    router: Router,
    stop: CancellationToken,
) {
    let graceful = GracefulShutdown::new();
    let server = auto::Builder::new(TokioExecutor::new());
    loop {
        let stream = tokio::select! {
            stream = connections.recv() => stream,
            () = stop.cancelled() => None,
        };
        let Some(stream) = stream else { break };
        let Ok(stream) = TcpStream::from_std(stream) else {
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = server
            .serve_connection(TokioIo::new(stream), service)
            .into_owned();
        let connection = Box::pin(graceful.watch(connection));
        drop(observed::spawn("connection", async move {
            // The peer sees the same error; nobody else wants to know.
            let _ = connection.await;
        }));
    }
    let report = shut_down(graceful).await;
    // The reader may have gone, which is as good a reason to stop.
    let _ = writeln!(std::io::stdout(), "{report}");
}

/// Runs `work` as a task of its own, named after the request and located where
/// this is called. It ends when the client goes away, and does not begin when
/// the lab has been switched since the request was sent.
#[track_caller]
pub(crate) fn task<F>(name: &'static str, work: F) -> Answer<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    // On the heap, so that the size of a handler does not show as the size of
    // the task: one scenario is about just that. And of one type, so that tokio's
    // part of a task is not compiled once for each handler.
    let work: BoxFuture<'static, F::Output> = Box::pin(work);
    Answer(AbortOnDropHandle::new(observed::spawn(
        name,
        unless_stale(Ticket::of_request(), work),
    )))
}

async fn unless_stale<T>(ticket: Option<Ticket>, work: BoxFuture<'static, T>) -> Option<T> {
    if ticket.is_some_and(|ticket| ticket.is_stale()) {
        return None;
    }
    Some(work.await)
}

/// As [`task`], but with `work` in the task itself, whatever its size.
#[track_caller]
pub(crate) fn unboxed_task<F>(name: &'static str, work: F) -> Answer<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let handle = observed::spawn(name, work.map(Some));
    Answer(AbortOnDropHandle::new(handle))
}

/// What a request's task will answer.
pub(crate) struct Answer<T>(AbortOnDropHandle<Option<T>>);

impl<T> Future for Answer<T> {
    type Output = Result<T, (StatusCode, &'static str)>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(Pin::new(&mut self.0).poll(cx)) {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(phase::over()),
            Err(_) => Err((
                StatusCode::INTERNAL_SERVER_ERROR,
                "the task of this request failed\n",
            )),
        })
    }
}
