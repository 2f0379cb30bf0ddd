//! Links of a terminal (OSC 8) on the places that the screen shows.
//!
//! Only what is a file on this machine becomes a link, and nothing of the target's words
//! gets into it but the letters of such a path, escaped.

use std::{
    collections::HashMap,
    fmt::Write as _,
    io::{self, Write as _},
    os::unix::ffi::OsStrExt,
    path::PathBuf,
};

use ratatui::{
    backend::{Backend, CrosstermBackend},
    layout::Rect,
};

use super::editor;
use crate::{
    app::{SourceMap, SourcePlace},
    cli::LinkChoice,
    ui::links::Link,
};

/// Whether this terminal has links, by the environment that `var` looks up.
pub(super) fn has_links(choice: LinkChoice, var: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name: &str| var(name).filter(|value| !value.is_empty());
    match choice {
        LinkChoice::On => return true,
        LinkChoice::Off => return false,
        LinkChoice::Auto => {}
    }
    let known = [
        "iTerm.app",
        "WezTerm",
        "vscode",
        "ghostty",
        "Hyper",
        "Tabby",
        "rio",
        "WarpTerminal",
    ];
    let program = set("TERM_PROGRAM").unwrap_or_default();
    let version = |text: &str| -> Option<(u32, u32)> {
        let mut parts = text.split(|c: char| !c.is_ascii_digit());
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    if program == "tmux" {
        // Before, it let nothing of it through.
        let version = set("TERM_PROGRAM_VERSION").and_then(|text| version(&text));
        return version.is_some_and(|version| version >= (3, 4));
    }
    let term = set("TERM").unwrap_or_default();
    let terms = [
        "kitty",
        "foot",
        "alacritty",
        "ghostty",
        "wezterm",
        "contour",
        "rio",
    ];
    let vte = set("VTE_VERSION").and_then(|text| text.parse::<u32>().ok());
    known.contains(&program.as_str())
        || terms.iter().any(|name| term.contains(name))
        || vte.is_some_and(|version| version >= 5000)
        || ["KONSOLE_VERSION", "WT_SESSION", "DOMTERM"]
            .iter()
            .any(|name| set(name).is_some())
}

/// Places whose file was looked for; more would be a target that makes them up.
const MOST: usize = 1 << 10;

/// Turns places into links, and knows which are on the terminal.
#[derive(Debug)]
pub(super) struct Links {
    map: Vec<SourceMap>,
    roots: Vec<PathBuf>,
    executable: String,
    files: HashMap<String, Option<String>>,
    drawn: Vec<Link>,
    area: Rect,
}

impl Links {
    /// With the map of folders of the configuration.
    pub(super) fn new(map: Vec<SourceMap>) -> Self {
        Self {
            map,
            roots: editor::roots(""),
            executable: String::new(),
            files: HashMap::new(),
            drawn: Vec::new(),
            area: Rect::default(),
        }
    }

    /// Another executable is looked at.
    pub(super) fn of(&mut self, executable: &str) {
        if self.executable != executable {
            self.executable = executable.to_owned();
            self.roots = editor::roots(executable);
            self.files.clear();
        }
    }

    /// The terminal was cleared: nothing is on it.
    pub(super) fn forget(&mut self) {
        self.drawn.clear();
    }

    /// Writes the links that are new over the text that was drawn; the others are there.
    pub(super) fn draw<W: io::Write>(
        &mut self,
        links: Vec<Link>,
        area: Rect,
        backend: &mut CrosstermBackend<W>,
    ) -> io::Result<()> {
        if area != self.area {
            self.area = area;
            self.forget();
        }
        for link in &links {
            if self.drawn.contains(link) {
                continue;
            }
            let Some(target) = self.target(&link.place) else {
                continue;
            };
            write!(backend, "\x1b]8;;{target}\x1b\\")?;
            let cells = (link.x..).zip(&link.cells);
            backend.draw(cells.map(|(x, cell)| (x, link.y, cell)))?;
            write!(backend, "\x1b]8;;\x1b\\")?;
        }
        self.drawn = links;
        Ok(())
    }

    fn target(&mut self, place: &SourcePlace) -> Option<String> {
        if self.files.len() >= MOST {
            self.files.clear();
        }
        let (map, roots) = (&self.map, &self.roots);
        let file = self.files.entry(place.file.clone()).or_insert_with(|| {
            let path = editor::find(&place.file, map, roots).ok()?;
            Some(url(path.as_os_str().as_bytes()))
        });
        Some(format!("{}#{}", file.as_ref()?, place.line))
    }
}

/// The URL of an absolute path: whatever could mean something is escaped.
fn url(path: &[u8]) -> String {
    let mut url = String::from("file://");
    for byte in path {
        match byte {
            b'/' | b'.' | b'_' | b'-' => url.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => url.push(char::from(*byte)),
            byte => {
                let _ = write!(url, "%{byte:02X}");
            }
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use ratatui::buffer::Cell;

    use super::*;

    #[test]
    fn terminals_that_have_links_are_known() {
        for (vars, expected) in [
            (&[("TERM", "xterm-256color")][..], false),
            (&[("TERM", "xterm-kitty")], true),
            (&[("TERM", "xterm-256color"), ("VTE_VERSION", "7600")], true),
            (
                &[("TERM", "xterm-256color"), ("VTE_VERSION", "4200")],
                false,
            ),
            (&[("TERM_PROGRAM", "vscode")], true),
            (
                &[("TERM_PROGRAM", "tmux"), ("TERM_PROGRAM_VERSION", "3.5a")],
                true,
            ),
            (
                &[
                    ("TERM_PROGRAM", "tmux"),
                    ("TERM_PROGRAM_VERSION", "3.3a"),
                    ("VTE_VERSION", "7600"),
                ],
                false,
            ),
            (&[("TERM", "linux")], false),
        ] {
            let var = |name: &str| {
                let found = vars.iter().find(|(n, _)| *n == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(has_links(LinkChoice::Auto, var), expected, "{vars:?}");
            assert!(has_links(LinkChoice::On, var) && !has_links(LinkChoice::Off, var));
        }
    }

    #[test]
    fn what_is_drawn_once_is_not_drawn_again_and_only_files_are_links() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().canonicalize().unwrap().join("a b;é.rs");
        std::fs::write(&file, "").unwrap();
        let link = |file: &str, x| Link {
            x,
            y: 2,
            cells: vec![Cell::new("a"), Cell::new("1")],
            place: SourcePlace {
                file: file.to_owned(),
                line: 7,
                column: 1,
            },
        };
        let here = link(file.to_str().unwrap(), 3);
        let gone = link("/nowhere/a.rs", 9);
        let mut links = Links::new(Vec::new());
        let drawn = |links: &mut Links, what: Vec<Link>, area| {
            let mut bytes = Vec::new();
            let mut backend = CrosstermBackend::new(&mut bytes);
            links.draw(what, area, &mut backend).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        let area = Rect::new(0, 0, 80, 24);
        let first = drawn(&mut links, vec![here.clone(), gone], area);
        assert_eq!(first.matches("\x1b]8;;").count(), 2, "{first:?}");
        assert!(first.contains("/a%20b%3B%C3%A9.rs#7\x1b\\"), "{first:?}");
        assert_eq!(drawn(&mut links, vec![here.clone()], area), "");
        let larger = Rect::new(0, 0, 90, 24);
        assert!(!drawn(&mut links, vec![here.clone()], larger).is_empty());
        assert_eq!(drawn(&mut links, vec![], larger), "");
        assert!(!drawn(&mut links, vec![here], larger).is_empty());
    }
}
