//! Ten thousand calls spawned at once.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use axum::{Router, extract::State, routing::get};
use futures::{StreamExt, stream};
use tokio::{
    task::{JoinSet, consume_budget},
    time::Instant,
};

use crate::{
    calibrate,
    load::{Shape, Stream},
    readings::Counter,
    scenario::{At, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "unbounded-fanout",
    caption: "10,000 calls spawned at once: each is short, together they are a queue for everybody",
    notes: "gather over 10,000 users; the cure is a semaphore of 50",
    watch: "canary p99, peak of calls in flight",
    readings: &["calls in flight"],
    broken: "/notify/all-at-once",
    fixed: "/notify/fifty-at-a-time",
    expected: &[
        Expected {
            rule: "task-flood",
            causes: &[],
            function: "",
            at: At::Spawn,
            outside: Outside::Found,
        },
        Expected {
            rule: "slow-schedule",
            causes: &[],
            function: "",
            at: At::Spawn,
            outside: Outside::WAKES,
        },
    ],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("unbounded_fanout.rs"),
    routes: |fixtures| {
        let words = calibrate::sized(COST, template, digest);
        let mail = Mail {
            template: Arc::new(template(words)),
            in_flight: fixtures.readings.counter("calls in flight"),
            opened: Instant::now(),
        };
        Ok(Router::new()
            .route(
                "/notify/all-at-once",
                get(|State(mail)| task("GET /notify/all-at-once", all_at_once(mail))),
            )
            .route(
                "/notify/fifty-at-a-time",
                get(|State(mail)| task("GET /notify/fifty-at-a-time", fifty_at_a_time(mail))),
            )
            .with_state(mail))
    },
    load: |path| {
        vec![Stream {
            path,
            shape: Shape::Closed {
                clients: 1,
                pause: Duration::from_millis(400),
            },
        }]
    },
    backdrop: None,
};

const USERS: u32 = 10_000;

/// CPU time before and after a call.
const COST: Duration = Duration::from_micros(30);

/// The mail relay answers in batches: all that it was sent since the last one.
const BATCH: Duration = Duration::from_millis(250);

#[derive(Clone)]
struct Mail {
    template: Arc<Vec<String>>,
    in_flight: Counter,
    opened: Instant,
}

impl Mail {
    /// When the relay answers what is sent now.
    fn next_batch(&self) -> Instant {
        let batches = self.opened.elapsed().as_millis() / BATCH.as_millis();
        self.opened + BATCH * (batches as u32 + 1)
    }
}

fn template(words: usize) -> Vec<String> {
    (0..words).map(|word| format!("word {word}")).collect()
}

fn digest(template: &Vec<String>) -> u64 {
    let mut hasher = DefaultHasher::new();
    template.hash(&mut hasher);
    hasher.finish()
}

async fn call(mail: Mail, user: u32) -> u64 {
    let _counted = mail.in_flight.hold();
    let before = digest(&mail.template);
    tokio::time::sleep_until(mail.next_batch()).await;
    digest(&mail.template) ^ before ^ u64::from(user)
}

// [broken]
async fn all_at_once(mail: Mail) -> String {
    let mut calls = JoinSet::new();
    for user in 0..USERS {
        calls.spawn(call(mail.clone(), user)); // <- spawned here
        consume_budget().await;
    }
    let mut sent = 0;
    while calls.join_next().await.is_some() {
        sent += 1;
    }
    format!("{sent} sent\n")
}
// [/broken]

// [fixed]
async fn fifty_at_a_time(mail: Mail) -> String {
    let sent = stream::iter(0..USERS)
        .map(|user| call(mail.clone(), user))
        .buffer_unordered(50)
        .count()
        .await;
    format!("{sent} sent\n")
}
// [/fixed]
