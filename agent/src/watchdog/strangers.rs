//! Threads of this process that run tokio although no registered runtime has
//! them: a census of all threads once a second, and a closer look at those.
//!
//! A thread that is blocked shows its stack without being disturbed, registered or
//! not. By the functions of tokio's scheduler on it ([`landmarks`]) it is a worker
//! of somebody's runtime, or drives one, or is in `block_on`; a pool of another
//! library, and tokio's blocking pool, are none ([`place`]).
//!
//! Such a stranger that stays blocked in one place, which is not where it waits for
//! work, for longer than the threshold is a stall like any other, unless only the
//! future of `block_on` beside a multi-thread runtime stands still: nobody waits.
//!
//! One that computes shows the same stacks in one long poll and in many short ones.
//! They are told apart by its scheduler's own counters, which are learned while it
//! parks ([`ticks`]); where they are not known, nothing is reported, and the census
//! says so.
//!
//! # Cost
//!
//! A census reads the directory of threads; a thread whose place is known is looked
//! at again only when it has run, ever more rarely. A stranger costs one small read
//! (1 µs) at each look of the watchdog, and one more (6 µs) each time that it has
//! been blocked for longer than the threshold. Its counters cost four looks of half a
//! millisecond in all, and then some 3 µs at each look that finds it running.

mod landmarks;
mod place;
mod ticks;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use looptop_wire::proto::Flavor;

use self::{
    landmarks::{Landmarks, Unknown},
    place::{Place, Wait, place},
    ticks::Ticks,
};
use super::case::Sight;
use super::{Watchdog, Watched};
use crate::coverage::{self, Coverage, Kind, Stranger};
use crate::ids::Tid;
use crate::procfs::{ProcFile, SchedStat, SyscallState, parse_schedstat};
use crate::stall::Subject;
use crate::sync::lock;
use crate::thread_clock::thread_cpu_ns;
use crate::{capture, evidence};

/// Strangers that are watched at most.
const MAX_STRANGERS: usize = 64;
/// Of these the file that is read at each look stays open: they count against the
/// application's limit.
const MAX_OPEN: usize = 32;
/// Threads of which anything is remembered.
const MAX_THREADS: usize = 4_096;
/// Between two censuses; where threads are left over, and where none are.
const HURRY_NS: u64 = 100_000_000;
const CENSUS_NS: u64 = 1_000_000_000;
/// A stranger is told of after this.
const SURE_NS: u64 = 900_000_000;
/// Stacks that are read in one census, and for strangers in one look.
const CENSUS_STACKS: u32 = 8;
const LOOK_STACKS: u32 = 4;
/// A thread that is nobody's is looked at again after this, and then ever more
/// rarely up to the other.
const FIRST_AGAIN_NS: u64 = 1_000_000_000;
const LAST_AGAIN_NS: u64 = 16_000_000_000;
/// A poll that computes for so long is looked at more closely: its stack is taken.
const COMPUTES_NS: u64 = 20_000_000;
/// Between two looks at a parked thread that teach where its counters are.
const LEARN_NS: u64 = 50_000_000;
/// Places where one thread waits for work: the driver, its condition variable.
const MAX_PARKS: usize = 4;

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
    /// Whether places can be told.
    fn is_ready(&mut self) -> bool;
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

/// What is known of one thread that is nobody's.
#[derive(Debug)]
struct Seen {
    standing: Standing,
    /// Times that it was given a CPU, at the last look.
    slices: Option<u64>,
    /// Since when that has not changed.
    still_ns: u64,
    /// The place where it is now is judged: not to be looked at before it runs.
    judged: bool,
    blocked: bool,
    parks: Vec<Signature>,
    again_ns: u64,
    wait_ns: u64,
    ticks: Ticks,
    /// The next look that may teach them.
    learn_ns: u64,
    turn: Option<Turn>,
}

/// One turn of a scheduler's loop, for as long as its counters stand still.
#[derive(Debug)]
struct Turn {
    counters: Vec<u32>,
    since_ns: u64,
    /// CPU that the thread had used then.
    cpu_ns: u64,
    /// Whether it is a poll; `None` before its stack was taken.
    polls: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Its stack could not be read yet.
    Unread,
    /// No thread of a runtime.
    Nobody,
    Stranger {
        kind: Kind,
        since_ns: u64,
        cpu_ns: u64,
    },
}

/// A blocked thread's call, what it works on, and how deep the stack was: the same
/// again is the same place in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Signature {
    number: u64,
    argument: u64,
    sp: u64,
    pc: u64,
}

impl Signature {
    fn of(state: SyscallState) -> Option<Self> {
        match state {
            SyscallState::In {
                number,
                args,
                sp,
                pc,
            } => Some(Self {
                number,
                argument: args[0],
                sp,
                pc,
            }),
            _ => None,
        }
    }

