//! What each thread keeps for itself: the polls that are open on it, caches,
//! and its share of every site's totals. No other thread reads it, except the
//! slot and the shares, which are made for that.

use std::cell::{Cell, OnceCell, RefCell};

use looptop_wire::proto::TaskKind;

use super::record::{Hot, Wake};
use super::site::{self, Share, SiteId, Spot};
use crate::clock::{self, Ticks};
use crate::slot::{self, Slot};

/// Polls that may be open inside each other on one thread: a task in a
/// `LocalSet` in `block_on` makes two. Deeper ones are not seen.
const DEPTH: usize = 8;
/// Entries of the direct-mapped caches.
const CACHE: usize = 1024;
const SPOTS: usize = 256;
const FILES: usize = 64;
/// Part of the idle clock that a poll is allowed for the scheduler's own work.
const SCHEDULER_NS_PER_POLL: u64 = 300;

/// Who saw the poll begin, hence who will see it end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// A layer, by its realm: spans of two subscribers may share an id.
    Traced(u16),
    Hooked,
}

/// A poll that begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Poll {
    pub(crate) level: Level,
    /// Span id or task id, by level.
    pub(crate) key: u64,
    /// Tokio's id.
    pub(crate) task: u64,
    pub(crate) site: u16,
    /// Entered as a poll, or for another reason (the future is dropped).
    pub(crate) counts: bool,
    pub(crate) started: Ticks,
    pub(crate) hot: Option<&'static Hot>,
    pub(crate) wake: Option<&'static Wake>,
    pub(crate) share: Option<&'static Share>,
}

/// An open poll. A cell for each field: a field is read soon after it was
/// written, and a copy of the whole would stall on the processor's store
/// buffer.
#[derive(Debug)]
pub(crate) struct OpenPoll {
    level: Cell<Level>,
    key: Cell<u64>,
    pub(super) task: Cell<u64>,
    site: Cell<u16>,
    pub(super) counts: Cell<bool>,
    pub(super) started: Cell<Ticks>,
    pub(super) hot: Cell<Option<&'static Hot>>,
    pub(super) wake: Cell<Option<&'static Wake>>,
    pub(super) share: Cell<Option<&'static Share>>,
    pub(super) lock: Cell<LockWait>,
}

/// What the poll has asked tokio's locks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockWait {
    No,
    /// A permit of a semaphore is pending; locks are made of those, and bounded
    /// channels too.
    Permit,
    /// It is that of a `Mutex`, `RwLock` or `Semaphore`.
    Lock,
}

/// An operation of tokio's that may be pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PendingOp {
    /// To get a permit from the semaphore inside.
    Permit,
    /// The whole, of which that is a part: to lock, to wait at a barrier.
    Lock,
}

impl OpenPoll {
    const fn none() -> Self {
        Self {
            level: Cell::new(Level::Hooked),
            key: Cell::new(0),
            task: Cell::new(0),
            site: Cell::new(0),
            counts: Cell::new(false),
            started: Cell::new(Ticks(0)),
            hot: Cell::new(None),
            wake: Cell::new(None),
            share: Cell::new(None),
            lock: Cell::new(LockWait::No),
        }
    }

    #[inline]
    fn set(&self, poll: &Poll) {
        self.level.set(poll.level);
        self.key.set(poll.key);
        self.task.set(poll.task);
        self.site.set(poll.site);
        self.counts.set(poll.counts);
        self.started.set(poll.started);
        self.hot.set(poll.hot);
        self.wake.set(poll.wake);
        self.share.set(poll.share);
        self.lock.set(LockWait::No);
    }

    fn swap(&self, other: &Self) {
        self.level.swap(&other.level);
        self.key.swap(&other.key);
        self.task.swap(&other.task);
        self.site.swap(&other.site);
        self.counts.swap(&other.counts);
        self.started.swap(&other.started);
        self.hot.swap(&other.hot);
        self.wake.swap(&other.wake);
        self.share.swap(&other.share);
        self.lock.swap(&other.lock);
    }

    #[inline]
    fn is(&self, level: Level, key: u64) -> bool {
        self.key.get() == key && self.level.get() == level
    }

    /// Whether it was seen to begin there.
    #[inline]
    pub(super) fn is_of(&self, level: Level) -> bool {
        self.level.get() == level
    }

    /// The task that is polled.
    #[inline]
    pub(crate) fn task(&self) -> u64 {
        self.task.get()
    }

    /// An operation of tokio's synchronisation answered "pending".
    #[inline]
    pub(crate) fn pending(&self, op: PendingOp) {
        match (op, self.lock.get()) {
            (PendingOp::Permit, LockWait::No) => self.lock.set(LockWait::Permit),
            (PendingOp::Lock, LockWait::Permit) => self.lock.set(LockWait::Lock),
            _ => {}
        }
    }

