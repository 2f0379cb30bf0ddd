//! From addresses to frames, by the binaries on disk.
//!
//! Blocking: reading a large binary takes some 100 ms at first. Use it through
//! [`super::Symbolizer`].

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use addr2line::Loader;
use object::{Object, ObjectSection};

use super::aliases::{self, Aliases};
use super::crates::Crates;
use super::future::Futures;
use super::origin::{self, Place, Seen, origin};
use super::{Binary, CodeAddress, Frame, Origin, calls, name, source};

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
    /// The package of a source directory, likewise.
    packages: HashMap<PathBuf, Option<Package>>,
    /// Functions by file and line, as far as sources were read.
    sources: HashMap<(Arc<str>, u32), Option<String>>,
    /// What the application's spawn locations say of its crates.
    learned: Crates,
    /// That and what the binary itself says, by binary.
    crates: HashMap<Option<Arc<Binary>>, Rc<Crates>>,
    /// Who knows what is in no file here.
    remote: Option<Remote>,
    /// When that did not answer, and why.
    refused: Option<(Instant, String)>,
}

/// A process that did not answer is asked again after this.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// Asks the observed process itself for the functions at addresses, innermost
/// first; as many answers as questions, or a sentence why not.
pub type Remote = Box<dyn FnMut(&[CodeAddress]) -> Result<Vec<Vec<Function>>, String> + Send>;

/// A package whose sources are on this disk.
#[derive(Debug, Clone)]
struct Package {
    directory: PathBuf,
    name: String,
}

/// A stack with names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolution {
    /// Innermost first, inlined functions included.
    pub frames: Vec<Frame>,
    /// For each binary without names a sentence that says how to get them.
    pub problems: Vec<String>,
    /// The program has names but no lines: a sentence that says how to get them.
    pub no_lines: Option<String>,
    /// The future that the task polls, without tracing's span around it, where a
    /// name has it.
    pub future: Option<String>,
}

/// What was found of one binary.
enum Symbols {
    Loaded(Box<Loaded>),
    /// Found, but nothing in it names its functions, or not found: the sentence
    /// for the screen.
    Missing(Option<String>),
}

struct Loaded {
    loader: Loader,
    crates: Crates,
    /// How to get lines, where it has none and is the program's own.
    no_lines: Option<String>,
    /// Where it was read.
    path: PathBuf,
    /// Read when they are first needed.
    aliases: OnceCell<Aliases>,
    /// Read when it is first needed; `None` where it says nothing of them.
    futures: OnceCell<Option<RefCell<Futures>>>,
}

impl Loaded {
    /// The names of the function at an address of code that has several. With line
    /// tables a function has its line, and reading all symbols of such a large file
    /// would delay the first names.
    fn names_at(&self, offset: u64) -> &[String] {
        if self.no_lines.is_none() {
            return &[];
        }
        let load = || Aliases::load(&self.path).unwrap_or_default();
        let start = self.loader.find_symbol_info(offset).map(|s| s.address());
        start.map_or(&[], |start| self.aliases.get_or_init(load).at(start))
    }

    fn future_at(&self, offset: u64) -> Option<String> {
        let load = || Futures::load(&self.path).map(RefCell::new);
        let futures = self.futures.get_or_init(load).as_ref()?;
        futures.borrow_mut().polled_at(offset)
    }
}

