//! Which list of tasks is a runtime of the agent's, and which one nobody registered.
//!
//! What proves that a list is the agent's: it has a task that the agent shows on a runtime
//! of its own, or the task that the agent puts on each runtime that is registered. Without either, it is the
//! only one of its kind, as the agent's runtime is, and both count about as many tasks.
//! What is none of the agent's is left when each of its runtimes has its list.

use std::collections::{BTreeMap, HashMap, HashSet};

use looptop_wire::proto::{self, Flavor};

use crate::source::outside::seen::{Listing, Runtime};

/// Runtimes of the agent's that are remembered.
const MAX_RUNTIMES: usize = 256;
/// The counts of one runtime, by the agent and from outside, at two instants: they
/// differ by no more than this part of the greater.
const ALIKE: u64 = 8;

/// Whose a list is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// It is not known.
    Unknown,
    /// A runtime that is registered with the agent: which one, if that is known.
    Agents(Option<u32>),
    /// A runtime, or a `LocalSet`, that the agent does not know.
    Strangers,
}

/// The agent's runtimes: flavor and count of tasks.
#[derive(Debug, Default)]
pub(super) struct Runtimes(BTreeMap<u32, (Flavor, u64)>);

impl Runtimes {
    pub(super) fn learn(&mut self, runtimes: &[proto::Runtime]) {
        for runtime in runtimes {
            if runtime.gone {
                self.0.remove(&runtime.id);
            } else if self.0.len() < MAX_RUNTIMES {
                let seen = (runtime.flavor(), runtime.live_tasks);
                self.0.insert(runtime.id, seen);
            }
        }
    }

    /// The only one of its kind, and its count.
    fn only(&self, flavor: Flavor) -> Option<(u32, u64)> {
        let mut alike = self.0.iter().filter(|(_, (of, _))| *of == flavor);
        match (alike.next(), alike.next()) {
            (Some((id, (_, count))), None) => Some((*id, *count)),
            _ => None,
        }
    }

    fn count(&self, flavor: Flavor) -> usize {
        self.0.values().filter(|(of, _)| *of == flavor).count()
    }

    /// Whether an id is that of one.
    pub(super) fn has(&self, id: u32) -> bool {
        self.0.contains_key(&id)
    }
}

/// The lists, by key, and whose each is.
#[derive(Debug, Default)]
pub(super) struct Lists(HashMap<u64, Whose>);

/// What a listing shows of whose its lists are, beside their counts.
pub(super) struct Evidence<'a> {
    pub(super) listing: &'a Listing,
    /// The lists that have the agent's own task.
    pub(super) marked: &'a HashSet<u64>,
    /// The agent's task with this id of tokio's, with its runtime where it says that.
    pub(super) shown: &'a dyn Fn(u64) -> Option<Option<u32>>,
    /// The agent shows tasks.
    pub(super) shows_tasks: bool,
}

impl Lists {
    /// Whose the list is.
    pub(super) fn whose(&self, key: u64) -> Whose {
        self.0.get(&key).copied().unwrap_or(Whose::Unknown)
    }

    /// All lists of the newest listing.
    pub(super) fn keys(&self) -> impl Iterator<Item = (u64, Whose)> {
        self.0.iter().map(|(key, whose)| (*key, *whose))
    }

    /// Takes in a listing; whether more is known than before.
    pub(super) fn learn(&mut self, evidence: &Evidence<'_>, agents: &Runtimes) -> bool {
        let lists = &evidence.listing.runtimes;
        let before = self.0.clone();
        self.0
            .retain(|key, _| lists.iter().any(|list| list.key == *key));
        for (list, shown) in lists.iter().zip(shown(evidence)) {
            let known = self.whose(list.key);
            let proven = shown.or_else(|| {
                let marked = evidence.marked.contains(&list.key);
                marked.then_some(Whose::Agents(None))
            });
            // A runtime that is known stays it.
            if let (Some(proven), false) = (proven, matches!(known, Whose::Agents(Some(_)))) {
                self.0.insert(list.key, proven);
            }
        }
        for flavor in [Flavor::MultiThread, Flavor::CurrentThread] {
            self.by_count(lists, flavor, agents);
            self.left_over(lists, flavor, agents, evidence.listing.names_to_come);
        }
        if evidence.shows_tasks {
            // Those of a `LocalSet` would be shown, where the agent sees it.
            for list in lists.iter().filter(|list| list.flavor == Flavor::Local) {
                if self.whose(list.key) == Whose::Unknown && list.listed > 0 {
                    self.0.insert(list.key, Whose::Strangers);
                }
            }
        }
        self.0 != before
    }