    /// When the poll began.
    #[inline]
    pub(crate) fn started(&self) -> Ticks {
        self.started.get()
    }
}

/// Where a span's task is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TracedEntry {
    pub(crate) key: u64,
    pub(crate) id: u64,
    pub(crate) realm: u16,
    pub(crate) hot: &'static Hot,
    pub(crate) wake: &'static Wake,
    pub(crate) share: Option<&'static Share>,
}

/// Where a task is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HookedEntry {
    pub(crate) id: u64,
    pub(crate) hot: &'static Hot,
    pub(crate) share: Option<&'static Share>,
}

#[derive(Debug, Clone, Copy)]
struct SpotEntry {
    file: &'static str,
    line: u32,
    column: u32,
    kind: TaskKind,
    spot: Spot,
}

type Cache<T, const SIZE: usize> = OnceCell<Box<[Cell<Option<T>>; SIZE]>>;

#[inline]
fn cache<T, const SIZE: usize>(cache: &Cache<T, SIZE>) -> &[Cell<Option<T>>; SIZE] {
    cache.get_or_init(|| Box::new([const { Cell::new(None) }; SIZE]))
}

thread_local! {
    static LOCAL: Local = const { Local::new() };
}

/// Runs `f` with what the calling thread keeps; does nothing on a thread that
/// is being torn down.
#[inline]
pub(crate) fn with<T>(f: impl FnOnce(&Local) -> T) -> Option<T> {
    LOCAL.try_with(f).ok()
}

#[derive(Debug)]
pub(crate) struct Local {
    registered: Cell<bool>,
    /// The agent's own threads see nothing.
    pub(super) excluded: Cell<bool>,
    slot: Cell<Option<&'static Slot>>,
    tid: Cell<u32>,
    /// The outermost poll inside of which the thread was last noted.
    noted: Cell<u64>,
    depth: Cell<usize>,
    polls: [OpenPoll; DEPTH],
    /// Ticks that this thread has spent in outermost polls, with what the
    /// scheduler is allowed between them.
    occupied: Cell<u64>,
    allowance: Cell<u64>,
    traced: Cache<TracedEntry, CACHE>,
    hooked: Cache<HookedEntry, CACHE>,
    spots: Cache<SpotEntry, SPOTS>,
    files: Cache<(usize, &'static str), FILES>,
    shares: RefCell<Vec<Option<&'static Share>>>,
}

impl Local {
    const fn new() -> Self {
        Self {
            registered: Cell::new(false),
            excluded: Cell::new(false),
            slot: Cell::new(None),
            tid: Cell::new(0),
            noted: Cell::new(0),
            depth: Cell::new(0),
            polls: [const { OpenPoll::none() }; DEPTH],
            occupied: Cell::new(0),
            allowance: Cell::new(0),
            traced: OnceCell::new(),
            hooked: OnceCell::new(),
            spots: OnceCell::new(),
            files: OnceCell::new(),
            shares: RefCell::new(Vec::new()),
        }
    }

    /// Once per thread, when it first polls: a slot, and what the stack capture
    /// needs to know.
    #[cold]
    #[inline(never)]
    fn register(&self) {
        self.registered.set(true);
        let tid = slot::current_tid();
        self.tid.set(tid as u32);
        self.slot.set(Slot::claim(tid));
        self.allowance
            .set(clock::duration_ticks(SCHEDULER_NS_PER_POLL));
        crate::capture::register_current_thread();
        crate::drivers::note();
    }

    /// A worker that was given away runs inside a job of the blocking pool: the
    /// first poll in there is the first that the thread does as a worker.
    #[cold]
    #[inline(never)]
    fn note(&self, outermost: u64) {
        self.noted.set(outermost);
        crate::drivers::note();
    }

    /// Whether the thread is one of the agent's own.
    pub(crate) fn is_excluded(&self) -> bool {
        self.excluded.get()
    }

    /// Whether no poll is open on this thread, which has polled before: what
    /// [`open_outermost`](Self::open_outermost) asks for.
    #[inline]
    pub(crate) fn is_between_polls(&self) -> bool {
        self.registered.get() && self.depth.get() == 0
    }

    /// Opens a poll as [`open`](Self::open) does, between polls. Without a call, so that
    /// a caller has nothing to keep across one.
    #[inline]
    pub(crate) fn open_outermost(&self, poll: &Poll) {
        self.polls[0].set(poll);
        self.depth.set(1);
        if let Some(slot) = self.slot.get() {
            slot.open(poll.task, poll.site.into(), poll.started);
        }
    }

