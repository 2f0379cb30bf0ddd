//! Choosing what to attach to, of what was found on this machine: a screen of its own,
//! before there is a target.
//!
//! What is found comes by [`Picker::found`], keys go to [`Picker::key`], and a
//! [`Choice`] comes out. The cursor stays on its program, wherever that goes.

use ratatui::layout::Size;

use super::{
    Key,
    bindings::Keymap,
    front::{self, Bound, FilterLine, Parts, Step, bound},
    mouse::Mouse,
    page::wrap,
};

/// A program that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Its process.
    pub pid: u32,
    /// What it is called.
    pub name: String,
    /// The arguments with which it was started.
    pub arguments: String,
    /// Whose it is.
    pub user: String,
    /// What makes it observable: an agent, console-subscriber, its tokio.
    pub instrument: String,
    /// Its threads.
    pub threads: u64,
    /// Its share of one CPU; `None` where it is not known yet.
    pub cpu: Option<f64>,
    /// How it can be attached to, if it can.
    pub way: Way,
}

/// How a program can be attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// By its agent or console-subscriber, as the target of this name.
    Within(String),
    /// From outside, as the target of this name.
    Outside(String),
    /// Not: a word about it, and all about it.
    Closed {
        /// Why, for a column.
        short: String,
        /// What was tried, what happened, what to do.
        sentence: String,
        /// What to do alone, where there is not room for all of it.
        advice: String,
    },
}

impl Candidate {
    /// The name of the target that it is, if it can be attached to.
    pub fn target(&self) -> Option<&str> {
        match &self.way {
            Way::Within(target) | Way::Outside(target) => Some(target),
            Way::Closed { .. } => None,
        }
    }

    /// What stands in the last column.
    pub fn place(&self) -> &str {
        match &self.way {
            Way::Within(text) | Way::Outside(text) => text,
            Way::Closed { short, .. } => short,
        }
    }

    /// What Enter does, or what would be needed.
    pub fn sentence(&self) -> String {
        match &self.way {
            Way::Within(target) => {
                format!("Enter attaches to its {} at {target}", self.instrument)
            }
            Way::Outside(_) => {
                "Enter looks at it from outside: nothing in it is changed".to_owned()
            }
            Way::Closed { sentence, .. } => sentence.clone(),
        }
    }

    /// What a filter looks for words in.
    fn text(&self) -> String {
        format!(
            "{} {} {} {} {} {}",
            self.pid,
            self.name,
            self.arguments,
            self.user,
            self.instrument,
            self.place()
        )
    }

    fn key(&self) -> (u32, &str) {
        // A process may listen at several places.
        (self.pid, self.target().unwrap_or_default())
    }
}

/// What a key has chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// Nothing yet.
    Stay,
    /// Look anew, now.
    Look,
    /// Attach to the target of this name.
    Attach(String),
    /// Stop, as a shell's job does.
    Suspend,
    /// Nothing at all.
    Quit,
}

/// What a key does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Attach to what is under the cursor.
    Attach,
    /// Move the cursor.
    Go(Step),
    /// Type a filter.
    Filter,
    /// Look again.
    Look,
    /// Clear the filter, otherwise quit.
    Back,
    /// Quit.
    Quit,
    /// Stop as a shell's job.
    Suspend,
    /// Quit, also while a filter is typed.
    Leave,
}

