//! Three requests that could wait together, and block one after the other.

use std::time::Duration;

use axum::{Router, routing::get};

use crate::{
    load::{Shape, Stream},
    scenario::{At, Cause, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "three-requests",
    caption: "three requests on one worker: blocking they queue, awaiting they overlap",
    notes: "3 requests that block 2 s each: 6,000 ms; that await 50 ms each: 54 ms",
    watch: "p99",
    readings: &[],
    broken: "/report/blocking",
    fixed: "/report/awaiting",
    expected: &[Expected {
        rule: "blocked-worker",
        causes: &[Cause::Sleeping],
        function: "three_requests::ask_the_old_library",
        at: At::Code,
        outside: Outside::Found,
    }],
    flavors: &Flavor::ALL,
    workers: 1,
    source: super::source!("three_requests.rs"),
    routes: |_| {
        Ok(Router::new()
            .route(
                "/report/blocking",
                get(|| task("GET /report/blocking", blocking())), // <- spawned here
            )
            .route(
                "/report/awaiting",
                get(|| task("GET /report/awaiting", awaiting())),
            ))
    },
    load: |path| {
        vec![Stream {
            path,
            shape: Shape::Burst {
                size: 3,
                every: Duration::from_millis(3500),
            },
        }]
    },
    backdrop: None,
};

/// The old library's time, scaled from the 2 s of the notes.
const BLOCKING: Duration = Duration::from_secs(1);
const AWAITING: Duration = Duration::from_millis(50);

// [broken]
async fn blocking() -> &'static str {
    ask_the_old_library()
}

#[inline(never)]
fn ask_the_old_library() -> &'static str {
    std::thread::sleep(BLOCKING); // <- culprit
    "report\n"
}
// [/broken]

// [fixed]
async fn awaiting() -> &'static str {
    tokio::time::sleep(AWAITING).await;
    "report\n"
}
// [/fixed]
