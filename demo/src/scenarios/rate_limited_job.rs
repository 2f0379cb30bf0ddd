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
    readings::Counter,
    scenario::{Flavor, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "rate-limited-job",
    caption: "10,000 users wait for a semaphore of 1, one call every 2 s: slow by design, and healthy",
    notes: "nightly job: a semaphore of 1 and one call a minute",
    watch: "live tasks",
    readings: &["users served"],
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
                served: fixtures.readings.counter("users served"),
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
    served: Counter,
}

// [fixed]
async fn nightly(job: Job) -> &'static str {
    let end = job.phase.end();
    let mut tick = interval(Duration::from_millis(10));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for user in 0..USERS {
        if user.is_multiple_of(8) {
            tick.tick().await; // 800 users a second are enough
        }
        let (user, end) = (one_user(job.clone(), user), end.clone());
        spawn("user", async move { end.run_until_cancelled(user).await });
    }
    end.cancelled().await;
    "until tomorrow\n"
}

async fn one_user(job: Job, user: u32) {
    if user.is_multiple_of(5) {
        return; // nothing to do for this one tonight
    }
    let _turn = job.turn.acquire().await;
    sleep(Duration::from_secs(2)).await;
    job.served.add(1);
}
// [/fixed]
