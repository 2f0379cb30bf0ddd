//! The search for the thread that holds a lock.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use looptop_procfs::SyscallState;
use looptop_procfs::lock::{self, Lock};
use looptop_wire::proto::Flavor;

use super::Holder;
use super::refuted::{Refuted, Sleep};
use crate::capture::{self, Words};
use crate::clock::now_ns;
use crate::evidence::{Cause, is_futex, may_idle, name, object};
use crate::ids::Tid;
use crate::procfs;
use crate::shared::Shared;
use crate::slot::{self, SlotView};
use crate::stall::{SeenStack, TaskInfo};
use crate::sync::lock as locked;
use crate::task;

/// Threads that are looked at.
const MAX_THREADS: usize = 128;
/// Running threads that are asked for their stack.
const MAX_RUNNING: usize = 4;
/// How far a lock's word may be from where its guard points.
const GUARD: u64 = 8;
/// Between the two looks at a stack.
const BETWEEN: Duration = Duration::from_millis(3);

/// How likely a thread holds a lock to which its stack points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Likelihood {
    /// It waits for something, as an idle thread does.
    Idle,
    /// It waits for another lock or condition.
    Waits,
    /// It computes, sleeps, reads or writes.
    Works,
}

/// A thread whose stack points at the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) tid: Tid,
    pub(super) likelihood: Likelihood,
    /// Where the words are that point at it, and what they are.
    pub(super) hits: Vec<(u64, u64)>,
    /// Its stay, where it did not run between the looks.
    pub(super) sleep: Option<Sleep>,
}

/// The holder that was found.
pub(super) struct Found {
    pub(super) holder: Holder,
    /// What speaks for it, where the lock itself does not.
    pub(super) candidate: Option<Candidate>,
}

/// What a worker has run: a guard on its thread's stack is gone with the poll, and
/// there is none while it is parked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Progress {
    /// Of the thread's slot; changes with each poll.
    sequence: Option<u64>,
    park_unpark: u64,
}

/// Looks at the threads of the process at one moment.
pub(super) struct Searcher<'a> {
    shared: &'a Arc<Shared>,
    slots: Vec<SlotView>,
    /// Threads whose worker is parked.
    parked: HashSet<Tid>,
    /// Threads that drive a worker which is not parked.
    awake: HashSet<Tid>,
    /// What workers had run at the first look.
    progress: HashMap<Tid, Progress>,
    own: Vec<Tid>,
}

