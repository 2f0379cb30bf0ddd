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
    let page = page::page(state).unwrap_or_default();
    let lines = &page.lines;
    let selected = page.selected(state).and_then(|n| page.links.get(n));
    painter.rule(
        area,
        [
            (page::title(state).into(), Tone::Title),
            (
                format!(" · {} goes back", state.key_of("back")).into(),
                Tone::Dim,
            ),
        ],
    );
    let height = usize::from(area.height).saturating_sub(1);
    let first = state.scroll.min(lines.len().saturating_sub(height));
    for ((n, line), y) in lines
        .iter()
        .enumerate()
        .skip(first)
        .zip(area.y + 1..area.bottom())
    {
        let row = Rect {
            x: area.x + 1,
            y,
            width: area.width.saturating_sub(2),
            height: 1,
        };
        painter.line(row, line);
        if selected.is_some_and(|link| link.line == n) {
            painter.select(Rect {
                x: area.x,
                width: area.width,
                ..row
            });
        }
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
