//! Where tasks and threads wait, for what, and what they hold.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use looptop_wire::proto::{self, Frame};

use super::{LocationId, Model, Moment, Task, TaskId, TaskState, TextId, ThreadRole, Tid};

pub use looptop_wire::proto::{
    AwaitKind, AwaitLink, AwaitsBy, HoldRole, Interest, JobState, ResourceKind, WantKind,
};

/// All that was read of waiting; what is held of a task goes when the task does, or is
/// seen in a poll.
#[derive(Debug, Clone, Default)]
pub struct Waits {
    shapes: HashMap<u32, Arc<AwaitShape>>,
    tasks: BTreeMap<TaskId, TaskWait>,
    threads: BTreeMap<Tid, ThreadWait>,
    resources: BTreeMap<u64, WaitResource>,
    read: Option<WaitsRead>,
    revision: u64,
}

/// A tree of futures, as many tasks have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwaitShape {
    /// Unique within the session.
    pub id: u32,
    /// In preorder, the task's own future first; never empty.
    pub nodes: Vec<AwaitNode>,
    /// How it was had.
    pub by: AwaitsBy,
    /// Why it is not whole; `None` where it is.
    pub cut: Option<TextId>,
}

/// A future of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AwaitNode {
    /// 0 for the task's own; at most 1 more than that of the node before.
    pub depth: u32,
    /// What it is.
    pub kind: AwaitKind,
    /// Its type or poll function, whole.
    pub future: Option<TextId>,
    /// Of async code: the await at which it is suspended.
    pub location: Option<LocationId>,
    /// A macro wrote that await, and the location is where the function begins.
    pub by_macro: bool,
    /// How it belongs to the node above.
    pub link: AwaitLink,
}

/// Where a task waits, as of when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskWait {
    /// The task.
    pub task: TaskId,
    /// Its futures.
    pub shape: Arc<AwaitShape>,
    /// What they wait for.
    pub wants: Box<[Want]>,
    /// What lives in them and keeps others waiting, or could let them go on.
    pub holds: Box<[Hold]>,
    /// It has waited so at least since then.
    pub since: Moment,
    /// When it was read so.
    pub read_at: Moment,
    /// The tree is this task's for certain.
    pub certain: bool,
    /// It was woken, and will be polled.
    pub scheduled: bool,
    /// Nothing but what it waits for can wake it: each of its wakers is there.
    pub wakers_known: bool,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// Position among the shape's nodes; of a thread, 0.
    pub node: u32,
    /// What it is.
    pub kind: WantKind,
    /// A resource's id, where it is of one.
    pub resource: Option<u64>,
    /// Permits that are asked for, in all.
    pub amount: u64,
    /// Those of them that the waiter was given already.
    pub given: u64,
    /// The task whose end it is.
    pub task: Option<TaskId>,
    /// Where that is a job of the blocking pool, what it does.
    pub job: JobState,
    /// When a timer is due.
    pub due: Option<Moment>,
    /// What a descriptor is, in words.
    pub object: Option<TextId>,
    /// What a descriptor is to be ready for.
    pub interest: Interest,
    /// The descriptor's number in the process.
    pub descriptor: Option<u32>,
}

/// What is held of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// Position among the shape's nodes, in which it lives; of a thread, 0.
    pub node: u32,
    /// The resource's id.
    pub resource: u64,
    /// In what way.
    pub role: HoldRole,
    /// Permits.
    pub amount: u64,
    /// The variable that it is in.
    pub name: Option<TextId>,
    /// Known, and not only probable.
    pub certain: bool,
}

/// What a thread waits for outside of tokio, and holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadWait {
    /// The thread.
    pub tid: Tid,
    /// `None`: nothing that is known.
    pub want: Option<Want>,
    /// What it holds.
    pub holds: Box<[Hold]>,
    /// The task in whose poll it is.
    pub task: Option<TaskId>,
    /// It has waited so at least since then.
    pub since: Moment,
    /// The application's function that waits.
    pub function: Option<TextId>,
    /// Its line.
    pub location: Option<LocationId>,
}

