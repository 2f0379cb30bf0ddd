//! Instruction counts of the main thread, by `valgrind --tool=callgrind`.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::Context;

use crate::child::Program;

pub(crate) fn is_installed() -> bool {
    let version = Command::new("valgrind")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    version.is_ok_and(|status| status.success())
}

/// `valgrind` itself, to be completed by [`count`].
pub(crate) fn program() -> Program {
    Program::new(Path::new("valgrind"))
}

/// Instructions of the main thread of `binary count --operation ... --times ...`.
/// Threads are counted apart: what an observer's own threads do depends on how
/// long the run takes, and callgrind makes it take long.
pub(crate) fn count(
    valgrind: Program,
    binary: &Path,
    scratch: &Path,
    operation: &str,
    times: usize,
) -> anyhow::Result<f64> {
    let counts = scratch.join("callgrind");
    valgrind
        .argument("--tool=callgrind")
        .argument("--quiet")
        .argument("--separate-threads=yes")
        .argument(format!("--callgrind-out-file={}", counts.display()))
        .argument(binary)
        .argument("count")
        .option("operation", operation)
        .option("times", times)
        .results()?;
    let main_thread = scratch.join("callgrind-01");
    let text = fs::read_to_string(&main_thread)
        .with_context(|| format!("callgrind left no {}", main_thread.display()))?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals:"));
    let total = total.context("callgrind's file has no totals")?;
    Ok(total.trim().parse()?)
}
