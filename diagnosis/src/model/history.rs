//! What earlier frames left behind beyond the newest state: series, rates, and
//! the counters of a second ago. A keyframe carries it as [`History`].

use std::collections::BTreeMap;

use looptop_wire::recorded::{self, History, RateKind, SeriesKind, SiteWindows, TaskWindows};

use super::{Model, Moment, RuntimeId, Series, SiteKey, TextId, Tid, WorkerId, worker::Rate};

/// Tasks whose windows travel in one part.
const TASKS_PER_PART: usize = 8_192;
/// Series in one part; each is some 12 KB at most.
const SERIES_PER_PART: usize = 64;

/// Whose a series or a rate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Owner {
    kind: i32,
    key: u64,
    runtime: u32,
}

impl Owner {
    fn new(kind: impl Into<i32>, key: u64) -> Self {
        Self {
            kind: kind.into(),
            key,
            runtime: 0,
        }
    }

    fn worker(kind: impl Into<i32>, id: WorkerId) -> Self {
        Self {
            kind: kind.into(),
            key: u64::from(id.index),
            runtime: id.runtime.0,
        }
    }
}

/// The history of a model, in parts.
pub(super) fn collect(model: &Model) -> Vec<History> {
    let mut parts = Vec::new();
    let mut tasks = model.tasks.iter().peekable();
    while tasks.peek().is_some() {
        let mut windows = TaskWindows::default();
        for task in tasks.by_ref().take(TASKS_PER_PART) {
            task.push_windows(model.now, &mut windows);
        }
        parts.push(History {
            tasks: Some(windows),
            ..History::default()
        });
    }
    let series = collect_series(model);
    for some in series.chunks(SERIES_PER_PART) {
        parts.push(History {
            series: some.to_vec(),
            ..History::default()
        });
    }
    let mut sites = SiteWindows::default();
    for (key, site) in &model.sites {
        site.push_windows(*key, model.now, &mut sites);
    }
    parts.push(History {
        rates: collect_rates(model),
        sites: Some(sites),
        ..History::default()
    });
    for part in &mut parts {
        part.since_ns = model.since.map(|at| at.0);
        part.stalls_ended = model.stalls.total_ended;
        part.tasks_refused = model.tasks.refused;
        part.resources_refused = model.resources.refused;
    }
    parts
}

fn collect_series(model: &Model) -> Vec<recorded::Series> {
    let mut list = Vec::new();
    let mut push = |owner: Owner, series: &Series| {
        let [fine, coarse] = series.rings();
        if coarse.count.is_empty() {
            return;
        }
        list.push(recorded::Series {
            kind: owner.kind,
            key: owner.key,
            runtime: owner.runtime,
            fine: Some(fine),
            coarse: Some(coarse),
        });
    };
    for runtime in &model.runtimes {
        let id = runtime.id.0.into();
        push(Owner::new(SeriesKind::Queue, id), &runtime.queue_series);
        push(
            Owner::new(SeriesKind::BlockingQueue, id),
            &runtime.blocking_queue_series,
        );
    }
    for (runtime, lag) in &model.lag {
        push(Owner::new(SeriesKind::Lag, runtime.0.into()), lag.series());
    }
    for worker in model.workers.values() {
        push(
            Owner::worker(SeriesKind::WorkerBusy, worker.id),
            &worker.busy_series,
        );
        push(
            Owner::worker(SeriesKind::WorkerStall, worker.id),
            &worker.stall_series,
        );
    }
    for thread in model.threads.values() {
        push(
            Owner::new(SeriesKind::ThreadCpu, thread.tid.0),
            &thread.cpu_series,
        );
    }
    if let Some(process) = &model.process {
        push(Owner::new(SeriesKind::ProcessCpu, 0), &process.cpu_series);
        push(
            Owner::new(SeriesKind::ProcessMemory, 0),
            &process.memory_series,
        );
        push(Owner::new(SeriesKind::ProcessHeap, 0), &process.heap_series);
        push(
            Owner::new(SeriesKind::ProcessFiles, 0),
            &process.open_files_series,
        );
    }
    if let Some(host) = &model.host {
        push(Owner::new(SeriesKind::HostCpu, 0), &host.cpu_series);
    }
    for (name, gauge) in &model.gauges {
        push(Owner::new(SeriesKind::Gauge, name.0.into()), &gauge.series);
    }
    list
}

fn collect_rates(model: &Model) -> Vec<recorded::Rate> {
    let mut list = Vec::new();
    let mut push = |owner: Owner, rate: &Rate| {
        let (at_ns, counter) = rate.deltas();
        if !at_ns.is_empty() {
            let Owner { kind, key, runtime } = owner;
            list.push(recorded::Rate {
                kind,
                key,
                runtime,
                at_ns,
                counter,
            });
        }
    };
    for worker in model.workers.values() {
        push(
            Owner::worker(RateKind::WorkerPolls, worker.id),
            &worker.poll_rate,
        );
        push(
            Owner::worker(RateKind::WorkerBusy, worker.id),
            &worker.busy_rate,
        );
    }
    for thread in model.threads.values() {
        let tid = thread.tid.0;
        push(Owner::new(RateKind::ThreadCpu, tid), &thread.cpu_rate);
        push(Owner::new(RateKind::ThreadSystem, tid), &thread.system_rate);
        push(
            Owner::new(RateKind::ThreadRunQueue, tid),
            &thread.run_queue_rate,
        );
    }
    if let Some(process) = &model.process {
        push(Owner::new(RateKind::ProcessCpu, 0), &process.cpu_rate);
        push(Owner::new(RateKind::ProcessAgent, 0), &process.agent_rate);
        push(
            Owner::new(RateKind::ProcessThrottled, 0),
            &process.throttled_rate,
        );
    }
    if let Some(outside) = &model.outside {
        push(Owner::new(RateKind::OutsideCpu, 0), &outside.cpu_rate);
    }
    list
}

