//! What only shows over time, and is not in the model: kept by the engine and
//! handed to the rules.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use looptop_wire::histogram;

use crate::{
    diagnose::waits::Graph,
    model::{
        LocationId, Loss, Model, Moment, RuntimeId, SiteKey, Task, TaskId, TaskState, TextId, total,
    },
};

use super::{
    queues::{self, Queue},
    waiting::Waiting,
};

/// Looks are at least this far apart.
const STEP: Duration = Duration::from_millis(100);
/// Sites, losses and memory are remembered in steps of this.
const SLOW_STEP: Duration = Duration::from_millis(500);
/// Slow steps kept: 2 minutes.
const SLOW_STEPS: usize = 240;
/// Sites remembered at most: those with the most polls.
const MAX_SITES: usize = 256;
/// Suspects remembered at most.
const MAX_SUSPECTS: usize = 10_000;

/// What the engine remembers.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    looked_at: Option<Moment>,
    slowly_looked_at: Option<Moment>,
    /// Tasks that have no waker left, since when, and with how many polls.
    pub(super) without_waker: HashMap<TaskId, (Moment, u64)>,
    /// Sites over time.
    pub(super) sites: BTreeMap<SiteKey, VecDeque<SiteStep>>,
    /// Results of ended tasks that are kept, by spawn location and by type.
    pub(super) unreaped: BTreeMap<SiteKey, VecDeque<(Moment, f64)>>,
    pub(super) ended_cells: BTreeMap<(u32, u64, u32), VecDeque<(Moment, f64)>>,
    /// Gauges by their changes.
    pub(super) gauges: BTreeMap<TextId, VecDeque<(Moment, f64)>>,
    /// Losses over time.
    pub(super) losses: VecDeque<(Moment, Loss)>,
    /// Memory of the process in bytes, and live tasks, over time.
    pub(super) footprint: VecDeque<Footprint>,
    /// Since when the host has starved the workers.
    pub(super) host_starved_since: Option<Moment>,
    /// Since when the workers have stood in one another's way.
    pub(super) crowded_since: Option<Moment>,
    /// When workers last waited for CPUs so much that times measured on them say
    /// nothing of the code.
    pub(super) distorted_at: Option<Moment>,
    /// Tasks that queue for locks, by where they were spawned.
    pub(super) queues: BTreeMap<LocationId, Queue>,
    /// Blocking pools with jobs queued and no idle thread: since when they have
    /// had as many threads as now, and how many.
    pub(super) pools: BTreeMap<RuntimeId, (Moment, u64)>,
    /// Who waits for whom, and what of that only shows over time.
    pub(super) waiting: Waiting,
}

/// What the process holds at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Footprint {
    pub at: Moment,
    pub bytes: u64,
    pub live_tasks: usize,
}

/// A site at one moment.
#[derive(Debug, Clone)]
pub(super) struct SiteStep {
    pub at: Moment,
    scheduled: Vec<(usize, u64)>,
}

impl Memory {
    /// Who waits for whom.
    pub(in crate::diagnose) fn graph(&self) -> &Arc<Graph> {
        &self.waiting.graph
    }

    /// Takes note of the model as it is; passes over all tasks if it may `scan`.
    pub(crate) fn observe(&mut self, model: &Model, scan: bool) {
        let now = model.now;
        // In a core dump no time passes while it is read.
        if model.session.core_dump {
            self.waiting.observe(model);
        }
        if self.looked_at.is_some_and(|at| now.since(at) < STEP) {
            return;
        }
        self.looked_at = Some(now);
        if scan {
            self.observe_wakers(model);
            self.queues = queues::observe(model, &self.queues);
        }
        self.observe_host(model);
        self.observe_pools(model);
        self.waiting.observe(model);
        if self
            .slowly_looked_at
            .is_some_and(|at| now.since(at) < SLOW_STEP)
        {
            return;
        }
        self.slowly_looked_at = Some(now);
        self.observe_sites(model);
        for (name, gauge) in &model.gauges {
            let values = self.gauges.entry(*name).or_default();
            if values
                .back()
                .is_none_or(|(_, last)| last.total_cmp(&gauge.value).is_ne())
            {
                push(values, (now, gauge.value));
            }
        }
        if let Some(bytes) = super::memory_growth::held(model) {
            let live_tasks = model.tasks.live_count();
            push(
                &mut self.footprint,
                Footprint {
                    at: now,
                    bytes,
                    live_tasks,
                },
            );
        }
        push(&mut self.losses, (now, model.loss));
    }

    fn observe_wakers(&mut self, model: &Model) {
        let now = model.now;
        let mut suspects = HashMap::new();
        for task in model
            .tasks
            .live()
            .filter(|t| has_no_waker(t))
            .take(MAX_SUSPECTS)
        {
            let polls = task.polls().unwrap_or_default();
            let earlier = self
                .without_waker
                .get(&task.id)
                .filter(|(_, then)| *then == polls);
            suspects.insert(task.id, earlier.copied().unwrap_or((now, polls)));
        }
        self.without_waker = suspects;
    }

