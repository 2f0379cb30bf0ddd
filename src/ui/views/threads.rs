//! Threads of the process.
//!
//! ```text
//! ─ Threads  7 · gauges queue 812 ──────────────────────────────────────────────
//! THREAD NAME            ROLE       STATE       CPU  SYS NO CPU CPU OVER TIME
//!   5003 tokio-rt-worker worker 3   ● running   99%   1%     0% ▁▁▁▁▆▇▇▇
//! ```

use std::fmt::Write as _;

use crate::app::{State, quantity, tables::TableId};

use super::super::{Painter, table};

pub(super) fn render(state: &State, painter: &mut Painter<'_>) {
    let Some(area) = state.table_area() else {
        return;
    };
    let model = state.model();
    let mut what = format!("Threads  {}", model.threads.len());
    for (name, gauge) in model.gauges.iter().take(4) {
        let name = model.text(Some(*name));
        let _ = write!(what, " · {name} {}", quantity::short(gauge.value));
    }
    table::render(
        state,
        TableId::Threads,
        &area,
        &what,
        "no thread seen yet",
        painter,
    );
}
