//! Where tasks and threads wait, in looptop's normal form.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    time::{Duration, Instant},
};

use looptop_outside::{
    awaits::{By, Interest, Link, NodeKind, Role},
    waiting::{Hold, ResourceFact, Shape, ShapeNode, TaskAt, TaskWait, ThreadWait, Want, What},
    waits::ResourceKind,
};
use looptop_wire::{
    intern::Interner,
    proto::{self, Frame, WaitsRead},
};

use super::{
    live::ns,
    seen::{Polled, Waits as Seen},
    tasks::Tasks,
};

/// What is known of waiting in one session.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// Shapes of an earlier reader have numbers up to this.
    base: u32,
    highest: u32,
    /// Threads that wait or hold.
    threads: BTreeMap<u64, ThreadWait>,
    /// Those of their frames.
    modules: Vec<(PathBuf, u64)>,
    /// Which thread holds a lock, and whether that is certain.
    holders: HashMap<u64, (u64, bool)>,
    /// Which tasks held locks, as the newest words say.
    task_holders: HashMap<u64, TaskHolds>,
}

/// A task that held a lock when it was read.
#[derive(Debug, Clone, Copy)]
struct TaskHolds {
    task: TaskAt,
    is_certain: bool,
    at: Instant,
}

/// Who holds a lock.
#[derive(Debug, Clone, Copy)]
pub(super) enum HeldBy<'a> {
    Thread(&'a ThreadWait),
    /// It is suspended.
    Task(TaskAt),
}

/// Tasks that hold locks which are remembered.
const MAX_TASK_HOLDERS: usize = 4_096;
/// A task that held a lock so long ago may have let it go: whoever holds it for longer is
/// in the model.
const LATELY: Duration = Duration::from_millis(300);

/// From the reader's instants to those of the frames.
#[derive(Debug, Clone, Copy)]
struct Clock<'a> {
    at_ns: u64,
    seen: &'a Seen,
}

impl Clock<'_> {
    fn of(self, instant: Instant) -> u64 {
        let ago = ns(self.seen.at.saturating_duration_since(instant));
        let ahead = ns(instant.saturating_duration_since(self.seen.at));
        self.at_ns.saturating_sub(ago).saturating_add(ahead)
    }

    /// A moment of the system's monotonic clock.
    fn due(self, due: Duration) -> Option<u64> {
        let now = self.seen.found.clock?;
        let (ahead, ago) = (due.saturating_sub(now), now.saturating_sub(due));
        Some(self.at_ns.saturating_add(ns(ahead)).saturating_sub(ns(ago)))
    }
}

impl Waits {
    /// What was read since the last word, as of `at_ns`.
    pub(super) fn frame(
        &mut self,
        at_ns: u64,
        seen: &Seen,
        tasks: &Tasks,
        interner: &mut Interner,
    ) -> Frame {
        let found = &seen.found;
        if found.shapes.first().is_some_and(|(number, _)| *number == 1) {
            // Another reader began to count.
            self.base = self.highest;
        }
        let clock = Clock { at_ns, seen };
        let mut words = Words {
            clock,
            tasks,
            interner,
            base: self.base,
        };
        let shapes = found.shapes.iter();
        let shapes: Vec<_> = shapes.map(|(n, shape)| words.shape(*n, shape)).collect();
        self.highest = shapes.iter().map(|s| s.id).fold(self.highest, u32::max);
        let void = found.void.iter().map(|task| proto::TaskWait {
            task: words.task_id(*task),
            ..proto::TaskWait::default()
        });
        let mut task_waits: Vec<_> = void.collect();
        task_waits.extend(found.tasks.iter().map(|wait| words.task(wait)));
        let threads = found.threads.iter();
        let mut thread_waits: Vec<_> = threads.map(|wait| words.thread(wait)).collect();
        thread_waits.extend(found.threads_void.iter().map(|tid| proto::ThreadWait {
            tid: *tid,
            gone: true,
            ..proto::ThreadWait::default()
        }));
        let resources = found.resources.iter();
        let mut wait_resources: Vec<_> = resources.map(|fact| words.resource(fact)).collect();
        let void = found.resources_void.iter();
        wait_resources.extend(void.map(|address| proto::WaitResource {
            id: *address,
            gone: true,
            ..proto::WaitResource::default()
        }));
        let waits_read = Some(words.read(seen));
        self.learn(seen);
        Frame {
            await_shapes: shapes,
            task_waits,
            thread_waits,
            wait_resources,
            waits_read,
            ..Frame::default()
        }
    }

