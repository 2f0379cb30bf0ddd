//! What is expected of each task, and the marks of the program's lines.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/waiting")
}

/// The marks of the program's sources, by file and line.
pub(crate) struct Marks(HashMap<(String, u32), String>);

impl Marks {
    pub(crate) fn read() -> Self {
        let mut marks = HashMap::new();
        for file in std::fs::read_dir(sources()).unwrap().flatten() {
            let name = file.file_name().into_string().unwrap();
            let text = std::fs::read_to_string(file.path()).unwrap();
            for (line, number) in text.lines().zip(1..) {
                if let Some((code, mark)) = line.rsplit_once("// #") {
                    // One that stands alone is of the line before it.
                    let of = if code.trim().is_empty() {
                        number - 1
                    } else {
                        number
                    };
                    marks.insert((name.clone(), of), mark.trim().to_owned());
                }
            }
        }
        Self(marks)
    }

    pub(crate) fn at(&self, file: &str, line: u32) -> Option<String> {
        let name = file.rsplit('/').next()?;
        let mark = self.0.get(&(name.to_owned(), line))?;
        Some(format!("#{mark}"))
    }
}

/// What is expected of each task.
pub(crate) fn expected() -> HashMap<String, String> {
    let text = std::fs::read_to_string(sources().join("expected.txt")).unwrap();
    let mut expected: HashMap<String, String> = HashMap::new();
    let mut name = String::new();
    for line in text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        if line.starts_with(' ') {
            let of = expected.get_mut(&name).unwrap();
            let _ = writeln!(of, "{line}");
        } else {
            name = line.to_owned();
            let before = expected.insert(name.clone(), String::new());
            assert_eq!(before, None, "{name} is there twice");
        }
    }
    expected
}

/// Lines and those below them, in the order of their texts.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tree {
    pub(crate) line: String,
    pub(crate) below: Vec<Self>,
}

impl Tree {
    pub(crate) fn of(text: &str) -> Self {
        let lines: Vec<(usize, &str)> = text
            .lines()
            .map(|line| {
                let trimmed = line.trim_start();
                (line.len() - trimmed.len(), trimmed)
            })
            .collect();
        Self {
            line: String::new(),
            below: Self::all(&lines),
        }
    }

    fn all(mut lines: &[(usize, &str)]) -> Vec<Self> {
        let mut trees = Vec::new();
        while let Some(((depth, line), rest)) = lines.split_first() {
            let end = rest.iter().position(|(other, _)| other <= depth);
            let (below, after) = rest.split_at(end.unwrap_or(rest.len()));
            let (times, line) = line
                .split_once(" x ")
                .and_then(|(times, line)| Some((times.parse().ok()?, line)))
                .unwrap_or((1, *line));
            for _ in 0..times {
                trees.push(Self {
                    line: line.to_owned(),
                    below: Self::all(below),
                });
            }
            lines = after;
        }
        trees.sort();
        trees
    }

    fn write(&self, f: &mut std::fmt::Formatter<'_>, depth: usize) -> std::fmt::Result {
        for below in &self.below {
            writeln!(f, "{:1$}{2}", "", depth * 2, below.line)?;
            below.write(f, depth + 1)?;
        }
        Ok(())
    }
}

impl std::fmt::Display for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.write(f, 1)
    }
}

impl Tree {
    /// What an interpreted poll says of the same, as `expected.txt` has it.
    pub(crate) fn as_polled(&self) -> Self {
        let mut below = Vec::new();
        for tree in &self.below {
            let line = &tree.line;
            let is_left_out = ["holds ", "kept: ", "-> Never"];
            if is_left_out.iter().any(|start| line.starts_with(start)) {
                continue;
            }
            let polled = tree.as_polled();
            let is_known = line.starts_with("-> ") || line.starts_with("? ");
            let is_known = is_known || line.ends_with(", any");
            let is_known = is_known || line.ends_with(", all");
            if let Some((_, mark)) = line.split_once('#') {
                below.push(Self {
                    line: format!("#{mark}"),
                    ..polled
                });
            } else if is_known || matches!(&**line, "select" | "join") {
                below.push(Self {
                    line: line.clone(),
                    ..polled
                });
            } else {
                // It only passes polls on.
                below.extend(polled.below);
            }
        }
        below.sort();
        Self {
            line: String::new(),
            below,
        }
    }
}

/// What is expected of each task where functions have no names.
pub(crate) fn unnamed() -> HashMap<String, String> {
    let text = std::fs::read_to_string(sources().join("unnamed.txt")).unwrap();
    let lines = text.lines();
    let lines = lines.filter(|line| !line.starts_with('#') && !line.is_empty());
    let entries = lines.filter_map(|line| line.split_once(": "));
    entries
        .map(|(name, waits)| (name.to_owned(), waits.to_owned()))
        .collect()
}
