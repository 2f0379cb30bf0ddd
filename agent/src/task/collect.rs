//! The reading side of the table: what changed since the last time, or
//! everything; see [`super::columns`] for the form.
//!
//! Gathering and encoding are apart, because ids of strings belong to one
//! stream: the publisher gathers once and encodes for each viewer.
//!
//! **No change is lost.** A task that changes while it is being read has put
//! itself on the next list, with one gap: the processor may show its new
//! numbers some nanoseconds after it has looked at the flag that says "listed
//! already". So what was read is read once more the next time, and sent again
//! if it differs. That keeps the polling thread free of a memory fence.

use std::sync::atomic::Ordering::Relaxed;

use looptop_wire::intern::Interner;
use looptop_wire::proto::{SpawnSite, Tasks};

use super::columns::{Columns, Locations};
use super::record::{Handle, flag};
use super::shard::{SHARDS, Shard};
use super::site::{self, SiteId, Totals};
use super::{Table, table};
use crate::clock;

/// Records that are read under one hold of a shard's lock: some microseconds.
const BATCH: usize = 64;

/// What a viewer is to be sent.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// One message for each set of columns that is known, so that an unknown
    /// column can be absent. Each goes into a frame, or a part of one, by itself.
    pub(crate) tasks: Vec<Tasks>,
    /// Tasks that a viewer knows and the table no longer holds.
    pub(crate) forgotten: Vec<u64>,
    /// Sites that changed, with their histograms.
    pub(crate) sites: Vec<SpawnSite>,
}

/// What was read, free of any stream's ids.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    tasks: Columns,
    forgotten: Vec<u64>,
    sites: Vec<SiteRow>,
}

#[derive(Debug)]
struct SiteRow {
    id: SiteId,
    totals: Totals,
    histograms: [Vec<(u32, u64)>; 2],
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

    /// Sets whether anybody looks. While nobody does, changes are
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

    /// What changed since the last call. Costs what has changed: 0.1 to 0.2 µs a
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
                gathered.tasks.read(handle, inner.text(handle));
                self.recent.push((number, *index, print));
                let at = *index as usize;
                if stamps.len() <= at {
                    stamps.resize((at + 1).next_power_of_two(), 0);
                }
                stamps[at] = self.round;
                if !handle.hot().has(flag::SENT) {
                    handle.hot().set(flag::SENT);
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

/// Whether a record has changed.
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

impl Gathered {
    /// As messages of one stream.
    pub(crate) fn encode(&self, interner: &mut Interner) -> Changes {
        let mut locations = Locations::default();
        let tasks = self.tasks.encode(&mut locations, interner);
        let sites = self.sites.iter();
        let sites = sites.filter_map(|site| {
            let location = locations.id(Some(site.id), interner);
            site.encode(location)
        });
        Changes {
            tasks,
            forgotten: self.forgotten.clone(),
            sites: sites.collect(),
        }
    }
}

impl SiteRow {
    fn encode(&self, location: u32) -> Option<SpawnSite> {
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
            first_spawn_at_ns: Some(site.first_ns),
            ..SpawnSite::default()
        })
    }
}
