//! Where things are on the screen: a pure function of its size, so that keys
//! that page, the mouse and the drawing agree.
//!
//! ```text
//! header
//! verdict
//! (verdict or remedy, where there is room)
//! remedy
//! tabs
//! body ... (all rows that are left)
//! footer
//! ```

use ratatui::layout::{Position, Rect, Size};

/// The least screen that can be read.
pub const LEAST: Size = Size {
    width: 60,
    height: 15,
};

/// The parts of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    /// Who is observed, and whether the connection is live.
    pub header: Rect,
    /// The verdict and its remedy.
    pub verdict: Rect,
    /// The views.
    pub tabs: Rect,
    /// The view, details or an overlay.
    pub body: Rect,
    /// Keys, or the line where a filter is typed.
    pub footer: Rect,
}

impl Screen {
    /// Divides a screen; `None` where it is too small.
    pub fn new(size: Size) -> Option<Self> {
        if size.width < LEAST.width || size.height < LEAST.height {
            return None;
        }
        let rows = |y, height| Rect::new(0, y, size.width, height);
        // A sentence with names and places seldom fits into one row.
        let roomy = size.height >= 20;
        let verdict = if roomy { 3 } else { 2 };
        Some(Self {
            header: rows(0, 1),
            verdict: rows(1, verdict),
            tabs: rows(1 + verdict, 1),
            body: rows(2 + verdict, size.height - verdict - 3),
            footer: rows(size.height - 1, 1),
        })
    }
}

/// The mark of the cursor stands left of a table's columns.
pub const GUTTER: u16 = 1;

/// The parts of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableArea {
    /// What it shows, how much of it, and the filter.
    pub title: Rect,
    /// The columns' names.
    pub head: Rect,
    /// The rows.
    pub rows: Rect,
    /// What is left below for more about the row under the cursor.
    pub below: Rect,
}

impl TableArea {
    /// A table that fills `area`.
    pub fn filling(area: Rect) -> Self {
        Self::new(area, area.height)
    }

    /// A table of `rows` rows that leaves what it does not need, but at least a
    /// third of `area` where it is tall.
    pub fn needing(area: Rect, rows: usize) -> Self {
        let most = if area.height >= 12 {
            area.height * 2 / 3
        } else {
            area.height
        };
        let needed = u16::try_from(rows).unwrap_or(u16::MAX).saturating_add(2);
        Self::new(area, needed.clamp(3, most.max(3)))
    }

    fn new(area: Rect, height: u16) -> Self {
        let height = height.min(area.height);
        let part = |from: u16, to: u16| {
            let (from, to) = (from.min(height), to.min(height));
            Rect::new(area.x, area.y + from, area.width, to - from)
        };
        Self {
            title: part(0, 1),
            head: part(1, 2),
            rows: part(2, height),
            below: Rect::new(area.x, area.y + height, area.width, area.height - height),
        }
    }
}

/// Whether a position lies in an area.
pub(super) fn within(area: Rect, x: u16, y: u16) -> bool {
    area.contains(Position { x, y })
}
