//! Connections of a small pool, held across a slow call.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::State, routing::get};
use tokio::sync::Semaphore;

use crate::{
    load::{Shape, Stream},
    scenario::{At, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "pool-exhaustion",
    caption: "5 connections held across a slow call by 100 requests: 95 wait for a connection",
    notes: "",
    watch: "p99",
    readings: &[],
    broken: "/invoice/holding",
    fixed: "/invoice/releasing",
    expected: &[Expected {
        rule: "lock-convoy",
        causes: &[],
        function: "",
        at: At::Spawn,
        outside: Outside::FoundAt(At::Code),
    }],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("pool_exhaustion.rs"),
    routes: |_| {
        Ok(Router::new()
            .route(
                "/invoice/holding",
                get(|State(pool)| task("GET /invoice/holding", holding(pool))), // <- spawned here
            )
            .route(
                "/invoice/releasing",
                get(|State(pool)| task("GET /invoice/releasing", releasing(pool))),
            )
            .with_state(Arc::new(Semaphore::new(5))))
    },
    load: |path| {
        vec![Stream {
            path,
            shape: Shape::Closed {
                clients: 100,
                pause: Duration::from_millis(200),
            },
        }]
    },
    backdrop: None,
};

/// A permit is a connection.
type Pool = Arc<Semaphore>;

async fn query() {
    tokio::time::sleep(Duration::from_millis(2)).await;
}

async fn call_the_bank() {
    tokio::time::sleep(Duration::from_millis(200)).await;
}

// [broken]
async fn holding(pool: Pool) -> &'static str {
    let connection = pool.acquire().await; // <- culprit
    query().await;
    call_the_bank().await;
    drop(connection);
    "paid\n"
}
// [/broken]

// [fixed]
async fn releasing(pool: Pool) -> &'static str {
    let connection = pool.acquire().await;
    query().await;
    drop(connection);
    call_the_bank().await;
    "paid\n"
}
// [/fixed]
