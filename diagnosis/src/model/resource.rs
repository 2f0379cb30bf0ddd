//! Resources (timers, locks, channels) and the operations on them, as
//! console-subscriber reports them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use looptop_wire::{instant, proto};

use super::{AsyncOpId, LocationId, Moment, ResourceId, TaskId, TextId};

/// Something that tasks wait for.
#[derive(Debug, Clone)]
pub struct Resource {
    /// Unique within the session.
    pub id: ResourceId,
    /// Counts from 1 in the order of arrival: what a person calls it.
    pub number: u64,
    /// The resource that it is a part of: a mutex holds a semaphore.
    pub parent: Option<ResourceId>,
    /// "timer", "Sync", ...
    pub kind: Option<TextId>,
    /// "Mutex", "Sleep", ...
    pub type_name: Option<TextId>,
    /// The module that reports it.
    pub target: Option<TextId>,
    /// Where it was made.
    pub location: Option<LocationId>,
    /// It is an inner part of another.
    pub internal: bool,
    /// When it was made.
    pub created_at: Moment,
    /// When it was dropped; `None` while it lives.
    pub dropped_at: Option<Moment>,
    /// Its state, as `key=value` text.
    pub attributes: Option<TextId>,
}

/// One future that works on a resource, most often one that waits for it.
#[derive(Debug, Clone)]
pub struct AsyncOp {
    /// Unique within the session.
    pub id: AsyncOpId,
    /// Counts from 1 in the order of arrival: what a person calls it.
    pub number: u64,
    /// The operation that it is a part of.
    pub parent: Option<AsyncOpId>,
    /// What it works on.
    pub resource: Option<ResourceId>,
    /// The task that polled it last, and waits where it has not ended.
    pub task: Option<TaskId>,
    /// `Mutex::lock`, ...
    pub source: Option<TextId>,
    /// When it began.
    pub created_at: Moment,
    /// When it was dropped; `None` while it lives.
    pub dropped_at: Option<Moment>,
    /// Polls that began.
    pub polls: u64,
    /// Time in finished polls.
    pub finished_busy: Duration,
    /// When the poll began that still runs.
    pub poll_started: Option<Moment>,
    /// Its state, as `key=value` text.
    pub attributes: Option<TextId>,
}

impl Resource {
    /// How long it has lived, or lived.
    pub fn age(&self, now: Moment) -> Duration {
        self.dropped_at.unwrap_or(now).since(self.created_at)
    }

    /// It has not been dropped.
    pub fn is_live(&self) -> bool {
        self.dropped_at.is_none()
    }
}

impl AsyncOp {
    /// How long it has lived, or lived.
    pub fn age(&self, now: Moment) -> Duration {
        self.dropped_at.unwrap_or(now).since(self.created_at)
    }

    /// Time in polls, the one in progress included.
    pub fn busy(&self, now: Moment) -> Duration {
        let running = self.poll_started.map_or(Duration::ZERO, |at| now.since(at));
        self.finished_busy + running
    }

    /// Time spent waiting.
    pub fn idle(&self, now: Moment) -> Duration {
        self.age(now).saturating_sub(self.busy(now))
    }

    /// It has not been dropped.
    pub fn is_live(&self) -> bool {
        self.dropped_at.is_none()
    }
}

/// Live resources and operations, and those dropped last.
#[derive(Debug, Clone, Default)]
pub struct Resources {
    all: BTreeMap<ResourceId, Resource>,
    ops: BTreeMap<AsyncOpId, AsyncOp>,
    live_ops: HashMap<ResourceId, usize>,
    /// The live operations of each task.
    by_task: HashMap<TaskId, BTreeSet<AsyncOpId>>,
    live: usize,
    numbered: u64,
    numbered_ops: u64,
    dropped: VecDeque<(ResourceId, Moment)>,
    dropped_ops: VecDeque<(AsyncOpId, Moment)>,
    /// Resources and operations that were not taken in because of the bound.
    pub refused: u64,
}

/// Resources, and likewise operations, held at most, whatever a peer sends.
const MAX_HELD: usize = 1 << 20;
/// Dropped resources, and likewise operations, that are still shown.
const MAX_DROPPED: usize = 1_000;