    fn is(&self, list: &Runtime, flavor: Flavor) -> Option<Whose> {
        (list.flavor == flavor).then(|| self.whose(list.key))
    }

    /// The agent's only runtime of this kind is the only list that may be it.
    fn by_count(&mut self, lists: &[Runtime], flavor: Flavor, agents: &Runtimes) {
        let Some((id, count)) = agents.only(flavor) else {
            return;
        };
        let this = &*self;
        let of = |whose| {
            let lists = lists.iter();
            lists.filter(move |list| this.is(list, flavor) == Some(whose))
        };
        let known = of(Whose::Agents(Some(id))).next().is_some();
        let (mut marked, mut others) = (of(Whose::Agents(None)), of(Whose::Unknown));
        let found = match (marked.next(), marked.next()) {
            (Some(list), None) => Some(list.key),
            (None, _) => match (others.next(), others.next()) {
                (Some(list), None) => {
                    let alike = 1 + list.counted.max(count) / ALIKE;
                    (list.counted.abs_diff(count) <= alike).then_some(list.key)
                }
                _ => None,
            },
            _ => None,
        };
        if let (Some(key), false) = (found, known) {
            self.0.insert(key, Whose::Agents(Some(id)));
        }
    }

    /// Each of the agent's runtimes of this kind has its list: the others are none.
    fn left_over(
        &mut self,
        lists: &[Runtime],
        flavor: Flavor,
        agents: &Runtimes,
        names_to_come: bool,
    ) {
        let whose = lists.iter().filter_map(|list| self.is(list, flavor));
        let found = whose.filter(|whose| matches!(whose, Whose::Agents(_)));
        if found.count() < agents.count(flavor) || names_to_come {
            return;
        }
        for list in lists.iter().filter(|list| list.flavor == flavor) {
            let whose = self.0.entry(list.key).or_insert(Whose::Unknown);
            if *whose == Whose::Unknown {
                *whose = Whose::Strangers;
            }
        }
    }
}

