//! A handler that sleeps with its thread instead of with its task.

use std::time::Duration;

use axum::{Router, routing::get};

use crate::{
    load::{Shape, Stream},
    scenario::{At, Cause, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "sleep-in-handler",
    caption: "thread::sleep in a handler puts the whole worker to sleep, and everybody on it",
    notes: "4 workers, /sync against /async: 31.76 -> 3,843.17 requests/s",
    watch: "requests/s",
    readings: &[],
    broken: "/sync",
    fixed: "/async",
    expected: &[Expected {
        rule: "blocked-worker",
        causes: &[Cause::Sleeping],
        function: "sleep_in_handler::wait_for_the_printer",
        at: At::Code,
        outside: Outside::Found,
    }],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("sleep_in_handler.rs"),
    routes: |_| {
        Ok(Router::new()
            .route("/sync", get(|| task("GET /sync", sync_handler()))) // <- spawned here
            .route("/async", get(|| task("GET /async", async_handler()))))
    },
    load: |path| {
        vec![Stream {
            path,
            shape: Shape::Closed {
                clients: 24,
                pause: Duration::from_millis(2),
            },
        }]
    },
    backdrop: None,
};

const WORK: Duration = Duration::from_millis(100);

// [broken]
async fn sync_handler() -> &'static str {
    wait_for_the_printer()
}

#[inline(never)]
fn wait_for_the_printer() -> &'static str {
    std::thread::sleep(WORK); // <- culprit
    "printed\n"
}
// [/broken]

// [fixed]
async fn async_handler() -> &'static str {
    tokio::time::sleep(WORK).await;
    "printed\n"
}
// [/fixed]
