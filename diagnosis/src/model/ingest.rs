//! Frames become the model.

use std::time::Duration;

use looptop_wire::{
    columns::{self, Row},
    proto::{self, Frame},
};

use super::{
    Capability, Coverage, EndedCells, Flavor, Gauge, Host, Merge, Model, Moment, RuntimeFound,
    RuntimeId, Series, SiteKey, TextId, Thread, Tid, Worker, WorkerId, WorkerState, stall,
    worker::{Process, Runtime, Wait},
};

/// What a frame held that no agent sends. The rest of the frame was taken in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// A column of the wrong length.
    #[error("the target sent a malformed frame: {0}")]
    Columns(columns::Malformed),
    /// Ids out of bounds.
    #[error("the target sent {0} strings or locations with ids out of bounds")]
    Ids(usize),
}

/// Bounds for what a peer may name; far above any real program.
const MAX_RUNTIMES: u32 = 256;
const MAX_WORKERS: usize = 4_096;
const MAX_THREADS: usize = 65_536;
const MAX_SITES: usize = 65_536;
const MAX_GAUGES: usize = 1_024;
const MAX_MODULES: usize = 4_096;
const MAX_BUILD_ID: usize = 64;
const MAX_ENDED_CELLS: usize = 4_096;
const MAX_SHUTDOWN_WAITS: usize = 64;

/// Rows of tasks that are taken in at a time: as many as a core can wait for.
const TOGETHER: usize = 32;

impl Model {
    /// Takes in a frame. An error names what was malformed and left out; the
    /// model is consistent either way.
    pub fn apply(&mut self, frame: &Frame) -> Result<(), Rejected> {
        let stamped = Moment(frame.now_ns);
        // A sample of the host says nothing of tasks: one that was in a poll at
        // the target's last word may have left it since, so nobody ages by it.
        let now = if self.is_host_sample(frame) {
            self.now
        } else {
            stamped.max(self.now)
        };
        let sampled = stamped.max(now);
        self.now = now;
        self.since.get_or_insert(now);
        let stray = self.apply_texts(frame);
        for module in &frame.modules {
            if self.modules.len() < MAX_MODULES && module.build_id.len() <= MAX_BUILD_ID {
                self.modules.insert(module.id, module.clone());
            }
        }
        self.apply_runtimes(frame, now);
        for worker in &frame.workers {
            self.apply_worker(worker, now);
        }
        self.apply_threads(frame, sampled);
        self.apply_process(frame, sampled);
        for samples in &frame.lag {
            self.apply_lag(samples, now);
        }
        let columns = self.apply_tasks(frame, now);
        self.apply_sites(frame, now);
        self.waits.apply(frame);
        for resource in &frame.resources {
            self.resources.update(resource);
        }
        for op in &frame.async_ops {
            self.resources.update_op(op);
        }
        for stall in &frame.stalls {
            self.stalls.update(stall);
        }
        self.apply_gauges(frame, now);
        self.apply_ended_cells(frame);
        if let Some(loss) = frame.loss {
            // Of an agent's frames only those that come from console-subscriber
            // beside it say what that has dropped.
            let console_events = loss.console_events.max(self.loss.console_events);
            self.loss = proto::Loss {
                console_events,
                ..loss
            };
        }
        if let Some(coverage) = &frame.coverage {
            self.coverage = Some(Coverage::new(coverage));
        }
        match &frame.outside {
            // Beside an agent: it shows all of it itself from now on.
            Some(outside) if self.has_agent() && outside.listings == 0 && outside.looks == 0 => {
                self.outside = None;
            }
            Some(outside) => self
                .outside
                .get_or_insert_default()
                .update(outside, sampled),
            None => {}
        }
        if !self.workers.is_empty() && self.has_agent() {
            let found = self.outside.is_some() && {
                let mut workers = self.workers.keys();
                workers.all(|worker| self.is_found(worker.runtime))
            };
            self.session.sees_workers(found);
        }
        self.complete |= frame.snapshot_complete;
        self.name(&frame.names);
        match &frame.history {
            // A keyframe is state: what follows from it is in it.
            Some(history) => self.restore_history(history),
            // Names come between two samples of the target, and are none.
            None if frame.more || !frame.names.is_empty() => {}
            None => {
                self.derive_stalls();
                self.mark_stalled_workers();
            }
        }
        match (columns, stray) {
            (Err(malformed), _) => Err(Rejected::Columns(malformed)),
            (_, 0) => Ok(()),
            (_, n) => Err(Rejected::Ids(n)),
        }
    }

