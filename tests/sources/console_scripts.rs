//! The console source against scripted servers: old ones, huge ones, broken
//! ones.

use console_api::{
    instrument::{
        InstrumentRequest, PauseRequest, PauseResponse, ResumeRequest, ResumeResponse, State,
        StateRequest, TaskDetailsRequest, Update,
        instrument_server::{Instrument, InstrumentServer},
    },
    tasks::{Stats, Task, TaskDetails, TaskUpdate},
};
use looptop::source::ProblemKind;
use prost_types::Timestamp;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use crate::script::{
    Outbox, Outgoing, attach, serve, stream, until_connected, until_frame, until_lost, until_silent,
};

/// A server of before 0.5.0: it knows no `WatchState`.
pub(crate) struct OldServer {
    pub(crate) watchers: mpsc::Sender<Outbox<Update>>,
}

#[tonic::async_trait]
impl Instrument for OldServer {
    type WatchUpdatesStream = Outgoing<Update>;
    type WatchTaskDetailsStream = Outgoing<TaskDetails>;
    type WatchStateStream = Outgoing<State>;

    async fn watch_updates(
        &self,
        _: Request<InstrumentRequest>,
    ) -> Result<Response<Outgoing<Update>>, Status> {
        let (outbox, stream) = stream();
        self.watchers.send(outbox).await.unwrap();
        Ok(Response::new(stream))
    }

    async fn watch_task_details(
        &self,
        _: Request<TaskDetailsRequest>,
    ) -> Result<Response<Outgoing<TaskDetails>>, Status> {
        Err(Status::not_found("no such task"))
    }

    async fn watch_state(
        &self,
        _: Request<StateRequest>,
    ) -> Result<Response<Outgoing<State>>, Status> {
        Err(Status::unimplemented("what state?"))
    }

    async fn pause(&self, _: Request<PauseRequest>) -> Result<Response<PauseResponse>, Status> {
        Err(Status::unimplemented("no"))
    }

    async fn resume(&self, _: Request<ResumeRequest>) -> Result<Response<ResumeResponse>, Status> {
        Err(Status::unimplemented("no"))
    }
}

async fn old_server() -> (std::net::SocketAddr, mpsc::Receiver<Outbox<Update>>) {
    let (watchers, arrivals) = mpsc::channel(16);
    let service = InstrumentServer::new(OldServer { watchers });
    let router = tonic::transport::Server::builder().add_service(service);
    (serve(router).await, arrivals)
}

#[allow(clippy::unnecessary_wraps)] // as the message's fields have it
fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

fn one_task(now: i64, born: i64) -> Update {
    let task = Task {
        id: Some(console_api::Id { id: 1 }),
        ..Task::default()
    };
    let stats = Stats {
        created_at: at(born),
        ..Stats::default()
    };
    Update {
        now: at(now),
        task_update: Some(TaskUpdate {
            new_tasks: vec![task],
            stats_update: [(1, stats)].into(),
            dropped_events: 0,
        }),
        ..Update::default()
    }
}

#[tokio::test]
async fn an_old_server_and_a_clock_far_off() {
    let (address, mut watchers) = old_server().await;
    let mut source = attach(&address);
    let watcher = watchers.recv().await.unwrap();
    watcher.send(Ok(one_task(5_000, 4_990))).await.unwrap();
    let hello = until_connected(&mut source).await;
    assert_eq!(hello.started_unix_ns, 4_990_000_000_000);
    assert_eq!(hello.pid, std::process::id(), "found by its socket");
    let frame = until_frame(&mut source).await;
    assert!(frame.snapshot_complete);
    assert_eq!(frame.now_ns, 10_000_000_000);
    assert_eq!(frame.tasks.unwrap().id, [1]);

    // A server that says nothing for longer than a publish interval.
    assert_eq!(until_silent(&mut source).await.kind, ProblemKind::NoAnswer);

    // The same task after a reconnection proves the same process.
    drop(watcher);
    assert_eq!(until_lost(&mut source).await.0.kind, ProblemKind::Closed);
    let watcher = watchers.recv().await.unwrap();
    watcher.send(Ok(one_task(5_100, 4_990))).await.unwrap();
    assert_eq!(until_connected(&mut source).await.session, hello.session);
    assert_eq!(until_frame(&mut source).await.now_ns, 110_000_000_000);

    // One born at another time is another process.
    drop(watcher);
    until_lost(&mut source).await;
    let watcher = watchers.recv().await.unwrap();
    watcher.send(Ok(one_task(5_200, 5_199))).await.unwrap();
    let another = until_connected(&mut source).await;
    assert_ne!(another.session, hello.session);
    assert_eq!(until_frame(&mut source).await.now_ns, 1_000_000_000);
}

