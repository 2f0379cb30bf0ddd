//! The sections of the suite, each of which runs every configuration in turns.

mod churn;
mod http;
mod idle;
mod instructions;
mod micro;
mod plan;
mod scrape;
mod stall;

use std::{
    fs,
    net::TcpListener,
    path::PathBuf,
    time::{Instant, SystemTime},
};

use crate::{
    builds::Builds,
    child::Program,
    configuration::Configuration,
    machine::{Machine, load_average},
    metric::Metric,
    options::{RunOptions, Section},
    report::{self, Report},
    samples::{Samples, Spread},
};
use plan::Plan;

/// Everything that a section needs.
struct Bench {
    builds: Builds,
    configurations: Vec<Configuration>,
    plan: Plan,
    samples: Samples,
    /// Share of a CPU that the load generator used, by run.
    generator_busy: Vec<f64>,
    /// What could not be measured, and why.
    failures: Vec<String>,
    /// For whatever a configuration writes; emptied after each run.
    scratch: PathBuf,
}

/// Builds, measures, reports.
pub(crate) fn run(options: &RunOptions) -> anyhow::Result<()> {
    let configurations = options.chosen();
    let begin = Instant::now();
    let builds = Builds::make(&configurations)?;
    let building = begin.elapsed();
    let output = options.output()?;
    let scratch = output.join("scratch");
    fs::create_dir_all(&scratch)?;
    let mut bench = Bench {
        builds,
        configurations,
        plan: Plan::of(options),
        samples: Samples::default(),
        generator_busy: Vec::new(),
        failures: Vec::new(),
        scratch,
    };
    let unix_time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let load_before = load_average();
    let begin = Instant::now();
    for (section, measure) in SECTIONS {
        if options.has(*section) {
            let begin = Instant::now();
            eprint!("{section:?}");
            measure(&mut bench)?;
            eprintln!(" {:.0} s", begin.elapsed().as_secs_f64());
        }
    }
    fs::remove_dir_all(&bench.scratch)?;
    let report = Report {
        machine: Machine::describe(),
        load: (load_before, load_average()),
        smoke: options.smoke,
        unix_time: unix_time.as_secs(),
        building,
        measuring: begin.elapsed(),
        configurations: bench.configurations,
        plan: bench.plan.describe(),
        samples: bench.samples,
        generator_busy: Spread::of(bench.generator_busy),
        failures: bench.failures,
    };
    report::write(&report, &output)?;
    anyhow::ensure!(
        report.failures.is_empty(),
        "{} measurements failed",
        report.failures.len()
    );
    Ok(())
}

type Measure = fn(&mut Bench) -> anyhow::Result<()>;

const SECTIONS: &[(Section, Measure)] = &[
    (Section::Micro, micro::measure),
    (Section::Http, http::measure),
    (Section::Idle, idle::measure),
    (Section::Churn, churn::measure),
    (Section::Stall, stall::measure),
    (Section::Scrape, scrape::measure),
    (Section::Instructions, instructions::measure),
];

impl Bench {
    /// All configurations, in an order that differs from round to round, so that
    /// none always follows the same other.
    fn all(&self, round: usize) -> Vec<Configuration> {
        let mut order = self.configurations.clone();
        let shift = round % order.len();
        order.rotate_left(shift);
        order
    }

    /// As [`all`](Self::all), without the controls: for what takes long.
    fn peers(&self, round: usize) -> Vec<Configuration> {
        let mut order = self.all(round);
        order.retain(|configuration| !configuration.is_control());
        order
    }

    /// A run of a configuration that nobody watches.
    fn program(&self, configuration: Configuration) -> anyhow::Result<Program> {
        Ok(self.observed_program(configuration)?.0)
    }

    /// A run of a configuration, and where a viewer finds it.
    fn observed_program(&self, configuration: Configuration) -> anyhow::Result<(Program, String)> {
        let binary = Program::new(&self.builds.path(configuration));
        self.environment(binary, configuration)
    }

    /// What the observers take from the environment: an address of their own,
    /// and an empty directory.
    fn environment(
        &self,
        program: Program,
        configuration: Configuration,
    ) -> anyhow::Result<(Program, String)> {
        let traces = self.scratch.join(configuration.name());
        if traces.exists() {
            fs::remove_dir_all(&traces)?;
        }
        fs::create_dir_all(&traces)?;
        let address = free_address()?;
        let program = program
            .environment("LOOPTOP_BIND", &address)
            .environment("TOKIO_CONSOLE_BIND", &address)
            .environment("BENCH_TRACE_DIR", traces);
        Ok((program, address))
    }

    fn push(&mut self, metric: Metric, configuration: Configuration, round: usize, value: f64) {
        self.samples.push(metric, configuration, round, value);
    }

    /// Notes a failure, and goes on with the others.
    fn settle(&mut self, what: &str, configuration: Configuration, outcome: anyhow::Result<()>) {
        if let Err(error) = outcome {
            let failure = format!("{what}, {configuration}: {error:#}");
            eprintln!("\n{failure}");
            self.failures.push(failure);
        }
    }
}

/// A port of the loopback interface that was free a moment ago.
fn free_address() -> anyhow::Result<String> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    Ok(listener.local_addr()?.to_string())
}
