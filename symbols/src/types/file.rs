//! The sections of a file that hold its debug information, read piece by piece.

use std::fs::File;
use std::os::unix::fs::FileExt;

use gimli::{Abbreviations, DebugAbbrev, EndianSlice, LittleEndian};
use object::{CompressionFormat, Object, ObjectSection, ReadRef};

pub(super) type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// Bytes of a compressed section, which is held as a whole.
const MAX_COMPRESSED: u64 = 512 << 20;
/// Debug information becomes a fifth, tables of zeroes far less; what unpacks to so many
/// times its bytes is none.
const MAX_RATIO: u64 = 256;
/// Bytes of a string that are taken: a future's name has thousands.
pub(super) const MAX_STRING: usize = 64 << 10;
/// Bytes of the abbreviations of one unit.
const MAX_ABBREVIATIONS: usize = 16 << 20;
/// Bytes that are read of a string at first.
const STRING: usize = 256;
/// Bytes that are read of abbreviations at first.
const ABBREVIATIONS: usize = 16 << 10;

/// A section, or nothing where the file has none.
#[derive(Debug, Default)]
pub(super) enum Section {
    #[default]
    Absent,
    InFile {
        offset: u64,
        size: u64,
    },
    /// It was compressed.
    Bytes(Vec<u8>),
}

/// The file and its sections.
#[derive(Debug)]
pub(super) struct Sections {
    file: File,
    pub(super) info: Section,
    pub(super) line: Section,
    pub(super) strings: Section,
    abbreviations: Section,
    line_strings: Section,
    string_offsets: Section,
    addresses: Section,
}

/// Bytes that a section of so many compressed ones may unpack to.
fn most_unpacked(compressed: u64) -> u64 {
    compressed.saturating_mul(MAX_RATIO).min(MAX_COMPRESSED)
}

impl Section {
    /// That of a file of so many bytes.
    fn of<'a>(object: &object::File<'a, impl ReadRef<'a>>, length: u64, name: &str) -> Self {
        let Some(section) = object.section_by_name(name) else {
            return Self::Absent;
        };
        match section.compressed_file_range() {
            Ok(range) if range.format == CompressionFormat::None => Self::InFile {
                offset: range.offset,
                // What is read of it is allocated before.
                size: range
                    .uncompressed_size
                    .min(length.saturating_sub(range.offset)),
            },
            Ok(range) if range.uncompressed_size <= most_unpacked(range.compressed_size) => section
                .uncompressed_data()
                .map_or(Self::Absent, |bytes| Self::Bytes(bytes.into_owned())),
            _ => Self::Absent,
        }
    }

    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Absent => 0,
            Self::InFile { size, .. } => *size,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    fn memory(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.capacity(),
            Self::Absent | Self::InFile { .. } => 0,
        }
    }
}

impl Sections {
    pub(super) fn of<'a>(file: File, object: &object::File<'a, impl ReadRef<'a>>) -> Self {
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        let section = |name| Section::of(object, length, name);
        Self {
            file,
            info: section(".debug_info"),
            line: section(".debug_line"),
            strings: section(".debug_str"),
            abbreviations: section(".debug_abbrev"),
            line_strings: section(".debug_line_str"),
            string_offsets: section(".debug_str_offsets"),
            addresses: section(".debug_addr"),
        }
    }

    /// What is held of them in memory.
    pub(super) fn memory(&self) -> usize {
        let all = [
            &self.info,
            &self.line,
            &self.strings,
            &self.abbreviations,
            &self.line_strings,
            &self.string_offsets,
            &self.addresses,
        ];
        all.iter().map(|section| section.memory()).sum()
    }

    /// `length` bytes of a section, or those that it has from there on.
    pub(super) fn read(&self, section: &Section, at: u64, length: usize) -> Option<Vec<u8>> {
        let left = section.size().checked_sub(at)?;
        let length = length.min(usize::try_from(left).unwrap_or(usize::MAX));
        match section {
            Section::Absent => None,
            Section::Bytes(bytes) => {
                let at = usize::try_from(at).ok()?;
                Some(bytes.get(at..at.checked_add(length)?)?.to_vec())
            }
            Section::InFile { offset, .. } => {
                let mut bytes = vec![0; length];
                // Several threads may read.
                let at = offset.checked_add(at)?;
                self.file.read_exact_at(&mut bytes, at).ok()?;
                Some(bytes)
            }
        }
    }

    /// The string that begins there.
    pub(super) fn string(&self, section: &Section, at: u64) -> Option<String> {
        let mut length = STRING;
        loop {
            let bytes = self.read(section, at, length)?;
            if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
                return Some(String::from_utf8_lossy(&bytes[..end]).into_owned());
            }
            if bytes.len() < length || length >= MAX_STRING {
                return None;
            }
            length *= 8;
        }
    }

    pub(super) fn line_string(&self, at: u64) -> Option<String> {
        self.string(&self.line_strings, at)
    }

    /// The string with an index, in a unit whose indices begin at `base`.
    pub(super) fn indexed_string(&self, base: u64, index: u64) -> Option<String> {
        let at = base.checked_add(index.checked_mul(4)?)?;
        let bytes = self.read(&self.string_offsets, at, 4)?;
        let at = u32::from_le_bytes(bytes.try_into().ok()?);
        self.string(&self.strings, u64::from(at))
    }

    /// The address with an index, in a unit whose indices begin at `base`.
    pub(super) fn indexed_address(&self, base: u64, index: u64) -> Option<u64> {
        let at = base.checked_add(index.checked_mul(8)?)?;
        let bytes = self.read(&self.addresses, at, 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    /// The abbreviations that begin there, and end before `end`.
    pub(super) fn abbreviations(&self, at: u64, end: u64) -> Option<Abbreviations> {
        let most = usize::try_from(end.checked_sub(at)?).unwrap_or(usize::MAX);
        let mut length = ABBREVIATIONS.min(most);
        loop {
            let bytes = self.read(&self.abbreviations, at, length)?;
            let section = DebugAbbrev::new(&bytes, LittleEndian);
            match section.abbreviations(gimli::DebugAbbrevOffset(0)) {
                Ok(found) => return Some(found),
                Err(_) if bytes.len() == length && length < MAX_ABBREVIATIONS.min(most) => {
                    length = (length * 8).min(most);
                }
                Err(_) => return None,
            }
        }
    }
}
