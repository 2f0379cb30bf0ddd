//! A part of the task table: records, the map from a task's id to its record,
//! and the bounded history of finished tasks.
//!
//! Tokio numbers tasks one after the other, so `id % SHARDS` spreads them
//! evenly: over the locks, and over the bounds, which each shard keeps for its
//! own part. One lock is taken when a task is spawned and one when it ends;
//! none for a poll, nor to find a task.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Release;
use std::sync::{Arc, Mutex, MutexGuard};

use super::chunks::Chunks;
use super::dirty::{self, DirtyList, NONE};
use super::empty_index;
use super::index::{Index, Nodes};
use super::prefetch::prefetch;
use super::record::{Birth, CHUNK, Chunk, Cold, Handle, Hot, Text, flag};
use crate::sync::lock;

/// Parts of the table.
pub(super) const SHARDS: usize = 64;
/// Chunks of a shard: 65,536 records, four million tasks in all.
const MAX_CHUNKS: usize = (1 << 16) / CHUNK;
/// What the table holds at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Live tasks; further ones run unseen and are counted.
    pub(crate) live: usize,
    /// Finished tasks that are kept.
    pub(crate) history: usize,
    /// Bytes of the records and texts of finished tasks.
    pub(crate) history_bytes: usize,
}

impl Default for Limits {
    /// A million live tasks (112 MB of records where there are so many), and
    /// 10,000 finished ones in at most 8 MiB.
    fn default() -> Self {
        Self {
            live: 1 << 20,
            history: 10_000,
            history_bytes: 8 << 20,
        }
    }
}

/// What had to be dropped. All absolute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    /// Tasks that did not fit in the table.
    pub(crate) tasks: u64,
    /// Finished tasks that left the history.
    pub(crate) history: u64,
}

/// How much the table holds now.
#[cfg(test)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) live: usize,
    pub(crate) finished: usize,
    /// Records that were ever allocated; they are used again, never freed.
    pub(crate) records: usize,
}

/// Who reports a task's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Layer,
    Hooks,
}

#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Shard {
    dirty: DirtyList,
    records: Records,
    /// The records of tasks, by id.
    index: Index,
    inner: Mutex<Inner>,
}

/// The records of a shard, each by its index.
#[derive(Debug)]
struct Records(Chunks);

impl Records {
    #[inline]
    fn get(&self, index: u32) -> Option<Handle> {
        let chunk = self.0.get(index as usize / CHUNK)?;
        Some(Handle::new(chunk, index as usize % CHUNK))
    }
}

/// Tokio counts: the numbers of a shard's tasks differ by [`SHARDS`].
fn hash(id: u64) -> usize {
    id as usize / SHARDS
}

impl Nodes for Records {
    type Key = u64;

    #[inline]
    fn is(&self, node: u32, id: u64) -> bool {
        self.get(node).is_some_and(|task| task.id() == id)
    }

    fn hash(&self, node: u32) -> usize {
        self.get(node).map_or(0, |task| hash(task.id()))
    }

    #[inline]
    fn link(&self, node: u32, set: usize) -> &AtomicU32 {
        // Only records that were made are ever inserted.
        static NOWHERE: AtomicU32 = AtomicU32::new(NONE);
        let task = self.get(node);
        task.map_or(&NOWHERE, |task| &task.cold().chain[set])
    }
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    chunks: Vec<&'static Chunk>,
    /// Free records, without and with a wake part.
    free: [Vec<u32>; 2],
    live: usize,
    history: VecDeque<u32>,
    history_bytes: usize,
    losses: Losses,
    /// Names and further fields of the few tasks that have any, by index.
    texts: HashMap<u32, Arc<Text>, BuildHasherDefault<DefaultHasher>>,
    /// Tasks that a viewer knows and the table no longer does.
    pub(super) forgotten: Vec<u64>,
}

