//! The runtimes that the agent watches.
//!
//! The agent holds a strong handle of each (tokio's metrics need one), and lets
//! go as soon as the runtime drops the agent's probe: a late handle would keep
//! the runtime's drivers open.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use looptop_wire::proto;
use tokio::runtime::{Handle, RuntimeFlavor, RuntimeMetrics};

use crate::ids::{RuntimeId, Tid, WorkerIndex};
use crate::probe::Probe;
use crate::sync::lock;
use crate::worker_map::WorkerMap;

/// No more runtimes than this are watched; a program that makes one for each
/// test or request must not make the agent grow.
pub(crate) const MAX_RUNTIMES: usize = 64;

/// A worker's thread has started after this, ns.
const START_NS: u64 = 100_000_000;

/// What tokio says of a runtime's handle since 1.49 (its id) and 1.51 (its name).
/// Where the handle has these methods itself they come first; of an older tokio
/// nothing is known.
#[allow(dead_code, reason = "of an older tokio")]
trait Older {
    fn id(&self) -> &'static str;
    fn name(&self) -> Option<&str>;
}

impl Older for Handle {
    fn id(&self) -> &'static str {
        ""
    }

    fn name(&self) -> Option<&str> {
        None
    }
}

/// What distinguishes a runtime from all others of the process; `None` where tokio does
/// not say.
pub(crate) fn identity(handle: &Handle) -> Option<String> {
    Some(handle.id().to_string()).filter(|id| !id.is_empty())
}

/// The name for a runtime that its application gave none to the agent: tokio's own
/// of it, or that of the calling thread where somebody chose one.
pub(crate) fn given_name(handle: &Handle) -> Option<String> {
    let thread = std::thread::current();
    let of_thread = thread.name().filter(|name| !DEFAULT_NAMES.contains(name));
    handle.name().or(of_thread).map(str::to_owned)
}

/// Names of threads that nobody chose.
const DEFAULT_NAMES: [&str; 3] = ["main", "tokio-rt-worker", "tokio-runtime-worker"];

/// What an application says of a runtime when it registers it.
#[derive(Clone, Debug)]
pub(crate) struct Registration {
    pub(crate) name: String,
    pub(crate) handle: Handle,
    pub(crate) max_blocking_threads: Option<u64>,
    /// Address of a local variable of the function that was called from within
    /// this runtime, if it was.
    pub(crate) inside: Option<u64>,
}

/// One registered runtime.
#[derive(Debug)]
pub(crate) struct Runtime {
    pub(crate) id: RuntimeId,
    /// tokio's own, see [`identity`].
    identity: Option<String>,
    pub(crate) name: String,
    pub(crate) flavor: proto::Flavor,
    pub(crate) workers: usize,
    pub(crate) max_blocking_threads: Option<u64>,
    pub(crate) probe: Arc<Probe>,
    pub(crate) map: Mutex<WorkerMap>,
    /// Since when each worker runs without having published its counters, ns
    /// plus 1; 0 while it is parked. Written by the watchdog.
    running_since: Vec<AtomicU64>,
    /// The thread that registered it from within, as a rule the one in
    /// `block_on`: a `current_thread` runtime is then driven, even if it has
    /// never parked yet.
    entered_on: Option<Tid>,
    registered_ns: u64,
    /// The shallowest address that is known to lie inside `block_on` on the
    /// stack of a `current_thread` runtime's thread; 0: unknown.
    stack_limit: AtomicU64,
    /// Somebody drives it, as far as the agent knows.
    driven: AtomicBool,
    /// Its workers without a known thread are all stalled. Written by the watchdog.
    unmapped_stalled: AtomicBool,
    handle: Mutex<Option<Handle>>,
}

impl Runtime {
    fn new(id: RuntimeId, registration: Registration) -> Self {
        let Registration {
            name,
            handle,
            max_blocking_threads,
            inside,
        } = registration;
        let identity = identity(&handle);
        let flavor = match handle.runtime_flavor() {
            RuntimeFlavor::CurrentThread => proto::Flavor::CurrentThread,
            RuntimeFlavor::MultiThread => proto::Flavor::MultiThread,
            _ => proto::Flavor::Unknown,
        };
        let workers = handle.metrics().num_workers();
        let entered_on = inside.and_then(|_| crate::thread_clock::current_tid());
        let mut map = WorkerMap::new(workers);
        if let (Some(tid), proto::Flavor::CurrentThread) = (entered_on, flavor) {
            map.known(tid, WorkerIndex(0));
        }
        Self {
            id,
            identity,
            name,
            flavor,
            workers,
            max_blocking_threads,
            registered_ns: crate::clock::now_ns(),
            probe: Probe::start(&handle),
            map: Mutex::new(map),
            stack_limit: AtomicU64::new(inside.unwrap_or_default()),
            driven: AtomicBool::new(true),
            unmapped_stalled: AtomicBool::new(false),
            running_since: (0..workers).map(|_| AtomicU64::new(0)).collect(),
            entered_on,
            handle: Mutex::new(Some(handle)),
        }
    }

