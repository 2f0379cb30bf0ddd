//! The dump for people, like that of goroutines: what waits alike is shown once.
//!
//! ```text
//! shop, pid 4711, tokio 1.54.1, 2 workers; 22 tasks: 21 idle, 1 in a poll
//! where 21 of 21 idle tasks wait was read
//!
//! DEADLOCK: 2 wait for each other
//!   task 1 shop::transfer holds Mutex accounts, waits for Mutex audit at src/bank.rs:21
//!   task 2 shop::audit holds Mutex audit, waits for Mutex accounts at src/bank.rs:33
//!
//! 10 x shop::checkout  src/pool.rs:12
//!      shop::pool::take  src/pool.rs:31
//!      waits for permit of Semaphore pool (0 free)
//!        held by task 13 shop::report, which waits for ...
//!      tasks 3-12, the longest for at least 2.1 s
//! ```

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use crate::{
    diagnose::{
        spoken,
        waits::{LIKELY_FUTURES, LIKELY_HOLDER, at_text},
    },
    escape::escaped,
};

use super::{
    entries::{Dump, Frame, Group, Poll, Ring, RingMember, Stand, ThreadEntry, Who},
    tree,
};

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
        text.line(0, &of_unread(dump));
    }
    for without in &dump.without {
        let name = match &*without.future {
            "" => "tasks without a name",
            name => name,
        };
        let tasks = ids(&without.tasks);
        text.line(2, &format!("{} x {name}, {tasks}", without.count));
    }
    text.standing(dump);
    let foot = foot(dump);
    if !foot.is_empty() {
        text.blank();
    }
    for line in foot {
        text.line(0, &line);
    }
    text.text
}

fn head(dump: &Dump) -> String {
    let name = match &*dump.name {
        "" => &dump.target,
        name => name,
    };
    let mut head = if dump.core_dump {
        format!("core dump of {name}")
    } else {
        name.to_owned()
    };
    if let Some(pid) = dump.pid {
        let _ = write!(head, ", pid {pid}");
    }
    if let Some(written) = &dump.written {
        let written = written.replacen('T', " ", 1).replacen('Z', " UTC", 1);
        let _ = write!(head, ", written {written}");
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
            let about = if tasks.approximate { "about " } else { "" };
            let _ = write!(head, "; {about}{}", plural(live, "task"));
        }
        None => head.push_str("; tasks are not known"),
    }
    let states = [
        (tasks.idle, "idle"),
        (tasks.scheduled, "woken"),
        (tasks.running, "in a poll"),
        (tasks.block_on, "in block_on"),
        (tasks.blocking, "blocking"),
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
    // Those that were woken since wait as well, as their futures say.
    let noun = match dump.tasks.scheduled {
        0 => "idle task",
        _ => "idle or woken task",
    };
    let mut text = match (read.idle, read.read) {
        (0, 0) => return None,
        (idle, read) if idle == read => format!("where {} wait was read", of_all(idle, noun)),
        (idle, read) => format!("where {read} of {} wait was read", plural(idle, noun)),
    };
    if read.partial > 0 {
        let _ = write!(text, ", of {} not to the end", read.partial);
    }
    if !read.complete && read.read < read.idle {
        text.push_str("; the others were not reached in time, --for gives more");
    } else if dump.core_dump {
        // It is of one moment.
    } else if read.read.saturating_add(read.without) < read.idle {
        text.push_str("; the others ran meanwhile");
    } else if read.idle != dump.tasks.waiting() {
        text.push_str("; they were listed a moment before");
    }
    Some(text)
}

/// What stands before the tasks of which no chain is known.
fn of_unread(dump: &Dump) -> String {
    if dump.no_chains.is_some() {
        return "its idle tasks:".to_owned();
    }
    let all: u64 = dump.without.iter().map(|without| without.count).sum();
    let read = dump.read.as_ref();
    let tried = read.map_or(0, |read| read.without);
    let why = read.and_then(|read| read.without_reason.as_ref());
    match why {
        // Of most of them: the others were not tried.
        Some(why) if tried.saturating_mul(2) > all => {
            format!("where these wait is not known, mostly since {why}:")
        }
        Some(why) => format!("where these wait is not known, of {tried} mostly since {why}:"),
        None => "where these wait is not known:".to_owned(),
    }
}

