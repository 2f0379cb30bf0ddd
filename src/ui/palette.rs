//! The command palette, over the lower end of the view: what can be done here, and the
//! key of it.
//!
//! ```text
//! ─ What to do ─────────────────────────────────────────── 3 of 41 ─
//! ▶ sort-next        sort by the next column                     > .
//!   next-view        next view                                   Tab
//!  : next█    Enter does it, Esc closes
//! ```

use ratatui::layout::Rect;

use crate::app::{State, Tone, bindings, column::Cut, palette};

use super::{
    Painter,
    painter::{columns, fit},
};

/// Columns of the names, on a screen that has room for the sentences beside them.
const NAMES: u16 = 18;

pub(super) fn render(state: &State, body: Rect, footer: Rect, painter: &mut Painter<'_>) {
    let Some(open) = &state.palette else { return };
    let entries = palette::entries(state);
    let area = palette::area(body);
    for y in area.y..area.bottom() {
        let blank = " ".repeat(usize::from(area.width));
        painter.put(area.x, y, area.width, &blank, Tone::Text);
    }
    painter.rule(area, [("What to do".into(), Tone::Title)]);
    let rows = usize::from(area.height).saturating_sub(1);
    let count = format!(
        " {} of {} ",
        (open.row + 1).min(entries.len()),
        entries.len()
    );
    let rule = Rect {
        width: area.width.saturating_sub(2),
        ..area
    };
    painter.right(rule, &count, Tone::Dim);
    let first = palette::first(open.row, rows);
    let shown = entries.iter().enumerate().skip(first);
    for ((n, binding), y) in shown.zip(area.y + 1..area.bottom()) {
        let row = Rect {
            y,
            height: 1,
            ..area
        };
        entry(state, binding, row, painter);
        if n == open.row {
            painter.select(row);
        }
    }
    input(state, &open.typed, entries.is_empty(), footer, painter);
}

fn entry(state: &State, binding: &'static bindings::Binding, row: Rect, painter: &mut Painter<'_>) {
    let keys = bindings::names(&state.options.keys, binding);
    let key = painter.right(
        Rect {
            width: row.width.saturating_sub(1),
            ..row
        },
        &keys,
        Tone::Key,
    );
    let x = row.x + 2;
    painter.put(x, row.y, NAMES, binding.name, Tone::Strong);
    let x = x + NAMES + 1;
    let room = row.right().saturating_sub(x + key + 2);
    painter.put(x, row.y, room, binding.help, Tone::Text);
}

/// The line where it is typed.
fn input(state: &State, typed: &str, nothing: bool, area: Rect, painter: &mut Painter<'_>) {
    let blank = " ".repeat(usize::from(area.width));
    painter.put(area.x, area.y, area.width, &blank, Tone::Text);
    let x = area.x + painter.put(area.x, area.y, area.width, " : ", Tone::Key);
    let room = area.right().saturating_sub(x + 1);
    let escaped = crate::escape::escaped(typed);
    // The newest characters stay in sight.
    let shown = fit(&escaped, usize::from(room), Cut::Start);
    let x = x + painter.put(x, area.y, room, &shown, Tone::Input);
    let x = x + painter.put(x, area.y, 1, "█", Tone::Input) + 2;
    let closes = state.key_of("palette-close");
    let (hint, tone) = if nothing {
        (
            format!("nothing here is called so; {closes} closes"),
            Tone::Warning,
        )
    } else {
        let does = state.key_of("palette-run");
        (format!("{does} does it, {closes} closes"), Tone::Dim)
    };
    let room = area.right().saturating_sub(x);
    if columns(&hint) <= usize::from(room) {
        painter.put(x, area.y, room, &hint, tone);
    }
}
