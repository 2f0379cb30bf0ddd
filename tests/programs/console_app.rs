//! A tokio application that has console-subscriber and knows nothing of
//! looptop: healthy tasks beside several that misbehave.
//!
//! `console_app [HOST:PORT] [spin | lost-waker]...` prints the address at which console-subscriber
//! listens (port 0: a free one) and runs until its standard input ends, so that
//! it never outlives the test that started it. The words after the address add
//! tasks that would disturb other tests: one that spins, one that is forgotten.

use std::{
    error::Error,
    future::poll_fn,
    io::Read,
    net::{SocketAddr, TcpListener},
    task::Poll,
    time::Duration,
};

use tokio::{task::Builder, time::sleep};

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let address: SocketAddr = address.as_deref().unwrap_or("127.0.0.1:0").parse()?;
    // console-subscriber does not say which port it got, so a free one is
    // found for it.
    let address = TcpListener::bind(address)?.local_addr()?;
    console_subscriber::ConsoleLayer::builder()
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
    for _ in 0..3 {
        Builder::new().name("sleeper").spawn(sleeps())?;
    }
    Builder::new().name("short").spawn(spawns_short_tasks())?;
    Builder::new().name("burn").spawn(wakes_itself())?;
    Builder::new().name("blocks").spawn(blocks_its_worker())?;
    Builder::new().name("greedy").spawn(never_yields())?;
    Builder::new().name("big").spawn(is_large())?;
    Builder::new()
        .name("on the pool")
        .spawn_blocking(|| std::thread::sleep(Duration::from_hours(1)))?;
    for extra in std::env::args().skip(2) {
        match extra.as_str() {
            "spin" => drop(Builder::new().name("spin").spawn(spins())?),
            "lost-waker" => drop(Builder::new().name("lost").spawn(loses_its_waker())?),
            other => return Err(std::io::Error::other(format!("no task called {other}"))),
        }
    }
    std::future::pending().await
}

async fn sleeps() {
    loop {
        sleep(Duration::from_millis(50)).await;
    }
}

async fn spawns_short_tasks() {
    loop {
        let _ = tokio::spawn(sleep(Duration::from_millis(5))).await;
    }
}

/// Is polled again and again for its own sake.
async fn wakes_itself() {
    poll_fn::<(), _>(|cx| {
        // Slow enough that the test machine has something left.
        std::thread::sleep(Duration::from_micros(200));
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Asks instead of waiting, as fast as it can.
async fn spins() {
    poll_fn::<(), _>(|cx| {
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Keeps no waker and waits.
async fn loses_its_waker() {
    poll_fn::<(), _>(|cx| {
        drop(cx.waker().clone());
        Poll::Pending
    })
    .await;
}

async fn blocks_its_worker() {
    loop {
        std::thread::sleep(Duration::from_millis(700));
        sleep(Duration::from_millis(300)).await;
    }
}

/// Its first poll does not end.
#[allow(clippy::unused_async)] // that is the point
async fn never_yields() {
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

async fn is_large() {
    let mut bytes = [0_u8; 4_096];
    loop {
        sleep(Duration::from_millis(100)).await;
        bytes[0] = bytes[0].wrapping_add(1);
        std::hint::black_box(&bytes);
    }
}
