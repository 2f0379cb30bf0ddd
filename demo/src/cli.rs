//! The command line of `looptop-demo`, also for a program that runs the lab in a
//! child process.

use std::io::Write;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    bench, listing, registry,
    scenario::{Flavor, Mode},
    serve::{self, ServeOptions},
};

/// The starvation lab: the classic mistakes that starve a tokio event loop, and
/// their cures.
#[derive(Debug, Parser)]
#[command(name = "looptop-demo", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show every scenario and what must be found in it
    List {
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        format: ListFormat,
    },
    /// Run a scenario: service, load and canary
    Serve(ServeArgs),
    /// Measure the tables of the source notes again, on this machine
    Bench(BenchArgs),
    /// One way of `bench`, in a process of its own
    #[command(hide = true)]
    BenchPart {
        way: bench::Part,
        url: String,
        requests: usize,
    },
}

/// How results are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// How the scenarios are listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum ListFormat {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
    /// `docs/scenarios.md`: a table, then both twins of each scenario.
    Markdown,
}

/// Options of `bench`.
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Only this table
    #[arg(long, value_name = "TABLE")]
    pub only: Option<String>,
    /// A small part of the work, to see that it works
    #[arg(long)]
    pub quick: bool,
}

/// Options of `serve`.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// Scenario to begin with; `list` names them all
    #[arg(long, default_value = "sleep-in-handler")]
    pub scenario: String,
    /// Twin to begin with: broken, fixed or off
    #[arg(long, default_value = "broken")]
    pub mode: String,
    /// HTTP port on loopback; 0 takes a free one and prints it
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// Workers of the observed runtime; by default what the scenario needs,
    /// mostly 2
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub workers: Option<u16>,
    /// Flavour of the observed runtime: multi-thread or current-thread
    #[arg(long, default_value = "multi-thread")]
    pub flavor: String,
    /// Seed of the load
    #[arg(long, default_value_t = serve::DEFAULT_SEED)]
    pub seed: u64,
    /// End with the parent process and with standard input
    #[arg(long, hide = true)]
    pub exit_with_parent: bool,
}

impl TryFrom<ServeArgs> for ServeOptions {
    type Error = registry::Unknown;

    fn try_from(args: ServeArgs) -> Result<Self, Self::Error> {
        Ok(ServeOptions {
            scenario: registry::find(&args.scenario)?.id.to_owned(),
            mode: args.mode.parse::<Mode>()?,
            port: args.port,
            workers: args.workers.map(usize::from),
            flavor: args.flavor.parse::<Flavor>()?,
            seed: args.seed,
            exit_with_parent: args.exit_with_parent,
        })
    }
}

/// Does what the command line says.
///
/// # Errors
///
/// An unknown name, with the nearest one, or what kept the command from its
/// work.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::List { format } => {
            let text = match format {
                ListFormat::Text => listing::table(),
                ListFormat::Json => listing::json()? + "\n",
                ListFormat::Markdown => listing::document(),
            };
            std::io::stdout().lock().write_all(text.as_bytes())?;
            Ok(())
        }
        Command::Serve(args) => serve::serve(&args.try_into()?),
        Command::Bench(args) => measure(&args),
        Command::BenchPart { way, url, requests } => {
            let spent = bench::part(way, &url, requests)?;
            println!("{spent}");
            Ok(())
        }
    }
}

fn measure(args: &BenchArgs) -> anyhow::Result<()> {
    let scale = if args.quick {
        bench::Scale::Quick
    } else {
        bench::Scale::Full
    };
    let mut out = std::io::stdout().lock();
    let mut written = Ok(());
    let tables = bench::run(scale, args.only.as_deref(), |table| {
        if args.format == Format::Text && written.is_ok() {
            written = writeln!(out, "{}", bench::text(table));
        }
    })?;
    written?;
    if args.format == Format::Json {
        writeln!(out, "{}", serde_json::to_string_pretty(&tables)?)?;
    }
    Ok(())
}