    /// The poll that is open, where it is the only one and that which `level` knows by
    /// `key`.
    #[inline]
    pub(crate) fn only_open(&self, level: Level, key: u64) -> Option<&OpenPoll> {
        let poll = &self.polls[0];
        (self.depth.get() == 1 && poll.is(level, key)).then_some(poll)
    }

    /// Ends the only poll that is open, as [`close`](Self::close) does, without a call.
    /// Returns how many ticks it took.
    #[inline]
    pub(crate) fn close_outermost(&self, now: Ticks) -> u64 {
        self.depth.set(0);
        let busy = now.0.saturating_sub(self.polls[0].started.get().0);
        let occupied = self.occupied.get() + busy + self.allowance.get();
        self.occupied.set(occupied);
        if let Some(slot) = self.slot.get() {
            slot.close();
        }
        busy
    }

    /// Opens a poll. `false`, and nothing done, where too many are open.
    #[inline]
    pub(crate) fn open(&self, poll: &Poll) -> bool {
        if !self.registered.get() {
            self.register();
        }
        let depth = self.depth.get();
        let Some(place) = self.polls.get(depth) else {
            return false;
        };
        if depth > 0 && self.polls[0].key.get() != self.noted.get() {
            self.note(self.polls[0].key.get());
        }
        place.set(poll);
        self.depth.set(depth + 1);
        if let Some(slot) = self.slot.get() {
            slot.open(poll.task, poll.site.into(), poll.started);
        }
        true
    }

    /// Whether there is such a poll to end.
    #[inline]
    pub(crate) fn has_open(&self, level: Level, key: u64) -> bool {
        let open = self.polls.get(..self.depth.get()).unwrap_or(&[]);
        open.iter().rev().any(|poll| poll.is(level, key))
    }

    /// Ends the poll that `level` knows by `key`; as a rule it is the innermost.
    /// What is returned is valid until the next poll opens.
    #[inline]
    pub(crate) fn close(&self, level: Level, key: u64, now: Ticks) -> Option<&OpenPoll> {
        let depth = self.depth.get().wrapping_sub(1);
        let mut closed = self.polls.get(depth)?;
        if !closed.is(level, key) {
            closed = self.bring_to_top(level, key)?;
        }
        if depth == 0 {
            self.close_outermost(now);
        } else {
            self.depth.set(depth);
            self.reopen(depth - 1);
        }
        Some(closed)
    }

    /// The outer poll goes on.
    #[cold]
    fn reopen(&self, depth: usize) {
        if let (Some(slot), Some(outer)) = (self.slot.get(), self.polls.get(depth)) {
            slot.open(outer.task.get(), outer.site.get().into(), outer.started());
        }
    }

    /// A guard of an outer poll may be dropped before that of an inner one.
    #[cold]
    fn bring_to_top(&self, level: Level, key: u64) -> Option<&OpenPoll> {
        let open = self.polls.get(..self.depth.get())?;
        let at = open.iter().rposition(|poll| poll.is(level, key))?;
        for pair in open[at..].windows(2) {
            pair[0].swap(&pair[1]);
        }
        open.last()
    }

    /// The innermost open poll.
    #[inline]
    pub(crate) fn innermost(&self) -> Option<&OpenPoll> {
        self.polls.get(self.depth.get().wrapping_sub(1))
    }

    /// The thread's id; 0 before its first poll and where it is unknown.
    #[inline]
    pub(crate) fn tid(&self) -> u32 {
        self.tid.get()
    }

    /// A clock that stands still while the thread polls tasks or does the
    /// scheduler's work between polls: what passes is driver and parking.
    #[inline]
    pub(crate) fn idle_clock(&self, now: Ticks) -> u64 {
        now.0.wrapping_sub(self.occupied.get())
    }

    /// The cached task of a span.
    #[inline]
    pub(crate) fn traced(&self, realm: u16, key: u64) -> Option<TracedEntry> {
        let cache = self.traced.get()?;
        let entry = cache[key as usize % CACHE].get()?;
        let same = entry.key == key && entry.realm == realm;
        // A record that holds the task and is not retired belongs to a span that
        // is open, so that its id means no other. Ids of closed spans come again
        // after some thousand.
        (same && entry.hot.is_open(entry.id)).then_some(entry)
    }

    pub(crate) fn remember_traced(&self, entry: TracedEntry) {
        cache(&self.traced)[entry.key as usize % CACHE].set(Some(entry));
    }

    /// The cached record of a task.
    #[inline]
    pub(crate) fn hooked(&self, id: u64) -> Option<HookedEntry> {
        let cache = self.hooked.get()?;
        let entry = cache[id as usize % CACHE].get()?;
        (entry.id == id && entry.hot.id() == id).then_some(entry)
    }

