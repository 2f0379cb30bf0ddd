//! A loop without an await: nothing else runs on its worker, and no cancellation
//! can reach it.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, extract::State, routing::get};
use tokio::task::yield_now;
use tokio_util::sync::CancellationToken;

use crate::{
    calibrate,
    load::{Shape, Stream},
    phase::Phase,
    scenario::{At, Cause, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "never-yields",
    caption: "a loop without an await keeps its worker, and abort() cannot reach it",
    notes: "a swallowed CancelledError: the task goes on and shutdown waits for it",
    watch: "canary max",
    readings: &[],
    broken: "/export/at-once",
    fixed: "/export/by-page",
    expected: &[
        Expected {
            rule: "blocked-worker",
            causes: &[Cause::Computing],
            function: "never_yields::export_at_once",
            at: At::Code,
            outside: Outside::Found,
        },
        Expected {
            rule: "never-yielded",
            causes: &[Cause::Computing],
            function: "never_yields::export_at_once",
            at: At::Code,
            outside: Outside::POLLS,
        },
    ],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("never_yields.rs"),
    routes: |fixtures| {
        let words = calibrate::sized(PAGE, page, hash);
        let export = Export {
            page: Arc::new(page(words)),
            phase: fixtures.phase.clone(),
        };
        Ok(Router::new()
            .route(
                "/export/at-once",
                get(|State(export): State<Export>| {
                    task("GET /export/at-once", export_at_once(export.pages()))
                }),
            )
            .route(
                "/export/by-page",
                get(|State(export): State<Export>| {
                    let stop = export.phase.end();
                    task("GET /export/by-page", export_by_page(export.pages(), stop))
                }),
            )
            .with_state(export))
    },
    load: |path| {
        vec![Stream {
            path,
            shape: Shape::Burst {
                size: 1,
                every: Duration::from_millis(2500),
            },
        }]
    },
    backdrop: None,
};

/// CPU time for a page. On a machine whose other CPUs were busy while it was measured, it
/// takes half of that at times.
const PAGE: Duration = Duration::from_millis(2);

/// How long an export lasts.
const EXPORT: Duration = Duration::from_secs(2);

#[derive(Clone)]
struct Export {
    page: Page,
    phase: Phase,
}

type Page = Arc<Vec<String>>;

impl Export {
    /// Pages for two seconds, however fast they are taken.
    fn pages(self) -> Pages {
        Pages {
            page: self.page,
            end: Instant::now() + EXPORT,
        }
    }
}

struct Pages {
    page: Page,
    end: Instant,
}

impl Iterator for Pages {
    type Item = Page;

    fn next(&mut self) -> Option<Page> {
        (Instant::now() < self.end).then(|| Arc::clone(&self.page))
    }
}

fn page(words: usize) -> Vec<String> {
    (0..words).map(|word| format!("word {word}")).collect()
}

fn hash(page: &Vec<String>) -> u64 {
    let mut hasher = DefaultHasher::new();
    page.hash(&mut hasher);
    hasher.finish()
}

// [broken]
async fn export_at_once(pages: Pages) -> String {
    let mut sum = DefaultHasher::new();
    for page in pages {
        page.hash(&mut sum); // <- culprit
    }
    format!("{:x}\n", sum.finish())
}
// [/broken]

// [fixed]
async fn export_by_page(pages: Pages, stop: CancellationToken) -> String {
    let mut sum = DefaultHasher::new();
    for page in pages {
        page.hash(&mut sum);
        yield_now().await;
        if stop.is_cancelled() {
            break;
        }
    }
    format!("{:x}\n", sum.finish())
}
// [/fixed]
