//! The agent's own subscriber and the application's, in every order.
//!
//! One subscriber is the whole process's, so each case is a child process of
//! this test binary.
// With console-subscriber's layer the order is fixed; see the README.
#![cfg(all(tokio_unstable, feature = "tracing", not(feature = "console")))]

mod viewer;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use looptop_agent::Agent;
use looptop_wire::columns::Row;
use looptop_wire::proto::CapabilityKind;
use tracing_core::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use viewer::{Viewer, hello, until};

const CASE: &str = "LOOPTOP_TEST_CASE";

/// What a case does, by its name.
const CASES: [(&str, fn()); 9] = [
    ("init long before the first task", init_long_before),
    ("init long before a subscriber", plain_much_later),
    ("a subscriber with the layer first", layer_first),
    (
        "a subscriber with the layer first, the agent's tasks before any other",
        agents_tasks_first,
    ),
    ("init alone", init_alone),
    (
        "init first, then a subscriber without the layer",
        plain_later,
    ),
    ("init first, then a subscriber with the layer", layer_later),
    ("a pooled call between the two", plain_after_a_blocking_task),
    ("init on a thread that spawns nothing", spawned_elsewhere),
];

#[test]
fn the_agent_and_the_application_share_tracing() {
    if let Ok(case) = std::env::var(CASE) {
        let (_, run) = CASES.iter().find(|(name, _)| *name == case).expect("known");
        return run();
    }
    for (case, _) in CASES {
        let me = std::env::current_exe().expect("this test's binary");
        let mut command = Command::new(me);
        command.args(["the_agent_and_the_application_share_tracing", "--exact"]);
        let output = command.args(["--nocapture"]).env(CASE, case).output();
        let output = output.expect("it starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{case}: {stderr}");
    }
}

fn start() -> Agent {
    let agent = Agent::builder().bind("127.0.0.1:0").start();
    assert!(agent.is_running());
    agent
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("a runtime")
}

fn spawn(name: &str) -> tokio::task::JoinHandle<()> {
    let task = tokio::task::Builder::new().name(name);
    task.spawn(std::future::pending()).expect("a runtime")
}

fn tasks_told(agent: &Agent) -> bool {
    let address = agent.local_addr().expect("a TCP port");
    // Not on this thread, which may be inside a runtime.
    let hello = std::thread::spawn(move || hello(address)).join();
    let capabilities = hello.expect("no panic").capabilities;
    let tasks = |c: &&looptop_wire::proto::Capability| c.kind() == CapabilityKind::Tasks;
    capabilities.iter().find(tasks).is_some_and(|c| c.available)
}

/// Waits until a viewer sees all of these tasks.
fn until_seen(agent: &Agent, names: &[&str]) {
    let viewer = Viewer::attach(agent.local_addr().expect("a TCP port"));
    for name in names {
        viewer.until(name, |seen| {
            let tasks = seen.frames.iter().filter_map(|f| f.tasks.as_ref());
            let this = |row: Row<'_>| seen.text(row.name()?).eq(*name).then_some(());
            tasks.flat_map(Row::all).find_map(this)
        });
    }
}

/// Counts the application's own events.
#[derive(Clone, Default)]
struct Log(Arc<AtomicUsize>);

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "application" {
            self.0.fetch_add(1, Relaxed);
        }
    }
}

fn say_something() {
    tracing::info!(target: "application", "something");
}

fn layer_first() {
    let layers = tracing_subscriber::registry().with(looptop_agent::layer());
    layers.init();
    init_alone();
}

fn agents_tasks_first() {
    let layers = tracing_subscriber::registry().with(looptop_agent::layer());
    layers.init();
    let runtime = runtime();
    let builder = Agent::builder().bind("127.0.0.1:0");
    let agent = builder.runtime("main", runtime.handle()).start();
    // Seen once the agent's probe has run there, as a task of the agent's own.
    let viewer = Viewer::attach(agent.local_addr().expect("a TCP port"));
    viewer.until("lag", |seen| {
        seen.frames.iter().any(|f| !f.lag.is_empty()).then_some(())
    });
    let _entered = runtime.enter();
    drop(spawn("the application's first"));
    until_seen(&agent, &["the application's first"]);
}

