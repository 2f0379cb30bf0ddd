//! `looptop mcp`: the same answers for assistants, on standard input and output.

use std::process::ExitCode;

use super::{attach::one_target, runtime};
use crate::{
    cli::{DEFAULT_TARGET, Mcp},
    config,
    mcp::{self, Otherwise},
    source::{
        Target,
        access::{self, Recipient},
    },
};

/// Serves until standard input is closed.
pub(super) fn run(options: Mcp) -> anyhow::Result<ExitCode> {
    let config = config::load()?;
    let otherwise = match options.target {
        Some(target) => {
            one_target("looptop mcp", &target, &options.more)?;
            Otherwise::Named(target)
        }
        None if config.target == DEFAULT_TARGET => Otherwise::FoundAt(config.target),
        None => Otherwise::Named(config.target),
    };
    // What an assistant names, the user has not: nothing of the user's goes there. A target
    // that makes no sense is refused now, and not at each call.
    let (Otherwise::Named(own) | Otherwise::FoundAt(own)) = &otherwise;
    access::show_to(Recipient::Only(own.parse::<Target>()?));
    let runtime = runtime()?;
    let served = runtime.block_on(mcp::serve(otherwise));
    // What still watches or reads ends with the process.
    runtime.shutdown_background();
    served?;
    Ok(ExitCode::SUCCESS)
}
