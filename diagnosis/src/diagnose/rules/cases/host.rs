//! What the host, the number of workers or the agent itself is to blame for.

use super::*;

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

/// Four runtimes of one thread each, on 2 CPUs, beside a pool that computes: it is the
/// pool that they wait for.
#[test]
fn few_busy_workers_beside_a_pool_are_not_too_many() {
    let mut session = Session::new();
    session.model.session.cpus = Some(2);
    session.run(4_000, |ms| Frame {
        threads: (0..8)
            .map(|n| {
                let (role, cpu, wait) = match n {
                    0..4 => (proto::ThreadRole::Worker, 5, 30),
                    _ => (proto::ThreadRole::Blocking, 40, 60),
                };
                proto::Thread {
                    tid: 70 + n,
                    role: role.into(),
                    user_ns: ms * MS * cpu / 100,
                    run_queue_ns: Some(ms * MS * wait / 100),
                    ..proto::Thread::default()
                }
            })
            .collect(),
        ..Frame::default()
    });
    assert_eq!(session.rules(), [""; 0]);
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
fn a_stall_whose_call_is_known_is_a_warning_among_too_many_workers_too() {
    for (kind, name, severity) in [
        (CallKind::Lock, "std::sync::Mutex::lock", Severity::Warning),
        // It waits for nobody: whoever keeps the lock within it has no CPU.
        (
            CallKind::Channel,
            "std::sync::mpsc::Sender::send",
            Severity::Notice,
        ),
    ] {
        let waits = Resolved {
            call: Some(Call {
                kind,
                name: name.into(),
            }),
            ..Resolved::default()
        };
        let mut session = Session::new();
        session.feed_named(stalls([stall(Cause::Lock, 130, 900)]), &[(900, waits)]);
        crowd(&mut session, 2, 32, 6, 60, 200);
        let findings = session.engine.findings().iter();
        let mut blocked = findings.filter(|f| f.rule == "blocked-worker");
        assert_eq!(blocked.next().map(|f| f.severity), Some(severity), "{name}");
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
