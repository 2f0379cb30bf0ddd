//! Translation tables.

mod hostile;
mod joined;

use std::collections::{BTreeSet, HashMap};

use console_api::{
    Field, Id, Location, MetaId, Metadata, PollStats, RegisterMetadata,
    async_ops::{self, AsyncOp, AsyncOpUpdate},
    field::{Name, Value},
    instrument::Update,
    register_metadata::NewMetadata,
    resources::{self, Resource, ResourceUpdate, resource},
    tasks::{Stats, Task, TaskUpdate},
};
use looptop_wire::{
    columns::Row,
    proto::{CapabilityKind, Frame, TaskKind, TaskState},
};

use prost_types::{Duration, Timestamp};

use crate::source::{
    console::translate::{Received, Translator},
    outside::View,
};

/// The server's clock at the beginning of each test, in seconds.
const START: i64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

#[allow(clippy::unnecessary_wraps)] // as the message's fields have it
fn at(seconds: f64) -> Option<Timestamp> {
    Some(Timestamp {
        seconds: START + seconds.floor() as i64,
        nanos: ((seconds - seconds.floor()) * 1e9) as i32,
    })
}

#[allow(clippy::unnecessary_wraps)] // as the message's fields have it
fn lasting(seconds: f64) -> Option<Duration> {
    Some(Duration {
        seconds: seconds.floor() as i64,
        nanos: ((seconds - seconds.floor()) * 1e9) as i32,
    })
}

fn received(seconds: f64) -> Received {
    Received {
        local_ns: (seconds * 1e9) as u64,
        unix_ns: 7,
    }
}

fn field(name: &str, value: Value) -> Field {
    Field {
        name: Some(Name::StrName(name.into())),
        value: Some(value),
        metadata_id: None,
    }
}

fn debug(text: &str) -> Value {
    Value::DebugVal(text.into())
}

fn task(id: u64, fields: Vec<Field>) -> Task {
    Task {
        id: Some(Id { id }),
        location: Some(Location {
            file: Some("src/main.rs".into()),
            line: Some(id as u32),
            column: Some(5),
            module_path: None,
        }),
        fields,
        ..Task::default()
    }
}

/// An update of tasks at `now` seconds.
fn update(now: f64, new_tasks: Vec<Task>, stats: Vec<(u64, Stats)>) -> Update {
    Update {
        now: at(now),
        task_update: Some(TaskUpdate {
            new_tasks,
            stats_update: stats.into_iter().collect(),
            dropped_events: 0,
        }),
        ..Update::default()
    }
}

fn born(seconds: f64) -> Stats {
    Stats {
        created_at: at(seconds),
        ..Stats::default()
    }
}

#[allow(clippy::unnecessary_wraps)] // as the message's fields have it
fn polled(started: f64, ended: Option<f64>, polls: u64, busy: f64) -> Option<PollStats> {
    Some(PollStats {
        polls,
        first_poll: at(started),
        last_poll_started: at(started),
        last_poll_ended: ended.and_then(at),
        busy_time: lasting(busy),
    })
}

/// A translator of `first`, and what it makes of it.
fn translate(first: Update) -> (Translator, Vec<Frame>) {
    let mut translator = Translator::new(&first, received(0.0), None, 3);
    let frames = translator.update(first, received(0.0));
    (translator, frames)
}

fn text(frames: &[Frame], id: u32) -> &str {
    let strings = frames.iter().flat_map(|frame| &frame.strings);
    strings
        .filter(|string| string.id == id)
        .map(|string| string.text.as_str())
        .next()
        .unwrap_or_default()
}

fn rows(frames: &[Frame]) -> HashMap<u64, Row<'_>> {
    let tasks = frames.iter().filter_map(|frame| frame.tasks.as_ref());
    tasks
        .flat_map(Row::all)
        .map(|row| (row.id(), row))
        .collect()
}

