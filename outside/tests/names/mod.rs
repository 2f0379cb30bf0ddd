//! Names of code addresses, by the files that are mapped.

use std::collections::HashMap;
use std::path::PathBuf;

use looptop_outside::awaits::interpreted::Named;
use looptop_procfs::{Mapping, Process};
use looptop_symbols::Lines;

pub(crate) struct Names {
    mappings: Vec<Mapping>,
    files: HashMap<PathBuf, Option<Lines>>,
}

impl Names {
    pub(crate) fn of(process: &Process) -> Self {
        Self {
            mappings: process.mappings().unwrap_or_default(),
            files: HashMap::new(),
        }
    }

    /// The functions at an address, innermost first.
    pub(crate) fn functions(&mut self, address: u64) -> Vec<Named> {
        let mapping = self.mappings.iter().find(|m| m.range.contains(&address));
        let Some(mapping) = mapping.filter(|m| m.inode != 0) else {
            return Vec::new();
        };
        let first = self.mappings.iter().find(|m| m.path == mapping.path);
        let offset = address - first.map_or(0, |first| first.range.start);
        let open = || Lines::open(&mapping.path).ok();
        let lines = self.files.entry(mapping.path.clone()).or_insert_with(open);
        let functions = lines.as_ref().map(|lines| lines.functions(offset));
        let named = functions.unwrap_or_default().into_iter();
        named
            .map(|function| Named {
                name: function.name.unwrap_or_default().into(),
                file: None,
                source: function.file.map(Into::into),
                line: function.line,
            })
            .collect()
    }
}