    /// The modules of threads' frames.
    pub(super) fn modules(&self) -> &[(PathBuf, u64)] {
        &self.modules
    }

    fn learn(&mut self, seen: &Seen) {
        let modules = &seen.found.modules;
        if self.modules.len() != modules.len() {
            let modules = modules.iter().map(|m| (m.path.clone(), m.base));
            self.modules = modules.collect();
        }
        for tid in &seen.found.threads_void {
            self.threads.remove(tid);
        }
        for wait in &seen.found.threads {
            self.threads.insert(wait.tid, wait.clone());
        }
        self.task_holders
            .retain(|_, holds| seen.at.saturating_duration_since(holds.at) <= LATELY);
        for wait in &seen.found.tasks {
            for hold in wait.holds.iter().filter(|hold| hold.role == Role::Guard) {
                if self.task_holders.len() < MAX_TASK_HOLDERS {
                    let holds = TaskHolds {
                        task: wait.task,
                        is_certain: hold.is_certain,
                        at: seen.at,
                    };
                    self.task_holders.insert(hold.resource, holds);
                }
            }
        }
        self.holders.clear();
        for wait in self.threads.values() {
            for hold in &wait.holds {
                self.holders
                    .insert(hold.resource, (wait.tid, hold.is_certain));
            }
        }
    }

    /// Who holds the lock for which a thread waits, and whether that is certain.
    pub(super) fn holder(&self, waiter: u64) -> Option<(HeldBy<'_>, bool)> {
        let want = self.threads.get(&waiter)?.want.as_ref()?;
        let resource = want.what.resource()?;
        let thread = self.holders.get(&resource).and_then(|(tid, certain)| {
            let thread = self.threads.get(tid)?;
            Some((HeldBy::Thread(thread), *certain))
        });
        thread.or_else(|| {
            let holds = self.task_holders.get(&resource)?;
            Some((HeldBy::Task(holds.task), holds.is_certain))
        })
    }

    /// The threads that wait for locks.
    pub(super) fn waiters(&self) -> impl Iterator<Item = u64> {
        let waiters = self.threads.values().filter(|wait| {
            let want = wait.want.as_ref();
            want.is_some_and(|want| want.what.resource().is_some())
        });
        waiters.map(|wait| wait.tid)
    }
}

/// Says what was seen in the words of the wire.
struct Words<'a> {
    clock: Clock<'a>,
    tasks: &'a Tasks,
    interner: &'a mut Interner,
    base: u32,
}