impl Resolver {
    /// A resolver for the process `pid` of this machine, or for one elsewhere.
    pub fn new(pid: Option<u32>) -> Self {
        Resolver {
            pid,
            binaries: HashMap::new(),
            addresses: HashMap::new(),
            workspaces: HashMap::new(),
            packages: HashMap::new(),
            sources: HashMap::new(),
            learned: Crates::default(),
            crates: HashMap::new(),
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

    /// Takes over what the path of a spawn location says of whose crate it is.
    pub fn learn(&mut self, source: &str) {
        self.learned.learn(source);
        self.crates.clear();
    }

    /// The names of a stack.
    pub fn resolve(&mut self, stack: &[CodeAddress]) -> Resolution {
        let mut frames = Vec::new();
        let refused = self.ask_remote(stack);
        let mut problems = Vec::new();
        let mut no_lines = None;
        for address in stack {
            let found = self.frames(address);
            if let Some(binary) = &address.binary {
                match &*self.symbols(binary) {
                    Symbols::Missing(Some(problem))
                        if found.iter().all(|frame| frame.function.is_none())
                            && !problems.contains(problem) =>
                    {
                        problems.push(problem.clone());
                    }
                    Symbols::Loaded(loaded) if no_lines.is_none() => {
                        no_lines.clone_from(&loaded.no_lines);
                    }
                    _ => {}
                }
            }
            frames.extend_from_slice(&found);
        }
        problems.extend(refused);
        let future = self.future(&frames);
        let polled = future.as_ref().map(|(future, _)| future.as_str());
        name_inlined_closures(&mut frames, polled);
        name_inlined_drops(&mut frames);
        self.name_from_sources(&mut frames);
        self.judge(&mut frames);
        let future = future.map(|(future, own)| {
            if own {
                show_future(&mut frames, &future);
            }
            future
        });
        Resolution {
            frames,
            problems,
            no_lines,
            future,
        }
    }

    /// Whose each frame is.
    fn judge(&mut self, frames: &mut [Frame]) {
        for frame in frames {
            let crates = self.crates(frame.address.binary.as_ref());
            // Without a line the file is that of the unit, not the function's.
            let file = frame
                .source
                .clone()
                .filter(|file| frame.line.is_some() || !origin::is_rust(file));
            let own_c = file
                .as_deref()
                .is_some_and(|file| !origin::is_rust(file) && self.is_own_c(file));
            let binary = frame.address.binary.as_ref().map(|b| b.path.as_path());
            frame.origin = match (&frame.function, &file) {
                (None, None) => unnamed_origin(binary),
                (function, file) => origin(
                    Seen {
                        function: function.as_deref(),
                        file: file.as_deref(),
                        binary,
                        own_c,
                    },
                    &crates,
                ),
            };
            if let Some(dropped) = dropped_by(frame, &crates) {
                frame.function = Some(dropped.into());
                frame.origin = Origin::User;
            }
        }
    }

    fn crates(&mut self, binary: Option<&Arc<Binary>>) -> Rc<Crates> {
        let key = binary.cloned();
        if let Some(known) = self.crates.get(&key) {
            return Rc::clone(known);
        }
        let crates = match binary.map(|binary| self.symbols(binary)).as_deref() {
            Some(Symbols::Loaded(loaded)) => loaded.crates.merged(&self.learned),
            _ => self.learned.clone(),
        };
        if self.crates.len() >= MAX_BINARIES {
            self.crates.clear();
        }
        let crates = Rc::new(crates);
        self.crates.insert(key, Rc::clone(&crates));
        crates
    }

    /// C is the application's own only where its file is in a workspace here.
    fn is_own_c(&mut self, file: &str) -> bool {
        matches!(origin::place(file), Place::Workspace)
            && Path::new(file).is_absolute()
            && self.workspace(file).is_some()
    }

    /// The future that the innermost task on the stack polls, without what wraps
    /// it, and whether it is the application's own.
    fn future(&mut self, frames: &[Frame]) -> Option<(String, bool)> {
        let future = self.polled(frames)?;
        let is_poll = |frame: &&Frame| polls_a_task(frame);
        let binary = frames.iter().find(is_poll)?.address.binary.clone();
        let crates = self.crates(binary.as_ref());
        Some(match own_future(&future, &crates) {
            Some(own) => (own, true),
            None => (unwrapped(&future).to_owned(), false),
        })
    }

    fn polled(&mut self, frames: &[Frame]) -> Option<String> {
        let polls = frames.iter().filter(|frame| polls_a_task(frame));
        let mut looked_up = None;
        for frame in polls.take(MAX_INLINED) {
            let function = frame.function.as_deref()?;
            if let Some(future) = name::arguments(function).first()
                && future.contains("::")
            {
                return Some((*future).to_owned());
            }
            // Each address once; inlined functions share it.
            if looked_up == Some(&frame.address) {
                continue;
            }
            looked_up = Some(&frame.address);
            if let Some(binary) = &frame.address.binary
                && let Symbols::Loaded(loaded) = &*self.symbols(binary)
                && let Some(future) = loaded.future_at(frame.address.offset)
            {
                return Some(future);
            }
        }
        None
    }

    /// An inlined `async fn` of which only its module is known gets the name that
    /// stands in its source, if that has not changed since.
    fn name_from_sources(&mut self, frames: &mut [Frame]) {
        for frame in frames {
            let (Some(function), Some(source), Some(line)) =
                (&frame.function, &frame.source, frame.line)
            else {
                continue;
            };
            if name::kind_of_closure(function).is_none() {
                continue;
            }
            let key = (Arc::clone(source), line);
            if self.sources.len() >= MAX_ADDRESSES {
                self.sources.clear();
            }
            let binary = frame.address.binary.as_ref();
            let found = self
                .sources
                .entry(key)
                .or_insert_with(|| read_source(source, binary, line));
            if let Some(found) = found {
                let module = function.rsplit_once("::").map_or("", |(module, _)| module);
                frame.function = Some(format!("{module}::{found}::{{{{closure}}}}").into());
            }
        }
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
            && let Symbols::Loaded(loaded) = &*self.symbols(binary)
        {
            found = functions(&loaded.loader, address.offset);
            let names = loaded.names_at(address.offset);
            if let Some(outermost) = found.last_mut()
                && outermost.line.is_none()
                && !names.is_empty()
            {
                let crates = self.crates(Some(binary));
                let own = |name: &str| is_own(name, &crates);
                if let Some(name) = aliases::true_of(names, own) {
                    outermost.name = Some(name);
                }
            }
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
        // Without a line the file is that of the unit, which says nothing.
        let file = function
            .file
            .as_deref()
            .filter(|file| function.line.is_some() || !origin::is_rust(file));
        let function_name = match (function.name, file) {
            (Some(bare), Some(file)) => Some(name::qualify(&bare, &self.crate_path(file))),
            (name, _) => name,
        };
        let shown = file.map(|file| self.shown_path(file));
        Frame {
            function: function_name.map(Arc::from),
            file: shown.map(Arc::from),
            source: file.map(Arc::from),
            line: function.line,
            inlined,
            origin: Origin::System,
            address: address.clone(),
        }
    }

    /// The path of a source from its package's name on, for the paths of functions.
    fn crate_path(&mut self, file: &str) -> String {
        if origin::place(file) == Place::Workspace
            && let Some(package) = self.package(file)
            && let Ok(inside) = Path::new(file).strip_prefix(&package.directory)
        {
            return format!("{}/{}", package.name, inside.display());
        }
        self.shown_path(file)
    }

    /// The package that a source belongs to, where it is on this disk.
    fn package(&mut self, file: &str) -> Option<Package> {
        let directory = Path::new(file).parent()?;
        let find = || {
            let mut above = directory.ancestors().filter(|above| above.is_absolute());
            above.find_map(|above| {
                let manifest = fs::read_to_string(above.join("Cargo.toml")).ok()?;
                Some(Package {
                    directory: above.to_path_buf(),
                    name: package_name(&manifest)?,
                })
            })
        };
        if let Some(known) = self.packages.get(directory) {
            return known.clone();
        }
        let found = find();
        self.packages.insert(directory.to_path_buf(), found.clone());
        found
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
        let root = self.workspace(file);
        let path = Path::new(file);
        if let Some(inside) = root.as_ref().and_then(|root| path.strip_prefix(root).ok()) {
            return inside.to_string_lossy().into_owned();
        }
        guess_relative(file).to_owned()
    }

    fn workspace(&mut self, file: &str) -> Option<PathBuf> {
        let directory = Path::new(file).parent()?;
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
        root.clone()
    }

    fn symbols(&mut self, binary: &Arc<Binary>) -> Rc<Symbols> {
        if let Some(known) = self.binaries.get(binary) {
            return Rc::clone(known);
        }
        let symbols = Rc::new(match load(self.pid, binary) {
            Ok(loaded) => Symbols::Loaded(Box::new(loaded)),
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
fn name_inlined_closures(frames: &mut [Frame], future: Option<&str>) {
    for position in 0..frames.len() {
        let (inner, outer) = frames[position..].split_at_mut(1);
        let frame = &mut inner[0];
        let Some(function) = frame.function.as_deref().filter(|_| frame.inlined) else {
            continue;
        };
        let found = outer
            .iter()
            .filter_map(|outer| outer.function.as_deref())
            .chain(future)
            .find_map(|outer| name::closure_path(function, outer));
        if let Some(found) = found {
            frame.function = Some(found.into());
        }
    }
}

fn polls_a_task(frame: &Frame) -> bool {
    let function = frame.function.as_deref();
    function.is_some_and(calls::polls_a_task)
}

/// Where no frame inside of the poll is the user's, its `async fn` was inlined into
/// the poll without a trace: shows it there, as what it is.
fn show_future(frames: &mut Vec<Frame>, future: &str) {
    let Some(poll) = frames.iter().position(polls_a_task) else {
        return;
    };
    if frames[..poll].iter().any(|f| f.origin == Origin::User) {
        return;
    }
    let wraps = |frame: &&Frame| {
        let function = frame.function.as_deref();
        frame.origin == Origin::Plumbing && function.is_some_and(calls::wraps_a_future)
    };
    let at = poll - frames[..poll].iter().rev().take_while(wraps).count();
    let shown = Frame {
        function: Some(future.into()),
        file: None,
        source: None,
        line: None,
        inlined: true,
        origin: Origin::User,
        address: frames[at].address.clone(),
    };
    frames.insert(at, shown);
}

/// The `Drop` of the application's that was inlined into the function that drops
/// a value of its type.
fn dropped_by(frame: &Frame, crates: &Crates) -> Option<String> {
    let dropped = dropped_type(frame.function.as_deref()?)?;
    // With lines, the `Drop` has a frame of its own.
    if frame.line.is_some() {
        return None;
    }
    let own = !dropped.contains('{') && is_own(dropped, crates);
    own.then(|| format!("<{dropped} as core::ops::drop::Drop>::drop"))
}

/// The type whose values a function of core's drops.
fn dropped_type(function: &str) -> Option<&str> {
    let inner = function
        .strip_prefix("core::ptr::drop_in_place")
        .or_else(|| function.strip_prefix("core::ptr::drop_glue"))?;
    let inner = inner.strip_prefix("::").unwrap_or(inner);
    inner.strip_prefix('<')?.strip_suffix('>')
}

/// Line tables name an inlined `Drop` only `drop`; whose it is says the function
/// that drops a value.
fn name_inlined_drops(frames: &mut [Frame]) {
    for position in 1..frames.len() {
        let (inner, outer) = frames.split_at_mut(position);
        let frame = &mut inner[position - 1];
        let is_drop = |function: &str| function.rsplit("::").next() == Some("drop");
        let bare = frame.inlined && frame.line.is_some();
        if let Some(dropped) = outer[0].function.as_deref().and_then(dropped_type)
            && bare
            && frame.function.as_deref().is_some_and(is_drop)
        {
            frame.function = Some(format!("<{dropped} as core::ops::drop::Drop>::drop").into());
        }
    }
}

/// A future without tracing's span and the box around it.
fn unwrapped(future: &str) -> &str {
    let mut future = future;
    for _ in 0..MAX_WRAPPERS {
        let wrapper = [
            "tracing::instrument::Instrumented<",
            "core::pin::Pin<",
            "alloc::boxed::Box<",
        ]
        .iter()
        .any(|wrapper| future.starts_with(wrapper));
        match name::arguments(future).first() {
            Some(inner) if wrapper => future = inner,
            _ => break,
        }
    }
    future
}

/// Whether a path is of the application's own crates.
fn is_own(path: &str, crates: &Crates) -> bool {
    let seen = Seen {
        function: Some(path),
        file: None,
        binary: Some(Path::new("")),
        own_c: false,
    };
    origin(seen, crates) == Origin::User
}

/// The application's own future in a type: that itself, or in what wraps futures.
fn own_future(future: &str, crates: &Crates) -> Option<String> {
    let mut future = future;
    for _ in 0..MAX_WRAPPERS {
        if is_own(future, crates) {
            return Some(future.to_owned());
        }
        future = name::arguments(future).first()?;
    }
    None
}

/// Wrappers of a future that are looked through.
const MAX_WRAPPERS: usize = 6;

/// The function at a line of a source that is as old as the binary, or older.
fn read_source(source: &str, binary: Option<&Arc<Binary>>, line: u32) -> Option<String> {
    const MAX_SOURCE: u64 = 4 << 20;
    let path = Path::new(source);
    let found = fs::metadata(path).ok()?;
    let built = fs::metadata(&binary?.path).ok()?.modified().ok()?;
    if !path.is_absolute()
        || !found.is_file()
        || found.len() > MAX_SOURCE
        || found.modified().ok()? > built
    {
        return None;
    }
    source::function_at(&fs::read_to_string(path).ok()?, line)
}

/// The name in the `[package]` of a manifest.
fn package_name(manifest: &str) -> Option<String> {
    let mut lines = manifest.lines().map(str::trim);
    lines.find(|line| *line == "[package]")?;
    let mut lines = lines.take_while(|line| !line.starts_with('['));
    let value = lines.find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "name").then_some(value)
    })?;
    let name = value.trim().strip_prefix('"')?;
    Some(name.split('"').next()?.to_owned())
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
fn load(pid: Option<u32>, binary: &Binary) -> Result<Loaded, Option<String>> {
    let path = &binary.path;
    if !path.is_absolute() {
        return Err(None);
    }
    let shown = path.display();
    let mut refused = None;
    for candidate in candidates(pid, path) {
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
                        return Err(Some(format!(
                            "no names: {program} is stripped; set `strip = false` and \
                             `debug = \"line-tables-only\"` in its `[profile.release]`"
                        )));
                    }
                };
                let no_lines = format!(
                    "no line: {program} was built without line tables; add \
                     `[profile.release] debug = \"line-tables-only\"`"
                );
                let loader = Loader::new(&from)
                    .map_err(|error| Some(format!("could not read symbols of {shown}: {error}")))?;
                return Ok(Loaded {
                    loader,
                    crates: crates_of(&from, path).unwrap_or_default(),
                    no_lines: (!lines).then_some(no_lines),
                    path: from,
                    aliases: OnceCell::new(),
                    futures: OnceCell::new(),
                });
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
