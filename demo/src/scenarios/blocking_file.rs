//! A file that takes its time, read on the worker.

use std::time::Duration;

use axum::{Router, extract::State, routing::get};

use crate::{
    fixtures::SlowDevice,
    load::{Shape, Stream},
    scenario::{At, Cause, Expected, Flavor, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "blocking-file",
    caption: "std::fs on a slow device: the worker waits in read, and its tasks with it",
    notes: "",
    watch: "canary p99",
    broken: "/stock/std-fs",
    fixed: "/stock/tokio-fs",
    expected: &[Expected {
        rule: "blocked-worker",
        causes: &[Cause::SystemCall],
        function: "blocking_file::read_stock",
        at: At::Code,
    }],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("blocking_file.rs"),
    routes: |fixtures| {
        Ok(Router::new()
            .route(
                "/stock/std-fs",
                get(|State(device)| task("GET /stock/std-fs", blocking(device))), // <- spawned here
            )
            .route(
                "/stock/tokio-fs",
                get(|State(device)| task("GET /stock/tokio-fs", awaiting(device))),
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

// [broken]
async fn blocking(device: SlowDevice) -> String {
    read_stock(&device).unwrap_or_else(|error| format!("{error}\n"))
}

#[inline(never)]
fn read_stock(device: &SlowDevice) -> std::io::Result<String> {
    let text = std::fs::read_to_string(device.slow_file()?)?; // <- culprit
    Ok(text.to_uppercase())
}
// [/broken]

// [fixed]
async fn awaiting(device: SlowDevice) -> String {
    read_stock_async(&device)
        .await
        .unwrap_or_else(|error| format!("{error}\n"))
}

async fn read_stock_async(device: &SlowDevice) -> std::io::Result<String> {
    let text = tokio::fs::read_to_string(device.slow_file()?).await?;
    Ok(text.to_uppercase())
}
// [/fixed]
