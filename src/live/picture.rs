//! The screen, saved to two files: as text and as SVG.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use looptop_wire::recording::private;
use ratatui::{
    buffer::Buffer,
    layout::{Position, Rect},
};

use super::history::file::{Unwritten, directories, discard, stem};
use crate::{
    app::State,
    ui::{self, Theme, picture},
};

/// What is saved.
#[derive(Debug)]
pub(super) struct Picture {
    text: String,
    svg: String,
    stem: String,
}

impl Picture {
    /// The screen as it is. [`State::prepare`] must have been called since it changed.
    pub(super) fn of(state: &State, theme: &Theme) -> Self {
        let mut buffer = Buffer::empty(Rect::from((Position::ORIGIN, state.size)));
        ui::paint(state, theme, &mut buffer);
        let session = &state.model().session;
        Self {
            text: picture::text(&buffer),
            svg: picture::svg(
                &buffer,
                theme.canvas(),
                &format!("looptop {}", session.name),
            ),
            stem: stem(&session.name),
        }
    }

    /// Writes both files, and says where they are, or why there are none and what to do.
    pub(super) fn save(&self) -> String {
        self.save_in(&directories(), SystemTime::now())
    }

    fn save_in(&self, directories: &[PathBuf], now: SystemTime) -> String {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let date = humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string();
        let date: String = date.chars().filter(|c| !matches!(c, '-' | ':')).collect();
        let date = date.replace('T', "-").replace('Z', "");
        let name = format!("looptop-{}-{date}", self.stem);
        let mut failed = None;
        for directory in directories {
            match self.write(directory, &name) {
                Ok(path) => return format!("screen saved: {}.svg and .txt", path.display()),
                Err(unwritten) => failed = failed.or(Some(unwritten)),
            }
        }
        let unwritten = failed.map(|unwritten| unwritten.to_string());
        format!(
            "screen not saved to {}; mend that, or start looptop where files can be written",
            unwritten.unwrap_or_default()
        )
    }

    /// Writes them under one name that is not taken; their path without what distinguishes
    /// them.
    fn write(&self, directory: &Path, name: &str) -> Result<PathBuf, Unwritten> {
        let mut number = 1;
        loop {
            let name = match number {
                1 => name.to_owned(),
                n => format!("{name}-{n}"),
            };
            let path = directory.join(name);
            match self.write_both(&path) {
                Ok(()) => return Ok(path),
                Err(Unwritten { error, .. }) if error.kind() == io::ErrorKind::AlreadyExists => {
                    number += 1;
                }
                Err(unwritten) => return Err(unwritten),
            }
        }
    }

    fn write_both(&self, path: &Path) -> Result<(), Unwritten> {
        // A name may have dots of its own.
        let with = |ending: &str| {
            let mut path = path.as_os_str().to_owned();
            path.push(ending);
            PathBuf::from(path)
        };
        let (svg, text) = (with(".svg"), with(".txt"));
        write_new(&svg, &self.svg)?;
        write_new(&text, &self.text).inspect_err(|_| discard(&svg))
    }
}

fn write_new(path: &Path, text: &str) -> Result<(), Unwritten> {
    let unwritten = |error| Unwritten {
        path: path.to_owned(),
        error,
    };
    let mut file: File = private::create_new(path).map_err(unwritten)?;
    file.write_all(text.as_bytes()).map_err(|error| {
        // Nobody learns of half a file, so it does not stay.
        discard(path);
        unwritten(error)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn picture() -> Picture {
        Picture {
            text: "text\n".into(),
            svg: "<svg/>\n".into(),
            stem: "lab".into(),
        }
    }

    #[test]
    fn both_files_have_one_name_with_the_date_and_overwrite_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let places = [directory.path().to_owned()];
        let at = UNIX_EPOCH + Duration::from_secs(1_795_749_160);
        let base = directory.path().join("looptop-lab-20261127-031240");
        let said = |base: &str| format!("screen saved: {base}.svg and .txt");
        let base = base.to_str().unwrap();
        assert_eq!(picture().save_in(&places, at), said(base));
        std::fs::write(format!("{base}-2.txt"), "mine").unwrap();
        assert_eq!(picture().save_in(&places, at), said(&format!("{base}-3")));
        let read = |name: &str| std::fs::read_to_string(format!("{base}{name}")).ok();
        assert_eq!(read(".svg").as_deref(), Some("<svg/>\n"));
        assert_eq!(read("-3.txt").as_deref(), Some("text\n"));
        assert_eq!(read("-2.txt").as_deref(), Some("mine"));
        assert_eq!(read("-2.svg"), None, "no half of a pair stays");
    }

    #[test]
    fn what_cannot_be_written_is_said_with_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let gone = directory.path().join("gone");
        let said = picture().save_in(std::slice::from_ref(&gone), UNIX_EPOCH);
        let begins = format!("screen not saved to {}/looptop-lab-", gone.display());
        assert!(said.starts_with(&begins), "{said}");
        assert!(
            said.ends_with(
                ": entity not found; mend that, or start looptop where files can be written"
            ),
            "{said}"
        );
        // The second best place is better than none.
        let second = [gone, directory.path().to_owned()];
        assert!(
            picture()
                .save_in(&second, UNIX_EPOCH)
                .starts_with("screen saved: ")
        );
    }
}
