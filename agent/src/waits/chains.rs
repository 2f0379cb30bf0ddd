//! Where tasks and threads wait, as records of the wire.

use std::collections::HashMap;
use std::sync::Arc;

use looptop_outside::awaits::{By, Interest, Link, NodeKind, Role};
use looptop_outside::tasks::{AddressMap, TaskState};
use looptop_outside::waiting::{
    Found, Hold, ReadSoFar, ResourceFact, Shape, ShapeNode, TaskAt, TaskWait, ThreadWait, Want,
    What,
};
use looptop_outside::waits::ResourceKind;
use looptop_wire::intern::Interner;
use looptop_wire::proto::{self, Frame, HoldRole, WantKind};

use super::seen::Seen;
use crate::clock;
use crate::ids::Tid;
use crate::publish::Table;

/// What is known of waiting.
#[derive(Debug, Default)]
pub(super) struct Chains {
    shapes: Table<u32, proto::AwaitShape>,
    /// By the reader's numbers, which begin anew with each reader, those on the wire, which
    /// never do.
    numbers: HashMap<u32, u32>,
    newest_shape: u32,
    /// By where the task is.
    tasks: Table<u64, proto::TaskWait>,
    threads: Table<u64, proto::ThreadWait>,
    resources: Table<u64, proto::WaitResource>,
    read: Option<proto::WaitsRead>,
    read_has_changed: bool,
}

/// How the session calls what the reader names.
pub(super) struct Session<'a> {
    /// A task's id.
    pub(super) task: &'a dyn Fn(TaskAt) -> u64,
    /// The agent's own threads.
    pub(super) own: &'a [Tid],
    /// What to add to the system's monotonic clock to get the frames'.
    pub(super) monotonic_offset_ns: i64,
}

impl Chains {
    /// Takes in what a reader has found.
    pub(super) fn take(
        &mut self,
        found: &Found,
        cpu_ns: u64,
        session: &Session<'_>,
        interner: &mut Interner,
    ) {
        for (number, shape) in &found.shapes {
            self.newest_shape += 1;
            let id = self.newest_shape;
            self.numbers.insert(*number, id);
            self.shapes.set(id, await_shape(id, shape, interner));
        }
        for resource in &found.resources {
            let record = wait_resource(resource, interner);
            self.resources.set(record.id, record);
        }
        for address in &found.resources_void {
            let gone = proto::WaitResource {
                id: *address,
                gone: true,
                ..proto::WaitResource::default()
            };
            self.resources.remove(address, gone);
        }
        for wait in &found.tasks {
            if let Some(shape) = self.numbers.get(&wait.shape) {
                let record = task_wait(wait, *shape, session, interner);
                self.tasks.set(wait.task.header, record);
            }
        }
        for task in &found.void {
            self.tasks.remove(&task.header, void((session.task)(*task)));
        }
        for wait in &found.threads {
            if !session.own.contains(&Tid(wait.tid)) {
                let record = thread_wait(wait, session, interner);
                self.threads.set(record.tid, record);
            }
        }
        for tid in &found.threads_void {
            self.threads.remove(tid, gone(*tid));
        }
        let read = waits_read(&found.read, cpu_ns, interner);
        self.read_has_changed |= self.read.as_ref() != Some(&read);
        self.read = Some(read);
    }

    /// Keeps what is said of tasks that still wait.
    pub(super) fn keep_waiting(&mut self, seen: &Seen, id: impl Fn(TaskAt) -> u64) {
        let waits = |state| matches!(state, TaskState::Idle | TaskState::Scheduled);
        let tasks = seen.tasks.iter().filter(|task| waits(task.state));
        let waiting: AddressMap<u64> = tasks
            .map(|task| {
                let (header, id_of) = (task.header, task.id);
                (header, id(TaskAt { header, id: id_of }))
            })
            .collect();
        let known = self.tasks.iter();
        let gone = known.filter(|(header, wait)| waiting.get(header) != Some(&wait.task));
        let gone: Vec<_> = gone.map(|(header, wait)| (*header, wait.task)).collect();
        for (header, task) in gone {
            self.tasks.remove(&header, void(task));
        }
    }

