//! The live tasks of all runtimes of a process, read from outside.
//!
//! [`Types`] are the program's task types, found once in its constants. [`Tasks`] finds
//! the runtimes, and lists their tasks again and again:
//!
//! 1. The stacks of blocked threads lead to runtimes and tasks (`stacks`), a task leads
//!    to its runtime, and in it to the list (`owned`). No search of the heap is needed
//!    for what a thread drives or is about to drive.
//! 2. The heap is searched for tasks once, in pieces (`scan`), for what the stacks did
//!    not lead to: idle `LocalSet`s, and jobs that wait for the blocking pool. It is
//!    searched again only where tokio has made lists that were not found.
//! 3. The lists are walked (`walk`), and what was read before is read again in batches.
//!
//! All of it goes on while the process runs, and may be untrue at any moment. So each
//! word is checked against what must hold; a walk is compared with the list's own count
//! and repeated where they differ; and what stays so is marked.

mod activity;
mod addresses;
mod cell;
#[cfg(test)]
pub(crate) mod fake;
mod in_poll;
mod listing;
mod module;
mod owned;
mod place;
mod scan;
mod stacks;
#[cfg(test)]
pub(crate) mod tests;
mod types;
mod version;
mod vtable;
mod walk;

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use activity::Activity;
pub use addresses::{AddressHasher, AddressMap, AddressSet, Addresses};
pub use in_poll::{InPoll, RunningTask};
pub use listing::{
    Flavor, FoundBy, Listing, RuntimeKey, RuntimeListing, ScanCost, SpawnIndex, SpawnLocation,
    Task, TaskState,
};
pub use types::{NoTypes, TaskKind, TaskModule, TaskType, Types};
pub use version::Version;

use crate::Subject;
use crate::space::{Pieces, ProcessSpace, Space};
pub(crate) use cell::task_state as state_of;
use cell::{Cell, HEAD, may_begin_at};
use owned::{List, MAX_OWNERS, Owned};
use place::Places;
use scan::Scan;
use stacks::Stacks;
use walk::{Members, Walked};

/// Times that a list is walked, until a walk is whole.
const WALKS: u32 = 4;
/// Tasks of one list that are walked at a look: longer lists have fewer walks.
const MAX_WALKED: usize = 100_000;
/// Lists that are kept.
const MAX_RUNTIMES: usize = 4_096;
/// Threads of which it is known which runtimes' handles they hold.
const MAX_HOLDING: usize = 4_096;
/// Tasks that are kept without a list.
const MAX_LOOSE: usize = 1 << 20;
/// Of those, as many lead to their list again at each search of the stacks.
const MAX_AGAIN: usize = 16;
/// The stacks are searched at the first looks, then at each such look, and whenever
/// other threads are blocked than before.
const SEARCH_EVERY: u64 = 4;
/// Pointers that led nowhere are followed again at each such search.
const FORGET_EVERY: u64 = 16;
/// Memory that is searched at one look.
const SCAN_SLICE: u64 = 256 << 20;
/// The same where nothing is known yet.
const SCAN_FIRST: u64 = 1 << 30;
/// Between two searches of the heap: at least this, and so many times as long as one
/// took.
const SCAN_REST: Duration = Duration::from_mins(1);
const SCAN_SHARE: u32 = 100;

/// Lists the tasks of a process, again and again.
#[derive(Debug)]
pub struct Tasks<S = ProcessSpace> {
    space: S,
    types: Arc<Types>,
    in_poll: Arc<InPoll<S>>,
    runtimes: Vec<Runtime>,
    /// Lists that a task names and that its scheduler does not hold.
    missing: HashSet<RuntimeKey>,
    /// Tasks that are in none of the lists.
    loose: Vec<Cell>,
    /// The runtimes to whose handles a thread's stack leads.
    held: BTreeMap<u64, Vec<RuntimeKey>>,
    heads: Pieces<HEAD>,
    stacks: Stacks,
    search: Searches,
    scan: Scans,
    places: Places,
    listing: Listing,
}

