//! The commands, a file each, and the exit codes.

pub mod attach;
pub mod check;
mod config;
#[cfg(feature = "demo")]
mod demo;
pub mod dump;
mod explain;
pub mod export;
#[cfg(feature = "mcp")]
mod mcp;
pub mod record;
mod replay;
mod run;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Context;

use self::{
    attach::{SeveralTargets, UnknownCommand},
    check::{BadBaseline, CheckError},
    dump::DumpError,
    explain::UnknownRule,
    record::RecordError,
    run::StartError,
};
use crate::{
    cli::{self, Cli, Command},
    config::{self as settings, ConfigError},
    source::{
        TargetError, access, processes,
        targets::{TargetsError, Unresolved},
    },
};

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
    if let Some(DumpError::Target(error)) = error.downcast_ref() {
        return Some(error);
    }
    if let Some(TargetsError::Target(error)) = error.downcast_ref() {
        return Some(error);
    }
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
    if let Some(error) = error.downcast_ref::<StartError>() {
        return error.code();
    }
    match error.downcast_ref() {
        Some(CheckError::NotAttached(_) | CheckError::Gone(_)) => return NOT_OBSERVED,
        Some(CheckError::Target(_)) | None => {}
    }
    if let Some(DumpError::NotAttached(_)) = error.downcast_ref() {
        return NOT_OBSERVED;
    }
    match error.downcast_ref() {
        Some(RecordError::NotAttached(_)) => return NOT_OBSERVED,
        Some(RecordError::Target(_) | RecordError::Write { .. }) | None => {}
    }
    if error.is::<Unresolved>() {
        return NOT_OBSERVED;
    }
    let usage = error.is::<ConfigError>()
        || error.is::<TargetsError>()
        || target_error(error).is_some()
        || error.is::<SeveralTargets>()
        || error.is::<BadBaseline>()
        || error.is::<UnknownRule>()
        || error.is::<UnknownCommand>();
    #[cfg(feature = "demo")]
    let usage = usage || error.is::<looptop_demo::Unknown>();
    if usage { USAGE } else { FINDINGS }
}

fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    // One that cannot be read is reported by the commands that it concerns.
    let config = settings::load().unwrap_or_default();
    access::set(config.access(|name| std::env::var(name).ok()));
    match cli.command {
        None => attach::run(cli.attach),
        Some(Command::Check(check)) => check::run(check),
        #[cfg(feature = "demo")]
        Some(Command::Demo(demo)) => demo::run(demo),
        #[cfg(feature = "demo")]
        Some(Command::Lab(args)) => {
            looptop_demo::serve(&args.try_into()?)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Run(options)) => run::run(options),
        Some(Command::Dump(options)) => dump::run(options),
        Some(Command::Record(record)) => record::run(&record),
        Some(Command::Replay(replay)) => replay::run(replay),
        Some(Command::Export(options)) => export::run(options),
        #[cfg(feature = "mcp")]
        Some(Command::Mcp(options)) => mcp::run(options),
        Some(Command::Explain { rule }) => explain::run(rule.as_deref()),
        Some(Command::Ls) => print(runtime()?.block_on(processes::table()).as_bytes()),
        Some(Command::Config { action }) => config::run(action),
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