    pub(crate) fn remember_hooked(&self, entry: HookedEntry) {
        cache(&self.hooked)[entry.id as usize % CACHE].set(Some(entry));
    }

    /// A file name that lives for ever, with the same text. Known by its
    /// address: that of a literal in the program is the same each time.
    #[inline]
    pub(crate) fn file(&self, file: &str) -> &'static str {
        let address = file.as_ptr().addr();
        let place = &cache(&self.files)[address / 8 % FILES];
        if let Some((known, text)) = place.get()
            && known == address
            && text == file
        {
            return text;
        }
        let text = site::file(file);
        place.set(Some((address, text)));
        text
    }

    /// The site of a location.
    #[inline]
    pub(crate) fn spot(&self, file: &'static str, line: u32, column: u32, kind: TaskKind) -> Spot {
        let hash = file.as_ptr().addr() / 8 + line as usize * 31 + column as usize;
        let place = &cache(&self.spots)[hash % SPOTS];
        if let Some(entry) = place.get()
            && (entry.line, entry.column, entry.kind) == (line, column, kind)
            && std::ptr::eq(entry.file, file)
        {
            return entry.spot;
        }
        let spot = site::look_up(file, line, column, kind);
        place.set(Some(SpotEntry {
            file,
            line,
            column,
            kind,
            spot,
        }));
        spot
    }

    /// The thread's share of the site of the task that the record holds.
    pub(crate) fn share_of(&self, hot: &Hot) -> Option<&'static Share> {
        self.share(hot.site())
    }

    /// The thread's share of a site's totals; `None` where the site is unknown.
    pub(crate) fn share(&self, site: u16) -> Option<&'static Share> {
        let index = usize::from(site);
        let mut shares = self.shares.try_borrow_mut().ok()?;
        if let Some(Some(share)) = shares.get(index) {
            return Some(share);
        }
        let site = SiteId::from_raw(site.into()).and_then(SiteId::get)?;
        if shares.len() <= index {
            shares.resize(index + 1, None);
        }
        Some(shares[index].insert(site.take_share()))
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.get() {
            slot.release();
        }
        for (index, share) in (0..).zip(self.shares.get_mut()) {
            let site = SiteId::from_raw(index).and_then(SiteId::get);
            if let (Some(share), Some(site)) = (share, site) {
                site.give_back(share);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(key: u64, started: u64) -> Poll {
        Poll {
            level: Level::Hooked,
            key,
            task: key * 10,
            site: 0,
            counts: true,
            started: Ticks(started),
            hot: None,
            wake: None,
            share: None,
        }
    }

    #[test]
    fn polls_nest_and_may_end_out_of_order() {
        let local = Local::new();
        for (key, started) in [(1, 100), (2, 110), (3, 120)] {
            assert!(local.open(&poll(key, started)));
        }
        let innermost = || local.innermost().map(OpenPoll::task);
        assert_eq!(innermost(), Some(30));
        let closed = local.close(Level::Hooked, 2, Ticks(130)).unwrap();
        assert_eq!((closed.task(), closed.started()), (20, Ticks(110)));
        assert_eq!(innermost(), Some(30), "still the innermost");
        assert!(local.close(Level::Hooked, 9, Ticks(130)).is_none());
        assert!(local.close(Level::Traced(0), 3, Ticks(130)).is_none());
        assert!(local.close(Level::Hooked, 3, Ticks(140)).is_some());
        assert_eq!(innermost(), Some(10));
        assert!(local.close(Level::Hooked, 1, Ticks(150)).is_some());
        assert!(innermost().is_none());
        assert!(local.close(Level::Hooked, 1, Ticks(150)).is_none());
    }

    #[test]
    fn too_deep_polls_are_not_opened() {
        let local = Local::new();
        for key in 1..=DEPTH as u64 {
            assert!(local.open(&poll(key, key)));
        }
        assert!(!local.open(&poll(99, 99)));
        assert!(local.close(Level::Hooked, 99, Ticks(100)).is_none());
        assert_eq!(local.innermost().unwrap().key.get(), DEPTH as u64);
    }

    #[test]
    fn locations_are_told_apart_by_the_cache() {
        let local = Local::new();
        let file = local.file(&String::from("local-test.rs"));
        assert!(std::ptr::eq(file, local.file("local-test.rs")));
        let spot = |line, kind| local.spot(file, line, 1, kind);
        let first = spot(1, TaskKind::Task);
        assert_eq!(spot(1, TaskKind::Task), first);
        assert_ne!(spot(1, TaskKind::Local), first);
        assert_ne!(spot(257, TaskKind::Task), first);
        assert_eq!(spot(1, TaskKind::Task), first);
    }
}
