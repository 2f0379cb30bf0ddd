//! Tasks that have ended and whose result nobody takes, at every level.
//!
//! A `JoinSet` that nobody joins keeps each of its tasks for ever, and no counter of
//! tokio's shows it. They are counted in the process's own memory: the agent has a
//! task of its own, so it knows what a task looks like ([`layout`]); all of them are
//! found by the pointer to their type's vtable ([`count`]).
//!
//! That is done only on suspicion, while the memory grows and somebody watches; on
//! a thread of its own that uses 2 % of a CPU at most. It only reads, through the
//! kernel, so that memory which goes away meanwhile harms nobody.

mod count;
mod layout;
mod memory;
mod suspicion;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use self::count::Types;
pub(crate) use self::count::{Ended, Place};
pub(crate) use self::suspicion::Suspicion;
use crate::clock::now_ns;
use crate::shared::Shared;
use crate::sync::lock;

/// The name of the thread that counts.
const THREAD_NAME: &str = "looptop-cells";

/// What was counted.
#[derive(Debug, Default)]
pub(crate) struct Cells {
    /// A thread counts at the moment.
    counting: AtomicBool,
    /// It failed, or tokio's tasks do not look as expected.
    gave_up: AtomicBool,
    newest: Mutex<Option<Counted>>,
}

/// One count.
#[derive(Clone, Debug)]
pub(crate) struct Counted {
    pub(crate) at_ns: u64,
    pub(crate) ended: Vec<Ended>,
}

impl Cells {
    /// Counts on a thread of its own, unless that is being done.
    pub(crate) fn start(shared: &Arc<Shared>) {
        let cells = &shared.cells;
        if cells.gave_up.load(Relaxed) || cells.counting.swap(true, Relaxed) {
            return;
        }
        let counting = Arc::clone(shared);
        let thread = std::thread::Builder::new().name(THREAD_NAME.into());
        let started = thread.spawn(move || {
            crate::task::exclude_current_thread();
            let count = std::panic::AssertUnwindSafe(|| count(&counting));
            if std::panic::catch_unwind(count).is_err() {
                counting.cells.gave_up.store(true, Relaxed);
            }
            counting.cells.counting.store(false, Relaxed);
        });
        if started.is_err() {
            cells.counting.store(false, Relaxed);
        }
    }

    /// The newest count, if it is newer than `after_ns`.
    pub(crate) fn newer(&self, after_ns: u64) -> Option<Counted> {
        let newest = lock(&self.newest);
        newest.as_ref().filter(|c| c.at_ns > after_ns).cloned()
    }
}

fn count(shared: &Arc<Shared>) {
    let runtimes = shared.runtimes.all();
    let header = runtimes.iter().find_map(|r| r.probe.task_address());
    // Without a runtime there are no tasks to count, for now.
    let Some(header) = header else { return };
    let Some(types) = Types::of_program(header) else {
        shared.cells.gave_up.store(true, Relaxed);
        return;
    };
    if let Some(ended) = types.count(|| shared.is_stopping()) {
        let at_ns = now_ns().max(1);
        *lock(&shared.cells.newest) = Some(Counted { at_ns, ended });
    }
}
