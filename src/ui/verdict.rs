//! The verdict: the state of the loop in one sentence, and what to do. On a
//! connection that gives no data, why, and what to do.
//!
//! ```text
//!  ▲ STARVED  worker 2 blocked 843 ms computing in report::render (demo/src/cpu.rs:42)
//!    → heavy CPU: move it to a dedicated pool (rayon)
//! ```

use ratatui::layout::Rect;

use crate::{
    app::{Connection, State, Tone, page},
    diagnose::Level,
};

use super::Painter;

pub(super) fn render(state: &State, area: Rect, painter: &mut Painter<'_>) {
    let (glyph, word, tone, sentence, remedy) = match problem(state) {
        Some((word, problem)) => ("✖", word, Tone::Critical, problem, String::new()),
        None => {
            let verdict = &state.shown().verdict;
            let (glyph, tone) = level(verdict.level);
            (glyph, verdict.level.word(), tone, verdict.sentence.clone(), verdict.remedy.clone())
        }
    };
    let lead = [(format!(" {glyph} {word}  ").into(), tone)];
    let x = painter.pieces(area, lead);
    let room = area.width.saturating_sub(x);
    let lines = page::wrap(&sentence, usize::from(room).max(1));
    let tone = if tone == Tone::Good { Tone::Text } else { Tone::Strong };
    let rest = Rect { x: area.x + x, width: room, ..area };
    // Without a remedy the sentence may take both lines; with one it is cut.
    let second = if remedy.is_empty() { lines.get(1).cloned() } else { None };
    match second {
        Some(_) => {
            painter.put(rest.x, rest.y, room, &lines[0], tone);
            let tail = lines[1..].join(" ");
            painter.put(rest.x, rest.y + 1, room, &tail, tone);
        }
        None => {
            painter.put(rest.x, rest.y, room, &sentence, tone);
            if !remedy.is_empty() {
                let remedy = format!("   → {remedy}");
                painter.put(area.x, area.y + 1, area.width, &remedy, Tone::Strong);
            }
        }
    }
    if let Some(notice) = state.notice() {
        let below = Rect { y: area.y + 1, height: 1, ..area };
        painter.right(below, &format!(" {notice} "), Tone::BadgeFrozen);
    }
}

/// Why there is no data, where that is so and the screen is not frozen.
fn problem(state: &State) -> Option<(&'static str, String)> {
    if state.frozen.is_some() {
        return None;
    }
    match &state.connection {
        Connection::Lost { problem, .. } => Some(("NO CONNECTION", problem.clone())),
        Connection::Silent { problem, .. } => Some(("NO DATA", problem.clone())),
        Connection::Connecting { problem: Some(problem), .. } => Some(("NO CONNECTION", problem.clone())),
        _ => None,
    }
}

fn level(level: Level) -> (&'static str, Tone) {
    match level {
        Level::Unknown => ("◌", Tone::Dim),
        Level::Healthy => ("✓", Tone::Good),
        Level::Notice => ("◆", Tone::Notice),
        Level::Warning => ("▲", Tone::Warning),
        Level::Starved => ("■", Tone::Critical),
    }
}
