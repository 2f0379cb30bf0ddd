//! Tasks that wait for each other.

use std::sync::Arc;

use tokio::sync::{Mutex, RwLock, Semaphore, mpsc, oneshot};

use crate::{known, settle, spawn as task};

struct Audit {
    registry: Mutex<u32>,
    cancellers: RwLock<u32>,
}

async fn status_snapshot(audit: Arc<Audit>) -> u32 {
    let cancellers = audit.cancellers.read().await;
    settle().await;
    let registry = audit.registry.lock().await; // #abba_status
    *registry + *cancellers
}

async fn reload_targets(audit: Arc<Audit>) {
    let mut registry = audit.registry.lock().await;
    settle().await;
    *audit.cancellers.write().await += 1; // #abba_reload
    *registry += 1;
}

/// Waits for one of them, and is in no ring.
async fn late(audit: Arc<Audit>) -> u32 {
    *audit.registry.lock().await // #abba_late
}

async fn reads_twice(settings: Arc<RwLock<u32>>) -> u32 {
    let first = settings.read().await;
    settle().await;
    settle().await;
    *first + more(&settings).await // #reads_twice
}

async fn more(settings: &RwLock<u32>) -> u32 {
    *settings.read().await // #reads_again
}

async fn writes_between(settings: Arc<RwLock<u32>>) {
    settle().await;
    *settings.write().await += 1; // #writes_between
}

async fn calls_itself(pool: Arc<Semaphore>, depth: u32) {
    let permit = pool.acquire().await.unwrap(); // #self_call
    if depth > 0 {
        Box::pin(calls_itself(pool.clone(), depth - 1)).await; // #self_over
    }
    drop(permit);
}

async fn actor(mut inbox: mpsc::Receiver<u32>, peer: mpsc::Sender<u32>) {
    for n in 0.. {
        peer.send(n).await.unwrap(); // #actor
    }
    inbox.recv().await;
}

async fn asks(answer: oneshot::Receiver<u32>, reply: oneshot::Sender<u32>) {
    let number = answer.await.unwrap(); // #asks
    reply.send(number).unwrap();
}

pub async fn spawn() {
    let audit = Arc::new(Audit {
        registry: Mutex::new(0),
        cancellers: RwLock::new(0),
    });
    known("registry", &audit.registry);
    known("cancellers", &audit.cancellers);
    task("abba_status", status_snapshot(audit.clone()));
    task("abba_reload", reload_targets(audit.clone()));
    let settings = Arc::new(RwLock::new(0));
    known("settings", &*settings);
    task("reads_twice", reads_twice(settings.clone()));
    task("writes_between", writes_between(settings));
    let pool = Arc::new(Semaphore::new(1));
    known("pool", &*pool);
    task("self_call", calls_itself(pool, 1));
    let (to_left, left) = mpsc::channel(1);
    let (to_right, right) = mpsc::channel(1);
    task("actor_left", actor(left, to_right));
    task("actor_right", actor(right, to_left));
    let (reply_left, answer_left) = oneshot::channel();
    let (reply_right, answer_right) = oneshot::channel();
    task("asks_left", asks(answer_left, reply_right));
    task("asks_right", asks(answer_right, reply_left));
    settle().await;
    settle().await;
    settle().await;
    task("abba_late", late(audit));
}
