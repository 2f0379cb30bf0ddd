//! A tokio application with many tasks, each of which is polled once a second,
//! to measure viewers with.
//!
//! `crowd agent | console TASKS` prints the address at which looptop's agent or
//! console-subscriber listens and runs until its standard input ends.

use std::{
    error::Error,
    future::poll_fn,
    io::Read,
    net::TcpListener,
    sync::{Arc, Mutex},
    task::{Poll, Waker},
    time::Duration,
};

use tokio::{task::Builder, time::interval};

/// Each of them is woken in turn; a timer or channel for each would have the
/// viewers show resources as well.
#[derive(Default)]
struct Sleepers(Mutex<Vec<Option<Waker>>>);

const KINDS: usize = 50;
const BATCHES: usize = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let observer = arguments.next().ok_or("who observes?")?;
    let tasks: usize = arguments.next().ok_or("how many tasks?")?.parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let address = match observer.as_str() {
        "agent" => {
            let agent = looptop_agent::Agent::builder().bind("127.0.0.1:0");
            let agent = agent.install_subscriber(true);
            let agent = agent.runtime("main", runtime.handle()).try_start()?;
            agent.local_addr().ok_or("the agent does not listen")?
        }
        "console" => {
            // It does not say which port it got, so a free one is found for it.
            let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
            let layer = console_subscriber::ConsoleLayer::builder();
            layer.server_addr(address).init();
            address
        }
        other => return Err(format!("nobody called {other} observes").into()),
    };
    println!("{address}");
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    runtime.block_on(run(tasks))?;
    Ok(())
}

async fn run(tasks: usize) -> std::io::Result<()> {
    let sleepers = Arc::new(Sleepers(Mutex::new(vec![None; tasks])));
    for n in 0..tasks {
        let name = format!("connection of kind {}", n % KINDS);
        let sleepers = Arc::clone(&sleepers);
        Builder::new().name(&name).spawn(poll_fn(move |cx| {
            sleepers.0.lock().unwrap()[n] = Some(cx.waker().clone());
            Poll::<()>::Pending
        }))?;
    }
    let mut ticks = interval(Duration::from_secs(1) / BATCHES as u32);
    for batch in (0..BATCHES).cycle() {
        ticks.tick().await;
        let wakers: Vec<Waker> = {
            let mut sleepers = sleepers.0.lock().unwrap();
            let batch = sleepers.iter_mut().skip(batch).step_by(BATCHES);
            batch.filter_map(Option::take).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }
    Ok(())
}
