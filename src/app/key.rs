//! Keys, apart from any terminal library.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A key that can be bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// A character, with shift applied.
    Char(char),
    /// A character with Control.
    Ctrl(char),
    /// Enter.
    Enter,
    /// Escape.
    Esc,
    /// Tab.
    Tab,
    /// Tab with Shift.
    BackTab,
    /// Backspace.
    Backspace,
    /// An arrow.
    Up,
    /// An arrow.
    Down,
    /// An arrow.
    Left,
    /// An arrow.
    Right,
    /// Page up.
    PageUp,
    /// Page down.
    PageDown,
    /// Home.
    Home,
    /// End.
    End,
    /// A function key.
    F(u8),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Key::Char(' ') => "Space",
            Key::Char(c) => return write!(f, "{c}"),
            Key::Ctrl(c) => return write!(f, "Ctrl-{}", c.to_ascii_uppercase()),
            Key::Enter => "Enter",
            Key::Esc => "Esc",
            Key::Tab => "Tab",
            Key::BackTab => "Shift-Tab",
            Key::Backspace => "Backspace",
            Key::Up => "↑",
            Key::Down => "↓",
            Key::Left => "←",
            Key::Right => "→",
            Key::PageUp => "PgUp",
            Key::PageDown => "PgDn",
            Key::Home => "Home",
            Key::End => "End",
            Key::F(n) => return write!(f, "F{n}"),
        };
        f.write_str(name)
    }
}

impl Key {
    /// What a configuration calls it: [`Key::from_str`] reads it back.
    pub fn word(self) -> String {
        let name = match self {
            Key::Up => "Up",
            Key::Down => "Down",
            Key::Left => "Left",
            Key::Right => "Right",
            key => return key.to_string(),
        };
        name.to_owned()
    }
}

/// What is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoKey {
    /// Nothing that is known.
    #[error(
        "\"{0}\" is no key: write a character, Space, Enter, Esc, Tab, Shift-Tab, Backspace, Up, Down, Left, Right, PgUp, PgDn, Home, End, F1 to F12, or Ctrl- with a letter"
    )]
    Unknown(String),
    /// A terminal sends the same as for another key.
    #[error("{0} is {1} to a terminal: write that")]
    Same(Key, Key),
}

const NAMED: [(&str, Key); 20] = [
    ("space", Key::Char(' ')),
    ("enter", Key::Enter),
    ("esc", Key::Esc),
    ("escape", Key::Esc),
    ("tab", Key::Tab),
    ("shift-tab", Key::BackTab),
    ("backspace", Key::Backspace),
    ("up", Key::Up),
    ("down", Key::Down),
    ("left", Key::Left),
    ("right", Key::Right),
    ("pgup", Key::PageUp),
    ("pageup", Key::PageUp),
    ("page-up", Key::PageUp),
    ("pgdn", Key::PageDown),
    ("pagedown", Key::PageDown),
    ("page-down", Key::PageDown),
    ("home", Key::Home),
    ("end", Key::End),
    ("return", Key::Enter),
];

impl FromStr for Key {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        let unknown = || NoKey::Unknown(text.to_owned());
        let mut chars = text.chars();
        if let (Some(c), None) = (chars.next(), chars.next()) {
            let visible = !c.is_control() && !c.is_whitespace();
            return visible.then_some(Key::Char(c)).ok_or_else(unknown);
        }
        let lower = text.to_lowercase();
        if let Some((_, key)) = NAMED.iter().find(|(name, _)| *name == lower) {
            return Ok(*key);
        }
        if let Some(rest) = lower.strip_prefix("ctrl-") {
            let mut letters = rest.chars();
            let (Some(c), None) = (letters.next(), letters.next()) else {
                return Err(unknown());
            };
            let key = Key::Ctrl(c);
            return match c {
                'i' => Err(NoKey::Same(key, Key::Tab)),
                'm' => Err(NoKey::Same(key, Key::Enter)),
                'a'..='z' => Ok(key),
                _ => Err(unknown()),
            };
        }
        let number = lower.strip_prefix('f').and_then(|n| n.parse().ok());
        let number = number.filter(|n| (1..=12).contains(n));
        number.map(Key::F).ok_or_else(unknown)
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.word())
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_key_is_called_is_that_key() {
        let simple = [Key::Char('a'), Key::Char('G'), Key::Char('é')];
        let control = ['a', 'h', 'z'].map(Key::Ctrl);
        let functions = [1, 12].map(Key::F);
        let named = NAMED.map(|(_, key)| key);
        for key in simple
            .into_iter()
            .chain(control)
            .chain(functions)
            .chain(named)
        {
            assert_eq!(key.word().parse(), Ok(key));
        }
        for text in [
            "", "F0", "F13", "Ctrl-", "Ctrl-1", "Ctrl-aa", "Hyper-a", "\t", "ab",
        ] {
            assert!(text.parse::<Key>().is_err(), "{text:?}");
        }
    }
}
