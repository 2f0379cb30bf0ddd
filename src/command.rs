//! What each command does, and the exit codes.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Context;

use crate::{
    app::Lab,
    check::{self, CheckError, Checked},
    cli::{self, Attach, Check, Cli, Command, ConfigAction},
    config::{self, Config},
    diagnose,
    export::{self, command::ExportError},
    record::{self, command::RecordError},
    screen,
    source::{Pace, TargetError, processes},
};
#[cfg(feature = "demo")]
use crate::{lab_child, terminal};

/// `check` found something at or above `--fail-on`; elsewhere, a failure.
const FINDINGS: u8 = 1;
/// The command line or the configuration makes no sense.
const USAGE: u8 = 2;
/// Nothing could be attached to, or nothing was observed.
const NOT_OBSERVED: u8 = 3;

/// Runs the command and turns what happened into an exit code; errors go to
/// standard error as one sentence.
pub fn run(cli: Cli) -> ExitCode {
    match dispatch(cli) {
        Ok(code) => code,
        Err(error) => {
            let broken_pipe = |e: &io::Error| e.kind() == io::ErrorKind::BrokenPipe;
            if error.downcast_ref().is_some_and(broken_pipe) {
                return ExitCode::SUCCESS;
            }
            match process_meant(&error) {
                Some(process) => eprintln!("looptop: {error:#}; {process}"),
                None => eprintln!("looptop: {error:#}"),
            }
            ExitCode::from(code_of(&error))
        }
    }
}

/// What is wrong with the target that the user named, if that is what is wrong.
fn target_error(error: &anyhow::Error) -> Option<&TargetError> {
    match (error.downcast_ref(), error.downcast_ref()) {
        (Some(CheckError::Target(error)), _) | (_, Some(RecordError::Target(error))) => Some(error),
        _ => error.downcast_ref(),
    }
}

/// The process that was meant by a number too large for a port, as a sentence.
fn process_meant(error: &anyhow::Error) -> Option<String> {
    let number = target_error(error)?.number()?;
    runtime().ok()?.block_on(processes::with_id(number))
}

fn code_of(error: &anyhow::Error) -> u8 {
    match error.downcast_ref() {
        Some(CheckError::NotAttached(_) | CheckError::Gone(_)) => return NOT_OBSERVED,
        Some(CheckError::Target(_)) | None => {}
    }
    match error.downcast_ref() {
        Some(RecordError::NotAttached(_)) => return NOT_OBSERVED,
        Some(RecordError::Target(_) | RecordError::Write { .. }) | None => {}
    }
    let usage = error.is::<config::ConfigError>()
        || target_error(error).is_some()
        || error.is::<SeveralTargets>()
        || error.is::<UnknownRule>()
        || error.is::<UnknownCommand>();
    #[cfg(feature = "demo")]
    let usage = usage || error.is::<looptop_demo::Unknown>();
    if usage { USAGE } else { FINDINGS }
}

fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        None => attach(cli.attach),
        Some(Command::Check(check)) => run_check(check),
        #[cfg(feature = "demo")]
        Some(Command::Demo(demo)) => run_demo(demo),
        #[cfg(feature = "demo")]
        Some(Command::Lab(args)) => {
            looptop_demo::serve(&args.try_into()?)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Record(record)) => run_record(&record),
        Some(Command::Replay(replay)) => run_replay(replay),
        Some(Command::Export(options)) => {
            let remarks = export::command::export(&options).map_err(|error| match error {
                // A reader that has seen enough is no error.
                ExportError::Output(error) => error.into(),
                error => anyhow::Error::new(error),
            })?;
            for remark in remarks {
                eprintln!("looptop: {remark}");
            }
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Explain { rule }) => print(explain(rule.as_deref())?.as_bytes()),
        Some(Command::Ls) => print(runtime()?.block_on(processes::table()).as_bytes()),
        Some(Command::Config { action }) => run_config(action),
        Some(Command::Completions { shell }) => print(&cli::completions(shell)),
        Some(Command::Man) => print(&cli::man()?),
    }
}

fn print(bytes: &[u8]) -> anyhow::Result<ExitCode> {
    io::stdout().lock().write_all(bytes)?;
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("could not start the runtime")
}

fn attach(attach: Attach) -> anyhow::Result<ExitCode> {
    let config = config::load()?;
    if let Some(target) = &attach.target {
        is_no_command(target)?;
        one_target("looptop", target, &attach.more)?;
    }
    let name = attach.target.unwrap_or_else(|| config.target.clone());
    let target = name.parse()?;
    show(
        target,
        &name,
        &config.complete(attach.screen),
        None,
        Pace::default(),
    )
}

/// More targets than one.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{command}` attaches to one target at a time, and {} were given: {}; run it once for each",
    .targets.len(),
    .targets.join(" ")
)]
struct SeveralTargets {
    command: &'static str,
    targets: Vec<String>,
}

fn one_target(command: &'static str, first: &str, more: &[String]) -> Result<(), SeveralTargets> {
    if more.is_empty() {
        return Ok(());
    }
    let mut targets = vec![first.to_owned()];
    targets.extend_from_slice(more);
    Err(SeveralTargets { command, targets })
}

