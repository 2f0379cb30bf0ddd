//! Tasks that never end and that nobody holds.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::State, routing::get};
use tokio::{sync::Notify, task::JoinSet};

use crate::{
    load::{Shape, Stream},
    observed::spawn,
    phase::Phase,
    scenario::{At, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "fire-and-forget-leak",
    caption: "spawned and forgotten: a listener a request that nothing ever ends",
    notes: "",
    watch: "live tasks",
    readings: &[],
    broken: "/page/forgotten-listener",
    fixed: "/page/own-listener",
    expected: &[Expected {
        rule: "task-leak",
        causes: &[],
        function: "",
        at: At::Spawn,
        outside: Outside::Found,
    }],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("fire_and_forget_leak.rs"),
    routes: |fixtures| {
        Ok(Router::new()
            .route(
                "/page/forgotten-listener",
                get(|State(feed)| task("GET /page/forgotten-listener", forgotten(feed))),
            )
            .route(
                "/page/own-listener",
                get(|State(feed)| task("GET /page/own-listener", owned(feed))),
            )
            .with_state(Feed {
                news: Arc::default(),
                phase: fixtures.phase.clone(),
            }))
    },
    load: |path| {
        vec![Stream {
            path,
            shape: Shape::Burst {
                size: 1,
                every: Duration::from_millis(40),
            },
        }]
    },
    backdrop: None,
};

#[derive(Clone)]
struct Feed {
    news: Arc<Notify>,
    phase: Phase,
}

impl Feed {
    /// Waits for news that never come; the lab ends it with the phase.
    async fn listen(self) {
        let end = self.phase.end();
        tokio::select! {
            () = self.news.notified() => {}
            () = end.cancelled() => {}
        }
    }
}

async fn render() -> &'static str {
    tokio::time::sleep(Duration::from_millis(20)).await;
    "page\n"
}

// [broken]
async fn forgotten(feed: Feed) -> &'static str {
    spawn("listener", feed.listen()); // <- spawned here
    render().await
}
// [/broken]

// [fixed]
async fn owned(feed: Feed) -> &'static str {
    let mut listeners = JoinSet::new();
    listeners.spawn(feed.listen());
    let page = render().await;
    listeners.shutdown().await;
    page
}
// [/fixed]
