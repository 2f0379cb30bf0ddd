//! A table: title, columns, visible rows.
//!
//! ```text
//! ─ Tasks  filter busy>1ms (3 of 11; Esc clears) ·  11 live · 1 running ───────
//!  STATE     NAME           BUSY%▼   POLL LONGEST LOCATION
//! ▶● running report           84%  843 ms  843 ms demo/src/service.rs:43
//! ```

use std::borrow::Cow;

use ratatui::layout::Rect;

use crate::app::{
    State, Tone,
    column::{Align, Cell, Placed},
    quantity,
    screen::GUTTER,
    tables::{self, TableId},
};

use super::Painter;

/// Draws the table on screen, and what stands below it.
pub(super) fn render(state: &State, painter: &mut Painter<'_>) {
    let (Some(table), Some(area)) = (state.table(), state.table_area()) else {
        return;
    };
    painter.rule(area.title, title(state, table));
    let placed = state.placed_columns(table);
    head(state, table, area.head, &placed, painter);
    rows(state, table, area.rows, &placed, painter);
    if state.rows.is_empty() {
        // A short-lived task that blocks has ended when one looks for it.
        let hidden = state.rows.finished_hidden;
        let text = match (state.rows.filtered_out, hidden) {
            (0, _) => tables::empty(table, state),
            (_, 0) => format!(
                "no row matches the filter; {} clears it",
                state.key_of("back")
            ),
            _ => format!(
                "no row matches the filter; {} looks among {} that have ended, too; \
                 {} clears the filter",
                state.key_of("finished"),
                quantity::count(hidden as u64),
                state.key_of("back")
            ),
        };
        for (y, line) in (area.rows.y..area.rows.bottom())
            .skip(1)
            .zip(crate::app::page::wrap(
                &text,
                usize::from(area.rows.width).saturating_sub(4),
            ))
        {
            painter.put(
                area.rows.x + 2,
                y,
                area.rows.width.saturating_sub(2),
                &line,
                Tone::Dim,
            );
        }
    }
    below(state, table, area.below, painter);
}

/// What stands below the table about the row under the cursor, where there is room.
fn below(state: &State, table: TableId, area: Rect, painter: &mut Painter<'_>) {
    let Some(below) = tables::below(table).filter(|_| area.height >= 2) else {
        return;
    };
    let width = area.width.saturating_sub(2);
    let (title, lines) = below(state, usize::from(width));
    if title.is_empty() {
        return;
    }
    painter.rule(area, [(title.into(), Tone::Title)]);
    for (line, y) in lines.iter().zip(area.y + 1..area.bottom()) {
        let row = Rect {
            x: area.x + 1,
            y,
            width,
            height: 1,
        };
        painter.line(row, line);
    }
}

fn title(state: &State, table: TableId) -> Vec<(Cow<'_, str>, Tone)> {
    let (name, about) = tables::title(table, state);
    let mut pieces: Vec<(Cow<'_, str>, Tone)> = vec![(name.into(), Tone::Title)];
    let look = state.table_state(table);
    // An active filter is always visible, so it comes first.
    if !look.filter.is_empty() {
        pieces.push(("  filter ".into(), Tone::Warning));
        pieces.push((look.filter_text.as_str().into(), Tone::Input));
        let shown = state.rows.len();
        let all = shown + state.rows.filtered_out;
        pieces.push((
            format!(" ({shown} of {all}; {} clears) ·", state.key_of("back")).into(),
            Tone::Text,
        ));
    }
    pieces.push((format!("  {about}").into(), Tone::Title));
    let cursor = state.cursor().row + 1;
    if state.rows.len() > state.table_area().map_or(0, |a| usize::from(a.rows.height)) {
        pieces.push((
            format!(" · row {cursor} of {}", state.rows.len()).into(),
            Tone::Dim,
        ));
    }
    pieces
}

fn head(state: &State, table: TableId, area: Rect, placed: &[Placed], painter: &mut Painter<'_>) {
    if area.height == 0 {
        return;
    }
    let sort = state.sort(table);
    let heads = tables::heads(table);
    for place in placed {
        let head = heads[place.index];
        let sorts = place.index == sort.column;
        let arrow = if sort.descending { "▼" } else { "▲" };
        let tone = if sorts { Tone::Active } else { Tone::Title };
        let title = match (sorts, head.title.chars().count() < usize::from(place.width)) {
            (false, _) => head.title.to_owned(),
            (true, true) if head.align == Align::Right => format!("{arrow}{}", head.title),
            (true, true) => format!("{}{arrow}", head.title),
            (true, false) => {
                let kept: String = head
                    .title
                    .chars()
                    .take(usize::from(place.width) - 1)
                    .collect();
                format!("{kept}{arrow}")
            }
        };
        painter.cell(cell_area(area, place), head, &Cell::new(title, tone));
    }
}

fn rows(state: &State, table: TableId, area: Rect, placed: &[Placed], painter: &mut Painter<'_>) {
    let context = state.context();
    let heads = tables::heads(table);
    let cursor = state.cursor();
    for (index, y) in (cursor.offset..state.rows.len()).zip(area.y..area.bottom()) {
        let line = Rect {
            y,
            height: 1,
            ..area
        };
        match state.rows.cells(&context, index, placed) {
            Some(cells) => {
                for (place, cell) in placed.iter().zip(cells) {
                    painter.cell(cell_area(line, place), heads[place.index], &cell);
                }
            }
            None => {
                painter.put(line.x + 2, y, line.width, "gone", Tone::Dim);
            }
        }
        if index == cursor.row {
            painter.select(line);
        }
    }
}

fn cell_area(row: Rect, place: &Placed) -> Rect {
    let x = row.x + GUTTER + place.x;
    Rect {
        x,
        width: place.width.min(row.right().saturating_sub(x)),
        ..row
    }
}
