//! What a look at the tasks found.

use std::sync::Arc;
use std::time::Duration;

use super::TaskKind;

/// All tasks of a process, as of one look.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Its runtimes and `LocalSet`s, in the order in which they were made.
    pub runtimes: Vec<RuntimeListing>,
    /// The tasks of the lists, runtime by runtime; then those that are in no list.
    pub tasks: Vec<Task>,
    /// Async tasks among them whose list was not found: their number is not
    /// compared with anything.
    pub unlisted: u64,
    /// Jobs of the blocking pool among them, those of a runtime's workers too. That
    /// these are all is not certain.
    pub blocking: u64,
    /// The newest search of the heap, as far as it has come.
    pub scan: ScanCost,
    pub(super) places: Vec<SpawnLocation>,
}

impl Listing {
    /// Tasks that runtimes count and that are missing here: they came or went while their
    /// lists were walked.
    pub fn lacks(&self) -> u64 {
        let torn = self.runtimes.iter().filter(|runtime| runtime.torn);
        let lacks = torn.map(|runtime| runtime.alive().saturating_sub(runtime.listed));
        lacks.fold(0, u64::saturating_add)
    }

    /// Where a task was spawned, if the program was built with `tokio_unstable`.
    pub fn spawned_at(&self, task: &Task) -> Option<&SpawnLocation> {
        self.places.get(task.spawned_at?.0 as usize)
    }
}

/// What a runtime or a `LocalSet` is called from one look to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuntimeKey {
    /// Which of [`Types::modules`](super::Types::modules) made it: each has a tokio of
    /// its own.
    pub module: usize,
    /// The id of its list, counted from 1 by tokio; never given twice.
    pub list: u64,
}

/// The list of a runtime or a `LocalSet`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeListing {
    /// What it is called.
    pub key: RuntimeKey,
    /// What kind it is.
    pub flavor: Flavor,
    /// Its own count of live tasks, read after the walk; a `LocalSet` has none.
    pub counted: Option<u64>,
    /// How many of [`Listing::tasks`] are its.
    pub listed: u64,
    /// The list changed during each of several walks, or is broken: `listed` and the
    /// tasks may be wrong by what came and went meanwhile, or by more.
    pub torn: bool,
    /// How it was found.
    pub found_by: FoundBy,
    /// The address of its `Arc`, to which its tasks point, once one was seen.
    pub handle: Option<u64>,
    /// Threads on whose stacks its address stands, where there are several runtimes: those
    /// that drive it, and those that hold a handle of it.
    pub on_stacks_of: Vec<u64>,
}

impl RuntimeListing {
    /// Its live tasks: its own count, where it has one.
    pub fn alive(&self) -> u64 {
        self.counted.unwrap_or(self.listed)
    }
}

/// What keeps a list of tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flavor {
    /// The multi-thread scheduler.
    MultiThread,
    /// The current-thread scheduler.
    CurrentThread,
    /// A `LocalSet`.
    LocalSet,
}

/// How a runtime was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FoundBy {
    /// A thread's stack leads to its handle.
    Stack,
    /// One of its tasks was seen on a stack.
    TaskOnStack,
    /// One of its tasks was seen in a poll.
    TaskInPoll,
    /// A search of the heap found its tasks.
    Scan,
}

/// A live task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    /// The address of its allocation.
    pub header: u64,
    /// tokio's id of it, as `tokio::task::Id` prints it.
    pub id: u64,
    /// Its type: see [`Types::get`](super::Types::get).
    pub vtable: u64,
    /// A future, or a function of the blocking pool.
    pub kind: TaskKind,
    /// What it does.
    pub state: TaskState,
    /// Which of [`Listing::runtimes`] has it in its list.
    pub runtime: Option<usize>,
    /// See [`Listing::spawned_at`].
    pub spawned_at: Option<SpawnIndex>,
}

/// A spawn location: tasks with the same number were spawned at the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpawnIndex(pub(super) u32);

/// What a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskState {
    /// It waits to be woken.
    Idle,
    /// It was woken and waits to be polled.
    Scheduled,
    /// It is in a poll.
    Running,
    /// It has ended just now.
    Complete,
}

/// Where a task was spawned.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SpawnLocation {
    /// As the compiler wrote it.
    pub file: Arc<str>,
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
}

/// A search of the heap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScanCost {
    /// Memory that was read.
    pub bytes: u64,
    /// How long that took.
    pub time: Duration,
    /// It has come to the end.
    pub complete: bool,
}
