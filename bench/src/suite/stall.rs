//! How soon a viewer at 10 Hz receives the first message that shows a stall.

use std::{thread::sleep, time::Duration};

use anyhow::Context;

use super::{Bench, http::viewer};
use crate::{
    configuration::{Configuration, Protocol},
    metric::Metric,
};

const PATIENCE: Duration = Duration::from_secs(30);
/// A stall that a viewer dates this close to the real one is that one, ns.
const SAME: i128 = 100_000_000;

pub(super) fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    for configuration in bench.peers(0) {
        for (metric, churn) in [(Metric::Stall, 0), (Metric::StallChurn, 1_000)] {
            eprint!(".");
            let Some(protocol) = configuration.viewer() else {
                let note = match configuration {
                    Configuration::Dial9 => "never live: a trace file, read afterwards",
                    _ => "never",
                };
                bench.samples.note(metric, configuration, note.to_owned());
                continue;
            };
            let outcome = run(bench, configuration, protocol, metric, churn);
            bench.settle("stall", configuration, outcome);
        }
    }
    Ok(())
}

fn run(
    bench: &mut Bench,
    configuration: Configuration,
    protocol: Protocol,
    metric: Metric,
    churn: u64,
) -> anyhow::Result<()> {
    let gap = Duration::from_millis(bench.plan.stall_gap_millis);
    let (program, address) = bench.observed_program(configuration)?;
    let mut program = program
        .environment("TOKIO_CONSOLE_PUBLISH_INTERVAL", "100ms")
        .argument("stall")
        .option("stalls", bench.plan.stalls)
        .option("gap-ms", gap.as_millis())
        .option("churn", churn)
        .start()?;
    let viewer = viewer(protocol, &address)?.start()?;
    viewer.wait_for("attached", PATIENCE)?;
    sleep(Duration::from_millis(bench.plan.stall_lead_millis));
    // Now it may begin.
    program.dismiss();
    let mut begun = Vec::new();
    for _ in 0..bench.plan.stalls {
        let instant = program.wait_for("stall", PATIENCE + gap)?;
        begun.push(instant.parse::<i128>()?);
    }
    sleep(gap.mul_f64(0.9));
    let results = viewer.finish(PATIENCE)?;
    let sightings = results.all("seen").iter().map(|line| Sighting::parse(line));
    let sightings = sightings.collect::<anyhow::Result<Vec<_>>>()?;

    let mut live = 0;
    let mut seen = 0;
    for (round, &begin) in begun.iter().enumerate() {
        let of_this = |s: &&Sighting| s.shows(begin, protocol, gap);
        if let Some(sighting) = sightings.iter().find(of_this) {
            seen += 1;
            live += usize::from(sighting.live);
            let delay = (sighting.received - begin) as f64 / 1e6;
            bench.push(metric, configuration, round, delay);
        }
    }
    let warning = match protocol {
        Protocol::Looptop => "",
        Protocol::Console => "; figures only, no warning",
    };
    let note = format!("{seen} of {}, {live} live{warning}", begun.len());
    bench.samples.note(metric, configuration, note);
    Ok(())
}

/// A viewer saw a stall. Instants are on the system's monotonic clock, ns.
struct Sighting {
    live: bool,
    received: i128,
    began: i128,
}

impl Sighting {
    /// `HOW WHEN BEGAN`
    fn parse(line: &str) -> anyhow::Result<Self> {
        let mut words = line.split(' ');
        let mut next = || words.next().with_context(|| format!("cut short: {line:?}"));
        Ok(Self {
            live: next()? == "live",
            received: next()?.parse()?,
            began: next()?.parse()?,
        })
    }

    /// console-subscriber does not date what it shows afterwards: whatever
    /// comes before the next stall is about this one.
    fn shows(&self, begin: i128, protocol: Protocol, gap: Duration) -> bool {
        if self.received < begin {
            return false;
        }
        let dated = (self.began - begin).abs() < SAME;
        let before_next = self.received - begin < gap.as_nanos() as i128;
        dated || (protocol == Protocol::Console && !self.live && before_next)
    }
}
