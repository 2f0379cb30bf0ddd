//! Who waits for whom: rings, tasks behind futures of their own, and such that do not pass.

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

#[test]
fn a_deadlock_names_all_members_with_both_lines() {
    let mut program = Program::new();
    let (resources, tasks) = opposite_order();
    program.stays(4_000, &resources, &tasks);
    let found = program.session.only();
    assert_eq!(
        (found.rule, found.severity),
        ("deadlock", Severity::Critical)
    );
    assert_eq!(
        found.title,
        "deadlock: bank::transfer (app.rs:21) and bank::report (app.rs:33) wait for each other: task 1 \
         holds Mutex accounts and waits for Mutex audit; task 2 holds Mutex audit and waits for \
         Mutex accounts; 1 other waits behind"
    );
    assert_eq!(found.location, "src/app.rs:21");
    assert_eq!(found.function.as_deref(), Some("bank::transfer"));
    assert_eq!(found.count, 3);
    let stack = found.stack.as_ref().expect("its lines");
    let lines: Vec<u32> = stack.frames.iter().map(|frame| frame.line).collect();
    assert_eq!(lines, [21, 33]);
    assert!(found.remedy.contains("same order"), "{}", found.remedy);
    // One of them was aborted.
    let gone = Frame {
        forgotten_tasks: vec![2],
        ..Frame::default()
    };
    program.session.feed(gone);
    program.session.run(1_500, |_| Frame::default());
    assert!(!program.session.only().live);
}

#[test]
fn a_ring_of_a_core_dump_is_one_at_once_and_what_takes_time_is_not_judged() {
    let mut program = Program::of(&proto::HelloResponse {
        core_dump: true,
        ..fixtures::hello()
    });
    let (resources, tasks) = opposite_order();
    program.read(&resources, &tasks);
    assert_eq!(program.session.only().rule, "deadlock");
    let session = &program.session;
    let unjudged = session.engine.not_judged(&session.model);
    let reason = |id: &str| {
        let found = unjudged.iter().find(|(rule, _)| *rule == id);
        found.map(|(_, why)| why.as_str())
    };
    for rule in ["futurelock", "deadlock"] {
        assert_eq!(reason(rule), None, "{rule}");
    }
    let why = "a core dump is one moment, and it needs time";
    for rule in ["blocked-worker", "task-leak", "loop-starved"] {
        assert_eq!(reason(rule), Some(why), "{rule}");
    }
}

