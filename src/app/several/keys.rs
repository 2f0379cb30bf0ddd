//! The keys of the page of several processes, and what the help says beside them.

use super::super::{
    Key,
    bindings::Keymap,
    front::{Bound, Step, bound},
    page::wrap,
};

/// What a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Go into the process under the cursor.
    Open,
    /// Move the cursor.
    Go(Step),
    /// Type a filter.
    Filter,
    /// Show the keys, or hide them.
    Help,
    /// Copy what is said of the process under the cursor.
    Copy,
    /// Take the next theme.
    Theme,
    /// Close the help, otherwise clear the filter.
    Back,
    /// Quit.
    Quit,
    /// Stop as a shell's job.
    Suspend,
    /// Quit, also while a filter is typed.
    Leave,
}

/// The keys: dispatch, the help and `docs/keys.md` come from here.
pub const KEYS: &[Bound<Act>] = &[
    bound(
        "open",
        &[Key::Enter],
        Act::Open,
        "go into the process under the cursor; Esc or Backspace there comes back",
    ),
    bound(
        "up",
        &[Key::Up, Key::Char('k')],
        Act::Go(Step::Up),
        "one row up",
    ),
    bound(
        "down",
        &[Key::Down, Key::Char('j')],
        Act::Go(Step::Down),
        "one row down",
    ),
    bound(
        "page-up",
        &[Key::PageUp],
        Act::Go(Step::PageUp),
        "one page up",
    ),
    bound(
        "page-down",
        &[Key::PageDown],
        Act::Go(Step::PageDown),
        "one page down",
    ),
    bound(
        "top",
        &[Key::Char('g'), Key::Home],
        Act::Go(Step::First),
        "to the first row",
    ),
    bound(
        "bottom",
        &[Key::Char('G'), Key::End],
        Act::Go(Step::Last),
        "to the last row",
    ),
    bound(
        "filter",
        &[Key::Char('/')],
        Act::Filter,
        "filter by words that a row must contain; Enter applies, Esc clears",
    ),
    bound(
        "help",
        &[Key::Char('?'), Key::F(1)],
        Act::Help,
        "these keys, and what the columns mean",
    ),
    bound(
        "copy",
        &[Key::Char('y')],
        Act::Copy,
        "copy the worst finding of the process under the cursor to the clipboard (OSC 52)",
    ),
    bound(
        "theme-next",
        &[Key::Char('T')],
        Act::Theme,
        "the next theme, which is kept in the configuration",
    ),
    bound(
        "back",
        &[Key::Esc, Key::Backspace],
        Act::Back,
        "close the help, clear the filter; never quits",
    ),
    bound("quit", &[Key::Char('q')], Act::Quit, "quit"),
    bound(
        "suspend",
        &[Key::Ctrl('z')],
        Act::Suspend,
        "suspend; fg comes back",
    ),
    bound("interrupt", &[Key::Ctrl('c')], Act::Leave, "quit"),
];

/// The columns, and what they mean.
pub const COLUMNS: [(&str, &str); 6] = [
    (
        "VERDICT",
        "how it does, or what the connection does; the worst stands first",
    ),
    (
        "PROCESS",
        "what the application calls itself, and the target",
    ),
    (
        "LAG",
        "99 of 100 probes of the last 10 s ran within this, in its worst runtime",
    ),
    (
        "BUSY",
        "share of the last second that its workers were busy",
    ),
    ("STALLS", "in the last minute"),
    (
        "WORST CULPRIT",
        "of its gravest finding: function and line; or why there is no data",
    ),
];

/// What is left out on this page.
const LEFT_OUT: &str = "An agent's process is not read in memory for this page: where its \
                            tasks wait, and deadlocks, show once you go into it.";

/// A line of the help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HelpLine {
    /// Keys, and the first line of what they do.
    Keys(String, String),
    /// A column, and the first line of what it means.
    Column(&'static str, String),
    /// What goes on below either.
    More(String),
    /// Text of its own.
    Text(String),
}

/// Columns of a help's line in which keys and names of columns stand.
pub const HELP_NAMES: usize = 15;

/// The help in lines of this width.
pub(super) fn help(keymap: &Keymap, width: usize) -> Vec<HelpLine> {
    let room = width.saturating_sub(HELP_NAMES);
    let mut lines = Vec::new();
    let mut add = |first: &dyn Fn(String) -> HelpLine, text: &str| {
        let mut wrapped = wrap(text, room).into_iter();
        lines.extend(wrapped.next().map(first));
        lines.extend(wrapped.map(HelpLine::More));
    };
    for bound in KEYS {
        let keys = keymap.keys(bound.name, bound.keys).iter();
        let keys: Vec<String> = keys.map(ToString::to_string).collect();
        let keys = keys.join(" ");
        add(&|text| HelpLine::Keys(keys.clone(), text), bound.help);
    }
    add(&HelpLine::More, "");
    for (title, meaning) in COLUMNS {
        add(&|text| HelpLine::Column(title, text), meaning);
    }
    add(&HelpLine::More, "");
    lines.extend(wrap(LEFT_OUT, width).into_iter().map(HelpLine::Text));
    lines
}
