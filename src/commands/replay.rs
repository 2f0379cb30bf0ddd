//! `looptop replay`: a recording as if it were live.

use std::process::ExitCode;

use super::attach::show;
use crate::{
    cli::Replay,
    config,
    live::screen::Show,
    source::{Pace, Target},
};

/// Shows the recording until the user quits.
pub(super) fn run(replay: Replay) -> anyhow::Result<ExitCode> {
    let config = config::load()?;
    let name = replay.file.display().to_string();
    let target = Target::Recording(replay.file);
    show(Show {
        pace: Pace::Timed(replay.speed),
        ..Show::new(target, &name, &config.complete(replay.screen))
    })
}
