//! Hostile input: whatever a server sends, nothing panics and every frame is
//! sound.

use std::collections::BTreeSet;

use console_api::{
    Field, Id, Location, MetaId, PollStats,
    async_ops::{self, AsyncOp, AsyncOpUpdate},
    field::{Name, Value},
    instrument::Update,
    resources::{self, Resource, ResourceUpdate},
    tasks::{Stats, Task, TaskUpdate},
};
use looptop_wire::columns::{self, Row};
use proptest::prelude::*;
use prost_types::{Duration, Timestamp};

use super::START;
use crate::source::console::translate::{Received, Translator};

fn any_timestamp() -> impl Strategy<Value = Option<Timestamp>> {
    let seconds = prop_oneof![any::<i64>(), START - 3..START + 3];
    let nanos = prop_oneof![any::<i32>(), 0..1_000_000_000];
    prop::option::of((seconds, nanos).prop_map(|(seconds, nanos)| Timestamp { seconds, nanos }))
}

fn any_duration() -> impl Strategy<Value = Option<Duration>> {
    any_timestamp().prop_map(|t| {
        t.map(|t| Duration {
            seconds: t.seconds,
            nanos: t.nanos,
        })
    })
}

fn any_id() -> impl Strategy<Value = u64> {
    prop_oneof![0..4_u64, any::<u64>()]
}

fn any_field() -> impl Strategy<Value = Field> {
    let names = [
        "kind",
        "task.name",
        "task.id",
        "size.bytes",
        "loc.line",
        "x",
    ];
    let name = prop_oneof![
        prop::sample::select(names.to_vec()).prop_map(|name| Name::StrName(name.into())),
        any::<u64>().prop_map(Name::NameIdx),
        ".{0,8}".prop_map(Name::StrName),
    ];
    let value = prop_oneof![
        ".{0,8}".prop_map(Value::DebugVal),
        any::<u64>().prop_map(Value::U64Val),
        any::<i64>().prop_map(Value::I64Val),
        any::<bool>().prop_map(Value::BoolVal),
    ];
    let metadata = prop::option::of(any_id().prop_map(|id| MetaId { id }));
    (prop::option::of(name), prop::option::of(value), metadata).prop_map(
        |(name, value, metadata_id)| Field {
            name,
            value,
            metadata_id,
        },
    )
}

fn any_polls() -> impl Strategy<Value = PollStats> {
    let times = (any_timestamp(), any_timestamp(), any_duration());
    (any::<u64>(), times).prop_map(|(polls, (started, ended, busy))| PollStats {
        polls,
        first_poll: started,
        last_poll_started: started,
        last_poll_ended: ended,
        busy_time: busy,
    })
}

fn any_stats() -> impl Strategy<Value = Stats> {
    let times = (any_timestamp(), any_timestamp(), any_timestamp());
    (
        times,
        any::<u64>(),
        any_duration(),
        prop::option::of(any_polls()),
    )
        .prop_map(
            |((created_at, dropped_at, last_wake), wakes, scheduled_time, poll_stats)| Stats {
                created_at,
                dropped_at,
                last_wake,
                wakes,
                self_wakes: wakes,
                scheduled_time,
                poll_stats,
                ..Stats::default()
            },
        )
}

fn any_task() -> impl Strategy<Value = Task> {
    let fields = prop::collection::vec(any_field(), 0..4);
    let location = (prop::option::of(".{0,9}"), any::<Option<u32>>());
    (
        prop::option::of(any_id()),
        any::<i32>(),
        fields,
        prop::option::of(location),
    )
        .prop_map(|(id, kind, fields, location)| Task {
            id: id.map(|id| Id { id }),
            kind,
            fields,
            location: location.map(|(file, line)| Location {
                file,
                line,
                ..Location::default()
            }),
            ..Task::default()
        })
}

fn any_update() -> impl Strategy<Value = Update> {
    let tasks = prop::collection::vec(any_task(), 0..4);
    let stats = prop::collection::hash_map(any_id(), any_stats(), 0..4);
    let ops = prop::collection::hash_map(any_id(), (any_timestamp(), any_polls()), 0..3);
    (any_timestamp(), tasks, stats, ops, any::<u64>()).prop_map(
        |(now, new_tasks, stats_update, ops, dropped_events)| Update {
            now,
            task_update: Some(TaskUpdate {
                new_tasks,
                stats_update,
                dropped_events,
            }),
            resource_update: Some(ResourceUpdate {
                new_resources: ops
                    .keys()
                    .map(|id| Resource {
                        id: Some(Id { id: *id }),
                        ..Resource::default()
                    })
                    .collect(),
                stats_update: ops
                    .iter()
                    .map(|(id, (at, _))| {
                        let stats = resources::Stats {
                            created_at: *at,
                            dropped_at: *at,
                            ..resources::Stats::default()
                        };
                        (*id, stats)
                    })
                    .collect(),
                dropped_events,
                ..ResourceUpdate::default()
            }),
            async_op_update: Some(AsyncOpUpdate {
                new_async_ops: ops
                    .keys()
                    .map(|id| AsyncOp {
                        id: Some(Id { id: *id }),
                        ..AsyncOp::default()
                    })
                    .collect(),
                stats_update: ops
                    .into_iter()
                    .map(|(id, (at, polls))| {
                        let stats = async_ops::Stats {
                            created_at: at,
                            poll_stats: Some(polls),
                            ..async_ops::Stats::default()
                        };
                        (id, stats)
                    })
                    .collect(),
                dropped_events,
            }),
            new_metadata: None,
        },
    )
}

proptest! {
    #[test]
    fn whatever_a_server_sends_the_frames_are_sound(
        updates in prop::collection::vec(any_update(), 1..6), locals: [u64; 6],
    ) {
        let received = |n: usize| Received { local_ns: locals[n % 6], unix_ns: locals[0] };
        let mut translator = Translator::new(&updates[0], received(0), None, 2);
        let mut last = (0, 0);
        let mut known = BTreeSet::new();
        for (n, update) in updates.into_iter().enumerate() {
            for frame in translator.update(update, received(n)) {
                prop_assert!(frame.sequence > last.0 && frame.now_ns >= last.1);
                last = (frame.sequence, frame.now_ns);
                let tasks = frame.tasks.unwrap_or_default();
                prop_assert_eq!(columns::check(&tasks), Ok(()));
                for row in Row::all(&tasks) {
                    known.insert(row.id());
                    let instants = [
                        row.ended_at_ns(), row.last_wake_at_ns(), row.poll_started_at_ns(),
                    ];
                    for at in instants.into_iter().flatten().flatten() {
                        prop_assert!(at <= frame.now_ns);
                    }
                }
                for id in &frame.forgotten_tasks {
                    prop_assert!(known.remove(id), "{} was never shown", id);
                }
            }
            translator.identity();
        }
    }
}
