//! What joins, and what does not.

use std::sync::Arc;

use looptop_outside::{
    awaits::{By, Link, NodeKind},
    waiting::{Found, Shape, ShapeNode, TaskAt, TaskWait},
};
use looptop_wire::proto::{
    self, Capability, CapabilityKind, Cause, Flavor, RuntimeFound, Stall, StallScope, StallState,
    StrangerKind, TaskState, Tasks as Columns, WorkerState,
};

use super::*;
use crate::{
    model::{Capability as Kind, Model, Moment, RuntimeId, TaskId, Tid, WorkerId},
    source::outside::{
        beside::{WAIT_FOR_NAMES, place::FIRST_RUNTIME},
        seen::{self, Does, Future, Listing, Look, Polled, Runtime, Task},
    },
};

const NO_TRACING: &str = "tokio shows its tasks only when built otherwise";

fn denial() -> Capability {
    Capability {
        kind: CapabilityKind::Tasks.into(),
        available: false,
        reason: NO_TRACING.to_owned(),
    }
}

fn task(id: u64, runtime: usize, name: &str) -> Task {
    Task {
        header: id * 64,
        id,
        state: TaskState::Idle,
        runtime: Some(runtime),
        future: (!name.is_empty()).then(|| {
            Arc::new(Future {
                name: name.to_owned(),
                certain: true,
                place: None,
            })
        }),
        ..Task::default()
    }
}

fn list(key: u64, flavor: Flavor, counted: u64) -> Runtime {
    Runtime {
        key,
        flavor,
        counted,
        found_by: RuntimeFound::Stack,
        ..Runtime::default()
    }
}

fn hello(available: bool) -> HelloResponse {
    let mut word = denial();
    word.available = available;
    HelloResponse {
        agent_version: "1".to_owned(),
        capabilities: vec![word],
        ..HelloResponse::default()
    }
}

fn agents(frame: Frame) -> Received {
    Received::made(frame)
}

fn applied(model: &mut Model, frames: &[Frame]) {
    for frame in frames {
        model.apply(frame).unwrap();
    }
}

#[test]
fn a_listing_joins_the_agents_frames_and_goes_when_the_agent_has_tasks() {
    let hello = hello(false);
    let mut model = Model::new(&hello);
    let mut joined = Joined::new(10);
    joined.learn(&hello.capabilities);
    let state = Frame {
        sequence: 1,
        now_ns: 50,
        runtimes: vec![proto::Runtime {
            id: 3,
            flavor: Flavor::MultiThread.into(),
            live_tasks: 2,
            ..proto::Runtime::default()
        }],
        tasks: Some(Columns {
            capabilities: vec![denial()],
            ..Columns::default()
        }),
        ..Frame::default()
    };
    assert!(joined.meets(&state, (1, 50)).is_empty());
    let passed = joined.completed(agents(state.clone()));
    assert_eq!(*passed, state, "nothing is listed yet");
    applied(&mut model, std::slice::from_ref(&state));
    let listing = Listing {
        runtimes: vec![
            list(0x900, Flavor::MultiThread, 3),
            list(0x901, Flavor::CurrentThread, 2),
        ],
        tasks: vec![
            task(7, 0, "app::serve::{{closure}}"),
            task(8, 0, "app::serve::{{closure}}"),
            task(9, 0, "looptop_agent::probe::run::{{closure}}"),
            task(1, 1, "looptop_agent::server::serve::{{closure}}"),
            task(2, 1, "h2::server::Connection"),
        ],
        ..Listing::default()
    };
    let frames = joined.listing(80, listing, (4, 90));
    assert!(frames.iter().all(|f| (f.sequence, f.now_ns) == (4, 90)));
    applied(&mut model, &frames);
    assert!(model.session.has(Kind::Tasks) && model.reads_tasks());
    let mut ids: Vec<_> = model.tasks.live().map(|t| (t.id, t.runtime)).collect();
    ids.sort_unstable();
    let runtime = Some(RuntimeId(3));
    assert_eq!(ids, [(TaskId(7), runtime), (TaskId(8), runtime)]);
    let seven = model.tasks.get(TaskId(7)).unwrap();
    assert_eq!(model.task_name(seven), Some("app::serve"));
    // The agent says it once more, and again.
    let passed = joined.completed(agents(state));
    applied(&mut model, &[passed.into_frame()]);
    assert!(model.session.has(Kind::Tasks));
    let its_own = Frame {
        tasks: Some(Columns {
            capabilities: vec![self::hello(true).capabilities[0].clone()],
            id: vec![8],
            state: vec![TaskState::Idle.into()],
            ..Columns::default()
        }),
        ..Frame::default()
    };
    let before = joined.meets(&its_own, (5, 95));
    assert!(before.iter().all(|f| (f.sequence, f.now_ns) == (5, 95)));
    applied(&mut model, &before);
    applied(&mut model, &[its_own]);
    let ids: Vec<_> = model.tasks.live().map(|t| (t.id, t.future)).collect();
    assert_eq!(ids, [(TaskId(8), None)]);
    assert!(model.session.has(Kind::Tasks) && !model.reads_tasks());
    assert!(model.sites.values().all(|site| site.live() == 0));
    applied(&mut model, &joined.end((6, 99)));
    assert_eq!(model.tasks.live_count(), 1, "what the agent has stays");
    assert!(joined.end((7, 99)).is_empty(), "once");
}

