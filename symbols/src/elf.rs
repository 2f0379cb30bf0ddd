//! Where an ELF file keeps its symbols, for whoever searches them as they are.
//!
//! A program may have a million of them: they are read in pieces, and nothing is kept.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use object::elf::{FileHeader64, STT_FUNC, SectionHeader64, Sym64};
use object::read::elf::{FileHeader, SectionHeader, Sym};
use object::{LittleEndian, Object, ReadCache};

/// Bytes of names that are read at once.
const PIECE: usize = 256 << 10;
/// Bytes of symbols that are read at once.
const ENTRIES: usize = 2_730 * size_of::<Sym64<LittleEndian>>();
/// A longer name is given out in parts.
const MAX_NAME: usize = 1 << 20;

/// Where in a file its symbols are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymbolTable {
    /// The entries.
    pub entries: Range<u64>,
    /// Their names, a zero after each.
    pub names: Range<u64>,
}

impl SymbolTable {
    /// That of a 64-bit little-endian ELF file, by its section headers alone; `None`
    /// where it was stripped of its symbols.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is no such file.
    pub fn of(file: &File) -> io::Result<Option<Self>> {
        let cache = ReadCache::new(file);
        let header = FileHeader64::<LittleEndian>::parse(&cache).map_err(malformed)?;
        let endian = header.endian().map_err(malformed)?;
        let sections = header.section_headers(endian, &cache).map_err(malformed)?;
        let is_table =
            |section: &&SectionHeader64<_>| section.sh_type(endian) == object::elf::SHT_SYMTAB;
        let Some(table) = sections.iter().find(is_table) else {
            return Ok(None);
        };
        let link = table.sh_link(endian) as usize;
        let range = |section: &SectionHeader64<_>| {
            let (start, size) = section.file_range(endian)?;
            Some(start..start.checked_add(size)?)
        };
        let names = sections.get(link).and_then(range);
        let (Some(entries), Some(names)) = (range(table), names) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the symbols lie outside of the file",
            ));
        };
        Ok(Some(Self { entries, names }))
    }

    /// Their names, from the first on.
    pub fn names<'a>(&self, file: &'a File) -> Names<'a> {
        Names {
            file,
            rest: self.names.clone(),
            piece: Vec::new(),
            begin: 0,
            given: 0,
        }
    }

    /// Calls `f` with each function that has a size: the place of its name among the
    /// names, and its bounds, as the file counts addresses. Until `f` wants no more.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn functions(
        &self,
        file: &File,
        mut f: impl FnMut(u32, Range<u64>) -> bool,
    ) -> io::Result<()> {
        let endian = LittleEndian;
        self.each(file, |symbol| {
            let (start, size) = (symbol.st_value(endian), symbol.st_size(endian));
            symbol.st_type() != STT_FUNC
                || size == 0
                || f(symbol.st_name(endian), start..start.saturating_add(size))
        })
    }

    /// Calls `f` with each symbol that is defined, whatever it names: the place of its
    /// name among the names, and its address, as the file counts. Until `f` wants no
    /// more.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn symbols(&self, file: &File, mut f: impl FnMut(u32, u64) -> bool) -> io::Result<()> {
        let endian = LittleEndian;
        self.each(file, |symbol| {
            symbol.is_undefined(endian) || f(symbol.st_name(endian), symbol.st_value(endian))
        })
    }

    fn each(
        &self,
        mut file: &File,
        mut f: impl FnMut(&Sym64<LittleEndian>) -> bool,
    ) -> io::Result<()> {
        let mut rest = self.entries.clone();
        let mut piece = Vec::new();
        while !rest.is_empty() {
            let length = ENTRIES.min(usize::try_from(rest.end - rest.start).unwrap_or(ENTRIES));
            piece.resize(length, 0);
            file.seek(SeekFrom::Start(rest.start))?;
            file.read_exact(&mut piece)?;
            rest.start += length as u64;
            let count = length / size_of::<Sym64<LittleEndian>>();
            let entries = object::slice_from_bytes::<Sym64<LittleEndian>>(&piece, count);
            let entries = entries.map_or(&[][..], |(entries, _)| entries);
            if !entries.iter().all(&mut f) {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The names of a file's symbols, piece by piece.
#[derive(Debug)]
pub struct Names<'a> {
    file: &'a File,
    /// What of the file is still to be read.
    rest: Range<u64>,
    piece: Vec<u8>,
    /// The place of the piece among the names.
    begin: u64,
    /// How much of the piece was given out; the rest is the beginning of a name.
    given: usize,
}

impl Names<'_> {
    /// Some whole names, a zero after each, and their place among all; `None` at the
    /// end.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn next_piece(&mut self) -> io::Result<Option<(u64, &[u8])>> {
        self.piece.drain(..self.given);
        self.begin += self.given as u64;
        self.given = 0;
        while self.given == 0 && !self.rest.is_empty() {
            let length = usize::try_from(self.rest.end - self.rest.start).unwrap_or(PIECE);
            let kept = self.piece.len();
            self.piece.resize(kept + length.min(PIECE), 0);
            self.file.seek(SeekFrom::Start(self.rest.start))?;
            self.file.read_exact(&mut self.piece[kept..])?;
            self.rest.start += (self.piece.len() - kept) as u64;
            let end = self.piece[kept..].iter().rposition(|byte| *byte == 0);
            self.given = match end {
                Some(end) => kept + end + 1,
                None if self.piece.len() > MAX_NAME => self.piece.len(),
                None => 0,
            };
        }
        if self.given == 0 {
            self.given = self.piece.len();
        }
        let names = &self.piece[..self.given];
        Ok((!names.is_empty()).then_some((self.begin, names)))
    }
}

