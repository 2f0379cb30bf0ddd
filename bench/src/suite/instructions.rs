//! Instructions per poll, wake and spawn, counted by callgrind: they repeat,
//! whatever else the machine does.

use super::Bench;
use crate::{callgrind, configuration::Configuration, metric::Metric};

const OPERATIONS: [(&str, Metric); 3] = [
    ("poll", Metric::InstructionsPoll),
    ("wake", Metric::InstructionsWake),
    ("spawn", Metric::InstructionsSpawn),
];

pub(super) fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    if !callgrind::is_installed() {
        eprint!(" skipped: there is no valgrind");
        for (_, metric) in OPERATIONS {
            for configuration in bench.all(0) {
                let note = "no valgrind on this machine".to_owned();
                bench.samples.note(metric, configuration, note);
            }
        }
        return Ok(());
    }
    for configuration in bench.all(0) {
        for (operation, metric) in OPERATIONS {
            eprint!(".");
            let outcome = run(bench, configuration, operation, metric);
            bench.settle("instructions", configuration, outcome);
        }
    }
    Ok(())
}

/// The difference of two runs: what happens once, at the start and at the end,
/// cancels out.
fn run(
    bench: &mut Bench,
    configuration: Configuration,
    operation: &str,
    metric: Metric,
) -> anyhow::Result<()> {
    let few = bench.plan.instructions;
    let count = |times: usize| {
        let binary = bench.builds.path(configuration);
        let (valgrind, _) = bench.environment(callgrind::program(), configuration)?;
        callgrind::count(valgrind, &binary, &bench.scratch, operation, times)
    };
    let (more, less) = (count(3 * few)?, count(few)?);
    let each = |more: f64, less: f64| (more - less) / (2 * few) as f64;
    bench.push(metric, configuration, 0, each(more.all, less.all));
    if operation == "spawn" {
        let own = each(more.own, less.own);
        bench.push(Metric::InstructionsSpawnOwn, configuration, 0, own);
    }
    Ok(())
}
