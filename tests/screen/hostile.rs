//! Agents that send what no agent should, or more than anybody expects: the
//! screen stays whole, and the keys alive.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use looptop_wire::proto::{
    AwaitNode, AwaitShape, CodeAddress, Frame, Hold, Host, InternedString, LagSamples, Location,
    Loss, Module, Process, Runtime, SpawnSite, StackSample, Stall, StallState, TaskKind, TaskState,
    TaskWait, Tasks, Thread, ThreadWait, WaitResource, WaitsRead, Want, Worker, WorkerState,
};
use tokio::{runtime, sync::mpsc};

use crate::{
    script::{Outbox, ScriptedAgent, serve},
    terminal::{ESC, Terminal},
};

/// An agent on a runtime of its own.
struct Peer {
    runtime: runtime::Runtime,
    address: SocketAddr,
    watchers: mpsc::Receiver<Outbox<Frame>>,
}

impl Peer {
    fn start() -> Self {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (agent, watchers) = ScriptedAgent::new("hostile");
        agent.hello.lock().unwrap().stall_threshold_ns = MS;
        let address = runtime.block_on(serve(agent.router()));
        Self {
            runtime,
            address,
            watchers,
        }
    }

    /// The stream to the screen, once it has attached.
    fn watcher(&mut self) -> Watcher<'_> {
        let outbox = self.runtime.block_on(self.watchers.recv()).unwrap();
        Watcher {
            runtime: &self.runtime,
            outbox,
            sequence: 0,
        }
    }
}

struct Watcher<'a> {
    runtime: &'a runtime::Runtime,
    outbox: Outbox<Frame>,
    sequence: u64,
}

impl Watcher<'_> {
    fn send(&mut self, frame: Frame) {
        for mut part in looptop_wire::split::split(frame) {
            self.sequence += 1;
            part.sequence = self.sequence;
            let sent = self.runtime.block_on(self.outbox.send(Ok(part)));
            sent.expect("the screen listens");
        }
    }
}

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

fn string(id: u32, text: &str) -> InternedString {
    InternedString {
        id,
        text: text.into(),
    }
}

/// Tasks with these ids; each is idle, has the name with the same index, from 1,
/// and comes from location 1.
fn tasks(ids: &[u64]) -> Tasks {
    let count = ids.len();
    Tasks {
        id: ids.to_vec(),
        state: vec![TaskState::Idle as i32; count],
        kind: vec![TaskKind::Task as i32; count],
        name: (1..=count as u32).collect(),
        location: vec![1; count],
        spawned_at_ns: vec![1; count],
        ended_at_ns: vec![0; count],
        polls: vec![1; count],
        busy_ns: vec![MS; count],
        ..Tasks::default()
    }
}

const NAMES: &[&str] = &[
    "\x1b]0;pwned\x07title",
    "\x1b[2J\x1b[31mred",
    "\u{9b}31mC1",
    "line\r\nbreak\ttab\x08\x7f",
    "\u{202e}right-to-left\u{2066}",
    "宽字符的任务名",
    "e\u{301}\u{302}\u{303}combining",
    "👨\u{200d}👩\u{200d}👧\u{200d}👦 family",
    "🇻🇳 flag ❤\u{fe0f}",
    "لا lam-alef",
    "\u{200b}\u{feff}\u{ad}invisible",
    "\0nul\u{fffd}\u{10ffff}",
    "",
    "plain",
];