    /// The viewer took it beside a target that watches no stalls itself.
    fn is_host_sample(&self, frame: &Frame) -> bool {
        let sample = frame.process.is_some() || frame.host.is_some() || !frame.threads.is_empty();
        let word = frame.tasks.is_some() || frame.loss.is_some() || !frame.workers.is_empty();
        sample && !word && self.since.is_some() && !self.session.has(Capability::Stalls)
    }

    fn apply_texts(&mut self, frame: &Frame) -> usize {
        let strings = frame
            .strings
            .iter()
            .filter(|s| !self.texts.insert(s.id, s.text.clone()))
            .count();
        let locations = frame
            .locations
            .iter()
            .filter(|l| !self.texts.insert_location(l.id, l.file, l.line, l.column))
            .count();
        strings + locations
    }

    fn apply_runtimes(&mut self, frame: &Frame, now: Moment) {
        for update in frame.runtimes.iter().filter(|r| r.id < MAX_RUNTIMES) {
            let id = RuntimeId(update.id);
            let index = self
                .runtimes
                .iter()
                .position(|r| r.id == id)
                .unwrap_or_else(|| {
                    self.runtimes.push(Runtime::new(id));
                    self.runtimes.len() - 1
                });
            self.runtimes[index].update(update, now);
        }
    }

    fn apply_worker(&mut self, update: &proto::Worker, now: Moment) {
        let id = WorkerId {
            runtime: RuntimeId(update.runtime),
            index: update.index,
        };
        if self.workers.len() >= MAX_WORKERS && !self.workers.contains_key(&id) {
            return;
        }
        self.workers
            .entry(id)
            .or_insert_with(|| Worker::new(id))
            .update(update, now);
    }

    fn apply_threads(&mut self, frame: &Frame, now: Moment) {
        for update in &frame.threads {
            let tid = Tid(update.tid);
            if update.gone {
                self.threads.remove(&tid);
            } else if self.threads.len() < MAX_THREADS || self.threads.contains_key(&tid) {
                self.threads
                    .entry(tid)
                    .or_insert_with(|| Thread::new(tid))
                    .update(update, now);
            }
        }
    }

    fn apply_process(&mut self, frame: &Frame, now: Moment) {
        if let Some(update) = &frame.process {
            self.process.get_or_insert_default().update(update, now);
        }
        if let Some(update) = &frame.host {
            let host = self.host.get_or_insert_with(|| Host::new(update));
            host.update(update, now);
        }
    }

    fn apply_lag(&mut self, samples: &proto::LagSamples, now: Moment) {
        if samples.runtime >= MAX_RUNTIMES {
            return;
        }
        let lag = self.lag.entry(RuntimeId(samples.runtime)).or_default();
        for (at, ns) in samples.at_ns.iter().zip(&samples.lag_ns) {
            lag.push(Moment(*at).min(now), Duration::from_nanos(*ns));
        }
        lag.pending_since = samples.pending_since_ns.map(Moment);
    }

    fn apply_tasks(&mut self, frame: &Frame, now: Moment) -> Result<(), columns::Malformed> {
        for id in &frame.forgotten_tasks {
            self.tasks.remove(super::TaskId(*id));
            self.waits.forget(super::TaskId(*id));
        }
        let Some(columns) = &frame.tasks else {
            return Ok(());
        };
        for capability in &columns.capabilities {
            self.session.learn(capability);
        }
        columns::check(columns)?;
        self.futures.learn(&self.texts, &columns.future);
        let mut rows = Row::all(columns);
        for ids in columns.id.chunks(TOGETHER) {
            self.tasks.read_ahead(ids);
            for row in rows.by_ref().take(ids.len()) {
                self.tasks.update(&row, now);
                if Self::has_gone_on(row.state()) {
                    self.waits.forget(super::TaskId(row.id()));
                }
            }
        }
        Ok(())
    }

