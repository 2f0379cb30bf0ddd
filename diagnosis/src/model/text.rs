//! Interned texts and source locations of a session.

use super::{LocationId, TextId};

/// A source location.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location<'a> {
    /// Path as the compiler recorded it.
    pub file: &'a str,
    /// From 1.
    pub line: u32,
    /// From 1; 0 where it is not known.
    pub column: u32,
}

impl std::fmt::Display for Location<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// The session's table of texts and locations, by id.
///
/// Ids count from 1 and come in order; one that is far ahead of its
/// predecessors is refused, so that a hostile peer cannot make the table large.
#[derive(Debug, Clone, Default)]
pub struct Texts {
    strings: Vec<Box<str>>,
    locations: Vec<(TextId, u32, u32)>,
    bytes: usize,
}

/// Ids that the table holds at most: what the agent's own bound allows, with
/// room for a console target's ever-new names.
const MAX_IDS: usize = 1 << 20;
/// Bytes of text that the table takes, at most: several times the agent's own
/// bound. A text that is sent again counts again.
const MAX_BYTES: usize = 64 << 20;

impl Texts {
    /// The text of `id`; empty where it is not known.
    pub fn get(&self, id: TextId) -> &str {
        let index = (id.0 as usize).wrapping_sub(1);
        self.strings.get(index).map_or("", |text| text)
    }

    /// The location of `id`.
    pub fn location(&self, id: LocationId) -> Option<Location<'_>> {
        let (file, line, column) = *self.locations.get((id.0 as usize).wrapping_sub(1))?;
        if file.0 == 0 {
            return None;
        }
        Some(Location {
            file: self.get(file),
            line,
            column,
        })
    }

    /// All texts with their ids, without those that are empty.
    pub(super) fn texts(&self) -> impl Iterator<Item = (TextId, &str)> {
        let ids = (1..).map(TextId);
        ids.zip(self.strings.iter().map(|t| &**t))
            .filter(|(_, text)| !text.is_empty())
    }

    /// All locations with their ids: file, line, column.
    pub(super) fn locations(&self) -> impl Iterator<Item = (LocationId, (TextId, u32, u32))> {
        let ids = (1..).map(LocationId);
        ids.zip(self.locations.iter().copied())
            .filter(|(_, (file, ..))| file.0 != 0)
    }

    /// Records a text; `false` where the id is out of bounds, or the table full.
    pub(super) fn insert(&mut self, id: u32, text: String) -> bool {
        if self.bytes + text.len() > MAX_BYTES {
            return false;
        }
        self.bytes += text.len();
        place(&mut self.strings, id, text.into())
    }

    /// Records a location; `false` where the id is out of bounds.
    pub(super) fn insert_location(&mut self, id: u32, file: u32, line: u32, column: u32) -> bool {
        place_with(
            &mut self.locations,
            id,
            (TextId(file), line, column),
            (TextId(0), 0, 0),
        )
    }
}

fn place(list: &mut Vec<Box<str>>, id: u32, value: Box<str>) -> bool {
    place_with(list, id, value, "".into())
}

/// Ids may skip some: a refused one leaves a hole, and what is seen beside an agent has
/// ids that follow two whole tables.
const MAX_GAP: usize = 1 << 17;

fn place_with<T: Clone>(list: &mut Vec<T>, id: u32, value: T, hole: T) -> bool {
    let Some(index) = (id as usize).checked_sub(1) else {
        return false;
    };
    if index >= MAX_IDS || index > list.len() + MAX_GAP {
        return false;
    }
    if index >= list.len() {
        list.resize(index + 1, hole);
    }
    list[index] = value;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_count_from_one() {
        let mut texts = Texts::default();
        assert!(texts.insert(1, "a".into()) && texts.insert(3, "c".into()));
        assert_eq!(
            (
                texts.get(TextId(1)),
                texts.get(TextId(2)),
                texts.get(TextId(3))
            ),
            ("a", "", "c")
        );
        assert_eq!(
            (texts.get(TextId(0)), texts.get(TextId(u32::MAX))),
            ("", "")
        );
        assert!(!texts.insert(0, "x".into()));
        assert!(!texts.insert(u32::MAX, "x".into()), "a hostile id");
    }

    #[test]
    fn locations_name_their_file() {
        let mut texts = Texts::default();
        texts.insert(1, "src/main.rs".into());
        assert!(texts.insert_location(2, 1, 42, 5));
        assert_eq!(
            texts.location(LocationId(2)).unwrap().to_string(),
            "src/main.rs:42"
        );
        assert_eq!(texts.location(LocationId(1)), None, "a hole");
    }
}
