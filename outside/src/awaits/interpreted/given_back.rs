//! What a task would give back if it were cancelled: what it holds.
//!
//! No name and no type says which guards live in a future. But its drop knows: tokio's own
//! function that shuts a task down is interpreted on a copy, as a poll is, and what it leaves
//! of a lock there is compared with how the lock is. So permits are counted where they go,
//! to the semaphore or to those that queue for it, whatever they were held by: a guard, an
//! owned permit, one in a box or in a future within.
//!
//! Calls that only give back (`close`, a futex's wake) count as done. Where the drop comes to
//! something else that is refused, what it has given back until then is known, and the rest
//! is not.

use looptop_interpret::{Answers, End, Run, Start, run};

use super::layout::{ACQUIRE, CHANNEL, SEMAPHORE};
use super::wanted::{WAKER_SIZE, has_waker_of, is_pointer};
use super::{Copied, Interpreter, NotPolled, ONE_REFERENCE, PATIENCE, clock};
use crate::awaits::leaf::PERMIT_SHIFT;
use crate::space::{Space, words};
use crate::tasks::{Task, TaskType};

/// Of a task's vtable: the function that cancels it and drops its future.
const SHUTDOWN: usize = 6;
/// Who queues is so far behind the semaphore's address in its future.
const NODE_LEFT: u64 = ACQUIRE.left;
/// Where what queues is in its future, and how many bytes it has at most.
const NODE_AT: u64 = 8;
const NODE: u64 = 192;
/// More permits than tokio's semaphores have are garbage.
const MAX_PERMITS: u64 = u64::MAX >> 3;

/// A lock that a task may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lock {
    /// tokio's semaphore, of which its locks and bounded channels are made: by its address.
    Semaphore(u64),
    /// One whose word changes when it is let go: of the standard library or of
    /// `parking_lot`. By the address of eight bytes that have it.
    Word(u64),
    /// The end of a channel of tokio's that receives, and so makes room: by the channel's
    /// address.
    Receiver(u64),
}

impl Lock {
    /// What its memory says now that changes when somebody comes to hold it, or does not any
    /// more: answers of several tasks go together where it was the same.
    pub(crate) fn state(self, space: &impl Space) -> [Option<u64>; 3] {
        let word = |at: u64, offset: u64| space.read_u64(at.checked_add(offset)?);
        match self {
            Self::Semaphore(at) => {
                let places = [SEMAPHORE.permits, SEMAPHORE.queue, SEMAPHORE.queue + 8];
                places.map(|offset| word(at, offset))
            }
            Self::Word(at) => [word(at, 0), None, None],
            Self::Receiver(at) => [word(at, CHANNEL.is_closed & !7), None, None],
        }
    }
}

/// What a task would give back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenBack {
    /// Of each lock that was asked about how many permits; of those of the standard library
    /// and of `parking_lot`, and of ends of channels, at most one.
    pub permits: Vec<u64>,
    /// How the drop ended.
    pub end: End,
}

impl GivenBack {
    /// The drop came to its end: there is nothing else.
    pub fn is_whole(&self) -> bool {
        matches!(self.end, End::Returned { .. })
    }
}

impl<S: Space> Interpreter<S> {
    /// What a task would give back of some locks if it were cancelled now.
    ///
    /// # Errors
    ///
    /// It is not one that waits, or does not wait as it did a moment ago.
    pub fn gives_back(
        &mut self,
        task: &Task,
        of: &TaskType,
        locks: &[Lock],
    ) -> Result<GivenBack, NotPolled> {
        let state = self.idle_state(task, of)?;
        let start = Start {
            function: of.functions[SHUTDOWN],
            arguments: [task.header, 0, 0, 0, 0, 0],
            fs: self.thread.map(|thread| thread.0),
            // Who shuts it down has a reference to it.
            writes: vec![(
                task.header,
                state.wrapping_add(ONE_REFERENCE).to_le_bytes().to_vec(),
            )],
        };
        let answers = Answers {
            gives_back: true,
            ..self.answers()
        };
        let mut host = Copied {
            space: &self.space,
            end: clock::of_thread() + PATIENCE,
        };
        let mut run = run(&mut host, &mut self.code, &start, &answers, &self.limits);
        let dropped = Dropped {
            space: &self.space,
            header: task.header,
        };
        let permits = locks.iter().map(|lock| match *lock {
            Lock::Semaphore(address) => dropped.permits(&mut run, &mut host, address),
            Lock::Word(address) => {
                let changed = dropped.after(&mut run, &mut host, address);
                u64::from(changed.is_some_and(|(before, after)| before != after))
            }
            Lock::Receiver(address) => {
                let closed = address.wrapping_add(CHANNEL.is_closed & !7);
                let byte = |word: u64| word.to_le_bytes()[(CHANNEL.is_closed & 7) as usize];
                let changed = dropped.after(&mut run, &mut host, closed);
                u64::from(changed.is_some_and(|(is, was)| byte(is) == 0 && byte(was) == 1))
            }
        });
        let permits = permits.collect();
        let is_same = self.space.read_u64(task.header) == Some(state);
        if !is_same || !run.unchanged(&mut host) {
            return Err(NotPolled::Moved);
        }
        Ok(GivenBack {
            permits,
            end: run.end,
        })
    }
}

