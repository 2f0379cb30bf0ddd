//! The `looptop` command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use looptop::{cli::Cli, commands};

/// Files of symbols are read on threads that come and go, by hundreds of megabytes: the C
/// library's allocator keeps for each thread what another can no longer use.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    commands::run(Cli::parse())
}
