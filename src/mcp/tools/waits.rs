//! `waits`: what tasks wait for, who has it, and who waits for whom in a ring.

use std::{collections::BTreeMap, fmt::Write, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Answer, Desk, Failure, Kind, Wanted, limit, shown::round};
use crate::{diagnose::waits::at_text, dump, escape::escaped, mcp::answer::more};

pub(super) struct Waits;

/// What a call may say.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Arguments {
    /// HOST:PORT, unix:PATH, pid:N, core:FILE or the path of a recording, of which the end
    /// is shown; by default the only program there is.
    target: Option<String>,
    /// Things waited for at most (default 10).
    #[schemars(range(min = 1, max = 100))]
    limit: Option<usize>,
}

/// Who waits for what.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Data {
    /// The target as it was named.
    target: String,
    /// The application's name; empty where unknown.
    name: String,
    /// Tasks that wait to be woken.
    idle: u64,
    /// Those of them of which it was read where they wait.
    read: u64,
    /// Deadlocks: who waits for each other.
    deadlocks: Vec<Deadlock>,
    /// What is waited for, that of most tasks first.
    waits: Vec<Wait>,
    /// Things waited for that are left out.
    more_waits: usize,
    /// Threads that wait outside of tokio, in sentences.
    threads: Vec<String>,
    /// What is not known, and why.
    not_read: Vec<String>,
}

/// Tasks and threads that wait for each other.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Deadlock {
    /// Nothing could let them go on, be it known or not.
    certain: bool,
    /// How many wait for each other.
    size: usize,
    /// Each waits for the next, the last for the first; of a very large ring the first ones.
    members: Vec<Member>,
    /// How many others wait for them.
    behind: usize,
}

/// One of a ring.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Member {
    /// Who.
    who: String,
    /// For what.
    waits_for: String,
    /// `file:line` at which it does; null where unknown.
    location: Option<String>,
    /// What it has that the one before wants.
    holds: Option<String>,
}

/// What is waited for.
#[derive(Debug, Serialize, JsonSchema)]
struct Wait {
    /// What.
    waits_for: String,
    /// permits, message, room, other, task, job, timer, socket, never or unknown.
    kind: String,
    /// The application's `file:line` that waits; null where unknown.
    location: Option<String>,
    /// How many tasks do.
    tasks: u64,
    /// What they run, the first of them.
    futures: Vec<String>,
    /// The longest that one has waited, at least; null where unknown.
    oldest_s: Option<f64>,
    /// Who could give it, and what that one waits for; null where unknown.
    held_by: Option<String>,
}

/// Things waited for where a call does not say how many.
const WAITS: usize = 10;
/// Members of a ring, and futures of a wait, that are named.
const MEMBERS: usize = 10;
const FUTURES: usize = 3;
/// Sentences about threads.
const THREADS: usize = 10;

impl Kind for Waits {
    const NAME: &'static str = "waits";
    const TITLE: &'static str = "Who waits for what";
    const ABOUT: &'static str = "What the idle tasks of a tokio program wait for: locks, channels, \
        timers, sockets, other tasks; how many at which file:line, for how long, and who holds it; \
        deadlocks. For programs that hang rather than block. Read in the process's memory, so it \
        needs an agent with its feature `waits`, or the right to read the process.";
    type Arguments = Arguments;
    type Data = Data;

    async fn call(desk: Arc<Desk>, arguments: Arguments) -> Result<Answer<Data>, Failure> {
        let (name, watched) = desk
            .watched(arguments.target.as_deref(), Wanted::Chains)
            .await?;
        let dump = watched.dump(&name);
        drop(watched);
        let data = data(dump, limit(arguments.limit, WAITS));
        Ok(Answer {
            text: text(&data),
            data,
        })
    }
}

fn data(dump: dump::Dump, most: usize) -> Data {
    let mut waits = by_want(&dump.groups);
    let more_waits = waits.len().saturating_sub(most);
    waits.truncate(most);
    let threads = dump.threads.iter().take(THREADS).map(thread);
    let mut not_read = dump.not_read.clone();
    not_read.extend(dump.no_chains.clone());
    not_read.extend(
        dump.read
            .as_ref()
            .and_then(|read| read.without_reason.clone()),
    );
    Data {
        idle: dump.tasks.idle,
        read: dump.read.as_ref().map_or(0, |read| read.read),
        deadlocks: dump.rings.iter().map(deadlock).collect(),
        waits,
        more_waits,
        threads: threads.collect(),
        not_read,
        target: dump.target,
        name: dump.name,
    }
}

