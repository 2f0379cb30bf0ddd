//! Where tasks and threads of this very process wait, and who holds what they wait for.
#![cfg(all(target_os = "linux", not(looptop_elsewhere), target_arch = "x86_64"))]

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use looptop_outside::Subject;
use looptop_outside::tasks::{AddressSet, Task, Tasks, Types};
use looptop_outside::waiting::{
    LiveProcess, ResourceFact, Shape, TaskWait, ThreadWait, Waiting, What,
};
use looptop_procfs::Procfs;
use looptop_symbols::Resolver;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, oneshot};

/// What was found so far.
#[derive(Default)]
struct Known {
    shapes: HashMap<u32, Arc<Shape>>,
    tasks: BTreeMap<u64, TaskWait>,
    threads: BTreeMap<u64, ThreadWait>,
    resources: HashMap<u64, ResourceFact>,
}

/// Reads until `is_there`, and fails where that takes too long.
fn read_until(what: &str, is_there: impl Fn(&Known) -> bool) -> Known {
    let subject = Subject::find(&Procfs::default(), std::process::id()).unwrap();
    let types = Arc::new(Types::load(&subject).unwrap());
    let mut tasks = Tasks::new(&subject, Arc::clone(&types));
    let live = LiveProcess::new(&subject);
    let mut waiting = Waiting::new(live, types, Resolver::new(Some(subject.pid())));
    let mut known = Known::default();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let stacks: Vec<(u64, u64)> = {
            let process = subject.process();
            let stack = |tid| Some((tid, process.thread(tid).syscall().blocked_at()?.0));
            process.tids().unwrap().filter_map(stack).collect()
        };
        let listing: Arc<[Task]> = tasks.read(&stacks).tasks.clone().into();
        waiting.take_listing((listing, 0), &AddressSet::default(), Instant::now());
        waiting.read(Duration::from_secs(5));
        waiting.look_at_threads(Instant::now());
        let found = waiting.take();
        known.shapes.extend(found.shapes);
        known
            .tasks
            .extend(found.tasks.into_iter().map(|wait| (wait.task.id, wait)));
        let resources = found.resources.into_iter();
        known
            .resources
            .extend(resources.map(|fact| (fact.address, fact)));
        let threads = found.threads.into_iter();
        known.threads.extend(threads.map(|wait| (wait.tid, wait)));
        for tid in found.threads_void {
            known.threads.remove(&tid);
        }
        if is_there(&known) {
            return known;
        }
        if Instant::now() >= deadline {
            for wait in known.threads.values_mut() {
                wait.frames.clear();
            }
            panic!("{what}: {:?} {:#?}", known.tasks, known.threads);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn own_tid() -> u64 {
    let link = std::fs::read_link("/proc/thread-self").unwrap();
    link.file_name().unwrap().to_str().unwrap().parse().unwrap()
}

/// Holds the lock until its channel ends.
#[inline(never)]
fn hold(lock: &Mutex<u64>, held: &mpsc::Sender<u64>, until: &mpsc::Receiver<()>) {
    let mut guard = lock.lock().unwrap();
    held.send(own_tid()).unwrap();
    let _ = until.recv();
    *guard += 1;
}

#[test]
fn the_thread_that_holds_a_std_mutex_is_found() {
    let lock = Arc::new(Mutex::new(0_u64));
    let (held, holder) = mpsc::channel();
    let (end, until) = mpsc::channel();
    let (waits, waiter) = mpsc::channel();
    let holding = {
        let lock = Arc::clone(&lock);
        std::thread::spawn(move || hold(&lock, &held, &until))
    };
    let holder = holder.recv().unwrap();
    let waiting = {
        let lock = Arc::clone(&lock);
        std::thread::spawn(move || {
            waits.send(own_tid()).unwrap();
            *lock.lock().unwrap() += 1;
        })
    };
    let waiter = waiter.recv().unwrap();
    // A runtime, so that there are tasks at all.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    runtime.spawn(std::future::pending::<()>());
    let address = std::ptr::from_ref(&*lock).addr() as u64;
    let wanted = |known: &Known| {
        let want = known.threads.get(&waiter)?.want.clone()?;
        want.what.resource()
    };
    let holds = |known: &Known| {
        let wait = known.threads.get(&holder)?;
        Some(wait.holds.first()?.resource)
    };
    let known = read_until("who waits and who holds", |known| {
        wanted(known) == Some(address) && holds(known) == Some(address)
    });
    let held_lock = &known.threads[&holder].holds[0];
    assert!(!held_lock.is_certain, "no lock of std names its owner");
    let function = known.threads[&holder].function.as_deref();
    assert!(
        function.is_some_and(|f| f.ends_with("hold")),
        "{function:?}"
    );
    drop(end);
    holding.join().unwrap();
    waiting.join().unwrap();
    let ended = read_until("nobody waits", |known| !known.threads.contains_key(&waiter));
    assert!(!ended.threads.contains_key(&holder));
}

async fn takes(lock: Arc<tokio::sync::Mutex<u64>>) {
    *lock.lock().await += 1;
}

#[test]
fn a_task_that_waits_for_a_lock_wants_a_permit_of_it() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let lock = Arc::new(tokio::sync::Mutex::new(0));
    let guard = runtime.block_on(lock.lock());
    let task = runtime.spawn(takes(Arc::clone(&lock)));
    let id: u64 = task.id().to_string().parse().unwrap();
    let known = read_until("the task's chain", |known| {
        let wait = known.tasks.get(&id);
        wait.is_some_and(|wait| !wait.wants.is_empty())
    });
    let wait = &known.tasks[&id];
    let shape = &known.shapes[&wait.shape];
    // tokio wraps it where it traces its tasks.
    let mut nodes = shape.nodes.iter();
    assert!(nodes.any(|node| node.name.contains("takes")), "{shape:#?}");
    let range = std::ptr::from_ref(&*lock).addr() as u64;
    let range = range..range + size_of_val(&*lock) as u64;
    assert!(
        matches!(wait.wants[0].what, What::Permits { resource, amount: 1, .. }
            if range.contains(&resource)),
        "{wait:#?}"
    );
    drop(guard);
    runtime.block_on(task).unwrap();
}

async fn takes_a_permit(pool: Arc<Semaphore>) {
    let _permit = pool.acquire().await.unwrap();
}

/// Takes one, and waits with it again and again.
async fn takes_turns(pool: Arc<Semaphore>) {
    loop {
        let _permit = pool.acquire().await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Where what is waited for is, and tasks that wait for it; nobody else knows it.
fn wait_behind(
    runtime: &Runtime,
    permits: usize,
    first: impl FnOnce(Arc<Semaphore>, oneshot::Sender<()>),
) -> Range<u64> {
    let pool = Arc::new(Semaphore::new(permits));
    let (taken, is_taken) = oneshot::channel();
    first(Arc::clone(&pool), taken);
    runtime.block_on(is_taken).unwrap();
    for _ in 0..3 {
        runtime.spawn(takes_a_permit(Arc::clone(&pool)));
    }
    place(&pool)
}

/// tokio's tracing has more in a semaphore than what permits are taken from.
fn place(pool: &Arc<Semaphore>) -> Range<u64> {
    let at = Arc::as_ptr(pool).addr() as u64;
    at..at + size_of_val(&**pool) as u64
}

#[test]
fn that_no_task_holds_any_is_said_of_what_is_held_by_none() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let forgotten = wait_behind(&runtime, 1, |pool, taken| {
        runtime.spawn(async move {
            pool.acquire().await.unwrap().forget();
            taken.send(()).unwrap();
        });
    });
    let (end, until) = mpsc::channel::<()>();
    let in_job = wait_behind(&runtime, 1, |pool, taken| {
        runtime.spawn(async move {
            let permit = pool.acquire_owned().await.unwrap();
            let job = move || {
                taken.send(()).unwrap();
                let _ = until.recv();
                drop(permit);
            };
            tokio::task::spawn_blocking(job).await.unwrap();
        });
    });
    let pool = Arc::new(Semaphore::new(2));
    let in_turns = place(&pool);
    for _ in 0..20 {
        runtime.spawn(takes_turns(Arc::clone(&pool)));
    }
    drop(pool);
    let is_known = |known: &Known, place: &Range<u64>| {
        let mut facts = known.resources.values();
        let fact = facts.find(|fact| place.contains(&fact.address));
        fact.and_then(|fact| fact.holders_known)
    };
    let rounds = std::cell::Cell::new(0);
    read_until("what is forgotten", |known| {
        assert_ne!(is_known(known, &in_job), Some(true), "a job has it");
        let holds = |wait: &TaskWait| {
            wait.holds
                .iter()
                .any(|hold| in_turns.contains(&hold.resource))
        };
        let is_held = known.tasks.values().any(holds);
        assert!(
            is_known(known, &in_turns) != Some(true) || is_held,
            "two tasks have it at any time"
        );
        let is_asked = is_known(known, &in_job).is_some() && is_known(known, &in_turns).is_some();
        rounds.set(rounds.get() + 1);
        // With tokio's tracing in a semaphore it is said of none.
        let is_traced = size_of::<Semaphore>() > 64;
        let is_said = is_known(known, &forgotten) == Some(true) || is_traced;
        is_said && is_asked && rounds.get() > 30
    });
    drop(end);
    runtime.shutdown_timeout(Duration::from_secs(5));
}
