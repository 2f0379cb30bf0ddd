//! A nightly job that is meant to be slow: one call every two seconds, ten
//! thousand users queued. Long-lived idle tasks are fine.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::State, routing::get};
use tokio::{
    sync::Semaphore,
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{
    load::{Shape, Stream},
    observed::spawn,
    phase::Phase,
    readings::Readings,
    scenario::{Flavor, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "rate-limited-job",
    caption: "10,000 users wait for a semaphore of 1, one call every 2 s: slow by design, and healthy",
    notes: "nightly job: a semaphore of 1 and one call a minute",
    watch: "live tasks",
    broken: "/nightly",
    fixed: "/nightly",
    expected: &[],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("rate_limited_job.rs"),
    routes: |fixtures| {
        Ok(Router::new()
            .route(
                "/nightly",
                get(|State(job)| task("GET /nightly", nightly(job))),
            )
            .with_state(Job {
                turn: Arc::new(Semaphore::new(1)),
                phase: fixtures.phase.clone(),
                readings: fixtures.readings.clone(),
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

const USERS: u32 = 10_000;

#[derive(Clone)]
struct Job {
    turn: Arc<Semaphore>,
    phase: Phase,
    readings: Readings,
}

// [fixed]
async fn nightly(job: Job) -> &'static str {
    let end = job.phase.end();
    let mut tick = interval(Duration::from_millis(20));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for user in 0..USERS {
        if user % 15 == 0 {
            tick.tick().await; // 750 users a second are enough
        }
        let (user, end) = (one_user(job.clone()), end.clone());
        spawn("user", async move { end.run_until_cancelled(user).await });
    }
    end.cancelled().await;
    "until tomorrow\n"
}

async fn one_user(job: Job) {
    let _turn = job.turn.acquire().await;
    sleep(Duration::from_secs(2)).await;
    job.readings.add("users served", 1.0);
}
// [/fixed]
