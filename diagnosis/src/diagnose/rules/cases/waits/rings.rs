//! Rings, and what looks like one.

use super::*;

#[test]
fn a_deadlock_names_all_members_with_both_lines() {
    let mut program = Program::new();
    let (resources, tasks) = opposite_order();
    program.stays(4_000, &resources, &tasks);
    let found = program.session.only();
    assert_eq!(
        (found.rule, found.severity),
        ("deadlock", Severity::Critical)
    );
    assert_eq!(
        found.title,
        "deadlock: bank::transfer (app.rs:21) and bank::report (app.rs:33) wait for each other: task 1 \
         holds Mutex accounts and waits for Mutex audit; task 2 holds Mutex audit and waits for \
         Mutex accounts; 1 other waits behind"
    );
    assert_eq!(found.location, "src/app.rs:21");
    assert_eq!(found.function.as_deref(), Some("bank::transfer"));
    assert_eq!(found.count, 3);
    let stack = found.stack.as_ref().expect("its lines");
    let lines: Vec<u32> = stack.frames.iter().map(|frame| frame.line).collect();
    assert_eq!(lines, [21, 33]);
    assert!(found.remedy.contains("same order"), "{}", found.remedy);
    // One of them was aborted.
    let gone = Frame {
        forgotten_tasks: vec![2],
        ..Frame::default()
    };
    program.session.feed(gone);
    program.session.run(1_500, |_| Frame::default());
    assert!(!program.session.only().live);
}

#[test]
fn a_ring_of_a_core_dump_is_one_at_once_and_what_takes_time_is_not_judged() {
    let mut program = Program::of(&proto::HelloResponse {
        core_dump: true,
        ..fixtures::hello()
    });
    let (resources, tasks) = opposite_order();
    program.read(&resources, &tasks);
    assert_eq!(program.session.only().rule, "deadlock");
    let session = &program.session;
    let unjudged = session.engine.not_judged(&session.model);
    let reason = |id: &str| {
        let found = unjudged.iter().find(|(rule, _)| *rule == id);
        found.map(|(_, why)| why.as_str())
    };
    for rule in ["futurelock", "deadlock"] {
        assert_eq!(reason(rule), None, "{rule}");
    }
    let why = "a core dump is one moment, and it needs time";
    for rule in ["blocked-worker", "task-leak", "loop-starved"] {
        assert_eq!(reason(rule), Some(why), "{rule}");
    }
}

