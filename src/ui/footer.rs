//! The keys that do something here, the most useful first; while a filter is
//! typed, its line, with the spot marked that is not understood.
//!
//! ```text
//!  Enter details  / filter  ? help  e explain  q quit  Space freeze
//!  / busy>100_    which unit? write 100ms or 100s
//! ```

use ratatui::layout::Rect;

use crate::app::{Mode, State, Tone, bindings};

use super::{
    Painter,
    painter::{columns, fit},
};

pub(super) fn render(state: &State, area: Rect, painter: &mut Painter<'_>) {
    if state.below_palette() == Mode::Filter {
        return filter(state, area, painter);
    }
    if let Some(timeline) = state.timeline() {
        return super::timeline::render(state, &timeline, area, painter);
    }
    let mut x = area.x + 1;
    for binding in bindings::footer(state) {
        let Some(key) = state.options.keys.of(binding).first() else {
            continue;
        };
        let key = key.to_string();
        let width = (columns(&key) + binding.label.len() + 3) as u16;
        if x + width > area.right() + 2 {
            break;
        }
        x += painter.put(x, area.y, width, &key, Tone::Key) + 1;
        x += painter.put(x, area.y, width, binding.label, Tone::Dim) + 2;
    }
}

fn filter(state: &State, area: Rect, painter: &mut Painter<'_>) {
    let Some(table) = state.table() else { return };
    let table = state.table_state(table);
    let x = area.x + painter.put(area.x, area.y, area.width, " / ", Tone::Key);
    // The newest characters stay in sight.
    let room = area.right().saturating_sub(x).saturating_sub(1);
    let escaped = crate::escape::escaped(&table.filter_text);
    let shown = fit(&escaped, usize::from(room), crate::app::column::Cut::Start).into_owned();
    let typed = painter.put(x, area.y, room, &shown, Tone::Input);
    painter.put(x + typed, area.y, 1, "█", Tone::Input);
    match &table.filter_error {
        None => {
            let rows = match state.rows.len() {
                1 => "1 row matches".to_owned(),
                n => format!("{n} rows match"),
            };
            let (apply, clear) = (state.key_of("filter-apply"), state.key_of("filter-clear"));
            let hint = format!("{rows}; {apply} applies, {clear} clears");
            tail(painter, area, x + typed + 3, &hint, Tone::Dim);
        }
        Some(error) => {
            if shown == table.filter_text {
                mark(painter, x, area.y, &table.filter_text, &error.at);
            }
            tail(painter, area, x + typed + 3, &error.message, Tone::Warning);
        }
    }
}

/// Underlines and colours the characters that are at fault.
fn mark(painter: &mut Painter<'_>, x: u16, y: u16, text: &str, at: &std::ops::Range<usize>) {
    let before: String = text.chars().take(at.start).collect();
    let spot: String = text.chars().skip(at.start).take(at.len()).collect();
    let style = painter
        .theme
        .style(Tone::Critical)
        .add_modifier(ratatui::style::Modifier::UNDERLINED | ratatui::style::Modifier::REVERSED);
    let spot = if spot.is_empty() {
        " ".to_owned()
    } else {
        spot
    };
    let x = x + columns(&before) as u16;
    painter.put_styled(x, y, columns(&spot) as u16, &spot, style);
}

fn tail(painter: &mut Painter<'_>, area: Rect, x: u16, text: &str, tone: Tone) {
    let room = area.right().saturating_sub(x);
    if room > 10 {
        painter.put(x, area.y, room, text, tone);
    } else {
        // No room beside it: above it, over the last row of the body.
        painter.put(
            area.x,
            area.y.saturating_sub(1),
            area.width,
            &format!("   {text}"),
            tone,
        );
    }
}
