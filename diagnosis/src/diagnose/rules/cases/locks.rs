//! Who waits for a lock, and who holds it.

use super::*;

#[test]
fn lock_convoy_needs_two_who_wait_at_once_for_a_lock() {
    use CallKind::{Channel, Condition, Join, Lock};
    // What the stack shows, when the second begins after the first, its thread, how
    // long both wait, and the address of their lock.
    for (what, call, later, thread, ms, address, expected) in [
        ("two for one lock", Some(Lock), 20, 71, 150, Some(7), true),
        ("two of one line", Some(Lock), 20, 71, 150, None, true),
        (
            "one after the other",
            Some(Lock),
            200,
            71,
            150,
            Some(7),
            false,
        ),
        (
            "a single reader, again",
            Some(Lock),
            200,
            70,
            150,
            Some(7),
            false,
        ),
        ("for a moment", Some(Lock), 20, 71, 30, Some(7), false),
        ("of a channel", Some(Channel), 20, 71, 150, Some(7), false),
        (
            "of threads to join",
            Some(Join),
            20,
            71,
            150,
            Some(7),
            false,
        ),
        (
            "of a condition",
            Some(Condition),
            20,
            71,
            150,
            Some(7),
            false,
        ),
        ("a parked thread", None, 20, 71, 150, Some(7), false),
    ] {
        let mut session = Session::new();
        let waiter = |at, tid| proto::Stall {
            tid: Some(tid),
            worker: Some((tid - 70) as u32),
            lock_address: address,
            ..stall(Cause::Lock, ms, at)
        };
        let names = [400, 400 + later].map(|id| (id, stack(&["app::count"], 7, call)));
        session.feed_named(
            stalls([waiter(400, 70), waiter(400 + later, thread)]),
            &names,
        );
        let rule = if expected {
            "lock-convoy"
        } else {
            "blocked-worker"
        };
        let found = session.engine.findings();
        let found: Vec<_> = found.iter().map(|f| (f.rule, f.count)).collect();
        assert_eq!(found, [(rule, 2)], "{what}");
    }
}

#[test]
fn the_holder_comes_before_the_waiters() {
    let writer = proto::Stall {
        syscall: 4,
        object: 5,
        ..stall(Cause::SystemCall, 300, 400)
    };
    let waiter = |id: u64, tid| proto::Stall {
        id,
        tid: Some(tid),
        worker: Some(1),
        ..stall(Cause::Lock, 280, 410)
    };
    let mut session = Session::new();
    let text = |id, text: &str| proto::InternedString {
        id,
        text: text.into(),
    };
    let frame = Frame {
        strings: vec![text(4, "write"), text(5, "fd 1 pipe:[77]")],
        ..stalls([writer, waiter(2, 71), waiter(3, 72)])
    };
    let line = |call| stack(&["app::handle_query"], 33, call);
    let lock = Some(CallKind::Lock);
    session.feed_named(
        frame,
        &[(400, line(None)), (2, line(lock)), (3, line(lock))],
    );
    let found = session.only();
    assert_eq!(
        (found.rule, found.cause, found.count),
        ("blocked-worker", Some(Cause::SystemCall), 3)
    );
    assert_eq!(
        found.title,
        "worker 0 was blocked 300 ms writing to standard output, a pipe whose reader is slow, in \
         app::handle_query (src/app.rs:33); 2 polls wait for the lock that it holds"
    );
}

#[test]
fn who_writes_a_log_and_who_waits_to_are_one_finding_without_lines_too() {
    for (call, expected) in [(CallKind::Output, 1), (CallKind::Lock, 2)] {
        let writer = stall(Cause::SystemCall, 300, 400);
        let waiter = proto::Stall {
            id: 2,
            tid: Some(71),
            worker: Some(1),
            ..stall(Cause::Lock, 120, 410)
        };
        let mut session = Session::new();
        let in_handler = |call| stack(&["app::handle_query"], 0, Some(call));
        session.feed_named(
            stalls([writer, waiter]),
            &[(400, in_handler(CallKind::Output)), (2, in_handler(call))],
        );
        let found = session.engine.findings();
        assert_eq!(found.len(), expected, "{call:?}: {found:?}");
        assert_eq!(found[0].cause, Some(Cause::SystemCall));
    }
}

