//! Several futures at once, and other tasks.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, FuturesUnordered, StreamExt};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

use crate::{forever, known, spawn as task};

async fn one(bell: Arc<Notify>) -> u8 {
    bell.notified().await; // #one
    1
}

async fn two(bell: Arc<Notify>) -> u16 {
    bell.notified().await; // #two
    2
}

async fn join_handle(other: JoinHandle<()>) {
    other.await.unwrap(); // #join_handle
}

async fn join_set(mut set: JoinSet<u8>) {
    while let Some(done) = set.join_next().await {
        // #join_next
        std::hint::black_box(done.unwrap());
    }
}

async fn join(bell: Arc<Notify>) {
    // #join
    let both = tokio::join!(one(bell.clone()), two(bell)); // #in_join
    std::hint::black_box(both);
}

async fn join_of_futures(bell: Arc<Notify>) {
    // #futures_join
    let both = futures::join!(one(bell.clone()), two(bell)); // #in_futures_join
    std::hint::black_box(both);
}

/// One of the two has ended.
async fn half_joined(bell: Arc<Notify>) {
    // #half_joined
    let both = tokio::join!(async { 3 }, two(bell)); // #in_half_joined
    std::hint::black_box(both);
}

async fn join_all(bell: Arc<Notify>) {
    let all = (0..3).map(|_| one(bell.clone()));
    futures::future::join_all(all).await; // #join_all
}

/// More than thirty are kept in another way.
async fn join_many(bell: Arc<Notify>) {
    let all = (0..40).map(|_| one(bell.clone()));
    futures::future::join_all(all).await; // #join_many
}

async fn unordered(bell: Arc<Notify>) {
    let mut all: FuturesUnordered<_> = (0..2).map(|_| one(bell.clone())).collect();
    while let Some(done) = all.next().await {
        // #unordered
        std::hint::black_box(done);
    }
}

async fn buffered(bell: Arc<Notify>) {
    let all = stream::iter(0..5).map(|_| one(bell.clone())).buffered(2);
    let mut all = pin!(all);
    while let Some(done) = all.next().await {
        // #buffered
        std::hint::black_box(done);
    }
}

async fn select_all(bell: Arc<Notify>) {
    let all: Vec<_> = (0..2).map(|_| Box::pin(one(bell.clone()))).collect();
    futures::future::select_all(all).await; // #select_all
}

async fn blocking() {
    let job = tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_secs(86_400)));
    job.await.unwrap(); // #blocking
}

pub async fn spawn() {
    let bell = Arc::new(Notify::new());
    known("bell2", &*bell);
    let other = task("joined", async {
        forever().await // #joined
    });
    task("join_handle", join_handle(other));
    let mut set = JoinSet::new();
    for name in ["of_set_1", "of_set_2"] {
        let id = set.spawn(one(bell.clone())).id();
        println!("task {name} {id}");
    }
    task("join_set", join_set(set));
    task("join", join(bell.clone()));
    task("futures_join", join_of_futures(bell.clone()));
    task("half_joined", half_joined(bell.clone()));
    task("join_all", join_all(bell.clone()));
    task("join_many", join_many(bell.clone()));
    task("unordered", unordered(bell.clone()));
    task("buffered", buffered(bell.clone()));
    task("select_all", select_all(bell.clone()));
    task("blocking", blocking());
}
