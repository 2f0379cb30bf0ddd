//! What it takes to look at a program from outside, by the budgets of the outside view.
//!
//! The program is the one without an observer (`bare`). It is looked at by the library
//! (`looptop-outside`) where a figure is about one thing that it does, and by looptop
//! itself where it is about all of it.

mod churn;
mod heap;
mod listing;
mod look;
mod looptop;
mod plan;
mod report;
mod requests;
mod screen;
mod stalls;
mod stops;
mod threads;

use std::{fs, path::PathBuf, time::Duration};

use anyhow::Context;
use clap::ValueEnum;

use self::{
    plan::Plan,
    report::{Limit, Report, Row},
};
use crate::{
    builds::Builds,
    child::Program,
    configuration::Configuration,
    machine::{Machine, load_average},
    options::RunOptions,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A part of what is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Listing many tasks, with the screen and without.
    Listing,
    /// How soon a stall is on the screen.
    Stalls,
    /// Looking at threads.
    Threads,
    /// The search of a large heap.
    Heap,
    /// What stands still for it.
    Stops,
    /// Requests of an HTTP service that is looked at.
    Requests,
    /// Lists of tasks that come and go.
    Churn,
}

type Measure = fn(&mut Outside) -> anyhow::Result<()>;

const PARTS: &[(Part, Measure)] = &[
    (Part::Listing, listing::measure),
    (Part::Stalls, stalls::measure),
    (Part::Threads, threads::measure),
    (Part::Heap, heap::measure),
    (Part::Stops, stops::measure),
    (Part::Requests, requests::measure),
    (Part::Churn, churn::measure),
];

/// Everything that a part needs.
struct Outside {
    builds: Builds,
    looptop: PathBuf,
    plan: Plan,
    /// For what looptop writes.
    scratch: PathBuf,
    rows: Vec<Row>,
}

/// Builds, measures, reports.
pub(crate) fn run(options: &RunOptions, parts: &[Part]) -> anyhow::Result<()> {
    let builds = Builds::make(&[Configuration::Bare])?;
    let looptop = match &options.looptop {
        Some(program) => fs::canonicalize(program)
            .with_context(|| format!("there is no {}", program.display()))?,
        None => looptop::build()?,
    };
    let output = options.output()?;
    let scratch = output.join("scratch");
    fs::create_dir_all(&scratch)?;
    let mut outside = Outside {
        builds,
        looptop,
        plan: Plan::of(options),
        scratch,
        rows: Vec::new(),
    };
    let load_before = load_average();
    let mut failures = Vec::new();
    for (part, measure) in PARTS {
        if parts.is_empty() || parts.contains(part) {
            eprintln!("{part:?}");
            if let Err(error) = measure(&mut outside) {
                eprintln!("{part:?}: {error:#}");
                failures.push(format!("{part:?}: {error:#}"));
            }
        }
    }
    fs::remove_dir_all(&outside.scratch)?;
    let report = Report {
        smoke: options.smoke,
        machine: Machine::describe(),
        load: (load_before, load_average()),
        rows: outside.rows,
        failures,
    };
    report.write(&output)?;
    anyhow::ensure!(
        report.failures.is_empty(),
        "{} parts could not be measured",
        report.failures.len()
    );
    Ok(())
}

impl Outside {
    /// A run of the program, to be completed.
    fn target(&self, workload: &str) -> Program {
        Program::new(&self.builds.path(Configuration::Bare)).argument(workload)
    }

    /// Keeps a row of the table, and shows it.
    fn row(&mut self, what: impl Into<String>, unit: &'static str, limit: Limit, values: Vec<f64>) {
        self.noted(what, unit, limit, values, "");
    }

    fn noted(
        &mut self,
        what: impl Into<String>,
        unit: &'static str,
        limit: Limit,
        values: Vec<f64>,
        note: impl Into<String>,
    ) {
        let row = Row {
            what: what.into(),
            unit,
            limit,
            values,
            note: note.into(),
        };
        eprintln!("  {}", row.line());
        self.rows.push(row);
    }
}