/// A runtime or a `LocalSet`.
#[derive(Debug)]
struct Runtime {
    key: RuntimeKey,
    flavor: Flavor,
    found_by: FoundBy,
    /// Its `Arc`.
    handle: Option<u64>,
    owned: Owned,
    members: Members,
    walked: Walked,
}

/// When stacks are searched.
#[derive(Debug, Default)]
struct Searches {
    looks: u64,
    done: u64,
    tids: Vec<u64>,
}

/// When the heap is searched.
#[derive(Debug, Default)]
struct Scans {
    now: Option<Scan>,
    /// When the newest ended, and how long it took.
    ended: Option<(Instant, Duration)>,
    /// Lists that tokio had made when it began, and threads that there were.
    lists: Option<u64>,
    threads: usize,
    wanted: bool,
}

impl Tasks {
    /// Those of a process; nothing is read yet.
    pub fn new(subject: &Subject, types: Arc<Types>) -> Self {
        Self::over(ProcessSpace::of(subject), types)
    }
}

impl<S: Space + Clone> Tasks<S> {
    /// Those in some address space.
    pub fn over(space: S, types: Arc<Types>) -> Self {
        Self {
            in_poll: Arc::new(InPoll::new(space.clone(), Arc::clone(&types))),
            space,
            types,
            runtimes: Vec::new(),
            missing: HashSet::new(),
            loose: Vec::new(),
            held: BTreeMap::new(),
            heads: Pieces::default(),
            stacks: Stacks::default(),
            search: Searches::default(),
            scan: Scans::default(),
            places: Places::default(),
            listing: Listing::default(),
        }
    }

    /// The program's task types.
    pub fn types(&self) -> &Arc<Types> {
        &self.types
    }

    /// What finds tasks in polls, for another thread.
    pub fn in_poll(&self) -> Arc<InPoll<S>> {
        Arc::clone(&self.in_poll)
    }

    /// The innermost of a runtime's tasks in a poll: see [`InPoll::among`].
    pub fn running_among(&self, words: &[u64]) -> Option<RunningTask> {
        self.in_poll.among(words)
    }

    /// Lets the heap be searched again at the next looks.
    pub fn scan_again(&mut self) {
        self.scan.wanted = true;
    }

    /// Looks at all tasks. `stacks` are the blocked threads, by id and stack pointer:
    /// the more of them, the sooner new runtimes are found.
    ///
    /// The first looks find the runtimes. Later ones take some 0.3 µs for each task
    /// that was there before.
    pub fn read(&mut self, stacks: &[(u64, u64)]) -> &Listing {
        for header in self.in_poll.take_hints() {
            if let Some(task) = Cell::at(&self.space, &self.types, header) {
                self.adopt(&task, FoundBy::TaskInPoll);
            }
        }
        let made = self.types.lists_made(&self.space);
        self.search_stacks(stacks);
        self.search_heap(stacks, made);
        self.walk();
        self.refresh_loose();
        self.in_poll
            .know(self.runtimes.iter().map(|runtime| runtime.key));
        self.list();
        &self.listing
    }

    /// Looks until all is found that can be: of memory that does not change.
    pub fn read_all(&mut self, stacks: &[(u64, u64)]) -> &Listing {
        // The first look shows what stacks lead to, the second one begins the search of
        // the heap; each goes on by a slice.
        self.read(stacks);
        self.read(stacks);
        while self.scan.now.is_some() {
            self.read(stacks);
        }
        &self.listing
    }

    /// The newest listing.
    pub fn listing(&self) -> &Listing {
        &self.listing
    }

