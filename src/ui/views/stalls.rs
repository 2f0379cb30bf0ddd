//! Polls that took too long: by culprit line, so that a kind is one row however
//! often it happens; or one by one, live ones first.
//!
//! ```text
//! ─ Stalls by culprit  1 live · 31 ended · t: one by one ───────────────────────
//!    LAST        COUNT LONGEST  ▼TOTAL CAUSE        FUNCTION       LOCATION
//!  ■ LIVE   ×31 in 6 s  843 ms   7.1 s computing    app::report    src/service.rs:43
//! ```

use crate::{
    app::{State, quantity, tables::TableId},
    model::Capability,
};

use super::super::{Painter, table};

pub(super) fn render(state: &State, painter: &mut Painter<'_>) {
    let Some(area) = state.table_area() else {
        return;
    };
    let stalls = &state.model().stalls;
    let (live, ended) = (stalls.live().count() as u64, stalls.total_ended);
    let counts = format!(
        "{} live · {} ended",
        quantity::count(live),
        quantity::count(ended)
    );
    let threshold = quantity::duration(state.model().session.stall_threshold);
    let empty = match state.model().session.missing(Capability::Stalls) {
        Some(reason) => format!("no stall seen; only those caught in the act would show: {reason}"),
        None => format!("no poll ran longer than {threshold}"),
    };
    let (table, what) = if state.grouped {
        (
            TableId::StallGroups,
            format!("Stalls by culprit  {counts} · t: one by one"),
        )
    } else {
        (TableId::Stalls, format!("Stalls  {counts} · t: by culprit"))
    };
    table::render(state, table, &area, &what, &empty, painter);
}
