//! From addresses to frames, by the binaries on disk.
//!
//! Blocking: reading a large binary takes some 100 ms at first. Use it through
//! [`super::Symbolizer`].

use std::collections::HashMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use addr2line::Loader;
use object::{Object, ObjectSection};

use super::origin::{self, Place, origin};
use super::{Binary, CodeAddress, Frame, Origin, name};

/// Binaries that are kept open at once; each holds its line tables in memory.
const MAX_BINARIES: usize = 24;
/// Addresses whose frames are remembered.
const MAX_ADDRESSES: usize = 32_768;
/// Inlined functions at one address that are kept.
const MAX_INLINED: usize = 64;

/// Looks addresses up, and remembers what it found.
pub struct Resolver {
    /// The observed process, if it runs on this machine.
    pid: Option<u32>,
    binaries: HashMap<Arc<Binary>, Rc<Symbols>>,
    addresses: HashMap<CodeAddress, Arc<[Frame]>>,
    /// The workspace of a source directory, where it was found on this disk.
    workspaces: HashMap<PathBuf, Option<PathBuf>>,
    /// Who knows what no file here tells.
    remote: Option<Remote>,
    /// When that did not answer, and why.
    refused: Option<(Instant, String)>,
}

/// A process that did not answer is asked again after this.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// Asks the observed process itself for the functions at addresses, innermost
/// first; as many answers as questions, or a sentence why not.
pub type Remote = Box<dyn FnMut(&[CodeAddress]) -> Result<Vec<Vec<Function>>, String> + Send>;

/// What was found of one binary.
enum Symbols {
    Loaded(Box<Loader>),
    /// Found, but nothing in it names its functions, or not found: the sentence
    /// for the screen.
    Missing(Option<String>),
}

impl Resolver {
    /// A resolver for the process `pid` of this machine, or for one elsewhere.
    pub fn new(pid: Option<u32>) -> Self {
        Resolver {
            pid,
            binaries: HashMap::new(),
            addresses: HashMap::new(),
            workspaces: HashMap::new(),
            remote: None,
            refused: None,
        }
    }

    /// One that asks `remote` where a binary is out of reach.
    pub fn with_remote(pid: Option<u32>, remote: Option<Remote>) -> Self {
        Resolver {
            remote,
            ..Self::new(pid)
        }
    }

    /// The frames of a stack, inlined functions included, innermost first; and
    /// for each binary without names a sentence that says how to get them.
    pub fn resolve(&mut self, stack: &[CodeAddress]) -> (Vec<Frame>, Vec<String>) {
        let mut frames = Vec::new();
        let refused = self.ask_remote(stack);
        let mut problems = Vec::new();
        for address in stack {
            let found = self.frames(address);
            if let Some(binary) = &address.binary
                && found.iter().all(|frame| frame.function.is_none())
                && let Symbols::Missing(Some(problem)) = &*self.symbols(binary)
                && !problems.contains(problem)
            {
                problems.push(problem.clone());
            }
            frames.extend_from_slice(&found);
        }
        problems.extend(refused);
        name_inlined_closures(&mut frames);
        (frames, problems)
    }

    /// Gets the frames of binaries that are out of reach from the process, in one
    /// question; what went wrong otherwise.
    fn ask_remote(&mut self, stack: &[CodeAddress]) -> Vec<String> {
        match &self.refused {
            _ if self.remote.is_none() => return Vec::new(),
            Some((at, problem)) if at.elapsed() < ASK_AGAIN => return vec![problem.clone()],
            _ => self.refused = None,
        }
        let mut unknown = Vec::new();
        for address in stack {
            if !self.addresses.contains_key(address)
                && let Some(binary) = &address.binary
                && matches!(&*self.symbols(binary), Symbols::Missing(Some(_)))
            {
                unknown.push(address.clone());
            }
        }
        let Some(remote) = self.remote.as_mut().filter(|_| !unknown.is_empty()) else {
            return Vec::new();
        };
        match remote(&unknown) {
            Ok(answers) => {
                for (address, mut functions) in unknown.iter().zip(answers) {
                    if functions.is_empty() {
                        functions.push(Function::default());
                    }
                    let frames = self.frames_of(functions, address);
                    self.addresses.insert(address.clone(), frames.into());
                }
                Vec::new()
            }
            Err(problem) => {
                self.refused = Some((Instant::now(), problem.clone()));
                vec![problem]
            }
        }
    }

