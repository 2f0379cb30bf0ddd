//! The figures beside their budgets.

use std::{
    fmt::{self, Write},
    fs,
    path::Path,
};

use anyhow::Context;
use serde_json::json;

use crate::{machine::Machine, report::figures::figure, samples::Spread};

/// What is allowed, of the median.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Limit {
    /// At most this.
    Most(f64),
    /// At least this.
    Least(f64),
    /// It is shown for what it is.
    Free,
}

/// A row of the table.
pub(super) struct Row {
    pub(super) what: String,
    pub(super) unit: &'static str,
    pub(super) limit: Limit,
    pub(super) values: Vec<f64>,
    /// What a reader must know about the values.
    pub(super) note: String,
}

impl Row {
    fn spread(&self) -> Option<Spread> {
        Spread::of(self.values.clone())
    }

    fn verdict(&self) -> &'static str {
        let median = self.spread().map(|spread| spread.median);
        match (self.limit, median) {
            (Limit::Free, _) => "",
            (_, None) => "not measured",
            (Limit::Most(most), Some(median)) if median <= most => "met",
            (Limit::Least(least), Some(median)) if median >= least => "met",
            _ => "**missed**",
        }
    }

    fn budget(&self) -> String {
        let with_unit = |value: f64| format!("{value} {}", self.unit).trim_end().to_owned();
        match self.limit {
            Limit::Most(0.0) => "none".to_owned(),
            Limit::Most(most) => format!("at most {}", with_unit(most)),
            Limit::Least(least) => format!("at least {}", with_unit(least)),
            Limit::Free => String::new(),
        }
    }

    /// `median [min–max] unit`
    fn measured(&self) -> String {
        let Some(spread) = self.spread() else {
            return "–".to_owned();
        };
        let show = |value: f64| match self.unit {
            // A ratio, or a number of things.
            "" if value.fract() != 0.0 => format!("{value:.3}"),
            "" => format!("{value:.0}"),
            _ => figure(value),
        };
        let mut text = show(spread.median);
        if self.values.len() > 1 {
            write!(text, " [{}–{}]", show(spread.min), show(spread.max)).ok();
        }
        format!("{text} {}", self.unit).trim_end().to_owned()
    }

    /// On one line, without its budget.
    pub(super) fn line(&self) -> String {
        let note = match self.note.as_str() {
            "" => String::new(),
            note => format!(" ({note})"),
        };
        format!(
            "{}: {}{note} {}",
            self.what,
            self.measured(),
            self.verdict()
        )
    }
}

/// Everything that a run found out.
pub(super) struct Report {
    pub(super) smoke: bool,
    pub(super) machine: Machine,
    /// Load average before and after.
    pub(super) load: (Option<f64>, Option<f64>),
    pub(super) rows: Vec<Row>,
    pub(super) failures: Vec<String>,
}

impl Report {
    /// Prints the Markdown, and writes it and every value to the directory.
    pub(super) fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let markdown = self.markdown()?;
        println!("{markdown}");
        let rows = self.rows.iter().map(|row| {
            json!({
                "what": row.what,
                "unit": row.unit,
                "budget": row.budget(),
                "values": row.values,
                "note": row.note,
                "verdict": row.verdict().trim_matches('*'),
            })
        });
        let json = json!({
            "smoke": self.smoke,
            "load_average": [self.load.0, self.load.1],
            "rows": rows.collect::<Vec<_>>(),
            "failures": self.failures,
        });
        let json = serde_json::to_string_pretty(&json)?;
        for (name, text) in [("outside.md", &markdown), ("outside.json", &json)] {
            let path = directory.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            eprintln!("wrote {}", path.display());
        }
        Ok(())
    }

    fn markdown(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        if self.smoke {
            writeln!(text, "**Smoke run: it works; the figures mean nothing.**\n")?;
        }
        writeln!(
            text,
            "| from outside | budget | measured | |\n|---|---|---|---|"
        )?;
        for row in &self.rows {
            let note = match row.note.as_str() {
                "" => String::new(),
                note => format!("; {note}"),
            };
            writeln!(
                text,
                "| {} | {} | {}{note} | {} |",
                row.what,
                row.budget(),
                row.measured(),
                row.verdict()
            )?;
        }
        writeln!(text, "\nMedians [lowest–highest].")?;
        let machine = &self.machine;
        write!(
            text,
            "{}, {} CPUs, {}, {}",
            machine.cpu, machine.cpus, machine.kernel, machine.rustc
        )?;
        if let (Some(before), Some(after)) = self.load {
            write!(
                text,
                "; load average {before:.1} before and {after:.1} after"
            )?;
        }
        writeln!(
            text,
            ".\nAgain: `cargo run --release --manifest-path bench/Cargo.toml -- --outside`"
        )?;
        if !self.failures.is_empty() {
            writeln!(text, "\n**Failed:**\n")?;
            for failure in &self.failures {
                writeln!(text, "- {failure}")?;
            }
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::{Limit, Row};

    #[test]
    fn medians_are_judged() {
        for (limit, values, verdict) in [
            (Limit::Most(30.0), vec![29.0, 30.0, 90.0], "met"),
            (Limit::Most(30.0), vec![29.0, 31.0, 90.0], "**missed**"),
            (Limit::Least(0.99), vec![0.99], "met"),
            (Limit::Least(0.99), vec![0.98], "**missed**"),
            (Limit::Most(0.0), vec![0.0], "met"),
            (Limit::Most(0.0), vec![1.0], "**missed**"),
            (Limit::Free, vec![1.0], ""),
            (Limit::Free, vec![], ""),
            (Limit::Least(0.99), vec![], "not measured"),
        ] {
            let row = Row {
                what: String::new(),
                unit: "",
                limit,
                values,
                note: String::new(),
            };
            assert_eq!(row.verdict(), verdict, "{limit:?} {:?}", row.values);
        }
    }

    #[test]
    fn a_row_says_what_was_measured() {
        for (unit, limit, values, budget, measured) in [
            (
                "ms",
                Limit::Most(110.0),
                vec![1.0, 20.5, 40.0],
                "at most 110 ms",
                "20.5 [1.00–40.0] ms",
            ),
            (
                "",
                Limit::Least(0.99),
                vec![0.9987],
                "at least 0.99",
                "0.999",
            ),
            ("", Limit::Most(0.0), vec![0.0], "none", "0"),
            ("s", Limit::Most(1.5), vec![1.0], "at most 1.5 s", "1.00 s"),
            ("s", Limit::Free, vec![], "", "–"),
        ] {
            let row = Row {
                what: String::new(),
                unit,
                limit,
                values,
                note: String::new(),
            };
            assert_eq!(
                (row.budget().as_str(), row.measured().as_str()),
                (budget, measured)
            );
        }
    }
}
