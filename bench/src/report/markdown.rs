//! A table that can be pasted into a README.

use std::fmt::{self, Write};

use super::{
    Report,
    figures::{difference, figure, ratio},
};
use crate::{
    budget::{BUDGETS, Limit, Standing},
    configuration::Configuration,
    metric::{Beside, Metric},
    samples::Spread,
};

pub(super) fn of(report: &Report) -> Result<String, fmt::Error> {
    let mut text = String::new();
    if report.smoke {
        writeln!(text, "**Smoke run: it works; the figures mean nothing.**\n")?;
    }
    let (controls, peers): (Vec<_>, Vec<_>) = report
        .configurations
        .iter()
        .copied()
        .partition(|configuration| configuration.is_control());
    table(&mut text, report, &peers, |_| true)?;
    legend(&mut text, report)?;
    if !controls.is_empty() {
        // Between what they explain.
        let mut columns = vec![Configuration::Bare];
        columns.extend(&controls);
        columns.extend([Configuration::Level1, Configuration::Level2]);
        columns.retain(|column| report.configurations.contains(column));
        writeln!(text, "\nWhere the cost comes from:\n")?;
        let measured = |metric| {
            let has = |&control: &Configuration| report.samples.cell(metric, control).is_some();
            controls.iter().any(has)
        };
        table(&mut text, report, &columns, measured)?;
    }
    budgets(&mut text, report)?;
    if !report.failures.is_empty() {
        writeln!(text, "\n**Failed:**\n")?;
        for failure in &report.failures {
            writeln!(text, "- {failure}")?;
        }
    }
    Ok(text)
}

fn table(
    text: &mut String,
    report: &Report,
    columns: &[Configuration],
    shown: impl Fn(Metric) -> bool,
) -> fmt::Result {
    write!(text, "| |")?;
    for configuration in columns {
        write!(text, " {configuration} |")?;
    }
    writeln!(text, "\n|---|{}", "---|".repeat(columns.len()))?;
    for metric in Metric::ALL {
        if !report.samples.has(metric) || !shown(metric) {
            continue;
        }
        let described = metric.describe();
        let unit = match described.unit {
            "" => String::new(),
            unit => format!(", {unit}"),
        };
        write!(text, "| {}{unit} |", described.title)?;
        for &configuration in columns {
            write!(text, " {} |", cell(report, metric, configuration))?;
        }
        writeln!(text)?;
    }
    Ok(())
}

/// `median [min–max] (beside bare) note`
fn cell(report: &Report, metric: Metric, configuration: Configuration) -> String {
    let Some(cell) = report.samples.cell(metric, configuration) else {
        return "–".to_owned();
    };
    let mut parts = Vec::new();
    if let Some(spread) = cell.spread() {
        parts.push(value(&spread, cell.values().count() > 1));
        if let Some(beside) = beside_bare(report, metric, configuration) {
            parts.push(format!("({beside})"));
        }
    }
    if let Some(note) = &cell.note {
        parts.push(format!("*{note}*"));
    }
    parts.join(" ")
}

fn value(spread: &Spread, several: bool) -> String {
    let median = figure(spread.median);
    if several {
        format!("{median} [{}–{}]", figure(spread.min), figure(spread.max))
    } else {
        median
    }
}

fn beside_bare(report: &Report, metric: Metric, configuration: Configuration) -> Option<String> {
    if configuration == Configuration::Bare {
        return None;
    }
    let bare = (metric.unwatched(), Configuration::Bare);
    let pairs = |compare| report.samples.pairs(metric, configuration, bare, compare);
    let times = pairs(|a, b| a / b);
    match metric.describe().beside {
        Beside::Alone => None,
        Beside::Ratio => Some(ratio(times?.median)),
        Beside::Difference => {
            let more = difference(pairs(|a, b| a - b)?.median);
            Some(format!("**{more}**, {}", ratio(times?.median)))
        }
    }
}

fn legend(text: &mut String, report: &Report) -> fmt::Result {
    let machine = &report.machine;
    writeln!(
        text,
        "\nMedians [lowest–highest] of interleaved runs; in parentheses the median of the differences and ratios to `bare` within a round. MB are MiB."
    )?;
    writeln!(text)?;
    for configuration in &report.configurations {
        writeln!(
            text,
            "- **{configuration}**: {}",
            configuration.description()
        )?;
    }
    let packages: Vec<String> = machine
        .packages
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    writeln!(
        text,
        "\n{}, {} CPUs, {}, {}; {}.",
        machine.cpu,
        machine.cpus,
        machine.kernel,
        machine.rustc,
        packages.join(", ")
    )?;
    writeln!(text, "{}.", report.plan)?;
    if let Some(busy) = report.generator_busy {
        writeln!(
            text,
            "The load generator was busy {:.0} % of its time [{:.0}–{:.0}].",
            busy.median * 100.0,
            busy.min * 100.0,
            busy.max * 100.0
        )?;
    }
    if let (Some(before), Some(after)) = report.load {
        writeln!(
            text,
            "Load average {before:.1} before and {after:.1} after; {:.0} s to build, {:.0} s to measure.",
            report.building.as_secs_f64(),
            report.measuring.as_secs_f64()
        )?;
    }
    writeln!(
        text,
        "Again: `cargo run --release --manifest-path bench/Cargo.toml`"
    )
}

fn budgets(text: &mut String, report: &Report) -> fmt::Result {
    writeln!(text, "\n| budget | measured [quartiles] | |\n|---|---|---|")?;
    for budget in BUDGETS {
        let (spread, verdict) = match budget.stands(&report.samples) {
            Standing::Met(spread) => (spread, "met"),
            Standing::Missed(spread) => (spread, "**missed**"),
            Standing::NotMeasured => {
                writeln!(text, "| {} | – | not measured |", budget.what)?;
                continue;
            }
        };
        let unit = budget.metric.describe().unit;
        let show = |value| match budget.limit {
            Limit::More(_) => format!("{} {unit}", difference(value)),
            Limit::Share(_) => ratio(value),
            Limit::Most(_) => format!("{} {unit}", figure(value)),
        };
        let (median, lower, upper) = (show(spread.median), show(spread.lower), show(spread.upper));
        writeln!(
            text,
            "| {} | {median} [{lower} to {upper}] | {verdict} |",
            budget.what
        )?;
    }
    Ok(())
}
