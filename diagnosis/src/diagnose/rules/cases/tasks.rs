//! Tasks: how they poll, wait, wake, become more, and end.

use super::*;

#[test]
fn never_yielded_only_while_the_first_poll_computes() {
    let first_poll = |polls| {
        move |_| {
            task(proto::Tasks {
                polls: vec![polls],
                poll_started_at_ns: vec![1_000 * MS + 1],
                state: vec![TaskState::Running.into()],
                ..proto::Tasks::default()
            })
        }
    };
    for (polls, cause, ms, expected) in [
        (1, Cause::Computing, 2_000, true),
        (1, Cause::Computing, 800, false),
        (2, Cause::Computing, 2_000, false),
        (1, Cause::Sleeping, 2_000, false),
        (1, Cause::Page, 2_000, false),
        (1, Cause::StarvedByHost, 2_000, false),
        (1, Cause::Unknown, 2_000, false),
    ] {
        let mut session = Session::new();
        let live = proto::Stall {
            state: proto::StallState::Live.into(),
            ..stall(cause, 0, 1_000)
        };
        session.run(ms, |now| Frame {
            stalls: vec![live.clone()],
            ..first_poll(polls)(now)
        });
        assert_eq!(
            session.rules().contains(&"never-yielded"),
            expected,
            "{polls} polls, {cause:?}, {ms} ms"
        );
    }
}

#[test]
fn a_first_poll_that_let_go_of_its_worker_has_not_failed_to_yield() {
    // As in block_in_place: the agent watches, and reports no stall.
    let mut session = Session::new();
    session.run(3_000, |_| {
        task(proto::Tasks {
            polls: vec![1],
            poll_started_at_ns: vec![1_000 * MS + 1],
            state: vec![TaskState::Running.into()],
            ..proto::Tasks::default()
        })
    });
    assert_eq!(session.rules(), [""; 0]);
}

#[test]
fn self_wake_spin_only_without_outside_wakes() {
    for (rate, own, expected) in [
        (50_000, 100, true),
        (50_000, 10, false),
        (5_000, 100, false),
    ] {
        let mut session = Session::new();
        session.run(3_000, |ms| {
            let polls = ms * rate / 1_000;
            task(proto::Tasks {
                polls: vec![polls],
                wakes: vec![polls],
                self_wakes: vec![polls * own / 100],
                ..proto::Tasks::default()
            })
        });
        assert_eq!(
            session.rules() == ["self-wake-spin"],
            expected,
            "{rate}/s, {own} % own"
        );
    }
}

#[test]
fn lost_waker_only_when_idle_for_long() {
    for (state, wakers, ms, expected) in [
        (TaskState::Idle, (3, 3), 2_000, true),
        (TaskState::Idle, (3, 3), 500, false),
        (TaskState::Idle, (3, 2), 2_000, false),
        (TaskState::Scheduled, (3, 3), 2_000, false),
    ] {
        let mut session = Session::new();
        session.run(ms, |_| {
            task(proto::Tasks {
                state: vec![state.into()],
                polls: vec![2],
                waker_clones: vec![wakers.0],
                waker_drops: vec![wakers.1],
                ..proto::Tasks::default()
            })
        });
        assert_eq!(
            session.rules() == ["lost-waker"],
            expected,
            "{state:?} {wakers:?} {ms} ms"
        );
    }
}

#[test]
fn task_flood_needs_a_queue() {
    for (spawns, queue, expected) in [(2_000, 900, true), (2_000, 3, false), (500, 900, false)] {
        let mut session = Session::new();
        session.run(3_000, |ms| Frame {
            runtimes: vec![proto::Runtime {
                global_queue: queue,
                ..proto::Runtime::default()
            }],
            ..site(ms * spawns / 1_000, ms * spawns / 1_000)
        });
        assert_eq!(
            session.rules() == ["task-flood"],
            expected,
            "{spawns}/s, {queue} queued"
        );
    }
}

#[test]
fn task_leak_only_of_tasks_that_wait_and_become_more() {
    type Time = fn(u64) -> u64;
    let every_second: Time = |n| 1_000 + n * 1_000;
    let hour: Time = |n| 1_000 + n * 60_000;
    // The demonstration's scale, seconds, when it is looked at first, tasks, and
    // when each was spawned.
    for (what, scale, seconds, from, count, spawned, served, expected) in [
        ("one a second", 0.0, 95, 1, 200, every_second, false, true),
        (
            "one a minute, seen for 5 s",
            0.0,
            5,
            3_500,
            60,
            hour,
            false,
            true,
        ),
        (
            "served connections",
            0.0,
            95,
            1,
            200,
            every_second,
            true,
            false,
        ),
        (
            "a ramp that has just begun",
            0.0,
            8,
            1,
            200,
            |n| 1_000 + n * 70,
            false,
            false,
        ),
        (
            "workers of the start",
            0.0,
            95,
            1,
            30,
            |_| 1_000,
            false,
            false,
        ),
        ("few", 0.0, 95, 1, 12, |n| 1_000 + n * 7_000, false, false),
        (
            "in the lab",
            30.0,
            5,
            1,
            200,
            |n| 1_000 + n * 40,
            false,
            true,
        ),
    ] {
        let mut session = Session::scaled(scale);
        session.ms = from * 1_000;
        session.run(seconds * 1_000, |now| {
            let woken = |n| if served { now } else { spawned(n) };
            waiting_tasks(now, count, &spawned, &woken)
        });
        assert_eq!(session.rules() == ["task-leak"], expected, "{what}");
    }
}

