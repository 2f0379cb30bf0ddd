//! What a dump is made of.

use serde::Serialize;

/// Where the tasks of a program wait, as of one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Dump {
    /// [`SCHEMA`](super::SCHEMA).
    pub schema: u32,
    /// As given by the user.
    pub target: String,
    /// The application's name; empty where unknown.
    pub name: String,
    /// Its process's id; `null` where unknown.
    pub pid: Option<u32>,
    /// The version of tokio; `null` where unknown.
    pub tokio: Option<String>,
    /// It is of a core dump: descriptors and times are not known.
    pub core_dump: bool,
    /// When the core dump was written, as RFC 3339 has it; `null` of what lives.
    pub written: Option<String>,
    /// That another file, or none, is in the place of the program's now, a sentence; `null`
    /// where it is still there.
    pub replaced: Option<String>,
    /// Workers that are known.
    pub workers: u64,
    /// Tasks by what they do.
    pub tasks: TaskCounts,
    /// How much of them was read; `null` where nobody reads where they wait.
    pub read: Option<Read>,
    /// Why nobody does; `null` where somebody does.
    pub no_chains: Option<String>,
    /// What could not be looked at, sentences.
    pub not_read: Vec<String>,
    /// Deadlocks.
    pub rings: Vec<Ring>,
    /// Tasks that wait alike, most of them first.
    pub groups: Vec<Group>,
    /// Threads that wait outside of tokio.
    pub threads: Vec<ThreadEntry>,
    /// Other threads: where they stand, and what they hold. Of a core dump all, of a process
    /// those of which that is known.
    pub standing: Vec<Stand>,
    /// Polls that go on.
    pub polls: Vec<Poll>,
    /// Idle tasks of which no chain is known, by their future.
    pub without: Vec<Without>,
}

/// Tasks by what they do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct TaskCounts {
    /// Alive, as many as tokio counts where they are not seen; `null` where that is unknown
    /// too.
    pub live: Option<u64>,
    /// Waiting to be woken.
    pub idle: u64,
    /// Woken, and not polled yet.
    pub scheduled: u64,
    /// In a poll.
    pub running: u64,
    /// Futures of `block_on`, whatever they do, as far as an agent counts them: where they
    /// wait is not read.
    pub block_on: u64,
    /// Jobs of the blocking pool, likewise.
    pub blocking: u64,
    /// Tasks came and went while they were listed: some of these have ended, and others are
    /// missing.
    pub approximate: bool,
}

impl TaskCounts {
    /// Those of which it is read where they wait.
    pub(super) fn waiting(self) -> u64 {
        self.idle.saturating_add(self.scheduled)
    }
}

/// How much was read.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Read {
    /// Idle tasks.
    pub idle: u64,
    /// Those of them whose chain is known.
    pub read: u64,
    /// Those of these whose chain is not whole.
    pub partial: u64,
    /// Those that were tried, and of which nothing is known.
    pub without: u64,
    /// Why, of most of them; `null` where there are none.
    pub without_reason: Option<String>,
    /// Each idle task was tried.
    pub complete: bool,
    /// CPU that reading has used, in ms.
    pub cpu_ms: f64,
}

/// A task or a thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Who {
    /// task, job (of the blocking pool) or thread.
    pub kind: &'static str,
    /// Its id: tokio's where it is known, or the kernel's.
    pub id: u64,
    /// In words.
    pub text: String,
}

impl Who {
    /// It is a job of the blocking pool.
    pub fn is_job(&self) -> bool {
        self.kind == "job"
    }

    /// What a thread is in that works on it.
    pub fn within(&self) -> &'static str {
        if self.is_job() {
            "in"
        } else {
            "in the poll of"
        }
    }
}

/// Tasks and threads that wait for each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ring {
    /// Nothing could let them go on, be it known or not.
    pub certain: bool,
    /// Each waits for the next, the last for the first.
    pub members: Vec<RingMember>,
    /// Who waits for them, directly or through others.
    pub behind: Vec<Who>,
}

/// One of a ring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RingMember {
    /// Who.
    pub who: Who,
    /// For what.
    pub waits_for: String,
    /// The application's line at which it does; `null` where unknown.
    pub at: Option<String>,
    /// What it has that the one before wants; `null` where its end is wanted.
    pub holds: Option<String>,
    /// The application's line of the await across which it has that; `null` where it is the
    /// line at which it waits, or unknown.
    pub holds_across: Option<String>,
}

