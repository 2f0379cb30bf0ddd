//! Keeps the worker maps: which thread drives which worker, now.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use looptop_wire::proto::Flavor;

use crate::ids::{RuntimeId, Tid, WorkerIndex};
use crate::probe::Sighting;
use crate::runtimes::Runtime;
use crate::sync::lock;

/// First and longest time between two attempts to see every worker.
const FIRST_SCOUTS_NS: u64 = 20_000_000;
const LAST_SCOUTS_NS: u64 = 5_000_000_000;

/// Threads that ever drove a worker, at most: those that have ended are forgotten
/// then.
const MAX_THREADS: usize = 4_096;

#[derive(Debug, Default)]
pub(crate) struct Mapping {
    /// Of the list of runtimes that is watched.
    pub(crate) revision: u64,
    scouts: HashMap<RuntimeId, Scouts>,
}

#[derive(Debug)]
struct Scouts {
    next_ns: u64,
    wait_ns: u64,
}

impl Mapping {
    /// Draws the conclusions from what the agent's tasks saw. `chores` is true
    /// every 100 ms.
    pub(crate) fn refresh<'a>(
        &mut self,
        runtimes: impl Iterator<Item = &'a Arc<Runtime>>,
        now_ns: u64,
        chores: bool,
    ) {
        for runtime in runtimes {
            for sighting in runtime.probe.take_sightings() {
                learn(runtime, &sighting);
            }
            ask_tokio(runtime);
            if chores {
                forget_ended(runtime);
                self.send_scouts(runtime, now_ns);
            }
        }
    }

    /// While a worker's thread is unknown, sends tasks to find it out: soon at
    /// first, then ever more rarely.
    fn send_scouts(&mut self, runtime: &Runtime, now_ns: u64) {
        if runtime.flavor == Flavor::CurrentThread || lock(&runtime.map).is_complete() {
            self.scouts.remove(&runtime.id);
            return;
        }
        let scouts = self.scouts.entry(runtime.id).or_insert(Scouts {
            next_ns: 0,
            wait_ns: FIRST_SCOUTS_NS,
        });
        if now_ns < scouts.next_ns {
            return;
        }
        scouts.next_ns = now_ns + scouts.wait_ns;
        scouts.wait_ns = (scouts.wait_ns * 2).min(LAST_SCOUTS_NS);
        if let Some(handle) = runtime.handle() {
            runtime.probe.scout(&handle, runtime.workers.min(64));
        }
    }
}

/// The threads that drive workers.
#[derive(Debug, Default)]
pub(crate) struct Drivers {
    /// Now, as far as is known.
    now: HashSet<Tid>,
    /// Ever.
    ever: HashSet<Tid>,
    /// Of which runtimes.
    of: Vec<Arc<Runtime>>,
}

impl Drivers {
    pub(crate) fn refresh<'a>(&mut self, runtimes: impl Iterator<Item = &'a Arc<Runtime>>) {
        self.now.clear();
        self.of.clear();
        for runtime in runtimes {
            let map = lock(&runtime.map);
            let threads = runtime.worker_indices().filter_map(|w| map.thread(w));
            self.now.extend(threads);
            self.of.push(Arc::clone(runtime));
        }
        self.ever.extend(&self.now);
        if self.ever.len() > MAX_THREADS {
            self.ever.retain(|tid| !super::has_ended(*tid));
        }
    }

    /// Every thread that drives a worker, or ever did.
    #[cfg_attr(
        not(all(target_os = "linux", not(looptop_elsewhere))),
        allow(dead_code)
    )]
    pub(crate) fn ever(&self) -> impl Iterator<Item = &Tid> {
        self.ever.iter()
    }

    /// Whether `tid` drives a worker.
    pub(crate) fn drives(&self, tid: Tid) -> bool {
        self.now.contains(&tid)
    }

    /// Whether `tid` has driven a worker that the agent watches, and drives none
    /// now. A worker changes its thread when a poll gives it away: in
    /// `block_in_place`, where the thread may block.
    pub(crate) fn has_driven(&self, tid: Tid) -> bool {
        let is_known = |id: &str| self.of.iter().any(|r| r.identity() == Some(id));
        let drove = || crate::drivers::drove(tid, is_known);
        !self.drives(tid) && (self.ever.contains(&tid) || drove())
    }
}

fn learn(runtime: &Runtime, sighting: &Sighting) {
    let mut map = lock(&runtime.map);
    if runtime.flavor == Flavor::CurrentThread {
        let worker = WorkerIndex(0);
        let moved = map.thread(worker) != Some(sighting.tid);
        map.known(sighting.tid, worker);
        runtime.note_stack_address(sighting.stack_address, moved);
    } else if !cfg!(tokio_unstable) {
        map.sighted(sighting.tid, &sighting.awake);
    }
}

/// Tokio says which thread drives a worker, in its own ids.
#[cfg(tokio_unstable)]
fn ask_tokio(runtime: &Runtime) {
    let Some(metrics) = runtime.metrics() else {
        return;
    };
    let mut map = lock(&runtime.map);
    for worker in runtime.worker_indices() {
        let Some(thread) = metrics.worker_thread_id(worker.index()) else {
            continue;
        };
        match (crate::drivers::tid_of(thread), map.thread(worker)) {
            (Some(tid), _) => map.known(tid, worker),
            // Another thread has taken the worker over. Of one that was only concluded
            // (`super::elimination`) nothing better is known.
            (None, Some(old)) if crate::drivers::is_noted(old) => map.forget(old),
            (None, _) => {}
        }
    }
}

#[cfg(not(tokio_unstable))]
fn ask_tokio(_runtime: &Runtime) {}

fn forget_ended(runtime: &Runtime) {
    let mut map = lock(&runtime.map);
    for worker in runtime.worker_indices() {
        if let Some(tid) = map.thread(worker)
            && super::has_ended(tid)
        {
            map.forget(tid);
        }
    }
}
