//! `looptop-demo bench`: the tables of the project's source notes, measured
//! again on this machine. It prints ratios, which carry over between machines;
//! seconds do not. Nothing here is observed by an agent.

mod awaits;
mod clients;
mod conversations;
mod sync_async;
mod thousand;
mod three;

use std::{fmt::Write, time::Duration};

use anyhow::Context;
use serde::Serialize;

pub use thousand::Part;
pub(crate) use thousand::part;

use crate::registry::Unknown;

/// How much work to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// As in the notes, or scaled as the experiment says: about 100 s in all.
    Full,
    /// A small part, to see that it works: about 10 s.
    Quick,
}

impl Scale {
    /// `full` or `quick`, whichever applies.
    fn pick<T>(self, full: T, quick: T) -> T {
        match self {
            Scale::Full => full,
            Scale::Quick => quick,
        }
    }
}

/// A table of the notes.
struct Experiment {
    id: &'static str,
    what: &'static str,
    notes: &'static str,
    /// Whether more of the figure is better.
    more_is_better: bool,
    run: fn(Scale) -> anyhow::Result<Vec<Row>>,
}

static ALL: &[Experiment] = &[
    thousand::EXPERIMENT,
    sync_async::EXPERIMENT,
    clients::EXPERIMENT,
    conversations::EXPERIMENT,
    awaits::TEN_CALLS,
    awaits::THREE_UPSTREAMS,
    three::EXPERIMENT,
];

/// One way to do the work, and what it took.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Row {
    /// How it was done.
    pub way: &'static str,
    /// The figure, in `unit`.
    pub figure: f64,
    /// Unit of the figure.
    pub unit: &'static str,
    /// Better than the first row by this factor.
    pub ratio: f64,
    /// Largest resident memory, in MiB, of all processes that did the work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<f64>,
    /// CPU time, in seconds, of all processes that did the work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_s: Option<f64>,
    /// The longest that a tiny task beside the work had to wait, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub neighbour_ms: Option<f64>,
}

impl Row {
    fn new(way: &'static str, figure: f64, unit: &'static str) -> Self {
        Row {
            way,
            figure,
            unit,
            ratio: 1.0,
            memory_mib: None,
            cpu_s: None,
            neighbour_ms: None,
        }
    }

    fn seconds(way: &'static str, took: Duration) -> Self {
        Row::new(way, took.as_secs_f64(), "s")
    }
}

/// A table of the notes, measured.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Table {
    /// Stable name.
    pub id: &'static str,
    /// What was done.
    pub what: &'static str,
    /// How much of it.
    pub scale: Scale,
    /// The notes' own figures.
    pub notes: &'static str,
    /// The ways to do it, the worst first.
    pub rows: Vec<Row>,
}

/// Measures the experiment called `only`, or all, and calls `each` with every
/// table as soon as it is there.
///
/// # Errors
///
/// [`Unknown`], with the nearest name, or what kept an experiment from its work.
pub fn run(
    scale: Scale,
    only: Option<&str>,
    mut each: impl FnMut(&Table),
) -> anyhow::Result<Vec<Table>> {
    if let Some(id) = only
        && ALL.iter().all(|experiment| experiment.id != id)
    {
        let known = ALL.iter().map(|experiment| experiment.id);
        return Err(Unknown::new("experiment", id, known).into());
    }
    ALL.iter()
        .filter(|experiment| only.is_none_or(|id| experiment.id == id))
        .map(|experiment| {
            let table = measure(experiment, scale)
                .with_context(|| format!("the experiment {} failed", experiment.id))?;
            each(&table);
            Ok(table)
        })
        .collect()
}

fn measure(experiment: &Experiment, scale: Scale) -> anyhow::Result<Table> {
    let mut rows = (experiment.run)(scale)?;
    let first = rows.first().map_or(1.0, |row| row.figure);
    for row in &mut rows {
        row.ratio = if experiment.more_is_better {
            row.figure / first.max(f64::MIN_POSITIVE)
        } else {
            first / row.figure.max(f64::MIN_POSITIVE)
        };
    }
    Ok(Table {
        id: experiment.id,
        what: experiment.what,
        scale,
        notes: experiment.notes,
        rows,
    })
}

/// A table for people.
pub fn text(table: &Table) -> String {
    let part = match table.scale {
        Scale::Full => "",
        Scale::Quick => " (a small part of it)",
    };
    let mut text = format!("{}: {}{part}\n", table.id, table.what);
    // A String takes whatever is written to it.
    let _ = writeln!(text, "  notes: {}", table.notes);
    let width = table
        .rows
        .iter()
        .map(|row| row.way.len())
        .max()
        .unwrap_or_default();
    for row in &table.rows {
        let _ = write!(
            text,
            "  {:width$}  {:>9.2} {:<10}  x{:<7.1}",
            row.way, row.figure, row.unit, row.ratio
        );
        let more = [
            (row.memory_mib, "MiB"),
            (row.cpu_s, "s CPU"),
            (row.neighbour_ms, "ms for a neighbour"),
        ];
        for (value, unit) in more {
            if let Some(value) = value {
                let _ = write!(text, "  {value:.1} {unit}");
            }
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}
