//! `dump`: where every task waits, those that wait alike together.

use std::{fmt::Write, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Answer, Desk, Failure, Kind, Wanted, limit,
    shown::{Frame, own_frames, round},
    waits::{Deadlock, deadlock},
};
use crate::{dump, mcp::answer::more};

pub(super) struct Dump;

/// What a call may say.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Arguments {
    /// HOST:PORT, unix:PATH, pid:N, core:FILE or the path of a recording, of which the end
    /// is shown; by default the only program there is.
    target: Option<String>,
    /// Groups at most (default 10).
    #[schemars(range(min = 1, max = 100))]
    limit: Option<usize>,
    /// Only groups in whose futures, places or wants this text is.
    containing: String,
}

/// Where every task waits.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Data {
    /// The target as it was named.
    target: String,
    /// The application's name; empty where unknown.
    name: String,
    /// Tasks that are alive; null where unknown.
    live: Option<u64>,
    /// Those that wait to be woken.
    idle: u64,
    /// Deadlocks: who waits for each other.
    deadlocks: Vec<Deadlock>,
    /// Polls that go on.
    polls: Vec<Poll>,
    /// Tasks that wait alike, most of them first.
    groups: Vec<Group>,
    /// Groups that are left out.
    more_groups: usize,
    /// What is not known, and why.
    not_read: Vec<String>,
}

/// A poll that goes on.
#[derive(Debug, Serialize, JsonSchema)]
struct Poll {
    /// The thread.
    thread: String,
    /// The task; null where unknown.
    task: Option<String>,
    /// computing, lock, sleeping, ...
    cause: String,
    /// For how long it was seen; null in a core dump.
    for_ms: Option<f64>,
    /// The application's part of its stack, innermost first.
    stack: Vec<Frame>,
}

/// Tasks with the same futures that wait for the same.
#[derive(Debug, Serialize, JsonSchema)]
struct Group {
    /// How many.
    tasks: u64,
    /// The ids of the first of them.
    ids: Vec<u64>,
    /// What they run.
    future: String,
    /// Their futures are theirs for certain.
    certain: bool,
    /// The application's and libraries' futures from the outermost to what is waited for.
    chain: Vec<Frame>,
    /// What they wait for.
    waits_for: Vec<String>,
    /// Who could give it; null where unknown.
    held_by: Option<String>,
    /// The longest that one has waited, at least; null where unknown.
    oldest_s: Option<f64>,
}

/// Groups where a call does not say how many.
const GROUPS: usize = 10;
/// Futures of a chain, tasks of a group, polls.
const NODES: usize = 12;
const IDS: usize = 8;
const POLLS: usize = 10;

impl Kind for Dump {
    const NAME: &'static str = "dump";
    const TITLE: &'static str = "Where every task waits";
    const ABOUT: &'static str = "Where every task of a tokio program is, once, like a dump of \
        goroutines: tasks that wait alike as one group, with the chain of their futures \
        (function and file:line), what they wait for and who holds it; deadlocks; polls that go \
        on, with stacks. For a shorter answer use `waits`.";
    type Arguments = Arguments;
    type Data = Data;

    async fn call(desk: Arc<Desk>, arguments: Arguments) -> Result<Answer<Data>, Failure> {
        let (name, watched) = desk
            .watched(arguments.target.as_deref(), Wanted::Chains)
            .await?;
        let dump = watched.dump(&name);
        drop(watched);
        Ok(answer(
            dump,
            &arguments.containing,
            limit(arguments.limit, GROUPS),
        ))
    }
}

fn answer(mut dump: dump::Dump, containing: &str, most: usize) -> Answer<Data> {
    let all = dump.groups.len();
    if !containing.is_empty() {
        dump.groups.retain(|group| contains(group, containing));
    }
    let hidden = all - dump.groups.len();
    let more_groups = dump.groups.len().saturating_sub(most);
    dump.groups.truncate(most);
    dump.polls.truncate(POLLS);
    let mut text = dump.render(dump::Format::Text);
    if hidden > 0 {
        let _ = writeln!(text, "\n{hidden} groups do not contain what was asked for");
    }
    if let Some(more) = more(more_groups, "group") {
        let _ = writeln!(text, "\n{more}");
    }
    Answer {
        text,
        data: data(dump, more_groups),
    }
}

fn contains(group: &dump::Group, part: &str) -> bool {
    let part = part.to_lowercase();
    let holds = |text: &str| text.to_lowercase().contains(&part);
    let places = group
        .tree
        .iter()
        .filter_map(|node| node.location.as_deref());
    let functions = group.tree.iter().map(|node| node.function.as_str());
    let wants = group.waits.iter().map(|wait| wait.what.as_str());
    let names = group.tasks.iter().filter_map(|task| task.name.as_deref());
    holds(&group.future) || places.chain(functions).chain(wants).chain(names).any(holds)
}

fn data(dump: dump::Dump, more_groups: usize) -> Data {
    let mut not_read = dump.not_read;
    not_read.extend(dump.no_chains);
    not_read.extend(dump.read.and_then(|read| read.without_reason));
    Data {
        target: dump.target,
        name: dump.name,
        live: dump.tasks.live,
        idle: dump.tasks.idle,
        deadlocks: dump.rings.iter().map(deadlock).collect(),
        polls: dump.polls.into_iter().map(poll).collect(),
        groups: dump.groups.into_iter().map(group).collect(),
        more_groups,
        not_read,
    }
}

fn poll(poll: dump::Poll) -> Poll {
    let frames = poll.stack.iter();
    let frames = frames.map(|f| (f.function.clone(), f.location.clone(), f.plumbing));
    Poll {
        stack: own_frames(frames),
        thread: poll.who.text,
        task: poll.task.map(|task| task.text),
        cause: poll.cause.to_owned(),
        for_ms: poll.for_ms.map(round),
    }
}

fn group(group: dump::Group) -> Group {
    let says = |node: &&dump::Node| node.whose != "plumbing" && !node.function.is_empty();
    let chain = group.tree.iter().filter(says).take(NODES);
    let chain = chain.map(|node| Frame {
        function: node.function.clone(),
        location: node.location.clone(),
    });
    Group {
        tasks: group.count,
        ids: group.tasks.iter().take(IDS).map(|task| task.id).collect(),
        future: group.future,
        certain: group.certain,
        chain: chain.collect(),
        held_by: group.waits.iter().find_map(|wait| wait.held_by.clone()),
        waits_for: group.waits.into_iter().map(|wait| wait.what).collect(),
        oldest_s: group.oldest_s.map(round),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{diagnose::waits::Rings, model::fixtures};

    #[test]
    fn groups_are_few_and_the_rest_is_counted() {
        let model = fixtures::waits();
        let dump = dump::Dump::new("here", &model, &Rings::default());
        let all = dump.groups.len();
        assert!(all > 2);
        let two = answer(dump.clone(), "", 2);
        assert_eq!((two.data.groups.len(), two.data.more_groups), (2, all - 2));
        assert!(two.text.contains("more group"), "{}", two.text);
        let wanted = two.data.groups[1].future.clone();
        let chosen = answer(dump.clone(), &wanted.to_uppercase(), 100);
        assert!(
            chosen
                .data
                .groups
                .iter()
                .any(|group| group.future == wanted)
        );
        assert!(answer(dump, "no such text", 100).data.groups.is_empty());
    }
}