/// A misspelt command, which would be taken for the name of a host.
#[derive(Debug, thiserror::Error)]
#[error(
    "there is no command '{word}'; did you mean '{nearest}'? For a host of that name write '{word}:6669'"
)]
struct UnknownCommand {
    word: String,
    nearest: String,
}

/// How many letters may be wrong in a command.
const MISSPELT: usize = 2;

fn is_no_command(target: &str) -> Result<(), UnknownCommand> {
    if target == "localhost" || !target.chars().all(char::is_alphabetic) {
        return Ok(());
    }
    let cli = <Cli as clap::CommandFactory>::command();
    let commands = cli.get_subcommands().filter(|c| !c.is_hide_set());
    let distance = |name: &str| strsim::damerau_levenshtein(name, target);
    let nearest = commands
        .map(clap::Command::get_name)
        .min_by_key(|name| distance(name))
        .filter(|name| distance(name) <= MISSPELT && name.len() > MISSPELT);
    match nearest {
        None => Ok(()),
        Some(nearest) => Err(UnknownCommand {
            word: target.to_owned(),
            nearest: nearest.to_owned(),
        }),
    }
}

fn show(
    target: crate::source::Target,
    name: &str,
    screen: &cli::Screen,
    lab: Option<Lab>,
    pace: Pace,
) -> anyhow::Result<ExitCode> {
    let runtime = runtime()?;
    let shown = screen::show(target, name, screen, lab, pace, &runtime);
    // Threads that still look for symbols end with the process.
    runtime.shutdown_background();
    shown?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(feature = "demo")]
fn run_demo(demo: cli::Demo) -> anyhow::Result<ExitCode> {
    let config = config::load()?;
    let id = demo.scenario.as_deref();
    let scenario = looptop_demo::find(id.unwrap_or(lab_child::DEFAULT_SCENARIO))?;
    let mode: looptop_demo::Mode = demo.mode.parse()?;
    let _: looptop_demo::Flavor = demo.flavor.parse()?;
    terminal::check()?;
    let child = lab_child::LabChild::start(&demo, scenario.id)?;
    let lab = Lab {
        scenario: scenario.id.to_owned(),
        mode: mode.as_str().to_owned(),
        caption: scenario.caption.to_owned(),
    };
    let name = child.agent.to_string();
    let target = name.parse()?;
    let screen = config.complete(demo.screen);
    show(target, &name, &screen, Some(lab), Pace::default())
}

fn run_check(mut check: Check) -> anyhow::Result<ExitCode> {
    let config: Config = config::load()?;
    let target = check.target.get_or_insert(config.target);
    one_target("looptop check", target, &check.more)?;
    let runtime = runtime()?;
    let checked = runtime.block_on(check::check(&check));
    runtime.shutdown_background();
    let Checked { report, remarks } = checked?;
    for remark in remarks {
        eprintln!("looptop: {remark}");
    }
    print(report.render(check.format).as_bytes())?;
    Ok(ExitCode::from(if report.fails(check.fail_on) {
        FINDINGS
    } else if report.is_observed() {
        0
    } else {
        NOT_OBSERVED
    }))
}

fn run_record(options: &cli::Record) -> anyhow::Result<ExitCode> {
    let target = options.target.as_deref().unwrap_or_default();
    one_target("looptop record", target, &options.more)?;
    let runtime = runtime()?;
    let recorded = runtime.block_on(record::command::record(options, |path| {
        eprintln!("recording to {}; Ctrl-C ends", path.display());
    }));
    runtime.shutdown_background();
    let recorded = recorded?;
    for remark in &recorded.remarks {
        eprintln!("looptop: {remark}");
    }
    eprintln!("{recorded}");
    Ok(ExitCode::SUCCESS)
}

fn run_replay(replay: cli::Replay) -> anyhow::Result<ExitCode> {
    let config = config::load()?;
    let name = replay.file.display().to_string();
    let target = crate::source::Target::Recording(replay.file);
    let pace = Pace::Timed(replay.speed);
    show(target, &name, &config.complete(replay.screen), None, pace)
}

fn run_config(action: ConfigAction) -> anyhow::Result<ExitCode> {
    let path = config::path();
    match action {
        ConfigAction::Path => print(format!("{}\n", path.display()).as_bytes()),
        ConfigAction::Print => print(config::load()?.print().as_bytes()),
        ConfigAction::Check => {
            config::load()?;
            let what = if path.exists() {
                "can be used"
            } else {
                "does not exist: defaults apply"
            };
            print(format!("{} {what}\n", path.display()).as_bytes())
        }
    }
}

/// A rule that does not exist, with the nearest one.
#[derive(Debug, thiserror::Error)]
#[error("there is no rule '{id}'; did you mean '{nearest}'? `looptop explain` lists them all")]
struct UnknownRule {
    id: String,
    nearest: &'static str,
}

fn explain(id: Option<&str>) -> Result<String, UnknownRule> {
    let Some(id) = id else {
        return Ok(diagnose::list());
    };
    diagnose::find(id)
        .map(diagnose::explain)
        .ok_or_else(|| UnknownRule {
            id: id.to_owned(),
            nearest: diagnose::nearest(id),
        })
}
