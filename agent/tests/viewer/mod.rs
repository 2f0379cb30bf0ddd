//! A viewer for tests: a gRPC client on a thread of its own, so that it sees
//! the application even while all of its workers are blocked.

#![allow(dead_code, unreachable_pub)]

pub mod http;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use looptop_agent::{Agent, Builder};
use looptop_wire::proto::agent_client::AgentClient;
use looptop_wire::{columns, proto};

/// Long enough for a machine that does other things as well.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Agents look at the whole process, so tests run one after another.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An agent's settings for tests: a free port, no subscriber, so that level 0
/// is what is tested.
pub fn level0() -> Builder {
    Agent::builder()
        .bind("127.0.0.1:0")
        .install_subscriber(false)
}

/// Everything that a viewer has received so far.
#[derive(Default)]
pub struct Seen {
    pub frames: Vec<proto::Frame>,
    pub strings: HashMap<u32, String>,
    pub stalls: HashMap<u64, proto::Stall>,
    pub workers: HashMap<(u32, u32), proto::Worker>,
    pub runtimes: HashMap<u32, proto::Runtime>,
    pub threads: HashMap<u64, proto::Thread>,
    pub process: Option<proto::Process>,
    pub host: Option<proto::Host>,
    pub gauges: HashMap<u32, f64>,
    pub lag: Vec<(u64, u64)>,
    pub pending_lag_since: Option<u64>,
    pub loss: proto::Loss,
    pub coverage: Option<proto::Coverage>,
    /// Live tasks.
    pub tasks: HashMap<u64, columns::Record>,
    /// The newest word on what can be known of them.
    pub capabilities: HashMap<proto::CapabilityKind, proto::Capability>,
    pub shapes: HashMap<u32, proto::AwaitShape>,
    /// Of tasks that wait.
    pub task_waits: HashMap<u64, proto::TaskWait>,
    pub thread_waits: HashMap<u64, proto::ThreadWait>,
    pub wait_resources: HashMap<u64, proto::WaitResource>,
    pub waits_read: Option<proto::WaitsRead>,
    pub now_ns: u64,
}

impl Seen {
    fn add(&mut self, frame: proto::Frame) {
        self.now_ns = frame.now_ns;
        let strings = frame.strings.iter().map(|s| (s.id, s.text.clone()));
        self.strings.extend(strings);
        self.stalls
            .extend(frame.stalls.iter().map(|s| (s.id, s.clone())));
        let workers = frame.workers.iter().map(|w| ((w.runtime, w.index), *w));
        self.workers.extend(workers);
        self.runtimes
            .extend(frame.runtimes.iter().map(|r| (r.id, r.clone())));
        self.threads
            .extend(frame.threads.iter().map(|t| (t.tid, *t)));
        self.process = frame.process.or(self.process);
        self.host = frame.host.or(self.host);
        self.gauges
            .extend(frame.gauges.iter().map(|g| (g.name, g.value)));
        self.loss = frame.loss.unwrap_or(self.loss);
        if frame.coverage.is_some() {
            self.coverage.clone_from(&frame.coverage);
        }
        for id in &frame.forgotten_tasks {
            self.tasks.remove(id);
        }
        if let Some(tasks) = &frame.tasks {
            for row in columns::Row::all(tasks) {
                match row.state() {
                    proto::TaskState::Completed => drop(self.tasks.remove(&row.id())),
                    _ => drop(self.tasks.insert(row.id(), row.record())),
                }
            }
            let said = tasks.capabilities.iter();
            self.capabilities
                .extend(said.map(|known| (known.kind(), known.clone())));
        }
        let shapes = frame.await_shapes.iter();
        self.shapes
            .extend(shapes.map(|shape| (shape.id, shape.clone())));
        for wait in &frame.task_waits {
            if wait.shape == 0 {
                self.task_waits.remove(&wait.task);
            } else {
                self.task_waits.insert(wait.task, wait.clone());
            }
        }
        for wait in &frame.thread_waits {
            if wait.gone {
                self.thread_waits.remove(&wait.tid);
            } else {
                self.thread_waits.insert(wait.tid, wait.clone());
            }
        }
        for resource in &frame.wait_resources {
            if resource.gone {
                self.wait_resources.remove(&resource.id);
            } else {
                self.wait_resources.insert(resource.id, *resource);
            }
        }
        if frame.waits_read.is_some() {
            self.waits_read.clone_from(&frame.waits_read);
        }
        self.pending_lag_since = None;
        for lag in &frame.lag {
            self.lag
                .extend(lag.at_ns.iter().copied().zip(lag.lag_ns.iter().copied()));
            self.pending_lag_since = lag.pending_since_ns.or(self.pending_lag_since);
        }
        self.frames.push(frame);
    }

