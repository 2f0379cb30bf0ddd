//! A page over the view: details, an explanation or the help.
//!
//! ```text
//! ─ Stall ────────────────────────────────────────────── 12 more lines ↓ ─
//!  ■ LIVE for 843 ms, computing
//!  → heavy CPU: move it to a dedicated pool
//! ```

use ratatui::layout::Rect;

use crate::app::{State, Tone, page};

use super::Painter;

pub(super) fn render(state: &State, area: Rect, painter: &mut Painter<'_>) {
    let lines = page::lines(state).unwrap_or_default();
    painter.rule(
        area,
        [
            (page::title(state).into(), Tone::Title),
            (" · Esc goes back".into(), Tone::Dim),
        ],
    );
    let height = usize::from(area.height).saturating_sub(1);
    let first = state.scroll.min(lines.len().saturating_sub(height));
    for (line, y) in lines.iter().skip(first).zip(area.y + 1..area.bottom()) {
        let row = Rect {
            x: area.x + 1,
            y,
            width: area.width.saturating_sub(2),
            height: 1,
        };
        painter.line(row, line);
    }
    let below = lines.len().saturating_sub(first + height);
    if below > 0 {
        let rule = Rect {
            width: area.width.saturating_sub(2),
            ..area
        };
        let s = if below == 1 { "" } else { "s" };
        painter.right(rule, &format!(" {below} more line{s} ↓ "), Tone::Key);
    }
}