    fn apply_sites(&mut self, frame: &Frame, now: Moment) {
        for update in &frame.sites {
            let key = SiteKey::new(update.location, update.future, update.kind());
            if update.spawned == 0 {
                // Its tasks turned out to be another site's.
                self.sites.remove(&key);
            } else if self.sites.len() < MAX_SITES || self.sites.contains_key(&key) {
                self.sites.entry(key).or_default().update(update);
            }
        }
        for site in self.sites.values_mut() {
            site.tick(now);
        }
    }

    fn apply_ended_cells(&mut self, frame: &Frame) {
        for update in &frame.ended_cells {
            let Some(poll) = update.poll else { continue };
            let key = (poll.module, poll.offset, update.location);
            if update.count == 0 {
                self.ended_cells.remove(&key);
            } else if self.ended_cells.len() < MAX_ENDED_CELLS
                || self.ended_cells.contains_key(&key)
            {
                let earlier = self.ended_cells.get(&key);
                let cells = EndedCells::new(update, poll, earlier);
                self.ended_cells.insert(key, cells);
            }
        }
    }

    fn apply_gauges(&mut self, frame: &Frame, now: Moment) {
        for update in &frame.gauges {
            let name = TextId(update.name);
            if self.gauges.len() >= MAX_GAUGES && !self.gauges.contains_key(&name) {
                continue;
            }
            let gauge = self.gauges.entry(name).or_insert_with(|| Gauge {
                value: 0.0,
                series: Series::new(Merge::Max),
            });
            gauge.value = update.value;
            gauge.series.push(now, update.value);
        }
    }

    /// A worker with a stall in progress is shown as stalled even where the
    /// sampler last saw it otherwise, and its strip remembers the stall.
    fn mark_stalled_workers(&mut self) {
        let now = self.now;
        if self.session.core_dump {
            // Of a poll in which one was at one moment nobody knows how long it has lasted.
            for worker in self.workers.values_mut() {
                worker.poll_started = None;
            }
            return;
        }
        for worker in self.workers.values_mut() {
            let stall = self.stalls.on_worker(worker.id);
            if let Some(stall) = stall {
                worker.state = WorkerState::Stalled;
                worker.task = worker.task.or(stall.task);
                worker.poll_started.get_or_insert(stall.started);
                worker.stall_series.push(stall.started, 1.0);
            }
            worker
                .stall_series
                .push(now, f64::from(u8::from(stall.is_some())));
        }
        for stall in self
            .stalls
            .ended()
            .take_while(|s| now.since(s.end(now)) < super::COARSE_STEP)
        {
            if let Some(worker) = stall.worker.and_then(|id| self.workers.get_mut(&id)) {
                worker.stall_series.push(stall.started, 1.0);
                worker.stall_series.push(stall.end(now).min(now), 1.0);
            }
        }
    }
}

fn ns(n: Option<u64>) -> Option<Duration> {
    n.map(Duration::from_nanos)
}

fn text(id: u32) -> Option<TextId> {
    (id != 0).then_some(TextId(id))
}

/// The threads that a shutdown waits for; the names of stacks that were there
/// before stay.
fn waits(stacks: &[proto::StackSample], earlier: &[Wait]) -> Vec<Wait> {
    let wait = |stack: &proto::StackSample| {
        let stack = stall::bounded(stack);
        let before = earlier.iter().find(|e| e.stack.frames == stack.frames);
        Wait {
            resolved: before.and_then(|e| e.resolved.clone()),
            stack,
        }
    };
    stacks.iter().take(MAX_SHUTDOWN_WAITS).map(wait).collect()
}