impl<'a> Searcher<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>) -> Self {
        let mut slots = Vec::new();
        slot::for_each(|view| slots.push(view));
        let (mut parked, mut awake) = (HashSet::new(), HashSet::new());
        for_each_worker(shared, |_, tid, park_unpark| {
            let list = if park_unpark % 2 == 1 {
                &mut parked
            } else {
                &mut awake
            };
            list.insert(tid);
        });
        Self {
            progress: progress(shared, &slots),
            slots,
            parked,
            awake,
            own: locked(&shared.own_threads).clone(),
            shared,
        }
    }

    /// The thread that holds `lock`, where one is found that nothing refutes.
    pub(super) fn holder_of(&mut self, lock: &Lock, refuted: &Refuted) -> Option<Found> {
        if let Some(owner) = lock.owner.map(Tid).filter(|owner| lives(*owner)) {
            return Some(Found {
                holder: self.describe(owner, true),
                candidate: None,
            });
        }
        let mut candidates = self.candidates(lock);
        if candidates.is_empty() {
            return None;
        }
        std::thread::sleep(BETWEEN);
        let mut slots = Vec::new();
        slot::for_each(|view| slots.push(view));
        let now = progress(self.shared, &slots);
        candidates.retain_mut(|candidate| {
            let is_same = now.get(&candidate.tid) == self.progress.get(&candidate.tid);
            is_same && still_points(candidate, lock) && !refuted.excludes(lock.address, candidate)
        });
        if is_free(lock) {
            return None;
        }
        if let Some(owner) = owner_by_number(lock)
            && candidates.iter().any(|c| c.tid == owner)
        {
            return Some(Found {
                holder: self.describe(owner, true),
                candidate: None,
            });
        }
        let best = most_likely(&candidates, lock)?.clone();
        Some(Found {
            holder: self.describe(best.tid, false),
            candidate: Some(best),
        })
    }

    fn candidates(&self, lock: &Lock) -> Vec<Candidate> {
        let mut found = Vec::new();
        let mut running = Vec::new();
        for tid in threads() {
            if self.own.contains(&tid) || self.parked.contains(&tid) {
                continue;
            }
            let state = procfs::syscall(tid);
            if lock_in(state).is_some_and(|other| other.address == lock.address) {
                continue;
            }
            match state {
                SyscallState::Running if capture::is_registered(tid) => running.push(tid),
                SyscallState::In { .. } | SyscallState::Outside { .. } => {
                    let likelihood = self.likelihood(tid, state);
                    let sleep = Sleep::of(tid, state);
                    let words = points_at(lock, |w| capture::words_of_blocked(tid, state, w));
                    found.extend(candidate(tid, likelihood, words, sleep));
                }
                SyscallState::Running | SyscallState::Unknown => {}
            }
        }
        if found.iter().any(|c| c.likelihood == Likelihood::Works) {
            return found;
        }
        for tid in running.into_iter().take(MAX_RUNNING) {
            let words = points_at(lock, |w| capture::words_of_running(tid, w).ok());
            found.extend(candidate(tid, Likelihood::Works, words, None));
        }
        found
    }

    fn likelihood(&self, tid: Tid, state: SyscallState) -> Likelihood {
        let SyscallState::In { number, args, .. } = state else {
            return Likelihood::Works;
        };
        let polls = |s: &SlotView| s.tid == tid.0 && s.polling();
        let busy = self.awake.contains(&tid) || self.slots.iter().any(polls);
        if !busy && may_idle(number, &args) {
            return Likelihood::Idle;
        }
        if is_futex(number) {
            Likelihood::Waits
        } else {
            Likelihood::Works
        }
    }

    fn describe(&self, tid: Tid, certain: bool) -> Holder {
        let state = procfs::syscall(tid);
        let captured = capture::capture(tid.0).ok();
        let doing = captured.as_ref().map_or(state, |captured| captured.doing);
        let call = match doing {
            SyscallState::In { number, args, .. } => Some((number, args)),
            _ => None,
        };
        let truncated = captured.as_ref().is_some_and(|c| c.stack.truncated);
        let frames = captured.into_iter().flat_map(|c| c.stack.frames);
        let frames = frames.map(|(module, at)| (module.map(|m| m.0), at));
        let at_ns = now_ns();
        let task = self.task_in_poll(tid);
        let described = task.and_then(task::describe);
        Holder {
            tid,
            name: thread_name(tid),
            certain,
            stack: SeenStack {
                first_ns: at_ns,
                last_ns: at_ns,
                count: 1,
                frames: frames.collect(),
                truncated,
                cause: Cause::of(&doing),
                syscall: call.map(|(number, _)| name(number)),
            },
            description: described.map(|d| TaskInfo {
                name: d.name,
                kind: d.kind,
                site: d.site,
            }),
            task,
            doing: call.map(|(number, _)| name(number)),
            object: call.and_then(|(number, args)| object(number, &args)),
        }
    }

    /// The task that the thread polls now.
    fn task_in_poll(&self, tid: Tid) -> Option<u64> {
        let mut task = None;
        slot::for_each(|view| {
            if view.tid == tid.0 && view.polling() && view.task != 0 {
                task = Some(view.task);
            }
        });
        task.filter(|_| !self.shared.is_stopping())
    }
}

/// Calls `f` with each worker whose thread is known, that thread, and how often it
/// has parked and gone on (odd: it is parked).
fn for_each_worker(shared: &Shared, mut f: impl FnMut(Flavor, Tid, u64)) {
    for runtime in shared.runtimes.all() {
        let Some(metrics) = runtime.metrics() else {
            continue;
        };
        let map = locked(&runtime.map);
        for worker in runtime.worker_indices() {
            if let Some(tid) = map.thread(worker) {
                let park_unpark = metrics.worker_park_unpark_count(worker.index());
                f(runtime.flavor, tid, park_unpark);
            }
        }
    }
}

