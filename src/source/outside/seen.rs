//! What was seen of a process from outside, as plain facts.

use std::{sync::Arc, time::Instant};

use looptop_outside::waiting::Found;
use looptop_wire::proto::{
    Cause, Evidence, Flavor, RuntimeFound, StallScope, TaskKind, TaskState, ThreadRole, ThreadState,
};

/// Where the cell of a task is in the process's memory: no two live tasks share it.
pub(super) type Header = u64;

/// The threads and stalls at one instant.
#[derive(Debug, Clone, Default)]
pub(super) struct Look {
    pub(super) threads: Vec<Thread>,
    /// Those that began, changed or ended since the look before.
    pub(super) stalls: Vec<Stall>,
    /// All that are known; later ones come at the end.
    pub(super) modules: Vec<Module>,
    pub(super) doing: Doing,
}

/// A thread.
#[derive(Debug, Clone, Default)]
pub(super) struct Thread {
    pub(super) tid: u64,
    pub(super) name: String,
    pub(super) state: ThreadState,
    pub(super) role: ThreadRole,
    /// Of the runtime that it drives; unknown where it drives none.
    pub(super) drives: Flavor,
    pub(super) does: Does,
    pub(super) user_ns: u64,
    pub(super) system_ns: u64,
    pub(super) run_queue_ns: Option<u64>,
    /// Voluntary ones, and the others.
    pub(super) switches: Option<(u64, u64)>,
}

/// What a thread that drives a runtime does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Does {
    /// It is not known, or the thread drives none.
    #[default]
    Unknown,
    /// It waits for work.
    Parked,
    /// It works.
    Active,
    /// It is in one poll, at least since then.
    Polling { since_ns: u64, task: Option<Polled> },
}

/// The task in poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Polled {
    pub(super) header: Header,
    /// Tokio's id.
    pub(super) id: u64,
}

/// A poll that takes long.
#[derive(Debug, Clone, Default)]
pub(super) struct Stall {
    pub(super) id: u64,
    pub(super) live: bool,
    /// It was none after all.
    pub(super) withdrawn: bool,
    pub(super) scope: StallScope,
    pub(super) tid: u64,
    pub(super) task: Option<Polled>,
    pub(super) started_ns: u64,
    pub(super) duration_ns: u64,
    pub(super) cause: Cause,
    pub(super) cpu_ns: Option<u64>,
    pub(super) run_queue_ns: Option<u64>,
    pub(super) observed_ns: Option<u64>,
    pub(super) syscall: Option<String>,
    pub(super) object: Option<String>,
    pub(super) lock_address: Option<u64>,
    pub(super) stacks: Vec<Stack>,
    pub(super) no_stack: Option<String>,
    pub(super) looks: u32,
}

/// A stack as it was seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Stack {
    pub(super) first_ns: u64,
    pub(super) last_ns: u64,
    pub(super) count: u32,
    /// Position of the module and the file's own address, innermost first.
    pub(super) frames: Vec<(Option<u32>, u64)>,
    pub(super) truncated: bool,
    pub(super) cause: Cause,
    pub(super) syscall: Option<String>,
    pub(super) evidence: Evidence,
}

/// A mapped file.
#[derive(Debug, Clone, Default)]
pub(super) struct Module {
    pub(super) path: String,
    pub(super) build_id: Vec<u8>,
    pub(super) base: u64,
}

/// What was done to see all of it, in all.
#[derive(Debug, Clone, Default)]
pub(super) struct Doing {
    pub(super) looks: u64,
    pub(super) read: u64,
    pub(super) sampled: u64,
    pub(super) stopped: u64,
    pub(super) stopped_in_call: u64,
    pub(super) held_p50_ns: Option<u64>,
    pub(super) held_max_ns: Option<u64>,
    pub(super) no_sampler: Option<String>,
    pub(super) no_stop: Option<String>,
    /// CPU that the thread used which looks.
    pub(super) cpu_ns: u64,
}

/// Where tasks and threads wait: what was read since the word before.
#[derive(Debug, Clone)]
pub(super) struct Waits {
    pub(super) found: Found,
    /// As of when.
    pub(super) at: Instant,
    /// CPU that the thread used, in all, which reads.
    pub(super) cpu_ns: u64,
}

/// The runtimes and their tasks, as they were read at about one instant.
#[derive(Debug, Clone, Default)]
pub(super) struct Listing {
    pub(super) runtimes: Vec<Runtime>,
    pub(super) tasks: Vec<Task>,
    /// Tasks that were found and could not be read.
    pub(super) unlisted: u64,
    pub(super) took_ns: u64,
    /// CPU that the thread used, in all, which lists.
    pub(super) cpu_ns: u64,
    /// Futures are still looked up that have no name here.
    pub(super) names_to_come: bool,
}

/// A runtime.
#[derive(Debug, Clone, Default)]
pub(super) struct Runtime {
    /// Where it is in memory.
    pub(super) key: u64,
    pub(super) flavor: Flavor,
    pub(super) workers: Option<u32>,
    /// The tasks that it counts itself.
    pub(super) counted: u64,
    /// Those that were found.
    pub(super) listed: u64,
    pub(super) torn: bool,
    pub(super) found_by: RuntimeFound,
    /// The threads that may drive it: their stacks lead to it, perhaps to others as well.
    pub(super) threads: Vec<u64>,
}

/// A task.
#[derive(Debug, Clone, Default)]
pub(super) struct Task {
    pub(super) header: Header,
    /// Tokio's id.
    pub(super) id: u64,
    pub(super) state: TaskState,
    pub(super) kind: TaskKind,
    /// Its position among the listing's runtimes.
    pub(super) runtime: Option<usize>,
    /// Where it was spawned, where tokio keeps that.
    pub(super) spawned_at: Option<Place>,
    pub(super) future: Option<Arc<Future>>,
    /// Bytes of the future at most: with what tokio keeps in the same place.
    pub(super) size: Option<u64>,
    /// It is idle, and has run since the listing before.
    pub(super) has_run: bool,
}

/// The type of tasks' futures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Future {
    /// Whole; empty where unknown.
    pub(super) name: String,
    pub(super) certain: bool,
    /// Where its async fn stands.
    pub(super) place: Option<Place>,
}

/// A place in the sources.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) file: Arc<str>,
    pub(super) line: u32,
    pub(super) column: u32,
}
