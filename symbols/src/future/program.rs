//! The futures of a program: what is read of its file at once, and what may be asked.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use looptop_procfs::FileId;
use object::Object;

use super::bare;
use super::names::{Kind, kind};
use super::places::{self, Written};
use super::{FutureName, Memory, Place, TaskCode};
use crate::crates::Crates;
use crate::image::Image;
use crate::lines::Lines;
use crate::name;
use crate::paths::Paths;
use crate::shared::Shared;
use crate::table;

/// The futures of a program, by its file.
pub struct Futures {
    pub(super) path: PathBuf,
    /// What the file is called where its code has no other name.
    pub(super) called: String,
    pub(super) image: Image,
    /// Functions of tokio's tasks, with their symbols' names.
    pub(super) tasks: BTreeMap<u64, Vec<Box<str>>>,
    /// Functions that may drop what holds a task's future.
    pub(super) drops: HashMap<u64, Drops>,
    /// Async fns and what else may be polled.
    pub(super) bodies: HashMap<u64, Box<str>>,
    /// No symbol names a function of tokio's tasks: any function may be a part of one.
    pub(super) is_bare: bool,
    /// The panics of async fns that are polled after they have ended.
    pub(super) resumed: HashSet<u64>,
    /// The vtables that the file has, each once.
    pub(super) vtables: Vec<TaskCode>,
    /// Which of them use a function.
    pub(super) users: HashMap<u64, Vec<usize>>,
    /// Which of them lead to a drop function, by that and their scheduler.
    pub(super) droppers: Option<HashMap<(u64, u64), HashSet<u64>>>,
    /// Which of them lead to a function from their poll.
    pub(super) polls: Option<HashMap<u64, Vec<usize>>>,
    pub(super) crates: Crates,
    pub(super) has_lines: bool,
    /// Opened when it is first needed.
    pub(super) lines: OnceCell<Option<Lines>>,
    pub(super) paths: Paths,
    /// What was found already.
    pub(super) callees: HashMap<u64, Arc<[u64]>>,
    pub(super) named: HashMap<TaskCode, FutureName>,
    pub(super) placed: HashMap<TaskCode, Arc<[Place]>>,
}

/// The types that a drop function is for, taken apart when they are first needed.
pub(super) enum Drops {
    Symbols(Vec<Box<str>>),
    Futures(Vec<Arc<str>>),
}

/// Bytes of names that are kept; the symbols beyond are as if they were not there.
const MAX_TEXT: usize = 64 << 20;
/// Vtables that are kept.
const MAX_VTABLES: usize = 65_536;
/// Places of one task that are kept.
pub(super) const MAX_PLACES: usize = 64;

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// By the file, and what it is called.
static LOADED: Shared<(FileId, String), Mutex<Futures>> = Shared::new();

impl Futures {
    /// The same as [`Futures::load`] of the program at `path`, [called](Futures::called_as)
    /// as the file at `called` is: in memory once for all who hold it, and what one of them
    /// has looked up is known to all.
    pub fn shared(path: &Path, called: &Path) -> Option<Arc<Mutex<Self>>> {
        let load = || {
            let loaded = Self::load(path).ok_or(())?;
            Ok::<_, ()>(Mutex::new(loaded.called_as(called)))
        };
        match FileId::at(path) {
            Ok(file) => LOADED.get((file, file_name(called)), load),
            Err(_) => load().map(Arc::new),
        }
        .ok()
    }

    /// The same, called as the file at `path` is: what was loaded is another way to it,
    /// such as `/proc/PID/exe`.
    #[must_use]
    pub fn called_as(mut self, path: &Path) -> Self {
        self.called = file_name(path);
        self
    }

    /// Reads the symbols of the program at `path`; `None` where it cannot be read, or is
    /// no program. Without symbols there are only places and addresses to be had.
    pub fn load(path: &Path) -> Option<Self> {
        let file = fs::File::open(path).ok()?;
        let cache = object::ReadCache::new(file.try_clone().ok()?);
        let object = object::File::parse(&cache).ok()?;
        let mut functions = Vec::new();
        let mut tasks: BTreeMap<u64, Vec<Box<str>>> = BTreeMap::new();
        let mut drops: HashMap<u64, Vec<Box<str>>> = HashMap::new();
        let mut bodies = HashMap::new();
        let mut resumed = HashSet::new();
        let mut polls = HashSet::new();
        let mut text = 0;
        table::for_each(&object, |symbol| {
            if !symbol.is_function {
                return;
            }
            functions.push((symbol.address, symbol.size));
            let Some(kind) = kind(symbol.name) else {
                return;
            };
            text += symbol.name.len();
            if text > MAX_TEXT {
                return;
            }
            let (at, name) = (symbol.address, Box::from(symbol.name));
            match kind {
                Kind::Drop => drops.entry(at).or_default().push(name),
                Kind::Body => drop(bodies.insert(at, name)),
                Kind::Resumed => drop(resumed.insert(at)),
                Kind::Task | Kind::Poll => {
                    if kind == Kind::Poll {
                        polls.insert(at);
                    }
                    tasks.entry(at).or_default().push(name);
                }
            }
        });
        let has_lines = object.section_by_name(".debug_line").is_some()
            || object.section_by_name("__debug_line").is_some();
        let is_bare = tasks.is_empty();
        if is_bare {
            functions.extend(bare::functions(&object));
        }
        let image = Image::new(file, &object, functions);
        if is_bare && resumed.is_empty() {
            resumed = bare::resumed(&image);
        }
        let vtables = vtables(&image, &polls);
        let mut users: HashMap<u64, Vec<usize>> = HashMap::new();
        for (number, vtable) in vtables.iter().enumerate() {
            for function in &vtable.functions {
                users.entry(*function).or_default().push(number);
            }
        }
        let drops = drops
            .into_iter()
            .map(|(at, names)| (at, Drops::Symbols(names)));
        Some(Self {
            path: path.to_path_buf(),
            called: file_name(path),
            image,
            tasks,
            drops: drops.collect(),
            bodies,
            is_bare,
            resumed,
            vtables,
            users,
            droppers: None,
            polls: None,
            crates: Crates::of(&object, path),
            has_lines,
            lines: OnceCell::new(),
            paths: Paths::default(),
            callees: HashMap::new(),
            named: HashMap::new(),
            placed: HashMap::new(),
        })
    }

