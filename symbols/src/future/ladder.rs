//! The steps of the ladder, from best to least.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::names::{self, demangled, of_generic};
use super::places;
use super::program::Futures;
use super::{FutureName, Memory, NamedBy, TaskCode};
use crate::crates::Crates;
use crate::lines::Lines;
use crate::name;

/// Tasks of one scheduler that may share a drop function for its name to be worth a
/// guess.
const MAX_SHARED: usize = 4;
/// Functions of tokio's tasks whose first parameter is the future.
const OF_FUTURE: &[&str] = &[
    "poll",
    "poll_inner",
    "poll_future",
    "shutdown",
    "cancel_task",
    "dealloc",
    "try_read_output",
    "drop_join_handle_slow",
    "complete",
];

/// What a step of the ladder found.
#[derive(Debug, Clone)]
struct Found {
    text: Arc<str>,
    certain: bool,
    by: NamedBy,
}

impl Found {
    fn certain(text: String, by: NamedBy) -> Self {
        Self {
            text: text.into(),
            certain: true,
            by,
        }
    }

    fn into_name(self, crates: &Crates) -> FutureName {
        FutureName {
            short: name::short_future_of(&self.text, crates).into(),
            text: self.text,
            certain: self.certain,
            by: self.by,
        }
    }
}

impl Futures {
    pub(super) fn look_up(&mut self, task: &TaskCode, memory: Option<&Memory<'_>>) -> FutureName {
        let steps = [Self::by_symbol, Self::by_lines, Self::by_drop];
        let mut guess = None;
        for step in steps {
            match step(self, task).map(|found| self.doubted(found, task, memory)) {
                Some(found) if found.certain => return found.into_name(&self.crates),
                found => guess = guess.or(found),
            }
        }
        if let Some(text) = self.by_body(task, memory) {
            return Found::certain(text, NamedBy::Body).into_name(&self.crates);
        }
        if let Some(place) = self.outermost(task, memory) {
            let mut name = FutureName::as_it_is(&place.to_string(), NamedBy::Place);
            // Without names what the poll calls may be another future that it polls.
            name.certain = !self.is_bare || !self.places_at(task.poll(), memory).is_empty();
            return name;
        }
        if let Some(guess) = guess {
            return guess.into_name(&self.crates);
        }
        let file = &self.called;
        let text = format!("{file}+{:#x}", task.poll());
        FutureName::as_it_is(&text, NamedBy::Address)
    }

    /// A drop function may have been merged with that of another future. Then an async fn
    /// that the poll calls is not the one of its name.
    fn doubted(&mut self, found: Found, task: &TaskCode, memory: Option<&Memory<'_>>) -> Found {
        if found.by != NamedBy::Drop || !name::is_async(&found.text) {
            return found;
        }
        let called = match self.by_body(task, memory) {
            Some(body) => vec![body],
            None if self.bodies_of(task, memory).0.is_empty() => self.called_bodies(task),
            // It is a part of the poll.
            None => Vec::new(),
        };
        let fits = |body: &String| names::may_hold(&found.text, body);
        if called.is_empty() || called.iter().any(fits) {
            return found;
        }
        let same_crate = |body: &&String| body.split("::").next() == found.text.split("::").next();
        let text = match called.as_slice() {
            [body] if same_crate(&body) => body.as_str().into(),
            _ => found.text,
        };
        Found {
            text,
            certain: false,
            by: NamedBy::Drop,
        }
    }

    /// The bodies of async fns, by their names, that the functions of a task's poll call.
    fn called_bodies(&mut self, task: &TaskCode) -> Vec<String> {
        let mut found = BTreeSet::new();
        for part in self.parts_of_poll(task) {
            for callee in self.callees(part).iter() {
                let raw = self.bodies.get(callee);
                found.extend(raw.and_then(|raw| names::of_body(raw)));
            }
        }
        found.into_iter().collect()
    }

    /// The one async fn that the poll calls; or the one that was inlined into it, where debug
    /// information says which.
    fn by_body(&mut self, task: &TaskCode, memory: Option<&Memory<'_>>) -> Option<String> {
        let (_, bodies) = self.bodies_of(task, memory);
        let [body] = bodies.as_slice() else {
            return None;
        };
        if let Some(raw) = self.bodies.get(body) {
            return names::of_body(raw);
        }
        if !self.has_lines {
            return None;
        }
        let own = places::own_code(&self.image, *body, |at| self.resumed.contains(&at))?;
        let innermost = self.lines()?.functions(own).into_iter().next()?;
        innermost.name.filter(|name| names::is_body(name))
    }

