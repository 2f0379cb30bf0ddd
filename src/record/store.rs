//! The bytes of a recording, read at any place by any number of readers.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

/// Where the bytes are.
#[derive(Debug, Clone)]
pub(super) enum Store {
    File(Arc<File>, u64),
    Bytes(Arc<[u8]>),
}

impl Store {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::IsADirectory,
                "it is a directory",
            ));
        }
        if !metadata.is_file() {
            return Err(io::Error::other(
                "it is no regular file, and cannot be read out of order",
            ));
        }
        Ok(Self::file(file, metadata.len()))
    }

    pub(super) fn file(file: File, len: u64) -> Self {
        Self::File(Arc::new(file), len)
    }

    /// Bytes in all, as they were when it was opened.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::File(_, len) => *len,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        match self {
            Self::File(file, _) => read_file_at(file, buffer, at),
            Self::Bytes(bytes) => {
                let at = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                (&bytes[at..]).read(buffer)
            }
        }
    }

    /// The bytes from `from` on, `len` of them at most.
    pub(super) fn section(&self, from: u64, len: u64) -> Section {
        Section {
            store: self.clone(),
            at: from,
            end: from.saturating_add(len).min(self.len()),
        }
    }

    /// `N` bytes; `None` where the store ends before.
    pub(super) fn array<const N: usize>(&self, at: u64) -> io::Result<Option<[u8; N]>> {
        let mut array = [0; N];
        match self.section(at, N as u64).read_exact(&mut array) {
            Ok(()) => Ok(Some(array)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `len` bytes, which the caller has bounded; `None` where the store ends
    /// before.
    pub(super) fn bytes(&self, at: u64, len: usize) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        self.section(at, len as u64).read_to_end(&mut bytes)?;
        Ok((bytes.len() == len).then_some(bytes))
    }
}

#[cfg(unix)]
fn read_file_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, at)
}

#[cfg(windows)]
fn read_file_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, at)
}

/// A part of a store.
#[derive(Debug)]
pub(super) struct Section {
    store: Store,
    at: u64,
    end: u64,
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let want = buffer.len().min(left);
        let read = self.store.read_at(&mut buffer[..want], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
