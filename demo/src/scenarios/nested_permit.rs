//! A permit that is held across a call which needs another of the same semaphore.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::State, routing::get};
use tokio::{sync::Semaphore, time::sleep};

use crate::{
    load::{Shape, Stream},
    scenario::{At, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "nested-permit",
    caption: "a permit held across a call that needs another of the same pool: all wait for each other",
    notes: "",
    watch: "requests/s",
    readings: &[],
    broken: "/invoices/nested",
    fixed: "/invoices/passed-on",
    expected: &[Expected {
        rule: "deadlock",
        causes: &[],
        function: "nested_permit::",
        at: At::Code,
        outside: Outside::Found,
    }],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("nested_permit.rs"),
    routes: |_| {
        Ok(Router::new()
            .route(
                "/invoices/nested",
                get(|State(pool)| task("GET /invoices", nested(pool))),
            )
            .route(
                "/invoices/passed-on",
                get(|State(pool)| task("GET /invoices", passed_on(pool))),
            )
            .with_state(Pool::new(Semaphore::new(CONNECTIONS))))
    },
    load: |path| {
        vec![Stream {
            path,
            shape: Shape::Closed {
                clients: 12,
                pause: Duration::from_millis(20),
            },
        }]
    },
    backdrop: None,
};

const CONNECTIONS: usize = 4;

/// A permit is a connection.
type Pool = Arc<Semaphore>;

async fn query() {
    sleep(Duration::from_millis(5)).await;
}

// [broken]
async fn nested(pool: Pool) -> &'static str {
    let connection = pool.acquire().await;
    query().await;
    customer(&pool).await;
    drop(connection);
    "sent\n"
}

async fn customer(pool: &Semaphore) {
    let connection = pool.acquire().await; // <- culprit
    query().await;
    drop(connection);
}
// [/broken]

// [fixed]
async fn passed_on(pool: Pool) -> &'static str {
    let connection = pool.acquire().await;
    query().await;
    customer_on(connection.is_ok()).await;
    drop(connection);
    "sent\n"
}

async fn customer_on(is_connected: bool) {
    if is_connected {
        query().await;
    }
}
// [/fixed]
