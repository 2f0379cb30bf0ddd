//! The threads: which of them wait for a lock, and who may hold it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use looptop_procfs::lock::{self, Lock, LockKind};
use looptop_procfs::{SyscallState, syscalls};
use looptop_unwind::{Memory as _, Registers};

use super::cells::COUNTS;
use super::facts::{Hold, TaskAt, ThreadWait, Want, What};
use super::frames::{Frames, Says, Stacks};
use super::holders::{Candidate, Likelihood, Refuted, Sleep, Waiter, Who, most_likely};
use super::readable::{Readable, ThreadAt};
use crate::awaits::Role;
use crate::space::{Space, words};
use crate::tasks::{AddressMap, InPoll, TaskKind, TaskType};
use crate::waits::ResourceKind;

/// Bytes of a stack that are read, from its pointer on.
const MAX_STACK: usize = 128 << 10;
/// Locks whose holders are looked for at a time.
const MAX_LOCKS: usize = 64;
/// Words of one stack that point at one lock.
const MAX_HITS: usize = 16;
/// A thread that stands at one place for so long is worth a word by that alone.
const STANDS: Duration = Duration::from_millis(100);

/// The threads that were seen.
#[derive(Debug, Default)]
pub(super) struct Threads {
    known: BTreeMap<u64, Known>,
    refuted: Refuted,
    /// The holders of the newest look, by lock.
    holders: HashMap<u64, Holder>,
}

/// Who holds a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) who: Who,
    pub(super) is_certain: bool,
}

/// A thread as it was seen.
#[derive(Debug)]
struct Known {
    at: ThreadAt,
    since: Instant,
    lock: Option<Lock>,
    task: Option<TaskAt>,
    /// The task is a job of the blocking pool.
    is_job: bool,
    /// The job of the blocking pool that it waits for, and that has not begun.
    awaits: Option<TaskAt>,
    frames: Frames,
    says: Says,
    /// What was said of it.
    sent: Option<ThreadWait>,
}

/// What a look has found.
#[derive(Debug, Default)]
pub(super) struct Looked {
    pub(super) changed: Vec<ThreadWait>,
    pub(super) void: Vec<u64>,
    /// Locks for which threads wait, and their kinds.
    pub(super) locks: Vec<(u64, ResourceKind)>,
    /// Of these the ones of which no thread seems to be the holder.
    pub(super) unheld: Vec<u64>,
}

impl Threads {
    /// Some thread waits for a lock, as of the newest look.
    pub(super) fn some_wait(&self) -> bool {
        self.known.values().any(|known| known.lock.is_some())
    }

    /// The holders of locks, as of the newest look.
    pub(super) fn holders(&self) -> &HashMap<u64, Holder> {
        &self.holders
    }

    /// Which of these locks are on the stack of another thread than the first, as themselves or
    /// by their `Arc`.
    pub(super) fn know(&self, space: &impl Space, locks: &HashSet<u64>) -> HashSet<u64> {
        let mut known = HashSet::new();
        if locks.is_empty() {
            return known;
        }
        for thread in self.known.values().skip(1) {
            let stack = stack_of(space, &thread.at).unwrap_or_default();
            for word in words(&stack) {
                let behind = COUNTS.into_iter().filter_map(|n| word.checked_add(n));
                let all = std::iter::once(word).chain(behind);
                known.extend(all.filter(|word| locks.contains(word)));
            }
        }
        known
    }

    /// One look at all of them. Of `others`, which are locks of tokio's, holders are looked
    /// for, too. `by_tasks` are tasks that point at locks, as they were found before.
    pub(super) fn look<R: Readable>(
        &mut self,
        readable: &mut R,
        stacks: &mut Stacks,
        in_poll: &InPoll<R::Space>,
        others: &HashSet<u64>,
        by_tasks: &HashMap<u64, Vec<Candidate>>,
        now: Instant,
    ) -> Looked {
        let space = readable.space().clone();
        self.see(readable, &space, stacks, in_poll, now);
        let locks = self.locks();
        let holders = self.search(readable, &space, &locks, others, by_tasks);
        let known: AddressMap<Option<u64>> = {
            let all = self.known.values();
            all.map(|k| (k.at.tid, k.lock.map(|lock| lock.address)))
                .collect()
        };
        let slices: AddressMap<Option<u64>> = {
            let all = self.known.values();
            all.map(|k| (k.at.tid, k.at.slices)).collect()
        };
        self.refuted.look(
            |tid| known.get(&tid).copied().flatten(),
            |tid| slices.get(&tid).copied().flatten(),
        );
        self.holders = holders;
        let mut looked = Looked {
            locks: locks
                .iter()
                .map(|(l, _)| (l.address, kind(l.kind)))
                .collect(),
            ..Looked::default()
        };
        let unheld = locks.iter().map(|(lock, _)| lock.address);
        looked.unheld = unheld
            .filter(|lock| !self.holders.contains_key(lock))
            .collect();
        self.say(readable.goes_on().then_some(now), &mut looked);
        looked
    }

