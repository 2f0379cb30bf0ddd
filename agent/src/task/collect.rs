//! The reading side of the table: what changed since the last time, or
//! everything, as plain rows; and rows as columns of the wire.
//!
//! Gathering and encoding are apart, because ids of strings belong to one
//! stream: the publisher gathers once and encodes for each viewer.
//!
//! **No change is lost.** A task that changes while it is being read has put
//! itself on the next list, with one gap: the processor may show its new
//! numbers some nanoseconds after it has looked at the flag that says "listed
//! already". So what was read is read once more the next time, and sent again
//! if it differs. That keeps the polling thread free of a memory fence.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use looptop_wire::intern::Interner;
use looptop_wire::proto::{SpawnSite, TaskKind, TaskState, Tasks};

use super::record::{Handle, Text, Wake, flag};
use super::shard::{SHARDS, Shard};
use super::site::{self, SiteId, Totals};
use super::{Table, table};
use crate::clock::{self, Ticks};

/// Records that are read under one hold of a shard's lock: some microseconds.
const BATCH: usize = 64;

/// What a viewer is to be told.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// One message for each set of columns that is known, so that an unknown
    /// column can be absent. Each goes into a frame, or a part of one, by itself.
    pub(crate) tasks: Vec<Tasks>,
    /// Tasks that a viewer has been told of and the table no longer holds.
    pub(crate) forgotten: Vec<u64>,
    /// Sites that changed, with their histograms.
    pub(crate) sites: Vec<SpawnSite>,
}

/// Rows as they were read, free of any stream's ids.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    rows: Vec<Row>,
    forgotten: Vec<u64>,
    sites: Vec<SiteRow>,
}

#[derive(Debug)]
struct SiteRow {
    id: SiteId,
    totals: Totals,
    histograms: [Vec<(u32, u64)>; 2],
}

/// Which columns a row has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// From the tracing layer.
    All,
    /// The future of `block_on`, whose wakes tokio does not report; or a task
    /// under a layer that leaves wakers alone.
    AllButWakes,
    /// From the hooks, with or without waits.
    Polls,
    PollsAndWaits,
}

const KNOWN: [Known; 4] = [
    Known::All,
    Known::AllButWakes,
    Known::Polls,
    Known::PollsAndWaits,
];

/// A task; times in nanoseconds, instants on the agent's clock.
#[derive(Debug)]
struct Row {
    known: Known,
    id: u64,
    state: TaskState,
    kind: TaskKind,
    text: Option<Arc<Text>>,
    site: Option<SiteId>,
    parent: u64,
    runtime: u32,
    spawned_at: u64,
    ended_at: Option<u64>,
    polls: u64,
    busy: u64,
    longest_poll: u64,
    poll_started_at: Option<u64>,
    scheduled: u64,
    longest_scheduled: u64,
    tid: u64,
    wakes: WakeRow,
}

#[derive(Debug, Default)]
struct WakeRow {
    wakes: u64,
    self_wakes: u64,
    last_wake_at: Option<u64>,
    clones: u64,
    drops: u64,
    size: u64,
    original_size: u64,
}

/// The one reader of the lists of changes. Several would take them from each
/// other: one per table.
#[derive(Debug)]
pub(crate) struct Collector {
    table: &'static Table,
    /// What was read the last time: shard, index, fingerprint.
    recent: Vec<(usize, u32, u64)>,
    /// By shard and index, the round in which a record was read.
    stamps: Vec<Vec<u32>>,
    round: u32,
    /// By site id, what was last gathered.
    sites: Vec<Totals>,
}

impl Default for Collector {
    fn default() -> Self {
        Self::of(table())
    }
}

impl Collector {
    pub(super) fn of(table: &'static Table) -> Self {
        Self {
            table,
            recent: Vec::new(),
            stamps: vec![Vec::new(); SHARDS],
            round: 0,
            sites: Vec::new(),
        }
    }

    /// Tells the table whether anybody looks. While nobody does, changes are
    /// not listed and nothing is kept for them. Begin a watch with `true`, then
    /// [`Collector::snapshot`].
    pub(crate) fn set_watched(&mut self, watched: bool) {
        self.table.watched.store(watched, Relaxed);
        for shard in &self.table.shards {
            shard.take_dirty(&mut Vec::new());
            shard.lock().forgotten = Vec::new();
        }
        if !watched {
            self.recent = Vec::new();
            self.stamps = vec![Vec::new(); SHARDS];
        }
    }

    /// What changed since the last call. Costs what has changed: about 100 ns a
    /// task.
    pub(crate) fn gather(&mut self) -> Gathered {
        let mut gathered = Gathered::default();
        self.round += 1;
        let before = std::mem::take(&mut self.recent);
        let mut changed = Vec::new();
        for number in 0..SHARDS {
            changed.clear();
            self.table.shards[number].take_dirty(&mut changed);
            self.read(number, &changed, &mut gathered);
            let forgotten = std::mem::take(&mut self.table.shards[number].lock().forgotten);
            gathered.forgotten.extend(forgotten);
        }
        self.read_again(&before, &mut gathered);
        self.read_sites(&mut gathered, false);
        gathered
    }

