//! Memory of tasks that wait.

use super::Bench;
use crate::{configuration::Configuration, metric::Metric};

pub(super) fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    let sizes = bench.plan.idle_tasks;
    for round in 0..bench.plan.idle_rounds {
        for (tasks, metric) in [(sizes[0], Metric::Idle10k), (sizes[1], Metric::Idle100k)] {
            eprint!(".");
            for configuration in bench.all(round) {
                let outcome = run(bench, configuration, round, tasks, metric);
                bench.settle("memory of waiting tasks", configuration, outcome);
            }
        }
    }
    Ok(())
}

fn run(
    bench: &mut Bench,
    configuration: Configuration,
    round: usize,
    tasks: u64,
    metric: Metric,
) -> anyhow::Result<()> {
    let cap = bench.plan.cap_megabytes;
    let results = bench
        .program(configuration)?
        .argument("idle")
        .option("tasks", tasks)
        .option("cap-mb", cap)
        .results()?;
    bench.push(metric, configuration, round, results.get("bytes_per_task")?);
    let spawned = results.get("tasks")?;
    if spawned < tasks as f64 {
        let note = format!("stopped at {spawned:.0} tasks and {cap} MB");
        bench.samples.note(metric, configuration, note);
    }
    Ok(())
}
