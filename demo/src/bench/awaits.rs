//! Awaiting in a row against awaiting together.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use futures::future::join_all;
use tokio::{runtime::Builder, time::sleep};

use super::{Experiment, Row};

pub(super) const TEN_CALLS: Experiment = Experiment {
    id: "ten-awaits",
    what: "ten awaits of 500 ms: one after the other against join_all",
    notes: "5 -> 0.5 s",
    more_is_better: false,
    run: |scale| compare(10, scale.pick(500, 50)),
};

pub(super) const THREE_UPSTREAMS: Experiment = Experiment {
    id: "three-upstreams",
    what: "three upstreams that take 1.5 s each (a tenth of the notes' time)",
    notes: "45 -> 15 s",
    more_is_better: false,
    run: |scale| compare(3, scale.pick(1500, 150)),
};

fn compare(calls: u32, milliseconds: u64) -> anyhow::Result<Vec<Row>> {
    let wait = Duration::from_millis(milliseconds);
    Ok(vec![
        Row::seconds(
            "one after the other",
            timed(async {
                for _ in 0..calls {
                    sleep(wait).await;
                }
            })?,
        ),
        Row::seconds(
            "joined",
            timed(async {
                join_all((0..calls).map(|_| sleep(wait))).await;
            })?,
        ),
    ])
}

fn timed(work: impl Future<Output = ()>) -> anyhow::Result<Duration> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let begun = Instant::now();
    runtime.block_on(work);
    Ok(begun.elapsed())
}