#[test]
fn a_ring_is_one_only_once_it_was_looked_at_twice() {
    // Since when the second waits, whether each task that has run was read again, whether
    // its members were, how long it is looked at, and whether it is a deadlock then.
    for (what, since, all_read, again, after, expected) in [
        ("read once", 1_100, true, false, 0, false),
        ("nothing has run", 1_100, true, false, 2_600, true),
        (
            "others are still to be read",
            1_100,
            false,
            false,
            2_600,
            false,
        ),
        (
            "its members were read again",
            1_100,
            false,
            true,
            2_600,
            true,
        ),
    ] {
        let mut program = Program::new();
        let (resources, mut tasks) = opposite_order();
        tasks.truncate(2);
        // It is read when it begins to wait so.
        tasks[1].since = since;
        let read = |program: &mut Program| {
            let mut frame = program.frame(&resources, &tasks);
            frame.waits_read.as_mut().expect("it is there").complete = all_read;
            program.send(&mut frame);
        };
        read(&mut program);
        program.session.run(after, |_| Frame::default());
        if again {
            read(&mut program);
        }
        assert_eq!(!program.titles().is_empty(), expected, "{what}");
        // What the screen shows of it by then is not called healthy.
        let session = &program.session;
        let verdict = session.engine.verdict(&session.model);
        let unjudged = session.engine.not_judged(&session.model);
        let reason = unjudged.iter().find(|(rule, _)| *rule == "deadlock");
        let seems = after > 0 && !expected;
        let words = "seem to wait for each other";
        assert_eq!(
            verdict.sentence.contains(words),
            seems,
            "{what}: {verdict:?}"
        );
        assert_eq!(verdict.level == Level::Notice, seems, "{what}: {verdict:?}");
        let is_said = reason.is_some_and(|(_, why)| why.contains(words));
        assert_eq!(is_said, seems, "{what}: {reason:?}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn who_waits_for_whom_and_who_does_not() {
    let two_mutexes = [mutex(A, "accounts"), mutex(B, "audit")];
    let second = || task(2, &REPORT, &[(1, Permit(A))], &[(0, Permits(B, 1))]);
    let rw_lock = (A, ResourceKind::RwLock, "prices", Some(0), Some(100), None);
    let read = waits("shop::quote::{async_fn#0}", 40);
    let write = waits("shop::update::{async_fn#0}", 52);
    let scheduled = Task {
        scheduled: true,
        ..task(1, &TRANSFER, &[(1, Permit(B))], &[(0, Permits(A, 1))])
    };
    let between = |wants: &[(u32, Wanted)], wakers_known| Task {
        wakers_known,
        ..task(1, &BETWEEN, wants, &[(0, Permits(A, 1))])
    };
    let nameless = |id, (wanted, held): (u64, u64)| Task {
        wakers_known: true,
        ..task(
            id,
            &NAMELESS,
            &[(1, Permit(wanted))],
            &[(0, Permits(held, 1))],
        )
    };
    // What it is, the resources, the tasks, and what its title begins with.
    let cases: Vec<(&str, Vec<Resource>, Vec<Task>, &str)> = vec![
        (
            "a time-out",
            two_mutexes.to_vec(),
            vec![
                task(
                    1,
                    &WITH_TIMEOUT,
                    &[(2, Permit(B)), (3, Timer)],
                    &[(0, Permits(A, 1))],
                ),
                second(),
            ],
            "",
        ),
        (
            "what may be woken by more than is seen",
            two_mutexes.to_vec(),
            vec![between(&[(2, Permit(B))], false), second()],
            "",
        ),
        (
            "what nothing else can wake",
            two_mutexes.to_vec(),
            vec![between(&[(2, Permit(B))], true), second()],
            "deadlock: bank::transfer (app.rs:21) and bank::report (app.rs:33) wait for each other",
        ),
        (
            "of a program without names",
            two_mutexes.to_vec(),
            vec![nameless(1, (B, A)), nameless(2, (A, B))],
            "deadlock: 2 tasks wait for each other: task 1 holds Mutex accounts",
        ),
        (
            "what a timer wakes, and nothing else",
            two_mutexes.to_vec(),
            vec![between(&[(2, Permit(B)), (3, Timer)], true), second()],
            "",
        ),
        ("woken", two_mutexes.to_vec(), vec![scheduled, second()], ""),
        (
            "a holder that works",
            two_mutexes.to_vec(),
            vec![
                task(1, &TRANSFER, &[(1, Timer)], &[(0, Permits(A, 1))]),
                second(),
            ],
            "",
        ),
        (
            "in a server's connection, whose peer may hang up",
            two_mutexes.to_vec(),
            vec![
                task(
                    1,
                    &CONNECTION,
                    &[(3, Permit(B)), (4, Socket)],
                    &[(2, Permits(A, 1))],
                ),
                second(),
            ],
            "probably a deadlock: bank::transfer (app.rs:21) and bank::report (app.rs:33) wait for each \
             other: task 1 holds Mutex accounts",
        ),
        (
            "a holder that is only probable",
            two_mutexes.to_vec(),
            vec![
                task(1, &TRANSFER, &[(1, Permit(B))], &[(0, Probably(A))]),
                second(),
            ],
            "probably a deadlock: bank::transfer (app.rs:21) and bank::report (app.rs:33)",
        ),
        (
            "two that may be the holder",
            two_mutexes.to_vec(),
            vec![
                task(1, &TRANSFER, &[(1, Permit(B))], &[(0, Probably(A))]),
                task(4, &TRANSFER, &[(1, Permit(B))], &[(0, Probably(A))]),
                second(),
            ],
            "",
        ),
        (
            "an RwLock read twice around a writer",
            vec![rw_lock],
            vec![
                task(1, &read, &[(1, Permit(A))], &[(0, Permits(A, 1))]),
                task(2, &write, &[(1, Given(A, 100, 99))], &[]),
            ],
            "deadlock: shop::quote (app.rs:40) and shop::update (app.rs:52) wait for each other: task 1 \
             holds RwLock prices and waits for RwLock prices to read; task 2 holds RwLock prices \
             and waits for RwLock prices to write",
        ),
        (
            "the same of two locks, without types: a writer was given all but one",
            vec![rw_lock, mutex(B, "audit")],
            vec![
                Task {
                    certain: false,
                    ..task(1, &read, &[(1, Permit(B))], &[(0, Probably(A))])
                },
                Task {
                    certain: false,
                    ..task(2, &write, &[(1, Given(A, 100, 99))], &[(0, Probably(B))])
                },
            ],
            "probably a deadlock: shop::quote (app.rs:40) and shop::update (app.rs:52) wait for each \
             other",
        ),
        (
            "actors that send into each other's full channels",
            vec![channel(A, "pings", 4, 1), channel(B, "pongs", 4, 1)],
            vec![
                task(
                    1,
                    &SEND,
                    &[(1, Room(B))],
                    &[(0, Receiver(A)), (0, Sender(B))],
                ),
                task(
                    2,
                    &SEND_BACK,
                    &[(1, Room(A))],
                    &[(0, Receiver(B)), (0, Sender(A))],
                ),
            ],
            "deadlock: actors::ping (app.rs:12) and actors::pong (app.rs:25) wait for each other: task 1 \
             holds receiver of mpsc channel pings and waits for place in mpsc channel pongs",
        ),
        (
            "a permit held across a call that needs another",
            vec![semaphore(A, "pool")],
            vec![
                task(1, &TRANSFER, &[(1, Permit(A))], &[(0, Permits(A, 1))]),
                task(2, &TRANSFER, &[(1, Permit(A))], &[(0, Permits(A, 1))]),
            ],
            "probably a deadlock: 2 of bank::transfer (app.rs:21) wait for each other: task 1 holds \
             permit of Semaphore pool and waits for permit of Semaphore pool",
        ),
        (
            "one lock taken twice",
            vec![mutex(A, "accounts")],
            vec![task(1, &TRANSFER, &[(1, Permit(A))], &[(0, Permits(A, 1))])],
            "deadlock at app.rs:21: task 1 in bank::transfer waits for itself: it holds Mutex accounts",
        ),
        (
            "a permit, and another that works",
            vec![semaphore(A, "pool")],
            vec![
                task(1, &TRANSFER, &[(1, Permit(A))], &[(0, Permits(A, 1))]),
                task(2, &REPORT, &[(1, Socket)], &[(0, Permits(A, 1))]),
            ],
            "",
        ),
        (
            "the end of each other",
            vec![mutex(A, "accounts")],
            vec![
                task(1, &TRANSFER, &[(1, End(2))], &[(0, Permits(A, 1))]),
                task(2, &REPORT, &[(1, Permit(A))], &[]),
            ],
            "deadlock: bank::transfer (app.rs:21) and bank::report (app.rs:33) wait for each other: task \
             1 holds Mutex accounts and waits for end of task 2 bank::report; task 2 waits for \
             Mutex accounts",
        ),
        (
            "its own sender",
            vec![channel(A, "jobs", 4, 1)],
            vec![task(
                1,
                &SEND,
                &[(1, Message(A))],
                &[(0, Receiver(A)), (0, Sender(A))],
            )],
            "task 1 in actors::ping has waited",
        ),
        (
            "another sender",
            vec![channel(A, "jobs", 4, 2)],
            vec![task(
                1,
                &SEND,
                &[(1, Message(A))],
                &[(0, Receiver(A)), (0, Sender(A))],
            )],
            "",
        ),
    ];
    for (what, resources, tasks, expected) in cases {
        let mut program = Program::new();
        program.stays(5_000, &resources, &tasks);
        let titles = program.titles();
        match titles.as_slice() {
            [] => assert_eq!(expected, "", "{what}"),
            [(_, title)] => {
                assert!(
                    !expected.is_empty() && title.starts_with(expected),
                    "{what}: {title}"
                );
            }
            more => panic!("{what}: {more:?}"),
        }
    }
}

#[test]
fn who_waits_for_itself_is_told_what_it_does() {
    let all = u64::from(u32::MAX >> 3);
    let rwlock = (A, ResourceKind::RwLock, "cache", None, Some(all), None);
    let cache = waits("shop::get_or_load::{async_fn#0}", 0);
    let upload = waits("shop::upload::{async_fn#0}", 0);
    for (resource, alone, others, title, remedy) in [
        (
            semaphore(A, "slots"),
            task(1, &upload, &[(1, Given(A, 12, 8))], &[]),
            Permit(A),
            "it asked for 12 permits at once, was given 8 of them, and no other task has any to \
             give back; 5 others wait behind",
            "ask for fewer at once",
        ),
        (
            rwlock,
            task(
                1,
                &cache,
                &[(1, Given(A, all, all - 1))],
                &[(0, Permits(A, 1))],
            ),
            Given(A, 1, 0),
            "it holds RwLock cache and waits for RwLock cache to write; 5 others wait behind",
            "drop it, then write",
        ),
        (
            semaphore(A, "slots"),
            task(1, &upload, &[(1, Permit(A))], &[(0, Permits(A, 1))]),
            Permit(A),
            "it holds permit of Semaphore slots and needs another; 5 others wait behind",
            "hold no permit across a call",
        ),
    ] {
        let mut program = Program::new();
        let nodes = alone.nodes.clone();
        let mut tasks = vec![alone];
        tasks.extend((2..=6).map(|id| task(id, &nodes, &[(1, others)], &[])));
        program.stays(6_000, &[resource], &tasks);
        // Nothing is said of the queue behind it, by whatever it was called before.
        let found = program.session.only();
        assert_eq!(found.rule, "deadlock");
        assert!(found.title.contains(title), "{}", found.title);
        assert!(found.remedy.contains(remedy), "{}", found.remedy);
    }
}

#[test]
fn who_asked_a_lock_behind_a_deadlock_is_no_convoy_of_its_own() {
    let mut program = Program::new();
    let (resources, mut tasks) = opposite_order();
    for id in 4..=30 {
        tasks.push(task(id, &TRANSFER, &[(1, Permit(A))], &[]));
    }
    for _ in 0..5 {
        let mut frame = program.frame(&resources, &tasks);
        // The agent sees that they asked a lock, and where they were spawned.
        let columns = frame.tasks.as_mut().expect("tasks");
        columns.location = vec![1; tasks.len()];
        columns.polls = vec![5; tasks.len()];
        columns.lock_wait_since_ns = vec![1_000 * MS + 1; tasks.len()];
        program.send(&mut frame);
        program.session.run(900, |_| Frame::default());
    }
    assert_eq!(program.session.rules(), ["deadlock"]);
    assert_eq!(program.session.only().count, 30);
}

#[test]
fn threads_that_lock_in_opposite_order_are_a_deadlock() {
    let mut program = Program::new();
    let resource = |id, name| (id, ResourceKind::StdMutex, name, None, None, None);
    let mut frame = program.frame(&[resource(A, "accounts"), resource(B, "audit")], &[]);
    for (tid, line, wanted, held) in [(70, 21, B, A), (71, 33, A, B)] {
        frame.thread_waits.push(proto::ThreadWait {
            tid,
            want: Some(wire_want(0, Permit(wanted))),
            holds: vec![wire_hold(0, Probably(held))],
            since_ns: 1_000 * MS,
            function: program.interner.string("bank::transfer"),
            location: program.interner.location("src/app.rs", line, 1),
            ..proto::ThreadWait::default()
        });
    }
    program.send(&mut frame);
    let live = |tid: u64, id| proto::Stall {
        id,
        state: proto::StallState::Live.into(),
        tid: Some(tid),
        worker: Some((tid - 70) as u32),
        ..stall(Cause::Lock, 3_000, 1_000)
    };
    let lock = Some(CallKind::Lock);
    program.session.run(5_000, |_| Frame::default());
    program.session.feed_named(
        stalls([live(70, 1), live(71, 2)]),
        &[
            (1, stack(&["bank::transfer"], 21, lock)),
            (2, stack(&["bank::report"], 33, lock)),
        ],
    );
    let found = program.session.only();
    assert_eq!(found.rule, "deadlock");
    let expected = "probably a deadlock: bank::transfer (app.rs:21) and bank::transfer (app.rs:33) wait for each";
    assert!(found.title.starts_with(expected), "{}", found.title);
}

#[test]
fn a_lock_that_a_thread_or_an_idle_task_holds_names_it_first() {
    for (by_task, expected) in [
        (
            false,
            "a lock (a lock) was held by thread 99 in app::save (src/app.rs:21): worker 0 was \
             blocked 200 ms waiting for it, in app::count (src/app.rs:9)",
        ),
        (
            true,
            "a lock (a lock) was held over an await by task 5 shop::report, which waits for timer \
             (src/app.rs:77)",
        ),
    ] {
        let mut program = Program::new();
        let lock = (A, ResourceKind::StdMutex, "", None, None, None);
        let holder = task(5, &UPSTREAM, &[(1, Timer)], &[(0, Permits(A, 1))]);
        let tasks = if by_task { vec![holder] } else { Vec::new() };
        let mut frame = program.frame(&[lock], &tasks);
        let waiter = proto::ThreadWait {
            tid: 70,
            want: Some(wire_want(0, Permit(A))),
            since_ns: 1_000 * MS,
            ..proto::ThreadWait::default()
        };
        let writer = proto::ThreadWait {
            tid: 99,
            holds: vec![wire_hold(0, Permits(A, 1))],
            since_ns: 1_000 * MS,
            function: program.interner.string("app::save"),
            location: program.interner.location("src/app.rs", 21, 1),
            ..proto::ThreadWait::default()
        };
        frame.thread_waits = vec![waiter];
        if !by_task {
            frame.thread_waits.push(writer);
        }
        program.send(&mut frame);
        program.session.feed_named(
            stalls([stall(Cause::Lock, 200, 1_000)]),
            &[(1_000, stack(&["app::count"], 9, Some(CallKind::Lock)))],
        );
        let title = &program.session.only().title;
        assert!(title.starts_with(expected), "{title}");
    }
}

/// A core dump of a ring of `many`, and how long it takes to find it.
fn ring_of(many: u64) -> (Program, std::time::Duration) {
    let mut program = Program::of(&proto::HelloResponse {
        core_dump: true,
        ..fixtures::hello()
    });
    let id = |n: u64| 0x1_0000 + n % many;
    let resources: Vec<Resource> = (0..many).map(|n| mutex(id(n), "")).collect();
    let tasks: Vec<Task> = (0..many)
        .map(|n| {
            let (wants, holds) = (Permit(id(n + 1)), Permits(id(n), 1));
            task(n + 1, &TRANSFER, &[(1, wants)], &[(0, holds)])
        })
        .collect();
    let began = std::time::Instant::now();
    program.read(&resources, &tasks);
    (program, began.elapsed())
}

#[test]
fn a_ring_of_thousands_is_told_in_a_sentence_and_in_steps_of_its_length() {
    let (program, _) = ring_of(2_000);
    let found = program.session.only();
    assert_eq!((found.rule, found.count), ("deadlock", 2_000));
    assert!(found.title.len() < 1_000, "{}", found.title);
    assert!(
        found.title.ends_with("; and so on, 1996 others"),
        "{}",
        found.title
    );
    // Eight times as long; each with all the others would take 64 times as long.
    let soonest = |many| (0..3).map(|_| ring_of(many).1).min().unwrap();
    let (few, many) = (soonest(250), soonest(2_000));
    assert!(many < few * 30, "{few:?}, {many:?}");
}
