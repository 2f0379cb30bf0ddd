//! A program whose tasks wait, each in its own way. It knows nothing of what looks at it.
//!
//! `expected.txt` says of each task what it waits for, by the names under which it is
//! spawned here and by the marks (`// #name`) behind its awaits, or in the line below.

mod channels;
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
    println!("resource {name} {:#x}", std::ptr::from_ref(resource).addr());
}

/// Never comes back.
pub async fn forever() {
    std::future::pending::<()>().await // #forever
}

/// Waits until the tasks spawned so far have gone as far as they can.
pub async fn settle() {
    tokio::time::sleep(Duration::from_millis(60)).await;
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let local = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            guards::local().await;
            forever().await
        });
    });
    runtime.block_on(async {
        locks::spawn().await;
        channels::spawn().await;
        joins::spawn().await;
        wrapped::spawn().await;
        guards::spawn().await;
        rings::spawn().await;
        if let Some(number) = std::env::args().nth(1) {
            // More of them, to measure.
            for _ in 0..number.parse().unwrap_or(0_u64) {
                tokio::spawn(wrapped::select());
            }
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