    /// Nobody reads any more: all that was said is void.
    pub(super) fn forget(&mut self) {
        self.numbers.clear();
        self.shapes = Table::default();
        let tasks: Vec<_> = self.tasks.iter().map(|(at, w)| (*at, w.task)).collect();
        for (header, task) in tasks {
            self.tasks.remove(&header, void(task));
        }
        let threads: Vec<u64> = self.threads.iter().map(|(tid, _)| *tid).collect();
        for tid in threads {
            self.threads.remove(&tid, gone(tid));
        }
        let resources: Vec<u64> = self.resources.iter().map(|(id, _)| *id).collect();
        for id in resources {
            let gone = proto::WaitResource {
                id,
                gone: true,
                ..proto::WaitResource::default()
            };
            self.resources.remove(&id, gone);
        }
        self.read = None;
        self.read_has_changed = false;
    }

    /// Adds what changed to a frame; whether there was anything.
    pub(super) fn add_changes(&mut self, frame: &mut Frame) -> bool {
        frame.await_shapes = self.shapes.take_changes();
        frame.wait_resources = self.resources.take_changes();
        frame.task_waits = self.tasks.take_changes();
        frame.thread_waits = self.threads.take_changes();
        if std::mem::take(&mut self.read_has_changed) {
            frame.waits_read.clone_from(&self.read);
        }
        !(frame.await_shapes.is_empty()
            && frame.wait_resources.is_empty()
            && frame.task_waits.is_empty()
            && frame.thread_waits.is_empty()
            && frame.waits_read.is_none())
    }

    /// Adds all that is known.
    pub(super) fn add_all(&self, frame: &mut Frame) {
        frame.await_shapes = self.shapes.all();
        frame.wait_resources = self.resources.all();
        frame.task_waits = self.tasks.all();
        frame.thread_waits = self.threads.all();
        frame.waits_read.clone_from(&self.read);
    }
}

fn void(task: u64) -> proto::TaskWait {
    proto::TaskWait {
        task,
        ..proto::TaskWait::default()
    }
}

fn gone(tid: u64) -> proto::ThreadWait {
    proto::ThreadWait {
        tid,
        gone: true,
        ..proto::ThreadWait::default()
    }
}

fn await_shape(id: u32, shape: &Shape, interner: &mut Interner) -> proto::AwaitShape {
    proto::AwaitShape {
        id,
        nodes: shape
            .nodes
            .iter()
            .map(|n| await_node(n, interner))
            .collect(),
        by: match shape.by {
            By::Types => proto::AwaitsBy::Types,
            By::Interpreter => proto::AwaitsBy::Interpreter,
        }
        .into(),
        cut: text(shape.cut.as_ref(), interner),
    }
}

fn await_node(node: &ShapeNode, interner: &mut Interner) -> proto::AwaitNode {
    let at = node.location.as_ref();
    proto::AwaitNode {
        depth: node.depth,
        kind: match node.kind {
            NodeKind::AsyncFn => proto::AwaitKind::AsyncFn,
            NodeKind::AsyncBlock => proto::AwaitKind::AsyncBlock,
            NodeKind::Select => proto::AwaitKind::Select,
            NodeKind::Join => proto::AwaitKind::Join,
            NodeKind::Wrapper => proto::AwaitKind::Wrapper,
            NodeKind::Combinator => proto::AwaitKind::Combinator,
            NodeKind::Leaf => proto::AwaitKind::Leaf,
        }
        .into(),
        future: interner.type_name(&node.name),
        location: at.map_or(0, |at| interner.location(&at.file, at.line, 0)),
        by_macro: node.by_macro,
        link: match node.link {
            Link::Awaited => proto::AwaitLink::Awaited,
            Link::NotStarted => proto::AwaitLink::NotStarted,
            Link::Kept => proto::AwaitLink::Kept,
        }
        .into(),
    }
}

fn task_wait(
    wait: &TaskWait,
    shape: u32,
    session: &Session<'_>,
    interner: &mut Interner,
) -> proto::TaskWait {
    let wants = wait.wants.iter();
    proto::TaskWait {
        task: (session.task)(wait.task),
        shape,
        wants: wants.map(|w| self::want(w, session, interner)).collect(),
        holds: wait.holds.iter().map(|h| hold(h, interner)).collect(),
        since_ns: clock::at_ns(wait.since),
        read_at_ns: clock::at_ns(wait.read_at),
        certain: wait.is_certain,
        scheduled: wait.is_scheduled,
        wakers_known: wait.wakers_known,
    }
}

