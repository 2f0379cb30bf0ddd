//! The demo's scenario, as it was started.
//!
//! ```text
//! ─ Lab ────────────────────────────────────────────────────────────────────────
//!   scenario     cpu-in-handler (broken)
//!   caption      20 to 100 ms of CPU in a handler
//! ```

use ratatui::layout::Rect;

use crate::app::{State, Tone, page::Line};

use super::super::Painter;

pub(super) fn render(state: &State, area: Rect, painter: &mut Painter<'_>) {
    painter.rule(area, [("Lab".into(), Tone::Title)]);
    let Some(lab) = &state.options.lab else {
        return;
    };
    let width = usize::from(area.width).saturating_sub(2);
    let (other, here) = match lab.mode.as_str() {
        "fixed" => ("broken", "fixed"),
        mode => ("fixed", mode),
    };
    let restart = format!("looptop demo {} --mode {other}", lab.scenario);
    let lines = [
        Line::value(
            "scenario",
            &format!("{} ({here})", lab.scenario),
            Tone::Strong,
            width,
        ),
        Line::value("caption", &lab.caption, Tone::Text, width),
        Line::value("its twin", &restart, Tone::Key, width),
    ];
    for (line, y) in lines.concat().iter().zip(area.y + 2..area.bottom()) {
        let row = Rect {
            x: area.x + 1,
            y,
            width: area.width.saturating_sub(2),
            height: 1,
        };
        painter.line(row, line);
    }
}
