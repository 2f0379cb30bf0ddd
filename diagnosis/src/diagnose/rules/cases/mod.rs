//! Every rule, with what must and what must not set it off.

mod blocked_workers;
mod host;
mod locks;
mod outside;
mod process;
mod tasks;
mod waits;

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
        Self::of(&proto::HelloResponse {
            time_scale,
            ..fixtures::hello()
        })
    }

    fn of(hello: &proto::HelloResponse) -> Self {
        let engine = Engine::new(Window::Since(Moment(0)));
        let mut session = Self {
            model: Model::new(hello),
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
