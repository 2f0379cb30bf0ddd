//! The command line.

use std::{fs, path::PathBuf};

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    configuration::Configuration, load::LoadOptions, outside::Part, viewer::ViewerOptions,
};

/// Measure what it costs to be observed, beside the program that nobody watches.
#[derive(Parser)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// The load generator, started by the benchmark itself.
    #[command(hide = true)]
    Load(LoadOptions),
    /// A viewer without a screen, started by the benchmark itself.
    #[command(hide = true)]
    Viewer(ViewerOptions),
}

#[derive(Args)]
pub(crate) struct RunOptions {
    /// Everything tiny, to see that it still works. The figures mean nothing.
    #[arg(long)]
    pub(crate) smoke: bool,
    /// Only these configurations; `bare` is always among them.
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub(crate) configurations: Vec<Configuration>,
    /// Only these sections.
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub(crate) sections: Vec<Section>,
    /// Rounds of the interleaved measurements, instead of each section's own number.
    #[arg(long, value_name = "N")]
    pub(crate) rounds: Option<usize>,
    /// Measure looking at a program from outside instead, all of it or these parts.
    #[arg(long, value_delimiter = ',', value_name = "PARTS", num_args = 0.., require_equals = true)]
    pub(crate) outside: Option<Vec<Part>>,
    /// This looptop instead of one that is built, for what is measured of it from outside.
    #[arg(long, value_name = "PROGRAM", requires = "outside")]
    pub(crate) looptop: Option<PathBuf>,
    /// Where to write results.json and results.md.
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
}

/// A part of the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Section {
    /// ns per spawn, poll and wake.
    Micro,
    /// A loopback HTTP service under load.
    Http,
    /// Memory of waiting tasks.
    Idle,
    /// Memory under a stream of short tasks.
    Churn,
    /// How soon a stall is seen.
    Stall,
    /// What Prometheus costs that scrapes.
    Scrape,
    /// Instruction counts by callgrind.
    Instructions,
}

impl RunOptions {
    /// The directory for results.
    pub(crate) fn output(&self) -> anyhow::Result<PathBuf> {
        let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let output = self.output.clone();
        let output = output.unwrap_or_else(|| manifest.join("target/results"));
        fs::create_dir_all(&output)
            .with_context(|| format!("cannot create {}", output.display()))?;
        Ok(output)
    }

    pub(crate) fn has(&self, section: Section) -> bool {
        self.sections.is_empty() || self.sections.contains(&section)
    }

    /// In the order of the table, with `bare` to compare with.
    pub(crate) fn chosen(&self) -> Vec<Configuration> {
        let wanted = |c: &Configuration| {
            self.configurations.is_empty()
                || *c == Configuration::Bare
                || self.configurations.contains(c)
        };
        Configuration::ALL.into_iter().filter(wanted).collect()
    }
}
