//! The code and data of a program's file, read where they are needed.
//!
//! In memory are the bounds of its functions (16 bytes each) and the relocations that
//! fill its data with addresses (16 bytes each), both in proportion to the file; of code
//! and data one function or piece at a time.

use std::cell::RefCell;
use std::fs;
use std::io::{Read, Seek, SeekFrom};

use object::read::elf::{Rela, SectionHeader};
use object::{Architecture, File, Object, ObjectSection, ReadRef, SectionFlags, SectionKind, elf};

/// A program, as its file has it: all addresses are those that the file itself counts.
pub(super) struct Image {
    file: RefCell<fs::File>,
    architecture: Architecture,
    sections: Vec<Section>,
    /// Address and size of each function, by address.
    functions: Vec<(u64, u64)>,
    /// Places in data and the addresses that the loader puts there, by place.
    relocations: Vec<(u64, u64)>,
}

/// A part of the file that is in memory when the program runs.
struct Section {
    address: u64,
    size: u64,
    offset: u64,
    is_code: bool,
}

impl Section {
    fn has(&self, address: u64) -> bool {
        address
            .checked_sub(self.address)
            .is_some_and(|inside| inside < self.size)
    }
}

/// A part of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Code,
    Data,
}

/// Bytes of a function that are read.
const MAX_CODE: u64 = 256 << 10;
/// Bytes of data that are read at once.
const PIECE: usize = 1 << 20;
/// Of these, so many come again with the next, so that nothing is cut in two.
const OVERLAP: usize = 64;

