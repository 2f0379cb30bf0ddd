//! Acts by looptop's commands without a screen.

use anyhow::{Context, bail};
use fastrand::Rng;

use super::one_of;
use crate::{lab::Lab, scene::Scene, tool::Tool};

/// At the same time.
const MOST: usize = 3;

/// Something to look at: a lab by its agent, directly or through the proxy, or a process.
pub(super) fn target(scene: &Scene, rng: &mut Rng) -> String {
    let kind = rng.u8(..6);
    let at = rng.usize(..1 << 16);
    let victim = |of: fn(&Lab) -> String| match scene.victims.len() {
        0 => None,
        n => Some(of(&scene.victims[at % n])),
    };
    let by_pid = |lab: &Lab| format!("pid:{}", lab.pid());
    let victims = match kind {
        0 => victim(Lab::target),
        1 => victim(by_pid),
        _ => None,
    };
    victims.unwrap_or_else(|| match kind {
        0 | 2 => scene.agented.target(),
        1 | 3 => scene.bare.target(),
        // The agent of the process, with what is seen from outside beside it.
        4 => by_pid(&scene.agented),
        _ => scene.proxy.address.to_string(),
    })
}

/// Starts a command; its name.
pub(super) fn start(
    scene: &mut Scene,
    command: &'static str,
    arguments: &[&str],
) -> anyhow::Result<String> {
    if scene.tools.len() >= MOST {
        bail!("there are {MOST} already");
    }
    let name = format!("{command} {}", scene.next_number());
    let all = [command].into_iter().chain(arguments.iter().copied());
    let all: Vec<String> = all.map(str::to_owned).collect();
    let tool = Tool::start(&scene.place, &name, &all)?;
    scene.tools.push(tool);
    Ok(name)
}

pub(super) fn check(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    let target = target(scene, rng);
    let format = *rng
        .choice(&["text", "json", "junit", "github"])
        .unwrap_or(&"text");
    let window = *rng.choice(&["1s", "3s", "10s"]).unwrap_or(&"1s");
    let arguments = [&target, "--for", window, "--format", format];
    Ok(format!(
        "{} of {target}",
        start(scene, "check", &arguments)?
    ))
}

pub(super) fn dump(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    let target = target(scene, rng);
    let arguments = [&target, "--for", "5s"];
    Ok(format!("{} of {target}", start(scene, "dump", &arguments)?))
}

pub(super) fn record(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    let target = target(scene, rng);
    let path = scene
        .place
        .work
        .join(format!("{}.looptop", scene.next_number()));
    let file = path.to_string_lossy().into_owned();
    let mut arguments = vec![&target[..], "-o", &file];
    match rng.u8(..3) {
        0 => arguments.extend(["--for", "3s"]),
        1 => arguments.extend(["--last", "10s"]),
        _ => {}
    }
    let name = start(scene, "record", &arguments)?;
    scene.recordings.push(path);
    Ok(format!("{name} of {target}"))
}

pub(super) fn export(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    let formats = ["perfetto", "folded", "pprof", "csv"];
    let format = *rng.choice(&formats).unwrap_or(&"csv");
    let recording = one_of(rng, &mut scene.recordings).cloned();
    let recording = recording.filter(|path| path.exists());
    let recording = recording.context("nothing was recorded yet")?;
    let file = recording.to_string_lossy();
    let out = scene
        .place
        .work
        .join(format!("{}.export", scene.next_number()));
    let out = out.to_string_lossy();
    let arguments = [&file[..], "--format", format, "-o", &out];
    Ok(format!(
        "{} as {format}",
        start(scene, "export", &arguments)?
    ))
}

pub(super) fn kill(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    let tool = one_of(rng, &mut scene.tools).context("there is no command")?;
    if !tool.runs() {
        bail!("{} has ended", tool.name);
    }
    tool.kill();
    Ok(tool.name.clone())
}
