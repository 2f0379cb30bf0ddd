//! Presenter mode: the state of the loop for the last row of a room.
//!
//! ```text
//! header
//!   ▄▄▄ STARVED ▄▄▄          five rows of blocks
//!   sentence, and → remedy
//!   canary p99               requests/s
//!   ▄▄▄ 1.4 ▄▄▄ s            ▄▄▄ 18 ▄▄▄
//!   before (fixed): 12 ms    before (fixed): 204
//!   scenario BROKEN  caption
//!   code of the twin that runs
//! key echo
//! ```
//!
//! Nothing blinks: figures change in place, and twice a second at most.

use std::time::Duration;

use ratatui::layout::Rect;

use crate::{
    app::{
        State, Tone, ViewId, bindings,
        lab::{self, Row, Status, Twin, Value},
        page,
    },
    diagnose::Level,
    model::Lag,
};

use super::{
    Painter,
    block_letters::{self, Dot, HEIGHT},
    verdict,
};

/// Columns that stay free at either side.
const MARGIN: u16 = 2;
/// A key is shown this long.
const ECHO: Duration = Duration::from_secs(4);
/// The time over which lag is shown where there is no lab.
const LAG_WINDOW: Duration = Duration::from_secs(10);

pub(super) fn render(state: &State, painter: &mut Painter<'_>) {
    let area = painter.buffer.area;
    let inner = Rect {
        x: area.x + MARGIN,
        y: area.y + 1,
        width: area.width.saturating_sub(2 * MARGIN),
        height: area.height.saturating_sub(2),
    };
    let tall = area.height >= 28;
    let gap = u16::from(tall);
    let mut rest = drop_rows(inner, u16::from(area.height >= 20));
    rest = drop_rows(rest, word(state, rest, painter) + gap);
    rest = drop_rows(rest, sentence(state, rest, painter) + gap);
    let [left, right] = headline(state);
    let half = rest.width / 2;
    let large = rest.height >= 8;
    let columns = [
        (
            left,
            Rect {
                width: half.saturating_sub(2),
                ..rest
            },
        ),
        (
            right,
            Rect {
                x: rest.x + half,
                width: rest.width - half,
                ..rest
            },
        ),
    ];
    let mut used = 0;
    for (row, place) in &columns {
        used = used.max(figure(state, row, *place, large, painter));
    }
    rest = drop_rows(rest, used + gap);
    below(state, rest, painter);
    let footer = Rect {
        y: area.bottom().saturating_sub(1),
        height: 1,
        ..area
    };
    echo(state, footer, painter);
}

fn drop_rows(area: Rect, rows: u16) -> Rect {
    let rows = rows.min(area.height);
    Rect {
        y: area.y + rows,
        height: area.height - rows,
        ..area
    }
}

/// The verdict in one word, as large as fits; returns the rows that it took.
fn word(state: &State, area: Rect, painter: &mut Painter<'_>) -> u16 {
    let level = state.shown().verdict.level;
    let (_, tone) = verdict::level(level);
    let (word, tone) = match verdict::problem(state) {
        Some((word @ verdict::READING, _)) => (word, Tone::Dim),
        Some((word, _)) => (word, Tone::Critical),
        None => (level.word(), tone),
    };
    let fits = |dot: &Dot| block_letters::width(word, *dot) <= area.width;
    let Some(dot) = [2, 1].into_iter().find(fits).filter(|_| area.height >= 12) else {
        painter.put(area.x, area.y, area.width, word, tone);
        return 1;
    };
    letters(word, dot, area, tone, painter);
    HEIGHT
}

fn letters(text: &str, dot: Dot, area: Rect, tone: Tone, painter: &mut Painter<'_>) {
    for (row, y) in block_letters::rows(text, dot)
        .iter()
        .zip(area.y..area.bottom())
    {
        painter.put(area.x, y, area.width, row, tone);
    }
}

