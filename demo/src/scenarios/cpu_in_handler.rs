//! Moderate CPU work on the worker instead of beside it.

use std::{fmt::Write, sync::Arc, time::Duration};

use axum::{Router, extract::State, routing::get};
use tokio::task::spawn_blocking;

use crate::{
    calibrate,
    load::{Shape, Stream},
    scenario::{At, Cause, Expected, Flavor, Outside, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "cpu-in-handler",
    caption: "formatting a long conversation inline: 50 ms of CPU that nobody else gets",
    notes: "10 requests at once, the last one's latency: 500 -> 50 ms (formatting offloaded)",
    watch: "canary p99",
    readings: &[],
    broken: "/conversation/inline",
    fixed: "/conversation/offloaded",
    expected: &[Expected {
        rule: "blocked-worker",
        causes: &[Cause::Computing],
        function: "cpu_in_handler::format_conversation",
        at: At::Code,
        outside: Outside::Found,
    }],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("cpu_in_handler.rs"),
    routes: |_| {
        Ok(Router::new()
            .route(
                "/conversation/inline",
                get(|State(all)| task("GET /conversation/inline", inline(all))), // <- spawned here
            )
            .route(
                "/conversation/offloaded",
                get(|State(all)| task("GET /conversation/offloaded", offloaded(all))),
            )
            .with_state(long_conversation()))
    },
    load: |path| {
        vec![Stream {
            path,
            shape: Shape::Burst {
                size: 10,
                every: Duration::from_millis(730),
            },
        }]
    },
    backdrop: None,
};

/// CPU time to format the conversation.
const COST: Duration = Duration::from_millis(50);

pub(crate) struct Turn {
    who: &'static str,
    said: String,
}

pub(crate) type Conversation = Arc<Vec<Turn>>;

fn conversation(turns: usize) -> Conversation {
    let turn = |number: usize| Turn {
        who: ["user", "assistant"][number % 2],
        said: format!("and what about point {number} of the contract?"),
    };
    Arc::new((0..turns).map(turn).collect())
}

/// As long as 50 ms of CPU can format.
pub(crate) fn long_conversation() -> Conversation {
    let turns = calibrate::sized(COST, conversation, |all| format_conversation(all));
    conversation(turns)
}

// [broken]
async fn inline(all: Conversation) -> String {
    format_conversation(&all) // <- culprit
}
// [/broken]

// [fixed]
async fn offloaded(all: Conversation) -> String {
    let work = move || format_conversation(&all);
    spawn_blocking(work).await.unwrap_or_default()
}
// [/fixed]

// [work]
#[inline(never)]
pub(crate) fn format_conversation(all: &[Turn]) -> String {
    let (mut page, mut length) = (String::new(), 0);
    for turn in all {
        page.clear();
        // A String takes whatever is written to it.
        let _ = write!(page, "{:>9}: {:?}", turn.who, turn.said);
        length += page.len();
    }
    format!("{length} bytes of conversation\n")
}
// [/work]