#[test]
fn when_the_listing_ends_the_agents_word_counts_again() {
    let hello = hello(false);
    let mut model = Model::new(&hello);
    let mut joined = Joined::new(10);
    joined.learn(&hello.capabilities);
    let listing = Listing {
        runtimes: vec![list(1, Flavor::MultiThread, 1)],
        tasks: vec![task(7, 0, "app::serve")],
        ..Listing::default()
    };
    applied(&mut model, &joined.listing(1, listing, (1, 1)));
    assert!(model.session.has(Kind::Tasks));
    applied(&mut model, &joined.end((1, 2)));
    assert_eq!(model.session.missing(Kind::Tasks), Some(NO_TRACING));
    assert!(model.tasks.is_empty());
}

#[test]
fn another_process_with_the_same_id_is_not_read() {
    let process = |exe: &str, started| HelloResponse {
        exe: exe.to_owned(),
        process_started_unix_ns: started,
        ..HelloResponse::default()
    };
    let second = 1_000_000_000;
    for (said, found, expected) in [
        (
            ("/app", Some(50 * second)),
            ("/app", Some(51 * second)),
            true,
        ),
        (
            ("/app", Some(50 * second)),
            ("/app", Some(90 * second)),
            false,
        ),
        (
            ("/app", Some(50 * second)),
            ("/sh", Some(50 * second)),
            false,
        ),
        (("", Some(50 * second)), ("", Some(50 * second)), false),
        (("/app", None), ("/app", Some(50 * second)), false),
    ] {
        let (said, found) = (process(said.0, said.1), process(found.0, found.1));
        assert_eq!(is_same(&said, &found), expected);
    }
}

const MS: u64 = 1_000_000;

/// An agent that shows tasks, among them number 7 of its only runtime, and that knows
/// of a thread, 501, which drives another one.
fn coverage(polls_distinguished: bool) -> Frame {
    Frame {
        sequence: 1,
        now_ns: 50 * MS,
        snapshot_complete: true,
        runtimes: vec![proto::Runtime {
            id: 0,
            flavor: Flavor::MultiThread.into(),
            live_tasks: 1,
            ..proto::Runtime::default()
        }],
        workers: vec![proto::Worker {
            tid: Some(400),
            ..proto::Worker::default()
        }],
        tasks: Some(Columns {
            id: vec![7],
            state: vec![TaskState::Idle.into()],
            runtime: vec![1],
            ..Columns::default()
        }),
        coverage: Some(proto::Coverage {
            strangers: vec![proto::Stranger {
                tid: 501,
                kind: StrangerKind::Worker.into(),
                polls_distinguished,
                ..proto::Stranger::default()
            }],
            ..proto::Coverage::default()
        }),
        ..Frame::default()
    }
}

fn two_runtimes() -> Listing {
    Listing {
        runtimes: vec![
            list(0x900, Flavor::MultiThread, 1),
            list(0x901, Flavor::MultiThread, 2),
        ],
        tasks: vec![
            task(7, 0, "app::serve::{{closure}}"),
            task(8, 1, "other::crunch::{{closure}}"),
            task(9, 1, "other::crunch::{{closure}}"),
        ],
        ..Listing::default()
    }
}

