//! `looptop` without a command: a target on the screen.

use std::process::ExitCode;

use clap::CommandFactory;

use super::runtime;
use crate::{
    app::Lab,
    cli::{self, Attach, Cli},
    config,
    live::screen,
    source::{Pace, Target},
};

/// Attaches to the target and shows it until the user quits.
pub(super) fn run(attach: Attach) -> anyhow::Result<ExitCode> {
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
pub(super) struct SeveralTargets {
    command: &'static str,
    targets: Vec<String>,
}

/// Refuses `more` targets than the first.
pub(super) fn one_target(
    command: &'static str,
    first: &str,
    more: &[String],
) -> Result<(), SeveralTargets> {
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
pub(super) struct UnknownCommand {
    word: String,
    nearest: String,
}

/// How many letters may be wrong in a command.
const MISSPELT: usize = 2;

fn is_no_command(target: &str) -> Result<(), UnknownCommand> {
    if target == "localhost" || !target.chars().all(char::is_alphabetic) {
        return Ok(());
    }
    let cli = Cli::command();
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

/// Shows `target`, which the user called `name`.
pub(super) fn show(
    target: Target,
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
