//! Which future each type of tasks has: looked up once for each.
//!
//! The symbols of a file are read with the first type of it, and held for the next: types
//! come for as long as a program does something for the first time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use looptop_outside::ProcessMemory;
use looptop_outside::tasks::{AddressMap, Listing, TaskKind, Types};
use looptop_symbols::{Futures, Memory, TaskCode};

use super::seen::Future;

/// Types whose futures are held.
const MAX_TYPES: usize = 16_384;

/// The names that are known.
#[derive(Default)]
pub(super) struct Names {
    known: AddressMap<Arc<Future>>,
    /// By the module's number; `None` where it cannot be read.
    files: HashMap<usize, Option<Futures>>,
}

impl Names {
    /// The future of the tasks with this vtable.
    pub(super) fn get(&self, vtable: u64) -> Option<&Arc<Future>> {
        self.known.get(&vtable)
    }

    /// Looks up what is new in a listing; `file` says where a module can be read.
    pub(super) fn learn(
        &mut self,
        found: &Listing,
        types: &Types,
        memory: ProcessMemory,
        file: impl Fn(&Path) -> Option<PathBuf>,
    ) {
        for task in found.tasks.iter().filter(|t| t.kind == TaskKind::Async) {
            if self.known.contains_key(&task.vtable) || self.known.len() >= MAX_TYPES {
                continue;
            }
            let Some(of) = types.get(task.vtable) else {
                continue;
            };
            let module = types.modules().get(of.module);
            let Some((module, bias)) = module.and_then(|m| Some((m, m.bias?))) else {
                continue;
            };
            let futures = self.files.entry(of.module).or_insert_with(|| {
                let futures = Futures::load(&file(&module.path)?)?;
                Some(futures.called_as(&module.path))
            });
            let functions = of.functions.iter();
            let code = TaskCode {
                functions: functions.map(|at| at.wrapping_sub(bias)).collect(),
            };
            let future = futures.as_mut().map(|f| named(f, &code, bias, memory));
            self.known
                .insert(task.vtable, Arc::new(future.unwrap_or_default()));
        }
    }
}

fn named(futures: &mut Futures, code: &TaskCode, bias: u64, memory: ProcessMemory) -> Future {
    let read = |address: u64, buffer: &mut [u8]| {
        let bytes = memory.bytes(address.wrapping_add(bias), buffer.len());
        bytes.is_some_and(|bytes| {
            buffer.copy_from_slice(&bytes);
            true
        })
    };
    let memory = Memory { bias, read: &read };
    let name = futures.name(code, Some(&memory));
    let place = futures.place(code, Some(&memory));
    Future {
        name: name.text.to_string(),
        certain: name.certain,
        place: place.map(|place| (Arc::clone(&place.file), place.line, place.column)),
    }
}
