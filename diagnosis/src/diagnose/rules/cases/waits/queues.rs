//! Queues for locks and permits.

use super::*;

#[test]
fn a_pool_that_is_used_up_names_its_holders_and_what_they_wait_for() {
    let mut program = Program::new();
    let mut tasks: Vec<Task> = Vec::new();
    for id in 1..=20 {
        tasks.push(task(id, &GET, &[(2, Permit(A))], &[]));
        // The connection that waits for it.
        tasks.push(task(
            100 + id,
            &waits("shop::serve::{async_fn#0}", 5),
            &[(1, End(id))],
            &[],
        ));
    }
    for id in 50..55 {
        tasks.push(task(id, &UPSTREAM, &[(1, Socket)], &[(0, Permits(A, 1))]));
    }
    program.stays(5_000, &[semaphore(A, "pool")], &tasks);
    let found = program.session.only();
    assert_eq!((found.rule, found.count), ("lock-convoy", 20));
    assert_eq!(found.location, "src/app.rs:31");
    let title = &found.title;
    let expected = "20 tasks wait for a permit of Semaphore pool (src/app.rs:31), up to ";
    assert!(title.starts_with(expected), "{title}");
    let holders = "; its 5 are held by 5 tasks in shop::report, which wait for descriptor 9 to read \
                   (src/app.rs:77), up to ";
    assert!(title.contains(holders), "{title}");
}

#[test]
fn a_queue_is_a_convoy_only_if_somebody_feels_it() {
    // How tasks are: whether somebody waits for them, whether the queue grows, whether one
    // is served each two seconds, and whether a task holds it.
    for (what, joined, grows, served, held, expected) in [
        ("for whom nobody waits", false, false, true, true, ""),
        (
            "requests that are joined",
            true,
            false,
            true,
            true,
            "lock-convoy",
        ),
        (
            "a nightly batch, one at a time",
            false,
            true,
            true,
            true,
            "",
        ),
        (
            "permits that nobody holds",
            false,
            true,
            false,
            false,
            "lock-convoy",
        ),
        (
            "idle workers behind one receiver",
            false,
            false,
            false,
            true,
            "",
        ),
        (
            "and it grows, while one works",
            false,
            true,
            false,
            true,
            "",
        ),
    ] {
        let mut program = Program::new();
        for second in 0..12_u64 {
            let first = if served { second / 2 } else { 0 };
            let last = 10 + if grows { second * 3 } else { 0 } + first;
            let mut tasks: Vec<Task> = Vec::new();
            for id in first + 1..=last {
                let since = if id > 10 && grows {
                    1_000 + (id - 10) * 300
                } else {
                    1_000
                };
                tasks.push(Task {
                    since: since.min(program.session.ms),
                    ..task(id, &GET, &[(2, Permit(A))], &[])
                });
                if joined {
                    tasks.push(task(
                        500 + id,
                        &waits("shop::serve::{async_fn#0}", 5),
                        &[(1, End(id))],
                        &[],
                    ));
                }
            }
            if held {
                tasks.push(task(400, &UPSTREAM, &[(1, Socket)], &[(0, Permits(A, 1))]));
            }
            program.read(&[semaphore(A, "turn")], &tasks);
            let gone = Frame {
                forgotten_tasks: (1..=second.div_ceil(2)).filter(|_| served).collect(),
                ..Frame::default()
            };
            program.session.run(800, |_| Frame::default());
            program.session.feed(gone);
        }
        let found = program.titles();
        let rules: Vec<&str> = found.iter().map(|(rule, _)| *rule).collect();
        let expected: Vec<&str> = [expected].into_iter().filter(|r| !r.is_empty()).collect();
        assert_eq!(rules, expected, "{what}: {found:?}");
        if what.starts_with("permits") {
            assert!(found[0].1.contains("no task holds any"), "{}", found[0].1);
        }
    }
}

#[test]
fn who_waits_in_a_library_is_named_by_the_application_s_function() {
    // No line of either is known, as of a default release build.
    let nodes = [
        (0, AsyncFn, "shop::transfer::{async_fn#0}", 0, Awaited),
        (1, AsyncFn, "deadpool::managed::pool::Pool::get", 0, Awaited),
        (2, Leaf, ACQUIRE, 0, Awaited),
    ];
    let mut program = Program::new();
    let each = |id, wants, has| task(id, &nodes, &[(2, Permit(wants))], &[(0, Permits(has, 1))]);
    let tasks = [each(1, A, B), each(2, B, A)];
    program.stays(5_000, &[mutex(A, "a"), mutex(B, "b")], &tasks);
    let found = program.session.only();
    assert_eq!(found.rule, "deadlock");
    let who = "2 of shop::transfer wait for each other";
    assert!(found.title.contains(who), "{}", found.title);
    assert_eq!(found.function.as_deref(), Some("shop::transfer"));
}

