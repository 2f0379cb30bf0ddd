//! A quantity over time as columns of bars, the newest at the right.
//!
//! ```text
//!          █
//!          █▆
//! ▁▁▂▁▁▁▁▁▁██▁▁▁
//! ```

use ratatui::layout::Rect;

use crate::app::{Tone, tables::level_glyph};

use super::Painter;

/// Draws values as bars up to `most`; what reaches `alarm` is shown by its tone,
/// as by its height. A value that is known draws at least a line.
pub(super) fn bars(
    values: &[Option<f64>],
    most: f64,
    alarm: f64,
    area: Rect,
    painter: &mut Painter<'_>,
) {
    let height = f64::from(area.height);
    for (value, x) in values.iter().zip(area.x..area.right()) {
        let Some(value) = value else { continue };
        let filled = (value / most.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0) * height;
        let tone = if *value >= alarm {
            Tone::Critical
        } else {
            Tone::Chart
        };
        for (n, y) in (area.y..area.bottom()).rev().enumerate() {
            let part = filled - n as f64;
            if part <= 0.0 && n > 0 {
                break;
            }
            painter.put(x, y, 1, level_glyph(part), tone);
        }
    }
}
