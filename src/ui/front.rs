//! What the tables of the picker and of the page of several processes have in common.

use ratatui::layout::Rect;

use super::Painter;
use crate::app::Tone;

/// The cursor's mark stands left of the columns.
pub(super) const GUTTER: u16 = 2;

/// What a column asks for.
pub(super) struct Wish {
    /// In cells.
    pub(super) width: usize,
    /// The higher, the sooner it goes on a narrow screen.
    pub(super) rank: u8,
}

/// The columns that fit into so many cells, by their numbers, each with its width. The
/// last one takes what is left; others go before it has less than `minimum`.
pub(super) fn placed(
    wishes: impl IntoIterator<Item = Wish>,
    minimum: usize,
    width: u16,
) -> Vec<(usize, u16)> {
    let mut placed: Vec<(usize, Wish)> = wishes.into_iter().enumerate().collect();
    let room = usize::from(width.saturating_sub(GUTTER));
    while placed.len() > 2 {
        let last = placed.len() - 1;
        let all: usize = placed[..last].iter().map(|(_, wish)| wish.width + 1).sum();
        if all + placed[last].1.width.min(minimum) <= room {
            break;
        }
        let goes = (0..placed.len()).max_by_key(|at| placed[*at].1.rank);
        placed.remove(goes.unwrap_or(last));
    }
    let mut left = room;
    let last = placed.len().saturating_sub(1);
    let widths = placed.into_iter().enumerate().map(|(at, (number, wish))| {
        let width = if at == last {
            left
        } else {
            wish.width.min(left)
        };
        left = left.saturating_sub(width + 1);
        (number, width as u16)
    });
    widths.collect()
}

/// Writes one cell of a table, at its right end where `right` says so.
pub(super) fn cell(painter: &mut Painter<'_>, area: Rect, text: &str, tone: Tone, right: bool) {
    if right {
        painter.right(area, text, tone);
    } else {
        painter.put(area.x, area.y, area.width, text, tone);
    }
}

/// Marks the row of the cursor.
pub(super) fn cursor(painter: &mut Painter<'_>, y: u16, width: u16) {
    painter.put(0, y, 1, "▶", Tone::Active);
    let style = painter.theme.style(Tone::Selected);
    painter.buffer.set_style(Rect::new(0, y, width, 1), style);
}
