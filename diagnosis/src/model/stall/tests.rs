use looptop_symbols::CallKind;

use super::{log::MAX_ENDED, *};

fn stall(id: u64, state: proto::StallState, ms: u64) -> proto::Stall {
    proto::Stall {
        id,
        state: state.into(),
        duration_ns: ms * 1_000_000,
        ..proto::Stall::default()
    }
}

#[test]
fn a_stall_moves_from_live_to_ended_and_keeps_its_names() {
    let mut log = StallLog::default();
    log.update(&stall(1, proto::StallState::Live, 20));
    let resolved = Arc::new(Resolved::default());
    log.resolve(StallId(1), Arc::clone(&resolved));
    log.update(&stall(2, proto::StallState::Live, 10));
    log.update(&stall(1, proto::StallState::Ended, 70));
    assert_eq!(log.live().map(|s| s.id).collect::<Vec<_>>(), [StallId(2)]);
    let ended = log.ended().next().unwrap();
    assert_eq!(ended.age(Moment(u64::MAX)), Duration::from_millis(70));
    assert_eq!(ended.resolved, Some(resolved));
    log.update(&stall(1, proto::StallState::Ended, 71));
    assert_eq!(
        (log.len(), log.total_ended),
        (2, 1),
        "reported twice, counted once"
    );
}

#[test]
fn a_stall_that_was_none_leaves_nothing() {
    let withdrawn = |id| proto::Stall {
        withdrawn: true,
        ..stall(id, proto::StallState::Ended, 70)
    };
    let mut log = StallLog::default();
    log.update(&stall(1, proto::StallState::Live, 20));
    log.update(&stall(2, proto::StallState::Ended, 20));
    log.update(&stall(3, proto::StallState::Live, 20));
    for id in [1, 2, 4] {
        log.update(&withdrawn(id));
    }
    assert_eq!((log.len(), log.total_ended), (1, 0));
    assert!(log.get(StallId(3)).is_some());
}

#[test]
fn the_stack_that_is_shown_was_taken_in_what_the_cause_says() {
    use StallScope::{OnePoll, UpTo61Polls};
    let sample = |cause: Cause, syscall, count| StackSample {
        cause: cause.into(),
        syscall,
        count,
        last_at_ns: u64::from(count),
        ..StackSample::default()
    };
    let (read, write) = (3, 4);
    // Cause and call of the stall, its stacks, which of them is shown, and
    // whether it names somebody.
    for (scope, cause, call, stacks, shown, named) in [
        (
            UpTo61Polls,
            Cause::SystemCall,
            read,
            vec![
                sample(Cause::Lock, 5, 9),
                sample(Cause::SystemCall, read, 1),
            ],
            1,
            true,
        ),
        (
            UpTo61Polls,
            Cause::SystemCall,
            read,
            vec![sample(Cause::Computing, 0, 2), sample(Cause::Lock, 5, 1)],
            0,
            false,
        ),
        (
            OnePoll,
            Cause::SystemCall,
            read,
            vec![sample(Cause::SystemCall, write, 2)],
            0,
            false,
        ),
        (
            UpTo61Polls,
            Cause::Computing,
            0,
            vec![sample(Cause::Lock, 5, 1)],
            0,
            false,
        ),
        (
            OnePoll,
            Cause::Computing,
            0,
            vec![sample(Cause::SystemCall, write, 1)],
            0,
            true,
        ),
        (
            UpTo61Polls,
            Cause::Page,
            0,
            vec![sample(Cause::Page, 0, 1)],
            0,
            true,
        ),
        // An agent that does not say what the thread did.
        (
            UpTo61Polls,
            Cause::Lock,
            5,
            vec![sample(Cause::Unknown, 0, 1), sample(Cause::Unknown, 0, 2)],
            1,
            true,
        ),
    ] {
        let mut stall = Stall::new(
            &proto::Stall {
                scope: scope.into(),
                cause: cause.into(),
                syscall: call,
                stacks: stacks.clone(),
                ..proto::Stall::default()
            },
            None,
        );
        assert_eq!(stall.telling_stack(), Some(&stacks[shown]), "{cause:?}");
        stall.resolved = Some(Arc::new(Resolved {
            culprit: Some(Culprit::default()),
            ..Resolved::default()
        }));
        assert_eq!(stall.culprit().is_some(), named, "{cause:?} {stacks:?}");
    }
}

#[test]
fn a_poll_inside_block_in_place_is_known_by_its_frames() {
    for (function, file, expected) in [
        (
            "blocking::block_in_place",
            "tokio-1.54.1/src/task/blocking.rs",
            true,
        ),
        ("worker::block_in_place", "", true),
        ("tokio::task::blocking::block_in_place", "", true),
        ("block_in_place::block_in_place", "", true),
        ("block_in_place", "tokio-1.54.1/src/task/blocking.rs", true),
        ("runtime_mt::exit_runtime", "", true),
        ("worker::block_in_place", "src/worker.rs", false),
        ("pool::block_in_place", "", false),
        ("worker::run", "", false),
    ] {
        let mut stall = Stall::new(&proto::Stall::default(), None);
        let frame = StackFrame {
            function: function.to_owned(),
            file: file.to_owned(),
            ..StackFrame::default()
        };
        stall.resolved = Some(Arc::new(Resolved {
            frames: vec![StackFrame::default(), frame],
            ..Resolved::default()
        }));
        assert_eq!(stall.is_in_place(), expected, "{function} {file}");
    }
}

