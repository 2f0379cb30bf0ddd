//! Memory under a stream of short tasks. Long runs, but light ones: the
//! configurations run side by side, except where one alone fills the machine.

use std::time::Duration;

use super::Bench;
use crate::{child::Running, configuration::Configuration, metric::Metric};

struct Rate {
    per_second: u64,
    memory: Metric,
    cpu: Metric,
}

const RATES: [Rate; 2] = [
    Rate {
        per_second: 1_000,
        memory: Metric::Churn1k,
        cpu: Metric::Churn1kCpu,
    },
    Rate {
        per_second: 20_000,
        memory: Metric::Churn20k,
        cpu: Metric::Churn20kCpu,
    },
];

pub(super) fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    for rate in &RATES {
        eprint!(".");
        let heavy = |c: &Configuration| *c == Configuration::Console && rate.per_second > 1_000;
        let all = bench.peers(0);
        let (alone, together): (Vec<_>, Vec<_>) = all.into_iter().partition(heavy);
        for configuration in alone {
            side_by_side(bench, &[configuration], rate);
        }
        side_by_side(bench, &together, rate);
    }
    Ok(())
}

fn side_by_side(bench: &mut Bench, configurations: &[Configuration], rate: &Rate) {
    let started: Vec<_> = configurations
        .iter()
        .map(|&configuration| (configuration, start(bench, configuration, rate)))
        .collect();
    for (configuration, running) in started {
        let outcome = running.and_then(|running| keep(bench, configuration, rate, running));
        bench.settle("memory under churn", configuration, outcome);
    }
}

fn start(bench: &Bench, configuration: Configuration, rate: &Rate) -> anyhow::Result<Running> {
    bench
        .program(configuration)?
        .argument("churn")
        .option("rate", rate.per_second)
        .option("seconds", bench.plan.churn_seconds)
        .option("cap-mb", bench.plan.cap_megabytes)
        .start()
}

fn keep(
    bench: &mut Bench,
    configuration: Configuration,
    rate: &Rate,
    running: Running,
) -> anyhow::Result<()> {
    let planned = bench.plan.churn_seconds as f64;
    let patience = Duration::from_secs(bench.plan.churn_seconds + 60);
    let results = running.finish(patience)?;
    let (lasted, spawned) = (results.get("seconds")?, results.get("spawned")?);
    let megabytes = results.get("resident_bytes")? / f64::from(1 << 20);
    bench.push(rate.memory, configuration, 0, megabytes);
    let cpu = results.get("cpu_ns_per_spawn")? / 1e3;
    bench.push(rate.cpu, configuration, 0, cpu);
    if lasted < planned * 0.95 {
        let note = format!("stopped after {lasted:.0} s and {spawned:.0} tasks");
        bench.samples.note(rate.memory, configuration, note);
    } else if spawned < planned * rate.per_second as f64 * 0.9 {
        let note = format!("kept up with {:.0} spawns/s only", spawned / lasted);
        bench.samples.note(rate.memory, configuration, note);
    }
    Ok(())
}