    /// Takes in where each stands now.
    fn see<R: Readable>(
        &mut self,
        readable: &mut R,
        space: &R::Space,
        stacks: &mut Stacks,
        in_poll: &InPoll<R::Space>,
        now: Instant,
    ) {
        let all = readable.threads();
        let mut before = std::mem::take(&mut self.known);
        for at in all {
            let known = before.remove(&at.tid);
            let stands = known.as_ref().is_some_and(|known| {
                known.at.state == at.state && known.at.slices == at.slices && at.slices.is_some()
            });
            let known = match known {
                Some(known) if stands => known,
                known => {
                    let new = stand(readable, space, stacks, in_poll, at, now);
                    let is_same_job = |known: &Known| {
                        known.is_job && (known.task, known.awaits) == (new.task, new.awaits)
                    };
                    let before = known.as_ref().filter(|known| is_same_job(known));
                    // How long a job runs, wherever it is, or waits for the same.
                    let since = before.map_or(new.since, |known| known.since);
                    let mut says = new.says;
                    // Where it was last, when a stack does not say it.
                    if let (None, Some(before)) = (&says.function, before) {
                        says.function.clone_from(&before.says.function);
                        says.place.clone_from(&before.says.place);
                    }
                    let sent = known.and_then(|known| known.sent);
                    Known {
                        since,
                        says,
                        sent,
                        ..new
                    }
                }
            };
            self.known.insert(at.tid, known);
        }
        for (tid, known) in before {
            // It has ended: what was said of it is void.
            if known.sent.is_some() {
                let at = ThreadAt {
                    state: SyscallState::Unknown,
                    ..known.at
                };
                let gone = Known {
                    at,
                    lock: None,
                    task: None,
                    says: Says::default(),
                    ..known
                };
                self.known.insert(tid, gone);
            }
        }
    }

    /// The locks for which threads wait, with those.
    fn locks(&self) -> Vec<(Lock, Vec<Waiter>)> {
        let mut locks: Vec<(Lock, Vec<Waiter>)> = Vec::new();
        for known in self.known.values() {
            let Some(lock) = known.lock else { continue };
            let waiter = Waiter {
                tid: known.at.tid,
                gives_up: lock.gives_up,
            };
            let of = locks.iter().position(|(l, _)| l.address == lock.address);
            match of {
                Some(of) => locks[of].1.push(waiter),
                None if locks.len() < MAX_LOCKS => locks.push((lock, vec![waiter])),
                None => {}
            }
        }
        locks
    }

    fn search<R: Readable>(
        &mut self,
        readable: &mut R,
        space: &R::Space,
        locks: &[(Lock, Vec<Waiter>)],
        others: &HashSet<u64>,
        by_tasks: &HashMap<u64, Vec<Candidate>>,
    ) -> HashMap<u64, Holder> {
        let mut holders = HashMap::new();
        if locks.is_empty() && others.is_empty() {
            return holders;
        }
        let wanted = Targets::of(locks.iter().map(|(lock, _)| lock.address), others);
        let mut candidates: HashMap<u64, Vec<Candidate>> = HashMap::new();
        for known in self.known.values() {
            let own = known.lock.map(|lock| lock.address);
            for (lock, candidate) in point_at(space, known, &wanted) {
                // Its own pointer is that of one who waits.
                if own != Some(lock) {
                    candidates.entry(lock).or_default().push(candidate);
                }
            }
        }
        for (lock, waiters) in locks {
            let address = lock.address;
            if let Some(owner) = lock.owner.filter(|owner| self.known.contains_key(owner)) {
                let who = Who::Thread(owner);
                let is_certain = true;
                holders.insert(address, Holder { who, is_certain });
                continue;
            }
            let mut all = candidates.remove(&address).unwrap_or_default();
            all.retain(|c| !self.refuted.excludes(address, c) && still_points(readable, space, c));
            all.extend(by_tasks.get(&address).into_iter().flatten().cloned());
            if lock.is_free(|at| read_u32(space, at)) {
                continue;
            }
            if let Some(best) = most_likely(&all, address) {
                self.refuted.named(address, best, waiters);
                let who = best.who;
                let is_certain = best.likelihood == Likelihood::Holds;
                holders.insert(address, Holder { who, is_certain });
            }
        }
        for lock in others {
            let mut all = candidates.remove(lock).unwrap_or_default();
            // A task that is suspended and waits for it was left out by who looked.
            all.retain(|c| c.likelihood == Likelihood::Works && still_points(readable, space, c));
            all.extend(by_tasks.get(lock).into_iter().flatten().cloned());
            if let Some(best) = most_likely(&all, *lock) {
                let who = best.who;
                let is_certain = best.likelihood == Likelihood::Holds;
                holders.insert(*lock, Holder { who, is_certain });
            }
        }
        holders
    }