impl Model {
    /// Takes over the history of a keyframe, whose state is already taken in.
    pub(super) fn restore_history(&mut self, history: &History) {
        self.since = history.since_ns.map(Moment).or(self.since);
        self.stalls.total_ended = history.stalls_ended;
        self.tasks.refused = history.tasks_refused;
        self.resources.refused = history.resources_refused;
        if let Some(windows) = &history.tasks {
            self.tasks.restore_windows(windows, self.now);
        }
        if let Some(windows) = &history.sites {
            self.restore_sites(windows);
        }
        for series in &history.series {
            if let (Some(ours), Some(fine), Some(coarse)) =
                (self.series_mut(series), &series.fine, &series.coarse)
            {
                ours.restore(fine, coarse);
            }
        }
        if history.rates.is_empty() {
            return;
        }
        let mut rates = BTreeMap::new();
        for rate in &history.rates {
            rates.insert(
                Owner {
                    kind: rate.kind,
                    key: rate.key,
                    runtime: rate.runtime,
                },
                rate,
            );
        }
        self.restore_rates(&rates);
    }

    fn restore_sites(&mut self, windows: &SiteWindows) {
        let kinds = windows.kind.iter().copied();
        for (i, (location, kind)) in windows.location.iter().zip(kinds).enumerate() {
            let future = windows.future.get(i).copied().unwrap_or_default();
            let key = SiteKey::new(*location, future, kind.try_into().unwrap_or_default());
            if let Some(site) = self.sites.get_mut(&key) {
                site.restore_window(windows, i, self.now);
            }
        }
    }

    fn series_mut(&mut self, recorded: &recorded::Series) -> Option<&mut Series> {
        let small = u32::try_from(recorded.key).ok();
        let runtime = |list: &'_ [super::Runtime]| list.iter().position(|r| Some(r.id.0) == small);
        let worker = WorkerId {
            runtime: RuntimeId(recorded.runtime),
            index: small.unwrap_or(u32::MAX),
        };
        Some(match recorded.kind() {
            SeriesKind::Unknown => return None,
            SeriesKind::Queue => {
                let at = runtime(&self.runtimes)?;
                &mut self.runtimes[at].queue_series
            }
            SeriesKind::BlockingQueue => {
                let at = runtime(&self.runtimes)?;
                &mut self.runtimes[at].blocking_queue_series
            }
            SeriesKind::Lag => self.lag.get_mut(&RuntimeId(small?))?.series_mut(),
            SeriesKind::WorkerBusy => &mut self.workers.get_mut(&worker)?.busy_series,
            SeriesKind::WorkerStall => &mut self.workers.get_mut(&worker)?.stall_series,
            SeriesKind::ThreadCpu => &mut self.threads.get_mut(&Tid(recorded.key))?.cpu_series,
            SeriesKind::ProcessCpu => &mut self.process.as_mut()?.cpu_series,
            SeriesKind::ProcessMemory => &mut self.process.as_mut()?.memory_series,
            SeriesKind::ProcessHeap => &mut self.process.as_mut()?.heap_series,
            SeriesKind::ProcessFiles => &mut self.process.as_mut()?.open_files_series,
            SeriesKind::HostCpu => &mut self.host.as_mut()?.cpu_series,
            SeriesKind::Gauge => &mut self.gauges.get_mut(&TextId(small?))?.series,
        })
    }

    /// A rate without a record is empty: applying the state gave it a sample.
    fn restore_rates(&mut self, rates: &BTreeMap<Owner, &recorded::Rate>) {
        let restore = |owner: Owner, ours: &mut Rate| match rates.get(&owner) {
            Some(recorded) => ours.restore(&recorded.at_ns, &recorded.counter),
            None => *ours = Rate::default(),
        };
        for worker in self.workers.values_mut() {
            restore(
                Owner::worker(RateKind::WorkerPolls, worker.id),
                &mut worker.poll_rate,
            );
            restore(
                Owner::worker(RateKind::WorkerBusy, worker.id),
                &mut worker.busy_rate,
            );
        }
        for thread in self.threads.values_mut() {
            let tid = thread.tid.0;
            restore(Owner::new(RateKind::ThreadCpu, tid), &mut thread.cpu_rate);
            restore(
                Owner::new(RateKind::ThreadSystem, tid),
                &mut thread.system_rate,
            );
            restore(
                Owner::new(RateKind::ThreadRunQueue, tid),
                &mut thread.run_queue_rate,
            );
        }
        if let Some(process) = &mut self.process {
            restore(Owner::new(RateKind::ProcessCpu, 0), &mut process.cpu_rate);
            restore(
                Owner::new(RateKind::ProcessAgent, 0),
                &mut process.agent_rate,
            );
            restore(
                Owner::new(RateKind::ProcessThrottled, 0),
                &mut process.throttled_rate,
            );
        }
        if let Some(outside) = &mut self.outside {
            restore(Owner::new(RateKind::OutsideCpu, 0), &mut outside.cpu_rate);
        }
    }
}
