//! Blocks a worker in the way that the first argument names, for as long as it
//! lives. A debugger may look at it.

use std::io::Read;
use std::sync::{Condvar, Mutex, mpsc};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(600);

async fn sleeps() {
    std::thread::sleep(LONG);
}

async fn locks() {
    let lock: &'static Mutex<u32> = Box::leak(Box::new(Mutex::new(0)));
    std::mem::forget(lock.lock());
    *lock.lock().unwrap() += 1;
}

async fn joins() {
    let thread = std::thread::spawn(|| std::thread::sleep(LONG));
    thread.join().unwrap();
}

async fn runs_process() {
    std::process::Command::new("sleep")
        .arg("600")
        .output()
        .unwrap();
}

async fn receives() {
    let (sender, receiver) = mpsc::channel::<u32>();
    std::mem::forget(sender);
    receiver.recv().unwrap();
}

async fn waits() {
    let (lock, condition) = (Mutex::new(()), Condvar::new());
    drop(condition.wait(lock.lock().unwrap()).unwrap());
}

async fn blocks_on() {
    futures::executor::block_on(std::future::pending::<()>());
}

async fn reads_pipe() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    std::mem::forget(writer);
    let _ = reader.read(&mut [0; 16]).unwrap();
}

async fn opens_file() {
    // A named pipe that nobody writes.
    std::fs::read(std::env::args().nth(2).unwrap()).unwrap();
}

fn main() {
    let kind = std::env::args().nth(1).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async move {
        let task = match kind.as_str() {
            "sleeps" => tokio::spawn(sleeps()),
            "locks" => tokio::spawn(locks()),
            "joins" => tokio::spawn(joins()),
            "runs_process" => tokio::spawn(runs_process()),
            "receives" => tokio::spawn(receives()),
            "waits" => tokio::spawn(waits()),
            "blocks_on" => tokio::spawn(blocks_on()),
            "reads_pipe" => tokio::spawn(reads_pipe()),
            "opens_file" => tokio::spawn(opens_file()),
            other => panic!("there is no kind {other}"),
        };
        task.await.unwrap();
    });
}
