//! Writes the inputs that the targets begin with, and the dump that the memory targets
//! change: `seeds [FOLDER]`. Without a folder only the dump, where there is none.

#[path = "../../../../outside/tests/core/writer.rs"]
mod writer;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use looptop_fuzz_inputs::{seeds, snapshot};

fn main() -> anyhow::Result<()> {
    let folder = std::env::args_os().nth(1);
    if folder.is_some() || !snapshot::path().exists() {
        dump(&snapshot::path())?;
    }
    if let Some(folder) = folder {
        seeds::write(Path::new(&folder))?;
    }
    Ok(())
}

/// Starts the program that lies beside this one, and dumps it when its tasks wait.
fn dump(to: &Path) -> anyhow::Result<()> {
    let folder = to.parent().context("a folder")?;
    std::fs::create_dir_all(folder)?;
    // The dump names its program's file, which the next build writes anew.
    let program = folder.join("program");
    std::fs::copy(std::env::current_exe()?.with_file_name("program"), &program)?;
    let mut child = Command::new(&program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = BufReader::new(child.stdout.take().context("its output")?);
    let ready = output
        .lines()
        .any(|line| line.is_ok_and(|line| line == "ready"));
    ensure!(ready, "the program that is dumped has ended");
    writer::write(child.id(), to);
    child.kill()?;
    child.wait()?;
    Ok(())
}
