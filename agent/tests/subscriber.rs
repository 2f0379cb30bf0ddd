//! The agent's own subscriber and the application's, in every order.
//!
//! One subscriber is the whole process's, so each case is a child process of this
//! test binary: a small application. This binary has subscribers of its own, so that
//! the agent must not set one unless it is asked to.
#![cfg(all(tokio_unstable, feature = "tracing", not(feature = "console")))]

mod viewer;

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use looptop_agent::Agent;
use looptop_wire::columns::Row;
use looptop_wire::proto::CapabilityKind;
use tracing_core::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use viewer::{Viewer, hello, until};

const CASE: &str = "LOOPTOP_TEST_CASE";

/// What a case does, by its name.
const CASES: [(&str, fn()); 13] = [
    ("no subscriber: the sentence", alone),
    ("no subscriber: asked to set one", || {
        asked(&set_by_builder());
    }),
    (
        "a subscriber without the layer, then init",
        without_layer_first,
    ),
    ("init, a task, then a subscriber without the layer", || {
        without_layer_later(Duration::ZERO);
    }),
    (
        "init, a task, a while, then a subscriber without the layer",
        || {
            without_layer_later(Duration::from_millis(400));
        },
    ),
    ("a subscriber with the layer, then init", layer_first),
    ("init, a task, then a subscriber with the layer", || {
        layer_later(Duration::ZERO);
    }),
    (
        "init, a task, a while, then a subscriber with the layer",
        || {
            layer_later(Duration::from_millis(400));
        },
    ),
    ("a subscriber of one thread", scoped),
    (
        "a subscriber of one thread, with the layer",
        scoped_with_layer,
    ),
    ("a filter for all layers", filtered),
    ("a filter that is changed while the program runs", reloaded),
    ("a filter for the log alone", filtered_log),
];

