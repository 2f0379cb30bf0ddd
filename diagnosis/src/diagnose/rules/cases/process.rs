//! The blocking pool, memory, descriptors, gauges, and what a shutdown waits for.

use super::*;

#[test]
fn growing_queue_only_while_it_grows() {
    for (value, expected) in [
        ((|ms| ms as f64) as fn(u64) -> f64, true),
        (|ms| 1e6 + ms as f64, true),
        (|ms| (ms / 2_000 * 50) as f64, true),
        (|ms| (ms / 3_000 * 5) as f64, true),
        (|ms| if ms < 20_000 { 0.0 } else { 500.0 }, false),
        (|ms| ms.min(20_000) as f64, false),
        (|ms| (ms % 2_000) as f64, false),
        (|ms| (ms / 5_000) as f64, false),
        (|_| 900.0, false),
    ] {
        let mut session = Session::new();
        session.run(40_000, |ms| Frame {
            gauges: vec![proto::Gauge {
                name: 3,
                value: value(ms),
            }],
            ..Frame::default()
        });
        assert_eq!(session.rules() == ["growing-queue"], expected);
    }
}

#[test]
fn blocking_pool_full_only_at_its_limit() {
    // The limit where it is known, threads at a time in ms, idle ones, jobs queued.
    type Threads = fn(u64) -> u64;
    let four: Threads = |_| 4;
    for (what, most, threads, idle, queue, ms, expected) in [
        ("at a known limit", Some(4), four, 0, 9, 3_000, true),
        ("below a known limit", Some(512), four, 0, 9, 3_000, false),
        ("at an unknown limit", None, four, 0, 9, 3_500, true),
        (
            "one job that waits for its thread to run",
            None,
            |_| 1,
            0,
            1,
            3_500,
            false,
        ),
        ("a pool that grows", None, |ms| ms / 100, 0, 9, 3_500, false),
        ("idle threads", Some(4), four, 1, 9, 3_000, false),
        ("no job waits", Some(4), four, 0, 0, 3_000, false),
        ("for a moment", Some(4), four, 0, 9, 300, false),
    ] {
        let mut session = Session::new();
        session.run(ms, |now| Frame {
            runtimes: vec![proto::Runtime {
                max_blocking_threads: most,
                blocking_threads: Some(threads(now)),
                idle_blocking_threads: Some(idle),
                blocking_queue: Some(queue),
                ..proto::Runtime::default()
            }],
            ..Frame::default()
        });
        assert_eq!(
            session.rules() == ["blocking-pool-full"],
            expected,
            "{what}"
        );
    }
}

#[test]
fn a_pool_that_waits_for_itself_is_told_from_a_busy_one() {
    type Queue = fn(u64) -> u64;
    let grows: Queue = |ms| 4 + ms / 1_000;
    // Jobs queued at a time in ms, and the CPU of the pool's threads in percent.
    for (what, queue, cpu, expected) in [
        ("nothing moves", grows, 0, true),
        ("jobs compute", grows, 90, false),
        ("jobs end", |ms| 40 + ms / 100 % 7, 0, false),
    ] {
        let mut session = Session::new();
        session.run(4_000, |now| Frame {
            runtimes: vec![proto::Runtime {
                max_blocking_threads: Some(4),
                blocking_threads: Some(4),
                idle_blocking_threads: Some(0),
                blocking_queue: Some(queue(now)),
                ..proto::Runtime::default()
            }],
            threads: vec![proto::Thread {
                tid: 90,
                role: proto::ThreadRole::Blocking.into(),
                user_ns: now * MS * cpu / 100,
                ..proto::Thread::default()
            }],
            ..Frame::default()
        });
        let found = session.only();
        assert_eq!(found.rule, "blocking-pool-full", "{what}");
        assert_eq!(
            found.title.contains("wait for the pool"),
            expected,
            "{what}"
        );
    }
}

#[test]
fn memory_growth_is_neither_a_warm_up_nor_a_load() {
    const MIB: u64 = 1 << 20;
    type Bytes = fn(u64) -> u64;
    let steady: Bytes = |ms| 100 * MIB + ms * MIB / 1_000;
    // Memory at a time in ms, live tasks, the first look and its length in s.
    for (what, bytes, tasks, from, seconds, expected) in [
        ("steady", steady, 5, 200, 70, Some(Severity::Warning)),
        (
            "slow",
            |ms| 900 * MIB + ms * MIB / 1_000,
            5,
            200,
            70,
            Some(Severity::Warning),
        ),
        ("the first minute", steady, 5, 1, 70, None),
        ("too short", steady, 5, 200, 30, None),
        (
            "fills a cache",
            |ms| 100 * MIB + (ms - 200_000).min(30_000) * MIB / 1_000,
            5,
            200,
            70,
            None,
        ),
        (
            "goes up and down",
            |ms| 100 * MIB + ms % 7_000 * MIB / 100,
            5,
            200,
            70,
            None,
        ),
        ("grows with its tasks", steady, 0, 200, 70, None),
        (
            "since the start, seen for 10 s",
            steady,
            5,
            900,
            10,
            Some(Severity::Warning),
        ),
        ("once, long ago", |_| 900 * MIB, 5, 900, 10, None),
    ] {
        let mut session = Session::new();
        session.ms = from * 1_000;
        session.run(seconds * 1_000, |now| {
            let live = if tasks == 0 { now / 1_000 } else { tasks };
            Frame {
                process: Some(proto::Process {
                    resident_bytes: 3 * bytes(now),
                    heap_bytes: Some(bytes(now)),
                    started_heap_bytes: Some(100 * MIB),
                    ..proto::Process::default()
                }),
                ..waiting_tasks(now, live, &|_| 1_000, &|_| now)
            }
        });
        let found = session.engine.findings().first().map(|f| f.severity);
        assert_eq!(found, expected, "{what}: {:?}", session.rules());
    }
}

