//! Acts on viewers in terminals.

use anyhow::{Context, bail};
use fastrand::Rng;
use rustix::process::Signal;

use super::{between, commands, one_of};
use crate::{
    processes,
    scene::{Scene, Undo},
    terminal::{self, Viewer, WAYS, Way},
};

/// At the same time, beside those that live through many rounds.
const MOST: usize = 4;

fn add(scene: &mut Scene, arguments: &[String]) -> anyhow::Result<String> {
    if scene.viewers.len() >= MOST {
        bail!("there are {MOST} already");
    }
    let name = format!("viewer {}", scene.next_number());
    let viewer = Viewer::start(&scene.place, &name, arguments)?;
    scene.viewers.push(viewer);
    Ok(format!("{name}: looptop {}", arguments.join(" ")))
}

pub(super) fn start(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    let target = commands::target(scene, rng);
    let mut arguments = vec![target];
    if rng.u8(..4) == 0 {
        arguments.push("--ascii".to_owned());
    }
    if rng.u8(..4) == 0 {
        arguments.push("--no-mouse".to_owned());
    }
    add(scene, &arguments)
}

pub(super) fn replay(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    let speed = rng.choice(&["0.5", "1", "20", "100"]).unwrap_or(&"1");
    let recording = one_of(rng, &mut scene.recordings).cloned();
    let recording = recording.filter(|path| path.exists());
    let recording = recording.context("nothing was recorded yet")?;
    let file = recording.to_string_lossy().into_owned();
    let arguments = [
        "replay".to_owned(),
        file,
        "--speed".to_owned(),
        (*speed).to_owned(),
    ];
    add(scene, &arguments)
}

pub(super) fn run(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    let (scenario, mode) = scene.scenario(rng);
    let demo = scene.place.programs.demo.to_string_lossy().into_owned();
    // A file that was asked for may stay; it is not among the temporary ones.
    let output = scene
        .place
        .work
        .join(format!("{}.out", scene.next_number()));
    let output = output.to_string_lossy().into_owned();
    // By a shell, as a wrapper of a program is; it has no agent, or one at a free port.
    let agent = if rng.bool() {
        "LOOPTOP=off"
    } else {
        "LOOPTOP_BIND=127.0.0.1:0"
    };
    let program = format!("{agent} exec {demo} serve --scenario {scenario} --mode {mode}");
    let arguments = ["run", "-o", &output, "--", "sh", "-c", &program];
    add(scene, &arguments.map(str::to_owned))
}

/// One of all viewers.
fn any<'a>(scene: &'a mut Scene, rng: &mut Rng) -> anyhow::Result<&'a mut Viewer> {
    let at = rng.usize(..1 << 16);
    let n = scene.cast.len() + scene.viewers.len();
    let mut all = scene.viewers.iter_mut().chain(&mut scene.cast);
    all.nth(at % n.max(1)).context("there is no viewer")
}

pub(super) fn keys(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    let bytes = terminal::keys(rng);
    let viewer = any(scene, rng)?;
    let shown = String::from_utf8_lossy(&bytes).escape_debug().to_string();
    viewer.send(bytes);
    Ok(format!("{}: {shown}", viewer.name))
}

pub(super) fn mouse(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    let bytes = terminal::mouse(rng);
    let viewer = any(scene, rng)?;
    viewer.send(bytes);
    Ok(viewer.name.clone())
}

pub(super) fn paste(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    let bytes = terminal::paste(rng);
    let n = bytes.len();
    let viewer = any(scene, rng)?;
    // Before the screen is there a line discipline would take some bytes for keys.
    if !viewer.has_begun() {
        bail!("{} shows no screen yet", viewer.name);
    }
    viewer.send(bytes);
    Ok(format!("{}: {n} bytes", viewer.name))
}

pub(super) fn resize(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    let n = *rng.choice(&[1, 1, 2, 20]).unwrap_or(&1);
    let sizes: Vec<(u16, u16)> = (0..n)
        .map(|_| match rng.u8(..4) {
            0 => (rng.u16(1..12), rng.u16(1..12)),
            1 => (rng.u16(300..=400), rng.u16(80..=120)),
            _ => (rng.u16(1..=400), rng.u16(1..=120)),
        })
        .collect();
    let viewer = any(scene, rng)?;
    for (columns, rows) in &sizes {
        viewer.resize(*columns, *rows);
    }
    let (columns, rows) = sizes.last().copied().unwrap_or_default();
    Ok(format!("{}: {n} times, to {columns}x{rows}", viewer.name))
}

pub(super) fn suspend(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    let by_key = rng.bool();
    let window = between(rng, 200, 2_000);
    let viewer = any(scene, rng)?;
    let (pid, name) = (viewer.pid(), viewer.name.clone());
    if !viewer.has_begun() {
        bail!("{name} shows no screen yet");
    }
    if by_key {
        viewer.send(*b"\x1a");
    } else {
        processes::signal(pid, Signal::TSTP)?;
    }
    scene.undo_in(window, Undo::Continue(pid));
    let how = if by_key { "Ctrl-Z" } else { "SIGTSTP" };
    Ok(format!("{name} by {how}, for {window:?}"))
}

/// Takes one of those that live for one attack.
fn take(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<Viewer> {
    let at = rng.usize(..1 << 16);
    if scene.viewers.is_empty() {
        bail!("there is no viewer");
    }
    Ok(scene.viewers.swap_remove(at % scene.viewers.len()))
}

pub(super) fn end(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    let way = *rng.choice(&WAYS).unwrap_or(&Way::CtrlC);
    let viewer = take(scene, rng)?;
    let name = viewer.name.clone();
    scene.end_viewer(viewer, way);
    Ok(format!("{name}: {}", way.name()))
}

pub(super) fn kill(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    let viewer = take(scene, rng)?;
    let state = if viewer.has_begun() {
        "on screen"
    } else {
        "before its screen"
    };
    let name = viewer.name.clone();
    scene.end_viewer(viewer, Way::Kill);
    Ok(format!("{name}, {state}"))
}
