//! The files of a program, and the task types in their constants.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::LazyLock;

use looptop_procfs::{Mapping, Process};
use looptop_symbols::elf::SymbolTable;
use memchr::memmem::Finder;

use super::version::{self, Version};
use super::vtable::{self, Vtable};
use crate::space::{PAGE, Page, Space, words};

/// Constants that are read at once, and what is read again at the next piece's start,
/// so that nothing is cut in two.
const PIECE: u64 = 1 << 20;
const OVERLAP: u64 = 256;
/// Constants of one file that are searched; a larger program's types are not complete.
const MAX_CONSTANTS: u64 = 1 << 30;
/// Names of symbols that are searched.
const MAX_NAMES: u64 = 1 << 30;
/// Task types that are taken of one file.
const MAX_TYPES: usize = 1 << 17;

/// Opens the file that is behind a mapping, if it still is the same.
pub(super) type Files<'a> = dyn Fn(&Mapping) -> Option<File> + 'a;

/// The files of a process: the program through `exe`, which is the very file that
/// runs, libraries through its root, as other namespaces may have other files there.
pub(super) fn files(process: &Process) -> impl Fn(&Mapping) -> Option<File> + use<'_> {
    let program = process.program();
    move |mapping| {
        let path = match &program {
            Some(program) if *program == mapping.path => process.path("exe"),
            _ => {
                let root = process.path("root");
                root.join(mapping.path.strip_prefix("/").ok()?)
            }
        };
        let file = File::open(path).ok()?;
        let metadata = file.metadata().ok()?;
        (metadata.is_file() && inode(&metadata) == Some(mapping.inode)).then_some(file)
    }
}

#[cfg(unix)]
#[allow(clippy::unnecessary_wraps, reason = "elsewhere there are none")]
fn inode(metadata: &std::fs::Metadata) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    Some(metadata.ino())
}

#[cfg(not(unix))]
fn inode(_: &std::fs::Metadata) -> Option<u64> {
    None
}

/// A file with code, as it is mapped.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Module {
    path: PathBuf,
    /// Where the file's first byte is.
    start: u64,
    pub(super) code: Vec<Range<u64>>,
    /// What holds constants.
    constants: Vec<Mapping>,
    /// It was mapped first, which the program is.
    program: bool,
}

/// What was found in a module.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) vtables: BTreeMap<u64, Vtable>,
    /// Functions that symbols call tokio's poll of a task; sorted.
    pub(super) polls: Vec<u64>,
    pub(super) tokio: Option<Version>,
    /// What to add to an address of the file to get the one in memory.
    pub(super) bias: Option<u64>,
    /// The counter of lists.
    pub(super) next_list: Option<u64>,
}

/// The modules among mappings in the order of addresses. The program's comes first.
pub(super) fn group(mappings: &[Mapping]) -> Vec<Module> {
    let mut modules: Vec<Module> = Vec::new();
    let of_file = mappings
        .iter()
        .filter(|m| m.path.is_absolute() && m.inode != 0);
    for mapping in of_file {
        let follows = |last: &&mut Module| {
            last.path == mapping.path && (mapping.offset != 0 || last.code.is_empty())
        };
        if modules.last_mut().is_none_or(|last| !follows(&last)) {
            modules.push(Module {
                path: mapping.path.clone(),
                start: mapping.range.start.wrapping_sub(mapping.offset),
                code: Vec::new(),
                constants: Vec::new(),
                program: false,
            });
        }
        let Some(last) = modules.last_mut() else {
            continue;
        };
        if mapping.execute {
            last.code.push(mapping.range.clone());
        } else if mapping.read && !mapping.shared {
            last.constants.push(mapping.clone());
        }
    }
    modules.retain(|module| !module.code.is_empty());
    if let Some(first) = modules.first_mut() {
        first.program = true;
    }
    modules
}

impl Module {
    fn is_code(&self, address: u64) -> bool {
        self.code.iter().any(|range| range.contains(&address))
    }

    /// Searches its constants, each once.
    ///
    /// Addresses in them were written by the loader, if the program may be anywhere:
    /// those pages are the process's own and are read from its memory. Of a library
    /// only these are searched at first, as most have nothing to do with tokio. The
    /// other pages are read from the file: a read from memory would make the kernel
    /// map them.
    pub(super) fn search(&self, space: &(impl Space + ?Sized), files: &Files) -> Found {
        let mut found = Found {
            path: self.path.clone(),
            bias: self.bias(space),
            ..Found::default()
        };
        let file = self.constants.first().and_then(files);
        let mut left = MAX_CONSTANTS;
        let mut later = Vec::new();
        for mapping in &self.constants {
            let pages = space.pages(&mapping.range);
            let own = pages.into_iter().filter(|(_, page)| *page != Page::File);
            let own: Vec<Range<u64>> = own.map(|(range, _)| range).collect();
            let constants = Constants {
                mapping,
                own,
                file: file.as_ref(),
            };
            if self.program || !constants.own.is_empty() {
                self.search_in(space, &constants, &mut left, &mut found);
            } else {
                later.push(constants);
            }
        }
        if found.vtables.is_empty() {
            // Without types it is no tokio that does something; a program is told
            // whether it has one.
            if self.program
                && let Some(file) = &file
            {
                Self::read_symbols(file, &mut found);
            }
            return found;
        }
        for constants in later {
            self.search_in(space, &constants, &mut left, &mut found);
        }
        if let Some(file) = &file {
            Self::read_symbols(file, &mut found);
        }
        found
    }

