//! The command line.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

/// Attack looptop's programs at random, and check what must be true
///
/// Exit code 0: all was true; 1: something was not; 2: the run could not be made.
#[derive(Debug, Parser)]
#[command(name = "looptop-fire", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) options: Options,
}

/// Options of a run.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// How long; a round that has begun is brought to its end
    #[arg(long = "for", value_name = "DURATION", default_value = "2m", value_parser = humantime::parse_duration)]
    pub(crate) window: Duration,
    /// Where chance begins; a run of the same seed draws the same acts [default: a new one]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Add a line about the run to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// Only these acts; `looptop-fire acts` lists them
    #[arg(long, value_name = "ACT,...", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// How long all is left alone before it is checked
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    pub(crate) calm: Duration,
    /// End at the first finding of this check
    #[arg(long, value_name = "CHECK")]
    pub(crate) until_found: Option<String>,
    /// Where `looptop` and `looptop-demo` are [default: beside this program; where they are not, cargo builds them]
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) programs: Option<PathBuf>,
    /// The programs were built with planted defects, of which this one is switched on
    #[arg(long, value_name = "DEFECT", hide = true)]
    pub(crate) planted: Option<String>,
}

/// What else it does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the acts
    Acts,
    /// Build the programs with five planted defects, and see that each is found
    Planted(Planted),
    /// A program of tokio without an agent that becomes another one at SIGUSR1
    #[command(hide = true)]
    StandIn {
        /// What it becomes.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        then: Vec<OsString>,
    },
    /// Use up a CPU
    #[command(hide = true)]
    Spin {
        /// How long.
        #[arg(value_parser = humantime::parse_duration)]
        window: Duration,
    },
}

/// Options of `planted`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Planted {
    /// Within which each must be found
    #[arg(long = "for", value_name = "DURATION", default_value = "2m", value_parser = humantime::parse_duration)]
    pub(crate) window: Duration,
    /// Where chance begins [default: a new one]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Only these defects
    #[arg(long, value_name = "DEFECT,...", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// They were built before: use what is there
    #[arg(long)]
    pub(crate) built: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }
}
