//! Waiting by asking again and again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, routing::get};
use tokio::{sync::Notify, task::yield_now};

use crate::{
    load::{Shape, Stream},
    observed::spawn,
    scenario::{At, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "busy-yield",
    caption: "while !ready { yield_now().await }: polite to its neighbours, a whole core for nothing",
    notes: "",
    watch: "CPU of the process",
    readings: &[],
    broken: "/ready/yielding",
    fixed: "/ready/notified",
    expected: &[Expected {
        rule: "self-wake-spin",
        causes: &[],
        function: "",
        at: At::Spawn,
        outside: Outside::WAKES,
    }],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("busy_yield.rs"),
    routes: |_| {
        Ok(Router::new()
            .route(
                "/ready/yielding",
                get(|| task("GET /ready/yielding", yielding())), // <- spawned here
            )
            .route(
                "/ready/notified",
                get(|| task("GET /ready/notified", notified())),
            ))
    },
    load: |path| {
        vec![Stream {
            path,
            shape: Shape::Closed {
                clients: 1,
                pause: Duration::from_millis(20),
            },
        }]
    },
    backdrop: None,
};

/// How long it takes until what is waited for is ready.
const WORK: Duration = Duration::from_secs(30);

// [broken]
async fn yielding() -> &'static str {
    let ready = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&ready);
    spawn("warm-up", async move {
        tokio::time::sleep(WORK).await;
        set.store(true, Ordering::Release);
    });
    while !ready.load(Ordering::Acquire) {
        yield_now().await; // <- culprit
    }
    "ready\n"
}
// [/broken]

// [fixed]
async fn notified() -> &'static str {
    let ready = Arc::new(Notify::new());
    let set = Arc::clone(&ready);
    spawn("warm-up", async move {
        tokio::time::sleep(WORK).await;
        set.notify_one();
    });
    ready.notified().await;
    "ready\n"
}
// [/fixed]
