//! The `looptop` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use looptop::{cli::Cli, command};

fn main() -> ExitCode {
    command::run(Cli::parse())
}