#[test]
fn a_task_with_everything() {
    let fields = vec![
        field("task.id", Value::U64Val(42)),
        field("task.name", debug("fetch")),
        field("kind", debug("local")),
        field("size.bytes", Value::U64Val(8)),
        field("original_size.bytes", Value::U64Val(20_000)),
        field("url", Value::StrVal("/x".into())),
        Field {
            name: Some(Name::NameIdx(1)),
            value: Some(Value::BoolVal(true)),
            metadata_id: Some(MetaId { id: 9 }),
        },
    ];
    let stats = Stats {
        created_at: at(-10.0),
        wakes: 5,
        self_wakes: 2,
        waker_clones: 7,
        waker_drops: 6,
        last_wake: at(-3.0),
        scheduled_time: lasting(0.5),
        poll_stats: polled(-2.0, Some(-1.5), 4, 1.0),
        ..Stats::default()
    };
    let mut first = update(0.0, vec![task(1, fields)], vec![(1, stats)]);
    first.new_metadata = Some(RegisterMetadata {
        metadata: vec![NewMetadata {
            id: Some(MetaId { id: 9 }),
            metadata: Some(Metadata {
                field_names: vec!["zero".into(), "one".into()],
                ..Metadata::default()
            }),
        }],
    });
    let (mut translator, frames) = translate(first);
    assert!(frames[0].snapshot_complete);
    assert_eq!((frames[0].sequence, frames[0].now_ns), (1, 10 * SECOND));
    assert_eq!(translator.hello(Ok(()), View::Off).now_ns, 10 * SECOND);

    let row = rows(&frames)[&1];
    assert_eq!(
        (row.kind(), row.state()),
        (TaskKind::Local, TaskState::Idle)
    );
    assert_eq!(text(&frames, row.name().unwrap()), "fetch");
    assert_eq!(text(&frames, row.fields().unwrap()), "url=/x one=true");
    let location = &frames[0].locations[0];
    assert_eq!(row.location(), Some(location.id));
    assert_eq!(text(&frames, location.file), "src/main.rs");
    assert_eq!((location.line, location.column), (1, 5));
    assert_eq!(row.tokio_id(), Some(42));
    assert_eq!(row.spawned_at_ns(), Some(0));
    assert_eq!(row.ended_at_ns(), Some(None));
    assert_eq!(row.polls(), Some(4));
    assert_eq!(row.busy_ns(), Some(SECOND));
    assert_eq!(row.scheduled_ns(), Some(SECOND / 2));
    assert_eq!(row.longest_poll_ns(), Some(SECOND / 2));
    assert_eq!(row.longest_scheduled_ns(), Some(SECOND / 8));
    assert_eq!((row.wakes(), row.self_wakes()), (Some(5), Some(2)));
    assert_eq!((row.waker_clones(), row.waker_drops()), (Some(7), Some(6)));
    assert_eq!(row.last_wake_at_ns(), Some(Some(7 * SECOND)));
    assert_eq!(row.poll_started_at_ns(), Some(None));
    assert_eq!(row.size_bytes(), Some(8));
    assert_eq!(row.original_size_bytes(), Some(20_000));

    let site = &frames[0].sites[0];
    assert_eq!(
        (site.location, site.spawned, site.ended),
        (location.id, 1, 0)
    );
    assert_eq!((site.polls, site.busy_ns), (4, SECOND));
}

