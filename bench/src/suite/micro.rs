//! Nanoseconds per spawn, poll and wake: a process per configuration and round,
//! in turns.

use super::Bench;
use crate::{configuration::Configuration, metric::Metric};

/// With one worker every cost falls on the thread that is timed; with two,
/// sharing between the workers shows as well.
const RUNS: &[(usize, &[(&str, Metric)])] = &[
    (
        1,
        &[
            ("spawn_one", Metric::SpawnOne),
            ("spawn_1000", Metric::Spawn1000),
            ("yield_1", Metric::Yield1),
            ("yield_16", Metric::Yield16),
            ("yield_4000", Metric::Yield4000),
            ("notify", Metric::Notify),
            ("mpsc", Metric::Mpsc),
        ],
    ),
    (
        2,
        &[
            ("spawn_1000", Metric::Spawn1000TwoWorkers),
            ("yield_16", Metric::Yield16TwoWorkers),
        ],
    ),
];

pub(super) fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    for round in 0..bench.plan.micro_rounds {
        eprint!(".");
        for (workers, kernels) in RUNS {
            for configuration in bench.all(round) {
                let outcome = run(bench, configuration, round, *workers, kernels);
                bench.settle("micro", configuration, outcome);
            }
        }
    }
    Ok(())
}

fn run(
    bench: &mut Bench,
    configuration: Configuration,
    round: usize,
    workers: usize,
    kernels: &[(&str, Metric)],
) -> anyhow::Result<()> {
    let names: Vec<&str> = kernels.iter().map(|(name, _)| *name).collect();
    let results = bench
        .program(configuration)?
        .argument("micro")
        .option("millis", bench.plan.micro_millis)
        .option("workers", workers)
        .option("only", names.join(","))
        .results()?;
    for (name, metric) in kernels {
        bench.push(*metric, configuration, round, results.get(name)?);
    }
    Ok(())
}
