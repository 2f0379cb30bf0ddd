//! The files that were mapped, as they are on this machine's disk.
//!
//! The kernel leaves pages out of a dump that are as in their file: code and constants.
//! They are read from the file, if it is the same: it has the build id that the dump has
//! of it, or where the linker wrote none, the same first page.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use looptop_procfs::Mapping;
use looptop_unwind::{Memory, Unwinder, modules};

use super::image::read_at;

/// Files with code that are looked for.
const MAX_FILES: usize = 1_024;
/// Of the first page this much is compared.
const FIRST: usize = 4_096;

/// The files with code of a core dump.
#[derive(Debug, Default)]
pub(super) struct Files {
    found: BTreeMap<PathBuf, Found>,
    pub(super) lost: Vec<LostFile>,
}

/// A file that is the one that was mapped.
#[derive(Debug)]
pub(super) struct Found {
    /// Where it is here.
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) length: u64,
}

/// A file of which a part was mapped that the dump has not, and that is not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostFile {
    /// Where it was, as the process saw it.
    pub path: PathBuf,
    /// There is another file in its place: another build of it.
    pub is_another: bool,
    /// Its build id; empty where the dump does not have one.
    pub build_id: Vec<u8>,
}

impl Files {
    /// Looks for the files of `mappings`: at their path, and beside the dump in
    /// `directory`, by their path or by their name alone. `dumped` is what the dump itself
    /// has.
    pub(super) fn of(mappings: &[Mapping], dumped: &dyn Memory, directory: &Path) -> Self {
        let mut ids = Unwinder::new();
        ids.set_modules(modules(mappings, dumped));
        let id = |path: &Path| {
            let module = ids.modules().iter().find(|module| module.path == path);
            module.map(|module| module.build_id.clone())
        };
        // Where each file begins: a dump may name as many as it has bytes for.
        let mut begins: HashMap<&Path, u64> = HashMap::new();
        for mapping in mappings.iter().filter(|mapping| mapping.offset == 0) {
            begins.entry(&mapping.path).or_insert(mapping.range.start);
        }
        let mut files = Self::default();
        let with_code = mappings.iter().filter(|m| m.execute && m.inode != 0);
        let mut seen = HashSet::new();
        for mapping in with_code {
            let path = &mapping.path;
            if !seen.insert(path) {
                continue;
            }
            if seen.len() > MAX_FILES {
                break;
            }
            let wanted = Wanted {
                build_id: id(path).unwrap_or_default(),
                first: begins.get(&**path).map_or_else(Vec::new, |start| {
                    let mut page = vec![0; FIRST];
                    let read = dumped.read(*start, &mut page);
                    page.truncate(read);
                    page
                }),
            };
            match wanted.find(path, directory) {
                Ok(found) => {
                    files.found.insert(path.clone(), found);
                }
                Err(is_another) => files.lost.push(LostFile {
                    path: path.clone(),
                    is_another,
                    build_id: wanted.build_id,
                }),
            }
        }
        files
    }

    /// Whether this is where one of them is here.
    pub(super) fn is_found_at(&self, path: &Path) -> bool {
        self.found.values().any(|found| found.path == path)
    }

    /// The file that was mapped from this path.
    pub(super) fn get(&self, path: &Path) -> Option<&Found> {
        self.found.get(path)
    }
}

/// What a file is known by.
struct Wanted {
    build_id: Vec<u8>,
    first: Vec<u8>,
}

impl Wanted {
    /// The first of the places that has it; otherwise, whether one has another file.
    fn find(&self, path: &Path, directory: &Path) -> Result<Found, bool> {
        let inside = path.strip_prefix("/").unwrap_or(path);
        let name = path.file_name().map(|name| directory.join(name));
        let places = [path.to_owned(), directory.join(inside)];
        let mut is_another = false;
        for place in places.into_iter().chain(name) {
            // What is no file may wait for ever when it is opened.
            if !place.metadata().is_ok_and(|metadata| metadata.is_file()) {
                continue;
            }
            let Ok(file) = File::open(&place) else {
                continue;
            };
            if self.is(&place, &file) {
                let length = file.metadata().map_or(0, |metadata| metadata.len());
                return Ok(Found {
                    path: place,
                    file,
                    length,
                });
            }
            is_another = true;
        }
        Err(is_another)
    }

    fn is(&self, path: &Path, file: &File) -> bool {
        if !self.build_id.is_empty() {
            return looptop_symbols::elf::build_id(path).as_ref() == Some(&self.build_id);
        }
        let mut first = vec![0; self.first.len()];
        let read = read_at(file, &mut first, 0).unwrap_or(0);
        first[..read] == self.first
    }
}
