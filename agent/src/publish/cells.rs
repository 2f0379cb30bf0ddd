//! Tasks that ended and were not joined, in the form of the wire.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use looptop_wire::{intern::Interner, proto};

use super::table::Table;
use crate::capture::{self, ModuleInfo};
use crate::cells::{Cells, Place, Suspicion};
use crate::shared::Shared;

/// The memory is looked at this often, ns.
const PERIOD_NS: u64 = 1_000_000_000;

type Key = (u64, Option<Place>);

/// What was counted, and when to count.
#[derive(Debug, Default)]
pub(super) struct EndedCells {
    suspicion: Suspicion,
    next_ns: u64,
    counted_ns: u64,
    table: Table<Key, proto::EndedCells>,
    /// The first count of each type, and when it was.
    first: BTreeMap<Key, (u64, u64)>,
}

/// Types that are sent.
const MAX_TYPES: usize = 256;

impl EndedCells {
    /// Begins a count where that is worth it, and takes over a finished one.
    pub(super) fn sample(
        &mut self,
        shared: &Arc<Shared>,
        now_ns: u64,
        process: &proto::Process,
        interner: &mut Interner,
    ) {
        if now_ns >= self.next_ns {
            self.next_ns = now_ns + PERIOD_NS;
            if let Some(heap) = process.heap_bytes
                && self.suspicion.sample(now_ns, heap)
            {
                Cells::start(shared);
            }
        }
        let Some(counted) = shared.cells.newer(self.counted_ns) else {
            return;
        };
        self.counted_ns = counted.at_ns;
        let modules = capture::modules();
        let gone: Vec<Key> = self
            .first
            .keys()
            .filter(|key| {
                let same = |e: &&crate::cells::Ended| e.poll == key.0 && e.place == key.1;
                !counted.ended.iter().any(|e| same(&e))
            })
            .cloned()
            .collect();
        for key in gone {
            let last = proto::EndedCells {
                counted_at_ns: counted.at_ns,
                poll: Some(address(key.0, &modules)),
                location: location(key.1.as_ref(), interner),
                ..proto::EndedCells::default()
            };
            self.table.set(key, last);
        }
        for ended in counted.ended.into_iter().take(MAX_TYPES) {
            let key = (ended.poll, ended.place.clone());
            let now = (ended.count, counted.at_ns);
            let (first_count, first_at_ns) = *self.first.entry(key.clone()).or_insert(now);
            let poll = address(ended.poll, &modules);
            let record = proto::EndedCells {
                r#type: interner.string(&label(poll, &modules)),
                count: ended.count,
                bytes: ended.bytes,
                counted_at_ns: counted.at_ns,
                poll: Some(poll),
                first_count,
                first_counted_at_ns: first_at_ns,
                location: location(ended.place.as_ref(), interner),
            };
            self.table.set(key, record);
        }
    }

    pub(super) fn take_changes(&mut self) -> Vec<proto::EndedCells> {
        self.table.take_changes()
    }

    pub(super) fn all(&self) -> Vec<proto::EndedCells> {
        self.table.all()
    }
}

fn location(place: Option<&Place>, interner: &mut Interner) -> u32 {
    place.map_or(0, |p| interner.location(&p.file, p.line, p.column))
}

/// An address of the module with the highest base below it. Ids start at 1.
fn address(of: u64, modules: &[ModuleInfo]) -> proto::CodeAddress {
    let below = (1..).zip(modules).filter(|(_, m)| m.base <= of);
    let module = below.max_by_key(|(_, m)| m.base);
    proto::CodeAddress {
        module: module.map_or(0, |(id, _)| id),
        offset: of - module.map_or(0, |(_, m)| m.base),
    }
}

fn label(at: proto::CodeAddress, modules: &[ModuleInfo]) -> String {
    let module = at
        .module
        .checked_sub(1)
        .and_then(|n| modules.get(n as usize));
    let path = module.map_or(Path::new(""), |m| &m.path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!("{name}+{:#x}", at.offset)
}
