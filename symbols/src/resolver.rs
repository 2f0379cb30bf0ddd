//! From addresses to frames, by the binaries on disk.
//!
//! Blocking: reading a large binary takes some 100 ms at first. Use it through
//! [`crate::Symbolizer`].

mod guess;
mod open;

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use looptop_procfs::{Process, Procfs};

use self::open::{Symbols, load};
use crate::crates::Crates;
use crate::future::{Futures, Place};
use crate::lines::{Function, MAX_INLINED};
use crate::origin::{self, Seen, origin};
use crate::paths::Paths;
use crate::{Binary, CodeAddress, Frame, Origin, aliases, name, source};

/// Binaries that are kept open at once; each holds its line tables in memory.
const MAX_BINARIES: usize = 24;
/// Addresses whose frames are remembered.
const MAX_ADDRESSES: usize = 32_768;
/// Looks addresses up, and remembers what it found.
pub struct Resolver {
    /// The observed process, if it runs on this machine.
    process: Option<Process>,
    binaries: HashMap<Arc<Binary>, Rc<Symbols>>,
    addresses: HashMap<CodeAddress, Arc<[Frame]>>,
    /// Where the directories of sources are.
    paths: Paths,
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
    /// Where the async fn or block is written that is this future, in a program
    /// without line tables.
    pub future_place: Option<Place>,
    /// Where the one is written whose code the culprit's frame is, likewise. Not the line
    /// that it has reached: where its body begins.
    pub culprit_place: Option<Place>,
}

impl Resolver {
    /// A resolver for the process `pid` of this machine, or for one elsewhere.
    pub fn new(pid: Option<u32>) -> Self {
        Resolver {
            process: pid.map(|pid| Procfs::default().process(pid)),
            binaries: HashMap::new(),
            addresses: HashMap::new(),
            paths: Paths::default(),
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

    /// Closes the binaries, whose tables are most of what it holds in memory. What was
    /// looked up is kept; a binary is opened again when something else is asked of it.
    pub fn close(&mut self) {
        self.binaries = HashMap::new();
    }

    /// Some binary is open.
    pub fn is_open(&self) -> bool {
        !self.binaries.is_empty()
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
                let symbols = self.symbols(binary);
                if let Some(problem) = symbols.problem()
                    && found.iter().all(|frame| frame.function.is_none())
                    && !problems.contains(problem)
                {
                    problems.push(problem.clone());
                }
                if let Symbols::Loaded(loaded) = &*symbols
                    && no_lines.is_none()
                {
                    no_lines.clone_from(&loaded.no_lines);
                }
            }
            frames.extend_from_slice(&found);
        }
        problems.extend(refused);
        let future = self.future(&frames);
        let polled = future.as_ref().map(|(future, _)| future.as_str());
        guess::name_inlined_closures(&mut frames, polled);
        guess::name_inlined_drops(&mut frames);
        self.name_from_sources(&mut frames);
        self.judge(&mut frames);
        self.show_async_code(&mut frames);
        let has_no_lines = no_lines.is_some();
        let future_place = if has_no_lines {
            self.polled_place(&frames)
        } else {
            None
        };
        let future = future.map(|(future, own)| {
            if own {
                guess::show_future(&mut frames, &future);
            }
            future
        });
        let mut culprit_place = None;
        if has_no_lines {
            culprit_place = self.show_inlined(&mut frames);
            culprit_place =
                culprit_place.or_else(|| self.culprit_place(&frames, future_place.as_ref()));
        }
        Resolution {
            frames,
            problems,
            no_lines,
            future,
            future_place,
            culprit_place,
        }
    }

    /// What the file of a frame says of its futures, with the frame's offset.
    fn futures<T>(&mut self, frame: &Frame, ask: impl FnOnce(&mut Futures, u64) -> T) -> Option<T> {
        let binary = frame.address.binary.as_ref()?;
        let symbols = self.symbols(binary);
        let mut futures = symbols.futures()?;
        Some(ask(&mut futures, frame.address.offset))
    }

    /// Where the future is written that the innermost task on the stack polls.
    fn polled_place(&mut self, frames: &[Frame]) -> Option<Place> {
        let polls = frames.iter().filter(|frame| guess::polls_a_task(frame));
        polls
            .take(MAX_INLINED)
            .find_map(|frame| self.futures(frame, Futures::place_at).flatten())
    }

    /// Where no frame inside of the poll is the user's, its async fn may be a part of a
    /// function of the runtime or the server: shows it there, and where it is written.
    fn show_inlined(&mut self, frames: &mut Vec<Frame>) -> Option<Place> {
        let poll = guess::poll_without_user(frames)?;
        for at in 0..=poll {
            let frame = &frames[at];
            if frame.origin != Origin::Plumbing {
                continue;
            }
            let places = self.futures(frame, |futures, offset| futures.places_at(offset, None));
            if let Some((text, place)) = guess::own_async_code(&places.unwrap_or_default()) {
                guess::show(frames, at, &text);
                return Some(place);
            }
        }
        None
    }

