//! The symbols of a binary, all at once.
//!
//! A name at a time costs two system calls, and a large program has a hundred thousand
//! of them: the names are read in one piece.

use std::ffi::CStr;

use object::elf::{STT_FUNC, STT_GNU_IFUNC};
use object::read::elf::{ElfFile, FileHeader, Sym};
use object::{File, Object, ObjectSection, ObjectSymbol, ReadRef, SymbolKind};

/// A symbol with a name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Symbol<'a> {
    pub(super) address: u64,
    pub(super) size: u64,
    /// It is a function, and not one of another binary.
    pub(super) is_function: bool,
    pub(super) name: &'a str,
}

/// Calls `f` with each symbol of `file`.
pub(super) fn for_each<'a, R: ReadRef<'a>>(file: &File<'a, R>, mut f: impl FnMut(Symbol<'_>)) {
    let read = match file {
        File::Elf64(elf) => of_elf(elf, &mut f),
        File::Elf32(elf) => of_elf(elf, &mut f),
        _ => None,
    };
    if read.is_some() {
        return;
    }
    for symbol in file.symbols() {
        if let Ok(name) = symbol.name() {
            f(Symbol {
                address: symbol.address(),
                size: symbol.size(),
                is_function: symbol.kind() == SymbolKind::Text && symbol.address() != 0,
                name,
            });
        }
    }
}

/// `None` where the names cannot be read in one piece.
fn of_elf<'a, Elf: FileHeader, R: ReadRef<'a>>(
    elf: &ElfFile<'a, Elf, R>,
    f: &mut impl FnMut(Symbol<'_>),
) -> Option<()> {
    let table = elf.elf_symbol_table();
    let names = elf.section_by_index(table.string_section()).ok()?;
    let names = names.data().ok()?;
    let endian = elf.endian();
    for symbol in table.iter() {
        let rest = names.get(symbol.st_name(endian) as usize..);
        let name = rest.and_then(|rest| CStr::from_bytes_until_nul(rest).ok());
        let Some(Ok(name)) = name.map(CStr::to_str) else {
            continue;
        };
        let address = symbol.st_value(endian).into();
        f(Symbol {
            address,
            size: symbol.st_size(endian).into(),
            is_function: matches!(symbol.st_type(), STT_FUNC | STT_GNU_IFUNC) && address != 0,
            name,
        });
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_symbols_are_those_that_are_read_one_by_one() {
        let program = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
        let cache = object::ReadCache::new(program);
        let file = File::parse(&cache).unwrap();
        let mut all = Vec::new();
        for_each(&file, |symbol| {
            if symbol.is_function {
                all.push((symbol.address, symbol.size, symbol.name.to_owned()));
            }
        });
        let functions = file.symbols().filter(|s| s.kind() == SymbolKind::Text);
        let expected: Vec<_> = functions
            .filter(|symbol| symbol.address() != 0)
            .filter_map(|s| Some((s.address(), s.size(), s.name().ok()?.to_owned())))
            .take(1_000)
            .collect();
        assert!(expected.len() == 1_000 && all.len() > 1_000);
        assert!(all[..1_000] == expected);
    }
}
