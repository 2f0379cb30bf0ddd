//! A process that is seen from outside: nobody counts polls or wakes, and tasks are known
//! by the type of their future.

use super::*;

/// Of the future `worker`.
const FUTURE: u32 = 2;

fn session() -> Session {
    let mut session = Session::of(&fixtures::outside_hello());
    session.feed(Frame {
        snapshot_complete: true,
        outside: Some(proto::Outside::default()),
        ..Frame::default()
    });
    session
}

/// Tasks that are new or changed, in this state; when each was spawned, in ms, where
/// that is known.
fn tasks(
    ids: std::ops::Range<u64>,
    state: TaskState,
    spawned: Option<fn(u64) -> u64>,
) -> proto::Tasks {
    let ids: Vec<u64> = ids.collect();
    let spawned = spawned.map(|at| ids.iter().map(|id| at(*id) * MS).collect());
    proto::Tasks {
        state: vec![state.into(); ids.len()],
        kind: vec![TaskKind::Task.into(); ids.len()],
        future: vec![FUTURE; ids.len()],
        future_location: vec![5; ids.len()],
        spawned_at_ns: spawned.unwrap_or_default(),
        id: ids,
        ..proto::Tasks::default()
    }
}

fn frame(tasks: proto::Tasks, spawned: u64, ended: u64) -> Frame {
    Frame {
        sites: vec![proto::SpawnSite {
            future: FUTURE,
            kind: TaskKind::Task.into(),
            spawned,
            ended,
            ..proto::SpawnSite::default()
        }],
        tasks: (!tasks.id.is_empty()).then_some(tasks),
        ..Frame::default()
    }
}

#[test]
fn task_leak_by_the_type_of_the_future() {
    // Whether the ages are known, whether each listing finds that all have run, and how
    // many of ten that came have ended.
    for (what, ages, served, ended, expected) in [
        ("one a second", true, false, 0, true),
        ("that were there before", false, false, 0, false),
        ("that are served", true, true, 0, false),
        ("of which half end", true, false, 5, false),
    ] {
        let mut session = session();
        let spawned = ages.then_some((|id| id * 1_000) as fn(u64) -> u64);
        session.run(110_000, |ms| {
            let n = ms / 1_000;
            let changed = match (ms % 1_000, served) {
                (0, true) => tasks(2..n + 1, TaskState::Idle, spawned),
                (0, false) => tasks(n..n + 1, TaskState::Idle, spawned),
                _ => proto::Tasks::default(),
            };
            frame(changed, n, n * ended / 10)
        });
        assert_eq!(session.rules() == ["task-leak"], expected, "{what}");
        if expected {
            let found = session.only();
            assert_eq!(found.location, "src/app.rs:50");
            assert_eq!(found.function.as_deref(), Some("worker"));
            assert!(
                found
                    .title
                    .starts_with("tasks of worker (src/app.rs:50) never end: "),
                "{}",
                found.title
            );
            assert!(
                found.title.contains("seen idle only, for up to"),
                "{}",
                found.title
            );
        }
    }
}

#[test]
fn task_flood_by_the_type_of_the_future() {
    for (waiting, expected) in [(TaskState::Scheduled, true), (TaskState::Idle, false)] {
        let mut session = session();
        session.run(4_000, |ms| {
            let n = ms * 2;
            frame(tasks(n..n + 200, waiting, Some(|id| id / 2)), n, 0)
        });
        assert_eq!(session.rules() == ["task-flood"], expected, "{waiting:?}");
        if expected {
            let title = &session.only().title;
            assert!(
                title.starts_with("tasks of worker (src/app.rs:50) flood the loop: at least 2000"),
                "{title}"
            );
        }
    }
}

#[test]
fn who_looks_in_vain_calls_nothing_healthy() {
    let stalls = crate::model::Capability::Stalls;
    for (watches, workers, run, expected) in [
        (
            true,
            2,
            true,
            "nothing starves the loop: 0 tasks, 2 workers; seen from outside, which shows no lag and no wakes",
        ),
        (
            false,
            2,
            true,
            "stalls cannot be watched from outside: stripped",
        ),
        (true, 0, true, "no thread was seen to drive a tokio runtime"),
        (true, 2, false, "no thread drives a tokio runtime any more"),
    ] {
        let mut hello = fixtures::outside_hello();
        for capability in &mut hello.capabilities {
            if capability.kind() == stalls && !watches {
                capability.available = false;
                capability.reason = "stripped".to_owned();
            }
        }
        let mut model = Model::new(&hello);
        for second in 1..4 {
            model
                .apply(&Frame {
                    now_ns: second * 1_000 * MS,
                    snapshot_complete: true,
                    outside: Some(proto::Outside::default()),
                    workers: (0..workers)
                        .map(|index| proto::Worker {
                            index,
                            tid: run.then_some(70 + u64::from(index)),
                            ..proto::Worker::default()
                        })
                        .collect(),
                    ..Frame::default()
                })
                .unwrap();
        }
        let engine = Engine::new(Window::Live);
        assert_eq!(engine.verdict(&model).sentence, expected);
    }
}

#[test]
fn a_worker_that_never_rests_is_a_word_in_a_healthy_verdict() {
    for (busy, seconds, expected) in [
        (
            98,
            8,
            "; worker 0 was busy for 98 % of the last 5 s with short polls, of worker just now",
        ),
        (50, 8, ""),
    ] {
        let mut session = session();
        session.feed(frame(tasks(0..1, TaskState::Running, None), 1, 0));
        session.run(seconds * 1_000, |ms| Frame {
            workers: vec![proto::Worker {
                tid: Some(70),
                busy_ns: ms * MS * busy / 100,
                ..proto::Worker::default()
            }],
            ..Frame::default()
        });
        let verdict = session.engine.verdict(&session.model);
        assert_eq!(verdict.level, crate::diagnose::Level::Healthy);
        let found = verdict.sentence.contains("short polls");
        assert_eq!(found, !expected.is_empty(), "{}", verdict.sentence);
        assert!(verdict.sentence.contains(expected), "{}", verdict.sentence);
    }
}
