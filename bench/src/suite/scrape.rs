//! What Prometheus costs: scrapes of the agent's `/metrics` beside tasks that all change
//! between two of them.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use super::Bench;
use crate::{
    configuration::{Configuration, Protocol},
    metric::Metric,
};

const PATIENCE: Duration = Duration::from_secs(60);
/// As often as Prometheus may ask at most.
const EVERY: Duration = Duration::from_secs(1);

pub(super) fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    for configuration in bench.peers(0) {
        if configuration.viewer() != Some(Protocol::Looptop) {
            continue;
        }
        eprint!(".");
        let outcome = run(bench, configuration);
        bench.settle("scrape", configuration, outcome);
    }
    Ok(())
}

fn run(bench: &mut Bench, configuration: Configuration) -> anyhow::Result<()> {
    let tasks = bench.plan.scraped_tasks;
    let (program, address) = bench.observed_program(configuration)?;
    let program = program.argument("scraped").option("tasks", tasks).start()?;
    program.wait_for("alive", PATIENCE)?;
    let mut scrapes = Scrapes::connect(&address)?;
    let deadline = Instant::now() + PATIENCE;
    // The first page is that of a snapshot, which is no scrape in passing.
    while total(&scrapes.page()?, "tokio_active_tasks") < tasks as f64 {
        anyhow::ensure!(Instant::now() < deadline, "not all tasks are counted");
        sleep(EVERY);
    }
    let before = scrapes.page()?;
    let began = Instant::now();
    for round in 0..bench.plan.scrapes {
        sleep(EVERY);
        let at = Instant::now();
        let page = scrapes.page()?;
        let millis = at.elapsed().as_secs_f64() * 1e3;
        anyhow::ensure!(page.contains("looptop_verdict"), "no page: {page}");
        bench.push(Metric::Scrape, configuration, round, millis);
    }
    let after = scrapes.page()?;
    let seconds = began.elapsed().as_secs_f64();
    let grown = |name: &str| total(&after, name) - total(&before, name);
    let agent = grown("looptop_thread_cpu_seconds_total{role=\"agent\"}");
    bench.push(Metric::ScrapeCpu, configuration, 0, agent / seconds * 100.0);
    bench.push(
        Metric::ScrapeStalls,
        configuration,
        0,
        grown("looptop_stalls_total"),
    );
    let note = format!("{} bytes", after.len());
    bench.samples.note(Metric::Scrape, configuration, note);
    Ok(())
}

/// The sum of a page's values whose series begin so.
fn total(page: &str, name: &str) -> f64 {
    let of_name = page.lines().filter(|line| line.starts_with(name));
    let values = of_name.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    values.sum()
}

/// Scrapes on one connection, as Prometheus keeps it.
struct Scrapes {
    stream: TcpStream,
    address: String,
}

impl Scrapes {
    fn connect(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).context("cannot connect")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            address: address.to_owned(),
        })
    }

    fn page(&mut self) -> anyhow::Result<String> {
        write!(
            self.stream,
            "GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n",
            self.address
        )?;
        let mut answer = Vec::new();
        let mut bytes = [0; 16_384];
        loop {
            let end = answer.windows(4).position(|w| w == b"\r\n\r\n");
            if let Some(end) = end {
                let head = std::str::from_utf8(&answer[..end])?;
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("Content-Length: "));
                let length: usize = length.context("no length")?.parse()?;
                if answer.len() >= end + 4 + length {
                    anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
                    return Ok(String::from_utf8(answer.split_off(end + 4))?);
                }
            }
            match self.stream.read(&mut bytes)? {
                0 => bail!("closed after {} bytes", answer.len()),
                count => answer.extend_from_slice(&bytes[..count]),
            }
        }
    }
}