    fn search_stacks(&mut self, stacks: &[(u64, u64)]) {
        let search = &mut self.search;
        search.looks += 1;
        let tids = stacks.iter().map(|(tid, _)| *tid);
        let others = !tids.clone().eq(search.tids.iter().copied());
        let due = search.looks <= SEARCH_EVERY || search.looks.is_multiple_of(SEARCH_EVERY);
        if !(due || others) || stacks.is_empty() {
            return;
        }
        search.tids.clear();
        search.tids.extend(tids);
        search.done += 1;
        if search.done.is_multiple_of(FORGET_EVERY) {
            self.stacks.forget();
        }
        let mappings = self.space.mappings();
        let pointers: Vec<u64> = stacks.iter().map(|(_, pointer)| *pointer).collect();
        let writable = mappings
            .iter()
            .filter(|mapping| mapping.read && mapping.write);
        let writable: Vec<Range<u64>> = writable.map(|mapping| mapping.range.clone()).collect();
        let heap = scan::heap(&mappings, &pointers);
        let found = self
            .stacks
            .search(&self.space, &self.types, &pointers, &writable, &heap);
        for (owned, handle) in found.lists {
            self.add_list(owned, handle);
        }
        for task in found.tasks {
            self.adopt(&task, FoundBy::TaskOnStack);
        }
        self.look_who_holds(stacks, &pointers, &writable);
        // A list that changed while it was looked for may have been missed.
        self.missing.clear();
        let types = &self.types;
        let is_async = |task: &&Cell| types.at(task.kind).kind == TaskKind::Async;
        let unlisted = self.loose.iter().filter(is_async).take(MAX_AGAIN);
        for task in unlisted.copied().collect::<Vec<_>>() {
            self.adopt(&task, FoundBy::Scan);
        }
    }

    /// Which threads hold the handles of which runtimes; of a single one nobody asks.
    fn look_who_holds(&mut self, stacks: &[(u64, u64)], pointers: &[u64], writable: &[Range<u64>]) {
        let with_handle = self
            .runtimes
            .iter()
            .filter(|r| r.flavor != Flavor::LocalSet);
        let keys: AddressMap<RuntimeKey> = with_handle
            .filter_map(|runtime| Some((runtime.handle?, runtime.key)))
            .collect();
        if keys.len() < 2 || self.held.len() > MAX_HOLDING {
            self.held.clear();
        }
        if keys.len() < 2 {
            return;
        }
        let handles: AddressSet = keys.keys().copied().collect();
        let found = stacks::holding(&self.space, pointers, writable, &handles);
        for (tid, _) in stacks {
            self.held.remove(tid);
        }
        for (at, handle) in found {
            let of = self.held.entry(stacks[at].0).or_default();
            of.extend(keys.get(&handle));
        }
    }

    /// Searches the heap, or some of it, if that is needed.
    fn search_heap(&mut self, stacks: &[(u64, u64)], made: Option<u64>) {
        if self.scan.now.is_none() {
            if !self.needs_scan(made, stacks.len()) {
                return;
            }
            let pointers: Vec<u64> = stacks.iter().map(|(_, pointer)| *pointer).collect();
            let heap = scan::heap(&self.space.mappings(), &pointers);
            self.scan = Scans {
                now: Some(Scan::of(&heap)),
                lists: made,
                threads: stacks.len(),
                ..Scans::default()
            };
            self.missing.clear();
        }
        let mut read = 0;
        while let Some(mut scan) = self.scan.now.take() {
            let mut cells = Vec::new();
            let complete = scan.go_on(&self.space, &self.types, SCAN_SLICE, &mut cells);
            self.listing.scan = scan.cost;
            read += SCAN_SLICE;
            for task in cells {
                self.adopt(&task, FoundBy::Scan);
            }
            if complete {
                self.scan.ended = Some((Instant::now(), scan.cost.time));
                return;
            }
            self.scan.now = Some(scan);
            if !self.runtimes.is_empty() || read >= SCAN_FIRST {
                return;
            }
        }
    }

    fn needs_scan(&self, made: Option<u64>, threads: usize) -> bool {
        let Some((ended, took)) = self.scan.ended else {
            // What the stacks led to is shown first.
            return self.runtimes.is_empty() || self.search.looks > 1;
        };
        let rested = ended.elapsed() >= SCAN_REST.max(took * SCAN_SHARE);
        let new = match (made, self.scan.lists) {
            (Some(made), Some(before)) => {
                // Ids are counted for each module, and nearly always there is one.
                let found = self.runtimes.iter().filter(|r| r.key.list > before).count();
                made.saturating_sub(before) > found as u64
            }
            _ => threads > self.scan.threads,
        };
        self.scan.wanted || (new && rested)
    }

