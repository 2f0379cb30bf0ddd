//! What tasks of this very process would give back if they were cancelled.
#![cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]

mod names;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use looptop_outside::Subject;
use looptop_outside::awaits::Leaf;
use looptop_outside::awaits::interpreted::{Interpreter, Lock, NotPolled, Sockets};
use looptop_outside::tasks::{Task, Tasks, Types};
use looptop_procfs::{Procfs, SyscallState};
use names::Names;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, RwLock, Semaphore, oneshot};
use tokio::time::sleep;

const LONG: Duration = Duration::from_hours(1);
const PATIENCE: Duration = Duration::from_secs(30);
/// All of an `RwLock` that nobody has given another number of readers.
const ALL: u64 = (u32::MAX >> 3) as u64;
const PERMITS: u32 = 5;

/// What a task of a case shares with nobody.
#[derive(Clone)]
struct Locks {
    mutex: Arc<Mutex<u64>>,
    rw: Arc<RwLock<u64>>,
    pool: Arc<Semaphore>,
}

impl Locks {
    fn new() -> Self {
        Self {
            mutex: Arc::default(),
            rw: Arc::default(),
            pool: Arc::new(Semaphore::new(PERMITS as usize)),
        }
    }

    fn addresses(&self) -> [u64; 3] {
        [
            Arc::as_ptr(&self.mutex).addr() as u64,
            Arc::as_ptr(&self.rw).addr() as u64,
            Arc::as_ptr(&self.pool).addr() as u64,
        ]
    }
}

type Holder = Pin<Box<dyn Future<Output = ()> + Send>>;
type Held = oneshot::Sender<()>;

async fn guard(locks: Locks, held: Held) {
    let _guard = locks.mutex.lock().await;
    held.send(()).unwrap();
    sleep(LONG).await;
}

async fn dropped_guard(locks: Locks, held: Held) {
    let guard = locks.mutex.lock().await;
    drop(guard);
    held.send(()).unwrap();
    sleep(LONG).await;
}

async fn owned_guard(locks: Locks, held: Held) {
    let guard = locks.mutex.lock_owned().await;
    held.send(()).unwrap();
    sleep(LONG).await;
    drop(guard);
}

async fn reader(locks: Locks, held: Held) {
    let _guard = locks.rw.read().await;
    held.send(()).unwrap();
    sleep(LONG).await;
}

async fn writer(locks: Locks, held: Held) {
    let _guard = locks.rw.write().await;
    held.send(()).unwrap();
    sleep(LONG).await;
}

async fn permits(locks: Locks, held: Held) {
    let _permits = locks.pool.acquire_many(3).await.unwrap();
    held.send(()).unwrap();
    sleep(LONG).await;
}

async fn forgotten(locks: Locks, held: Held) {
    locks.pool.acquire().await.unwrap().forget();
    held.send(()).unwrap();
    sleep(LONG).await;
}

/// Each of two branches has a permit, one of them in a box.
async fn in_branches(locks: Locks, held: Held) {
    let one = async {
        let _permit = locks.pool.acquire().await.unwrap();
        sleep(LONG).await;
    };
    let pool = Arc::clone(&locks.pool);
    let other: Holder = Box::pin(async move {
        let _permit = pool.acquire_owned().await.unwrap();
        held.send(()).unwrap();
        sleep(LONG).await;
    });
    tokio::join!(one, other);
}

/// What else is dropped asks the system: a socket, a timer.
async fn beside_others(locks: Locks, held: Held) {
    let _guard = locks.mutex.lock().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _permits = locks.pool.acquire_many(2).await.unwrap();
    held.send(()).unwrap();
    let accepted = tokio::time::timeout(LONG, listener.accept()).await;
    drop(accepted);
}

/// Holds one, and waits for another behind a writer.
async fn reads_again(locks: Locks, held: Held) {
    let _guard = locks.rw.read().await;
    let rw = Arc::clone(&locks.rw);
    tokio::spawn(async move {
        let _guard = rw.write().await;
    });
    // The writer queues before this task does.
    while locks.rw.try_read().is_ok() {
        tokio::task::yield_now().await;
    }
    held.send(()).unwrap();
    let _again = locks.rw.read().await;
}

/// Queues for all, and was given those that were free.
async fn queues(locks: Locks, held: Held) {
    let pool = Arc::clone(&locks.pool);
    let taken = pool.acquire_many_owned(2).await.unwrap();
    let pool = Arc::clone(&locks.pool);
    tokio::spawn(async move {
        held.send(()).unwrap();
        sleep(LONG).await;
        drop(taken);
    });
    let _all = locks.pool.acquire_many(PERMITS).await.unwrap();
    drop(pool);
}

/// This process, as it is read.
struct Read {
    subject: Subject,
    types: Arc<Types>,
    tasks: Tasks,
    interpreter: Interpreter,
    names: Names,
}

impl Read {
    fn new() -> Self {
        let subject = Subject::find(&Procfs::default(), std::process::id()).unwrap();
        let types = Arc::new(Types::load(&subject).unwrap());
        let tasks = Tasks::new(&subject, Arc::clone(&types));
        let mut interpreter = Interpreter::new(&subject);
        interpreter.know(Sockets::of_process(&subject));
        Self {
            names: Names::of(subject.process()),
            subject,
            types,
            tasks,
            interpreter,
        }
    }