#[test]
fn names_cannot_break_the_screen() {
    let mut peer = Peer::start();
    let mut terminal = Terminal::start(&[&peer.address.to_string()], 200, 40);
    let mut watcher = peer.watcher();
    let long = "long ".repeat(20_000);
    let names = NAMES.iter().copied().chain([long.as_str()]);
    let mut strings: Vec<_> = (1..)
        .zip(names)
        .map(|(id, name)| string(id, name))
        .collect();
    let count = strings.len();
    strings.push(string(100, "src/\x1b[35mfile\x1b[0m.rs"));
    let ids: Vec<u64> = (1..=count as u64).collect();
    watcher.send(Frame {
        now_ns: SECOND,
        snapshot_complete: true,
        strings,
        locations: vec![Location {
            id: 1,
            file: 100,
            line: u32::MAX,
            column: u32::MAX,
        }],
        tasks: Some(tasks(&ids)),
        stalls: vec![Stall {
            id: 1,
            state: StallState::Live as i32,
            task: Some(1),
            name: 1,
            location: 1,
            started_at_ns: 1,
            duration_ns: SECOND,
            syscall: 2,
            object: 3,
            ..Stall::default()
        }],
        ..Frame::default()
    });
    // Every place where a name is shown.
    terminal.send("2");
    terminal.wait_for("the tasks", |screen| {
        screen.contains("[2 Tasks]") && screen.contains("plain")
    });
    // A frame arrives in pieces: the whole of it counts.
    terminal.wait_for("aligned columns", |_| columns_are_aligned(&terminal, count));
    for (keys, text) in [
        ("\r", "─ Task 1 "),
        (ESC, "plain"),
        ("4", "[4 Stalls]"),
        ("\r", "─ Stall "),
    ] {
        terminal.send(keys);
        terminal.wait_for_text(text);
    }

    let output = String::from_utf8_lossy(&terminal.output()).into_owned();
    for raw in [
        "\x1b]0",
        "\x1b[31mred",
        "\x1b[35mfile",
        "\u{9b}",
        "\x7f",
        "\0",
    ] {
        assert!(!output.contains(raw), "{raw:?} reached the terminal");
    }
    for c in "\u{202e}\u{2066}\u{200b}\u{200d}\u{feff}\u{301}\u{ad}\u{fe0f}".chars() {
        assert!(!output.contains(c), "{c:?} reached the terminal");
    }
    assert!(
        output.contains("\\u{1b}]0;pwned\\u{7}title"),
        "shown escaped"
    );
    terminal.send("q");
    assert_eq!(terminal.wait_for_exit(), 0);
    terminal.wait_until_restored();
}

/// Every row has its columns where the head has them.
fn columns_are_aligned(terminal: &Terminal, rows: usize) -> bool {
    let lines = terminal.lines();
    let Some(head) = lines.iter().position(|line| line.contains("STATE")) else {
        return false;
    };
    let head = head as u16;
    let title: Vec<String> = (0..200).map(|x| terminal.cells(head, x..x + 1)).collect();
    let under = |column: &str| {
        let at = |x: &u16| title[usize::from(*x)..].concat().starts_with(column);
        (0..200).find(at)
    };
    let columns = [("STATE", "○ idle"), ("KIND", "task")];
    columns.iter().all(|(column, text)| {
        under(column).is_some_and(|x| {
            let mut below = (head + 1)..=(head + rows as u16);
            below.all(|row| terminal.cells(row, x..x + 8).starts_with(text))
        })
    })
}

