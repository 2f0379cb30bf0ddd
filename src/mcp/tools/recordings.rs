//! `recordings`: the recordings of a folder, or what one of them shows.

use std::{
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use super::{Answer, Desk, Failure, Kind, check, limit, shown::round};
use crate::{escape::escaped, mcp::answer::more, record::Recording};

pub(super) struct Recordings;

/// What a call may say.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Arguments {
    /// A folder, whose recordings are listed, or one recording, which is checked; by
    /// default the folder in which looptop runs.
    path: Option<String>,
    /// Recordings, or findings, at most (default 10).
    #[schemars(range(min = 1, max = 100))]
    limit: Option<usize>,
}

/// Recordings of a folder, or the check of one.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Data {
    /// Those of a folder, the newest first.
    recordings: Vec<Found>,
    /// Recordings that are left out.
    more_recordings: usize,
    /// What one recording shows, where one was asked for.
    check: Option<check::Data>,
}

/// A recording.
#[derive(Debug, Serialize, JsonSchema)]
struct Found {
    /// What other tools take as `target`.
    path: String,
    /// The application that was recorded; empty where unknown.
    application: String,
    /// How much time it covers.
    length_s: f64,
    /// Stalls in it that are marked: the longest.
    stalls: usize,
    /// The longest of them.
    longest_stall_ms: f64,
    /// What of it is damaged, or why it cannot be read; null where it is whole.
    problem: Option<String>,
}

/// Recordings where a call does not say how many.
const RECORDINGS: usize = 10;
/// Files of a folder that are looked at.
const MAX_FILES: usize = 10_000;
/// How the names of recordings end.
const EXTENSION: &str = "looptop";

impl Kind for Recordings {
    const NAME: &'static str = "recordings";
    const TITLE: &'static str = "Recordings";
    const ABOUT: &'static str = "Recordings that `looptop record` or a flight recorder has made: \
        those of a folder with what each covers, or, for one file, the same as `check` of all of \
        it. Every other tool takes the path of a recording as its target, too.";
    type Arguments = Arguments;
    type Data = Data;

    async fn call(desk: Arc<Desk>, arguments: Arguments) -> Result<Answer<Data>, Failure> {
        let path = PathBuf::from(arguments.path.as_deref().unwrap_or("."));
        let most = limit(arguments.limit, RECORDINGS);
        if path.is_file() {
            let target = as_target(&path);
            let checked = check::of(&desk, Some(&target), None, Some(most)).await?;
            return Ok(Answer {
                text: checked.text,
                data: Data {
                    recordings: Vec::new(),
                    more_recordings: 0,
                    check: Some(checked.data),
                },
            });
        }
        let listed = spawn_blocking(move || list(&path, most));
        let listed = listed
            .await
            .map_err(|error| Failure::new(error.to_string()))?;
        listed.map_err(Failure::new)
    }
}

/// A path that is understood as one, whatever its name is.
fn as_target(path: &Path) -> String {
    let shown = path.display().to_string();
    if shown.contains('/') {
        shown
    } else {
        format!("./{shown}")
    }
}

fn list(folder: &Path, most: usize) -> Result<Answer<Data>, String> {
    let wrong = |error: io::Error| {
        format!(
            "`{}` cannot be listed: {error}; give a folder or a recording as `path`",
            folder.display()
        )
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(wrong)?.take(MAX_FILES) {
        let path = entry.map_err(wrong)?.path();
        let Ok(about) = fs::metadata(&path) else {
            continue;
        };
        let is_named = path.extension().is_some_and(|end| end == EXTENSION);
        if is_named && about.is_file() {
            files.push((about.modified().ok(), path));
        }
    }
    files.sort_by(|a, b| b.cmp(a));
    let more_recordings = files.len().saturating_sub(most);
    let data = Data {
        recordings: files
            .iter()
            .take(most)
            .map(|(_, path)| found(path))
            .collect(),
        more_recordings,
        check: None,
    };
    Ok(Answer {
        text: text(folder, &data),
        data,
    })
}

fn found(path: &Path) -> Found {
    let path_text = as_target(path);
    match Recording::open(path) {
        Ok(recording) => {
            let extent = recording.extent();
            let longest = extent.marks.iter().map(|mark| mark.duration).max();
            Found {
                path: path_text,
                application: recording.sessions()[0].hello.name.clone(),
                length_s: round(extent.length.as_secs_f64()),
                stalls: extent.marks.len(),
                longest_stall_ms: round(longest.unwrap_or_default().as_secs_f64() * 1e3),
                problem: extent.remark,
            }
        }
        Err(error) => Found {
            path: path_text,
            application: String::new(),
            length_s: 0.0,
            stalls: 0,
            longest_stall_ms: 0.0,
            problem: Some(error.to_string()),
        },
    }
}

fn text(folder: &Path, data: &Data) -> String {
    let mut text = String::new();
    if data.recordings.is_empty() {
        let folder = folder.display().to_string();
        let _ = writeln!(
            text,
            "no recording (*.{EXTENSION}) is in {}",
            escaped(&folder)
        );
    }
    for found in &data.recordings {
        let mut line = format!(
            "{}: {}, {:.1} s, {} stalls",
            found.path, found.application, found.length_s, found.stalls
        );
        if found.stalls > 0 {
            let _ = write!(line, ", the longest {:.0} ms", found.longest_stall_ms);
        }
        if let Some(problem) = &found.problem {
            let _ = write!(line, "; {problem}");
        }
        let _ = writeln!(text, "{}", escaped(&line));
    }
    text.extend(more(data.more_recordings, "recording").map(|more| more + "\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recordings");

    #[test]
    fn a_folder_is_listed_and_what_is_left_out_is_counted() {
        let few = list(Path::new(FOLDER), 2).unwrap();
        assert_eq!(few.data.recordings.len(), 2);
        assert!(few.data.more_recordings >= 2);
        assert!(few.text.contains("more recordings"), "{}", few.text);
        let all = list(Path::new(FOLDER), 100).unwrap();
        let named = |name: &str| {
            let found = all.data.recordings.iter().find(|r| r.path.ends_with(name));
            found.unwrap_or_else(|| panic!("{name} in {}", all.text))
        };
        let sleeps = named("sleep-in-handler.looptop");
        assert!(sleeps.stalls > 0 && sleeps.length_s > 1.0, "{sleeps:?}");
        assert_eq!(sleeps.problem, None);
        let nowhere = list(Path::new("/no/such/folder"), 1).unwrap_err();
        assert!(
            nowhere.contains("`/no/such/folder` cannot be listed"),
            "{nowhere}"
        );
    }

    #[test]
    fn what_is_no_recording_is_listed_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.looptop"), "text").unwrap();
        fs::write(folder.path().join("secret.txt"), "text").unwrap();
        let listed = list(folder.path(), 10).unwrap();
        assert_eq!(listed.data.recordings.len(), 1);
        let problem = listed.data.recordings[0].problem.clone().unwrap();
        assert!(problem.contains("not a recording"), "{problem}");
    }
}
