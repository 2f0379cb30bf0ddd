//! Threads of this process that run tokio although no registered runtime has
//! them: a census of all threads once a second, and a closer look at those.
//!
//! A thread that is blocked shows its stack without being disturbed, registered or
//! not. By the functions of tokio's scheduler on it (`looptop_symbols::scheduler`) it is a worker
//! of somebody's runtime, or drives one, or is in `block_on`; a pool of another
//! library, and tokio's blocking pool, are none.
//!
//! Such a stranger that stays blocked in one place, which is not where it waits for
//! work, for longer than the threshold is a stall like any other, unless only the
//! future of `block_on` beside a multi-thread runtime stands still: nobody waits.
//!
//! One that computes shows the same stacks in one long poll and in many short ones.
//! Its scheduler's own counters make the difference, which are learned while it
//! parks; where they are not known, nothing is reported, and the census
//! says so.
//!
//! # Cost
//!
//! A census reads the directory of threads; a thread whose place is known is looked
//! at again only when it has run, ever more rarely. A stranger costs a look at
//! its CPU clock (0.3 µs) at each look of the watchdog, a small read (1 µs) where it has
//! run, and one more (6 µs) each time that it has
//! been blocked for longer than the threshold. Its counters cost four looks of half a
//! millisecond in all, and then some 3 µs at each look that finds it running.

mod live;
mod seen;

use std::collections::{HashMap, HashSet};

use looptop_procfs::{SchedStat, Signature, SyscallState};
use looptop_symbols::scheduler::{Kind, Place, Wait};
use looptop_wire::proto::Flavor;

pub(crate) use self::live::can_tell;
use self::live::{LiveThreads, read_landmarks};
use self::seen::{Seen, Standing, wait_in};
use super::case::Sight;
use super::{Watchdog, Watched};
use crate::coverage::{self, Coverage, Stranger};
use crate::ids::Tid;
use crate::stall::Subject;
use crate::sync::lock;

/// Strangers that are watched at most.
const MAX_STRANGERS: usize = 64;
/// Threads of which anything is remembered.
const MAX_THREADS: usize = 4_096;
/// Between two censuses; where threads are left over, and where none are.
const HURRY_NS: u64 = 100_000_000;
const CENSUS_NS: u64 = 1_000_000_000;
/// A stranger is reported after this.
const SURE_NS: u64 = 900_000_000;
/// Stacks that are read in one census, and for strangers in one look.
const CENSUS_STACKS: u32 = 8;
const LOOK_STACKS: u32 = 4;
/// A thread that is nobody's is looked at again after this at the latest.
const LAST_AGAIN_NS: u64 = 16_000_000_000;

/// The threads that are somebody's, at one look.
#[derive(Debug, Default)]
struct Known {
    /// The agent's own, those that the application hides, and those that drive or
    /// drove a registered runtime.
    threads: HashSet<Tid>,
    /// Workers of registered multi-thread runtimes whose threads are not known
    /// yet: as many strangers may be theirs.
    workers_without_thread: usize,
    /// The same for current-thread runtimes.
    singles_without_thread: usize,
}

impl Known {
    fn without_thread(&self, kind: Kind) -> usize {
        match kind {
            Kind::Worker => self.workers_without_thread,
            Kind::CurrentThread => self.singles_without_thread,
            Kind::BlockOn => 0,
        }
    }
}

/// A stranger that has been in one poll since then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Blocked {
    tid: Tid,
    since_ns: u64,
}

/// Whence the census has what it needs, so that tests can script it.
trait Threads {
    /// Whether places can be recognised.
    fn is_ready(&mut self) -> bool;
    /// They cannot yet, but soon may.
    fn is_pending(&mut self) -> bool {
        !self.is_ready()
    }
    fn list(&mut self) -> Vec<Tid>;
    fn sched(&mut self, tid: Tid) -> Option<SchedStat>;
    /// The same of a thread that is looked at again and again.
    fn sched_often(&mut self, tid: Tid) -> Option<SchedStat>;
    fn syscall(&mut self, tid: Tid) -> SyscallState;
    fn cpu_ns(&mut self, tid: Tid) -> Option<u64>;
    /// Where the blocked thread stands; `None` where its stack cannot be read now.
    fn place(&mut self, tid: Tid, wait: Wait) -> Option<Place>;
    /// Copies this process's memory; gives the number of bytes.
    fn read(&self, address: u64, buffer: &mut [u8]) -> usize;
    /// Keeps nothing of threads that are not in `tids`.
    fn retain(&mut self, tids: &HashSet<Tid>);
}

/// The census.
#[derive(Debug, Default)]
struct Census {
    threshold_ns: u64,
    next_census_ns: u64,
    threads: HashMap<Tid, Seen>,
    skipped: u32,
}

impl Census {
    fn new(threshold_ns: u64) -> Self {
        Self {
            threshold_ns,
            ..Self::default()
        }
    }

