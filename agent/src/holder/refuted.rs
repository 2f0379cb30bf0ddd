//! Threads whose stack points at a lock which they do not hold.
//!
//! A word on the stack of a thread that sleeps may be a left-over, and a left-over
//! stays as long as the thread sleeps. But who holds a lock must run to release it:
//! a thread that has not run while the lock passed to another did not hold it. The
//! kernel counts how often a thread was given a CPU, so this is certain.
//!
//! What was said of such a thread is taken back, and it is not named again for this
//! lock while it sleeps on, nor whenever it sleeps at that place with no other word:
//! what a slot of a function's frame means does not change between two stays at one
//! instruction.

use std::collections::HashMap;

use looptop_procfs::SyscallState;

use super::Waiting;
use super::search::Candidate;
use crate::ids::{StallId, Tid};
use crate::procfs;
use crate::stall::StallLog;

/// Threads that were named and may yet be refuted, waiters of each, and refuted ones
/// that are remembered.
const MAX_NAMED: usize = 64;
const MAX_WAITERS: usize = 16;
const MAX_REFUTED: usize = 256;

/// A stay of a blocked thread: as long as it is the same, the thread has not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sleep {
    /// Times that it was given a CPU.
    slices: u64,
    /// The place in the program.
    sp: u64,
    pc: u64,
}

impl Sleep {
    /// Of a thread in `state`; `None` where it is not blocked, or the kernel does not
    /// count.
    pub(super) fn of(tid: Tid, state: SyscallState) -> Option<Self> {
        let (sp, pc) = state.blocked_at()?;
        Some(Self {
            slices: slices(tid)?,
            sp,
            pc,
        })
    }

    fn is_at_the_place_of(self, other: Self) -> bool {
        (self.sp, self.pc) == (other.sp, other.pc)
    }
}

fn slices(tid: Tid) -> Option<u64> {
    procfs::schedstat(tid).map(|stat| stat.slices)
}

/// A thread that was named while it slept.
#[derive(Debug)]
struct Named {
    lock: u64,
    tid: Tid,
    sleep: Sleep,
    /// Where its words are that point at the lock.
    slots: Vec<u64>,
    since_ns: u64,
    waiters: Vec<Waiting>,
}

/// Words that are left-overs.
#[derive(Debug)]
struct LeftOver {
    sleep: Sleep,
    slots: Vec<u64>,
}

/// What a look at a named thread has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The lock has not passed on.
    Open,
    /// It ran, or nobody waits any more: nothing can be concluded.
    Unknown,
    Refuted,
}

/// What is known against threads.
#[derive(Debug, Default)]
pub(super) struct Refuted {
    /// Threads as the agent found them when it started. Who has not run since would
    /// have kept its lock from before that.
    at_start: HashMap<Tid, u64>,
    named: Vec<Named>,
    left_overs: HashMap<(u64, Tid), LeftOver>,
}

impl Refuted {
    /// Remembers how often each thread has run.
    pub(super) fn at_start(threads: impl Iterator<Item = Tid>) -> Self {
        Self {
            at_start: threads.filter_map(|t| Some((t, slices(t)?))).collect(),
            ..Self::default()
        }
    }

    /// Whether it is known that `candidate` does not hold the lock.
    pub(super) fn excludes(&self, lock: u64, candidate: &Candidate) -> bool {
        let Some(sleep) = candidate.sleep else {
            return false;
        };
        let tid = candidate.tid;
        let left_over = self.left_overs.get(&(lock, tid)).is_some_and(|known| {
            let no_other = || {
                candidate
                    .hits
                    .iter()
                    .all(|(at, _)| known.slots.contains(at))
            };
            known.sleep == sleep || (known.sleep.is_at_the_place_of(sleep) && no_other())
        });
        left_over || self.at_start.get(&tid) == Some(&sleep.slices)
    }