impl Resources {
    /// All of them, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.all.values()
    }

    /// The resource of an id.
    pub fn get(&self, id: ResourceId) -> Option<&Resource> {
        self.all.get(&id)
    }

    /// All operations, by id.
    pub fn ops(&self) -> impl Iterator<Item = &AsyncOp> {
        self.ops.values()
    }

    /// The operation of an id.
    pub fn op(&self, id: AsyncOpId) -> Option<&AsyncOp> {
        self.ops.get(&id)
    }

    /// The operations on a resource, live ones first, the oldest first. Looks
    /// at every operation: for details, not for tables.
    pub fn ops_on(&self, id: ResourceId) -> Vec<&AsyncOp> {
        let mut ops: Vec<_> = self
            .ops
            .values()
            .filter(|op| op.resource == Some(id))
            .collect();
        ops.sort_by_key(|op| (!op.is_live(), op.created_at));
        ops
    }

    /// The live operations of a task, by id.
    pub fn ops_of(&self, task: TaskId) -> impl Iterator<Item = &AsyncOp> {
        let ids = self.by_task.get(&task).into_iter().flatten();
        ids.filter_map(|id| self.ops.get(id))
    }

    /// Live operations on a resource; costs nothing.
    pub fn live_ops_on(&self, id: ResourceId) -> usize {
        self.live_ops.get(&id).copied().unwrap_or_default()
    }

    /// How many resources there are, the dropped ones included.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// None has been seen.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How many resources live; costs nothing.
    pub fn live_count(&self) -> usize {
        self.live
    }

    /// All resources, those that were dropped last in the order in which they were,
    /// so that the same ones are forgotten next.
    pub(super) fn to_wire(&self) -> Vec<proto::Resource> {
        let live = self.all.values().filter(|r| r.is_live());
        let dropped = self.dropped.iter().filter_map(|(id, at)| {
            let resource = self.all.get(id)?;
            (resource.dropped_at == Some(*at)).then_some(resource)
        });
        live.chain(dropped).map(Resource::to_wire).collect()
    }

    /// All operations, likewise.
    pub(super) fn ops_to_wire(&self) -> Vec<proto::AsyncOp> {
        let live = self.ops.values().filter(|op| op.is_live());
        let dropped = self.dropped_ops.iter().filter_map(|(id, at)| {
            let op = self.ops.get(id)?;
            (op.dropped_at == Some(*at)).then_some(op)
        });
        live.chain(dropped).map(AsyncOp::to_wire).collect()
    }

    pub(super) fn update(&mut self, update: &proto::Resource) {
        let id = ResourceId(update.id);
        let before = self.all.get(&id);
        if before.is_none() && self.all.len() >= MAX_HELD {
            self.refused += 1;
            return;
        }
        let was_live = before.is_some_and(Resource::is_live);
        let number = before.map_or_else(|| next(update.number, self.numbered), |r| r.number);
        self.numbered = self.numbered.max(number);
        let resource = Resource::new(update, number);
        self.live = self.live + usize::from(resource.is_live()) - usize::from(was_live);
        if let Some(at) = resource.dropped_at {
            self.dropped.push_back((id, at));
        }
        self.all.insert(id, resource);
        while self.dropped.len() > MAX_DROPPED {
            let Some((id, at)) = self.dropped.pop_front() else {
                break;
            };
            // Its id may have been given to another since.
            if self.all.get(&id).is_some_and(|r| r.dropped_at == Some(at)) {
                self.all.remove(&id);
            }
        }
    }

    pub(super) fn update_op(&mut self, update: &proto::AsyncOp) {
        let id = AsyncOpId(update.id);
        let before = self.ops.get(&id);
        if before.is_none() && self.ops.len() >= MAX_HELD {
            self.refused += 1;
            return;
        }
        let number = before.map_or_else(|| next(update.number, self.numbered_ops), |op| op.number);
        if let Some(resource) = before.filter(|op| op.is_live()).and_then(|op| op.resource)
            && let Some(live) = self.live_ops.get_mut(&resource)
        {
            *live -= 1;
            if *live == 0 {
                self.live_ops.remove(&resource);
            }
        }
        if let Some(task) = before.and_then(|op| op.task)
            && let Some(ops) = self.by_task.get_mut(&task)
        {
            ops.remove(&id);
            if ops.is_empty() {
                self.by_task.remove(&task);
            }
        }
        self.numbered_ops = self.numbered_ops.max(number);
        let op = AsyncOp::new(update, number);
        if let Some(task) = op.task.filter(|_| op.is_live()) {
            self.by_task.entry(task).or_default().insert(id);
        }
        match (op.dropped_at, op.resource) {
            (Some(at), _) => self.dropped_ops.push_back((id, at)),
            (None, Some(resource)) => *self.live_ops.entry(resource).or_default() += 1,
            (None, None) => {}
        }
        self.ops.insert(id, op);
        while self.dropped_ops.len() > MAX_DROPPED {
            let Some((id, at)) = self.dropped_ops.pop_front() else {
                break;
            };
            if self
                .ops
                .get(&id)
                .is_some_and(|op| op.dropped_at == Some(at))
            {
                self.ops.remove(&id);
            }
        }
    }
}

/// What the next one is called: as a recording says, or the next number.
fn next(recorded: u64, numbered: u64) -> u64 {
    match recorded {
        0 => numbered.saturating_add(1),
        number => number,
    }
}

fn text(id: u32) -> Option<TextId> {
    (id != 0).then_some(TextId(id))
}

fn text_id(id: Option<TextId>) -> u32 {
    id.map_or(0, |id| id.0)
}

fn to_wire(at: Option<Moment>) -> u64 {
    instant::write(at.map(|at| at.0))
}

fn from_wire(written: u64) -> Option<Moment> {
    instant::read(written).map(Moment)
}

