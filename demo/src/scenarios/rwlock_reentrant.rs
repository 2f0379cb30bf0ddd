//! An `RwLock` that is read while it is read, with a writer in between.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{Router, extract::State, routing::get};
use tokio::{sync::RwLock, time::sleep};

use crate::{
    load::{Shape, Stream},
    scenario::{At, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "rwlock-reentrant",
    caption: "a read guard taken again behind a waiting writer: the reader waits for itself",
    notes: "",
    watch: "requests/s",
    readings: &[],
    broken: "/quote/reading-twice",
    fixed: "/quote/reading-once",
    expected: &[Expected {
        rule: "deadlock",
        causes: &[],
        function: "rwlock_reentrant::",
        at: At::Code,
        outside: Outside::Found,
    }],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("rwlock_reentrant.rs"),
    routes: |_| {
        Ok(Router::new()
            .route(
                "/quote/reading-twice",
                get(|State(prices)| task("GET /quote", reading_twice(prices))),
            )
            .route(
                "/quote/reading-once",
                get(|State(prices)| task("GET /quote", reading_once(prices))),
            )
            .route(
                "/quote/update",
                get(|State(prices)| task("GET /quote/update", update(prices))),
            )
            .with_state(Prices::default()))
    },
    load: |path| {
        vec![
            Stream {
                path,
                shape: Shape::Closed {
                    clients: 4,
                    pause: Duration::from_millis(20),
                },
            },
            Stream {
                path: "/quote/update",
                shape: Shape::Closed {
                    clients: 1,
                    pause: Duration::from_millis(50),
                },
            },
        ]
    },
    backdrop: None,
};

type Prices = Arc<RwLock<BTreeMap<u32, u64>>>;

/// Stands for what is worked out between two looks.
async fn discount() -> u64 {
    sleep(Duration::from_millis(10)).await;
    1
}

// [broken]
async fn reading_twice(prices: Prices) -> String {
    let all = prices.read().await;
    let discount = discount().await;
    format!("{} of {}\n", total(&prices).await - discount, all.len())
}

async fn total(prices: &RwLock<BTreeMap<u32, u64>>) -> u64 {
    // A writer waits already, and who reads now comes after it.
    let prices = prices.read().await; // <- culprit
    prices.values().sum::<u64>() + 1
}

async fn update(prices: Prices) -> &'static str {
    let mut prices = prices.write().await;
    *prices.entry(7).or_default() += 1;
    "updated\n"
}
// [/broken]

// [fixed]
async fn reading_once(prices: Prices) -> String {
    let all = prices.read().await;
    let discount = discount().await;
    format!("{} of {}\n", total_of(&all) - discount, all.len())
}

fn total_of(prices: &BTreeMap<u32, u64>) -> u64 {
    prices.values().sum::<u64>() + 1
}
// [/fixed]
