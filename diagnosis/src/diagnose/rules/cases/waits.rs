//! Who waits for whom: rings, tasks behind futures of their own, and such that do not pass.

mod passing;
mod pools;
mod queues;
mod rings;

use looptop_wire::intern::Interner;

use super::*;
use crate::diagnose::{
    Level,
    waits::{Graph, Party},
};
use crate::model::{
    AwaitKind, AwaitLink, AwaitsBy, HoldRole, Interest, JobState, ResourceKind, TaskId, WantKind,
};
use AwaitKind::{AsyncFn, Combinator, Leaf, Select};
use AwaitLink::{Awaited, Kept};

/// A future: its depth, what it is, its type, its line in `src/app.rs` (0: none), and how
/// it belongs to the one above it.
type Node = (u32, AwaitKind, &'static str, u32, AwaitLink);

const ACQUIRE: &str = "tokio::sync::batch_semaphore::Acquire";
/// A lock, a semaphore and so on by its id.
const A: u64 = 0x1000;
const B: u64 = 0x2000;

/// An async fn of the application's that waits at a line for one of tokio's futures.
const fn waits(function: &'static str, line: u32) -> [Node; 2] {
    [
        (0, AsyncFn, function, line, Awaited),
        (1, Leaf, ACQUIRE, 0, Awaited),
    ]
}

/// One task as it is read.
#[derive(Clone)]
struct Task {
    id: u64,
    nodes: Vec<Node>,
    wants: Vec<(u32, Wanted)>,
    holds: Vec<(u32, Held)>,
    /// Since when it has waited so, in ms.
    since: u64,
    by: AwaitsBy,
    scheduled: bool,
    certain: bool,
    wakers_known: bool,
}

#[derive(Clone, Copy)]
enum Wanted {
    Permit(u64),
    Given(u64, u64, u64),
    Message(u64),
    Room(u64),
    End(u64),
    Job(u64, JobState),
    Timer,
    Socket,
    Notify(u64),
}

#[derive(Clone, Copy)]
enum Held {
    Permits(u64, u64),
    Probably(u64),
    Sender(u64),
    Receiver(u64),
}

use Held::{Permits, Probably, Receiver, Sender};
use Wanted::{End, Given, Job, Message, Notify, Permit, Room, Socket, Timer};

fn task(id: u64, nodes: &[Node], wants: &[(u32, Wanted)], holds: &[(u32, Held)]) -> Task {
    Task {
        id,
        nodes: nodes.to_vec(),
        wants: wants.to_vec(),
        holds: holds.to_vec(),
        since: 1_000,
        by: AwaitsBy::Types,
        scheduled: false,
        certain: true,
        wakers_known: false,
    }
}

/// What tasks share: its id, kind and name, and of its permits (or places) the free ones,
/// and all of them; of a channel its senders.
type Resource = (
    u64,
    ResourceKind,
    &'static str,
    Option<u64>,
    Option<u64>,
    Option<u64>,
);

const fn mutex(id: u64, name: &'static str) -> Resource {
    (id, ResourceKind::Mutex, name, Some(0), Some(1), None)
}

const fn semaphore(id: u64, name: &'static str) -> Resource {
    (id, ResourceKind::Semaphore, name, Some(0), None, None)
}

const fn channel(id: u64, name: &'static str, places: u64, senders: u64) -> Resource {
    let places = Some(places);
    (id, ResourceKind::Mpsc, name, None, places, Some(senders))
}

fn oneshot(id: u64) -> Resource {
    (id, ResourceKind::Oneshot, "answer", None, None, Some(1))
}

/// A program whose tasks are read.
struct Program {
    session: Session,
    interner: Interner,
    shapes: Vec<(Vec<Node>, AwaitsBy)>,
}

impl Program {
    fn new() -> Self {
        Self::of(&fixtures::hello())
    }

    fn of(hello: &proto::HelloResponse) -> Self {
        let session = Session::of(hello);
        Self {
            session,
            interner: Interner::default(),
            shapes: Vec::new(),
        }
    }

    /// The program as it is now, read now.
    fn read(&mut self, resources: &[Resource], tasks: &[Task]) {
        let mut frame = self.frame(resources, tasks);
        self.send(&mut frame);
    }

    fn send(&mut self, frame: &mut Frame) {
        frame.strings = self.interner.take_strings();
        frame.locations = self.interner.take_locations();
        self.session.feed(std::mem::take(frame));
    }

    fn frame(&mut self, resources: &[Resource], tasks: &[Task]) -> Frame {
        let mut frame = Frame {
            waits_read: Some(proto::WaitsRead {
                idle: tasks.len() as u64,
                read: tasks.len() as u64,
                complete: true,
                ..proto::WaitsRead::default()
            }),
            ..Frame::default()
        };
        let mut columns = proto::Tasks::default();
        for task in tasks {
            let shape = self.shape(task, &mut frame);
            let root = self.interner.type_name(task.nodes[0].2);
            columns.id.push(task.id);
            columns.state.push(TaskState::Idle.into());
            columns.kind.push(TaskKind::Task.into());
            columns.tokio_id.push(task.id);
            columns.future.push(root);
            let wants = task
                .wants
                .iter()
                .map(|(node, want)| wire_want(*node, *want));
            let holds = task
                .holds
                .iter()
                .map(|(node, held)| wire_hold(*node, *held));
            frame.task_waits.push(proto::TaskWait {
                task: task.id,
                shape,
                wants: wants.collect(),
                holds: holds.collect(),
                since_ns: task.since * MS,
                read_at_ns: self.session.ms * MS,
                certain: task.certain,
                scheduled: task.scheduled,
                wakers_known: task.wakers_known,
            });
        }
        frame.tasks = Some(columns);
        for (id, kind, name, free, total, senders) in resources {
            frame.wait_resources.push(proto::WaitResource {
                id: *id,
                kind: (*kind).into(),
                name: self.interner.string(name),
                free: *free,
                total: *total,
                senders: *senders,
                ..proto::WaitResource::default()
            });
        }
        frame
    }

    fn shape(&mut self, task: &Task, frame: &mut Frame) -> u32 {
        let key = (task.nodes.clone(), task.by);
        if let Some(known) = self.shapes.iter().position(|known| *known == key) {
            return known as u32 + 1;
        }
        let nodes = task.nodes.iter().map(|(depth, kind, future, line, link)| {
            let at = (*line > 0).then(|| self.interner.location("src/app.rs", *line, 1));
            proto::AwaitNode {
                depth: *depth,
                kind: (*kind).into(),
                future: self.interner.type_name(future),
                location: at.unwrap_or_default(),
                by_macro: false,
                link: (*link).into(),
            }
        });
        let nodes = nodes.collect();
        self.shapes.push(key);
        let id = self.shapes.len() as u32;
        frame.await_shapes.push(proto::AwaitShape {
            id,
            nodes,
            by: task.by.into(),
            cut: 0,
        });
        id
    }

    /// Reads the same every 500 ms for so long.
    fn stays(&mut self, ms: u64, resources: &[Resource], tasks: &[Task]) {
        let until = self.session.ms + ms;
        while self.session.ms < until {
            self.read(resources, tasks);
            self.session.run(400, |_| Frame::default());
        }
    }

    fn titles(&self) -> Vec<(&'static str, String)> {
        let found = self.session.engine.findings().iter();
        found.map(|f| (f.rule, f.title.clone())).collect()
    }
}

fn wire_want(node: u32, want: Wanted) -> proto::Want {
    let of = |kind: WantKind, resource| proto::Want {
        node,
        kind: kind.into(),
        resource,
        ..proto::Want::default()
    };
    match want {
        Permit(id) => proto::Want {
            amount: 1,
            ..of(WantKind::Permits, id)
        },
        Given(id, amount, given) => proto::Want {
            amount,
            given,
            ..of(WantKind::Permits, id)
        },
        Message(id) => of(WantKind::Message, id),
        Room(id) => proto::Want {
            amount: 1,
            ..of(WantKind::Room, id)
        },
        Notify(id) => of(WantKind::Other, id),
        End(task) => proto::Want {
            task: Some(task),
            ..of(WantKind::Task, 0)
        },
        Job(task, job) => proto::Want {
            task: Some(task),
            job: job.into(),
            ..of(WantKind::Task, 0)
        },
        Timer => of(WantKind::Timer, 0),
        Socket => proto::Want {
            interest: Interest::Readable.into(),
            descriptor: Some(9),
            ..of(WantKind::Socket, 0)
        },
    }
}

fn wire_hold(node: u32, held: Held) -> proto::Hold {
    let (resource, role, amount, certain) = match held {
        Permits(id, amount) => (id, HoldRole::Permits, amount, true),
        Probably(id) => (id, HoldRole::Permits, 1, false),
        Sender(id) => (id, HoldRole::Sender, 0, true),
        Receiver(id) => (id, HoldRole::Receiver, 0, true),
    };
    proto::Hold {
        node,
        resource,
        role: role.into(),
        amount,
        name: 0,
        certain,
    }
}

const TRANSFER: [Node; 2] = waits("bank::transfer::{async_fn#0}", 21);
const REPORT: [Node; 2] = waits("bank::report::{async_fn#0}", 33);

fn opposite_order() -> ([Resource; 2], Vec<Task>) {
    (
        [mutex(A, "accounts"), mutex(B, "audit")],
        vec![
            task(1, &TRANSFER, &[(1, Permit(B))], &[(0, Permits(A, 1))]),
            task(2, &REPORT, &[(1, Permit(A))], &[(0, Permits(B, 1))]),
            task(3, &TRANSFER, &[(1, Permit(A))], &[]),
        ],
    )
}

/// A server's connection: what it serves, and that its peer may hang up.
const CONNECTION: [Node; 5] = [
    (
        0,
        AsyncFn,
        "axum::serve::handle_connection::{async_fn#0}",
        0,
        Awaited,
    ),
    (
        1,
        Combinator,
        "hyper::server::conn::http1::Connection<app::Service>",
        0,
        Awaited,
    ),
    (2, AsyncFn, "bank::transfer::{async_fn#0}", 21, Awaited),
    (3, Leaf, ACQUIRE, 0, Awaited),
    (2, Leaf, "tokio::net::tcp::stream::TcpStream", 0, Awaited),
];
const WITH_TIMEOUT: [Node; 4] = [
    (0, AsyncFn, "bank::transfer::{async_fn#0}", 21, Awaited),
    (
        1,
        Select,
        "tokio::time::timeout::Timeout<tokio::sync::Lock>",
        0,
        Awaited,
    ),
    (2, Leaf, ACQUIRE, 0, Awaited),
    (2, Leaf, "tokio::time::sleep::Sleep", 0, Awaited),
];
/// Something between that is not known, and may wake the task itself.
const BETWEEN: [Node; 4] = [
    (0, AsyncFn, "bank::transfer::{async_fn#0}", 21, Awaited),
    (1, Combinator, "bank::Retried", 0, Awaited),
    (2, Leaf, "tokio::sync::batch_semaphore::Acquire", 0, Awaited),
    (2, Leaf, "tokio::time::sleep::Sleep", 0, Awaited),
];
const NAMELESS: [Node; 2] = [
    (0, Combinator, "", 0, Awaited),
    (1, Leaf, "tokio::sync::batch_semaphore::Acquire", 0, Awaited),
];
const SEND: [Node; 2] = waits("actors::ping::{async_fn#0}", 12);
const SEND_BACK: [Node; 2] = waits("actors::pong::{async_fn#0}", 25);

const LEDGER: [Node; 5] = [
    (0, AsyncFn, "ledger::select::{async_fn#0}", 75, Awaited),
    (
        1,
        AsyncFn,
        "tokio::sync::mutex::Mutex<u64>::lock::{async_fn#0}",
        0,
        Awaited,
    ),
    (2, Leaf, ACQUIRE, 0, Awaited),
    (1, AsyncFn, "ledger::write::{async_fn#0}", 66, Kept),
    (2, Leaf, "tokio::time::sleep::Sleep", 0, Awaited),
];

const ASK: [Node; 2] = waits("shop::ask::{async_fn#0}", 14);
const ASK_WITH_TIMEOUT: [Node; 4] = [
    (0, AsyncFn, "shop::ask::{async_fn#0}", 14, Awaited),
    (
        1,
        Select,
        "tokio::time::timeout::Timeout<tokio::sync::oneshot::Receiver>",
        0,
        Awaited,
    ),
    (2, Leaf, "tokio::sync::oneshot::Receiver", 0, Awaited),
    (2, Leaf, "tokio::time::sleep::Sleep", 0, Awaited),
];
const ACCEPT: [Node; 2] = waits("shop::accept::{async_fn#0}", 7);

const SENDER_KNOWN: &str = "an answer that a task has yet to give";

const GET: [Node; 3] = [
    (0, AsyncFn, "shop::handle::{async_fn#0}", 88, Awaited),
    (1, AsyncFn, "shop::pool::get::{async_fn#0}", 31, Awaited),
    (2, Leaf, ACQUIRE, 0, Awaited),
];
const UPSTREAM: [Node; 2] = waits("shop::report::{async_fn#0}", 77);
