//! Inputs as files, and ELF files made of sections.

use std::ffi::CString;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::PathBuf;

/// A file in memory, by a path that others can open.
pub struct InMemory(File);

impl InMemory {
    /// One with these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let name = CString::default();
        // SAFETY: the name ends with a zero; the descriptor is nobody else's.
        let mut file = unsafe {
            let descriptor = libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC);
            assert!(descriptor >= 0, "no file in memory can be had");
            File::from_raw_fd(descriptor)
        };
        file.write_all(bytes).expect("a file in memory");
        file.seek(SeekFrom::Start(0)).expect("a file in memory");
        Self(file)
    }

    /// Its path, for as long as this lives.
    pub fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.0
    }
}

/// A section of a file that [`elf`] makes.
#[derive(Debug, Clone, Copy)]
pub struct Section<'a> {
    /// Its name.
    pub name: &'a str,
    /// `SHT_PROGBITS` is 1.
    pub kind: u32,
    /// `SHF_ALLOC` is 2, `SHF_EXECINSTR` 4.
    pub flags: u64,
    /// Its address; 0 for what is not loaded.
    pub address: u64,
    /// The section that it refers to.
    pub link: u32,
    /// Bytes of an entry.
    pub entry: u64,
    /// What it holds.
    pub bytes: &'a [u8],
}

/// An ELF file of x86-64 with these sections, which are numbered from 1 on.
pub fn elf(sections: &[Section<'_>]) -> Vec<u8> {
    let mut names = vec![0];
    let mut headers = vec![0; 64];
    let mut body = vec![0; 64];
    let mut header = |name: usize, section: &Section<'_>, at: usize, length: usize| {
        headers.extend((name as u32).to_le_bytes());
        headers.extend(section.kind.to_le_bytes());
        let words = [section.flags, section.address, at as u64, length as u64];
        headers.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        headers.extend(section.link.to_le_bytes());
        headers.extend(0_u32.to_le_bytes());
        let words = [1, section.entry];
        headers.extend(words.iter().flat_map(|word: &u64| word.to_le_bytes()));
    };
    for section in sections {
        let name = names.len();
        names.extend(section.name.as_bytes());
        names.push(0);
        header(name, section, body.len(), section.bytes.len());
        body.extend(section.bytes);
        body.resize(body.len().next_multiple_of(8), 0);
    }
    let of_names = Section {
        name: "",
        kind: 3,
        flags: 0,
        address: 0,
        link: 0,
        entry: 0,
        bytes: &[],
    };
    header(0, &of_names, body.len(), names.len());
    body.extend(names);
    body.resize(body.len().next_multiple_of(8), 0);
    let table = body.len() as u64;
    body.extend(headers);
    body[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    // A position-independent program.
    (body[16], body[18], body[20], body[52], body[54], body[58]) = (3, 62, 1, 64, 56, 64);
    body[40..48].copy_from_slice(&table.to_le_bytes());
    let count = sections.len() as u16 + 2;
    body[60..62].copy_from_slice(&count.to_le_bytes());
    body[62..64].copy_from_slice(&(count - 1).to_le_bytes());
    body
}

/// Takes an input apart.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// The next byte; 0 at the end.
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// The next two bytes.
    pub fn short(&mut self) -> u16 {
        self.word_of(2) as u16
    }

    /// The next eight bytes.
    pub fn word(&mut self) -> u64 {
        self.word_of(8)
    }

    fn word_of(&mut self, length: usize) -> u64 {
        let bytes = self.take(length).iter().rev();
        bytes.fold(0, |word, byte| word << 8 | u64::from(*byte))
    }

    /// The next bytes, or what is left of them.
    pub fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A part that its length comes before, in two bytes.
    pub fn part(&mut self) -> &'a [u8] {
        let length = self.short();
        self.take(length.into())
    }

    /// Nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
