//! The ELF file of a core dump: its segments and its notes' places.
//!
//! It may come from anywhere and say of itself what it likes: tables are bounded by what
//! the file has, addresses and offsets are added with a look at their end.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::CoreError;

/// Program headers that are taken: a process has no more mappings than
/// `vm.max_map_count`, mostly 65,530.
const MAX_SEGMENTS: u64 = 1 << 20;
const HEADER: usize = 64;
const SEGMENT: u64 = 56;
/// The number of program headers is elsewhere.
const MANY: u64 = 0xffff;

const CORE: u64 = 4;
const X86_64: u64 = 62;
const LOAD: u64 = 1;
const NOTE: u64 = 4;

/// What the files are called that a core dump is packed into.
const PACKED: [(&[u8], &str); 4] = [
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x1f\x8b", "gzip"),
    (b"\xfd7zXZ", "xz"),
];

/// A core dump's file, and where in it memory and notes are.
#[derive(Debug)]
pub(super) struct Image {
    file: File,
    /// In the order of addresses; none touches another.
    pub(super) segments: Vec<Segment>,
    /// Where in the file notes are.
    pub(super) notes: Vec<Range<u64>>,
    /// The file ends before what it should have.
    pub(super) truncated: bool,
}

/// A mapping of the process, as the dump has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) range: Range<u64>,
    /// Where in the file its first byte is.
    pub(super) offset: u64,
    /// Bytes from its beginning on that are in the file.
    pub(super) dumped: u64,
    pub(super) execute: bool,
    pub(super) write: bool,
    pub(super) read: bool,
}

impl Image {
    /// Reads the tables of the file.
    pub(super) fn of(file: File) -> Result<Self, CoreError> {
        let length = file.metadata().map_err(CoreError::Unreadable)?.len();
        let mut header = [0; HEADER];
        let read = read_at(&file, &mut header, 0).map_err(CoreError::Unreadable)?;
        check(&header[..read])?;
        let number = |at: usize, size: usize| number(&header, at, size).unwrap_or_default();
        let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
        let count = match count {
            MANY => many(&file, number(40, 8)).ok_or(CoreError::Truncated)?,
            count => count,
        };
        if size != SEGMENT {
            return Err(CoreError::NotACore("an ELF file of an unknown form"));
        }
        let count = count.min(MAX_SEGMENTS);
        let table = bytes(&file, table, count * SEGMENT, length).ok_or(CoreError::Truncated)?;
        let mut image = Self {
            file,
            segments: Vec::new(),
            notes: Vec::new(),
            truncated: false,
        };
        for entry in table.chunks_exact(SEGMENT as usize) {
            image.take(entry, length);
        }
        image.in_order();
        Ok(image)
    }

    fn take(&mut self, entry: &[u8], length: u64) {
        let number = |at: usize, size: usize| number(entry, at, size).unwrap_or_default();
        let (kind, flags, offset) = (number(0, 4), number(4, 4), number(8, 8));
        let (address, in_file, in_memory) = (number(16, 8), number(32, 8), number(40, 8));
        let there = length.saturating_sub(offset).min(in_file);
        match kind {
            LOAD if in_memory > 0 => {
                let Some(end) = address.checked_add(in_memory) else {
                    return;
                };
                self.truncated |= there < in_file.min(in_memory);
                self.segments.push(Segment {
                    range: address..end,
                    offset,
                    dumped: there.min(in_memory),
                    execute: flags & 1 != 0,
                    write: flags & 2 != 0,
                    read: flags & 4 != 0,
                });
            }
            NOTE => {
                self.truncated |= there < in_file;
                self.notes.push(offset..offset.saturating_add(there));
            }
            _ => {}
        }
    }

