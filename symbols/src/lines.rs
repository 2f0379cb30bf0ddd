//! The functions at an address, by a binary's own tables.

use std::path::Path;
use std::sync::{Arc, Mutex};

use addr2line::Loader;
use looptop_procfs::FileId;

use crate::shared::{self, Shared};

/// Inlined functions at one address that are kept.
pub(crate) const MAX_INLINED: usize = 64;

/// A function as the binary describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Function {
    /// Demangled.
    pub name: Option<String>,
    /// Its source, as it was built.
    pub file: Option<String>,
    /// Line, from 1.
    pub line: Option<u32>,
}

/// A binary whose lines and symbols are looked up. Its tables are in memory once, however
/// many have it open.
pub struct Lines(Arc<Mutex<Loader>>);

static OPEN: Shared<FileId, Mutex<Loader>> = Shared::new();

impl Lines {
    /// Opens the binary at `path`: some 100 ms for a large one. What it holds in memory
    /// is in proportion to the binary's debug information.
    ///
    /// # Errors
    ///
    /// What is wrong with the file, in words.
    pub fn open(path: &Path) -> Result<Self, String> {
        let load = || Loader::new(path).map(Mutex::new);
        let opened = OPEN.of(path, load);
        opened.map(Self).map_err(|error| error.to_string())
    }

    /// Where the function around an address begins, by the symbols.
    pub(crate) fn start_of_function(&self, offset: u64) -> Option<u64> {
        shared::lock(&self.0)
            .find_symbol_info(offset)
            .map(|symbol| symbol.address())
    }

    /// The functions at an address of the file, innermost first: several where some were
    /// inlined, none where nothing names it.
    pub fn functions(&self, offset: u64) -> Vec<Function> {
        let mut functions = Vec::new();
        // No code is there, and whoever counts on has to begin anew.
        if offset == u64::MAX {
            return functions;
        }
        let tables = shared::lock(&self.0);
        if let Ok(mut frames) = tables.find_frames(offset) {
            while let Ok(Some(frame)) = frames.next() {
                let name = frame
                    .function
                    .as_ref()
                    .and_then(|name| name.demangle().ok());
                let location = frame.location.as_ref();
                functions.push(Function {
                    name: name.map(std::borrow::Cow::into_owned),
                    file: location.and_then(|place| place.file).map(str::to_owned),
                    line: location
                        .and_then(|place| place.line)
                        .filter(|&line| line > 0),
                });
                if functions.len() >= MAX_INLINED {
                    break;
                }
            }
        }
        // The symbol table has the whole path of what is not inlined, where debug
        // information may have the last part of it, or nothing.
        let whole = |name: &String| name.contains("::");
        if functions
            .last()
            .is_none_or(|function| !function.name.as_ref().is_some_and(whole))
            && let Some(symbol) = tables.find_symbol(offset)
        {
            let name = format!("{:#}", rustc_demangle::demangle(symbol));
            let name = name.split('@').next().unwrap_or(&name).to_owned();
            match functions.last_mut() {
                Some(last) => last.name = Some(name),
                None => functions.push(Function {
                    name: Some(name),
                    ..Function::default()
                }),
            }
        }
        functions
    }
}
