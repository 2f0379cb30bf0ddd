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
/// Of the others so many that may hold it are asked.
const MAX_OTHERS: usize = 1_024;
/// What an `Arc` points at is so far before what is in it: a lock, or what the ends of a
/// channel share.
pub(super) const COUNTS: [u64; 2] = [16, 128];

/// Tasks that know a lock.
#[derive(Debug, Default)]
pub(super) struct Pointing {
    /// They point at it as a guard does, and do not wait for it.
    pub(super) candidates: Vec<Candidate>,
    /// They wait for it themselves, or have an `Arc` of it: nothing but what they would give
    /// back says whether they hold it.
    pub(super) others: Vec<Task>,
    /// There are more than are remembered, or one of them is in a poll.
    pub(super) is_cut: bool,
}

/// The tasks that are suspended and point at one of `locks`, by lock. A task for which
/// `waits` says that it waits for the lock itself is no candidate; nor is one that queues for
/// a lock of tokio's, as its future says, whether its chain was read or not.
pub(super) fn pointing(
    space: &impl Space,
    types: &Types,
    tasks: &[Task],
    locks: &HashSet<u64>,
    waits: impl Fn(&Task, u64) -> bool,
) -> HashMap<u64, Pointing> {
    let mut found: HashMap<u64, Pointing> = HashMap::new();
    let (Some(lowest), Some(highest)) = (locks.iter().min(), locks.iter().max()) else {
        return found;
    };
    let range = lowest.saturating_sub(COUNTS[1])..=*highest;
    let is_lock = |word: u64| locks.contains(&word);
    let of_arc = |word: u64| {
        let behind = COUNTS.into_iter().filter_map(move |n| word.checked_add(n));
        behind.filter(|lock| locks.contains(lock))
    };
    let mut left = MAX_ALL;
    let mut bytes = Vec::new();
    for task in tasks {
        let waiting = matches!(task.state, TaskState::Idle | TaskState::Scheduled);
        let Some(of) = types.get(task.vtable) else {
            continue;
        };
        if task.kind != TaskKind::Async || task.state == TaskState::Complete {
            continue;
        }
        let begin = task.header.saturating_add(of.future_offset());
        let size = of.future_size().min(MAX_FUTURE).min(left);
        left -= size;
        bytes.resize(size as usize, 0);
        let read = space.read(begin, &mut bytes);
        let bytes = &bytes[..read];
        let hits = words(bytes).zip((0..).step_by(8));
        let near = hits.filter(|(word, _)| range.contains(word));
        let near: Vec<(u64, usize)> = near.collect();
        if !waiting {
            // What it holds nobody can say while it is polled.
            let words = near.iter().map(|(word, _)| *word);
            let of_arcs = near.iter().flat_map(|(word, _)| of_arc(*word));
            for lock in words.filter(|word| is_lock(*word)).chain(of_arcs) {
                found.entry(lock).or_default().is_cut = true;
            }
            continue;
        }
        for lock in near.iter().flat_map(|(word, _)| of_arc(*word)) {
            found.entry(lock).or_default().add_other(task);
        }
        let hits = near.into_iter().filter(|(word, _)| locks.contains(word));
        let hits: Vec<(u64, usize)> = hits.collect();
        let mut queues = Vec::new();
        for (lock, offset) in &hits {
            if !queues.contains(lock) && is_queued_acquire(&bytes[*offset..]) {
                queues.push(*lock);
            }
        }
        for (word, offset) in hits {
            let slot = begin + offset as u64;
            let of_lock = found.entry(word).or_default();
            if queues.contains(&word) || waits(task, word) {
                of_lock.add_other(task);
                continue;
            }
            let who = Who::Task(TaskAt {
                header: task.header,
                id: task.id,
            });
            if let Some(known) = of_lock.candidates.last_mut().filter(|last| last.who == who) {
                known.hits.push((slot, word));
            } else if of_lock.candidates.len() < MAX_CANDIDATES {
                of_lock.candidates.push(Candidate {
                    who,
                    likelihood: Likelihood::Works,
                    hits: vec![(slot, word)],
                    sleep: None,
                });
            } else {
                of_lock.is_cut = true;
            }
        }
        if left == 0 {
            for of in found.values_mut() {
                of.is_cut = true;
            }
            break;
        }
    }
    found
}

impl Pointing {
    fn add_other(&mut self, task: &Task) {
        let is_last = self.others.last().is_some_and(|last| last == task);
        if is_last {
            return;
        }
        if self.others.len() < MAX_OTHERS {
            self.others.push(*task);
        } else {
            self.is_cut = true;
        }
    }
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
        // The words in the future of each task, what it does, whether it waits for the
        // lock itself, and whether it is a candidate, or one of the others.
        for (what, words, state, waits, expected, other) in [
            ("a guard", [7, LOCK], TaskState::Idle, false, true, false),
            ("woken", [LOCK, 0], TaskState::Scheduled, false, true, false),
            (
                "in a poll",
                [LOCK, 0],
                TaskState::Running,
                false,
                false,
                false,
            ),
            (
                "it waits itself",
                [LOCK, 0],
                TaskState::Idle,
                true,
                false,
                true,
            ),
            (
                "an Arc",
                [LOCK - 16, 0],
                TaskState::Idle,
                false,
                false,
                true,
            ),
            (
                "behind the future",
                [0, 0],
                TaskState::Idle,
                false,
                false,
                false,
            ),
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
            let of_lock = found.get(&LOCK);
            // What is polled may hold it, and cannot be asked.
            let is_cut = of_lock.is_some_and(|of| of.is_cut);
            assert_eq!(is_cut, state == TaskState::Running, "{what}");
            let has_other = of_lock.is_some_and(|of| !of.others.is_empty());
            assert_eq!(has_other, other, "{what}");
            let candidates = of_lock.map(|of| &of.candidates);
            let candidates = candidates.filter(|all| !all.is_empty());
            assert_eq!(candidates.is_some(), expected, "{what}");
            if let Some(candidates) = candidates {
                let who = Who::Task(TaskAt {
                    header: cell(0),
                    id: 1_000,
                });
                assert_eq!((candidates.len(), candidates[0].who), (1, who), "{what}");
            }
        }
    }
}
