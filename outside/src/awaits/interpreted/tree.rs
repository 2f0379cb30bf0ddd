//! From a run to the tree of futures that it went through.

use std::collections::HashMap;
use std::sync::Arc;

use looptop_interpret::Run;
use looptop_symbols::types::Location;

use super::sites::{Function, Inlined, Named, Site, Sites, What, is_short, last_part};

/// Futures of one tree.
const MAX_FUTURES: usize = 4_096;

/// A future that was polled.
#[derive(Debug)]
pub(super) struct Polled {
    pub(super) function: Arc<Function>,
    /// The call in which it was polled, an index of [`Run::frames`]; several where the same
    /// future was polled more than once.
    pub(super) frames: Vec<u32>,
    /// Its function is that call's, and not inlined into it.
    pub(super) is_called: bool,
    /// Where the future that polled it did so.
    pub(super) asked_at: Option<Arc<Location>>,
    /// Where the function was that called it, if that is none of a future.
    pub(super) via: Option<Arc<Location>>,
    /// Where it was itself, in the order of time.
    pub(super) seen_at: Vec<Arc<Location>>,
    /// A file in which its code is: the first one that was seen.
    pub(super) source: Option<Arc<Location>>,
    pub(super) parent: Option<usize>,
    /// In the order of time.
    pub(super) children: Vec<usize>,
    /// Atomic accesses to memory outside of the run's stack, indices of [`Run::atomics`];
    /// those of its children are not among them.
    pub(super) atomics: Vec<usize>,
    /// What was read there, indices of [`Run::reads`].
    pub(super) reads: Vec<usize>,
    /// Calls within it that are of none of its children, indices of [`Run::frames`].
    pub(super) calls: Vec<u32>,
}

impl Polled {
    /// Whether it is the body of an async fn or block.
    pub(super) fn is_code(&self) -> bool {
        matches!(self.function.what, What::Body | What::Closure)
    }
}

/// The futures that were polled.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) all: Vec<Polled>,
    /// The task's own; more than one only where its own function has no name.
    pub(super) roots: Vec<usize>,
    /// There were more than are kept.
    pub(super) is_cut: bool,
    /// All functions that were inlined are known.
    pub(super) is_complete: bool,
}

/// Where a call is among futures.
#[derive(Debug, Clone)]
struct Place {
    phase: Phase,
    future: Option<usize>,
    /// Where that one is.
    location: Option<Arc<Location>>,
    /// Where the innermost function is that is no future.
    via: Option<Arc<Location>>,
    /// The functions on the way, the innermost first.
    functions: Option<Arc<Link>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Outside of the task's future.
    Before,
    /// In tokio's functions around it.
    Harness,
    Inside,
    /// In another task's, or in what tokio does with one: no futures of this task.
    Beyond,
}

#[derive(Debug)]
struct Link {
    function: Arc<Function>,
    is_future: bool,
    before: Option<Arc<Self>>,
}

impl Tree {
    /// The futures of a run; `functions` names those at a code address, innermost first.
    pub(super) fn of(
        run: &Run,
        sites: &mut Sites,
        functions: &mut dyn FnMut(u64) -> Vec<Named>,
    ) -> Self {
        let mut builder = Builder {
            run,
            sites,
            names: functions,
            tree: Self {
                is_complete: true,
                ..Self::default()
            },
            entries: Vec::with_capacity(run.frames.len()),
            places: HashMap::new(),
            known: HashMap::new(),
        };
        builder.build();
        builder.tree
    }
}

impl Tree {
    /// Adds a part of a poll of which it is not known whose it is.
    pub(super) fn add_part(&mut self) -> usize {
        self.all.push(Polled {
            function: Arc::new(Function {
                name: Arc::from(""),
                what: What::Other,
                is_standard: false,
            }),
            frames: Vec::new(),
            is_called: false,
            asked_at: None,
            via: None,
            seen_at: Vec::new(),
            source: None,
            parent: None,
            children: Vec::new(),
            atomics: Vec::new(),
            reads: Vec::new(),
            calls: Vec::new(),
        });
        self.all.len() - 1
    }
}

