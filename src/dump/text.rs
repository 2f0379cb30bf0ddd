//! The dump for people, like that of goroutines: what waits alike is shown once.
//!
//! ```text
//! shop, pid 4711, tokio 1.54.1, 2 workers; 22 tasks: 21 idle, 1 in a poll
//! where 21 of 21 idle tasks wait was read
//!
//! DEADLOCK: 2 wait for each other
//!   task 1 shop::transfer  waits for Mutex audit at src/bank.rs:21, holds Mutex accounts
//!   task 2 shop::audit  waits for Mutex accounts at src/bank.rs:33, holds Mutex audit
//!
//! 10 x shop::checkout  src/pool.rs:12
//!      shop::pool::take  src/pool.rs:31
//!      waits for permit of Semaphore pool (0 free), the longest for at least 2.1 s
//!      held by task 13 shop::report, which waits for ...
//!      tasks 3-12
//! ```

use std::fmt::Write;

use crate::escape::escaped;

use super::entries::{Dump, Frame, Group, Node, Poll, Ring, ThreadEntry, Wait};

/// Ranges of ids that are shown of one group.
const MAX_RANGES: usize = 8;
/// Of those who do the same this many are named.
const MAX_NAMED: usize = 8;
/// Frames of a stack.
const MAX_FRAMES: usize = 12;

pub(super) fn render(dump: &Dump) -> String {
    let mut text = Text::default();
    text.line(0, &head(dump));
    if let Some(read) = reading(dump) {
        text.line(0, &read);
    }
    for ring in &dump.rings {
        text.ring(ring);
    }
    for threads in alike(&dump.threads) {
        text.threads(&threads);
    }
    for poll in &dump.polls {
        text.poll(poll);
    }
    for group in &dump.groups {
        text.group(group);
    }
    if !dump.without.is_empty() {
        text.blank();
        let why = dump
            .read
            .as_ref()
            .and_then(|read| read.without_reason.as_ref());
        let why = why.map_or(String::new(), |why| format!(", mostly since {why}"));
        text.line(0, &format!("where these wait is not known{why}:"));
    }
    for without in &dump.without {
        let name = match &*without.future {
            "" => "tasks without a name",
            name => name,
        };
        let tasks = ids(&without.tasks);
        text.line(2, &format!("{} x {name}, {tasks}", without.count));
    }
    if !dump.not_read.is_empty() {
        text.blank();
    }
    for what in &dump.not_read {
        text.line(0, &format!("not read: {what}"));
    }
    text.text
}

fn head(dump: &Dump) -> String {
    let name = match &*dump.name {
        "" => &dump.target,
        name => name,
    };
    let mut head = name.to_owned();
    if let Some(pid) = dump.pid {
        let _ = write!(head, ", pid {pid}");
    }
    if let Some(tokio) = &dump.tokio {
        let _ = write!(head, ", tokio {tokio}");
    }
    if dump.workers > 0 {
        let _ = write!(head, ", {}", plural(dump.workers, "worker"));
    }
    let tasks = dump.tasks;
    match tasks.live {
        Some(live) => {
            let _ = write!(head, "; {}", plural(live, "task"));
        }
        None => head.push_str("; tasks are not known"),
    }
    let states = [
        (tasks.idle, "idle"),
        (tasks.scheduled, "woken"),
        (tasks.running, "in a poll"),
    ];
    let states: Vec<String> = states
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, state)| format!("{count} {state}"))
        .collect();
    if !states.is_empty() {
        let _ = write!(head, ": {}", states.join(", "));
    }
    head
}

/// How much was read, or why nothing was.
fn reading(dump: &Dump) -> Option<String> {
    if let Some(why) = &dump.no_chains {
        return Some(format!("where they wait is not known: {why}"));
    }
    let read = dump.read.as_ref()?;
    let mut text = match (read.idle, read.read) {
        (0, 0) => return None,
        (idle, read) if idle == read => {
            format!("where {} wait was read", of_all(idle, "idle task"))
        }
        (idle, read) => format!(
            "where {read} of {} wait was read",
            plural(idle, "idle task")
        ),
    };
    if read.partial > 0 {
        let _ = write!(text, ", of {} not to the end", read.partial);
    }
    if !read.complete && read.read < read.idle {
        text.push_str("; the others were not reached in time, --for gives more");
    }
    Some(text)
}

fn of_all(count: u64, noun: &str) -> String {
    match count {
        1 => format!("the only {noun}"),
        count => format!("all {count} {noun}s"),
    }
}