#[test]
fn states() {
    let never = born(-5.0);
    let idle = Stats {
        poll_stats: polled(-3.0, Some(-2.0), 1, 1.0),
        last_wake: at(-4.0),
        ..born(-5.0)
    };
    let woken = Stats {
        last_wake: at(-1.0),
        ..idle
    };
    let running = Stats {
        poll_stats: polled(-1.0, None, 1, 0.0),
        ..born(-5.0)
    };
    let running_again = Stats {
        poll_stats: polled(-1.0, Some(-2.0), 2, 1.0),
        ..born(-5.0)
    };
    let ended = Stats {
        dropped_at: at(-0.5),
        ..running
    };
    let cases = [
        (1, never, TaskState::Scheduled, None),
        (2, idle, TaskState::Idle, None),
        (3, woken, TaskState::Scheduled, None),
        (4, running, TaskState::Running, Some(4 * SECOND)),
        (5, running_again, TaskState::Running, Some(4 * SECOND)),
        (6, ended, TaskState::Completed, None),
    ];
    let new = cases.iter().map(|case| task(case.0, vec![])).collect();
    let stats = cases.iter().map(|case| (case.0, case.1)).collect();
    let (_, frames) = translate(update(0.0, new, stats));
    let rows = rows(&frames);
    for (id, stats, state, since) in cases {
        assert_eq!(rows[&id].state(), state, "{stats:?}");
        assert_eq!(rows[&id].poll_started_at_ns(), Some(since), "{stats:?}");
    }
    assert_eq!(rows[&6].ended_at_ns(), Some(Some(4_500_000_000)));
}

#[test]
fn a_running_poll_ages_by_the_servers_clock() {
    let stats = Stats {
        poll_stats: polled(-1.0, None, 1, 0.0),
        ..born(-1.0)
    };
    let first = update(0.0, vec![task(1, vec![])], vec![(1, stats)]);
    let (mut translator, frames) = translate(first);
    let started = rows(&frames)[&1].poll_started_at_ns().unwrap().unwrap();
    // The viewer's clock runs at half speed.
    let frames = translator.update(update(8.0, vec![], vec![]), received(4.0));
    assert!(frames[0].tasks.is_none() && !frames[0].snapshot_complete);
    assert_eq!(frames[0].now_ns - started, 9 * SECOND);
}

#[test]
fn kinds_and_worker_threads() {
    let cases = [
        (1, "task", TaskKind::Task),
        (2, "local", TaskKind::Local),
        (3, "blocking", TaskKind::Blocking),
        (4, "block_on", TaskKind::BlockOn),
        (5, "from the future", TaskKind::Task),
    ];
    let mut new: Vec<Task> = cases
        .iter()
        .map(|(id, kind, _)| task(*id, vec![field("kind", debug(kind))]))
        .collect();
    let mut worker = task(6, vec![field("kind", debug("blocking"))]);
    let file = "C:\\x\\tokio-1.47.1\\src\\runtime\\scheduler\\multi_thread\\worker.rs";
    worker.location = Some(Location {
        file: Some(file.into()),
        ..Location::default()
    });
    new.push(worker);
    let (_, frames) = translate(update(0.0, new, vec![]));
    let rows = rows(&frames);
    for (id, name, kind) in cases {
        assert_eq!(rows[&id].kind(), kind, "{name}");
        assert_eq!(rows[&id].name(), None);
    }
    assert_eq!(rows[&6].kind(), TaskKind::Blocking);
    let name = text(&frames, rows[&6].name().unwrap());
    assert_eq!(name, crate::source::console::tasks::WORKER_NAME);
}

#[test]
fn statistics_without_a_record_are_a_nameless_task() {
    let (mut translator, frames) = translate(update(0.0, vec![], vec![(1, born(-1.0))]));
    let row = rows(&frames)[&1];
    assert_eq!((row.kind(), row.name()), (TaskKind::Unknown, None));
    assert_eq!(frames[0].loss.unwrap().tasks, 1);
    let late = update(1.0, vec![task(1, vec![])], vec![]);
    let frames = translator.update(late, received(1.0));
    assert_eq!(rows(&frames)[&1].kind(), TaskKind::Task);
    assert_eq!(frames[0].loss.unwrap().tasks, 0);
}

#[test]
fn finished_tasks_are_bounded() {
    let ended = |at_seconds| Stats {
        dropped_at: at(at_seconds),
        ..born(-10.0)
    };
    let (mut translator, frames) = translate(update(
        0.0,
        (1..=2).map(|id| task(id, vec![])).collect(),
        vec![(1, ended(-1.0)), (2, ended(-2.0))],
    ));
    assert!(frames[0].forgotten_tasks.is_empty());
    let frames = translator.update(
        update(
            1.0,
            (3..=4).map(|id| task(id, vec![])).collect(),
            (3..=4).map(|id| (id, ended(0.5))).collect(),
        ),
        received(1.0),
    );
    assert_eq!(frames[0].forgotten_tasks, [2], "the one that ended first");
    assert_eq!(frames[0].loss.unwrap().history, 1);
}

