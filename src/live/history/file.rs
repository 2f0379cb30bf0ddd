//! Files that the screen writes: where they go, and how.

use std::{
    fmt,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use looptop_wire::recording::private;

use crate::record::writer::Sink;

/// A file that is not synced after each block: the system writes it to the disk in
/// its own time.
#[derive(Debug)]
pub(super) struct Unsynced(pub(super) File);

impl Write for Unsynced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Sink for Unsynced {
    fn secure(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file that could not be made or written, in one line of a narrow screen.
#[derive(Debug)]
pub(in crate::live) struct Unwritten {
    pub(in crate::live) path: PathBuf,
    pub(in crate::live) error: io::Error,
}

impl fmt::Display for Unwritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.error.kind();
        write!(f, "{}: ", self.path.display())?;
        match kind {
            // The system's own words are longer, and say no more.
            io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded => write!(f, "{kind}"),
            _ => write!(f, "{}", self.error),
        }
    }
}

/// Where files from the screen go: the directory in which the program runs,
/// and where that cannot be written, the one for temporary files. What is on
/// screen cannot be had again, so the second best place is better than none.
pub(in crate::live) fn directories() -> [PathBuf; 2] {
    [PathBuf::new(), std::env::temp_dir()]
}

/// A new file for a recording of `target`, in the first directory that takes it.
pub(super) fn create(target: &str, directories: &[PathBuf]) -> Result<(PathBuf, File), Unwritten> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = now.map_or(0, |since| since.as_secs());
    let mut failed = None;
    for directory in directories {
        match create_in(directory, &stem(target), seconds) {
            Err(unwritten) => failed = failed.or(Some(unwritten)),
            created => return created,
        }
    }
    Err(failed.unwrap_or_else(|| Unwritten {
        path: PathBuf::new(),
        error: io::ErrorKind::NotFound.into(),
    }))
}

fn create_in(directory: &Path, stem: &str, seconds: u64) -> Result<(PathBuf, File), Unwritten> {
    let mut number = 1;
    loop {
        let name = match number {
            1 => format!("{stem}-{seconds}.looptop"),
            n => format!("{stem}-{seconds}-{n}.looptop"),
        };
        let path = directory.join(name);
        match private::create_new(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(Unwritten { path, error }),
        }
    }
}

/// Removes a file in which nothing is that could not be had again.
pub(in crate::live) fn discard(path: &Path) {
    // If it cannot be removed either, it opens up to its last whole chunk.
    let _ = std::fs::remove_file(path);
}

/// So that 80 columns show a path and what to do with it.
const MAX_STEM: usize = 22;

/// What a peer calls itself, as part of a file's name.
pub(in crate::live) fn stem(target: &str) -> String {
    let name: String = target
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(MAX_STEM)
        .collect();
    match name.trim_matches('-') {
        "" => "target".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_a_peer_leads_nowhere_else() {
        for (target, expected) in [
            ("lab", "lab"),
            ("../../etc/passwd", "etc-passwd"),
            ("Ü", "target"),
            ("", "target"),
        ] {
            assert_eq!(stem(target), expected);
        }
        assert_eq!(stem(&"x".repeat(400)).len(), MAX_STEM);
    }

    #[test]
    fn no_file_is_overwritten_and_the_second_directory_takes_what_the_first_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let gone = directory.path().join("gone");
        let places = [gone.clone(), directory.path().to_owned()];
        let (first, _) = create("lab", &places).unwrap();
        let (second, _) = create("lab", &places).unwrap();
        assert_ne!(first, second);
        assert_eq!(first.parent(), Some(directory.path()));
        let unwritten = create("lab", &[gone.clone(), gone.join("further")]).unwrap_err();
        assert_eq!(unwritten.path.parent(), Some(gone.as_path()), "the first");
        assert!(unwritten.to_string().ends_with(": entity not found"));
    }
}