/// What makes a future another one than those that its parent polled before.
type Key = (Option<usize>, *const Function, u32, Option<*const Location>);

struct Builder<'a> {
    run: &'a Run,
    sites: &'a mut Sites,
    names: &'a mut dyn FnMut(u64) -> Vec<Named>,
    tree: Tree,
    /// Where each call begins.
    entries: Vec<Place>,
    places: HashMap<(u32, *const Site), Place>,
    known: HashMap<Key, usize>,
}

impl Builder<'_> {
    fn build(&mut self) {
        let run = self.run;
        for frame in &run.frames {
            let place = match frame.parent {
                Some(parent) => self.at(parent, frame.site),
                None => Place {
                    phase: Phase::Before,
                    future: None,
                    location: None,
                    via: None,
                    functions: None,
                },
            };
            self.entries.push(place);
        }
        for visit in &run.visits {
            for at in run.instructions(visit) {
                self.at(visit.frame, *at);
            }
        }
        for (number, frame) in run.frames.iter().enumerate() {
            // The future that the call belongs to, and not one that it is of.
            let entry = &self.entries[number];
            if let Some(future) = entry.future
                && entry.phase != Phase::Before
                && frame.parent.is_some()
            {
                self.tree.all[future].calls.push(number as u32);
            }
        }
        for (number, atomic) in run.atomics.iter().enumerate() {
            if let Some(future) = self.at(atomic.frame, atomic.at).future {
                self.tree.all[future].atomics.push(number);
            }
        }
        for (number, read) in run.reads.iter().enumerate() {
            if let Some(future) = self.at(read.frame, read.at).future {
                self.tree.all[future].reads.push(number);
            }
        }
    }

    /// Where an address in a call is.
    fn at(&mut self, frame: u32, at: u64) -> Place {
        let site = self.sites.at(at, self.names);
        if let Some(known) = self.places.get(&(frame, Arc::as_ptr(&site))) {
            return known.clone();
        }
        let mut place = self.entries[frame as usize].clone();
        for (number, inlined) in site.functions.iter().enumerate() {
            self.step(&mut place, inlined, frame, number == 0);
        }
        if place.phase == Phase::Inside {
            // A function without a name that the C library calls is its own, which has lost it.
            let caller = self.entries[frame as usize].functions.as_ref();
            let is_of_c = site.functions.is_empty()
                && caller.is_some_and(|link| !link.function.name.contains("::"));
            self.tree.is_complete &= site.is_complete || is_of_c;
            if let Some((future, at)) = place.future.zip(place.location.as_ref()) {
                let seen = &mut self.tree.all[future].seen_at;
                if !seen.iter().any(|known| Arc::ptr_eq(known, at)) {
                    seen.push(Arc::clone(at));
                }
            }
        }
        self.places
            .insert((frame, Arc::as_ptr(&site)), place.clone());
        place
    }

    fn step(&mut self, place: &mut Place, inlined: &Inlined, frame: u32, is_called: bool) {
        let function = &inlined.function;
        match (place.phase, inlined.is_harness) {
            (Phase::Before, true) => place.phase = Phase::Harness,
            (Phase::Inside, true) => place.phase = Phase::Beyond,
            (Phase::Before, false) | (Phase::Harness, true) | (Phase::Beyond, _) => {}
            (Phase::Harness | Phase::Inside, false) => {
                let is_future = is_future(inlined, place.functions.as_deref());
                if is_future {
                    place.phase = Phase::Inside;
                    place.future = self.future(place, inlined, frame, is_called);
                    place.location.clone_from(&inlined.location);
                    place.via = None;
                } else {
                    place.via.clone_from(&inlined.location);
                }
                place.functions = Some(Arc::new(Link {
                    function: Arc::clone(function),
                    is_future,
                    before: place.functions.take(),
                }));
            }
        }
    }

    fn future(
        &mut self,
        place: &Place,
        inlined: &Inlined,
        frame: u32,
        is_called: bool,
    ) -> Option<usize> {
        let asked_at = place.location.clone();
        let line = asked_at.as_ref().map(Arc::as_ptr);
        let function = Arc::as_ptr(&inlined.function);
        let key = (place.future, function, frame, line);
        if let Some(known) = self.known.get(&key) {
            let source = &mut self.tree.all[*known].source;
            *source = source.take().or_else(|| inlined.location.clone());
            return Some(*known);
        }
        // The same future, polled once more.
        let others = match place.future {
            Some(parent) => &self.tree.all[parent].children,
            None => &self.tree.roots,
        };
        let again = others.iter().copied().find(|other| {
            let other = &self.tree.all[*other];
            is_called
                && other.is_called
                && Arc::ptr_eq(&other.function, &inlined.function)
                && other.asked_at == asked_at
                && self.is_same(other.frames[0], frame)
        });
        if let Some(again) = again {
            self.tree.all[again].frames.push(frame);
            self.known.insert(key, again);
            return Some(again);
        }
        if self.tree.all.len() >= MAX_FUTURES {
            self.tree.is_cut = true;
            return place.future;
        }
        let at = self.tree.all.len();
        self.tree.all.push(Polled {
            function: Arc::clone(&inlined.function),
            frames: vec![frame],
            is_called,
            asked_at,
            via: place.via.clone(),
            seen_at: Vec::new(),
            source: inlined.location.clone(),
            parent: place.future,
            children: Vec::new(),
            atomics: Vec::new(),
            reads: Vec::new(),
            calls: Vec::new(),
        });
        match place.future {
            Some(parent) => self.tree.all[parent].children.push(at),
            None => self.tree.roots.push(at),
        }
        self.known.insert(key, at);
        Some(at)
    }

    /// Whether two calls were of one future: by what they were called with, but for places
    /// on the run's own stack.
    fn is_same(&self, one: u32, other: u32) -> bool {
        let arguments = |frame: u32| {
            let frame = &self.run.frames[frame as usize];
            let of_others = frame.arguments.into_iter().take(2);
            of_others
                .filter(|at| !self.run.is_own(*at))
                .collect::<Vec<_>>()
        };
        let one = arguments(one);
        !one.is_empty() && one == arguments(other)
    }
}