/// A task that was dropped on a copy.
struct Dropped<'a, S> {
    space: &'a S,
    header: u64,
}

impl<S: Space> Dropped<'_, S> {
    /// Eight bytes as they are, and as the run left them.
    fn after(&self, run: &mut Run, host: &mut Copied<'_, S>, at: u64) -> Option<(u64, u64)> {
        let before = self.space.read_u64(at)?;
        let mut after = [0; 8];
        run.read(host, at, &mut after)
            .then(|| (before, u64::from_le_bytes(after)))
    }

    /// Permits that came back to a semaphore and to those that queue for it, without those
    /// that the task was given while it queues itself.
    fn permits(&self, run: &mut Run, host: &mut Copied<'_, S>, semaphore: u64) -> u64 {
        let free = semaphore.wrapping_add(SEMAPHORE.permits);
        let Some((before, after)) = self.after(run, host, free) else {
            return 0;
        };
        let mut back = (after >> PERMIT_SHIFT).wrapping_sub(before >> PERMIT_SHIFT);
        // How many each of those that queue still wants.
        let ends = self.others_at_the_ends(semaphore);
        let mut left: Vec<u64> = run
            .atomics
            .iter()
            .filter(|atomic| atomic.size == 8)
            .map(|atomic| atomic.address)
            .filter(|at| {
                let queues = at.checked_sub(NODE_LEFT);
                let is_known = queues.and_then(|at| self.queues(at, semaphore)) == Some(false);
                is_known || ends.iter().any(|node| (*node..node + NODE).contains(at))
            })
            .collect();
        left.sort_unstable();
        left.dedup();
        for at in left {
            if let Some((before, after)) = self.after(run, host, at)
                && after < before
            {
                back = back.wrapping_add(before - after);
            }
        }
        let mut own: Vec<u64> = run
            .reads
            .iter()
            .filter(|read| read.size == 8 && read.value == semaphore)
            .map(|read| read.address)
            .filter(|at| self.queues(*at, semaphore) == Some(true))
            .collect();
        own.sort_unstable();
        own.dedup();
        for at in own {
            let amount = self.word(at, ACQUIRE.amount).unwrap_or(0);
            let left = self.word(at, ACQUIRE.left).unwrap_or(amount);
            back = back.wrapping_sub(amount.saturating_sub(left));
        }
        if back > MAX_PERMITS { 0 } else { back }
    }

    /// Both ends of a semaphore's queue, where these are other tasks' and not laid out as is
    /// known: with tokio's tracing. Who is served first is at an end.
    fn others_at_the_ends(&self, semaphore: u64) -> Vec<u64> {
        let ends = [0, 8].map(|at| self.word(semaphore, SEMAPHORE.queue + at));
        let mut ends: Vec<u64> = ends.into_iter().flatten().collect();
        ends.dedup();
        ends.retain(|node| {
            let as_known = node.checked_sub(NODE_AT);
            if as_known.is_some_and(|at| self.queues(at, semaphore).is_some()) {
                return false;
            }
            let mut memory = [0; NODE as usize];
            let read = self.space.read(*node, &mut memory);
            let words: Vec<u64> = words(&memory[..read]).collect();
            is_pointer(*node) && !has_waker_of(&words, self.header)
        });
        ends
    }

    /// Whether what queues for a semaphore is at an address, and if so, whether it is of this
    /// task: it has the task's waker.
    fn queues(&self, at: u64, semaphore: u64) -> Option<bool> {
        let queued = self.word(at, ACQUIRE.queued)? & 0xff == 1;
        if !queued || self.word(at, 0)? != semaphore {
            return None;
        }
        let mut node = [0; (NODE_LEFT - NODE_AT + WAKER_SIZE) as usize];
        let read = self.space.read(at + NODE_AT, &mut node);
        let words: Vec<u64> = words(&node[..read]).collect();
        Some(has_waker_of(&words, self.header))
    }

    fn word(&self, at: u64, offset: u64) -> Option<u64> {
        self.space.read_u64(at.checked_add(offset)?)
    }
}
