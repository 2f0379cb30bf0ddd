//! The command line.

#![allow(clippy::doc_markdown, reason = "help texts are no Markdown")]

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::{
    app::{ColumnChoice, SourceMap, bindings::Keymap},
    diagnose::Severity,
    dump::Format as DumpFormat,
    export::{Format as ExportFormat, Table as ExportTable},
    record::segments::ByteSize,
    report::{Allow, Format},
    source::Speed,
};

/// See, live, what starves a tokio event loop.
///
/// Without a command: attach to a running application and show it.
#[derive(Debug, Parser)]
#[command(
    name = "looptop",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_precedence_over_arg = true
)]
pub struct Cli {
    /// What to do; without it, attach to TARGET.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Options of attaching.
    #[command(flatten)]
    pub attach: Attach,
}

/// The target and the screen.
#[derive(Debug, Clone, Args)]
pub struct Attach {
    /// host:port, URL, unix:PATH, pid:N, core:FILE, or a recording; of several, a row each: one after another, @FILE with one on each line, dns:NAME:PORT for all addresses of a name [default: http://127.0.0.1:6669; where nothing listens there, what runs on this machine]
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
    /// All that `looptop ls` finds on this machine, a row each
    #[arg(long, conflicts_with = "targets")]
    pub all: bool,
    /// The screen's options.
    #[command(flatten)]
    pub screen: Screen,
}

/// How the screen looks.
#[derive(Debug, Clone, Default, Args)]
pub struct Screen {
    /// Colours: as the terminal can, always, or never (as with `NO_COLOR`)
    #[arg(long, value_enum, default_value_t, help_heading = "Screen")]
    pub color: ColorChoice,
    /// ASCII characters only
    #[arg(long, help_heading = "Screen")]
    pub ascii: bool,
    /// Leave the mouse to the terminal
    #[arg(long, help_heading = "Screen")]
    pub no_mouse: bool,
    /// Theme: colour-blind, dark, light, high-contrast, or a file (TOML)
    #[arg(long, value_name = "NAME|FILE", help_heading = "Screen")]
    pub theme: Option<PathBuf>,
    /// Columns of the tables; in the configuration alone.
    #[arg(skip)]
    pub columns: ColumnChoice,
    /// The editor; in the configuration alone.
    #[arg(skip)]
    pub editing: Editing,
    /// Keys of actions; in the configuration alone.
    #[arg(skip)]
    pub keys: Keymap,
}

/// What opens a line of source code, and where the files are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Editing {
    /// The command; `$VISUAL` or `$EDITOR` without it.
    pub editor: Option<String>,
    /// Whether it has a window of its own, or the terminal; by its name without it.
    pub editor_window: Option<bool>,
    /// Folders of other machines.
    pub source_map: Vec<SourceMap>,
    /// Whether places on the screen are links of the terminal.
    pub links: LinkChoice,
}

/// When places on the screen are links of the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkChoice {
    /// Where the terminal is known to have them.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// When to use colours.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    clap::ValueEnum,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum ColorChoice {
    /// As the terminal can, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the starvation lab in a child process and attach to it
    #[cfg(feature = "demo")]
    Demo(Demo),
    /// Start a program as a child and look at it; its exit code is passed on
    Run(Run),
    /// Observe without a screen and report; exit 0 clean, 1 findings, 2 usage, 3 could not attach or nothing observed
    Check(Check),
    /// Print where every task waits, for what, and who could end that, once
    Dump(Dump),
    /// Record a target to a file, until its duration is over or Ctrl-C
    Record(Record),
    /// Show a recording as if it were live
    Replay(Replay),
    /// Turn a recording, or what a target does for a while, into a trace, a flame graph, a profile or a table
    Export(Export),
    /// Answer an assistant by the Model Context Protocol, on standard input and output
    #[cfg(feature = "mcp")]
    Mcp(Mcp),
    /// Explain a rule, or list them all
    Explain {
        /// A rule; without it, all of them
        rule: Option<String>,
    },
    /// List the tokio programs on this machine, and which of them can be attached to
    Ls,
    /// Show where the configuration is, what it says, or whether it can be used
    Config {
        /// path, print or check
        #[arg(value_enum)]
        action: ConfigAction,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
    /// The lab, as the child process of `demo`
    #[cfg(feature = "demo")]
    #[command(hide = true)]
    Lab(looptop_demo::cli::ServeArgs),
}