/// Thread 501 is in a poll of task 8, which takes long.
fn in_poll(cause: Cause, since_ms: u64) -> Look {
    let polled = Polled {
        header: 8 * 64,
        id: 8,
    };
    Look {
        threads: vec![seen::Thread {
            tid: 501,
            drives: Flavor::MultiThread,
            does: Does::Polling {
                since_ns: since_ms * MS,
                task: Some(polled),
            },
            ..seen::Thread::default()
        }],
        stalls: vec![seen::Stall {
            id: 1,
            live: true,
            scope: StallScope::OnePoll,
            tid: 501,
            task: Some(polled),
            started_ns: since_ms * MS,
            duration_ns: 30 * MS,
            cause,
            ..seen::Stall::default()
        }],
        ..Look::default()
    }
}

fn joined_to(frame: &Frame) -> (Model, Joined) {
    let mut hello = hello(true);
    hello.capabilities.push(Capability {
        kind: CapabilityKind::Stalls.into(),
        available: true,
        reason: String::new(),
    });
    let mut model = Model::new(&hello);
    let mut joined = Joined::new(10);
    joined.learn(&hello.capabilities);
    assert!(joined.meets(frame, (1, 50 * MS)).is_empty());
    applied(&mut model, std::slice::from_ref(frame));
    (model, joined)
}

#[test]
fn a_runtime_that_nobody_registered_joins_with_its_workers_and_tasks() {
    let frame = coverage(false);
    let (mut model, mut joined) = joined_to(&frame);
    let these = HashSet::from([501]);
    assert_eq!(joined.wants(), Wants::Strangers(these));

    let newest = (2, 90 * MS);
    applied(&mut model, &joined.listing(80 * MS, two_runtimes(), newest));
    let look = joined.look(90 * MS, &in_poll(Cause::Computing, 60), newest);
    applied(&mut model, &look);
    let mut tasks: Vec<_> = model.tasks.live().map(|t| (t.id.0, t.runtime)).collect();
    tasks.sort_unstable();
    let (own, found) = (RuntimeId(0), RuntimeId(FIRST_RUNTIME));
    assert_eq!(tasks, [(7, Some(own)), (8, Some(found)), (9, Some(found))]);
    let runtimes: Vec<_> = model
        .runtimes
        .iter()
        .map(|r| (r.id, r.live_tasks))
        .collect();
    assert_eq!(runtimes, [(own, 1), (found, 2)]);
    let worker = WorkerId {
        runtime: found,
        index: 0,
    };
    let worker = &model.workers[&worker];
    assert_eq!(
        (worker.tid, worker.state),
        (Some(Tid(501)), WorkerState::Stalled)
    );
    assert_eq!(worker.task, Some(TaskId(8)));
    let stall = model.stalls.live().next().unwrap();
    assert_eq!(
        (stall.worker, stall.task),
        (Some(worker.id), Some(TaskId(8)))
    );
    assert!(model.drives_found(Tid(501)) && !model.drives_found(Tid(400)));
    assert!(
        !model.reads_tasks() && !model.is_outside(),
        "the agent's count"
    );

    // The threads end, and nothing is left.
    let mut none = coverage(false);
    none.coverage = Some(proto::Coverage::default());
    joined.meets(&none, newest);
    assert_eq!(joined.wants(), Wants::Waits);
    applied(&mut model, &joined.end((3, 99 * MS)));
    assert!(model.runtimes[1].gone && model.outside.is_none());
    let tasks: Vec<_> = model.tasks.live().map(|task| task.id).collect();
    assert_eq!(tasks, [TaskId(7)]);
}

#[test]
fn what_the_agent_sees_itself_is_not_reported_twice() {
    // Whether the agent distinguishes polls; the cause; how many stalls are sent.
    for (distinguished, cause, expected) in [
        (false, Cause::Computing, 1),
        (true, Cause::Computing, 0),
        (false, Cause::Sleeping, 0),
    ] {
        let (_, mut joined) = joined_to(&coverage(distinguished));
        joined.listing(80 * MS, two_runtimes(), (2, 90 * MS));
        let frames = joined.look(90 * MS, &in_poll(cause, 60), (2, 90 * MS));
        let sent = frames.iter().map(|frame| frame.stalls.len()).sum::<usize>();
        assert_eq!(sent, expected, "{distinguished} {cause:?}");
    }
}

