//! What was read, as plain facts.

use std::collections::HashSet;
use std::sync::Arc;

use looptop_outside::tasks::{
    Flavor, Listing, RuntimeListing, SpawnLocation, Task as Listed, TaskKind, TaskState, TaskType,
    Types,
};

use super::names::Names;
use crate::coverage;
use crate::ids::{RuntimeId, Tid};
use crate::shared::Shared;

/// Tasks that are held; those beyond are counted.
pub(super) const MAX_TASKS: usize = 100_000;

/// Tasks as they were at about one instant.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Counts what was seen, from 1.
    pub(super) number: u64,
    pub(super) at_ns: u64,
    pub(super) tasks: Vec<Task>,
    /// Lists that changed while they were read: one that is missing may be in them.
    pub(super) torn: HashSet<u64>,
    /// Tasks beyond the bound.
    pub(super) left_out: u64,
}

/// A task.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) header: u64,
    /// tokio's id.
    pub(super) id: u64,
    pub(super) state: TaskState,
    /// Of a `LocalSet`.
    pub(super) local: bool,
    /// The list that it is in.
    pub(super) list: u64,
    /// Where it is a runtime's that is registered.
    pub(super) runtime: Option<RuntimeId>,
    pub(super) spawned_at: Option<SpawnLocation>,
    pub(super) future: Option<Arc<Future>>,
    /// Bytes of its future, at most.
    pub(super) size: Option<u64>,
}

/// The type of tasks' futures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Future {
    pub(super) name: String,
    pub(super) certain: bool,
    /// Where its async fn is written.
    pub(super) place: Option<(Arc<str>, u32, u32)>,
}

/// Which tasks are the agent's own, and by them whose the lists are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Own {
    /// On runtimes that are registered.
    pub(super) probes: Vec<(u64, RuntimeId)>,
    /// On the runtime that serves.
    pub(super) server: Option<u64>,
    /// Threads that the application hides.
    pub(super) hidden: Vec<Tid>,
}

impl Own {
    /// As they are now.
    pub(super) fn of(shared: &Shared) -> Self {
        let runtimes = shared.runtimes.all();
        let probes = runtimes.iter();
        let probes = probes.filter_map(|r| Some((r.probe.task_address()?, r.id)));
        Self {
            probes: probes.collect(),
            server: shared.waits.server(),
            hidden: coverage::hidden(),
        }
    }
}

/// Whose a list is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// The agent's own, or hidden by the application.
    Nobodys,
    Runtime(RuntimeId),
    /// A runtime that nobody registered, or a `LocalSet`.
    Unknown,
}

/// Whose the lists of a listing are, in their order.
fn lists(found: &Listing, own: &Own) -> Vec<Whose> {
    let is_hidden = |list: &RuntimeListing| {
        let hides = |tid: &u64| own.hidden.iter().any(|hidden| hidden.0 == *tid);
        list.flavor == Flavor::CurrentThread && list.on_stacks_of.iter().any(hides)
    };
    let mut lists: Vec<Whose> = found
        .runtimes
        .iter()
        .map(|list| {
            if is_hidden(list) {
                Whose::Nobodys
            } else {
                Whose::Unknown
            }
        })
        .collect();
    for task in &found.tasks {
        let Some(list) = task.runtime.and_then(|at| lists.get_mut(at)) else {
            continue;
        };
        if own.server == Some(task.header) {
            *list = Whose::Nobodys;
        }
        if let Some((_, id)) = own.probes.iter().find(|(at, _)| *at == task.header) {
            *list = Whose::Runtime(*id);
        }
    }
    lists
}

