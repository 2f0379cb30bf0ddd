//! Polls that keep a worker from its other tasks.

use super::*;

#[test]
fn blocked_worker_by_length_and_number() {
    use Cause::{Computing, Lock, Sleeping, StarvedByHost};
    for (name, lengths, cause, expected) in [
        ("one short", &[12][..], Computing, None),
        (
            "recurring",
            &[12, 12, 12],
            Computing,
            Some(Severity::Notice),
        ),
        ("one longer", &[25], Computing, Some(Severity::Notice)),
        ("long", &[120], Sleeping, Some(Severity::Warning)),
        (
            "a great share",
            &[60; 20],
            Computing,
            Some(Severity::Warning),
        ),
        ("very long", &[1_500], Lock, Some(Severity::Critical)),
        ("the host's fault", &[300], StarvedByHost, None),
    ] {
        let mut session = Session::new();
        let list = lengths.iter().enumerate();
        session.feed(stalls(
            list.map(|(n, ms)| stall(cause, *ms, 900 + n as u64)),
        ));
        let found = session
            .engine
            .findings()
            .iter()
            .find(|f| f.rule == "blocked-worker");
        assert_eq!(found.map(|f| f.severity), expected, "{name}");
        if let Some(found) = found {
            assert_eq!(found.location, "src/app.rs:20", "{name}");
            assert_eq!(
                (found.cause, found.count),
                (Some(cause), lengths.len() as u64),
                "{name}"
            );
        }
    }
}

#[test]
fn many_short_polls_are_not_one_long_one() {
    let mut session = Session::new();
    let dense = |at| proto::Stall {
        scope: proto::StallScope::UpTo61Polls.into(),
        ..stall(Cause::Computing, 40, at)
    };
    session.feed(stalls((0..20).map(|n| dense(900 + n))));
    assert_eq!(session.rules(), [""; 0]);
    session.feed(stalls([proto::Stall {
        cause: Cause::Sleeping.into(),
        ..dense(2_000)
    }]));
    assert_eq!(
        session.rules(),
        ["blocked-worker"],
        "a worker that sleeps is blocked all the same"
    );
}

#[test]
fn a_live_stall_grows_and_names_its_worker() {
    let mut session = Session::new();
    let live = proto::Stall {
        state: proto::StallState::Live.into(),
        ..stall(Cause::Sleeping, 0, 1_000)
    };
    session.run(1_500, |_| stalls([live.clone()]));
    let found = session.only();
    assert_eq!(found.severity, Severity::Critical);
    assert!(
        found.live && found.title.starts_with("worker 0 blocked 1500 ms sleeping"),
        "{}",
        found.title
    );
    assert!(
        found.remedy.contains("tokio::time::sleep"),
        "{}",
        found.remedy
    );
}