impl Runtime {
    fn new(id: RuntimeId) -> Self {
        Self {
            id,
            name: None,
            flavor: Flavor::Unknown,
            workers: 0,
            live_tasks: 0,
            listed_tasks: None,
            torn: false,
            found_by: RuntimeFound::Unknown,
            global_queue: 0,
            spawned: None,
            blocking_threads: None,
            idle_blocking_threads: None,
            blocking_queue: None,
            max_blocking_threads: None,
            forced_yields: None,
            busy_ratio: None,
            gone: false,
            shutdown_began: None,
            shutdown_waits: Vec::new(),
            queue_series: Series::new(Merge::Max),
            blocking_queue_series: Series::new(Merge::Max),
        }
    }

    fn update(&mut self, update: &proto::Runtime, now: Moment) {
        self.name = text(update.name);
        self.flavor = update.flavor();
        self.workers = update.workers;
        self.live_tasks = update.live_tasks;
        self.listed_tasks = update.listed_tasks;
        self.torn = update.torn;
        self.found_by = update.found_by();
        self.global_queue = update.global_queue;
        self.spawned = update.spawned;
        self.blocking_threads = update.blocking_threads;
        self.idle_blocking_threads = update.idle_blocking_threads;
        self.blocking_queue = update.blocking_queue;
        self.max_blocking_threads = update.max_blocking_threads;
        self.forced_yields = update.forced_yields;
        self.busy_ratio = update.busy_ratio;
        self.gone = update.gone;
        self.shutdown_began = update.shutdown_began_at_ns.map(Moment);
        self.shutdown_waits = waits(&update.shutdown_waits, &self.shutdown_waits);
        self.queue_series.push(now, update.global_queue as f64);
        if let Some(queue) = update.blocking_queue {
            self.blocking_queue_series.push(now, queue as f64);
        }
    }
}

impl Worker {
    fn update(&mut self, update: &proto::Worker, now: Moment) {
        self.state = update.state();
        self.tid = update.tid.map(Tid);
        self.task = update.task.map(super::TaskId);
        self.poll_started = update.poll_started_at_ns.map(Moment);
        self.busy = Duration::from_nanos(update.busy_ns);
        self.parks = update.parks;
        self.polls = update.polls;
        self.steals = update.steals;
        self.local_queue = update.local_queue;
        self.mean_poll = ns(update.mean_poll_ns);
        self.busy_rate.push(now, update.busy_ns);
        if let Some(polls) = update.polls {
            self.poll_rate.push(now, polls);
        }
        if let Some(busy) = self.busy_rate.newest() {
            self.busy_series.push(now, (busy / 1e9).clamp(0.0, 1.0));
        }
    }
}

impl Thread {
    fn update(&mut self, update: &proto::Thread, now: Moment) {
        self.name = text(update.name);
        self.state = update.state();
        self.role = update.role();
        self.user = Duration::from_nanos(update.user_ns);
        self.system = Duration::from_nanos(update.system_ns);
        self.run_queue = ns(update.run_queue_ns);
        self.voluntary_switches = update.voluntary_switches;
        self.involuntary_switches = update.involuntary_switches;
        self.cpu_rate
            .push(now, update.user_ns.saturating_add(update.system_ns));
        self.system_rate.push(now, update.system_ns);
        if let Some(waited) = update.run_queue_ns {
            self.run_queue_rate.push(now, waited);
        }
        if let Some(cpu) = self.cpu_rate.newest() {
            self.cpu_series.push(now, (cpu / 1e9).clamp(0.0, 1.0));
        }
    }
}