fn thread_wait(
    wait: &ThreadWait,
    session: &Session<'_>,
    interner: &mut Interner,
) -> proto::ThreadWait {
    let place = wait.place.as_ref();
    proto::ThreadWait {
        tid: wait.tid,
        want: wait.want.as_ref().map(|w| want(w, session, interner)),
        holds: wait.holds.iter().map(|h| hold(h, interner)).collect(),
        task: wait.task.map(session.task),
        since_ns: clock::at_ns(wait.since),
        function: text(wait.function.as_ref(), interner),
        location: place.map_or(0, |(file, line)| interner.location(file, *line, 0)),
        gone: false,
    }
}

fn want(want: &Want, session: &Session<'_>, interner: &mut Interner) -> proto::Want {
    let of = |kind: WantKind, resource: u64| proto::Want {
        node: want.node,
        kind: kind.into(),
        resource,
        ..proto::Want::default()
    };
    match &want.what {
        What::Permits {
            resource,
            amount,
            given,
        } => proto::Want {
            amount: *amount,
            given: *given,
            ..of(WantKind::Permits, *resource)
        },
        What::Message { resource } => of(WantKind::Message, *resource),
        What::Room { resource } => of(WantKind::Room, *resource),
        What::Other { resource } => of(WantKind::Other, *resource),
        What::Task(task) => proto::Want {
            task: task.map(session.task),
            ..of(WantKind::Task, 0)
        },
        What::Job { job, has_begun } => proto::Want {
            task: Some((session.task)(*job)),
            job: if *has_begun {
                proto::JobState::Running
            } else {
                proto::JobState::Queued
            }
            .into(),
            ..of(WantKind::Task, 0)
        },
        What::Timer { due } => {
            let due_ns = u64::try_from(due.as_nanos()).unwrap_or(u64::MAX);
            proto::Want {
                due_ns: Some(due_ns.saturating_add_signed(session.monotonic_offset_ns)),
                ..of(WantKind::Timer, 0)
            }
        }
        What::Socket {
            descriptor,
            interest,
            object,
        } => proto::Want {
            object: object.as_ref().map_or(0, |name| {
                // Each connection has a name of its own.
                interner.passing(name).unwrap_or(0)
            }),
            interest: match interest {
                Interest::Readable => proto::Interest::Readable,
                Interest::Writable => proto::Interest::Writable,
                Interest::Unknown => proto::Interest::Unknown,
            }
            .into(),
            descriptor: descriptor.and_then(|fd| u32::try_from(fd).ok()),
            ..of(WantKind::Socket, 0)
        },
        What::Never => of(WantKind::Never, 0),
    }
}

fn hold(hold: &Hold, interner: &mut Interner) -> proto::Hold {
    proto::Hold {
        node: hold.node,
        resource: hold.resource,
        role: match hold.role {
            Role::Guard => HoldRole::Permits,
            Role::Receiver => HoldRole::Receiver,
            Role::Sender => HoldRole::Sender,
        }
        .into(),
        amount: hold.amount,
        name: text(hold.name.as_ref(), interner),
        certain: hold.is_certain,
    }
}

fn wait_resource(fact: &ResourceFact, interner: &mut Interner) -> proto::WaitResource {
    use proto::ResourceKind as Wire;
    proto::WaitResource {
        id: fact.address,
        kind: match fact.kind {
            ResourceKind::Mutex => Wire::Mutex,
            ResourceKind::RwLock => Wire::RwLock,
            ResourceKind::Semaphore => Wire::Semaphore,
            ResourceKind::OnceCell => Wire::OnceCell,
            ResourceKind::Notify => Wire::Notify,
            ResourceKind::Oneshot => Wire::Oneshot,
            ResourceKind::Mpsc => Wire::Mpsc,
            ResourceKind::Watch => Wire::Watch,
            ResourceKind::Broadcast => Wire::Broadcast,
            ResourceKind::Barrier => Wire::Barrier,
            ResourceKind::StdMutex => Wire::StdMutex,
            ResourceKind::StdRwLock => Wire::StdRwLock,
            ResourceKind::ParkingLotMutex => Wire::ParkingLotMutex,
            ResourceKind::ParkingLotRwLock => Wire::ParkingLotRwLock,
            ResourceKind::Other => Wire::Unknown,
        }
        .into(),
        free: fact.free,
        total: fact.total,
        queued: fact.queued,
        senders: fact.senders,
        holders_known: fact.holders_known == Some(true),
        name: text(fact.name.as_ref(), interner),
        location: 0,
        gone: false,
    }
}

