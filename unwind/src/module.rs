//! The code that is mapped into a process, and where its unwind rules are.
//!
//! Everything is read from memory, where the loader put it: a binary that was
//! replaced or deleted on disk unwinds as before. `.eh_frame_hdr` is a segment of
//! its own and points to `.eh_frame`; neither needs section headers, so stripped
//! binaries are served too.

use std::ops::{Deref, Range};
use std::path::PathBuf;
use std::sync::Arc;

use looptop_procfs::Mapping;

use crate::{Memory, ModuleInfo};

/// More unwind rules than this in one library are not kept.
const MAX_RULES: u64 = 64 << 20;
const MAX_PROGRAM_HEADERS: u64 = 64;
const MAX_NOTES: u64 = 4096;

const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const PT_GNU_EH_FRAME: u32 = 0x6474_e550;
const NT_GNU_BUILD_ID: u32 = 3;

/// Bytes of unwind rules.
#[derive(Debug, Clone)]
pub(super) enum Bytes {
    /// Where they are, for ever.
    Mapped(&'static [u8]),
    /// Of what may be unloaded, or is elsewhere.
    Copied(Arc<[u8]>),
}

impl Default for Bytes {
    fn default() -> Self {
        Bytes::Mapped(&[])
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(bytes) => bytes,
            Bytes::Copied(bytes) => bytes,
        }
    }
}

/// The unwind rules of a module; addresses as in the file.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) index_address: u64,
    pub(super) index: Bytes,
    pub(super) table_address: u64,
    pub(super) table: Bytes,
}

/// A module as it is mapped now.
#[derive(Debug, Clone)]
pub struct Module {
    pub(super) info: ModuleInfo,
    /// From its first to past its last mapped byte.
    pub(super) range: Range<u64>,
    pub(super) code: Vec<Range<u64>>,
    pub(super) rules: Option<Rules>,
}

impl Rules {
    /// Bounds of the function that contains `address` (as in the file).
    pub(super) fn function(&self, address: u64) -> Option<Range<u64>> {
        let count = u32_at(&self.index, 8)? as usize;
        let entry = |i: usize| {
            let start = self
                .index_address
                .wrapping_add(i32_at(&self.index, 12 + i * 8)? as u64);
            let rule = self
                .index_address
                .wrapping_add(i32_at(&self.index, 16 + i * 8)? as u64);
            Some((start, rule))
        };
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low.midpoint(high);
            if entry(middle)?.0 <= address {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let (start, rule) = entry(low.checked_sub(1)?)?;
        // The rule's own header: length, distance to its CIE, start, size. Only
        // the usual encoding of start and size is understood; it proves itself
        // by naming the same start.
        let offset = usize::try_from(rule.checked_sub(self.table_address)?).ok()?;
        let at = |distance: usize| offset.checked_add(distance);
        let named = rule.wrapping_add(8);
        let named = named.wrapping_add(i32_at(&self.table, at(8)?)? as u64);
        let size = u64::from(u32_at(&self.table, at(12)?)?);
        let range = start..start.checked_add(size)?;
        (named == start && range.contains(&address)).then_some(range)
    }
}

/// The modules among `mappings`, which are in the order of addresses, read from
/// `memory`: some milliseconds with large libraries. What has no code, or whose
/// beginning is not mapped, is none.
pub fn modules(mappings: &[Mapping], memory: &dyn Memory) -> Vec<Module> {
    let groups = group(mappings).into_iter();
    groups
        .filter_map(|group| Module::read(group, memory))
        .collect()
}

/// The mappings of one file, as it is mapped once.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    path: PathBuf,
    /// Where the file's first byte is.
    start: u64,
    range: Range<u64>,
    code: Vec<Range<u64>>,
}

fn group(mappings: &[Mapping]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for mapping in mappings {
        let path = &mapping.path;
        if !path.is_absolute() && path.as_os_str() != "[vdso]" {
            continue;
        }
        if mapping.offset == 0
            && groups
                .last()
                .is_none_or(|last| last.path != *path || !last.code.is_empty())
        {
            groups.push(Group {
                path: path.clone(),
                start: mapping.range.start,
                range: mapping.range.clone(),
                code: Vec::new(),
            });
        }
        if let Some(last) = groups.last_mut().filter(|last| last.path == *path) {
            last.range.end = last.range.end.max(mapping.range.end);
            if mapping.execute {
                last.code.push(mapping.range.clone());
            }
        }
    }
    groups.retain(|group| !group.code.is_empty());
    groups
}

struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    file_size: u64,
}

