//! Frames: the state first, then what changed.
//!
//! One [`Publisher`] builds one delta for all viewers; ids of strings and
//! locations are valid for the whole session. [`feed`] hands the frames out.

mod cells;
pub(crate) mod feed;
mod stall;
mod table;
mod update;

use std::collections::BTreeMap;
use std::sync::Arc;

use looptop_wire::intern::Interner;
use looptop_wire::proto;

pub(crate) use self::table::Table;
pub(crate) use self::update::{OfMemory, Shows, Update};
use crate::clock::now_ns;
use crate::coverage::Coverage;
use crate::ids::RuntimeId;
use crate::probe::LagSample;
use crate::sample::{
    Context, ProcessSampler, Roles, RuntimeSampler, ShutdownSampler, ThreadSampler,
};
use crate::shared::Shared;
use crate::slot::{self, SlotView};
use crate::sync::lock;
use crate::task::collect::Collector;
use crate::{capture, gauge, waits};

/// Everything that frames are built from.
pub(crate) struct Publisher {
    shared: Arc<Shared>,
    interner: Interner,
    /// All that was ever interned, for the snapshots of later viewers.
    strings: Vec<proto::InternedString>,
    locations: Vec<proto::Location>,
    /// How much of them earlier viewers have.
    strings_sent: usize,
    locations_sent: usize,

    tasks: Collector,
    /// The table knows that somebody looks.
    watched: bool,
    samplers: BTreeMap<RuntimeId, RuntimeSampler>,
    thread_sampler: ThreadSampler,
    process_sampler: Option<ProcessSampler>,
    shutdown_sampler: ShutdownSampler,

    runtimes: Table<u32, proto::Runtime>,
    workers: Table<(u32, u32), proto::Worker>,
    threads: Table<u64, proto::Thread>,
    modules: Table<u32, proto::Module>,
    gauges: Table<u32, proto::Gauge>,
    ended_cells: cells::EndedCells,
    waits: waits::Frames,
    process: proto::Process,
    host: Option<proto::Host>,
    loss: proto::Loss,
    loss_sent: Option<proto::Loss>,
    /// What viewers know of what can be known of tasks.
    capabilities: Vec<proto::Capability>,
    coverage: Option<proto::Coverage>,
    coverage_sent: Option<proto::Coverage>,
    lag_sent: BTreeMap<RuntimeId, u64>,
    stalls_sent: u64,
    sampled_at_ns: u64,
}

