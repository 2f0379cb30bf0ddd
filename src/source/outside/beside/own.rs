//! What of a listing is the instrument's own: an agent's or console-subscriber's tasks
//! are none of the program's.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::source::outside::seen::{Future, Listing};

/// By what its futures are known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Instrument {
    /// All of its futures begin so.
    pub(super) prefix: &'static str,
    /// A runtime with such a task is its own.
    pub(super) server: &'static str,
}

/// looptop's agent: a runtime of its own, and a task on each that is registered.
pub(super) const AGENT: Instrument = Instrument {
    prefix: "looptop_agent::",
    server: "looptop_agent::server::",
};

/// console-subscriber. What it spawns is on its own runtime, unless the application
/// serves it on one of its own.
pub(super) const CONSOLE: Instrument = Instrument {
    prefix: "console_subscriber::",
    server: "console_subscriber::",
};

/// A listing without what is the instrument's.
#[derive(Debug)]
pub(super) struct Others {
    pub(super) listing: Listing,
    /// The lists, by key, that have a task of the instrument's and are not its own.
    pub(super) marked: HashSet<u64>,
}

impl Instrument {
    /// Leaves out the instrument's tasks and its runtime; and tasks whose names are still
    /// to come, which would say whether they are its. `may_own` is whether a list, by
    /// its place, may be the instrument's own.
    pub(super) fn without(self, mut listing: Listing, may_own: impl Fn(usize) -> bool) -> Others {
        // Tasks of one type share it.
        let mut known: HashMap<*const Future, (bool, bool)> = HashMap::new();
        let (mut own, mut marked) = (HashSet::new(), HashSet::new());
        let mut keep = Vec::with_capacity(listing.tasks.len());
        for task in &listing.tasks {
            let Some(future) = &task.future else {
                keep.push(!listing.names_to_come);
                continue;
            };
            let (is_its, serves) = *known.entry(Arc::as_ptr(future)).or_insert_with(|| {
                let name = looptop_symbols::name::short_future(&future.name);
                (name.starts_with(self.prefix), name.starts_with(self.server))
            });
            if is_its && let Some(list) = task.runtime {
                marked.insert(list);
                if serves && may_own(list) {
                    own.insert(list);
                }
            }
            keep.push(!is_its);
        }
        let mut keep = keep.into_iter();
        listing.tasks.retain(|_| keep.next() == Some(true));
        let keys = marked.iter().filter(|list| !own.contains(*list));
        let keys = keys.filter_map(|list| Some(listing.runtimes.get(*list)?.key));
        let marked = keys.collect();
        without_lists(&mut listing, &own);
        Others { listing, marked }
    }
}

/// Leaves out lists, by their places, with their tasks.
pub(super) fn without_lists(listing: &mut Listing, gone: &HashSet<usize>) {
    if gone.is_empty() {
        return;
    }
    let mut places = Vec::with_capacity(listing.runtimes.len());
    let mut at = 0;
    for list in 0..listing.runtimes.len() {
        let stays = !gone.contains(&list);
        places.push(stays.then_some(at));
        at += usize::from(stays);
    }
    let mut stays = places.iter().map(Option::is_some);
    listing.runtimes.retain(|_| stays.next() == Some(true));
    listing.tasks.retain_mut(|task| match task.runtime {
        None => true,
        Some(list) => {
            task.runtime = places.get(list).copied().flatten();
            task.runtime.is_some()
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::outside::seen::{Runtime, Task};

    fn task(id: u64, runtime: usize, name: &str) -> Task {
        Task {
            id,
            runtime: Some(runtime),
            future: (!name.is_empty()).then(|| {
                Arc::new(Future {
                    name: name.to_owned(),
                    ..Future::default()
                })
            }),
            ..Task::default()
        }
    }

    fn listing(tasks: Vec<Task>, names_to_come: bool) -> Listing {
        let runtime = |key| Runtime {
            key,
            ..Runtime::default()
        };
        Listing {
            runtimes: [0x900, 0x901, 0x902].map(runtime).into(),
            tasks,
            names_to_come,
            ..Listing::default()
        }
    }

    type Left = (Vec<u64>, Vec<(u64, Option<usize>)>, Vec<u64>);

    fn left(others: Others) -> Left {
        let runtimes = others.listing.runtimes.iter().map(|list| list.key);
        let tasks = others.listing.tasks.iter().map(|t| (t.id, t.runtime));
        let mut marked: Vec<u64> = others.marked.into_iter().collect();
        marked.sort_unstable();
        (runtimes.collect(), tasks.collect(), marked)
    }

    #[test]
    fn the_instruments_runtime_goes_with_its_tasks_and_marks_those_it_is_in() {
        let tasks = vec![
            task(1, 0, "looptop_agent::server::serve::{{closure}}"),
            task(2, 0, "h2::server::Connection"),
            task(3, 1, "looptop_agent::probe::run::{{closure}}"),
            task(4, 1, "app::serve::{{closure}}"),
            task(5, 2, "app::serve::{{closure}}"),
        ];
        let others = AGENT.without(listing(tasks, false), |_| true);
        let expected = (
            vec![0x901, 0x902],
            vec![(4, Some(0)), (5, Some(1))],
            vec![0x901],
        );
        assert_eq!(left(others), expected);
    }

    #[test]
    fn a_runtime_of_the_programs_on_which_the_console_is_served_stays() {
        let tasks = || {
            vec![
                task(1, 1, "console_subscriber::aggregator::Aggregator::run"),
                task(2, 1, "app::serve"),
            ]
        };
        for (may_own, lists, expected) in [
            (false, vec![0x900, 0x901, 0x902], vec![(2, Some(1))]),
            (true, vec![0x900, 0x902], vec![]),
        ] {
            let others = CONSOLE.without(listing(tasks(), false), |_| may_own);
            let (found, tasks, _) = left(others);
            assert_eq!((found, tasks), (lists, expected));
        }
    }

    #[test]
    fn who_has_no_name_yet_may_be_the_instruments() {
        for (names_to_come, expected) in [(true, vec![7]), (false, vec![7, 8])] {
            let tasks = vec![task(7, 0, "app::serve"), task(8, 0, "")];
            let others = AGENT.without(listing(tasks, names_to_come), |_| true);
            let ids: Vec<u64> = others.listing.tasks.iter().map(|task| task.id).collect();
            assert_eq!(ids, expected);
        }
    }
}