impl Shard {
    pub(super) const fn new() -> Self {
        Self {
            dirty: DirtyList {
                head: AtomicU32::new(NONE),
            },
            records: Records(Chunks::new()),
            index: empty_index(),
            inner: Mutex::new(Inner {
                chunks: Vec::new(),
                free: [const { Vec::new() }; 2],
                live: 0,
                history: VecDeque::new(),
                history_bytes: 0,
                losses: Losses {
                    tasks: 0,
                    history: 0,
                },
                texts: HashMap::with_hasher(BuildHasherDefault::new()),
                forgotten: Vec::new(),
            }),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }

    /// A record for a new task; `None` where the shard is full, or where it
    /// knows the task already, which is looked up only if it `may_be_known`.
    pub(super) fn insert(
        &self,
        birth: &Birth,
        text: Option<Arc<Text>>,
        limits: Limits,
        may_be_known: bool,
    ) -> Option<Handle> {
        let mut inner = self.lock();
        if may_be_known && self.find(birth.id).is_some() {
            return None;
        }
        if inner.live >= limits.live.div_ceil(SHARDS) {
            inner.losses.tasks += 1;
            return None;
        }
        let Some(index) = inner.free_record(self, birth) else {
            inner.losses.tasks += 1;
            return None;
        };
        let handle = inner.handle(index);
        handle.reset(birth);
        if let Some(text) = text {
            inner.texts.insert(index, text);
        }
        inner.live += 1;
        let held = inner.live + inner.history.len();
        self.index.insert(&self.records, index, held);
        Some(handle)
    }

    /// The record of a task, live or in the history. Takes no lock.
    #[inline]
    pub(super) fn find(&self, id: u64) -> Option<Handle> {
        self.record(self.index.find(&self.records, hash(id), id)?)
    }

    /// A record by its index. Takes no lock.
    #[inline]
    pub(super) fn record(&self, index: u32) -> Option<Handle> {
        self.records.get(index)
    }

    /// Moves a task into the history; its end is final. Once per task: `None`
    /// where that has happened before. To the hooks, a task that the layer
    /// sees only ends: the layer has the last word. `known` is where the caller has
    /// found its record before, which may have become another task's.
    pub(super) fn retire(
        &self,
        id: u64,
        known: Option<&'static Hot>,
        now: u64,
        source: Source,
        limits: Limits,
    ) -> Option<&'static Hot> {
        let mut inner = self.lock();
        let handle = match known.filter(|hot| hot.id() == id) {
            Some(hot) => inner.handle(hot.index.into()),
            None => self.find(id)?,
        };
        let hot = handle.hot();
        if source == Source::Hooks && hot.has(flag::TRACED) {
            hot.end(now);
            return None;
        }
        if !hot.retire(now) {
            return None;
        }
        inner.live -= 1;
        inner.history.push_back(handle.index());
        inner.history_bytes += inner.bytes(handle);
        // Divided upwards, so that a small bound is kept to within one each.
        let count = limits.history.div_ceil(SHARDS);
        let most_bytes = limits.history_bytes / SHARDS;
        while inner.history.len() > count || inner.history_bytes > most_bytes {
            inner.evict_oldest(self);
        }
        Some(hot)
    }

    /// Names the open task `id`, which the record holds, by a span.
    #[cfg(feature = "tracing")]
    pub(super) fn set_name(&self, hot: &Hot, id: u64, mut text: Arc<Text>) {
        let mut inner = self.lock();
        if !hot.is_open(id) {
            return;
        }
        let index = u32::from(hot.index);
        if let Some(before) = inner.texts.get(&index)
            && !before.fields.is_empty()
        {
            Arc::make_mut(&mut text).fields.clone_from(&before.fields);
        }
        inner.texts.insert(index, text);
    }

    /// Puts a record on the dirty list, unless it is there.
    pub(super) fn put_dirty(&self, hot: &Hot) {
        self.dirty.put(hot.link());
    }

    /// Takes the dirty list: indices of records, each of which may be put on
    /// the new list from now on.
    pub(super) fn take_dirty(&self, changed: &mut Vec<u32>) {
        let mut next = self.dirty.take();
        if next.is_none() {
            return;
        }
        let chunks = self.lock().chunks.clone();
        while let Some(index) = next {
            let handle = Handle::new(chunks[index as usize / CHUNK], index as usize % CHUNK);
            changed.push(index);
            next = dirty::taken(handle.hot().link());
        }
    }
}

impl Inner {
    pub(super) fn handle(&self, index: u32) -> Handle {
        let index = index as usize;
        Handle::new(self.chunks[index / CHUNK], index % CHUNK)
    }

    /// Every record that holds a task.
    pub(super) fn indices(&self) -> std::ops::Range<u32> {
        0..(self.chunks.len() * CHUNK) as u32
    }