/// What to do with the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ConfigAction {
    /// Print the path of the file
    Path,
    /// Print the configuration in force
    Print,
    /// Say whether the file can be used
    Check,
}

/// Options of `demo`.
#[cfg(feature = "demo")]
#[derive(Debug, Clone, Args)]
pub struct Demo {
    /// Scenario to begin with [default: sleep-in-handler]; `looptop-demo list` shows all
    pub scenario: Option<String>,
    /// The mistake, or its cure
    #[arg(long, default_value = "broken", value_name = "broken|fixed")]
    pub mode: String,
    /// Workers of the observed runtime [default: what the scenario needs, mostly 2]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub workers: Option<u16>,
    /// Flavour of the observed runtime
    #[arg(
        long,
        default_value = "multi-thread",
        value_name = "multi-thread|current-thread"
    )]
    pub flavor: String,
    /// The screen's options.
    #[command(flatten)]
    pub screen: Screen,
}

/// Options of `run`.
#[derive(Debug, Clone, Args)]
pub struct Run {
    /// Where its standard output and error go; overwritten [default: a new file in the directory for temporary files, named when it has ended]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// What it reads as standard input [default: nothing]
    #[arg(short, long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Leave it running when the screen is left; otherwise it is asked to end (SIGTERM), and killed after 5 s
    #[arg(long)]
    pub keep: bool,
    /// The screen's options.
    #[command(flatten)]
    pub screen: Screen,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// Options of `check`.
#[derive(Debug, Clone, Args)]
pub struct Check {
    /// host:port, URL, unix:PATH, pid:N, core:FILE, or a recording; several at once: one after another, @FILE with one on each line, dns:NAME:PORT for all addresses of a name [default: http://127.0.0.1:6669]
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
    /// All that `looptop ls` finds on this machine
    #[arg(long, conflicts_with = "targets")]
    pub all: bool,
    /// How long to observe, after the warm-up [default: 10s; of a recording, all of it]
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub window: Option<Duration>,
    /// How long to let the application settle first
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    pub warmup: Duration,
    /// How to print the report
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Exit with 1 from this severity on: notice, warning or critical
    #[arg(long, value_name = "SEVERITY", default_value = "warning")]
    pub fail_on: Severity,
    /// Findings that do not count: RULE or RULE=LOCATION; may be repeated
    #[arg(long, value_name = "RULE[=LOCATION]")]
    pub allow: Vec<Allow>,
    /// Findings that are known and do not count: a file of --write-baseline
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Write what is found to a file, to be known from then on; exit 0 whatever is found, without --baseline
    #[arg(long, value_name = "FILE")]
    pub write_baseline: Option<PathBuf>,
    /// How long to try to attach
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
}

/// Options of `dump`.
#[derive(Debug, Clone, Args)]
pub struct Dump {
    /// host:port, URL, unix:PATH, pid:N, core:FILE, or a recording, of which the end is shown [default: http://127.0.0.1:6669]
    pub target: Option<String>,
    /// Further targets, which are refused with a sentence.
    #[arg(hide = true)]
    pub more: Vec<String>,
    /// How to print it
    #[arg(long, value_enum, default_value_t = DumpFormat::Text)]
    pub format: DumpFormat,
    /// How long to read at most: it ends as soon as all tasks were read, and a file is read to its end
    #[arg(long = "for", value_name = "DURATION", default_value = "30s", value_parser = some_time)]
    pub window: Duration,
    /// How long to try to attach
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
}

/// Options of `record`.
#[derive(Debug, Clone, Args)]
pub struct Record {
    /// host:port, URL, unix:PATH, pid:N, core:FILE, or a recording [default: http://127.0.0.1:6669]
    pub target: Option<String>,
    /// Further targets, which are refused with a sentence.
    #[arg(hide = true)]
    pub more: Vec<String>,
    /// Where to; with --last or --max-bytes a directory, otherwise a file
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// How long [default: until Ctrl-C]
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub window: Option<Duration>,
    /// Record for ever, and keep the last of it in a ring of files
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub last: Option<Duration>,
    /// Record for ever, and keep as much as fits: 64M, 2G
    #[arg(long, value_name = "SIZE")]
    pub max_bytes: Option<ByteSize>,
    /// Leave out the names and fields of tasks
    #[arg(long)]
    pub redact: bool,
    /// Overwrite FILE
    #[arg(long, conflicts_with_all = ["last", "max_bytes"])]
    pub force: bool,
    /// How long to try to attach
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
}

/// Options of `replay`.
#[derive(Debug, Clone, Args)]
pub struct Replay {
    /// A recording, or the directory of `record --last`
    pub file: PathBuf,
    /// How fast, from 0.1 to 100
    #[arg(long, value_name = "TIMES", default_value_t)]
    pub speed: Speed,
    /// The screen's options.
    #[command(flatten)]
    pub screen: Screen,
}

/// Options of `export`.
#[derive(Debug, Clone, Args)]
pub struct Export {
    /// A recording, the directory of `record --last`, or a target that is recorded first: host:port, URL, unix:PATH, pid:N
    pub file: PathBuf,
    /// What to turn it into
    #[arg(long, value_enum)]
    pub format: ExportFormat,
    /// Which table, of CSV
    #[arg(long, value_enum, default_value_t)]
    pub table: ExportTable,
    /// Where to [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// How long a target is recorded
    #[arg(long = "for", value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    pub window: Duration,
    /// Overwrite the output
    #[arg(long)]
    pub force: bool,
}

/// Options of `mcp`.
#[cfg(feature = "mcp")]
#[derive(Debug, Clone, Args)]
pub struct Mcp {
    /// What a call is about that names no target: host:port, URL, unix:PATH, pid:N, core:FILE, or a recording [default: http://127.0.0.1:6669; where nothing listens there, the only program of this machine]
    pub target: Option<String>,
    /// Further targets, which are refused with a sentence.
    #[arg(hide = true)]
    pub more: Vec<String>,
}

/// Where a target is looked for by default.
pub const DEFAULT_TARGET: &str = "http://127.0.0.1:6669";

/// The completion script of `shell`.
pub fn completions(shell: clap_complete::Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "looptop", &mut script);
    script
}