/// What is to be known of the whole: what was not read, and what some words mean.
fn foot(dump: &Dump) -> Vec<String> {
    let mut foot: Vec<String> = Vec::new();
    foot.extend(dump.replaced.clone());
    foot.extend(dump.not_read.iter().map(|what| format!("not read: {what}")));
    if dump.groups.iter().any(|group| !group.certain) {
        foot.push(format!("(probably), of futures: {LIKELY_FUTURES}"));
    }
    let waits = dump.groups.iter().flat_map(|group| &group.waits);
    let of_groups = waits.filter_map(|wait| wait.held_by.as_ref());
    let of_threads = dump.threads.iter().filter_map(|t| t.held_by.as_ref());
    let mut held = of_groups.chain(of_threads);
    let holds = dump.standing.iter().flat_map(|stand| &stand.holds);
    let says = |text: &String| text.contains("probably");
    if held.any(says) || holds.into_iter().any(says) || dump.rings.iter().any(|r| !r.certain) {
        foot.push(format!("probably, of who holds a lock: {LIKELY_HOLDER}"));
    }
    foot
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
            self.line(2, &member_line(member));
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
        let at = at_text(first.at.as_deref().unwrap_or_default());
        let who: Vec<&str> = threads.iter().map(|t| t.who.text.as_str()).collect();
        let (who, what) = (named(&who), &first.waits_for);
        let verb = if threads.len() == 1 { "waits" } else { "wait" };
        self.line(0, &format!("{who} {verb} for {what}{at}"));
        let tasks = threads.iter().filter_map(|thread| thread.task.as_ref());
        let tasks: Vec<&str> = tasks.map(|task| task.text.as_str()).collect();
        let mut within = threads.iter().filter_map(|thread| thread.task.as_ref());
        let are_jobs = within.all(Who::is_job);
        match tasks.len() {
            0 => {}
            _ if are_jobs => self.line(5, &format!("in {}", named(&tasks))),
            1 => self.line(5, &format!("in the poll of {}", named(&tasks))),
            _ => self.line(5, &format!("in the polls of {}", named(&tasks))),
        }
        if let Some(held_by) = &first.held_by {
            self.line(5, held_by);
        }
    }

    /// Threads that wait for nothing that is known: those in one function together.
    fn standing(&mut self, dump: &Dump) {
        if dump.standing.is_empty() {
            return;
        }
        self.blank();
        let others = !dump.threads.is_empty() || !dump.polls.is_empty();
        let title = if others { "other threads:" } else { "threads:" };
        self.line(0, title);
        let mut alike: BTreeMap<(u8, String), Vec<&str>> = BTreeMap::new();
        for stand in &dump.standing {
            let known = alike.entry(stands(stand)).or_default();
            known.push(&stand.who.text);
        }
        for ((_, does), who) in alike {
            self.line(2, &format!("{} {does}", named(&who)));
        }
    }

    fn poll(&mut self, poll: &Poll) {
        self.blank();
        let of = poll.task.as_ref();
        let of = of.map_or(String::new(), |task| format!(" of {}", task.text));
        let long = poll
            .for_ms
            .map_or(String::new(), |ms| format!(" for {}", time(ms / 1e3)));
        let who = &poll.who.text;
        let does = match poll.cause {
            "lock" => "it waits for a lock",
            "system call" => "it is in a system call",
            cause => cause,
        };
        self.line(0, &format!("{who} is in a poll{of}{long}: {does}"));
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
        let at = group.tree.get(tree::own(&group.tree));
        let at = at.map(tree::location).unwrap_or_default();
        self.line(0, &format!("{} x {name}{sure}{at}", group.count));
        for line in tree::lines(group) {
            self.line(5, &line);
        }
        if let Some(cut) = &group.cut {
            self.line(5, &format!("... the rest is not known: {cut}"));
        }
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
        self.line(5, &format!("{tasks}{}", age(group)));
    }
}

/// "task 1 `bank::transfer` holds Mutex accounts, waits for Mutex audit at src/bank.rs:21".
fn member_line(member: &RingMember) -> String {
    let (who, what) = (&member.who.text, &member.waits_for);
    let at = at_text(member.at.as_deref().unwrap_or_default());
    let Some(holds) = &member.holds else {
        return format!("{who} waits for {what}{at}");
    };
    let across = member.holds_across.as_ref();
    let across = across.map_or(String::new(), |at| format!(" (across {at})"));
    format!("{who} holds {holds}{across}, waits for {what}{at}")
}

/// Where a thread stands, after its name, and how much that says: the less the smaller.
fn stands(stand: &Stand) -> (u8, String) {
    let (rank, mut text) = match (&stand.function, &stand.at) {
        (Some(function), Some(at)) => (1, format!("in {function} at {at}")),
        (Some(function), None) => (1, format!("in {function}")),
        (None, Some(at)) => (1, format!("at {at}")),
        (None, None) if stand.parked => (2, "parked: no task is to be polled".to_owned()),
        (None, None) => (3, "in no function of the application's own".to_owned()),
    };
    if let Some(task) = &stand.task {
        let _ = write!(text, ", {} {}", task.within(), task.text);
    }
    if stand.holds.is_empty() {
        return (rank, text);
    }
    (0, format!("{text}, holds {}", stand.holds.join(" and ")))
}

/// For how long they have waited.
fn age(group: &Group) -> String {
    match (group.oldest_s, group.count) {
        (None, _) => String::new(),
        (Some(seconds), 1) => format!(", for at least {}", time(seconds)),
        (Some(seconds), _) => format!(", the longest for at least {}", time(seconds)),
    }
}

fn time(seconds: f64) -> String {
    spoken(Duration::try_from_secs_f64(seconds).unwrap_or_default())
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