/// What tasks share, and wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitResource {
    /// Its address in the process.
    pub id: u64,
    /// What it is.
    pub kind: ResourceKind,
    /// Permits that are free.
    pub free: Option<u64>,
    /// Permits that there are.
    pub total: Option<u64>,
    /// Messages in a channel; at a barrier those that have arrived.
    pub queued: Option<u64>,
    /// Senders of a channel.
    pub senders: Option<u64>,
    /// Those tasks that hold it are known: each that knows it was asked.
    pub holders_known: bool,
    /// What it is called.
    pub name: Option<TextId>,
    /// Where it was made.
    pub location: Option<LocationId>,
}

/// How many of the tasks were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WaitsRead {
    /// Idle tasks.
    pub idle: u64,
    /// Those of them whose chain is known.
    pub read: u64,
    /// Those of these whose chain is not whole.
    pub partial: u64,
    /// Those that were tried, and of which nothing is known.
    pub without: u64,
    /// Why, of most of them.
    pub without_reason: Option<TextId>,
    /// Each idle task was tried since it became idle.
    pub complete: bool,
    /// CPU that reading has used.
    pub cpu: Duration,
    /// What could not be looked at.
    pub not_read: Vec<TextId>,
}

/// Bounds for what a peer may send.
const MAX_SHAPES: usize = 16_384;
const MAX_NODES: usize = 1_024;
const MAX_TASKS: usize = 1_000_000;
const MAX_THREADS: usize = 4_096;
const MAX_RESOURCES: usize = 1_000_000;
/// Wants, and holds, of one task.
const MAX_EACH: usize = 256;
const MAX_NOT_READ: usize = 16;

impl Waits {
    /// Where a task waits; `None` where that was not read, or is over.
    pub fn task(&self, id: TaskId) -> Option<&TaskWait> {
        self.tasks.get(&id)
    }

    /// Those that were read, by id.
    pub fn tasks(&self) -> impl Iterator<Item = &TaskWait> {
        self.tasks.values()
    }

    /// What a thread waits for, or holds.
    pub fn thread(&self, tid: Tid) -> Option<&ThreadWait> {
        self.threads.get(&tid)
    }

    /// The threads that wait for something known, or hold it.
    pub fn threads(&self) -> impl Iterator<Item = &ThreadWait> {
        self.threads.values()
    }

    /// What is known of a resource.
    pub fn resource(&self, id: u64) -> Option<&WaitResource> {
        self.resources.get(&id)
    }

    /// The resources, by address.
    pub fn resources(&self) -> impl Iterator<Item = &WaitResource> {
        self.resources.values()
    }

    /// How much was read; `None` where nobody reads it.
    pub fn read(&self) -> Option<&WaitsRead> {
        self.read.as_ref()
    }

