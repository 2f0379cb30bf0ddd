//! The one way for text to reach a cell: escaped, cut to its width, in the
//! theme's look.

use std::borrow::Cow;

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use crate::{
    app::{
        Tone,
        column::{Align, Cell, Cut, Head},
        page::Line,
    },
    escape,
};

use super::Theme;

/// Draws on a buffer in a theme.
pub(super) struct Painter<'a> {
    pub(super) buffer: &'a mut Buffer,
    pub(super) theme: &'a Theme,
}

/// What marks text that was cut off.
const CUT: char = '…';

impl Painter<'_> {
    /// Writes text from `x` on, in at most `width` columns; returns the columns
    /// it took.
    pub(super) fn put(&mut self, x: u16, y: u16, width: u16, text: &str, tone: Tone) -> u16 {
        self.put_styled(x, y, width, text, self.theme.style(tone))
    }

    pub(super) fn put_styled(
        &mut self,
        x: u16,
        y: u16,
        width: u16,
        text: &str,
        style: Style,
    ) -> u16 {
        let area = self.buffer.area;
        if y >= area.bottom() || x >= area.right() {
            return 0;
        }
        let width = width.min(area.right() - x);
        let text = fit(&escape::escaped(text), usize::from(width), Cut::End).into_owned();
        let (end, _) = self
            .buffer
            .set_stringn(x, y, &text, usize::from(width), style);
        end - x
    }

    /// Writes pieces one after another within `area`'s first row.
    pub(super) fn pieces<'t>(
        &mut self,
        area: Rect,
        pieces: impl IntoIterator<Item = (Cow<'t, str>, Tone)>,
    ) -> u16 {
        let mut x = area.x;
        for (text, tone) in pieces {
            if x >= area.right() || area.height == 0 {
                break;
            }
            x += self.put(x, area.y, area.right() - x, &text, tone);
        }
        x - area.x
    }

    /// Writes a line of a page.
    pub(super) fn line(&mut self, area: Rect, line: &Line) {
        self.pieces(
            area,
            line.0
                .iter()
                .map(|(text, tone)| (text.as_str().into(), *tone)),
        );
    }

    /// Writes text at the right end of `area`'s first row.
    pub(super) fn right(&mut self, area: Rect, text: &str, tone: Tone) -> u16 {
        let text = escape::escaped(text);
        let width = u16::try_from(columns(&text))
            .unwrap_or(u16::MAX)
            .min(area.width);
        if area.height > 0 {
            self.put(area.right() - width, area.y, width, &text, tone);
        }
        width
    }

    /// A cell of a table in its column's place.
    pub(super) fn cell(&mut self, area: Rect, head: &Head, cell: &Cell) {
        let safe: Vec<(Cow<'_, str>, Tone)> = cell
            .0
            .iter()
            .map(|(text, tone)| (escape::escaped(text), *tone))
            .collect();
        let total: usize = safe.iter().map(|(text, _)| columns(text)).sum();
        let width = usize::from(area.width);
        let spare = width.saturating_sub(total) as u16;
        let indent = if head.align == Align::Right { spare } else { 0 };
        let inner = Rect {
            x: area.x + indent,
            width: area.width - indent,
            ..area
        };
        if total > width && safe.len() == 1 {
            let (text, tone) = &safe[0];
            self.put(
                inner.x,
                inner.y,
                inner.width,
                &fit(text, width, head.cut),
                *tone,
            );
        } else {
            self.pieces(inner, safe);
        }
    }

    /// A rule across `area`'s first row with a title in it; returns the columns
    /// that the title took.
    pub(super) fn rule<'t>(
        &mut self,
        area: Rect,
        title: impl IntoIterator<Item = (Cow<'t, str>, Tone)>,
    ) -> u16 {
        if area.height == 0 {
            return 0;
        }
        self.put(
            area.x,
            area.y,
            area.width,
            &"─".repeat(usize::from(area.width)),
            Tone::Border,
        );
        let inner = Rect {
            x: area.x + 1,
            width: area.width.saturating_sub(2),
            ..area
        };
        let pieces = std::iter::once((" ".into(), Tone::Border))
            .chain(title)
            .chain(std::iter::once((" ".into(), Tone::Border)));
        self.pieces(inner, pieces)
    }

    /// Gives a whole row the look of the cursor, and its mark.
    pub(super) fn select(&mut self, area: Rect) {
        self.buffer
            .set_style(area, self.theme.style(Tone::Selected));
        self.put(area.x, area.y, 1, "▶", Tone::Selected);
    }
}

/// A sentence that names `place`, a `path/file:line`, with the path left out
/// where it would not fit otherwise: the file and line matter most.
pub(super) fn shortened<'t>(sentence: &'t str, place: &str, width: usize) -> Cow<'t, str> {
    let file = place
        .rfind(['/', '\\'])
        .map_or(place, |at| &place[at + 1..]);
    if file == place || columns(&escape::escaped(sentence)) <= width {
        return Cow::Borrowed(sentence);
    }
    Cow::Owned(sentence.replacen(place, file, 1))
}

/// Columns of text that is already escaped.
pub(super) fn columns(safe: &str) -> usize {
    safe.chars().map(escape::char_width).sum()
}

/// Escaped text cut to at most `width` columns, with a mark where it was cut.
pub(super) fn fit(safe: &str, width: usize, cut: Cut) -> Cow<'_, str> {
    if columns(safe) <= width {
        return Cow::Borrowed(safe);
    }
    let room = width.saturating_sub(1);
    let take = |chars: &mut dyn Iterator<Item = char>| -> Vec<char> {
        let mut used = 0;
        chars
            .take_while(|c| {
                used += escape::char_width(*c);
                used <= room
            })
            .collect()
    };
    let mark = std::iter::once(CUT).filter(|_| width > 0);
    Cow::Owned(match cut {
        Cut::End => take(&mut safe.chars()).into_iter().chain(mark).collect(),
        Cut::Start => mark
            .chain(take(&mut safe.chars().rev()).into_iter().rev())
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_too_long_is_cut_at_either_end_with_a_mark() {
        let table = [
            ("demo/src/service.rs:42", 13, Cut::Start, "…ervice.rs:42"),
            ("http::connection", 6, Cut::End, "http:…"),
            ("日本語", 4, Cut::End, "日…"),
            ("日本語", 4, Cut::Start, "…語"),
            ("abc", 3, Cut::End, "abc"),
            ("abc", 0, Cut::End, ""),
        ];
        for (text, width, cut, expected) in table {
            assert_eq!(fit(text, width, cut), expected);
        }
    }

    proptest! {
        #[test]
        fn cut_text_fits(text in any::<String>(), width in 0usize..40) {
            let safe = escape::escaped(&text);
            for cut in [Cut::End, Cut::Start] {
                prop_assert!(columns(&fit(&safe, width, cut)) <= width);
            }
        }
    }
}
