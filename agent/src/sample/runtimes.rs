//! Runtimes and their workers.

use std::sync::Arc;

use looptop_wire::{intern::Interner, proto};
use tokio::runtime::RuntimeMetrics;
#[cfg(tokio_unstable)]
use tokio_metrics::RuntimeMonitor;

use crate::clock::to_ns;
use crate::ids::WorkerIndex;
use crate::runtimes::Runtime;
use crate::slot::SlotView;
use crate::stall::{StallLog, Subject};
use crate::sync::lock;

#[cfg(tokio_unstable)]
type Intervals = Box<dyn Iterator<Item = tokio_metrics::RuntimeMetrics> + Send>;

/// Follows one runtime.
pub(crate) struct RuntimeSampler {
    runtime: Arc<Runtime>,
    /// tokio-metrics' aggregate; holds a handle, so it goes with the runtime. Without the flag
    /// it has nothing that the runtime itself does not say.
    #[cfg(tokio_unstable)]
    intervals: Option<Intervals>,
    busy_ns: Vec<u64>,
    sampled_at_ns: u64,
}

/// What a sample is made from, beside tokio's own metrics.
pub(crate) struct Context<'a> {
    pub(crate) now_ns: u64,
    pub(crate) slots: &'a [SlotView],
    pub(crate) stalls: &'a StallLog,
}

impl RuntimeSampler {
    pub(crate) fn new(runtime: Arc<Runtime>, now_ns: u64) -> Self {
        #[cfg(tokio_unstable)]
        let intervals = runtime
            .handle()
            .map(|handle| -> Intervals { Box::new(RuntimeMonitor::new(&handle).intervals()) });
        let mut sampler = Self {
            #[cfg(tokio_unstable)]
            intervals,
            busy_ns: vec![0; runtime.workers],
            sampled_at_ns: now_ns,
            runtime,
        };
        if let Some(metrics) = sampler.runtime.metrics() {
            for worker in sampler.runtime.worker_indices() {
                sampler.busy(worker, &metrics, now_ns);
            }
        }
        sampler
    }

    pub(crate) fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    /// The runtime and its workers now; only its last record once it is gone.
    pub(crate) fn sample(
        &mut self,
        context: &Context<'_>,
        interner: &mut Interner,
    ) -> (proto::Runtime, Vec<proto::Worker>) {
        let mut record = proto::Runtime {
            id: self.runtime.id.0,
            name: interner.string(&self.runtime.name),
            flavor: self.runtime.flavor.into(),
            workers: self.runtime.workers as u32,
            max_blocking_threads: self.runtime.max_blocking_threads,
            gone: self.runtime.is_gone(),
            ..proto::Runtime::default()
        };
        let metrics = self.runtime.metrics().filter(|_| !record.gone);
        let Some(metrics) = metrics else {
            record.gone = true;
            #[cfg(tokio_unstable)]
            {
                self.intervals = None;
            }
            return (record, Vec::new());
        };
        let before_ns: u64 = self.busy_ns.iter().sum();
        let workers = self.runtime.worker_indices();
        let workers: Vec<_> = workers.map(|w| self.worker(w, &metrics, context)).collect();
        let busy_ns = self.busy_ns.iter().sum::<u64>().saturating_sub(before_ns);
        let wall_ns = context.now_ns.saturating_sub(self.sampled_at_ns);
        let capacity_ns = wall_ns * self.runtime.workers as u64;
        self.sampled_at_ns = context.now_ns;
        record.busy_ratio =
            (capacity_ns > 0).then(|| (busy_ns as f64 / capacity_ns as f64).min(1.0));
        self.add_aggregate(&mut record, &metrics);
        (record, workers)
    }