    /// Another number whenever something here has changed.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Nothing was read of any task or thread.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty() && self.threads.is_empty()
    }

    /// Takes in what a frame says of waiting.
    pub(super) fn apply(&mut self, frame: &Frame) {
        let updates = frame.await_shapes.len()
            + frame.task_waits.len()
            + frame.thread_waits.len()
            + frame.wait_resources.len();
        if updates > 0 || frame.waits_read.is_some() {
            self.revision += 1;
        }
        for shape in &frame.await_shapes {
            self.learn(shape);
        }
        for update in &frame.wait_resources {
            if update.gone {
                self.resources.remove(&update.id);
            } else if self.resources.len() < MAX_RESOURCES
                || self.resources.contains_key(&update.id)
            {
                self.resources.insert(update.id, WaitResource::new(update));
            }
        }
        for update in &frame.task_waits {
            let id = TaskId(update.task);
            let has_room = self.tasks.len() < MAX_TASKS || self.tasks.contains_key(&id);
            match self.shapes.get(&update.shape) {
                Some(shape) if has_room => {
                    let wait = TaskWait::new(update, Arc::clone(shape));
                    self.tasks.insert(id, wait);
                }
                _ => {
                    self.tasks.remove(&id);
                }
            }
        }
        for update in &frame.thread_waits {
            let tid = Tid(update.tid);
            if update.gone {
                self.threads.remove(&tid);
            } else if self.threads.len() < MAX_THREADS || self.threads.contains_key(&tid) {
                self.threads.insert(tid, ThreadWait::new(update));
            }
        }
        if let Some(read) = &frame.waits_read {
            self.read = Some(WaitsRead::new(read));
        }
    }

    /// A task has gone, or on.
    pub(super) fn forget(&mut self, id: TaskId) {
        if self.tasks.remove(&id).is_some() {
            self.revision += 1;
        }
    }

    fn learn(&mut self, shape: &proto::AwaitShape) {
        if self.shapes.len() >= MAX_SHAPES && !self.shapes.contains_key(&shape.id) {
            // Those that no task has may go.
            self.shapes.retain(|_, known| Arc::strong_count(known) > 1);
            if self.shapes.len() >= MAX_SHAPES {
                return;
            }
        }
        if let Some(new) = AwaitShape::new(shape) {
            self.shapes.insert(shape.id, Arc::new(new));
        }
    }

    pub(super) fn shapes_to_wire(&self) -> Vec<proto::AwaitShape> {
        let mut shapes: Vec<_> = self.shapes.values().map(|s| s.to_wire()).collect();
        shapes.sort_unstable_by_key(|shape| shape.id);
        shapes
    }

    pub(super) fn threads_to_wire(&self) -> Vec<proto::ThreadWait> {
        self.threads().map(ThreadWait::to_wire).collect()
    }

    pub(super) fn resources_to_wire(&self) -> Vec<proto::WaitResource> {
        self.resources()
            .map(|resource| resource.to_wire())
            .collect()
    }

    pub(super) fn read_to_wire(&self) -> Option<proto::WaitsRead> {
        self.read.as_ref().map(WaitsRead::to_wire)
    }
}

impl AwaitShape {
    /// `None` where its nodes are no tree, or too many.
    fn new(shape: &proto::AwaitShape) -> Option<Self> {
        if shape.id == 0 || shape.nodes.is_empty() || shape.nodes.len() > MAX_NODES {
            return None;
        }
        let mut deepest = 0;
        let mut nodes = Vec::with_capacity(shape.nodes.len());
        for (at, node) in shape.nodes.iter().enumerate() {
            if node.depth > deepest || (node.depth == 0) != (at == 0) {
                return None;
            }
            deepest = node.depth + 1;
            nodes.push(AwaitNode {
                depth: node.depth,
                kind: node.kind(),
                future: text(node.future),
                location: location(node.location),
                by_macro: node.by_macro,
                link: node.link(),
            });
        }
        Some(Self {
            id: shape.id,
            nodes,
            by: shape.by(),
            cut: text(shape.cut),
        })
    }

    /// The nodes right below one.
    pub fn children(&self, node: usize) -> impl Iterator<Item = usize> {
        let depth = self.nodes.get(node).map_or(u32::MAX, |node| node.depth);
        let below = self.nodes.iter().enumerate().skip(node + 1);
        let below = below.take_while(move |(_, other)| other.depth > depth);
        let right = below.filter(move |(_, other)| other.depth == depth.saturating_add(1));
        right.map(|(at, _)| at)
    }

    /// The node above one.
    pub fn parent(&self, node: usize) -> Option<usize> {
        let depth = self.nodes.get(node)?.depth;
        self.nodes[..node]
            .iter()
            .rposition(|other| other.depth < depth)
    }

    fn to_wire(&self) -> proto::AwaitShape {
        let nodes = self.nodes.iter().map(|node| proto::AwaitNode {
            depth: node.depth,
            kind: node.kind.into(),
            future: id(node.future),
            location: node.location.map_or(0, |id| id.0),
            by_macro: node.by_macro,
            link: node.link.into(),
        });
        proto::AwaitShape {
            id: self.id,
            nodes: nodes.collect(),
            by: self.by.into(),
            cut: id(self.cut),
        }
    }
}

