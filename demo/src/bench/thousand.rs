//! 1,000 requests to an upstream that takes 45 ms, four ways, each in a process
//! of its own, so that memory and CPU are its own as well.

use std::{
    io::Read,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Instant,
};

use anyhow::{Context, bail};
use clap::ValueEnum;
use futures::{StreamExt, stream};
use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

use super::{Experiment, Row, Scale};
use crate::fixtures::Upstream;

pub(super) const EXPERIMENT: Experiment = Experiment {
    id: "thousand-requests",
    what: "1,000 requests to an upstream that takes 45 ms; at most 20 in flight in a process",
    notes: "45.2 / 3.1 / 2.8 / 2.3 s and 120 / 180 / 95 / 800 MB",
    more_is_better: false,
    run,
};

/// Time that the upstream takes.
const UPSTREAM_MS: u64 = 45;

/// Requests in flight in one process, but for the first way.
const IN_FLIGHT: usize = 20;

/// One way to send the requests, in a child process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Part {
    /// One after the other.
    OneByOne,
    /// By blocking threads.
    Threads,
    /// By tokio tasks.
    Tasks,
}

/// What a child process says when it is done.
#[derive(Serialize, Deserialize)]
struct Spent {
    memory_mib: f64,
    cpu_s: f64,
}

fn run(scale: Scale) -> anyhow::Result<Vec<Row>> {
    let url = Upstream::start()?.slow(UPSTREAM_MS);
    let requests = scale.pick(1000, 60);
    Ok(vec![
        way("one at a time", &[Part::OneByOne], &url, requests)?,
        way("20 blocking threads", &[Part::Threads], &url, requests)?,
        way("tokio tasks", &[Part::Tasks], &url, requests)?,
        way("2 processes", &[Part::Tasks, Part::Tasks], &url, requests)?,
    ])
}

fn way(name: &'static str, parts: &[Part], url: &str, requests: usize) -> anyhow::Result<Row> {
    let begun = Instant::now();
    let children = parts
        .iter()
        .map(|part| spawn(*part, url, requests / parts.len()))
        .collect::<anyhow::Result<Vec<Child>>>()?;
    let mut spent = Spent {
        memory_mib: 0.0,
        cpu_s: 0.0,
    };
    for child in children {
        let one = finish(child).with_context(|| format!("the process for {name:?} failed"))?;
        spent.memory_mib += one.memory_mib;
        spent.cpu_s += one.cpu_s;
    }
    let mut row = Row::seconds(name, begun.elapsed());
    row.memory_mib = Some(spent.memory_mib);
    row.cpu_s = Some(spent.cpu_s);
    Ok(row)
}

fn spawn(part: Part, url: &str, requests: usize) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("could not find this program's own file")?;
    let part = part
        .to_possible_value()
        .map_or_else(String::new, |part| part.get_name().to_owned());
    Command::new(program)
        .args(["bench-part", &part, url, &requests.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("could not start a process of its own for the requests")
}

fn finish(mut child: Child) -> anyhow::Result<Spent> {
    let mut said = String::new();
    if let Some(mut output) = child.stdout.take() {
        output.read_to_string(&mut said)?;
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("it ended with {status}");
    }
    serde_json::from_str(&said).with_context(|| format!("it said {said:?}"))
}

/// Does a child's part: sends the requests and returns what to print.
///
/// # Errors
///
/// A request that failed.
pub(crate) fn part(part: Part, url: &str, requests: usize) -> anyhow::Result<String> {
    match part {
        Part::OneByOne => threads(1, url, requests)?,
        Part::Threads => threads(IN_FLIGHT, url, requests)?,
        Part::Tasks => tasks(url, requests)?,
    }
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let seconds = |time: nix::sys::time::TimeVal| {
        time.tv_sec() as f64 + f64::from(time.tv_usec() as u32) / 1e6
    };
    Ok(serde_json::to_string(&Spent {
        // Linux counts kibibytes.
        memory_mib: usage.max_rss() as f64 / 1024.0,
        cpu_s: seconds(usage.user_time()) + seconds(usage.system_time()),
    })?)
}

fn threads(threads: usize, url: &str, requests: usize) -> anyhow::Result<()> {
    let agent = ureq::Agent::new_with_defaults();
    let taken = AtomicUsize::new(0);
    let send = || -> anyhow::Result<()> {
        while taken.fetch_add(1, Ordering::Relaxed) < requests {
            agent.get(url).call()?.body_mut().read_to_string()?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(send)).collect();
        for thread in threads {
            match thread.join() {
                Ok(result) => result?,
                Err(_) => bail!("a thread panicked"),
            }
        }
        Ok(())
    })
}

fn tasks(url: &str, requests: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let client = reqwest::Client::new();
    runtime.block_on(async {
        let mut answers = stream::iter(0..requests)
            .map(|_| {
                let request = client.get(url).send();
                tokio::spawn(async move { request.await?.text().await })
            })
            .buffer_unordered(IN_FLIGHT);
        while let Some(answer) = answers.next().await {
            answer??;
        }
        Ok(())
    })
}
