//! A tokio application with an agent and without a tracing subscriber, which it sets as
//! soon as a line comes: then it spawns tasks anew.
//!
//! `agent_app [TASKS]` prints the agent's address once its tasks run, and ends with its
//! standard input.

use std::{io::BufRead, time::Duration};

use looptop_agent::Agent;
use tokio::{sync::mpsc, time::sleep};
use tracing_subscriber::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tasks = std::env::args().nth(1).map_or(Ok(5), |n| n.parse())?;
    let (sender, mut lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let _ = sender.send(line);
        }
        std::process::exit(0);
    });
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(async move {
            let agent = Agent::builder().bind("127.0.0.1:0");
            let agent = agent.install_subscriber(false).start();
            for _ in 0..tasks {
                tokio::spawn(waits_unseen());
            }
            tokio::task::yield_now().await;
            let port = agent.local_addr().map(|address| address.to_string());
            let socket = || Some(format!("unix:{}", agent.socket_path()?.display()));
            println!("{}", port.or_else(socket).ok_or("no agent")?);
            lines.recv().await;
            let registry = tracing_subscriber::registry();
            registry.with(looptop_agent::layer()).init();
            for _ in 0..tasks {
                tokio::spawn(waits_traced());
            }
            std::future::pending().await
        })
}

async fn waits_unseen() {
    sleep(Duration::from_hours(1)).await;
}

async fn waits_traced() {
    sleep(Duration::from_hours(1)).await;
}