fn waits_read(read: &ReadSoFar, cpu_ns: u64, interner: &mut Interner) -> proto::WaitsRead {
    let not_read = read.not_read.iter();
    proto::WaitsRead {
        idle: read.idle,
        read: read.read,
        partial: read.partial,
        without: read.without,
        without_reason: text(read.without_reason.as_ref(), interner),
        complete: read.is_complete,
        cpu_ns,
        not_read: not_read.map(|what| interner.string(what)).collect(),
    }
}

fn text(text: Option<&Arc<str>>, interner: &mut Interner) -> u32 {
    text.map_or(0, |text| interner.string(text))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::waits::seen::Task;

    const OWN: u64 = 99;

    /// A task in `acquire`, which waits for a permit of what a mutex is.
    fn shape() -> Arc<Shape> {
        let node = |depth, kind, name: &str| ShapeNode {
            depth,
            kind,
            name: name.into(),
            location: None,
            by_macro: false,
            link: Link::Awaited,
        };
        Arc::new(Shape {
            nodes: vec![
                node(0, NodeKind::AsyncFn, "app::serve::{async_fn_env#0}"),
                node(1, NodeKind::Leaf, "tokio::sync::batch_semaphore::Acquire"),
            ],
            by: By::Types,
            cut: None,
            poll: None,
        })
    }

    fn at(header: u64) -> TaskAt {
        TaskAt {
            header,
            id: header / 0x40,
        }
    }

    fn waits(header: u64, shape: u32, what: What) -> TaskWait {
        TaskWait {
            task: at(header),
            shape,
            wants: vec![Want { node: 1, what }],
            holds: Vec::new(),
            since: Instant::now(),
            read_at: Instant::now(),
            is_certain: true,
            is_scheduled: false,
            wakers_known: false,
        }
    }

    fn thread(tid: u64) -> ThreadWait {
        ThreadWait {
            tid,
            want: None,
            holds: vec![Hold {
                node: 0,
                resource: 0x1000,
                role: Role::Guard,
                amount: 1,
                name: Some("guard".into()),
                is_certain: false,
            }],
            task: Some(at(0x40)),
            since: Instant::now(),
            function: Some("app::write".into()),
            place: Some(("src/main.rs".into(), 9)),
            frames: Vec::new(),
            call: None,
        }
    }

    fn permits(resource: u64) -> What {
        What::Permits {
            resource,
            amount: 1,
            given: 0,
        }
    }

    fn resource(address: u64) -> ResourceFact {
        ResourceFact {
            address,
            kind: ResourceKind::Mutex,
            free: Some(0),
            total: Some(1),
            queued: None,
            senders: None,
            holders_known: None,
            name: Some("registry".into()),
        }
    }

    fn found() -> Found {
        Found {
            shapes: vec![(1, shape())],
            tasks: vec![
                waits(0x40, 1, permits(0x1000)),
                waits(0x80, 1, What::Task(Some(at(0x40)))),
            ],
            threads: vec![thread(7), thread(OWN)],
            resources: vec![resource(0x1000)],
            ..Found::default()
        }
    }

    fn take(chains: &mut Chains, found: &Found) -> (Frame, Vec<String>) {
        let mut interner = Interner::default();
        let session = Session {
            task: &|task| task.id + 1_000,
            own: &[Tid(OWN)],
            monotonic_offset_ns: -5,
        };
        chains.take(found, 3, &session, &mut interner);
        let mut frame = Frame::default();
        chains.add_changes(&mut frame);
        let texts = interner.take_strings().into_iter().map(|s| s.text);
        (frame, texts.collect())
    }

    #[test]
    fn what_was_found_is_sent_with_the_sessions_names() {
        let mut chains = Chains::default();
        let (frame, texts) = take(&mut chains, &found());
        let shape = &frame.await_shapes[0];
        assert_eq!((shape.id, shape.nodes.len()), (1, 2));
        let name = &texts[shape.nodes[0].future as usize - 1];
        assert_eq!(name, "app::serve::{async_fn_env#0}");
        let tasks: Vec<_> = frame.task_waits.iter().map(|t| (t.task, t.shape)).collect();
        assert_eq!(tasks, [(1_001, 1), (1_002, 1)]);
        let wants = [&frame.task_waits[0].wants[0], &frame.task_waits[1].wants[0]];
        assert_eq!(
            (wants[0].kind(), wants[0].resource),
            (WantKind::Permits, 0x1000)
        );
        assert_eq!(
            (wants[1].kind(), wants[1].task),
            (WantKind::Task, Some(1_001))
        );
        // The agent's own are nobody's business.
        let threads: Vec<_> = frame.thread_waits.iter().map(|t| t.tid).collect();
        assert_eq!(threads, [7]);
        assert_eq!(frame.thread_waits[0].task, Some(1_001));
        let resource = &frame.wait_resources[0];
        assert_eq!(resource.kind(), proto::ResourceKind::Mutex);
        assert_eq!(frame.waits_read.as_ref().map(|read| read.cpu_ns), Some(3));
        // The same again is nothing new.
        let (again, _) = take(
            &mut chains,
            &Found {
                resources: vec![super::tests::resource(0x1000)],
                ..Found::default()
            },
        );
        assert!(again.task_waits.is_empty() && again.await_shapes.is_empty());
        let mut all = Frame::default();
        chains.add_all(&mut all);
        assert_eq!((all.await_shapes.len(), all.task_waits.len()), (1, 2));
    }

    #[test]
    fn a_timer_is_due_on_the_frames_clock() {
        let mut chains = Chains::default();
        let timer = What::Timer {
            due: Duration::from_nanos(100),
        };
        let found = Found {
            shapes: vec![(1, shape())],
            tasks: vec![waits(0x40, 1, timer)],
            ..Found::default()
        };
        let (frame, _) = take(&mut chains, &found);
        assert_eq!(frame.task_waits[0].wants[0].due_ns, Some(95));
    }

    #[test]
    fn what_is_void_is_said_and_not_kept() {
        let mut chains = Chains::default();
        take(&mut chains, &found());
        let void = Found {
            void: vec![at(0x40)],
            threads_void: vec![7],
            resources_void: vec![0x1000],
            ..Found::default()
        };
        let (frame, _) = take(&mut chains, &void);
        let tasks: Vec<_> = frame.task_waits.iter().map(|t| (t.task, t.shape)).collect();
        assert_eq!(tasks, [(1_001, 0)]);
        assert!(frame.thread_waits[0].gone && frame.wait_resources[0].gone);
        // One that runs, or is not listed any more, waits no longer.
        let task = |state| Task {
            header: 0x80,
            id: 2,
            state,
            local: false,
            list: 1,
            runtime: None,
            spawned_at: None,
            future: None,
            size: None,
        };
        let seen = |state| Seen {
            tasks: vec![task(state)],
            ..Seen::default()
        };
        let id = |task: TaskAt| task.id + 1_000;
        let mut kept = |state| {
            chains.keep_waiting(&seen(state), id);
            let mut frame = Frame::default();
            chains.add_changes(&mut frame);
            frame.task_waits
        };
        assert!(kept(TaskState::Scheduled).is_empty());
        let gone = kept(TaskState::Running);
        assert_eq!((gone[0].task, gone[0].shape), (1_002, 0));
    }

    #[test]
    fn another_reader_begins_anew_and_its_shapes_have_other_numbers() {
        let mut chains = Chains::default();
        take(&mut chains, &found());
        chains.forget();
        let mut frame = Frame::default();
        chains.add_changes(&mut frame);
        assert!(frame.task_waits.iter().all(|wait| wait.shape == 0));
        assert!(frame.thread_waits.iter().all(|wait| wait.gone));
        let (frame, _) = take(&mut chains, &found());
        assert_eq!(frame.await_shapes[0].id, 2);
        assert_eq!(frame.task_waits[0].shape, 2);
    }
}
