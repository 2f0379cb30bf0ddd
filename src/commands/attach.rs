//! `looptop` without a command: a target on the screen.

use std::process::ExitCode;

use clap::CommandFactory;
use tokio::runtime::Runtime;

use super::runtime;
use crate::{
    cli::{self, Attach, Cli, DEFAULT_TARGET},
    config,
    live::{
        screen::{ScreenError, Show, choose},
        several::{self, Asked, Finder},
        terminal,
    },
    source::{
        self, Target,
        processes::{At, Lister, Listing},
        targets::{Meant, Named, meant},
    },
};

/// Attaches to the target and shows it until the user quits; of several, a row each.
/// Without a target, and with nothing at the default one, it is chosen of what is found on
/// this machine.
pub(super) fn run(attach: Attach) -> anyhow::Result<ExitCode> {
    let config = config::load()?;
    if let Some(target) = attach.targets.first() {
        is_no_command(target)?;
    }
    let screen = config.complete(attach.screen);
    let is_named = !attach.targets.is_empty() || config.target != DEFAULT_TARGET;
    let texts = if attach.targets.is_empty() {
        vec![config.target]
    } else {
        attach.targets
    };
    let asked = if attach.all {
        Asked::machine()
    } else {
        match meant(&texts)? {
            Meant::Alone(one) => return show_one(&one, is_named, &screen),
            Meant::Several(wanted) => Asked::new(wanted),
        }
    };
    terminal::check()?;
    let runtime = runtime()?;
    let mut finder = Finder::new(asked);
    let members = runtime.block_on(finder.first())?;
    let shown = several::show(finder, &members, &screen, &runtime);
    // Threads that still look for symbols end with the process.
    runtime.shutdown_background();
    shown?;
    Ok(ExitCode::SUCCESS)
}

fn show_one(one: &Named, is_named: bool, screen: &cli::Screen) -> anyhow::Result<ExitCode> {
    terminal::check()?;
    let runtime = runtime()?;
    let shown = if is_named || runtime.block_on(source::is_listening(&one.target)) {
        Show::new(one.target.clone(), &one.name, screen).run(None, &runtime)
    } else {
        found(screen, &runtime)
    };
    // Threads that still look for symbols end with the process.
    runtime.shutdown_background();
    shown?;
    Ok(ExitCode::SUCCESS)
}

/// Shows what is found on this machine: the only program, or the one that is chosen.
fn found(screen: &cli::Screen, runtime: &Runtime) -> Result<(), ScreenError> {
    let mut lister = Lister::default();
    let listing = runtime.block_on(lister.list());
    let (target, stage) = match only(&listing) {
        Some(target) => (target, None),
        None => match choose(listing, lister, screen, runtime)? {
            Some((target, stage)) => (target, Some(stage)),
            None => return Ok(()),
        },
    };
    let name = target.to_string();
    Show::new(target, &name, screen).run(stage, runtime)
}

/// The only place that can be attached to: those that may not be are no choice.
fn only(listing: &Listing) -> Option<Target> {
    let targets = listing.rows.iter().filter_map(|row| match &row.at {
        At::Target(target) => Some(target),
        At::Refused(_) | At::Nowhere(_) => None,
    });
    match targets.collect::<Vec<_>>().as_slice() {
        // Another one may be among those that were not read.
        [target] if listing.unread == 0 => Some((*target).clone()),
        _ => None,
    }
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

/// Shows a target until the user quits.
pub(super) fn show(show: Show<'_>) -> anyhow::Result<ExitCode> {
    let runtime = runtime()?;
    let shown = show.run(None, &runtime);
    // Threads that still look for symbols end with the process.
    runtime.shutdown_background();
    shown?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::processes::Row;

    #[test]
    fn the_only_program_that_can_be_attached_to_needs_no_choice() {
        let (mine, other) = (Some("pid:7"), Some("127.0.0.1:7000"));
        let closed = None;
        for (places, unread, expected) in [
            (vec![mine], 0, mine),
            (vec![closed, mine, closed], 0, mine),
            (vec![mine], 1, None),
            (vec![mine, other], 0, None),
            (vec![mine, closed, other], 0, None),
            (vec![closed], 0, None),
            (vec![], 0, None),
        ] {
            let row = |place: Option<&str>| Row {
                pid: 7,
                name: "app".into(),
                arguments: String::new(),
                user: "me".into(),
                instrument: "tokio".into(),
                threads: 3,
                cpu: None,
                at: place.map_or_else(
                    || At::Nowhere("it belongs to another user".into()),
                    |target| At::Target(target.parse().unwrap()),
                ),
            };
            let listing = Listing {
                rows: places.iter().copied().map(row).collect(),
                unread,
            };
            let expected = expected.map(|target| target.parse().unwrap());
            assert_eq!(only(&listing), expected, "{places:?}, {unread} unread");
        }
    }
}