    /// Looks for strangers, where it is time; true where it did.
    fn take(&mut self, now_ns: u64, known: &Known, threads: &mut impl Threads) -> bool {
        if now_ns < self.next_census_ns {
            return false;
        }
        let alive: HashSet<Tid> = threads.list().into_iter().collect();
        self.threads
            .retain(|tid, _| alive.contains(tid) && !known.threads.contains(tid));
        self.skipped = 0;
        for tid in alive.iter().filter(|tid| !known.threads.contains(tid)) {
            if self.threads.len() < MAX_THREADS {
                self.threads
                    .entry(*tid)
                    .or_insert_with(|| Seen::new(now_ns));
            } else if !self.threads.contains_key(tid) {
                self.skipped += 1;
            }
        }
        threads.retain(&alive);
        let left_over = if threads.is_ready() {
            self.read_others(now_ns, threads)
        } else {
            threads.is_pending()
        };
        self.next_census_ns = now_ns + if left_over { HURRY_NS } else { CENSUS_NS };
        true
    }

    /// Reads where threads stand that are no strangers, a few at a time; true where
    /// more are due.
    fn read_others(&mut self, now_ns: u64, threads: &mut impl Threads) -> bool {
        let mut strangers = self.threads.values().filter_map(Seen::kind).count();
        let mut stacks = 0;
        let mut due: Vec<Tid> = self
            .threads
            .iter()
            .filter(|(_, seen)| seen.kind().is_none() && seen.again_ns <= now_ns)
            .map(|(tid, _)| *tid)
            .collect();
        // Those that wait longest first.
        due.sort_by_key(|tid| (self.threads.get(tid).map(|seen| seen.again_ns), tid.0));
        for tid in due {
            if stacks == CENSUS_STACKS {
                return true;
            }
            let Some(seen) = self.threads.get_mut(&tid) else {
                continue;
            };
            let slices = threads.sched(tid).map(|s| s.slices);
            let still = seen.stands_still(now_ns, slices);
            if still && seen.judged {
                continue;
            }
            if strangers == MAX_STRANGERS {
                self.skipped += 1;
                continue;
            }
            stacks += 1;
            let state = threads.syscall(tid);
            let place = Signature::of(state).and_then(|call| threads.place(tid, wait_in(call)));
            if let Some(place) = place {
                seen.judge(place, state, now_ns, threads.cpu_ns(tid));
            }
            if seen.kind().is_some() {
                strangers += 1;
            } else {
                seen.again_ns = now_ns + seen.wait_ns;
                // Of one that ran nothing is known yet.
                if seen.standing == Standing::Nobody {
                    seen.wait_ns = (seen.wait_ns * 2).min(LAST_AGAIN_NS);
                }
            }
        }
        false
    }

    /// The strangers that are blocked in a poll for longer than the threshold now, or
    /// have computed for long in it.
    fn blocked(&mut self, now_ns: u64, known: &Known, threads: &mut impl Threads) -> Vec<Blocked> {
        let mut stacks = 0;
        let mut blocked = Vec::new();
        for (tid, seen) in &mut self.threads {
            let Some(kind) = seen.kind() else { continue };
            // It may drive a worker of a registered runtime, whose counters say so.
            if known.threads.contains(tid) || known.without_thread(kind) > 0 {
                continue;
            }
            let cpu_ns = threads.cpu_ns(*tid);
            let still = seen.has_not_run(cpu_ns) || {
                let slices = threads.sched_often(*tid).map(|s| s.slices);
                seen.cpu_ns = cpu_ns;
                seen.stands_still(now_ns, slices)
            };
            let long = now_ns.saturating_sub(seen.still_ns) >= self.threshold_ns;
            let due = !seen.judged && seen.again_ns <= now_ns;
            if still && long && due && stacks < LOOK_STACKS {
                let state = threads.syscall(*tid);
                match Signature::of(state) {
                    Some(signature) if seen.parks.contains(&signature) => {
                        seen.judged = true;
                        // In `block_on` beside a runtime's workers there are no counters.
                        if kind != Kind::BlockOn {
                            seen.learn(*tid, state, now_ns, threads);
                        }
                    }
                    Some(signature) => {
                        stacks += 1;
                        match threads.place(*tid, wait_in(signature)) {
                            Some(place) => {
                                seen.judge(place, state, now_ns, threads.cpu_ns(*tid));
                            }
                            None => seen.again_ns = now_ns + HURRY_NS,
                        }
                    }
                    // It computes, or waits for a CPU.
                    None => {}
                }
            }
            if seen.blocked {
                blocked.push(Blocked {
                    tid: *tid,
                    since_ns: seen.still_ns,
                });
            } else if !seen.judged
                && let Some(since_ns) = seen.computes(*tid, now_ns, threads)
            {
                blocked.push(Blocked {
                    tid: *tid,
                    since_ns,
                });
            }
        }
        blocked
    }

