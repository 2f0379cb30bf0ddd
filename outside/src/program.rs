//! What an executable file says of itself: for which machine it is, which tokio is in
//! it, whether its functions have names. It is read in pieces, up to a bound, and no
//! process is needed for it.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;

use looptop_procfs::FileId;
use memchr::memmem::Finder;

/// Bytes read at once.
const PIECE: usize = 256 << 10;
/// No more of a file's constants is read. Those of the largest Rust programs are some
/// tens of megabytes; how large the rest of a file is does not matter.
const MAX_CONSTANTS: u64 = 96 << 20;
/// A file has no more sections that are looked at.
const MAX_SECTIONS: u64 = 4_096;
/// Names of sections are not longer.
const MAX_NAMES: u64 = 1 << 20;
/// Executables that [`Programs`] remembers.
const MAX_PROGRAMS: usize = 4_096;

/// Versions of tokio from this on keep their tasks as [`crate`] reads them.
pub const OLDEST_TOKIO: TokioVersion = TokioVersion::new(1, 38, 0);

/// A version of tokio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokioVersion {
    /// 0 or 1.
    pub major: u16,
    /// For example 54.
    pub minor: u16,
    /// For example 1.
    pub patch: u16,
}

impl TokioVersion {
    /// `major.minor.patch`.
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self {
            major,
            minor,
            patch,
        }
    }
}

impl fmt::Display for TokioVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// For which machine a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Machine {
    /// x86-64.
    X86_64,
    /// A 32-bit one.
    Bits32,
    /// Another 64-bit one, by its number in ELF.
    Other(u16),
    /// It is no ELF file.
    NoElf,
}

/// Whether tokio is in a program, as far as its executable says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tokio {
    /// This version.
    Version(TokioVersion),
    /// A version that does not show: a copy within its own sources.
    Unknown,
    /// None that shows.
    None,
}

/// What an executable file says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    /// For which machine it is.
    pub machine: Machine,
    /// Which tokio is in it. The compiler leaves the paths of tokio's files among the
    /// constants, where panics name them; stripping keeps them.
    pub tokio: Tokio,
    /// Its functions have names.
    pub has_symbols: bool,
}

impl Program {
    /// Of this file. Reads its headers and constants, at most 96 MiB, up to the first
    /// mention of tokio's version: some milliseconds.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn of(file: &File) -> io::Result<Self> {
        let Some(header) = Header::of(file)? else {
            return Ok(Self::other(Machine::NoElf));
        };
        if header.machine != Machine::X86_64 {
            return Ok(Self::other(header.machine));
        }
        let sections = header.sections(file).unwrap_or_default();
        let has_symbols = sections.iter().any(|section| section.kind == SYMBOLS);
        let mut constants: Vec<Range<u64>> = sections
            .iter()
            .filter(|section| section.name.starts_with(b".rodata"))
            .map(|section| section.place.clone())
            .collect();
        if constants.is_empty() {
            constants = header.unwritten_segments(file).unwrap_or_default();
        }
        let mut tokio = Tokio::None;
        let mut left = MAX_CONSTANTS;
        let length = file.metadata()?.len();
        for place in constants {
            let end = place.start.saturating_add(left).min(place.end).min(length);
            left -= end.saturating_sub(place.start);
            match search(file, place.start..end)? {
                Tokio::None => {}
                Tokio::Unknown => tokio = Tokio::Unknown,
                found @ Tokio::Version(_) => {
                    tokio = found;
                    break;
                }
            }
        }
        Ok(Self {
            machine: header.machine,
            tokio,
            has_symbols,
        })
    }

    fn other(machine: Machine) -> Self {
        Self {
            machine,
            tokio: Tokio::None,
            has_symbols: false,
        }
    }
}

/// What was read of executables, so that each is read once.
#[derive(Debug, Default)]
pub struct Programs(HashMap<FileId, Program>);

impl Programs {
    /// What the file says, which is read only where it has not been before.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn of(&mut self, file: &File) -> io::Result<Program> {
        let id = FileId::of(file)?;
        if let Some(known) = self.0.get(&id) {
            return Ok(*known);
        }
        let program = Program::of(file)?;
        if self.0.len() >= MAX_PROGRAMS {
            self.0.clear();
        }
        self.0.insert(id, program);
        Ok(program)
    }

    /// Whether [`Programs::of`] would have to read.
    pub fn knows(&self, file: &File) -> bool {
        FileId::of(file).is_ok_and(|id| self.0.contains_key(&id))
    }
}