    /// What distinguishes it from all others of the process, where tokio says so.
    pub(crate) fn identity(&self) -> Option<&str> {
        self.identity.as_deref()
    }

    /// The handle, unless the runtime was shut down.
    pub(crate) fn handle(&self) -> Option<Handle> {
        lock(&self.handle).clone()
    }

    /// The metrics, unless the runtime was shut down.
    pub(crate) fn metrics(&self) -> Option<RuntimeMetrics> {
        self.handle().map(|h| h.metrics())
    }

    /// The runtime was shut down.
    pub(crate) fn is_gone(&self) -> bool {
        self.probe.is_gone()
    }

    /// Lets go of the runtime.
    pub(crate) fn release(&self) {
        let handle = lock(&self.handle).take();
        drop(handle);
    }

    /// The thread that registered it from within.
    pub(crate) fn entered_on(&self) -> Option<Tid> {
        self.entered_on
    }

    /// `worker` is known to run, even if it has published nothing yet.
    pub(crate) fn has_started(&self, now_ns: u64) -> bool {
        match self.flavor {
            proto::Flavor::CurrentThread => self.entered_on.is_some(),
            // tokio starts all workers with the runtime, and each of them parks
            // or polls at once.
            _ => now_ns.saturating_sub(self.registered_ns) >= START_NS,
        }
    }

    /// The shallowest address that lies inside `block_on`, where known.
    pub(crate) fn stack_limit(&self) -> Option<u64> {
        Some(self.stack_limit.load(Relaxed)).filter(|a| *a != 0)
    }

    /// A task of the agent ran with its stack at `address`; `moved` says that
    /// it ran on another thread than before.
    pub(crate) fn note_stack_address(&self, address: u64, moved: bool) {
        if moved {
            self.stack_limit.store(address, Relaxed);
        } else {
            self.stack_limit.fetch_max(address, Relaxed);
        }
    }

    pub(crate) fn set_driven(&self, driven: bool) {
        self.driven.store(driven, Relaxed);
    }

    /// Somebody drives it, as far as the agent knows.
    pub(crate) fn is_driven(&self) -> bool {
        self.driven.load(Relaxed)
    }

    pub(crate) fn set_unmapped_stalled(&self, stalled: bool) {
        self.unmapped_stalled.store(stalled, Relaxed);
    }

    /// Whether all of its workers of which nobody knows the thread are stalled: each
    /// thread that may be theirs is.
    pub(crate) fn are_unmapped_stalled(&self) -> bool {
        self.unmapped_stalled.load(Relaxed)
    }

    /// Its workers.
    pub(crate) fn worker_indices(&self) -> impl Iterator<Item = WorkerIndex> + use<> {
        (0..self.workers as u32).map(WorkerIndex)
    }

    /// Since when `worker` runs without having published its counters.
    pub(crate) fn running_since_ns(&self, worker: WorkerIndex) -> Option<u64> {
        let since = self.running_since.get(worker.index())?;
        since.load(Relaxed).checked_sub(1)
    }

    pub(crate) fn set_running_since(&self, worker: WorkerIndex, since_ns: Option<u64>) {
        if let Some(since) = self.running_since.get(worker.index()) {
            since.store(since_ns.map_or(0, |ns| ns + 1), Relaxed);
        }
    }
}

/// All registered runtimes, in order.
#[derive(Debug, Default)]
pub(crate) struct Runtimes {
    list: Mutex<Vec<Arc<Runtime>>>,
    registered: AtomicU64,
}

impl Runtimes {
    /// Adds a runtime, in the place of one that was shut down where need be;
    /// `None` where [`MAX_RUNTIMES`] still run.
    pub(crate) fn register(&self, registration: Registration) -> Option<RuntimeId> {
        let mut list = lock(&self.list);
        if list.len() >= MAX_RUNTIMES {
            let gone = list.iter().position(|r| r.is_gone())?;
            list.remove(gone);
        }
        let id = RuntimeId(self.registered.fetch_add(1, Relaxed) as u32);
        list.push(Arc::new(Runtime::new(id, registration)));
        Some(id)
    }

    /// The one with this id.
    pub(crate) fn get(&self, id: RuntimeId) -> Option<Arc<Runtime>> {
        lock(&self.list).iter().find(|r| r.id == id).cloned()
    }

    /// Whether a runtime of this identity is watched.
    pub(crate) fn knows(&self, identity: &str) -> bool {
        let list = lock(&self.list);
        let mut alive = list.iter().filter(|r| !r.is_gone());
        alive.any(|r| r.identity.as_deref() == Some(identity))
    }

    /// All of them, also those that were shut down.
    pub(crate) fn all(&self) -> Vec<Arc<Runtime>> {
        lock(&self.list).clone()
    }

    /// Grows with each registration.
    pub(crate) fn revision(&self) -> u64 {
        self.registered.load(Relaxed)
    }
}