/// Chains as deep and as wide as they may be, and what is over every edge.
fn waiting() -> Frame {
    const MAX: u64 = u64::MAX;
    let node = |depth| AwaitNode {
        depth,
        kind: 99,
        future: u32::MAX,
        location: u32::MAX,
        by_macro: true,
        link: -1,
    };
    let shape = |id, nodes| AwaitShape {
        id,
        nodes,
        by: 77,
        cut: u32::MAX,
    };
    let want = |n: u32| Want {
        node: n,
        kind: n as i32 % 11 - 1,
        resource: MAX - u64::from(n % 5),
        amount: MAX,
        given: MAX,
        task: Some(MAX - u64::from(n % 3)),
        due_ns: Some(MAX),
        object: u32::MAX,
        interest: 9,
        descriptor: Some(u32::MAX),
        job: n as i32 % 5 - 1,
    };
    let hold = |n: u32| Hold {
        node: n,
        resource: MAX - u64::from(n % 5),
        role: n as i32 % 5 - 1,
        amount: MAX,
        name: u32::MAX,
        certain: n.is_multiple_of(2),
    };
    let task = |(task, shape)| TaskWait {
        task,
        shape,
        wants: (0..400).map(want).collect(),
        holds: (0..400).map(hold).collect(),
        since_ns: MAX,
        read_at_ns: 0,
        certain: false,
        scheduled: false,
        wakers_known: false,
    };
    let thread = |tid| ThreadWait {
        tid,
        want: Some(want(7)),
        holds: (0..400).map(hold).collect(),
        task: Some(MAX),
        since_ns: MAX,
        function: u32::MAX,
        location: u32::MAX,
        gone: false,
    };
    let resource = |n| WaitResource {
        id: MAX - n,
        kind: n as i32 * 40 - 1,
        free: Some(MAX),
        total: Some(MAX),
        queued: Some(MAX),
        senders: Some(0),
        holders_known: false,
        name: u32::MAX,
        location: u32::MAX,
        gone: false,
    };
    Frame {
        now_ns: SECOND,
        await_shapes: vec![
            shape(1, (0..1_024).map(node).collect()),
            shape(
                2,
                [node(0)]
                    .into_iter()
                    .chain((0..1_000).map(|_| node(1)))
                    .collect(),
            ),
            shape(u32::MAX, vec![node(7)]),
        ],
        task_waits: [(0, 1), (MAX, 1), (MAX - 1, 2), (1 << 63, 2), (1, u32::MAX)]
            .map(task)
            .into(),
        thread_waits: vec![thread(0), thread(MAX)],
        wait_resources: (0..5).map(resource).collect(),
        waits_read: Some(WaitsRead {
            idle: 0,
            read: MAX,
            partial: MAX,
            without: MAX,
            without_reason: u32::MAX,
            complete: false,
            cpu_ns: MAX,
            not_read: vec![u32::MAX; 100],
        }),
        ..Frame::default()
    }
}

/// Numbers and shapes that make no sense.
#[expect(clippy::too_many_lines, reason = "a table")]
fn nonsense() -> Vec<Frame> {
    const MAX: u64 = u64::MAX;
    let tasks = Tasks {
        // Ids at the edges, twice, with everything at its maximum.
        id: vec![0, MAX, MAX, 1 << 63, 1],
        state: vec![99, -1, i32::MAX, 3, 3],
        kind: vec![99, -1, i32::MIN, 1, 1],
        name: vec![u32::MAX; 5],
        location: vec![u32::MAX; 5],
        parent: vec![MAX, MAX, MAX, 1, 1 << 63],
        spawned_at_ns: vec![MAX; 5],
        ended_at_ns: vec![0, MAX, 1, 0, 0],
        polls: vec![MAX; 5],
        busy_ns: vec![MAX; 5],
        scheduled_ns: vec![MAX; 5],
        longest_poll_ns: vec![MAX; 5],
        wakes: vec![MAX; 5],
        self_wakes: vec![MAX; 5],
        last_wake_at_ns: vec![MAX; 5],
        poll_started_at_ns: vec![MAX; 5],
        idle_since_ns: vec![MAX; 5],
        tid: vec![MAX; 5],
        waker_clones: vec![0; 5],
        waker_drops: vec![MAX; 5],
        size_bytes: vec![MAX; 5],
        runtime: vec![u32::MAX; 5],
        longest_scheduled_ns: vec![MAX; 5],
        ..Tasks::default()
    };
    let mut frames = vec![Frame {
        now_ns: SECOND,
        tasks: Some(tasks),
        ..Frame::default()
    }];
    frames.push(waiting());
    frames.push(Frame {
        now_ns: MAX,
        strings: vec![string(u32::MAX, "far"), string(0, "zero"), string(1, "one")],
        locations: vec![Location {
            id: u32::MAX,
            file: u32::MAX,
            line: 0,
            column: 0,
        }],
        runtimes: vec![Runtime {
            id: u32::MAX,
            workers: u32::MAX,
            live_tasks: MAX,
            global_queue: MAX,
            busy_ratio: Some(f64::NAN),
            mean_poll_ns: Some(MAX),
            blocking_queue: Some(MAX),
            blocking_threads: Some(MAX),
            ..Runtime::default()
        }],
        workers: (0..5_000)
            .map(|index| Worker {
                runtime: index % 7,
                index: u32::MAX - index,
                state: WorkerState::Stalled as i32,
                tid: Some(MAX),
                task: Some(MAX),
                poll_started_at_ns: Some(MAX),
                busy_ns: MAX,
                parks: MAX,
                polls: Some(MAX),
                local_queue: Some(MAX),
                ..Worker::default()
            })
            .collect(),
        threads: (0..5_000)
            .map(|tid| Thread {
                tid: MAX - tid,
                name: u32::MAX,
                state: -1,
                role: 77,
                user_ns: MAX,
                system_ns: MAX,
                run_queue_ns: Some(MAX),
                ..Thread::default()
            })
            .collect(),
        process: Some(Process {
            cpu_ns: MAX,
            resident_bytes: MAX,
            virtual_bytes: MAX,
            thread_count: MAX,
            agent_cpu_ns: MAX,
            throttled_ns: Some(MAX),
            ..Process::default()
        }),
        host: Some(Host {
            cpus: u32::MAX,
            cpu_ratio: f64::INFINITY,
            total_memory_bytes: 0,
            available_memory_bytes: MAX,
            load_1m: f64::NAN,
        }),
        lag: vec![LagSamples {
            runtime: u32::MAX,
            at_ns: vec![MAX, 0, 5],
            lag_ns: vec![MAX, MAX],
            pending_since_ns: Some(MAX),
        }],
        sites: vec![SpawnSite {
            location: u32::MAX,
            spawned: MAX,
            ended: MAX,
            polls: MAX,
            busy_ns: MAX,
            longest_poll_ns: MAX,
            poll_bucket: vec![u32::MAX, 0, 7],
            poll_count: vec![MAX, MAX],
            scheduled_bucket: vec![3],
            scheduled_count: vec![MAX, 1],
            ..SpawnSite::default()
        }],
        stalls: (0..2_000).map(stall).collect(),
        modules: vec![Module {
            id: 1,
            path: 1,
            build_id: vec![0; 20],
            base: MAX,
        }],
        loss: Some(Loss {
            tasks: MAX,
            watchdog_late_ns: MAX,
            ..Loss::default()
        }),
        forgotten_tasks: vec![MAX, 0, 17],
        snapshot_complete: true,
        ..Frame::default()
    });
    // Time runs backwards.
    frames.push(Frame {
        now_ns: 1,
        stalls: (0..10).map(stall).collect(),
        ..Frame::default()
    });
    frames
}

