//! Scripted peers, and waiting for events.

use std::{
    fmt::Debug,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use looptop::source::{Event, Options, Problem, Source, Target, spawn};
use looptop_wire::proto::{
    Frame, HelloRequest, HelloResponse, ResolveFramesRequest, ResolveFramesResponse, WatchRequest,
    agent_server::{Agent, AgentServer},
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::{
    Stream,
    wrappers::{ReceiverStream, TcpListenerStream},
};
use tonic::{Request, Response, Status, transport::server::Router};

/// No wait is longer; a machine that is this busy runs no tests.
const DEADLINE: Duration = Duration::from_mins(1);

pub(crate) type Outbox<T> = mpsc::Sender<Result<T, Status>>;
pub(crate) type Outgoing<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A stream whose other end the test holds.
pub(crate) fn stream<T: Send + 'static>() -> (Outbox<T>, Outgoing<T>) {
    let (outbox, stream) = mpsc::channel(64);
    (outbox, Box::pin(ReceiverStream::new(stream)))
}

/// An agent that answers by a script; each watcher's stream is handed to the
/// test.
#[derive(Clone)]
pub(crate) struct ScriptedAgent {
    pub(crate) hello: Arc<Mutex<HelloResponse>>,
    pub(crate) watchers: mpsc::Sender<Outbox<Frame>>,
}

impl ScriptedAgent {
    pub(crate) fn new(session: &str) -> (Self, mpsc::Receiver<Outbox<Frame>>) {
        let (watchers, arrivals) = mpsc::channel(16);
        let hello = HelloResponse {
            protocol: looptop_wire::PROTOCOL,
            session: session.into(),
            agent_version: "0.1".into(),
            ..HelloResponse::default()
        };
        let hello = Arc::new(Mutex::new(hello));
        (Self { hello, watchers }, arrivals)
    }

    pub(crate) fn router(&self) -> Router {
        tonic::transport::Server::builder().add_service(AgentServer::new(self.clone()))
    }
}

#[tonic::async_trait]
impl Agent for ScriptedAgent {
    async fn hello(&self, _: Request<HelloRequest>) -> Result<Response<HelloResponse>, Status> {
        Ok(Response::new(self.hello.lock().unwrap().clone()))
    }

    type WatchStream = Outgoing<Frame>;

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Outgoing<Frame>>, Status> {
        let (outbox, stream) = stream();
        self.watchers.send(outbox).await.unwrap();
        Ok(Response::new(stream))
    }

    async fn resolve_frames(
        &self,
        _: Request<ResolveFramesRequest>,
    ) -> Result<Response<ResolveFramesResponse>, Status> {
        Err(Status::unimplemented("not in this script"))
    }
}

/// Serves on a free port until the runtime ends.
pub(crate) async fn serve(router: Router) -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

pub(crate) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Attaches to what `target` displays as.
pub(crate) fn attach<T: ToString + ?Sized>(target: &T) -> Source {
    let target: Target = target.to_string().parse().unwrap();
    let runtime = tokio::runtime::Handle::current();
    spawn(target, Options::default(), &runtime)
}

/// The first event of which `wanted` makes something. Panics with all events
/// that came instead.
pub(crate) async fn until<T>(source: &mut Source, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
    let mut seen = Vec::new();
    let find = async {
        while let Some(event) = source.recv().await {
            seen.push(shortened(&event));
            if let Some(found) = wanted(event) {
                return Some(found);
            }
        }
        None
    };
    let found = tokio::time::timeout(DEADLINE, find).await;
    let found = found.ok().flatten();
    found.unwrap_or_else(|| panic!("in vain, or the source ended; there came {seen:#?}"))
}

fn shortened(event: &impl Debug) -> String {
    let mut text = format!("{event:?}");
    text.truncate(text.floor_char_boundary(300));
    text
}

pub(crate) async fn until_lost(source: &mut Source) -> (Problem, Option<Duration>) {
    until(source, |event| match event {
        Event::Lost { problem, retry_in } => Some((problem, retry_in)),
        _ => None,
    })
    .await
}

pub(crate) async fn until_silent(source: &mut Source) -> Problem {
    until(source, |event| match event {
        Event::Silent { problem, .. } => Some(problem),
        _ => None,
    })
    .await
}

pub(crate) async fn until_connected(source: &mut Source) -> HelloResponse {
    until(source, |event| match event {
        Event::Connected { hello, .. } => Some(*hello),
        _ => None,
    })
    .await
}

pub(crate) async fn until_frame(source: &mut Source) -> Frame {
    until(source, |event| match event {
        Event::Frame(frame) => Some(frame.into_frame()),
        _ => None,
    })
    .await
}
