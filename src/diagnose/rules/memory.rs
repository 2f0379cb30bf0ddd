//! What only shows over time, and is not in the model: kept by the engine and
//! handed to the rules.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

use looptop_wire::histogram;

use crate::model::{Loss, Model, Moment, SiteKey, Task, TaskId, TaskState, TextId, total};

/// Looks are at least this far apart.
const STEP: Duration = Duration::from_millis(100);
/// Sites and gauges are remembered in steps of this.
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
    /// Gauges over time.
    pub(super) gauges: BTreeMap<TextId, VecDeque<(Moment, f64)>>,
    /// Losses over time.
    pub(super) losses: VecDeque<(Moment, Loss)>,
    /// Since when the host has starved the workers.
    pub(super) host_starved_since: Option<Moment>,
}

/// A site at one moment.
#[derive(Debug, Clone)]
pub(super) struct SiteStep {
    pub at: Moment,
    pub spawned: u64,
    pub ended: u64,
    scheduled: Vec<(usize, u64)>,
}

impl Memory {
    /// Takes note of the model as it is; passes over all tasks if it may `scan`.
    pub(crate) fn observe(&mut self, model: &Model, scan: bool) {
        let now = model.now;
        if self.looked_at.is_some_and(|at| now.since(at) < STEP) {
            return;
        }
        self.looked_at = Some(now);
        if scan {
            self.observe_wakers(model);
        }
        self.observe_host(model);
        if self
            .slowly_looked_at
            .is_some_and(|at| now.since(at) < SLOW_STEP)
        {
            return;
        }
        self.slowly_looked_at = Some(now);
        self.observe_sites(model);
        for (name, gauge) in &model.gauges {
            push(self.gauges.entry(*name).or_default(), (now, gauge.value));
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
            let polls = task.polls.unwrap_or_default();
            let earlier = self
                .without_waker
                .get(&task.id)
                .filter(|(_, then)| *then == polls);
            suspects.insert(task.id, earlier.copied().unwrap_or((now, polls)));
        }
        self.without_waker = suspects;
    }

    fn observe_host(&mut self, model: &Model) {
        let starved = super::host_starved::is_starved(model);
        self.host_starved_since = if starved {
            self.host_starved_since.or(Some(model.now))
        } else {
            None
        };
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
                spawned: site.spawned,
                ended: site.ended,
                scheduled: site.scheduled_histogram().to_vec(),
            };
            push(self.sites.entry(*key).or_default(), step);
        }
        self.sites.retain(|key, _| model.sites.contains_key(key));
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
        && task.polls.is_some_and(|polls| polls > 0)
        && task.wakers.is_some_and(|(clones, drops)| clones <= drops)
}

fn push<T>(steps: &mut VecDeque<T>, step: T) {
    steps.push_back(step);
    if steps.len() > SLOW_STEPS {
        steps.pop_front();
    }
}
