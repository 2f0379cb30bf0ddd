//! What fills a view: a table (`ui::table`), or panels of its own, a file each.

mod lab;
mod overview;
mod polls;
mod sites;

use ratatui::layout::Rect;

use crate::app::{
    State, Tone, ViewId, page,
    views::{self, Body},
};

use super::{Painter, table};

/// Draws the view on screen, or why the target has nothing to show in it.
pub(super) fn render(state: &State, area: Rect, painter: &mut Painter<'_>) {
    if let Some(reason) = views::unavailable(state.view, state.model()) {
        return unavailable(state.view, &reason, area, painter);
    }
    match state.view.view().body {
        Body::Table(_) => table::render(state, painter),
        Body::Overview => overview::render(state, area, painter),
        Body::Lab => lab::render(state, area, painter),
    }
}

fn unavailable(id: ViewId, reason: &str, area: Rect, painter: &mut Painter<'_>) {
    painter.rule(area, [(id.view().title.into(), Tone::Title)]);
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
