//! The file of all runs: a line each, as a table of Markdown.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{Read, Write},
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::Context;

/// What stands above the lines.
const HEAD: &str = "\
# Runs of looptop-fire

`cargo run --release -p looptop-fire -- --for DURATION --log fire/LOG.md` adds a line here. A
run of the same seed draws the same acts again.

| date (UTC) | seed | minutes | rounds | acts | checks | findings |
|---|---|---|---|---|---|---|
";
/// Where the minutes stand in a line, counted from what is before the first bar.
const MINUTES: usize = 3;
/// Characters of one finding.
const FINDING: usize = 300;

/// One run.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) began: SystemTime,
    pub(crate) seed: u64,
    pub(crate) took: Duration,
    pub(crate) rounds: u64,
    pub(crate) acts: &'a BTreeMap<&'static str, u64>,
    pub(crate) checks: &'a BTreeMap<&'static str, u64>,
    /// In the order in which they were found.
    pub(crate) findings: &'a [String],
}

impl Entry<'_> {
    fn line(&self) -> String {
        let date = humantime::format_rfc3339_seconds(self.began).to_string();
        let date = date.trim_end_matches('Z').replace('T', " ");
        let findings: Vec<String> = self.findings.iter().map(|text| cell(text)).collect();
        let findings = match findings.len() {
            0 => "none".to_owned(),
            n => format!("{n}: {}", findings.join("<br>")),
        };
        format!(
            "| {date} | {} | {:.1} | {} | {} | {} | {findings} |\n",
            self.seed,
            self.took.as_secs_f64() / 60.0,
            self.rounds,
            list(self.acts),
            list(self.checks),
        )
    }
}

/// Text that may stand in a cell.
fn cell(text: &str) -> String {
    let short: String = text.chars().take(FINDING).collect();
    short.replace('|', "/").replace(['\n', '\r'], " ")
}

/// Kinds and how often there was each.
pub(crate) fn list(counts: &BTreeMap<&'static str, u64>) -> String {
    let parts: Vec<String> = counts
        .iter()
        .map(|(name, n)| format!("{name} {n}"))
        .collect();
    parts.join(", ")
}

/// Adds a line to the file, which is made where there is none; minutes in all.
pub(crate) fn add(path: &Path, entry: &Entry<'_>) -> anyhow::Result<f64> {
    let failed = || format!("the run could not be added to {}", path.display());
    let mut file: File = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(path)
        .with_context(failed)?;
    let mut before = String::new();
    file.read_to_string(&mut before).with_context(failed)?;
    let line = if before.is_empty() {
        format!("{HEAD}{}", entry.line())
    } else {
        entry.line()
    };
    file.write_all(line.as_bytes()).with_context(failed)?;
    Ok(minutes(&(before + &line)))
}

fn minutes(text: &str) -> f64 {
    let of = |line: &str| line.split('|').nth(MINUTES)?.trim().parse::<f64>().ok();
    text.lines().filter_map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_added_and_minutes_summed_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("LOG.md");
        let acts = BTreeMap::from([("cut", 3), ("keys", 12)]);
        let checks = BTreeMap::from([("verdict", 6)]);
        let mut entry = Entry {
            began: SystemTime::UNIX_EPOCH,
            seed: 42,
            took: Duration::from_secs(90),
            rounds: 4,
            acts: &acts,
            checks: &checks,
            findings: &[],
        };
        assert!((add(&path, &entry).unwrap() - 1.5).abs() < 1e-9);
        let findings = ["crash: a | b\nc".to_owned()];
        entry.findings = &findings;
        assert!((add(&path, &entry).unwrap() - 3.0).abs() < 1e-9);
        let text = std::fs::read_to_string(&path).unwrap();
        let line = "| 1970-01-01 00:00:00 | 42 | 1.5 | 4 | cut 3, keys 12 | verdict 6 | none |\n";
        assert!(text.starts_with(HEAD) && text.contains(line), "{text}");
        assert!(text.ends_with("| 1: crash: a / b c |\n"), "{text}");
    }
}
