//! Every rule, with what must and what must not set it off.

use std::sync::Arc;

use looptop_symbols::{Call, CallKind};
use looptop_wire::{
    proto::{self, Frame},
    recorded,
};

use crate::{
    diagnose::{Engine, Finding, Severity, Subject, Window},
    model::{
        Cause, Culprit, LocationId, Model, Moment, Resolved, StackFrame, StallId, TaskKind,
        TaskState, fixtures,
    },
};

use super::ALL;

const MS: u64 = 1_000_000;

/// A session that is fed a frame every 100 ms.
struct Session {
    model: Model,
    engine: Engine,
    ms: u64,
}

impl Session {
    fn new() -> Self {
        Self::scaled(0.0)
    }

    fn scaled(time_scale: f64) -> Self {
        let hello = proto::HelloResponse {
            time_scale,
            ..fixtures::hello()
        };
        let engine = Engine::new(Window::Since(Moment(0)));
        let mut session = Self {
            model: Model::new(&hello),
            engine,
            ms: 1_000,
        };
        let text = |id, text: &str| proto::InternedString {
            id,
            text: text.into(),
        };
        session.feed(Frame {
            strings: vec![text(1, "src/app.rs"), text(2, "worker"), text(3, "queue")],
            locations: (1..9)
                .map(|id| proto::Location {
                    id,
                    file: 1,
                    line: id * 10,
                    column: 5,
                })
                .collect(),
            workers: (0..2)
                .map(|index| proto::Worker {
                    index,
                    ..proto::Worker::default()
                })
                .collect(),
            ..Frame::default()
        });
        session
    }

    fn feed(&mut self, frame: Frame) {
        self.feed_named(frame, &[]);
    }

    /// The same; the stalls get these stacks.
    fn feed_named(&mut self, frame: Frame, names: &[(u64, Resolved)]) {
        self.model
            .apply(&Frame {
                now_ns: self.ms * MS,
                ..frame
            })
            .unwrap();
        for (stall, stack) in names {
            let stack = Arc::new(stack.clone());
            self.model.stalls.resolve(StallId(*stall), stack);
        }
        self.engine.update(&self.model);
        self.ms += 100;
    }

    /// Gives a stall its stack with names.
    fn resolve(&mut self, id: StallId, resolved: Resolved) {
        self.model.stalls.resolve(id, resolved.into());
        self.engine.update(&self.model);
    }

    /// Feeds what `frame` makes of the time in ms, for `ms` more.
    fn run(&mut self, ms: u64, frame: impl Fn(u64) -> Frame) {
        for _ in 0..ms / 100 {
            self.feed(frame(self.ms));
        }
    }

    fn rules(&self) -> Vec<&'static str> {
        self.engine.findings().iter().map(|f| f.rule).collect()
    }

    fn only(&self) -> &Finding {
        let findings = self.engine.findings();
        assert_eq!(findings.len(), 1, "{findings:#?}");
        &findings[0]
    }
}

fn stall(cause: Cause, ms: u64, at: u64) -> proto::Stall {
    proto::Stall {
        id: at,
        state: proto::StallState::Ended.into(),
        scope: proto::StallScope::OnePoll.into(),
        runtime: Some(0),
        worker: Some(0),
        tid: Some(70),
        task: Some(5),
        location: 2,
        started_at_ns: at * MS,
        duration_ns: ms * MS,
        cause: cause.into(),
        cpu_ns: Some(if cause == Cause::Computing {
            ms * MS
        } else {
            0
        }),
        ..proto::Stall::default()
    }
}

/// A stack of the user's functions, innermost first; the first is to blame, at a
/// line, and called something.
fn stack(functions: &[&str], line: u32, call: Option<CallKind>) -> Resolved {
    let frame = |function: &&str| StackFrame {
        function: (*function).to_owned(),
        ..StackFrame::default()
    };
    let plumbing = StackFrame {
        function: "tokio::runtime::task::raw::poll".to_owned(),
        plumbing: true,
        ..StackFrame::default()
    };
    Resolved {
        frames: functions.iter().map(frame).chain([plumbing]).collect(),
        culprit: Some(Culprit {
            function: functions[0].to_owned(),
            file: if line == 0 {
                String::new()
            } else {
                "src/app.rs".to_owned()
            },
            line,
            call: call.map(|kind| Call {
                kind,
                name: kind.words().to_owned(),
            }),
            ..Culprit::default()
        }),
        ..Resolved::default()
    }
}

fn stalls(list: impl IntoIterator<Item = proto::Stall>) -> Frame {
    Frame {
        stalls: list.into_iter().collect(),
        ..Frame::default()
    }
}