/// The application's tasks, also as they were listed. Those in no list are left out: in
/// one's own memory a copy of what was read looks the same.
pub(super) fn tasks(
    found: &Listing,
    types: &Types,
    names: &Names,
    own: &Own,
) -> (Seen, Vec<Listed>) {
    let lists = lists(found, own);
    let is_own = |task: &Listed| own.probes.iter().any(|(at, _)| *at == task.header);
    let (mut seen, mut listed) = (Seen::default(), Vec::new());
    for task in &found.tasks {
        let Some(at) = task.runtime.filter(|at| lists[*at] != Whose::Nobodys) else {
            continue;
        };
        let is_live = task.kind == TaskKind::Async && task.state != TaskState::Complete;
        let future = names.get(task.vtable);
        if !is_live || is_own(task) || future.is_some_and(|f| is_the_agents(&f.name)) {
            continue;
        }
        if seen.tasks.len() >= MAX_TASKS {
            seen.left_out += 1;
            continue;
        }
        let list = &found.runtimes[at];
        listed.push(*task);
        seen.tasks.push(Task {
            header: task.header,
            id: task.id,
            state: task.state,
            local: list.flavor == Flavor::LocalSet,
            list: key(list),
            runtime: match lists[at] {
                Whose::Runtime(id) => Some(id),
                Whose::Nobodys | Whose::Unknown => None,
            },
            spawned_at: found
                .spawned_at(task)
                .filter(|place| is_a_callers(place))
                .cloned(),
            future: future.cloned(),
            size: types.get(task.vtable).map(TaskType::future_size),
        });
    }
    let torn = found.runtimes.iter().filter(|list| list.torn);
    seen.torn = torn.map(key).collect();
    (seen, listed)
}

/// Lists are counted from 1 in each module.
fn key(list: &RuntimeListing) -> u64 {
    ((list.key.module as u64) << 48) | (list.key.list & 0xffff_ffff_ffff)
}

/// A task that the agent has spawned: those by which it sees who is awake come and go.
fn is_the_agents(name: &str) -> bool {
    looptop_symbols::name::short_future(name).starts_with("looptop_agent::")
}

/// `spawn_local` says of all its tasks that tokio itself has spawned them.
fn is_a_callers(place: &SpawnLocation) -> bool {
    !(place.file.contains("/tokio-1.") && place.file.ends_with("/src/task/local.rs"))
}

#[cfg(test)]
mod tests {
    use looptop_outside::tasks::{FoundBy, RuntimeKey};

    use super::*;

    fn list(list: u64, flavor: Flavor, on_stacks_of: &[u64]) -> RuntimeListing {
        RuntimeListing {
            key: RuntimeKey { module: 0, list },
            flavor,
            counted: None,
            listed: 0,
            torn: false,
            found_by: FoundBy::Stack,
            handle: None,
            on_stacks_of: on_stacks_of.into(),
        }
    }

    fn task(header: u64, runtime: Option<usize>) -> Listed {
        Listed {
            header,
            id: header,
            vtable: 0,
            kind: TaskKind::Async,
            state: TaskState::Idle,
            runtime,
            spawned_at: None,
        }
    }

    #[test]
    fn whose_a_list_is_its_tasks_say() {
        let mut found = Listing::default();
        found.tasks = vec![
            task(0x100, Some(0)),
            task(0x200, Some(1)),
            task(0x300, Some(1)),
            task(0x400, Some(2)),
            task(0x500, Some(3)),
            task(0x600, Some(4)),
            task(0x700, None),
        ];
        found.runtimes = vec![
            list(1, Flavor::CurrentThread, &[]),
            list(2, Flavor::MultiThread, &[77]),
            list(3, Flavor::LocalSet, &[]),
            list(4, Flavor::CurrentThread, &[77]),
            list(5, Flavor::MultiThread, &[]),
        ];
        let own = Own {
            probes: vec![(0x200, RuntimeId(3))],
            server: Some(0x100),
            hidden: vec![Tid(77)],
        };
        let expected = [
            Whose::Nobodys,
            Whose::Runtime(RuntimeId(3)),
            Whose::Unknown,
            Whose::Nobodys,
            Whose::Unknown,
        ];
        assert_eq!(lists(&found, &own), expected);
    }

    #[test]
    fn the_agents_own_tasks_are_known_by_their_futures() {
        for (name, is) in [
            ("looptop_agent::drivers::Beacon", true),
            (
                "tracing::instrument::Instrumented<looptop_agent::probe::run::{{closure}}>",
                true,
            ),
            ("app::serve::{{closure}}", false),
            ("my_looptop_agent::serve", false),
        ] {
            assert_eq!(is_the_agents(name), is, "{name}");
        }
    }
}
