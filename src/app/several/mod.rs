//! Several processes on one page: a row for each, the one that suffers most first.
//!
//! What is known of them comes by [`Several::found`], keys go to [`Several::key`], and a
//! [`Choice`] comes out. The cursor stays on its process, wherever that goes, and on
//! the first row, where it begins, on the worst.

mod keys;
mod process;

#[cfg(test)]
pub(crate) mod tests;

use std::{
    cmp::Reverse,
    sync::Arc,
    time::{Duration, Instant},
};

use ratatui::layout::Size;

pub use self::{
    keys::{Act, COLUMNS, HELP_NAMES, HelpLine, KEYS},
    process::{Pain, Process, Summary},
};
use super::{
    Key, ThemeId,
    bindings::Keymap,
    front::{self, FilterLine, Parts, Step},
    mouse::Mouse,
    page::wrap,
};

/// What a key has chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// Nothing.
    Stay,
    /// Go into the process with this id.
    Open(u64),
    /// Put text into the terminal's clipboard.
    Copy(String),
    /// Keep this theme in the configuration.
    KeepTheme(ThemeId),
    /// Stop, as a shell's job does.
    Suspend,
    /// End the program.
    Quit,
}

/// A notice stays this long.
const NOTICE: Duration = Duration::from_secs(6);

/// The state of the page.
#[derive(Debug, Clone)]
pub struct Several {
    /// Of the screen.
    pub size: Size,
    /// Keys that the configuration binds otherwise.
    pub keys: Keymap,
    /// The moment that the screen shows.
    pub now: Instant,
    /// How it looks.
    pub theme: ThemeId,
    /// There is a theme of the user's own.
    pub has_own_theme: bool,
    /// What is watched may be none at a time, and what is to be said then.
    pub nothing: &'static str,
    /// In the order of the screen.
    rows: Vec<Arc<Process>>,
    cursor: usize,
    filter: FilterLine,
    /// The first line of the help that is on screen, while it is.
    help: Option<usize>,
    notice: Option<(String, Instant)>,
}

impl Several {
    /// A page without a process.
    pub fn new(size: Size, keys: Keymap, now: Instant) -> Self {
        Self {
            size,
            keys,
            now,
            theme: ThemeId::default(),
            has_own_theme: false,
            nothing: "",
            rows: Vec::new(),
            cursor: 0,
            filter: FilterLine::default(),
            help: None,
            notice: None,
        }
    }

    /// Takes in what is known of all of them.
    pub fn found(&mut self, mut processes: Vec<Arc<Process>>) {
        // On the first row it is on the worst one, whoever that is.
        let moved = self.under_cursor().filter(|_| self.cursor > 0);
        let under = moved.map(|process| process.id);
        processes.sort_by_cached_key(|process| {
            let pain = Reverse((process.pain(), process.measure()));
            (pain, process.id)
        });
        self.rows = processes;
        let shown = self.shown();
        let again = under.and_then(|id| shown.iter().position(|process| process.id == id));
        self.cursor = again.unwrap_or(self.cursor);
        self.keep_cursor();
    }

    /// Says something for a while.
    pub fn notify(&mut self, sentence: String) {
        self.notice = Some((sentence, self.now));
    }

    /// What is said.
    pub fn notice(&self) -> Option<&str> {
        let (sentence, since) = self.notice.as_ref()?;
        let fresh = self.now.saturating_duration_since(*since) < NOTICE;
        fresh.then_some(sentence.as_str())
    }

    /// All of them, whatever the filter, the worst first.
    pub fn all(&self) -> &[Arc<Process>] {
        &self.rows
    }

    /// Those that the filter lets through, the worst first.
    pub fn shown(&self) -> Vec<&Process> {
        let all = self.rows.iter().map(|process| &**process);
        if self.filter.text.is_empty() {
            return all.collect();
        }
        all.filter(|process| self.filter.matches(&process.text()))
            .collect()
    }

    /// What the cursor is on.
    pub fn under_cursor(&self) -> Option<&Process> {
        self.shown().get(self.cursor).copied()
    }

    /// The row of the cursor, and the row that stands first on the screen.
    pub fn cursor(&self) -> (usize, usize) {
        let height = usize::from(self.parts().rows.height).max(1);
        (self.cursor, (self.cursor + 1).saturating_sub(height))
    }

    /// The filter, and whether it is being typed.
    pub fn filter(&self) -> (&str, bool) {
        (&self.filter.text, self.filter.typing)
    }

    /// The lines of the help that are on screen, while it is.
    pub fn help(&self) -> Option<Vec<HelpLine>> {
        let first = self.help?;
        let (lines, height) = (self.help_lines(), self.help_height());
        // The screen may have grown.
        let first = first.min(lines.len().saturating_sub(height));
        Some(lines.into_iter().skip(first).take(height).collect())
    }

