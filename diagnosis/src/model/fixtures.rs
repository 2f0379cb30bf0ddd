//! Small models for tests of everything that reads one.

use looptop_wire::{instant, intern::Interner, proto};

mod waits;

pub use waits::waits;

use super::{Capability, Model, Moment};

/// A target with every insight.
pub fn hello() -> proto::HelloResponse {
    let capabilities = (1..=18).filter_map(|n| Capability::try_from(n).ok());
    proto::HelloResponse {
        protocol: 1,
        session: "fixture".into(),
        name: "lab".into(),
        pid: 4211,
        cpus: 4,
        agent_version: "0.1.0".into(),
        tokio_version: "1.54.1".into(),
        stall_threshold_ns: 10_000_000,
        watchdog_interval_ns: 5_000_000,
        capabilities: capabilities
            .map(|kind| proto::Capability {
                kind: kind.into(),
                available: true,
                reason: String::new(),
            })
            .collect(),
        ..proto::HelloResponse::default()
    }
}

/// An empty frame.
pub fn frame(now: Moment) -> proto::Frame {
    proto::Frame {
        now_ns: now.0,
        ..proto::Frame::default()
    }
}

/// The first frame of a service with four workers, the last of which sits in a
/// poll of task 4 that began 843 ms ago and computes; 12 tasks in all.
#[expect(clippy::too_many_lines, reason = "a table")]
pub fn starving_frame(now: Moment) -> proto::Frame {
    let mut interner = Interner::default();
    let ms = |n: u64| n * 1_000_000;
    let name = [
        "http::conn",
        "http::conn",
        "ticker",
        "report",
        "cache::sweep",
    ];
    let task = |i: u64| name[i as usize % name.len()];
    let ids: Vec<u64> = (1..=12).collect();
    let stalled = |id: u64| id == 4;
    let column = |f: &dyn Fn(u64) -> u64| ids.iter().map(|id| f(*id)).collect::<Vec<u64>>();
    let tasks = proto::Tasks {
        id: ids.clone(),
        state: ids.iter().map(|id| i32::from(state_of(*id))).collect(),
        kind: vec![proto::TaskKind::Task.into(); ids.len()],
        name: ids
            .iter()
            .map(|id| interner.string(task(*id - 1)))
            .collect(),
        location: ids
            .iter()
            .map(|id| interner.location("demo/src/service.rs", 40 + (*id - 1) as u32 % 5, 9))
            .collect(),
        parent: column(&|id| u64::from(id > 1)),
        spawned_at_ns: column(&|id| ms(id * 10)),
        ended_at_ns: column(&|id| if id == 12 { ms(900) } else { 0 }),
        polls: column(&|id| id * 1_000),
        busy_ns: column(&|id| ms(id * 3)),
        scheduled_ns: column(&|id| ms(id)),
        longest_poll_ns: column(&|id| ms(id)),
        wakes: column(&|id| id * 900),
        self_wakes: column(&|id| id * 10),
        last_wake_at_ns: column(&|_| instant::write(Some(now.0.saturating_sub(ms(50))))),
        poll_started_at_ns: column(&|id| instant::write(stalled(id).then(|| now.0 - ms(843)))),
        idle_since_ns: column(&|id| {
            let idle = state_of(id) == proto::TaskState::Idle;
            instant::write(idle.then(|| now.0 - ms(id * 37)))
        }),
        tid: column(&|id| 5_000 + id % 4),
        size_bytes: column(&|id| id * 128),
        tokio_id: column(&|id| id + 100),
        runtime: vec![1; ids.len()],
        ..proto::Tasks::default()
    };
    let workers = (0..4)
        .map(|index| proto::Worker {
            runtime: 0,
            index,
            state: if index == 3 {
                proto::WorkerState::Stalled
            } else {
                proto::WorkerState::Parked
            }
            .into(),
            tid: Some(5_000 + u64::from(index)),
            task: (index == 3).then_some(4),
            poll_started_at_ns: (index == 3).then(|| now.0 - ms(843)),
            busy_ns: ms(100 + u64::from(index) * 700),
            parks: 400,
            polls: Some(10_000),
            steals: Some(7),
            local_queue: Some(u64::from(index) * 3),
            ..proto::Worker::default()
        })
        .collect();
    proto::Frame {
        now_ns: now.0,
        snapshot_complete: true,
        runtimes: vec![proto::Runtime {
            id: 0,
            name: interner.string("main"),
            flavor: proto::Flavor::MultiThread.into(),
            workers: 4,
            live_tasks: 11,
            global_queue: 48,
            blocking_threads: Some(2),
            idle_blocking_threads: Some(1),
            blocking_queue: Some(0),
            busy_ratio: Some(0.31),
            ..proto::Runtime::default()
        }],
        workers,
        threads: (0..5)
            .map(|n| proto::Thread {
                tid: 5_000 + n,
                name: interner.string(if n < 4 {
                    "tokio-rt-worker"
                } else {
                    "looptop-agent"
                }),
                state: if n == 3 {
                    proto::ThreadState::Running
                } else {
                    proto::ThreadState::Sleeping
                }
                .into(),
                role: if n < 4 {
                    proto::ThreadRole::Worker
                } else {
                    proto::ThreadRole::Agent
                }
                .into(),
                user_ns: ms(100 * (n + 1)),
                system_ns: ms(10),
                run_queue_ns: Some(ms(5)),
                voluntary_switches: Some(100),
                involuntary_switches: Some(3),
                ..proto::Thread::default()
            })
            .collect(),
        process: Some(proto::Process {
            cpu_ns: ms(2_000),
            resident_bytes: 48 << 20,
            thread_count: 7,
            open_files: Some(23),
            agent_cpu_ns: ms(4),
            ..proto::Process::default()
        }),
        host: Some(proto::Host {
            cpus: 4,
            cpu_ratio: 0.42,
            total_memory_bytes: 16 << 30,
            available_memory_bytes: 9 << 30,
            load_1m: 1.7,
        }),
        lag: vec![proto::LagSamples {
            runtime: 0,
            at_ns: (1..100)
                .map(|n| now.0.saturating_sub(ms(n * 100)))
                .collect(),
            lag_ns: (1..100)
                .map(|n| if n < 4 { ms(400) } else { ms(1) / 5 })
                .collect(),
            pending_since_ns: None,
        }],
        sites: (0..5)
            .map(|n| proto::SpawnSite {
                location: interner.location("demo/src/service.rs", 40 + n, 9),
                kind: proto::TaskKind::Task.into(),
                spawned: 3,
                ended: 0,
                polls: 1_000 * u64::from(n + 1),
                busy_ns: ms(u64::from(n) * 100),
                longest_poll_ns: ms(u64::from(n)),
                poll_bucket: vec![60, 80],
                poll_count: vec![990, 10],
                ..proto::SpawnSite::default()
            })
            .collect(),
        stalls: vec![proto::Stall {
            id: 1,
            state: proto::StallState::Live.into(),
            scope: proto::StallScope::OnePoll.into(),
            runtime: Some(0),
            worker: Some(3),
            tid: Some(5_003),
            task: Some(4),
            name: interner.string("report"),
            location: interner.location("demo/src/service.rs", 43, 9),
            started_at_ns: now.0 - ms(843),
            duration_ns: ms(843),
            cause: proto::Cause::Computing.into(),
            cpu_ns: Some(ms(820)),
            run_queue_ns: Some(ms(3)),
            observed_ns: Some(ms(833)),
            samples: 160,
            ..proto::Stall::default()
        }],
        strings: interner.take_strings(),
        locations: interner.take_locations(),
        tasks: Some(tasks),
        loss: Some(proto::Loss::default()),
        ..proto::Frame::default()
    }
}

