//! More workers than CPUs, all of which have something to do.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use axum::{Router, extract::State, routing::get};
use tokio::{
    task::{JoinSet, yield_now},
    time::{MissedTickBehavior, interval},
};

use crate::{
    calibrate,
    load::{Shape, Stream},
    observed::on_own_runtime,
    scenario::{At, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "too-many-workers",
    caption: "32 workers on a few CPUs: they take them from one another, and every task is late",
    notes: "",
    watch: "canary p99",
    readings: &[],
    broken: "/prices/crowd",
    fixed: "/prices/one-a-cpu",
    expected: &[Expected {
        rule: "too-many-workers",
        causes: &[],
        function: "",
        at: At::Nowhere,
        outside: Outside::Found,
    }],
    flavors: &Flavor::ALL,
    // With its own, as many as there are CPUs, the cured twin has no crowd.
    workers: 1,
    source: super::source!("too_many_workers.rs"),
    routes: |_| {
        let items = calibrate::sized(PIECE, basket, price);
        Ok(Router::new()
            .route(
                "/prices/crowd",
                get(|State(basket)| task("GET /prices/crowd", crowd(basket))), // <- spawned here
            )
            .route(
                "/prices/one-a-cpu",
                get(|State(basket)| task("GET /prices/one-a-cpu", one_a_cpu(basket))),
            )
            .with_state(Arc::new(basket(items))))
    },
    load: |path| {
        vec![Stream {
            path,
            shape: Shape::Closed {
                clients: 1,
                pause: Duration::from_millis(20),
            },
        }]
    },
    backdrop: None,
};

/// CPU time between two awaits: nothing that starves anybody.
const PIECE: Duration = Duration::from_micros(200);
/// Pieces of a quote.
const PIECES: usize = 20;
/// Quotes for each CPU at once; they want 60 % of the CPUs in both twins.
const QUOTES: usize = 20;
/// From one round of quotes to the next.
const ROUND: Duration = Duration::from_millis(130);

type Basket = Arc<Vec<String>>;

fn basket(items: usize) -> Vec<String> {
    (0..items).map(|item| format!("item {item}")).collect()
}

fn price(basket: &Vec<String>) -> u64 {
    let mut hasher = DefaultHasher::new();
    basket.hash(&mut hasher);
    hasher.finish()
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Quotes prices for ever, on all workers of a runtime.
async fn quote_all(basket: Basket) {
    let mut quotes = JoinSet::new();
    for _ in 0..QUOTES * cpus() {
        quotes.spawn(quote(Arc::clone(&basket)));
    }
    while quotes.join_next().await.is_some() {}
}

async fn quote(basket: Basket) {
    let mut round = interval(ROUND);
    round.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        round.tick().await;
        for _ in 0..PIECES {
            std::hint::black_box(price(&basket));
            yield_now().await;
        }
    }
}

// [broken]
async fn crowd(basket: Basket) -> String {
    let workers = 32.max(8 * cpus()); // <- culprit
    let quotes = on_own_runtime("quotes", workers, quote_all(basket)).await;
    format!("{quotes:?}\n")
}
// [/broken]

// [fixed]
async fn one_a_cpu(basket: Basket) -> String {
    let workers = cpus();
    let quotes = on_own_runtime("quotes", workers, quote_all(basket)).await;
    format!("{quotes:?}\n")
}
// [/fixed]
