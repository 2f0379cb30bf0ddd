//! The sender's side of interning: a string or location crosses the wire once
//! for each stream, and is an id afterwards.
//!
//! The table is bounded: beyond [`MAX_ENTRIES`] or [`MAX_TEXT_BYTES`] new texts
//! become id 0 (none) and are counted, so that a program with a distinct name
//! for every task cannot make the agent grow.

use std::collections::HashMap;

use crate::proto::{InternedString, Location};

/// Strings, and likewise locations, that one table holds at most.
pub const MAX_ENTRIES: usize = 1 << 16;
/// Bytes of text that one table holds at most.
pub const MAX_TEXT_BYTES: usize = 8 << 20;
/// A longer text is cut at a character boundary.
pub const MAX_TEXT_LEN: usize = 1 << 10;
/// So is a longer name of a type. Those of real programs' futures have thousands of
/// characters.
pub const MAX_TYPE_LEN: usize = 16 << 10;

/// Texts and locations of one stream, with those that are still to be sent.
#[derive(Debug, Default)]
pub struct Interner {
    strings: HashMap<Box<str>, u32>,
    locations: HashMap<(u32, u32, u32), u32>,
    text_bytes: usize,
    refused: u64,
    new_strings: Vec<InternedString>,
    new_locations: Vec<Location>,
}

impl Interner {
    /// The id of `text`; 0 where it is empty or the table is full.
    pub fn string(&mut self, text: &str) -> u32 {
        self.whole(cut(text, MAX_TEXT_LEN))
    }

    /// The id of a type's name, which may be longer than other texts.
    pub fn type_name(&mut self, text: &str) -> u32 {
        self.whole(cut(text, MAX_TYPE_LEN))
    }

    fn whole(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        if let Some(id) = self.strings.get(text) {
            return *id;
        }
        if self.strings.len() >= MAX_ENTRIES || self.text_bytes + text.len() > MAX_TEXT_BYTES {
            self.refused += 1;
            return 0;
        }
        let id = self.strings.len() as u32 + 1;
        self.text_bytes += text.len();
        self.strings.insert(text.into(), id);
        self.new_strings.push(InternedString {
            id,
            text: text.into(),
        });
        id
    }

    /// The id of a text that may be new for every task, as the name of a connection
    /// is. Such texts are taken until half of the table is full, and `None` then, so
    /// that there is room for what lasts.
    pub fn passing(&mut self, text: &str) -> Option<u32> {
        let text = cut(text, MAX_TEXT_LEN);
        let full = self.strings.len() >= MAX_ENTRIES / 2
            || self.text_bytes + text.len() > MAX_TEXT_BYTES / 2;
        if full && !self.strings.contains_key(text) {
            return None;
        }
        Some(self.string(text))
    }

    /// The id of a source location; 0 where the table is full.
    pub fn location(&mut self, file: &str, line: u32, column: u32) -> u32 {
        let file = self.string(file);
        if file == 0 {
            return 0;
        }
        if let Some(id) = self.locations.get(&(file, line, column)) {
            return *id;
        }
        if self.locations.len() >= MAX_ENTRIES {
            self.refused += 1;
            return 0;
        }
        let id = self.locations.len() as u32 + 1;
        self.locations.insert((file, line, column), id);
        self.new_locations.push(Location {
            id,
            file,
            line,
            column,
        });
        id
    }

    /// The strings that came since the last call, to be sent with the frame
    /// that mentions them.
    pub fn take_strings(&mut self) -> Vec<InternedString> {
        std::mem::take(&mut self.new_strings)
    }

    /// The locations that came since the last call.
    pub fn take_locations(&mut self) -> Vec<Location> {
        std::mem::take(&mut self.new_locations)
    }

    /// How many look-ups the bounds have refused.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

/// `text` without what exceeds `most` bytes.
fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_sent_once() {
        let mut interner = Interner::default();
        let id = interner.string("a");
        assert_eq!((id, interner.string("b"), interner.string("a")), (1, 2, 1));
        assert_eq!(interner.take_strings().len(), 2);
        assert_eq!(interner.string("a"), id);
        assert!(interner.take_strings().is_empty());
        assert_eq!(interner.string(""), 0);
    }

    #[test]
    fn a_location_brings_its_file() {
        let mut interner = Interner::default();
        let first = interner.location("src/main.rs", 1, 5);
        let second = interner.location("src/main.rs", 2, 5);
        assert_eq!(
            (first, second, interner.location("src/main.rs", 1, 5)),
            (1, 2, 1)
        );
        assert_eq!(interner.take_strings().len(), 1);
        assert_eq!(interner.take_locations().len(), 2);
    }

    #[test]
    fn the_table_is_bounded_and_counts_what_it_refuses() {
        let mut interner = Interner::default();
        for n in 0..MAX_ENTRIES + 10 {
            interner.string(&format!("task-{n}"));
        }
        assert_eq!(interner.refused(), 10);
        assert_eq!(interner.string("one more"), 0);
        assert_eq!(interner.string("task-7"), 8);
    }

    #[test]
    fn passing_texts_leave_half_of_the_table() {
        let mut interner = Interner::default();
        for n in 0..MAX_ENTRIES / 2 {
            assert!(interner.passing(&format!("connection {n}")).is_some());
        }
        assert_eq!(interner.passing("connection -1"), None);
        assert_eq!(interner.passing("connection 1"), Some(2));
        assert_ne!(interner.string("connection"), 0);
        assert_eq!(interner.refused(), 0);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let mut interner = Interner::default();
        interner.string(&"é".repeat(MAX_TEXT_LEN));
        assert_eq!(interner.take_strings()[0].text.len(), MAX_TEXT_LEN);
        interner.string(&format!("x{}", "é".repeat(MAX_TEXT_LEN)));
        assert_eq!(interner.take_strings()[0].text.len(), MAX_TEXT_LEN - 1);
        interner.type_name(&"x".repeat(2 * MAX_TYPE_LEN));
        assert_eq!(interner.take_strings()[0].text.len(), MAX_TYPE_LEN);
    }
}
