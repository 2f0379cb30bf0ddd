//! Keeps the worker maps: which thread drives which worker, now.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::ThreadId;

use looptop_wire::proto::Flavor;

use crate::ids::{RuntimeId, Tid, WorkerIndex};
use crate::probe::Sighting;
use crate::runtimes::Runtime;
use crate::sync::lock;

/// First and longest time between two attempts to see every worker.
const FIRST_SCOUTS_NS: u64 = 20_000_000;
const LAST_SCOUTS_NS: u64 = 5_000_000_000;

/// Threads that tokio's ids are known for, at most.
const MAX_THREADS: usize = 4_096;

#[derive(Debug, Default)]
pub(crate) struct Mapping {
    /// Of the list of runtimes that is watched.
    pub(crate) revision: u64,
    #[cfg_attr(not(tokio_unstable), allow(dead_code))]
    threads: HashMap<ThreadId, Tid>,
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
                self.learn(runtime, &sighting);
            }
            self.ask_tokio(runtime);
            if chores {
                forget_ended(runtime);
                self.send_scouts(runtime, now_ns);
            }
        }
    }

    fn learn(&mut self, runtime: &Runtime, sighting: &Sighting) {
        if self.threads.len() > MAX_THREADS {
            self.threads.clear();
        }
        self.threads.insert(sighting.thread, sighting.tid);
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

    /// tokio says which thread drives a worker, in its own ids.
    #[cfg(tokio_unstable)]
    fn ask_tokio(&self, runtime: &Runtime) {
        let Some(metrics) = runtime.metrics() else {
            return;
        };
        let mut map = lock(&runtime.map);
        for worker in runtime.worker_indices() {
            let Some(thread) = metrics.worker_thread_id(worker.index()) else {
                continue;
            };
            match (self.threads.get(&thread), map.thread(worker)) {
                (Some(tid), _) => map.known(*tid, worker),
                (None, Some(old)) => map.forget(old),
                (None, None) => {}
            }
        }
    }

    #[cfg(not(tokio_unstable))]
    #[allow(clippy::unused_self)]
    fn ask_tokio(&self, _runtime: &Runtime) {}

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
