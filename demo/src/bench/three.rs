//! Three requests on one event loop: blocking against awaiting.

use std::{
    thread,
    time::{Duration, Instant},
};

use tokio::{runtime::Builder, task::JoinSet, time::sleep};

use super::{Experiment, Row, Scale};

pub(super) const EXPERIMENT: Experiment = Experiment {
    id: "three-requests",
    what: "3 requests on one worker: each blocks for 2 s, against each awaits 50 ms",
    notes: "6,000 -> 54 ms",
    more_is_better: false,
    run,
};

fn run(scale: Scale) -> anyhow::Result<Vec<Row>> {
    let blocking = Duration::from_millis(scale.pick(2000, 200));
    let awaiting = Duration::from_millis(50);
    Ok(vec![
        Row::new(
            "blocking",
            last(|| async move { thread::sleep(blocking) })?,
            "ms",
        ),
        Row::new("awaiting", last(|| sleep(awaiting))?, "ms"),
    ])
}

/// Milliseconds until the last of three is done.
fn last<F, Fut>(request: F) -> anyhow::Result<f64>
where
    F: Fn() -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let begun = Instant::now();
        let mut requests = JoinSet::new();
        for _ in 0..3 {
            requests.spawn(request());
        }
        while let Some(done) = requests.join_next().await {
            done?;
        }
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    })
}