    /// Every task, live or in the history, and every site. Changes that are
    /// listed stay listed.
    pub(crate) fn snapshot(&mut self) -> Gathered {
        let mut gathered = Gathered::default();
        self.round += 1;
        for number in 0..SHARDS {
            let indices: Vec<_> = self.table.shards[number].lock().indices().collect();
            self.read(number, &indices, &mut gathered);
        }
        self.read_sites(&mut gathered, true);
        gathered
    }

    fn read(&mut self, number: usize, indices: &[u32], gathered: &mut Gathered) {
        let shard: &Shard = &self.table.shards[number];
        let stamps = &mut self.stamps[number];
        for batch in indices.chunks(BATCH) {
            // Records are made another task's under this lock, so that a row
            // never mixes two tasks.
            let inner = shard.lock();
            for index in batch {
                let handle = inner.handle(*index);
                if handle.id() == 0 {
                    continue;
                }
                let print = fingerprint(handle);
                gathered.rows.push(Row::read(handle, inner.text(handle)));
                self.recent.push((number, *index, print));
                let at = *index as usize;
                if stamps.len() <= at {
                    stamps.resize((at + 1).next_power_of_two(), 0);
                }
                stamps[at] = self.round;
                if !handle.hot().has(flag::TOLD) {
                    handle.hot().set(flag::TOLD);
                }
            }
        }
    }

    /// Reads what the last round read, unless this one has done so; sends what
    /// differs.
    fn read_again(&mut self, before: &[(usize, u32, u64)], gathered: &mut Gathered) {
        for same in before.chunk_by(|a, b| a.0 == b.0) {
            let number = same[0].0;
            let mut differ = Vec::new();
            for batch in same.chunks(BATCH) {
                let inner = self.table.shards[number].lock();
                let stamps = &self.stamps[number];
                let unread = |index: u32| stamps.get(index as usize) != Some(&self.round);
                let late = batch.iter().filter(|(_, index, print)| {
                    unread(*index) && fingerprint(inner.handle(*index)) != *print
                });
                differ.extend(late.map(|(_, index, _)| *index));
            }
            self.read(number, &differ, gathered);
        }
    }

    fn read_sites(&mut self, gathered: &mut Gathered, all: bool) {
        for (id, site) in site::all() {
            let at = usize::from(id.raw());
            if self.sites.len() <= at {
                self.sites.resize(at + 1, Totals::default());
            }
            let totals = site.totals();
            let changed = self.sites[at] != totals;
            if changed || (all && totals != Totals::default()) {
                gathered.sites.push(SiteRow {
                    id,
                    totals,
                    histograms: site.histograms(),
                });
            }
            // A snapshot is for one viewer; what changed is for all of them.
            if !all {
                self.sites[at] = totals;
            }
        }
    }
}

