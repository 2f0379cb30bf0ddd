//! Acts that take away what programs need.

use std::{fs, process::Stdio};

use anyhow::{Context, bail};
use fastrand::Rng;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::{between, commands, one_of, targets::name_of};
use crate::{
    lab::Lab,
    processes::{self, ProcessId},
    scene::{Scene, Undo},
    terminal::Viewer,
};

/// Sets a soft limit, and has it back after a while.
fn limit(
    scene: &mut Scene,
    pid: ProcessId,
    resource: Resource,
    limit: Rlimit,
    window: std::time::Duration,
) -> anyhow::Result<()> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let raw = raw.with_context(|| format!("{pid} is no process id"))?;
    let before = prlimit(Some(raw), resource, limit).context("the limit could not be set")?;
    scene.undo_in(window, Undo::Limit(pid, resource, before));
    Ok(())
}

pub(super) fn few_descriptors(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    let mut all = scene.lasting();
    all.extend(scene.victims.iter().map(Lab::pid));
    all.extend(scene.viewers.iter().map(Viewer::pid));
    let pid = one_of(rng, &mut all).copied().context("nobody is there")?;
    let more = rng.u64(0..8);
    let window = between(rng, 300, 3_000);
    let open = processes::descriptors(pid).context("it is gone")?;
    let most = processes::most_descriptors(pid).context("it is gone")?;
    let wanted = Rlimit {
        current: Some((open + more).min(most)),
        maximum: Some(most),
    };
    limit(scene, pid, Resource::Nofile, wanted, window)?;
    let name = name_of(scene, pid);
    Ok(format!(
        "{name} has {open} open, and may have {more} more for {window:?}"
    ))
}

pub(super) fn little_memory(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    let mut all: Vec<ProcessId> = scene.victims.iter().map(Lab::pid).collect();
    let more = rng.u64(1 << 20..64 << 20);
    let window = between(rng, 300, 3_000);
    let pid = one_of(rng, &mut all)
        .copied()
        .context("there is no victim")?;
    let used = processes::address_space(pid).context("it is gone")?;
    let wanted = Rlimit {
        current: Some(used + more),
        maximum: None,
    };
    limit(scene, pid, Resource::As, wanted, window)?;
    let name = name_of(scene, pid);
    Ok(format!(
        "{name} may have {} MiB more for {window:?}",
        more >> 20
    ))
}

pub(super) fn spinners(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    let n = rng.usize(1..=6);
    let window = between(rng, 500, 4_000);
    let mut children = Vec::new();
    for _ in 0..n {
        let place = &scene.place;
        let mut command = place.command(&place.programs.own, "spinner")?;
        command.arg("spin").arg(format!("{}ms", window.as_millis()));
        let command = command.stdin(Stdio::null()).stdout(Stdio::null());
        children.push(command.spawn().context("no process for it")?);
    }
    scene.undo_in(window, Undo::Spinners(children));
    Ok(format!("{n} processes compute for {window:?}"))
}

pub(super) fn small_disk(scene: &mut Scene, rng: &mut Rng) -> anyhow::Result<String> {
    let full = rng.bool();
    let Some(small) = scene.place.small.clone() else {
        bail!("there is none");
    };
    let window = between(rng, 1_000, 4_000);
    let path = small.join(format!("{}.looptop", scene.next_number()));
    let mut files = vec![path.clone()];
    if full {
        // It is full from the beginning.
        let ballast = small.join(format!("{}.fill", scene.next_number()));
        drop(fs::write(&ballast, vec![0; 1 << 20]));
        files.push(ballast);
    }
    let target = commands::target(scene, rng);
    let name = commands::start(
        scene,
        "record",
        &[&target, "-o", &path.to_string_lossy(), "--for", "4s"],
    )?;
    scene.undo_in(window, Undo::Files(files));
    let state = if full { "full" } else { "small" };
    Ok(format!(
        "{name} of {target} to a file system that is {state}"
    ))
}
