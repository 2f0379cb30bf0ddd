//! An upstream that never answers, and tasks that wait for ever.

use std::time::Duration;

use axum::{Router, extract::State, routing::get};
use tokio::time::timeout;

use crate::{
    fixtures::Upstream,
    load::{Client, Shape, Stream},
    observed::spawn,
    phase::Phase,
    scenario::{At, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "no-timeout",
    caption: "the upstream has stopped answering: without a time-out every call waits for ever",
    notes: "",
    watch: "live tasks",
    readings: &[],
    broken: "/hook/patient",
    fixed: "/hook/timeout",
    expected: &[Expected {
        rule: "task-leak",
        causes: &[],
        function: "",
        at: At::Spawn,
        outside: Outside::Found,
    }],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("no_timeout.rs"),
    routes: |fixtures| {
        Ok(Router::new()
            .route(
                "/hook/patient",
                get(|State(hook)| task("GET /hook/patient", patient(hook))),
            )
            .route(
                "/hook/timeout",
                get(|State(hook)| task("GET /hook/timeout", limited(hook))),
            )
            .with_state(Hook {
                upstream: fixtures.upstream,
                phase: fixtures.phase.clone(),
            }))
    },
    load: |path| {
        vec![Stream {
            path,
            shape: Shape::Burst {
                size: 1,
                every: Duration::from_millis(60),
            },
        }]
    },
    backdrop: None,
};

#[derive(Clone)]
struct Hook {
    upstream: Upstream,
    phase: Phase,
}

impl Hook {
    /// Calls an upstream that never answers; the lab ends it with the phase. One
    /// task for a call: a client with a pool spawns another for its connection,
    /// which then leaks as well.
    async fn call(self) -> bool {
        let mut client = Client::new(self.upstream.address(), Upstream::SILENT, 0);
        let end = self.phase.end();
        tokio::select! {
            answer = client.get() => answer.is_ok(),
            () = end.cancelled() => false,
        }
    }
}

// [broken]
async fn patient(hook: Hook) -> &'static str {
    spawn("hook", hook.call()); // <- spawned here
    "accepted\n"
}
// [/broken]

// [fixed]
async fn limited(hook: Hook) -> &'static str {
    spawn("hook", timeout(Duration::from_secs(1), hook.call()));
    "accepted\n"
}
// [/fixed]
