//! What the agent itself uses, for the figures in its README.
//!
//! ```text
//! cargo run --release -p looptop-agent --example cost -- idle 20 0
//! cargo run --release -p looptop-agent --example cost -- memory 100000 bare
//! ```
//!
//! `idle SECONDS LEVEL` starts an agent in an application that does nothing, at level
//! 0, 1 or 2, and says how much CPU time each thread took and how often it was woken
//! (Linux): first while nobody watches, then while another process does. With `little`
//! in the place of `idle`, ten tasks wake up ten times a second each. With `stalls
//! SECONDS` the application blocks a worker for 30 ms every 100 ms, and one viewer is
//! attached. `memory TASKS
//! LEVEL` says how much memory so many waiting tasks take with `bare` tokio,
//! `registry` (tokio's tracing into a registry, and nobody reads), `layer` (level
//! 1 in a registry), `own` (level 1 by the agent's own subscriber) or `hooks` (level
//! 2).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
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
/// After this the agent has done what it does once.
const SETTLED: Duration = Duration::from_secs(3);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["idle", seconds, level] => idle(seconds, level, 0),
        ["little", seconds, level] => idle(seconds, level, 10),
        ["view", address] => view(address),
        ["stalls", seconds] => observed(seconds, stalls()),
        ["memory", tasks, level] => memory(tasks.parse().expect("TASKS is a number"), level),
        _ => {
            eprintln!(
                "idle SECONDS 0|1|2 | little SECONDS 0|1|2 | stalls SECONDS | \
                 memory TASKS bare|registry|layer|own|hooks"
            );
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

fn agent(runtime: &Runtime, subscriber: bool) -> Agent {
    let agent = Agent::builder().bind("127.0.0.1:0");
    let agent = agent.install_subscriber(subscriber);
    agent.runtime("main", runtime.handle()).start()
}

/// CPU time of the threads of a process that does next to nothing.
fn idle(seconds: &str, level: &str, tasks: usize) {
    let seconds = Duration::from_secs(seconds.parse().expect("SECONDS is a number"));
    let application = runtime(level == "2");
    let agent = agent(&application, level == "1");
    let address = agent.local_addr().expect("a TCP port").to_string();
    for _ in 0..tasks {
        application.spawn(async {
            let mut every = tokio::time::interval(Duration::from_millis(100));
            loop {
                every.tick().await;
            }
        });
    }
    let level = level.to_owned();
    let measured = std::thread::spawn(move || measure(&level, &address, seconds));
    // As under `#[tokio::main]`: the thread is in `block_on`.
    application.block_on(async {
        while !measured.is_finished() {
            tokio::time::sleep(SETTLED).await;
        }
    });
    measured.join().expect("measured");
}

fn measure(level: &str, address: &str, seconds: Duration) {
    // What is done once is over then: the symbols, the census of threads.
    std::thread::sleep(SETTLED);
    used(&format!("level {level}, nobody watches"), seconds);
    let program = std::env::current_exe().expect("its own file");
    let mut viewer = std::process::Command::new(program)
        .args(["view", address])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("a second process");
    let mut said = BufReader::new(viewer.stdout.take().expect("a pipe"));
    said.read_line(&mut String::new()).expect("it attaches");
    std::thread::sleep(SETTLED);
    used(&format!("level {level}, one viewer"), seconds);
    viewer.kill().expect("it runs");
    viewer.wait().expect("it ends");
}

/// Watches until it is ended, and says when it has the state.
fn view(address: &str) {
    runtime(false).block_on(async {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"));
        let channel = endpoint.expect("an address").connect().await;
        let mut client = AgentClient::new(channel.expect("the agent listens"));
        let stream = client.watch(WatchRequest::default()).await;
        let mut frames = stream.expect("watching").into_inner();
        while let Ok(Some(frame)) = frames.message().await {
            if frame.snapshot_complete {
                println!("attached");
            }
        }
    });
}

/// What each thread has used: its name, CPU time in ns, and how often it was woken.
type Threads = BTreeMap<u32, (String, u64, u64)>;

fn threads() -> Threads {
    let directory = std::fs::read_dir("/proc/self/task").expect("Linux");
    let thread = |entry: std::fs::DirEntry| {
        let text = |name| std::fs::read_to_string(entry.path().join(name)).ok();
        let number = |text: &str| text.split_ascii_whitespace().next()?.parse().ok();
        let status = text("status")?;
        let woken = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        let tid = entry.file_name().to_str()?.parse().ok()?;
        let cpu_ns = number(&text("schedstat")?)?;
        Some((
            tid,
            (text("comm")?.trim_end().to_owned(), cpu_ns, number(woken)?),
        ))
    };
    directory.flatten().filter_map(thread).collect()
}

/// Says what each thread uses within `time`.
fn used(what: &str, time: Duration) {
    let begin = Instant::now();
    let before = threads();
    std::thread::sleep(time.saturating_sub(begin.elapsed()));
    let (after, wall) = (threads(), begin.elapsed());
    let mut all_ns = 0;
    let mut lines = String::new();
    for (tid, (name, cpu_ns, woken)) in &after {
        let (cpu_before, woken_before) = before.get(tid).map_or((0, 0), |(_, ns, n)| (*ns, *n));
        let (cpu_ns, woken) = (cpu_ns - cpu_before, woken - woken_before);
        all_ns += cpu_ns;
        let share = 100.0 * cpu_ns as f64 / wall.as_nanos() as f64;
        let rate = woken as f64 / wall.as_secs_f64();
        let each = cpu_ns as f64 / 1e3 / (woken as f64).max(1.0);
        writeln!(
            lines,
            "  {name:<16} {share:>6.3} % {rate:>7.1} wakes/s {each:>7.1} us each"
        )
        .expect("memory");
    }
    let share = 100.0 * all_ns as f64 / wall.as_nanos() as f64;
    println!("{what}: {share:.3} % of one core, all threads\n{lines}");
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
    let agent = agent(&application, true);
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
        "own" => Some(agent(&application, true)),
        "layer" => {
            let registry = tracing_subscriber::registry().with(looptop_agent::layer());
            registry.init();
            Some(agent(&application, true))
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
