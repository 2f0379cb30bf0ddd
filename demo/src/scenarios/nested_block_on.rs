//! A second executor inside the first: `block_on` in an `async fn`.

use std::time::Duration;

use axum::{Router, extract::State, routing::get};
use futures::executor::block_on;

use crate::{
    fixtures::SlowDevice,
    load::{Shape, Stream},
    scenario::{At, Cause, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "nested-block-on",
    caption: "block_on inside an async fn: a second executor parks the first one's worker",
    notes: "asyncio.run() inside a running loop: Python refuses, tokio refuses its own block_on",
    watch: "canary p99",
    readings: &[],
    broken: "/stock/block-on",
    fixed: "/stock/await",
    expected: &[Expected {
        rule: "nested-runtime",
        causes: &[Cause::Lock],
        function: "nested_block_on::ask_stock",
        at: At::Code,
        outside: Outside::Found,
    }],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("nested_block_on.rs"),
    routes: |fixtures| {
        Ok(Router::new()
            .route(
                "/stock/block-on",
                get(|State(device)| task("GET /stock/block-on", nested(device))), // <- spawned here
            )
            .route(
                "/stock/await",
                get(|State(device)| task("GET /stock/await", awaited(device))),
            )
            .with_state(fixtures.device.clone()))
    },
    load: |path| {
        vec![Stream {
            path,
            shape: Shape::Closed {
                clients: 8,
                pause: Duration::from_millis(10),
            },
        }]
    },
    backdrop: None,
};

/// Needs no runtime, or the nested executor would wait for a driver that waits
/// for it.
async fn stock(device: SlowDevice) -> u32 {
    device.slow_answer().await.unwrap_or_default()
}

// [broken]
async fn nested(device: SlowDevice) -> String {
    ask_stock(device)
}

#[inline(never)]
fn ask_stock(device: SlowDevice) -> String {
    let items = block_on(stock(device)); // <- culprit
    format!("{items} items in stock\n")
}
// [/broken]

// [fixed]
async fn awaited(device: SlowDevice) -> String {
    let items = stock(device).await;
    format!("{items} items in stock\n")
}
// [/fixed]