/// The manual page, in roff.
pub fn man() -> std::io::Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page)?;
    Ok(page)
}

/// A duration that is not 0.
fn some_time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("nothing can be read in no time; leave it out, or give it \
                                   some, such as 10s"
            .to_owned()),
        parsed => parsed.map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help() {
        insta::assert_snapshot!(Cli::command().term_width(100).render_long_help());
        let mut command = Cli::command().term_width(100);
        let check = command.find_subcommand_mut("check").unwrap();
        insta::assert_snapshot!("help_check", check.render_long_help());
        let run = command.find_subcommand_mut("run").unwrap();
        insta::assert_snapshot!("help_run", run.render_long_help());
    }

    #[test]
    fn a_misspelt_option_is_answered_with_the_nearest() {
        for (args, hint) in [
            (&["looptop", "check", "--formt", "json"][..], "--format"),
            (&["looptop", "check", "--format", "jsn"], "'json'"),
            (
                &["looptop", "check", "--allow", "blocked-wroker"],
                "'blocked-worker'",
            ),
        ] {
            let error = Cli::try_parse_from(args).unwrap_err().to_string();
            assert!(error.contains(hint), "{args:?}: {error}");
        }
    }

    #[test]
    fn what_stands_behind_the_program_is_the_programs() {
        for args in [
            &[
                "looptop", "run", "--keep", "--", "app", "--output", "--", "-x",
            ][..],
            &["looptop", "run", "--keep", "app", "--output", "--", "-x"],
        ] {
            let Some(Command::Run(run)) = Cli::try_parse_from(args).unwrap().command else {
                panic!("another command");
            };
            assert!(run.keep && run.output.is_none());
            assert_eq!(run.command, ["app", "--output", "--", "-x"], "{args:?}");
        }
        assert!(Cli::try_parse_from(["looptop", "run"]).is_err());
    }

    #[test]
    fn a_target_needs_no_command() {
        let cli = Cli::try_parse_from(["looptop", "127.0.0.1:7000", "--ascii"]).unwrap();
        assert_eq!(cli.attach.targets, ["127.0.0.1:7000"]);
        assert!(cli.command.is_none() && cli.attach.screen.ascii);
    }
}
