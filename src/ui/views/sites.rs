//! The spawn locations that keep workers busiest, a panel of the overview.
//!
//! ```text
//! ─ Worst spawn locations ────────────────────────────────────────────────────────
//!   BUSY LONGEST POLL P99 SPAWNS/S   LIVE LOCATION
//!   0.98  843 ms   120 ms      12       3 demo/src/service.rs:43
//! ```

use std::{cmp::Reverse, time::Duration};

use ratatui::layout::Rect;

use crate::{
    app::{
        State, Tone,
        column::{Cell, Context, Head, Unit, place},
        quantity, tables,
    },
    model::{Capability, Site, SiteKey},
};

use super::{super::Painter, paragraph};

/// A column of this panel.
struct Column {
    head: Head,
    cell: fn(&Context<'_>, &SiteKey, &Site) -> Cell,
}

/// Columns of what only the program itself counts; from outside a task that lives between
/// two listings is not seen.
const COUNTED: [&str; 4] = ["busy", "longest", "p99", "spawns"];

/// What the name of a future has before lesser columns are shown.
const FUTURE: u16 = 40;

const COLUMNS: [Column; 7] = [
    Column {
        head: Head::number("busy", "BUSY", 6, 0, Unit::Share),
        cell: |c, _, s| Cell::known(s.rates(c.now()), |r| quantity::percent(r.busy)),
    },
    Column {
        head: Head::number("longest", "LONGEST", 7, 1, Unit::Time),
        cell: |_, _, s| Cell::known(Some(s.longest_poll), quantity::duration),
    },
    Column {
        head: Head::number("p99", "POLL P99", 8, 2, Unit::Time),
        cell: |_, _, s| Cell::known(s.poll_quantile(0.99), quantity::duration),
    },
    Column {
        head: Head::number("spawns", "SPAWNS/S", 8, 3, Unit::Count),
        cell: |c, _, s| Cell::known(s.rates(c.now()), |r| quantity::short(r.spawns)),
    },
    Column {
        head: Head::number("live", "LIVE", 6, 2, Unit::Count),
        cell: |_, _, s| Cell::known(Some(s.live()), quantity::count),
    },
    Column {
        head: Head::text("kind", "KIND", 8, 4),
        cell: |_, k, _| Cell::text(tables::kind_word(k.kind)),
    },
    Column {
        head: Head::text("loc", "LOCATION", 16, 0)
            .growing(1, 90)
            .cut_at_start(),
        cell: |c, k, _| match c.model.future_name(k.future) {
            Some(future) if k.location.is_none() => Cell::text(future),
            _ => Cell::known(c.model.location(k.location), |l| l.to_string()),
        },
    },
];

pub(super) fn render(state: &State, area: Rect, painter: &mut Painter<'_>) {
    let model = state.model();
    let outside = model.reads_tasks();
    let title = if outside {
        "Tasks by what they run"
    } else {
        "Worst spawn locations"
    };
    painter.rule(area, [(title.into(), Tone::Title)]);
    let context = state.context();
    let mut sites: Vec<(&SiteKey, &Site)> = model.sites.iter().collect();
    if outside {
        // Nobody counts their time.
        sites.sort_by_key(|(key, s)| (Reverse(s.live()), **key));
    } else {
        sites.sort_by_key(|(_, s)| Reverse((recent(&context, s), s.longest_poll, s.busy)));
    }
    if sites.is_empty() {
        let reason = match model.session.missing(Capability::Tasks) {
            Some(reason) if model.since.is_some() => format!("– {reason}"),
            _ => "– none seen yet".to_owned(),
        };
        return paragraph(&reason, Tone::Dim, area, 1, painter);
    }
    let shown: Vec<&Column> = COLUMNS
        .iter()
        .filter(|column| !outside || !COUNTED.contains(&column.head.id))
        .collect();
    let mut heads: Vec<Head> = shown.iter().map(|c| c.head).collect();
    for head in heads.iter_mut().filter(|head| outside && head.id == "loc") {
        (head.title, head.width, head.easy) = ("FUTURE", FUTURE, FUTURE);
    }
    let heads: Vec<&Head> = heads.iter().collect();
    let placed = place(&heads, area.width, 0);
    let titles = area.height > 3;
    let first = area.y + 1 + u16::from(titles);
    let cell_area = |x: u16, y: u16, width: u16| Rect {
        x: area.x + x,
        y,
        width,
        height: 1,
    };
    for p in &placed {
        if titles {
            let title = Cell::new(heads[p.index].title, Tone::Dim);
            painter.cell(cell_area(p.x, area.y + 1, p.width), heads[p.index], &title);
        }
        for ((key, site), y) in sites.iter().zip(first..area.bottom()) {
            let cell = (shown[p.index].cell)(&context, key, site);
            painter.cell(cell_area(p.x, y, p.width), heads[p.index], &cell);
        }
    }
}

/// Busy time per second now, to the millisecond.
fn recent(context: &Context<'_>, site: &Site) -> Duration {
    let busy = site.rates(context.now()).map_or(0.0, |r| r.busy);
    Duration::from_millis((busy.max(0.0) * 1e3) as u64)
}