#[tokio::test]
async fn snapshots_far_over_four_megabytes_are_read() {
    let (address, mut watchers) = old_server().await;
    let mut source = attach(&address);
    let mut update = one_task(10, 9);
    let tasks = update.task_update.as_mut().unwrap();
    tasks.stats_update = (0..200_000)
        .map(|id| {
            let stats = Stats {
                created_at: at(9),
                wakes: u64::MAX,
                waker_clones: u64::MAX,
                waker_drops: u64::MAX,
                ..Stats::default()
            };
            (id, stats)
        })
        .collect();
    assert!(prost::Message::encoded_len(&update) > 8 << 20);
    watchers
        .recv()
        .await
        .unwrap()
        .send(Ok(update))
        .await
        .unwrap();
    until_connected(&mut source).await;
    let mut tasks = 0;
    loop {
        let frame = until_frame(&mut source).await;
        assert!(prost::Message::encoded_len(&frame) <= looptop_wire::MAX_MESSAGE_BYTES);
        tasks += frame.tasks.map_or(0, |tasks| tasks.id.len());
        if frame.snapshot_complete {
            break;
        }
    }
    assert_eq!(tasks, 200_000);
}

#[tokio::test]
async fn a_snapshot_over_the_bound() {
    let (address, mut watchers) = old_server().await;
    let mut source = attach(&address);
    let mut update = one_task(10, 9);
    let location = console_api::Location {
        file: Some("x".repeat(65 << 20)),
        ..console_api::Location::default()
    };
    update.task_update.as_mut().unwrap().new_tasks[0].location = Some(location);
    watchers
        .recv()
        .await
        .unwrap()
        .send(Ok(update))
        .await
        .unwrap();
    let (problem, _) = until_lost(&mut source).await;
    assert_eq!(problem.kind, ProblemKind::TooLarge);
    assert!(
        problem.what.contains("65.0 MiB where 64 MiB is the limit"),
        "{problem}"
    );
    assert!(
        problem.advice.contains("TOKIO_CONSOLE_RETENTION"),
        "{problem}"
    );
}

#[tokio::test]
async fn a_message_that_is_none() {
    let router = tonic::transport::Server::builder().add_service(Garbage);
    let address = serve(router).await;
    let (problem, _) = until_lost(&mut attach(&address)).await;
    assert_eq!(problem.kind, ProblemKind::Malformed, "{problem}");
}

/// Answers every call of console-subscriber's service with a broken message.
#[derive(Clone)]
struct Garbage;

impl tonic::server::NamedService for Garbage {
    const NAME: &'static str = "rs.tokio.console.instrument.Instrument";
}

impl tower::Service<http::Request<tonic::body::Body>> for Garbage {
    type Response = http::Response<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<tonic::body::Body>) -> Self::Future {
        // A gRPC frame of two bytes: field 1 as a number, where `Update`
        // has a message.
        let body = String::from("\0\0\0\0\x02\x08\x05");
        let response = http::Response::builder()
            .header("content-type", "application/grpc")
            .body(tonic::body::Body::new(body));
        std::future::ready(Ok(response.unwrap()))
    }
}
