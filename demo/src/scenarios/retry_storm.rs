//! Trying again at once.

use std::time::Duration;

use axum::{Router, extract::State, routing::get};
use tokio::{task::yield_now, time::Instant};

use crate::{
    load::{Shape, Stream},
    random::Random,
    readings::Counter,
    scenario::{At, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "retry-storm",
    caption: "the partner says 429 and we ask again at once: the retries are the outage",
    notes: "",
    watch: "calls to the partner",
    readings: &["calls to the partner"],
    broken: "/order/at-once",
    fixed: "/order/back-off",
    expected: &[Expected {
        rule: "self-wake-spin",
        causes: &[],
        function: "",
        at: At::Spawn,
        outside: Outside::WAKES,
    }],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("retry_storm.rs"),
    routes: |fixtures| {
        Ok(Router::new()
            .route(
                "/order/at-once",
                get(|State(calls)| task("GET /order/at-once", at_once(Partner::new(calls)))), // <- spawned here
            )
            .route(
                "/order/back-off",
                get(|State(calls)| task("GET /order/back-off", backing_off(Partner::new(calls)))),
            )
            .with_state(fixtures.readings.counter("calls to the partner")))
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

/// How long the partner refuses.
const OUTAGE: Duration = Duration::from_secs(30);

/// Refuses everything at first.
struct Partner {
    well_again: Instant,
    calls: Counter,
}

impl Partner {
    fn new(calls: Counter) -> Self {
        Partner {
            well_again: Instant::now() + OUTAGE,
            calls,
        }
    }

    async fn order(&self) -> Result<&'static str, &'static str> {
        self.calls.add(1);
        yield_now().await;
        if Instant::now() < self.well_again {
            return Err("429 Too Many Requests\n");
        }
        Ok("ordered\n")
    }
}

// [broken]
async fn at_once(partner: Partner) -> &'static str {
    loop {
        // <- culprit
        if let Ok(answer) = partner.order().await {
            return answer;
        }
    }
}
// [/broken]

// [fixed]
async fn backing_off(partner: Partner) -> &'static str {
    let (mut wait, mut random) = (Duration::from_millis(50), Random::new(6669, 0));
    loop {
        if let Ok(answer) = partner.order().await {
            return answer;
        }
        tokio::time::sleep(wait.mul_f64(0.5 + random.unit())).await;
        wait = (wait * 2).min(Duration::from_secs(1));
    }
}
// [/fixed]
