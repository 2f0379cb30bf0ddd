//! The verdict: the state of the loop in one sentence, and what to do. On a
//! connection that gives no data, why, and what to do.
//!
//! ```text
//!  ■ STARVED  worker 2 blocked 843 ms computing in report::render
//!             (demo/src/cpu.rs:42); 57 tasks wait
//!    → heavy CPU: move it to a dedicated pool (rayon)
//! ```

use ratatui::layout::Rect;

use crate::{
    app::{Connection, State, Tone, page},
    diagnose::Level,
};

use super::{Painter, header, painter::shortened};

pub(super) fn render(state: &State, area: Rect, painter: &mut Painter<'_>) {
    let Said {
        glyph,
        word,
        tone,
        sentence,
        remedy,
    } = said(state);
    let lead = format!(" {glyph} {word}  ");
    let indent = painter.put(area.x, area.y, area.width, &lead, tone);
    let rest = Rect {
        x: area.x + indent,
        width: area.width.saturating_sub(indent),
        ..area
    };
    let rows = area.height - u16::from(!remedy.is_empty() && area.height > 1);
    let place = verdict_location(state);
    let tone = if tone == Tone::Good {
        Tone::Text
    } else {
        Tone::Strong
    };
    let used = flow(
        &sentence,
        place,
        Rect {
            height: rows,
            ..rest
        },
        tone,
        painter,
    );
    if !remedy.is_empty() {
        let below = Rect {
            x: area.x + REMEDY,
            y: area.y + used,
            width: area.width.saturating_sub(REMEDY),
            height: area.height - used,
        };
        painter.put(below.x - 2, below.y, 2, "→ ", Tone::Strong);
        flow(remedy, "", below, Tone::Strong, painter);
    }
    if let Some(notice) = state.notice() {
        let below = Rect {
            y: area.bottom() - 1,
            height: 1,
            ..area
        };
        painter.right(below, &format!(" {notice} "), Tone::BadgeFrozen);
    }
}

/// What is said of the loop, or of the connection to it.
pub(super) struct Said<'a> {
    pub(super) glyph: &'static str,
    pub(super) word: &'static str,
    pub(super) tone: Tone,
    pub(super) sentence: String,
    /// Empty where there is nothing to do.
    pub(super) remedy: &'a str,
}

/// The verdict; on a connection that gives no data, why.
pub(super) fn said(state: &State) -> Said<'_> {
    if let Some((word, sentence)) = problem(state) {
        let (glyph, tone) = match word {
            READING => ("◌", Tone::Dim),
            _ => ("✖", Tone::Critical),
        };
        return Said {
            glyph,
            word,
            tone,
            sentence,
            remedy: "",
        };
    }
    let verdict = &state.shown().verdict;
    let (glyph, tone) = level(verdict.level);
    Said {
        glyph,
        word: verdict.level.word(),
        tone,
        sentence: verdict.sentence.clone(),
        remedy: &verdict.remedy,
    }
}

/// Where the remedy begins.
const REMEDY: u16 = 5;

pub(super) fn verdict_location(state: &State) -> &str {
    let named = state.shown().verdict.finding.as_ref();
    let finding = named.and_then(|(rule, subject)| state.find_finding(rule, subject));
    finding.map_or("", |f| f.location.as_str())
}

/// Text over the rows of `area`; what is left over is cut at the end of the
/// last. Returns how many rows it took.
pub(super) fn flow(
    text: &str,
    place: &str,
    area: Rect,
    tone: Tone,
    painter: &mut Painter<'_>,
) -> u16 {
    let room = usize::from(area.width) * usize::from(area.height);
    let text = shortened(text, place, room);
    let mut lines = page::wrap(&text, usize::from(area.width).max(1));
    let rows = usize::from(area.height);
    if rows > 0 && lines.len() > rows {
        let tail = lines.split_off(rows - 1).join(" ");
        lines.push(tail);
    }
    for (line, y) in lines.iter().zip(area.y..area.bottom()) {
        painter.put(area.x, y, area.width, line, tone);
    }
    lines.len().clamp(1, rows.max(1)) as u16
}

/// A core dump is being read, which is no fault.
pub(super) const READING: &str = "READING";

/// Why there is no data, where that is so and the screen is not frozen.
pub(super) fn problem(state: &State) -> Option<(&'static str, String)> {
    if state.frozen.is_some() {
        return None;
    }
    let (word, problem) = in_the_way(&state.connection, header::is_of_core(state))?;
    Some((word, problem.to_owned()))
}

/// Why a connection gives no data, where that is so; `reads` a core dump.
pub(super) fn in_the_way(connection: &Connection, reads: bool) -> Option<(&'static str, &str)> {
    match connection {
        Connection::Silent { problem, .. } if reads => Some((READING, problem)),
        Connection::Silent { problem, .. } => Some(("NO DATA", problem)),
        Connection::Paused { problem, .. } => Some(("PAUSED", problem)),
        Connection::Lost { problem, .. }
        | Connection::Connecting {
            problem: Some(problem),
            ..
        } => Some(("NO CONNECTION", problem)),
        _ => None,
    }
}

pub(super) fn level(level: Level) -> (&'static str, Tone) {
    match level {
        Level::Unknown => ("◌", Tone::Dim),
        Level::Healthy => ("✓", Tone::Good),
        Level::CoreDump => ("■", Tone::Dim),
        Level::Notice => ("◆", Tone::Notice),
        Level::NotObserving => ("?", Tone::Warning),
        Level::Warning => ("▲", Tone::Warning),
        Level::Starved => ("■", Tone::Critical),
    }
}