#[test]
fn the_agent_and_the_application_share_tracing() {
    if let Ok(case) = std::env::var(CASE) {
        let (_, run) = CASES.iter().find(|(name, _)| *name == case).expect("known");
        return run();
    }
    for (case, _) in CASES {
        let output = child(case, &[]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{case}: {stderr}");
    }
}

/// As the builder does, so does the environment.
#[test]
fn the_environment_asks_for_a_subscriber() {
    if std::env::var_os(CASE).is_some() {
        return asked(&Agent::builder().bind("127.0.0.1:0").start());
    }
    let me = std::env::current_exe().expect("this test's binary");
    let mut command = Command::new(me);
    command.args(["the_environment_asks_for_a_subscriber", "--exact"]);
    command.env(CASE, "asked").env("LOOPTOP_TASKS", "on");
    let output = command.output().expect("it starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
}

fn child(case: &str, variables: &[(&str, &str)]) -> std::process::Output {
    let me = std::env::current_exe().expect("this test's binary");
    let mut command = Command::new(me);
    command.args(["the_agent_and_the_application_share_tracing", "--exact"]);
    command.args(["--nocapture"]).env(CASE, case);
    command.env_remove("LOOPTOP_TASKS");
    let output = command.envs(variables.iter().copied()).output();
    output.expect("it starts")
}

fn start() -> Agent {
    let agent = Agent::builder().bind("127.0.0.1:0").start();
    assert!(agent.is_running());
    agent
}

fn set_by_builder() -> Agent {
    let agent = Agent::builder().bind("127.0.0.1:0");
    let agent = agent.install_subscriber(true).start();
    assert!(agent.is_running());
    agent
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("a runtime")
}

fn address(agent: &Agent) -> SocketAddr {
    agent.local_addr().expect("a TCP port")
}

fn spawn(name: &str) -> tokio::task::JoinHandle<()> {
    let task = tokio::task::Builder::new().name(name);
    task.spawn(std::future::pending()).expect("a runtime")
}

/// What the agent says of tasks: nothing, or why there are none.
fn reported(agent: &Agent) -> Result<(), String> {
    let address = address(agent);
    // Not on this thread, which may be inside a runtime.
    let hello = std::thread::spawn(move || hello(address)).join();
    let capabilities = hello.expect("no panic").capabilities;
    let tasks = |c: &&looptop_wire::proto::Capability| c.kind() == CapabilityKind::Tasks;
    let tasks = capabilities.iter().find(tasks).expect("it is listed");
    tasks.available.then_some(()).ok_or(tasks.reason.clone())
}

/// Waits until the agent says that, which it finds out twice a second.
fn until_reported(agent: &Agent, expected: Result<(), &str>) {
    let is_reported = || match (expected, reported(agent)) {
        (Ok(()), Ok(())) => true,
        (Err(part), Err(reason)) => reason.contains(part),
        _ => false,
    };
    until(
        &format!("{expected:?} instead of {:?}", reported(agent)),
        is_reported,
    );
}

/// Waits until a viewer sees all of these tasks.
fn until_seen(agent: &Agent, names: &[&str]) {
    let viewer = Viewer::attach(address(agent));
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

/// The application's lines all come: of this thread, of another, of the workers.
async fn logs(log: &Log) {
    let before = log.0.load(Relaxed);
    say_something();
    std::thread::spawn(say_something).join().expect("no panic");
    let tasks: Vec<_> = (0..20)
        .map(|_| tokio::spawn(async { say_something() }))
        .collect();
    for task in tasks {
        task.await.expect("it does not panic");
    }
    let blocking = tokio::task::spawn_blocking(say_something);
    blocking.await.expect("it does not panic");
    assert_eq!(log.0.load(Relaxed), before + 23);
}

/// Tasks of this thread and of the workers, by their names.
fn tasks_are_seen(agent: &Agent, prefix: &str) {
    // As many as it takes to come by every worker.
    let names: Vec<String> = (0..20).map(|n| format!("{prefix} {n}")).collect();
    for name in names.clone() {
        tokio::spawn(async move { drop(spawn(&name)) });
    }
    drop(spawn(prefix));
    let mut all: Vec<&str> = names.iter().map(String::as_str).collect();
    all.push(prefix);
    until_seen(agent, &all);
}

/// Tokio and the application meet their callsites, on workers as well.
async fn a_start(a_while: Duration) {
    say_something();
    let early = tokio::spawn(async {
        say_something();
        tokio::task::yield_now().await;
    });
    early.await.expect("it does not panic");
    tokio::time::sleep(a_while).await;
}

fn alone() {
    runtime().block_on(async {
        let agent = start();
        a_start(Duration::from_millis(100)).await;
        let reason = reported(&agent).expect_err("the test's own binary has subscribers");
        assert!(
            reason.contains("looptop_agent::layer()") && reason.contains("LOOPTOP_TASKS=on"),
            "{reason}"
        );
    });
}

fn asked(agent: &Agent) {
    let runtime = runtime();
    agent.register_runtime("main", runtime.handle());
    runtime.block_on(async {
        a_start(Duration::ZERO).await;
        tasks_are_seen(agent, "seen");
        until_reported(agent, Ok(()));
        // Too late, and no more than an error.
        let set = tracing_subscriber::registry()
            .with(Log::default())
            .try_init();
        assert!(set.is_err());
    });
}

fn without_layer_first() {
    let log = Log::default();
    tracing_subscriber::registry().with(log.clone()).init();
    runtime().block_on(async {
        let agent = start();
        logs(&log).await;
        until_reported(&agent, Err("add .with(looptop_agent::layer())"));
    });
}

fn without_layer_later(a_while: Duration) {
    runtime().block_on(async {
        let agent = start();
        a_start(a_while).await;
        let log = Log::default();
        tracing_subscriber::registry().with(log.clone()).init();
        logs(&log).await;
        until_reported(&agent, Err("add .with(looptop_agent::layer())"));
        logs(&log).await;
    });
}

fn layer_first() {
    let log = Log::default();
    let layers = tracing_subscriber::registry().with(looptop_agent::layer());
    layers.with(log.clone()).init();
    runtime().block_on(async {
        let agent = start();
        logs(&log).await;
        tasks_are_seen(&agent, "seen by the layer");
        until_reported(&agent, Ok(()));
    });
}

fn layer_later(a_while: Duration) {
    runtime().block_on(async {
        let agent = start();
        a_start(a_while).await;
        let log = Log::default();
        let layers = tracing_subscriber::registry().with(looptop_agent::layer());
        layers.with(log.clone()).init();
        logs(&log).await;
        tasks_are_seen(&agent, "seen by the later layer");
        until_reported(&agent, Ok(()));
    });
}

fn scoped() {
    runtime().block_on(async {
        let agent = start();
        a_start(Duration::ZERO).await;
        let log = Log::default();
        let subscriber = tracing_subscriber::registry().with(log.clone());
        let scope = tracing::subscriber::set_default(subscriber);
        say_something();
        drop(scope);
        say_something();
        assert_eq!(log.0.load(Relaxed), 1, "on its thread, while it is set");
        until_reported(&agent, Err("LOOPTOP_TASKS=on"));
    });
}

fn scoped_with_layer() {
    let layers = tracing_subscriber::registry().with(looptop_agent::layer());
    let _scope = tracing::subscriber::set_default(layers);
    runtime().block_on(async {
        let agent = start();
        drop(spawn("of the thread that has it"));
        until_seen(&agent, &["of the thread that has it"]);
    });
}

fn filtered() {
    let log = Log::default();
    let layers = tracing_subscriber::registry()
        .with(looptop_agent::layer())
        .with(log.clone())
        .with(LevelFilter::INFO);
    layers.init();
    runtime().block_on(async {
        let agent = start();
        logs(&log).await;
        until_reported(&agent, Err("a filter hides `tokio::task`"));
    });
}

fn reloaded() {
    let (filter, handle) = tracing_subscriber::reload::Layer::new(LevelFilter::TRACE);
    let layers = tracing_subscriber::registry().with(looptop_agent::layer());
    layers.with(filter).init();
    runtime().block_on(async {
        let agent = start();
        // Attached before: it is reported with the frames.
        let viewer = Viewer::attach(address(&agent));
        let says = |available: bool| {
            move |seen: &viewer::Seen| {
                let tasks = seen.frames.iter().filter_map(|f| f.tasks.as_ref());
                let mut capabilities = tasks.flat_map(|t| &t.capabilities);
                let last = capabilities.rfind(|c| c.kind() == CapabilityKind::Tasks)?;
                (last.available == available).then_some(())
            }
        };
        let a_while = || tokio::time::sleep(Duration::from_millis(10));
        a_while().await;
        tasks_are_seen(&agent, "before");
        handle.reload(LevelFilter::INFO).expect("it is there");
        tokio::task::spawn_blocking(move || {
            viewer.until("tasks are hidden", says(false));
            handle.reload(LevelFilter::TRACE).expect("it is there");
            viewer.until("tasks are seen again", says(true));
        })
        .await
        .expect("no panic");
        tasks_are_seen(&agent, "after");
    });
}

fn filtered_log() {
    let log = Log::default();
    let app = |metadata: &Metadata<'_>| *metadata.level() <= tracing::Level::INFO;
    let layers = tracing_subscriber::registry()
        .with(looptop_agent::layer())
        .with(log.clone().with_filter(filter_fn(app)));
    layers.init();
    runtime().block_on(async {
        let agent = start();
        logs(&log).await;
        tasks_are_seen(&agent, "seen beside a filter");
        until_reported(&agent, Ok(()));
    });
}