    pub(super) fn losses(&self) -> Losses {
        self.losses
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> Size {
        Size {
            live: self.live,
            finished: self.history.len(),
            records: self.chunks.len() * CHUNK,
        }
    }

    /// `None` where the shard has as many records as an index can distinguish.
    fn free_record(&mut self, shard: &Shard, birth: &Birth) -> Option<u32> {
        let traced = birth.traced;
        if let Some(index) = self.free[usize::from(traced)].pop() {
            return Some(index);
        }
        if self.chunks.len() >= MAX_CHUNKS {
            return None;
        }
        let base = (self.chunks.len() * CHUNK) as u32;
        let chunk = Chunk::leaked(birth.id as usize % SHARDS, base, traced);
        shard.records.0.add(self.chunks.len(), chunk);
        self.chunks.push(chunk);
        // The lowest index comes out first.
        let rest = (base + 1..base + CHUNK as u32).rev();
        self.free[usize::from(traced)].extend(rest);
        Some(base)
    }

    fn evict_oldest(&mut self, shard: &Shard) {
        let Some(index) = self.history.pop_front() else {
            // Nothing is held, so nothing weighs.
            self.history_bytes = 0;
            return;
        };
        let handle = self.handle(index);
        self.history_bytes = self.history_bytes.saturating_sub(self.bytes(handle));
        self.losses.history += 1;
        shard.index.remove(&shard.records, index);
        if handle.hot().has(flag::SENT) {
            self.forgotten.push(handle.id());
        }
        if !self.texts.is_empty() {
            self.texts.remove(&index);
        }
        handle.hot().id.store(0, Release);
        self.free[usize::from(handle.wake().is_some())].push(index);
        self.prefetch_oldest();
    }

    /// Asks for the memory of the task that is next to leave, which nobody has
    /// touched for long: what leaves is read, and then made another task's, under
    /// the lock.
    fn prefetch_oldest(&self) {
        if let Some(index) = self.history.front() {
            let handle = self.handle(*index);
            prefetch(handle.hot());
            prefetch(handle.cold());
            if let Some(wake) = handle.wake() {
                prefetch(wake);
            }
        }
    }

    /// The texts of a task, for the few that have any.
    pub(super) fn text(&self, handle: Handle) -> Option<&Arc<Text>> {
        if self.texts.is_empty() {
            return None;
        }
        self.texts.get(&handle.index())
    }

    /// What a finished task weighs in the history.
    fn bytes(&self, handle: Handle) -> usize {
        let wake = handle.wake().map_or(0, size_of_val);
        let text = self.text(handle).map_or(0, |text| text.bytes());
        size_of::<Hot>() + size_of::<Cold>() + wake + text
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    const LIMITS: Limits = Limits {
        live: 3 * SHARDS,
        history: 2 * SHARDS,
        history_bytes: 1 << 20,
    };

    fn birth(n: u64) -> Birth {
        Birth {
            id: n * SHARDS as u64,
            traced: n.is_multiple_of(2),
            ..Birth::default()
        }
    }

    #[test]
    fn a_shard_keeps_its_bounds_and_counts_what_it_drops() {
        let shard = Shard::new();
        let insert = |n| shard.insert(&birth(n), None, LIMITS, true);
        let handles: Vec<_> = (1..=3).map(|n| insert(n).unwrap()).collect();
        assert!(insert(4).is_none(), "the live bound");
        assert_eq!(shard.lock().losses().tasks, 1);
        assert!(insert(3).is_none(), "known already");
        assert_eq!(shard.lock().losses().tasks, 1);

        handles[0].hot().set(flag::SENT);
        let retire = |n, source| shard.retire(birth(n).id, None, 9, source, LIMITS);
        assert!(retire(2, Source::Hooks).is_none(), "the layer's");
        for n in 1..=3 {
            assert!(retire(n, Source::Layer).is_some());
            assert!(retire(n, Source::Layer).is_none(), "only once");
        }
        let inner = shard.lock();
        assert_eq!(inner.losses().history, 1);
        assert_eq!(inner.forgotten, [birth(1).id]);
        assert_eq!((inner.size().live, inner.size().finished), (0, 2));
        assert!(shard.find(birth(1).id).is_none());
        assert!(shard.find(birth(2).id).is_some(), "in the history");
    }

    #[test]
    fn a_used_record_starts_afresh() {
        let limits = Limits {
            history: 0,
            ..LIMITS
        };
        let shard = Shard::new();
        let first = shard.insert(&birth(1), None, limits, true).unwrap();
        first.hot().polls.store(5, Relaxed);
        first.hot().set(flag::SENT | flag::ENDED);
        let known = Some(first.hot());
        let retire = |n| shard.retire(birth(n).id, known, 9, Source::Hooks, limits);
        assert!(retire(1).is_some());
        let second = shard.insert(&birth(3), None, limits, true).unwrap();
        assert_eq!(second.index(), first.index());
        assert_eq!(second.hot().polls.load(Relaxed), 0);
        assert!(!second.hot().has(flag::SENT | flag::ENDED | flag::RETIRED));
        assert!(retire(1).is_none(), "the record is another task's");
        assert!(!second.hot().has(flag::ENDED));
    }

    #[test]
    fn the_dirty_list_is_taken_once() {
        let shard = Shard::new();
        let limits = Limits::default();
        for n in 1..=300 {
            let handle = shard.insert(&birth(n), None, limits, false).unwrap();
            shard.put_dirty(handle.hot());
        }
        let mut changed = Vec::new();
        shard.take_dirty(&mut changed);
        let ids = |shard: &Shard, changed: &[u32]| {
            let inner = shard.lock();
            let mut ids: Vec<_> = changed.iter().map(|i| inner.handle(*i).id()).collect();
            ids.sort_unstable();
            ids
        };
        let expected: Vec<_> = (1..=300).map(|n| birth(n).id).collect();
        assert_eq!(ids(&shard, &changed), expected);
        changed.clear();
        shard.take_dirty(&mut changed);
        assert!(changed.is_empty());
    }
}
