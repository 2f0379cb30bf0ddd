//! Debug information as the index of types reads it.

use looptop_symbols::types::{DebugTypes, TypeId};

use crate::dwarf::TEXT;
use crate::file::InMemory;
use crate::guard::guarded;

/// Types that are looked at, at most.
const MAX: usize = 2_000;

/// The input is as [`dwarf`](crate::dwarf) takes it.
pub fn run(data: &[u8]) {
    let file = crate::dwarf::file_of(data);
    guarded(|| {
        let file = InMemory::of(&file);
        if let Ok(mut types) = DebugTypes::load(&file.path()) {
            look(
                &mut types,
                &[0, 8, TEXT, TEXT + 0x10, TEXT + 0x40, 0x40_3000],
            );
        }
    });
}

/// Asks for all that an index of types says, from some addresses on.
pub(crate) fn look(types: &mut DebugTypes, addresses: &[u64]) {
    let mut wanted: Vec<TypeId> = Vec::new();
    for address in addresses {
        wanted.extend(types.of_vtable(*address));
    }
    let names = types.task_arguments(addresses);
    for name in names.iter().take(20) {
        let Some(argument) = name.split(", ").next() else {
            continue;
        };
        wanted.extend(types.named(argument));
        wanted.extend(types.named(name));
        let stage = format!("tokio::runtime::task::core::Stage<{argument}>");
        wanted.extend(types.named(&stage));
    }
    let mut next = 0;
    while let Some(id) = wanted.get(next).copied().filter(|_| next < MAX) {
        next += 1;
        let Some(found) = types.get(id) else { continue };
        let members = found.members.iter().map(|member| member.ty);
        let parameters = found.parameters.iter().map(|(_, ty)| *ty);
        let variants = found.variants.iter().flat_map(|v| v.all.iter());
        let more = members
            .chain(parameters)
            .chain(variants.map(|v| v.ty))
            .chain(found.target);
        for id in more {
            if wanted.len() < MAX && !wanted.contains(&id) {
                wanted.push(id);
            }
        }
    }
}
