//! What the target does: it knows of tokio, and of nothing that looks at it.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::{AbortHandle, LocalSet};

/// Runs until its input ends. `mode` says what tasks it has.
pub(crate) fn run(mode: &str, number: u64) {
    match mode {
        "idle" => idle(number),
        "several" => several(),
        "polls" => polls(number),
        "churn" => churn(number),
        other => panic!("no mode {other}"),
    }
}

fn answer(numbers: &[usize]) {
    let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    println!("\nanswer {}", numbers.join(" "));
}

fn commands(mut command: impl FnMut(&str, usize)) {
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let (name, number) = line.split_once(' ').unwrap_or((&line, "0"));
        command(name, number.parse().unwrap());
    }
}

fn alive(handle: &Handle) -> usize {
    handle.metrics().num_alive_tasks()
}

/// Waits until a runtime says that it has so many tasks.
fn settle(handle: &Handle, number: usize) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while alive(handle) != number {
        assert!(Instant::now() < deadline, "{} tasks", alive(handle));
        std::thread::sleep(Duration::from_millis(1));
    }
}

async fn pending() {
    std::future::pending::<()>().await;
}

async fn large(of: u64) -> u64 {
    let data = [of; 40];
    std::future::pending::<()>().await;
    data[3]
}

fn spawn(handle: &Handle, number: u64, all: &mut Vec<AbortHandle>) {
    for n in 0..number {
        let task = match n % 3 {
            0 => handle.spawn(pending()).abort_handle(),
            1 => handle.spawn(large(n)).abort_handle(),
            _ => handle
                .spawn(async { tokio::time::sleep(Duration::from_secs(100_000)).await })
                .abort_handle(),
        };
        all.push(task);
    }
}

fn multi_thread(workers: usize) -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .unwrap()
}

/// Waits until all tasks were polled and wait again.
fn rest() {
    std::thread::sleep(Duration::from_millis(100));
}

fn idle(number: u64) {
    let runtime = multi_thread(3);
    let mut all = Vec::new();
    let handle = runtime.handle();
    spawn(handle, number, &mut all);
    settle(handle, number as usize);
    rest();
    answer(&[]);
    commands(|command, number| match command {
        "alive" => answer(&[alive(handle)]),
        "workers" => answer(&[handle.metrics().num_workers()]),
        "spawn" => {
            spawn(handle, number as u64, &mut all);
            rest();
            answer(&[alive(handle)]);
        }
        "drop" => {
            let left = all.len() - number;
            for task in all.drain(left / 2..left / 2 + number) {
                task.abort();
            }
            settle(handle, left);
            answer(&[alive(handle)]);
        }
        other => panic!("no command {other}"),
    });
}

/// A current-thread runtime on a thread of its own, until something is sent.
fn current_thread(own: u64, local: Option<u64>) -> mpsc::SyncSender<()> {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (ready, is_ready) = mpsc::sync_channel(0);
    std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        spawn(runtime.handle(), own, &mut Vec::new());
        let until = async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            ready.send(()).unwrap();
            let _ = stopped.await;
        };
        match local {
            None => runtime.block_on(until),
            Some(local) => {
                let set = LocalSet::new();
                for n in 0..local {
                    set.spawn_local(async move {
                        let mark = std::rc::Rc::new(n);
                        pending().await;
                        drop(mark);
                    });
                }
                set.block_on(&runtime, until);
            }
        }
    });
    is_ready.recv().unwrap();
    let (sender, receiver) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let _ = receiver.recv();
        drop(stop);
    });
    sender
}

fn several() {
    let (one, many) = (multi_thread(1), multi_thread(6));
    spawn(one.handle(), 11, &mut Vec::new());
    spawn(many.handle(), 22, &mut Vec::new());
    let _kept = [
        current_thread(33, None),
        current_thread(44, None),
        current_thread(0, Some(55)),
        current_thread(0, Some(66)),
        current_thread(5, Some(6)),
    ];
    rest();
    answer(&[]);
    let mut opened = None;
    commands(|command, number| {
        match command {
            "open" => opened = Some(current_thread(number as u64, None)),
            "close" => opened = None,
            other => panic!("no command {other}"),
        }
        answer(&[]);
    });
}

fn polls(number: u64) {
    let runtime = multi_thread(number as usize);
    spawn(runtime.handle(), 20, &mut Vec::new());
    for _ in 0..number {
        runtime.spawn(async {
            tokio::task::yield_now().await;
            loop {
                std::thread::sleep(Duration::from_secs(1_000));
            }
        });
    }
    rest();
    answer(&[]);
    commands(|_, _| {});
}

/// Short tasks that were about to be spawned, that are spawned, and that were about to
/// end: between `SPAWNED - ENDED` and `BEGUN - ENDED` are alive, and as many more as
/// there are workers.
static BEGUN: AtomicU64 = AtomicU64::new(0);
static SPAWNED: AtomicU64 = AtomicU64::new(0);
static ENDED: AtomicU64 = AtomicU64::new(0);

/// 20,000 short tasks a second beside those that stay. Answers where the counters are,
/// how many stay, the greatest id of those, and the number of workers.
fn churn(number: u64) {
    let workers = 2;
    let runtime = multi_thread(workers);
    spawn(runtime.handle(), number, &mut Vec::new());
    let newest = runtime.spawn(pending()).id().to_string();
    let stay = alive(runtime.handle()) + 1;
    runtime.spawn(async {
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        loop {
            tick.tick().await;
            for _ in 0..100 {
                BEGUN.fetch_add(1, SeqCst);
                tokio::spawn(async {
                    tokio::time::sleep(Duration::from_millis(3)).await;
                    ENDED.fetch_add(1, SeqCst);
                });
                SPAWNED.fetch_add(1, SeqCst);
            }
        }
    });
    rest();
    let counters = [&BEGUN, &SPAWNED, &ENDED].map(|counter| (&raw const *counter).addr());
    let mut all = counters.to_vec();
    all.extend([stay, newest.parse().unwrap(), workers]);
    answer(&all);
    commands(|_, _| {});
}
