//! A blocking lock that one job holds for long and every request wants.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use axum::{Router, extract::State, routing::get};
use tokio::task::spawn_blocking;

use crate::{
    load::{Shape, Stream},
    scenario::{At, Cause, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "std-mutex-held",
    caption: "a std mutex held for 200 ms by a job that writes: every worker waits in lock()",
    notes: "",
    watch: "canary p99",
    readings: &[],
    broken: "/visits/held",
    fixed: "/visits/short",
    expected: &[
        Expected {
            rule: "blocked-worker",
            causes: &[Cause::Lock],
            function: "std_mutex_held::count_visit",
            at: At::Code,
            outside: Outside::Found,
        },
        Expected {
            rule: "lock-convoy",
            causes: &[Cause::Lock],
            function: "std_mutex_held::count_visit",
            at: At::Code,
            outside: Outside::Found,
        },
    ],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("std_mutex_held.rs"),
    routes: |_| {
        Ok(Router::new()
            .route(
                "/visits/held",
                get(|State(visits)| task("GET /visits/held", visit(visits))), // <- spawned here
            )
            .route(
                "/visits/held/save",
                get(|State(visits)| task("GET /visits/held/save", save_holding(visits))),
            )
            .route(
                "/visits/short",
                get(|State(visits)| task("GET /visits/short", visit(visits))),
            )
            .route(
                "/visits/short/save",
                get(|State(visits)| task("GET /visits/short/save", save_what_was_taken(visits))),
            )
            .with_state(Visits::default()))
    },
    load: |path| {
        let save = match path {
            "/visits/held" => "/visits/held/save",
            _ => "/visits/short/save",
        };
        vec![
            Stream {
                path: save,
                shape: Shape::Burst {
                    size: 1,
                    every: Duration::from_millis(400),
                },
            },
            Stream {
                path,
                shape: Shape::Closed {
                    clients: 8,
                    pause: Duration::from_millis(50),
                },
            },
        ]
    },
    backdrop: None,
};

type Visits = Arc<Mutex<Vec<u32>>>;

/// Stands for a slow disk.
fn write_out(visits: &[u32]) -> usize {
    thread::sleep(Duration::from_millis(200));
    visits.len()
}

// [work]
async fn visit(visits: Visits) -> String {
    count_visit(&visits)
}

#[inline(never)]
fn count_visit(visits: &Mutex<Vec<u32>>) -> String {
    let mut visits = visits.lock().unwrap_or_else(PoisonError::into_inner);
    visits.push(1);
    format!("{} visits to save\n", visits.len())
}
// [/work]

// [broken]
async fn save_holding(visits: Visits) -> String {
    let save = move || {
        let mut visits = visits.lock().unwrap_or_else(PoisonError::into_inner);
        let saved = write_out(&visits); // <- culprit
        visits.clear();
        format!("{saved} saved\n")
    };
    spawn_blocking(save).await.unwrap_or_default()
}
// [/broken]

// [fixed]
async fn save_what_was_taken(visits: Visits) -> String {
    let save = move || {
        let mut visits = visits.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = mem::take(&mut *visits);
        drop(visits);
        format!("{} saved\n", write_out(&taken))
    };
    spawn_blocking(save).await.unwrap_or_default()
}
// [/fixed]