#[derive(Default)]
struct Text {
    text: String,
}

impl Text {
    fn blank(&mut self) {
        self.text.push('\n');
    }

    fn line(&mut self, indent: usize, line: &str) {
        let _ = writeln!(self.text, "{:indent$}{}", "", escaped(line));
    }

    fn ring(&mut self, ring: &Ring) {
        self.blank();
        let sure = if ring.certain { "" } else { ", probably" };
        let what = match ring.members.len() {
            1 => format!("DEADLOCK{sure}: one waits for itself"),
            count => format!("DEADLOCK{sure}: {count} wait for each other"),
        };
        self.line(0, &what);
        for member in &ring.members {
            let at = member
                .at
                .as_ref()
                .map_or(String::new(), |at| format!(" at {at}"));
            let holds = member.holds.as_ref();
            let holds = holds.map_or(String::new(), |holds| format!(", holds {holds}"));
            let (who, what) = (&member.who.text, &member.waits_for);
            self.line(2, &format!("{who} waits for {what}{at}{holds}"));
        }
        if !ring.behind.is_empty() {
            let verb = if ring.behind.len() == 1 {
                "waits"
            } else {
                "wait"
            };
            let behind: Vec<&str> = ring.behind.iter().map(|who| who.text.as_str()).collect();
            let behind = format!("{} {verb} for them", named(&behind));
            self.line(2, &behind);
        }
    }

    /// Threads that wait alike.
    fn threads(&mut self, threads: &[&ThreadEntry]) {
        let Some(first) = threads.first() else { return };
        self.blank();
        let at = first.at.as_ref();
        let at = at.map_or(String::new(), |at| format!(" at {at}"));
        let who: Vec<&str> = threads.iter().map(|t| t.who.text.as_str()).collect();
        let (who, what) = (named(&who), &first.waits_for);
        let verb = if threads.len() == 1 { "waits" } else { "wait" };
        self.line(0, &format!("{who} {verb} for {what}{at}"));
        let tasks = threads.iter().filter_map(|thread| thread.task.as_ref());
        let tasks: Vec<&str> = tasks.map(|task| task.text.as_str()).collect();
        match tasks.len() {
            0 => {}
            1 => self.line(5, &format!("in the poll of {}", named(&tasks))),
            _ => self.line(5, &format!("in the polls of {}", named(&tasks))),
        }
        if let Some(held_by) = &first.held_by {
            self.line(5, held_by);
        }
    }

    fn poll(&mut self, poll: &Poll) {
        self.blank();
        let of = poll.task.as_ref();
        let of = of.map_or(String::new(), |task| format!(" of {}", task.text));
        let long = poll
            .for_ms
            .map_or(String::new(), |ms| format!(" for {}", time(ms / 1e3)));
        let (who, cause) = (&poll.who.text, poll.cause);
        self.line(0, &format!("{who} is in a poll{of}{long}: {cause}"));
        let own: Vec<&Frame> = poll.stack.iter().filter(|f| !f.plumbing).collect();
        for frame in own.iter().take(MAX_FRAMES) {
            let at = frame.location.as_ref();
            let at = at.map_or(String::new(), |at| format!("  {at}"));
            self.line(5, &format!("{}{at}", frame.function));
        }
    }

    fn group(&mut self, group: &Group) {
        self.blank();
        let name = match &*group.future {
            "" => "a task without a name",
            name => name,
        };
        let sure = if group.certain { "" } else { " (probably)" };
        let tree = below_wrappers(&group.tree);
        let at = tree.first().map(location).unwrap_or_default();
        self.line(0, &format!("{} x {name}{sure}{at}", group.count));
        self.tree(tree);
        if let Some(cut) = &group.cut {
            self.line(5, &format!("... the rest is not known: {cut}"));
        }
        self.waits(group);
        let ids_of: Vec<u64> = group.tasks.iter().map(|task| task.id).collect();
        let mut tasks = ids(&ids_of);
        if let [task] = &group.tasks[..] {
            let given = task.name.as_ref().filter(|given| **given != group.future);
            if let Some(given) = given {
                let _ = write!(tasks, " {given}");
            }
            if task.woken {
                tasks.push_str(", which was woken meanwhile");
            }
        }
        self.line(5, &tasks);
    }

