//! An agent beside the oldest tokio reports a blocked worker with its stack, and tasks
//! where tokio was built with its instrumentation.

use std::{
    collections::HashMap,
    thread,
    time::{Duration, Instant},
};

use looptop_agent::Agent;
use looptop_wire::{
    columns::Row,
    proto::{CapabilityKind, Cause, Frame, HelloRequest, WatchRequest, agent_client::AgentClient},
};
use tokio::{
    runtime::{Builder, Runtime},
    time::timeout,
};
use tonic::transport::Endpoint;

const PATIENCE: Duration = Duration::from_secs(30);

fn runtime(workers: usize) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(workers).enable_all();
    builder.build().expect("a runtime")
}

/// Blocks a worker for 200 ms, again and again.
async fn sleeps_on_its_worker() {
    loop {
        thread::sleep(Duration::from_millis(200));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What has been seen of what is awaited.
#[derive(Debug, Default)]
struct Seen {
    workers: HashMap<(u32, u32), u64>,
    stack: bool,
    task: bool,
}

impl Seen {
    fn add(&mut self, frame: &Frame) {
        let workers = frame.workers.iter();
        self.workers
            .extend(workers.map(|w| ((w.runtime, w.index), w.tid.unwrap_or_default())));
        let mut sleeping = frame.stalls.iter().filter(|s| s.cause() == Cause::Sleeping);
        self.stack |= sleeping.any(|s| s.stacks.iter().any(|stack| stack.frames.len() > 3));
        self.task |= frame
            .tasks
            .as_ref()
            .is_some_and(|t| Row::all(t).count() > 0);
    }
}

#[test]
fn a_blocked_worker_is_reported_with_its_stack_and_tasks_are_seen() {
    let program = runtime(2);
    let agent = Agent::builder()
        .bind("127.0.0.1:0")
        .runtime("main", program.handle())
        .install_subscriber(true)
        .start();
    let address = agent.local_addr().expect("a TCP port");
    let work = program.spawn(sleeps_on_its_worker());

    // The viewer's thread is no part of what the agent looks at.
    let seen = looptop_agent::unobserved(|| {
        let viewer = Builder::new_current_thread().enable_all().build();
        viewer.expect("a runtime").block_on(async {
            let address = Endpoint::from_shared(format!("http://{address}"));
            let channel = address.expect("an address").connect().await;
            let mut client = AgentClient::new(channel.expect("the agent listens"));
            let request = HelloRequest {
                protocol: looptop_wire::PROTOCOL,
                viewer: "test".into(),
            };
            let hello = client.hello(request).await;
            let hello = hello.expect("an answer").into_inner();
            let tasks = hello.capabilities.iter();
            let mut tasks = tasks.filter(|c| c.kind() == CapabilityKind::Tasks);
            let sees_tasks = tasks.any(|c| c.available);
            assert_eq!(sees_tasks, cfg!(tokio_unstable), "{:?}", hello.capabilities);

            let request = WatchRequest {
                interval_ns: 50_000_000,
                ..WatchRequest::default()
            };
            let frames = client.watch(request).await.expect("frames");
            let mut frames = frames.into_inner();
            let mut seen = Seen::default();
            let deadline = Instant::now() + PATIENCE;
            while !(seen.stack && seen.workers.len() == 2 && (seen.task || !sees_tasks)) {
                let left = deadline.saturating_duration_since(Instant::now());
                let frame = timeout(left, frames.message()).await;
                let frame = frame.unwrap_or_else(|_| panic!("never all of it: {seen:?}"));
                seen.add(&frame.expect("a stream").expect("a frame"));
            }
            seen
        })
    });
    assert!(seen.stack);
    work.abort();
    agent.shutdown();
}
