//! Which tasks point at locks: a guard that lives across an await is in the task's future.

use std::collections::{HashMap, HashSet};

use super::facts::TaskAt;
use super::holders::{Candidate, Likelihood, Who};
use crate::awaits::interpreted::is_queued_acquire;
use crate::space::{Space, words};
use crate::tasks::{Task, TaskKind, TaskState, Types};

/// Bytes of one future that are searched.
const MAX_FUTURE: u64 = 64 << 10;
/// Bytes of all of them, in one search.
const MAX_ALL: u64 = 64 << 20;
/// Tasks that are remembered for one lock: of so many none is the holder for certain.
const MAX_CANDIDATES: usize = 16;

/// The tasks that are suspended and point at one of `locks`, by lock. A task for which
/// `waits` says that it waits for the lock itself is none; nor is one that queues for a
/// lock of tokio's, as its future says, whether its chain was read or not.
pub(super) fn pointing(
    space: &impl Space,
    types: &Types,
    tasks: &[Task],
    locks: &HashSet<u64>,
    waits: impl Fn(&Task, u64) -> bool,
) -> HashMap<u64, Vec<Candidate>> {
    let mut found: HashMap<u64, Vec<Candidate>> = HashMap::new();
    let (Some(lowest), Some(highest)) = (locks.iter().min(), locks.iter().max()) else {
        return found;
    };
    let range = *lowest..=*highest;
    let mut left = MAX_ALL;
    let mut bytes = Vec::new();
    for task in tasks {
        let waiting = matches!(task.state, TaskState::Idle | TaskState::Scheduled);
        let Some(of) = types.get(task.vtable) else {
            continue;
        };
        if task.kind != TaskKind::Async || !waiting {
            continue;
        }
        let begin = task.header.saturating_add(of.future_offset());
        let size = of.future_size().min(MAX_FUTURE).min(left);
        left -= size;
        bytes.resize(size as usize, 0);
        let read = space.read(begin, &mut bytes);
        let bytes = &bytes[..read];
        let hits = words(bytes).zip((0..).step_by(8));
        let hits = hits.filter(|(word, _)| range.contains(word) && locks.contains(word));
        let hits: Vec<(u64, usize)> = hits.collect();
        let mut queues = Vec::new();
        for (lock, offset) in &hits {
            if !queues.contains(lock) && is_queued_acquire(&bytes[*offset..]) {
                queues.push(*lock);
            }
        }
        for (word, offset) in hits {
            let slot = begin + offset as u64;
            if queues.contains(&word) || waits(task, word) {
                continue;
            }
            let who = Who::Task(TaskAt {
                header: task.header,
                id: task.id,
            });
            let of_lock = found.entry(word).or_default();
            if let Some(known) = of_lock.last_mut().filter(|last| last.who == who) {
                known.hits.push((slot, word));
            } else if of_lock.len() < MAX_CANDIDATES {
                of_lock.push(Candidate {
                    who,
                    likelihood: Likelihood::Works,
                    hits: vec![(slot, word)],
                    sleep: None,
                });
            }
        }
        if left == 0 {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::tests::{VTABLE, cell, program, types, write_cell};

    const LOCK: u64 = 0x3000_9000;
    /// Where the future of the program's only task type is, in bytes.
    const FUTURE: u64 = 0x30;

    #[test]
    fn the_futures_of_suspended_tasks_are_searched() {
        let fake = program();
        // The words in the future of each task, what it does, and whether it waits for the
        // lock itself.
        for (what, words, state, waits, expected) in [
            ("a guard", [7, LOCK], TaskState::Idle, false, true),
            ("it was woken", [LOCK, 0], TaskState::Scheduled, false, true),
            ("in a poll", [LOCK, 0], TaskState::Running, false, false),
            ("it waits itself", [LOCK, 0], TaskState::Idle, true, false),
            ("an Arc", [LOCK - 16, 0], TaskState::Idle, false, false),
            ("behind the future", [0, 0], TaskState::Idle, false, false),
        ] {
            write_cell(&fake, 0, 3 << 6, [LOCK, 0]);
            fake.words(cell(0) + FUTURE, &words);
            let task = Task {
                header: cell(0),
                id: 1_000,
                vtable: VTABLE,
                kind: TaskKind::Async,
                state,
                runtime: None,
                spawned_at: None,
            };
            let types = types(&fake).unwrap();
            let locks = HashSet::from([LOCK, LOCK + 64]);
            let found = pointing(&fake, &types, &[task], &locks, |_, _| waits);
            assert_eq!(found.contains_key(&LOCK), expected, "{what}");
            if let Some(candidates) = found.get(&LOCK) {
                let who = Who::Task(TaskAt {
                    header: cell(0),
                    id: 1_000,
                });
                assert_eq!((candidates.len(), candidates[0].who), (1, who), "{what}");
            }
        }
    }
}