/// Of each list, the runtime on which the agent shows a task of it. A task that it shows
/// on none proves nothing: what `tracing` says it says of all runtimes.
fn shown(evidence: &Evidence<'_>) -> Vec<Option<Whose>> {
    let mut found = vec![None; evidence.listing.runtimes.len()];
    for task in &evidence.listing.tasks {
        let list = task.runtime.and_then(|list| found.get_mut(list));
        if let Some(list) = list
            && !matches!(list, Some(Whose::Agents(Some(_))))
            && let Some(Some(runtime)) = (evidence.shown)(task.id)
        {
            *list = Some(Whose::Agents(Some(runtime)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::outside::seen::Task;
    use Flavor::{CurrentThread as One, Local, MultiThread as Many};
    use Whose::{Agents, Strangers, Unknown};

    fn runtimes(own: &[(u32, Flavor, u64)]) -> Runtimes {
        let mut runtimes = Runtimes::default();
        let own = own.iter().map(|(id, flavor, live_tasks)| proto::Runtime {
            id: *id,
            flavor: (*flavor).into(),
            live_tasks: *live_tasks,
            ..proto::Runtime::default()
        });
        runtimes.learn(&own.collect::<Vec<_>>());
        runtimes
    }

    /// Lists by flavor and count; tasks by id and list.
    fn listing(lists: &[(Flavor, u64)], tasks: &[(u64, usize)]) -> Listing {
        let lists = lists.iter().zip(100..);
        let runtimes = lists.map(|((flavor, counted), key)| Runtime {
            key,
            flavor: *flavor,
            counted: *counted,
            listed: *counted,
            ..Runtime::default()
        });
        let task = |(id, list): &(u64, usize)| Task {
            id: *id,
            runtime: Some(*list),
            ..Task::default()
        };
        Listing {
            runtimes: runtimes.collect(),
            tasks: tasks.iter().map(task).collect(),
            ..Listing::default()
        }
    }

    fn learned(
        listing: &Listing,
        marked: &[u64],
        shown: &[(u64, Option<u32>)],
        own: &[(u32, Flavor, u64)],
    ) -> Vec<Whose> {
        let mut lists = Lists::default();
        let marked = marked.iter().copied().collect();
        let shown: HashMap<u64, Option<u32>> = shown.iter().copied().collect();
        let evidence = Evidence {
            listing,
            marked: &marked,
            shown: &|id| shown.get(&id).copied(),
            shows_tasks: !shown.is_empty(),
        };
        let own = runtimes(own);
        assert!(lists.learn(&evidence, &own) || listing.runtimes.is_empty());
        assert!(!lists.learn(&evidence, &own), "it is known");
        let keys = listing.runtimes.iter().map(|list| list.key);
        keys.map(|key| lists.whose(key)).collect()
    }

    #[test]
    fn without_tasks_of_the_agents_counts_say_which_is_its() {
        for (own, lists, expected) in [
            (vec![(5, Many, 9)], vec![(Many, 10)], vec![Agents(Some(5))]),
            (
                vec![(5, Many, 9), (6, One, 4)],
                vec![(One, 4), (Local, 9), (Many, 9)],
                vec![Agents(Some(6)), Unknown, Agents(Some(5))],
            ),
            (
                vec![(5, Many, 9)],
                vec![(Many, 9), (One, 1)],
                vec![Agents(Some(5)), Strangers],
            ),
            (vec![], vec![(Many, 1)], vec![Strangers]),
        ] {
            let listing = listing(&lists, &[]);
            assert_eq!(
                learned(&listing, &[], &[], &own),
                expected,
                "{own:?} {lists:?}"
            );
        }
    }

    #[test]
    fn what_may_be_either_is_not_known() {
        for (own, lists) in [
            (vec![(5, Many, 9)], vec![(Many, 30)]),
            (vec![(5, Many, 9)], vec![(Many, 9), (Many, 9)]),
            (vec![(5, Many, 9), (6, Many, 4)], vec![(Many, 9)]),
        ] {
            let mut known = Lists::default();
            let listing = listing(&lists, &[]);
            let evidence = Evidence {
                listing: &listing,
                marked: &HashSet::new(),
                shown: &|_| None,
                shows_tasks: false,
            };
            assert!(
                !known.learn(&evidence, &runtimes(&own)),
                "{own:?} {lists:?}"
            );
            let mut keys = listing.runtimes.iter().map(|list| list.key);
            assert!(keys.all(|key| known.whose(key) == Unknown));
        }
    }

    #[test]
    fn the_agents_own_task_and_tasks_that_it_shows_say_which_is_its() {
        let two = [(Many, 9), (Many, 2)];
        let own = [(5, Many, 9)];
        assert_eq!(
            learned(&listing(&two, &[]), &[101], &[], &own),
            [Strangers, Agents(Some(5))],
            "whatever it counts"
        );
        let tasks = [(1, 0), (2, 1), (3, 1)];
        assert_eq!(
            learned(&listing(&two, &tasks), &[], &[(3, Some(5))], &own),
            [Strangers, Agents(Some(5))]
        );
        // Level 1 sees tasks everywhere, and not always where they run.
        assert_eq!(
            learned(
                &listing(&two, &tasks),
                &[101],
                &[(3, None), (1, None)],
                &own
            ),
            [Strangers, Agents(Some(5))]
        );
        let with_local = [(Many, 9), (Local, 2), (Local, 0)];
        assert_eq!(
            learned(&listing(&with_local, &tasks), &[], &[(1, Some(5))], &own),
            [Agents(Some(5)), Strangers, Unknown]
        );
    }

    #[test]
    fn nobody_is_a_stranger_before_the_names_are_known() {
        let listing = Listing {
            names_to_come: true,
            ..listing(&[(Many, 9), (One, 1)], &[])
        };
        let found = learned(&listing, &[], &[], &[(5, Many, 9)]);
        assert_eq!(found, [Agents(Some(5)), Unknown]);
    }
}
