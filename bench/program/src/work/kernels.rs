//! The smallest pieces of work: a poll, a wake, a spawn.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    sync::{Notify, Semaphore, mpsc},
    task::JoinHandle,
};

use crate::process::Clock;

/// Spawns a task that ends at once and awaits it, `times` times.
pub(crate) async fn spawn_one_by_one(times: usize) {
    for _ in 0..times {
        finished(tokio::spawn(async {})).await;
    }
}

/// Spawns `times` tasks that end at once, then awaits them all.
pub(crate) async fn spawn_together(times: usize) {
    let mut handles = Vec::with_capacity(times);
    for _ in 0..times {
        handles.push(tokio::spawn(async {}));
    }
    for handle in handles {
        finished(handle).await;
    }
}

/// `tasks` tasks that yield in turn, `times` times each.
pub(crate) async fn yields(tasks: usize, times: usize) {
    let mut handles = Vec::with_capacity(tasks);
    for _ in 0..tasks {
        handles.push(tokio::spawn(async move {
            for _ in 0..times {
                tokio::task::yield_now().await;
            }
        }));
    }
    for handle in handles {
        finished(handle).await;
    }
}

/// As [`yields`], with so many tasks that none is still in a cache of the
/// observer when its turn comes again; the spawns are over before the time runs.
pub(crate) async fn yields_of_many(tasks: usize, times: usize, clock: Clock) -> Duration {
    let gate = Arc::new(Semaphore::new(0));
    let mut handles = Vec::with_capacity(tasks);
    for _ in 0..tasks {
        let gate = Arc::clone(&gate);
        handles.push(tokio::spawn(async move {
            drop(gate.acquire().await);
            for _ in 0..times {
                tokio::task::yield_now().await;
            }
        }));
    }
    // Behind all of them in the queue.
    tokio::task::yield_now().await;
    let start = clock.now();
    gate.add_permits(tasks);
    for handle in handles {
        finished(handle).await;
    }
    clock.now().saturating_sub(start)
}

/// Two tasks that wake each other by `Notify`: two polls and wakes a round.
pub(crate) async fn ping_pong_notify(rounds: usize) {
    let (there, back) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let partner = tokio::spawn({
        let (there, back) = (Arc::clone(&there), Arc::clone(&back));
        async move {
            for _ in 0..rounds {
                there.notified().await;
                back.notify_one();
            }
        }
    });
    for _ in 0..rounds {
        there.notify_one();
        back.notified().await;
    }
    finished(partner).await;
}

/// Two tasks that send a number to and fro: two polls and wakes a round.
pub(crate) async fn ping_pong_mpsc(rounds: usize) {
    let (to_partner, mut from_here) = mpsc::channel(1);
    let (to_here, mut from_partner) = mpsc::channel(1);
    let partner = tokio::spawn(async move {
        while let Some(number) = from_here.recv().await {
            if to_here.send(number).await.is_err() {
                break;
            }
        }
    });
    for number in 0..rounds {
        if to_partner.send(number).await.is_err() || from_partner.recv().await.is_none() {
            break;
        }
    }
    drop(to_partner);
    finished(partner).await;
}

/// Waits for ever with a waker of its own, and without tokio's resources, which
/// some observers account for separately.
#[derive(Default)]
pub(crate) struct Idle(Option<Waker>);

impl Future for Idle {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0 = Some(context.waker().clone());
        Poll::Pending
    }
}

/// A task of ours neither panics nor is cancelled.
async fn finished(handle: JoinHandle<()>) {
    if let Err(error) = handle.await {
        eprintln!("looptop-bench-program: a task failed: {error}");
    }
}
