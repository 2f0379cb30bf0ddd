//! Tasks that end in a `JoinSet` that nobody joins.

use std::time::Duration;

use axum::{Router, routing::get};
use tokio::{
    task::JoinSet,
    time::{Interval, MissedTickBehavior, interval},
};

use crate::{
    load::{Shape, Stream},
    scenario::{At, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "unreaped-tasks",
    caption: "a JoinSet that nobody joins: every ended task stays, with its result",
    notes: "",
    watch: "live tasks stay few, and memory grows",
    readings: &[],
    broken: "/events/unjoined",
    fixed: "/events/joined",
    expected: &[Expected {
        rule: "unreaped-tasks",
        causes: &[],
        function: "",
        at: At::Spawn,
        outside: Outside::UNREAPED,
    }],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("unreaped_tasks.rs"),
    routes: |_| {
        Ok(Router::new()
            .route(
                "/events/unjoined",
                get(|| task("GET /events/unjoined", unjoined(events()))),
            )
            .route(
                "/events/joined",
                get(|| task("GET /events/joined", joined(events()))),
            ))
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

/// 200 events a second.
fn events() -> Interval {
    let mut events = interval(Duration::from_millis(5));
    events.set_missed_tick_behavior(MissedTickBehavior::Delay);
    events
}

/// The answer to an event.
type Receipt = Vec<u8>;

async fn handle_event() -> Receipt {
    tokio::time::sleep(Duration::from_millis(2)).await;
    vec![7; 1024]
}

// [broken]
async fn unjoined(mut events: Interval) -> &'static str {
    let mut jobs = JoinSet::new();
    loop {
        events.tick().await;
        jobs.spawn(handle_event()); // <- spawned here
    }
}
// [/broken]

// [fixed]
async fn joined(mut events: Interval) -> &'static str {
    let mut jobs = JoinSet::new();
    loop {
        tokio::select! {
            _ = events.tick() => {
                jobs.spawn(handle_event());
            }
            Some(receipt) = jobs.join_next() => drop(receipt),
        }
    }
}
// [/fixed]
