//! Nothing that a target sends reaches a terminal or a log raw.

use std::borrow::Cow;

/// `text` with everything that could move a cursor, change a colour, hide or
/// reorder other text shown as an escape (`\x1b`, `\u{202e}`), so that what is
/// seen is what was sent.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.chars().any(must_escape) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if must_escape(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// Controls, line and paragraph separators, and whatever takes no column or
/// changes the direction of the text around it.
fn must_escape(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{fff9}'..='\u{fffb}')
        || (!c.is_ascii() && unicode_width::UnicodeWidthChar::width(c).is_none_or(|w| w == 0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_could_disturb_a_terminal_is_shown() {
        for (raw, shown) in [
            ("plain ünïcode 日本", "plain ünïcode 日本"),
            ("\x1b[2J\x1b]0;title\x07", "\\u{1b}[2J\\u{1b}]0;title\\u{7}"),
            ("a\tb\nc\0", "a\\tb\\nc\\u{0}"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{202e}txt", "\\u{202e}txt"),
            ("e\u{301}", "e\\u{301}"),
            ("a\u{200b}b", "a\\u{200b}b"),
        ] {
            assert_eq!(escaped(raw), shown);
        }
    }

    proptest! {
        #[test]
        fn no_control_character_survives(text in ".*") {
            let safe = escaped(&text);
            prop_assert!(!safe.chars().any(char::is_control));
            let width = unicode_width::UnicodeWidthStr::width(&*safe);
            prop_assert!(width >= safe.chars().count());
        }
    }
}
