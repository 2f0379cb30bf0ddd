//! What the agent itself uses, for the figures in its README.
//!
//! ```text
//! cargo run --release -p looptop-agent --example cost -- idle 20
//! cargo run --release -p looptop-agent --example cost -- memory 100000 bare
//! ```
//!
//! `idle SECONDS` starts an agent in an idle application, attaches a viewer and
//! says how much CPU time the agent's threads took; with `stalls SECONDS` the
//! application blocks a worker for 30 ms every 100 ms meanwhile. `memory TASKS
//! LEVEL` says how much memory so many waiting tasks take with `bare` tokio,
//! `registry` (tokio's tracing into a registry, and nobody reads), `layer` (level
//! 1 in a registry), `own` (level 1 by the agent's own subscriber) or `hooks` (level
//! 2).

use std::future::pending;
use std::time::{Duration, Instant};

use looptop_agent::Agent;
use looptop_wire::proto::WatchRequest;
use looptop_wire::proto::agent_client::AgentClient;
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

/// How long a stall of `stalls` lasts.
const STALL: Duration = Duration::from_millis(30);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["idle", seconds] => observed(seconds, pending()),
        ["stalls", seconds] => observed(seconds, stalls()),
        ["memory", tasks, level] => memory(tasks.parse().expect("TASKS is a number"), level),
        _ => {
            eprintln!("idle SECONDS | stalls SECONDS | memory TASKS bare|registry|layer|own|hooks");
        }
    }
}

/// Hears of tasks, and keeps nothing.
struct Nothing;

impl Layer<Registry> for Nothing {}

fn runtime(hooks: bool) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all();
    if hooks {
        looptop_agent::instrument(&mut builder);
    }
    builder.build().expect("a runtime")
}

fn agent(runtime: &Runtime) -> Agent {
    let agent = Agent::builder().bind("127.0.0.1:0");
    let agent = agent.install_subscriber(true);
    agent.runtime("main", runtime.handle()).start()
}

/// A stall every 100 ms: a capture each, by a signal where it computes.
async fn stalls() {
    let mut every = tokio::time::interval(Duration::from_millis(100));
    for turn in 0_u64.. {
        every.tick().await;
        let begin = Instant::now();
        if turn.is_multiple_of(2) {
            std::thread::sleep(STALL);
        }
        while begin.elapsed() < STALL {
            std::hint::spin_loop();
        }
    }
}

fn observed(seconds: &str, work: impl Future<Output = ()> + Send + 'static) {
    let seconds = seconds.parse().expect("SECONDS is a number");
    let application = runtime(false);
    application.spawn(work);
    let agent = agent(&application);
    let address = agent.local_addr().expect("a TCP port");
    let watch = async {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"));
        let channel = endpoint.expect("an address").connect().await;
        let mut client = AgentClient::new(channel.expect("the agent listens"));
        let stream = client.watch(WatchRequest::default()).await;
        let mut frames = stream.expect("watching").into_inner();
        let (mut first, mut stalls) = (None, 0);
        while let Ok(Some(frame)) = frames.message().await {
            stalls = frame.stalls.iter().map(|s| s.id).fold(stalls, u64::max);
            let Some(process) = frame.process else {
                continue;
            };
            let (began, cpu_then) = *first.get_or_insert((frame.now_ns, process.agent_cpu_ns));
            let wall = Duration::from_nanos(frame.now_ns - began);
            if wall >= Duration::from_secs(seconds) {
                let cpu = Duration::from_nanos(process.agent_cpu_ns - cpu_then);
                let share = 100.0 * cpu.as_secs_f64() / wall.as_secs_f64();
                return format!(
                    "{cpu:?} of CPU in {wall:?}: {share:.2} % of one core, {stalls} stalls"
                );
            }
        }
        "the agent went away".to_owned()
    };
    println!("{}", runtime(false).block_on(watch));
}

fn memory(tasks: usize, level: &str) {
    let application = runtime(level == "hooks");
    let _agent = match level {
        "own" => Some(agent(&application)),
        "layer" => {
            let registry = tracing_subscriber::registry().with(looptop_agent::layer());
            registry.init();
            Some(agent(&application))
        }
        "registry" => {
            let tasks = filter_fn(|metadata| metadata.target().starts_with("tokio::task"));
            let registry = tracing_subscriber::registry().with(Nothing.with_filter(tasks));
            registry.init();
            None
        }
        "hooks" => {
            let alone = Agent::builder().bind("127.0.0.1:0");
            let alone = alone.install_subscriber(false);
            Some(alone.runtime("main", application.handle()).start())
        }
        _ => None,
    };
    let spawn = |count| {
        for _ in 0..count {
            drop(application.spawn(std::future::pending::<()>()));
        }
    };
    // What is allocated once is there before the measurement.
    spawn(1_000);
    let before = resident_bytes();
    spawn(tasks);
    let after = resident_bytes();
    let each = after.saturating_sub(before) / tasks.max(1);
    println!("{level}: {each} bytes resident for each of {tasks} waiting tasks");
}

/// Linux only; 0 elsewhere.
fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse().ok());
    kilobytes.unwrap_or(0) * 1024
}
