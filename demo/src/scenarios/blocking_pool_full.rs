//! More blocking jobs than the blocking pool has threads.

use std::{sync::Arc, thread, time::Duration};

use axum::{Router, extract::State, routing::get};
use futures::future::join_all;
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::{
    load::{Shape, Stream},
    scenario::{At, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "blocking-pool-full",
    caption: "1,000 jobs for a blocking pool of 32: every file and every look-up queues behind them",
    notes: "",
    watch: "depth of the blocking queue",
    readings: &[],
    broken: "/thumbnails/all",
    fixed: "/thumbnails/bounded",
    expected: &[Expected {
        rule: "blocking-pool-full",
        causes: &[],
        function: "",
        at: At::Nowhere,
        outside: Outside::POOL_QUEUE,
    }],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("blocking_pool_full.rs"),
    routes: |_| {
        Ok(Router::new()
            .route(
                "/thumbnails/all",
                get(|| task("GET /thumbnails/all", all_at_once())), // <- spawned here
            )
            .route(
                "/thumbnails/bounded",
                get(|State(slots)| task("GET /thumbnails/bounded", bounded(slots))),
            )
            .with_state(Arc::new(Semaphore::new(16))))
    },
    load: |path| {
        vec![Stream {
            path,
            shape: Shape::Burst {
                size: 50,
                every: Duration::from_secs(2),
            },
        }]
    },
    backdrop: None,
};

/// Thumbnails of one request; with the load's 50 requests there are 1,000.
const JOBS: usize = 20;

/// Waits for the disk, mostly.
fn thumbnail() {
    thread::sleep(Duration::from_millis(50));
}

// [broken]
async fn all_at_once() -> &'static str {
    let jobs = (0..JOBS).map(|_| spawn_blocking(thumbnail)); // <- culprit
    join_all(jobs).await;
    "done\n"
}
// [/broken]

// [fixed]
async fn bounded(slots: Arc<Semaphore>) -> &'static str {
    let jobs = (0..JOBS).map(async |_| {
        let _slot = slots.acquire().await;
        spawn_blocking(thumbnail).await
    });
    join_all(jobs).await;
    "done\n"
}
// [/fixed]
