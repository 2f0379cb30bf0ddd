//! One of a group fails, and the rest run on for nobody.

use std::time::Duration;

use axum::{Router, extract::State, routing::get};
use tokio::task::JoinSet;

use crate::{
    load::{Shape, Stream},
    observed::spawn,
    phase::Phase,
    scenario::{At, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "orphaned-siblings",
    caption: "one of a group fails and the answer is gone: its siblings work on for nobody",
    notes: "gather() leaves the others running when one raises; TaskGroup cancels them",
    watch: "live tasks",
    readings: &[],
    broken: "/offer/gathered",
    fixed: "/offer/grouped",
    expected: &[Expected {
        rule: "task-leak",
        causes: &[],
        function: "",
        at: At::Spawn,
        outside: Outside::Found,
    }],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("orphaned_siblings.rs"),
    routes: |fixtures| {
        Ok(Router::new()
            .route(
                "/offer/gathered",
                get(|State(phase)| task("GET /offer/gathered", gathered(phase))),
            )
            .route(
                "/offer/grouped",
                get(|State(phase)| task("GET /offer/grouped", grouped(phase))),
            )
            .with_state(fixtures.phase.clone()))
    },
    load: |path| {
        vec![Stream {
            path,
            shape: Shape::Burst {
                size: 1,
                every: Duration::from_millis(50),
            },
        }]
    },
    backdrop: None,
};

/// The price is not to be had; the other parts are being watched for changes
/// until somebody cancels it. The lab ends them with the phase.
async fn part(phase: Phase, name: &'static str) -> Result<&'static str, String> {
    if name == "price" {
        tokio::time::sleep(Duration::from_millis(20)).await;
        return Err(format!("no {name} today\n"));
    }
    phase.end().cancelled().await;
    Ok(name)
}

// [broken]
async fn gathered(phase: Phase) -> String {
    let price = spawn("price", part(phase.clone(), "price"));
    let others = ["stock", "reviews"].map(|name| {
        spawn(name, part(phase.clone(), name)) // <- spawned here
    });
    for part in [price].into_iter().chain(others) {
        if let Ok(Err(error)) = part.await {
            return error; // the handles are dropped, the tasks are not
        }
    }
    "offer\n".into()
}
// [/broken]

// [fixed]
async fn grouped(phase: Phase) -> String {
    let mut parts: JoinSet<_> = ["price", "stock", "reviews"]
        .into_iter()
        .map(|name| part(phase.clone(), name))
        .collect();
    while let Some(part) = parts.join_next().await {
        if let Ok(Err(error)) = part {
            return error; // the set aborts what it still holds
        }
    }
    "offer\n".into()
}
// [/fixed]
