//! The views, a file each.

mod lab;
mod overview;
mod resources;
mod sites;
mod stalls;
mod tasks;
mod threads;
mod workers;

use ratatui::layout::Rect;

use crate::app::{State, Tone, ViewId, page, view};

use super::Painter;

/// Draws the view on screen, or why the target has nothing to show in it.
pub(super) fn render(state: &State, area: Rect, painter: &mut Painter<'_>) {
    if let Some(reason) = view::unavailable(state.view, state.model()) {
        return unavailable(state.view, &reason, area, painter);
    }
    match state.view {
        ViewId::Overview => overview::render(state, area, painter),
        ViewId::Tasks => tasks::render(state, painter),
        ViewId::Workers => workers::render(state, painter),
        ViewId::Stalls => stalls::render(state, painter),
        ViewId::Resources => resources::render(state, painter),
        ViewId::Threads => threads::render(state, painter),
        ViewId::Lab => lab::render(state, area, painter),
    }
}

fn unavailable(id: ViewId, reason: &str, area: Rect, painter: &mut Painter<'_>) {
    painter.rule(area, [(view::view(id).title.into(), Tone::Title)]);
    let text = format!("– not available from this target: {reason}");
    paragraph(&text, Tone::Dim, area, 2, painter);
}

/// Wrapped text in `area`, from its row `from` on.
fn paragraph(text: &str, tone: Tone, area: Rect, from: u16, painter: &mut Painter<'_>) {
    let width = area.width.saturating_sub(4);
    let lines = page::wrap(text, usize::from(width));
    for (line, y) in lines.iter().zip(area.y + from..area.bottom()) {
        painter.put(area.x + 2, y, width, line, tone);
    }
}