impl Publisher {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            interner: Interner::default(),
            strings: Vec::new(),
            locations: Vec::new(),
            strings_sent: 0,
            locations_sent: 0,
            tasks: Collector::default(),
            watched: false,
            samplers: BTreeMap::new(),
            thread_sampler: ThreadSampler::default(),
            process_sampler: None,
            shutdown_sampler: ShutdownSampler::default(),
            runtimes: Table::default(),
            workers: Table::default(),
            threads: Table::default(),
            modules: Table::default(),
            gauges: Table::default(),
            ended_cells: cells::EndedCells::default(),
            waits: waits::Frames::default(),
            process: proto::Process::default(),
            host: None,
            loss: proto::Loss::default(),
            loss_sent: None,
            capabilities: Vec::new(),
            coverage: None,
            coverage_sent: None,
            lag_sent: BTreeMap::new(),
            stalls_sent: 0,
            sampled_at_ns: 0,
        }
    }

    /// Nobody watches any more: lets go of handles and of what only viewers
    /// need.
    pub(crate) fn rest(&mut self) {
        self.samplers.clear();
        self.process_sampler = None;
        self.thread_sampler.rest();
        if std::mem::replace(&mut self.watched, false) {
            self.tasks.set_watched(false);
        }
    }

    /// What changed since the last delta.
    pub(crate) fn delta(&mut self) -> Update {
        let now_ns = now_ns();
        self.sample(now_ns);
        let tasks = self.tasks.gather().encode(&mut self.interner);
        let stalls;
        (stalls, self.stalls_sent) = self.stalls(self.stalls_sent);
        let mut frame = proto::Frame {
            now_ns,
            runtimes: self.runtimes.take_changes(),
            workers: self.workers.take_changes(),
            threads: self.threads.take_changes(),
            process: Some(self.process),
            host: self.host,
            lag: self.lag_changes(),
            forgotten_tasks: tasks.forgotten,
            sites: tasks.sites,
            stalls,
            gauges: self.gauges.take_changes(),
            modules: self.modules.take_changes(),
            ended_cells: self.ended_cells.take_changes(),
            ..proto::Frame::default()
        };
        self.loss.strings = self.interner.refused();
        frame.loss = Some(self.loss).filter(|loss| self.loss_sent.as_ref() != Some(loss));
        self.loss_sent = Some(self.loss);
        if self.coverage != self.coverage_sent {
            frame.coverage.clone_from(&self.coverage);
            self.coverage_sent.clone_from(&self.coverage);
        }
        self.keep_interned();
        frame.strings = self.strings[self.strings_sent..].to_vec();
        frame.locations = self.locations[self.locations_sent..].to_vec();
        self.strings_sent = self.strings.len();
        self.locations_sent = self.locations.len();
        lock(&self.shared.stalls).taken(self.stalls_sent);
        let capabilities = crate::hello::changing_capabilities(&self.shared);
        let news = (capabilities != self.capabilities).then(|| capabilities.clone());
        self.capabilities = capabilities;
        let of_memory = self.waits.delta(&self.shared, now_ns, news.is_some());
        Update::new(
            frame,
            with_capabilities(tasks.tasks, news),
            of_memory,
            false,
        )
    }

    /// Everything that is known.
    pub(crate) fn snapshot(&mut self) -> Update {
        let now_ns = now_ns();
        self.sample(now_ns);
        if !std::mem::replace(&mut self.watched, true) {
            self.tasks.set_watched(true);
        }
        let tasks = self.tasks.snapshot().encode(&mut self.interner);
        let (stalls, _) = self.stalls(0);
        let frame = proto::Frame {
            now_ns,
            runtimes: self.runtimes.all(),
            workers: self.workers.all(),
            threads: self.threads.all(),
            process: Some(self.process),
            host: self.host,
            lag: self.lag_after(|_| 0),
            forgotten_tasks: tasks.forgotten,
            sites: tasks.sites,
            stalls,
            gauges: self.gauges.all(),
            modules: self.modules.all(),
            ended_cells: self.ended_cells.all(),
            loss: Some(self.loss),
            coverage: self.coverage.clone(),
            ..proto::Frame::default()
        };
        self.keep_interned();
        let frame = proto::Frame {
            strings: self.strings.clone(),
            locations: self.locations.clone(),
            ..frame
        };
        let capabilities = crate::hello::changing_capabilities(&self.shared);
        let tasks = with_capabilities(tasks.tasks, Some(capabilities));
        let of_memory = self.waits.state(&self.shared, now_ns);
        Update::new(frame, tasks, of_memory, true)
    }

    fn keep_interned(&mut self) {
        self.strings.extend(self.interner.take_strings());
        self.locations.extend(self.interner.take_locations());
    }

    /// Reads everything, unless that was done just now.
    fn sample(&mut self, now_ns: u64) {
        const FRESH_NS: u64 = 2_000_000;
        if self.sampled_at_ns != 0 && now_ns.saturating_sub(self.sampled_at_ns) < FRESH_NS {
            return;
        }
        self.sampled_at_ns = now_ns;
        self.coverage = lock(&self.shared.coverage).as_ref().map(Coverage::to_wire);
        self.sample_runtimes(now_ns);
        self.sample_threads(now_ns);
        self.sample_modules();
        self.ended_cells
            .sample(&self.shared, now_ns, &self.process, &mut self.interner);
        self.waits.sample(&self.shared, &mut self.interner);
        for (name, value) in gauge::all() {
            let name = self.interner.string(&name);
            self.gauges.set(name, proto::Gauge { name, value });
        }
        self.loss = self.shared.loss();
    }

    fn sample_runtimes(&mut self, now_ns: u64) {
        for runtime in self.shared.runtimes.all() {
            self.samplers
                .entry(runtime.id)
                .or_insert_with(|| RuntimeSampler::new(runtime, now_ns));
        }
        self.shutdown_sampler.sample(&self.shared, now_ns);
        let mut slots: Vec<SlotView> = Vec::new();
        slot::for_each(|view| slots.push(view));
        let stalls = lock(&self.shared.stalls);
        let context = Context {
            now_ns,
            slots: &slots,
            stalls: &stalls,
        };
        for sampler in self.samplers.values_mut() {
            let (mut runtime, workers) = sampler.sample(&context, &mut self.interner);
            self.shutdown_sampler.add(sampler.runtime(), &mut runtime);
            self.runtimes.set(runtime.id, runtime);
            for worker in workers {
                self.workers.set((worker.runtime, worker.index), worker);
            }
        }
    }

    fn sample_threads(&mut self, now_ns: u64) {
        let roles = self.roles();
        let records = self
            .thread_sampler
            .sample(now_ns, &roles, &mut self.interner);
        for thread in records {
            if thread.gone {
                self.threads.remove(&thread.tid, thread);
            } else {
                self.threads.set(thread.tid, thread);
            }
        }
        let started = self.shared.started;
        let sampler = self
            .process_sampler
            .get_or_insert_with(|| ProcessSampler::new(started));
        let count = self.threads.len() as u64;
        (self.process, self.host) = sampler.sample(now_ns, &roles.agent, count, &self.shared.usage);
    }

    fn roles(&self) -> Roles {
        let mut roles = Roles {
            agent: lock(&self.shared.own_threads).clone(),
            complete: true,
            workers: Vec::new(),
            strangers: Vec::new(),
        };
        if let Some(coverage) = &*lock(&self.shared.coverage) {
            roles.strangers.extend(coverage.unregistered());
        }
        for sampler in self.samplers.values() {
            let runtime = sampler.runtime();
            roles.workers.extend(runtime.entered_on());
            let map = lock(&runtime.map);
            roles.complete &= map.is_complete() || runtime.is_gone();
            roles
                .workers
                .extend(runtime.worker_indices().filter_map(|w| map.thread(w)));
        }
        roles.workers.sort_unstable();
        roles.workers.dedup();
        roles
    }

    fn sample_modules(&mut self) {
        for (index, module) in (0u32..).zip(capture::modules()) {
            let record = proto::Module {
                id: index + 1,
                path: self.interner.string(&module.path.to_string_lossy()),
                build_id: module.build_id,
                base: module.base,
            };
            self.modules.set(record.id, record);
        }
    }

    /// What changed after a revision, and up to which one: both of one moment, or
    /// the end of a stall in between would never be sent.
    fn stalls(&mut self, after_revision: u64) -> (Vec<proto::Stall>, u64) {
        let mut log = lock(&self.shared.stalls);
        log.sent();
        let stalls = log
            .changed_after(after_revision)
            .map(|stall| stall::to_wire(stall, &mut self.interner))
            .collect();
        (stalls, log.revision())
    }

    fn lag_changes(&mut self) -> Vec<proto::LagSamples> {
        let newest: BTreeMap<RuntimeId, u64> = self
            .shared
            .runtimes
            .all()
            .iter()
            .map(|r| (r.id, r.probe.last_sequence()))
            .collect();
        let sent = std::mem::replace(&mut self.lag_sent, newest);
        self.lag_after(|id| sent.get(&id).copied().unwrap_or(0))
    }

    /// The lag of all runtimes; with a pending probe even if nothing is new.
    fn lag_after(&self, sent: impl Fn(RuntimeId) -> u64) -> Vec<proto::LagSamples> {
        let runtimes = self.shared.runtimes.all();
        let records = runtimes.iter().filter(|r| !r.is_gone()).map(|runtime| {
            let mut samples: Vec<LagSample> = runtime.probe.samples_after(sent(runtime.id));
            // One that came in meanwhile is the next frame's.
            if let Some(newest) = self.lag_sent.get(&runtime.id) {
                samples.retain(|s| s.sequence <= *newest);
            }
            proto::LagSamples {
                runtime: runtime.id.0,
                at_ns: samples.iter().map(|s| s.due_ns).collect(),
                lag_ns: samples.iter().map(|s| s.lag_ns).collect(),
                pending_since_ns: runtime.probe.pending_since_ns(),
            }
        });
        let says_something =
            |l: &proto::LagSamples| !l.at_ns.is_empty() || l.pending_since_ns.is_some();
        records.filter(says_something).collect()
    }
}

