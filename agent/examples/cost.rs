//! What the agent itself uses, for the figures in its README.
//!
//! ```text
//! cargo run --release -p looptop-agent --example cost -- idle 20
//! cargo run --release -p looptop-agent --example cost -- memory 100000 bare
//! ```
//!
//! `idle SECONDS` starts an agent in an idle application, attaches a viewer and
//! says how much CPU time the agent's threads took. `memory TASKS LEVEL` says
//! how much memory so many waiting tasks take with `bare` tokio, `layer` (level
//! 1) or `hooks` (level 2).

use std::time::Duration;

use looptop_agent::Agent;
use looptop_wire::proto::WatchRequest;
use looptop_wire::proto::agent_client::AgentClient;
use tokio::runtime::{Builder, Runtime};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["idle", seconds] => idle(seconds.parse().expect("SECONDS is a number")),
        ["memory", tasks, level] => memory(tasks.parse().expect("TASKS is a number"), level),
        _ => eprintln!("idle SECONDS | memory TASKS bare|layer|hooks"),
    }
}

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
    agent.runtime("main", runtime.handle()).start()
}

fn idle(seconds: u64) {
    let application = runtime(false);
    let agent = agent(&application);
    let address = agent.local_addr().expect("a TCP port");
    let watch = async {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"));
        let channel = endpoint.expect("an address").connect().await;
        let mut client = AgentClient::new(channel.expect("the agent listens"));
        let stream = client.watch(WatchRequest { interval_ns: 0 }).await;
        let mut frames = stream.expect("watching").into_inner();
        let mut first = None;
        while let Ok(Some(frame)) = frames.message().await {
            let Some(process) = frame.process else {
                continue;
            };
            let (began, cpu_then) = *first.get_or_insert((frame.now_ns, process.agent_cpu_ns));
            let wall = Duration::from_nanos(frame.now_ns - began);
            if wall >= Duration::from_secs(seconds) {
                let cpu = Duration::from_nanos(process.agent_cpu_ns - cpu_then);
                let share = 100.0 * cpu.as_secs_f64() / wall.as_secs_f64();
                return format!("{cpu:?} of CPU in {wall:?}: {share:.2} % of one core");
            }
        }
        "the agent went away".to_owned()
    };
    println!("{}", runtime(false).block_on(watch));
}

fn memory(tasks: usize, level: &str) {
    let application = runtime(level == "hooks");
    let _agent = match level {
        "layer" => Some(agent(&application)),
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
