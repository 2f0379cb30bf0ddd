//! Every rule, with what must and what must not set it off.

use looptop_wire::proto::{self, Frame};

use crate::{
    diagnose::{Engine, Finding, Scope, Severity},
    model::{Cause, Model, Moment, TaskKind, TaskState, fixtures},
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
        let engine = Engine::new(Scope::Since(Moment(0)));
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
        self.model
            .apply(&Frame {
                now_ns: self.ms * MS,
                ..frame
            })
            .unwrap();
        self.engine.update(&self.model);
        self.ms += 100;
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
    session.engine = Engine::new(Scope::Live);
    session.feed(stalls([stall(Cause::Sleeping, 150, 950)]));
    assert_eq!(session.rules(), ["blocked-worker"]);
    session.run(3_000, |_| Frame::default());
    assert_eq!(session.rules(), [""; 0]);
}

#[test]
fn lock_convoy_needs_two_who_wait() {
    for (lengths, expected) in [
        (&[150][..], &["blocked-worker"][..]),
        (&[150, 150], &["blocked-worker", "lock-convoy"]),
        (&[30, 30, 30], &["blocked-worker"]),
    ] {
        let mut session = Session::new();
        session.feed(stalls(lengths.iter().enumerate().map(|(n, ms)| {
            proto::Stall {
                lock_address: Some(0xbeef),
                ..stall(Cause::Lock, *ms, 900 + n as u64)
            }
        })));
        let mut rules = session.rules();
        rules.sort_unstable();
        assert_eq!(rules, expected, "{lengths:?}");
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
        ("a short queue", 3, 800, one_parent, 7, false),
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

#[test]
fn task_leak_only_where_nothing_ends() {
    for (scale, seconds, ended_percent, expected) in [
        (1.0, 70, 0, true),
        (1.0, 30, 0, false),
        (1.0, 70, 50, false),
        (30.0, 4, 0, true),
    ] {
        let mut session = Session::scaled(scale);
        session.run(seconds * 1_000, |ms| {
            site(ms / 20, ms / 20 * ended_percent / 100)
        });
        assert_eq!(
            session.rules() == ["task-leak"],
            expected,
            "{seconds} s, {ended_percent} % ended"
        );
    }
}

#[test]
fn a_start_up_is_no_leak() {
    let mut session = Session::scaled(30.0);
    session.run(1_500, |ms| site(ms / 10, 0));
    session.run(5_000, |_| site(250, 0));
    assert_eq!(session.rules(), [""; 0]);
}

#[test]
fn growing_queue_only_while_it_grows() {
    for (value, expected) in [
        ((|ms| ms as f64) as fn(u64) -> f64, true),
        (|ms| 1e6 + ms as f64, true),
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
fn blocking_pool_full_only_when_it_lasts() {
    for (idle, queue, ms, expected) in [
        (0, 9, 3_000, true),
        (1, 9, 3_000, false),
        (0, 0, 3_000, false),
        (0, 9, 300, false),
    ] {
        let mut session = Session::new();
        session.run(ms, |_| Frame {
            runtimes: vec![proto::Runtime {
                blocking_threads: Some(4),
                idle_blocking_threads: Some(idle),
                blocking_queue: Some(queue),
                ..proto::Runtime::default()
            }],
            ..Frame::default()
        });
        assert_eq!(
            session.rules() == ["blocking-pool-full"],
            expected,
            "{idle} idle, {queue} queued, {ms} ms"
        );
    }
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
    let names = |offset, functions: &[&str], culprit: &str| proto::NamedStack {
        addresses: stack(offset).frames,
        frames: functions
            .iter()
            .map(|function| proto::NamedFrame {
                function: (*function).to_owned(),
                ..proto::NamedFrame::default()
            })
            .collect(),
        culprit: (!culprit.is_empty()).then(|| proto::NamedCulprit {
            function: culprit.to_owned(),
            file: "src/archive.rs".to_owned(),
            line: 12,
            call: "std::thread::sleep".to_owned(),
            call_kind: "Sleep".to_owned(),
        }),
        ..proto::NamedStack::default()
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
        "runtime was shut down 7 s ago and waits for app::compress (std::thread::sleep)"
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
    let mut session = Session::new();
    session.run(3_000, |ms| {
        let mut frame = site(10, 0);
        frame.sites[0].polls = ms / 100;
        frame.sites[0].busy_ns = ms * MS / 2;
        frame
    });
    assert_eq!(session.rules(), ["long-poll"]);
    assert!(
        session.only().title.contains("50 ms on average"),
        "{}",
        session.only().title
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
