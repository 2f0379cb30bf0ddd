//! A place in source code, as a target names it, and which one the cursor means.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::{Culprit, TaskId};

use super::{Details, RowKey, State};

/// A line of a source file. The path is the target's word: nothing more than data.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SourcePlace {
    /// As the target has it: absolute, or relative to some folder.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
}

impl SourcePlace {
    /// Reads `file:line` or `file:line:column`.
    pub fn parse(text: &str) -> Option<Self> {
        let (rest, last) = text.trim().rsplit_once(':')?;
        let last: u32 = last.parse().ok()?;
        let before = rest.rsplit_once(':');
        let line = before.and_then(|(file, line)| Some((file, line.parse().ok()?)));
        let (file, line, column) = match line {
            Some((file, line)) => (file, line, last),
            None => (rest, last, 1),
        };
        let known = !file.is_empty() && line > 0;
        known.then(|| Self {
            file: file.to_owned(),
            line,
            column: column.max(1),
        })
    }
}

/// A folder of the machine where a program was built, and where its files are here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceMap {
    /// There: what paths begin with; empty for those that are relative.
    pub from: String,
    /// Here.
    pub to: PathBuf,
}

impl SourceMap {
    /// Where a file is by this, if it says anything about it.
    pub fn map(&self, file: &str) -> Option<PathBuf> {
        let rest = match self.from.as_str() {
            "" if Path::new(file).is_absolute() => return None,
            "" => Path::new(file),
            from => Path::new(file).strip_prefix(from).ok()?,
        };
        leads_below(rest).then(|| self.to.join(rest))
    }
}

/// A relative path that leads nowhere but below where it begins.
pub fn leads_below(path: &Path) -> bool {
    let mut parts = path.components();
    parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

impl State {
    /// The line that is to be looked at: of what is under the cursor or of the details,
    /// its finding first; otherwise the verdict's.
    pub fn source_place(&self) -> Option<SourcePlace> {
        let own = self.own_finding().and_then(|finding| {
            let in_stack = || {
                let stack = finding.stack.as_ref()?;
                stack.culprit.as_ref().and_then(Culprit::location)
            };
            SourcePlace::parse(&finding.location).or_else(|| SourcePlace::parse(&in_stack()?))
        });
        own.or_else(|| self.place_under_cursor()).or_else(|| {
            let (rule, subject) = self.shown().verdict.finding.as_ref()?;
            let finding = self.find_finding(rule, subject)?;
            SourcePlace::parse(&finding.location)
        })
    }

    /// Of what no finding is about.
    fn place_under_cursor(&self) -> Option<SourcePlace> {
        let stall = |id| {
            let stall = self.model().stalls.get(id)?;
            let culprit = stall.culprit().and_then(Culprit::location);
            let spawned = || self.model().location(stall.location).map(|l| l.to_string());
            SourcePlace::parse(&culprit.or_else(spawned)?)
        };
        match self.details {
            Some(Details::Task(id)) => return self.place_of_task(id),
            Some(Details::Stall(id)) => return stall(id),
            Some(_) => return None,
            None => {}
        }
        match self.row_under_cursor()? {
            RowKey::Tasks(id) => self.place_of_task(*id),
            RowKey::Stalls(id) => stall(*id),
            _ => None,
        }
    }

    /// Where a task's async fn is written, otherwise where it was spawned.
    fn place_of_task(&self, id: TaskId) -> Option<SourcePlace> {
        let task = self.model().tasks.get(id)?;
        let written = self.model().location(task.future_location);
        let place = written.or_else(|| self.model().location(task.location))?;
        Some(SourcePlace {
            file: place.file.to_owned(),
            line: place.line.max(1),
            column: place.column.max(1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::fixtures::{empty_state, name_stall, starving_state, type_text};

    #[test]
    fn places_are_read_from_text() {
        let place = |file: &str, line, column| {
            Some(SourcePlace {
                file: file.to_owned(),
                line,
                column,
            })
        };
        for (text, expected) in [
            ("src/main.rs:41", place("src/main.rs", 41, 1)),
            ("/a b/c:d.rs:7:3", place("/a b/c:d.rs", 7, 3)),
            ("-rf.rs:1", place("-rf.rs", 1, 1)),
            ("src/main.rs", None),
            ("src/main.rs:x", None),
            (":7", None),
            ("src/main.rs:0", None),
            ("", None),
        ] {
            assert_eq!(SourcePlace::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn folders_of_another_machine_are_found_here_and_nothing_beside_them() {
        let map = |from: &str| SourceMap {
            from: from.to_owned(),
            to: "/here/app".into(),
        };
        for (from, file, expected) in [
            (
                "/build/app",
                "/build/app/src/a.rs",
                Some("/here/app/src/a.rs"),
            ),
            (
                "/build/app/",
                "/build/app/src/a.rs",
                Some("/here/app/src/a.rs"),
            ),
            ("/build/app", "/build/apple/src/a.rs", None),
            ("/build/app", "/build/app/../../etc/passwd", None),
            ("", "src/a.rs", Some("/here/app/src/a.rs")),
            ("", "../a.rs", None),
            ("", "/src/a.rs", None),
            ("demo", "demo/src/a.rs", Some("/here/app/src/a.rs")),
        ] {
            let found = map(from).map(file);
            assert_eq!(found.as_deref(), expected.map(Path::new), "{from} {file}");
        }
    }

    #[test]
    fn the_cursor_means_a_line_and_otherwise_the_verdict_does() {
        let place = |state: &State| {
            let place = state.source_place()?;
            Some(format!("{}:{}", place.file, place.line))
        };
        let mut state = starving_state();
        name_stall(&mut state);
        let culprit = Some("demo/src/report.rs:42".to_owned());
        assert_eq!(place(&state), culprit, "the finding");
        type_text(&mut state, "4\n");
        assert_eq!(place(&state), culprit, "its stall");
        type_text(&mut state, "\u{1b}2/ticker\n");
        let spawned = Some("demo/src/service.rs:42".to_owned());
        assert_eq!(place(&state), spawned, "a task without one");
        type_text(&mut state, "\n");
        assert_eq!(place(&state), spawned, "its details");
        type_text(&mut state, "\u{1b}6");
        assert_eq!(place(&state), culprit, "of a view without lines");
        assert_eq!(place(&empty_state()), None);
    }
}
