//! The lab: its scenarios, and before and after of the last switch.
//!
//! ```text
//! ─ Lab  30 scenarios · 2 workers · multi-thread · http://127.0.0.1:8080 ────────
//! ■ broken  sleep-in-handler    thread::sleep in a handler puts the worker to sleep
//!           cpu-in-handler      formatting a long conversation inline
//! ─ sleep-in-handler broken for 12 s ──────────┬─ code of the broken twin ───────
//!               before   since     change      │ async fn sync_handler() {
//!               fixed 8 s  12 s                │     thread::sleep(WORK); // <-
//!   requests/s  3843     18        ÷214        │
//!   watch requests/s
//!   notes 31.76 -> 3,843.17 requests/s
//! ```

use std::borrow::Cow;

use ratatui::layout::Rect;

use crate::app::{
    State, Tone,
    lab::{self, LabState, Layout, NO_LAB, Status, Twin, Value},
    page::Line,
    quantity,
};

use super::{
    super::{Painter, presenter},
    paragraph,
};

pub(super) fn render(state: &State, area: Rect, painter: &mut Painter<'_>) {
    let lab = state.shown_lab();
    let Some(status) = &lab.status else {
        return without(state, lab, area, painter);
    };
    let layout = Layout::new(area);
    list(state, lab, status, &layout, painter);
    figures(lab, status, layout.figures, painter);
    if layout.code.width > 0 {
        let what = match status.twin {
            Some(Twin::Broken) => "Code of the broken twin",
            Some(Twin::Fixed) => "Code of the fixed twin",
            _ => "Code",
        };
        painter.rule(layout.code, [(what.into(), Tone::Title)]);
        presenter::lines_of_code(status, below_rule(layout.code), painter);
    }
}

fn below_rule(area: Rect) -> Rect {
    Rect {
        y: area.y + 1,
        height: area.height.saturating_sub(1),
        ..area
    }
}

/// Why there is nothing to show, and how there would be.
fn without(state: &State, lab: &LabState, area: Rect, painter: &mut Painter<'_>) {
    painter.rule(area, [("Lab".into(), Tone::Title)]);
    let text = match (&lab.problem, &state.options.lab) {
        _ if lab.absent => format!("– {NO_LAB}"),
        (Some(problem), _) => format!("– {problem}"),
        (None, Some(started)) => format!(
            "– {} ({}): {}; waiting for the lab's first answer",
            started.scenario, started.mode, started.caption
        ),
        (None, None) => format!("– {NO_LAB}"),
    };
    paragraph(&text, Tone::Dim, area, 2, painter);
}

fn list(
    state: &State,
    lab: &LabState,
    status: &Status,
    layout: &Layout,
    painter: &mut Painter<'_>,
) {
    let mut about = format!(
        "  {} · {} · {}",
        quantity::plural(status.scenarios.len() as u64, "scenario"),
        quantity::plural(u64::from(status.workers), "worker"),
        status.flavor
    );
    if !status.http.is_empty() {
        about.push_str(" · http://");
        about.push_str(&status.http);
    }
    painter.rule(
        layout.list,
        [("Lab".into(), Tone::Title), (about.into(), Tone::Dim)],
    );
    let widest = status.scenarios.iter().map(|e| e.id.len()).max();
    let ids = widest.unwrap_or_default().min(24);
    let rows = layout.rows();
    // The cursor is the user's, also on a frozen screen.
    let cursor = state.lab.row();
    let first = layout.first(cursor, status.scenarios.len());
    let entries = status.scenarios.iter().enumerate().skip(first);
    for ((n, entry), y) in entries.zip(rows.y..rows.bottom()) {
        let row = Rect {
            y,
            height: 1,
            ..rows
        };
        let (mark, tone) = mark(lab, status, &entry.id);
        let id = if tone == Tone::Dim {
            Tone::Text
        } else {
            Tone::Strong
        };
        painter.pieces(
            row,
            [
                (format!(" {mark:<9} ").into(), tone),
                (format!("{:<ids$}  ", entry.id).into(), id),
                (Cow::from(entry.caption.as_str()), Tone::Dim),
            ],
        );
        if n == cursor {
            painter.select(row);
        }
    }
}

