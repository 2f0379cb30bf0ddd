//! A tiny application that stalls on purpose: every second it sleeps, computes
//! or waits for a lock for 300 ms inside a poll.
//!
//! ```text
//! cargo run -p looptop-agent --example minimal
//! looptop
//! ```

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const STALL: Duration = Duration::from_millis(300);

#[tokio::main]
async fn main() {
    let agent = looptop_agent::init();
    match agent.local_addr() {
        Some(address) => println!("attach with: looptop {address}"),
        None => println!("the agent does not run"),
    }
    let lock = Arc::new(Mutex::new(()));
    for n in 0u64.. {
        let lock = Arc::clone(&lock);
        tokio::spawn(async move {
            match n % 3 {
                0 => std::thread::sleep(STALL),
                1 => compute(),
                _ => wait_for(&lock),
            }
        });
        looptop_agent::gauge("rounds", n as f64);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn compute() {
    let started = Instant::now();
    while started.elapsed() < STALL {
        std::hint::black_box(0);
    }
}

/// Waits for a lock that another thread holds too long.
fn wait_for(lock: &Arc<Mutex<()>>) {
    let (locked, is_locked) = std::sync::mpsc::channel();
    let theirs = Arc::clone(lock);
    std::thread::spawn(move || {
        let guard = theirs.lock();
        let _ = locked.send(());
        std::thread::sleep(STALL);
        drop(guard);
    });
    let _ = is_locked.recv();
    drop(lock.lock());
}