    fn observe_host(&mut self, model: &Model) {
        let now = model.now;
        let since = |earlier: Option<Moment>, holds: bool| holds.then(|| earlier.unwrap_or(now));
        let starved = super::host_starved::is_starved(model);
        self.host_starved_since = since(self.host_starved_since, starved);
        let crowded = super::too_many_workers::holds(model);
        self.crowded_since = since(self.crowded_since, crowded);
        if super::host_starved::distorts(model) {
            self.distorted_at = Some(now);
        }
    }

    fn observe_pools(&mut self, model: &Model) {
        let full = model.runtimes.iter().filter_map(|runtime| {
            let threads = runtime.blocking_threads?;
            let full = runtime.blocking_queue? > 0 && runtime.idle_blocking_threads? == 0;
            full.then_some((runtime.id, threads))
        });
        self.pools = full
            .map(|(id, threads)| {
                let earlier = self.pools.get(&id).filter(|(_, then)| *then == threads);
                (id, earlier.copied().unwrap_or((model.now, threads)))
            })
            .collect();
    }

    /// How late the agent's watchdog was in the last `window`, in all, and over how
    /// much of that it was observed.
    pub(super) fn watchdog_late(&self, model: &Model, window: Duration) -> (Duration, Duration) {
        let from = model.now.minus(window);
        let before = self.losses.iter().rev().find(|(at, _)| *at <= from);
        let Some((at, base)) = before.or(self.losses.front()) else {
            return (Duration::ZERO, Duration::ZERO);
        };
        let late = model.loss.watchdog_late_ns;
        let late = late.saturating_sub(base.watchdog_late_ns);
        (Duration::from_nanos(late), model.now.since(*at))
    }

    fn observe_sites(&mut self, model: &Model) {
        let mut busiest: Vec<_> = model.sites.iter().collect();
        if busiest.len() > MAX_SITES {
            busiest.sort_unstable_by_key(|(_, site)| {
                std::cmp::Reverse(site.spawned.saturating_add(site.polls))
            });
            busiest.truncate(MAX_SITES);
        }
        for (key, site) in busiest {
            let step = SiteStep {
                at: model.now,
                scheduled: site.scheduled_histogram().to_vec(),
            };
            push(self.sites.entry(*key).or_default(), step);
            if let Some(kept) = super::unreaped_tasks::count_of(site, model.now) {
                push(self.unreaped.entry(*key).or_default(), kept);
            }
        }
        self.sites.retain(|key, _| model.sites.contains_key(key));
        self.unreaped.retain(|key, _| model.sites.contains_key(key));
        for (key, cells) in model.ended_cells.iter().take(MAX_SITES) {
            let counts = self.ended_cells.entry(*key).or_default();
            let count = (cells.counted_at, cells.count as f64);
            if counts.back().is_none_or(|last| last.0 != count.0) {
                push(counts, count);
            }
        }
        self.ended_cells
            .retain(|key, _| model.ended_cells.contains_key(key));
    }

    /// The delay between wake and poll below which the share `quantile` of the
    /// polls of the last 1 to 2 s lie, and how many polls these were.
    pub(super) fn recent_delay(&self, key: SiteKey, quantile: f64) -> Option<(Duration, u64)> {
        let steps = self.sites.get(&key)?;
        let newest = steps.back()?;
        // What was counted before the first look may be old.
        let base = steps
            .iter()
            .rev()
            .find(|s| newest.at.since(s.at) >= Duration::from_millis(1_400))
            .or(steps.front())?;
        let earlier = |bucket: usize| {
            let then = base.scheduled.iter().find(|(n, _)| *n == bucket);
            then.map_or(0, |(_, count)| *count)
        };
        let counts: Vec<_> = newest
            .scheduled
            .iter()
            .map(|(bucket, count)| (*bucket, count.saturating_sub(earlier(*bucket))))
            .collect();
        let total = total(counts.iter().map(|(_, n)| *n));
        let delay = histogram::quantile(counts.iter().copied(), quantile)?;
        Some((Duration::from_nanos(delay), total))
    }
}

/// Nothing holds a waker of it, nothing woke it, and it does not run.
fn has_no_waker(task: &Task) -> bool {
    task.state == TaskState::Idle
        && task.polls().is_some_and(|polls| polls > 0)
        && task.wakers().is_some_and(|(clones, drops)| clones <= drops)
}

fn push<T>(steps: &mut VecDeque<T>, step: T) {
    steps.push_back(step);
    if steps.len() > SLOW_STEPS {
        steps.pop_front();
    }
}
