//! A hundred calls to a slow upstream from one event loop.

use std::time::{Duration, Instant};

use tokio::{runtime::Builder, task::JoinSet};

use super::{Experiment, Row, Scale};
use crate::fixtures::Upstream;

pub(super) const EXPERIMENT: Experiment = Experiment {
    id: "http-client",
    what: "100 calls that take 250 ms from one event loop: a blocking client against an async one",
    notes: "25.0 -> 0.50 s; 5 URLs: 12.61 -> 4.31 s",
    more_is_better: false,
    run,
};

fn run(scale: Scale) -> anyhow::Result<Vec<Row>> {
    let url = Upstream::start()?.slow(250);
    let calls = scale.pick(100, 8);
    let (agent, client) = (ureq::Agent::new_with_defaults(), reqwest::Client::new());
    Ok(vec![
        Row::seconds(
            "blocking client",
            all(calls, || blocking(agent.clone(), url.clone()))?,
        ),
        Row::seconds(
            "async client",
            all(calls, || awaiting(client.clone(), url.clone()))?,
        ),
    ])
}

#[allow(clippy::unused_async, reason = "that it does not await is the mistake")]
async fn blocking(agent: ureq::Agent, url: String) -> anyhow::Result<String> {
    Ok(agent.get(&url).call()?.body_mut().read_to_string()?)
}

async fn awaiting(client: reqwest::Client, url: String) -> anyhow::Result<String> {
    Ok(client.get(&url).send().await?.text().await?)
}

/// How long one event loop takes for so many calls, a task each.
fn all<F, Fut>(calls: usize, call: F) -> anyhow::Result<Duration>
where
    F: Fn() -> Fut,
    Fut: Future<Output = anyhow::Result<String>> + Send + 'static,
{
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let begun = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..calls {
            tasks.spawn(call());
        }
        while let Some(answer) = tasks.join_next().await {
            answer??;
        }
        Ok(begun.elapsed())
    })
}
