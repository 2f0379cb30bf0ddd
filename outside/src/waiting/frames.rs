//! What stands on a stack: frames, and the application's function among them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use looptop_procfs::Mapping;
use looptop_symbols::{Binary, CodeAddress, Frame, Origin, Resolution, Resolver, culprit};
use looptop_unwind::{Beyond, ModuleInfo, Registers, StackCopy, Unwinder, modules};

use crate::awaits::interpreted::Named;
use crate::space::Space;

/// Stacks whose names are remembered.
const MAX_KNOWN: usize = 4_096;
/// The program's file is closed when nothing was looked up for so long; each time it was
/// needed again, after twice as long.
const CLOSE_AFTER: Duration = Duration::from_secs(20);
const CLOSE_LATEST: Duration = Duration::from_mins(10);
/// Bytes of a name.
const MAX_NAME: usize = 1_024;

/// A stack: of the modules by their position, and the file's own addresses.
pub(super) type Frames = Vec<(Option<u32>, u64)>;

/// What the names of a stack say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is seen by itself")]
pub(super) struct Says {
    /// The application's function, the innermost one.
    pub(super) function: Option<Arc<str>>,
    /// Its source, and the line of its call.
    pub(super) place: Option<(Arc<str>, u32)>,
    /// A worker of tokio's, or a thread of its blocking pool, that waits for work.
    pub(super) is_idle: bool,
    /// A worker's own function is on it, which runs as a job of the blocking pool.
    pub(super) is_worker: bool,
    /// The poll of a task is on it, or a job of the blocking pool.
    pub(super) polls: bool,
    /// It waits at a condition, whose word may look like that of a lock.
    pub(super) is_at_condition: bool,
    /// It waits to be woken: at a condition, or parked.
    pub(super) is_parked: bool,
}

/// Unwinds stacks, and names what is on them.
pub(super) struct Stacks {
    unwinder: Unwinder,
    mapped: Vec<Mapping>,
    resolver: Resolver,
    binaries: Vec<Arc<Binary>>,
    known: HashMap<Frames, Says>,
    /// Something was looked up since it was last asked; when that was seen.
    has_looked_up: bool,
    looked_up: Option<Instant>,
    patience: Duration,
}

impl Stacks {
    pub(super) fn new(resolver: Resolver) -> Self {
        Self {
            unwinder: Unwinder::new(),
            mapped: Vec::new(),
            resolver,
            binaries: Vec::new(),
            known: HashMap::new(),
            has_looked_up: false,
            looked_up: None,
            patience: CLOSE_AFTER,
        }
    }

    /// Gives back the memory of the program's tables where nothing is looked up.
    pub(super) fn tidy(&mut self, now: Instant) {
        if std::mem::take(&mut self.has_looked_up) {
            self.looked_up = Some(now);
        }
        let rested = |at| now.saturating_duration_since(at) >= self.patience;
        if self.resolver.is_open() && self.looked_up.is_some_and(rested) {
            self.resolver.close();
            self.patience = (self.patience * 2).min(CLOSE_LATEST);
        }
    }

    /// Takes over what is mapped.
    pub(super) fn renew(&mut self, space: &impl Space, mappings: &[Mapping]) {
        let code = mappings.iter().filter(|m| m.execute);
        if code.clone().eq(self.mapped.iter()) {
            return;
        }
        self.mapped = code.cloned().collect();
        self.unwinder.set_modules(modules(mappings, space));
    }

    pub(super) fn modules(&self) -> &[ModuleInfo] {
        self.unwinder.modules()
    }

    /// The frames of a thread that stands still, of which `copy` is the inner part.
    pub(super) fn unwind(
        &mut self,
        space: &impl Space,
        registers: Registers,
        copy: &[u8],
    ) -> Frames {
        let copy = StackCopy {
            bytes: copy,
            beyond: Beyond::InMemory,
        };
        let unwound = self.unwinder.unwind(space, registers, copy);
        let frames = unwound.stack.frames.into_iter();
        frames
            .map(|(module, at)| (module.map(|index| index.0), at))
            .collect()
    }

    /// Whether the function that begins at `function` in memory is on a stack.
    pub(super) fn has(&self, frames: &Frames, function: u64) -> bool {
        let modules = self.unwinder.modules();
        frames.iter().any(|(module, offset)| {
            let base = module.map_or(Some(0), |at| Some(modules.get(at as usize)?.base));
            let address = base.map(|base| offset.wrapping_add(base));
            let around = address.and_then(|address| self.unwinder.function(address));
            around.is_some_and(|range| range.start == function)
        })
    }

    /// The functions at an address in memory, innermost first.
    pub(super) fn functions(&mut self, address: u64) -> Vec<Named> {
        let mut mapped = self.mapped.iter();
        let Some(mapping) = mapped.find(|m| m.range.contains(&address)) else {
            return Vec::new();
        };
        let modules = self.unwinder.modules();
        let Some(at) = modules.iter().rposition(|m| m.path == mapping.path) else {
            return Vec::new();
        };
        let offset = address.wrapping_sub(modules[at].base);
        let address = self.address(&(Some(at as u32), offset));
        self.has_looked_up = true;
        let functions = self.resolver.functions(&address).into_iter();
        let named = functions.map(|(function, file)| Named {
            name: function.name.unwrap_or_default().into(),
            file: file.map(Into::into),
            source: function.file.map(Into::into),
            line: function.line,
        });
        named.collect()
    }