impl Words<'_> {
    fn task_id(&self, task: TaskAt) -> u64 {
        self.tasks.id(Polled {
            header: task.header,
            id: task.id,
        })
    }

    fn shape(&mut self, number: u32, shape: &Shape) -> proto::AwaitShape {
        let nodes = shape.nodes.iter();
        proto::AwaitShape {
            id: self.base.saturating_add(number),
            nodes: nodes.map(|node| self.node(node)).collect(),
            by: match shape.by {
                By::Types => proto::AwaitsBy::Types,
                By::Interpreter => proto::AwaitsBy::Interpreter,
            }
            .into(),
            cut: self
                .interner
                .string(shape.cut.as_deref().unwrap_or_default()),
        }
    }

    fn node(&mut self, node: &ShapeNode) -> proto::AwaitNode {
        let location = node.location.as_ref();
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
            future: self.interner.type_name(&node.name),
            location: location.map_or(0, |place| {
                self.interner.location(&place.file, place.line, 0)
            }),
            by_macro: node.by_macro,
            link: match node.link {
                Link::Awaited => proto::AwaitLink::Awaited,
                Link::NotStarted => proto::AwaitLink::NotStarted,
                Link::Kept => proto::AwaitLink::Kept,
            }
            .into(),
        }
    }

    fn task(&mut self, wait: &TaskWait) -> proto::TaskWait {
        proto::TaskWait {
            task: self.task_id(wait.task),
            shape: self.base.saturating_add(wait.shape),
            wants: wait.wants.iter().map(|want| self.want(want)).collect(),
            holds: wait.holds.iter().map(|hold| self.hold(hold)).collect(),
            since_ns: self.clock.of(wait.since),
            read_at_ns: self.clock.of(wait.read_at),
            certain: wait.is_certain,
            scheduled: wait.is_scheduled,
            wakers_known: wait.wakers_known,
        }
    }

    fn thread(&mut self, wait: &ThreadWait) -> proto::ThreadWait {
        let function = wait.function.as_deref().unwrap_or_default();
        let place = wait.place.as_ref();
        proto::ThreadWait {
            tid: wait.tid,
            want: wait.want.as_ref().map(|want| self.want(want)),
            holds: wait.holds.iter().map(|hold| self.hold(hold)).collect(),
            task: wait.task.map(|task| self.task_id(task)),
            since_ns: self.clock.of(wait.since),
            function: self.interner.string(function),
            location: place.map_or(0, |(file, line)| self.interner.location(file, *line, 0)),
            gone: false,
        }
    }

    fn want(&mut self, want: &Want) -> proto::Want {
        let mut word = proto::Want {
            node: want.node,
            resource: want.what.resource().unwrap_or(0),
            ..proto::Want::default()
        };
        let kind = match &want.what {
            What::Permits { amount, given, .. } => {
                (word.amount, word.given) = (*amount, *given);
                proto::WantKind::Permits
            }
            What::Message { .. } => proto::WantKind::Message,
            What::Room { .. } => proto::WantKind::Room,
            What::Other { .. } => proto::WantKind::Other,
            What::Task(task) => {
                word.task = task.map(|task| self.task_id(task));
                proto::WantKind::Task
            }
            What::Job { job, has_begun } => {
                word.task = Some(self.task_id(*job));
                word.job = if *has_begun {
                    proto::JobState::Running
                } else {
                    proto::JobState::Queued
                }
                .into();
                proto::WantKind::Task
            }
            What::Timer { due } => {
                word.due_ns = self.clock.due(*due);
                proto::WantKind::Timer
            }
            What::Socket {
                descriptor,
                interest,
                object,
            } => {
                word.descriptor = descriptor.and_then(|fd| u32::try_from(fd).ok());
                word.interest = match interest {
                    Interest::Readable => proto::Interest::Readable,
                    Interest::Writable => proto::Interest::Writable,
                    Interest::Unknown => proto::Interest::Unknown,
                }
                .into();
                // Each connection has a name of its own.
                let name = object.as_deref().map(|name| self.interner.passing(name));
                word.object = name.flatten().unwrap_or(0);
                proto::WantKind::Socket
            }
            What::Never => proto::WantKind::Never,
        };
        word.kind = kind.into();
        word
    }

    fn hold(&mut self, hold: &Hold) -> proto::Hold {
        proto::Hold {
            node: hold.node,
            resource: hold.resource,
            role: match hold.role {
                Role::Guard => proto::HoldRole::Permits,
                Role::Receiver => proto::HoldRole::Receiver,
                Role::Sender => proto::HoldRole::Sender,
            }
            .into(),
            amount: hold.amount,
            name: self
                .interner
                .string(hold.name.as_deref().unwrap_or_default()),
            certain: hold.is_certain,
        }
    }

    fn resource(&mut self, fact: &ResourceFact) -> proto::WaitResource {
        proto::WaitResource {
            id: fact.address,
            kind: kind(fact.kind).into(),
            free: fact.free,
            total: fact.total,
            queued: fact.queued,
            senders: fact.senders,
            holders_known: fact.holders_known == Some(true),
            name: self
                .interner
                .string(fact.name.as_deref().unwrap_or_default()),
            location: 0,
            gone: false,
        }
    }

    fn read(&mut self, seen: &Seen) -> WaitsRead {
        let read = &seen.found.read;
        let reason = read.without_reason.as_deref().unwrap_or_default();
        WaitsRead {
            idle: read.idle,
            read: read.read,
            partial: read.partial,
            without: read.without,
            without_reason: self.interner.string(reason),
            complete: read.is_complete,
            cpu_ns: seen.cpu_ns,
            not_read: read
                .not_read
                .iter()
                .map(|what| self.interner.string(what))
                .collect(),
        }
    }
}