/// The agent's own tasks run on the workers meanwhile.
async fn a_while() {
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
}

fn init_long_before() {
    runtime().block_on(async {
        let agent = start();
        a_while().await;
        // As many as it takes to come by every worker.
        let names: Vec<String> = (0..20).map(|n| format!("child {n}")).collect();
        for name in names.clone() {
            tokio::spawn(async move { drop(spawn(&name)) });
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        until_seen(&agent, &names);
    });
}

fn plain_much_later() {
    runtime().block_on(async {
        let agent = start();
        a_while().await;
        let log = Log::default();
        tracing_subscriber::registry().with(log.clone()).init();
        logs(&log);
        let before = log.0.load(Relaxed);
        let tasks: Vec<_> = (0..20)
            .map(|_| tokio::spawn(async { say_something() }))
            .collect();
        for task in tasks {
            task.await.expect("it does not panic");
        }
        assert_eq!(log.0.load(Relaxed), before + 20, "on the workers");
        assert!(!tasks_told(&agent));
    });
}

fn init_alone() {
    runtime().block_on(async {
        let agent = start();
        let first = spawn("the first");
        let nested = tokio::spawn(async {
            drop(spawn("on a worker"));
        });
        nested.await.expect("it does not panic");
        until_seen(&agent, &["the first", "on a worker"]);
        assert!(tasks_told(&agent));
        drop(first);
    });
}

/// The application's events are seen on the thread of `init()` and elsewhere.
fn logs(log: &Log) {
    let before = log.0.load(Relaxed);
    say_something();
    std::thread::spawn(say_something).join().expect("no panic");
    assert_eq!(log.0.load(Relaxed), before + 2);
}

fn plain_later() {
    runtime().block_on(async {
        let agent = start();
        say_something();
        let log = Log::default();
        tracing_subscriber::registry().with(log.clone()).init();
        logs(&log);
        assert!(!tasks_told(&agent));
        drop(spawn("unseen"));
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        logs(&log);
        assert!(!tasks_told(&agent));
    });
}

fn plain_after_a_blocking_task() {
    runtime().block_on(async {
        let agent = start();
        let here = tokio::fs::metadata("/").await;
        assert!(here.is_ok_and(|m| m.is_dir()));
        let log = Log::default();
        tracing_subscriber::registry().with(log.clone()).init();
        logs(&log);
        assert!(!tasks_told(&agent));
    });
}

fn layer_later() {
    let runtime = runtime();
    let agent = start();
    assert!(agent.register_runtime("main", runtime.handle()));
    let log = Log::default();
    let layers = tracing_subscriber::registry().with(looptop_agent::layer());
    layers.with(log.clone()).init();
    logs(&log);
    runtime.block_on(async {
        drop(spawn("seen by the application's layer"));
        until_seen(&agent, &["seen by the application's layer"]);
    });
    assert!(tasks_told(&agent));
    logs(&log);
}

fn spawned_elsewhere() {
    let runtime = runtime();
    let agent = start();
    assert!(agent.register_runtime("main", runtime.handle()));
    let handle = runtime.handle().clone();
    let elsewhere = std::thread::spawn(move || {
        // Until the agent has given the application time enough.
        until("the agent's subscriber is everybody's", || {
            tracing_core::dispatcher::get_default(|d| {
                !d.is::<tracing_core::subscriber::NoSubscriber>()
            })
        });
        let _inside = handle.enter();
        drop(spawn("from another thread"));
    });
    elsewhere.join().expect("no panic");
    until_seen(&agent, &["from another thread"]);
}