    fn address(&mut self, (module, offset): &(Option<u32>, u64)) -> CodeAddress {
        for module in &self.unwinder.modules()[self.binaries.len()..] {
            self.binaries.push(Arc::new(Binary {
                path: module.path.clone(),
                build_id: module.build_id.clone(),
            }));
        }
        CodeAddress {
            binary: module.and_then(|at| self.binaries.get(at as usize).cloned()),
            offset: *offset,
        }
    }

    /// What its names say. Some milliseconds for a stack that was never seen, more for the
    /// first one of a program.
    pub(super) fn says(&mut self, frames: &Frames) -> Says {
        if let Some(known) = self.known.get(frames) {
            return known.clone();
        }
        let stack: Vec<CodeAddress> = frames.iter().map(|at| self.address(at)).collect();
        self.has_looked_up = true;
        let says = of(&self.resolver.resolve(&stack));
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(frames.clone(), says.clone());
        says
    }
}

impl std::fmt::Debug for Stacks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = self.known.len();
        f.debug_struct("Stacks")
            .field("known", &known)
            .finish_non_exhaustive()
    }
}

fn of(resolution: &Resolution) -> Says {
    let frames = &resolution.frames;
    let is = |frame: &Frame, names: &[&str]| {
        let function = frame.function.as_deref().unwrap_or_default();
        let function = function.trim_start_matches('<');
        names.iter().any(|name| function.starts_with(name))
    };
    let any = |names: &[&str]| frames.iter().any(|frame| is(frame, names));
    let polls = any(&["tokio::runtime::task::"]);
    let is_worker = any(&["tokio::runtime::scheduler::multi_thread::worker"]);
    let parks = any(&[
        "tokio::runtime::scheduler::multi_thread::park",
        "tokio::runtime::scheduler::multi_thread::worker::Context::park",
    ]);
    let is_idle = parks || idles_in_the_pool(frames, &is) && !polls;
    let named = culprit(frames);
    let place = |file: Option<&Arc<str>>, line: Option<u32>| Some((Arc::clone(file?), line?));
    let (function, place) = match named.filter(|named| named.origin == Origin::User) {
        Some(named) => {
            let without_lines = resolution.culprit_place.as_ref();
            let without_lines = without_lines.map(|place| (Arc::clone(&place.file), place.line));
            let place = place(named.file.as_ref(), named.line).or(without_lines);
            (Some(named.function), place)
        }
        // Around `block_on`: who drives the runtime.
        None => match frames.iter().find(|frame| frame.origin == Origin::User) {
            Some(frame) if !is_idle => {
                (Some(frame.label()), place(frame.file.as_ref(), frame.line))
            }
            _ => (None, None),
        },
    };
    let short = |name: String| {
        let end = (0..=MAX_NAME.min(name.len())).rfind(|end| name.is_char_boundary(*end));
        Arc::from(&name[..end.unwrap_or(0)])
    };
    Says {
        function: function.map(short),
        place,
        is_idle,
        is_worker,
        polls,
        is_at_condition: is_at_condition(frames),
        is_parked: is_at_condition(frames) || any(&PARKED),
    }
}

/// Functions in which a thread is parked.
const PARKED: [&str; 5] = [
    "tokio::runtime::park::",
    "std::sys::sync::thread_parking::",
    "std::thread::park",
    "std::thread::current::park",
    "std::thread::thread::Thread::park",
];

/// The first function that says what is waited for is a condition's. One that was woken
/// takes its lock again: then a lock's comes first.
fn is_at_condition(frames: &[Frame]) -> bool {
    let functions = frames.iter().filter_map(|frame| frame.function.as_deref());
    let mut says = functions.filter_map(|function| {
        let is_lock = ["lock_contended", "lock_slow", "_contended"]
            .iter()
            .any(|part| function.contains(part));
        let is_condition = function.contains("condvar") || function.contains("Condvar");
        (is_lock || is_condition).then_some(is_condition && !is_lock)
    });
    says.next() == Some(true)
}

/// A thread of the blocking pool without a job: no frame is inside of the pool's loop but
/// those of a condition.
fn idles_in_the_pool(frames: &[Frame], is: &impl Fn(&Frame, &[&str]) -> bool) -> bool {
    let runs = |frame: &Frame| is(frame, &["tokio::runtime::blocking::pool::Inner::run"]);
    let Some(at) = frames.iter().position(runs) else {
        return false;
    };
    let waits = ["Condvar", "condvar", "futex", "syscall", "parking_lot"];
    frames[..at].iter().all(|frame| {
        let function = frame.function.as_deref().unwrap_or_default();
        function.is_empty() || waits.iter().any(|word| function.contains(word))
    })
}