fn kind(kind: ResourceKind) -> proto::ResourceKind {
    match kind {
        ResourceKind::Mutex => proto::ResourceKind::Mutex,
        ResourceKind::RwLock => proto::ResourceKind::RwLock,
        ResourceKind::Semaphore => proto::ResourceKind::Semaphore,
        ResourceKind::OnceCell => proto::ResourceKind::OnceCell,
        ResourceKind::Notify => proto::ResourceKind::Notify,
        ResourceKind::Oneshot => proto::ResourceKind::Oneshot,
        ResourceKind::Mpsc => proto::ResourceKind::Mpsc,
        ResourceKind::Watch => proto::ResourceKind::Watch,
        ResourceKind::Broadcast => proto::ResourceKind::Broadcast,
        ResourceKind::Barrier => proto::ResourceKind::Barrier,
        ResourceKind::StdMutex => proto::ResourceKind::StdMutex,
        ResourceKind::StdRwLock => proto::ResourceKind::StdRwLock,
        ResourceKind::ParkingLotMutex => proto::ResourceKind::ParkingLotMutex,
        ResourceKind::ParkingLotRwLock => proto::ResourceKind::ParkingLotRwLock,
        ResourceKind::Other => proto::ResourceKind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use looptop_outside::waiting::Found;

    use super::*;
    use crate::model::{Model, Moment, TaskId, Tid};

    const SECOND: u64 = 1_000_000_000;

    fn shape(name: &str) -> Arc<Shape> {
        Arc::new(Shape {
            nodes: vec![ShapeNode {
                depth: 0,
                kind: NodeKind::AsyncFn,
                name: name.into(),
                location: None,
                by_macro: false,
                link: Link::Awaited,
            }],
            by: By::Types,
            cut: None,
            poll: None,
        })
    }

    fn wait(id: u64, what: What, since: Instant) -> TaskWait {
        TaskWait {
            task: TaskAt { header: 64, id },
            shape: 1,
            wants: vec![Want { node: 0, what }],
            holds: Vec::new(),
            since,
            read_at: since,
            is_certain: true,
            is_scheduled: false,
            wakers_known: false,
        }
    }

    fn seen(found: Found, at: Instant) -> Seen {
        Seen {
            found,
            at,
            cpu_ns: 7,
        }
    }

    #[test]
    fn instants_are_those_of_the_frames() {
        let at = Instant::now() + Duration::from_secs(100);
        let found = Found {
            shapes: vec![(1, shape("app::work"))],
            tasks: vec![wait(
                9,
                What::Timer {
                    due: Duration::from_secs(503),
                },
                at.checked_sub(Duration::from_secs(4)).unwrap(),
            )],
            clock: Some(Duration::from_secs(500)),
            ..Found::default()
        };
        let (tasks, mut interner) = (Tasks::new(0), Interner::default());
        let frame = Waits::default().frame(60 * SECOND, &seen(found, at), &tasks, &mut interner);
        let wait = &frame.task_waits[0];
        assert_eq!(wait.since_ns, 56 * SECOND);
        assert_eq!(wait.wants[0].due_ns, Some(63 * SECOND));
        let mut model = Model::default();
        let strings = interner.take_strings();
        model
            .apply(&Frame {
                now_ns: 60 * SECOND,
                strings,
                ..frame
            })
            .unwrap();
        let known = model.waits.task(TaskId(9)).unwrap();
        assert_eq!(known.since, Moment(56 * SECOND));
        assert_eq!(known.shape.nodes.len(), 1);
    }

    #[test]
    fn a_second_reader_s_shapes_have_other_numbers() {
        let at = Instant::now();
        let (tasks, mut interner) = (Tasks::new(0), Interner::default());
        let mut waits = Waits::default();
        let mut ids = |name: &str, number| {
            let found = Found {
                shapes: vec![(number, shape(name))],
                ..Found::default()
            };
            let frame = waits.frame(1, &seen(found, at), &tasks, &mut interner);
            frame.await_shapes[0].id
        };
        assert_eq!([ids("a", 1), ids("b", 2)], [1, 2]);
        assert_eq!([ids("a", 1), ids("c", 2)], [3, 4]);
    }

    #[test]
    fn who_holds_the_lock_that_a_thread_waits_for() {
        let at = Instant::now();
        let thread = |tid, want: Option<u64>, hold: Option<u64>| ThreadWait {
            tid,
            want: want.map(|resource| Want {
                node: 0,
                what: What::Permits {
                    resource,
                    amount: 1,
                    given: 0,
                },
            }),
            holds: hold
                .map(|resource| Hold {
                    node: 0,
                    resource,
                    role: Role::Guard,
                    amount: 1,
                    name: None,
                    is_certain: false,
                })
                .into_iter()
                .collect(),
            task: None,
            since: at,
            function: Some("app::write".into()),
            place: Some(("src/main.rs".into(), 7)),
            frames: Vec::new(),
            call: None,
        };
        let found = Found {
            threads: vec![thread(1, Some(64), None), thread(2, None, Some(64))],
            ..Found::default()
        };
        let (tasks, mut interner) = (Tasks::new(0), Interner::default());
        let mut waits = Waits::default();
        let frame = waits.frame(1, &seen(found, at), &tasks, &mut interner);
        let held_by = |waits: &Waits, waiter| {
            let (held_by, certain) = waits.holder(waiter)?;
            Some(match held_by {
                HeldBy::Thread(thread) => (thread.tid, certain),
                HeldBy::Task(task) => (task.id, certain),
            })
        };
        assert_eq!(held_by(&waits, 1), Some((2, false)));
        assert_eq!(held_by(&waits, 2), None);
        let mut model = Model::default();
        model.apply(&frame).unwrap();
        assert_eq!(model.waits.thread(Tid(2)).unwrap().holds.len(), 1);
        let gone = Found {
            threads_void: vec![2],
            ..Found::default()
        };
        waits.frame(1, &seen(gone, at), &tasks, &mut interner);
        assert_eq!(held_by(&waits, 1), None);
        // A task that is suspended, as long as that was seen lately.
        let task = TaskWait {
            holds: vec![Hold {
                node: 0,
                resource: 64,
                role: Role::Guard,
                amount: 1,
                name: None,
                is_certain: false,
            }],
            ..idle(9, at)
        };
        let found = Found {
            tasks: vec![task],
            ..Found::default()
        };
        waits.frame(1, &seen(found, at), &tasks, &mut interner);
        assert_eq!(held_by(&waits, 1), Some((9, false)));
        let later = at + Duration::from_secs(1);
        waits.frame(1, &seen(Found::default(), later), &tasks, &mut interner);
        assert_eq!(held_by(&waits, 1), None);
    }

    fn idle(id: u64, at: Instant) -> TaskWait {
        TaskWait {
            task: TaskAt { header: 0x90, id },
            shape: 1,
            wants: Vec::new(),
            holds: Vec::new(),
            since: at,
            read_at: at,
            is_certain: true,
            is_scheduled: false,
            wakers_known: false,
        }
    }
}