impl Module {
    fn read(group: Group, memory: &dyn Memory) -> Option<Self> {
        let segments = segments(memory, group.start)?;
        let first = segments
            .iter()
            .find(|s| s.kind == PT_LOAD && s.offset == 0)?;
        let base = group.start.wrapping_sub(first.address);
        let rules = segments
            .iter()
            .find(|segment| segment.kind == PT_GNU_EH_FRAME)
            .and_then(|index| load_rules(memory, index, &segments, base));
        Some(Self {
            info: ModuleInfo {
                path: group.path,
                build_id: build_id(memory, &segments, base).unwrap_or_default(),
                base,
            },
            range: group.range,
            code: group.code,
            rules,
        })
    }
}

/// The program headers of the ELF file whose first byte is at `start`.
fn segments(memory: &dyn Memory, start: u64) -> Option<Vec<Segment>> {
    const ENTRY: usize = 56;
    let header = copy(memory, start, 64)?;
    // 64-bit, little-endian.
    if header.get(..6)? != b"\x7fELF\x02\x01" || u16_at(&header, 54)? as usize != ENTRY {
        return None;
    }
    let count = u64::from(u16_at(&header, 56)?).min(MAX_PROGRAM_HEADERS);
    let table = copy(
        memory,
        start.checked_add(u64_at(&header, 32)?)?,
        count * ENTRY as u64,
    )?;
    table
        .chunks_exact(ENTRY)
        .map(|entry| {
            Some(Segment {
                kind: u32_at(entry, 0)?,
                offset: u64_at(entry, 8)?,
                address: u64_at(entry, 16)?,
                file_size: u64_at(entry, 32)?,
            })
        })
        .collect()
}

fn load_rules(
    memory: &dyn Memory,
    index: &Segment,
    segments: &[Segment],
    base: u64,
) -> Option<Rules> {
    /// Version 1; pointer to the table relative to itself, count as it is,
    /// entries relative to the index: what every linker writes.
    const USUAL: [u8; 4] = [1, 0x1b, 0x03, 0x3b];
    let head = copy(memory, base.wrapping_add(index.address), 8)?;
    if head.get(..4)? != USUAL {
        return None;
    }
    let table_address = index.address.wrapping_add(4);
    let table_address = table_address.wrapping_add(i32_at(&head, 4)? as u64);
    // The table's size is written nowhere outside of section headers; it ends
    // within its segment, and is entered only by offsets from the index.
    let load = segments.iter().find(|segment| {
        segment.kind == PT_LOAD
            && (segment.address..segment.address.saturating_add(segment.file_size))
                .contains(&table_address)
    })?;
    let table_size = load.address.saturating_add(load.file_size) - table_address;
    Some(Rules {
        index_address: index.address,
        index: bytes(memory, base.wrapping_add(index.address), index.file_size)?,
        table_address,
        table: bytes(memory, base.wrapping_add(table_address), table_size)?,
    })
}

fn bytes(memory: &dyn Memory, address: u64, size: u64) -> Option<Bytes> {
    let range = address..address.checked_add(size)?;
    match memory.lasting(range) {
        Some(bytes) => Some(Bytes::Mapped(bytes)),
        None => copy(memory, address, size).map(|bytes| Bytes::Copied(bytes.into())),
    }
}

fn build_id(memory: &dyn Memory, segments: &[Segment], base: u64) -> Option<Vec<u8>> {
    segments
        .iter()
        .filter(|segment| segment.kind == PT_NOTE)
        .find_map(|segment| {
            let notes = copy(
                memory,
                base.wrapping_add(segment.address),
                segment.file_size.min(MAX_NOTES),
            )?;
            find_build_id(&notes)
        })
}

/// Notes are (name size, content size, type, name, content), padded to 4 bytes.
fn find_build_id(notes: &[u8]) -> Option<Vec<u8>> {
    let mut rest = notes;
    loop {
        let name_size = u32_at(rest, 0)? as usize;
        let size = u32_at(rest, 4)? as usize;
        let kind = u32_at(rest, 8)?;
        let content = name_size.checked_next_multiple_of(4)?.checked_add(12)?;
        let end = content.checked_add(size)?;
        if kind == NT_GNU_BUILD_ID && rest.get(12..12 + name_size)? == b"GNU\0" {
            return Some(rest.get(content..end)?.to_vec());
        }
        rest = rest.get(end.checked_next_multiple_of(4)?..)?;
    }
}

/// Copies memory, all or nothing.
fn copy(memory: &dyn Memory, address: u64, size: u64) -> Option<Vec<u8>> {
    if size > MAX_RULES {
        return None;
    }
    let mut bytes = vec![0; size as usize];
    (memory.read(address, &mut bytes) == bytes.len()).then_some(bytes)
}

fn array<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    array(bytes, offset).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    array(bytes, offset).map(u32::from_le_bytes)
}

