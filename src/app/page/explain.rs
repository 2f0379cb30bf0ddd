//! A finding, what its rule means, and what to do.

use crate::{
    app::{State, Tone, quantity},
    diagnose::{self, Finding, Severity, Subject},
};

use super::{Line, stack};

pub(super) fn lines(state: &State, rule: &str, subject: &Subject, width: usize) -> Vec<Line> {
    let mut lines = match state.find_finding(rule, subject) {
        Some(finding) => about(state, finding, width),
        None => vec![Line::new("this finding is over", Tone::Dim)],
    };
    let Some(rule) = diagnose::find(rule) else {
        return lines;
    };
    lines.extend(Line::heading("What the rule means"));
    lines.extend(Line::paragraph(
        &format!("{}.", rule.summary),
        Tone::Strong,
        2,
        width,
    ));
    lines.extend(Line::paragraph(rule.meaning, Tone::Text, 2, width));
    lines.extend(Line::value("fires when", rule.threshold, Tone::Text, width));
    lines.extend(Line::value("looks at", rule.evidence, Tone::Text, width));
    lines.extend(Line::value("in general", rule.remedy, Tone::Text, width));
    lines
}

fn about(state: &State, f: &Finding, width: usize) -> Vec<Line> {
    let (glyph, tone) = severity(f.severity);
    let mut lines = vec![];
    let title = format!("{glyph} {}: {}", f.severity.name().to_uppercase(), f.title);
    lines.extend(Line::paragraph(&title, tone, 0, width));
    if !f.remedy.is_empty() {
        lines.extend(Line::paragraph(
            &format!("→ {}", f.remedy),
            Tone::Strong,
            0,
            width,
        ));
    }
    lines.extend(Line::heading("Evidence"));
    let mut add = |name: &str, value: &str| {
        if !value.is_empty() {
            lines.extend(Line::value(name, value, Tone::Text, width));
        }
    };
    add("cause", &f.cause_text);
    add("task", &f.task_name);
    add("function", f.function.as_deref().unwrap_or_default());
    add("location", &f.location);
    let total = if f.total.is_zero() {
        String::new()
    } else {
        format!(
            ", longest {}, {} in all",
            quantity::duration(f.max),
            quantity::duration(f.total)
        )
    };
    add(
        "seen",
        &format!("{}{total}", quantity::plural(f.count, "time")),
    );
    let now = state.model().now;
    let first = quantity::duration(now.since(f.first_seen));
    let last = if f.live {
        "goes on".to_owned()
    } else {
        format!("last {} ago", quantity::duration(now.since(f.last_seen)))
    };
    add("when", &format!("first {first} ago, {last}"));
    if let Some(resolved) = &f.stack {
        lines.extend(stack::lines(resolved, state.all_frames, width));
    }
    lines
}

/// The glyph and tone of a severity.
pub(super) fn severity(severity: Severity) -> (&'static str, Tone) {
    match severity {
        Severity::Notice => ("◆", Tone::Notice),
        Severity::Warning => ("▲", Tone::Warning),
        Severity::Critical => ("■", Tone::Critical),
    }
}
