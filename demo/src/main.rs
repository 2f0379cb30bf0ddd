//! The starvation lab on the command line.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use looptop_demo::{Unknown, cli};

/// The command line made no sense.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    match cli::run(cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("looptop-demo: {error:#}");
            match error.downcast_ref::<Unknown>() {
                Some(_) => ExitCode::from(USAGE),
                None => ExitCode::FAILURE,
            }
        }
    }
}