/// Tells whether a record has changed.
fn fingerprint(handle: Handle) -> u64 {
    let hot = handle.hot();
    let mix = |print: u64, n: u64| (print.rotate_left(7) ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut print = [&hot.polls, &hot.busy, &hot.since]
        .iter()
        .fold(handle.id(), |print, n| mix(print, n.load(Relaxed)));
    if let Some(wake) = handle.wake() {
        print = [wake.wakes(), wake.clones(), wake.drops()]
            .into_iter()
            .fold(print, mix);
    }
    print
}

fn instant(ticks: u64) -> Option<u64> {
    (ticks != 0).then(|| clock::to_ns(Ticks(ticks)))
}

impl Row {
    fn read(handle: Handle, text: Option<&Arc<Text>>) -> Self {
        let (hot, cold, wake) = (handle.hot(), handle.cold(), handle.wake());
        let kind = handle.hot().kind();
        let known = match wake {
            Some(_) if kind == TaskKind::BlockOn || handle.hot().has(flag::BLIND) => {
                Known::AllButWakes
            }
            Some(_) => Known::All,
            None if handle.hot().has(flag::TIMED) => Known::PollsAndWaits,
            None => Known::Polls,
        };
        let state = state(handle, known);
        let since = instant(hot.since.load(Relaxed));
        let ns = |ticks: u64| clock::duration_ns(ticks);
        let longest_scheduled = match wake {
            Some(wake) => wake.longest_scheduled.load(Relaxed),
            None => cold.longest_scheduled(),
        };
        Self {
            known,
            id: handle.id(),
            state,
            kind,
            text: text.cloned(),
            site: SiteId::from_raw(hot.site.load(Relaxed).into()),
            parent: cold.parent.load(Relaxed),
            runtime: cold.runtime.load(Relaxed),
            spawned_at: clock::to_ns(Ticks(cold.spawned.load(Relaxed))),
            ended_at: since.filter(|_| state == TaskState::Completed),
            polls: hot.polls.load(Relaxed),
            busy: ns(hot.busy.load(Relaxed)),
            longest_poll: ns(hot.longest_poll.load(Relaxed)),
            poll_started_at: since.filter(|_| state == TaskState::Running),
            scheduled: ns(hot.scheduled.load(Relaxed)),
            longest_scheduled: ns(longest_scheduled),
            tid: hot.tid.load(Relaxed).into(),
            wakes: wake.map(WakeRow::read).unwrap_or_default(),
        }
    }
}

fn state(handle: Handle, known: Known) -> TaskState {
    let hot = handle.hot();
    if hot.has(flag::ENDED) {
        return TaskState::Completed;
    }
    if hot.since.load(Relaxed) != 0 {
        return TaskState::Running;
    }
    if hot.polls.load(Relaxed) == 0 {
        return TaskState::Scheduled;
    }
    match (known, handle.wake()) {
        (Known::All, Some(wake)) if wake.is_due() => TaskState::Scheduled,
        (Known::All, _) => TaskState::Idle,
        (Known::AllButWakes, _) if handle.hot().is_block_on() => TaskState::Idle,
        // Idle or scheduled: without wakes nobody can tell.
        _ => TaskState::Unknown,
    }
}

impl WakeRow {
    fn read(wake: &Wake) -> Self {
        Self {
            wakes: wake.wakes(),
            self_wakes: wake.own_wakes.load(Relaxed) + wake.deferred_wakes.load(Relaxed),
            last_wake_at: instant(wake.woken_at.load(Relaxed)),
            clones: wake.clones(),
            drops: wake.drops(),
            size: wake.size.load(Relaxed).into(),
            original_size: wake.original_size.load(Relaxed).into(),
        }
    }
}

impl Gathered {
    /// As messages of one stream.
    pub(crate) fn encode(&self, interner: &mut Interner) -> Changes {
        let mut tasks = KNOWN.map(|_| Tasks::default());
        for row in &self.rows {
            row.encode(&mut tasks[row.known as usize], interner);
        }
        Changes {
            tasks: tasks.into_iter().filter(|t| !t.id.is_empty()).collect(),
            forgotten: self.forgotten.clone(),
            sites: self
                .sites
                .iter()
                .filter_map(|s| s.encode(interner))
                .collect(),
        }
    }
}

/// "0 for none, otherwise the instant plus 1."
fn plus_1(instant: Option<u64>) -> u64 {
    instant.map_or(0, |ns| ns + 1)
}

fn location(site: Option<SiteId>, interner: &mut Interner) -> u32 {
    site.and_then(SiteId::get).map_or(0, |site| {
        interner.location(site.file, site.line, site.column)
    })
}

impl Row {
    fn encode(&self, tasks: &mut Tasks, interner: &mut Interner) {
        tasks.id.push(self.id);
        tasks.tokio_id.push(self.id);
        tasks.state.push(self.state.into());
        tasks.kind.push(self.kind.into());
        tasks.location.push(location(self.site, interner));
        tasks.parent.push(self.parent);
        tasks.runtime.push(self.runtime);
        tasks.spawned_at_ns.push(self.spawned_at);
        tasks.ended_at_ns.push(plus_1(self.ended_at));
        tasks.polls.push(self.polls);
        tasks.busy_ns.push(self.busy);
        tasks.longest_poll_ns.push(self.longest_poll);
        tasks.poll_started_at_ns.push(plus_1(self.poll_started_at));
        tasks.tid.push(self.tid);
        if matches!(self.known, Known::All | Known::PollsAndWaits) {
            tasks.scheduled_ns.push(self.scheduled);
            tasks.longest_scheduled_ns.push(self.longest_scheduled);
        }
        if matches!(self.known, Known::All | Known::AllButWakes) {
            let text = self.text.as_deref();
            let name = text.map_or("", |text| &text.name);
            let fields = text.map_or("", |text| &text.fields);
            tasks.name.push(interner.string(name));
            tasks.fields.push(interner.string(fields));
            tasks.size_bytes.push(self.wakes.size);
            tasks.original_size_bytes.push(self.wakes.original_size);
        }
        if self.known == Known::All {
            tasks.wakes.push(self.wakes.wakes);
            tasks.self_wakes.push(self.wakes.self_wakes);
            tasks.last_wake_at_ns.push(plus_1(self.wakes.last_wake_at));
            tasks.waker_clones.push(self.wakes.clones);
            tasks.waker_drops.push(self.wakes.drops);
        }
    }
}

impl SiteRow {
    fn encode(&self, interner: &mut Interner) -> Option<SpawnSite> {
        let location = location(Some(self.id), interner);
        let site = self.id.get()?;
        let [
            (poll_bucket, poll_count),
            (scheduled_bucket, scheduled_count),
        ]: [(Vec<u32>, Vec<u64>); 2] = self
            .histograms
            .each_ref()
            .map(|histogram| histogram.iter().copied().unzip());
        Some(SpawnSite {
            location,
            kind: site.kind.into(),
            spawned: self.totals.spawned,
            ended: self.totals.ended,
            polls: poll_count.iter().sum(),
            busy_ns: clock::duration_ns(self.totals.busy),
            longest_poll_ns: clock::duration_ns(self.totals.longest_poll),
            poll_bucket,
            poll_count,
            scheduled_bucket,
            scheduled_count,
        })
    }
}
