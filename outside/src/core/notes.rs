//! What the kernel, or a debugger, has noted in a core dump: the process, its threads'
//! registers, the files that were mapped.

use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::CoreError;
use super::image::{Image, number};

/// Bytes of notes that are read: some three kilobytes a thread, and the paths.
const MAX_NOTES: u64 = 256 << 20;
/// Threads and mapped files that are taken.
const MAX_THREADS: usize = 1 << 16;
const MAX_FILES: usize = 1 << 17;
/// A path.
const MAX_PATH: usize = 4096;

const STATUS: u64 = 1;
const PROCESS: u64 = 3;
const AUXILIARY: u64 = 6;
const FILES: u64 = 0x4649_4c45;

/// Where the kernel says of the auxiliary vector what an entry is.
const VDSO: u64 = 33;
const ENTRY: u64 = 9;

/// What a core dump notes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Notes {
    pub(super) pid: u32,
    /// The name of its first thread.
    pub(super) name: String,
    /// The command line's beginning.
    pub(super) arguments: String,
    pub(super) threads: Vec<Registers>,
    pub(super) files: Vec<MappedFile>,
    /// Where the vDSO is.
    pub(super) vdso: Option<u64>,
    /// Where the program begins.
    pub(super) entry: Option<u64>,
}

/// The registers of a thread, as `struct user_regs_struct` has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Registers {
    pub(super) tid: u32,
    /// The signal that it was given; 0 where it was given none.
    pub(super) signal: u32,
    pub(super) words: [u64; 27],
}

/// Positions among a thread's registers.
pub(super) const RBP: usize = 4;
pub(super) const R10: usize = 7;
pub(super) const R9: usize = 8;
pub(super) const R8: usize = 9;
pub(super) const RDX: usize = 12;
pub(super) const RSI: usize = 13;
pub(super) const RDI: usize = 14;
pub(super) const ORIG_RAX: usize = 15;
pub(super) const RIP: usize = 16;
pub(super) const RSP: usize = 19;
pub(super) const FS_BASE: usize = 21;

/// A part of a file that was mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MappedFile {
    pub(super) range: Range<u64>,
    /// Where in the file it begins, in bytes.
    pub(super) offset: u64,
    pub(super) path: PathBuf,
    /// It was no longer at its path.
    pub(super) deleted: bool,
}

impl Notes {
    /// Those of a core dump.
    pub(super) fn of(image: &Image) -> Result<Self, CoreError> {
        let mut notes = Self::default();
        let mut left = MAX_NOTES;
        for range in &image.notes {
            let range = range.start..range.end.min(range.start.saturating_add(left));
            left = left.saturating_sub(range.end - range.start);
            if let Some(bytes) = image.bytes(&range) {
                notes.read(&bytes);
            }
        }
        notes.files.sort_by_key(|file| file.range.start);
        match (notes.threads.first(), image.truncated) {
            (Some(first), _) => {
                if notes.pid == 0 {
                    notes.pid = first.tid;
                }
                Ok(notes)
            }
            (None, true) => Err(CoreError::Truncated),
            (None, false) => Err(CoreError::NoThreads),
        }
    }

    /// Takes in notes: (name size, content size, type, name, content), padded to 4 bytes.
    fn read(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while let Some(end) = self.read_one(bytes, at) {
            at = end;
        }
    }

    /// Takes in the note at `at`; where the next one begins.
    fn read_one(&mut self, bytes: &[u8], at: usize) -> Option<usize> {
        let name_size = number(bytes, at, 4)? as usize;
        let size = number(bytes, at.checked_add(4)?, 4)? as usize;
        let kind = number(bytes, at.checked_add(8)?, 4)?;
        let name_at = at.checked_add(12)?;
        let content = name_at.checked_add(name_size.checked_next_multiple_of(4)?)?;
        let end = content.checked_add(size)?;
        let name = bytes.get(name_at..name_at.checked_add(name_size)?)?;
        let content = bytes.get(content..end)?;
        if matches!(name, b"CORE\0" | b"CORE") {
            match kind {
                STATUS if self.threads.len() < MAX_THREADS => {
                    self.threads.extend(registers(content));
                }
                PROCESS => self.process(content),
                AUXILIARY => self.auxiliary(content),
                FILES => {
                    let files = files(content).unwrap_or_default();
                    let left = MAX_FILES.saturating_sub(self.files.len());
                    self.files.extend(files.into_iter().take(left));
                }
                _ => {}
            }
        }
        end.checked_next_multiple_of(4)
    }

    /// `struct elf_prpsinfo`.
    fn process(&mut self, content: &[u8]) {
        let text = |range: Range<usize>| {
            let bytes = content.get(range).unwrap_or_default();
            let end = bytes.iter().position(|byte| *byte == 0);
            let text = &bytes[..end.unwrap_or(bytes.len())];
            String::from_utf8_lossy(text).trim().to_owned()
        };
        let pid = number(content, 24, 4).unwrap_or_default();
        self.pid = u32::try_from(pid).unwrap_or_default();
        self.name = text(40..56);
        self.arguments = text(56..136);
    }

    fn auxiliary(&mut self, content: &[u8]) {
        let (words, _) = content.as_chunks::<16>();
        for pair in words {
            let value = number(pair, 8, 8);
            match number(pair, 0, 8) {
                Some(VDSO) => self.vdso = value,
                Some(ENTRY) => self.entry = value,
                _ => {}
            }
        }
    }

    /// The file that was mapped at an address.
    pub(super) fn file(&self, address: u64) -> Option<&MappedFile> {
        let after = self.files.partition_point(|f| f.range.start <= address);
        let file = self.files.get(after.checked_sub(1)?)?;
        file.range.contains(&address).then_some(file)
    }
}

