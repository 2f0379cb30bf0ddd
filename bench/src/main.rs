//! What does it cost to be observed? Builds one program once per way of
//! observing it, runs the builds in turns, and prints what each costs beside the
//! program that nobody watches.
//!
//! ```text
//! cargo run --release --manifest-path bench/Cargo.toml              # all of it
//! cargo run --release --manifest-path bench/Cargo.toml -- --smoke   # does it still run?
//! cargo run --release --manifest-path bench/Cargo.toml -- --outside # looking at a program without an agent
//! cargo run --release --manifest-path bench/Cargo.toml -- --help
//! ```

mod budget;
mod builds;
mod callgrind;
mod child;
mod configuration;
mod cpu;
mod load;
mod machine;
mod metric;
mod options;
mod outside;
mod report;
mod samples;
mod suite;
mod viewer;

use std::process::ExitCode;

use clap::Parser;
use options::{Command, Options};

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match &options.command {
        Some(Command::Load(load)) => load::run(load),
        Some(Command::Viewer(viewer)) => viewer::run(viewer),
        None => match &options.run.outside {
            Some(parts) => outside::run(&options.run, parts),
            None => suite::run(&options.run),
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("looptop-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