    /// A list that was found without a task of it.
    fn add_list(&mut self, owned: Owned, handle: Option<u64>) {
        let task = owned.task(&self.space, &self.types);
        // One shard of a list looks like a list of its own: the scheduler of its tasks says
        // whose it is.
        let (owned, handle) = match (owned.list, &task) {
            (List::Single { .. }, Some(task)) => {
                match Owned::of_task(&self.space, &self.types, task) {
                    Some(of_task) => (of_task, Some(task.scheduler)),
                    None => return,
                }
            }
            _ => (owned, handle),
        };
        // Which module's it is no task says yet: with several, tasks lead to it.
        let module = match (self.types.modules().len(), task) {
            (_, Some(task)) => self.types.at(task.kind).module,
            (1, None) => 0,
            _ => return,
        };
        let key = RuntimeKey {
            module,
            list: owned.id,
        };
        self.add(key, owned, handle, FoundBy::Stack);
    }

    /// Finds the list of a task; or keeps it without one.
    fn adopt(&mut self, task: &Cell, found_by: FoundBy) {
        let found = self.types.at(task.kind);
        let key = RuntimeKey {
            module: found.module,
            list: task.owner,
        };
        if found.kind == TaskKind::Async {
            // A copy of it, left behind where it was built, was never in a list.
            if task.owner == 0 {
                return;
            }
            if let Ok(known) = self.position(key) {
                let runtime = &mut self.runtimes[known];
                runtime.handle = runtime.handle.or(Some(task.scheduler));
                return;
            }
            // So many lists that cannot be found are not of this world.
            if self.missing.len() < MAX_RUNTIMES && !self.missing.contains(&key) {
                if let Some(owned) = Owned::of_task(&self.space, &self.types, task) {
                    self.add(key, owned, Some(task.scheduler), found_by);
                    return;
                }
                self.missing.insert(key);
            }
        }
        if self.loose.len() < MAX_LOOSE {
            self.loose.push(*task);
        }
    }

    /// Where the runtime is, or where it would be.
    fn position(&self, key: RuntimeKey) -> Result<usize, usize> {
        self.runtimes
            .binary_search_by_key(&key, |runtime| runtime.key)
    }

    fn add(&mut self, key: RuntimeKey, owned: Owned, handle: Option<u64>, found_by: FoundBy) {
        let at = match self.position(key) {
            Ok(known) => {
                let runtime = &mut self.runtimes[known];
                runtime.handle = runtime.handle.or(handle);
                return;
            }
            Err(at) => at,
        };
        if self.runtimes.len() >= MAX_RUNTIMES {
            return;
        }
        let flavor = owned.flavor(&self.space);
        self.runtimes.insert(
            at,
            Runtime {
                key,
                flavor,
                found_by,
                handle,
                owned,
                members: Members::default(),
                walked: Walked::default(),
            },
        );
    }

    /// Walks all lists; those that are no longer there are forgotten.
    fn walk(&mut self) {
        let (space, types) = (&self.space, &*self.types);
        self.runtimes
            .retain_mut(|runtime| runtime.walk(space, types).is_some());
    }

    /// Reads the tasks again that are in no list, and drops those that have ended.
    fn refresh_loose(&mut self) {
        let addresses: Vec<u64> = self.loose.iter().map(|task| task.header).collect();
        self.heads.read(&self.space, &addresses);
        let mut heads = self.heads.iter();
        let mut seen = AddressSet::default();
        let (space, types, runtimes) = (&self.space, &*self.types, &self.runtimes);
        self.loose.retain_mut(|task| {
            let head = heads.next().flatten();
            let Some(now) = head.and_then(|head| task.again(space, types, head)) else {
                return false;
            };
            let found = types.at(now.kind);
            let key = RuntimeKey {
                module: found.module,
                list: now.owner,
            };
            let alive = now.id == task.id
                && cell::task_state(now.state) != TaskState::Complete
                && (found.kind == TaskKind::Blocking
                    || runtimes.binary_search_by_key(&key, |r| r.key).is_err());
            *task = now;
            // Of two with one id, one is a copy. Each module counts its own.
            alive && seen.insert(now.id ^ (found.module as u64) << 48)
        });
    }

