//! A future that holds a lock is not polled, while its own task waits for that
//! lock.

use std::{pin::pin, sync::Arc, time::Duration};

use axum::{Router, extract::State, routing::get};
use tokio::{
    sync::Mutex,
    time::{sleep, timeout},
};

use crate::{
    load::{Shape, Stream},
    scenario::{At, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "futurelock",
    caption: "select! by reference leaves a future half done, and the lock it holds with it",
    notes: "",
    watch: "requests/s",
    readings: &[],
    broken: "/ledger/select",
    fixed: "/ledger/timeout",
    expected: &[Expected {
        rule: "futurelock",
        causes: &[],
        function: "futurelock::select",
        at: At::Code,
        outside: Outside::Found,
    }],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("futurelock.rs"),
    routes: |_| {
        Ok(Router::new()
            .route(
                "/ledger/select",
                get(|State(ledger)| task("GET /ledger/select", select(ledger))),
            )
            .route(
                "/ledger/timeout",
                get(|State(ledger)| task("GET /ledger/timeout", limited(ledger))),
            )
            .with_state(Ledger::default()))
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

type Ledger = Arc<Mutex<u64>>;

async fn write(ledger: &Mutex<u64>) {
    let mut entries = ledger.lock().await;
    sleep(Duration::from_millis(50)).await;
    *entries += 1;
}

// [broken]
async fn select(ledger: Ledger) -> String {
    let mut write = pin!(write(&ledger));
    tokio::select! {
        () = &mut write => {}
        () = sleep(Duration::from_millis(10)) => {}
    }
    let entries = ledger.lock().await; // <- culprit
    format!("{entries} entries\n")
}
// [/broken]

// [fixed]
async fn limited(ledger: Ledger) -> String {
    // A write that takes too long is dropped, and its lock with it.
    let _ = timeout(Duration::from_millis(10), write(&ledger)).await;
    let entries = ledger.lock().await;
    format!("{entries} entries\n")
}
// [/fixed]
