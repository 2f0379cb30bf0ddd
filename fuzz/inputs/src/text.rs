//! What a target sends, on its way to the terminal: names and texts.

use looptop::escape;
use looptop_symbols::{Crates, name};

use crate::guard::guarded;

/// The input is the text.
pub fn run(data: &[u8]) {
    guarded(|| {
        let raw = String::from_utf8_lossy(data);
        let safe = escape::escaped(&raw);
        let harmless = |c: char| !c.is_control() && escape::char_width(c) > 0;
        assert!(safe.chars().all(harmless), "{safe:?}");
        let lines = escape::lines(&raw);
        assert!(lines.chars().all(|c| c == '\n' || harmless(c)), "{lines:?}");
        let _ = (name::clean(&raw), name::shown(&raw));
        let _ = (name::short_future(&raw), name::is_async(&raw));
        name::short_future_of(&raw, &Crates::default());
    });
}
