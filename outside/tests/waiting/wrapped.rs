//! Futures within what passes their polls on.

use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tower::{Service, ServiceBuilder, ServiceExt};
use tracing::Instrument;

use crate::{forever, spawn as task};

async fn idle() {
    forever().await // #idle
}

pub async fn select() {
    // #select
    let (_sender, mut queue) = mpsc::channel::<u8>(1);
    tokio::select! { // #in_select
        job = queue.recv() => { std::hint::black_box(job); }
        () = sleep(Duration::from_secs(86_400)) => {}
        () = idle() => {}
    }
}

/// What it selects is polled by reference, again and again.
async fn select_loop() {
    // #select_loop
    let mut all = pin!(idle());
    let (_sender, mut queue) = mpsc::channel::<u8>(1);
    loop {
        tokio::select! { // #in_select_loop
            () = &mut all => break,
            Some(job) = queue.recv() => { std::hint::black_box(job); }
        }
    }
}

async fn times_out() {
    timeout(Duration::from_secs(86_400), idle()).await.unwrap(); // #timeout
}

fn dynamic(depth: u32) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        if depth == 0 {
            idle().await; // #innermost
        } else {
            dynamic(depth - 1).await; // #recursion
        }
    })
}

async fn boxed() {
    dynamic(2).await; // #boxed
}

async fn borrowed() {
    let mut inner = pin!(idle());
    inner.as_mut().await; // #borrowed
}

async fn instrumented() {
    let span = tracing::info_span!("work");
    idle().instrument(span).await; // #instrumented
}

async fn mapped() {
    idle().map(|()| 1).then(|n| async move { n + 1 }).await; // #mapped
}

async fn catches() {
    let _ = std::panic::AssertUnwindSafe(idle()).catch_unwind().await; // #catches
}

async fn handler(request: u32) -> Result<u32, tower::BoxError> {
    forever().await; // #handler
    Ok(request)
}

async fn tower_stack() {
    let mut stack = ServiceBuilder::new()
        .timeout(Duration::from_secs(86_400))
        .concurrency_limit(4)
        .map_request(|n: u32| n + 1)
        .service_fn(handler);
    let ready = stack.ready().await.unwrap();
    ready.call(7).await.unwrap(); // #tower
}

async fn boxed_service() {
    let service = ServiceBuilder::new().service_fn(handler).boxed();
    service.oneshot(1).await.unwrap(); // #boxed_service
}

async fn stream() {
    let items = futures::stream::unfold(0, |n| async move {
        forever().await; // #unfold
        Some((n, n + 1))
    });
    let mut items = items.boxed();
    while let Some(item) = items.next().await {
        // #stream
        std::hint::black_box(item);
    }
}

async fn generic<T: Default>() -> T {
    forever().await; // #generic
    T::default()
}

async fn block() {
    let value = async {
        generic::<Vec<u8>>().await // #in_block
    };
    std::hint::black_box(value.await); // #block
}

async fn scoped() {
    tokio::task_local! { static NUMBER: u32; }
    NUMBER.scope(1, idle()).await; // #scoped
}

async fn unconstrained() {
    tokio::task::unconstrained(idle()).await; // #unconstrained
}

pub async fn spawn() {
    task("select", select());
    task("select_loop", select_loop());
    task("timeout", times_out());
    task("boxed", boxed());
    task("borrowed", borrowed());
    task("instrumented", instrumented());
    task("mapped", mapped());
    task("catches", catches());
    task("tower", tower_stack());
    task("boxed_service", boxed_service());
    task("stream", stream());
    task("block", block());
    task("scoped", scoped());
    task("unconstrained", unconstrained());
    // The future of the task is itself in a box.
    task("spawned_box", dynamic(0));
    task(
        "spawned_timeout",
        timeout(Duration::from_secs(86_400), idle()),
    );
}
