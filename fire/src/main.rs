//! `looptop-fire`: attacks real processes of looptop's at random, from a seed that is
//! printed, and checks after each calm what must be true.
//!
//! A run is a row of rounds. In each, acts are drawn from a table ([`acts`]) for some
//! seconds; then all is undone and left alone ([`run`]); then what must be true is checked
//! ([`checks`]). The labs and two viewers live through many rounds, so that what grows
//! shows; everything else comes and goes within one.
#![forbid(unsafe_code)]

#[cfg(target_os = "linux")]
mod acts;
#[cfg(target_os = "linux")]
mod catalogue;
#[cfg(target_os = "linux")]
mod checks;
mod cli;
#[cfg(target_os = "linux")]
mod lab;
#[cfg(target_os = "linux")]
mod ledger;
#[cfg(target_os = "linux")]
mod output;
#[cfg(target_os = "linux")]
mod planted;
#[cfg(target_os = "linux")]
mod processes;
#[cfg(target_os = "linux")]
mod programs;
#[cfg(target_os = "linux")]
mod proxy;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod scene;
#[cfg(target_os = "linux")]
mod stand_in;
#[cfg(target_os = "linux")]
mod terminal;
#[cfg(target_os = "linux")]
mod tool;
#[cfg(target_os = "linux")]
mod witness;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;

/// Something that must be true was not.
#[cfg(target_os = "linux")]
const FOUND: u8 = 1;
/// The run could not be made.
const UNUSABLE: u8 = 2;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    use crate::cli::Command;

    let cli = Cli::parse();
    let done = match cli.command {
        None => run::run(&cli.options),
        Some(Command::Acts) => {
            print!("{}", acts::listing());
            Ok(true)
        }
        Some(Command::Planted(options)) => planted::run(&options),
        Some(Command::StandIn { then }) => stand_in::run(&then),
        Some(Command::Spin { window }) => {
            stand_in::spin(window);
            Ok(true)
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FOUND),
        Err(error) => {
            eprintln!("looptop-fire: {error:#}");
            ExitCode::from(UNUSABLE)
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    let _ = Cli::parse();
    eprintln!("looptop-fire: it needs Linux: it looks at processes by /proc");
    ExitCode::from(UNUSABLE)
}
