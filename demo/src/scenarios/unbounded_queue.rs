//! A queue without a bound, filled faster than it is emptied.

use std::time::Duration;

use axum::{Router, extract::State, routing::get};
use tokio::{sync::mpsc, task::JoinSet, time::sleep};

use crate::{
    load::{Shape, Stream},
    observed::gauge,
    readings::Counter,
    scenario::{At, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "unbounded-queue",
    caption: "an unbounded channel: the producer never feels that the consumer cannot keep up",
    notes: "a queue without maxsize; the cure is maxsize, back-pressure and a poison pill",
    watch: "queue",
    readings: &["queue"],
    broken: "/import/unbounded",
    fixed: "/import/bounded",
    expected: &[Expected {
        rule: "growing-queue",
        causes: &[],
        function: "",
        at: At::Nowhere,
        outside: Outside::GAUGES,
    }],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("unbounded_queue.rs"),
    routes: |fixtures| {
        Ok(Router::new()
            .route(
                "/import/unbounded",
                get(|State(import)| task("GET /import/unbounded", unbounded(import))),
            )
            .route(
                "/import/bounded",
                get(|State(import)| task("GET /import/bounded", bounded(import))),
            )
            .with_state(Import {
                length: fixtures.readings.counter("queue"),
            }))
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

/// A row of the import.
type Row = Vec<u8>;

#[derive(Clone)]
struct Import {
    length: Counter,
}

impl Import {
    /// 200 rows a second.
    async fn next_row(&self) -> Row {
        sleep(Duration::from_millis(5)).await;
        vec![0; 4096]
    }

    /// 50 rows a second.
    async fn store(&self, row: Row, behind: usize) {
        gauge("queue", behind as f64);
        self.length.set(behind as i64);
        sleep(Duration::from_millis(20)).await;
        drop(row);
    }
}

impl Drop for Import {
    fn drop(&mut self) {
        gauge("queue", 0.0);
    }
}

// [broken]
async fn unbounded(import: Import) -> &'static str {
    let (rows, mut queue) = mpsc::unbounded_channel();
    let mut consumer = JoinSet::new();
    let store = import.clone();
    consumer.spawn(async move {
        while let Some(row) = queue.recv().await {
            store.store(row, queue.len()).await;
        }
    });
    // The producer never waits, however long the queue is.
    while rows.send(import.next_row().await).is_ok() {} // <- culprit
    "imported\n"
}
// [/broken]

// [fixed]
async fn bounded(import: Import) -> &'static str {
    let (rows, mut queue) = mpsc::channel(100);
    let mut consumer = JoinSet::new();
    let store = import.clone();
    consumer.spawn(async move {
        while let Some(row) = queue.recv().await {
            store.store(row, queue.len()).await;
        }
    });
    // The producer waits while the queue is full.
    while rows.send(import.next_row().await).await.is_ok() {}
    "imported\n"
}
// [/fixed]