    /// `candidate` was named to `waiters` by a search that began at `since_ns`.
    pub(super) fn named(
        &mut self,
        lock: u64,
        candidate: &Candidate,
        since_ns: u64,
        waiters: &[Waiting],
    ) {
        let Some(sleep) = candidate.sleep else { return };
        let tid = candidate.tid;
        let known = self.named.iter_mut();
        let known = known.filter(|n| (n.lock, n.tid, n.sleep) == (lock, tid, sleep));
        if known.count() > 0 {
            return self.waits(lock, waiters);
        }
        if self.named.len() == MAX_NAMED {
            self.named.remove(0);
        }
        self.named.push(Named {
            lock,
            tid,
            sleep,
            slots: candidate.hits.iter().map(|(at, _)| *at).collect(),
            since_ns,
            waiters: Vec::new(),
        });
        self.waits(lock, waiters);
    }

    /// `waiters` wait for the lock: where one of them goes on, it has passed on.
    pub(super) fn waits(&mut self, lock: u64, waiters: &[Waiting]) {
        for named in self.named.iter_mut().filter(|n| n.lock == lock) {
            let is_new =
                |w: &&Waiting| w.is_exact && named.waiters.iter().all(|n| n.stall != w.stall);
            let new: Vec<Waiting> = waiters.iter().filter(is_new).copied().collect();
            named.waiters.extend(new);
            named.waiters.truncate(MAX_WAITERS);
        }
    }

    /// Some thread that was named may yet be refuted.
    pub(super) fn is_open(&self) -> bool {
        !self.named.is_empty()
    }

    /// Looks whether locks have passed on, and takes back what turns out wrong; true
    /// where something did. `waits_for` is the lock for which a thread waits now.
    pub(super) fn look(
        &mut self,
        log: &mut StallLog,
        waits_for: impl Fn(Tid) -> Option<u64>,
    ) -> bool {
        let named = std::mem::take(&mut self.named);
        let mut taken_back = false;
        for named in named {
            let is_live = |stall| log.is_live(stall);
            // The thread's clock is read after the lock has passed on.
            match named.outcome(is_live, &waits_for, slices) {
                Outcome::Open => self.named.push(named),
                Outcome::Unknown => {}
                Outcome::Refuted => {
                    taken_back |= log.take_back_holder(named.lock, named.tid, named.since_ns);
                    self.remember(named);
                }
            }
        }
        taken_back
    }

    fn remember(&mut self, named: Named) {
        if self.left_overs.len() >= MAX_REFUTED {
            self.left_overs.clear();
        }
        let Named {
            lock,
            tid,
            sleep,
            mut slots,
            ..
        } = named;
        let before = self.left_overs.remove(&(lock, tid));
        // Of one place all words that were ever refuted there.
        if let Some(before) = before.filter(|b| b.sleep.is_at_the_place_of(sleep)) {
            slots.extend(before.slots);
            slots.sort_unstable();
            slots.dedup();
        }
        self.left_overs
            .insert((lock, tid), LeftOver { sleep, slots });
    }
}

