//! The lab's scenarios as its registry has them, from `looptop-demo list`.

use std::process::Command;

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::programs::Programs;

/// A scenario, and what must be found in it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Scenario {
    pub(crate) id: String,
    /// Path of the broken twin's endpoint; none where there is no mistake to make.
    pub(crate) broken: Option<String>,
    pub(crate) fixed: String,
    pub(crate) flavors: Vec<String>,
    pub(crate) workers: usize,
    pub(crate) expected: Vec<Expected>,
}

/// A finding that the broken twin must yield.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Expected {
    pub(crate) rule: String,
    /// Any of these; empty where the rule has none.
    pub(crate) causes: Vec<String>,
    /// Part of the culprit's name.
    pub(crate) function: String,
    /// Whether the outside view must find it too.
    pub(crate) outside: bool,
    pub(crate) place: Option<Place>,
}

/// Lines of a file.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Place {
    pub(crate) file: String,
    pub(crate) first: u32,
    pub(crate) last: u32,
}

/// All scenarios of the programs.
pub(crate) fn read(programs: &Programs) -> anyhow::Result<Vec<Scenario>> {
    let output = Command::new(&programs.demo)
        .args(["list", "--format", "json"])
        .output()
        .with_context(|| format!("{} could not be started", programs.demo.display()))?;
    let scenarios: Vec<Scenario> =
        serde_json::from_slice(&output.stdout).context("the lab's list cannot be read")?;
    if scenarios.is_empty() {
        bail!("the lab has no scenarios");
    }
    Ok(scenarios)
}

impl Scenario {
    /// Whether it has a rule of these to show.
    pub(crate) fn shows(&self, rules: &[&str]) -> bool {
        self.expected
            .iter()
            .any(|e| rules.contains(&e.rule.as_str()))
    }
}