impl Process {
    fn update(&mut self, update: &proto::Process, now: Moment) {
        self.cpu = Duration::from_nanos(update.cpu_ns);
        self.resident = update.resident_bytes;
        self.virtual_bytes = update.virtual_bytes;
        self.open_files = update.open_files;
        self.thread_count = update.thread_count;
        self.agent_cpu = Duration::from_nanos(update.agent_cpu_ns);
        self.throttled = ns(update.throttled_ns);
        self.cpu_rate.push(now, update.cpu_ns);
        self.agent_rate.push(now, update.agent_cpu_ns);
        if let Some(throttled) = update.throttled_ns {
            self.throttled_rate.push(now, throttled);
        }
        if let Some(cpu) = self.cpu_rate.newest() {
            self.cpu_series.push(now, cpu / 1e9);
        }
        self.open_file_limit = update.open_file_limit;
        self.heap = update.heap_bytes;
        self.started_resident = update.started_resident_bytes;
        self.started_heap = update.started_heap_bytes;
        self.started_open_files = update.started_open_files;
        self.memory_series.push(now, update.resident_bytes as f64);
        if let Some(heap) = update.heap_bytes {
            self.heap_series.push(now, heap as f64);
        }
        if let Some(files) = update.open_files {
            self.open_files_series.push(now, files as f64);
        }
    }
}

impl Host {
    fn new(update: &proto::Host) -> Self {
        Self {
            cpus: update.cpus,
            cpu_ratio: 0.0,
            total_memory: 0,
            available_memory: 0,
            load: 0.0,
            cpu_series: Series::new(Merge::Mean),
        }
    }

    fn update(&mut self, update: &proto::Host, now: Moment) {
        self.cpus = update.cpus;
        self.cpu_ratio = update.cpu_ratio.clamp(0.0, 1.0);
        self.total_memory = update.total_memory_bytes;
        self.available_memory = update.available_memory_bytes;
        self.load = update.load_1m;
        self.cpu_series.push(now, self.cpu_ratio);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::model::{StallId, fixtures};

    #[test]
    fn a_stall_colours_its_worker() {
        let mut model = fixtures::starving();
        let worker = *model.workers.keys().next_back().unwrap();
        assert_eq!(model.workers[&worker].state, WorkerState::Stalled);
        assert_eq!(model.stalled_workers(), 1);
        let now = model.now.plus(Duration::from_millis(100));
        let mut frame = fixtures::frame(now);
        frame.stalls = vec![proto::Stall {
            id: 1,
            state: proto::StallState::Ended.into(),
            ..proto::Stall::default()
        }];
        model.apply(&frame).unwrap();
        assert!(!model.stalls.get(StallId(1)).unwrap().live);
    }

    #[test]
    fn a_site_whose_tasks_turned_out_to_be_another_s_is_gone() {
        let mut model = fixtures::starving();
        let known = model.sites.len();
        for (spawned, expected) in [(3, known + 1), (2, known + 1), (0, known)] {
            let site = proto::SpawnSite {
                location: 7_777,
                spawned,
                ..proto::SpawnSite::default()
            };
            let frame = Frame {
                now_ns: model.now.0 + 1,
                sites: vec![site],
                ..Frame::default()
            };
            model.apply(&frame).unwrap();
            assert_eq!(model.sites.len(), expected, "{spawned}");
        }
    }

    #[test]
    fn a_malformed_column_is_refused_and_the_rest_taken() {
        let mut model = fixtures::starving();
        let frame = Frame {
            now_ns: model.now.0 + 1,
            tasks: Some(proto::Tasks {
                id: vec![1, 2],
                polls: vec![1],
                ..proto::Tasks::default()
            }),
            loss: Some(proto::Loss {
                tasks: 7,
                ..proto::Loss::default()
            }),
            ..Frame::default()
        };
        assert!(matches!(model.apply(&frame), Err(Rejected::Columns(_))));
        assert_eq!(model.loss.tasks, 7);
    }

    #[test]
    fn time_never_runs_backwards() {
        let mut model = fixtures::starving();
        let now = model.now;
        model.apply(&fixtures::frame(Moment(5))).unwrap();
        assert_eq!(model.now, now);
    }

    proptest! {
        #[test]
        fn hostile_frames_never_panic(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 1..20)
        ) {
            let mut model = fixtures::starving();
            for bytes in frames {
                if let Ok(frame) = Frame::decode(bytes.as_slice()) {
                    let _ = model.apply(&frame);
                }
            }
        }
    }
}