/// Tasks with the same futures that wait for the same.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// How many.
    pub count: u64,
    /// What they run, in short.
    pub future: String,
    /// How their futures were read: types, interpreter or unknown.
    pub by: &'static str,
    /// Their futures are theirs for certain.
    pub certain: bool,
    /// Why the tree is not whole; `null` where it is.
    pub cut: Option<String>,
    /// The longest that one has waited, at least, in s; `null` where that is unknown.
    pub oldest_s: Option<f64>,
    /// Their futures in preorder.
    pub tree: Vec<Node>,
    /// What they wait for.
    pub waits: Vec<Wait>,
    /// They wait for all of that; otherwise for any of it.
    pub needs_all: bool,
    /// They.
    pub tasks: Vec<Task>,
}

/// A future.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Node {
    /// 0 for the task's own.
    pub depth: u32,
    /// async fn, async block, select, join, wrapper, combinator, leaf or unknown.
    pub kind: &'static str,
    /// Its type or poll function, whole; empty where unknown.
    pub future: String,
    /// The same in short.
    pub function: String,
    /// Where it waits, `file:line`; `null` where unknown.
    pub location: Option<String>,
    /// A macro wrote that await, and the location is where the function begins.
    pub by_macro: bool,
    /// awaited, not started, kept or unknown.
    pub link: &'static str,
    /// application, library or plumbing.
    pub whose: &'static str,
}

/// What a group waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wait {
    /// permits, message, room, other, task, job (of the blocking pool), timer, socket, never or unknown.
    pub kind: &'static str,
    /// In words; of the first of them, where each has its own.
    pub what: String,
    /// The same without what is each one's own: for flame graphs.
    pub asked: String,
    /// Others of its kind that others of the group wait for.
    pub others: u64,
    /// Position among the tree's nodes.
    pub node: u32,
    /// The application's line; `null` where unknown.
    pub at: Option<String>,
    /// The resource's address; `null` where it is of none, or each has its own.
    pub resource: Option<String>,
    /// Who can give it, and what the first of them waits for, in words, or that nobody is left;
    /// `null` where nobody is known.
    pub held_by: Option<String>,
    /// Who can give it.
    pub holders: Vec<HolderEntry>,
}

/// Who has what others wait for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HolderEntry {
    /// Who.
    pub who: Who,
    /// What of it; `null` where its end is waited for.
    pub holds: Option<String>,
    /// Known, and not only probable.
    pub certain: bool,
    /// The future that has it is kept, and not polled.
    pub kept: bool,
    /// What it waits for itself; `null` where that is unknown.
    pub waits: Option<String>,
}

/// A task of a group.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Task {
    /// tokio's id, where it is known, or the one of this dump.
    pub id: u64,
    /// The name that it was given, or that of its future; `null` where neither is known.
    pub name: Option<String>,
    /// What it waits for, in words.
    pub waits_for: String,
    /// For how long at least, in s; `null` where that is unknown.
    pub for_s: Option<f64>,
    /// It was woken, and will be polled.
    pub woken: bool,
    /// What it has that others may wait for.
    pub holds: Vec<String>,
}

/// A thread that waits outside of tokio.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ThreadEntry {
    /// It.
    pub who: Who,
    /// For what.
    pub waits_for: String,
    /// The application's line, or its function; `null` where unknown.
    pub at: Option<String>,
    /// The task in whose poll it does, or the job of the blocking pool that it runs.
    pub task: Option<Who>,
    /// Who has it, in words; `null` where nobody is known.
    pub held_by: Option<String>,
}

/// A thread that waits for nothing that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stand {
    /// It.
    pub who: Who,
    /// It drives a runtime, and waits for work.
    pub parked: bool,
    /// The application's function in which it is, the innermost one; `null` where it is in
    /// none that is known.
    pub function: Option<String>,
    /// That function's line; `null` where unknown.
    pub at: Option<String>,
    /// The task in whose poll it is, or the job of the blocking pool that it runs.
    pub task: Option<Who>,
    /// What it has that others wait for.
    pub holds: Vec<String>,
}

/// A poll that goes on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Poll {
    /// The thread.
    pub who: Who,
    /// The task; `null` where it is unknown or none.
    pub task: Option<Who>,
    /// computing, lock, sleeping, ...
    pub cause: &'static str,
    /// For how long it was seen, in ms; `null` in a core dump.
    pub for_ms: Option<f64>,
    /// Innermost first; empty where it was not seen.
    pub stack: Vec<Frame>,
}

/// A frame of a stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Frame {
    /// Readable name, or module and offset.
    pub function: String,
    /// `file:line`; `null` where unknown.
    pub location: Option<String>,
    /// Runtime, standard library or system.
    pub plumbing: bool,
}

/// Idle tasks of one future of which no chain is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Without {
    /// How many.
    pub count: u64,
    /// What they run; empty where unknown.
    pub future: String,
    /// They.
    pub tasks: Vec<u64>,
}
