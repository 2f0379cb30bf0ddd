//! The keys that belong to no view. Those of a view are in its file in `app/views/`.

use crate::app::{Action, Key, Motion, Travel};

use super::{
    Section,
    Where::{Always, Everywhere, Filter, Links, Past, Paused, Playing, Recordable, Tables, Views},
    binding,
};
use Key::{Char, Ctrl};

/// Left out of the footer.
const QUIET: (u8, &str) = (9, "");

/// Whatever is on screen.
pub(super) const ANYWHERE: Section = Section {
    title: "Anywhere",
    bindings: &[
        binding(&[Ctrl('c')], Action::Quit, Always, QUIET, "quit"),
        binding(
            &[Ctrl('z')],
            Action::Suspend,
            Always,
            QUIET,
            "suspend; fg comes back",
        ),
        binding(
            &[Char('?'), Key::F(1)],
            Action::Help,
            Everywhere,
            (2, "help"),
            "this help",
        ),
        binding(&[Char('q')], Action::Quit, Everywhere, (3, "quit"), "quit"),
        binding(
            &[Key::Esc],
            Action::Back,
            Everywhere,
            (4, "back"),
            "back; clears an active filter; never quits",
        ),
        binding(
            &[Key::Enter],
            Action::Open,
            Views,
            (1, "details"),
            "details of what is under the cursor",
        ),
        binding(
            &[Char('e')],
            Action::Explain,
            Everywhere,
            (2, "explain"),
            "explain the finding under the cursor, or the verdict",
        ),
        binding(
            &[Char(' ')],
            Action::Freeze,
            Everywhere,
            (3, "freeze"),
            "freeze the screen, or hold a recording; the target runs on; again to go live",
        ),
        binding(
            &[Char('[')],
            Action::Travel(Travel::Back),
            Everywhere,
            (8, "past"),
            "back in time: steps of 100 ms in the last minute, of 1 s before and in a recording",
        ),
        binding(
            &[Char(']')],
            Action::Travel(Travel::Forward),
            Everywhere,
            QUIET,
            "forward in time, in the same steps",
        ),
        binding(
            &[Char('{')],
            Action::Travel(Travel::FarBack),
            Everywhere,
            QUIET,
            "10 s back in time",
        ),
        binding(
            &[Char('}')],
            Action::Travel(Travel::FarForward),
            Everywhere,
            QUIET,
            "10 s forward in time",
        ),
        binding(
            &[Char('(')],
            Action::Travel(Travel::PreviousFinding),
            Everywhere,
            QUIET,
            "back to where the finding before began; in a recording, the stall",
        ),
        binding(
            &[Char(')')],
            Action::Travel(Travel::NextFinding),
            Everywhere,
            QUIET,
            "forward to where the next finding begins; in a recording, the stall",
        ),
        binding(
            &[Char('y')],
            Action::Copy,
            Everywhere,
            (7, "copy"),
            "copy that finding, or a task's details, to the clipboard (OSC 52)",
        ),
        binding(
            &[Char('p')],
            Action::PresenterMode,
            Everywhere,
            (8, "present"),
            "presenter mode: verdict and figures in large letters; again to leave",
        ),
        binding(
            &[Key::Enter],
            Action::Open,
            Links,
            (1, "follow"),
            "in details: to where the marked line leads; Esc comes back",
        ),
        binding(
            &[Char('r')],
            Action::Resume,
            Paused,
            (0, "resume"),
            "make a console-subscriber that was paused go on, for all its viewers",
        ),
        binding(
            &[Key::Up, Char('k')],
            Action::Move(Motion::Up),
            Everywhere,
            QUIET,
            "one row up",
        ),
        binding(
            &[Key::Down, Char('j')],
            Action::Move(Motion::Down),
            Everywhere,
            QUIET,
            "one row down",
        ),
        binding(
            &[Key::PageUp, Ctrl('b')],
            Action::Move(Motion::PageUp),
            Everywhere,
            QUIET,
            "one page up",
        ),
        binding(
            &[Key::PageDown, Ctrl('f')],
            Action::Move(Motion::PageDown),
            Everywhere,
            QUIET,
            "one page down",
        ),
        binding(
            &[Char('g'), Key::Home],
            Action::Move(Motion::Top),
            Everywhere,
            QUIET,
            "to the first row",
        ),
        binding(
            &[Char('G'), Key::End],
            Action::Move(Motion::Bottom),
            Everywhere,
            QUIET,
            "to the last row",
        ),
        binding(
            &[Key::Tab],
            Action::NextView,
            Everywhere,
            (8, "next view"),
            "next view",
        ),
        binding(
            &[Key::BackTab],
            Action::PreviousView,
            Everywhere,
            QUIET,
            "previous view",
        ),
        binding(
            &[Char('+'), Char('=')],
            Action::LongerSpan,
            Everywhere,
            (10, "span"),
            "charts show a longer time: 10 s, 1 min, 5 min, 30 min",
        ),
        binding(
            &[Char('-')],
            Action::ShorterSpan,
            Everywhere,
            QUIET,
            "charts show a shorter time",
        ),
    ],
};

/// Where rows are.
pub(super) const TABLES: Section = Section {
    title: "Tables",
    bindings: &[
        binding(
            &[Char('/')],
            Action::Filter,
            Tables,
            (2, "filter"),
            "filter the rows",
        ),
        binding(
            &[Char('>'), Char('.')],
            Action::SortNext,
            Tables,
            (6, "sort"),
            "sort by the next column",
        ),
        binding(
            &[Char('<'), Char(',')],
            Action::SortPrevious,
            Tables,
            QUIET,
            "sort by the previous column",
        ),
        binding(
            &[Char('i')],
            Action::Invert,
            Tables,
            (7, "invert"),
            "sort the other way round",
        ),
        binding(
            &[Key::Right, Char('l')],
            Action::PanRight,
            Tables,
            QUIET,
            "show columns that did not fit",
        ),
        binding(
            &[Key::Left, Char('h')],
            Action::PanLeft,
            Tables,
            QUIET,
            "and back",
        ),
    ],
};

/// Recordings, and the past that can be saved as one.
pub(super) const RECORDINGS: Section = Section {
    title: "Recordings",
    bindings: &[
        binding(&[Char('x')], Action::Faster, Playing, QUIET, "play faster"),
        binding(&[Char('X')], Action::Slower, Playing, QUIET, "play slower"),
        binding(
            &[Char('R')],
            Action::Record,
            Recordable,
            (9, "record"),
            "record what comes in to a file; again to end it",
        ),
        binding(
            &[Char('R')],
            Action::SavePast,
            Past,
            (1, "save"),
            "in the past: save all that can be gone back to, up to 30 min, to a file",
        ),
    ],
};

/// While a filter is edited.
pub(super) const FILTER: Section = Section {
    title: "While typing a filter",
    bindings: &[
        binding(
            &[Key::Enter],
            Action::Accept,
            Filter,
            (1, "apply"),
            "apply the filter",
        ),
        binding(
            &[Key::Esc],
            Action::Clear,
            Filter,
            (2, "clear"),
            "clear the filter",
        ),
        binding(
            &[Key::Backspace, Ctrl('h')],
            Action::Erase,
            Filter,
            QUIET,
            "erase a character",
        ),
        binding(
            &[Ctrl('w')],
            Action::EraseWord,
            Filter,
            QUIET,
            "erase a word",
        ),
    ],
};
