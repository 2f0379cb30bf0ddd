//! Which tasks wait where, of many, within a budget: the engine that reads chains.
//!
//! [`Waiting`] takes listings of tasks, reads chains of those that wait for as long as it
//! may, and looks at the threads: which of them wait for a lock, and who holds it. What is
//! new it gives as [`Found`]. What it reads from is a [`Readable`]: a process that runs, or
//! a core file; it asks nobody else.
//!
//! - `order`: which tasks are read next,
//! - `chains`: a chain, by types or by the interpreter,
//! - `shapes`: chains taken apart: what many tasks share, and what is each one's own,
//! - `records`: what is known of each task, and since when,
//! - `threads`, `frames`, `lock`: threads that wait, for what, and where in the program,
//! - `holders`, `cells`: who holds a lock: words on stacks and in futures that point at it,
//! - `resources`: what is known of what tasks share,
//! - `live`, `descriptors`: a process that runs as a [`Readable`].
//!
//! A task that waits as it did, and of which nobody says that it has run, has waited so
//! since it was first seen idle. Memory is bounded: the tasks that are known, the shapes,
//! the stacks.

mod cells;
mod chains;
mod descriptors;
mod facts;
mod frames;
mod holders;
mod holding;
mod live;
mod order;
mod readable;
mod records;
mod resources;
mod shapes;
mod threads;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use looptop_symbols::Resolver;

pub use facts::{
    Found, Hold, ReadSoFar, ResourceFact, Shape, ShapeNode, TaskAt, TaskWait, ThreadWait, Want,
    What,
};
pub use live::LiveProcess;
pub use readable::{Readable, ThreadAt};

use self::cells::Pointing;
use self::chains::Chains;
use self::frames::Stacks;
use self::holders::{Candidate, Likelihood, Who};
use self::holding::Holding;
use self::records::{Records, Why};
use self::resources::Resources;
use self::shapes::{Shapes, parts};
use self::threads::Threads;
use crate::awaits::{By, NoChain, Role};
use crate::space::Space as _;
#[cfg(doc)]
use crate::tasks::Listing;
use crate::tasks::{AddressSet, InPoll, Task, TaskState, TaskType, Types};
use crate::waits::ResourceKind;

/// Between two searches of all futures: at least so many times as long as one took.
const SEARCH_REST: u32 = 20;
/// The same where one answer is wanted soon.
const SHORT_SEARCH_REST: u32 = 4;
/// Between two looks at what is mapped.
const RENEW: Duration = Duration::from_secs(2);
/// What chains say to be held is gathered anew after so long: of many tasks that takes
/// milliseconds, and so many times as long is rested, unless something is sought.
const HELD_AGAIN: Duration = Duration::from_secs(1);
const HELD_REST: u32 = 200;
/// Tasks that may hold what others wait for which are read as soon as they are found.
const READ_AT_ONCE: usize = 8;
/// A task that has moved while it was read is read again at once, so often.
const TRIES_AGAIN: usize = 3;
/// Locks of tokio's whose holders are looked for.
const MAX_OTHERS: usize = 1_024;

/// Reads where the tasks and threads of a process wait; see the module.
#[derive(Debug)]
pub struct Waiting<R: Readable> {
    readable: R,
    types: Arc<Types>,
    in_poll: InPoll<R::Space>,
    chains: Chains<R::Space>,
    records: Records,
    shapes: Shapes,
    resources: Resources,
    threads: Threads,
    stacks: Stacks,
    /// When what is mapped was read.
    mapped_at: Option<Instant>,
    /// The newest listing.
    tasks: Arc<[Task]>,
    /// Those of it that are to be read, in this order.
    queue: VecDeque<Task>,
    listings: u64,
    /// Tasks that it should have and does not.
    lacks: u64,
    /// Resources that chains say to be held, since when that is known, and how long it took
    /// to gather them.
    held: (AddressSet, Option<Instant>),
    held_took: Duration,
    /// Locks of tokio's that tasks wait for, and nobody is known to hold.
    others: HashSet<u64>,
    /// Channels in which tasks wait for room, and no chain says who receives from them.
    full: HashSet<u64>,
    /// The same also where types say who holds it, once that one was read.
    sought: HashSet<u64>,
    /// Tasks that point at such locks and were not read: they come first.
    pointing_at_sought: AddressSet,
    /// Locks of threads that no thread seems to hold.
    unheld: HashSet<u64>,
    /// Tasks that point at locks.
    pointing: HashMap<u64, Vec<Candidate>>,
    /// Who holds locks, as what they would give back says it.
    holding: Holding,
    /// The locks of the newest search, until it is said whether their holders are known.
    asked: HashSet<u64>,
    next_search: Option<Instant>,
    search_rest: u32,
    /// Threads were looked at since tasks were read: who holds what they wait for was
    /// looked for.
    has_looked: bool,
    found: Found,
}