/// What the workers of multi-thread runtimes have run; the caller of `block_on` may
/// hold a lock around all of it.
fn progress(shared: &Shared, slots: &[SlotView]) -> HashMap<Tid, Progress> {
    let mut found = HashMap::new();
    for_each_worker(shared, |flavor, tid, park_unpark| {
        if flavor != Flavor::CurrentThread {
            let slot = slots.iter().find(|s| s.tid == tid.0);
            let sequence = slot.map(|s| s.sequence);
            found.insert(
                tid,
                Progress {
                    sequence,
                    park_unpark,
                },
            );
        }
    });
    found
}

/// The thread that the lock names by std's number, before as now.
fn owner_by_number(lock: &Lock) -> Option<Tid> {
    let number = lock::owner_of_reentrant(lock.address, read_u32)?;
    let same = lock.number == Some(number);
    same.then(|| crate::drivers::tid_of_number(number))?
}

/// It was given up since somebody waited for it: a word of 0 is a free lock, of std's
/// as of `parking_lot`'s.
fn is_free(lock: &Lock) -> bool {
    read_u32(lock.address) == Some(0)
}

/// The lock for which a thread waits now.
pub(super) fn lock_of(tid: Tid) -> Option<Lock> {
    lock_in(procfs::syscall(tid))
}

/// The second look: the lock is still held, and some of the words are still
/// there.
fn still_points(candidate: &mut Candidate, lock: &Lock) -> bool {
    let tid = candidate.tid;
    let state = procfs::syscall(tid);
    if lock_in(state).is_some_and(|other| other.address == lock.address) {
        return false;
    }
    let words = match state {
        SyscallState::Running => points_at(lock, |w| capture::words_of_running(tid, w).ok()),
        _ => points_at(lock, |w| capture::words_of_blocked(tid, state, w)),
    };
    let Some(now) = words else { return false };
    if candidate.sleep != Sleep::of(tid, state) {
        candidate.sleep = None;
    }
    candidate.hits.retain(|hit| now.hits.contains(hit));
    !candidate.hits.is_empty()
}

/// The thread that most likely holds the lock; `None` where two are as likely.
pub(super) fn most_likely<'a>(candidates: &'a [Candidate], lock: &Lock) -> Option<&'a Candidate> {
    let weight = |c: &Candidate| {
        // A guard points at the lock, whose word is the first or second in it; who
        // only knows the lock often points at what the lock is a part of.
        let near = |word: u64| lock.address.saturating_sub(word & !3) <= GUARD;
        let guards = c.hits.iter().any(|(_, word)| near(*word));
        (guards, c.likelihood, c.hits.len())
    };
    let best = candidates
        .iter()
        .filter(|c| c.likelihood > Likelihood::Idle)
        .max_by_key(|c| weight(c))?;
    let equals = candidates.iter().filter(|c| weight(c) == weight(best));
    (equals.count() == 1).then_some(best)
}

fn candidate(
    tid: Tid,
    likelihood: Likelihood,
    words: Option<Words>,
    sleep: Option<Sleep>,
) -> Option<Candidate> {
    let hits = words?.hits;
    (!hits.is_empty()).then_some(Candidate {
        tid,
        likelihood,
        hits,
        sleep,
    })
}

fn points_at(
    lock: &Lock,
    words: impl FnOnce(Box<dyn Fn(u64) -> bool>) -> Option<Words>,
) -> Option<Words> {
    let pointers = lock::pointers(lock.address);
    words(Box::new(move |word| pointers.contains(&word)))
}

fn lock_in(state: SyscallState) -> Option<Lock> {
    let SyscallState::In { number, args, .. } = state else {
        return None;
    };
    is_futex(number)
        .then(|| Lock::of(&args, read_u32))
        .flatten()
}

fn read_u32(address: u64) -> Option<u32> {
    let mut bytes = [0; 4];
    let whole = capture::read_memory(address, &mut bytes) == bytes.len();
    whole.then(|| u32::from_le_bytes(bytes))
}

pub(super) fn threads() -> Vec<Tid> {
    let tids = procfs::tids().into_iter().flatten();
    tids.take(MAX_THREADS).collect()
}

fn lives(tid: Tid) -> bool {
    crate::thread_clock::thread_cpu_ns(tid).is_some()
}

fn thread_name(tid: Tid) -> String {
    procfs::name(tid).unwrap_or_default()
}