impl Resource {
    fn new(update: &proto::Resource, number: u64) -> Self {
        Self {
            id: ResourceId(update.id),
            number,
            parent: (update.parent != 0).then_some(ResourceId(update.parent)),
            kind: text(update.kind),
            type_name: text(update.type_name),
            target: text(update.target),
            location: (update.location != 0).then_some(LocationId(update.location)),
            internal: update.internal,
            created_at: Moment(update.created_at_ns),
            dropped_at: from_wire(update.dropped_at_ns),
            attributes: text(update.attributes),
        }
    }
}

impl Resource {
    fn to_wire(&self) -> proto::Resource {
        proto::Resource {
            id: self.id.0,
            parent: self.parent.map_or(0, |id| id.0),
            kind: text_id(self.kind),
            type_name: text_id(self.type_name),
            target: text_id(self.target),
            location: self.location.map_or(0, |id| id.0),
            internal: self.internal,
            created_at_ns: self.created_at.0,
            dropped_at_ns: to_wire(self.dropped_at),
            attributes: text_id(self.attributes),
            number: self.number,
        }
    }
}

impl AsyncOp {
    fn to_wire(&self) -> proto::AsyncOp {
        proto::AsyncOp {
            id: self.id.0,
            parent: self.parent.map_or(0, |id| id.0),
            resource: self.resource.map_or(0, |id| id.0),
            task: self.task.map_or(0, |id| id.0),
            source: text_id(self.source),
            created_at_ns: self.created_at.0,
            dropped_at_ns: to_wire(self.dropped_at),
            polls: self.polls,
            busy_ns: super::ids::nanos(self.finished_busy),
            attributes: text_id(self.attributes),
            poll_started_at_ns: to_wire(self.poll_started),
            number: self.number,
        }
    }

    fn new(update: &proto::AsyncOp, number: u64) -> Self {
        let dropped_at = from_wire(update.dropped_at_ns);
        Self {
            id: AsyncOpId(update.id),
            number,
            parent: (update.parent != 0).then_some(AsyncOpId(update.parent)),
            resource: (update.resource != 0).then_some(ResourceId(update.resource)),
            task: (update.task != 0).then_some(TaskId(update.task)),
            source: text(update.source),
            created_at: Moment(update.created_at_ns),
            dropped_at,
            polls: update.polls,
            finished_busy: Duration::from_nanos(update.busy_ns),
            poll_started: from_wire(update.poll_started_at_ns).filter(|_| dropped_at.is_none()),
            attributes: text(update.attributes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(id: u64, resource: u64, dropped_at_ns: u64) -> proto::AsyncOp {
        proto::AsyncOp {
            id,
            resource,
            task: 7,
            dropped_at_ns,
            ..proto::AsyncOp::default()
        }
    }

    #[test]
    fn live_operations_are_counted_by_resource() {
        let mut all = Resources::default();
        for update in [
            op(1, 1, 0),
            op(2, 1, 0),
            op(3, 2, 0),
            op(2, 1, 9),
            op(3, 1, 0),
        ] {
            all.update_op(&update);
        }
        let counts = [1, 2].map(|id| all.live_ops_on(ResourceId(id)));
        assert_eq!(counts, [2, 0]);
        let order: Vec<u64> = all.ops_on(ResourceId(1)).iter().map(|op| op.id.0).collect();
        assert_eq!(order, [1, 3, 2], "what was dropped comes last");
        assert_eq!(all.ops_of(TaskId(7)).count(), 2);
        for id in 1..=3 {
            all.update_op(&op(id, 1, 10));
        }
        assert_eq!(all.ops_of(TaskId(7)).count(), 0);
        assert!(all.by_task.is_empty());
    }

    #[test]
    fn what_was_dropped_is_kept_within_a_bound() {
        let mut all = Resources::default();
        let resource = |id, dropped_at_ns| proto::Resource {
            id,
            dropped_at_ns,
            ..proto::Resource::default()
        };
        all.update(&resource(1, 0));
        for id in 2..3_000 {
            all.update(&resource(id, 0));
            all.update(&resource(id, id));
            all.update_op(&op(id, 1, id));
        }
        // An id that lives again does not leave with its former bearer.
        all.update(&resource(2_500, 0));
        for id in 3_000..5_000 {
            all.update(&resource(id, id));
        }
        assert_eq!((all.len(), all.live_count()), (MAX_DROPPED + 2, 2));
        assert!(all.get(ResourceId(2_500)).is_some_and(Resource::is_live));
        assert_eq!(all.ops().count(), MAX_DROPPED);
    }

    #[test]
    fn idle_is_what_is_left_of_the_age() {
        let op = AsyncOp::new(
            &proto::AsyncOp {
                created_at_ns: 100,
                busy_ns: 50,
                poll_started_at_ns: 901,
                ..proto::AsyncOp::default()
            },
            1,
        );
        let now = Moment(1_000);
        let ns = Duration::from_nanos;
        assert_eq!(
            (op.age(now), op.busy(now), op.idle(now)),
            (ns(900), ns(150), ns(750))
        );
    }
}