    /// What is known now. As many workers as registered runtimes miss are left out:
    /// they may be theirs; and those that were seen for the first time just now:
    /// `block_in_place` hands a worker to another thread.
    fn coverage(&self, now_ns: u64, known: &Known, threads: &mut impl Threads) -> Coverage {
        let mut strangers: Vec<Stranger> = self
            .threads
            .iter()
            .filter(|(tid, _)| !known.threads.contains(tid))
            .filter_map(|(tid, seen)| match seen.standing {
                Standing::Stranger {
                    kind,
                    since_ns,
                    cpu_ns,
                } if now_ns.saturating_sub(since_ns) >= SURE_NS => Some(Stranger {
                    tid: *tid,
                    kind,
                    since_ns,
                    cpu_ns: threads.cpu_ns(*tid).map(|now| now.saturating_sub(cpu_ns)),
                    polls_distinguished: seen.ticks.are_known(),
                }),
                _ => None,
            })
            .collect();
        strangers.sort_by_key(|s| s.tid.0);
        for kind in [Kind::Worker, Kind::CurrentThread] {
            let mut theirs = known.without_thread(kind);
            strangers.retain(|s| {
                let taken = s.kind == kind && theirs > 0;
                theirs -= usize::from(taken);
                !taken
            });
        }
        let unread = |seen: &&Seen| seen.standing == Standing::Unread;
        Coverage {
            strangers,
            unread: self.threads.values().filter(unread).count() as u32,
            skipped: self.skipped,
        }
    }
}

/// What the watchdog keeps for it.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    census: Census,
    live: LiveThreads,
    known: Known,
    /// The symbols were asked for.
    asked: bool,
}

impl Strangers {
    pub(super) fn new(threshold_ns: u64) -> Self {
        Self {
            census: Census::new(threshold_ns),
            ..Self::default()
        }
    }

    /// Whether a blocked thread stands where it drives no worker: in the blocking
    /// pool, or in `block_in_place`. `None` where that is not known now.
    pub(super) fn drives_nothing(&mut self, tid: Tid) -> Option<bool> {
        if !self.live.is_ready() {
            return None;
        }
        let wait = wait_in(Signature::of(self.live.syscall(tid))?);
        let place = self.live.place(tid, wait)?;
        Some(matches!(place, Place::Pool | Place::HandedOver))
    }
}

impl Watchdog {
    /// Threads that run tokio for a runtime which nobody registered. `chores` is
    /// true every 100 ms.
    pub(super) fn look_at_strangers(&mut self, now_ns: u64, chores: bool) {
        if self.shared.capture.is_err() {
            return;
        }
        if chores {
            self.strangers.known = self.known();
        }
        let Strangers {
            census,
            live,
            known,
            asked,
        } = &mut self.strangers;
        if chores && census.take(now_ns, known, live) {
            if !std::mem::replace(asked, true) {
                read_landmarks();
            }
            if live.is_ready() {
                let coverage = census.coverage(now_ns, known, live);
                *lock(&self.shared.coverage) = Some(coverage);
            }
        }
        for blocked in census.blocked(now_ns, known, live) {
            // Level 1 shows the very poll.
            let polls = self
                .slots
                .get(&blocked.tid)
                .is_some_and(|s| s.poll().is_some());
            // One that drives a worker of a registered runtime, nobody knows which.
            let is_seen = self.seen.contains(&Subject::Thread(blocked.tid));
            if polls || is_seen {
                continue;
            }
            let sight = Sight {
                subject: Subject::Thread(blocked.tid),
                tid: Some(blocked.tid),
                since_ns: blocked.since_ns,
                poll: None,
                counters: None,
                stack_limit: None,
                prove_inside: false,
            };
            self.seen.insert(sight.subject);
            self.cases
                .see(now_ns, &sight, &self.shared.stalls, &mut self.witness);
        }
    }

    /// A look at the strangers alone; true where one is blocked or computes.
    pub(super) fn some_stranger_is_blocked(&mut self, now_ns: u64) -> bool {
        if self.shared.capture.is_err() {
            return false;
        }
        let Strangers {
            census,
            live,
            known,
            ..
        } = &mut self.strangers;
        !census.blocked(now_ns, known, live).is_empty()
    }

    /// Threads drive runtimes that nobody registered.
    pub(super) fn there_are_strangers(&self) -> bool {
        let kinds = self.strangers.census.threads.values();
        let mut kinds = kinds.filter_map(Seen::kind);
        kinds.any(|kind| matches!(kind, Kind::Worker | Kind::CurrentThread))
    }

    fn known(&self) -> Known {
        let mut known = Known::default();
        known.threads.extend(lock(&self.shared.own_threads).iter());
        known.threads.extend(coverage::hidden());
        known.threads.extend(self.drivers.ever());
        for watched in self.watched.iter().filter(|w| w.metrics.is_some()) {
            let threads = Watched::threads(watched);
            let without = watched.runtime.workers.saturating_sub(threads.len());
            if watched.runtime.flavor == Flavor::CurrentThread {
                known.singles_without_thread += without;
            } else {
                known.workers_without_thread += without;
            }
            known.threads.extend(threads);
        }
        known
    }
}

#[cfg(test)]
mod tests;
