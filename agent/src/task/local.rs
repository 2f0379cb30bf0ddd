//! What each thread keeps for itself: the polls that are open on it, caches,
//! and its share of every site's totals. No other thread reads it, except the
//! slot and the shares, which are made for that.

use std::cell::{Cell, OnceCell, RefCell};
use std::sync::Arc;

use looptop_wire::proto::TaskKind;

use super::record::Handle;
use super::site::{self, Share, SiteId, Spot};
use crate::clock::{self, Ticks};
use crate::slot::{self, Slot};

/// Polls that may be open inside each other on one thread: a task in a
/// `LocalSet` in `block_on` makes two. Deeper ones are not seen.
const DEPTH: usize = 8;
/// Entries of each direct-mapped cache.
const CACHE: usize = 1024;
const SPOTS: usize = 256;
/// Part of the idle clock that a poll is allowed for the scheduler's own work.
const SCHEDULER_NS_PER_POLL: u64 = 300;

/// Who saw the poll begin, hence who will see it end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// A layer, by its realm: spans of two subscribers may share an id.
    Traced(u16),
    Hooked,
}

/// An open poll.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) level: Level,
    /// Span id or task id, by level.
    pub(crate) key: u64,
    /// Tokio's id.
    pub(crate) task: u64,
    pub(crate) site: u16,
    /// Entered as a poll, or for another reason (the future is dropped).
    pub(crate) is_poll: bool,
    pub(crate) started: Ticks,
    pub(crate) handle: Option<Handle>,
}

const NO_FRAME: Frame = Frame {
    level: Level::Hooked,
    key: 0,
    task: 0,
    site: 0,
    is_poll: false,
    started: Ticks(0),
    handle: None,
};

/// Where a span's task is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TracedEntry {
    pub(crate) key: u64,
    pub(crate) realm: u16,
    pub(crate) id: u64,
    pub(crate) handle: Handle,
}

#[derive(Debug, Clone, Copy)]
struct SpotEntry {
    address: usize,
    line: u32,
    column: u32,
    kind: TaskKind,
    file: &'static str,
    spot: Spot,
}

type Cache<T> = OnceCell<Box<[Cell<Option<T>>]>>;

fn cache<T>(cache: &Cache<T>, size: usize) -> &[Cell<Option<T>>] {
    cache.get_or_init(|| (0..size).map(|_| Cell::new(None)).collect())
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
    depth: Cell<usize>,
    frames: [Cell<Frame>; DEPTH],
    /// Ticks that this thread has spent in outermost polls, with what the
    /// scheduler is allowed between them.
    occupied: Cell<u64>,
    allowance: Cell<u64>,
    traced: Cache<TracedEntry>,
    hooked: Cache<(u64, Handle)>,
    spots: Cache<SpotEntry>,
    shares: RefCell<Vec<Option<Arc<Share>>>>,
}

