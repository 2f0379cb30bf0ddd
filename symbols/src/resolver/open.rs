//! The binary of an address on this disk, the very one that runs, and what it knows.

use std::cell::OnceCell;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use looptop_procfs::Process;
use object::{Object, ObjectSection};

use crate::aliases::Aliases;
use crate::crates::Crates;
use crate::future::Futures;
use crate::lines::Lines;
use crate::{Binary, origin, shared};

/// What was found of one binary.
pub(super) enum Symbols {
    Loaded(Box<Loaded>),
    /// Found, but nothing in it names its functions.
    Nameless(Box<Nameless>),
    /// Not found; the sentence for the screen. None where there is nothing to be had, and
    /// nothing to be done (the vDSO).
    Missing(Option<String>),
}

impl Symbols {
    /// Why its functions have no names, where they have none.
    pub(super) fn problem(&self) -> Option<&String> {
        match self {
            Self::Loaded(_) => None,
            Self::Nameless(nameless) => Some(&nameless.problem),
            Self::Missing(problem) => problem.as_ref(),
        }
    }

    /// What the file says of its futures, if anything.
    pub(super) fn futures(&self) -> Option<MutexGuard<'_, Futures>> {
        let (path, futures) = match self {
            Self::Loaded(loaded) => (&loaded.path, &loaded.futures),
            Self::Nameless(nameless) => (&nameless.path, &nameless.futures),
            Self::Missing(_) => return None,
        };
        let futures = futures
            .get_or_init(|| Futures::shared(path, path))
            .as_ref()?;
        Some(shared::lock(futures))
    }
}

/// A binary without names.
pub(super) struct Nameless {
    /// The sentence for the screen.
    problem: String,
    /// Where it was read.
    path: PathBuf,
    /// As of [`Loaded`].
    futures: OnceCell<Option<Arc<Mutex<Futures>>>>,
}

pub(super) struct Loaded {
    pub(super) lines: Lines,
    pub(super) crates: Crates,
    /// How to get lines, where it has none and is the program's own.
    pub(super) no_lines: Option<String>,
    /// Where it was read.
    path: PathBuf,
    /// Read when they are first needed.
    aliases: OnceCell<Arc<Aliases>>,
    /// Read when it is first needed; `None` where it says nothing of them.
    futures: OnceCell<Option<Arc<Mutex<Futures>>>>,
}

impl Loaded {
    /// The names of the function at an address of code that has several. With line
    /// tables a function has its line, and reading all symbols of such a large file
    /// would delay the first names.
    pub(super) fn names_at(&self, offset: u64) -> &[String] {
        if self.no_lines.is_none() {
            return &[];
        }
        let load = || Aliases::shared(&self.path);
        let start = self.lines.start_of_function(offset);
        start.map_or(&[], |start| self.aliases.get_or_init(load).at(start))
    }
}

/// Opens the binary whose build id matches.
pub(super) fn load(process: Option<&Process>, binary: &Binary) -> Symbols {
    let path = &binary.path;
    if !path.is_absolute() {
        return Symbols::Missing(None);
    }
    let shown = path.display();
    let mut refused = None;
    for candidate in candidates(process, path) {
        match check(&candidate, &binary.build_id) {
            Match::Same { named, lines } => {
                let detached = detached_symbols(&binary.build_id);
                let system = origin::is_system(path);
                let program = path.file_name().unwrap_or(path.as_os_str());
                let program = program.to_string_lossy();
                let (from, lines) = match detached {
                    Some(detached) if !named || system => (detached, true),
                    _ if named || system => (candidate, lines || system),
                    _ => {
                        let problem = format!(
                            "no names: {program} is stripped; set `strip = false` and \
                             `debug = \"line-tables-only\"` in its `[profile.release]`"
                        );
                        return Symbols::Nameless(Box::new(Nameless {
                            problem,
                            path: candidate,
                            futures: OnceCell::new(),
                        }));
                    }
                };
                let no_lines = format!(
                    "no line: {program} was built without line tables; add \
                     `[profile.release] debug = \"line-tables-only\"`"
                );
                return match Lines::open(&from) {
                    Ok(tables) => Symbols::Loaded(Box::new(Loaded {
                        lines: tables,
                        crates: crates_of(&from, path).unwrap_or_default(),
                        no_lines: (!lines).then_some(no_lines),
                        path: from,
                        aliases: OnceCell::new(),
                        futures: OnceCell::new(),
                    })),
                    Err(error) => Symbols::Missing(Some(format!(
                        "could not read symbols of {shown}: {error}"
                    ))),
                };
            }
            Match::Other => {
                refused.get_or_insert_with(|| {
                    format!(
                        "{shown} is not the binary that runs (its build id differs, it was \
                         rebuilt): restart the application, or put the old binary back"
                    )
                });
            }
            Match::Unreadable(error) => {
                refused.get_or_insert_with(|| {
                    format!("could not read {shown} for the names of functions: {error}")
                });
            }
        }
    }
    Symbols::Missing(refused)
}

/// Where the binary may be, the surest place first.
fn candidates(process: Option<&Process>, path: &Path) -> Vec<PathBuf> {
    let mut candidates = Vec::new();
    if let Some(process) = process {
        if process.program().as_deref() == Some(path) {
            candidates.push(process.path("exe"));
        }
        // Through its own root, for a process in a container.
        let inside = path.strip_prefix("/").unwrap_or(path);
        candidates.push(process.path("root").join(inside));
    }
    candidates.push(path.to_path_buf());
    candidates
}

/// Whose crates are whose in the binary read at `from`, which is called `path`.
fn crates_of(from: &Path, path: &Path) -> Option<Crates> {
    let cache = object::ReadCache::new(fs::File::open(from).ok()?);
    let file = object::File::parse(&cache).ok()?;
    Some(Crates::of(&file, path))
}

enum Match {
    /// The right file; does it name its functions, and their lines?
    Same {
        named: bool,
        lines: bool,
    },
    Other,
    Unreadable(String),
}

fn check(path: &Path, build_id: &[u8]) -> Match {
    // The target chose the path: opening a pipe would wait for ever.
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => return Match::Unreadable("it is not a file".into()),
        Ok(_) => {}
        Err(error) => return Match::Unreadable(error.to_string()),
    }
    let cache = match fs::File::open(path) {
        Ok(file) => object::ReadCache::new(file),
        Err(error) => return Match::Unreadable(error.to_string()),
    };
    let file = match object::File::parse(&cache) {
        Ok(file) => file,
        Err(error) => return Match::Unreadable(error.to_string()),
    };
    let found = file.build_id().ok().flatten().unwrap_or_default();
    if found != build_id {
        return Match::Other;
    }
    let has = |name| {
        file.section_by_name(name)
            .is_some_and(|section| section.size() > 0)
    };
    Match::Same {
        named: has(".symtab") || has(".debug_info") || has("__debug_info"),
        lines: has(".debug_line") || has("__debug_line"),
    }
}

/// Where distributions put the symbols that they strip.
fn detached_symbols(build_id: &[u8]) -> Option<PathBuf> {
    let (first, rest) = build_id.split_first()?;
    let rest = rest.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    let path = PathBuf::from(format!("/usr/lib/debug/.build-id/{first:02x}/{rest}.debug"));
    path.is_file().then_some(path)
}
