//! Awaiting one thing after another that could be awaited together. It is slow,
//! but it starves nobody, and no rule may say so.

use std::time::Duration;

use axum::{Router, routing::get};
use futures::future::join_all;

use crate::{
    load::{Shape, Stream},
    scenario::{Flavor, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "sequential-awaits",
    caption: "ten awaits in a row: slow for this client, harmless for all others",
    notes: "10 calls of 500 ms: 5 -> 0.5 s; three upstreams of 15 s: 45 -> 15 s",
    watch: "p50",
    readings: &[],
    broken: "/calls/sequential",
    fixed: "/calls/joined",
    expected: &[],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("sequential_awaits.rs"),
    routes: |_| {
        Ok(Router::new()
            .route(
                "/calls/sequential",
                get(|| task("GET /calls/sequential", sequential())), // <- spawned here
            )
            .route("/calls/joined", get(|| task("GET /calls/joined", joined()))))
    },
    load: |path| {
        vec![Stream {
            path,
            shape: Shape::Closed {
                clients: 4,
                pause: Duration::from_millis(20),
            },
        }]
    },
    backdrop: None,
};

/// One call upstream, scaled from the 500 ms of the notes.
async fn call(number: u32) -> u32 {
    tokio::time::sleep(Duration::from_millis(100)).await;
    number
}

// [broken]
async fn sequential() -> String {
    let mut sum = 0;
    for number in 1..=10 {
        sum += call(number).await; // <- culprit
    }
    format!("{sum}\n")
}
// [/broken]

// [fixed]
async fn joined() -> String {
    let calls = (1..=10).map(call);
    let sum: u32 = join_all(calls).await.into_iter().sum();
    format!("{sum}\n")
}
// [/fixed]
