//! Tasks that wait alike: with the same futures, for the same or for the like.

use std::collections::HashMap;

use crate::{
    diagnose::waits::{
        Graph, Holder, Party, Whose, any_job, asked_text, function_words, hold_text, holders_text,
        kind, kind_text, party_text, place, polled_wants, waited, waiting_text, waits_text,
        want_text, whose,
    },
    model::{
        self, AwaitKind, AwaitLink, AwaitNode, AwaitShape, AwaitsBy, JobState, Model, ResourceKind,
        TaskWait, Want, WantKind,
    },
};

use super::entries::{Group, HolderEntry, Node, Task, Wait, Who};

/// Holders of one thing that are listed.
const MAX_HOLDERS: usize = 100;

/// What tasks have in common that are shown together.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    shape: u32,
    certain: bool,
    wants: Vec<WantKey>,
}

/// For what, where others wait for the same, or else for what kind of thing.
#[derive(Debug, PartialEq, Eq, Hash)]
struct WantKey {
    node: u32,
    kind: WantKind,
    job: JobState,
    shared: Option<u64>,
    of: ResourceKind,
}

/// The groups, most tasks first.
pub(super) fn groups(model: &Model, graph: &Graph) -> Vec<Group> {
    let mut places: HashMap<Key, usize> = HashMap::new();
    let mut members: Vec<Vec<&TaskWait>> = Vec::new();
    for wait in model.waits.tasks() {
        let next = members.len();
        let at = *places.entry(key(model, graph, wait)).or_insert(next);
        if at == next {
            members.push(Vec::new());
        }
        members[at].push(wait);
    }
    let groups = members.iter().map(|waits| group(model, graph, waits));
    let mut groups: Vec<Group> = groups.collect();
    groups.sort_by(|a, b| {
        let age = |group: &Group| group.oldest_s.unwrap_or_default();
        let by_count = b.count.cmp(&a.count);
        let by_age = age(b).total_cmp(&age(a));
        by_count.then(by_age).then_with(|| a.future.cmp(&b.future))
    });
    groups
}

fn key(model: &Model, graph: &Graph, wait: &TaskWait) -> Key {
    let (wants, _) = polled_wants(wait);
    let about = |want: &&Want| {
        let id = want.resource.unwrap_or_default();
        let others = match want.task {
            Some(task) if want.kind == WantKind::Task => graph.joiners(task),
            _ => graph.waiters(id),
        };
        let shared = want.resource.or(want.task.map(|task| task.0));
        WantKey {
            node: want.node,
            kind: want.kind,
            job: want.job,
            shared: shared.filter(|_| others.len() > 1),
            of: kind(model, id),
        }
    };
    Key {
        shape: wait.shape.id,
        certain: wait.certain,
        wants: wants.iter().map(about).collect(),
    }
}

fn group(model: &Model, graph: &Graph, members: &[&TaskWait]) -> Group {
    let first = members[0];
    let shape = &*first.shape;
    let (wants, needs_all) = polled_wants(first);
    let oldest = members.iter().filter_map(|wait| waited(model, wait)).max();
    let each = wants.iter().enumerate();
    Group {
        count: members.len() as u64,
        future: name(model, first),
        by: match shape.by {
            AwaitsBy::Types => "types",
            AwaitsBy::Interpreter => "interpreter",
            AwaitsBy::Unknown => "unknown",
        },
        certain: first.certain,
        cut: shape.cut.map(|why| model.text(Some(why)).to_owned()),
        oldest_s: oldest.map(|oldest| oldest.as_secs_f64()),
        tree: shape.nodes.iter().map(|n| node(model, n)).collect(),
        waits: each
            .map(|(at, want)| of_wait(model, graph, (shape, want), at, members))
            .collect(),
        needs_all,
        tasks: members.iter().map(|wait| task(model, wait)).collect(),
    }
}

/// What tasks run: their own future, or what they are called where that is not known.
fn name(model: &Model, wait: &TaskWait) -> String {
    // What only wraps it says nothing: tokio's tracing wraps every task.
    let says = |node: &&AwaitNode| {
        node.kind != AwaitKind::Wrapper || whose(model, node) != Whose::Plumbing
    };
    let nodes = &wait.shape.nodes;
    let own = nodes.iter().find(says).unwrap_or(&nodes[0]);
    let own = function_words(model, own);
    if !own.is_empty() {
        return own;
    }
    let task = model.tasks.get(wait.task);
    let name = task.and_then(|task| model.task_name(task));
    name.unwrap_or_default().to_owned()
}

fn node(model: &Model, node: &AwaitNode) -> Node {
    Node {
        depth: node.depth,
        kind: match node.kind {
            AwaitKind::AsyncFn => "async fn",
            AwaitKind::AsyncBlock => "async block",
            AwaitKind::Select => "select",
            AwaitKind::Join => "join",
            AwaitKind::Wrapper => "wrapper",
            AwaitKind::Combinator => "combinator",
            AwaitKind::Leaf => "leaf",
            AwaitKind::Unknown => "unknown",
        },
        future: model.text(node.future).to_owned(),
        function: function_words(model, node),
        location: model.location(node.location).map(|at| at.to_string()),
        by_macro: node.by_macro,
        link: match node.link {
            AwaitLink::Awaited => "awaited",
            AwaitLink::NotStarted => "not started",
            AwaitLink::Kept => "kept",
            AwaitLink::Unknown => "unknown",
        },
        whose: match whose(model, node) {
            Whose::Application => "application",
            Whose::Library => "library",
            Whose::Plumbing => "plumbing",
        },
    }
}