impl<R: Readable> Waiting<R> {
    /// Reads the program's types: half a second for a large one with full debug
    /// information. `resolver` names what stands on stacks.
    pub fn new(readable: R, types: Arc<Types>, resolver: Resolver) -> Self {
        let space = readable.space().clone();
        Self {
            in_poll: InPoll::new(space, Arc::clone(&types)),
            chains: Chains::load(&readable, Arc::clone(&types)),
            readable,
            types,
            records: Records::default(),
            shapes: Shapes::default(),
            resources: Resources::default(),
            threads: Threads::default(),
            stacks: Stacks::new(resolver),
            mapped_at: None,
            tasks: Arc::default(),
            queue: VecDeque::new(),
            listings: 0,
            lacks: 0,
            held: (AddressSet::default(), None),
            held_took: Duration::ZERO,
            others: HashSet::new(),
            full: HashSet::new(),
            sought: HashSet::new(),
            pointing_at_sought: AddressSet::default(),
            unheld: HashSet::new(),
            pointing: HashMap::new(),
            holding: Holding::default(),
            asked: HashSet::new(),
            next_search: None,
            search_rest: SEARCH_REST,
            has_looked: false,
            found: Found::default(),
        }
    }

    /// From now on who holds what is waited for is searched for a fifth of the time rather
    /// than a twentieth: for one answer that is wanted soon.
    pub fn search_often(&mut self) {
        self.search_rest = SHORT_SEARCH_REST;
        self.holding.ask_long();
    }

    /// What it reads from.
    pub fn readable(&self) -> &R {
        &self.readable
    }

    /// Takes in a listing as of `at`, with the tasks that have run since the one before, as
    /// far as somebody knows: these are read again first. It [lacks](Listing::lacks) so
    /// many.
    pub fn take_listing(
        &mut self,
        (tasks, lacks): (Arc<[Task]>, u64),
        have_run: &AddressSet,
        at: Instant,
    ) {
        self.renew(at);
        self.listings += 1;
        self.lacks = lacks;
        let pointing = &self.pointing_at_sought;
        let clock = self.readable.clock();
        let order = self
            .records
            .listing(&tasks, have_run, pointing, (at, clock));
        self.has_looked &= order.is_empty();
        self.queue.clear();
        self.queue
            .extend(order.iter().filter_map(|at| tasks.get(*at as usize)));
        self.tasks = tasks;
        self.resources.keep(&self.records.resources());
        let (types, space) = (&self.types, self.readable.space());
        let begun = self.records.jobs_begun(at, |job| {
            let (id, state) = types.job_at(space, job.header)?;
            (id == job.id).then_some(state)
        });
        self.found.tasks.extend(begun);
    }

    /// Takes over what is mapped, where it is time for that.
    fn renew(&mut self, now: Instant) {
        let due = |last| now.saturating_duration_since(last) >= RENEW;
        if self.mapped_at.is_none_or(due) {
            self.mapped_at = Some(now);
            let space = self.readable.space();
            self.stacks.renew(space, &space.mappings());
            self.chains.renew(&mut self.readable);
            self.stacks.tidy(now);
        }
    }

    /// Whether something is still to be read of the newest listing.
    pub fn is_behind(&self) -> bool {
        !self.queue.is_empty()
    }

    /// All tasks of the newest listing were read, and who holds what they wait for was not
    /// looked for since: that is worth a look at the threads.
    pub fn wants_look(&self) -> bool {
        self.listings > 0 && !self.is_behind() && !self.has_looked
    }

    /// A thread waits for a lock that nobody seems to hold, as of the newest look: a newer
    /// listing may have the task that does.
    pub fn seeks_holder(&self) -> bool {
        !self.unheld.is_empty()
    }

