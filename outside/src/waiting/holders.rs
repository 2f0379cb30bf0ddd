//! Who holds a lock for which others wait: what speaks for somebody, and against.
//!
//! A lock of std does not name its owner. But a guard points at its lock, and it lives on
//! the stack of the thread that holds it, or in the future of a task that was suspended
//! while it holds it. So who has words that point at the lock is a candidate; the one for
//! whom clearly most speaks probably holds it. Two for whom as much speaks are nobody.
//!
//! A word may be a left-over of an earlier call. But who holds a lock must run to let it
//! go: a thread that has not run while the lock passed to another did not hold it. It is
//! not named again for this lock as long as it stands there.

use std::collections::HashMap;

use looptop_procfs::lock;

use super::facts::TaskAt;

/// Threads that were named and may yet be refuted, waiters of each, and refuted ones that
/// are remembered.
const MAX_NAMED: usize = 64;
const MAX_WAITERS: usize = 16;
const MAX_REFUTED: usize = 256;

/// Who may hold a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Who {
    Thread(u64),
    /// A task that is suspended.
    Task(TaskAt),
}

/// How likely somebody holds what they point at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Likelihood {
    /// It waits for work.
    Idle,
    /// It waits for another lock or condition.
    Waits,
    /// It sleeps, reads or writes; or is a task that waits for something else.
    Works,
    /// A task that would give it back if it were cancelled.
    Holds,
}

/// A blocked thread at one place: as long as it is the same, the thread has not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sleep {
    /// Times that it was given a CPU.
    pub(super) slices: u64,
    /// The place in the program.
    pub(super) sp: u64,
    pub(super) pc: u64,
}

impl Sleep {
    fn is_at_the_place_of(self, other: Self) -> bool {
        (self.sp, self.pc) == (other.sp, other.pc)
    }
}

/// Somebody who points at a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) who: Who,
    pub(super) likelihood: Likelihood,
    /// Where the words are that point at it, and what they are.
    pub(super) hits: Vec<(u64, u64)>,
    /// Of a thread, where the kernel counts.
    pub(super) sleep: Option<Sleep>,
}

/// The one that holds it; else the one for whom clearly most speaks: whose words point where a guard does, then who
/// works. Who points at something around the lock, as an `Arc` does, is nobody's holder.
pub(super) fn most_likely(candidates: &[Candidate], lock: u64) -> Option<&Candidate> {
    let mut holders = candidates.iter();
    if let Some(holder) = holders.find(|c| c.likelihood == Likelihood::Holds) {
        return Some(holder);
    }
    let guards = |candidate: &&Candidate| {
        let mut hits = candidate.hits.iter();
        candidate.likelihood > Likelihood::Idle
            && hits.any(|(_, word)| lock::is_of_guard(lock, *word))
    };
    let weight = |candidate: &Candidate| {
        // A guard points at the lock itself, where the futex is the first word of it.
        let exact = candidate.hits.iter().any(|(_, word)| *word == lock);
        (candidate.likelihood, exact)
    };
    let best = candidates.iter().filter(guards).max_by_key(|c| weight(c))?;
    let equals = candidates.iter().filter(guards);
    let equals = equals.filter(|c| weight(c) == weight(best));
    (equals.count() == 1).then_some(best)
}

/// A thread that waits for a lock, and its sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) tid: u64,
    /// It may go on without the lock.
    pub(super) gives_up: bool,
}

/// A thread that was named while it slept.
#[derive(Debug)]
struct Named {
    lock: u64,
    tid: u64,
    sleep: Sleep,
    slots: Vec<u64>,
    waiters: Vec<u64>,
}

/// Words that are left-overs.
#[derive(Debug)]
struct LeftOver {
    sleep: Sleep,
    slots: Vec<u64>,
}

/// What is known against threads.
#[derive(Debug, Default)]
pub(super) struct Refuted {
    named: Vec<Named>,
    left_overs: HashMap<(u64, u64), LeftOver>,
}

impl Refuted {
    /// Whether it is known that a candidate does not hold the lock.
    pub(super) fn excludes(&self, lock: u64, candidate: &Candidate) -> bool {
        let (Who::Thread(tid), Some(sleep)) = (candidate.who, candidate.sleep) else {
            return false;
        };
        self.left_overs.get(&(lock, tid)).is_some_and(|known| {
            let mut hits = candidate.hits.iter();
            let no_other = hits.all(|(at, _)| known.slots.contains(at));
            known.sleep == sleep || (known.sleep.is_at_the_place_of(sleep) && no_other)
        })
    }

    /// A candidate was named as the holder of a lock for which these wait.
    pub(super) fn named(&mut self, lock: u64, candidate: &Candidate, waiters: &[Waiter]) {
        let (Who::Thread(tid), Some(sleep)) = (candidate.who, candidate.sleep) else {
            return;
        };
        let waiters = waiters.iter().filter(|waiter| !waiter.gives_up);
        let waiters = waiters.map(|waiter| waiter.tid);
        let mut all = self.named.iter_mut();
        let known = all.find(|n| (n.lock, n.tid, n.sleep) == (lock, tid, sleep));
        if let Some(known) = known {
            for waiter in waiters {
                if known.waiters.len() < MAX_WAITERS && !known.waiters.contains(&waiter) {
                    known.waiters.push(waiter);
                }
            }
            return;
        }
        if self.named.len() == MAX_NAMED {
            self.named.remove(0);
        }
        self.named.push(Named {
            lock,
            tid,
            sleep,
            slots: candidate.hits.iter().map(|(at, _)| *at).collect(),
            waiters: waiters.take(MAX_WAITERS).collect(),
        });
    }