/// The first message of tasks says what can be known of them, where that is news.
fn with_capabilities(
    mut tasks: Vec<proto::Tasks>,
    news: Option<Vec<proto::Capability>>,
) -> Vec<proto::Tasks> {
    if let Some(news) = news {
        if tasks.is_empty() {
            tasks.push(proto::Tasks::default());
        }
        tasks[0].capabilities = news;
    }
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::ids::WorkerIndex;
    use crate::stall::{Stall, StallScope, Subject};

    fn publisher() -> Publisher {
        Publisher::new(Arc::new(Shared::new(Config::default(), Ok(()))))
    }

    fn frames(update: &Update) -> Vec<proto::Frame> {
        let shows = Shows {
            permission: crate::access::Permission::Names,
            memory: false,
        };
        update.frames(shows).collect()
    }

    #[test]
    fn a_later_snapshot_knows_what_earlier_deltas_said() {
        let mut publisher = publisher();
        gauge::gauge("publish test", 1.0);
        publisher.snapshot();
        publisher.delta();
        let snapshot = frames(&publisher.snapshot());
        let last = snapshot.last().expect("at least one part");
        assert!(last.snapshot_complete);
        let text = |s: &proto::InternedString| s.text == "publish test";
        let strings = || snapshot.iter().flat_map(|f| &f.strings);
        assert!(strings().any(text));
    }

    #[test]
    fn a_delta_holds_changes_only() {
        let mut publisher = publisher();
        publisher.delta();
        let subject = Subject::Worker(RuntimeId(0), WorkerIndex(0));
        let id = {
            let mut log = lock(&publisher.shared.stalls);
            log.begin(Stall::new(subject, StallScope::OnePoll, 1))
        };
        let stalls = |frames: Vec<proto::Frame>| -> Vec<proto::Stall> {
            frames.into_iter().flat_map(|f| f.stalls).collect()
        };
        assert_eq!(stalls(frames(&publisher.delta())).len(), 1);
        assert!(stalls(frames(&publisher.delta())).is_empty());
        lock(&publisher.shared.stalls).end(id, 20);
        let ended = stalls(frames(&publisher.delta()));
        assert_eq!(ended[0].state(), proto::StallState::Ended);
        assert_eq!(stalls(frames(&publisher.snapshot())).len(), 1);
    }

    #[test]
    fn no_end_of_a_stall_falls_between_two_deltas() {
        const STALLS: u64 = 20_000;
        let mut publisher = publisher();
        let shared = Arc::clone(&publisher.shared);
        let watchdog = std::thread::spawn(move || {
            let subject = Subject::Worker(RuntimeId(0), WorkerIndex(0));
            for _ in 0..STALLS {
                let stall = Stall::new(subject, StallScope::OnePoll, 1);
                let id = lock(&shared.stalls).begin(stall);
                lock(&shared.stalls).end(id, 20);
            }
        });
        let mut live = std::collections::BTreeSet::new();
        loop {
            let over = watchdog.is_finished();
            for stall in frames(&publisher.delta())
                .into_iter()
                .flat_map(|f| f.stalls)
            {
                match stall.state() {
                    proto::StallState::Live => live.insert(stall.id),
                    _ => live.remove(&stall.id),
                };
            }
            if over {
                break;
            }
        }
        assert!(live.is_empty(), "sent as live for ever: {live:?}");
    }

    #[test]
    fn strings_travel_with_or_before_their_first_use() {
        let mut publisher = publisher();
        let mut known = std::collections::HashSet::new();
        for n in 0..3 {
            gauge::gauge(&format!("travelling {n}"), f64::from(n));
            for frame in frames(&publisher.delta()) {
                known.extend(frame.strings.iter().map(|s| s.id));
                for gauge in &frame.gauges {
                    assert!(gauge.name == 0 || known.contains(&gauge.name));
                }
            }
            publisher.sampled_at_ns = 0;
        }
    }
}
