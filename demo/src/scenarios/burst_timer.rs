//! An interval that makes up for every tick it missed.

use std::time::Duration;

use axum::{Router, extract::State, routing::get};
use tokio::{
    task::yield_now,
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};

use crate::{
    load::{Shape, Stream},
    readings::Counter,
    scenario::{At, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "burst-timer",
    caption: "the container was paused for days: an interval makes up for every tick it has missed",
    notes: "",
    watch: "CPU of the process",
    readings: &["samples"],
    broken: "/samples/burst",
    fixed: "/samples/skip",
    expected: &[Expected {
        rule: "self-wake-spin",
        causes: &[],
        function: "",
        at: At::Spawn,
        outside: Outside::WAKES,
    }],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("burst_timer.rs"),
    routes: |fixtures| {
        Ok(Router::new()
            .route(
                "/samples/burst",
                get(|State(collector)| task("GET /samples/burst", bursting(collector))), // <- spawned here
            )
            .route(
                "/samples/skip",
                get(|State(collector)| task("GET /samples/skip", skipping(collector))),
            )
            .with_state(Collector(fixtures.readings.counter("samples"))))
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

/// How long the process was not run, as after `docker unpause`.
const PAUSED: Duration = Duration::from_hours(10 * 24);

/// An interval whose next tick was due when the pause began.
fn paused_interval() -> Interval {
    let now = Instant::now();
    let due = now.checked_sub(PAUSED).unwrap_or(now);
    interval_at(due, Duration::from_millis(1))
}

/// Takes samples at once: a socket that always has room.
#[derive(Clone)]
struct Collector(Counter);

impl Collector {
    async fn send_sample(&self) {
        self.0.add(1);
        yield_now().await;
    }
}

// [broken]
async fn bursting(collector: Collector) -> &'static str {
    // By default MissedTickBehavior::Burst.
    let mut every = paused_interval();
    loop {
        every.tick().await; // <- culprit
        collector.send_sample().await;
    }
}
// [/broken]

// [fixed]
async fn skipping(collector: Collector) -> &'static str {
    let mut every = paused_interval();
    every.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        every.tick().await;
        collector.send_sample().await;
    }
}
// [/fixed]