/// `struct elf_prstatus`.
fn registers(content: &[u8]) -> Option<Registers> {
    let mut words = [0; 27];
    for (n, word) in words.iter_mut().enumerate() {
        *word = number(content, 112 + n * 8, 8)?;
    }
    Some(Registers {
        tid: number(content, 32, 4)? as u32,
        signal: number(content, 12, 2)? as u32,
        words,
    })
}

/// The files of the note: their number, the size of a page, then start, end and offset in
/// pages of each, then their paths, a zero after each.
fn files(content: &[u8]) -> Option<Vec<MappedFile>> {
    const HEAD: usize = 16;
    const EACH: usize = 24;
    let count = usize::try_from(number(content, 0, 8)?).ok()?;
    let page = number(content, 8, 8)?;
    let entries = content.get(HEAD..)?;
    let names = entries.get(count.checked_mul(EACH)?..)?;
    let entries = entries.chunks_exact(EACH).take(count);
    let names = names.split(|byte| *byte == 0);
    let mut found = Vec::new();
    for (entry, name) in entries.zip(names).take(MAX_FILES) {
        let (start, end) = (number(entry, 0, 8)?, number(entry, 8, 8)?);
        let Some(offset) = number(entry, 16, 8)?.checked_mul(page) else {
            continue;
        };
        if start >= end || name.is_empty() || name.len() > MAX_PATH {
            continue;
        }
        let kept = name.strip_suffix(b" (deleted)");
        found.push(MappedFile {
            range: start..end,
            offset,
            path: std::ffi::OsStr::from_bytes(kept.unwrap_or(name)).into(),
            deleted: kept.is_some(),
        });
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn note(kind: u64, content: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [5, content.len() as u32, kind as u32] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(b"CORE\0\0\0\0");
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn status(tid: u32) -> Vec<u8> {
        let mut content = vec![0; 336];
        content[12] = 6;
        content[32..36].copy_from_slice(&tid.to_le_bytes());
        for n in 0..27_u64 {
            let at = 112 + n as usize * 8;
            content[at..at + 8].copy_from_slice(&(0x100 + n).to_le_bytes());
        }
        content
    }

    fn of_files(files: &[(u64, u64, u64, &str)]) -> Vec<u8> {
        let mut content = Vec::new();
        let head = [files.len() as u64, 4096];
        let words = files
            .iter()
            .flat_map(|(start, end, at, _)| [*start, *end, *at]);
        for word in head.into_iter().chain(words) {
            content.extend_from_slice(&word.to_le_bytes());
        }
        for (.., name) in files {
            content.extend_from_slice(name.as_bytes());
            content.push(0);
        }
        content
    }

    fn all() -> Vec<u8> {
        let mut process = vec![0; 136];
        process[24..28].copy_from_slice(&77_u32.to_le_bytes());
        process[40..43].copy_from_slice(b"app");
        process[56..65].copy_from_slice(b"app --all");
        let mut auxiliary = Vec::new();
        for word in [VDSO, 0x9000, ENTRY, 0x2010, 0, 0] {
            auxiliary.extend_from_slice(&word.to_le_bytes());
        }
        let files = of_files(&[
            (0x2000, 0x3000, 1, "/opt/app"),
            (0x1000, 0x2000, 0, "/opt/app"),
            (0x5000, 0x6000, 0, "/lib/gone.so (deleted)"),
        ]);
        [
            note(STATUS, &status(78)),
            note(PROCESS, &process),
            note(99, b"abc"),
            note(AUXILIARY, &auxiliary),
            note(FILES, &files),
            note(STATUS, &status(77)),
        ]
        .concat()
    }

    #[test]
    fn what_the_kernel_notes() {
        let mut notes = Notes::default();
        notes.read(&all());
        notes.files.sort_by_key(|file| file.range.start);
        assert_eq!((notes.pid, &*notes.name), (77, "app"));
        assert_eq!(notes.arguments, "app --all");
        assert_eq!((notes.vdso, notes.entry), (Some(0x9000), Some(0x2010)));
        let tids: Vec<u32> = notes.threads.iter().map(|thread| thread.tid).collect();
        assert_eq!(tids, [78, 77]);
        let first = &notes.threads[0];
        assert_eq!((first.signal, first.words[RSP]), (6, 0x100 + 19));
        assert_eq!(notes.file(0x2fff).map(|file| file.offset), Some(4096));
        assert_eq!(notes.file(0x3000), None);
        let gone = notes.file(0x5000).unwrap();
        assert!(gone.deleted && gone.path == std::path::Path::new("/lib/gone.so"));
    }

    #[test]
    fn notes_that_lie_are_read_within_bounds() {
        let bytes = all();
        for length in 0..bytes.len() {
            Notes::default().read(&bytes[..length]);
        }
        for at in 0..bytes.len() {
            for value in [0, 0x7f, 0xff] {
                let mut changed = bytes.clone();
                changed[at] = value;
                Notes::default().read(&changed);
            }
        }
        assert_eq!(files(&[0xff; 64]), None);
        let cut = of_files(&[(1, 2, 3, "/a"), (4, 5, u64::MAX, "/b"), (9, 8, 0, "/c")]);
        assert_eq!(files(&cut).unwrap().len(), 1);
    }

    #[test]
    fn files_are_taken_up_to_a_bound() {
        let mut notes = Notes::default();
        let some: Vec<_> = (1..100_000_u64)
            .map(|n| (n << 12, (n + 1) << 12, 0, "/a"))
            .collect();
        let note = note(FILES, &of_files(&some));
        notes.read(&[note.clone(), note].concat());
        assert_eq!(notes.files.len(), MAX_FILES);
    }
}
