//! A service that knows nothing of looptop, with a known number of tasks, one of which
//! holds up its worker now and then. `tests/outside_builds.rs` builds it in the ways in
//! which people build theirs and looks at it from outside.
//!
//! `tasks MODE`: `threads`, `single`, `local`, `several`. It prints `tasks=N` once they
//! are all there, and ends with its standard input.

use std::future::Future;
use std::io::{Read, Write};
use std::sync::mpsc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const SUBSCRIPTIONS: usize = 500;
const HEARTBEATS: usize = 7;
/// All of them, and the one that blocks.
const ALL: usize = SUBSCRIPTIONS + HEARTBEATS + 1;

async fn subscription(wake: &'static Notify, room: [u64; 16]) -> u64 {
    wake.notified().await;
    room.iter().sum()
}

async fn heartbeat(every: Duration) {
    loop {
        tokio::time::sleep(every).await;
    }
}

#[inline(never)]
fn render_report() {
    std::thread::sleep(Duration::from_millis(300));
}

async fn report() {
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        render_report();
    }
}

fn never() -> &'static Notify {
    Box::leak(Box::new(Notify::new()))
}

/// Spawns all tasks.
fn spawn_all() {
    let wake = never();
    for n in 0..SUBSCRIPTIONS {
        tokio::spawn(subscription(wake, [n as u64; 16]));
    }
    for n in 0..HEARTBEATS {
        tokio::spawn(heartbeat(Duration::from_millis(50 + n as u64)));
    }
    tokio::spawn(report());
}

fn spawn_all_local() {
    let wake = never();
    for n in 0..SUBSCRIPTIONS {
        tokio::task::spawn_local(subscription(wake, [n as u64; 16]));
    }
    for n in 0..HEARTBEATS {
        tokio::task::spawn_local(heartbeat(Duration::from_millis(50 + n as u64)));
    }
    tokio::task::spawn_local(report());
}

fn threads() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
}

fn single() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Drives a runtime on a thread of its own, for ever, once `start` has run in it.
fn drive<F: Future<Output = ()>>(
    runtime: fn() -> Runtime,
    start: impl FnOnce() -> F + Send + 'static,
    ready: &mpsc::Sender<()>,
) {
    let ready = ready.clone();
    std::thread::spawn(move || {
        runtime().block_on(async move {
            start().await;
            ready.send(()).unwrap();
            std::future::pending::<()>().await;
        });
    });
}

fn main() {
    let mode = std::env::args().nth(1).expect("a mode");
    let (ready, started) = mpsc::channel();
    let spawn = || async { spawn_all() };
    let runtimes = match mode.as_str() {
        "threads" => {
            drive(threads, spawn, &ready);
            1
        }
        "single" => {
            drive(single, spawn, &ready);
            1
        }
        "local" => {
            let ready = ready.clone();
            std::thread::spawn(move || {
                let local = tokio::task::LocalSet::new();
                local.block_on(&single(), async {
                    spawn_all_local();
                    ready.send(()).unwrap();
                    std::future::pending::<()>().await;
                });
            });
            1
        }
        "several" => {
            drive(threads, spawn, &ready);
            drive(threads, spawn, &ready);
            drive(single, spawn, &ready);
            3
        }
        mode => panic!("no mode {mode}"),
    };
    for _ in 0..runtimes {
        started.recv().unwrap();
    }
    println!("tasks={}", runtimes * ALL);
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read(&mut [0]);
    std::process::exit(0);
}
