//! Lines of text with meaning, and how long text becomes several.

use crate::{
    app::{Tone, quantity},
    escape,
};

/// One line: pieces of escaped text with their meaning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line(pub Vec<(String, Tone)>);

/// Columns that the names of values take.
pub(super) const NAMES: usize = 13;

impl Line {
    /// An empty line.
    pub fn empty() -> Self {
        Self::default()
    }

    /// A line of one piece.
    pub fn new(text: &str, tone: Tone) -> Self {
        Self::default().and(text, tone)
    }

    /// With another piece at its end.
    #[must_use]
    pub fn and(mut self, text: &str, tone: Tone) -> Self {
        self.0.push((escape::escaped(text).into_owned(), tone));
        self
    }

    /// A heading over what follows.
    pub fn heading(text: &str) -> [Self; 2] {
        [Self::empty(), Self::new(text, Tone::Title)]
    }

    /// Its text alone.
    pub fn plain(&self) -> String {
        self.0.iter().map(|(text, _)| text.as_str()).collect()
    }

    /// A name and its value, as many lines as the value needs.
    pub fn value(name: &str, value: &str, tone: Tone, width: usize) -> Vec<Self> {
        let label = |n: usize| {
            if n == 0 {
                format!("  {name:<NAMES$}")
            } else {
                " ".repeat(NAMES + 2)
            }
        };
        wrap(value, width.saturating_sub(NAMES + 2))
            .into_iter()
            .enumerate()
            .map(|(n, text)| Self(vec![(label(n), Tone::Dim), (text, tone)]))
            .collect()
    }

    /// A name and its value, or the dash and why it is not known.
    pub fn known(
        name: &str,
        value: Option<String>,
        missing: Option<&str>,
        width: usize,
    ) -> Vec<Self> {
        match (value, missing) {
            (Some(value), _) => Self::value(name, &value, Tone::Text, width),
            (None, Some(why)) => Self::value(
                name,
                &format!("{} {why}", quantity::UNKNOWN),
                Tone::Dim,
                width,
            ),
            (None, None) => Self::value(name, quantity::UNKNOWN, Tone::Dim, width),
        }
    }

    /// A paragraph.
    pub fn paragraph(text: &str, tone: Tone, indent: usize, width: usize) -> Vec<Self> {
        let pad = " ".repeat(indent);
        text.lines()
            .flat_map(|line| wrap(line, width.saturating_sub(indent)))
            .map(|line| Self(vec![(format!("{pad}{line}"), tone)]))
            .collect()
    }
}

/// `text`, escaped, as lines of at most `width` columns, broken at spaces where
/// that is possible.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let escaped = escape::escaped(text);
    let width = width.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in escaped.split_inclusive(' ') {
        let columns: usize = word.trim_end().chars().map(escape::char_width).sum();
        if used + columns > width && used > 0 {
            lines.push(std::mem::take(&mut line).trim_end().to_owned());
            used = 0;
        }
        for c in word.chars() {
            let columns = escape::char_width(c);
            if used + columns > width {
                if c == ' ' {
                    continue;
                }
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push(c);
            used += columns;
        }
    }
    lines.push(line.trim_end().to_owned());
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use unicode_width::UnicodeWidthStr;

    use super::*;

    #[test]
    fn text_breaks_at_spaces_and_long_words_anywhere() {
        let table: [(&str, usize, &[&str]); 5] = [
            ("one two three", 8, &["one two", "three"]),
            ("abcdefgh", 3, &["abc", "def", "gh"]),
            ("", 5, &[""]),
            ("ab cd", 2, &["ab", "cd"]),
            ("日本語", 4, &["日本", "語"]),
        ];
        for (text, width, lines) in table {
            assert_eq!(wrap(text, width), lines, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_line_is_too_wide(text in any::<String>(), width in 2usize..50) {
            for line in wrap(&text, width) {
                prop_assert!(line.width() <= width, "{line:?}");
            }
        }
    }
}
