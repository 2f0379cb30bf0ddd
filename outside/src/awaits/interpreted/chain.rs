//! From a run to the chain of awaits.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::Polled;

/// A function at a code address, as whoever has names knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Named {
    /// Demangled; empty where nothing names it.
    pub name: String,
    /// Its source, as it was built.
    pub file: Option<String>,
    /// Line, from 1: where it calls the next one, or where the address is.
    pub line: Option<u32>,
}

/// A future that was polled, and those that it polled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Await {
    /// Its poll function.
    pub function: String,
    /// Its source.
    pub file: Option<String>,
    /// Where the future that polled it says so: the line of the `.await`.
    pub awaited_at: Option<u32>,
    /// What it polled, in the order of time.
    pub inner: Vec<Await>,
    /// Memory outside of the task that it accessed atomically itself: if it polled
    /// nothing, that is what it waits for, among what it asked on the way.
    pub atomics: Vec<Resource>,
}

/// What was accessed atomically.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Its address.
    pub address: u64,
    /// The function that did it, the innermost one that has a name.
    pub by: String,
}

/// Functions of one address that are taken.
const MAX_INLINED: usize = 64;
/// Nodes of one tree.
const MAX_NODES: usize = 10_000;

impl Polled {
    /// The futures that were polled, as a tree: the task's own first. `functions` names
    /// those at a code address, innermost first; it is asked once for each.
    pub fn awaits(&self, mut functions: impl FnMut(u64) -> Vec<Named>) -> Vec<Await> {
        let mut asked: HashMap<u64, Rc<[Named]>> = HashMap::new();
        let mut at_address = |address: u64| {
            let names = asked.entry(address).or_insert_with(|| {
                let mut names = functions(address);
                names.truncate(MAX_INLINED);
                names.reverse();
                names.into()
            });
            Rc::clone(names)
        };
        let run = &self.run;
        let mut roots: Vec<Await> = Vec::new();
        let mut nodes = 0;
        let mut seen = HashSet::new();
        for (frame, at, atomic) in self.places() {
            if !seen.insert((frame, at, atomic)) {
                continue;
            }
            let path = run.path(frame);
            let frames = path
                .iter()
                .skip(1)
                .filter_map(|at| run.frames.get(*at as usize));
            let addresses = frames.map(|frame| frame.site).chain([at]);
            let names: Vec<Rc<[Named]>> = addresses.map(&mut at_address).collect();
            let all: Vec<&Named> = names.iter().flat_map(|names| names.iter()).collect();
            let node = insert(&mut roots, &futures(&all), &mut nodes);
            if let (Some(node), Some(address)) = (node, atomic) {
                let by = all.iter().rev().find(|named| !named.name.is_empty());
                let resource = Resource {
                    address,
                    by: by.map(|named| named.name.clone()).unwrap_or_default(),
                };
                if !node.atomics.contains(&resource) {
                    node.atomics.push(resource);
                }
            }
        }
        roots
    }

    /// Where the run has been: a frame, an address in its code, and what was accessed
    /// atomically there, outside of the task.
    fn places(&self) -> impl Iterator<Item = (u32, u64, Option<u64>)> {
        let visits = self.run.visits.iter().flat_map(|visit| {
            let last = visit.code.end.saturating_sub(1).max(visit.code.start);
            [visit.code.start, last].map(|at| (visit.frame, at, None))
        });
        let own = self.header..self.header.saturating_add(self.size);
        let atomics = self.run.atomics.iter();
        let others = atomics.filter(move |atomic| !own.contains(&atomic.address));
        visits.chain(others.map(|atomic| (atomic.frame, atomic.at, Some(atomic.address))))
    }
}

/// A future on the way, and the line that polled it.
struct Step<'a> {
    named: &'a Named,
    awaited_at: Option<u32>,
}

/// The futures among functions, outermost first: behind the last of the runtime's own.
fn futures<'a>(functions: &[&'a Named]) -> Vec<Step<'a>> {
    let inside = functions.iter().rposition(|named| is_of_the_harness(named));
    let Some(inside) = inside else {
        return Vec::new();
    };
    let mut line = None;
    let mut steps = Vec::new();
    let behind = &functions[inside + 1..];
    for (at, named) in behind.iter().enumerate() {
        if is_future(named) && !is_plain_closure(named, &behind[..at]) {
            steps.push(Step {
                named,
                awaited_at: line,
            });
            line = named.line;
        }
    }
    steps
}

/// Puts a chain into the tree; the node of its last future.
fn insert<'tree>(
    roots: &'tree mut Vec<Await>,
    chain: &[Step<'_>],
    nodes: &mut usize,
) -> Option<&'tree mut Await> {
    let (first, rest) = chain.split_first()?;
    let is_same = |node: &Await| {
        node.function == first.named.name
            && node.file == first.named.file
            && node.awaited_at == first.awaited_at
    };
    let at = match roots.iter().position(is_same) {
        Some(at) => at,
        None if *nodes >= MAX_NODES => return None,
        None => {
            *nodes += 1;
            roots.push(Await {
                function: first.named.name.clone(),
                file: first.named.file.clone(),
                awaited_at: first.awaited_at,
                ..Await::default()
            });
            roots.len() - 1
        }
    };
    let node = &mut roots[at];
    if rest.is_empty() {
        return Some(node);
    }
    insert(&mut node.inner, rest, nodes)
}

