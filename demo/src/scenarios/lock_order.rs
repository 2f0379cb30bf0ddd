//! Two async locks, taken in one order by one handler and in the other by another.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::State, routing::get};
use tokio::{sync::Mutex, time::sleep};

use crate::{
    load::{Shape, Stream},
    scenario::{At, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "lock-order",
    caption: "two async mutexes in opposite order: two requests wait for each other, and all behind",
    notes: "",
    watch: "requests/s",
    readings: &[],
    broken: "/transfer/any-order",
    fixed: "/transfer/one-order",
    expected: &[Expected {
        rule: "deadlock",
        causes: &[],
        function: "lock_order::",
        at: At::Code,
        outside: Outside::Found,
    }],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("lock_order.rs"),
    routes: |_| {
        Ok(Router::new()
            .route(
                "/transfer/any-order",
                get(|State(bank)| task("GET /transfer", to_savings(bank))),
            )
            .route(
                "/transfer/any-order/back",
                get(|State(bank)| task("GET /transfer/back", to_checking(bank))),
            )
            .route(
                "/transfer/one-order",
                get(|State(bank)| task("GET /transfer", to_savings(bank))),
            )
            .route(
                "/transfer/one-order/back",
                get(|State(bank)| task("GET /transfer/back", to_checking_in_order(bank))),
            )
            .with_state(Bank::default()))
    },
    load: |path| {
        let back = match path {
            "/transfer/any-order" => "/transfer/any-order/back",
            _ => "/transfer/one-order/back",
        };
        [path, back]
            .map(|path| Stream {
                path,
                shape: Shape::Closed {
                    clients: 4,
                    pause: Duration::from_millis(20),
                },
            })
            .to_vec()
    },
    backdrop: None,
};

#[derive(Default)]
struct Accounts {
    checking: Mutex<i64>,
    savings: Mutex<i64>,
}

type Bank = Arc<Accounts>;

/// Stands for a look at the audit log.
async fn audit() {
    sleep(Duration::from_millis(5)).await;
}

// [broken]
async fn to_savings(bank: Bank) -> &'static str {
    let mut checking = bank.checking.lock().await;
    audit().await;
    let mut savings = bank.savings.lock().await; // <- culprit
    *checking -= 1;
    *savings += 1;
    "saved\n"
}

async fn to_checking(bank: Bank) -> &'static str {
    let mut savings = bank.savings.lock().await;
    audit().await;
    let mut checking = bank.checking.lock().await;
    *savings -= 1;
    *checking += 1;
    "paid out\n"
}
// [/broken]

// [fixed]
async fn to_checking_in_order(bank: Bank) -> &'static str {
    let mut checking = bank.checking.lock().await;
    audit().await;
    let mut savings = bank.savings.lock().await;
    *savings -= 1;
    *checking += 1;
    "paid out\n"
}
// [/fixed]