fn i32_at(bytes: &[u8], offset: usize) -> Option<i32> {
    array(bytes, offset).map(i32::from_le_bytes)
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    array(bytes, offset).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemFile;

    #[test]
    fn groups_mappings_by_file() {
        let maps = b"\
1000-2000 r--p 00000000 fe:00 12 /bin/a\n\
2000-3000 r-xp 00001000 fe:00 12 /bin/a\n\
3000-4000 rw-p 00000000 00:00 0 \n\
4000-5000 r--p 00000000 fe:00 13 /data/not code\n\
5000-6000 r--p 00000000 fe:00 14 /lib/odd\\012name (deleted)\n\
6000-7000 r-xp 00001000 fe:00 14 /lib/odd\\012name (deleted)\n\
7000-8000 r-xp 00000000 00:00 0 [vdso]\n\
8000-9000 r-xp 00003000 fe:00 15 /lib/without beginning\n\
9000-a000 r-xp 00000000 00:00 0 \n\
nonsense\n";
        let mappings: Vec<Mapping> = looptop_procfs::mappings(maps).collect();
        let found: Vec<_> = group(&mappings)
            .into_iter()
            .map(|group| (group.path, group.start, group.range, group.code.len()))
            .collect();
        assert_eq!(
            found,
            vec![
                ("/bin/a".into(), 0x1000, 0x1000..0x3000, 1),
                ("/lib/odd\nname".into(), 0x5000, 0x5000..0x7000, 1),
                ("[vdso]".into(), 0x7000, 0x7000..0x8000, 1),
            ]
        );
    }

    fn own_modules() -> Vec<Module> {
        let own = looptop_procfs::Procfs::default().own();
        let memory = MemFile::open(&own.path("mem")).expect("own memory");
        modules(&own.mappings().expect("own mappings"), &memory)
    }

    #[test]
    fn this_process_has_a_program_a_libc_and_a_vdso() {
        let modules = own_modules();
        let program = std::env::current_exe().expect("own path");
        for name in [program.to_str().expect("text"), "libc.so", "[vdso]"] {
            let module = modules
                .iter()
                .find(|module| module.info.path.to_string_lossy().contains(name))
                .unwrap_or_else(|| panic!("{name} among {modules:?}"));
            assert!(module.rules.is_some(), "{name} has unwind rules");
            assert!(!module.info.build_id.is_empty() || name == program.to_str().unwrap_or(""));
        }
    }

    #[test]
    fn finds_the_bounds_of_a_function() {
        let address = this_process_has_a_program_a_libc_and_a_vdso as fn() as usize as u64;
        let modules = own_modules();
        let module = modules
            .iter()
            .find(|module| module.range.contains(&address))
            .expect("own module");
        let inside = address - module.info.base + 1;
        let bounds = module
            .rules
            .as_ref()
            .and_then(|rules| rules.function(inside))
            .expect("has a rule");
        assert_eq!(bounds.start, address - module.info.base);
    }

    /// Memory of a file that says of itself what it likes.
    #[test]
    fn a_module_that_lies_is_none_or_has_no_rules() {
        struct Bytes(Vec<u8>);
        impl Memory for Bytes {
            fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
                let at = address
                    .checked_sub(0x1000)
                    .map_or(usize::MAX, |at| at as usize);
                let from = self.0.get(at..).unwrap_or_default();
                let length = from.len().min(buffer.len());
                buffer[..length].copy_from_slice(&from[..length]);
                length
            }
        }
        let maps = b"1000-2000 r-xp 00000000 fe:00 12 /bin/a\n";
        let mappings: Vec<Mapping> = looptop_procfs::mappings(maps).collect();
        let of = |bytes: Vec<u8>| modules(&mappings, &Bytes(bytes));
        let mut elf = vec![0; 0x1000];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        // Headers at 64, of 56 bytes, three of them: all of it, rules, notes.
        (elf[32], elf[54], elf[56]) = (64, 56, 3);
        for (header, kind) in [(64, PT_LOAD), (120, PT_GNU_EH_FRAME), (176, PT_NOTE)] {
            elf[header..header + 4].copy_from_slice(&kind.to_le_bytes());
            elf[header + 32] = 0xff;
        }
        let found = of(elf.clone());
        assert!(found.len() == 1 && found[0].rules.is_none(), "{found:?}");
        assert_eq!(found[0].info.build_id, [0; 0]);
        // Every length, and every byte of the headers at its most.
        for length in 0..240 {
            of(elf[..length].to_vec());
        }
        for at in 6..240 {
            let mut other = elf.clone();
            other[at..at + 4].fill(0xff);
            of(other);
        }
        assert!(of(Vec::new()).is_empty());
    }

    #[test]
    fn notes_that_lie_yield_nothing() {
        let id = [
            4, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, b'G', b'N', b'U', 0, 7, 8,
        ];
        assert_eq!(find_build_id(&id), Some(vec![7, 8]));
        for end in 0..id.len() {
            assert_eq!(find_build_id(&id[..end]), None);
        }
        assert_eq!(find_build_id(&[0xff; 64]), None);
    }
}
