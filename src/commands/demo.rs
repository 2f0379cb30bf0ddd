//! `looptop demo`: the lab in a child process, and the screen attached to it.

use std::process::ExitCode;

use super::attach::show;
use crate::{
    app::Lab,
    cli::Demo,
    config,
    lab::child::{DEFAULT_SCENARIO, LabChild},
    live::{screen::Show, terminal},
};

/// Starts the lab and shows it until the user quits.
pub(super) fn run(demo: Demo) -> anyhow::Result<ExitCode> {
    let config = config::load()?;
    let id = demo.scenario.as_deref();
    let scenario = looptop_demo::find(id.unwrap_or(DEFAULT_SCENARIO))?;
    let mode: looptop_demo::Mode = demo.mode.parse()?;
    let _: looptop_demo::Flavor = demo.flavor.parse()?;
    terminal::check()?;
    let child = LabChild::start(&demo, scenario.id)?;
    let lab = Lab {
        scenario: scenario.id.to_owned(),
        mode: mode.as_str().to_owned(),
        caption: scenario.caption.to_owned(),
    };
    let name = child.agent.to_string();
    let target = name.parse()?;
    let screen = config.complete(demo.screen);
    show(Show {
        lab: Some(lab),
        ..Show::new(target, &name, &screen)
    })
}
