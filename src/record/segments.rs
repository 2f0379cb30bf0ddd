//! A ring on disk: a directory of files, each a recording of its own, of which
//! the oldest goes when there is too much.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    str::FromStr,
    time::{Duration, Instant},
};

use looptop_wire::recording::private;

use super::{
    recording::{OpenError, Recording},
    scan::Scan,
    store::Store,
};

/// Files that a ring has at most, and shares its bounds among.
const SEGMENTS: u32 = 8;
/// Files of one directory that are read, at most.
const MAX_FILES: usize = 4_096;
const EXTENSION: &str = "looptop";

/// A number of bytes, as a user writes it: `64M` is 64 · 1024 · 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub u64);

/// A ring that is smaller could not hold a chunk.
const MIN_BYTES: u64 = 1 << 20;

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = text.trim_end_matches(['B', 'b']).trim_end_matches('i');
        let (digits, shift) = match plain.char_indices().last() {
            Some((at, 'k' | 'K')) => (&plain[..at], 10),
            Some((at, 'm' | 'M')) => (&plain[..at], 20),
            Some((at, 'g' | 'G')) => (&plain[..at], 30),
            _ => (plain, 0),
        };
        let bytes = digits
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(1 << shift));
        match bytes {
            None => Err(format!(
                "'{text}' is not a size; a size is for example 64M or 2G"
            )),
            Some(bytes) if bytes < MIN_BYTES => Err(format!("'{text}' is less than 1M")),
            Some(bytes) => Ok(Self(bytes)),
        }
    }
}

/// How much a ring holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingBounds {
    /// At least this much time is held, and at most an eighth more.
    pub age: Option<Duration>,
    /// The files together are at most this large, and a chunk more.
    pub bytes: Option<u64>,
}

/// The files of a ring that is being written.
#[derive(Debug)]
pub struct Ring {
    directory: PathBuf,
    bounds: RingBounds,
    next: u64,
    opened: Instant,
    /// Closed files, oldest first: when they were closed, and their size.
    closed: Vec<(PathBuf, Instant, u64)>,
}

impl Ring {
    /// A ring in `directory`, which is made if need be. Files of an earlier ring
    /// stay, and are not counted: they may be what somebody is looking for.
    pub fn new(directory: &Path, bounds: RingBounds) -> io::Result<(Self, File)> {
        fs::create_dir_all(directory)?;
        let last = files(directory)?
            .into_iter()
            .filter_map(|path| number(&path))
            .max();
        let mut ring = Self {
            directory: directory.to_owned(),
            bounds,
            next: last.map_or(1, |n| n + 1),
            opened: Instant::now(),
            closed: Vec::new(),
        };
        let file = ring.open()?;
        Ok((ring, file))
    }

    /// Opens the next file.
    pub fn open(&mut self) -> io::Result<File> {
        let file = private::create_new(&self.path(self.next))?;
        self.next += 1;
        self.opened = Instant::now();
        Ok(file)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:08}.{EXTENSION}"))
    }

    /// The open file, with `bytes` in it, has had its share.
    pub fn is_due(&self, bytes: u64) -> bool {
        let old = self
            .bounds
            .age
            .is_some_and(|age| self.opened.elapsed() >= age / SEGMENTS);
        let large = self
            .bounds
            .bytes
            .is_some_and(|max| bytes >= max / u64::from(SEGMENTS));
        old || large
    }

    /// The file before the open one is complete, with `bytes` in it: deletes
    /// what is not needed any more.
    pub fn closed(&mut self, bytes: u64) -> io::Result<()> {
        let path = self.path(self.next.saturating_sub(2));
        self.closed.push((path, Instant::now(), bytes));
        while let Some((path, at, _)) = self.closed.first() {
            let sum: u64 = self.closed.iter().map(|(_, _, bytes)| bytes).sum();
            // The open file takes a share as well.
            let room = |max: u64| max - max / u64::from(SEGMENTS);
            let large = self.bounds.bytes.is_some_and(|max| sum > room(max));
            let old = self.bounds.age.is_some_and(|age| at.elapsed() >= age);
            if !large && !old {
                break;
            }
            fs::remove_file(path)?;
            self.closed.remove(0);
        }
        Ok(())
    }
}

fn number(path: &Path) -> Option<u64> {
    path.file_stem()?.to_str()?.parse().ok()
}

/// The recordings in a directory, by name.
fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == EXTENSION) && path.is_file() {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Opens the files of a directory as one recording.
pub(super) fn open(directory: &Path) -> Result<Recording, OpenError> {
    let files = files(directory)?;
    if files.is_empty() {
        return Err(OpenError::Foreign(format!(
            "no file in it ends in `.{EXTENSION}`: it is a directory without recordings"
        )));
    }
    let mut scan = Scan::default();
    let newest = files.len().saturating_sub(MAX_FILES);
    for path in &files[newest..] {
        match scan.part(Store::open(path)?) {
            // The newest was just begun when it was cut.
            Ok(()) | Err(OpenError::Empty | OpenError::NothingWhole(_)) => {}
            Err(error) => return Err(error),
        }
    }
    scan.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::Model,
        record::{
            Recorder, Step,
            synthetic::{Session, Shape},
        },
    };

    #[test]
    fn sizes() {
        for (text, bytes) in [("64M", 64 << 20), ("2GiB", 2 << 30), ("1048576", 1 << 20)] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "M", "12 parsecs", "-1M", "99999999999G", "5", "1K"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_ring_of_files_is_one_recording_and_keeps_the_newest() {
        let directory = tempfile::tempdir().unwrap();
        let bounds = RingBounds {
            age: None,
            bytes: Some(3 << 19),
        };
        let shape = Shape {
            tasks: 250,
            changed: 60,
            ..Shape::default()
        };
        let mut session = Session::new(shape);
        let hello = session.hello();
        let (mut ring, file) = Ring::new(directory.path(), bounds).unwrap();
        let mut recorder = Recorder::new(file, "t", false).unwrap();
        recorder.connected(&hello).unwrap();
        let mut model = Model::new(&hello);
        let mut dropped = 0;
        let mut files = 1;
        while files < 20 {
            let frame = session.next_frame();
            model.apply(&frame).unwrap();
            recorder.frame(&frame).unwrap();
            if ring.is_due(recorder.bytes()) {
                let next = ring.open().unwrap();
                let done = recorder.rotate(next).unwrap();
                ring.closed(done.metadata().unwrap().len()).unwrap();
                files += 1;
                dropped += 1;
            }
        }
        drop(recorder.finish().unwrap());
        let kept: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
        let bytes: u64 = kept
            .iter()
            .map(|e| e.as_ref().unwrap().metadata().unwrap().len())
            .sum();
        assert!(
            kept.len() > 3 && kept.len() < dropped,
            "{} files",
            kept.len()
        );
        assert!(bytes <= 3 << 19, "{bytes} bytes");
        let recording = Recording::open(directory.path()).unwrap();
        assert_eq!((recording.sessions().len(), recording.remark()), (1, None));
        let sessions = recording
            .frames()
            .filter(|s| matches!(s, Step::Session(_)))
            .count();
        assert_eq!(sessions, 1, "without a gap");
        let last = recording.model_at(recording.length()).unwrap();
        assert!(last.keyframe() == model.keyframe(), "in the end");
        // Each of them is whole by itself, and later ones go on counting.
        let first = kept[0].as_ref().unwrap().path();
        assert_eq!(Recording::open(&first).unwrap().remark(), None);
        assert!(Ring::new(directory.path(), bounds).is_ok());
        assert!(
            Recording::open(directory.path()).is_ok(),
            "one was just begun"
        );
    }
}
