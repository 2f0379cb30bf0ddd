//! Acts on what is looked at.

use std::{
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::bail;
use fastrand::Rng;
use rustix::process::Signal;

use super::{between, one_of};
use crate::{
    lab::{self, Lab},
    processes,
    scene::{Scene, StandIn, Undo},
    terminal::Viewer,
};

/// The lab may be frozen: no act waits for it.
const PATIENCE: Duration = Duration::from_millis(500);
/// At the same time.
const MOST_VICTIMS: usize = 2;

pub(super) fn switch(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    let (scenario, mode) = scene.scenario(rng);
    let lab = if rng.u8(..3) == 0 {
        &scene.bare
    } else {
        &scene.agented
    };
    lab.switch(&scenario, &mode, PATIENCE)?;
    Ok(format!("{} shows {scenario} {mode}", lab.name))
}

pub(super) fn load(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    let scenario = &scene.scenarios[rng.usize(..scene.scenarios.len())];
    let path = match &scenario.broken {
        Some(broken) if rng.bool() => broken.clone(),
        _ => scenario.fixed.clone(),
    };
    let lab = if rng.bool() {
        &scene.bare
    } else {
        &scene.agented
    };
    let threads = rng.usize(2..20);
    let window = between(rng, 500, 3_000);
    let (http, name) = (lab.http, lab.name.clone());
    let line = format!("GET {path}");
    for _ in 0..threads {
        let line = line.clone();
        thread::spawn(move || {
            let began = Instant::now();
            while began.elapsed() < window {
                // It is not answered while the lab is frozen.
                if lab::request(http, &line, window).is_err() {
                    thread::sleep(Duration::from_millis(50));
                }
            }
        });
    }
    Ok(format!(
        "{threads} clients ask {name} for {path} for {window:?}"
    ))
}

pub(super) fn freeze(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    let mut all = scene.lasting();
    all.extend(scene.victims.iter().map(Lab::pid));
    all.extend(scene.viewers.iter().map(Viewer::pid));
    let window = between(rng, 100, 3_000);
    let Some(pid) = one_of(rng, &mut all).copied() else {
        bail!("nobody is there");
    };
    processes::signal(pid, Signal::STOP)?;
    scene.undo_in(window, Undo::Continue(pid));
    Ok(format!(
        "{} stands still for {window:?}",
        name_of(scene, pid)
    ))
}

/// What a process of the scene is called.
pub(super) fn name_of(scene: &Scene, pid: processes::ProcessId) -> String {
    let labs = [&scene.agented, &scene.bare]
        .into_iter()
        .chain(&scene.victims);
    let labs = labs.map(|lab| (lab.pid(), &lab.name));
    let viewers = scene.cast.iter().chain(&scene.viewers);
    let viewers = viewers.map(|viewer| (viewer.pid(), &viewer.name));
    let mut all = labs.chain(viewers);
    let name = all.find_map(|(of, name)| (of == pid).then(|| name.clone()));
    format!("{} ({pid})", name.unwrap_or_default())
}

pub(super) fn victim(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    let (scenario, mode) = scene.scenario(rng);
    let has_agent = rng.bool();
    if scene.victims.len() >= MOST_VICTIMS {
        bail!("there are {MOST_VICTIMS} already");
    }
    let name = format!("victim {}", scene.next_number());
    let bind = has_agent.then_some("127.0.0.1:0");
    let victim = Lab::start(&scene.place, &name, bind, &scenario, &mode)?;
    let target = victim.target();
    scene.victims.push(victim);
    Ok(format!("{name} ({target}) shows {scenario} {mode}"))
}

pub(super) fn kill(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    let how = [
        (Signal::KILL, "SIGKILL"),
        (Signal::TERM, "SIGTERM"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::SEGV, "SIGSEGV"),
    ];
    let (signal, how) = how[rng.usize(..how.len())];
    let at = rng.usize(..1 << 16);
    if scene.victims.is_empty() {
        bail!("there is no victim");
    }
    let victim = scene.victims.swap_remove(at % scene.victims.len());
    processes::signal(victim.pid(), signal)?;
    // Whoever looks at it sees it go on its own way.
    let gone = thread::spawn(move || {
        processes::until(Duration::from_secs(5), || !processes::runs(victim.pid()));
        victim.name.clone()
    });
    if signal == Signal::TERM {
        return Ok(format!("a victim is asked to end ({how})"));
    }
    let name = gone.join().unwrap_or_default();
    Ok(format!("{name} ends by {how}"))
}

pub(super) fn stand_in(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    let (scenario, mode) = scene.scenario(rng);
    if scene.stand_ins.len() >= MOST_VICTIMS {
        bail!("there are {MOST_VICTIMS} already");
    }
    let place = &scene.place;
    let mut command = place.command(&place.programs.own, "stand-in")?;
    command.arg("stand-in").arg(&place.programs.demo);
    command.args(["serve", "--scenario", &scenario, "--mode", &mode]);
    // What it becomes has an agent, or none.
    if rng.bool() {
        command.env("LOOPTOP", "off");
    } else {
        command.env("LOOPTOP_BIND", "127.0.0.1:0");
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn()?;
    let pid = child.id();
    let stdin = child.stdin.take();
    scene.stand_ins.push(StandIn {
        child,
        stdin,
        was_asked: false,
    });
    let name = format!("viewer {}", scene.next_number());
    let viewer = Viewer::start(&scene.place, &name, &[format!("pid:{pid}")])?;
    scene.viewers.push(viewer);
    Ok(format!("{pid}, looked at by {name}"))
}

pub(super) fn exec(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    let Some(stand_in) = one_of(rng, &mut scene.stand_ins) else {
        bail!("there is no stand-in");
    };
    let pid = stand_in.child.id();
    if stand_in.was_asked {
        bail!("{pid} is another program already");
    }
    stand_in.was_asked = true;
    processes::signal(pid, Signal::USR1)?;
    Ok(format!("{pid} becomes a lab"))
}