    fn add_aggregate(&mut self, record: &mut proto::Runtime, metrics: &RuntimeMetrics) {
        // The agent's probe is alive as long as the runtime.
        record.live_tasks = (metrics.num_alive_tasks() as u64).saturating_sub(1);
        record.global_queue = metrics.global_queue_depth() as u64;
        #[cfg(tokio_unstable)]
        if let Some(interval) = self.intervals.as_mut().and_then(Iterator::next) {
            record.spawned = Some(metrics.spawned_tasks_count());
            record.remote_schedules = Some(metrics.remote_schedule_count());
            record.forced_yields = Some(metrics.budget_forced_yield_count());
            record.blocking_threads = Some(interval.blocking_threads_count as u64);
            record.idle_blocking_threads = Some(interval.idle_blocking_threads_count as u64);
            record.blocking_queue = Some(interval.blocking_queue_depth as u64);
            record.io_ready = Some(metrics.io_driver_ready_count());
            record.mean_poll_ns = nonzero(interval.mean_poll_duration);
        }
    }

    fn worker(
        &mut self,
        worker: WorkerIndex,
        metrics: &RuntimeMetrics,
        context: &Context<'_>,
    ) -> proto::Worker {
        let tid = lock(&self.runtime.map).thread(worker);
        let slot = context
            .slots
            .iter()
            .find(|s| tid.is_some_and(|t| t.0 == s.tid));
        let poll = slot.filter(|s| s.polling());
        let subject = Subject::Worker(self.runtime.id, worker);
        let parked = metrics.worker_park_unpark_count(worker.index()) % 2 == 1;
        let unmapped = tid.is_none() && !parked && self.runtime.are_unmapped_stalled();
        let state = if unmapped || context.stalls.live_of(subject).is_some() {
            proto::WorkerState::Stalled
        } else if poll.is_some() {
            proto::WorkerState::Polling
        } else if parked {
            proto::WorkerState::Parked
        } else if self.runtime.is_driven() {
            proto::WorkerState::Active
        } else {
            proto::WorkerState::Unknown
        };
        let mut record = proto::Worker {
            runtime: self.runtime.id.0,
            index: worker.0,
            state: state.into(),
            tid: tid.map(|t| t.0),
            task: poll.map(|s| s.task).filter(|t| *t != 0),
            poll_started_at_ns: poll.map(|s| to_ns(s.started)),
            busy_ns: self.busy(worker, metrics, context.now_ns),
            parks: metrics.worker_park_count(worker.index()),
            ..proto::Worker::default()
        };
        add_unstable(&mut record, worker, metrics);
        record
    }

    /// Busy time with what the worker has not published yet. It never falls:
    /// what runs since a wake may later turn out to have been shorter.
    fn busy(&mut self, worker: WorkerIndex, metrics: &RuntimeMetrics, now_ns: u64) -> u64 {
        let published = metrics.worker_total_busy_duration(worker.index());
        let since_ns = self
            .runtime
            .running_since_ns(worker)
            .filter(|_| self.runtime.is_driven());
        let running_ns = since_ns.map_or(0, |since| now_ns.saturating_sub(since));
        let total_ns = published.as_nanos() as u64 + running_ns;
        let Some(busy_ns) = self.busy_ns.get_mut(worker.index()) else {
            return total_ns;
        };
        *busy_ns = total_ns.max(*busy_ns);
        *busy_ns
    }
}

#[cfg(tokio_unstable)]
fn add_unstable(record: &mut proto::Worker, worker: WorkerIndex, metrics: &RuntimeMetrics) {
    let index = worker.index();
    record.polls = Some(metrics.worker_poll_count(index));
    record.steals = Some(metrics.worker_steal_count(index));
    record.local_queue = Some(metrics.worker_local_queue_depth(index) as u64);
    record.noops = Some(metrics.worker_noop_count(index));
    record.overflows = Some(metrics.worker_overflow_count(index));
    record.mean_poll_ns = nonzero(metrics.worker_mean_poll_time(index));
}

#[cfg(not(tokio_unstable))]
fn add_unstable(_record: &mut proto::Worker, _worker: WorkerIndex, _metrics: &RuntimeMetrics) {}

/// tokio says 0 where it has measured nothing.
#[cfg(tokio_unstable)]
fn nonzero(duration: std::time::Duration) -> Option<u64> {
    Some(duration.as_nanos() as u64).filter(|ns| *ns > 0)
}
