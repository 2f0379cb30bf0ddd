//! What the screens have in common that stand before that of a target: keys, steps of the
//! cursor, the line where a filter is typed, and where their parts are.

use ratatui::layout::{Rect, Size};

use super::{
    Action, Key,
    bindings::{FILTER, Keymap},
};

/// Keys, and what they do.
#[derive(Debug)]
pub struct Bound<A: 'static> {
    /// What a configuration calls it, as the screen of a target does.
    pub name: &'static str,
    /// Any of these.
    pub keys: &'static [Key],
    /// What it does.
    pub(super) act: A,
    /// A sentence for the document.
    pub help: &'static str,
}

pub(super) const fn bound<A: Copy + 'static>(
    name: &'static str,
    keys: &'static [Key],
    act: A,
    help: &'static str,
) -> Bound<A> {
    Bound {
        name,
        keys,
        act,
        help,
    }
}

/// What a key of `all` does.
pub(super) fn act_of<A: Copy + 'static>(
    all: &'static [Bound<A>],
    keymap: &Keymap,
    key: Key,
) -> Option<A> {
    let keys = |bound: &&Bound<A>| keymap.keys(bound.name, bound.keys);
    let bound = all.iter().find(|bound| keys(bound).contains(&key));
    bound.map(|bound| bound.act)
}

/// A step of the cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// One row.
    Up,
    /// One row.
    Down,
    /// As many rows as are visible.
    PageUp,
    /// As many rows as are visible.
    PageDown,
    /// To the first row.
    First,
    /// To the last row.
    Last,
}

impl Step {
    /// Where it leads from row `at` of `len`, of which `page` are visible.
    pub(super) fn from(self, at: usize, page: usize, len: usize) -> usize {
        let page = page.max(1);
        let to = match self {
            Step::Up => at.saturating_sub(1),
            Step::Down => at + 1,
            Step::PageUp => at.saturating_sub(page),
            Step::PageDown => at + page,
            Step::First => 0,
            Step::Last => len,
        };
        to.min(len.saturating_sub(1))
    }
}

/// The line where a filter is typed: words that a row must contain.
#[derive(Debug, Clone, Default)]
pub(super) struct FilterLine {
    pub(super) text: String,
    pub(super) typing: bool,
}

impl FilterLine {
    /// `text` contains all words.
    pub(super) fn matches(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        let mut words = self.text.split_whitespace();
        words.all(|word| text.contains(&word.to_lowercase()))
    }

    /// A key goes down while it is typed.
    pub(super) fn key(&mut self, key: Key, keymap: &Keymap) {
        let of_filter = FILTER.bindings.iter();
        let bound = of_filter.map(|bound| (&bound.action, keymap.of(bound)));
        let mut action = bound
            .filter(|(_, keys)| keys.contains(&key))
            .map(|(a, _)| a);
        match (action.next(), key) {
            (Some(Action::Erase), _) => drop(self.text.pop()),
            (Some(Action::EraseWord), _) => {
                let kept = self.text.trim_end().rfind(' ').map_or(0, |at| at + 1);
                self.text.truncate(kept);
            }
            (Some(Action::Clear), _) => {
                self.text.clear();
                self.typing = false;
            }
            (Some(Action::Accept), _) => self.typing = false,
            (None, Key::Char(c)) => self.text.push(c),
            _ => {}
        }
    }

    /// Text was pasted; `true` where it was taken.
    pub(super) fn paste(&mut self, text: &str) -> bool {
        if self.typing {
            self.text.extend(text.chars().filter(|c| !c.is_control()));
        }
        self.typing
    }
}

/// The parts of the screen: what does not fit is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// The program's name, and how many rows there are.
    pub header: Rect,
    /// The names of the columns.
    pub heads: Rect,
    /// A line for each row, or what to do where there is none.
    pub rows: Rect,
    /// About the row under the cursor.
    pub about: Rect,
    /// Keys, or the line where a filter is typed.
    pub footer: Rect,
}

/// Rows that stay, however much there is to say about one.
const LEAST_ROWS: u16 = 2;
/// Lines of a screen on which a rule stands above what is said about a row.
const ROOM_FOR_RULE: u16 = 14;

impl Parts {
    /// Of a screen of this size, with so many lines to say about the row under the cursor.
    pub fn new(size: Size, lines: usize) -> Self {
        let heads = u16::from(size.height >= 6);
        let header = u16::from(size.height >= 2);
        let footer = u16::from(size.height >= 3);
        let usual = match size.height {
            0..8 => 0,
            8..ROOM_FOR_RULE => 3,
            _ => 4,
        };
        let rule = u16::from(size.height >= ROOM_FOR_RULE);
        let wanted = u16::try_from(lines).unwrap_or(u16::MAX);
        let wanted = wanted.saturating_add(rule);
        let most = size
            .height
            .saturating_sub(header + heads + footer + LEAST_ROWS);
        let about = if usual == 0 {
            0
        } else {
            wanted.clamp(usual, usual.max(most))
        };
        let rows = size.height - header - heads - about - footer;
        let mut y = 0;
        let mut part = |height| {
            let part = Rect::new(0, y, size.width, height);
            y += height;
            part
        };
        Self {
            header: part(header),
            heads: part(heads),
            rows: part(rows),
            about: part(about),
            footer: part(footer),
        }
    }

    /// A rule stands above what is said about a row.
    pub fn has_rule(&self) -> bool {
        self.footer.bottom() >= ROOM_FOR_RULE
    }

    /// The lines that can be said about a row.
    pub(super) fn lines(&self) -> usize {
        let rule = usize::from(self.has_rule());
        usize::from(self.about.height).saturating_sub(rule)
    }
}
