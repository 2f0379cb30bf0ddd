//! A tokio application with the oldest console-subscriber that builds with
//! today's tokio: a task that sleeps, one that blocks its worker, and one that
//! waits for a permit.
//!
//! Prints the address at which console-subscriber listens, and runs until its
//! standard input ends.

use std::{error::Error, io::Read, net::TcpListener, sync::Arc, time::Duration};

use console_subscriber_oldest::ConsoleLayer;
use tokio::{sync::Semaphore, task::Builder, time::sleep};

fn main() -> Result<(), Box<dyn Error>> {
    // console-subscriber does not say which port it got, so a free one is
    // found for it.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    ConsoleLayer::builder()
        .server_addr(address)
        .publish_interval(Duration::from_millis(200))
        .init();
    println!("{address}");

    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()?
        .block_on(run())?;
    Ok(())
}

async fn run() -> std::io::Result<()> {
    let permits = Arc::new(Semaphore::new(0));
    Builder::new().name("waiter").spawn(async move {
        let _permit = permits.acquire().await;
    })?;
    Builder::new().name("sleeper").spawn(async {
        loop {
            sleep(Duration::from_millis(50)).await;
        }
    })?;
    Builder::new().name("blocks").spawn(async {
        loop {
            std::thread::sleep(Duration::from_millis(700));
            sleep(Duration::from_millis(300)).await;
        }
    })?;
    std::future::pending().await
}
