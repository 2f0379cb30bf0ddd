//! `looptop config`: where the configuration is, what it says, whether it can be used.

use std::process::ExitCode;

use super::print;
use crate::{cli::ConfigAction, config};

/// Does what `action` says.
pub(super) fn run(action: ConfigAction) -> anyhow::Result<ExitCode> {
    let path = config::path();
    match action {
        ConfigAction::Path => print(format!("{}\n", path.display()).as_bytes()),
        ConfigAction::Print => print(config::load()?.print().as_bytes()),
        ConfigAction::Check => {
            config::load()?;
            let what = if path.exists() {
                "can be used"
            } else {
                "does not exist: defaults apply"
            };
            print(format!("{} {what}\n", path.display()).as_bytes())
        }
    }
}
