//! A service with much to do that does everything right.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use axum::{Router, extract::State, routing::get};

use crate::{
    calibrate,
    load::{Shape, Stream},
    scenario::{Flavor, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "healthy-busy",
    caption: "busy is not starved: a loaded service that keeps its polls short has no finding",
    notes: "",
    watch: "canary p99",
    readings: &[],
    broken: "/catalogue",
    fixed: "/catalogue",
    expected: &[],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("healthy_busy.rs"),
    routes: |_| {
        let items = calibrate::sized(POLL, catalogue, price);
        Ok(Router::new()
            .route(
                "/catalogue",
                get(|State(items): State<Arc<Vec<String>>>| task("GET /catalogue", answer(items))),
            )
            .with_state(Arc::new(catalogue(items))))
    },
    load: |path| {
        vec![
            Stream {
                path,
                shape: Shape::Open {
                    clients: 40,
                    per_second: PER_SECOND,
                },
            },
            Stream {
                path: "/async",
                shape: Shape::Open {
                    clients: 40,
                    per_second: 50.0,
                },
            },
            Stream {
                path: "/stock/tokio-fs",
                shape: Shape::Open {
                    clients: 10,
                    per_second: 10.0,
                },
            },
            Stream {
                path: "/calls/joined",
                shape: Shape::Open {
                    clients: 10,
                    per_second: 10.0,
                },
            },
        ]
    },
    backdrop: None,
};

/// CPU time of one request.
const POLL: Duration = Duration::from_micros(1500);

/// 40 % of one CPU, or with the HTTP around it half of one: what a machine of two
/// has to spare beside the load generator and the viewer at 80 % in all.
const PER_SECOND: f64 = 270.0;

fn catalogue(items: usize) -> Vec<String> {
    (0..items).map(|item| format!("item {item}")).collect()
}

fn price(items: &Vec<String>) -> u64 {
    let mut hasher = DefaultHasher::new();
    items.hash(&mut hasher);
    hasher.finish()
}

// [fixed]
async fn answer(items: Arc<Vec<String>>) -> String {
    let price = price(&items); // 1.5 ms
    tokio::time::sleep(Duration::from_millis(20)).await;
    format!("{price:x}\n")
}
// [/fixed]