    pub fn text(&self, id: u32) -> &str {
        self.strings.get(&id).map_or("", String::as_str)
    }

    /// Live tasks whose future is called so.
    pub fn tasks_of(&self, future: &str) -> Vec<&columns::Record> {
        let tasks = self.tasks.values();
        let is_it = |task: &&columns::Record| self.text(task.future.unwrap_or(0)).contains(future);
        tasks.filter(is_it).collect()
    }

    /// The futures of a task, outermost first.
    pub fn chain(&self, task: u64) -> Option<Vec<&str>> {
        let wait = self.task_waits.get(&task)?;
        let nodes = self.shapes.get(&wait.shape)?.nodes.iter();
        Some(nodes.map(|node| self.text(node.future)).collect())
    }

    pub fn live_stall(&self) -> Option<&proto::Stall> {
        let live = |s: &&proto::Stall| s.state() == proto::StallState::Live;
        self.stalls.values().find(live)
    }
}

/// An attached viewer.
pub struct Viewer {
    seen: Arc<Mutex<Seen>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Viewer {
    pub fn attach(address: SocketAddr) -> Self {
        Self::that_asks(address, false, None)
    }

    /// One that shows this token and asks for what is read in memory, or does not.
    pub fn that_asks(address: SocketAddr, memory: bool, token: Option<&'static str>) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let sink = Arc::clone(&seen);
        let thread = std::thread::spawn(move || {
            let client = client_runtime();
            // Its thread is no part of what the agent looks at.
            looptop_agent::unobserved(|| {
                client.block_on(async {
                    let watch = async {
                        let mut client = connect(address).await;
                        let request = proto::WatchRequest {
                            interval_ns: 20_000_000,
                            memory,
                        };
                        let mut request = tonic::Request::new(request);
                        show(&mut request, token);
                        let stream = client.watch(request).await;
                        let mut frames = stream.expect("watching").into_inner();
                        while let Ok(Some(frame)) = frames.message().await {
                            sink.lock().expect("no panic").add(frame);
                        }
                    };
                    tokio::select! {
                        () = watch => {}
                        _ = stopped => {}
                    }
                });
            });
        });
        Self {
            seen,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Waits until `pick` finds what it looks for.
    pub fn until<T>(&self, what: &str, mut pick: impl FnMut(&Seen) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = pick(&self.seen.lock().expect("no panic")) {
                return found;
            }
            assert!(Instant::now() < deadline, "never seen: {what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until the agent knows which thread drives which worker.
    pub fn until_mapped(&self, workers: usize) {
        self.until("every worker's thread", |seen| {
            let mapped = seen.workers.values().filter(|w| w.tid.is_some());
            (!cfg!(all(target_os = "linux", not(looptop_elsewhere))) || mapped.count() == workers)
                .then_some(())
        });
    }

    /// Looks once.
    pub fn look<T>(&self, pick: impl FnOnce(&Seen) -> T) -> T {
        pick(&self.seen.lock().expect("no panic"))
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

pub fn client_runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder
        .enable_all()
        .build()
        .expect("a runtime for the client")
}

async fn connect(address: SocketAddr) -> AgentClient<tonic::transport::Channel> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"));
    let channel = endpoint.expect("an address").connect().await;
    AgentClient::new(channel.expect("the agent listens"))
}

pub fn hello(address: SocketAddr) -> proto::HelloResponse {
    greeted(address, None)
}

/// The same for who shows this token.
pub fn greeted(address: SocketAddr, token: Option<&str>) -> proto::HelloResponse {
    client_runtime().block_on(async {
        let request = proto::HelloRequest {
            protocol: looptop_wire::PROTOCOL,
            viewer: "test".into(),
        };
        let mut request = tonic::Request::new(request);
        show(&mut request, token);
        let hello = connect(address).await.hello(request).await;
        hello.expect("an answer").into_inner()
    })
}

fn show<T>(request: &mut tonic::Request<T>, token: Option<&str>) {
    if let Some(token) = token {
        let shown = format!("Bearer {token}").parse().expect("a header");
        request.metadata_mut().insert("authorization", shown);
    }
}

/// Waits until `done`.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