#[test]
fn tasks_of_one_location_are_named_by_what_they_run() {
    let mut log = StallLog::default();
    let runs = |future: &str| {
        Arc::new(Resolved {
            future: Some(future.to_owned()),
            ..Resolved::default()
        })
    };
    for (id, location, future, expected) in [
        (1, 7, "app::serve", Some("app::serve")),
        (2, 7, "app::serve", Some("app::serve")),
        (3, 8, "app::poll", Some("app::poll")),
        // One place that spawns anything says nothing of what it spawns.
        (4, 8, "app::other", None),
        (5, 8, "app::poll", None),
    ] {
        log.update(&proto::Stall {
            location,
            ..stall(id, proto::StallState::Ended, 10)
        });
        log.resolve(StallId(id), runs(future));
        assert_eq!(log.future_of(LocationId(location)), expected, "{future}");
    }
    assert_eq!(log.future_of(LocationId(9)), None);
}

#[test]
fn the_log_is_bounded() {
    let mut log = StallLog::default();
    for id in 0..5_000 {
        log.update(&stall(id, proto::StallState::Ended, 10));
    }
    assert_eq!((log.len(), log.total_ended), (MAX_ENDED, 5_000));
    assert_eq!(log.ended().next().unwrap().id, StallId(4_999));
}

#[test]
fn the_hosts_share_is_not_the_codes_fault() {
    let mut wire = stall(1, proto::StallState::Ended, 100);
    wire.run_queue_ns = Some(80_000_000);
    let stall = Stall::new(&wire, None);
    assert_eq!(stall.own_age(Moment(0)), Duration::from_millis(20));
}

#[test]
fn a_place_is_never_empty() {
    let culprit = |function: &str, file: &str, line, within: Option<&str>| Culprit {
        function: function.into(),
        file: file.into(),
        line,
        within: within.map(Into::into),
        ..Culprit::default()
    };
    for (culprit, expected) in [
        (
            culprit("app::f", "src/a.rs", 7, None),
            "app::f (src/a.rs:7)",
        ),
        (culprit("app::f", "src/a.rs", 0, None), "app::f (src/a.rs)"),
        (culprit("app::f", "", 0, None), "app::f"),
        (culprit("app::f", "", 7, None), "app::f"),
        (culprit("", "src/a.rs", 7, None), "src/a.rs:7"),
        (
            culprit("app::f", "", 0, Some("bcrypt::hash")),
            "bcrypt::hash called by app::f",
        ),
    ] {
        assert_eq!(culprit.sentence(), expected);
    }
    let written = |culprit: Culprit| Culprit {
        written: Some("src/a.rs:3".into()),
        ..culprit
    };
    for (culprit, expected) in [
        (
            written(culprit("app::f", "", 0, None)),
            "app::f (async code at src/a.rs:3)",
        ),
        (
            written(culprit("app::f", "src/a.rs", 7, None)),
            "app::f (src/a.rs:7)",
        ),
        (
            written(culprit("async code at src/a.rs:3", "", 0, None)),
            "async code at src/a.rs:3",
        ),
    ] {
        assert_eq!(culprit.sentence(), expected);
    }
    let foreign = Culprit {
        foreign: true,
        ..culprit("bcrypt::hash", "", 0, None)
    };
    assert_eq!(foreign.sentence(), "bcrypt::hash, of a dependency");
    assert_eq!(foreign.location(), None);
}

#[test]
fn a_call_is_known_without_a_culprit_and_never_waits_while_it_computes() {
    let call = |kind| {
        Some(Call {
            kind,
            name: "call".to_owned(),
        })
    };
    for (cause, kind, expected) in [
        (Cause::Sleeping, CallKind::Sleep, true),
        (Cause::Lock, CallKind::NestedExecutor, true),
        (Cause::Computing, CallKind::Condition, false),
        (Cause::Computing, CallKind::Compute, true),
    ] {
        let mut stall = Stall::new(&proto::Stall::default(), None);
        stall.cause = cause;
        stall.resolved = Some(Arc::new(Resolved {
            call: call(kind),
            ..Resolved::default()
        }));
        assert_eq!(stall.call().is_some(), expected, "{cause:?} in {kind:?}");
        assert_eq!(stall.culprit(), None);
    }
}

#[test]
fn a_stack_that_contradicts_the_cause_names_nobody() {
    let stack = |innermost: &str, call: Option<CallKind>| Resolved {
        frames: vec![StackFrame {
            file: innermost.to_owned(),
            ..StackFrame::default()
        }],
        culprit: Some(Culprit {
            function: "app::work".to_owned(),
            file: "src/app.rs".to_owned(),
            line: 7,
            call: call.map(|kind| Call {
                kind,
                name: String::new(),
            }),
            ..Culprit::default()
        }),
        ..Resolved::default()
    };
    for (cause, innermost, call, named) in [
        (Cause::Sleeping, "std/src/thread/local.rs", None, false),
        (Cause::Lock, "src/app.rs", None, false),
        (Cause::Sleeping, "sysdeps/clock_nanosleep.c", None, true),
        (Cause::Sleeping, "", None, true),
        (Cause::Sleeping, "writev.c", Some(CallKind::Network), false),
        (Cause::Lock, "futex.c", Some(CallKind::Network), true),
        (Cause::Sleeping, "sleep.c", Some(CallKind::Database), true),
        (Cause::Sleeping, "src/asm.rs", Some(CallKind::Sleep), true),
        (Cause::Computing, "src/app.rs", None, true),
        (Cause::SystemCall, "src/asm.rs", None, true),
    ] {
        let mut stall = Stall::new(&proto::Stall::default(), None);
        stall.cause = cause;
        stall.resolved = Some(Arc::new(stack(innermost, call)));
        assert_eq!(stall.culprit().is_some(), named, "{cause:?} {innermost}");
    }
}