    fn frames(&mut self, address: &CodeAddress) -> Arc<[Frame]> {
        if let Some(known) = self.addresses.get(address) {
            return Arc::clone(known);
        }
        let frames: Arc<[Frame]> = self.look_up(address).into();
        if self.addresses.len() >= MAX_ADDRESSES {
            self.addresses.clear();
        }
        self.addresses.insert(address.clone(), Arc::clone(&frames));
        frames
    }

    fn look_up(&mut self, address: &CodeAddress) -> Vec<Frame> {
        let mut found = Vec::new();
        if let Some(binary) = &address.binary
            && let Symbols::Loaded(loader) = &*self.symbols(binary)
        {
            found = functions(loader, address.offset);
        }
        if found.is_empty() {
            found.push(Function::default());
        }
        self.frames_of(found, address)
    }

    fn frames_of(&mut self, found: Vec<Function>, address: &CodeAddress) -> Vec<Frame> {
        let last = found.len() - 1;
        found
            .into_iter()
            .enumerate()
            .map(|(position, function)| self.frame(function, position < last, address))
            .collect()
    }

    fn frame(&mut self, function: Function, inlined: bool, address: &CodeAddress) -> Frame {
        let binary = address.binary.as_ref().map(|binary| binary.path.as_path());
        let file = function.file.as_deref();
        let shown = file.map(|file| self.shown_path(file));
        let function_name = match (function.name, &shown) {
            (Some(bare), Some(file)) => Some(name::qualify(&bare, file)),
            (name, _) => name,
        };
        let origin = match (&function_name, file) {
            (None, None) => unnamed_origin(binary),
            (name, file) => origin(name.as_deref(), file, binary),
        };
        Frame {
            function: function_name.map(Arc::from),
            file: shown.map(Arc::from),
            line: function.line,
            inlined,
            origin,
            address: address.clone(),
        }
    }

    /// A source path without what is the same for every reader.
    fn shown_path(&mut self, file: &str) -> String {
        match origin::place(file) {
            Place::Standard(path) | Place::Package(path) => path.to_owned(),
            Place::Generated => file.rsplit('/').next().unwrap_or(file).to_owned(),
            Place::Workspace => self.in_workspace(file),
        }
    }

    /// The path from the workspace on: the outermost directory above the file that
    /// has a `Cargo.lock`, or where the sources are not on this machine, the
    /// directory that has `src`.
    fn in_workspace(&mut self, file: &str) -> String {
        let path = Path::new(file);
        let Some(directory) = path.parent() else {
            return file.to_owned();
        };
        let root = self
            .workspaces
            .entry(directory.to_path_buf())
            .or_insert_with(|| {
                let above = directory.ancestors().filter(|above| above.is_absolute());
                above
                    .filter(|above| above.join("Cargo.lock").is_file())
                    .last()
                    .map(Path::to_path_buf)
            });
        if let Some(inside) = root.as_ref().and_then(|root| path.strip_prefix(root).ok()) {
            return inside.to_string_lossy().into_owned();
        }
        guess_relative(file).to_owned()
    }

    fn symbols(&mut self, binary: &Arc<Binary>) -> Rc<Symbols> {
        if let Some(known) = self.binaries.get(binary) {
            return Rc::clone(known);
        }
        let symbols = Rc::new(match load(self.pid, binary) {
            Ok(loader) => Symbols::Loaded(Box::new(loader)),
            Err(problem) => Symbols::Missing(problem),
        });
        if self.binaries.len() >= MAX_BINARIES {
            self.binaries.clear();
        }
        self.binaries
            .insert(Arc::clone(binary), Rc::clone(&symbols));
        symbols
    }
}

