//! Which file it is, whatever way leads to it.

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;
use std::time::SystemTime;

/// A file as it was last changed. Two ways to one file, such as its path and
/// `/proc/PID/exe`, have the same; a file that was changed or put in its place has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId {
    device: u64,
    inode: u64,
    length: u64,
    modified: Option<SystemTime>,
    /// When its content or what is known of it was changed, which nobody but the system
    /// sets: seconds and nanoseconds.
    changed: (i64, i64),
}

impl FileId {
    /// Of an open file.
    ///
    /// # Errors
    ///
    /// The system does not say; elsewhere than on Unix never.
    pub fn of(file: &File) -> io::Result<Self> {
        Self::from(&file.metadata()?)
    }

    /// Of the file at a path. It is not opened.
    ///
    /// # Errors
    ///
    /// As of [`FileId::of`].
    pub fn at(path: &Path) -> io::Result<Self> {
        Self::from(&std::fs::metadata(path)?)
    }

    #[cfg(unix)]
    #[allow(clippy::unnecessary_wraps, reason = "elsewhere it is not known")]
    fn from(metadata: &Metadata) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: metadata.modified().ok(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    #[cfg(not(unix))]
    fn from(_: &Metadata) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn one_file_by_two_ways_is_the_same_and_a_changed_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        std::fs::write(&one, "a").unwrap();
        std::os::unix::fs::symlink(&one, &other).unwrap();
        let before = FileId::at(&one).unwrap();
        assert_eq!(FileId::at(&other).unwrap(), before);
        assert_eq!(FileId::of(&File::open(&other).unwrap()).unwrap(), before);
        std::fs::write(&one, "bc").unwrap();
        assert_ne!(FileId::at(&one).unwrap(), before, "it has another length");
        let copy = folder.path().join("copy");
        std::fs::copy(&one, &copy).unwrap();
        assert_ne!(FileId::at(&copy).unwrap(), FileId::at(&one).unwrap());
        assert!(FileId::at(&folder.path().join("none")).is_err());
    }
}