    fn wait(self) -> Wait {
        match &*evidence::name(self.number) {
            "epoll_wait" | "epoll_pwait" | "epoll_pwait2" => Wait::Events,
            "futex" => Wait::Futex,
            _ => Wait::Other,
        }
    }
}

impl Seen {
    fn new(now_ns: u64) -> Self {
        Self {
            standing: Standing::Unread,
            slices: None,
            still_ns: now_ns,
            judged: false,
            blocked: false,
            parks: Vec::new(),
            again_ns: now_ns,
            wait_ns: FIRST_AGAIN_NS,
            ticks: Ticks::default(),
            learn_ns: now_ns,
            turn: None,
        }
    }

    fn kind(&self) -> Option<Kind> {
        match self.standing {
            Standing::Stranger { kind, .. } => Some(kind),
            Standing::Unread | Standing::Nobody => None,
        }
    }

    /// Notes how often it ran; true where it has not since the last look.
    fn stands_still(&mut self, now_ns: u64, slices: Option<u64>) -> bool {
        let same = slices.is_some() && slices == self.slices;
        if !same {
            self.slices = slices;
            self.still_ns = now_ns;
            self.judged = false;
            self.blocked = false;
        }
        same
    }

    /// It is parked, as `state` says: its scheduler's counters may be learned.
    fn learn(&mut self, tid: Tid, state: SyscallState, now_ns: u64, threads: &mut impl Threads) {
        let SyscallState::In { sp, .. } = state else {
            return;
        };
        if now_ns < self.learn_ns || !self.ticks.wants() {
            return;
        }
        self.learn_ns = now_ns + LEARN_NS;
        let read = |address: u64, buffer: &mut [u8]| threads.read(address, buffer);
        let snapshot = ticks::Snapshot::take(sp, &read);
        let stayed = threads.syscall(tid) == state
            && threads.sched_often(tid).map(|s| s.slices) == self.slices;
        if stayed {
            self.ticks.learn(snapshot);
        }
    }

    /// Since when it is in one poll that has computed for some time, if it is.
    fn computes(&mut self, tid: Tid, now_ns: u64, threads: &mut impl Threads) -> Option<u64> {
        let read = |address: u64, buffer: &mut [u8]| threads.read(address, buffer);
        let Some(counters) = self.ticks.now(&read) else {
            self.turn = None;
            return None;
        };
        let cpu_ns = threads.cpu_ns(tid)?;
        let turn = match &mut self.turn {
            Some(turn) if turn.counters == counters => turn,
            other => other.insert(Turn {
                counters,
                since_ns: now_ns,
                cpu_ns,
                polls: None,
            }),
        };
        if turn.polls.is_none() && cpu_ns.saturating_sub(turn.cpu_ns) >= COMPUTES_NS {
            let place = threads.place(tid, Wait::Other);
            let read = |address: u64, buffer: &mut [u8]| threads.read(address, buffer);
            // The stack may have been taken in the next turn.
            let same = self.ticks.now(&read).as_ref() == Some(&turn.counters);
            if let Some(place) = place.filter(|_| same) {
                turn.polls = Some(matches!(
                    place,
                    Place::InPoll(Kind::Worker | Kind::CurrentThread)
                ));
            }
        }
        (turn.polls == Some(true)).then_some(turn.since_ns)
    }