fn stall(id: u64) -> Stall {
    const MAX: u64 = u64::MAX;
    Stall {
        id: MAX - id,
        state: (id % 5) as i32,
        scope: 9,
        runtime: Some(u32::MAX),
        worker: Some(u32::MAX),
        tid: Some(MAX),
        task: Some(MAX),
        location: u32::MAX,
        name: u32::MAX,
        started_at_ns: MAX - id,
        duration_ns: MAX,
        cause: (id % 9) as i32 - 1,
        cpu_ns: Some(MAX),
        run_queue_ns: Some(MAX),
        observed_ns: Some(0),
        stacks: vec![StackSample {
            first_at_ns: MAX,
            last_at_ns: 0,
            count: u32::MAX,
            frames: (0..300)
                .map(|n| CodeAddress {
                    module: (n % 3) as u32,
                    offset: MAX - n,
                })
                .collect(),
            truncated: true,
            cause: i32::MAX,
            syscall: u32::MAX,
            evidence: i32::MAX,
        }],
        samples: u32::MAX,
        lock_address: Some(MAX),
        lock_holder_tid: Some(MAX),
        ..Stall::default()
    }
}

#[test]
fn nonsense_cannot_end_the_screen() {
    let mut peer = Peer::start();
    let mut terminal = Terminal::start(&[&peer.address.to_string()], 120, 40);
    let mut watcher = peer.watcher();
    for frame in nonsense() {
        watcher.send(frame);
    }
    // Whatever is made of it, every view and page can be drawn.
    terminal.wait_for("the session", |screen| screen.contains("agent 0.1"));
    for (key, text) in [
        ("1", "[1 Overview]"),
        ("2", "[2 Tasks]"),
        ("3", "[3 Workers]"),
        ("4", "[4 Stalls]"),
        ("5", "[5 Resources]"),
        ("6", "[6 Threads]"),
        ("8", "[8 Waits]"),
        ("t", "[8 Waits]"),
        ("t", "[8 Waits]"),
    ] {
        terminal.send(key);
        terminal.wait_for_text(text);
        terminal.send("G>i\r\ra\r");
        terminal.send(ESC);
        terminal.send("e");
        terminal.send(ESC);
        terminal.send(ESC);
        terminal.send("?");
        terminal.wait_for_text("this help");
        terminal.send(ESC);
        terminal.wait_for("no help", |screen| !screen.contains("this help"));
    }
    // An agent that goes on sensibly is seen.
    watcher.send(Frame {
        now_ns: 2 * SECOND,
        strings: vec![string(2, "sensible")],
        tasks: Some(Tasks {
            name: vec![2],
            ..tasks(&[42])
        }),
        ..Frame::default()
    });
    terminal.send("2");
    terminal.send("/sensible\r");
    terminal.wait_for("a row", |screen| screen.contains("filter sensible (1 of"));
    terminal.send("q");
    assert_eq!(terminal.wait_for_exit(), 0);
    terminal.wait_until_restored();
}