    fn search_in(
        &self,
        space: &(impl Space + ?Sized),
        constants: &Constants,
        left: &mut u64,
        found: &mut Found,
    ) {
        let range = &constants.mapping.range;
        let mut at = range.start;
        let (mut bytes, mut all) = (Vec::new(), Vec::new());
        while at < range.end && *left > 0 {
            let end = range.end.min(at.saturating_add(PIECE + OVERLAP));
            let read = constants.read(space, at..end, &mut bytes);
            *left = left.saturating_sub(PIECE);
            // Behind the end of a file there is nothing, however much is mapped: on where
            // memory is the process's own.
            let next = at.saturating_add(PIECE);
            let next = if read { next } else { constants.own_from(next) };
            found.tokio = found.tokio.max(version::version(&bytes));
            all.clear();
            all.extend(words(&bytes));
            for (n, window) in all.windows(vtable::WORDS).enumerate() {
                if let Some(vtable) = Vtable::of(window, |address| self.is_code(address))
                    && found.vtables.len() < MAX_TYPES
                {
                    found.vtables.insert(at + n as u64 * 8, vtable);
                }
            }
            at = next;
        }
    }

    /// What symbols say of tokio, where the file has some.
    fn read_symbols(file: &File, found: &mut Found) {
        let Some(bias) = found.bias else { return };
        let Ok(Some(mut table)) = SymbolTable::of(file) else {
            return;
        };
        let end = table.names.start.saturating_add(MAX_NAMES);
        table.names.end = table.names.end.min(end);
        let Some(names) = tokio_names(&table, file) else {
            return;
        };
        if names.is_empty() {
            return;
        }
        let _ = table.symbols(file, |name, address| {
            match names.get(&u64::from(name)) {
                Some(Name::Poll) => found.polls.push(bias.wrapping_add(address)),
                Some(Name::NextList) => found.next_list = Some(bias.wrapping_add(address)),
                None => {}
            }
            true
        });
        found.polls.sort_unstable();
        found.polls.dedup();
    }

    /// What to add to an address of the file to get the one in memory.
    fn bias(&self, space: &(impl Space + ?Sized)) -> Option<u64> {
        const LOAD: u64 = 1;
        let mut header = [0; 4096];
        let length = space.read(self.start, &mut header);
        let header = header[..length]
            .strip_prefix(b"\x7fELF\x02\x01")
            .map(|_| &header[..length])?;
        let word = |at: usize| crate::space::word(header, at);
        let half = |at: usize| Some((word(at)? & 0xffff) as usize);
        let (table, size, count) = (word(32)? as usize, half(54)?, half(56)?);
        let segments = (0..count).map(|n| table.checked_add(n * size));
        let mut segments = segments.map_while(|at| {
            let at = at?;
            Some((word(at)? & 0xffff_ffff, word(at + 8)?, word(at + 16)?))
        });
        let (_, offset, address) = segments.find(|(kind, ..)| *kind == LOAD)?;
        Some(self.start.wrapping_sub(address.wrapping_sub(offset)))
    }
}

/// A mapping that is searched.
struct Constants<'a> {
    mapping: &'a Mapping,
    /// What of it is no longer as in the file.
    own: Vec<Range<u64>>,
    file: Option<&'a File>,
}

impl Constants<'_> {
    /// The first address from `address` on, or from near there, that is no longer as in the
    /// file.
    fn own_from(&self, address: u64) -> u64 {
        let next = self.own.partition_point(|own| own.end <= address);
        let next = self.own.get(next);
        next.map_or(u64::MAX, |own| own.start.max(address) & !(PAGE - 1))
    }

    /// Fills `bytes` with what is in `range` of the mapping, zeroes where it cannot be
    /// read; whether anything could.
    fn read(&self, space: &(impl Space + ?Sized), range: Range<u64>, bytes: &mut Vec<u8>) -> bool {
        bytes.clear();
        bytes.resize((range.end - range.start) as usize, 0);
        let Some(mut file) = self.file else {
            return space.read(range.start, bytes) > 0;
        };
        let mut any = false;
        let offset = range.start - self.mapping.range.start;
        let offset = offset.saturating_add(self.mapping.offset);
        if file.seek(SeekFrom::Start(offset)).is_ok() {
            let mut rest = &mut bytes[..];
            while let Ok(read @ 1..) = file.read(rest) {
                rest = &mut rest[read..];
                any = true;
            }
        }
        for own in &self.own {
            let own = own.start.max(range.start)..own.end.min(range.end);
            if !own.is_empty() {
                let at = (own.start - range.start) as usize..(own.end - range.start) as usize;
                any |= space.read(own.start, &mut bytes[at]) > 0;
            }
        }
        any
    }
}