#[test]
fn all_who_wait_for_one_lock_are_one_finding() {
    // Two readers, and a writer that waits on the word beside theirs, without names.
    let waiter = |tid: u64, address| proto::Stall {
        id: tid,
        tid: Some(tid),
        worker: Some((tid - 70) as u32),
        lock_address: Some(address),
        location: tid as u32 - 68,
        ..stall(Cause::Lock, 1_200, 400)
    };
    let mut session = Session::new();
    session.ms = 3_000;
    let reader = || stack(&["app::record_tip"], 9, Some(CallKind::Lock));
    session.feed_named(
        stalls([waiter(70, 64), waiter(71, 64), waiter(72, 68)]),
        &[(70, reader()), (71, reader())],
    );
    let found = session.only();
    assert_eq!(
        (found.rule, found.severity, found.count),
        ("lock-convoy", Severity::Critical, 3)
    );
    assert_eq!(found.function.as_deref(), Some("app::record_tip"));
}

#[test]
fn a_holder_that_is_no_worker_is_named() {
    let addresses = vec![proto::CodeAddress {
        module: 1,
        offset: 64,
    }];
    let waiter = |id: u64, tid: u64| proto::Stall {
        id,
        tid: Some(tid),
        worker: Some((tid - 70) as u32),
        lock_address: Some(9),
        holder: Some(proto::LockHolder {
            tid: 99,
            certain: true,
            doing: 4,
            stack: Some(proto::StackSample {
                frames: addresses.clone(),
                count: 1,
                ..proto::StackSample::default()
            }),
            ..proto::LockHolder::default()
        }),
        ..stall(Cause::Lock, 200, 400)
    };
    let count = || stack(&["app::count_visit"], 9, Some(CallKind::Lock));
    for (waiters, rule) in [(&[70, 71][..], "lock-convoy"), (&[70], "blocked-worker")] {
        let mut session = Session::new();
        let frame = Frame {
            strings: vec![proto::InternedString {
                id: 4,
                text: "clock_nanosleep".into(),
            }],
            ..stalls(waiters.iter().map(|tid| waiter(*tid, *tid)))
        };
        let names: Vec<_> = waiters.iter().map(|tid| (*tid, count())).collect();
        session.feed_named(frame, &names);
        session.model.resolve(
            &crate::model::StackOf::Addresses(addresses.clone().into()),
            Arc::new(stack(&["app::save"], 21, None)),
        );
        session.feed(Frame::default());
        let found = session.only();
        assert_eq!(found.rule, rule);
        assert_eq!(found.function.as_deref(), Some("app::count_visit"));
        let held = "held by thread 99 in app::save (src/app.rs:21), sleeping";
        assert!(found.title.contains(held), "{}", found.title);
        assert!(found.title.contains("app::count_visit"), "{}", found.title);
    }
}

#[test]
fn lock_convoy_of_tasks_is_no_bounded_batch() {
    let one_parent: fn(u64) -> u64 = |_| 900;
    let own_parents: fn(u64) -> u64 = |id| 900 + id;
    // How many tasks wait, for how many ms, the parent of each, and its polls.
    for (what, count, waited, parent, polls, expected) in [
        ("connections", 20, 800, one_parent, 7, true),
        ("requests of connections", 20, 800, own_parents, 1, true),
        ("a batch behind its limit", 20, 800, one_parent, 1, false),
        ("a short queue", 3, 300, one_parent, 7, false),
        ("a short queue that is slow", 3, 800, one_parent, 7, true),
        ("one that waits", 1, 800, one_parent, 7, false),
        ("a quick queue", 20, 100, one_parent, 7, false),
    ] {
        let mut session = Session::new();
        session.run(3_000, |ms| Frame {
            tasks: Some(proto::Tasks {
                id: (1..=count).collect(),
                state: vec![TaskState::Idle.into(); count as usize],
                kind: vec![TaskKind::Task.into(); count as usize],
                location: vec![1; count as usize],
                parent: (1..=count).map(parent).collect(),
                polls: vec![polls; count as usize],
                lock_wait_since_ns: vec![(ms - waited) * MS + 1; count as usize],
                ..proto::Tasks::default()
            }),
            ..Frame::default()
        });
        assert_eq!(session.rules() == ["lock-convoy"], expected, "{what}");
    }
}