/// The type of a section that holds symbols.
const SYMBOLS: u32 = 2;
/// The type of a segment that is mapped, and the flag of one that is written.
const MAPPED: u32 = 1;
const WRITTEN: u32 = 2;

struct Section {
    name: Vec<u8>,
    kind: u32,
    place: Range<u64>,
}

/// The header of an ELF file: where its tables are.
struct Header {
    machine: Machine,
    segments: (u64, u64),
    sections: (u64, u64),
    names: u64,
}

impl Header {
    /// `None` where the file is no ELF file.
    fn of(file: &File) -> io::Result<Option<Self>> {
        let mut bytes = [0; 64];
        let length = read_at(file, &mut bytes, 0)?;
        if length < bytes.len() || !bytes.starts_with(b"\x7fELF") {
            return Ok(None);
        }
        let machine = match (bytes[4], bytes[5], word(&bytes, 18, 2)) {
            (1, _, _) => Machine::Bits32,
            (2, 1, Some(62)) => Machine::X86_64,
            (_, _, machine) => Machine::Other(machine.unwrap_or_default() as u16),
        };
        let at = |offset, size| word(&bytes, offset, size).unwrap_or_default();
        Ok(Some(Self {
            machine,
            segments: (at(32, 8), at(56, 2)),
            sections: (at(40, 8), at(60, 2)),
            names: at(62, 2),
        }))
    }

    fn sections(&self, file: &File) -> Option<Vec<Section>> {
        const ENTRY: u64 = 64;
        let (start, count) = self.sections;
        let table = bytes(file, start, count.min(MAX_SECTIONS) * ENTRY)?;
        let place = |entry: &[u8]| {
            let (start, size) = (word(entry, 24, 8)?, word(entry, 32, 8)?);
            Some(start..start.checked_add(size)?)
        };
        let entries = || table.chunks_exact(ENTRY as usize);
        let names = place(entries().nth(self.names as usize)?)?;
        let names = bytes(file, names.start, (names.end - names.start).min(MAX_NAMES))?;
        let sections = entries().filter_map(|entry| {
            let name = names.get(word(entry, 0, 4)? as usize..)?;
            let name = name.split(|byte| *byte == 0).next()?;
            Some(Section {
                name: name.to_owned(),
                kind: word(entry, 4, 4)? as u32,
                place: place(entry)?,
            })
        });
        Some(sections.collect())
    }

    /// The places of the segments that nobody writes.
    fn unwritten_segments(&self, file: &File) -> Option<Vec<Range<u64>>> {
        const ENTRY: u64 = 56;
        let (start, count) = self.segments;
        let table = bytes(file, start, count.min(MAX_SECTIONS) * ENTRY)?;
        let place = |entry: &[u8]| {
            let (kind, flags) = (word(entry, 0, 4)? as u32, word(entry, 4, 4)? as u32);
            let (start, size) = (word(entry, 8, 8)?, word(entry, 32, 8)?);
            let wanted = kind == MAPPED && flags & WRITTEN == 0;
            wanted.then_some(start..start.checked_add(size)?)
        };
        let entries = table.chunks_exact(ENTRY as usize);
        Some(entries.filter_map(place).collect())
    }
}

