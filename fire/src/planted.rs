//! Defects that are planted in the programs, to see that a run finds each.
//!
//! They are behind the feature `planted` of the packages that they are in, and one is
//! switched on by a variable (`LOOPTOP_PLANTED`). Programs that people build have none of
//! it, which a run checks before it begins.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

use crate::{
    cli,
    programs::{self, PACKAGES},
};

/// What is planted, and which check must find it.
const DEFECTS: &[(&str, &str)] = &[
    // The agent opens a file for each connection, and does not close it.
    ("descriptor", "descriptors"),
    // The viewer ends without a word to the terminal.
    ("terminal", "terminal"),
    // The agent does not count frames that a slow viewer misses.
    ("loss", "loss"),
    // The diagnosis leaves out what is graver than a notice.
    ("verdict", "verdict"),
    // The outside view does not let go of a thread that it has stopped.
    ("stopped-thread", "stopped"),
];
/// The programs with nothing switched on, which a run must find in order.
const NONE: &str = "none";

/// Cargo's options to plant all of them.
const FEATURES: &[&str] = &["--features", "looptop/planted,looptop-demo/planted"];

/// Builds the programs with the defects, and has a run find each of them; whether all
/// were found, and nothing where none was switched on.
pub(crate) fn run(options: &cli::Planted) -> anyhow::Result<bool> {
    let known = || DEFECTS.iter().map(|(name, _)| *name).chain([NONE]);
    if let Some(other) = options
        .only
        .iter()
        .find(|name| known().all(|k| k != **name))
    {
        let known: Vec<&str> = known().collect();
        bail!(
            "there is no defect `{other}`; there are {}",
            known.join(", ")
        );
    }
    let own = env::current_exe().context("this program's own path cannot be had")?;
    let beside = own.parent().context("this program is in no directory")?;
    let folder = beside.join("planted");
    if !options.built {
        build(beside, &folder)?;
    }
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    let is_wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|n| n == name);
    let mut outcomes = Vec::new();
    let all = DEFECTS.iter().map(|(name, check)| (*name, Some(*check)));
    for (name, check) in all
        .chain([(NONE, None)])
        .filter(|(name, _)| is_wanted(name))
    {
        println!("== {name}");
        let mut command = Command::new(&own);
        let window = humantime::format_duration(options.window).to_string();
        command.args(["--for", &window.replace(' ', "")]);
        command.args(["--seed", &seed.to_string(), "--planted", name]);
        command.arg("--programs").arg(&folder);
        if let Some(check) = check {
            command.args(["--until-found", check]);
        }
        let (found, code) = findings(&mut command)?;
        let is_right = match check {
            Some(check) => code == Some(1) && found.iter().any(|found| found == check),
            None => code == Some(0) && found.is_empty(),
        };
        let word = if is_right { "as it must be" } else { "WRONG" };
        outcomes.push((is_right, format!("{name:16} found by {found:?}: {word}")));
    }
    println!("== planted defects, seed {seed}");
    for (_, outcome) in &outcomes {
        println!("{outcome}");
    }
    Ok(outcomes.iter().all(|(is_right, _)| *is_right))
}

/// Builds them where cargo builds, moves them to `folder`, and builds those without
/// defects again, which costs no more than to link them.
fn build(beside: &Path, folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("no {}", folder.display()))?;
    let built = programs::build(beside, FEATURES).and_then(|()| {
        for name in PACKAGES {
            // Cargo's file has other names too, by which it would be found unchanged.
            let (from, to) = (beside.join(name), folder.join(name));
            drop(fs::remove_file(&to));
            fs::copy(&from, &to).with_context(|| format!("{} was not copied", from.display()))?;
        }
        Ok(())
    });
    // In any case: nobody shall take programs with defects for others.
    let again = programs::build(beside, &[]);
    built.and(again)
}

/// What a run finds, by its checks, and its exit code; what it says is passed on.
fn findings(command: &mut Command) -> anyhow::Result<(Vec<String>, Option<i32>)> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("the run could not be started")?;
    let mut found = Vec::new();
    let stdout = child.stdout.take().context("the run has no output")?;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        println!("{line}");
        found.extend(check_of(&line).map(str::to_owned));
    }
    found.dedup();
    Ok((found, child.wait()?.code()))
}

/// The check of a line at the end of a run: `FINDING round 2, loss: ...`.
fn check_of(line: &str) -> Option<&str> {
    let finding = line.strip_prefix("FINDING round ")?;
    let (_, rest) = finding.split_once(", ")?;
    rest.split_once(':').map(|(check, _)| check)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_of_a_finding_is_read() {
        let line = "FINDING round 2, descriptors: lab (pid 7) grows: a, b";
        assert_eq!(check_of(line), Some("descriptors"));
        assert_eq!(check_of("   1.000 s  FINDING loss: of 3"), None);
        assert_eq!(check_of("0 findings"), None);
    }
}