/// The build id of a binary: empty where the linker wrote none, `None` where the file
/// is no binary or cannot be read.
pub fn build_id(path: &Path) -> Option<Vec<u8>> {
    let cache = ReadCache::new(File::open(path).ok()?);
    let file = object::File::parse(&cache).ok()?;
    Some(file.build_id().ok()?.unwrap_or_default().to_vec())
}

fn malformed(error: object::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn own() -> File {
        File::open(std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn functions_have_their_names() {
        let file = own();
        let table = SymbolTable::of(&file).unwrap().expect("tests have symbols");
        let mut all = Vec::new();
        let mut names = table.names(&file);
        while let Some((begin, piece)) = names.next_piece().unwrap() {
            assert_eq!(begin, all.len() as u64);
            assert_eq!(piece.last(), Some(&0));
            all.extend_from_slice(piece);
        }
        assert_eq!(all.len() as u64, table.names.end - table.names.start);

        let mut found = None;
        let look = |name: u32, function: Range<u64>| {
            let name = all[name as usize..]
                .split(|byte| *byte == 0)
                .next()
                .unwrap();
            let name = String::from_utf8_lossy(name);
            if name.contains("functions_have_their_names") {
                found = Some(function);
            }
            found.is_none()
        };
        table.functions(&file, look).unwrap();
        assert!(!found.expect("this function").is_empty());
    }

    #[test]
    fn what_is_no_binary_is_refused() {
        let of = |bytes: &[u8]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            SymbolTable::of(&file)
        };
        let mut stripped = vec![0; 128];
        stripped[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        // One section, which is none.
        (stripped[40], stripped[58], stripped[60]) = (64, 64, 1);
        assert_eq!(of(&stripped).unwrap(), None);
        for length in 0..128 {
            assert!(of(&stripped[..length]).is_err(), "{length} bytes");
        }
        // A table without names, and one that lies outside of all files.
        stripped[68] = 2;
        stripped[104] = 9;
        assert!(of(&stripped).is_err());
        stripped[104] = 0;
        stripped[88..104].fill(0xff);
        assert!(of(&stripped).is_err());
        assert!(of(&[0xff; 4096]).is_err());
    }

    #[test]
    fn names_that_are_cut_are_given_out() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"\0one\0two\0thr").unwrap();
        let table = SymbolTable {
            entries: 0..0,
            names: 0..12,
        };
        let mut names = table.names(&file);
        assert_eq!(names.next_piece().unwrap(), Some((0, &b"\0one\0two\0"[..])));
        assert_eq!(names.next_piece().unwrap(), Some((9, &b"thr"[..])));
        assert_eq!(names.next_piece().unwrap(), None);
        let beyond = SymbolTable {
            entries: 0..24,
            names: 0..99,
        };
        assert!(beyond.names(&file).next_piece().is_err());
        assert!(beyond.functions(&file, |_, _| true).is_err());
    }

    #[test]
    fn a_build_id_is_read() {
        let own = std::env::current_exe().unwrap();
        assert!(build_id(&own).is_some());
        assert_eq!(build_id(Path::new("/proc/self/status")), None);
        assert_eq!(build_id(Path::new("/nowhere")), None);
    }
}
