//! Values over time as one line of bars.

use std::borrow::Cow;

use crate::app::{Tone, column::Cell};

const LEVELS: [&str; 8] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];

/// The bar for `level` of 1.
pub fn level_glyph(level: f64) -> &'static str {
    let index = (level.clamp(0.0, 1.0) * 8.0).ceil() as usize;
    LEVELS[index.clamp(1, 8) - 1]
}

/// One bar for each share of 1; a stall is a full bar of its own tone and glyph,
/// what was not observed stays blank.
pub fn bars(shares: &[Option<f64>], stalled: &[Option<f64>]) -> Cell {
    let mut cell = Cell::default();
    for (n, share) in shares.iter().enumerate() {
        let stall = stalled.get(n).copied().flatten().is_some_and(|s| s > 0.0);
        let (glyph, tone) = match share {
            _ if stall => ("█", Tone::Critical),
            None => (" ", Tone::Dim),
            // The full bar is kept for stalls, so that they differ by more
            // than colour.
            Some(share) => (level_glyph(share * 7.0 / 8.0), Tone::Chart),
        };
        match cell.0.last_mut() {
            Some((text, last)) if *last == tone => text.to_mut().push_str(glyph),
            _ => cell.0.push((Cow::Owned(glyph.to_owned()), tone)),
        }
    }
    cell
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stalls_differ_from_mere_load_by_glyph_and_tone() {
        let cell = bars(
            &[Some(0.0), Some(0.5), Some(1.0), None, Some(0.1)],
            &[None, Some(0.0), Some(0.0), None, Some(1.0)],
        );
        assert_eq!(cell.plain(), "▁▄▇ █");
        assert_eq!(cell.0.last().unwrap().1, Tone::Critical);
    }
}
