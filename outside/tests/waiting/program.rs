//! A program whose tasks wait, each in its own way. It knows nothing of what looks at it.
//!
//! `expected.txt` says of each task what it waits for, by the names under which it is
//! spawned here and by the marks (`// #name`) behind its awaits, or in the line below.

mod channels;
mod crates;
mod guards;
mod joins;
mod locks;
mod rings;
mod wrapped;

use std::future::Future;
use std::io::Write;
use std::time::Duration;

use tokio::task::JoinHandle;

/// Spawns a task that is known under a name.
pub fn spawn<T: Send + 'static>(
    name: &str,
    future: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    let handle = tokio::spawn(future);
    println!("task {name} {}", handle.id());
    handle
}

/// Makes a resource known under a name.
pub fn known<T: ?Sized>(name: &str, resource: &T) {
    let (at, size) = (std::ptr::from_ref(resource).addr(), size_of_val(resource));
    println!("resource {name} {at:#x} {size}");
}

/// Never comes back.
pub async fn forever() {
    std::future::pending::<()>().await // #forever
}

/// Waits until the tasks spawned so far have gone as far as they can.
pub async fn settle() {
    tokio::time::sleep(Duration::from_millis(60)).await;
}

/// A number that the program was called with.
fn argument(number: usize) -> Option<u64> {
    std::env::args().nth(number)?.parse().ok()
}

/// Its arguments: how many tasks more, and how many sets of all tasks.
fn main() {
    let sets = argument(2).unwrap_or(1);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let local = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            for _ in 0..sets {
                guards::local().await;
            }
            forever().await
        });
    });
    runtime.block_on(async move {
        for _ in 0..sets {
            locks::spawn().await;
            channels::spawn().await;
            joins::spawn().await;
            wrapped::spawn().await;
            guards::spawn().await;
            rings::spawn().await;
            crates::spawn().await;
        }
        // More of them, to measure.
        for _ in 0..argument(1).unwrap_or(0) {
            tokio::spawn(wrapped::select());
        }
        settle().await;
        println!("ready");
        std::io::stdout().flush().unwrap();
        // Until its input ends.
        tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()))
            .await
            .unwrap()
            .unwrap();
    });
    std::process::exit(i32::from(local.is_finished()));
}