    /// The futures below the task's own: those of the application and its libraries, and
    /// where they part. A chain stays at one depth.
    fn tree(&mut self, tree: &[Node]) {
        // Depth in the tree, and how far in its line is, of the nodes around the next.
        let mut around: Vec<(u32, usize)> = Vec::new();
        for (at, node) in tree.iter().enumerate() {
            while around.last().is_some_and(|(depth, _)| *depth >= node.depth) {
                around.pop();
            }
            let indent = around.last().map_or(0, |(_, indent)| *indent);
            let parts = matches!(node.kind, "select" | "join");
            let within = if parts { indent + 2 } else { indent };
            around.push((node.depth, within));
            let name = match (node.kind, node.whose) {
                ("select", _) if node.function.contains("timeout") => "timeout",
                ("select", "plumbing") => "select!",
                ("join", "plumbing") => "join!",
                (_, "plumbing") => continue,
                _ => &node.function,
            };
            if at == 0 && !parts {
                continue;
            }
            let link = match node.link {
                "kept" => "kept and not polled: ",
                "not started" => "not polled yet: ",
                _ => "",
            };
            self.line(5 + indent, &format!("{link}{name}{}", location(node)));
        }
    }

    fn waits(&mut self, group: &Group) {
        let joint = if group.needs_all { "and" } else { "or" };
        let last = group.waits.len().saturating_sub(1);
        if group.waits.is_empty() {
            self.line(
                5,
                &format!("waits for something that is not known{}", age(group)),
            );
        }
        for (at, wait) in group.waits.iter().enumerate() {
            let verb = match at {
                0 => "waits for",
                _ => joint,
            };
            let age = if at == last {
                age(group)
            } else {
                String::new()
            };
            self.line(5, &format!("{verb} {}{}{age}", wait.what, others(wait)));
            if let Some(held_by) = &wait.held_by {
                let of_first = if wait.others > 0 {
                    "the first one "
                } else {
                    ""
                };
                self.line(7, &format!("{of_first}{held_by}"));
            }
        }
    }
}

fn others(wait: &Wait) -> String {
    match wait.others {
        0 => String::new(),
        n => format!(" (one of {} such)", n + 1),
    }
}

fn age(group: &Group) -> String {
    match (group.oldest_s, group.count) {
        (None, _) => String::new(),
        (Some(seconds), 1) => format!(", for at least {}", time(seconds)),
        (Some(seconds), _) => format!(", the longest for at least {}", time(seconds)),
    }
}

/// The tree without what only wraps it, as tokio's tracing wraps every task.
fn below_wrappers(tree: &[Node]) -> &[Node] {
    let says = |node: &Node| node.kind != "wrapper" || node.whose != "plumbing";
    let first = tree.iter().position(says).unwrap_or(0);
    &tree[first..]
}

fn location(node: &Node) -> String {
    match &node.location {
        None => String::new(),
        Some(at) if node.by_macro => format!("  in the fn at {at}"),
        Some(at) => format!("  {at}"),
    }
}

/// "843 ms", "2.1 s", "41 s", "12 min", "3.5 h".
fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 300.0 => format!("{s:.0} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3_600.0),
    }
}

fn plural(count: u64, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}

/// Those of whom not all are named.
fn named(all: &[&str]) -> String {
    let shown = all.iter().take(MAX_NAMED).copied();
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if all.len() > MAX_NAMED {
        let _ = write!(text, " and {} more", all.len() - MAX_NAMED);
    }
    text
}

/// Threads that wait for the same at one place, together.
fn alike(threads: &[ThreadEntry]) -> Vec<Vec<&ThreadEntry>> {
    let mut alike: Vec<Vec<&ThreadEntry>> = Vec::new();
    for thread in threads {
        let about = |t: &ThreadEntry| (t.waits_for.clone(), t.at.clone(), t.held_by.clone());
        let known = alike.iter_mut().find(|of| about(of[0]) == about(thread));
        match known {
            Some(known) => known.push(thread),
            None => alike.push(vec![thread]),
        }
    }
    alike
}

/// "tasks 3, 5-12".
fn ids(ids: &[u64]) -> String {
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for id in sorted {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(id) => *last = id,
            _ => ranges.push((id, id)),
        }
    }
    let shown = ranges.iter().take(MAX_RANGES).map(|range| match range {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    });
    let mut text = shown.collect::<Vec<_>>().join(", ");
    let hidden = ranges.iter().skip(MAX_RANGES);
    let hidden: u64 = hidden.map(|(first, last)| last - first + 1).sum();
    if hidden > 0 {
        let _ = write!(text, " and {hidden} more");
    }
    let noun = if ids.len() == 1 { "task" } else { "tasks" };
    format!("{noun} {text}")
}