    /// The task of an id, once it is listed.
    fn task(&mut self, id: u64) -> Option<Task> {
        let process = self.subject.process();
        let blocked = |tid: u64| match process.thread(tid).syscall() {
            SyscallState::In { sp, .. } => Some((tid, sp)),
            _ => None,
        };
        let stacks: Vec<(u64, u64)> = process.tids().unwrap().filter_map(blocked).collect();
        let name = |tid: u64| {
            process
                .text(&format!("task/{tid}/comm"))
                .unwrap_or_default()
        };
        let worker = stacks
            .iter()
            .find(|(tid, _)| name(*tid).starts_with("tokio-"));
        let (tid, stack) = worker?;
        if !self.interpreter.play(*tid, *stack) {
            return None;
        }
        self.interpreter.know(Sockets::of_process(&self.subject));
        let listed = &self.tasks.read(&stacks).tasks;
        listed.iter().find(|task| task.id == id).copied()
    }

    /// What `of` says of a task, as soon as it says something.
    fn until<T>(&mut self, id: u64, mut of: impl FnMut(&mut Self, &Task) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let task = self.task(id);
            if let Some(found) = task.and_then(|task| of(self, &task)) {
                return found;
            }
            assert!(Instant::now() < deadline, "task {id}: {task:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The permits that a task would give back.
    fn gives_back(&mut self, id: u64, locks: &[Lock]) -> Vec<u64> {
        self.until(id, |read, task| {
            let of = read.types.get(task.vtable).unwrap().clone();
            match read.interpreter.gives_back(task, &of, locks) {
                Ok(given) => {
                    assert!(given.is_whole(), "{}", given.end);
                    Some(given.permits)
                }
                Err(NotPolled::Moved | NotPolled::Running) => None,
                Err(why) => panic!("{why}"),
            }
        })
    }

    /// The address of what a task waits for, and what it was given of that.
    fn wanted(&mut self, id: u64) -> (u64, u64) {
        self.until(id, |read, task| {
            let types = Arc::clone(&read.types);
            let names = &mut read.names;
            let chain = read
                .interpreter
                .chain(task, &types, &mut |at| names.functions(at));
            let chain = chain.ok()?;
            let mut leaves = chain.nodes().filter_map(|node| node.leaf.clone());
            leaves.find_map(|leaf| match leaf {
                Leaf::Resource(wanted) => Some((wanted.address, wanted.given)),
                _ => None,
            })
        })
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap()
}

fn id_of<T>(handle: &tokio::task::JoinHandle<T>) -> u64 {
    handle.id().to_string().parse().unwrap()
}

#[test]
fn what_a_task_holds_is_what_its_drop_gives_back() {
    let runtime = runtime();
    let mut read = Read::new();
    // Where in each of them its semaphore is.
    let locks = Locks::new();
    let offsets = runtime.block_on(async {
        let _mutex = locks.mutex.lock().await;
        let _rw = locks.rw.write().await;
        let _pool = locks.pool.acquire_many(PERMITS).await.unwrap();
        let of = locks.clone();
        let mutex = tokio::spawn(async move { drop(of.mutex.lock().await) });
        let of = locks.clone();
        let rw = tokio::spawn(async move { drop(of.rw.write().await) });
        let of = locks.clone();
        let pool = tokio::spawn(async move { drop(of.pool.acquire().await) });
        let wanted = [&mutex, &rw, &pool].map(|task| read.wanted(id_of(task)));
        let at = locks.addresses();
        [0, 1, 2].map(|lock| wanted[lock].0 - at[lock])
    });
    let mut case = |what: &str, holder: fn(Locks, Held) -> Holder, expected: [u64; 3]| {
        let locks = Locks::new();
        let (held, is_held) = oneshot::channel();
        let task = runtime.spawn(holder(locks.clone(), held));
        runtime.block_on(is_held).unwrap();
        let at = locks.addresses();
        let asked = [0, 1, 2].map(|lock| Lock::Semaphore(at[lock] + offsets[lock]));
        let given = read.gives_back(id_of(&task), &asked);
        assert_eq!(
            given, expected,
            "{what}: of the mutex, the RwLock, the pool"
        );
        // Nothing of that was true of the process.
        assert!(!task.is_finished());
        let again = read.gives_back(id_of(&task), &asked);
        assert_eq!(again, expected, "{what}, once more");
        task.abort();
    };
    macro_rules! case {
        ($what:literal, $holder:ident, $expected:expr) => {
            case(
                $what,
                |locks, held| Box::pin($holder(locks, held)),
                $expected,
            );
        };
    }
    case!("a guard", guard, [1, 0, 0]);
    case!("one that was dropped", dropped_guard, [0, 0, 0]);
    case!("an owned guard", owned_guard, [1, 0, 0]);
    case!("a reader", reader, [0, 1, 0]);
    case!("a writer", writer, [0, ALL, 0]);
    case!("three permits", permits, [0, 0, 3]);
    case!("a permit that was forgotten", forgotten, [0, 0, 0]);
    case!("a permit in each branch", in_branches, [0, 0, 2]);
    case!("beside a socket and a timer", beside_others, [1, 0, 2]);
    case!("a reader that reads again", reads_again, [0, 1, 0]);
}

/// With tokio's tracing it is not known what a task was given that queues: then it counts as
/// held.
#[test]
fn what_was_given_to_one_that_queues_counts_once() {
    let runtime = runtime();
    let mut read = Read::new();
    let locks = Locks::new();
    let (held, is_held) = oneshot::channel();
    let task = runtime.spawn(queues(locks.clone(), held));
    runtime.block_on(is_held).unwrap();
    let id = id_of(&task);
    let (address, given) = read.wanted(id);
    let held = read.gives_back(id, &[Lock::Semaphore(address)]);
    assert_eq!(given + held[0], 3);
}
