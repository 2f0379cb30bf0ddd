//! What is known of a thing, name by name, and what is not: each reason is said once, at
//! the end, however much it is the reason for.

use crate::app::{Tone, quantity};

use super::Line;

/// The facts of a page.
#[derive(Debug, Default)]
pub(super) struct Facts {
    width: usize,
    lines: Vec<Line>,
    /// Reasons, and the names of what they are the reason for.
    unknown: Vec<(String, Vec<&'static str>)>,
}

impl Facts {
    /// On a page that is so wide.
    pub(super) fn new(width: usize) -> Self {
        Self {
            width,
            ..Self::default()
        }
    }

    /// How wide the page is.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// What is known.
    pub(super) fn value(&mut self, name: &'static str, value: &str, tone: Tone) {
        self.lines
            .extend(Line::value(name, value, tone, self.width));
    }

    /// What may be known. Where it is not, and there is a reason, that is said at the end.
    pub(super) fn known(
        &mut self,
        name: &'static str,
        value: Option<String>,
        missing: Option<&str>,
    ) {
        match (value, missing) {
            (Some(value), _) => self.value(name, &value, Tone::Text),
            (None, Some(why)) => self.not_known(name, why),
            (None, None) => self.value(name, quantity::UNKNOWN, Tone::Dim),
        }
    }

    /// What is not known, and why.
    pub(super) fn not_known(&mut self, name: &'static str, why: &str) {
        let at = self.unknown.iter().position(|(reason, _)| reason == why);
        let at = at.unwrap_or_else(|| {
            self.unknown.push((why.to_owned(), Vec::new()));
            self.unknown.len() - 1
        });
        let names = &mut self.unknown[at].1;
        if !names.contains(&name) {
            names.push(name);
        }
    }

    /// The facts since the last section, below a heading; nothing where there are none.
    pub(super) fn section(&mut self, title: &str) -> Vec<Line> {
        let facts = std::mem::take(&mut self.lines);
        if facts.is_empty() {
            return facts;
        }
        let mut lines = Vec::new();
        if !title.is_empty() {
            lines.extend(Line::heading(title));
        }
        lines.extend(facts);
        lines
    }

    /// What is not known, and why, each reason once.
    pub(super) fn unknown(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        if !self.unknown.is_empty() {
            lines.extend(Line::heading("Not known"));
        }
        for (why, names) in &self.unknown {
            let names = format!("{} {}", quantity::UNKNOWN, names.join(", "));
            lines.extend(Line::paragraph(&names, Tone::Text, 2, self.width));
            lines.extend(Line::paragraph(why, Tone::Dim, 6, self.width));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_said_once_and_a_section_of_nothing_has_no_heading() {
        let mut facts = Facts::new(60);
        facts.known("polls", Some("7".to_owned()), Some("nobody counts"));
        facts.known("wakes", None, Some("nobody sees them"));
        facts.known("size", None, None);
        let plain = |lines: Vec<Line>| -> Vec<String> { lines.iter().map(Line::plain).collect() };
        assert_eq!(
            plain(facts.section("Counts")),
            ["", "Counts", "  polls        7", "  size         –"]
        );
        facts.known("last wake", None, Some("nobody sees them"));
        facts.known("wakes", None, Some("nobody sees them"));
        facts.not_known("age", "it was there before");
        assert_eq!(plain(facts.section("Wakes")), [""; 0]);
        assert_eq!(
            plain(facts.unknown()),
            [
                "",
                "Not known",
                "  – wakes, last wake",
                "      nobody sees them",
                "  – age",
                "      it was there before",
            ]
        );
        assert_eq!(plain(Facts::new(60).unknown()), [""; 0]);
    }
}
