//! What a task did over the last minute, as bars over time.
//!
//! ```text
//! Last minute
//!   busy         ▁▁▁▁▁▁▃▇▇███▇▁▁▁▁▁▁▂▁▁▁
//!   scheduled    ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▂▁▁▁▁▁▁▁▁
//!   idle         ▇▇▇▇▇▇▅▁▁   ▁▇▇▇▇▇▇▆▇▇▇
//!                60 s ago            now
//! ```

use std::time::Duration;

use crate::{
    app::{State, Tone, quantity, tables},
    model::{ACTIVITY_WINDOW, Capability, FINE_STEP, Model, Moment, Share, Span, Task},
};

use super::{Line, facts::Facts, line::NAMES};

/// Time at the edges that is not worth a remark.
const SLACK: Duration = Duration::from_secs(2);

pub(super) fn lines(state: &State, task: &Task, facts: &mut Facts) -> Vec<Line> {
    let model = state.model();
    let width = facts.width();
    let now = model.now;
    // No more than a minute is held.
    let window = state.span.duration().min(ACTIVITY_WINDOW);
    let title = match state.span {
        Span::TenSeconds => "Last 10 s",
        _ => "Last minute",
    };
    if model.reads_tasks() {
        return in_stalls(model, task, window, title, width);
    }
    let mut lines = Vec::from(Line::heading(title));
    let activity = state.activity();
    let Some((activity, reach)) = activity.and_then(|a| Some((a, a.reach(now)?))) else {
        let why = format!("{} not observed for long enough yet", quantity::UNKNOWN);
        lines.push(Line::new(&format!("  {why}"), Tone::Dim));
        return lines;
    };
    let steps = window.as_millis() / FINE_STEP.as_millis();
    let columns = width.saturating_sub(NAMES + 2).clamp(1, steps as usize);
    let shares = activity.columns(now, window, columns, task.ended_at());
    let stalls = stalls(model, task, window, columns);

    let missing = |kind| model.session.missing(kind);
    let waits = missing(Capability::Wakes).or(missing(Capability::ScheduleLatency));
    lines.extend(row("busy", &shares, |s| s.busy, &stalls, None, facts));
    lines.extend(row(
        "scheduled",
        &shares,
        |s| s.scheduled,
        &[],
        waits,
        facts,
    ));
    lines.extend(row("idle", &shares, Share::idle, &[], waits, facts));
    lines.push(axis(window, columns));

    let mut remarks = Vec::new();
    if stalls.iter().any(Option::is_some) {
        remarks.push("a full bar marks a stall".to_owned());
    }
    if let Some(blank) = blank(task, model, window, reach) {
        remarks.push(blank);
    }
    if !remarks.is_empty() {
        lines.extend(Line::value("", &remarks.join("; "), Tone::Dim, width));
    }
    lines
}

/// From outside nothing is known of what it did but its stalls.
fn in_stalls(model: &Model, task: &Task, window: Duration, title: &str, width: usize) -> Vec<Line> {
    let columns = width.saturating_sub(NAMES + 2).max(1);
    let marks = stalls(model, task, window, columns);
    if marks.iter().all(Option::is_none) {
        return Vec::new();
    }
    let mut lines = Vec::from(Line::heading(title));
    lines.push(bars("in stalls", &vec![None; columns], &marks));
    lines.push(axis(window, columns));
    lines
}

/// One line of bars; what is not known is left to the end.
fn row(
    name: &'static str,
    shares: &[Option<Share>],
    part: fn(&Share) -> Option<f64>,
    stalls: &[Option<f64>],
    missing: Option<&str>,
    facts: &mut Facts,
) -> Option<Line> {
    let parts: Vec<_> = shares.iter().map(|s| part(s.as_ref()?)).collect();
    if parts.iter().all(Option::is_none) && shares.iter().any(Option::is_some) {
        if let Some(why) = missing {
            facts.not_known(name, why);
            return None;
        }
        let unknown = Line::value(name, quantity::UNKNOWN, Tone::Dim, facts.width());
        return unknown.into_iter().next();
    }
    Some(bars(name, &parts, stalls))
}

fn bars(name: &str, parts: &[Option<f64>], stalls: &[Option<f64>]) -> Line {
    let label = Line::new(&format!("  {name:<NAMES$}"), Tone::Dim);
    let bars = tables::bars(parts, stalls);
    bars.0
        .iter()
        .fold(label, |line, (text, tone)| line.and(text, *tone))
}

/// The columns during which a stall of the task lasted.
fn stalls(model: &Model, task: &Task, window: Duration, columns: usize) -> Vec<Option<f64>> {
    let now = model.now;
    let begin = now.minus(window);
    let mut marks = vec![None; columns];
    let column = |at: Duration| {
        let part = at.as_secs_f64() / window.as_secs_f64();
        ((part * columns as f64) as usize).min(columns - 1)
    };
    // Before the clock's start nothing was; what it covers ends at the right.
    let before = window.saturating_sub(now.since(begin));
    let own = model.stalls.iter().filter(|s| s.task == Some(task.id));
    for stall in own.filter(|s| s.overlaps(begin, now)) {
        let place = |at: Moment| column(before + at.min(now).since(begin));
        marks[place(stall.started)..=place(stall.end(now))].fill(Some(1.0));
    }
    marks
}

fn axis(window: Duration, columns: usize) -> Line {
    let ago = format!("{} s ago", window.as_secs());
    let room = columns.saturating_sub(ago.len());
    let indent = " ".repeat(NAMES + 2);
    Line::new(&format!("{indent}{ago}{:>room$}", "now"), Tone::Dim)
}

/// What the blank columns mean, where there are any that need a word.
fn blank(task: &Task, model: &Model, window: Duration, reach: Duration) -> Option<String> {
    let now = model.now;
    if let Some(end) = task
        .ended_at()
        .map(|at| now.since(at))
        .filter(|end| *end > SLACK)
    {
        return Some(format!("it ended {} ago", quantity::duration(end)));
    }
    let lived = task.total(now)?;
    if reach + SLACK < window && lived > reach + SLACK {
        let reach = quantity::duration(reach);
        return Some(format!("blank before it was observed, {reach} ago"));
    }
    (lived + SLACK < window).then(|| {
        let lived = quantity::duration(lived);
        format!("blank before it was spawned, {lived} ago")
    })
}
