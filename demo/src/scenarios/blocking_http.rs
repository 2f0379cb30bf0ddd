//! A blocking HTTP client on the worker.

use std::time::Duration;

use axum::{Router, extract::State, routing::get};

use crate::{
    load::{Shape, Stream},
    scenario::{At, Cause, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "blocking-http",
    caption: "a blocking HTTP client holds its worker for as long as the upstream thinks",
    notes: "100 requests of 250 ms: 25.0 -> 0.50 s; 5 URLs: 12.61 -> 4.31 s",
    watch: "requests/s",
    readings: &[],
    broken: "/upstream/blocking",
    fixed: "/upstream/async",
    expected: &[Expected {
        rule: "blocked-worker",
        causes: &[Cause::SystemCall],
        function: "blocking_http::fetch",
        at: At::Code,
        outside: Outside::Found,
    }],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("blocking_http.rs"),
    routes: |fixtures| {
        let clients = Clients {
            blocking: ureq::Agent::new_with_defaults(),
            awaiting: reqwest::Client::new(),
            url: fixtures.upstream.slow(250),
        };
        Ok(Router::new()
            .route(
                "/upstream/blocking",
                get(|State(clients)| task("GET /upstream/blocking", blocking(clients))), // <- spawned here
            )
            .route(
                "/upstream/async",
                get(|State(clients)| task("GET /upstream/async", awaiting(clients))),
            )
            .with_state(clients))
    },
    load: |path| {
        vec![Stream {
            path,
            shape: Shape::Closed {
                clients: 16,
                pause: Duration::from_millis(10),
            },
        }]
    },
    backdrop: None,
};

#[derive(Clone)]
struct Clients {
    blocking: ureq::Agent,
    awaiting: reqwest::Client,
    url: String,
}

// [broken]
async fn blocking(clients: Clients) -> String {
    fetch(&clients).unwrap_or_else(|error| format!("{error}\n"))
}

#[inline(never)]
fn fetch(clients: &Clients) -> Result<String, ureq::Error> {
    let mut answer = clients.blocking.get(&clients.url).call()?; // <- culprit
    answer.body_mut().read_to_string()
}
// [/broken]

// [fixed]
async fn awaiting(clients: Clients) -> String {
    fetch_async(&clients)
        .await
        .unwrap_or_else(|error| format!("{error}\n"))
}

async fn fetch_async(clients: &Clients) -> Result<String, reqwest::Error> {
    let answer = clients.awaiting.get(&clients.url).send().await?;
    answer.text().await
}
// [/fixed]