#[test]
fn a_ring_is_one_only_once_it_was_looked_at_twice() {
    // Since when the second waits, whether each task that has run was read again, whether
    // its members were, how long it is looked at, and whether it is a deadlock then.
    for (what, since, all_read, again, after, expected) in [
        ("read once", 1_100, true, false, 0, false),
        ("nothing has run", 1_100, true, false, 2_600, true),
        (
            "others are still to be read",
            1_100,
            false,
            false,
            2_600,
            false,
        ),
        (
            "its members were read again",
            1_100,
            false,
            true,
            2_600,
            true,
        ),
    ] {
        let mut program = Program::new();
        let (resources, mut tasks) = opposite_order();
        tasks.truncate(2);
        // It is read when it begins to wait so.
        tasks[1].since = since;
        let read = |program: &mut Program| {
            let mut frame = program.frame(&resources, &tasks);
            frame.waits_read.as_mut().expect("it is there").complete = all_read;
            program.send(&mut frame);
        };
        read(&mut program);
        program.session.run(after, |_| Frame::default());
        if again {
            read(&mut program);
        }
        assert_eq!(!program.titles().is_empty(), expected, "{what}");
        // What the screen shows of it by then is not called healthy.
        let session = &program.session;
        let verdict = session.engine.verdict(&session.model);
        let unjudged = session.engine.not_judged(&session.model);
        let reason = unjudged.iter().find(|(rule, _)| *rule == "deadlock");
        let seems = after > 0 && !expected;
        let words = "seem to wait for each other";
        assert_eq!(
            verdict.sentence.contains(words),
            seems,
            "{what}: {verdict:?}"
        );
        assert_eq!(verdict.level == Level::Notice, seems, "{what}: {verdict:?}");
        let is_said = reason.is_some_and(|(_, why)| why.contains(words));
        assert_eq!(is_said, seems, "{what}: {reason:?}");
    }
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

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn who_waits_for_whom_and_who_does_not() {
    let two_mutexes = [mutex(A, "accounts"), mutex(B, "audit")];
    let second = || task(2, &REPORT, &[(1, Permit(A))], &[(0, Permits(B, 1))]);
    let rw_lock = (A, ResourceKind::RwLock, "prices", Some(0), Some(100), None);
    let read = waits("shop::quote::{async_fn#0}", 40);
    let write = waits("shop::update::{async_fn#0}", 52);
    let scheduled = Task {
        scheduled: true,
        ..task(1, &TRANSFER, &[(1, Permit(B))], &[(0, Permits(A, 1))])
    };
    let between = |wants: &[(u32, Wanted)], wakers_known| Task {
        wakers_known,
        ..task(1, &BETWEEN, wants, &[(0, Permits(A, 1))])
    };
    let nameless = |id, (wanted, held): (u64, u64)| Task {
        wakers_known: true,
        ..task(
            id,
            &NAMELESS,
            &[(1, Permit(wanted))],
            &[(0, Permits(held, 1))],
        )
    };
    // What it is, the resources, the tasks, and what its title begins with.
    let cases: Vec<(&str, Vec<Resource>, Vec<Task>, &str)> = vec![
        (
            "a time-out",
            two_mutexes.to_vec(),
            vec![
                task(
                    1,
                    &WITH_TIMEOUT,
                    &[(2, Permit(B)), (3, Timer)],
                    &[(0, Permits(A, 1))],
                ),
                second(),
            ],
            "",
        ),
        (
            "what may be woken by more than is seen",
            two_mutexes.to_vec(),
            vec![between(&[(2, Permit(B))], false), second()],
            "",
        ),
        (
            "what nothing else can wake",
            two_mutexes.to_vec(),
            vec![between(&[(2, Permit(B))], true), second()],
            "deadlock: bank::transfer (app.rs:21) and bank::report (app.rs:33) wait for each other",
        ),
        (
            "of a program without names",
            two_mutexes.to_vec(),
            vec![nameless(1, (B, A)), nameless(2, (A, B))],
            "deadlock: 2 tasks wait for each other: task 1 holds Mutex accounts",
        ),
        (
            "what a timer wakes, and nothing else",
            two_mutexes.to_vec(),
            vec![between(&[(2, Permit(B)), (3, Timer)], true), second()],
            "",
        ),
        ("woken", two_mutexes.to_vec(), vec![scheduled, second()], ""),
        (
            "a holder that works",
            two_mutexes.to_vec(),
            vec![
                task(1, &TRANSFER, &[(1, Timer)], &[(0, Permits(A, 1))]),
                second(),
            ],
            "",
        ),
        (
            "in a server's connection, whose peer may hang up",
            two_mutexes.to_vec(),
            vec![
                task(
                    1,
                    &CONNECTION,
                    &[(3, Permit(B)), (4, Socket)],
                    &[(2, Permits(A, 1))],
                ),
                second(),
            ],
            "probably a deadlock: bank::transfer (app.rs:21) and bank::report (app.rs:33) wait for each \
             other: task 1 holds Mutex accounts",
        ),
        (
            "a holder that is only probable",
            two_mutexes.to_vec(),
            vec![
                task(1, &TRANSFER, &[(1, Permit(B))], &[(0, Probably(A))]),
                second(),
            ],
            "probably a deadlock: bank::transfer (app.rs:21) and bank::report (app.rs:33)",
        ),
        (
            "two that may be the holder",
            two_mutexes.to_vec(),
            vec![
                task(1, &TRANSFER, &[(1, Permit(B))], &[(0, Probably(A))]),
                task(4, &TRANSFER, &[(1, Permit(B))], &[(0, Probably(A))]),
                second(),
            ],
            "",
        ),
        (
            "an RwLock read twice around a writer",
            vec![rw_lock],
            vec![
                task(1, &read, &[(1, Permit(A))], &[(0, Permits(A, 1))]),
                task(2, &write, &[(1, Given(A, 100, 99))], &[]),
            ],
            "deadlock: shop::quote (app.rs:40) and shop::update (app.rs:52) wait for each other: task 1 \
             holds RwLock prices and waits for RwLock prices to read; task 2 holds RwLock prices \
             and waits for RwLock prices to write",
        ),
        (
            "the same of two locks, without types: a writer was given all but one",
            vec![rw_lock, mutex(B, "audit")],
            vec![
                Task {
                    certain: false,
                    ..task(1, &read, &[(1, Permit(B))], &[(0, Probably(A))])
                },
                Task {
                    certain: false,
                    ..task(2, &write, &[(1, Given(A, 100, 99))], &[(0, Probably(B))])
                },
            ],
            "probably a deadlock: shop::quote (app.rs:40) and shop::update (app.rs:52) wait for each \
             other",
        ),
        (
            "actors that send into each other's full channels",
            vec![channel(A, "pings", 4, 1), channel(B, "pongs", 4, 1)],
            vec![
                task(
                    1,
                    &SEND,
                    &[(1, Room(B))],
                    &[(0, Receiver(A)), (0, Sender(B))],
                ),
                task(
                    2,
                    &SEND_BACK,
                    &[(1, Room(A))],
                    &[(0, Receiver(B)), (0, Sender(A))],
                ),
            ],
            "deadlock: actors::ping (app.rs:12) and actors::pong (app.rs:25) wait for each other: task 1 \
             holds receiver of mpsc channel pings and waits for place in mpsc channel pongs",
        ),
        (
            "a permit held across a call that needs another",
            vec![semaphore(A, "pool")],
            vec![
                task(1, &TRANSFER, &[(1, Permit(A))], &[(0, Permits(A, 1))]),
                task(2, &TRANSFER, &[(1, Permit(A))], &[(0, Permits(A, 1))]),
            ],
            "probably a deadlock: 2 of bank::transfer (app.rs:21) wait for each other: task 1 holds \
             permit of Semaphore pool and waits for permit of Semaphore pool",
        ),
        (
            "one lock taken twice",
            vec![mutex(A, "accounts")],
            vec![task(1, &TRANSFER, &[(1, Permit(A))], &[(0, Permits(A, 1))])],
            "deadlock at app.rs:21: task 1 in bank::transfer waits for itself: it holds Mutex accounts",
        ),
        (
            "a permit, and another that works",
            vec![semaphore(A, "pool")],
            vec![
                task(1, &TRANSFER, &[(1, Permit(A))], &[(0, Permits(A, 1))]),
                task(2, &REPORT, &[(1, Socket)], &[(0, Permits(A, 1))]),
            ],
            "",
        ),
        (
            "the end of each other",
            vec![mutex(A, "accounts")],
            vec![
                task(1, &TRANSFER, &[(1, End(2))], &[(0, Permits(A, 1))]),
                task(2, &REPORT, &[(1, Permit(A))], &[]),
            ],
            "deadlock: bank::transfer (app.rs:21) and bank::report (app.rs:33) wait for each other: task \
             1 holds Mutex accounts and waits for end of task 2 bank::report; task 2 waits for \
             Mutex accounts",
        ),
        (
            "its own sender",
            vec![channel(A, "jobs", 4, 1)],
            vec![task(
                1,
                &SEND,
                &[(1, Message(A))],
                &[(0, Receiver(A)), (0, Sender(A))],
            )],
            "task 1 in actors::ping has waited",
        ),
        (
            "another sender",
            vec![channel(A, "jobs", 4, 2)],
            vec![task(
                1,
                &SEND,
                &[(1, Message(A))],
                &[(0, Receiver(A)), (0, Sender(A))],
            )],
            "",
        ),
    ];
    for (what, resources, tasks, expected) in cases {
        let mut program = Program::new();
        program.stays(5_000, &resources, &tasks);
        let titles = program.titles();
        match titles.as_slice() {
            [] => assert_eq!(expected, "", "{what}"),
            [(_, title)] => {
                assert!(
                    !expected.is_empty() && title.starts_with(expected),
                    "{what}: {title}"
                );
            }
            more => panic!("{what}: {more:?}"),
        }
    }
}

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

#[test]
fn futurelock_is_read_and_not_guessed() {
    let polled = {
        let mut nodes = LEDGER;
        nodes[3].4 = Awaited;
        nodes
    };
    for (what, nodes, wants, holds, expected) in [
        (
            "a kept future holds it",
            LEDGER,
            vec![(2, Permit(A)), (4, Timer)],
            vec![(3, Permits(A, 1))],
            "task 1 in ledger::select waits for Mutex ledger (src/app.rs:75), and a future of its own \
             holds it: ledger::write (src/app.rs:66), which it keeps and does not poll; 2 others \
             wait behind",
        ),
        (
            "a kept future stands before it",
            LEDGER,
            vec![(2, Permit(A)), (4, Permit(A))],
            vec![],
            "task 1 in ledger::select waits for Mutex ledger (src/app.rs:75), and a future of its own \
             stands before it in the queue for it: ledger::write (src/app.rs:66)",
        ),
        (
            "a future that is polled holds it",
            polled,
            vec![(2, Permit(A)), (4, Timer)],
            vec![(3, Permits(A, 1))],
            "",
        ),
        (
            "a kept future holds another",
            LEDGER,
            vec![(2, Permit(A)), (4, Timer)],
            vec![(3, Permits(B, 1))],
            "",
        ),
    ] {
        let mut program = Program::new();
        let resources = [mutex(A, "ledger"), mutex(B, "other")];
        let mut tasks = vec![task(1, &nodes, &wants, &holds)];
        for id in 2..=3 {
            tasks.push(task(id, &TRANSFER, &[(1, Permit(A))], &[]));
        }
        program.stays(4_000, &resources, &tasks);
        let titles = program.titles();
        match titles.as_slice() {
            [] => assert_eq!(expected, "", "{what}"),
            [("futurelock", title)] => {
                assert!(
                    !expected.is_empty() && title.starts_with(expected),
                    "{what}: {title}"
                );
            }
            more => panic!("{what}: {more:?}"),
        }
    }
}

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

#[test]
fn a_task_that_does_not_pass_where_others_do() {
    let one = || -> Vec<(u32, Wanted)> { vec![(1, Message(A))] };
    for (what, nodes, wants, resource, others_pass, expected) in [
        (SENDER_KNOWN, &ASK[..], one(), oneshot(A), true, false),
        (
            "an answer that does not come",
            &ASK[..],
            one(),
            oneshot(A),
            true,
            true,
        ),
        ("nobody passes", &ASK[..], one(), oneshot(A), false, false),
        (
            "a time-out",
            &ASK_WITH_TIMEOUT[..],
            vec![(2, Message(A)), (3, Timer)],
            oneshot(A),
            true,
            false,
        ),
        (
            "a mailbox",
            &ASK[..],
            one(),
            channel(A, "jobs", 4, 2),
            true,
            false,
        ),
        (
            "an accept loop",
            &ACCEPT[..],
            vec![(1, Socket)],
            oneshot(A),
            true,
            false,
        ),
        (
            "a notification",
            &ASK[..],
            vec![(1, Notify(A))],
            oneshot(A),
            true,
            false,
        ),
        (
            "a lock of its own",
            &ASK[..],
            vec![(1, Permit(A))],
            mutex(A, "one"),
            true,
            true,
        ),
    ] {
        let mut program = Program::new();
        // It needs a minute; others come and go each second.
        for second in 0..70 {
            let mut tasks = vec![task(1, nodes, &wants, &[])];
            if what == SENDER_KNOWN {
                tasks.push(task(2, &ASK, &[(1, Timer)], &[(0, Sender(A))]));
            }
            if others_pass {
                let other = Task {
                    since: program.session.ms,
                    ..task(100 + second, nodes, &wants, &[])
                };
                tasks.push(other);
            }
            program.read(&[resource], &tasks);
            let gone = Frame {
                forgotten_tasks: vec![100 + second],
                ..Frame::default()
            };
            program.session.run(800, |_| Frame::default());
            program.session.feed(gone);
        }
        let rules = program.session.rules();
        assert_eq!(
            rules.contains(&"stuck-task"),
            expected,
            "{what}: {:?}",
            program.titles()
        );
        assert!(
            rules.iter().all(|rule| *rule == "stuck-task"),
            "{what}: {rules:?}"
        );
        if expected && what.starts_with("an answer") {
            let found = program.session.only();
            assert!(
                found
                    .title
                    .starts_with("task 1 in shop::ask has waited 70 s for message of oneshot")
                    || found.title.starts_with("task 1 in shop::ask has waited 69"),
                "{}",
                found.title
            );
            assert_eq!(found.location, "src/app.rs:14");
        }
    }
}

const GET: [Node; 3] = [
    (0, AsyncFn, "shop::handle::{async_fn#0}", 88, Awaited),
    (1, AsyncFn, "shop::pool::get::{async_fn#0}", 31, Awaited),
    (2, Leaf, ACQUIRE, 0, Awaited),
];
const UPSTREAM: [Node; 2] = waits("shop::report::{async_fn#0}", 77);

#[test]
fn a_pool_that_is_used_up_names_its_holders_and_what_they_wait_for() {
    let mut program = Program::new();
    let mut tasks: Vec<Task> = Vec::new();
    for id in 1..=20 {
        tasks.push(task(id, &GET, &[(2, Permit(A))], &[]));
        // The connection that waits for it.
        tasks.push(task(
            100 + id,
            &waits("shop::serve::{async_fn#0}", 5),
            &[(1, End(id))],
            &[],
        ));
    }
    for id in 50..55 {
        tasks.push(task(id, &UPSTREAM, &[(1, Socket)], &[(0, Permits(A, 1))]));
    }
    program.stays(5_000, &[semaphore(A, "pool")], &tasks);
    let found = program.session.only();
    assert_eq!((found.rule, found.count), ("lock-convoy", 20));
    assert_eq!(found.location, "src/app.rs:31");
    let title = &found.title;
    let expected = "20 tasks wait for a permit of Semaphore pool (src/app.rs:31), up to ";
    assert!(title.starts_with(expected), "{title}");
    let holders = "; its 5 are held by 5 tasks in shop::report, which wait for descriptor 9 to read \
                   (src/app.rs:77), up to ";
    assert!(title.contains(holders), "{title}");
}

#[test]
fn a_queue_is_a_convoy_only_if_somebody_feels_it() {
    // How tasks are: whether somebody waits for them, whether the queue grows, whether one
    // is served each two seconds, and whether a task holds it.
    for (what, joined, grows, served, held, expected) in [
        ("for whom nobody waits", false, false, true, true, ""),
        (
            "requests that are joined",
            true,
            false,
            true,
            true,
            "lock-convoy",
        ),
        (
            "a nightly batch, one at a time",
            false,
            true,
            true,
            true,
            "",
        ),
        (
            "permits that nobody holds",
            false,
            true,
            false,
            false,
            "lock-convoy",
        ),
        (
            "idle workers behind one receiver",
            false,
            false,
            false,
            true,
            "",
        ),
        (
            "and it grows, while one works",
            false,
            true,
            false,
            true,
            "",
        ),
    ] {
        let mut program = Program::new();
        for second in 0..12_u64 {
            let first = if served { second / 2 } else { 0 };
            let last = 10 + if grows { second * 3 } else { 0 } + first;
            let mut tasks: Vec<Task> = Vec::new();
            for id in first + 1..=last {
                let since = if id > 10 && grows {
                    1_000 + (id - 10) * 300
                } else {
                    1_000
                };
                tasks.push(Task {
                    since: since.min(program.session.ms),
                    ..task(id, &GET, &[(2, Permit(A))], &[])
                });
                if joined {
                    tasks.push(task(
                        500 + id,
                        &waits("shop::serve::{async_fn#0}", 5),
                        &[(1, End(id))],
                        &[],
                    ));
                }
            }
            if held {
                tasks.push(task(400, &UPSTREAM, &[(1, Socket)], &[(0, Permits(A, 1))]));
            }
            program.read(&[semaphore(A, "turn")], &tasks);
            let gone = Frame {
                forgotten_tasks: (1..=second.div_ceil(2)).filter(|_| served).collect(),
                ..Frame::default()
            };
            program.session.run(800, |_| Frame::default());
            program.session.feed(gone);
        }
        let found = program.titles();
        let rules: Vec<&str> = found.iter().map(|(rule, _)| *rule).collect();
        let expected: Vec<&str> = [expected].into_iter().filter(|r| !r.is_empty()).collect();
        assert_eq!(rules, expected, "{what}: {found:?}");
        if what.starts_with("permits") {
            assert!(found[0].1.contains("no task holds any"), "{}", found[0].1);
        }
    }
}

#[test]
fn who_waits_in_a_library_is_named_by_the_application_s_function() {
    // No line of either is known, as of a default release build.
    let nodes = [
        (0, AsyncFn, "shop::transfer::{async_fn#0}", 0, Awaited),
        (1, AsyncFn, "deadpool::managed::pool::Pool::get", 0, Awaited),
        (2, Leaf, ACQUIRE, 0, Awaited),
    ];
    let mut program = Program::new();
    let each = |id, wants, has| task(id, &nodes, &[(2, Permit(wants))], &[(0, Permits(has, 1))]);
    let tasks = [each(1, A, B), each(2, B, A)];
    program.stays(5_000, &[mutex(A, "a"), mutex(B, "b")], &tasks);
    let found = program.session.only();
    assert_eq!(found.rule, "deadlock");
    let who = "2 of shop::transfer wait for each other";
    assert!(found.title.contains(who), "{}", found.title);
    assert_eq!(found.function.as_deref(), Some("shop::transfer"));
}

#[test]
fn an_rw_lock_is_no_limiter() {
    // Nobody waits for those that wait for it; for how long they do, in ms.
    for (kind, ms, expected) in [
        (ResourceKind::RwLock, 5_000, true),
        (ResourceKind::RwLock, 500, false),
        (ResourceKind::Semaphore, 5_000, false),
        (ResourceKind::Mutex, 5_000, false),
    ] {
        let mut program = Program::new();
        let mut tasks: Vec<Task> = (1..=6)
            .map(|id| task(id, &GET, &[(2, Permit(A))], &[]))
            .collect();
        tasks.push(task(40, &UPSTREAM, &[(1, Socket)], &[(0, Permits(A, 1))]));
        let lock = (A, kind, "routes", Some(0), None, None);
        program.stays(ms, &[lock], &tasks);
        let found = program.titles();
        let rules: Vec<&str> = found.iter().map(|(rule, _)| *rule).collect();
        assert_eq!(
            rules == ["lock-convoy"],
            expected,
            "{kind:?} {ms}: {found:?}"
        );
        if expected {
            let held = "; it is held by task 40 in shop::report, which waits for descriptor 9";
            assert!(found[0].1.contains(held), "{}", found[0].1);
        }
    }
}

/// What threads of the pool do.
#[derive(Clone, Copy)]
enum Pool {
    /// Nothing that is seen.
    Unseen,
    /// They run jobs that somebody awaits.
    Awaited,
    /// They are in a function of the application's.
    Within,
    /// In that function they wait for jobs that have not begun.
    Waits,
    /// All but one do.
    OneDoesNot,
}

#[test]
fn a_pool_is_full_whose_jobs_are_awaited_and_have_not_begun() {
    use JobState::{Queued, Running, Unknown};
    use Pool::{Awaited, OneDoesNot, Unseen, Waits, Within};
    let full = |jobs| {
        format!("the blocking pool is full: at least {jobs} jobs wait for 4 threads, up to ")
    };
    let them = "; they are awaited by 20 tasks in shop::load";
    let within = "; those that run are in shop::export; they are awaited by 20 tasks in shop::load";
    // What is known of the jobs that tasks await, for how many looks they stay so, what the
    // pool's threads do, how the title ends, and how grave that is.
    for (what, job, looks, pool, expected) in [
        (
            "jobs queue",
            Queued,
            10,
            Unseen,
            Some((them, Severity::Warning)),
        ),
        (
            "who awaits those that run is known",
            Queued,
            10,
            Awaited,
            Some((
                "; those that run are awaited by 4 tasks in shop::sync; they are awaited by 20 \
                 tasks in shop::load",
                Severity::Warning,
            )),
        ),
        (
            "where those are that run",
            Queued,
            10,
            Within,
            Some((within, Severity::Warning)),
        ),
        (
            "they wait for the pool",
            Queued,
            10,
            Waits,
            Some((
                ", whose jobs in shop::export wait for jobs of the pool themselves (block_on), and \
                 never end; they are awaited by 20 tasks in shop::load",
                Severity::Critical,
            )),
        ),
        (
            "one of them may end",
            Queued,
            10,
            OneDoesNot,
            Some((within, Severity::Warning)),
        ),
        ("not for long", Queued, 3, Within, None),
        ("they have begun", Running, 10, Within, None),
        ("tasks of a runtime unknown", Unknown, 10, Within, None),
    ] {
        let mut hello = fixtures::outside_hello();
        for capability in &mut hello.capabilities {
            capability.available &= capability.kind() != crate::model::Capability::BlockingPool;
        }
        let mut program = Program::of(&hello);
        let load = waits("shop::load::{async_fn#0}", 12);
        let sync = waits("shop::sync::{async_fn#0}", 31);
        let mut tasks: Vec<Task> = (1..=20)
            .map(|id| task(id, &load, &[(1, Job(1_000 + id, job))], &[]))
            .collect();
        if let Awaited = pool {
            let running =
                (21..=24).map(|id| task(id, &sync, &[(1, Job(2_000 + id, Running))], &[]));
            tasks.extend(running);
        }
        let job_at = |n: u64| proto::Want {
            task: Some(3_000 + n),
            kind: WantKind::Task.into(),
            job: Queued.into(),
            ..proto::Want::default()
        };
        for _ in 0..looks {
            let mut frame = program.frame(&[], &tasks);
            frame.threads = (1..=4)
                .map(|n| proto::Thread {
                    tid: 90 + n,
                    role: proto::ThreadRole::Blocking.into(),
                    ..proto::Thread::default()
                })
                .collect();
            let export = program.interner.string("shop::export");
            frame.thread_waits = (1..=4)
                .map(|n| proto::ThreadWait {
                    tid: 90 + n,
                    want: match pool {
                        Waits => Some(job_at(n)),
                        OneDoesNot if n > 1 => Some(job_at(n)),
                        _ => None,
                    },
                    task: Some(2_020 + n),
                    function: match pool {
                        Within | Waits | OneDoesNot => export,
                        Unseen | Awaited => 0,
                    },
                    since_ns: 1_000 * MS,
                    ..proto::ThreadWait::default()
                })
                .filter(|_| !matches!(pool, Unseen))
                .collect();
            program.send(&mut frame);
            program.session.run(400, |_| Frame::default());
        }
        let found = program.session.engine.findings();
        let rules: Vec<&str> = found.iter().map(|finding| finding.rule).collect();
        let expected_rules: &[&str] = match expected {
            Some(_) => &["blocking-pool-full"],
            None => &[],
        };
        assert_eq!(rules, expected_rules, "{what}");
        if let Some((end, severity)) = expected {
            let finding = &found[0];
            let title = &finding.title;
            let jobs = match pool {
                Unseen | Awaited | Within => 20,
                OneDoesNot => 23,
                Waits => 24,
            };
            assert!(
                title.starts_with(&full(jobs)) && title.ends_with(end),
                "{what}: {title}"
            );
            assert_eq!(finding.severity, severity, "{what}");
        }
    }
}

#[test]
fn a_queue_that_nobody_joins_is_not_judged_for_half_a_minute() {
    // The lock and what is known of its holders, for how long it is seen, whether it is a
    // finding then, and whether the verdict has a word for it before.
    for (what, resource, asked, held, ms, found, seems) in [
        (
            "permits that are nowhere",
            semaphore(A, "pool"),
            true,
            false,
            9_000,
            false,
            true,
        ),
        (
            "they are so for long",
            semaphore(A, "pool"),
            true,
            false,
            36_000,
            true,
            false,
        ),
        (
            "some task holds them",
            semaphore(A, "pool"),
            true,
            true,
            9_000,
            false,
            false,
        ),
        (
            "a limiter of long jobs",
            semaphore(A, "pool"),
            true,
            true,
            36_000,
            false,
            false,
        ),
        (
            "not all that know it were asked",
            semaphore(A, "pool"),
            false,
            false,
            9_000,
            false,
            false,
        ),
        (
            "a mutex that one keeps",
            mutex(A, "table"),
            true,
            true,
            9_000,
            false,
            false,
        ),
        (
            "it does so for long",
            mutex(A, "table"),
            true,
            true,
            36_000,
            true,
            false,
        ),
    ] {
        let mut program = Program::new();
        let query = waits("shop::query::{async_fn#0}", 21);
        let mut tasks: Vec<Task> = (1..=40)
            .map(|id| task(id, &query, &[(1, Permit(A))], &[]))
            .collect();
        for task in &mut tasks {
            task.by = AwaitsBy::Interpreter;
        }
        if held {
            let rebuild = waits("shop::rebuild::{async_fn#0}", 44);
            tasks.push(task(50, &rebuild, &[(1, Notify(B))], &[(0, Permits(A, 1))]));
        }
        let until = program.session.ms + ms;
        while program.session.ms < until {
            let mut frame = program.frame(&[resource], &tasks);
            frame.wait_resources[0].holders_known = asked;
            program.send(&mut frame);
            program.session.run(400, |_| Frame::default());
        }
        let titles = program.titles();
        assert_eq!(
            titles.iter().any(|(rule, _)| *rule == "lock-convoy"),
            found,
            "{what}: {titles:?}"
        );
        let session = &program.session;
        let unjudged = session.engine.not_judged(&session.model);
        let reason = unjudged.iter().find(|(rule, _)| *rule == "lock-convoy");
        let is_said = reason.is_some_and(|(_, why)| {
            why.contains("40 tasks wait for a") && why.contains("after 30 s")
        });
        assert_eq!(is_said, ms < 30_000, "{what}: {reason:?}");
        let verdict = session.engine.verdict(&session.model);
        assert_eq!(
            verdict
                .sentence
                .contains("no task holds any, which is looked at again"),
            seems,
            "{what}: {verdict:?}"
        );
    }
}

#[test]
fn who_waits_for_itself_is_told_what_it_does() {
    let all = u64::from(u32::MAX >> 3);
    let rwlock = (A, ResourceKind::RwLock, "cache", None, Some(all), None);
    let cache = waits("shop::get_or_load::{async_fn#0}", 0);
    let upload = waits("shop::upload::{async_fn#0}", 0);
    for (resource, alone, others, title, remedy) in [
        (
            semaphore(A, "slots"),
            task(1, &upload, &[(1, Given(A, 12, 8))], &[]),
            Permit(A),
            "it asked for 12 permits at once, was given 8 of them, and no other task has any to \
             give back; 5 others wait behind",
            "ask for fewer at once",
        ),
        (
            rwlock,
            task(
                1,
                &cache,
                &[(1, Given(A, all, all - 1))],
                &[(0, Permits(A, 1))],
            ),
            Given(A, 1, 0),
            "it holds RwLock cache and waits for RwLock cache to write; 5 others wait behind",
            "drop it, then write",
        ),
        (
            semaphore(A, "slots"),
            task(1, &upload, &[(1, Permit(A))], &[(0, Permits(A, 1))]),
            Permit(A),
            "it holds permit of Semaphore slots and needs another; 5 others wait behind",
            "hold no permit across a call",
        ),
    ] {
        let mut program = Program::new();
        let nodes = alone.nodes.clone();
        let mut tasks = vec![alone];
        tasks.extend((2..=6).map(|id| task(id, &nodes, &[(1, others)], &[])));
        program.stays(6_000, &[resource], &tasks);
        // Nothing is said of the queue behind it, by whatever it was called before.
        let found = program.session.only();
        assert_eq!(found.rule, "deadlock");
        assert!(found.title.contains(title), "{}", found.title);
        assert!(found.remedy.contains(remedy), "{}", found.remedy);
    }
}

#[test]
fn of_a_queue_for_an_rwlock_it_is_said_how_many_write() {
    let all = u64::from(u32::MAX >> 3);
    let lock = (A, ResourceKind::RwLock, "config", None, Some(all), None);
    for (writers, expected) in [
        (
            0,
            "9 tasks wait for a RwLock config to read (in shop::reload), ",
        ),
        (
            3,
            "9 tasks wait for a RwLock config, 3 of them to write (in shop::reload), ",
        ),
        (
            9,
            "9 tasks wait for a RwLock config to write (in shop::reload), ",
        ),
    ] {
        let mut program = Program::new();
        let reload = waits("shop::reload::{async_fn#0}", 0);
        let stream = waits("shop::stream::{async_fn#0}", 0);
        let mut tasks: Vec<Task> = (1..=9)
            .map(|id| {
                let amount = if id <= writers { all } else { 1 };
                task(id, &reload, &[(1, Given(A, amount, 0))], &[])
            })
            .collect();
        tasks.push(task(40, &stream, &[(1, Timer)], &[(0, Permits(A, 1))]));
        program.stays(6_000, &[lock], &tasks);
        let title = &program.session.only().title;
        assert!(title.starts_with(expected), "{title}");
    }
}

#[test]
fn who_asked_a_lock_behind_a_deadlock_is_no_convoy_of_its_own() {
    let mut program = Program::new();
    let (resources, mut tasks) = opposite_order();
    for id in 4..=30 {
        tasks.push(task(id, &TRANSFER, &[(1, Permit(A))], &[]));
    }
    for _ in 0..5 {
        let mut frame = program.frame(&resources, &tasks);
        // The agent sees that they asked a lock, and where they were spawned.
        let columns = frame.tasks.as_mut().expect("tasks");
        columns.location = vec![1; tasks.len()];
        columns.polls = vec![5; tasks.len()];
        columns.lock_wait_since_ns = vec![1_000 * MS + 1; tasks.len()];
        program.send(&mut frame);
        program.session.run(900, |_| Frame::default());
    }
    assert_eq!(program.session.rules(), ["deadlock"]);
    assert_eq!(program.session.only().count, 30);
}

#[test]
fn threads_that_lock_in_opposite_order_are_a_deadlock() {
    let mut program = Program::new();
    let resource = |id, name| (id, ResourceKind::StdMutex, name, None, None, None);
    let mut frame = program.frame(&[resource(A, "accounts"), resource(B, "audit")], &[]);
    for (tid, line, wanted, held) in [(70, 21, B, A), (71, 33, A, B)] {
        frame.thread_waits.push(proto::ThreadWait {
            tid,
            want: Some(wire_want(0, Permit(wanted))),
            holds: vec![wire_hold(0, Probably(held))],
            since_ns: 1_000 * MS,
            function: program.interner.string("bank::transfer"),
            location: program.interner.location("src/app.rs", line, 1),
            ..proto::ThreadWait::default()
        });
    }
    program.send(&mut frame);
    let live = |tid: u64, id| proto::Stall {
        id,
        state: proto::StallState::Live.into(),
        tid: Some(tid),
        worker: Some((tid - 70) as u32),
        ..stall(Cause::Lock, 3_000, 1_000)
    };
    let lock = Some(CallKind::Lock);
    program.session.run(5_000, |_| Frame::default());
    program.session.feed_named(
        stalls([live(70, 1), live(71, 2)]),
        &[
            (1, stack(&["bank::transfer"], 21, lock)),
            (2, stack(&["bank::report"], 33, lock)),
        ],
    );
    let found = program.session.only();
    assert_eq!(found.rule, "deadlock");
    let expected = "probably a deadlock: bank::transfer (app.rs:21) and bank::transfer (app.rs:33) wait for each";
    assert!(found.title.starts_with(expected), "{}", found.title);
}

#[test]
fn a_lock_that_a_thread_or_an_idle_task_holds_names_it_first() {
    for (by_task, expected) in [
        (
            false,
            "a lock (a lock) was held by thread 99 in app::save (src/app.rs:21): worker 0 was \
             blocked 200 ms waiting for it, in app::count (src/app.rs:9)",
        ),
        (
            true,
            "a lock (a lock) was held over an await by task 5 shop::report, which waits for timer \
             (src/app.rs:77)",
        ),
    ] {
        let mut program = Program::new();
        let lock = (A, ResourceKind::StdMutex, "", None, None, None);
        let holder = task(5, &UPSTREAM, &[(1, Timer)], &[(0, Permits(A, 1))]);
        let tasks = if by_task { vec![holder] } else { Vec::new() };
        let mut frame = program.frame(&[lock], &tasks);
        let waiter = proto::ThreadWait {
            tid: 70,
            want: Some(wire_want(0, Permit(A))),
            since_ns: 1_000 * MS,
            ..proto::ThreadWait::default()
        };
        let writer = proto::ThreadWait {
            tid: 99,
            holds: vec![wire_hold(0, Permits(A, 1))],
            since_ns: 1_000 * MS,
            function: program.interner.string("app::save"),
            location: program.interner.location("src/app.rs", 21, 1),
            ..proto::ThreadWait::default()
        };
        frame.thread_waits = vec![waiter];
        if !by_task {
            frame.thread_waits.push(writer);
        }
        program.send(&mut frame);
        program.session.feed_named(
            stalls([stall(Cause::Lock, 200, 1_000)]),
            &[(1_000, stack(&["app::count"], 9, Some(CallKind::Lock)))],
        );
        let title = &program.session.only().title;
        assert!(title.starts_with(expected), "{title}");
    }
}

#[test]
fn what_was_not_read_is_said() {
    let reason = |program: &Program| {
        let reasons = program.session.engine.not_judged(&program.session.model);
        let found = reasons.into_iter().find(|(rule, _)| *rule == "deadlock");
        found.map(|(_, reason)| reason)
    };
    let mut program = Program::new();
    assert_eq!(reason(&program), None, "an agent that does not know of it");
    let mut frame = program.frame(&[], &[]);
    let read = frame.waits_read.as_mut().expect("it is there");
    (read.idle, read.read, read.without) = (100, 12, 88);
    read.without_reason = program.interner.string("the time for it is used up");
    program.send(&mut frame);
    assert_eq!(
        reason(&program).as_deref(),
        Some("what 12 of 100 idle tasks wait for was read: the time for it is used up")
    );
    program.read(&[], &[]);
    assert_eq!(
        reason(&program).as_deref(),
        Some("it needs 4 s, and 0.2 s were observed")
    );
    program.stays(4_000, &[], &[]);
    assert_eq!(reason(&program), None);

    let mut hello = fixtures::hello();
    hello.capabilities.push(proto::Capability {
        kind: crate::model::Capability::Waits.into(),
        available: false,
        reason: "the process may not be read".to_owned(),
    });
    program.session = Session::of(&hello);
    assert_eq!(
        reason(&program).as_deref(),
        Some("what tasks wait for is not read: the process may not be read")
    );
}

/// tokio gives a writer the permits of an `RwLock` one after the other as readers leave.
#[test]
fn who_was_given_some_of_it_and_queues_for_more_is_not_its_holder() {
    let lock = (A, ResourceKind::RwLock, "registry", Some(0), Some(10), None);
    let reader = task(
        1,
        &waits("app::snapshot::{async_fn#0}", 5),
        &[(1, Socket)],
        &[(0, Permits(A, 1))],
    );
    let writer = task(
        2,
        &waits("app::reload::{async_fn#0}", 9),
        &[(1, Given(A, 10, 9))],
        &[],
    );
    for (tasks, expected) in [
        (vec![reader, writer.clone()], &[Party::Task(TaskId(1))][..]),
        (vec![writer], &[]),
    ] {
        let mut program = Program::new();
        program.read(&[lock], &tasks);
        let model = &program.session.model;
        let graph = Graph::of(model);
        let wait = model.waits.task(TaskId(2)).expect("it was read");
        let holders = graph.holders_of(&wait.wants[0]);
        let holders: Vec<Party> = holders.iter().map(|holder| holder.party).collect();
        assert_eq!(holders, expected);
    }
}

/// A core dump of a ring of `many`, and how long it takes to find it.
fn ring_of(many: u64) -> (Program, std::time::Duration) {
    let mut program = Program::of(&proto::HelloResponse {
        core_dump: true,
        ..fixtures::hello()
    });
    let id = |n: u64| 0x1_0000 + n % many;
    let resources: Vec<Resource> = (0..many).map(|n| mutex(id(n), "")).collect();
    let tasks: Vec<Task> = (0..many)
        .map(|n| {
            let (wants, holds) = (Permit(id(n + 1)), Permits(id(n), 1));
            task(n + 1, &TRANSFER, &[(1, wants)], &[(0, holds)])
        })
        .collect();
    let began = std::time::Instant::now();
    program.read(&resources, &tasks);
    (program, began.elapsed())
}

#[test]
fn a_ring_of_thousands_is_told_in_a_sentence_and_in_steps_of_its_length() {
    let (program, _) = ring_of(2_000);
    let found = program.session.only();
    assert_eq!((found.rule, found.count), ("deadlock", 2_000));
    assert!(found.title.len() < 1_000, "{}", found.title);
    assert!(
        found.title.ends_with("; and so on, 1996 others"),
        "{}",
        found.title
    );
    // Eight times as long; each with all the others would take 64 times as long.
    let soonest = |many| (0..3).map(|_| ring_of(many).1).min().unwrap();
    let (few, many) = (soonest(250), soonest(2_000));
    assert!(many < few * 30, "{few:?}, {many:?}");
}