/// The verdict's sentence and what to do; always the same rows, so that what is
/// below stays in its place.
fn sentence(state: &State, area: Rect, painter: &mut Painter<'_>) -> u16 {
    let verdict = &state.shown().verdict;
    let problem = verdict::problem(state);
    let remedy = if problem.is_some() {
        ""
    } else {
        &verdict.remedy
    };
    let text = problem.map_or(verdict.sentence.clone(), |(_, sentence)| sentence);
    let rows = match area.height {
        18.. => 4,
        12.. => 3,
        _ => 2,
    };
    let rows = rows.min(area.height);
    let keep = u16::from(!remedy.is_empty()) * (1 + u16::from(rows >= 4));
    let upper = Rect {
        height: rows - keep.min(rows),
        ..area
    };
    let place = verdict::verdict_location(state);
    let used = verdict::flow(&text, place, upper, Tone::Strong, painter);
    if !remedy.is_empty() {
        let lower = Rect {
            x: area.x + 2,
            y: area.y + used,
            width: area.width.saturating_sub(2),
            height: rows.saturating_sub(used),
        };
        painter.put(area.x, lower.y, 2, "→ ", Tone::Strong);
        verdict::flow(remedy, "", lower, Tone::Text, painter);
    }
    rows
}

/// The two figures that matter: the lab's, or those of the loop.
fn headline(state: &State) -> [Row; 2] {
    if let Some(status) = &state.shown_lab().status {
        return lab::headline(status);
    }
    let model = state.model();
    let p99 = |lag: &Lag| lag.percentiles(model.now, LAG_WINDOW).map(|p| p.p99);
    let row = |name: &str, now| Row {
        name: name.to_owned(),
        before: None,
        now,
    };
    let known = model.since.is_some();
    [
        row(
            "loop lag p99",
            model.lag.values().filter_map(p99).max().map(Value::Time),
        ),
        row(
            "tasks that wait for a worker",
            known.then(|| Value::Count(model.waiting_tasks() as f64)),
        ),
    ]
}

/// A figure with its name above and its value before the switch below; returns the rows that it took.
fn figure(state: &State, row: &Row, area: Rect, large: bool, painter: &mut Painter<'_>) -> u16 {
    let text = row.now.map_or_else(|| "–".to_owned(), Value::text);
    let (number, unit) = text.split_once(' ').unwrap_or((&text, ""));
    let before = before(state, row);
    let fits = |dot: &Dot| {
        let unit = if unit.is_empty() {
            0
        } else {
            unit.len() as u16 + 1
        };
        block_letters::width(number, *dot) + unit < area.width
    };
    let Some(dot) = [2, 1].into_iter().find(fits).filter(|_| large) else {
        let pieces = [
            (format!("{}  ", row.name).into(), Tone::Dim),
            (text.into(), Tone::Strong),
            (format!("  {before}").into(), Tone::Dim),
        ];
        painter.pieces(area, pieces);
        return 1;
    };
    painter.put(area.x, area.y, area.width, &row.name, Tone::Title);
    let tone = match state.shown().verdict.level {
        Level::Starved => Tone::Critical,
        Level::Warning | Level::NotObserving => Tone::Warning,
        _ => Tone::Strong,
    };
    letters(number, dot, drop_rows(area, 1), tone, painter);
    let unit_x = block_letters::width(number, dot) + 1;
    let foot = area.y + HEIGHT;
    painter.put(
        area.x + unit_x,
        foot,
        area.width.saturating_sub(unit_x),
        unit,
        Tone::Strong,
    );
    painter.put(area.x, foot + 1, area.width, &before, Tone::Text);
    HEIGHT + 2
}

/// "before (broken): 1.4 s   ÷120"
fn before(state: &State, row: &Row) -> String {
    let lab = state.shown_lab();
    let before = lab.status.as_ref().and_then(|s| s.own_before());
    let (Some(before), Some(value)) = (before, row.before) else {
        return String::new();
    };
    let twin = before.twin.map_or("", Twin::word);
    let change = row.now.map_or_else(String::new, |now| now.change(value));
    format!("before ({twin}): {}  {change}", value.text())
}

fn below(state: &State, area: Rect, painter: &mut Painter<'_>) {
    match &state.shown_lab().status {
        Some(status) => {
            let used = caption(status, area, painter);
            code(status, drop_rows(area, used), painter);
        }
        None => findings(state, area, painter),
    }
}

/// What runs, and what it shows; returns the rows that it took.
fn caption(status: &Status, area: Rect, painter: &mut Painter<'_>) -> u16 {
    let (word, tone) = match status.twin {
        Some(Twin::Broken) => ("BROKEN", Tone::Critical),
        Some(Twin::Fixed) => ("FIXED", Tone::Good),
        Some(Twin::Off) => ("OFF", Tone::Dim),
        None => ("?", Tone::Dim),
    };
    let seconds = status.now.lasted.as_secs();
    let pieces = [
        (format!("{}  ", status.scenario).into(), Tone::Strong),
        (word.into(), tone),
        (format!(" for {seconds} s").into(), Tone::Dim),
    ];
    let used = painter.pieces(area, pieces) + 3;
    let rest = Rect {
        x: area.x + used,
        width: area.width.saturating_sub(used),
        height: 1.min(area.height),
        ..area
    };
    // Beside it if it fits, otherwise below.
    let columns = status.caption.chars().count();
    if columns <= usize::from(rest.width) {
        painter.put(rest.x, rest.y, rest.width, &status.caption, Tone::Text);
        return 1;
    }
    let below = Rect {
        height: area.height.saturating_sub(1).min(2),
        ..drop_rows(area, 1)
    };
    if below.height == 0 {
        return 1;
    }
    1 + verdict::flow(&status.caption, "", below, Tone::Text, painter)
}