#[test]
fn a_malformed_frame_is_said() {
    let mut peer = Peer::start();
    let mut terminal = Terminal::start(&[&peer.address.to_string()], 120, 40);
    // Columns of other lengths than the ids; at the next attempt all is well.
    peer.watcher().send(Frame {
        now_ns: SECOND,
        tasks: Some(Tasks {
            id: vec![1, 2, 3],
            state: vec![1],
            polls: vec![1, 2, 3, 4, 5],
            ..Tasks::default()
        }),
        ..Frame::default()
    });
    terminal.wait_for_text("sent a message that cannot be understood");
    peer.watcher().send(Frame {
        now_ns: SECOND,
        snapshot_complete: true,
        strings: vec![string(1, "sensible")],
        tasks: Some(tasks(&[42])),
        ..Frame::default()
    });
    terminal.send("2");
    terminal.wait_for_text("sensible");
    terminal.send("q");
    assert_eq!(terminal.wait_for_exit(), 0);
    terminal.wait_until_restored();
}

#[cfg(unix)]
#[test]
fn a_binary_that_is_a_pipe_is_not_opened() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let own = std::env::current_exe().unwrap();
    let mut peer = Peer::start();
    let mut terminal = Terminal::start(&[&peer.address.to_string()], 120, 40);
    let mut watcher = peer.watcher();
    let stack = |module, offset| StackSample {
        first_at_ns: 1,
        last_at_ns: 1,
        count: 1,
        frames: vec![CodeAddress { module, offset }],
        ..StackSample::default()
    };
    let stall = |id, module| Stall {
        id,
        state: StallState::Ended as i32,
        started_at_ns: 1,
        duration_ns: 100 * MS,
        stacks: vec![stack(module, 0x1234)],
        ..Stall::default()
    };
    let module = |id, path| Module {
        id,
        path,
        build_id: vec![7; 20],
        base: 0,
    };
    watcher.send(Frame {
        now_ns: SECOND,
        snapshot_complete: true,
        strings: vec![
            string(1, pipe.to_str().unwrap()),
            string(2, own.to_str().unwrap()),
        ],
        modules: vec![module(1, 1), module(2, 2)],
        stalls: vec![stall(1, 1), stall(2, 2)],
        ..Frame::default()
    });
    terminal.send("4t");
    terminal.wait_for("both stalls", |screen| screen.contains("0 live · 2 ended"));
    terminal.send("\r");
    // Both have their answer, so the thread that looks names up is alive.
    terminal.wait_for("an answer", |screen| {
        screen.contains("it is not a file") || screen.contains("is not the binary")
    });
    terminal.send(ESC);
    terminal.wait_for("the list", |screen| screen.contains("LENGTH"));
    terminal.send("j\r");
    terminal.wait_for("an answer", |screen| {
        screen.contains("it is not a file") || screen.contains("is not the binary")
    });
    terminal.send("q");
    assert_eq!(terminal.wait_for_exit(), 0);
}