    /// The vtables that the file has, as far as symbols name their poll functions.
    pub fn vtables(&self) -> &[TaskCode] {
        &self.vtables
    }

    /// The name of a task's future. Those that were named are remembered.
    pub fn name(&mut self, task: &TaskCode, memory: Option<&Memory<'_>>) -> FutureName {
        if let Some(known) = self.named.get(task) {
            return known.clone();
        }
        let found = self.look_up(task, memory);
        if self.named.len() >= MAX_VTABLES {
            self.named.clear();
        }
        self.named.insert(task.clone(), found.clone());
        found
    }

    /// Where the async fns and blocks are written that the task's poll runs, the outermost
    /// first: itself, and those that it awaits and that were inlined. Empty where nothing
    /// says.
    pub fn places(&mut self, task: &TaskCode, memory: Option<&Memory<'_>>) -> Arc<[Place]> {
        if let Some(known) = self.placed.get(task) {
            return Arc::clone(known);
        }
        let (found, _) = self.bodies_of(task, memory);
        let found: Arc<[Place]> = found.into();
        if self.placed.len() >= MAX_VTABLES {
            self.placed.clear();
        }
        self.placed.insert(task.clone(), Arc::clone(&found));
        found
    }

    /// Where the task's async fn or block is written, if it is one, by itself or in what
    /// only wraps it: the outermost of its places that is the application's own, or else
    /// the outermost.
    pub fn place(&mut self, task: &TaskCode, memory: Option<&Memory<'_>>) -> Option<Place> {
        let name = self.name(task, memory);
        if name.is_type() && !name::is_async(&name.text) {
            return None;
        }
        self.outermost(task, memory)
    }

    /// The outermost place.
    pub(super) fn outermost(
        &mut self,
        task: &TaskCode,
        memory: Option<&Memory<'_>>,
    ) -> Option<Place> {
        let places = self.places(task, memory);
        places
            .iter()
            .find(|place| place.is_own())
            .or(places.first())
            .cloned()
    }

    /// The tasks whose poll the function around an address is, or which it is a part of.
    pub fn polled_at(&mut self, address: u64) -> Vec<TaskCode> {
        let Some((start, _)) = self.image.function(address) else {
            return Vec::new();
        };
        self.know_polls();
        let polls = self.polls.as_ref();
        let found = polls.and_then(|polls| polls.get(&start));
        let tasks = found.map_or(&[][..], Vec::as_slice);
        tasks
            .iter()
            .map(|task| self.vtables[*task].clone())
            .collect()
    }

    /// The type of the future that the function around an address polls, if it is one
    /// that polls tasks, and if no other type can be meant.
    pub(crate) fn certain_at(&mut self, address: u64) -> Option<String> {
        let mut found: Option<FutureName> = None;
        for task in self.polled_at(address) {
            let name = self.name(&task, None);
            let same = found.as_ref().is_none_or(|found| found.text == name.text);
            if !name.certain || !name.is_type() || !same {
                return None;
            }
            found = Some(name);
        }
        found.map(|name| name.text.to_string())
    }

    /// Where the future is written that the function around an address polls, if it is
    /// one that polls tasks, and no other can be meant.
    pub(crate) fn place_at(&mut self, address: u64) -> Option<Place> {
        let mut found: Option<Place> = None;
        for task in self.polled_at(address) {
            let place = self.place(&task, None)?;
            if found.is_some_and(|found| found != place) {
                return None;
            }
            found = Some(place);
        }
        found
    }

    /// Where the async fns and blocks are written whose code is in the function around an
    /// address, the outermost first.
    pub fn places_at(&mut self, address: u64, memory: Option<&Memory<'_>>) -> Vec<Place> {
        let resumed = |target| self.resumed.contains(&target);
        let found = places::places(&self.image, memory, address, resumed);
        self.shown(found)
    }

    fn shown(&mut self, found: Vec<Written>) -> Vec<Place> {
        let found = found.into_iter().take(MAX_PLACES);
        found
            .map(|written| Place {
                file: self.paths.shown_path(&written.file).into(),
                source: written.file.into(),
                line: written.line,
                column: written.column,
            })
            .collect()
    }
}

/// The vtables that the program's data has: the address of a poll function, and the other
/// functions behind it.
fn vtables(image: &Image, polls: &HashSet<u64>) -> Vec<TaskCode> {
    let mut places = BTreeSet::new();
    image.words(|at, address| {
        if polls.contains(&address) && places.len() < MAX_VTABLES {
            places.insert(at);
        }
    });
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for place in places {
        let words = (0..TaskCode::FUNCTIONS as u64).map(|number| place.wrapping_add(8 * number));
        let functions: Option<Vec<u64>> = words.map(|at| image.word(at)).collect();
        let functions = functions.filter(|all| all.iter().all(|address| image.is_code(*address)));
        if let Some(functions) = functions
            && seen.insert(functions.clone())
        {
            found.push(TaskCode { functions });
        }
    }
    found
}
