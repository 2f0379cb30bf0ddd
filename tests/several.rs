//! What the page of several processes costs: two hundred agents at ten frames a second,
//! `cargo test --release --test several -- --ignored --nocapture`.

#[path = "sources/script.rs"]
#[allow(dead_code, reason = "shared with the tests of sources")]
mod script;
mod terminal;

use std::{
    fs,
    time::{Duration, Instant},
};

use looptop_wire::proto::{
    Capability, CapabilityKind, Frame, InternedString, LagSamples, Process, Runtime, Stall,
    StallState, Tasks, Worker, WorkerState,
};

use script::{Outbox, ScriptedAgent, serve};
use terminal::Terminal;

const TARGETS: u64 = 200;
const WORKERS: u32 = 4;
const TASKS: u64 = 200;
/// Tasks that change between two frames.
const CHANGE: u64 = 50;
const EVERY: Duration = Duration::from_millis(100);
const MEASURED: Duration = Duration::from_secs(20);

/// All that is known, then changes.
fn frame(step: u64, is_sick: bool) -> Frame {
    let now_ns = 1_000_000_000 + step * 100_000_000;
    let ids: Vec<u64> = match step {
        0 => (1..=TASKS).collect(),
        _ => (0..CHANGE)
            .map(|n| 1 + (step * CHANGE + n) % TASKS)
            .collect(),
    };
    let counted = |per_step: u64| ids.iter().map(|_| step * per_step).collect::<Vec<_>>();
    let tasks = Tasks {
        state: vec![1; ids.len()],
        kind: vec![1; ids.len()],
        polls: counted(10),
        busy_ns: counted(1_000_000),
        id: ids,
        ..Tasks::default()
    };
    let worker = |index| Worker {
        index,
        state: WorkerState::Parked.into(),
        busy_ns: step * 40_000_000,
        polls: Some(step * 500),
        ..Worker::default()
    };
    let stall = Stall {
        id: 1,
        state: StallState::Live.into(),
        runtime: Some(0),
        worker: Some(1),
        started_at_ns: 1_000_000_000,
        duration_ns: step * 100_000_000,
        location: 0,
        ..Stall::default()
    };
    Frame {
        sequence: step,
        now_ns,
        snapshot_complete: step == 0,
        strings: match step {
            0 => vec![InternedString {
                id: 1,
                text: "worker".into(),
            }],
            _ => Vec::new(),
        },
        runtimes: vec![Runtime {
            live_tasks: TASKS,
            ..Runtime::default()
        }],
        workers: (0..WORKERS).map(worker).collect(),
        tasks: Some(tasks),
        lag: vec![LagSamples {
            at_ns: vec![now_ns - 1_000_000],
            lag_ns: vec![100_000],
            ..LagSamples::default()
        }],
        process: Some(Process::default()),
        stalls: if is_sick { vec![stall] } else { Vec::new() },
        ..Frame::default()
    }
}

async fn send(outbox: Outbox<Frame>, is_sick: bool) {
    let mut ticks = tokio::time::interval(EVERY);
    for step in 0.. {
        ticks.tick().await;
        if outbox.send(Ok(frame(step, is_sick))).await.is_err() {
            return;
        }
    }
}

/// Time on a CPU, user and system, and memory in use.
fn used(pid: u32) -> (Duration, u64) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let fields: Vec<u64> = rest
        .split_whitespace()
        .skip(1)
        .map(|field| field.parse().unwrap_or_default())
        .collect();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let rss = rss.unwrap().split_whitespace().next().unwrap();
    let ticks = fields[10] + fields[11];
    (Duration::from_millis(ticks * 10), rss.parse().unwrap())
}

#[test]
#[ignore = "measures: run it in release, and nothing beside it"]
fn two_hundred_targets_at_ten_frames_a_second_take_less_than_a_core() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let targets: Vec<String> = runtime.block_on(async {
        let mut targets = Vec::new();
        for n in 0..TARGETS {
            let (agent, mut watchers) = ScriptedAgent::new(&format!("session {n}"));
            {
                let mut hello = agent.hello.lock().unwrap();
                hello.name = format!("service-{n}");
                hello.capabilities = (1..=18)
                    .filter_map(|n| CapabilityKind::try_from(n).ok())
                    .map(|kind| Capability {
                        kind: kind.into(),
                        available: true,
                        reason: String::new(),
                    })
                    .collect();
            }
            targets.push(serve(agent.router()).await.to_string());
            tokio::spawn(async move {
                while let Some(outbox) = watchers.recv().await {
                    tokio::spawn(send(outbox, n % 20 == 0));
                }
            });
        }
        targets
    });
    let words: Vec<&str> = targets.iter().map(String::as_str).collect();
    let mut terminal = Terminal::start(&words, 120, 40);
    terminal.wait_for("all of them", |screen| {
        let header = screen.lines().next().unwrap_or_default();
        header.starts_with(" looptop  200 processes") && !header.contains("CONNECTING")
    });
    let (before, _) = used(terminal.pid());
    let began = Instant::now();
    std::thread::sleep(MEASURED);
    let (after, rss) = used(terminal.pid());
    let share = after.saturating_sub(before).as_secs_f64() / began.elapsed().as_secs_f64();
    let key = Instant::now();
    terminal.send("?");
    terminal.wait_for_text("go into the process under the cursor");
    eprintln!(
        "{TARGETS} targets at 10 frames/s, {TASKS} tasks each, {CHANGE} of which change: {:.0} % \
         of a core, {} MiB in all ({} KiB each); a key takes {:.0?}",
        share * 100.0,
        rss >> 10,
        rss / TARGETS,
        key.elapsed()
    );
    terminal.send("q");
    assert_eq!(terminal.wait_for_exit(), 0);
    assert!(share < 1.0, "{share}");
    // A model without history: what a process takes is what it shows.
    assert!(rss / TARGETS < 2 << 10, "{rss} KiB");
}
