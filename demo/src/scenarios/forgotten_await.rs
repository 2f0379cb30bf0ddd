//! A future that is built and dropped: its work never happens.

use std::time::Duration;

use axum::{Router, extract::State, routing::get};

use crate::{
    load::{Shape, Stream},
    readings::Counter,
    scenario::{Flavor, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "forgotten-await",
    caption: "without .await nothing happens: no run-time signal, so heed the compiler's unused_must_use",
    notes: "\"coroutine was never awaited\"",
    watch: "audits written",
    readings: &["audits written"],
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
            .with_state(fixtures.readings.counter("audits written")))
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

async fn audit(audits: Counter) {
    tokio::time::sleep(Duration::from_millis(2)).await;
    audits.add(1);
}

// [broken]
async fn forgotten(audits: Counter) -> &'static str {
    drop(audit(audits)); // <- culprit
    "paid\n"
}
// [/broken]

// [fixed]
async fn awaited(audits: Counter) -> &'static str {
    audit(audits).await;
    "paid\n"
}
// [/fixed]