impl Local {
    const fn new() -> Self {
        Self {
            registered: Cell::new(false),
            excluded: Cell::new(false),
            slot: Cell::new(None),
            tid: Cell::new(0),
            depth: Cell::new(0),
            frames: [const { Cell::new(NO_FRAME) }; DEPTH],
            occupied: Cell::new(0),
            allowance: Cell::new(0),
            traced: OnceCell::new(),
            hooked: OnceCell::new(),
            spots: OnceCell::new(),
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
    }

    /// Whether the thread is one of the agent's own.
    pub(crate) fn is_excluded(&self) -> bool {
        self.excluded.get()
    }

    /// Opens a poll. `false`, and nothing done, where too many are open.
    #[inline]
    pub(crate) fn open(&self, frame: Frame) -> bool {
        if !self.registered.get() {
            self.register();
        }
        let depth = self.depth.get();
        if depth >= DEPTH {
            return false;
        }
        self.frames[depth].set(frame);
        self.depth.set(depth + 1);
        if let Some(slot) = self.slot.get() {
            slot.open(frame.task, frame.site.into(), frame.started);
        }
        true
    }

    /// Ends the poll that `level` knows by `key`; as a rule it is the innermost.
    #[inline]
    pub(crate) fn close(&self, level: Level, key: u64, now: Ticks) -> Option<Frame> {
        let depth = self.depth.get();
        let innermost = self.frames.get(depth.wrapping_sub(1))?.get();
        if innermost.key == key && innermost.level == level {
            self.shorten(depth - 1, &innermost, now);
            return Some(innermost);
        }
        self.close_outer(level, key, now)
    }

    #[inline]
    fn shorten(&self, depth: usize, ended: &Frame, now: Ticks) {
        self.depth.set(depth);
        let Some(slot) = self.slot.get() else { return };
        if depth == 0 {
            let busy = now.0.saturating_sub(ended.started.0);
            let occupied = self.occupied.get() + busy + self.allowance.get();
            self.occupied.set(occupied);
            slot.close();
        } else {
            let outer = self.frames[depth - 1].get();
            slot.open(outer.task, outer.site.into(), outer.started);
        }
    }

    /// A guard of an outer poll may be dropped before that of an inner one.
    #[cold]
    fn close_outer(&self, level: Level, key: u64, now: Ticks) -> Option<Frame> {
        let depth = self.depth.get();
        let open = &self.frames[..depth];
        let at = open
            .iter()
            .rposition(|frame| frame.get().key == key && frame.get().level == level)?;
        let frame = open[at].get();
        for pair in open[at..].windows(2) {
            pair[0].set(pair[1].get());
        }
        self.shorten(depth - 1, &frame, now);
        Some(frame)
    }

    /// The innermost open poll.
    #[inline]
    pub(crate) fn innermost(&self) -> Option<Frame> {
        let depth = self.depth.get();
        Some(self.frames.get(depth.wrapping_sub(1))?.get())
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

    /// The cached task of a span. The caller checks that the record still holds
    /// the task `id`.
    #[inline]
    pub(crate) fn traced(&self, realm: u16, key: u64) -> Option<TracedEntry> {
        let cache = self.traced.get()?;
        let entry = cache[key as usize % CACHE].get()?;
        let same = entry.key == key && entry.realm == realm;
        (same && entry.handle.id() == entry.id).then_some(entry)
    }

    pub(crate) fn remember_traced(&self, entry: TracedEntry) {
        cache(&self.traced, CACHE)[entry.key as usize % CACHE].set(Some(entry));
    }

    /// The cached record of a task.
    #[inline]
    pub(crate) fn hooked(&self, id: u64) -> Option<Handle> {
        let cache = self.hooked.get()?;
        let (key, handle) = cache[id as usize % CACHE].get()?;
        (key == id && handle.id() == id).then_some(handle)
    }

    pub(crate) fn remember_hooked(&self, id: u64, handle: Handle) {
        cache(&self.hooked, CACHE)[id as usize % CACHE].set(Some((id, handle)));
    }

    /// The site of a location: from the cache by the address of its file name,
    /// which is the same for all spawns of one line.
    #[inline]
    pub(crate) fn spot(&self, file: &str, line: u32, column: u32, kind: TaskKind) -> Spot {
        let address = file.as_ptr().addr();
        let place = address.wrapping_add(line as usize * 31 + column as usize) % SPOTS;
        let entry = &cache(&self.spots, SPOTS)[place];
        if let Some(entry) = entry.get()
            && (entry.address, entry.line, entry.column) == (address, line, column)
            && entry.kind == kind
            && entry.file == file
        {
            return entry.spot;
        }
        let spot = site::look_up(file, line, column, kind);
        if let Spot::Site(id) = spot
            && let Some(site) = id.get()
        {
            entry.set(Some(SpotEntry {
                address,
                line,
                column,
                kind,
                file: site.file,
                spot,
            }));
        }
        spot
    }

    /// The thread's share of a site's totals; nothing where the site is unknown.
    #[inline]
    pub(super) fn with_share(&self, site: u16, f: impl FnOnce(&Share)) {
        let index = usize::from(site);
        let Ok(mut shares) = self.shares.try_borrow_mut() else {
            return;
        };
        if let Some(Some(share)) = shares.get(index) {
            f(share);
            return;
        }
        let Some(site) = SiteId::from_raw(site.into()).and_then(SiteId::get) else {
            return;
        };
        if shares.len() <= index {
            shares.resize(index + 1, None);
        }
        f(shares[index].insert(site.new_share()));
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

    fn frame(key: u64, started: u64) -> Frame {
        Frame {
            key,
            task: key * 10,
            is_poll: true,
            started: Ticks(started),
            ..NO_FRAME
        }
    }

    #[test]
    fn polls_nest_and_may_end_out_of_order() {
        let local = Local::new();
        for (key, started) in [(1, 100), (2, 110), (3, 120)] {
            assert!(local.open(frame(key, started)));
        }
        assert_eq!(local.innermost().unwrap().task, 30);
        let closed = local.close(Level::Hooked, 2, Ticks(130)).unwrap();
        assert_eq!(closed.started, Ticks(110));
        assert_eq!(local.innermost().unwrap().task, 30, "still the innermost");
        assert!(local.close(Level::Hooked, 9, Ticks(130)).is_none());
        assert!(local.close(Level::Traced(0), 3, Ticks(130)).is_none());
        assert!(local.close(Level::Hooked, 3, Ticks(140)).is_some());
        assert_eq!(local.innermost().unwrap().task, 10);
        assert!(local.close(Level::Hooked, 1, Ticks(150)).is_some());
        assert!(local.innermost().is_none());
        assert!(local.close(Level::Hooked, 1, Ticks(150)).is_none());
    }

    #[test]
    fn too_deep_polls_are_not_opened() {
        let local = Local::new();
        for key in 1..=DEPTH as u64 {
            assert!(local.open(frame(key, key)));
        }
        assert!(!local.open(frame(99, 99)));
        assert!(local.close(Level::Hooked, 99, Ticks(100)).is_none());
        assert_eq!(local.innermost().unwrap().key, DEPTH as u64);
    }

    #[test]
    fn locations_are_told_apart_by_the_cache() {
        let local = Local::new();
        let spot = |line, kind| local.spot("local-test.rs", line, 1, kind);
        let first = spot(1, TaskKind::Task);
        assert_eq!(spot(1, TaskKind::Task), first);
        assert_ne!(spot(1, TaskKind::Local), first);
        assert_ne!(spot(257, TaskKind::Task), first);
        assert_eq!(spot(1, TaskKind::Task), first);
    }
}