    /// The help is on screen.
    pub fn shows_help(&self) -> bool {
        self.help.is_some()
    }

    fn help_lines(&self) -> Vec<HelpLine> {
        let width = usize::from(self.size.width).saturating_sub(2);
        keys::help(&self.keys, width)
    }

    /// It has all between header and footer.
    fn help_height(&self) -> usize {
        let parts = self.parts();
        usize::from(parts.footer.y.saturating_sub(parts.header.height)).max(1)
    }

    fn parts(&self) -> Parts {
        self.parts_of(self.size)
    }

    /// The parts of a screen of this size.
    pub fn parts_of(&self, size: Size) -> Parts {
        let (sentence, remedy) = self.about(size);
        Parts::new(size, sentence.len() + remedy.len())
    }

    /// What is said of the process under the cursor, and what to do, in lines that fit
    /// such a screen.
    pub fn about(&self, size: Size) -> (Vec<String>, Vec<String>) {
        let width = usize::from(size.width).saturating_sub(3);
        let Some(process) = self.under_cursor() else {
            return (Vec::new(), Vec::new());
        };
        let (sentence, remedy) = process.sentences();
        let remedy = if remedy.is_empty() {
            Vec::new()
        } else {
            wrap(remedy, width.saturating_sub(2))
        };
        (wrap(sentence, width), remedy)
    }

    /// A key went down.
    pub fn key(&mut self, key: Key) -> Choice {
        let act = front::act_of(KEYS, &self.keys, key);
        let choice = match (act, key) {
            (Some(Act::Leave), _) => Choice::Quit,
            (Some(Act::Suspend), _) => Choice::Suspend,
            (Some(Act::Go(step)), key) if !self.filter.typing || !matches!(key, Key::Char(_)) => {
                self.go(step);
                Choice::Stay
            }
            _ if self.filter.typing => {
                self.filter.key(key, &self.keys);
                Choice::Stay
            }
            (Some(act), _) => self.act(act),
            (None, _) => Choice::Stay,
        };
        self.keep_cursor();
        choice
    }

    fn act(&mut self, act: Act) -> Choice {
        match act {
            Act::Quit | Act::Leave => return Choice::Quit,
            Act::Suspend => return Choice::Suspend,
            Act::Help => {
                self.help = match self.help {
                    Some(_) => None,
                    None => Some(0),
                }
            }
            Act::Back if self.help.is_some() => self.help = None,
            // One layer at a time, and never out of the program.
            Act::Back => self.filter.text.clear(),
            Act::Go(step) => self.go(step),
            // They are about what the help covers.
            _ if self.help.is_some() => {}
            Act::Open => {
                let process = self.under_cursor().map(|process| process.id);
                return process.map_or(Choice::Stay, Choice::Open);
            }
            Act::Filter => self.filter.typing = true,
            Act::Copy => return self.copy(),
            Act::Theme => {
                self.theme = self.theme.next(self.has_own_theme);
                return Choice::KeepTheme(self.theme);
            }
        }
        Choice::Stay
    }

    fn copy(&mut self) -> Choice {
        let Some(text) = self.under_cursor().map(Process::copied) else {
            self.notify("nothing to copy".to_owned());
            return Choice::Stay;
        };
        self.notify("copied to the terminal's clipboard".to_owned());
        Choice::Copy(text)
    }

    fn go(&mut self, step: Step) {
        let page = usize::from(self.parts().rows.height);
        if let Some(first) = self.help {
            // What fits need not be scrolled to.
            let hidden = self.help_lines().len().saturating_sub(self.help_height());
            self.help = Some(step.from(first, self.help_height(), hidden + 1));
            return;
        }
        self.cursor = step.from(self.cursor, page, self.shown().len());
    }

    /// The mouse at a row of the screen.
    pub fn mouse(&mut self, mouse: Mouse, y: u16) {
        let rows = self.parts().rows;
        match mouse {
            Mouse::WheelUp => self.go(Step::Up),
            Mouse::WheelDown => self.go(Step::Down),
            Mouse::Click if self.help.is_none() && (rows.y..rows.bottom()).contains(&y) => {
                self.cursor = self.cursor().1 + usize::from(y - rows.y);
            }
            Mouse::Click => {}
        }
        self.keep_cursor();
    }

    /// Text was pasted.
    pub fn paste(&mut self, text: &str) {
        if self.filter.paste(text) {
            self.keep_cursor();
        }
    }

    fn keep_cursor(&mut self) {
        let last = self.shown().len().saturating_sub(1);
        self.cursor = self.cursor.min(last);
    }
}