#[test]
fn what_was_never_shown_is_not_forgotten_aloud() {
    let new = (1..=100).map(|id| task(id, vec![])).collect();
    let ended = Stats {
        dropped_at: at(-1.0),
        ..born(-10.0)
    };
    let stats = (1..=100).map(|id| (id, ended)).collect();
    let (_, frames) = translate(update(0.0, new, stats));
    assert!(frames[0].forgotten_tasks.is_empty());
    assert_eq!(rows(&frames).len(), 3);
    let spawned: u64 = frames[0].sites.iter().map(|site| site.spawned).sum();
    assert_eq!(spawned, 100, "the sites still count them");
}

#[test]
fn an_id_that_is_used_again_is_another_task() {
    let ended = Stats {
        dropped_at: at(-1.0),
        ..born(-10.0)
    };
    let first = update(0.0, vec![task(1, vec![])], vec![(1, ended)]);
    let (mut translator, _) = translate(first);
    let named = task(1, vec![field("task.name", debug("second"))]);
    let frames = translator.update(
        update(1.0, vec![named.clone()], vec![(1, born(0.5))]),
        received(1.0),
    );
    assert_eq!(frames[0].forgotten_tasks, [1]);
    assert!(frames[0].more && frames[0].tasks.is_none());
    let row = rows(&frames)[&1];
    assert_eq!(row.spawned_at_ns(), Some(10_500_000_000));
    assert_eq!(row.state(), TaskState::Scheduled);
    // The same record once more is not.
    let again = update(2.0, vec![named], vec![(1, born(0.5))]);
    let frames = translator.update(again, received(2.0));
    assert_eq!(frames.len(), 1);
    assert!(frames[0].forgotten_tasks.is_empty());
}

#[test]
fn dropped_events_add_up() {
    let dropping = |now, count| {
        let mut update = update(now, vec![], vec![]);
        update.task_update.as_mut().unwrap().dropped_events = count;
        update.resource_update = Some(ResourceUpdate {
            dropped_events: 1,
            ..ResourceUpdate::default()
        });
        update
    };
    let (mut translator, frames) = translate(dropping(0.0, 5));
    assert_eq!(frames[0].loss.unwrap().console_events, 6);
    let frames = translator.update(dropping(1.0, 2), received(1.0));
    assert_eq!(frames[0].loss.unwrap().console_events, 9);
}

