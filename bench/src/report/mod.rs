//! The results, as a Markdown table for people and as JSON for programs.

pub(crate) mod figures;
mod json;
mod markdown;

use std::{fs, path::Path, time::Duration};

use anyhow::Context;

use crate::{
    configuration::Configuration,
    machine::Machine,
    samples::{Samples, Spread},
};

/// Everything that a run found out.
pub(crate) struct Report {
    pub(crate) machine: Machine,
    /// Load average before and after.
    pub(crate) load: (Option<f64>, Option<f64>),
    pub(crate) smoke: bool,
    pub(crate) unix_time: u64,
    pub(crate) building: Duration,
    pub(crate) measuring: Duration,
    pub(crate) configurations: Vec<Configuration>,
    pub(crate) plan: String,
    pub(crate) samples: Samples,
    pub(crate) generator_busy: Option<Spread>,
    pub(crate) failures: Vec<String>,
}

/// Prints the Markdown, and writes both forms to the directory.
pub(crate) fn write(report: &Report, directory: &Path) -> anyhow::Result<()> {
    let markdown = markdown::of(report)?;
    println!("{markdown}");
    let json = serde_json::to_string_pretty(&json::of(report))?;
    for (name, text) in [("results.md", &markdown), ("results.json", &json)] {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("wrote {}", path.display());
    }
    Ok(())
}