    /// What is to be said of each, where it is something else than before. `now` is `None`
    /// where all of them stand for ever.
    fn say(&mut self, now: Option<Instant>, looked: &mut Looked) {
        let mut holds: HashMap<u64, Vec<Hold>> = HashMap::new();
        let mut held: Vec<(&u64, &Holder)> = self.holders.iter().collect();
        held.sort_unstable_by_key(|(lock, _)| **lock);
        for (lock, holder) in held {
            if let Who::Thread(tid) = holder.who {
                holds.entry(tid).or_default().push(Hold {
                    node: 0,
                    resource: *lock,
                    role: Role::Guard,
                    amount: 1,
                    name: None,
                    is_certain: holder.is_certain,
                });
            }
        }
        for (tid, known) in &mut self.known {
            let holds = holds.remove(tid).unwrap_or_default();
            let now_said = known.word(holds, now);
            if now_said == known.sent {
                continue;
            }
            match &now_said {
                Some(word) => looked.changed.push(word.clone()),
                None => looked.void.push(*tid),
            }
            known.sent = now_said;
        }
        self.known
            .retain(|_, known| known.at.state != SyscallState::Unknown || known.sent.is_some());
    }
}

/// Looks at one that stands elsewhere than before.
fn stand<R: Readable>(
    readable: &mut R,
    space: &R::Space,
    stacks: &mut Stacks,
    in_poll: &InPoll<R::Space>,
    at: ThreadAt,
    now: Instant,
) -> Known {
    let mut known = Known {
        at,
        since: now,
        lock: None,
        task: None,
        is_job: false,
        awaits: None,
        frames: Frames::new(),
        says: Says::default(),
        sent: None,
    };
    let Some(stack) = stack_of(space, &at) else {
        return known;
    };
    if let SyscallState::In { number, args, .. } = at.state
        && syscalls::is_futex(number)
    {
        known.lock = Lock::of(&args, |address| read_u32(space, address));
    }
    let words: Vec<u64> = words(&stack).collect();
    let polled = in_poll.all_among(&words);
    let registers = at.registers.or_else(|| {
        let (sp, pc) = at.state.blocked_at()?;
        Some(Registers::blocked(pc, sp))
    });
    if let Some(registers) = registers {
        known.frames = stacks.unwind(space, registers, &stack);
    }
    // What was read after it had run on is of two places.
    if readable.goes_on() {
        let again = readable.thread(at.tid);
        let is_same = |again: ThreadAt| again.state == at.state && again.slices == at.slices;
        if !again.is_some_and(is_same) {
            let slices = None;
            return Known {
                at: ThreadAt { slices, ..at },
                lock: None,
                frames: Frames::new(),
                ..known
            };
        }
    }
    known.says = stacks.says(&known.frames);
    if known.says.is_at_condition {
        known.lock = None;
    }
    let innermost = polled
        .iter()
        .filter(|task| task.kind == TaskKind::Async || !known.says.is_worker)
        // A handle of it may be on the stack, too.
        .find(|task| {
            let of = in_poll.types().get(task.vtable);
            let is_on = |of: &TaskType| stacks.has(&known.frames, of.poll());
            known.says.polls || of.is_some_and(is_on)
        });
    let innermost = innermost.filter(|_| !known.says.is_idle);
    known.is_job = innermost.is_some_and(|task| task.kind == TaskKind::Blocking);
    known.task = innermost.map(|task| TaskAt {
        header: task.header,
        id: task.id,
    });
    if known.is_job && known.says.is_parked {
        let queued = in_poll.queued_jobs(&words).into_iter().next();
        known.awaits = queued.map(|(header, id)| TaskAt { header, id });
    }
    known
}