/// What a scenario does now: glyph and word.
fn mark(lab: &LabState, status: &Status, id: &str) -> (String, Tone) {
    if let Some((asked, twin)) = &lab.asked
        && asked == id
    {
        return (format!("◌ {}", twin.word()), Tone::Notice);
    }
    if id != status.scenario {
        return (String::new(), Tone::Dim);
    }
    match status.twin {
        Some(Twin::Broken) => ("■ broken".into(), Tone::Critical),
        Some(Twin::Fixed) => ("✓ fixed".into(), Tone::Good),
        Some(Twin::Off) => ("○ off".into(), Tone::Notice),
        None => ("? mode".into(), Tone::Notice),
    }
}

/// Columns of the comparison: name, before, since, change.
const COLUMNS: [u16; 4] = [14, 16, 14, 8];

fn figures(lab: &LabState, status: &Status, area: Rect, painter: &mut Painter<'_>) {
    let twin = status.twin.map_or("?", Twin::word);
    let seconds = status.now.lasted.as_secs();
    let mut title = vec![
        (Cow::from(status.scenario.as_str()), Tone::Title),
        (format!(" {twin} for {seconds} s").into(), Tone::Strong),
    ];
    match &lab.problem {
        Some(problem) => title.push((format!("  {problem}").into(), Tone::Warning)),
        None if status.endpoint.is_empty() => {}
        None => title.push((format!("  load on {}", status.endpoint).into(), Tone::Dim)),
    }
    painter.rule(area, title);
    let mut inner = below_rule(area);
    inner.x += 1;
    inner.width = inner.width.saturating_sub(1);
    let tail = tail(status, usize::from(inner.width));
    let room = usize::from(inner.height).saturating_sub(tail.len() + 1);
    row(
        inner,
        [
            ("", Tone::Dim),
            (&before_title(status), Tone::Title),
            ("since then", Tone::Title),
            ("change", Tone::Title),
        ],
        painter,
    );
    let rows = lab::comparison(status);
    let mut y = inner.y + 1;
    for line in rows.iter().take(room) {
        let place = Rect {
            y,
            height: 1,
            ..inner
        };
        let text = |value: Option<Value>| quantity::or_unknown(value, Value::text);
        let change = match (line.now, line.before) {
            (Some(now), Some(before)) => now.change(before),
            _ => String::new(),
        };
        row(
            place,
            [
                (&line.name, Tone::Dim),
                (&text(line.before), Tone::Text),
                (&text(line.now), Tone::Strong),
                (&change, Tone::Notice),
            ],
            painter,
        );
        y += 1;
    }
    for (line, y) in tail.iter().zip(y..inner.bottom()) {
        painter.line(
            Rect {
                y,
                height: 1,
                ..inner
            },
            line,
        );
    }
}

/// "fixed 8 s", the other twin; "before" where another scenario ran.
fn before_title(status: &Status) -> String {
    let Some(before) = status.own_before() else {
        return "before".to_owned();
    };
    let twin = before.twin.map_or("?", Twin::word);
    format!("{twin} {} s", before.figures.lasted.as_secs())
}

fn row(area: Rect, cells: [(&str, Tone); 4], painter: &mut Painter<'_>) {
    if area.height == 0 {
        return;
    }
    let mut x = area.x;
    for (n, ((text, tone), width)) in cells.into_iter().zip(COLUMNS).enumerate() {
        let place = Rect {
            x,
            width: width.min(area.right().saturating_sub(x)),
            ..area
        };
        if n == 0 {
            painter.put(place.x, place.y, place.width, text, tone);
        } else {
            painter.right(place, text, tone);
        }
        x = (x + width).min(area.right());
    }
}

/// What to watch and what the notes say.
fn tail(status: &Status, width: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    for (name, text) in [("watch", &status.watch), ("notes", &status.notes)] {
        if !text.is_empty() {
            lines.extend(Line::value(name, text, Tone::Text, width));
        }
    }
    lines.truncate(3);
    lines
}