impl Named {
    fn outcome(
        &self,
        is_live: impl Fn(StallId) -> bool,
        waits_for: impl Fn(Tid) -> Option<u64>,
        slices: impl Fn(Tid) -> Option<u64>,
    ) -> Outcome {
        let goes_on = |w: &Waiting| !is_live(w.stall) && waits_for(w.tid) != Some(self.lock);
        let passed = self.waiters.iter().any(goes_on);
        let waited_for = self.waiters.iter().any(|w| is_live(w.stall));
        match (passed, slices(self.tid)) {
            (true, Some(now)) if now == self.sleep.slices => Outcome::Refuted,
            (false, Some(now)) if now == self.sleep.slices && waited_for => Outcome::Open,
            _ => Outcome::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::search::Likelihood;
    use super::*;
    use crate::evidence::Cause;
    use crate::holder::Holder;
    use crate::ids::{RuntimeId, WorkerIndex};
    use crate::stall::{SeenStack, Stall, StallScope, Subject};

    const LOCK: u64 = 0x1000;
    const HOLDER: Tid = Tid(7);
    const WAITER: Tid = Tid(8);

    fn asleep(slices: u64, sp: u64, slots: &[u64]) -> Candidate {
        Candidate {
            tid: HOLDER,
            likelihood: Likelihood::Works,
            hits: slots.iter().map(|at| (*at, LOCK)).collect(),
            sleep: Some(Sleep { slices, sp, pc: 1 }),
        }
    }

    fn waiting(is_exact: bool) -> Waiting {
        Waiting {
            stall: StallId(1),
            tid: WAITER,
            has_holder: true,
            is_exact,
        }
    }

    #[test]
    fn a_lock_that_passes_on_acquits_who_sleeps() {
        use Outcome::{Open, Unknown};
        let cases = [
            ("it waits", true, Some(LOCK), Some(5), true, Open),
            ("it goes on", false, None, Some(5), true, Outcome::Refuted),
            (
                "for another",
                false,
                Some(LOCK + 64),
                Some(5),
                true,
                Outcome::Refuted,
            ),
            ("both went on", false, None, Some(6), true, Unknown),
            ("the sleeper ran", true, Some(LOCK), Some(6), true, Unknown),
            (
                "the kernel does not count",
                false,
                None,
                None,
                true,
                Unknown,
            ),
            // It gave its worker away, and waits without being a stall.
            ("withdrawn", false, Some(LOCK), Some(5), true, Unknown),
            (
                "a signal ends such a stall",
                false,
                None,
                Some(5),
                false,
                Unknown,
            ),
        ];
        for (what, live, waits_for, slices, is_exact, expected) in cases {
            let mut refuted = Refuted::default();
            refuted.named(LOCK, &asleep(5, 64, &[72]), 0, &[waiting(is_exact)]);
            let outcome = refuted.named[0].outcome(|_| live, |_| waits_for, |_| slices);
            assert_eq!(outcome, expected, "{what}");
        }
    }

    #[test]
    fn a_left_over_is_known_again() {
        let mut refuted = Refuted::default();
        let candidate = asleep(5, 64, &[72, 96]);
        assert!(!refuted.excludes(LOCK, &candidate));
        refuted.named(LOCK, &candidate, 0, &[]);
        let named = refuted.named.remove(0);
        refuted.remember(named);
        let cases = [
            ("it sleeps on", asleep(5, 64, &[72, 120]), true),
            ("again at the same place", asleep(9, 64, &[96]), true),
            ("with a new word", asleep(9, 64, &[96, 120]), false),
            ("at another place", asleep(9, 32, &[96]), false),
            (
                "it runs",
                Candidate {
                    sleep: None,
                    ..asleep(9, 64, &[96])
                },
                false,
            ),
        ];
        for (what, candidate, expected) in cases {
            assert_eq!(refuted.excludes(LOCK, &candidate), expected, "{what}");
            assert!(!refuted.excludes(LOCK + 64, &candidate), "{what}");
        }
    }

    #[test]
    fn who_slept_before_the_agent_started_took_no_lock_since() {
        let refuted = Refuted {
            at_start: HashMap::from([(HOLDER, 5)]),
            ..Refuted::default()
        };
        assert!(refuted.excludes(LOCK, &asleep(5, 64, &[72])));
        assert!(!refuted.excludes(LOCK, &asleep(6, 64, &[72])));
    }

    #[test]
    fn what_was_said_is_taken_back_from_stalls_that_ended_as_well() {
        let mut log = StallLog::default();
        let begin = |log: &mut StallLog, holder_ns| {
            let subject = Subject::Worker(RuntimeId(0), WorkerIndex(0));
            let id = log.begin(Stall::new(subject, StallScope::OnePoll, 0));
            log.set_holder(id, LOCK, Some(Box::new(holder(holder_ns))));
            id
        };
        let before = begin(&mut log, 50);
        log.end(before, 1);
        let ended = begin(&mut log, 100);
        log.end(ended, 1);
        let live = begin(&mut log, 110);
        assert!(log.take_back_holder(LOCK, HOLDER, 90));
        let holders: Vec<_> = log
            .changed_after(0)
            .map(|s| (s.id, s.holder.is_some()))
            .collect();
        assert_eq!(holders, [(before, true), (ended, false), (live, false)]);
    }

    fn holder(at_ns: u64) -> Holder {
        Holder {
            tid: HOLDER,
            name: "sleeper".into(),
            certain: false,
            stack: SeenStack {
                first_ns: at_ns,
                last_ns: at_ns,
                count: 1,
                frames: Vec::new(),
                truncated: false,
                cause: Cause::SystemCall,
                syscall: None,
            },
            task: None,
            description: None,
            doing: None,
            object: None,
        }
    }
}