/// What [`starving`] is as seen from outside: nobody counts, nothing has a name or a
/// spawn location, and the stack was taken by a stop.
pub fn outside_hello() -> proto::HelloResponse {
    let mut hello = hello();
    hello.agent_version.clear();
    hello.watchdog_interval_ns = 10_000_000;
    for capability in &mut hello.capabilities {
        use Capability::{Console, Lag, ScheduleLatency, TaskNames, Wakers, Wakes, WorkerPolls};
        let why = match capability.kind() {
            Console => "no console-subscriber is in the program",
            Lag => "a probe for it would have to run in the program",
            TaskNames => "names are not read from outside",
            Wakes | Wakers | ScheduleLatency => "wakes leave no trace to be read from outside",
            WorkerPolls => "how often workers poll is not read from outside",
            _ => continue,
        };
        capability.available = false;
        capability.reason = format!("{why}; looptop_agent::init() in the program would show it");
    }
    hello
}

/// The first frame of it.
#[allow(clippy::too_many_lines, reason = "a frame with all that is seen")]
pub fn outside_frame(now: Moment) -> proto::Frame {
    let mut interner = Interner::default();
    let seen = starving_frame(now);
    let tasks = seen.tasks.unwrap_or_default();
    let kept = |string: &proto::InternedString| {
        let id = interner.string(&string.text);
        assert_eq!(id, string.id);
    };
    seen.strings.iter().for_each(kept);
    let serve = "hyper_util::server::conn::auto::UpgradeableConnection<hyper_util::rt::tokio::\
                 TokioIo<tokio::net::tcp::stream::TcpStream>, tower::util::map_response::\
                 MapResponse<app::middleware::Audit<axum::routing::Router<app::Store>>>>";
    let futures = [
        (
            interner.type_name("app::report::render::{{closure}}"),
            2,
            40,
        ),
        (interner.type_name(serve), 2, 0),
        (interner.type_name("app::cache::sweep::{{closure}}"), 1, 77),
    ];
    let future = |id: &u64| match id {
        4 => futures[0],
        id if id % 2 == 0 => futures[1],
        _ => futures[2],
    };
    let ids = tasks.id.clone();
    let column = |of: &dyn Fn(&u64) -> u32| ids.iter().map(of).collect::<Vec<u32>>();
    let places: Vec<u32> = [40, 77]
        .map(|line| interner.location("src/app.rs", line, 1))
        .to_vec();
    let stalls = seen.stalls.into_iter().map(|stall| proto::Stall {
        name: 0,
        location: 0,
        stacks: vec![proto::StackSample {
            count: 1,
            cause: proto::Cause::Computing.into(),
            evidence: proto::Evidence::Stopped.into(),
            frames: vec![proto::CodeAddress {
                module: 0,
                offset: 0x4_2000,
            }],
            ..proto::StackSample::default()
        }],
        ..stall
    });
    proto::Frame {
        stalls: stalls.collect(),
        lag: Vec::new(),
        sites: futures
            .iter()
            .zip(1..)
            .map(|((future, ..), n)| proto::SpawnSite {
                future: *future,
                kind: proto::TaskKind::Task.into(),
                spawned: 5 * n,
                ended: n,
                ..proto::SpawnSite::default()
            })
            .collect(),
        runtimes: seen
            .runtimes
            .into_iter()
            .map(|runtime| proto::Runtime {
                live_tasks: 1_004,
                listed_tasks: Some(11),
                torn: true,
                found_by: proto::RuntimeFound::Stack.into(),
                global_queue: 0,
                blocking_threads: None,
                idle_blocking_threads: None,
                blocking_queue: None,
                busy_ratio: None,
                ..runtime
            })
            .collect(),
        workers: seen
            .workers
            .into_iter()
            .map(|worker| proto::Worker {
                parks: 0,
                polls: None,
                steals: None,
                local_queue: None,
                ..worker
            })
            .collect(),
        outside: Some(proto::Outside {
            looks: 2_000,
            read: 31,
            sampled: 0,
            stopped: 2,
            stopped_in_call: 1,
            held_p50_ns: Some(27_000),
            held_max_ns: Some(91_000),
            no_sampler: interner.string("the kernel's perf_event_paranoid is 4"),
            cpu_ns: now.0 / 50,
            listings: 20,
            listing_ns: Some(400_000),
            unlisted_tasks: 0,
            no_stop: 0,
        }),
        tasks: Some(proto::Tasks {
            id: ids.clone(),
            state: tasks.state,
            kind: tasks.kind,
            tid: tasks.tid,
            tokio_id: tasks.tokio_id,
            runtime: tasks.runtime,
            ended_at_ns: tasks.ended_at_ns,
            poll_started_at_ns: tasks.poll_started_at_ns,
            future: column(&|id| future(id).0),
            future_certainty: column(&|id| future(id).1)
                .into_iter()
                .map(|certainty| certainty as i32)
                .collect(),
            future_location: column(&|id| match future(id).2 {
                40 => places[0],
                77 => places[1],
                _ => 0,
            }),
            ..proto::Tasks::default()
        }),
        strings: interner.take_strings(),
        locations: interner.take_locations(),
        ..seen
    }
}

fn state_of(id: u64) -> proto::TaskState {
    match id {
        4 => proto::TaskState::Running,
        5..8 => proto::TaskState::Scheduled,
        12 => proto::TaskState::Completed,
        _ => proto::TaskState::Idle,
    }
}

/// The model of [`starving_frame`], 20 s into the session.
pub fn starving() -> Model {
    let mut model = Model::new(&hello());
    let applied = model.apply(&starving_frame(Moment(20_000_000_000)));
    assert_eq!(applied, Ok(()));
    model
}
