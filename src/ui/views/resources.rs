//! Locks, semaphores and timers of the target.
//!
//! ```text
//! ─ Resources ──────────────────────────────────────────────────────────────────
//!   – the target sent none
//! ```

use ratatui::layout::Rect;

use crate::app::Tone;

use super::{super::Painter, paragraph};

pub(super) fn render(area: Rect, painter: &mut Painter<'_>) {
    painter.rule(area, [("Resources".into(), Tone::Title)]);
    paragraph("– the target sent none", Tone::Dim, area, 2, painter);
}