    /// Functions without a name that are the code of async fns get the place of these.
    fn show_async_code(&mut self, frames: &mut [Frame]) {
        for frame in frames.iter_mut().filter(|f| f.function.is_none()) {
            let binary = frame.address.binary.as_ref();
            let is_nameless =
                binary.is_some_and(|b| matches!(&*self.symbols(b), Symbols::Nameless(_)));
            if !is_nameless {
                continue;
            }
            let places = self.futures(frame, |futures, offset| futures.places_at(offset, None));
            let places = places.unwrap_or_default();
            if let Some(place) = guess::own_place(&places).or(places.into_iter().next()) {
                if place.is_own() {
                    frame.origin = Origin::User;
                }
                frame.function = Some(format!("async code at {place}").into());
            }
        }
    }

    /// Where the culprit's async fn is written, if it is one.
    fn culprit_place(&mut self, frames: &[Frame], future: Option<&Place>) -> Option<Place> {
        let culprit = crate::culprit(frames)?;
        let frame = &frames[culprit.frame];
        let function = frame.function.as_deref()?;
        if frame.line.is_some() || culprit.origin != Origin::User || !name::is_closure(function) {
            return None;
        }
        // The future that was shown in its task's poll.
        if frame.inlined {
            return future.filter(|place| place.is_own()).cloned();
        }
        let places = self.futures(frame, |futures, offset| futures.places_at(offset, None))?;
        places.into_iter().next().filter(Place::is_own)
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
                .is_some_and(|file| !origin::is_rust(file) && self.paths.is_own_c(file));
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
            if let Some(dropped) = guess::dropped_by(frame, &crates) {
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

    /// The future that the innermost task on the stack polls, without what wraps
    /// it, and whether it is the application's own.
    fn future(&mut self, frames: &[Frame]) -> Option<(String, bool)> {
        let future = self.polled(frames)?;
        let is_poll = |frame: &&Frame| guess::polls_a_task(frame);
        let binary = frames.iter().find(is_poll)?.address.binary.clone();
        let crates = self.crates(binary.as_ref());
        Some(match guess::own_future(&future, &crates) {
            Some(own) => (own, true),
            None => (guess::unwrapped(&future).to_owned(), false),
        })
    }

    fn polled(&mut self, frames: &[Frame]) -> Option<String> {
        let polls = frames.iter().filter(|frame| guess::polls_a_task(frame));
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
            if let Some(Some(future)) = self.futures(frame, Futures::certain_at) {
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
                .or_insert_with(|| source::read_function(source, &binary?.path, line));
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
                && self.symbols(binary).problem().is_some()
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

    /// The functions at an address as the binary itself describes them, innermost first, each
    /// with its source as in [`Frame::file`]. Nothing is remembered.
    pub fn functions(&mut self, address: &CodeAddress) -> Vec<(Function, Option<String>)> {
        let Some(binary) = &address.binary else {
            return Vec::new();
        };
        let Symbols::Loaded(loaded) = &*self.symbols(binary) else {
            return Vec::new();
        };
        let functions = loaded.lines.functions(address.offset).into_iter();
        let paths = &mut self.paths;
        let shown = functions.map(|function| {
            let file = function.file.as_deref();
            let file = file.map(|file| paths.shown_path(file));
            (function, file)
        });
        shown.collect()
    }

    fn look_up(&mut self, address: &CodeAddress) -> Vec<Frame> {
        let mut found = Vec::new();
        if let Some(binary) = &address.binary
            && let Symbols::Loaded(loaded) = &*self.symbols(binary)
        {
            found = loaded.lines.functions(address.offset);
            let names = loaded.names_at(address.offset);
            if let Some(outermost) = found.last_mut()
                && outermost.line.is_none()
                && !names.is_empty()
            {
                let crates = self.crates(Some(binary));
                let own = |name: &str| guess::is_own(name, &crates);
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
            (Some(bare), Some(file)) => Some(name::qualify(&bare, &self.paths.crate_path(file))),
            (name, _) => name,
        };
        let shown = file.map(|file| self.paths.shown_path(file));
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

    fn symbols(&mut self, binary: &Arc<Binary>) -> Rc<Symbols> {
        if let Some(known) = self.binaries.get(binary) {
            return Rc::clone(known);
        }
        let symbols = Rc::new(load(self.process.as_ref(), binary));
        if self.binaries.len() >= MAX_BINARIES {
            self.binaries.clear();
        }
        self.binaries
            .insert(Arc::clone(binary), Rc::clone(&symbols));
        symbols
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
