//! A tokio application with an agent and without a tracing subscriber, which it sets as
//! soon as a line comes: then it spawns tasks anew.
//!
//! `agent_app [TASKS] [traced] [late] [stranger]` prints the agent's address once its tasks
//! run, and ends with its standard input. `traced`: the subscriber is there from the start.
//! `late`: the agent is not; it prints `ready`, and starts it at the first line.
//! `stranger`: beside the agent's runtime another one runs that nobody registers, with
//! tasks that wait and one that computes for long.

use std::{io::BufRead, time::Duration};

use looptop_agent::Agent;
use tokio::{sync::mpsc, time::sleep};
use tracing_subscriber::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tasks = std::env::args().nth(1).map_or(Ok(5), |n| n.parse())?;
    let has = |word: &str| std::env::args().any(|arg| arg == word);
    let (traced, late, stranger) = (has("traced"), has("late"), has("stranger"));
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
            let start = || {
                let agent = Agent::builder().bind("127.0.0.1:0");
                agent.install_subscriber(traced).start()
            };
            let early = (!late).then(start);
            if stranger {
                std::thread::spawn(run_unregistered);
            }
            for _ in 0..tasks {
                tokio::spawn(waits_unseen());
            }
            tokio::task::yield_now().await;
            let Some(agent) = early else {
                println!("ready");
                lines.recv().await;
                let _agent = start();
                return std::future::pending().await;
            };
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

/// Another library's runtime, say.
fn run_unregistered() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        for _ in 0..3 {
            tokio::spawn(waits_elsewhere());
        }
        tokio::spawn(computes_elsewhere());
        std::future::pending::<()>().await;
    });
}

async fn waits_elsewhere() {
    sleep(Duration::from_hours(1)).await;
}

async fn computes_elsewhere() {
    loop {
        let until = std::time::Instant::now() + Duration::from_millis(400);
        while std::time::Instant::now() < until {
            std::hint::spin_loop();
        }
        sleep(Duration::from_millis(200)).await;
    }
}

async fn waits_unseen() {
    sleep(Duration::from_hours(1)).await;
}

async fn waits_traced() {
    sleep(Duration::from_hours(1)).await;
}
