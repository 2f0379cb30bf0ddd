//! The lab's own load: seeded, from a thread and a runtime that the agent does
//! not see, so that it measures starvation from outside.

mod canary;
mod client;
mod pace;

use std::{net::SocketAddr, sync::Arc, thread, time::Duration};

use tokio::{sync::watch, task::JoinSet, time::Instant};

pub(crate) use canary::watch as watch_canary;
pub(crate) use client::Client;
use pace::Pace;
pub(crate) use pace::Shape;

use crate::figures::Recorder;

/// Nobody waits longer for an answer. Some requests last as long as the phase.
const PATIENCE: Duration = Duration::from_mins(30);

/// How long a client rests after an error.
const REST: Duration = Duration::from_millis(100);

/// Requests of one kind.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Stream {
    /// Path and query.
    pub(crate) path: &'static str,
    /// Who sends them, and when.
    pub(crate) shape: Shape,
}

/// What to send from now on.
#[derive(Clone, Default)]
pub(crate) struct Plan {
    /// The phase in which it is sent.
    pub(crate) phase: u64,
    /// All at the same time.
    pub(crate) streams: Vec<Stream>,
}

/// Starts the thread that follows the newest plan until the sender goes away.
pub(crate) fn start(
    target: SocketAddr,
    seed: u64,
    plans: watch::Receiver<Plan>,
    recorder: Arc<Recorder>,
) -> std::io::Result<thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::Builder::new()
        .name("lab-load".into())
        .spawn(move || {
            crate::observed::unseen(|| runtime.block_on(follow(target, seed, plans, recorder)));
        })
}

async fn follow(
    target: SocketAddr,
    seed: u64,
    mut plans: watch::Receiver<Plan>,
    recorder: Arc<Recorder>,
) {
    loop {
        let plan = plans.borrow_and_update().clone();
        let mut clients = JoinSet::new();
        let begun = Instant::now();
        let mut number = 0;
        for stream in &plan.streams {
            for index in 0..stream.shape.clients() {
                let client = Client::new(target, stream.path, plan.phase);
                let pace = Pace::new(stream.shape, index, seed, number);
                clients.spawn(send(client, pace, begun, plan.phase, Arc::clone(&recorder)));
                number += 1;
            }
        }
        if plans.changed().await.is_err() {
            return;
        }
        // Dropping the set aborts the clients and closes their connections.
    }
}

async fn send(
    mut client: Client,
    mut pace: Pace,
    begun: Instant,
    phase: u64,
    recorder: Arc<Recorder>,
) {
    loop {
        let due = begun + pace.next(begun.elapsed());
        tokio::time::sleep_until(due).await;
        let answer = tokio::time::timeout(PATIENCE, client.get()).await;
        if let Ok(Ok(200)) = answer {
            recorder.answered(phase, due.elapsed());
        } else {
            // The server ends a connection with its phase, or refuses.
            recorder.failed(phase);
            tokio::time::sleep(REST).await;
        }
    }
}
