//! Tasks that are not `Send`, on a `LocalSet` in the future of `main`. They run on
//! the thread of `main`, which is no worker; while one of them blocks, all others of
//! the set wait.
//!
//! ```text
//! cargo run -p looptop-agent --example local_set
//! looptop
//! ```

use std::rc::Rc;
use std::time::Duration;

use tokio::task::{LocalSet, spawn_local};

#[tokio::main]
async fn main() {
    let agent = looptop_agent::init();
    if let Some(address) = agent.local_addr() {
        println!("attach with: looptop {address}");
    }
    let tasks = LocalSet::new();
    tasks.spawn_local(async {
        let shared = Rc::new(150);
        loop {
            let pause = Rc::clone(&shared);
            let request = spawn_local(async move { blocking_handler(*pause) });
            drop(request.await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    // The application ends with its standard input.
    let end = tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin()));
    drop(tasks.run_until(end).await);
}

/// The mistake.
fn blocking_handler(pause: u64) {
    std::thread::sleep(Duration::from_millis(pause));
}