/// The keys: dispatch and `docs/keys.md` come from here.
pub const KEYS: &[Bound<Act>] = &[
    bound(
        "open",
        &[Key::Enter],
        Act::Attach,
        "attach to the program under the cursor",
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
        "look-again",
        &[Key::Char('r')],
        Act::Look,
        "look again at once, and ask every agent anew; otherwise each second",
    ),
    bound(
        "back",
        &[Key::Esc],
        Act::Back,
        "clear the filter, otherwise quit",
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

/// The state of the picker.
#[derive(Debug, Clone, Default)]
pub struct Picker {
    /// Of the screen.
    pub size: Size,
    /// Keys that the configuration binds otherwise.
    pub keys: Keymap,
    candidates: Vec<Candidate>,
    cursor: usize,
    /// Something was looked at.
    looked: bool,
    unread: usize,
    filter: FilterLine,
}

impl Picker {
    /// Takes in what was found; `unread` programs could not be looked at in time.
    pub fn found(&mut self, mut candidates: Vec<Candidate>, unread: usize) {
        // What can be attached to comes first.
        candidates.sort_by_key(|candidate| (candidate.target().is_none(), candidate.pid));
        let under = self.under_cursor().map(|candidate| {
            let (pid, target) = candidate.key();
            (pid, target.to_owned())
        });
        self.candidates = candidates;
        self.looked = true;
        self.unread = unread;
        let again = under.and_then(|(pid, target)| {
            let shown = self.shown();
            let same = |candidate: &&Candidate| candidate.key() == (pid, target.as_str());
            let process = |candidate: &&Candidate| candidate.pid == pid;
            let at = |wanted: &dyn Fn(&&Candidate) -> bool| shown.iter().position(wanted);
            at(&same).or_else(|| at(&process))
        });
        self.cursor = again.unwrap_or(self.cursor);
        self.keep_cursor();
    }

    /// The parts of the screen: the more there is to say about the program under the
    /// cursor, the fewer programs are shown.
    fn parts(&self) -> Parts {
        self.parts_of(self.size)
    }

    /// Those of a screen of this size.
    pub fn parts_of(&self, size: Size) -> Parts {
        Parts::new(size, self.about(size).len())
    }

    /// What is said about the program under the cursor, in lines that fit such a screen:
    /// where there is not room for all of it, what to do comes before what was tried.
    pub fn about(&self, size: Size) -> Vec<String> {
        let width = usize::from(size.width).saturating_sub(3);
        let under = self.under_cursor();
        let mut text = under.map(Candidate::sentence).unwrap_or_default();
        if let Some(Way::Closed { short, advice, .. }) = under.map(|candidate| &candidate.way) {
            let room = Parts::new(size, usize::MAX).lines();
            let fits = |text: &str| wrap(text, width).len() <= room;
            if !fits(&text) && !advice.is_empty() {
                text = format!("{short}; {advice}");
                if !fits(&text) {
                    text.clone_from(advice);
                }
            }
        }
        if self.unread > 0 {
            let more = match self.unread {
                1 => "1 more program is being looked at".to_owned(),
                n => format!("{n} more programs are being looked at"),
            };
            text = if text.is_empty() {
                more
            } else {
                format!("{text} · {more}")
            };
        }
        wrap(&text, width)
    }

    /// Something was looked at; otherwise nobody knows yet what there is.
    pub fn has_looked(&self) -> bool {
        self.looked
    }

    /// Programs that could not be looked at in time.
    pub fn unread(&self) -> usize {
        self.unread
    }

    /// How many were found, whatever the filter.
    pub fn count(&self) -> usize {
        self.candidates.len()
    }

    /// Those that the filter lets through, in the order of the screen.
    pub fn shown(&self) -> Vec<&Candidate> {
        let candidates = self.candidates.iter();
        candidates
            .filter(|c| self.filter.matches(&c.text()))
            .collect()
    }

    /// The row of the cursor, and the row that stands first on the screen.
    pub fn cursor(&self) -> (usize, usize) {
        let height = usize::from(self.parts().rows.height).max(1);
        (self.cursor, (self.cursor + 1).saturating_sub(height))
    }

    /// The key that looks again.
    pub fn look_key(&self) -> String {
        let bound = KEYS.iter().find(|bound| bound.act == Act::Look);
        let key = bound.and_then(|bound| self.keys.keys(bound.name, bound.keys).first());
        key.map_or_else(String::new, ToString::to_string)
    }

    /// What the cursor is on.
    pub fn under_cursor(&self) -> Option<&Candidate> {
        self.shown().get(self.cursor).copied()
    }

    /// The filter, and whether it is being typed.
    pub fn filter(&self) -> (&str, bool) {
        (&self.filter.text, self.filter.typing)
    }

    /// A key went down.
    pub fn key(&mut self, key: Key) -> Choice {
        let choice = match (front::act_of(KEYS, &self.keys, key), key) {
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
            Act::Attach => {
                let target = self.under_cursor().and_then(Candidate::target);
                return target.map_or(Choice::Stay, |target| Choice::Attach(target.to_owned()));
            }
            Act::Look => return Choice::Look,
            Act::Quit | Act::Leave => return Choice::Quit,
            Act::Suspend => return Choice::Suspend,
            Act::Back if self.filter.text.is_empty() => return Choice::Quit,
            Act::Back => self.filter.text.clear(),
            Act::Filter => self.filter.typing = true,
            Act::Go(step) => self.go(step),
        }
        Choice::Stay
    }

    fn go(&mut self, step: Step) {
        let page = usize::from(self.parts().rows.height);
        self.cursor = step.from(self.cursor, page, self.shown().len());
    }

    /// The mouse at a row of the screen.
    pub fn mouse(&mut self, mouse: Mouse, y: u16) {
        let rows = self.parts().rows;
        match mouse {
            Mouse::WheelUp => self.go(Step::Up),
            Mouse::WheelDown => self.go(Step::Down),
            Mouse::Click if (rows.y..rows.bottom()).contains(&y) => {
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Programs of each kind.
    pub(crate) fn programs() -> Vec<Candidate> {
        let program = |pid, name: &str, user: &str, instrument: &str, cpu, way| Candidate {
            pid,
            name: name.into(),
            arguments: if name == "shop" {
                "--port 8080".into()
            } else {
                String::new()
            },
            user: user.into(),
            instrument: instrument.into(),
            threads: 9,
            cpu,
            way,
        };
        vec![
            program(
                812,
                "billing",
                "postgres",
                "tokio 1.47.0",
                Some(0.0),
                Way::Closed {
                    short: "needs user postgres or root".into(),
                    sentence: "reading process 812 (billing) is forbidden: it belongs to \
                               postgres (user id 70), and looptop runs as user id 1000; run \
                               looptop as that user or as root: `sudo looptop pid:812`"
                        .into(),
                    advice: "run looptop as that user or as root: `sudo looptop pid:812`".into(),
                },
            ),
            program(
                4_211,
                "mini-redis-server",
                "me",
                "tokio 1.54.1",
                Some(1.24),
                Way::Outside("pid:4211".into()),
            ),
            program(
                4_290,
                "shop",
                "me",
                "looptop-agent",
                None,
                Way::Within("127.0.0.1:7000".into()),
            ),
            program(
                14_300,
                "evil\x1b[2J",
                "me",
                "tokio",
                Some(0.031),
                Way::Outside("pid:14300".into()),
            ),
        ]
    }

    pub(crate) fn picker(width: u16, height: u16) -> Picker {
        let mut picker = Picker {
            size: Size::new(width, height),
            ..Picker::default()
        };
        picker.found(programs(), 0);
        picker
    }

    fn press(picker: &mut Picker, keys: &[Key]) -> Choice {
        let mut choice = Choice::Stay;
        for key in keys {
            choice = picker.key(*key);
        }
        choice
    }

    use Key::{Char, Down, Enter, Esc, Up};

    #[test]
    fn keys_choose() {
        let attach = |target: &str| Choice::Attach(target.to_owned());
        let text = |text: &str| text.chars().map(Char).collect::<Vec<_>>();
        let filtered =
            |filter: &str, then: &[Key]| [&[Char('/')][..], &text(filter), &[Enter], then].concat();
        for (keys, expected) in [
            (vec![Enter], attach("pid:4211")),
            (vec![Down, Enter], attach("127.0.0.1:7000")),
            (vec![Down, Char('j'), Enter], attach("pid:14300")),
            (vec![Down, Char('k'), Enter], attach("pid:4211")),
            (vec![Up, Enter], attach("pid:4211")),
            // It cannot be attached to: the screen says why.
            (vec![Char('G'), Enter], Choice::Stay),
            (vec![Char('G'), Char('g'), Enter], attach("pid:4211")),
            (filtered("shop", &[Enter]), attach("127.0.0.1:7000")),
            (filtered("SHO me", &[Enter]), attach("127.0.0.1:7000")),
            (filtered("nothing", &[Enter]), Choice::Stay),
            (filtered("q", &[Esc, Enter]), attach("pid:4211")),
            (filtered("shop", &[Esc, Esc]), Choice::Quit),
            (vec![Char('r')], Choice::Look),
            (vec![Char('q')], Choice::Quit),
            (vec![Esc], Choice::Quit),
            (vec![Key::Ctrl('c')], Choice::Quit),
            (vec![Char('/'), Key::Ctrl('c')], Choice::Quit),
            (vec![Key::Ctrl('z')], Choice::Suspend),
            (vec![Char('x')], Choice::Stay),
        ] {
            assert_eq!(press(&mut picker(80, 24), &keys), expected, "{keys:?}");
        }
    }

    #[test]
    fn the_cursor_follows_its_program() {
        let mut picker = picker(80, 24);
        press(&mut picker, &[Down]);
        assert_eq!(picker.under_cursor().unwrap().name, "shop");
        // Another one comes before it, and one goes.
        let mut now = programs();
        now.remove(1);
        let newer = Candidate {
            pid: 100,
            ..now[1].clone()
        };
        let newest = Candidate {
            pid: 101,
            ..now[1].clone()
        };
        now.extend([newer, newest]);
        picker.found(now, 0);
        assert_eq!(picker.under_cursor().unwrap().pid, 4_290);
        // It is gone: the cursor stays in the list.
        picker.found(programs().split_off(3), 0);
        assert_eq!(picker.under_cursor().unwrap().pid, 14_300);
        picker.found(Vec::new(), 0);
        assert_eq!(picker.under_cursor(), None);
        assert_eq!(picker.key(Enter), Choice::Stay);
    }

    #[test]
    fn the_cursor_stays_on_the_screen() {
        for (width, height) in [(20, 5), (80, 24), (3, 1), (1, 1), (0, 0)] {
            let mut picker = picker(width, height);
            for _ in 0..5 {
                picker.key(Down);
                let (cursor, first) = picker.cursor();
                let rows = usize::from(picker.parts().rows.height).max(1);
                assert!((first..first + rows).contains(&cursor), "{width}x{height}");
            }
        }
    }

    #[test]
    fn what_to_do_is_whole_on_every_screen_that_has_room_for_it() {
        let all = "reading process 812 (billing) is forbidden: it belongs to postgres (user id \
                   70), and looptop runs as user id 1000; run looptop as that user or as root: \
                   `sudo looptop pid:812`";
        let advice = "run looptop as that user or as root: `sudo looptop pid:812`";
        let short = format!("needs user postgres or root; {advice}");
        for (width, height, expected) in [
            (120, 40, all),
            (80, 24, all),
            (40, 14, all),
            (40, 11, all),
            (40, 10, short.as_str()),
            (40, 8, short.as_str()),
            (30, 8, advice),
        ] {
            let mut picker = picker(width, height);
            press(&mut picker, &[Char('G')]);
            let lines = picker.about(picker.size);
            assert_eq!(lines.join(" "), expected, "{width}x{height}");
            assert!(lines.len() <= picker.parts().lines(), "{width}x{height}");
            let (cursor, first) = picker.cursor();
            assert!(cursor < first + usize::from(picker.parts().rows.height));
        }
    }

    #[test]
    fn the_mouse_selects() {
        let mut picker = picker(80, 24);
        let first = picker.parts().rows.y;
        picker.mouse(Mouse::Click, first + 2);
        assert_eq!(picker.under_cursor().unwrap().pid, 14_300);
        picker.mouse(Mouse::WheelUp, 0);
        assert_eq!(picker.under_cursor().unwrap().pid, 4_290);
        picker.mouse(Mouse::Click, 0);
        picker.mouse(Mouse::Click, first + 9);
        assert_eq!(picker.under_cursor().unwrap().pid, 812, "the last");
    }
}