#[test]
fn a_stall_that_the_agent_reports_later_is_withdrawn() {
    let (mut model, mut joined) = joined_to(&coverage(false));
    let newest = (2, 90 * MS);
    applied(&mut model, &joined.listing(80 * MS, two_runtimes(), newest));
    let look = joined.look(90 * MS, &in_poll(Cause::Computing, 60), newest);
    applied(&mut model, &look);
    let agents_own = Frame {
        now_ns: 95 * MS,
        stalls: vec![Stall {
            id: 1,
            state: StallState::Live.into(),
            tid: Some(501),
            started_at_ns: 70 * MS,
            duration_ns: 20 * MS,
            ..Stall::default()
        }],
        ..Frame::default()
    };
    applied(&mut model, &joined.meets(&agents_own, newest));
    assert_eq!(model.stalls.live().count(), 0);
    // Of the agent's it is known where it is.
    let completed = joined.completed(Received::made(agents_own));
    applied(&mut model, &[completed.into_frame()]);
    let stall = model.stalls.live().next().unwrap();
    assert_eq!(stall.worker.map(|worker| worker.index), Some(0));
    assert_eq!(stall.task, Some(TaskId(8)));
    // As long as both see it, it is the agent's.
    let look = joined.look(99 * MS, &in_poll(Cause::Computing, 60), (3, 99 * MS));
    assert!(look.iter().all(|frame| frame.stalls.is_empty()));
}

#[test]
fn tasks_that_the_agent_shows_of_strangers_are_its() {
    let mut frame = coverage(false);
    // By `tracing`: it does not know on which runtime 8 is.
    frame.tasks = Some(Columns {
        id: vec![7, 8],
        state: vec![TaskState::Idle.into(); 2],
        runtime: vec![1, 0],
        ..Columns::default()
    });
    let (mut model, mut joined) = joined_to(&frame);
    let newest = (2, 90 * MS);
    applied(&mut model, &joined.listing(80 * MS, two_runtimes(), newest));
    let mut tasks: Vec<_> = model.tasks.live().map(|t| (t.id.0, t.future)).collect();
    tasks.sort_unstable();
    assert_eq!(tasks, [(7, None), (8, None)], "none is listed");
    let found = model.runtimes.iter().find(|r| r.is_found()).unwrap();
    assert_eq!((found.id, found.live_tasks), (RuntimeId(FIRST_RUNTIME), 2));
}

#[test]
fn a_task_that_the_agent_shows_late_does_not_end_with_its_listing() {
    let (mut model, mut joined) = joined_to(&coverage(false));
    let newest = (2, 90 * MS);
    applied(&mut model, &joined.listing(80 * MS, two_runtimes(), newest));
    assert_eq!(model.tasks.live_count(), 3);
    let shown = Frame {
        now_ns: 95 * MS,
        tasks: Some(Columns {
            id: vec![8],
            state: vec![TaskState::Running.into()],
            ..Columns::default()
        }),
        ..Frame::default()
    };
    joined.meets(&shown, newest);
    applied(&mut model, &[shown]);
    applied(
        &mut model,
        &joined.listing(99 * MS, two_runtimes(), (3, 99 * MS)),
    );
    let mut live: Vec<_> = model.tasks.live().map(|task| task.id.0).collect();
    live.sort_unstable();
    assert!(live.contains(&8), "{live:?}");
}

#[test]
fn why_nothing_is_looked_at_stands_where_tasks_are_missing() {
    for lacks in [true, false] {
        let hello = hello(!lacks);
        let mut model = Model::new(&hello);
        let mut joined = Joined::new(10);
        joined.learn(&hello.capabilities);
        let frames = joined.refused("it is another user's", (3, 30));
        assert_eq!(frames.len(), 1);
        applied(&mut model, &frames);
        let why = model.session.missing(Kind::Tasks);
        let expected = format!(
            "{NO_TRACING}, and its process is not looked at from outside: it is another user's"
        );
        assert_eq!(why, lacks.then_some(expected.as_str()));
        let why = model.session.missing(Kind::Waits);
        let expected = "its process is not looked at from outside: it is another user's";
        assert_eq!(why, Some(expected));
    }
}

