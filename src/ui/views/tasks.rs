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
    app::{State, TaskLayout, quantity, tables::TableId},
    model::{Model, TaskState},
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
    if let Some(text) = not_held(state.model(), tasks.refused) {
        let _ = write!(what, " · {text}");
    }
    let (table, by) = match state.task_layout {
        TaskLayout::List => (TableId::Tasks, ""),
        TaskLayout::Tree => (TableId::Tasks, " · as a tree"),
        TaskLayout::ByLocation => (TableId::TaskGroups, " · by location"),
        TaskLayout::ByName => (TableId::TaskGroups, " · by name"),
    };
    what.push_str(by);
    table::render(state, table, &area, &what, "no task yet", painter);
}

/// What of the target is missing in the tables because it was dropped on the
/// way; `refused` by the viewer itself.
pub(super) fn not_held(model: &Model, refused: u64) -> Option<String> {
    let mut parts = Vec::new();
    if model.loss.console_events > 0 {
        let n = quantity::count(model.loss.console_events);
        parts.push(format!("! {n} events dropped by console-subscriber"));
    }
    let unseen = model.loss.tasks.saturating_add(refused);
    if unseen > 0 {
        parts.push(format!("! {} not held", quantity::count(unseen)));
    }
    (!parts.is_empty()).then(|| parts.join(" · "))
}