    /// Adds parts of files that were mapped and have no segment. A debugger writes none for
    /// what it expects in the file: code.
    pub(super) fn add_code<'a>(&mut self, files: impl Iterator<Item = &'a Range<u64>>) {
        let mut missing = Vec::new();
        for range in files.take(MAX_SEGMENTS as usize) {
            let after = self
                .segments
                .partition_point(|s| s.range.end <= range.start);
            let next = self.segments.get(after);
            if next.is_none_or(|segment| segment.range.start >= range.end) {
                missing.push(Segment {
                    range: range.clone(),
                    offset: 0,
                    dumped: 0,
                    execute: true,
                    write: false,
                    read: true,
                });
            }
        }
        self.segments.extend(missing);
        self.in_order();
    }

    /// Sorts the segments, and drops what overlaps.
    fn in_order(&mut self) {
        self.segments.sort_by_key(|segment| segment.range.start);
        let mut end = 0;
        self.segments.retain(|segment| {
            let follows = segment.range.start >= end;
            if follows {
                end = segment.range.end;
            }
            follows
        });
    }

    /// The segment of an address.
    pub(super) fn segment(&self, address: u64) -> Option<&Segment> {
        let after = self.segments.partition_point(|s| s.range.start <= address);
        let segment = &self.segments[after.checked_sub(1)?];
        segment.range.contains(&address).then_some(segment)
    }

    /// Reads what the dump has of a segment from `address` on; the number of bytes.
    pub(super) fn read(&self, segment: &Segment, address: u64, buffer: &mut [u8]) -> usize {
        let at = address - segment.range.start;
        let left = segment.dumped.saturating_sub(at);
        let length = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        // Of what is in the file the sum is within its length; nothing else is read.
        let offset = segment.offset.saturating_add(at);
        read_at(&self.file, &mut buffer[..length], offset).unwrap_or(0)
    }

    /// Bytes of the file, where it has them all.
    pub(super) fn bytes(&self, range: &Range<u64>) -> Option<Vec<u8>> {
        let length = range.end.checked_sub(range.start)?;
        bytes(&self.file, range.start, length, u64::MAX)
    }

    /// The file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

/// Refuses what is no core dump of this machine's kind.
fn check(header: &[u8]) -> Result<(), CoreError> {
    if let Some((_, packer)) = PACKED.iter().find(|(magic, _)| header.starts_with(magic)) {
        return Err(CoreError::Packed(packer));
    }
    if !header.starts_with(b"\x7fELF") {
        return Err(CoreError::NotACore("no ELF file"));
    }
    if header.len() < HEADER {
        return Err(CoreError::Truncated);
    }
    if header[4] != 2 {
        return Err(CoreError::Machine("another machine, of 32 bits".to_owned()));
    }
    let number = |at, size| number(header, at, size).unwrap_or_default();
    match (header[5], number(16, 2), number(18, 2)) {
        (1, CORE, X86_64) => Ok(()),
        (1, CORE, machine) => Err(CoreError::Machine(match machine {
            183 => "an aarch64 machine".to_owned(),
            243 => "a RISC-V machine".to_owned(),
            machine => format!("another machine, of the kind {machine}"),
        })),
        (1, 1, _) => Err(CoreError::NotACore("an object file")),
        (1, 2 | 3, _) => Err(CoreError::NotACore("a program or a library")),
        (1, ..) => Err(CoreError::NotACore("an ELF file of another kind")),
        _ => Err(CoreError::Machine("a big-endian machine".to_owned())),
    }
}

/// The number of program headers where it does not fit into the header: in the first
/// section header.
fn many(file: &File, sections: u64) -> Option<u64> {
    let mut section = [0; 64];
    let read = read_at(file, &mut section, sections).ok()?;
    number(&section[..read], 44, 4)
}

/// A little-endian number of `size` bytes.
pub(super) fn number(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(size)?)?;
    let shifted = bytes.iter().rev();
    Some(shifted.fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// `length` bytes of a file that is so long; `None` where it has fewer.
fn bytes(file: &File, start: u64, length: u64, end: u64) -> Option<Vec<u8>> {
    if start.checked_add(length)? > end {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    let read = read_at(file, &mut bytes, start).ok()?;
    (read == bytes.len()).then_some(bytes)
}

/// Reads as much as there is, up to the length of `buffer`.
pub(super) fn read_at(file: &File, buffer: &mut [u8], start: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], start.saturating_add(read as u64)) {
            Ok(0) => break,
            Ok(n) => read += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}
