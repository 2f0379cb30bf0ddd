//! A large array that lives across an await, and makes its future as large.

use std::time::Duration;

use axum::{Router, routing::get};

use crate::{
    load::{Shape, Stream},
    scenario::{At, Expected, Flavor, Outside, Scenario},
    service::unboxed_task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "huge-future",
    caption: "64 KiB on the stack across an await: the future carries it, and every move copies it",
    notes: "",
    watch: "size of the task",
    readings: &[],
    broken: "/upload/array",
    fixed: "/upload/heap",
    expected: &[Expected {
        rule: "large-future",
        causes: &[],
        function: "",
        at: At::Spawn,
        outside: Outside::BOXED,
    }],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("huge_future.rs"),
    routes: |_| {
        Ok(Router::new()
            .route(
                "/upload/array",
                get(|| unboxed_task("GET /upload/array", array())), // <- spawned here
            )
            .route(
                "/upload/heap",
                get(|| unboxed_task("GET /upload/heap", heap())),
            ))
    },
    load: |path| {
        vec![Stream {
            path,
            shape: Shape::Closed {
                clients: 8,
                pause: Duration::from_millis(20),
            },
        }]
    },
    backdrop: None,
};

async fn receive(buffer: &mut [u8]) -> usize {
    tokio::time::sleep(Duration::from_millis(50)).await;
    buffer.fill(42);
    buffer.len()
}

// [broken]
async fn array() -> String {
    let mut buffer = [0; 64 * 1024]; // <- culprit
    let length = receive(&mut buffer).await;
    format!("{length} bytes, the last is {:?}\n", buffer.last())
}
// [/broken]

// [fixed]
async fn heap() -> String {
    let mut buffer = vec![0; 64 * 1024];
    let length = receive(&mut buffer).await;
    format!("{length} bytes, the last is {:?}\n", buffer.last())
}
// [/fixed]