fn site(spawned: u64, ended: u64) -> Frame {
    let site = proto::SpawnSite {
        location: 3,
        kind: TaskKind::Task.into(),
        spawned,
        ended,
        polls: spawned * 2,
        ..proto::SpawnSite::default()
    };
    Frame {
        sites: vec![site],
        ..Frame::default()
    }
}

fn task(columns: proto::Tasks) -> Frame {
    let state = if columns.state.is_empty() {
        vec![TaskState::Idle.into()]
    } else {
        vec![]
    };
    Frame {
        tasks: Some(proto::Tasks {
            id: vec![5],
            kind: vec![TaskKind::Task.into()],
            location: vec![4],
            name: vec![2],
            state: [columns.state, state].concat(),
            ..columns
        }),
        ..Frame::default()
    }
}

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
fn host_starved_only_when_the_host_is_to_blame() {
    for (wait_share, lag_ms, expected) in [(80, 200, true), (40, 200, false), (80, 1, false)] {
        let mut session = Session::new();
        session.run(4_000, |ms| Frame {
            threads: vec![proto::Thread {
                tid: 70,
                role: proto::ThreadRole::Worker.into(),
                user_ns: ms * MS * (100 - wait_share) / 100,
                run_queue_ns: Some(ms * MS * wait_share / 100),
                ..proto::Thread::default()
            }],
            lag: vec![proto::LagSamples {
                at_ns: vec![ms * MS],
                lag_ns: vec![lag_ms * MS],
                ..proto::LagSamples::default()
            }],
            ..Frame::default()
        });
        let rules = session.rules();
        assert_eq!(
            rules.contains(&"host-starved"),
            expected,
            "{wait_share} % {lag_ms} ms: {rules:?}"
        );
    }
}

/// So many workers of a process that may use `cpus`, each with shares of CPU and
/// of waiting for one, in percent.
fn crowd(session: &mut Session, cpus: u32, workers: u64, cpu: u64, wait: u64, lag_ms: u64) {
    session.model.session.cpus = Some(cpus);
    session.run(4_000, |ms| Frame {
        threads: (0..workers)
            .map(|n| proto::Thread {
                tid: 70 + n,
                role: proto::ThreadRole::Worker.into(),
                user_ns: ms * MS * cpu / 100,
                run_queue_ns: Some(ms * MS * wait / 100),
                ..proto::Thread::default()
            })
            .collect(),
        lag: vec![proto::LagSamples {
            at_ns: vec![ms * MS],
            lag_ns: vec![lag_ms * MS],
            ..proto::LagSamples::default()
        }],
        ..Frame::default()
    });
}

