//! Ctrl-C as it should be: stop accepting, drain, cancel, report. The lab itself
//! ends this way, whatever its scenario.

use std::{fmt, time::Duration};

use axum::{Router, routing::get};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::{
    runtime::Handle,
    time::{Instant, timeout},
};

use crate::{
    load::{Shape, Stream},
    scenario::{Flavor, Scenario},
    service::task,
};

pub(super) const SCENARIO: Scenario = Scenario {
    id: "graceful-shutdown",
    caption: "Ctrl-C: stop accepting, let open requests finish, cancel the rest, report",
    notes: "",
    watch: "the last line after Ctrl-C",
    readings: &[],
    broken: "/checkout",
    fixed: "/checkout",
    expected: &[],
    flavors: &Flavor::ALL,
    workers: 2,
    source: super::source!("graceful_shutdown.rs"),
    routes: |_| Ok(Router::new().route("/checkout", get(|| task("GET /checkout", checkout())))),
    load: |path| {
        vec![Stream {
            path,
            shape: Shape::Closed {
                clients: 10,
                pause: Duration::from_millis(20),
            },
        }]
    },
    backdrop: None,
};

async fn checkout() -> &'static str {
    tokio::time::sleep(Duration::from_millis(300)).await;
    "thank you\n"
}

/// How long open requests may take to finish.
const DRAIN: Duration = Duration::from_secs(1);

/// How a shutdown went.
pub(crate) struct Report {
    connections: usize,
    drained: bool,
    tasks: usize,
    took: Duration,
}

// [fixed]
/// Call it when no more connections are accepted; what it reports as cancelled
/// ends with the runtime.
pub(crate) async fn shut_down(open: GracefulShutdown) -> Report {
    let begun = Instant::now();
    let connections = open.count();
    let drained = timeout(DRAIN, open.shutdown()).await.is_ok();
    Report {
        connections,
        drained,
        tasks: Handle::current().metrics().num_alive_tasks(),
        took: begun.elapsed(),
    }
}
// [/fixed]

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.drained { "drained" } else { "cut off" };
        write!(
            f,
            "stopped: {} connections {how}, {} tasks cancelled, {} ms",
            self.connections,
            self.tasks,
            self.took.as_millis()
        )
    }
}
