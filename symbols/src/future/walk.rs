//! From a task's functions to those that they call.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::names::dropped;
use super::program::{Drops, Futures, MAX_PLACES};
use super::{Memory, Place, TaskCode};

/// Calls that are followed from a function of a vtable on.
const DEPTH: usize = 4;
/// The same where nothing has a name: further in are the drops of what a task holds.
const BARE_DEPTH: usize = 3;
/// Functions that are looked at for one task.
const MAX_FUNCTIONS: usize = 256;
/// Functions whose calls are remembered.
const MAX_CALLERS: usize = 65_536;

impl Futures {
    /// The futures that a drop function is for.
    pub(super) fn dropped_by(&mut self, function: u64) -> Vec<Arc<str>> {
        let Some(drops) = self.drops.get_mut(&function) else {
            return Vec::new();
        };
        if let Drops::Symbols(symbols) = drops {
            let futures: BTreeSet<String> = symbols.iter().filter_map(|raw| dropped(raw)).collect();
            *drops = Drops::Futures(futures.into_iter().map(Arc::from).collect());
        }
        match drops {
            Drops::Futures(futures) => futures.clone(),
            Drops::Symbols(_) => Vec::new(),
        }
    }

    /// The functions that drop futures to which others lead, themselves or through other
    /// functions of tokio's tasks.
    pub(super) fn drops_of(&mut self, functions: &[u64]) -> BTreeSet<u64> {
        let mut found = BTreeSet::new();
        self.walk(functions, |this, callee| {
            if this.drops.contains_key(&callee) && !this.dropped_by(callee).is_empty() {
                found.insert(callee);
                return false;
            }
            this.drops.contains_key(&callee) || this.tasks.contains_key(&callee)
        });
        found
    }

    /// Looks at the functions that others lead to; `follow` says of which the calls are
    /// looked at too.
    fn walk(&mut self, functions: &[u64], mut follow: impl FnMut(&mut Self, u64) -> bool) {
        let mut seen: HashSet<u64> = functions.iter().copied().collect();
        let mut level = functions.to_vec();
        for _ in 0..DEPTH {
            let mut next = Vec::new();
            for function in level {
                for &callee in self.callees(function).iter() {
                    if seen.len() < MAX_FUNCTIONS && seen.insert(callee) && follow(self, callee) {
                        next.push(callee);
                    }
                }
            }
            level = next;
        }
    }

    /// The functions with a name of interest that a function calls; all of them where none
    /// has a name.
    pub(super) fn callees(&mut self, function: u64) -> Arc<[u64]> {
        if let Some(known) = self.callees.get(&function) {
            return Arc::clone(known);
        }
        let all = self.image.callees(function);
        let known = |at: &u64| {
            if self.is_bare {
                self.image.begins(*at)
            } else {
                self.is_known(*at)
            }
        };
        let found: BTreeSet<u64> = all.into_iter().filter(known).collect();
        let found: Arc<[u64]> = found.into_iter().collect();
        if self.callees.len() >= MAX_CALLERS {
            self.callees.clear();
        }
        self.callees.insert(function, Arc::clone(&found));
        found
    }

    fn is_known(&self, function: u64) -> bool {
        self.tasks.contains_key(&function)
            || self.drops.contains_key(&function)
            || self.bodies.contains_key(&function)
    }

    pub(super) fn all_droppers(&mut self) -> HashMap<(u64, u64), HashSet<u64>> {
        let mut droppers: HashMap<(u64, u64), HashSet<u64>> = HashMap::new();
        for (number, task) in self.vtables.clone().iter().enumerate() {
            for drop in self.drops_of(&task.functions) {
                let tasks = droppers.entry((drop, task.schedule())).or_default();
                tasks.insert(number as u64);
            }
        }
        droppers
    }

    /// The functions of tokio's that a task's poll consists of, itself first.
    pub(super) fn parts_of_poll(&mut self, task: &TaskCode) -> Vec<u64> {
        let mut parts = vec![task.poll()];
        self.walk(&[task.poll()], |this, callee| {
            let tasks = this.tasks.get(&callee);
            let is_poll = tasks.is_some_and(|names| names.iter().any(|name| name.contains("poll")));
            if is_poll {
                parts.push(callee);
            }
            is_poll
        });
        parts
    }

    /// Finds out which tasks lead to which functions from their poll, once.
    pub(super) fn know_polls(&mut self) {
        if self.polls.is_some() {
            return;
        }
        let mut polls: HashMap<u64, Vec<usize>> = HashMap::new();
        for (number, task) in self.vtables.clone().iter().enumerate() {
            for part in self.parts_of_poll(task) {
                polls.entry(part).or_default().push(number);
            }
        }
        self.polls = Some(polls);
    }

    /// Where the async fns are written that a task's poll has in the functions nearest to
    /// it, and those of these functions that are the bodies of async fns.
    pub(super) fn bodies_of(
        &mut self,
        task: &TaskCode,
        memory: Option<&Memory<'_>>,
    ) -> (Vec<Place>, Vec<u64>) {
        let mut level = vec![task.poll()];
        let mut seen: HashSet<u64> = level.iter().copied().collect();
        let depth = if self.is_bare { BARE_DEPTH } else { DEPTH };
        for _ in 0..=depth {
            let mut places: Vec<Place> = Vec::new();
            let mut bodies = Vec::new();
            for function in &level {
                let found = self.places_at(*function, memory);
                if !found.is_empty() {
                    bodies.push(*function);
                }
                for place in found {
                    if !places.contains(&place) && places.len() < MAX_PLACES {
                        places.push(place);
                    }
                }
            }
            if !places.is_empty() {
                return (places, bodies);
            }
            let mut next = Vec::new();
            for function in level {
                for &callee in self.callees(function).iter() {
                    if next.len() < MAX_FUNCTIONS && self.is_polled(callee) && seen.insert(callee) {
                        next.push(callee);
                    }
                }
            }
            level = next;
        }
        (Vec::new(), Vec::new())
    }

    /// A part of a task's poll, or something that it may poll. Where nothing has a name
    /// that is any function, and only those that poll futures have places.
    fn is_polled(&self, function: u64) -> bool {
        if self.is_bare {
            return true;
        }
        let tasks = self.tasks.get(&function);
        self.bodies.contains_key(&function)
            || tasks.is_some_and(|names| names.iter().any(|name| name.contains("poll")))
    }
}