impl Known {
    /// What is worth saying of it.
    fn word(&self, holds: Vec<Hold>, now: Option<Instant>) -> Option<ThreadWait> {
        let lock = self.lock.map(|lock| What::Permits {
            resource: lock.address,
            amount: 1,
            given: 0,
        });
        let awaits = self.awaits.map(|job| What::Job {
            job,
            has_begun: false,
        });
        let want = lock.or(awaits).map(|what| Want { node: 0, what });
        let stood = |now: Instant| now.saturating_duration_since(self.since) >= STANDS;
        // What a job does is worth a word wherever it is.
        let stands = now.is_none_or(|now| self.at.slices.is_some() && (self.is_job || stood(now)))
            && !self.says.is_idle
            && (self.task.is_some() || self.says.function.is_some());
        if want.is_none() && holds.is_empty() && !stands {
            return None;
        }
        Some(ThreadWait {
            tid: self.at.tid,
            want,
            holds,
            task: self.task,
            since: self.since,
            function: self.says.function.clone(),
            place: self.says.place.clone(),
            call: match self.at.state {
                SyscallState::In { number, .. } => Some(number),
                _ => None,
            },
            frames: self.frames.clone(),
        })
    }

    fn likelihood(&self) -> Likelihood {
        let SyscallState::In { number, args, .. } = self.at.state else {
            return Likelihood::Works;
        };
        let idles = syscalls::may_idle(number, &args) && self.task.is_none();
        if self.says.is_idle || (idles && self.says.function.is_none()) {
            Likelihood::Idle
        } else if syscalls::is_futex(number) || idles {
            Likelihood::Waits
        } else {
            Likelihood::Works
        }
    }
}

/// What words are looked for.
struct Targets {
    /// Locks by the words that point at them.
    near: AddressMap<Vec<u64>>,
}

impl Targets {
    fn of(locks: impl Iterator<Item = u64>, others: &HashSet<u64>) -> Self {
        let mut near: AddressMap<Vec<u64>> = AddressMap::default();
        for lock in locks {
            for word in lock::pointers(lock).filter(|word| word % 4 == 0 || *word >= lock) {
                near.entry(word).or_default().push(lock);
            }
        }
        for lock in others {
            near.entry(*lock).or_default().push(*lock);
        }
        Self { near }
    }
}

/// The locks to which the words of a blocked thread's stack point.
fn point_at(space: &impl Space, known: &Known, targets: &Targets) -> Vec<(u64, Candidate)> {
    let mut found: Vec<(u64, Candidate)> = Vec::new();
    let Some((sp, stack)) = known.at.stack().zip(stack_of(space, &known.at)) else {
        return found;
    };
    let pc = known.at.state.blocked_at().map_or(0, |(_, pc)| pc);
    for (word, slot) in words(&stack).zip((sp & !7..).step_by(8)) {
        for lock in targets.near.get(&word).into_iter().flatten() {
            let at = found.iter().position(|(of, _)| of == lock);
            let at = at.unwrap_or_else(|| {
                let slices = known.at.slices;
                let candidate = Candidate {
                    who: Who::Thread(known.at.tid),
                    likelihood: known.likelihood(),
                    hits: Vec::new(),
                    sleep: slices.map(|slices| Sleep { slices, sp, pc }),
                };
                found.push((*lock, candidate));
                found.len() - 1
            });
            let candidate = &mut found[at].1;
            if candidate.hits.len() < MAX_HITS {
                candidate.hits.push((slot, word));
            }
        }
    }
    found
}

/// Whether the thread has not run since its stack was read, or points there still.
fn still_points<R: Readable>(readable: &mut R, space: &R::Space, candidate: &Candidate) -> bool {
    let Who::Thread(tid) = candidate.who else {
        return true;
    };
    if !readable.goes_on() {
        return true;
    }
    let now = readable.thread(tid);
    let sleeps = now
        .zip(candidate.sleep)
        .is_some_and(|(now, sleep)| now.slices == Some(sleep.slices));
    sleeps
        || now.is_some_and(|now| now.state != SyscallState::Running)
            && candidate
                .hits
                .iter()
                .any(|(at, word)| space.read_u64(*at) == Some(*word))
}

/// The used part of a stack, from its pointer on, up to a bound.
fn stack_of(space: &impl Space, at: &ThreadAt) -> Option<Vec<u8>> {
    let sp = at.stack()? & !7;
    let mut stack = vec![0; MAX_STACK];
    let read = space.read_stack(sp, &mut stack);
    stack.truncate(read);
    (read >= 8).then_some(stack)
}

fn read_u32(space: &impl Space, address: u64) -> Option<u32> {
    let mut bytes = [0; 4];
    let whole = space.read(address, &mut bytes) == bytes.len();
    whole.then(|| u32::from_le_bytes(bytes))
}
/// What a lock is called as a resource.
fn kind(lock: LockKind) -> ResourceKind {
    match lock {
        LockKind::StdMutex => ResourceKind::StdMutex,
        LockKind::StdRwLock => ResourceKind::StdRwLock,
        LockKind::ParkingLotMutex => ResourceKind::ParkingLotMutex,
        LockKind::ParkingLotRwLock => ResourceKind::ParkingLotRwLock,
        LockKind::Other => ResourceKind::Other,
    }
}
