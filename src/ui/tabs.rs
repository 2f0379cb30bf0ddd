//! The views, and at the right end what part of time charts show.
//!
//! ```text
//!  1 Overview  2 Tasks  3 Workers  4 Stalls  5 Resources  6 Threads  8 Waits    span 1 min
//! ```

use ratatui::layout::Rect;

use crate::app::{State, Tone, mouse, quantity, views};

use super::Painter;

pub(super) fn render(state: &State, area: Rect, painter: &mut Painter<'_>) {
    let mut end = area.x;
    for mouse::Tab { place, view, title } in mouse::tabs(state, area) {
        let open = view == state.view;
        let tone = match (open, views::unavailable(view, state.model())) {
            (true, _) => Tone::Active,
            (false, Some(_)) => Tone::Dim,
            (false, None) => Tone::Text,
        };
        // Never colour alone: the open tab stands in brackets.
        if open && place.x > area.x {
            painter.put(place.x - 1, place.y, 1, "[", Tone::Active);
            painter.put(place.right(), place.y, 1, "]", Tone::Active);
        }
        painter.put(place.x, place.y, 1, &view.digit().to_string(), Tone::Key);
        painter.put(
            place.x + 2,
            place.y,
            place.width.saturating_sub(2),
            title,
            tone,
        );
        end = place.right() + 1;
    }
    let rest = Rect {
        x: end,
        width: area.right().saturating_sub(end),
        ..area
    };
    let text = format!(
        "span {} ",
        quantity::duration(state.span.duration()).replace("m00s", " min")
    );
    if usize::from(rest.width) > text.len() {
        painter.right(rest, &text, Tone::Dim);
    }
}
