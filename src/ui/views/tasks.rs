//! All tasks.
//!
//! ```text
//! ─ Tasks  11 live · 1 running · 3 scheduled · 1 finished hidden (f) ───────────
//! ! STATE     NAME           BUSY%▼   POLL LONGEST  POLLS LOCATION
//! ■ ● running report           84%  843 ms  843 ms   4000 demo/src/service.rs:43
//!   ○ idle    http::conn       12%           2 ms    1000 demo/src/service.rs:40
//! ```

use std::fmt::Write as _;

use crate::{
    app::{State, quantity, tables::TableId},
    model::TaskState,
};

use super::super::{Painter, table};

pub(super) fn render(state: &State, painter: &mut Painter<'_>) {
    let Some(area) = state.table_area() else {
        return;
    };
    let tasks = &state.model().tasks;
    let mut what = format!("Tasks  {} live", quantity::count(tasks.live_count() as u64));
    for (task_state, word) in [
        (TaskState::Running, "running"),
        (TaskState::Scheduled, "scheduled"),
    ] {
        let n = tasks.count(task_state);
        if n > 0 {
            let _ = write!(what, " · {} {word}", quantity::count(n as u64));
        }
    }
    let hidden = state.rows.finished_hidden;
    if hidden > 0 {
        let hidden = quantity::count(hidden as u64);
        let _ = write!(what, " · {hidden} finished hidden (f)");
    }
    if tasks.refused > 0 {
        let _ = write!(what, " · {} more not held", quantity::count(tasks.refused));
    }
    table::render(state, TableId::Tasks, &area, &what, "no task yet", painter);
}
