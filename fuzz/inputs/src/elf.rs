//! A program's file: its symbols, lines and futures, and what it says of tokio.

use looptop_outside::program::Program;
use looptop_symbols::types::DebugTypes;
use looptop_symbols::{Binary, CodeAddress, Futures, Lines, Resolver, elf, scheduler};

use crate::dwarf::TEXT;
use crate::file::InMemory;
use crate::guard::guarded;

/// The input is the file.
pub fn run(data: &[u8]) {
    guarded(|| all(data));
}

pub(crate) fn all(data: &[u8]) {
    let file = InMemory::of(data);
    let path = file.path();
    let build_id = elf::build_id(&path).unwrap_or_default();
    let mut addresses = vec![0, 0x1000, TEXT, TEXT + 0x10, TEXT + 0x40, u64::MAX];
    if let Ok(Some(table)) = elf::SymbolTable::of(file.file()) {
        let mut names = table.names(file.file());
        while let Ok(Some(_)) = names.next_piece() {}
        let _ = table.functions(file.file(), |_, range| {
            addresses.push(range.start);
            addresses.push(range.end.wrapping_sub(1));
            addresses.len() < 200
        });
        let _ = table.symbols(file.file(), |_, _| true);
    }
    let _ = scheduler::read(file.file());
    let _ = Program::of(file.file());
    if let Ok(lines) = Lines::open(&path) {
        for address in &addresses {
            lines.functions(*address);
        }
    }
    if let Some(mut futures) = Futures::load(&path) {
        let tasks = futures.vtables().to_vec();
        for task in tasks.iter().take(20) {
            futures.name(task, None);
            futures.places(task, None);
        }
        for address in addresses.iter().take(50) {
            futures.places_at(*address, None);
        }
    }
    if let Ok(mut types) = DebugTypes::load(&path) {
        crate::types::look(&mut types, &addresses);
    }
    let binary = std::sync::Arc::new(Binary { path, build_id });
    let mut resolver = Resolver::new(None);
    let stack: Vec<CodeAddress> = addresses
        .iter()
        .take(50)
        .map(|offset| CodeAddress {
            binary: Some(std::sync::Arc::clone(&binary)),
            offset: *offset,
        })
        .collect();
    resolver.resolve(&stack);
}
