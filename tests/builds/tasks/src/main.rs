//! A service that knows nothing of looptop, with a known number of tasks, one of which
//! holds up its worker now and then. `tests/outside_builds.rs` builds it in the ways in
//! which people build theirs and looks at it from outside.
//!
//! `tasks MODE`: `threads`, `single`, `local`, `several`, `actix`. It prints `tasks=N`
//! once they are all there, as its runtimes count them where these can say it, and ends
//! with its standard input.

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
/// All of them, and the one that blocks. A runtime with several threads has one more.
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
    // Else its frame would be the call's.
    std::hint::black_box(());
}

async fn report() {
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        render_report();
    }
}

/// What may block: its worker goes on in another thread.
async fn archive() {
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        tokio::task::block_in_place(|| std::thread::sleep(Duration::from_millis(300)));
    }
}

fn never() -> &'static Notify {
    Box::leak(Box::new(Notify::new()))
}

/// Spawns all tasks; says how many.
fn spawn_all() -> usize {
    let wake = never();
    for n in 0..SUBSCRIPTIONS {
        tokio::spawn(subscription(wake, [n as u64; 16]));
    }
    for n in 0..HEARTBEATS {
        tokio::spawn(heartbeat(Duration::from_millis(50 + n as u64)));
    }
    tokio::spawn(report());
    ALL
}

/// The same where there are several threads.
fn spawn_all_and_archive() -> usize {
    tokio::spawn(archive());
    spawn_all() + 1
}

/// The same in a `LocalSet`.
fn spawn_all_local() -> usize {
    let wake = never();
    for n in 0..SUBSCRIPTIONS {
        tokio::task::spawn_local(subscription(wake, [n as u64; 16]));
    }
    for n in 0..HEARTBEATS {
        tokio::task::spawn_local(heartbeat(Duration::from_millis(50 + n as u64)));
    }
    tokio::task::spawn_local(report());
    ALL
}

/// The tasks of the runtime in which it is asked, of which `spawned` were spawned.
#[cfg(feature = "counted")]
fn counted(_spawned: usize) -> usize {
    tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks()
}

#[cfg(not(feature = "counted"))]
fn counted(spawned: usize) -> usize {
    spawned
}

fn threads() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
}

fn single() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Drives a runtime on a thread of its own, for ever, with what `spawn` spawns.
fn drive(runtime: fn() -> Runtime, spawn: fn() -> usize, ready: &mpsc::Sender<usize>) {
    let ready = ready.clone();
    std::thread::spawn(move || {
        runtime().block_on(async move {
            let spawned = spawn();
            ready.send(counted(spawned)).unwrap();
            std::future::pending::<()>().await;
        });
    });
}

/// A server with two workers, each with all tasks.
#[cfg(feature = "actix")]
fn serve(ready: &mpsc::Sender<usize>) {
    let ready = ready.clone();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let app = move || {
                ready.send(spawn_all_local()).unwrap();
                actix_web::App::new()
            };
            let server = actix_web::HttpServer::new(app).workers(2);
            server.bind(("127.0.0.1", 0)).unwrap().run().await.unwrap();
        });
    });
}

#[cfg(not(feature = "actix"))]
fn serve(_: &mpsc::Sender<usize>) {
    panic!("it was built without actix-web");
}

fn main() {
    let mode = std::env::args().nth(1).expect("a mode");
    let (ready, started) = mpsc::channel();
    let runtimes = match mode.as_str() {
        "threads" => {
            drive(threads, spawn_all_and_archive, &ready);
            1
        }
        "single" => {
            drive(single, spawn_all, &ready);
            1
        }
        "local" => {
            let ready = ready.clone();
            std::thread::spawn(move || {
                let local = tokio::task::LocalSet::new();
                local.block_on(&single(), async {
                    ready.send(spawn_all_local()).unwrap();
                    std::future::pending::<()>().await;
                });
            });
            1
        }
        "several" => {
            drive(threads, spawn_all_and_archive, &ready);
            drive(threads, spawn_all_and_archive, &ready);
            drive(single, spawn_all, &ready);
            3
        }
        "actix" => {
            serve(&ready);
            2
        }
        mode => panic!("no mode {mode}"),
    };
    let tasks: usize = (0..runtimes).map(|_| started.recv().unwrap()).sum();
    println!("tasks={tasks}");
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read(&mut [0]);
    std::process::exit(0);
}