impl TaskWait {
    fn new(update: &proto::TaskWait, shape: Arc<AwaitShape>) -> Self {
        let nodes = shape.nodes.len() as u32;
        let wants = update.wants.iter().filter(|want| want.node < nodes);
        let holds = update.holds.iter().filter(|hold| hold.node < nodes);
        let wants: Box<[Want]> = wants.take(MAX_EACH).map(Want::new).collect();
        Self {
            task: TaskId(update.task),
            shape,
            holds: holds.take(MAX_EACH).map(Hold::new).collect(),
            since: Moment(update.since_ns),
            read_at: Moment(update.read_at_ns),
            certain: update.certain,
            scheduled: update.scheduled,
            // All of what it waits for is here.
            wakers_known: update.wakers_known && update.wants.len() == wants.len(),
            wants,
        }
    }

    pub(super) fn to_wire(&self) -> proto::TaskWait {
        proto::TaskWait {
            task: self.task.0,
            shape: self.shape.id,
            wants: self.wants.iter().map(|want| want.to_wire()).collect(),
            holds: self.holds.iter().map(|hold| hold.to_wire()).collect(),
            since_ns: self.since.0,
            read_at_ns: self.read_at.0,
            certain: self.certain,
            scheduled: self.scheduled,
            wakers_known: self.wakers_known,
        }
    }
}

impl Want {
    fn new(want: &proto::Want) -> Self {
        Self {
            node: want.node,
            kind: want.kind(),
            resource: (want.resource != 0).then_some(want.resource),
            amount: want.amount,
            given: want.given,
            task: want.task.map(TaskId),
            job: want.job(),
            due: want.due_ns.map(Moment),
            object: text(want.object),
            interest: want.interest(),
            descriptor: want.descriptor,
        }
    }

    fn to_wire(self) -> proto::Want {
        proto::Want {
            node: self.node,
            kind: self.kind.into(),
            resource: self.resource.unwrap_or_default(),
            amount: self.amount,
            given: self.given,
            task: self.task.map(|task| task.0),
            job: self.job.into(),
            due_ns: self.due.map(|at| at.0),
            object: id(self.object),
            interest: self.interest.into(),
            descriptor: self.descriptor,
        }
    }
}

impl Hold {
    fn new(hold: &proto::Hold) -> Self {
        Self {
            node: hold.node,
            resource: hold.resource,
            role: hold.role(),
            amount: hold.amount,
            name: text(hold.name),
            certain: hold.certain,
        }
    }

    fn to_wire(self) -> proto::Hold {
        proto::Hold {
            node: self.node,
            resource: self.resource,
            role: self.role.into(),
            amount: self.amount,
            name: id(self.name),
            certain: self.certain,
        }
    }
}

impl ThreadWait {
    fn new(update: &proto::ThreadWait) -> Self {
        Self {
            tid: Tid(update.tid),
            want: update.want.as_ref().map(Want::new),
            holds: update.holds.iter().take(MAX_EACH).map(Hold::new).collect(),
            task: update.task.map(TaskId),
            since: Moment(update.since_ns),
            function: text(update.function),
            location: location(update.location),
        }
    }

    fn to_wire(&self) -> proto::ThreadWait {
        proto::ThreadWait {
            tid: self.tid.0,
            want: self.want.map(Want::to_wire),
            holds: self.holds.iter().map(|hold| hold.to_wire()).collect(),
            task: self.task.map(|task| task.0),
            since_ns: self.since.0,
            function: id(self.function),
            location: self.location.map_or(0, |id| id.0),
            gone: false,
        }
    }
}

impl WaitResource {
    fn new(update: &proto::WaitResource) -> Self {
        Self {
            id: update.id,
            kind: update.kind(),
            free: update.free,
            total: update.total,
            queued: update.queued,
            senders: update.senders,
            holders_known: update.holders_known,
            name: text(update.name),
            location: location(update.location),
        }
    }

    fn to_wire(self) -> proto::WaitResource {
        proto::WaitResource {
            id: self.id,
            kind: self.kind.into(),
            free: self.free,
            total: self.total,
            queued: self.queued,
            senders: self.senders,
            holders_known: self.holders_known,
            name: id(self.name),
            location: self.location.map_or(0, |id| id.0),
            gone: false,
        }
    }
}

