//! Locks, semaphores and timers of the target, or who waits for them.
//!
//! ```text
//! ─ Resources  12 live · 3 dropped hidden (f) · t: who waits ───────────────────
//!     ID KIND   TYPE          OPS▼     AGE ATTRIBUTES           LOCATION
//! ▶    1 Sync   Semaphore       2   12.3 s permits=0            src/main.rs:12
//! ```

use std::fmt::Write as _;

use crate::app::{State, quantity, tables::TableId};

use super::{super::Painter, super::table, tasks::not_held};

pub(super) fn render(state: &State, painter: &mut Painter<'_>) {
    let Some(area) = state.table_area() else {
        return;
    };
    let model = state.model();
    let live = quantity::count(model.resources.live_count() as u64);
    let mut what = if state.operations {
        format!("Who waits for what  {live} resources · t: the resources")
    } else {
        format!("Resources  {live} live · t: who waits")
    };
    let hidden = state.rows.finished_hidden;
    if hidden > 0 {
        let _ = write!(
            what,
            " · {} dropped hidden (f)",
            quantity::count(hidden as u64)
        );
    }
    if let Some(text) = not_held(model, model.resources.refused) {
        let _ = write!(what, " · {text}");
    }
    let (table, empty) = if state.operations {
        (TableId::Ops, "no task waits for a resource now")
    } else {
        (
            TableId::Resources,
            "no lock, timer or channel yet; those made before the subscriber started stay unseen",
        )
    };
    table::render(state, table, &area, &what, empty, painter);
}
