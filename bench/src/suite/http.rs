//! A loopback HTTP service under load, with and without a viewer.

use std::time::Duration;

use super::Bench;
use crate::{
    child::{Program, Results, Running},
    configuration::{Configuration, Protocol},
    machine,
    metric::Metric,
};

/// The service and whatever observes it within its process share CPU 0, so that
/// all they cost is missing from the requests; load and viewer have CPU 1.
const TARGET_CPU: usize = 0;
const LOAD_CPU: usize = 1;

const PATIENCE: Duration = Duration::from_secs(30);
/// How often the viewer wants to hear.
const VIEWER_MILLIS: u64 = 100;

/// Rows of one kind of load.
struct Rows(&'static [(&'static str, Metric)]);

const PLAIN: Rows = Rows(&[
    ("requests_per_s", Metric::Requests),
    ("cpu_us_per_request", Metric::RequestCpu),
    ("p50_us", Metric::P50),
    ("p99_us", Metric::P99),
]);
const TASK: Rows = Rows(&[
    ("requests_per_s", Metric::RequestsTask),
    ("cpu_us_per_request", Metric::RequestCpuTask),
]);
const VIEWED: Rows = Rows(&[
    ("requests_per_s", Metric::RequestsViewed),
    ("cpu_us_per_request", Metric::RequestCpuViewed),
    ("p50_us", Metric::P50Viewed),
    ("p99_us", Metric::P99Viewed),
]);

pub(super) fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    for round in 0..bench.plan.http_rounds {
        eprint!(".");
        for configuration in bench.all(round) {
            let outcome = unwatched(bench, configuration, round);
            bench.settle("http", configuration, outcome);
            if let Some(protocol) = configuration.viewer()
                && !configuration.is_control()
            {
                let outcome = watched(bench, configuration, protocol, round);
                bench.settle("http with a viewer", configuration, outcome);
            }
        }
    }
    Ok(())
}

fn unwatched(bench: &mut Bench, configuration: Configuration, round: usize) -> anyhow::Result<()> {
    let service = service(bench.program(configuration)?).start()?;
    let port = service.wait_for("port", PATIENCE)?;
    let results = load(bench, &service, &port, "/")?;
    keep(bench, configuration, round, &PLAIN, &results)?;
    let results = load(bench, &service, &port, "/task")?;
    keep(bench, configuration, round, &TASK, &results)?;
    service.finish(PATIENCE)?;
    Ok(())
}

fn watched(
    bench: &mut Bench,
    configuration: Configuration,
    protocol: Protocol,
    round: usize,
) -> anyhow::Result<()> {
    let (program, address) = bench.observed_program(configuration)?;
    let interval = format!("{VIEWER_MILLIS}ms");
    let program = program.environment("TOKIO_CONSOLE_PUBLISH_INTERVAL", interval);
    let service = service(program).start()?;
    let port = service.wait_for("port", PATIENCE)?;
    let viewer = pinned(viewer(protocol, &address)?, LOAD_CPU).start()?;
    viewer.wait_for("attached", PATIENCE)?;
    let results = load(bench, &service, &port, "/")?;
    keep(bench, configuration, round, &VIEWED, &results)?;
    viewer.finish(PATIENCE)?;
    service.finish(PATIENCE)?;
    Ok(())
}

/// A viewer without a screen, at 10 Hz.
pub(super) fn viewer(protocol: Protocol, address: &str) -> anyhow::Result<Program> {
    Ok(Program::ourselves()?
        .argument("viewer")
        .argument(protocol.name())
        .option("address", address)
        .option("interval-ms", VIEWER_MILLIS))
}

fn service(program: Program) -> Program {
    pinned(program.argument("http").option("workers", 1), TARGET_CPU)
}

/// On a machine with one CPU there is nothing to choose.
fn pinned(program: Program, cpu: usize) -> Program {
    if machine::cpus() > cpu.max(LOAD_CPU) {
        program.option("cpu", cpu)
    } else {
        program
    }
}

fn load(bench: &Bench, service: &Running, port: &str, path: &str) -> anyhow::Result<Results> {
    let program = Program::ourselves()?
        .argument("load")
        .option("address", format!("127.0.0.1:{port}"))
        .option("path", path)
        .option("pid", service.pid())
        .option("connections", bench.plan.connections)
        .option("warmup-ms", bench.plan.http_warmup_millis)
        .option("millis", bench.plan.http_millis);
    pinned(program, LOAD_CPU).results()
}

fn keep(
    bench: &mut Bench,
    configuration: Configuration,
    round: usize,
    rows: &Rows,
    results: &Results,
) -> anyhow::Result<()> {
    for (name, metric) in rows.0 {
        bench.push(*metric, configuration, round, results.get(name)?);
    }
    let busy = results.get("generator_busy")?;
    bench.generator_busy.push(busy);
    Ok(())
}