/// Groups of tasks by what they wait for, and where.
fn by_want(groups: &[dump::Group]) -> Vec<Wait> {
    let mut waits: BTreeMap<(String, Option<String>, Option<String>), Wait> = BTreeMap::new();
    for group in groups {
        for want in &group.waits {
            // Where each has its own, what all of them have in common.
            let what = if want.others > 0 {
                &want.asked
            } else {
                &want.what
            };
            let held_by = want.held_by.clone().filter(|_| want.others == 0);
            let key = (what.clone(), want.at.clone(), held_by.clone());
            let wait = waits.entry(key).or_insert_with(|| Wait {
                waits_for: what.clone(),
                kind: want.kind.to_owned(),
                location: want.at.clone(),
                tasks: 0,
                futures: Vec::new(),
                oldest_s: None,
                held_by,
            });
            wait.tasks += group.count;
            let oldest = group.oldest_s.map(round);
            wait.oldest_s = match (wait.oldest_s, oldest) {
                (Some(a), Some(b)) => Some(a.max(b)),
                (a, b) => a.or(b),
            };
            if wait.futures.len() < FUTURES && !wait.futures.contains(&group.future) {
                wait.futures.push(group.future.clone());
            }
        }
    }
    let mut waits: Vec<Wait> = waits.into_values().collect();
    waits.sort_by_key(|wait| std::cmp::Reverse(wait.tasks));
    waits
}

pub(super) fn deadlock(ring: &dump::Ring) -> Deadlock {
    let member = |member: &dump::RingMember| Member {
        who: member.who.text.clone(),
        waits_for: member.waits_for.clone(),
        location: member.at.clone(),
        holds: member.holds.clone(),
    };
    Deadlock {
        certain: ring.certain,
        size: ring.members.len(),
        members: ring.members.iter().take(MEMBERS).map(member).collect(),
        behind: ring.behind.len(),
    }
}

fn thread(thread: &dump::ThreadEntry) -> String {
    let mut text = format!("{} waits for {}", thread.who.text, thread.waits_for);
    text.push_str(&at_text(thread.at.as_deref().unwrap_or_default()));
    if let Some(task) = &thread.task {
        let _ = write!(text, ", {} {}", task.within(), task.text);
    }
    if let Some(held_by) = &thread.held_by {
        let _ = write!(text, ", {held_by}");
    }
    text
}

fn text(data: &Data) -> String {
    let tasks = if data.idle == 1 { "task" } else { "tasks" };
    let mut text = format!(
        "{}: {} idle {tasks}, where {} of them wait was read\n",
        data.target, data.idle, data.read
    );
    for deadlock in &data.deadlocks {
        let sure = if deadlock.certain { "" } else { ", probably" };
        let count = deadlock.size;
        let _ = writeln!(
            text,
            "\nDEADLOCK{sure}, {count} in a ring, {} behind them",
            deadlock.behind
        );
        for member in &deadlock.members {
            let mut line = format!("{} waits for {}", member.who, member.waits_for);
            line.push_str(&at_text(member.location.as_deref().unwrap_or_default()));
            if let Some(holds) = &member.holds {
                let _ = write!(line, ", holds {holds}");
            }
            let _ = writeln!(text, "  {}", escaped(&line));
        }
    }
    if !data.waits.is_empty() {
        text.push('\n');
    }
    for wait in &data.waits {
        let verb = if wait.tasks == 1 {
            "task waits"
        } else {
            "tasks wait"
        };
        let mut line = format!("{} {verb} for {}", wait.tasks, wait.waits_for);
        line.push_str(&at_text(wait.location.as_deref().unwrap_or_default()));
        if let Some(oldest) = wait.oldest_s {
            let _ = write!(line, ", the longest for at least {oldest:.1} s");
        }
        let _ = write!(line, ": {}", wait.futures.join(", "));
        let _ = writeln!(text, "{}", escaped(&line));
        if let Some(held_by) = &wait.held_by {
            let _ = writeln!(text, "    {}", escaped(held_by));
        }
    }
    for thread in &data.threads {
        let _ = writeln!(text, "{}", escaped(thread));
    }
    text.extend(more(data.more_waits, "thing waited for").map(|more| more + "\n"));
    for why in &data.not_read {
        let _ = writeln!(text, "not known: {}", escaped(why));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{diagnose::waits::Rings, model::fixtures};

    #[test]
    fn what_is_waited_for_is_counted_whoever_waits() {
        let model = fixtures::waits();
        let dump = dump::Dump::new("here", &model, &Rings::default());
        let waiting: u64 = dump
            .groups
            .iter()
            .map(|g| g.count * g.waits.len() as u64)
            .sum();
        let all = data(dump.clone(), 100);
        assert_eq!(
            all.waits.iter().map(|wait| wait.tasks).sum::<u64>(),
            waiting
        );
        assert!(all.waits.windows(2).all(|two| two[0].tasks >= two[1].tasks));
        assert!(all.waits.iter().any(|wait| wait.held_by.is_some()));
        assert!(all.waits.iter().any(|wait| wait.location.is_some()));
        let one = data(dump, 1);
        assert_eq!((one.waits.len(), one.more_waits), (1, all.waits.len() - 1));
        let place = one.waits[0].location.clone().unwrap();
        let text = text(&one);
        assert!(text.contains(&place), "{text}");
        assert!(text.contains("more thing"), "{text}");
    }
}
