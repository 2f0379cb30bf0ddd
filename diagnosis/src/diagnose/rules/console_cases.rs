//! Targets that have console-subscriber only: what tokio-console's lints flag,
//! and its users' false alarms, which must stay silent.

use looptop_wire::proto::{self, Frame};

use crate::{
    diagnose::{Engine, Window},
    model::{Capability, Model, TaskKind, TaskState, fixtures},
};

const MS: u64 = 1_000_000;
const NOW: u64 = 10_000;

/// Capabilities of a target without an agent.
fn hello() -> proto::HelloResponse {
    let mut hello = fixtures::hello();
    let supplied = [
        Capability::Tasks,
        Capability::TaskNames,
        Capability::Wakes,
        Capability::Wakers,
        Capability::Resources,
        Capability::Console,
    ];
    for capability in &mut hello.capabilities {
        capability.available = supplied.contains(&capability.kind());
    }
    hello
}

/// The rules that hold for a task after `ms` more, with frames as seldom as
/// console-subscriber sends them; `at` makes the task's columns at a time in ms.
fn rules(ms: u64, at: impl Fn(u64) -> proto::Tasks) -> Vec<&'static str> {
    let mut model = Model::new(&hello());
    let mut engine = Engine::new(Window::Live);
    let text = |id, text: &str| proto::InternedString {
        id,
        text: text.into(),
    };
    for now in (NOW..=NOW + ms).step_by(500) {
        let columns = at(now);
        let or = |given: Vec<i32>, otherwise: i32| match given {
            none if none.is_empty() => vec![otherwise],
            given => given,
        };
        let frame = Frame {
            now_ns: now * MS,
            strings: vec![text(1, "src/app.rs"), text(2, "worker")],
            locations: vec![proto::Location {
                id: 4,
                file: 1,
                line: 40,
                column: 5,
            }],
            snapshot_complete: true,
            tasks: Some(proto::Tasks {
                id: vec![5],
                location: vec![4],
                name: vec![2],
                kind: or(columns.kind.clone(), TaskKind::Task.into()),
                state: or(columns.state.clone(), TaskState::Idle.into()),
                ..columns
            }),
            ..Frame::default()
        };
        model.apply(&frame).unwrap();
        engine.update(&model);
    }
    engine.findings().iter().map(|f| f.rule).collect()
}

fn idle_without_waker() -> proto::Tasks {
    proto::Tasks {
        polls: vec![3],
        waker_clones: vec![3],
        waker_drops: vec![3],
        ..proto::Tasks::default()
    }
}

fn in_first_poll() -> proto::Tasks {
    proto::Tasks {
        polls: vec![1],
        state: vec![TaskState::Running.into()],
        poll_started_at_ns: vec![NOW * MS + 1],
        ..proto::Tasks::default()
    }
}

/// Wakes itself `rate` times a second.
fn spinning(now: u64, rate: u64) -> proto::Tasks {
    let n = (now - NOW) * rate / 1_000;
    proto::Tasks {
        polls: vec![n],
        wakes: vec![n],
        self_wakes: vec![n],
        waker_clones: vec![1],
        waker_drops: vec![0],
        ..proto::Tasks::default()
    }
}

#[test]
fn what_deserves_a_warning_gets_it() {
    assert_eq!(rules(3_000, |_| idle_without_waker()), ["lost-waker"]);
    let mut found = rules(3_000, |_| in_first_poll());
    found.sort_unstable();
    assert_eq!(found, ["blocked-worker", "never-yielded"]);
    assert_eq!(
        rules(3_000, |now| spinning(now, 50_000)),
        ["self-wake-spin"]
    );
}

#[test]
fn a_blocking_task_may_block() {
    let blocking = |columns: proto::Tasks| proto::Tasks {
        kind: vec![TaskKind::Blocking.into()],
        ..columns
    };
    for (name, found) in [
        ("runs", rules(3_000, |_| blocking(in_first_poll()))),
        ("no waker", rules(3_000, |_| blocking(idle_without_waker()))),
        (
            "large closure",
            rules(3_000, |_| {
                blocking(proto::Tasks {
                    size_bytes: vec![64 << 10],
                    ..proto::Tasks::default()
                })
            }),
        ),
    ] {
        assert_eq!(found, [""; 0], "{name}");
    }
}

#[test]
fn block_on_waits_without_a_waker_of_its_own() {
    let found = rules(5_000, |_| proto::Tasks {
        kind: vec![TaskKind::BlockOn.into()],
        ..idle_without_waker()
    });
    assert_eq!(found, [""; 0]);
}

#[test]
fn a_task_that_yields_between_pieces_of_work_does_not_spin() {
    // Since tokio 1.23 a yield is deferred, and its wake counts as no one's.
    for rate in [10, 200, 5_000] {
        assert_eq!(rules(4_000, |now| spinning(now, rate)), [""; 0], "{rate}/s");
        let unseen = |now| proto::Tasks {
            wakes: vec![0],
            self_wakes: vec![0],
            ..spinning(now, rate)
        };
        assert_eq!(rules(4_000, unseen), [""; 0], "{rate}/s unseen");
    }
}

#[test]
fn a_completed_task_has_no_warnings() {
    let ended = |columns: proto::Tasks| proto::Tasks {
        state: vec![TaskState::Completed.into()],
        ended_at_ns: vec![(NOW - 1_000) * MS + 1],
        ..columns
    };
    assert_eq!(rules(4_000, |_| ended(idle_without_waker())), [""; 0]);
    assert_eq!(rules(4_000, |_| ended(in_first_poll())), [""; 0]);
}

#[test]
fn samples_of_the_host_do_not_age_a_poll() {
    let mut model = Model::new(&hello());
    let mut engine = Engine::new(Window::Live);
    for now in (NOW..NOW + 6_000).step_by(250) {
        // The target speaks once a second, each time from within another poll.
        let speaks = now % 1_000 == 0;
        let tasks = proto::Tasks {
            id: vec![5],
            kind: vec![TaskKind::Task.into()],
            state: vec![TaskState::Running.into()],
            polls: vec![now],
            poll_started_at_ns: vec![now * MS],
            ..proto::Tasks::default()
        };
        let frame = Frame {
            now_ns: now * MS,
            tasks: speaks.then_some(tasks),
            loss: speaks.then(proto::Loss::default),
            process: (!speaks).then(proto::Process::default),
            ..Frame::default()
        };
        model.apply(&frame).unwrap();
        engine.update(&model);
        let found: Vec<&str> = engine.findings().iter().map(|f| f.rule).collect();
        assert_eq!(found, [""; 0], "{now} ms");
    }
}

#[test]
fn a_task_that_just_began_has_no_warnings() {
    // Never polled: it waits for its first turn, without a waker.
    let unpolled = |_| proto::Tasks {
        state: vec![TaskState::Scheduled.into()],
        polls: vec![0],
        waker_clones: vec![0],
        waker_drops: vec![0],
        ..proto::Tasks::default()
    };
    assert_eq!(rules(5_000, unpolled), [""; 0]);
    // The picture of a restarted target: seen for the first time without one.
    assert_eq!(rules(0, |_| idle_without_waker()), [""; 0]);
    // Between two owners at every look, but polled in between.
    let passing = |now: u64| proto::Tasks {
        polls: vec![now / 100],
        ..idle_without_waker()
    };
    assert_eq!(rules(5_000, passing), [""; 0]);
}
