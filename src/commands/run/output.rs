//! Where the output of a child goes: a file that only its user may read.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Stdio,
};

use super::child::StartError;
use crate::escape;

/// What is shown of the end of the output.
const TAIL_LINES: usize = 10;
const TAIL_BYTES: u64 = 4 << 10;
/// Names are tried up to this number: files of earlier runs stay.
const MAX_FILES: u32 = 1_000;

/// A file for the output.
#[derive(Debug)]
pub(super) struct Output {
    path: PathBuf,
    file: File,
    /// The user did not ask for it by name.
    is_ours: bool,
}

impl Output {
    /// The file at `path`, which is overwritten; otherwise a new one in the directory for
    /// temporary files, that is named after `program`.
    pub(super) fn create(path: Option<&Path>, program: &OsStr) -> Result<Self, StartError> {
        let directory = std::env::temp_dir();
        let (created, wanted) = match path {
            Some(path) => (named(path), path),
            None => (new_in(&directory, program), directory.as_path()),
        };
        let (found, file) = created.map_err(|error| StartError::Output {
            path: wanted.to_owned(),
            error,
        })?;
        Ok(Self {
            path: std::path::absolute(&found).unwrap_or(found),
            file,
            is_ours: path.is_none(),
        })
    }

    /// For standard output and standard error: both write at its end, in the order in
    /// which they come.
    pub(super) fn ends(&self) -> Result<(Stdio, Stdio), StartError> {
        let end = || {
            self.file.try_clone().map_err(|error| StartError::Output {
                path: self.path.clone(),
                error,
            })
        };
        Ok((end()?.into(), end()?.into()))
    }

    /// Nothing was started.
    pub(super) fn discard(&self) {
        if self.is_ours {
            // It is empty; if it cannot be removed it stays so.
            let _ = fs::remove_file(&self.path);
        }
    }

    /// Where the output is. A file that nobody asked for and nobody wrote to goes, once
    /// nobody will (`is_over`).
    pub(super) fn close(&self, is_over: bool) -> Option<&Path> {
        let is_empty = self
            .file
            .metadata()
            .is_ok_and(|metadata| metadata.len() == 0);
        if self.is_ours && is_over && is_empty {
            self.discard();
            return None;
        }
        Some(&self.path)
    }

    /// Its last lines, harmless for a terminal.
    pub(super) fn tail(&self) -> String {
        let bytes = tail(&self.path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.trim_end().lines().collect();
        let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        escape::lines(&last.join("\n"))
    }
}

fn options() -> OpenOptions {
    let mut options = File::options();
    options.append(true).mode(0o600);
    options
}

fn named(path: &Path) -> io::Result<(PathBuf, File)> {
    let file = options().create(true).open(path)?;
    // What has no length, as a terminal or a pipe, is written to as it is.
    let _ = file.set_len(0);
    Ok((path.to_owned(), file))
}

/// A new file. The directory is everybody's: one that is there already is nobody's of
/// ours, and is never opened.
fn new_in(directory: &Path, program: &OsStr) -> io::Result<(PathBuf, File)> {
    let name = Path::new(program).file_name().unwrap_or_default();
    let name = name.to_string_lossy();
    let name: String = name.chars().filter(char::is_ascii_graphic).collect();
    let mut number = std::process::id();
    for _ in 0..MAX_FILES {
        let path = directory.join(format!("looptop-{name}-{number}.log"));
        match options().create_new(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                number = number.wrapping_add(1);
            }
            opened => return opened.map(|file| (path, file)),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn tail(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_new_file_is_nobody_elses() {
        let directory = tempfile::tempdir().unwrap();
        let program = OsStr::new("/opt/a b\x1b");
        let (first, file) = new_in(directory.path(), program).unwrap();
        let (second, _) = new_in(directory.path(), program).unwrap();
        assert_ne!(first, second);
        let name = first.file_name().unwrap().to_str().unwrap();
        assert_eq!(name, format!("looptop-ab-{}.log", std::process::id()));
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_was_asked_for_stays_and_begins_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        fs::write(&path, "old\n").unwrap();
        let output = Output::create(Some(&path), OsStr::new("app")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        let mut file = &output.file;
        file.write_all(b"one\ntwo\x1b[2J\n").unwrap();
        assert_eq!(output.tail(), "one\ntwo\\u{1b}[2J");
        output.discard();
        assert_eq!(output.close(true), Some(path.as_path()));
        assert!(path.exists());
    }

    #[test]
    fn a_file_that_nobody_wrote_to_goes() {
        let output = Output::create(None, OsStr::new("app")).unwrap();
        assert!(output.close(false).is_some_and(Path::exists));
        assert_eq!(output.close(true), None);
        assert!(!output.path.exists());
    }
}