    fn lines(&self) -> Option<&Lines> {
        let open = || Lines::open(&self.path).ok();
        self.lines.get_or_init(open).as_ref()
    }

    /// The type in the symbols of a vtable's functions. One that other tasks have too was
    /// merged, and has the name of one of them.
    fn by_symbol(&mut self, task: &TaskCode) -> Option<Found> {
        let mut guess = None;
        for function in task.of_future() {
            let Some(symbols) = self.tasks.get(&function) else {
                continue;
            };
            // The older mangling has no parameters.
            let symbols = symbols.iter().filter(|raw| raw.starts_with("_R"));
            let names: BTreeSet<String> = symbols
                .map(|raw| demangled(raw))
                .filter(|name| name.starts_with("tokio::runtime::task::raw::"))
                .filter_map(|name| Some(of_generic(&name)?.to_owned()))
                .collect();
            let Some(first) = names.first() else {
                continue;
            };
            let name = Found {
                text: first.as_str().into(),
                certain: names.len() == 1 && self.rivals(function, task) == 0,
                by: NamedBy::Symbol,
            };
            if name.certain {
                return Some(name);
            }
            guess.get_or_insert(name);
        }
        guess
    }

    /// The type in the names that debug information has for the functions of the poll and
    /// those of the vtable. Line tables have one for each function into which another was
    /// inlined.
    fn by_lines(&mut self, task: &TaskCode) -> Option<Found> {
        if !self.has_lines {
            return None;
        }
        let mut functions = self.parts_of_poll(task);
        functions.extend_from_slice(task.caretakers());
        let mut guess = None;
        for function in functions {
            let rivals = self.rivals(function, task);
            let lines = self.lines()?;
            // Those that were inlined into it come first.
            let outermost = lines.functions(function).pop();
            let Some(name) = outermost.and_then(|outermost| outermost.name) else {
                continue;
            };
            let is_generic = |name: &&str| OF_FUTURE.contains(name);
            let Some(future) = name
                .find('<')
                .map(|end| &name[..end])
                .filter(is_generic)
                .and_then(|_| of_generic(&name))
            else {
                continue;
            };
            let found = Found {
                text: future.into(),
                certain: rivals == 0,
                by: NamedBy::Lines,
            };
            if found.certain {
                return Some(found);
            }
            guess.get_or_insert(found);
        }
        guess
    }

    /// Tasks of the same scheduler that use the same function: of which of them its name
    /// is, is not known.
    fn rivals(&mut self, function: u64, task: &TaskCode) -> usize {
        self.know_polls();
        let of_vtable = self.users.get(&function);
        let of_poll = self.polls.as_ref().and_then(|polls| polls.get(&function));
        let users: BTreeSet<usize> = of_vtable
            .into_iter()
            .chain(of_poll)
            .flatten()
            .copied()
            .collect();
        let rivals = users.iter().map(|number| &self.vtables[*number]);
        rivals
            .filter(|other| *other != task && other.schedule() == task.schedule())
            .count()
    }

    /// The type in the name of the drop function that the vtable leads to.
    fn by_drop(&mut self, task: &TaskCode) -> Option<Found> {
        if self.droppers.is_none() {
            self.droppers = Some(self.all_droppers());
        }
        // The poll runs code of the future's too, which may drop another task's.
        let sure = self.drops_of(task.caretakers());
        let drops = if sure.is_empty() {
            self.drops_of(&[task.poll()])
        } else {
            sure.clone()
        };
        let mut best: Option<(usize, Found)> = None;
        for drop in drops {
            let shared = |droppers: &HashMap<(u64, u64), HashSet<u64>>| {
                let tasks = droppers.get(&(drop, task.schedule()));
                tasks.map_or(1, |tasks| tasks.len().max(1))
            };
            let shared = self.droppers.as_ref().map_or(1, shared);
            let futures = self.dropped_by(drop);
            let Some(first) = futures.first() else {
                continue;
            };
            let several = shared.max(futures.len());
            let name = Found {
                text: Arc::clone(first),
                certain: several == 1 && !sure.is_empty(),
                by: NamedBy::Drop,
            };
            match &best {
                // Two that are both the task's alone, and not the same.
                Some((1, known)) if several == 1 && known.text != name.text => {
                    let unsure = Found {
                        certain: false,
                        ..known.clone()
                    };
                    best = Some((1, unsure));
                }
                Some((fewest, _)) if *fewest <= several => {}
                _ => best = Some((several, name)),
            }
        }
        let (several, name) = best?;
        (several <= MAX_SHARED).then_some(name)
    }
}
