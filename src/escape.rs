//! The one gate between what a target sends and the terminal.
//!
//! Invariant: what [`escaped`] returns holds no control character, no escape
//! sequence, nothing invisible or of no width, nothing that changes the
//! direction of its neighbours, and takes exactly as many columns as the sum of
//! its characters, so that columns stay aligned.

use std::{borrow::Cow, fmt::Write as _};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// `raw` with everything harmful shown as an escape, as Rust writes it:
/// `\u{1b}[2J`. Costs nothing for plain ASCII.
pub fn escaped(raw: &str) -> Cow<'_, str> {
    if raw.bytes().all(|b| matches!(b, b' '..=b'~')) {
        return Cow::Borrowed(raw);
    }
    let safe = escape_where(raw, is_harmful);
    let columns: usize = safe.chars().map(char_width).sum();
    if safe.width() == columns {
        Cow::Owned(safe)
    } else {
        // Some characters join into one of another width (Arabic lam and alef).
        Cow::Owned(escape_where(raw, |c| !c.is_ascii() || is_harmful(c)))
    }
}

/// Like [`escaped`], but a line break stays one: for text that is copied or wrapped.
pub fn lines(raw: &str) -> String {
    raw.lines().map(escaped).collect::<Vec<_>>().join("\n")
}

/// Columns of a character that [`escaped`] let through.
pub fn char_width(c: char) -> usize {
    c.width().unwrap_or(0)
}

fn escape_where(raw: &str, harmful: impl Fn(char) -> bool) -> String {
    let mut safe = String::with_capacity(raw.len() + 16);
    for c in raw.chars() {
        if harmful(c) {
            let _ = write!(safe, "{}", c.escape_default());
        } else {
            safe.push(c);
        }
    }
    safe
}

fn is_harmful(c: char) -> bool {
    char_width(c) == 0
        || c.is_control()
        || matches!(c,
            '\u{ad}' // soft hyphen: shown or not
            | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' // Hangul fillers
            | '\u{61c}' | '\u{200b}'..='\u{200f}' // marks of direction, joiners
            | '\u{2028}'..='\u{202e}' // separators, embeddings, overrides
            | '\u{2060}'..='\u{206f}' // invisible operators, isolates
            | '\u{1f1e6}'..='\u{1f1ff}' // letters of flags: terminals disagree on their width
            | '\u{1f3fb}'..='\u{1f3ff}' // skin tones join with what is before
            | '\u{fdd0}'..='\u{fdef}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}'..='\u{ffff}'
            | '\u{e0000}'..='\u{10ffff}') // tags, private planes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn harmful_characters_are_shown_and_others_kept() {
        let table = [
            ("http::conn", "http::conn"),
            ("\x1b[2Jgone", "\\u{1b}[2Jgone"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("a\tb\nc\r", "a\\tb\\nc\\r"),
            ("user\u{202e}txt", "user\\u{202e}txt"),
            ("e\u{301}", "e\\u{301}"),
            ("zero\u{200b}width", "zero\\u{200b}width"),
            ("日本語", "日本語"),
            ("tâche—fin", "tâche—fin"),
            ("لا", "\\u{644}\\u{627}"),
            ("👍🏽", "👍\\u{1f3fd}"),
            ("\u{7f}", "\\u{7f}"),
        ];
        for (raw, expected) in table {
            assert_eq!(escaped(raw), expected, "{raw:?}");
        }
    }

    #[test]
    fn line_breaks_survive_only_where_they_may() {
        assert_eq!(lines("a\nb\x07\n"), "a\nb\\u{7}");
    }

    proptest! {
        #[test]
        fn nothing_harmful_survives(raw in any::<String>(), picks in prop::collection::vec(0u32..0x11_0000, 0..30)) {
            let mut raw = raw;
            raw.extend(picks.into_iter().filter_map(char::from_u32));
            let safe = escaped(&raw);
            prop_assert!(!safe.chars().any(is_harmful));
            prop_assert_eq!(safe.width(), safe.chars().map(char_width).sum::<usize>());
            let again = escaped(&safe);
            prop_assert_eq!(again.as_ref(), safe.as_ref());
        }
    }
}