impl WaitsRead {
    fn new(read: &proto::WaitsRead) -> Self {
        let not_read = read.not_read.iter().copied().filter_map(text);
        Self {
            idle: read.idle,
            read: read.read,
            partial: read.partial,
            without: read.without,
            without_reason: text(read.without_reason),
            complete: read.complete,
            cpu: Duration::from_nanos(read.cpu_ns),
            not_read: not_read.take(MAX_NOT_READ).collect(),
        }
    }

    fn to_wire(&self) -> proto::WaitsRead {
        proto::WaitsRead {
            idle: self.idle,
            read: self.read,
            partial: self.partial,
            without: self.without,
            without_reason: id(self.without_reason),
            complete: self.complete,
            cpu_ns: super::ids::nanos(self.cpu),
            not_read: self.not_read.iter().map(|text| text.0).collect(),
        }
    }
}

impl Model {
    /// What a job of the blocking pool does, where a thread runs it or somebody waits for
    /// its end; `None` for what is no job, or not known as one. Asks all who wait.
    pub fn job(&self, id: TaskId) -> Option<JobState> {
        if self.tasks.get(id).is_some() {
            return None;
        }
        let runs = |thread: &ThreadWait| thread.task == Some(id) && self.is_of_the_pool(thread.tid);
        if self.waits.threads().any(runs) {
            return Some(JobState::Running);
        }
        let of_threads = self
            .waits
            .threads()
            .filter_map(|thread| thread.want.as_ref());
        let of_tasks = self.waits.tasks().flat_map(|wait| &wait.wants);
        let mut wants = of_threads.chain(of_tasks);
        let state = wants.find(|want| want.task == Some(id))?.job;
        (state != JobState::Unknown).then_some(state)
    }

    /// The thread that runs a job of the blocking pool, as far as that is seen.
    pub fn runs_job(&self, id: TaskId) -> Option<&ThreadWait> {
        let mut threads = self.waits.threads();
        threads.find(|thread| thread.task == Some(id) && self.is_of_the_pool(thread.tid))
    }

    /// Threads of the blocking pool that run a job, as far as that is seen.
    pub fn jobs(&self) -> impl Iterator<Item = (&ThreadWait, TaskId)> {
        self.waits.threads().filter_map(|thread| {
            let job = thread.task?;
            let is_job = self.is_of_the_pool(thread.tid) && self.tasks.get(job).is_none();
            is_job.then_some((thread, job))
        })
    }

    fn is_of_the_pool(&self, tid: Tid) -> bool {
        let thread = self.threads.get(&tid);
        thread.is_some_and(|thread| thread.role == ThreadRole::Blocking)
    }

    /// Since when a task waits as it does, and whether that is exact: it is where the end
    /// of its last poll is known, otherwise it waits so at least since then.
    pub fn waits_since(&self, wait: &TaskWait) -> (Moment, bool) {
        let idle = self.tasks.get(wait.task).and_then(Task::idle_since);
        idle.map_or((wait.since, false), |since| (since, true))
    }

    /// A task in these states waits for nothing that was read before.
    pub(super) fn has_gone_on(state: TaskState) -> bool {
        matches!(state, TaskState::Running | TaskState::Completed)
    }
}

fn text(id: u32) -> Option<TextId> {
    (id != 0).then_some(TextId(id))
}

fn location(id: u32) -> Option<LocationId> {
    (id != 0).then_some(LocationId(id))
}