#[test]
fn too_many_workers_are_our_own_doing() {
    // CPUs, workers, their CPU and waiting in percent.
    for (what, cpus, workers, cpu, wait, expected) in [
        ("32 workers on 2 CPUs", 2, 32, 6, 60, "too-many-workers"),
        ("2 workers on 2 CPUs", 2, 2, 90, 5, ""),
        ("2 workers beside others", 2, 2, 20, 80, "host-starved"),
        ("32 idle workers", 2, 32, 1, 1, ""),
        ("4 busy workers on 4 CPUs", 4, 4, 95, 3, ""),
    ] {
        let mut session = Session::new();
        crowd(&mut session, cpus, workers, cpu, wait, 200);
        let found = session.rules();
        let expected: &[&str] = match expected {
            "" => &[],
            _ => &[expected],
        };
        assert_eq!(found, expected, "{what}");
    }
    let mut session = Session::new();
    crowd(&mut session, 2, 32, 6, 60, 200);
    let found = session.only();
    assert!(
        found.title.starts_with("32 workers on 2 CPUs"),
        "{}",
        found.title
    );
    assert!(
        found.remedy.contains("worker_threads to 2"),
        "{}",
        found.remedy
    );
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
fn a_stall_without_evidence_among_too_many_workers_is_a_notice() {
    let up_to_61 = |cause, ms| proto::Stall {
        scope: proto::StallScope::UpTo61Polls.into(),
        ..stall(cause, ms, 900)
    };
    for (what, live, workers, severity) in [
        (
            "crowded",
            up_to_61(Cause::Unknown, 360),
            32,
            Severity::Notice,
        ),
        (
            "crowded, a lock",
            up_to_61(Cause::Lock, 130),
            32,
            Severity::Notice,
        ),
        (
            "room enough",
            up_to_61(Cause::Unknown, 360),
            2,
            Severity::Warning,
        ),
        (
            "for long",
            up_to_61(Cause::Unknown, 1_200),
            32,
            Severity::Critical,
        ),
        (
            "asleep",
            up_to_61(Cause::Sleeping, 360),
            32,
            Severity::Warning,
        ),
    ] {
        let mut session = Session::new();
        session.feed(stalls([live]));
        crowd(
            &mut session,
            2,
            workers,
            if workers > 2 { 6 } else { 10 },
            if workers > 2 { 60 } else { 1 },
            200,
        );
        let findings = session.engine.findings().iter();
        let mut blocked = findings.filter(|f| f.rule == "blocked-worker");
        assert_eq!(blocked.next().map(|f| f.severity), Some(severity), "{what}");
    }
}

#[test]
fn workers_of_a_runtime_that_is_gone_want_no_cpu() {
    for (what, gone, expected) in [
        ("it runs", false, &["too-many-workers"] as &[&str]),
        ("it was shut down", true, &[]),
    ] {
        let mut session = Session::new();
        session.feed(Frame {
            runtimes: vec![proto::Runtime {
                id: 1,
                workers: 32,
                gone,
                ..proto::Runtime::default()
            }],
            workers: (0..32)
                .map(|index| proto::Worker {
                    runtime: 1,
                    index,
                    ..proto::Worker::default()
                })
                .collect(),
            ..Frame::default()
        });
        crowd(&mut session, 4, 7, 45, 52, 30);
        assert_eq!(session.rules(), expected, "{what}");
    }
}

#[test]
fn the_host_is_not_named_before_what_it_made_small() {
    let mut session = Session::new();
    let live = proto::Stall {
        run_queue_ns: Some(470 * MS),
        ..stall(Cause::Computing, 500, 900)
    };
    session.feed_named(stalls([live]), &[(900, stack(&["app::parse"], 7, None))]);
    crowd(&mut session, 2, 2, 20, 80, 200);
    assert_eq!(session.rules(), ["blocked-worker", "host-starved"]);
    let titles = session.engine.findings().iter().map(|f| f.title.as_str());
    assert!(titles.clone().all(|t| !t.contains(" 0 %")), "{titles:?}");
    let verdict = session.engine.verdict(&session.model);
    assert!(verdict.sentence.contains("app::parse"), "{verdict:?}");
}

#[test]
fn idle_workers_and_a_late_watchdog_are_the_host() {
    for (what, busy_percent, late_ms, expected) in [
        ("busy workers", 90, 0, true),
        ("idle workers", 0, 0, false),
        ("a late watchdog", 90, 300, false),
    ] {
        let mut session = Session::new();
        session.run(3_000, |ms| Frame {
            runtimes: vec![proto::Runtime {
                global_queue: 30,
                ..proto::Runtime::default()
            }],
            workers: vec![proto::Worker {
                busy_ns: ms * MS * busy_percent / 100,
                ..proto::Worker::default()
            }],
            lag: vec![proto::LagSamples {
                at_ns: vec![ms * MS],
                lag_ns: vec![300 * MS],
                ..proto::LagSamples::default()
            }],
            loss: Some(proto::Loss {
                watchdog_late_ns: ms * late_ms * MS / 1_000,
                ..proto::Loss::default()
            }),
            ..Frame::default()
        });
        assert_eq!(session.rules() == ["loop-starved"], expected, "{what}");
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

/// Tasks of location 3 as they are at `now`: task n was spawned at `spawned` and
/// last woken at `woken`.
fn waiting_tasks(
    now: u64,
    count: u64,
    spawned: &dyn Fn(u64) -> u64,
    woken: &dyn Fn(u64) -> u64,
) -> Frame {
    let ids: Vec<u64> = (0..count).filter(|n| spawned(*n) <= now).collect();
    let column = |value: &dyn Fn(u64) -> u64| ids.iter().map(|n| value(*n)).collect();
    Frame {
        tasks: Some(proto::Tasks {
            id: column(&|n| n + 1),
            state: vec![TaskState::Idle.into(); ids.len()],
            kind: vec![TaskKind::Task.into(); ids.len()],
            location: vec![3; ids.len()],
            polls: vec![2; ids.len()],
            wakes: vec![1; ids.len()],
            self_wakes: vec![0; ids.len()],
            spawned_at_ns: column(&|n| spawned(n) * MS),
            last_wake_at_ns: column(&|n| woken(n) * MS + 1),
            ..proto::Tasks::default()
        }),
        ..site(ids.len() as u64, 0)
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
fn tasks_that_idle_are_a_word_in_a_healthy_verdict() {
    for (seconds, expected) in [
        (3, "nothing starves the loop: 2 tasks, 2 workers"),
        (
            10,
            "nothing starves the loop: 2 tasks, 2 workers; 2 tasks idle for over 5 s, up to 10.0 s",
        ),
    ] {
        let mut session = Session::new();
        session.run(seconds * 1_000, |now| {
            waiting_tasks(now, 2, &|_| 1_000, &|_| 1_000)
        });
        let verdict = session.engine.verdict(&session.model);
        assert_eq!(verdict.sentence, expected);
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

#[test]
fn loop_starved_only_when_nothing_explains_it() {
    let lagging = |ms: u64| Frame {
        runtimes: vec![proto::Runtime {
            global_queue: 30,
            ..proto::Runtime::default()
        }],
        lag: vec![proto::LagSamples {
            at_ns: vec![ms * MS],
            lag_ns: vec![300 * MS],
            ..proto::LagSamples::default()
        }],
        ..Frame::default()
    };
    let mut session = Session::new();
    session.run(1_000, lagging);
    assert_eq!(session.rules(), ["loop-starved"]);
    session.feed(stalls([stall(Cause::Sleeping, 300, 1_500)]));
    assert_eq!(
        session.rules(),
        ["blocked-worker"],
        "the stall explains the lag"
    );
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
fn telemetry_loss_says_what_was_lost() {
    let mut session = Session::new();
    session.run(1_000, |_| Frame {
        loss: Some(proto::Loss {
            history: 9,
            ..proto::Loss::default()
        }),
        ..Frame::default()
    });
    assert_eq!(session.rules(), [""; 0], "a bounded history is no loss");
    session.run(1_000, |_| Frame {
        loss: Some(proto::Loss {
            tasks: 7,
            ..proto::Loss::default()
        }),
        ..Frame::default()
    });
    assert_eq!(
        session.only().title,
        "the picture has holes: 7 tasks untracked"
    );
}

/// The agent's lock, taken by the span's entry, is nobody's fault but the agent's.
#[test]
fn a_poll_that_stands_in_the_agents_own_code_is_telemetrys_fault() {
    let stand = |functions: &[(&str, bool)]| {
        let mut session = Session::new();
        session.feed(stalls([stall(Cause::Lock, 150, 900)]));
        let frames = functions.iter().map(|(function, culprit)| StackFrame {
            function: (*function).to_owned(),
            culprit: *culprit,
            ..StackFrame::default()
        });
        let resolved = Resolved {
            frames: frames.collect(),
            culprit: functions.iter().find(|f| f.1).map(|f| Culprit {
                function: f.0.to_owned(),
                ..Culprit::default()
            }),
            ..Resolved::default()
        };
        session.model.stalls.resolve(StallId(900), resolved.into());
        session.feed(Frame::default());
        let titles = session.engine.findings().iter();
        titles
            .map(|f| (f.rule, f.title.clone()))
            .collect::<Vec<_>>()
    };
    let findings = stand(&[
        ("syscall", false),
        ("looptop_agent::task::spans::Spans::insert", false),
        ("tracing::Span::enter", false),
        ("serve::handle", true),
    ]);
    let title = "the agent itself kept 1 poll waiting for up to 150 ms, in \
                 looptop_agent::task::spans::Spans::insert";
    assert_eq!(findings, [("telemetry-loss", title.to_owned())]);
    // What the agent runs for the application is the application's.
    for outer in ["looptop_agent::run::run", "looptop_agent::task::seen"] {
        let findings = stand(&[("syscall", false), ("Mutex::lock", false), (outer, false)]);
        assert_eq!(findings[0].0, "blocked-worker", "{outer}");
    }
    let findings = stand(&[
        ("syscall", false),
        ("serve::on_poll", true),
        ("looptop_agent::task::hooked::before_poll", false),
    ]);
    assert_eq!(findings[0].0, "blocked-worker", "its own hook");
}

#[test]
fn a_busy_healthy_program_is_silent() {
    let mut session = Session::new();
    session.run(10_000, |ms| {
        let mut frame = site(ms / 2, ms / 2 - 5);
        frame.runtimes = vec![proto::Runtime {
            global_queue: 4,
            ..proto::Runtime::default()
        }];
        frame.workers = (0..2)
            .map(|index| proto::Worker {
                index,
                busy_ns: ms * MS * 9 / 10,
                ..proto::Worker::default()
            })
            .collect();
        frame.lag = vec![proto::LagSamples {
            at_ns: vec![ms * MS],
            lag_ns: vec![2 * MS],
            ..proto::LagSamples::default()
        }];
        frame
    });
    assert_eq!(session.rules(), [""; 0]);
    assert!(
        session
            .engine
            .verdict(&session.model)
            .sentence
            .starts_with("nothing starves")
    );
}

#[test]
fn the_registry_is_in_order() {
    for (n, rule) in ALL.iter().enumerate() {
        assert!(
            ALL[..n].iter().all(|earlier| earlier.id != rule.id),
            "{} twice",
            rule.id
        );
        for cause in rule.explained_by {
            let earlier = ALL[..n].iter().any(|earlier| earlier.id == *cause);
            assert!(
                earlier,
                "{cause} must stand before {}, which it explains",
                rule.id
            );
        }
    }
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