/// Tasks of a service under way: `count` of them, named by their kind.
fn crowd(count: u64) -> Frame {
    const SITES: u32 = 50;
    let site = |id: &u64| (id % u64::from(SITES)) as u32 + 1;
    let ids: Vec<u64> = (1..=count).collect();
    let names = (1..=SITES).map(|n| string(n, &format!("connection of kind {n}")));
    let files = (1..=SITES).map(|n| string(SITES + n, &format!("src/service/part_{n}.rs")));
    Frame {
        now_ns: SECOND,
        snapshot_complete: true,
        strings: names.chain(files).collect(),
        locations: (1..=SITES)
            .map(|n| Location {
                id: n,
                file: SITES + n,
                line: n,
                column: 5,
            })
            .collect(),
        tasks: Some(Tasks {
            name: ids.iter().map(site).collect(),
            location: ids.iter().map(site).collect(),
            ..tasks(&ids)
        }),
        ..Frame::default()
    }
}

/// A tenth of them was polled once more.
fn progress(count: u64, tick: u64) -> Frame {
    let ids: Vec<u64> = (1..=count).filter(|id| id % 10 == tick % 10).collect();
    let mut columns = tasks(&ids);
    columns.polls = vec![tick; ids.len()];
    columns.busy_ns = ids.iter().map(|id| tick * (id % 1_000) * 1_000).collect();
    columns.name.clear();
    columns.location.clear();
    Frame {
        now_ns: SECOND + tick * 100 * MS,
        tasks: Some(columns),
        ..Frame::default()
    }
}

#[test]
fn a_hundred_thousand_tasks_can_be_looked_at() {
    const COUNT: u64 = 100_000;
    let mut peer = Peer::start();
    let mut terminal = Terminal::start(&[&peer.address.to_string()], 120, 40);
    let mut watcher = peer.watcher();
    watcher.send(crowd(COUNT));
    terminal.send("2");
    terminal.wait_for("all tasks", |screen| screen.contains("100k live"));
    for tick in 1..=5 {
        watcher.send(progress(COUNT, tick));
    }
    terminal.send("G");
    terminal.wait_for("the last row", |screen| {
        screen.contains("row 100000 of 100000")
    });
    terminal.send("/\"kind 7\"\r");
    terminal.wait_for("a filter", |screen| screen.contains("(2000 of 100000;"));
    terminal.send("q");
    assert_eq!(terminal.wait_for_exit(), 0);
}

/// CPU time of a process so far.
fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11..13]
        .iter()
        .map(|n| n.parse::<u64>().unwrap())
        .sum();
    Duration::from_millis(ticks * 10)
}

fn resident_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1024
}

/// What the screen costs with 100,000 tasks and 100,000 polls a second:
/// `cargo test --release --test screen hostile -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn cost_of_a_hundred_thousand_tasks() {
    const COUNT: u64 = 100_000;
    let mut peer = Peer::start();
    let mut terminal = Terminal::start(&[&peer.address.to_string()], 120, 40);
    let sent = Instant::now();
    let mut watcher = peer.watcher();
    watcher.send(crowd(COUNT));
    terminal.send("2");
    terminal.wait_for("rows", |screen| screen.contains("connection of kind"));
    println!(
        "first rows {:.0?} after the agent began to send",
        sent.elapsed()
    );

    let pid = terminal.pid();
    let (began, cpu) = (Instant::now(), cpu_time(pid));
    let mut latencies = Vec::new();
    for tick in 1..=200 {
        watcher.send(progress(COUNT, tick));
        let due = began + Duration::from_millis(100) * tick as u32;
        // A key in the middle of the pause, at a changing phase.
        std::thread::sleep(Duration::from_millis(tick * 7 % 60));
        let (key, title) = [("3", "[3 Workers]"), ("2", "[2 Tasks]")][tick as usize % 2];
        let pressed = Instant::now();
        terminal.send(key);
        while !terminal.text().contains(title) {
            assert!(pressed.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_micros(200));
        }
        latencies.push(pressed.elapsed());
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    let share = cpu_time(pid).saturating_sub(cpu).as_secs_f64() / began.elapsed().as_secs_f64();
    latencies.sort();
    println!(
        "key to screen p50 {:.1?} p99 {:.1?} max {:.1?}; {:.1} % of a core; {} MiB",
        latencies[100],
        latencies[198],
        latencies[199],
        share * 100.0,
        resident_mib(pid),
    );
}
