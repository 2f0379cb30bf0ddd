//! What each worker does now and did over the time span; below, the newest
//! stalls of the one under the cursor.
//!
//! ```text
//! ─ Workers  4 · 1 blocked ─────────────────────────────────────────────────────
//! #  STATE     TASK               FOR BUSY  CPU QUEUE BUSY OVER TIME
//! 0  ○ parked                          12%  11%     0 ▁▁▂▁▁▁▃▁
//! 3  ■ BLOCKED report          843 ms 100%  99%     9 ▁▁▂▁▁███
//! ─ Stalls of worker 3 ─────────────────────────────────────────────────────────
//!   ■ now          843 ms  computing  report::render (demo/src/cpu.rs:42)
//! ```

use ratatui::layout::Rect;

use crate::app::{
    RowKey, State, Tone, page,
    tables::{self, TableId},
};

use super::super::{Painter, table};

pub(super) fn render(state: &State, painter: &mut Painter<'_>) {
    let Some(area) = state.table_area() else {
        return;
    };
    let model = state.model();
    let what = match model.stalled_workers() {
        0 => format!("Workers  {}", model.workers.len()),
        n => format!("Workers  {} · {n} blocked", model.workers.len()),
    };
    table::render(
        state,
        TableId::Workers,
        &area,
        &what,
        "no worker seen yet",
        painter,
    );
    if area.below.height < 2 {
        return;
    }
    // Until the cursor is moved it points at nothing in particular.
    let chosen = match &state.cursor().key {
        Some(RowKey::Worker(id)) => Some(*id),
        _ => None,
    };
    let title = match chosen {
        Some(id) => format!("Stalls of worker {}", tables::worker_name(model, id)),
        None => "Stalls of all workers".to_owned(),
    };
    painter.rule(area.below, [(title.into(), Tone::Title)]);
    let lines = page::worker_lines(
        state,
        chosen,
        usize::from(area.below.width).saturating_sub(2),
    );
    for (line, y) in lines.iter().zip(area.below.y + 1..area.below.bottom()) {
        let row = Rect {
            x: area.below.x + 1,
            y,
            width: area.below.width.saturating_sub(2),
            height: 1,
        };
        painter.line(row, line);
    }
}