    /// How many tasks the newest listing has.
    pub fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// Somebody waits for what another may hold, and who that is is not known yet: what is
    /// read next may say it.
    pub fn is_urgent(&self) -> bool {
        self.threads_wait() || self.seeks_holder() || !self.pointing_at_sought.is_empty()
    }

    /// Some thread waits for a lock, as of the newest look: who looks again soon sees who
    /// holds it.
    pub fn threads_wait(&self) -> bool {
        self.threads.some_wait()
    }

    /// Reads chains until there is none that is to be read, or for as long as `budget`, and
    /// at least one.
    pub fn read(&mut self, budget: Duration) {
        let began = Instant::now();
        while let Some(task) = self.queue.pop_front() {
            self.read_task(&task);
            if began.elapsed() >= budget {
                break;
            }
        }
    }

    fn read_task(&mut self, task: &Task) {
        self.has_looked = false;
        let space = self.readable.space().clone();
        let mut chain = self.chains.of(&space, task, &mut self.stacks);
        // What changed may be nothing of its own: memory that allocators and queues share.
        for _ in 0..TRIES_AGAIN {
            if !matches!(chain, Err(NoChain::Moved)) {
                break;
            }
            chain = self.chains.of(&space, task, &mut self.stacks);
        }
        let now = Instant::now();
        let at = TaskAt {
            header: task.header,
            id: task.id,
        };
        let chain = match chain {
            Ok(chain) => chain,
            // The next listing says what became of it.
            Err(NoChain::Running | NoChain::Moved | NoChain::Blocking) => {
                self.records.missed(at);
                return;
            }
            Err(why) => return self.without(at, &Arc::from(why.to_string()), now),
        };
        let poll = self.types.get(task.vtable).map_or(0, TaskType::poll);
        let Some(mut parts) = parts(&chain, poll) else {
            return self.without(at, &Arc::from("nothing is known of its future"), now);
        };
        let mut all_named = true;
        for want in &mut parts.wants {
            if let What::Socket {
                descriptor: Some(descriptor),
                object,
                ..
            } = &mut want.what
            {
                *object = self.readable.descriptor(*descriptor);
                all_named &= object.is_some();
            }
        }
        for want in &mut parts.wants {
            if let What::Task(Some(at)) = want.what
                && let Some((id, state)) = self.types.job_at(&space, at.header)
                && id == at.id
            {
                let has_begun = state != TaskState::Scheduled;
                want.what = What::Job { job: at, has_begun };
            }
        }
        let is_partial = parts.shape.cut.is_some();
        let by = parts.shape.by;
        let Some(shape) = self.shapes.number(parts.shape) else {
            return self.without(at, &Arc::from("there are too many different chains"), now);
        };
        for resource in parts.resources {
            self.resources.learn(resource);
        }
        let wait = records::New {
            shape,
            by,
            is_partial,
            wants: parts.wants,
            holds: parts.holds,
            is_certain: chain.is_certain,
            is_scheduled: chain.is_scheduled,
            wakers_known: chain.wakers_known,
            // What is not called anything yet will be soon.
            is_stale: !all_named && self.readable.goes_on(),
        };
        if let Some(word) = self.records.read(at, wait, now) {
            self.found.tasks.push(word);
        }
    }

    fn without(&mut self, at: TaskAt, why: &Why, now: Instant) {
        if self.records.without(at, why, now) {
            self.found.void.push(at);
        }
    }

