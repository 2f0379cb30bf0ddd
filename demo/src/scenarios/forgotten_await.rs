//! A future that is built and dropped: its work never happens.

use std::time::Duration;

use axum::{Router, extract::State, routing::get};

use crate::{
    load::{Shape, Stream},
    readings::Readings,
    scenario::{Flavor, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "forgotten-await",
    caption: "without .await nothing happens: no run-time signal, so heed the compiler's unused_must_use",
    notes: "\"coroutine was never awaited\"",
    watch: "audits written",
    broken: "/payment/forgotten",
    fixed: "/payment/awaited",
    expected: &[],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("forgotten_await.rs"),
    routes: |fixtures| {
        Ok(Router::new()
            .route(
                "/payment/forgotten",
                get(|State(audits)| task("GET /payment/forgotten", forgotten(audits))), // <- spawned here
            )
            .route(
                "/payment/awaited",
                get(|State(audits)| task("GET /payment/awaited", awaited(audits))),
            )
            .with_state(fixtures.readings.clone()))
    },
    load: |path| {
        vec![Stream {
            path,
            shape: Shape::Closed {
                clients: 4,
                pause: Duration::from_millis(50),
            },
        }]
    },
    backdrop: None,
};

async fn audit(audits: Readings) {
    tokio::time::sleep(Duration::from_millis(2)).await;
    audits.add("audits written", 1.0);
}

// [broken]
async fn forgotten(audits: Readings) -> &'static str {
    drop(audit(audits)); // <- culprit
    "paid\n"
}
// [/broken]

// [fixed]
async fn awaited(audits: Readings) -> &'static str {
    audit(audits).await;
    "paid\n"
}
// [/fixed]