/// Line tables name an inlined closure or `async` block only `{async_block#0}`.
/// Its type is a parameter of the functions that poll or call it, further out on
/// the stack, and that type's name has the whole path.
fn name_inlined_closures(frames: &mut [Frame]) {
    for position in 0..frames.len() {
        let (inner, outer) = frames[position..].split_at_mut(1);
        let frame = &mut inner[0];
        let Some(function) = frame.function.as_deref().filter(|_| frame.inlined) else {
            continue;
        };
        let found = outer
            .iter()
            .filter_map(|outer| outer.function.as_deref())
            .find_map(|outer| name::closure_path(function, outer));
        if let Some(found) = found {
            frame.function = Some(found.into());
        }
    }
}

/// Code without a name: of a system library, or of the program itself.
fn unnamed_origin(binary: Option<&Path>) -> Origin {
    if binary.is_none_or(origin::is_system) {
        Origin::System
    } else {
        Origin::Dependency
    }
}

/// The part of an absolute path from the package's directory on.
fn guess_relative(file: &str) -> &str {
    for part in ["/src/", "/tests/", "/examples/", "/benches/"] {
        if let Some((before, _)) = file.split_once(part) {
            let start = before.rfind('/').map_or(0, |slash| slash + 1);
            return &file[start..];
        }
    }
    file
}

/// A function as the binary tells of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Function {
    /// Demangled.
    pub name: Option<String>,
    /// Its source, as it was built.
    pub file: Option<String>,
    /// Line, from 1.
    pub line: Option<u32>,
}

/// The functions at an address, innermost first.
fn functions(loader: &Loader, offset: u64) -> Vec<Function> {
    let mut functions = Vec::new();
    if let Ok(mut frames) = loader.find_frames(offset) {
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
        && let Some(symbol) = loader.find_symbol(offset)
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

/// Opens the binary whose build id matches. `Err(None)`: nothing to be had and
/// nothing to be done (the vDSO).
fn load(pid: Option<u32>, binary: &Binary) -> Result<Loader, Option<String>> {
    let path = &binary.path;
    if !path.is_absolute() {
        return Err(None);
    }
    let shown = path.display();
    let mut refused = None;
    for candidate in candidates(pid, path) {
        match check(&candidate, &binary.build_id) {
            Match::Same { named } => {
                let detached = detached_symbols(&binary.build_id);
                let system = origin::is_system(path);
                let from = match detached {
                    Some(detached) if !named || system => detached,
                    _ if named || system => candidate,
                    _ => {
                        return Err(Some(format!(
                            "{shown} is stripped of names: build it with `strip = false` and \
                             `debug = \"line-tables-only\"` in its Cargo profile"
                        )));
                    }
                };
                return Loader::new(&from)
                    .map_err(|error| Some(format!("could not read symbols of {shown}: {error}")));
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
    Err(refused)
}

/// Where the binary may be, the surest place first.
fn candidates(pid: Option<u32>, path: &Path) -> Vec<PathBuf> {
    let mut candidates = Vec::new();
    if let Some(pid) = pid {
        let link = PathBuf::from(format!("/proc/{pid}/exe"));
        let target = fs::read_link(&link).unwrap_or_default();
        let target = target.to_string_lossy();
        let target = target.strip_suffix(" (deleted)").unwrap_or(&target);
        if Path::new(target) == path {
            candidates.push(link);
        }
        // Through its own root, for a process in a container.
        let inside = path.strip_prefix("/").unwrap_or(path);
        candidates.push(PathBuf::from(format!("/proc/{pid}/root")).join(inside));
    }
    candidates.push(path.to_path_buf());
    candidates
}

enum Match {
    /// The right file; does it name its functions?
    Same {
        named: bool,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_sources_that_are_elsewhere() {
        let cases = [
            ("/build/ws/demo/src/a/b.rs", "demo/src/a/b.rs"),
            ("/build/app/src/main.rs", "app/src/main.rs"),
            ("/build/app/examples/x.rs", "app/examples/x.rs"),
            ("/odd/main.rs", "/odd/main.rs"),
        ];
        for (path, expected) in cases {
            assert_eq!(guess_relative(path), expected);
        }
    }
}