#[test]
fn a_limiter_that_lets_some_through_is_no_convoy() {
    // One is let through every so many ms, and keeps its permit for some of them.
    for (what, every, keeps, expected) in [
        ("a permit a second, used up at once", 1_000, 0, false),
        ("and seen in use at times", 1_000, 150, false),
        ("two a second", 500, 10, false),
        ("ten a second", 100, 0, true),
        ("a lock that is held for a second", 1_000, 1_000, true),
        ("a lock that is held for long", 1_000, 700, true),
    ] {
        let mut session = Session::new();
        session.run(9_000, |ms| {
            let ids: Vec<u64> = (0..30).collect();
            // Task n has the turns n + 1, n + 31, ..., and waits anew after each.
            let waits = |id: &u64| {
                let turns = ms / every;
                let Some(turn) = (1..=turns).rev().find(|turn| (turn - 1) % 30 == *id) else {
                    return *id * MS + 1;
                };
                let until = turn * every + keeps;
                if ms < until { 0 } else { until * MS + 1 }
            };
            Frame {
                tasks: Some(proto::Tasks {
                    id: ids.iter().map(|id| id + 1).collect(),
                    state: vec![TaskState::Idle.into(); 30],
                    kind: vec![TaskKind::Task.into(); 30],
                    location: vec![1; 30],
                    parent: vec![900; 30],
                    polls: vec![9; 30],
                    lock_wait_since_ns: ids.iter().map(waits).collect(),
                    ..proto::Tasks::default()
                }),
                ..Frame::default()
            }
        });
        let found = session.engine.findings();
        assert_eq!(!found.is_empty(), expected, "{what}: {found:#?}");
    }
}

#[test]
fn a_queue_that_nobody_leaves_is_a_convoy() {
    // When task n was spawned, how many there are at a time, whether the oldest is
    // served every two seconds, and whether the others end.
    for (what, every, count, served, expected) in [
        ("permits forgotten", 50, 200, false, true),
        ("a batch of ten thousand, served", 1, 2_000, true, false),
        (
            "a pool of idle workers behind one receiver",
            0,
            8,
            false,
            false,
        ),
    ] {
        let mut session = Session::new();
        session.run(9_000, |now| {
            let gone = if served { now / 2_000 } else { 0 };
            let waiting: Vec<u64> = (gone..count)
                .filter(|n| 1_000 + n * every < now.saturating_sub(300))
                .collect();
            let column = |value: &dyn Fn(u64) -> u64| waiting.iter().map(|n| value(*n)).collect();
            Frame {
                forgotten_tasks: (0..gone).map(|n| n + 1).collect(),
                tasks: Some(proto::Tasks {
                    id: column(&|n| n + 1),
                    state: vec![TaskState::Idle.into(); waiting.len()],
                    kind: vec![TaskKind::Task.into(); waiting.len()],
                    location: vec![1; waiting.len()],
                    parent: vec![900; waiting.len()],
                    polls: vec![1; waiting.len()],
                    spawned_at_ns: column(&|n| (1_000 + n * every) * MS),
                    lock_wait_since_ns: column(&|n| (1_000 + n * every) * MS + 1),
                    ..proto::Tasks::default()
                }),
                ..Frame::default()
            }
        });
        assert_eq!(session.rules() == ["lock-convoy"], expected, "{what}");
        if expected {
            let title = &session.only().title;
            assert!(title.contains("none has got it for"), "{title}");
        }
    }
}

#[test]
fn a_convoy_is_named_by_the_waiter_whose_stack_says_most() {
    let mut session = Session::new();
    let waits = |id: u64| proto::Stall {
        lock_address: Some(0x7000),
        tid: Some(70 + id % 10),
        worker: Some((id % 10) as u32),
        ..stall(Cause::Lock, 400, 1_000 + id)
    };
    session.run(1_500, |_| Frame::default());
    session.feed(stalls([waits(0), waits(1)]));
    session.resolve(
        StallId(1_000),
        stack(&["app::record"], 7, Some(CallKind::Lock)),
    );
    let mut sender = stack(&["app::record"], 7, Some(CallKind::Lock));
    if let Some(call) = sender.culprit.as_mut().and_then(|c| c.call.as_mut()) {
        call.name = "tokio::sync::watch::Sender::send".to_owned();
    }
    session.resolve(StallId(1_001), sender);
    let finding = session.only();
    assert_eq!(finding.rule, "lock-convoy");
    assert!(
        finding.title.contains("(tokio::sync::watch)"),
        "{}",
        finding.title
    );
    assert!(finding.remedy.contains("borrow"), "{}", finding.remedy);
}