    /// Looks at the threads: which of them wait for a lock, and who holds it. Some 50 µs
    /// for each that has run since the last look, and 10 µs for each other.
    pub fn look_at_threads(&mut self, now: Instant) {
        self.renew(now);
        let rest = if self.is_urgent() {
            HELD_AGAIN
        } else {
            HELD_AGAIN.max(self.held_took * HELD_REST)
        };
        let due = |at| now.saturating_duration_since(at) >= rest;
        if self.held.1.is_none_or(due) || self.wants_look() {
            let began = Instant::now();
            self.held = (self.records.held(), Some(now));
            (self.sought, self.others) = self.wanted();
            self.full = self.records.full_channels().take(MAX_OTHERS).collect();
            self.held_took = began.elapsed();
        }
        let is_first = self.wants_look();
        self.search_cells(now, is_first);
        self.has_looked |= is_first;
        let looked = self.threads.look(
            &mut self.readable,
            &mut self.stacks,
            &self.in_poll,
            &self.others,
            &self.pointing,
            now,
        );
        for (address, kind) in &looked.locks {
            self.resources.learn(ResourceFact::of(*address, *kind));
        }
        self.resources
            .in_use_by_threads(looked.locks.iter().map(|(address, _)| *address));
        self.say_whose_holders_are_known();
        // What a chain says needs no search.
        let unheld = looked.unheld.into_iter();
        self.unheld = unheld.filter(|lock| !self.held.0.contains(lock)).collect();
        self.found.threads.extend(looked.changed);
        self.found.threads_void.extend(looked.void);
        self.infer(now);
    }

    /// Says of the locks that tasks were asked about whether all have answered. Where none of
    /// them holds one, no other thread than the first may know it by its stack, or its `Arc`:
    /// a job of the blocking pool has there what was given to it.
    fn say_whose_holders_are_known(&mut self) {
        let asked = std::mem::take(&mut self.asked);
        let of_nobody: HashSet<u64> = asked
            .iter()
            .copied()
            .filter(|lock| self.holding.is_complete(*lock) && self.holding.of(*lock).is_empty())
            .collect();
        let on_stacks = self.threads.know(self.readable.space(), &of_nobody);
        for lock in asked {
            if self.resources.kind(lock).is_some_and(is_tokios_lock) {
                let all_asked = self.holding.is_complete(lock) && !on_stacks.contains(&lock);
                self.resources.learn(ResourceFact {
                    holders_known: Some(all_asked),
                    ..ResourceFact::of(lock, ResourceKind::Other)
                });
            }
        }
    }

    /// Locks of tokio's that tasks wait for and no chain says to be held: all of them, and
    /// those of chains that came from the interpreter, which does not see who holds them.
    fn wanted(&self) -> (HashSet<u64>, HashSet<u64>) {
        let held = &self.held.0;
        let (mut all, mut by_interpreter) = (HashSet::new(), HashSet::new());
        for (address, by) in self.records.wanted() {
            let kind = self.resources.kind(address);
            if held.contains(&address) || !kind.is_some_and(is_tokios_lock) {
                continue;
            }
            if all.len() < MAX_OTHERS {
                all.insert(address);
            }
            if by == By::Interpreter && by_interpreter.len() < MAX_OTHERS {
                by_interpreter.insert(address);
            }
        }
        (all, by_interpreter)
    }

    /// Searches the futures of all tasks for what points at locks whose holder is not known.
    fn search_cells(&mut self, now: Instant, is_first: bool) {
        let mut locks: HashSet<u64> = self.unheld.clone();
        // Whose holder is a task stays to be confirmed.
        locks.extend(
            self.threads
                .holders()
                .iter()
                .filter_map(|(lock, holder)| matches!(holder.who, Who::Task(_)).then_some(*lock)),
        );
        locks.extend(&self.others);
        locks.extend(&self.full);
        let all: HashSet<u64> = if self.is_behind() {
            locks.union(&self.sought).copied().collect()
        } else {
            locks.clone()
        };
        if all.is_empty() {
            self.pointing.clear();
            self.pointing_at_sought.clear();
            self.holding.keep(&locks);
            return;
        }
        let is_due = self.next_search.is_none_or(|due| now >= due);
        if !is_due && !is_first {
            self.pointing.retain(|lock, _| locks.contains(lock));
            self.holding.keep(&locks);
            return;
        }
        let began = Instant::now();
        let (space, records) = (self.readable.space(), &self.records);
        let waits = |task: &Task, lock: u64| records.waits_for(task.header, lock);
        let mut found = cells::pointing(space, &self.types, &self.tasks, &all, waits);
        let engine = (space, &mut self.chains, &self.records, &self.resources);
        self.holding
            .ask(&mut found, &locks, &self.tasks, engine, began);
        self.asked = locks.clone();
        let (records, mut found) = (&self.records, candidates_of(found));
        self.next_search = Some(now + began.elapsed() * self.search_rest);
        let candidates = found.values().flatten();
        let new = candidates.filter_map(|candidate| match candidate.who {
            Who::Task(task) => records.is_new(task).then_some(task.header),
            Who::Thread(_) => None,
        });
        self.pointing_at_sought = new.collect();
        found.retain(|lock, _| locks.contains(lock));
        self.pointing = found;
        self.read_pointing();
    }