    /// Looks whether locks have passed on. `waits_for` is the lock for which a thread waits
    /// now, `slices` how often one was given a CPU, asked after that.
    pub(super) fn look(
        &mut self,
        waits_for: impl Fn(u64) -> Option<u64>,
        slices: impl Fn(u64) -> Option<u64>,
    ) {
        for named in std::mem::take(&mut self.named) {
            let passed = named
                .waiters
                .iter()
                .any(|waiter| waits_for(*waiter) != Some(named.lock));
            let sleeps = slices(named.tid) == Some(named.sleep.slices);
            match (passed, sleeps) {
                (true, true) => self.remember(named),
                (false, true) => self.named.push(named),
                // It ran: it may have let it go.
                (_, false) => {}
            }
        }
    }

    fn remember(&mut self, named: Named) {
        if self.left_overs.len() >= MAX_REFUTED {
            self.left_overs.clear();
        }
        let key = (named.lock, named.tid);
        let before = self.left_overs.remove(&key);
        let mut slots = named.slots;
        // Of one place all words that were ever refuted there.
        if let Some(before) = before.filter(|b| b.sleep.is_at_the_place_of(named.sleep)) {
            slots.extend(before.slots);
            slots.sort_unstable();
            slots.dedup();
        }
        let sleep = named.sleep;
        self.left_overs.insert(key, LeftOver { sleep, slots });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: u64 = 0x7f00_0000_1000;

    fn candidate(who: Who, likelihood: Likelihood, words: &[u64]) -> Candidate {
        Candidate {
            who,
            likelihood,
            hits: words
                .iter()
                .zip((64..).step_by(8))
                .map(|(w, at)| (at, *w))
                .collect(),
            sleep: None,
        }
    }

    #[test]
    fn who_has_a_guard_holds_it_unless_two_seem_to() {
        use Likelihood::{Idle, Waits, Works};
        type Case<'a> = (&'a str, &'a [(Who, Likelihood, &'a [u64])], Option<Who>);
        let thread = |tid| Who::Thread(tid);
        let task = Who::Task(TaskAt { header: 64, id: 9 });
        let cases: &[Case<'_>] = &[
            ("nobody", &[], None),
            ("a guard", &[(thread(1), Works, &[LOCK])], Some(thread(1))),
            (
                "an Arc beside it",
                &[
                    (thread(1), Works, &[LOCK - 16]),
                    (thread(2), Waits, &[LOCK]),
                ],
                Some(thread(2)),
            ),
            ("an Arc alone", &[(thread(1), Works, &[LOCK - 16])], None),
            (
                "two guards",
                &[
                    (thread(1), Works, &[LOCK]),
                    (thread(2), Works, &[LOCK, LOCK]),
                ],
                None,
            ),
            (
                "who works rather than who waits",
                &[(thread(1), Works, &[LOCK]), (thread(2), Waits, &[LOCK])],
                Some(thread(1)),
            ),
            ("who waits for work", &[(thread(1), Idle, &[LOCK])], None),
            (
                "a task that is suspended",
                &[(task, Works, &[LOCK]), (thread(1), Idle, &[LOCK])],
                Some(task),
            ),
            (
                "a task and a thread",
                &[(task, Works, &[LOCK]), (thread(1), Works, &[LOCK])],
                None,
            ),
        ];
        for (what, all, expected) in cases {
            let all = all
                .iter()
                .map(|(who, likely, words)| candidate(*who, *likely, words));
            let all: Vec<Candidate> = all.collect();
            let found = most_likely(&all, LOCK).map(|best| best.who);
            assert_eq!(found, *expected, "{what}");
        }
    }

    fn asleep(slices: u64, sp: u64, slots: &[u64]) -> Candidate {
        Candidate {
            who: Who::Thread(7),
            likelihood: Likelihood::Works,
            hits: slots.iter().map(|at| (*at, LOCK)).collect(),
            sleep: Some(Sleep { slices, sp, pc: 1 }),
        }
    }

    #[test]
    fn who_has_not_run_while_the_lock_passed_on_did_not_hold_it() {
        // Whether the waiter waits on, the slices of who was named, and who is refuted.
        for (what, waits_for, slices, gives_up, expected) in [
            ("it waits on", Some(LOCK), Some(5), false, false),
            ("it went on", None, Some(5), false, true),
            (
                "it waits for another",
                Some(LOCK + 64),
                Some(5),
                false,
                true,
            ),
            ("both went on", None, Some(6), false, false),
            ("the kernel does not count", None, None, false, false),
            ("it gave up", None, Some(5), true, false),
        ] {
            let mut refuted = Refuted::default();
            let waiter = Waiter { tid: 8, gives_up };
            refuted.named(LOCK, &asleep(5, 64, &[72]), &[waiter]);
            refuted.look(|_| waits_for, |_| slices);
            let found = refuted.excludes(LOCK, &asleep(5, 64, &[72]));
            assert_eq!(found, expected, "{what}");
        }
    }

    #[test]
    fn a_left_over_is_known_again() {
        let mut refuted = Refuted::default();
        let waiter = Waiter {
            tid: 8,
            gives_up: false,
        };
        refuted.named(LOCK, &asleep(5, 64, &[72, 96]), &[waiter]);
        refuted.look(|_| None, |_| Some(5));
        for (what, candidate, expected) in [
            ("it sleeps on", asleep(5, 64, &[72, 120]), true),
            ("again at the same place", asleep(9, 64, &[96]), true),
            ("with a new word", asleep(9, 64, &[96, 120]), false),
            ("at another place", asleep(9, 32, &[96]), false),
        ] {
            assert_eq!(refuted.excludes(LOCK, &candidate), expected, "{what}");
            assert!(!refuted.excludes(LOCK + 64, &candidate), "{what}");
        }
    }
}
