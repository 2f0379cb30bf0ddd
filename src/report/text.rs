//! The report for people.

use std::{fmt::Write, time::Duration};

use super::{Entry, Report};
use crate::{
    diagnose::{counts_waiters, spoken},
    escape::escaped,
    model::with_place,
};

/// Frames shown of a stack.
const FRAMES: usize = 6;

pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    let name = if report.name.is_empty() { "" } else { " " };
    let window = if report.window_s > 0.0 {
        format!("{:.1} s", report.window_s)
    } else {
        "one moment".to_owned()
    };
    let _ = writeln!(
        text,
        "looptop check {}{name}{}: {window} observed",
        report.target,
        escaped(&report.name),
    );
    let level = report.level.to_uppercase();
    let _ = writeln!(text, "{level}: {}", escaped(&report.verdict));
    for gap in &report.not_observed {
        if gap.cause != report.verdict {
            let _ = writeln!(text, "not observed: {}", escaped(&gap.cause));
        }
        let _ = writeln!(text, "    remedy: {}", escaped(&gap.remedy));
    }
    text.push('\n');
    if let Some(no_lines) = &report.no_lines {
        let _ = writeln!(text, "{}\n", escaped(no_lines));
    }
    for finding in &report.findings {
        entry(&mut text, finding, "");
    }
    for finding in &report.allowed {
        let _ = writeln!(
            text,
            "allowed   {}  {}",
            finding.rule,
            escaped(&finding.title)
        );
    }
    for finding in &report.known {
        let (rule, title) = (finding.rule, escaped(&finding.title));
        let _ = writeln!(text, "known     {rule}  {title}");
    }
    for key in &report.resolved {
        let _ = writeln!(text, "resolved  {}", escaped(&key.to_string()));
    }
    if let Some(lag) = &report.lag_ms {
        let _ = writeln!(
            text,
            "loop lag  p50 {:.1} ms  p99 {:.1} ms  max {:.1} ms",
            lag.p50, lag.p99, lag.max
        );
    }
    let _ = match report.tasks.live {
        Some(live) => write!(text, "tasks     {live} live"),
        None => write!(text, "tasks     unknown"),
    };
    if let Some(reason) = report.missing.get("tasks") {
        let _ = write!(text, ", not shown: {}", escaped(reason));
    }
    if let (Some(spawned), Some(finished)) = (report.tasks.spawned, report.tasks.finished) {
        let _ = write!(text, ", {spawned} spawned, {finished} finished");
    }
    text.push('\n');
    for unjudged in &report.not_judged {
        let _ = writeln!(
            text,
            "not judged  {}: {}",
            unjudged.rule,
            escaped(&unjudged.reason)
        );
    }
    for remark in &report.remarks {
        // The sentence of a verdict without findings holds them already.
        if !report.verdict.contains(remark) {
            let _ = writeln!(text, "not seen  {}", escaped(remark));
        }
    }
    if !report.loss.is_empty() {
        let lost: Vec<_> = report
            .loss
            .iter()
            .map(|(what, n)| format!("{what} {n}"))
            .collect();
        let _ = writeln!(text, "dropped   {}", lost.join(", "));
    }
    text
}

/// A finding; `on` is said behind its rule.
pub(super) fn entry(text: &mut String, finding: &Entry, on: &str) {
    let Entry {
        rule,
        severity,
        title,
        remedy,
        ..
    } = finding;
    let _ = writeln!(text, "{severity:<9} {rule}{on}");
    let _ = writeln!(text, "    {}", escaped(title));
    if finding.max_ms > 0.0 {
        let _ = writeln!(text, "    {}", how_often(finding));
    }
    let shown = finding.stack.iter().filter(|f| !f.plumbing).take(FRAMES);
    for frame in shown {
        let location = frame.location.as_deref().unwrap_or_default();
        let place = with_place(&frame.function, location);
        let _ = writeln!(text, "      at {}", escaped(&place));
    }
    let _ = writeln!(text, "    remedy: {}\n", escaped(remedy));
}

/// How often it was seen, and for how long.
fn how_often(finding: &Entry) -> String {
    let said = |ms: f64| spoken(Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default());
    let longest = said(finding.max_ms);
    match finding.count {
        0 | 1 if counts_waiters(finding.rule) => format!("waits for at least {longest}"),
        n if counts_waiters(finding.rule) => {
            format!("{n} wait, the longest for at least {longest}")
        }
        0 | 1 => format!("seen once, for {longest}"),
        n if finding.total_ms > finding.max_ms => format!(
            "seen {n} times, the longest for {longest}, {} in all",
            said(finding.total_ms)
        ),
        n => format!("seen {n} times, the longest for {longest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnose::{Engine, Window},
        model::{Moment, fixtures},
        report::Report,
    };

    #[test]
    fn how_often_and_how_long_is_said_as_a_person_says_it() {
        let (model, since) = (fixtures::starving(), Moment::default());
        let mut engine = Engine::new(Window::Since(since));
        engine.update(&model);
        let report = Report::new("lab", &model, &engine, since, &[]);
        let mut finding = report.findings[0].clone();
        for (rule, count, max_ms, total_ms, expected) in [
            ("blocked-worker", 1, 843.0, 843.0, "seen once, for 843 ms"),
            (
                "blocked-worker",
                8,
                2_100.0,
                371_591.0,
                "seen 8 times, the longest for 2.1 s, 6 min in all",
            ),
            (
                "loop-starved",
                3,
                120.0,
                0.0,
                "seen 3 times, the longest for 120 ms",
            ),
            (
                "deadlock",
                8,
                185_796.0,
                371_591.0,
                "8 wait, the longest for at least 186 s",
            ),
            (
                "stuck-task",
                1,
                72_300.0,
                72_300.0,
                "waits for at least 72 s",
            ),
        ] {
            (finding.rule, finding.count) = (rule, count);
            (finding.max_ms, finding.total_ms) = (max_ms, total_ms);
            assert_eq!(how_often(&finding), expected);
        }
    }
}