    /// Who may hold what others wait for is read before all others, the first of them now.
    fn read_pointing(&mut self) {
        let pointing = &self.pointing_at_sought;
        if pointing.is_empty() {
            return;
        }
        let queue = std::mem::take(&mut self.queue);
        let is_first = |task: &Task| pointing.contains(&task.header);
        let (first, others): (Vec<Task>, Vec<Task>) = queue.into_iter().partition(is_first);
        self.queue = first.into_iter().chain(others).collect();
        let has_looked = self.has_looked;
        for _ in 0..READ_AT_ONCE.min(pointing.len()) {
            let next = self.queue.front();
            if !next.is_some_and(|task| self.pointing_at_sought.contains(&task.header)) {
                break;
            }
            if let Some(task) = self.queue.pop_front() {
                self.read_task(&task);
            }
        }
        self.has_looked = has_looked;
        // Whoever waits for a lock itself is not its holder.
        let records = &self.records;
        for (lock, candidates) in &mut self.pointing {
            candidates.retain(|candidate| match candidate.who {
                _ if candidate.likelihood == Likelihood::Holds => true,
                Who::Task(task) => !records.waits_for(task.header, *lock),
                Who::Thread(_) => true,
            });
        }
    }

    /// What tasks hold, as far as a search has found it.
    fn infer(&mut self, now: Instant) {
        let mut inferred: HashMap<TaskAt, Vec<Hold>> = HashMap::new();
        for (lock, holder) in self.threads.holders() {
            if let Who::Task(task) = holder.who
                // It was found before it was read.
                && !self.records.waits_for(task.header, *lock)
                && self.holding.of(*lock).is_empty()
            {
                let of_task = inferred.entry(task).or_default();
                of_task.push(guard(*lock, 1, holder.is_certain));
            }
        }
        for (lock, task, permits) in self.holding.all() {
            let of_task = inferred.entry(task).or_default();
            let role = match self.resources.kind(lock) {
                Some(ResourceKind::Mpsc) => Role::Receiver,
                _ => Role::Guard,
            };
            of_task.push(Hold {
                role,
                ..guard(lock, permits, true)
            });
        }
        for holds in inferred.values_mut() {
            holds.sort_unstable_by_key(|hold| hold.resource);
        }
        self.found.tasks.extend(self.records.infer(inferred, now));
    }

    /// What is new since it was last taken.
    pub fn take(&mut self) -> Found {
        let mut found = std::mem::take(&mut self.found);
        found.shapes = self.shapes.take();
        (found.resources, found.resources_void) = self.resources.take();
        found.clock = self.readable.clock();
        found.modules = self.stacks.modules().to_vec();
        found.read = ReadSoFar {
            is_complete: self.listings > 0
                && self.queue.is_empty()
                && self.has_looked
                && self.lacks == 0,
            not_read: self.readable.not_read(),
            ..self.records.counted()
        };
        found
    }
}

/// What holds permits of a lock.
fn guard(resource: u64, amount: u64, is_certain: bool) -> Hold {
    Hold {
        node: 0,
        resource,
        role: Role::Guard,
        amount,
        name: None,
        is_certain,
    }
}

/// Who may hold each lock, without those that only know it.
fn candidates_of(found: HashMap<u64, Pointing>) -> HashMap<u64, Vec<Candidate>> {
    let found = found.into_iter().map(|(lock, of)| (lock, of.candidates));
    found.filter(|(_, all)| !all.is_empty()).collect()
}

/// From now on the thread that asks has its CPU after the threads of the process: for one
/// that reads chains.
#[cfg(feature = "watch")]
pub fn give_way() {
    /// As much as `nice` adds without a word.
    const BY: i32 = 10;
    crate::sys::lower_priority(BY);
}

fn is_tokios_lock(kind: ResourceKind) -> bool {
    matches!(
        kind,
        ResourceKind::Mutex | ResourceKind::RwLock | ResourceKind::Semaphore
    )
}
