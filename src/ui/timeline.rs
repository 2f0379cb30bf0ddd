//! The strip of time, in place of the footer while the user is somewhere in it.
//!
//! ```text
//!  -12:40 ──▪───────▪▪──│─────────── now   [ ] step  ( ) finding  Space live  R save
//!  ▶ 1x 00:41 ──▪───────▪▪──│─────────── 05:00   Space pause  [ ] step
//! ```

use std::time::Duration;

use ratatui::layout::Rect;

use crate::{
    app::{State, Timeline, Tone, quantity},
    diagnose::Severity,
};

use super::{Painter, painter::columns};

pub(super) fn render(state: &State, timeline: &Timeline, area: Rect, painter: &mut Painter<'_>) {
    let key = |name| state.key_of(name);
    let pair = |back, on| format!("{} {}", key(back), key(on));
    let (begin, end, keys) = if let Some(player) = &state.player {
        let sign = if player.playing { "▶" } else { "‖" };
        let at = quantity::clock(player.at);
        let play = if player.playing { "hold" } else { "play" };
        let keys = [
            (key("freeze"), play),
            (pair("past", "forward"), "step"),
            (pair("previous-finding", "next-finding"), "stall"),
            (pair("faster", "slower"), "speed"),
            (key("help"), "help"),
        ];
        let end = format!(" {}", quantity::clock(player.length));
        (
            format!(" {sign} {}x {at} ", player.speed),
            end,
            keys.to_vec(),
        )
    } else {
        let keys = [
            (pair("past", "forward"), "step"),
            (pair("previous-finding", "next-finding"), "finding"),
            (key("freeze"), "live"),
            (key("save-past"), "save"),
            (pair("far-past", "far-forward"), "10 s"),
            (key("help"), "help"),
        ];
        let begin = format!(" -{} ", quantity::clock(timeline.length));
        (begin, " now".to_owned(), keys.to_vec())
    };
    let x = area.x + painter.put(area.x, area.y, area.width, &begin, Tone::Text);
    let widths: Vec<usize> = keys
        .iter()
        .map(|(key, label)| columns(key) + label.len() + 3)
        .collect();
    let fixed = columns(&begin) + columns(&end) + 2;
    let room = usize::from(area.width).saturating_sub(fixed);
    // The strip first; keys as far as there is room beside it.
    let mut shown = keys.len();
    while shown > 0 && widths[..shown].iter().sum::<usize>() + LEAST > room {
        shown -= 1;
    }
    let strip = room.saturating_sub(widths[..shown].iter().sum()).max(1);
    bar(
        timeline,
        strip,
        Rect {
            x,
            width: strip as u16,
            ..area
        },
        painter,
    );
    let mut x = x + strip as u16;
    x += painter.put(x, area.y, area.right().saturating_sub(x), &end, Tone::Text) + 2;
    for (key, label) in &keys[..shown] {
        let room = area.right().saturating_sub(x);
        x += painter.put(x, area.y, room, key, Tone::Key) + 1;
        x += painter.put(x, area.y, area.right().saturating_sub(x), label, Tone::Dim) + 2;
    }
}

/// Columns that the strip has at least.
const LEAST: usize = 20;

fn bar(timeline: &Timeline, width: usize, area: Rect, painter: &mut Painter<'_>) {
    let cells = cells(timeline, width);
    for (n, cell) in cells.iter().enumerate() {
        let (glyph, tone) = match cell {
            Cell::Here => ("│", Tone::Selected),
            Cell::Stall(Severity::Critical) => ("█", Tone::Critical),
            Cell::Stall(_) => ("■", Tone::Warning),
            Cell::Quiet => ("─", Tone::Dim),
        };
        painter.put(area.x + n as u16, area.y, 1, glyph, tone);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    Quiet,
    Stall(Severity),
    Here,
}

fn cells(timeline: &Timeline, width: usize) -> Vec<Cell> {
    let mut cells = vec![Cell::Quiet; width];
    let last = width.saturating_sub(1);
    let length = timeline.length.max(Duration::from_millis(1)).as_secs_f64();
    let place = |at: Duration| ((at.as_secs_f64() / length * width as f64) as usize).min(last);
    for (at, long, severity) in &timeline.marks {
        for cell in &mut cells[place(*at)..=place(*at + *long)] {
            let worst = match *cell {
                Cell::Stall(other) => other.max(*severity),
                _ => *severity,
            };
            *cell = Cell::Stall(worst);
        }
    }
    cells[place(timeline.at)] = Cell::Here;
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_place_are_where_they_belong() {
        let s = Duration::from_secs;
        let timeline = Timeline {
            length: s(100),
            at: s(55),
            marks: vec![
                (s(12), s(1), Severity::Warning),
                (s(70), s(15), Severity::Critical),
                (s(71), s(1), Severity::Warning),
                (s(100), s(9), Severity::Warning),
            ],
        };
        let text: String = cells(&timeline, 10)
            .iter()
            .map(|cell| match cell {
                Cell::Quiet => '.',
                Cell::Stall(Severity::Critical) => 'C',
                Cell::Stall(_) => 'w',
                Cell::Here => '|',
            })
            .collect();
        assert_eq!(text, ".w...|.CCw");
        assert_eq!(cells(&timeline, 1), [Cell::Here]);
    }
}