#[test]
fn resources_and_operations() {
    let mut first = update(0.0, vec![], vec![]);
    let attribute = |name: &str, value, unit: Option<&str>| console_api::Attribute {
        field: Some(field(name, Value::U64Val(value))),
        unit: unit.map(Into::into),
    };
    first.resource_update = Some(ResourceUpdate {
        new_resources: vec![Resource {
            id: Some(Id { id: 3 }),
            concrete_type: "Sleep".into(),
            kind: Some(resource::Kind {
                kind: Some(resource::kind::Kind::Known(0)),
            }),
            parent_resource_id: Some(Id { id: 2 }),
            is_internal: true,
            ..Resource::default()
        }],
        stats_update: HashMap::from([(
            3,
            resources::Stats {
                created_at: at(-2.0),
                attributes: vec![attribute("b", 1, None), attribute("a", 50, Some("ms"))],
                ..resources::Stats::default()
            },
        )]),
        ..ResourceUpdate::default()
    });
    first.async_op_update = Some(AsyncOpUpdate {
        new_async_ops: vec![AsyncOp {
            id: Some(Id { id: 4 }),
            resource_id: Some(Id { id: 3 }),
            source: "Sleep::new_timeout".into(),
            ..AsyncOp::default()
        }],
        stats_update: HashMap::from([(
            4,
            async_ops::Stats {
                created_at: at(-1.0),
                task_id: Some(Id { id: 1 }),
                poll_stats: polled(-0.5, None, 2, 0.25),
                ..async_ops::Stats::default()
            },
        )]),
        ..AsyncOpUpdate::default()
    });
    let (mut translator, frames) = translate(first);
    let resource = &frames[0].resources[0];
    assert_eq!(
        (resource.id, resource.parent, resource.internal),
        (3, 2, true)
    );
    assert_eq!(text(&frames, resource.kind), "timer");
    assert_eq!(text(&frames, resource.type_name), "Sleep");
    assert_eq!(text(&frames, resource.attributes), "a=50ms b=1");
    let op = &frames[0].async_ops[0];
    assert_eq!((op.id, op.resource, op.task, op.polls), (4, 3, 1, 2));
    assert_eq!(op.poll_started_at_ns, 1_500_000_001);

    let mut dropped = update(1.0, vec![], vec![]);
    dropped.resource_update = Some(ResourceUpdate {
        stats_update: HashMap::from([(
            3,
            resources::Stats {
                created_at: at(-2.0),
                dropped_at: at(0.5),
                ..resources::Stats::default()
            },
        )]),
        ..ResourceUpdate::default()
    });
    let frames = translator.update(dropped.clone(), received(1.0));
    assert_eq!(frames[0].resources[0].dropped_at_ns, 2_500_000_001);
    let frames = translator.update(dropped, received(1.0));
    assert!(frames[0].resources.is_empty(), "it is gone");
}

#[test]
fn the_same_process_is_recognised_after_a_reconnection() {
    let first = |id| update(0.0, vec![task(id, vec![])], vec![(id, born(-1.5))]);
    let (mut translator, _) = translate(first(1));
    let known = translator.identity();
    let session = |update: &Update| {
        let mut translator = Translator::new(update, received(5.0), Some(&known), 3);
        translator.hello(Ok(()), View::Off).session
    };
    let before = translator.hello(Ok(()), View::Off).session;
    assert_eq!(session(&first(1)), before);
    let other = update(0.0, vec![task(1, vec![])], vec![(1, born(-1.25))]);
    assert_ne!(session(&other), before, "another birth");
    assert_ne!(session(&first(2)), before, "another id");
    assert_ne!(
        session(&Update::default()),
        before,
        "nothing to recognise it by"
    );
}

#[test]
fn what_is_missing_has_a_reason() {
    let (mut translator, _) = translate(update(0.0, vec![], vec![]));
    let hello = translator.hello(Err("because"), View::Off);
    let kinds: BTreeSet<i32> = hello.capabilities.iter().map(|c| c.kind).collect();
    assert_eq!(kinds.len(), 16, "every kind is spoken of, once");
    assert_eq!(hello.capabilities.len(), 16);
    for capability in &hello.capabilities {
        assert_ne!(capability.available, !capability.reason.is_empty());
    }
    let threads = hello
        .capabilities
        .iter()
        .find(|c| c.kind() == CapabilityKind::Threads);
    assert_eq!(threads.unwrap().reason, "because");
}

#[test]
fn counting_attributes_leave_room_for_names() {
    let (mut translator, _) = translate(update(0.0, vec![], vec![]));
    let new = |id: u64| {
        let fields = vec![
            field("n", Value::U64Val(id)),
            field("task.name", debug("x")),
        ];
        task(1, fields)
    };
    for n in 0..40_000 {
        translator.update(update(1.0, vec![new(n)], vec![]), received(1.0));
    }
    let last = task(2, vec![field("task.name", debug("still named"))]);
    let frames = translator.update(update(2.0, vec![last], vec![]), received(2.0));
    let name = rows(&frames)[&2].name().unwrap();
    assert_eq!(text(&frames, name), "still named");
    assert!(frames[0].loss.unwrap().strings > 0);
}