/// A little-endian number of `size` bytes.
fn word(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(size)?)?;
    let shifted = bytes.iter().rev();
    Some(shifted.fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// `length` bytes of a file; `None` where it has fewer.
fn bytes(file: &File, start: u64, length: u64) -> Option<Vec<u8>> {
    let end = file.metadata().ok()?.len();
    if start.checked_add(length)? > end {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    let read = read_at(file, &mut bytes, start).ok()?;
    (read == bytes.len()).then_some(bytes)
}

/// Reads as much as there is, up to the length of `buffer`.
#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], start: u64) -> io::Result<usize> {
    use std::os::unix::fs::FileExt;
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

#[cfg(not(unix))]
fn read_at(_: &File, _: &mut [u8], _: u64) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// What is searched for, and how much behind it decides.
const WORD: &[u8] = b"tokio";
const BEHIND: usize = 32;

/// Searches a place of a file for the paths of tokio's sources.
fn search(file: &File, place: Range<u64>) -> io::Result<Tokio> {
    let finder = Finder::new(WORD);
    let mut found = Tokio::None;
    let mut buffer = vec![0; PIECE];
    let mut at = place.start;
    while at < place.end {
        let length = (place.end - at).min(PIECE as u64) as usize;
        let read = read_at(file, &mut buffer[..length], at)?;
        let piece = &buffer[..read];
        for hit in finder.find_iter(piece) {
            let before = hit.checked_sub(1).map(|before| piece[before]);
            match path_of_tokio(before, &piece[hit + WORD.len()..]) {
                Tokio::None => {}
                Tokio::Unknown => found = Tokio::Unknown,
                version @ Tokio::Version(_) => return Ok(version),
            }
        }
        if read < length {
            break;
        }
        // What begins at the end of a piece is looked at with the next one.
        let step = length.saturating_sub(1 + WORD.len() + BEHIND);
        at += if at + length as u64 == place.end {
            length
        } else {
            step.max(1)
        } as u64;
    }
    Ok(found)
}

/// Whether `tokio` is the directory of tokio's sources: `tokio-1.54.1/src/` wherever it
/// came from, or `/tokio/src/runtime/` of a copy.
fn path_of_tokio(before: Option<u8>, behind: &[u8]) -> Tokio {
    if before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-') {
        // The end of another word: `crates__tokio-1.54.1` is Bazel's.
        if before != Some(b'_') {
            return Tokio::None;
        }
    }
    if before == Some(b'/') && behind.starts_with(b"/src/runtime/") {
        return Tokio::Unknown;
    }
    let version = behind.strip_prefix(b"-").and_then(version);
    version.map_or(Tokio::None, Tokio::Version)
}

/// `1.54.1` with `/src/` behind it.
fn version(text: &[u8]) -> Option<TokioVersion> {
    let text = &text[..text.len().min(BEHIND)];
    let end = text.iter().position(|byte| *byte == b'/')?;
    if !text[end..].starts_with(b"/src/") {
        return None;
    }
    let mut numbers = std::str::from_utf8(&text[..end]).ok()?.split('.');
    let mut number = || numbers.next()?.parse().ok();
    let version = TokioVersion::new(number()?, number()?, number()?);
    numbers.next().is_none().then_some(version)
}

#[cfg(all(test, unix))]
pub(crate) mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use super::*;

    /// A 64-bit ELF file with one section of constants, and symbols or none.
    pub(crate) fn elf(constants: &[u8], has_symbols: bool) -> Vec<u8> {
        let names = b"\0.rodata\0.symtab\0.shstrtab\0";
        let constants_at = 64;
        let names_at = constants_at + constants.len();
        let table_at = names_at + names.len();
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[18] = 62;
        file[40..48].copy_from_slice(&(table_at as u64).to_le_bytes());
        file[60] = 4;
        file[62] = 3;
        file.extend_from_slice(constants);
        file.extend_from_slice(names);
        let mut section = |name: u32, kind: u32, start: usize, size: usize| {
            let mut entry = [0; 64];
            entry[..4].copy_from_slice(&name.to_le_bytes());
            entry[4..8].copy_from_slice(&kind.to_le_bytes());
            entry[24..32].copy_from_slice(&(start as u64).to_le_bytes());
            entry[32..40].copy_from_slice(&(size as u64).to_le_bytes());
            file.extend_from_slice(&entry);
        };
        section(0, 0, 0, 0);
        section(1, 1, constants_at, constants.len());
        section(9, if has_symbols { SYMBOLS } else { 0 }, 0, 0);
        section(17, 3, names_at, names.len());
        file
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn found(bytes: &[u8]) -> Program {
        Program::of(&file(bytes)).unwrap()
    }

    #[test]
    fn tokio_shows_by_the_paths_of_its_files() {
        let version = |major, minor, patch| Tokio::Version(TokioVersion::new(major, minor, patch));
        for (constants, expected) in [
            (
                "/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/tokio-1.54.1/src/runtime/park.rs",
                version(1, 54, 1),
            ),
            (
                "/usr/share/cargo/registry/tokio-1.38.0/src/lib.rs",
                version(1, 38, 0),
            ),
            ("external/crates__tokio-1.47.1/src/a.rs", version(1, 47, 1)),
            ("tokio-0.2.25/src/runtime/mod.rs", version(0, 2, 25)),
            (
                "/app/vendor/tokio/src/runtime/scheduler/mod.rs",
                Tokio::Unknown,
            ),
            (
                "/app/vendor/tokio/src/runtime/mod.rs /x/tokio-1.50.0/src/lib.rs",
                version(1, 50, 0),
            ),
            ("tokio-runtime-worker tokio-rt-worker", Tokio::None),
            ("/x/tokio-util-0.7.1/src/lib.rs", Tokio::None),
            ("/x/my-tokio-1.2.3/src/lib.rs", Tokio::None),
            ("/x/tokio-1.2.3/Cargo.toml", Tokio::None),
            ("/x/tokio-1.2.3.4/src/a.rs", Tokio::None),
            ("/x/tokio-1.99999.3/src/a.rs", Tokio::None),
            ("/x/tokio-1.54.1", Tokio::None),
            ("", Tokio::None),
        ] {
            assert_eq!(
                found(&elf(constants.as_bytes(), true)).tokio,
                expected,
                "{constants}"
            );
        }
    }

    #[test]
    fn it_is_found_wherever_a_piece_ends() {
        let path = b"/tokio-1.54.1/src/";
        let expected = Tokio::Version(TokioVersion::new(1, 54, 1));
        for before in (PIECE - 40..PIECE + 8).chain([0, 3 * PIECE - 90]) {
            let mut constants = vec![b'.'; before];
            constants.extend_from_slice(path);
            assert_eq!(found(&elf(&constants, true)).tokio, expected, "{before}");
        }
    }

    #[test]
    fn machines_and_symbols() {
        let program = elf(b"/tokio-1.54.1/src/", false);
        assert!(!found(&program).has_symbols);
        assert!(found(&elf(b"", true)).has_symbols);
        let with = |at: usize, byte: u8| {
            let mut changed = program.clone();
            changed[at] = byte;
            found(&changed).machine
        };
        assert_eq!(with(0, 0x7f), Machine::X86_64);
        assert_eq!(with(4, 1), Machine::Bits32);
        assert_eq!(with(18, 183), Machine::Other(183));
        assert_eq!(with(0, b'#'), Machine::NoElf);
        assert_eq!(found(b"#!/bin/sh\n").machine, Machine::NoElf);
    }

    #[test]
    fn a_file_that_lies_about_itself_is_read_within_bounds() {
        let program = elf(b"/tokio-1.54.1/src/", true);
        // Each byte of the header and of the section table, at its extremes.
        let table = program.len() - 4 * 64;
        for at in (16..64).chain(table..program.len()) {
            for byte in [0, 0x7f, 0xff] {
                let mut changed = program.clone();
                changed[at] = byte;
                let _ = found(&changed);
            }
        }
        for length in 0..program.len() {
            let _ = found(&program[..length]);
        }
    }

    #[test]
    fn of_a_huge_executable_a_bounded_part_is_read() {
        // A file with holes: 8 GiB of constants, of which nobody reads more than the bound.
        let size = 8_u64 << 30;
        let mut program = elf(b"", true);
        let table = program.len() - 4 * 64;
        program[table + 64 + 32..table + 64 + 40].copy_from_slice(&size.to_le_bytes());
        let mut huge = file(&program);
        huge.seek(SeekFrom::Start(size)).unwrap();
        huge.write_all(b"/tokio-1.54.1/src/").unwrap();
        let began = std::time::Instant::now();
        assert_eq!(Program::of(&huge).unwrap().tokio, Tokio::None);
        eprintln!("looked at in {:.0?}", began.elapsed());
    }

    #[test]
    fn this_test_has_symbols_and_is_read_once() {
        let Ok(own) = File::open("/proc/self/exe") else {
            return;
        };
        let mut programs = Programs::default();
        assert!(!programs.knows(&own));
        let program = programs.of(&own).unwrap();
        assert!(programs.knows(&own) && program.has_symbols);
        assert_eq!(programs.of(&own).unwrap(), program);
    }
}