/// Is it the poll of a future? `before` are the functions on the way to it.
fn is_future(inlined: &Inlined, before: Option<&Link>) -> bool {
    match &inlined.function.what {
        _ if inlined.is_of_machinery => false,
        What::Poll(_) | What::ShortPoll | What::Body => true,
        What::PlainClosure | What::Other => false,
        What::Closure => !is_plain_closure(inlined, before),
    }
}

/// Is it a closure of a function which is still running? The body of an async fn is called
/// a closure too, but its function has returned long before it is polled. What an async
/// body has made is a future if that body or a `poll` calls it, and a closure if another
/// function does.
fn is_plain_closure(inlined: &Inlined, before: Option<&Link>) -> bool {
    let Some(maker) = inlined.function.name.strip_suffix("::{{closure}}") else {
        return false;
    };
    // A function of the standard library that is no poll calls what is no future.
    let of_standard = |link: &Link| link.function.what == What::Other && link.function.is_standard;
    if before.is_some_and(of_standard) {
        return true;
    }
    let mut link = before;
    // Behind the innermost future.
    let mut is_near = true;
    while let Some(at) = link {
        is_near &= !at.is_future;
        let is_maker = *at.function.name == *maker;
        if is_maker && maker.ends_with("{{closure}}") {
            let caller = before.map(|link| &link.function);
            let is_polled = caller.is_some_and(|caller| {
                let is_poll = matches!(caller.what, What::Poll(_) | What::ShortPoll | What::Body);
                is_poll || *caller.name == *maker
            });
            return !is_polled;
        }
        // What is inlined may be without its path.
        let may_be_maker = is_near
            && is_short(&at.function.name)
            && at.function.what == What::Other
            && last_part(&at.function.name) == last_part(maker);
        if is_maker || may_be_maker {
            return true;
        }
        link = at.before.as_deref();
    }
    false
}