#[test]
fn tasks_that_end_are_no_leak() {
    for (ended_percent, expected) in [(5, true), (50, false)] {
        let mut session = Session::new();
        session.run(95_000, |now| {
            let spawned = |n| 1_000 + n * 1_000;
            let waiting = waiting_tasks(now, 200, &spawned, &spawned);
            Frame {
                tasks: waiting.tasks,
                ..site(1_000, 10 * ended_percent)
            }
        });
        assert_eq!(
            session.rules() == ["task-leak"],
            expected,
            "{ended_percent} %"
        );
    }
}

#[test]
fn slow_schedule_counts_recent_delays_only() {
    let delays = |slow, fast| {
        let mut frame = site(10, 10);
        let bucket = |ms: u64| looptop_wire::histogram::bucket(ms * MS) as u32;
        frame.sites[0].scheduled_bucket = vec![bucket(1), bucket(300)];
        frame.sites[0].scheduled_count = vec![fast, slow];
        frame
    };
    let mut session = Session::new();
    session.run(3_000, |ms| delays(ms / 10, 100));
    assert_eq!(session.rules(), ["slow-schedule"]);
    let mut session = Session::new();
    session.run(3_000, |ms| delays(5, ms));
    assert_eq!(session.rules(), [""; 0], "a slow past does not count");
    let mut session = Session::new();
    session.run(500, |ms| delays(500, ms));
    assert_eq!(session.rules(), [""; 0], "nor one before the first look");
}

#[test]
fn unreaped_tasks_only_while_they_become_more() {
    type Kept = fn(u64) -> u64;
    // Results kept, spawned, the first look and its length in s.
    for (what, kept, from, seconds, expected) in [
        (
            "a JoinSet that nobody reaps",
            (|ms| ms / 5) as Kept,
            1,
            35,
            true,
        ),
        (
            "a batch",
            |ms| {
                if ms % 12_000 < 9_000 {
                    ms % 12_000 / 5
                } else {
                    0
                }
            },
            1,
            40,
            false,
        ),
        ("some that stay", |_| 900, 1, 40, false),
        ("few", |ms| ms / 1_000, 1, 40, false),
        ("since the start, seen for 5 s", |ms| ms / 5, 600, 5, true),
    ] {
        for by_type in [false, true] {
            let mut session = Session::new();
            session.ms = from * 1_000;
            session.run(seconds * 1_000, |now| {
                let site = proto::SpawnSite {
                    location: 3,
                    kind: TaskKind::Task.into(),
                    spawned: now / 5 + 2_000,
                    ended: now / 5 + 2_000,
                    unreaped: (!by_type).then(|| kept(now)),
                    unreaped_bytes: Some(kept(now) * 512),
                    first_spawn_at_ns: Some(1_000 * MS),
                    ..proto::SpawnSite::default()
                };
                let cells = proto::EndedCells {
                    r#type: 2,
                    count: kept(now),
                    bytes: kept(now) * 512,
                    counted_at_ns: now / 1_000 * 1_000 * MS,
                    poll: Some(proto::CodeAddress {
                        module: 1,
                        offset: 64,
                    }),
                    first_count: kept(1_000),
                    first_counted_at_ns: 1_000 * MS,
                    location: 0,
                };
                Frame {
                    sites: vec![site],
                    ended_cells: by_type.then_some(cells).into_iter().collect(),
                    ..Frame::default()
                }
            });
            let found = session.rules() == ["unreaped-tasks"];
            assert_eq!(
                found,
                expected,
                "{what}, by type {by_type}: {:?}",
                session.rules()
            );
        }
    }
}

#[test]
fn tasks_that_idle_are_a_word_in_a_healthy_verdict() {
    const QUIET: &str =
        "nothing starves the loop: 2 tasks, 2 workers; 2 tasks idle for over 5 s, up to 10 s";
    for (seconds, read, expected) in [
        (
            3,
            false,
            "nothing starves the loop: 2 tasks, 2 workers".to_owned(),
        ),
        (10, true, QUIET.to_owned()),
        // One of them may wait for ever: nobody has looked.
        (10, false, format!("{QUIET} (where they wait was not read)")),
    ] {
        let mut session = Session::new();
        session.run(seconds * 1_000, |now| Frame {
            waits_read: read.then(|| proto::WaitsRead {
                idle: 2,
                read: 2,
                complete: true,
                ..proto::WaitsRead::default()
            }),
            ..waiting_tasks(now, 2, &|_| 1_000, &|_| 1_000)
        });
        let verdict = session.engine.verdict(&session.model);
        assert_eq!(verdict.sentence, expected);
    }
}

#[test]
fn large_and_boxed_futures() {
    for (size, original, expected) in [
        (65_536, 0, Some("large-future")),
        (8, 65_536, Some("large-future")),
        (8, 12_000, Some("auto-boxed-future")),
        (8, 3_000, None),
        (12_000, 12_000, None),
    ] {
        let mut session = Session::new();
        session.feed(task(proto::Tasks {
            size_bytes: vec![size],
            original_size_bytes: vec![original],
            ..proto::Tasks::default()
        }));
        assert_eq!(
            session.rules().first().copied(),
            expected,
            "{size} {original}"
        );
    }
}