/// Is it a function of tokio's around the poll of a task's future?
fn is_of_the_harness(named: &Named) -> bool {
    let name = named.name.trim_start_matches('<');
    if name.contains("JoinHandle") {
        return false;
    }
    let by_name = name.starts_with("tokio::runtime::task::");
    let by_file = named.file.as_deref().is_some_and(|file| {
        let mut files = ["task/core.rs", "task/harness.rs", "task/raw.rs"].into_iter();
        file.contains("/runtime/") && files.any(|end| file.ends_with(end))
    });
    by_name || by_file
}

/// Is it a closure that a function made, which is still running? The body of an async fn
/// is called a closure too, but its function has returned long before it is polled.
fn is_plain_closure(named: &Named, before: &[&Named]) -> bool {
    let Some(maker) = named.name.strip_suffix("::{{closure}}") else {
        return false;
    };
    // One in an async body may be an async block.
    if maker.ends_with("{{closure}}") {
        return false;
    }
    // What is inlined may be without its path.
    let short = last_part(maker);
    before.iter().any(|function| {
        function.name == maker
            || (function.file == named.file
                && function.file.is_some()
                && !function.name.ends_with('}')
                && last_part(&function.name) == short)
    })
}

/// The last part of a path, without what it is generic over.
fn last_part(name: &str) -> &str {
    let path = name.split("::<").next().unwrap_or(name);
    let last = path.rsplit("::").next().unwrap_or(path);
    last.split('<').next().unwrap_or(last)
}

/// What tokio does inside of a poll: no futures of its own but those that say so.
const MACHINERY: &[&str] = &[
    "tokio::loom",
    "tokio::runtime::",
    "tokio::sync::task::",
    "tokio::task::coop",
    "tokio::util::",
];
/// The same of the standard library.
const STANDARD: &[&str] = &["alloc::", "core::", "std::"];

/// Is it the poll of a future?
fn is_future(named: &Named) -> bool {
    let name = &named.name;
    let of_trait = name.ends_with("Future>::poll") || name.starts_with("poll<");
    let begins = |with: &[&str]| {
        let path = name.trim_start_matches('<');
        with.iter().any(|start| path.starts_with(start))
    };
    let file = named.file.as_deref().unwrap_or_default();
    if begins(MACHINERY) || begins(STANDARD) || file.contains("/rustc/") {
        return of_trait;
    }
    let last = name.rsplit("::").next().unwrap_or(name);
    let is_body = ["{{closure}}", "{async_", "{closure"]
        .iter()
        .any(|start| last.starts_with(start));
    of_trait || is_body || last == "poll" || name.contains("::poll::<")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, line: u32) -> Named {
        Named {
            name: name.to_owned(),
            file: None,
            line: Some(line),
        }
    }

    #[test]
    fn a_chain_begins_behind_the_harness_and_has_the_lines_of_its_awaits() {
        let all = [
            named("tokio::runtime::task::raw::poll", 1),
            named("tokio::runtime::task::harness::Harness<T,S>::poll", 2),
            named("app::main::{{closure}}", 10),
            named("app::work::{{closure}}", 20),
            named("std::thread::local::LocalKey<T>::with", 3),
            named("tokio::sync::mutex::Mutex<T>::lock::{{closure}}", 30),
            named(
                "<tokio::sync::batch_semaphore::Acquire as core::future::future::Future>::poll",
                40,
            ),
            named("tokio::task::coop::poll_proceed::{{closure}}", 50),
            named("tokio::sync::batch_semaphore::Semaphore::poll_acquire", 60),
            named(
                "tokio::sync::batch_semaphore::Semaphore::poll_acquire::{{closure}}",
                70,
            ),
        ];
        let all: Vec<&Named> = all.iter().collect();
        let mut roots = Vec::new();
        let mut nodes = 0;
        insert(&mut roots, &futures(&all), &mut nodes);
        insert(&mut roots, &futures(&all[..4]), &mut nodes);
        assert_eq!(nodes, 4);
        let mut lines = Vec::new();
        let mut next = roots.first();
        while let Some(node) = next {
            lines.push((node.function.as_str(), node.awaited_at));
            assert!(node.inner.len() < 2);
            next = node.inner.first();
        }
        assert_eq!(
            lines,
            [
                ("app::main::{{closure}}", None),
                ("app::work::{{closure}}", Some(10)),
                ("tokio::sync::mutex::Mutex<T>::lock::{{closure}}", Some(20)),
                (
                    "<tokio::sync::batch_semaphore::Acquire as core::future::future::Future>::poll",
                    Some(30)
                ),
            ]
        );
        assert!(futures(&all[2..]).is_empty(), "no harness, no task");
    }
}