/// What a symbol of tokio names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Poll,
    NextList,
}

/// Where among the names of a file are those of tokio.
fn tokio_names(table: &SymbolTable, file: &File) -> Option<BTreeMap<u64, Name>> {
    static MODULE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("5tokio7runtime4task"));
    let mut found = BTreeMap::new();
    let mut names = table.names(file);
    while let Some((begin, piece)) = names.next_piece().ok()? {
        for at in MODULE.find_iter(piece) {
            let start = memchr::memrchr(0, &piece[..at]).map_or(0, |zero| zero + 1);
            let end = memchr::memchr(0, &piece[at..]).map_or(piece.len(), |end| at + end);
            if let Some(name) = tokio_name(&piece[start..end]) {
                found.insert(begin + start as u64, name);
            }
            if found.len() > MAX_TYPES {
                return Some(found);
            }
        }
    }
    Some(found)
}

/// What a symbol is, by its mangled name: in the legacy form
/// `_ZN5tokio7runtime4task3raw4poll17h...E`, in v0
/// `_RINvNtNtNtCs..._5tokio7runtime4task3raw4poll...`.
fn tokio_name(name: &[u8]) -> Option<Name> {
    let rest = if let Some(rest) = name.strip_prefix(b"_ZN") {
        rest
    } else {
        let path = name.strip_prefix(b"_RI").or(name.strip_prefix(b"_R"))?;
        let path = path.strip_prefix(b"NvNtNtNtC")?;
        // The crate's disambiguator, between `s` and `_`.
        path.strip_prefix(b"s").map_or(path, |path| {
            let end = path.iter().position(|byte| *byte == b'_');
            end.map_or(path, |end| &path[end + 1..])
        })
    };
    let rest = rest.strip_prefix(b"5tokio7runtime4task")?;
    if rest.strip_prefix(b"3raw4poll").is_some_and(|rest| {
        // The legacy form ends with a hash; v0 goes on with the types.
        !name.starts_with(b"_ZN") || rest.starts_with(b"17h")
    }) {
        return Some(Name::Poll);
    }
    rest.starts_with(b"4list19NEXT_OWNED_TASKS_ID")
        .then_some(Name::NextList)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_of_tokio() {
        for (name, expected) in [
            (
                "_ZN5tokio7runtime4task3raw4poll17h0123456789abcdefE",
                Some(Name::Poll),
            ),
            (
                "_RINvNtNtNtCs7hEmXbMCnLw_5tokio7runtime4task3raw4pollNCNvCs_3app4main0E",
                Some(Name::Poll),
            ),
            (
                "_ZN5tokio7runtime4task4list19NEXT_OWNED_TASKS_ID17h0123456789abcdefE.0",
                Some(Name::NextList),
            ),
            (
                "_RNvNtNtNtCs7hEmXbMCnLw_5tokio7runtime4task4list19NEXT_OWNED_TASKS_ID",
                Some(Name::NextList),
            ),
            (
                "_ZN5tokio7runtime4task3raw4poll5inner17h0123456789abcdefE",
                None,
            ),
            (
                "_ZN5tokio7runtime4task3raw7dealloc17h0123456789abcdefE",
                None,
            ),
            (
                "_ZN4core3ptr13drop_in_place5tokio7runtime4task3raw4poll17h01E",
                None,
            ),
            ("_RINvNtNtNtCs", None),
            ("poll", None),
            ("", None),
        ] {
            assert_eq!(tokio_name(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn mappings_of_one_file_are_a_module() {
        let of = |line: &str| Mapping::parse(line.as_bytes()).unwrap();
        let mappings = [
            of("1000-2000 r--p 00000000 08:01 42 /opt/app"),
            of("2000-3000 r-xp 00001000 08:01 42 /opt/app"),
            of("3000-4000 r--p 00002000 08:01 42 /opt/app"),
            of("4000-5000 rw-p 00000000 00:00 0 "),
            of("6000-7000 r--p 00000000 08:01 43 /usr/lib/locale/archive"),
            of("7000-8000 r-xp 00000000 08:01 44 /lib/libc.so.6"),
            of("8000-9000 rw-s 00001000 08:01 44 /lib/libc.so.6"),
            of("9000-a000 r-xp 00000000 00:00 0 [vdso]"),
        ];
        let modules = group(&mappings);
        let [app, libc] = &modules[..] else {
            panic!("{modules:?}");
        };
        assert_eq!(app.start, 0x1000);
        assert!(app.code.iter().cloned().eq(std::iter::once(0x2000..0x3000)));
        assert_eq!(app.constants, [mappings[0].clone(), mappings[2].clone()]);
        assert!(app.program && !libc.program);
        assert!(app.is_code(0x2fff) && !app.is_code(0x3000));
        assert_eq!(libc.constants, []);
    }
}
