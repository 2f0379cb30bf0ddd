//! Tasks that do not pass where others do, futures that nobody polls, and what was not read.

use super::*;

#[test]
fn futurelock_is_read_and_not_guessed() {
    let polled = {
        let mut nodes = LEDGER;
        nodes[3].4 = Awaited;
        nodes
    };
    for (what, nodes, wants, holds, expected) in [
        (
            "a kept future holds it",
            LEDGER,
            vec![(2, Permit(A)), (4, Timer)],
            vec![(3, Permits(A, 1))],
            "task 1 in ledger::select waits for Mutex ledger (src/app.rs:75), and a future of its own \
             holds it: ledger::write (src/app.rs:66), which it keeps and does not poll; 2 others \
             wait behind",
        ),
        (
            "a kept future stands before it",
            LEDGER,
            vec![(2, Permit(A)), (4, Permit(A))],
            vec![],
            "task 1 in ledger::select waits for Mutex ledger (src/app.rs:75), and a future of its own \
             stands before it in the queue for it: ledger::write (src/app.rs:66)",
        ),
        (
            "a future that is polled holds it",
            polled,
            vec![(2, Permit(A)), (4, Timer)],
            vec![(3, Permits(A, 1))],
            "",
        ),
        (
            "a kept future holds another",
            LEDGER,
            vec![(2, Permit(A)), (4, Timer)],
            vec![(3, Permits(B, 1))],
            "",
        ),
    ] {
        let mut program = Program::new();
        let resources = [mutex(A, "ledger"), mutex(B, "other")];
        let mut tasks = vec![task(1, &nodes, &wants, &holds)];
        for id in 2..=3 {
            tasks.push(task(id, &TRANSFER, &[(1, Permit(A))], &[]));
        }
        program.stays(4_000, &resources, &tasks);
        let titles = program.titles();
        match titles.as_slice() {
            [] => assert_eq!(expected, "", "{what}"),
            [("futurelock", title)] => {
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
fn a_task_that_does_not_pass_where_others_do() {
    let one = || -> Vec<(u32, Wanted)> { vec![(1, Message(A))] };
    for (what, nodes, wants, resource, others_pass, expected) in [
        (SENDER_KNOWN, &ASK[..], one(), oneshot(A), true, false),
        (
            "an answer that does not come",
            &ASK[..],
            one(),
            oneshot(A),
            true,
            true,
        ),
        ("nobody passes", &ASK[..], one(), oneshot(A), false, false),
        (
            "a time-out",
            &ASK_WITH_TIMEOUT[..],
            vec![(2, Message(A)), (3, Timer)],
            oneshot(A),
            true,
            false,
        ),
        (
            "a mailbox",
            &ASK[..],
            one(),
            channel(A, "jobs", 4, 2),
            true,
            false,
        ),
        (
            "an accept loop",
            &ACCEPT[..],
            vec![(1, Socket)],
            oneshot(A),
            true,
            false,
        ),
        (
            "a notification",
            &ASK[..],
            vec![(1, Notify(A))],
            oneshot(A),
            true,
            false,
        ),
        (
            "a lock of its own",
            &ASK[..],
            vec![(1, Permit(A))],
            mutex(A, "one"),
            true,
            true,
        ),
    ] {
        let mut program = Program::new();
        // It needs a minute; others come and go each second.
        for second in 0..70 {
            let mut tasks = vec![task(1, nodes, &wants, &[])];
            if what == SENDER_KNOWN {
                tasks.push(task(2, &ASK, &[(1, Timer)], &[(0, Sender(A))]));
            }
            if others_pass {
                let other = Task {
                    since: program.session.ms,
                    ..task(100 + second, nodes, &wants, &[])
                };
                tasks.push(other);
            }
            program.read(&[resource], &tasks);
            let gone = Frame {
                forgotten_tasks: vec![100 + second],
                ..Frame::default()
            };
            program.session.run(800, |_| Frame::default());
            program.session.feed(gone);
        }
        let rules = program.session.rules();
        assert_eq!(
            rules.contains(&"stuck-task"),
            expected,
            "{what}: {:?}",
            program.titles()
        );
        assert!(
            rules.iter().all(|rule| *rule == "stuck-task"),
            "{what}: {rules:?}"
        );
        if expected && what.starts_with("an answer") {
            let found = program.session.only();
            assert!(
                found
                    .title
                    .starts_with("task 1 in shop::ask has waited 70 s for message of oneshot")
                    || found.title.starts_with("task 1 in shop::ask has waited 69"),
                "{}",
                found.title
            );
            assert_eq!(found.location, "src/app.rs:14");
        }
    }
}

#[test]
fn what_was_not_read_is_said() {
    let reason = |program: &Program| {
        let reasons = program.session.engine.not_judged(&program.session.model);
        let found = reasons.into_iter().find(|(rule, _)| *rule == "deadlock");
        found.map(|(_, reason)| reason)
    };
    let mut program = Program::new();
    assert_eq!(reason(&program), None, "an agent that does not know of it");
    let mut frame = program.frame(&[], &[]);
    let read = frame.waits_read.as_mut().expect("it is there");
    (read.idle, read.read, read.without) = (100, 12, 88);
    read.without_reason = program.interner.string("the time for it is used up");
    program.send(&mut frame);
    assert_eq!(
        reason(&program).as_deref(),
        Some("what 12 of 100 idle tasks wait for was read: the time for it is used up")
    );
    program.read(&[], &[]);
    assert_eq!(
        reason(&program).as_deref(),
        Some("it needs 4 s, and 0.2 s were observed")
    );
    program.stays(4_000, &[], &[]);
    assert_eq!(reason(&program), None);

    let mut hello = fixtures::hello();
    hello.capabilities.push(proto::Capability {
        kind: crate::model::Capability::Waits.into(),
        available: false,
        reason: "the process may not be read".to_owned(),
    });
    program.session = Session::of(&hello);
    assert_eq!(
        reason(&program).as_deref(),
        Some("what tasks wait for is not read: the process may not be read")
    );
}
