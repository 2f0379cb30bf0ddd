//! Ten conversations at once on one event loop, and a neighbour who wants
//! nothing but a tick.

use std::time::{Duration, Instant};

use tokio::{
    runtime::Builder,
    sync::oneshot,
    task::{JoinSet, spawn_blocking},
    time::{sleep, timeout},
};

use super::{Experiment, Row, Scale};
use crate::scenarios::{Conversation, format_conversation, long_conversation};

pub(super) const EXPERIMENT: Experiment = Experiment {
    id: "conversations",
    what: "10 conversations at once, 50 ms of CPU each, one event loop: the last one's latency",
    notes: "500 -> 50 ms, with a CPU for each",
    more_is_better: false,
    run,
};

const TICK: Duration = Duration::from_millis(2);

fn run(scale: Scale) -> anyhow::Result<Vec<Row>> {
    let conversation = long_conversation();
    let times = scale.pick(5, 1);
    Ok(vec![
        row("inline", times, &conversation, async |all| {
            drop(format_conversation(&all));
        })?,
        row("spawn_blocking", times, &conversation, async |all| {
            // It panics only if formatting does.
            let _ = spawn_blocking(move || format_conversation(&all)).await;
        })?,
    ])
}

/// The best of some runs: everything else on the machine can only add to it.
fn row<F, Fut>(
    way: &'static str,
    times: usize,
    conversation: &Conversation,
    format: F,
) -> anyhow::Result<Row>
where
    F: Fn(Conversation) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let mut best: Option<(f64, f64)> = None;
    for _ in 0..times {
        let (last, neighbour) = runtime.block_on(once(conversation, &format));
        if best.is_none_or(|(least, _)| last < least) {
            best = Some((last, neighbour));
        }
    }
    let (last, neighbour) = best.unwrap_or_default();
    let mut row = Row::new(way, last, "ms");
    row.neighbour_ms = Some(neighbour);
    Ok(row)
}

/// Milliseconds until the last was answered, and the longest that the neighbour
/// was late.
async fn once<F, Fut>(conversation: &Conversation, format: &F) -> (f64, f64)
where
    F: Fn(Conversation) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let (stop, stopped) = oneshot::channel();
    let neighbour = tokio::spawn(latest(stopped));
    // The neighbour is at home before the crowd comes.
    sleep(2 * TICK).await;
    let begun = Instant::now();
    let mut requests = JoinSet::new();
    for _ in 0..10 {
        requests.spawn(format(conversation.clone()));
    }
    while requests.join_next().await.is_some() {}
    let last = begun.elapsed();
    let _ = stop.send(());
    let late = neighbour.await.unwrap_or_default();
    (last.as_secs_f64() * 1e3, late.as_secs_f64() * 1e3)
}

/// The longest that a tick came late, until asked to stop.
async fn latest(mut stopped: oneshot::Receiver<()>) -> Duration {
    let mut worst = Duration::ZERO;
    loop {
        let due = Instant::now() + TICK;
        let more = timeout(TICK, &mut stopped).await.is_err();
        worst = worst.max(due.elapsed());
        if !more {
            return worst;
        }
    }
}
