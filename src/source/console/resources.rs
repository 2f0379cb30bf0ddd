//! Resources (timers, locks, channels) and the operations that wait for them.

use std::collections::{BTreeSet, HashMap};

use console_api::{
    MetaId,
    async_ops::{AsyncOpUpdate, Stats as OpStats},
    resources::{ResourceUpdate, Stats, resource::kind},
};
use looptop_wire::{
    instant,
    proto::{AsyncOp, Resource},
};

use super::{
    clock::{ServerClock, duration_ns},
    names::Names,
};

/// Live resources, and likewise operations, that are held at most; the rest is
/// counted as lost.
const MAX_HELD: usize = 1 << 20;

/// All live resources and operations of one server. What has ended is sent
/// once more and dropped: nothing about it can change.
#[derive(Debug, Default)]
pub(super) struct Resources {
    live: HashMap<u64, (Resource, Option<MetaId>)>,
    live_ops: HashMap<u64, (AsyncOp, Option<MetaId>)>,
    refused: u64,
}

impl Resources {
    /// Resources and operations that found no room.
    pub(super) fn lost(&self) -> u64 {
        self.refused
    }

    /// Takes an update; returns what changed.
    pub(super) fn update(
        &mut self,
        update: Option<ResourceUpdate>,
        names: &mut Names,
        clock: &ServerClock,
    ) -> Vec<Resource> {
        let update = update.unwrap_or_default();
        let mut changed = BTreeSet::new();
        for record in update.new_resources {
            let full = self.live.len() >= MAX_HELD;
            let Some(id) = record.id.map(|id| id.id).filter(|_| !full) else {
                self.refused += 1;
                continue;
            };
            let kind = match record.kind.as_ref().and_then(|kind| kind.kind.as_ref()) {
                Some(kind::Kind::Known(known)) if *known == kind::Known::Timer as i32 => "timer",
                Some(kind::Kind::Other(other)) => other,
                _ => "",
            };
            let resource = Resource {
                id,
                parent: record.parent_resource_id.map_or(0, |id| id.id),
                kind: names.string(kind),
                type_name: names.string(&record.concrete_type),
                target: names.target(record.metadata.as_ref()),
                location: names.location(record.location.as_ref()),
                internal: record.is_internal,
                ..Resource::default()
            };
            self.live.insert(id, (resource, record.metadata));
            changed.insert(id);
        }
        for (id, stats) in update.stats_update {
            if let Some((resource, metadata)) = self.live.get_mut(&id) {
                take_stats(resource, metadata.as_ref(), &stats, names, clock);
                changed.insert(id);
            }
        }
        take_changed(&mut self.live, &changed, |resource| {
            resource.dropped_at_ns != 0
        })
    }

    /// Takes an update of operations; returns what changed.
    pub(super) fn update_ops(
        &mut self,
        update: Option<AsyncOpUpdate>,
        names: &mut Names,
        clock: &ServerClock,
    ) -> Vec<AsyncOp> {
        let update = update.unwrap_or_default();
        let mut changed = BTreeSet::new();
        for record in update.new_async_ops {
            let full = self.live_ops.len() >= MAX_HELD;
            let Some(id) = record.id.map(|id| id.id).filter(|_| !full) else {
                self.refused += 1;
                continue;
            };
            let op = AsyncOp {
                id,
                parent: record.parent_async_op_id.map_or(0, |id| id.id),
                resource: record.resource_id.map_or(0, |id| id.id),
                source: names.string(&record.source),
                ..AsyncOp::default()
            };
            self.live_ops.insert(id, (op, record.metadata));
            changed.insert(id);
        }
        for (id, stats) in update.stats_update {
            if let Some((op, metadata)) = self.live_ops.get_mut(&id) {
                take_op_stats(op, metadata.as_ref(), &stats, names, clock);
                changed.insert(id);
            }
        }
        take_changed(&mut self.live_ops, &changed, |op| op.dropped_at_ns != 0)
    }

    /// Id and birth of each live resource.
    pub(super) fn births(&self) -> impl Iterator<Item = (u64, u64)> {
        let births = self.live.values();
        births.map(|(resource, _)| (resource.id, resource.created_at_ns))
    }
}

fn take_stats(
    resource: &mut Resource,
    metadata: Option<&MetaId>,
    stats: &Stats,
    names: &mut Names,
    clock: &ServerClock,
) {
    resource.created_at_ns = clock.at(stats.created_at.as_ref()).unwrap_or(0);
    resource.dropped_at_ns = instant::write(clock.at(stats.dropped_at.as_ref()));
    resource.attributes = names.attributes(&stats.attributes, metadata);
}

fn take_op_stats(
    op: &mut AsyncOp,
    metadata: Option<&MetaId>,
    stats: &OpStats,
    names: &mut Names,
    clock: &ServerClock,
) {
    op.created_at_ns = clock.at(stats.created_at.as_ref()).unwrap_or(0);
    op.dropped_at_ns = instant::write(clock.at(stats.dropped_at.as_ref()));
    op.task = stats.task_id.as_ref().map_or(0, |id| id.id);
    op.attributes = names.attributes(&stats.attributes, metadata);
    let Some(polls) = &stats.poll_stats else {
        return;
    };
    op.polls = polls.polls;
    op.busy_ns = duration_ns(polls.busy_time.as_ref());
    let started = clock.at(polls.last_poll_started.as_ref());
    let ended = clock.at(polls.last_poll_ended.as_ref());
    let running = op.dropped_at_ns == 0 && started > ended;
    op.poll_started_at_ns = instant::write(started.filter(|_| running));
}

/// Copies of what changed; what has ended is taken out.
fn take_changed<T: Clone>(
    held: &mut HashMap<u64, (T, Option<MetaId>)>,
    changed: &BTreeSet<u64>,
    has_ended: impl Fn(&T) -> bool,
) -> Vec<T> {
    let take = |id: &u64| {
        let (entity, _) = held.get(id)?;
        let entity = entity.clone();
        if has_ended(&entity) {
            held.remove(id);
        }
        Some(entity)
    };
    changed.iter().filter_map(take).collect()
}
