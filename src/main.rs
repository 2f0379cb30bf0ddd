//! The `looptop` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use looptop::{cli::Cli, commands};

fn main() -> ExitCode {
    commands::run(Cli::parse())
}