#[test]
fn a_first_listing_waits_for_names_but_not_for_ever() {
    let (_, mut joined) = joined_to(&coverage(false));
    let mut sends = |names_to_come| {
        let listing = Listing {
            names_to_come,
            ..two_runtimes()
        };
        !joined.listing(80 * MS, listing, (2, 90 * MS)).is_empty()
    };
    let sent: Vec<bool> = (0..=WAIT_FOR_NAMES).map(|_| sends(true)).collect();
    let (last, before) = sent.split_last().unwrap();
    assert!(*last && before.iter().all(|sent| !sent));
    assert!(sends(true) && sends(false), "once is enough");
}

#[test]
fn with_all_runtimes_registered_only_where_tasks_wait_is_wanted() {
    let mut frame = coverage(true);
    frame.coverage = Some(proto::Coverage::default());
    let (_, mut joined) = joined_to(&frame);
    assert_eq!(joined.wants(), Wants::Waits);
    // An agent that reads it itself.
    joined.learn(&[Capability {
        kind: CapabilityKind::Waits.into(),
        available: true,
        reason: String::new(),
    }]);
    assert_eq!(joined.wants(), Wants::Nothing);
    let frames = joined.waits(80 * MS, &waits(&[7]), (2, 90 * MS));
    assert!(frames.is_empty());
}

/// Each of these tasks waits for nothing that ever comes.
fn waits(tasks: &[u64]) -> seen::Waits {
    let at = Instant::now();
    let shape = Shape {
        nodes: vec![ShapeNode {
            depth: 0,
            kind: NodeKind::AsyncFn,
            name: "app::work".into(),
            location: None,
            by_macro: false,
            link: Link::Awaited,
        }],
        by: By::Types,
        cut: None,
        poll: None,
    };
    let wait = |id: &u64| TaskWait {
        task: TaskAt {
            header: id * 64,
            id: *id,
        },
        shape: 1,
        wants: Vec::new(),
        holds: Vec::new(),
        since: at,
        read_at: at,
        is_certain: true,
        is_scheduled: false,
        wakers_known: false,
    };
    seen::Waits {
        found: Found {
            shapes: vec![(1, Arc::new(shape))],
            tasks: tasks.iter().map(wait).collect(),
            ..Found::default()
        },
        at,
        cpu_ns: 5,
    }
}

#[test]
fn those_that_are_not_of_the_session_are_not_counted() {
    let mut frame = coverage(true);
    frame.coverage = Some(proto::Coverage::default());
    let (mut model, mut joined) = joined_to(&frame);
    let mut counted = |waits: &seen::Waits| {
        let frames = joined.waits(80 * MS, waits, (2, 90 * MS));
        applied(&mut model, &frames);
        let read = model.waits.read().unwrap();
        (read.idle, read.read)
    };
    let mut seen = waits(&[7, 98, 99]);
    (seen.found.read.idle, seen.found.read.read) = (4, 3);
    assert_eq!(counted(&seen), (2, 1));
    // One of them has ended.
    let mut seen = waits(&[]);
    (seen.found.read.idle, seen.found.read.read) = (3, 2);
    seen.found.void = vec![TaskAt {
        header: 98 * 64,
        id: 98,
    }];
    assert_eq!(counted(&seen), (2, 1));
}

#[test]
fn where_the_agents_tasks_wait_joins_and_no_others() {
    let mut frame = coverage(true);
    frame.coverage = Some(proto::Coverage::default());
    let (mut model, mut joined) = joined_to(&frame);
    // 99 is none of the agent's: perhaps its own.
    let frames = joined.waits(80 * MS, &waits(&[7, 99]), (2, 90 * MS));
    applied(&mut model, &frames);
    assert!(model.waits.task(TaskId(99)).is_none());
    let wait = model.waits.task(TaskId(7)).unwrap();
    assert_eq!(wait.since, Moment(80 * MS));
    assert_eq!(model.text(wait.shape.nodes[0].future), "app::work");
    assert_eq!(model.session.missing(Kind::Waits), None);
    assert!(!model.is_outside() && model.outside.is_none());
}