impl Image {
    /// That of `object`, which was read from `file`; `functions` are the address and
    /// size of each.
    pub(super) fn new<'a>(
        file: fs::File,
        object: &File<'a, impl ReadRef<'a>>,
        mut functions: Vec<(u64, u64)>,
    ) -> Self {
        functions.sort_unstable();
        functions.dedup();
        let in_memory = |flags| match flags {
            SectionFlags::Elf { sh_flags, .. } => sh_flags.contains(elf::SHF_ALLOC),
            _ => true,
        };
        let sections = object.sections();
        let sections = sections.filter(|section| in_memory(section.flags()));
        // They do not overlap; those that do would be searched again and again.
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        let mut left = length;
        let sections = sections.filter_map(|section| {
            let (offset, size) = section.file_range()?;
            left = left.checked_sub(size)?;
            Some(Section {
                address: section.address(),
                size,
                offset,
                is_code: section.kind() == SectionKind::Text,
            })
        });
        Self {
            file: RefCell::new(file),
            architecture: object.architecture(),
            sections: sections.collect(),
            functions,
            relocations: relocations(object, length),
        }
    }

    pub(super) fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// Fills `buffer` with what the file has at `address`, without relocations.
    pub(super) fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        let Some(section) = self.sections.iter().find(|section| section.has(address)) else {
            return false;
        };
        let inside = address - section.address;
        if buffer.len() as u64 > section.size - inside {
            return false;
        }
        let Some(offset) = section.offset.checked_add(inside) else {
            return false;
        };
        let mut file = self.file.borrow_mut();
        file.seek(SeekFrom::Start(offset)).is_ok() && file.read_exact(buffer).is_ok()
    }

    /// The address at a place in data, as it is once the program was loaded.
    pub(super) fn word(&self, address: u64) -> Option<u64> {
        let relocated = self
            .relocations
            .binary_search_by_key(&address, |(at, _)| *at);
        if let Ok(found) = relocated {
            return Some(self.relocations[found].1);
        }
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)
            .then(|| u64::from_le_bytes(bytes))
    }

    /// Calls `f` with each aligned place in data and the address there.
    pub(super) fn words(&self, mut f: impl FnMut(u64, u64)) {
        for section in self.sections.iter().filter(|section| !section.is_code) {
            let Some(mut at) = section.address.checked_next_multiple_of(8) else {
                continue;
            };
            let end = section.address.saturating_add(section.size);
            let mut piece = Vec::new();
            while at < end {
                let length = PIECE.min(usize::try_from(end - at).unwrap_or(PIECE)) & !7;
                piece.resize(length, 0);
                if length == 0 || !self.read(at, &mut piece) {
                    break;
                }
                for word in piece.chunks_exact(8) {
                    let word = word.try_into().map_or(0, u64::from_le_bytes);
                    if word != 0 {
                        f(at, word);
                    }
                    at = at.saturating_add(8);
                }
            }
        }
        for (at, address) in &self.relocations {
            f(*at, *address);
        }
    }

    /// Calls `f` with a part of the program piece by piece: an address, and the bytes
    /// there. Some come twice.
    pub(super) fn pieces(&self, part: Part, mut f: impl FnMut(u64, &[u8])) {
        let wanted = |section: &&Section| section.is_code == (part == Part::Code);
        let mut piece = Vec::new();
        for section in self.sections.iter().filter(wanted) {
            let mut inside = 0;
            while inside < section.size {
                let rest = usize::try_from(section.size - inside).unwrap_or(usize::MAX);
                let at = section.address.wrapping_add(inside);
                piece.resize(rest.min(PIECE + OVERLAP), 0);
                if !self.read(at, &mut piece) {
                    break;
                }
                f(at, &piece);
                inside += PIECE as u64;
            }
        }
    }

    /// Whether a function begins at an address.
    pub(super) fn begins(&self, address: u64) -> bool {
        let found = self.functions.binary_search_by_key(&address, |(at, _)| *at);
        found.is_ok()
    }

    pub(super) fn is_code(&self, address: u64) -> bool {
        let mut code = self.sections.iter().filter(|section| section.is_code);
        code.any(|section| section.has(address))
    }

    /// Start and size of the function around an address.
    pub(super) fn function(&self, address: u64) -> Option<(u64, u64)> {
        let at = self
            .functions
            .partition_point(|(start, _)| *start <= address);
        let (start, size) = *self.functions.get(at.checked_sub(1)?)?;
        // The last of those that begin there is the largest.
        (address - start < size.max(1)).then_some((start, size))
    }

    /// The code of the function around an address, from its start on.
    pub(super) fn code(&self, address: u64) -> Option<(u64, Vec<u8>)> {
        let (start, size) = self.function(address)?;
        let section = self.sections.iter().find(|section| section.has(start))?;
        let rest = section.size - (start - section.address);
        let mut code = vec![0; usize::try_from(size.min(MAX_CODE).min(rest)).ok()?];
        self.read(start, &mut code).then_some((start, code))
    }

    /// Targets of the calls and jumps in the function around an address, also of those
    /// through the table of addresses. Found byte by byte on x86: that they are compared
    /// with the starts of few functions keeps chance out.
    pub(super) fn callees(&self, address: u64) -> Vec<u64> {
        let Some((start, code)) = self.code(address) else {
            return Vec::new();
        };
        match self.architecture {
            Architecture::X86_64 => (0..code.len())
                .filter_map(|at| self.call_target(start, &code, at))
                .collect(),
            Architecture::Aarch64 => code
                .chunks_exact(4)
                .enumerate()
                .filter_map(|(number, bytes)| {
                    let at = start.wrapping_add(number as u64 * 4);
                    let word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                    // `b` and `bl`, with a distance of 26 bits in words.
                    (word & 0x7c00_0000 == 0x1400_0000).then(|| {
                        let distance = (word << 6).cast_signed() >> 6;
                        at.wrapping_add_signed(i64::from(distance) * 4)
                    })
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Where the x86-64 instruction at `at` in the `code` of the function at `start`
    /// calls or jumps, if it is `call`, `jmp`, or either through the table of addresses.
    pub(super) fn call_target(&self, start: u64, code: &[u8], at: usize) -> Option<u64> {
        let place = start.wrapping_add(at as u64);
        match code.get(at..)? {
            [0xe8 | 0xe9, ..] => relative(code, at + 1, place.wrapping_add(5)),
            [0xff, 0x15 | 0x25, ..] => self.word(relative(code, at + 2, place.wrapping_add(6))?),
            _ => None,
        }
    }
}

/// `from` plus the 32-bit distance at `at` in the code.
pub(super) fn relative(code: &[u8], at: usize, from: u64) -> Option<u64> {
    let bytes = code.get(at..at + 4)?;
    let distance = i32::from_le_bytes(bytes.try_into().ok()?);
    Some(from.wrapping_add_signed(i64::from(distance)))
}

/// Where a position-independent program has addresses in its data. Their values are in
/// the table (RELA), or in the data itself (RELR, which needs no list), where those of a
/// program at a fixed address are too. The file is so long: it has no more than fit into it.
fn relocations<'a>(object: &File<'a, impl ReadRef<'a>>, length: u64) -> Vec<(u64, u64)> {
    let File::Elf64(elf) = object else {
        return Vec::new();
    };
    let endian = elf.endian();
    let relative = match object.architecture() {
        Architecture::X86_64 => elf::R_X86_64_RELATIVE,
        Architecture::Aarch64 => elf::R_AARCH64_RELATIVE,
        _ => return Vec::new(),
    };
    let mut found = Vec::new();
    let mut left = length as usize / size_of::<elf::Rela64<object::Endianness>>();
    let sections = elf.elf_section_table().iter();
    for section in sections.filter(|section| section.sh_type(endian) == elf::SHT_RELA) {
        let is_loaded = section.sh_flags(endian).contains(elf::SHF_ALLOC);
        let Ok(Some((table, _))) = section.rela(endian, elf.data()) else {
            continue;
        };
        if !is_loaded || table.len() > left {
            continue;
        }
        left -= table.len();
        for entry in table {
            if entry.r_type(endian, false) == relative {
                let (at, address) = (entry.r_offset(endian), entry.r_addend(endian));
                found.push((at, address.cast_unsigned()));
            }
        }
    }
    found.sort_unstable();
    found.dedup_by_key(|(at, _)| *at);
    found
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A program with so many sections of data that are all the whole file.
    fn overlapping(count: u16) -> (Image, u64) {
        let table = 64 + 8;
        let mut bytes = vec![0; table];
        bytes[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0");
        (bytes[40], bytes[52], bytes[58], bytes[62]) = (table as u8, 64, 64, 1);
        bytes[60..62].copy_from_slice(&(count + 2).to_le_bytes());
        let length = (table + 64 * (usize::from(count) + 2)) as u64;
        let mut section = |kind: u32, flags: u64, size: u64| {
            bytes.extend(0_u32.to_le_bytes());
            bytes.extend(kind.to_le_bytes());
            for word in [flags, 0x1000, 0, size, 0, 8, 0] {
                bytes.extend(word.to_le_bytes());
            }
        };
        section(0, 0, 0);
        // `SHT_STRTAB`, for the names of sections, and `SHT_PROGBITS`.
        section(3, 0, 1);
        for _ in 0..count {
            section(1, 2, length);
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let object = File::parse(&*bytes).unwrap();
        (Image::new(file, &object, Vec::new()), length)
    }

    #[test]
    fn sections_that_overlap_are_searched_as_far_as_a_file_has_bytes() {
        for count in [1, 1_000] {
            let (image, length) = overlapping(count);
            let mut searched = 0;
            image.pieces(Part::Data, |_, piece| searched += piece.len() as u64);
            assert_eq!(searched, length);
        }
    }
}
