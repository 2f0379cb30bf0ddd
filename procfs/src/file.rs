//! Small files that are read again and again.

use std::fs::File;
use std::path::Path;

/// More is never read at once of a [`ProcFile`].
pub const MAX_READ: usize = 1024;

/// A small file that is read again and again from its start, for example `schedstat` of
/// a thread.
#[derive(Debug)]
pub struct ProcFile(File);

impl ProcFile {
    /// Opens the file at `path`.
    pub fn open(path: &Path) -> Option<Self> {
        File::open(path).ok().map(Self)
    }

    /// Its first bytes as text; `None` once the thread has ended.
    pub fn read<'a>(&self, buffer: &'a mut [u8; MAX_READ]) -> Option<&'a str> {
        let length = read_at_start(&self.0, buffer)?;
        std::str::from_utf8(buffer.get(..length)?).ok()
    }

    /// As [`ProcFile::read`], for a caller that needs no text afterwards.
    pub fn parse<T>(&self, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let mut buffer = [0; MAX_READ];
        parse(self.read(&mut buffer)?)
    }
}

/// Reads from the start of `file`, wherever it stands; `None` where nothing is there.
#[cfg(unix)]
pub fn read_at_start(file: &File, buffer: &mut [u8]) -> Option<usize> {
    use std::os::unix::fs::FileExt;
    file.read_at(buffer, 0).ok().filter(|n| *n > 0)
}

/// Reads nothing: only Unix can read at a place.
#[cfg(not(unix))]
pub fn read_at_start(_file: &File, _buffer: &mut [u8]) -> Option<usize> {
    None
}