fn id(text: Option<TextId>) -> u32 {
    text.map_or(0, |text| text.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures;

    fn node(depth: u32) -> proto::AwaitNode {
        proto::AwaitNode {
            depth,
            ..proto::AwaitNode::default()
        }
    }

    fn shape(id: u32, depths: &[u32]) -> proto::AwaitShape {
        proto::AwaitShape {
            id,
            nodes: depths.iter().copied().map(node).collect(),
            ..proto::AwaitShape::default()
        }
    }

    #[test]
    fn what_is_no_tree_is_no_shape() {
        for (id, depths, expected) in [
            (1, &[0, 1, 2, 1, 2, 2][..], true),
            (1, &[0], true),
            (0, &[0], false),
            (1, &[], false),
            (1, &[1], false),
            (1, &[0, 0], false),
            (1, &[0, 2], false),
            (1, &[0, 1, 3], false),
        ] {
            let found = AwaitShape::new(&shape(id, depths)).is_some();
            assert_eq!(found, expected, "{id} {depths:?}");
        }
        let many = vec![1; MAX_NODES];
        let mut many = shape(1, &many);
        many.nodes[0] = node(0);
        assert!(AwaitShape::new(&many).is_some());
        many.nodes.push(node(1));
        assert!(AwaitShape::new(&many).is_none());
    }

    #[test]
    fn a_tree_says_who_is_above_and_below() {
        let shape = AwaitShape::new(&shape(1, &[0, 1, 2, 2, 1, 2, 3])).unwrap();
        let children = |node| shape.children(node).collect::<Vec<_>>();
        assert_eq!(children(0), [1, 4]);
        assert_eq!(children(1), [2, 3]);
        assert_eq!(children(3), [0; 0]);
        assert_eq!(children(5), [6]);
        assert_eq!(children(99), [0; 0]);
        let parents: Vec<_> = (0..8).map(|node| shape.parent(node)).collect();
        let expected = [None, Some(0), Some(1), Some(1), Some(0), Some(4), Some(5)];
        assert_eq!(parents[..7], expected);
        assert_eq!(parents[7], None);
    }

    #[test]
    fn a_wait_is_void_once_its_task_goes_on() {
        for state in [
            proto::TaskState::Idle,
            proto::TaskState::Running,
            proto::TaskState::Completed,
        ] {
            let mut model = fixtures::waits();
            let id = TaskId(1);
            assert!(model.waits.task(id).is_some());
            let revision = model.waits.revision();
            let mut tasks = proto::Tasks::default();
            let record = looptop_wire::columns::Record {
                id: id.0,
                state,
                ..looptop_wire::columns::Record::default()
            };
            looptop_wire::columns::push(&mut tasks, &record);
            let frame = Frame {
                tasks: Some(tasks),
                ..fixtures::frame(model.now.plus(Duration::from_secs(1)))
            };
            model.apply(&frame).unwrap();
            let stays = state == proto::TaskState::Idle;
            assert_eq!(model.waits.task(id).is_some(), stays, "{state:?}");
            assert_eq!(model.waits.revision() == revision, stays, "{state:?}");
        }
        let mut model = fixtures::waits();
        let void = proto::TaskWait {
            task: 1,
            ..proto::TaskWait::default()
        };
        let frame = Frame {
            task_waits: vec![void],
            forgotten_tasks: vec![2],
            ..fixtures::frame(model.now)
        };
        model.apply(&frame).unwrap();
        let left = [1, 2].map(|id| model.waits.task(TaskId(id)).is_some());
        assert_eq!(left, [false, false]);
    }

    #[test]
    fn a_keyframe_says_all_of_it() {
        let model = fixtures::waits();
        let mut copy = Model::new(&fixtures::hello());
        for frame in model.keyframes() {
            copy.apply(&frame).unwrap();
        }
        let all = |model: &Model| {
            let waits = &model.waits;
            (
                waits.tasks().cloned().collect::<Vec<_>>(),
                waits.threads().cloned().collect::<Vec<_>>(),
                waits.resources().copied().collect::<Vec<_>>(),
                waits.read().cloned(),
            )
        };
        assert!(!copy.waits.is_empty());
        assert_eq!(all(&copy), all(&model));
    }

    #[test]
    fn shapes_that_nobody_has_make_room() {
        let mut waits = Waits::default();
        for id in 1..=MAX_SHAPES as u32 + 10 {
            let wait = proto::TaskWait {
                task: u64::from(id),
                shape: id,
                ..proto::TaskWait::default()
            };
            let frame = Frame {
                await_shapes: vec![shape(id, &[0])],
                task_waits: (id <= 5).then_some(wait).into_iter().collect(),
                ..Frame::default()
            };
            waits.apply(&frame);
            assert!(waits.shapes.len() <= MAX_SHAPES);
        }
        assert!((1..=5).all(|id| waits.task(TaskId(id)).is_some()));
        assert!(waits.shapes.contains_key(&(MAX_SHAPES as u32 + 10)));
    }
}
