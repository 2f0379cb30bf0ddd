//! The looptop that looks: the program itself, built as it is installed, without the lab.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use super::PATIENCE;
use crate::child::{Program, Running};

/// Builds what is not up to date.
pub(super) fn build() -> anyhow::Result<PathBuf> {
    eprintln!("building looptop");
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = manifest.join("target/looptop");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(manifest.join(".."))
        .args(["build", "--release", "--quiet", "--package", "looptop"])
        .args(["--no-default-features", "--bin", "looptop"])
        .arg("--target-dir")
        .arg(&target)
        // Set even where empty: it beats any configuration file's flags.
        .env("RUSTFLAGS", "")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("cargo could not build looptop");
    }
    Ok(target.join("release/looptop"))
}

/// `looptop record pid:PID`, attached: it takes in and keeps all that there is to see.
pub(super) fn record(looptop: &Path, pid: u32, scratch: &Path) -> anyhow::Result<Running> {
    let viewer = Program::new(looptop)
        .on_errors()
        .argument("record")
        .argument(format!("pid:{pid}"))
        .argument("--force")
        .argument("--output")
        .argument(scratch.join("outside.looptop"))
        .start()?;
    viewer.wait_for("recording", PATIENCE)?;
    Ok(viewer)
}

/// Keeps all threads that a process has, and those that they start, on one CPU.
pub(super) fn pin(pid: u32, cpu: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let tid = thread?.file_name().to_string_lossy().parse()?;
        // One that has just ended has no place.
        let _ = sched_setaffinity(Pid::from_raw(tid), &set);
    }
    Ok(())
}