/// The lines of the twin that runs, around the culprit.
fn code(status: &Status, area: Rect, painter: &mut Painter<'_>) {
    lines_of_code(status, area, painter);
}

/// What marks the line at fault in the lab's code.
const MARK: &str = "// <-";

/// Code in `area`, around its culprit where it does not all fit.
pub(super) fn lines_of_code(status: &Status, area: Rect, painter: &mut Painter<'_>) {
    let lines: Vec<&str> = status.code().lines().collect();
    let page = usize::from(area.height);
    let marked = lines.iter().position(|l| l.contains(MARK)).unwrap_or(0);
    let last = lines.len().saturating_sub(page);
    let first = marked.saturating_sub(page / 2).min(last);
    for (line, y) in lines.iter().skip(first).zip(area.y..area.bottom()) {
        let faulty = line.contains(MARK);
        let (mark, tone) = if faulty {
            ("▶ ", Tone::Critical)
        } else {
            ("│ ", Tone::Text)
        };
        let side = if faulty { tone } else { Tone::Border };
        painter.put(area.x, y, 2, mark, side);
        painter.put(area.x + 2, y, area.width.saturating_sub(2), line, tone);
    }
}

/// Where there is no lab: what else was found.
fn findings(state: &State, area: Rect, painter: &mut Painter<'_>) {
    let others = state.shown().findings.iter().skip(1);
    for (finding, y) in others.zip(area.y..area.bottom()) {
        let text = format!("{}  {}", finding.severity.name(), finding.title);
        painter.put(area.x, y, area.width, &text, Tone::Text);
    }
}

/// The key that was pressed, so that an audience can follow; otherwise those
/// that can be.
fn echo(state: &State, area: Rect, painter: &mut Painter<'_>) {
    let lab = &state.lab;
    let fresh = state
        .echo
        .as_ref()
        .filter(|echo| state.now.saturating_duration_since(echo.at) < ECHO);
    let mut x = area.x + MARGIN;
    if let Some(echo) = fresh {
        x += painter.put(
            x,
            area.y,
            area.width,
            &format!("[ {} ]", echo.key),
            Tone::Key,
        ) + 2;
        let room = area.right().saturating_sub(x);
        x += painter.put(x, area.y, room, echo.help, Tone::Text);
    } else if state.lab_has_keys() {
        let keymap = &state.options.keys;
        let twins = ViewId::Lab.view().keys.bindings.iter();
        let twins: Vec<String> = twins
            .map(|binding| format!("{} {}", bindings::names(keymap, binding), binding.label))
            .collect();
        let keys = format!(
            "{}  ↑↓ scenario  {} explain  {} leave",
            twins.join("  "),
            state.key_of("explain"),
            state.key_of("present")
        );
        x += painter.put(x, area.y, area.width, &keys, Tone::Dim);
    } else {
        let keys = format!(
            "{} explain  {} freeze  {} leave",
            state.key_of("explain"),
            state.key_of("freeze"),
            state.key_of("present")
        );
        x += painter.put(x, area.y, area.width, &keys, Tone::Dim);
    }
    let right = match (state.notice(), lab.entry()) {
        (Some(notice), _) => notice.to_owned(),
        (None, Some(entry)) if lab.is_elsewhere() => format!("next: {}", entry.id),
        _ => return,
    };
    let columns = page::wrap(&right, usize::from(area.width)).len();
    let room = area.right().saturating_sub(x + 2);
    if columns == 1 && usize::from(room) > right.chars().count() + 2 {
        painter.right(area, &format!(" {right} "), Tone::BadgeFrozen);
    } else {
        // Above it, where there is no room beside it.
        let above = Rect {
            y: area.y.saturating_sub(1),
            ..area
        };
        painter.right(above, &format!(" {right} "), Tone::BadgeFrozen);
    }
}
