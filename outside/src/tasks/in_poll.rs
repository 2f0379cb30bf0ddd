//! Which task is in a poll on a stack.

use std::sync::{Arc, Mutex, PoisonError};

use super::addresses::AddressSet;
use super::cell::{Cell, HEAD, may_begin_at, task_state};
use super::vtable::RUNNING;
use super::{RuntimeKey, TaskKind, TaskState, Types};
use crate::space::{Pieces, ProcessSpace, Space};

/// Words of one stack that are looked up.
const MAX_WORDS: usize = 4_096;
/// Tasks of unknown lists that are remembered until the next look at the lists.
const MAX_HINTS: usize = 64;

/// A task that is in a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunningTask {
    /// The address of its allocation.
    pub header: u64,
    /// tokio's id of it.
    pub id: u64,
    /// Its type.
    pub vtable: u64,
    /// A future, or a function of the blocking pool.
    pub kind: TaskKind,
    /// The first of the words that point to it.
    pub word: usize,
}

/// Finds the tasks in polls on stacks. It is apart from [`Tasks`](super::Tasks), so
/// that one thread looks at stacks while another reads lists.
#[derive(Debug)]
pub struct InPoll<S = ProcessSpace> {
    space: S,
    types: Arc<Types>,
    hints: Mutex<Hints>,
}

#[derive(Debug, Default)]
struct Hints {
    known: Vec<RuntimeKey>,
    headers: Vec<u64>,
}

impl<S: Space> InPoll<S> {
    /// Looks in this address space.
    pub fn new(space: S, types: Arc<Types>) -> Self {
        Self {
            space,
            types,
            hints: Mutex::default(),
        }
    }

    /// The program's task types.
    pub fn types(&self) -> &Types {
        &self.types
    }

    /// The tasks in a poll to which `words` point, in the order of the words: if these
    /// are a stack from its pointer on, the innermost first.
    ///
    /// A word may be left over from an earlier call, and its task be in a poll on
    /// another thread: whoever knows the frames of the stack takes those whose
    /// function is on it, see [`TaskType::poll`](super::TaskType::poll).
    pub fn all_among(&self, words: &[u64]) -> Vec<RunningTask> {
        let cells = self.cells(words).into_iter();
        let running = cells.filter(|(cell, _)| cell.state & RUNNING != 0);
        running
            .map(|(cell, word)| self.running(&cell, word))
            .collect()
    }

    /// The jobs of the blocking pool to which `words` point and with which no thread has
    /// begun, in the order of the words: where each is, and its id. A word may be left over.
    pub(crate) fn queued_jobs(&self, words: &[u64]) -> Vec<(u64, u64)> {
        let cells = self.cells(words).into_iter();
        let queued = cells.filter(|(cell, _)| {
            let of = self.types.at(cell.kind);
            of.kind == TaskKind::Blocking && task_state(cell.state) == TaskState::Scheduled
        });
        queued.map(|(cell, _)| (cell.header, cell.id)).collect()
    }

    /// The tasks that have not ended to which `words` point, each with the first that does.
    fn cells(&self, words: &[u64]) -> Vec<(Cell, usize)> {
        let mut seen = AddressSet::default();
        let mut headers = Vec::new();
        let mut at = Vec::new();
        let pointers = words.iter().enumerate();
        let pointers = pointers.filter(|(_, word)| may_begin_at(**word));
        for (i, word) in pointers {
            if headers.len() < MAX_WORDS && seen.insert(*word) {
                headers.push(*word);
                at.push(i);
            }
        }
        let mut heads = Pieces::<HEAD>::default();
        heads.read(&self.space, &headers);
        let heads = heads.iter().zip(&headers).zip(at);
        let found = heads.filter_map(|((head, header), word)| {
            let cell = Cell::of(&self.space, &self.types, *header, head?)?;
            Some((cell, word))
        });
        found.collect()
    }

    /// The innermost of a runtime's tasks in a poll to which `words` point. Jobs of the
    /// blocking pool are left out: a worker that waits for tasks runs in one.
    pub fn among(&self, words: &[u64]) -> Option<RunningTask> {
        let mut all = self.all_among(words).into_iter();
        all.find(|task| task.kind == TaskKind::Async)
    }

    fn running(&self, cell: &Cell, word: usize) -> RunningTask {
        let found = self.types.at(cell.kind);
        if found.kind == TaskKind::Async && cell.owner != 0 {
            let key = RuntimeKey {
                module: found.module,
                list: cell.owner,
            };
            let mut hints = self.hints();
            let new = !hints.known.contains(&key) && !hints.headers.contains(&cell.header);
            if new && hints.headers.len() < MAX_HINTS {
                hints.headers.push(cell.header);
            }
        }
        RunningTask {
            header: cell.header,
            id: cell.id,
            vtable: found.vtable,
            kind: found.kind,
            word,
        }
    }

    /// Tasks that were seen in polls, and are of none of the lists that were known.
    pub(super) fn take_hints(&self) -> Vec<u64> {
        std::mem::take(&mut self.hints().headers)
    }

    /// These lists are known.
    pub(super) fn know(&self, keys: impl Iterator<Item = RuntimeKey>) {
        let mut hints = self.hints();
        hints.known.clear();
        hints.known.extend(keys);
    }

    fn hints(&self) -> std::sync::MutexGuard<'_, Hints> {
        self.hints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