#[test]
fn what_is_over_fades_from_the_live_view() {
    let mut session = Session::new();
    session.engine = Engine::new(Window::Live);
    session.feed(stalls([stall(Cause::Sleeping, 150, 950)]));
    assert_eq!(session.rules(), ["blocked-worker"]);
    session.run(3_000, |_| Frame::default());
    assert_eq!(session.rules(), [""; 0]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn one_mistake_is_one_finding() {
    use Cause::{Computing, Sleeping, SystemCall, Unknown};
    type Row<'a> = (u32, Cause, &'a [&'a str], u32);
    // Of each stall: spawn location, cause, the user's functions, line.
    let table: [(&str, &[Row<'_>], usize); 10] = [
        (
            "one handler at three instants",
            &[
                (2, Computing, &["a", "handler"], 10),
                (2, Computing, &["b", "handler"], 20),
                (2, Computing, &["handler"], 30),
            ],
            1,
        ),
        (
            "two handlers of one place that spawns",
            &[
                (2, Computing, &["a", "one"], 10),
                (2, Computing, &["b", "other"], 20),
            ],
            2,
        ),
        (
            "one handler of two places that spawn",
            &[
                (2, Computing, &["a", "handler"], 10),
                (3, Computing, &["b", "handler"], 20),
            ],
            2,
        ),
        (
            "two lines of one function",
            &[
                (2, SystemCall, &["load", "handler"], 10),
                (3, SystemCall, &["load", "other"], 12),
            ],
            1,
        ),
        (
            "two calls of one handler",
            &[
                (2, SystemCall, &["load", "handler"], 10),
                (2, SystemCall, &["store", "handler"], 20),
            ],
            2,
        ),
        (
            "two causes",
            &[
                (2, Sleeping, &["load", "handler"], 10),
                (2, Computing, &["parse", "handler"], 20),
            ],
            2,
        ),
        (
            "too short for a stack",
            &[
                (2, Sleeping, &["load", "handler"], 10),
                (2, Sleeping, &[], 0),
                (2, Sleeping, &[], 0),
            ],
            1,
        ),
        (
            "no stack and no location",
            &[(0, Sleeping, &[], 0), (0, Sleeping, &[], 0)],
            1,
        ),
        (
            "no line",
            &[
                (0, Computing, &["parse"], 0),
                (0, Computing, &["parse"], 0),
                (0, Sleeping, &["load"], 0),
            ],
            2,
        ),
        (
            "unknown for a moment",
            &[
                (2, Computing, &["parse", "handler"], 10),
                (2, Unknown, &[], 0),
            ],
            1,
        ),
    ];
    for (what, rows, expected) in table {
        let mut session = Session::new();
        let list = rows.iter().zip(0..).map(|((location, cause, _, _), n)| {
            let ms = if *cause == Unknown { 110 } else { 250 };
            proto::Stall {
                location: *location,
                worker: Some(n % 2),
                tid: Some(70 + u64::from(n % 2)),
                observed_ns: Some(ms * MS),
                ..stall(*cause, ms, 400 + u64::from(n) * 300)
            }
        });
        session.ms = 3_000;
        let names: Vec<_> = rows
            .iter()
            .zip(0u64..)
            .filter(|((.., functions, _), _)| !functions.is_empty())
            .map(|((.., functions, line), n)| (400 + n * 300, stack(functions, *line, None)))
            .collect();
        session.feed_named(stalls(list), &names);
        let findings = session.engine.findings();
        assert_eq!(findings.len(), expected, "{what}: {findings:#?}");
        let all: u64 = findings.iter().map(|f| f.count).sum();
        assert_eq!(all, rows.len() as u64, "{what}");
    }
}

#[test]
fn the_fields_of_a_finding_agree() {
    let mut session = Session::new();
    // Two workers, a short one that goes on, and a longer one before it with
    // another cause.
    let live = proto::Stall {
        state: proto::StallState::Live.into(),
        ..stall(Cause::Computing, 0, 3_900)
    };
    session.ms = 4_000;
    let list = [
        stall(Cause::Computing, 499, 1_000),
        stall(Cause::Computing, 300, 2_000),
        stall(Cause::SystemCall, 200, 3_000),
        live,
    ];
    let code = || stack(&["app::parse"], 7, None);
    let names = [1_000, 2_000, 3_000, 3_900].map(|id| (id, code()));
    session.feed_named(stalls(list), &names);
    let found = session.only();
    assert_eq!((found.count, found.max.as_millis()), (4, 499));
    assert_eq!(found.cause, Some(Cause::Computing));
    assert_eq!(found.cause_text, "computing");
    assert_eq!(
        found.title,
        "worker 0 blocked 100 ms, up to 499 ms, computing in app::parse (src/app.rs:7)"
    );
    let verdict = session.engine.verdict(&session.model);
    assert!(!verdict.sentence.contains("1 task wait;"), "{verdict:?}");
}

#[test]
fn a_share_of_a_worker_is_a_warning_whatever_the_length() {
    // Milliseconds blocked, how often, and for how many seconds.
    for (what, ms, every, expected) in [
        ("a third of a worker", 90, 300, Some(Severity::Warning)),
        (
            "a quarter, in small pieces",
            25,
            100,
            Some(Severity::Warning),
        ),
        ("the 99th percentile", 60, 1_000, Some(Severity::Warning)),
        ("a hiccup now and then", 25, 2_000, Some(Severity::Notice)),
        ("short and seldom", 12, 4_500, None),
    ] {
        let mut session = Session::new();
        session.run(9_000, |now| {
            let ended = (now - 1_000) % every == 0;
            stalls(ended.then(|| stall(Cause::Computing, ms, now - ms)))
        });
        let found = session.engine.findings().first().map(|f| f.severity);
        assert_eq!(found, expected, "{what}");
    }
}

#[test]
fn what_only_the_host_can_hold_up_is_the_hosts() {
    for (syscall, call, ms, expected) in [
        ("clone3", None, 45, false),
        ("mprotect", None, 300, false),
        ("clone3", Some(CallKind::Process), 45, true),
        ("read", None, 45, true),
        ("clone3", None, 1_500, true),
    ] {
        let mut session = Session::new();
        let frame = Frame {
            strings: vec![proto::InternedString {
                id: 4,
                text: syscall.into(),
            }],
            ..stalls([proto::Stall {
                syscall: 4,
                ..stall(Cause::SystemCall, ms, 900)
            }])
        };
        session.feed_named(frame, &[(900, stack(&["app::start"], 7, call))]);
        assert_eq!(!session.rules().is_empty(), expected, "{syscall} {ms} ms");
    }
}

#[test]
fn what_is_inside_block_in_place_keeps_nobody_waiting() {
    let culprit = |call| Culprit {
        function: "install".to_owned(),
        file: "src/install.rs".to_owned(),
        line: 7,
        call,
        ..Culprit::default()
    };
    let block_on = Call {
        kind: CallKind::NestedExecutor,
        name: "tokio's block_on".to_owned(),
    };
    for (cause, call) in [
        (Cause::Computing, None),
        (Cause::Lock, None),
        (Cause::Lock, Some(block_on)),
    ] {
        for in_place in [true, false] {
            let mut session = Session::new();
            session.feed(stalls([stall(cause, 300, 1_500)]));
            let function = if in_place {
                "worker::block_in_place"
            } else {
                "worker::run"
            };
            let resolved = Resolved {
                frames: vec![StackFrame {
                    function: function.to_owned(),
                    ..StackFrame::default()
                }],
                culprit: Some(culprit(call.clone())),
                ..Resolved::default()
            };
            session.resolve(StallId(1_500), resolved);
            assert_eq!(session.rules().is_empty(), in_place, "{cause:?} {call:?}");
        }
    }
}

#[test]
fn computing_at_level_0_counts_from_50_ms() {
    for (ms, expected) in [(45, false), (55, true), (120, true)] {
        let mut session = Session::new();
        session.feed(stalls([proto::Stall {
            scope: proto::StallScope::UpTo61Polls.into(),
            ..stall(Cause::Computing, ms, 1_500)
        }]));
        let found = session.rules() == ["blocked-worker"];
        assert_eq!(found, expected, "{ms} ms");
    }
}

#[test]
fn a_wait_for_a_page_has_its_own_words_and_remedy() {
    let mut session = Session::new();
    session.feed(stalls([stall(Cause::Page, 150, 1_500)]));
    let finding = session.only();
    assert_eq!(finding.rule, "blocked-worker");
    assert_eq!(finding.cause_text, "waiting for a page of memory");
    assert!(finding.remedy.contains("pread"), "{}", finding.remedy);
}

#[test]
fn a_dependencys_functions_are_one_mistake_of_the_task_that_called_them() {
    let of_dependency = |function: &str, call: Option<CallKind>| {
        let mut stack = stack(&[function], 0, call);
        stack.culprit.as_mut().unwrap().foreign = true;
        stack
    };
    let mut session = Session::new();
    session.feed_named(
        stalls([
            stall(Cause::Computing, 200, 900),
            stall(Cause::Computing, 300, 1_200),
        ]),
        &[
            (900, of_dependency("serde_json::de::from_str", None)),
            (1_200, of_dependency("serde_json::value::visit", None)),
        ],
    );
    let found = session.only();
    assert_eq!(
        found.title,
        "worker 0 was blocked 300 ms computing in serde_json::value::visit, of a dependency, \
         in a task spawned at src/app.rs:20"
    );
    assert_eq!(
        (found.count, &found.subject),
        (2, &Subject::Site(LocationId(2)))
    );
}

#[test]
fn a_dependencys_function_is_named_unless_its_call_says_as_much() {
    for (function, call, expected) in [
        (
            "serde_json::value::visit",
            "serde_json",
            "computing in serde_json, in a task spawned at src/app.rs:20",
        ),
        (
            "orders::place",
            "serde_json",
            "computing in serde_json, in orders::place, in a task spawned at src/app.rs:20",
        ),
    ] {
        let mut stack = stack(&[function], 0, Some(CallKind::Compute));
        let culprit = stack.culprit.as_mut().unwrap();
        culprit.foreign = true;
        culprit.call.as_mut().unwrap().name = call.into();
        let mut session = Session::new();
        session.feed_named(stalls([stall(Cause::Computing, 200, 900)]), &[(900, stack)]);
        let title = &session.only().title;
        assert!(title.ends_with(expected), "{title}");
    }
}

#[test]
fn what_is_shown_of_a_mistake_has_a_call_where_one_is_known() {
    let mut session = Session::new();
    let live = proto::Stall {
        state: proto::StallState::Live.into(),
        ..stall(Cause::Lock, 20, 1_400)
    };
    let parked = Resolved {
        call: Some(Call {
            kind: CallKind::Condition,
            name: "std::thread::park".into(),
        }),
        ..Resolved::default()
    };
    session.feed_named(
        stalls([stall(Cause::Lock, 200, 900), live]),
        &[(900, parked)],
    );
    let title = &session.only().title;
    assert!(title.contains("waiting in std::thread::park"), "{title}");
}

#[test]
fn long_poll_where_no_stall_was_seen() {
    let polling = |every_ms: u64, for_ms: u64| {
        let mut session = Session::new();
        session.run(3_000, |ms| {
            let mut frame = site(10, 0);
            frame.sites[0].polls = ms / every_ms;
            frame.sites[0].busy_ns = ms / every_ms * for_ms * MS;
            frame
        });
        session
    };
    let session = polling(50, 15);
    assert_eq!(session.rules(), ["long-poll"]);
    let title = &session.only().title;
    assert!(title.contains("15 ms on average"), "{title}");
    // Longer ones the watchdog would have reported, but for `block_in_place`.
    assert!(polling(100, 50).rules().is_empty());
}

#[test]
fn polls_that_follow_one_another_are_a_loop_and_single_ones_are_not() {
    // When each poll began, how long each took, and whether one loop made them.
    for (starts, ms, is_loop) in [
        (&[1_000, 1_260, 1_520][..], 255, true),
        (&[1_000, 1_260], 255, false),
        (&[1_000, 2_000, 3_000], 255, false),
    ] {
        let mut session = Session::new();
        session.run(3_500, |_| Frame::default());
        session.feed(stalls(
            starts.iter().map(|at| stall(Cause::Computing, ms, *at)),
        ));
        for at in starts {
            let id = StallId(*at);
            session.resolve(id, stack(&["app::consume"], 7, None));
        }
        let remedy = &session.only().remedy;
        assert_eq!(
            remedy.contains("yield between its items"),
            is_loop,
            "{starts:?}"
        );
    }
}