#[test]
fn descriptors_near_their_limit() {
    for (open, limit, spins, expected) in [
        (100, Some(1_024), false, None),
        (950, Some(1_024), false, Some(Severity::Warning)),
        (1_024, Some(1_024), false, Some(Severity::Critical)),
        (1_023, Some(1_024), true, Some(Severity::Critical)),
        (1_024, None, false, None),
    ] {
        let mut session = Session::new();
        session.run(3_000, |now| {
            let polls = if spins { now * 50 } else { 3 };
            Frame {
                process: Some(proto::Process {
                    open_files: Some(open),
                    open_file_limit: limit,
                    ..proto::Process::default()
                }),
                ..task(proto::Tasks {
                    polls: vec![polls],
                    wakes: vec![polls],
                    self_wakes: vec![polls],
                    ..proto::Tasks::default()
                })
            }
        });
        let found = session.engine.findings().first().map(|f| f.severity);
        assert_eq!(found, expected, "{open} of {limit:?}");
        if spins {
            assert!(
                session.only().title.contains("asks again"),
                "{}",
                session.only().title
            );
        }
    }
}

#[test]
fn what_a_window_is_too_short_for_is_not_judged() {
    let gauge = |ms: u64| Frame {
        gauges: vec![proto::Gauge {
            name: 3,
            value: ms as f64,
        }],
        ..Frame::default()
    };
    let mut session = Session::new();
    session.run(6_000, gauge);
    let unjudged = session.engine.not_judged(&session.model);
    let rules: Vec<_> = unjudged.iter().map(|(rule, _)| *rule).collect();
    assert_eq!(rules, ["task-leak", "growing-queue"]);
    assert!(
        unjudged[1].1.starts_with("it needs 30 s, and "),
        "{unjudged:?}"
    );
    session.run(80_000, gauge);
    assert_eq!(session.rules(), ["growing-queue"]);
    assert_eq!(session.engine.not_judged(&session.model), []);
}

#[test]
fn shutdown_waits_only_while_somebody_waits() {
    let stack = |offset| proto::StackSample {
        frames: vec![proto::CodeAddress { module: 1, offset }],
        ..proto::StackSample::default()
    };
    let names = |offset, functions: &[&str], culprit: &str| recorded::NamedStack {
        addresses: vec![recorded::Address { module: 1, offset }],
        frames: functions
            .iter()
            .map(|function| recorded::NamedFrame {
                function: (*function).to_owned(),
                ..recorded::NamedFrame::default()
            })
            .collect(),
        culprit: (!culprit.is_empty()).then(|| recorded::NamedCulprit {
            function: culprit.to_owned(),
            file: "src/archive.rs".to_owned(),
            line: 12,
            call: "std::thread::sleep".to_owned(),
            call_kind: "Sleep".to_owned(),
            ..recorded::NamedCulprit::default()
        }),
        ..recorded::NamedStack::default()
    };
    let run = |began: Option<u64>, waits: Vec<proto::StackSample>| {
        let mut session = Session::new();
        session.feed(Frame {
            names: vec![
                names(
                    1,
                    &[
                        "std::thread::sleep",
                        "app::compress",
                        "blocking::pool::Inner::run",
                    ],
                    "app::compress",
                ),
                names(
                    2,
                    &["Condvar::wait", "BlockingPool::shutdown", "main"],
                    "main",
                ),
                names(3, &["epoll_wait", "worker::run"], ""),
            ],
            ..Frame::default()
        });
        session.run(8_000, |_| Frame {
            runtimes: vec![proto::Runtime {
                shutdown_began_at_ns: began,
                shutdown_waits: waits.clone(),
                gone: began.is_some(),
                ..proto::Runtime::default()
            }],
            ..Frame::default()
        });
        session
    };
    let session = run(Some(1_000 * MS), vec![stack(1), stack(2), stack(3)]);
    let finding = session.only();
    assert_eq!(
        finding.title,
        "runtime was shut down 8 s ago and waits for app::compress (std::thread::sleep)"
    );
    assert_eq!(finding.location, "src/archive.rs:12");
    for (began, waits, why) in [
        (Some(1_000), vec![1, 3], "shut down in the background"),
        (Some(1_000), vec![], "over"),
        (Some(5_000), vec![1, 2], "only just"),
        (None, vec![1, 2], "of another runtime"),
    ] {
        let session = run(
            began.map(|ms| ms * MS),
            waits.into_iter().map(stack).collect(),
        );
        assert_eq!(session.rules(), [""; 0], "{why}");
    }
}
