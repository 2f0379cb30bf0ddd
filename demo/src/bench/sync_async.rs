//! `/sync` against `/async`, the lab's own endpoints, at 4 workers.

use std::{net::Ipv4Addr, sync::Arc, thread, time::Duration};

use tokio::{net::TcpListener, runtime::Builder, sync::watch};

use super::{Experiment, Row, Scale};
use crate::{
    figures::Recorder,
    fixtures::Fixtures,
    load::{self, Plan, Shape, Stream},
    registry,
    scenario::Mode,
    serve, service,
};

pub(super) const EXPERIMENT: Experiment = Experiment {
    id: "sync-async",
    what: "a handler that waits 100 ms, 400 clients, 4 workers: thread::sleep against tokio's",
    notes: "31.76 -> 3,843.17 requests/s",
    more_is_better: true,
    run,
};

const WORKERS: usize = 4;
const CLIENTS: usize = 400;

fn run(scale: Scale) -> anyhow::Result<Vec<Row>> {
    let fixtures = Fixtures::start()?;
    let router = service::router(&fixtures)?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()?;
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let target = listener.local_addr()?;
    runtime.spawn(axum::serve(listener, router).into_future());

    let recorder = Arc::new(Recorder::new());
    let plans = watch::Sender::new(Plan::default());
    load::start(
        target,
        serve::DEFAULT_SEED,
        plans.subscribe(),
        Arc::clone(&recorder),
    )?;
    let scenario = registry::find("sleep-in-handler")?;
    let rate = |mode: Mode| {
        let phase = fixtures.phase.advance();
        recorder.switch(phase);
        let stream = |path| Stream {
            path,
            shape: Shape::Closed {
                clients: CLIENTS,
                pause: Duration::ZERO,
            },
        };
        let streams = scenario.endpoint(mode).map(stream).into_iter().collect();
        plans.send_replace(Plan { phase, streams });
        thread::sleep(scale.pick(Duration::from_secs(8), Duration::from_secs(2)));
        recorder.now().requests_per_s
    };
    let rows = vec![
        Row::new("/sync", rate(Mode::Broken), "requests/s"),
        Row::new("/async", rate(Mode::Fixed), "requests/s"),
    ];
    drop(plans);
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(rows)
}