fn of_wait(
    model: &Model,
    graph: &Graph,
    (shape, want): (&AwaitShape, &Want),
    at: usize,
    members: &[&TaskWait],
) -> Wait {
    let what = want_text(model, want);
    let mut others: Vec<String> = Vec::new();
    for member in &members[1..] {
        let (wants, _) = polled_wants(member);
        others.extend(wants.get(at).map(|want| want_text(model, want)));
    }
    others.retain(|other| *other != what);
    others.sort_unstable();
    others.dedup();
    let own = others.is_empty();
    let alone = match members {
        [alone] => Some(Party::Task(alone.task)),
        _ => None,
    };
    let place = place(model, shape, want.node as usize);
    let holders = graph.holders_of(want);
    let listed = holders.iter().filter(|_| own).take(MAX_HOLDERS);
    Wait {
        kind: match want.job {
            JobState::Unknown => want_kind(want.kind),
            JobState::Queued | JobState::Running => "job",
        },
        asked: if own {
            without_numbers(model, want)
        } else {
            of_its_kind(model, want)
        },
        what,
        others: others.len() as u64,
        node: want.node,
        at: place.map(|place| place.text(model)),
        resource: want.resource.filter(|_| own).map(|id| format!("{id:#x}")),
        held_by: holders_text(model, graph, alone, want).or_else(|| nobody(model, want)),
        holders: listed.map(|h| holder(model, h)).collect(),
    }
}

/// What is to be said where nobody is known who could give what is waited for.
fn nobody(model: &Model, want: &Want) -> Option<String> {
    let resource = want.resource.and_then(|id| model.waits.resource(id))?;
    let text = match (want.kind, resource.kind, resource.senders) {
        (WantKind::Message, _, Some(0)) => "nobody is left to send",
        // There is one, which can be forgotten.
        (WantKind::Message, ResourceKind::Oneshot, Some(_)) => {
            "its sender is in no task that was read: in a map, or on a thread's stack"
        }
        (WantKind::Permits, _, _) if resource.holders_known => "no task holds any",
        _ => return None,
    };
    Some(text.to_owned())
}

fn want_kind(kind: WantKind) -> &'static str {
    match kind {
        WantKind::Permits => "permits",
        WantKind::Message => "message",
        WantKind::Room => "room",
        WantKind::Other => "other",
        WantKind::Task => "task",
        WantKind::Timer => "timer",
        WantKind::Socket => "socket",
        WantKind::Never => "never",
        WantKind::Unknown => "unknown",
    }
}

/// What is wanted of a thing that has a name; of others what kind of thing it is.
fn without_numbers(model: &Model, want: &Want) -> String {
    let resource = want.resource.and_then(|id| model.waits.resource(id));
    let is_named = resource.is_some_and(|r| r.name.is_some() || r.location.is_some());
    if is_named {
        asked_text(model, want)
    } else {
        of_its_kind(model, want)
    }
}

fn of_its_kind(model: &Model, want: &Want) -> String {
    let kind = kind(model, want.resource.unwrap_or_default());
    let of = match kind {
        ResourceKind::Unknown => "",
        kind => kind_text(kind),
    };
    let what = match want.kind {
        WantKind::Permits if kind == ResourceKind::Semaphore => "permit of",
        WantKind::Message => "message of",
        WantKind::Room => "place in",
        WantKind::Permits | WantKind::Other => "",
        WantKind::Task if want.job != JobState::Unknown => any_job(want.job),
        WantKind::Task => "end of a task",
        WantKind::Timer => "timer",
        WantKind::Socket => "socket",
        WantKind::Never => "nothing that ever comes",
        WantKind::Unknown => "unknown",
    };
    let text = format!("{what} {of}");
    match text.trim() {
        "" => "unknown".to_owned(),
        text => text.to_owned(),
    }
}

pub(super) fn who(model: &Model, party: Party) -> Who {
    let text = party_text(model, party);
    match party {
        Party::Task(id) => {
            let task = model.tasks.get(id).and_then(model::Task::tokio_id);
            let is_job = model.job(id).is_some();
            Who {
                kind: if is_job { "job" } else { "task" },
                id: task.unwrap_or(id.0),
                text,
            }
        }
        Party::Thread(tid) => Who {
            kind: "thread",
            id: tid.0,
            text,
        },
    }
}

fn holder(model: &Model, holder: &Holder) -> HolderEntry {
    HolderEntry {
        who: who(model, holder.party),
        holds: holder.hold.map(|hold| hold_text(model, &hold)),
        certain: holder.hold.is_none_or(|hold| hold.certain),
        kept: holder.is_kept,
        waits: waiting_text(model, holder.party),
    }
}

fn task(model: &Model, wait: &TaskWait) -> Task {
    let task = model.tasks.get(wait.task);
    let holds = wait.holds.iter().map(|hold| hold_text(model, hold));
    Task {
        id: task.and_then(model::Task::tokio_id).unwrap_or(wait.task.0),
        name: task.and_then(|t| model.task_name(t)).map(str::to_owned),
        waits_for: waits_text(model, wait),
        for_s: waited(model, wait).map(|waited| waited.as_secs_f64()),
        woken: wait.scheduled,
        holds: holds.collect(),
    }
}