    /// Draws the conclusion from where it stands.
    fn judge(&mut self, place: Place, state: SyscallState, now_ns: u64, cpu_ns: Option<u64>) {
        self.judged = true;
        self.blocked = matches!(place, Place::InPoll(_));
        let kind = match place {
            Place::Parked(kind) | Place::InPoll(kind) => Some(kind),
            Place::InFuture => Some(Kind::BlockOn),
            // It drove a worker before it entered: it is still a stranger then.
            Place::HandedOver => self.kind(),
            Place::Pool | Place::Elsewhere => None,
        };
        let unchanged = kind == self.kind();
        self.standing = match kind {
            Some(_) if unchanged => self.standing,
            Some(kind) => Standing::Stranger {
                kind,
                since_ns: now_ns,
                cpu_ns: cpu_ns.unwrap_or_default(),
            },
            None if place == Place::HandedOver => self.standing,
            None => Standing::Nobody,
        };
        if let (Place::Parked(_), Some(signature)) = (place, Signature::of(state)) {
            if self.parks.len() == MAX_PARKS {
                self.parks.remove(0);
            }
            self.parks.push(signature);
        }
    }
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
        let left_over = !threads.is_ready() || self.read_others(now_ns, threads);
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
            let place = Signature::of(state).and_then(|s| threads.place(tid, s.wait()));
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
            // It may drive a worker of a registered runtime, whose counters tell.
            if known.threads.contains(tid) || known.without_thread(kind) > 0 {
                continue;
            }
            let slices = threads.sched_often(*tid).map(|s| s.slices);
            let still = seen.stands_still(now_ns, slices);
            let long = now_ns.saturating_sub(seen.still_ns) >= self.threshold_ns;
            let due = !seen.judged && seen.again_ns <= now_ns;
            if still && long && due && stacks < LOOK_STACKS {
                let state = threads.syscall(*tid);
                match Signature::of(state) {
                    Some(signature) if seen.parks.contains(&signature) => {
                        seen.judged = true;
                        seen.learn(*tid, state, now_ns, threads);
                    }
                    Some(signature) => {
                        stacks += 1;
                        match threads.place(*tid, signature.wait()) {
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
                    polls_told: seen.ticks.are_known(),
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

/// The process's own threads.
#[derive(Debug, Default)]
struct LiveThreads {
    scheds: HashMap<Tid, Option<ProcFile>>,
    /// Module of the program itself among those of captures.
    program: Option<u32>,
}

/// The functions of tokio's scheduler, once they were read.
static LANDMARKS: OnceLock<Result<Arc<Landmarks>, Unknown>> = OnceLock::new();

/// Name of the thread that reads them.
const READER: &str = "looptop-names";

/// Reads the functions of tokio's scheduler, on a thread of its own.
fn read_landmarks() {
    let reader = std::thread::Builder::new().name(READER.into());
    // Without a thread there are no landmarks, and strangers stay unread.
    drop(reader.spawn(|| {
        LANDMARKS.get_or_init(|| {
            let file = std::fs::File::open("/proc/self/exe").map_err(|_| Unknown::Unreadable)?;
            landmarks::read(&file).map(Arc::new)
        });
    }));
}

/// Whether strangers can be told from other threads, or why not. Before the symbols
/// were read they are expected to be there.
pub(crate) fn can_tell() -> Result<(), String> {
    match LANDMARKS.get() {
        Some(Err(unknown)) => Err(unknown.to_string()),
        Some(Ok(_)) | None => Ok(()),
    }
}

impl Threads for LiveThreads {
    fn list(&mut self) -> Vec<Tid> {
        let Ok(entries) = std::fs::read_dir("/proc/self/task") else {
            return Vec::new();
        };
        let tids = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
        tids.map(Tid).collect()
    }

    fn is_ready(&mut self) -> bool {
        matches!(LANDMARKS.get(), Some(Ok(_)))
    }

    fn sched(&mut self, tid: Tid) -> Option<SchedStat> {
        ProcFile::of_thread(tid, "schedstat")?.parse(parse_schedstat)
    }

    fn sched_often(&mut self, tid: Tid) -> Option<SchedStat> {
        if !self.scheds.contains_key(&tid) {
            if self.scheds.len() >= MAX_OPEN {
                return self.sched(tid);
            }
            let file = ProcFile::of_thread(tid, "schedstat");
            self.scheds.insert(tid, file);
        }
        self.scheds.get(&tid)?.as_ref()?.parse(parse_schedstat)
    }

    fn syscall(&mut self, tid: Tid) -> SyscallState {
        SyscallState::of_thread(tid)
    }

    fn cpu_ns(&mut self, tid: Tid) -> Option<u64> {
        thread_cpu_ns(tid)
    }

    fn place(&mut self, tid: Tid, wait: Wait) -> Option<Place> {
        let landmarks = LANDMARKS.get()?.as_ref().ok()?;
        let stack = capture::capture(tid.0).ok()?.stack;
        let program = self.program()?;
        let own = stack
            .frames
            .iter()
            .filter(|(module, _)| module.is_some_and(|m| m.0 == program));
        let marks = landmarks.on(own.map(|(_, address)| *address));
        let place = place(&marks, wait, landmarks.parks_apart());
        // What is missing outside may be the scheduler.
        let sure = !stack.truncated || !matches!(place, Place::Elsewhere | Place::Pool);
        sure.then_some(place)
    }

    fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        capture::read_memory(address, buffer)
    }

    fn retain(&mut self, tids: &HashSet<Tid>) {
        self.scheds.retain(|tid, _| tids.contains(tid));
    }
}

impl LiveThreads {
    fn program(&mut self) -> Option<u32> {
        if self.program.is_none() {
            let path = std::fs::read_link("/proc/self/exe").ok()?;
            let text = path.to_string_lossy();
            let path = text.strip_suffix(" (deleted)").unwrap_or(&text);
            let modules = capture::modules();
            let index = modules
                .iter()
                .position(|m| m.path.to_string_lossy() == *path)?;
            self.program = Some(index as u32);
        }
        self.program
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