#[test]
fn an_rw_lock_is_no_limiter() {
    // Nobody waits for those that wait for it; for how long they do, in ms.
    for (kind, ms, expected) in [
        (ResourceKind::RwLock, 5_000, true),
        (ResourceKind::RwLock, 500, false),
        (ResourceKind::Semaphore, 5_000, false),
        (ResourceKind::Mutex, 5_000, false),
    ] {
        let mut program = Program::new();
        let mut tasks: Vec<Task> = (1..=6)
            .map(|id| task(id, &GET, &[(2, Permit(A))], &[]))
            .collect();
        tasks.push(task(40, &UPSTREAM, &[(1, Socket)], &[(0, Permits(A, 1))]));
        let lock = (A, kind, "routes", Some(0), None, None);
        program.stays(ms, &[lock], &tasks);
        let found = program.titles();
        let rules: Vec<&str> = found.iter().map(|(rule, _)| *rule).collect();
        assert_eq!(
            rules == ["lock-convoy"],
            expected,
            "{kind:?} {ms}: {found:?}"
        );
        if expected {
            let held = "; it is held by task 40 in shop::report, which waits for descriptor 9";
            assert!(found[0].1.contains(held), "{}", found[0].1);
        }
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn a_queue_that_nobody_joins_is_not_judged_for_half_a_minute() {
    // The lock and what is known of its holders, for how long it is seen, whether it is a
    // finding then, and whether the verdict has a word for it before.
    for (what, resource, asked, held, ms, found, seems) in [
        (
            "permits that are nowhere",
            semaphore(A, "pool"),
            true,
            false,
            9_000,
            false,
            true,
        ),
        (
            "they are so for long",
            semaphore(A, "pool"),
            true,
            false,
            36_000,
            true,
            false,
        ),
        (
            "some task holds them",
            semaphore(A, "pool"),
            true,
            true,
            9_000,
            false,
            false,
        ),
        (
            "a limiter of long jobs",
            semaphore(A, "pool"),
            true,
            true,
            36_000,
            false,
            false,
        ),
        (
            "not all that know it were asked",
            semaphore(A, "pool"),
            false,
            false,
            9_000,
            false,
            false,
        ),
        (
            "a mutex that one keeps",
            mutex(A, "table"),
            true,
            true,
            9_000,
            false,
            false,
        ),
        (
            "it does so for long",
            mutex(A, "table"),
            true,
            true,
            36_000,
            true,
            false,
        ),
    ] {
        let mut program = Program::new();
        let query = waits("shop::query::{async_fn#0}", 21);
        let mut tasks: Vec<Task> = (1..=40)
            .map(|id| task(id, &query, &[(1, Permit(A))], &[]))
            .collect();
        for task in &mut tasks {
            task.by = AwaitsBy::Interpreter;
        }
        if held {
            let rebuild = waits("shop::rebuild::{async_fn#0}", 44);
            tasks.push(task(50, &rebuild, &[(1, Notify(B))], &[(0, Permits(A, 1))]));
        }
        let until = program.session.ms + ms;
        while program.session.ms < until {
            let mut frame = program.frame(&[resource], &tasks);
            frame.wait_resources[0].holders_known = asked;
            program.send(&mut frame);
            program.session.run(400, |_| Frame::default());
        }
        let titles = program.titles();
        assert_eq!(
            titles.iter().any(|(rule, _)| *rule == "lock-convoy"),
            found,
            "{what}: {titles:?}"
        );
        let session = &program.session;
        let unjudged = session.engine.not_judged(&session.model);
        let reason = unjudged.iter().find(|(rule, _)| *rule == "lock-convoy");
        let is_said = reason.is_some_and(|(_, why)| {
            why.contains("40 tasks wait for a") && why.contains("after 30 s")
        });
        assert_eq!(is_said, ms < 30_000, "{what}: {reason:?}");
        let verdict = session.engine.verdict(&session.model);
        assert_eq!(
            verdict
                .sentence
                .contains("no task holds any, which is looked at again"),
            seems,
            "{what}: {verdict:?}"
        );
    }
}

#[test]
fn of_a_queue_for_an_rwlock_it_is_said_how_many_write() {
    let all = u64::from(u32::MAX >> 3);
    let lock = (A, ResourceKind::RwLock, "config", None, Some(all), None);
    for (writers, expected) in [
        (
            0,
            "9 tasks wait for a RwLock config to read (in shop::reload), ",
        ),
        (
            3,
            "9 tasks wait for a RwLock config, 3 of them to write (in shop::reload), ",
        ),
        (
            9,
            "9 tasks wait for a RwLock config to write (in shop::reload), ",
        ),
    ] {
        let mut program = Program::new();
        let reload = waits("shop::reload::{async_fn#0}", 0);
        let stream = waits("shop::stream::{async_fn#0}", 0);
        let mut tasks: Vec<Task> = (1..=9)
            .map(|id| {
                let amount = if id <= writers { all } else { 1 };
                task(id, &reload, &[(1, Given(A, amount, 0))], &[])
            })
            .collect();
        tasks.push(task(40, &stream, &[(1, Timer)], &[(0, Permits(A, 1))]));
        program.stays(6_000, &[lock], &tasks);
        let title = &program.session.only().title;
        assert!(title.starts_with(expected), "{title}");
    }
}

/// tokio gives a writer the permits of an `RwLock` one after the other as readers leave.
#[test]
fn who_was_given_some_of_it_and_queues_for_more_is_not_its_holder() {
    let lock = (A, ResourceKind::RwLock, "registry", Some(0), Some(10), None);
    let reader = task(
        1,
        &waits("app::snapshot::{async_fn#0}", 5),
        &[(1, Socket)],
        &[(0, Permits(A, 1))],
    );
    let writer = task(
        2,
        &waits("app::reload::{async_fn#0}", 9),
        &[(1, Given(A, 10, 9))],
        &[],
    );
    for (tasks, expected) in [
        (vec![reader, writer.clone()], &[Party::Task(TaskId(1))][..]),
        (vec![writer], &[]),
    ] {
        let mut program = Program::new();
        program.read(&[lock], &tasks);
        let model = &program.session.model;
        let graph = Graph::of(model);
        let wait = model.waits.task(TaskId(2)).expect("it was read");
        let holders = graph.holders_of(&wait.wants[0]);
        let holders: Vec<Party> = holders.iter().map(|holder| holder.party).collect();
        assert_eq!(holders, expected);
    }
}
