//! Parsing a large document on the worker.

use std::{fmt::Write, sync::Arc, time::Duration};

use axum::{Router, extract::State, routing::get};
use serde_json::Value;
use tokio::task::spawn_blocking;

use crate::{
    calibrate,
    load::{Shape, Stream},
    scenario::{At, Cause, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "big-json",
    caption: "parsing megabytes of JSON inline: serde is fast, and still it is CPU",
    notes: "",
    watch: "canary p99",
    readings: &[],
    broken: "/upload/inline",
    fixed: "/upload/offloaded",
    expected: &[Expected {
        rule: "blocked-worker",
        causes: &[Cause::Computing],
        function: "big_json::count_orders",
        at: At::Code,
        outside: Outside::Found,
    }],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("big_json.rs"),
    routes: |_| {
        let orders = calibrate::sized(COST, upload, |upload| count_orders(upload));
        Ok(Router::new()
            .route(
                "/upload/inline",
                get(|State(upload)| task("GET /upload/inline", inline(upload))), // <- spawned here
            )
            .route(
                "/upload/offloaded",
                get(|State(upload)| task("GET /upload/offloaded", offloaded(upload))),
            )
            .with_state(Arc::<str>::from(upload(orders))))
    },
    load: |path| {
        vec![Stream {
            path,
            shape: Shape::Closed {
                clients: 2,
                pause: Duration::from_millis(250),
            },
        }]
    },
    backdrop: None,
};

/// CPU time to parse the upload: tens of megabytes on a fast machine with an
/// optimised build.
const COST: Duration = Duration::from_millis(150);

fn upload(orders: usize) -> String {
    let mut text = String::from("[");
    for order in 0..orders {
        let comma = if order == 0 { "" } else { "," };
        // A String takes whatever is written to it.
        let _ = write!(
            text,
            r#"{comma}{{"order":{order},"items":[1,2,3],"paid":true}}"#
        );
    }
    text + "]"
}

// [broken]
async fn inline(upload: Arc<str>) -> String {
    count_orders(&upload) // <- culprit
}
// [/broken]

// [fixed]
async fn offloaded(upload: Arc<str>) -> String {
    let work = move || count_orders(&upload);
    spawn_blocking(work).await.unwrap_or_default()
}
// [/fixed]

// [work]
#[inline(never)]
fn count_orders(upload: &str) -> String {
    match serde_json::from_str::<Vec<Value>>(upload) {
        Ok(orders) => format!("{} orders\n", orders.len()),
        Err(error) => format!("{error}\n"),
    }
}
// [/work]
