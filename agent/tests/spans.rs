//! The agent's own subscriber names tasks by the application's spans where it is
//! asked to.
//!
//! One test: the subscriber is the whole process's.
#![cfg(all(tokio_unstable, feature = "tracing"))]

mod viewer;

use std::time::Duration;

use looptop_agent::Agent;
use looptop_wire::columns::Row;
use tracing::Instrument;
use viewer::Viewer;

#[test]
fn a_task_is_called_by_the_span_that_wraps_it() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let agent = Agent::builder()
        .bind("127.0.0.1:0")
        .runtime("main", runtime.handle())
        .name_tasks_by_spans()
        .start();
    let viewer = Viewer::attach(agent.local_addr().expect("a TCP port"));
    let span = tracing::info_span!("connection", peer = 5);
    let quiet = tracing::debug_span!("detail");
    for span in [span, quiet] {
        let waits = async { tokio::time::sleep(Duration::from_mins(1)).await };
        runtime.spawn(waits.instrument(span));
    }
    let names = viewer.until("both tasks", |seen| {
        let messages = seen.frames.iter().filter_map(|f| f.tasks.as_ref());
        let rows: Vec<Row<'_>> = messages.flat_map(Row::all).collect();
        let names: Vec<&str> = rows
            .iter()
            .filter_map(Row::name)
            .map(|id| seen.text(id))
            .collect();
        names.contains(&"connection peer=5").then(|| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        })
    });
    assert!(!names.iter().any(|name| name == "detail"), "{names:?}");
}
