//! A file that takes its time, read on the worker.

use std::{io, path::Path, time::Duration};

use axum::{Router, extract::State, routing::get};

use crate::{
    fixtures::SlowDevice,
    load::{Shape, Stream},
    scenario::{At, Cause, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "blocking-file",
    caption: "std::fs on a slow device: the worker waits in read, and its tasks with it",
    notes: "",
    watch: "canary p99",
    readings: &[],
    broken: "/stock/std-fs",
    fixed: "/stock/tokio-fs",
    expected: &[Expected {
        rule: "blocked-worker",
        causes: &[Cause::SystemCall],
        function: "blocking_file::read_stock",
        at: At::Code,
        outside: Outside::Found,
    }],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("blocking_file.rs"),
    routes: |fixtures| {
        Ok(Router::new()
            .route(
                "/stock/std-fs",
                get(|State(device)| task("GET /stock/std-fs", answer(blocking(device)))), // <- spawned here
            )
            .route(
                "/stock/tokio-fs",
                get(|State(device)| task("GET /stock/tokio-fs", answer(awaiting(device)))),
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

async fn answer(stock: impl Future<Output = io::Result<String>>) -> String {
    stock.await.unwrap_or_else(|error| format!("{error}\n"))
}

// [broken]
async fn blocking(device: SlowDevice) -> io::Result<String> {
    let path = device.slow_file().await?;
    read_stock(&path)
}

#[inline(never)]
fn read_stock(path: &Path) -> io::Result<String> {
    let text = std::fs::read_to_string(path)?; // <- culprit
    Ok(text.to_uppercase())
}
// [/broken]

// [fixed]
async fn awaiting(device: SlowDevice) -> io::Result<String> {
    let path = device.slow_file().await?;
    read_stock_async(&path).await
}

async fn read_stock_async(path: &Path) -> io::Result<String> {
    let text = tokio::fs::read_to_string(path).await?;
    Ok(text.to_uppercase())
}
// [/fixed]