    fn list(&mut self) {
        let Self {
            listing,
            types,
            places,
            space,
            held,
            ..
        } = self;
        listing.runtimes.clear();
        listing.tasks.clear();
        let all = &mut listing.tasks;
        let places_of = &mut listing.places;
        let mut task = |cell: &Cell, runtime: Option<usize>| {
            let found = types.at(cell.kind);
            Task {
                header: cell.header,
                id: cell.id,
                vtable: found.vtable,
                kind: found.kind,
                state: cell::task_state(cell.state),
                runtime,
                spawned_at: places.at(space, cell.location, places_of),
            }
        };
        for (runtime, i) in self.runtimes.iter().zip(0..) {
            all.extend(runtime.members.iter().map(|cell| task(cell, Some(i))));
            listing.runtimes.push(RuntimeListing {
                key: runtime.key,
                flavor: runtime.flavor,
                counted: runtime.walked.counted,
                listed: runtime.members.len() as u64,
                torn: !runtime.walked.whole,
                found_by: runtime.found_by,
                handle: runtime.handle,
                on_stacks_of: held
                    .iter()
                    .filter(|(_, keys)| keys.contains(&runtime.key))
                    .map(|(tid, _)| *tid)
                    .collect(),
            });
        }
        all.extend(self.loose.iter().map(|cell| task(cell, None)));
        let loose = self.loose.iter().map(|cell| types.at(cell.kind).kind);
        listing.blocking = loose.filter(|kind| *kind == TaskKind::Blocking).count() as u64;
        listing.unlisted = self.loose.len() as u64 - listing.blocking;
    }
}

impl Runtime {
    /// Walks its list until a walk is whole; `None` where the runtime has ended.
    fn walk(&mut self, space: &impl Space, types: &Types) -> Option<()> {
        if let Some(handle) = self.handle {
            // Its last owner is gone.
            let owners = space.read_u64(handle)?;
            if !(1..MAX_OWNERS).contains(&owners) {
                return None;
            }
        }
        self.walk_until_whole(space, types)?;
        if !self.walked.whole && self.was_a_copy(space, types) {
            self.walk_until_whole(space, types)?;
        }
        if self.walked.closed && self.members.len() == 0 {
            return None;
        }
        // The list has tasks, and none is of it: its id was guessed when it was empty.
        let guessed = self.handle.is_none() && !self.walked.whole && self.members.len() == 0;
        let first = self.members.iter().next();
        self.handle = self.handle.or(first.map(|task| task.scheduler));
        (!guessed).then_some(())
    }

    fn walk_until_whole(&mut self, space: &impl Space, types: &Types) -> Option<()> {
        let mut walked = 0;
        for _ in 0..WALKS {
            self.walked = self.members.walk(space, types, &self.owned)?;
            walked += self.members.len();
            if self.walked.whole || walked >= MAX_WALKED {
                break;
            }
        }
        Some(())
    }

    /// Takes the list of the scheduler to which its tasks belong, if that is another one:
    /// a scheduler is copied while it is built, and memory that was freed still has the
    /// same shards and a count that stays as it was.
    fn was_a_copy(&mut self, space: &impl Space, types: &Types) -> bool {
        let owned = self.members.iter().next().and_then(|task| {
            let owned = Owned::of_task(space, types, task)?;
            Some((owned, task.scheduler))
        });
        let Some((owned, handle)) = owned.filter(|(owned, _)| *owned != self.owned) else {
            return false;
        };
        self.owned = owned;
        self.handle = Some(handle);
        self.flavor = owned.flavor(space);
        true
    }
}

impl Owned {
    /// One of its tasks, if it has any.
    fn task(&self, space: &impl Space, types: &Types) -> Option<Cell> {
        let mut ends = Vec::new();
        self.ends(space, &mut ends)?;
        let mut firsts = crate::space::words(&ends).step_by(2);
        let first = firsts.find(|first| may_begin_at(*first))?;
        Cell::at(space, types, first)
    }
}
