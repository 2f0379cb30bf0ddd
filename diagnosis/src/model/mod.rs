//! What is known of the observed program, built from frames alone.
//!
//! Invariants:
//! - The model does no I/O and never asks a clock: its "now" is the moment that
//!   the agent stamped on the newest frame.
//! - The same hello and frames give the same model, live or replayed.
//! - Nothing here is unbounded: finished stalls, finished tasks and series are
//!   rings, and what a hostile peer sends is limited where it enters
//!   ([`ingest`]).
//! - Unknown is `None`, never 0.

mod activity;
mod coverage;
mod ended_cells;
mod history;
mod holder;
mod ids;
mod ingest;
mod keyframe;
mod lag;
mod names;
mod outside;
mod resource;
mod running_polls;
mod series;
mod session;
mod site;
mod source_kind;
mod stall;
mod task;
mod text;
mod waits;
mod worker;

#[cfg(any(test, feature = "fixtures"))]
pub mod fixtures;

use std::collections::BTreeMap;

pub use activity::{ACTIVITY_WINDOW, Activity, Share};
pub use coverage::{Coverage, Stranger, StrangerKind};
pub use ended_cells::EndedCells;
pub use holder::Holder;
pub use ids::{
    AsyncOpId, LocationId, Moment, ResourceId, RuntimeId, StallId, TaskId, TextId, Tid, WorkerId,
};
pub use ingest::Rejected;
pub use lag::Lag;
pub use looptop_wire::proto::{
    CapabilityKind as Capability, Cause, Certainty, Evidence, Flavor, RuntimeFound, StallScope,
    TaskKind, TaskState, ThreadRole, ThreadState, WorkerState,
};
pub use names::{StackOf, named_stack};
pub use outside::Outside;
pub use resource::{AsyncOp, Resource, Resources};
pub use series::{COARSE_STEP, FINE_STEP, Merge, Series, Span};
pub use session::{Insight, Session};
pub use site::{Site, SiteKey};
pub use source_kind::SourceKind;
pub use stall::{Culprit, Resolved, StackFrame, Stall, StallLog, brief_path, with_place};
pub use task::{Recent, Task, Tasks};
pub use text::{Location, Texts};
pub use waits::{
    AwaitKind, AwaitLink, AwaitNode, AwaitShape, AwaitsBy, Hold, HoldRole, Interest, JobState,
    ResourceKind, TaskWait, ThreadWait, WaitResource, Waits, WaitsRead, Want, WantKind,
};
pub use worker::{Gauge, Host, Loss, Process, Runtime, Thread, Wait, Worker};

/// Everything that is known of one session of the observed program.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// Who is observed, and what can be known of it.
    pub session: Session,
    /// The newest frame's moment.
    pub now: Moment,
    /// The moment of the first frame: what lies before was not observed.
    pub since: Option<Moment>,
    /// Everything that was known when the source attached has arrived.
    pub complete: bool,
    /// Interned texts and locations.
    pub texts: Texts,
    /// In the order of registration.
    pub runtimes: Vec<Runtime>,
    /// Ordered by runtime and index.
    pub workers: BTreeMap<WorkerId, Worker>,
    /// Threads of the process.
    pub threads: BTreeMap<Tid, Thread>,
    /// The process as a whole; `None` before its first sample.
    pub process: Option<Process>,
    /// The machine that it runs on.
    pub host: Option<Host>,
    /// Live tasks and the retained finished ones.
    pub tasks: Tasks,
    /// Totals for each spawn location.
    pub sites: BTreeMap<SiteKey, Site>,
    /// Locks, timers, channels, and what waits for them.
    pub resources: Resources,
    /// Where tasks and threads wait, as read in the process's memory.
    pub waits: Waits,
    /// Stalls in progress and those that ended.
    pub stalls: StallLog,
    /// Loop lag of each runtime.
    pub lag: BTreeMap<RuntimeId, Lag>,
    /// The application's own gauges, by name.
    pub gauges: BTreeMap<TextId, Gauge>,
    /// Ended tasks whose result nobody has taken, as counted in the process's
    /// memory; by module and offset of their poll function and by spawn location.
    pub ended_cells: BTreeMap<(u32, u64, u32), EndedCells>,
    /// What the agent does not watch; `None` where it has not looked, or cannot.
    pub coverage: Option<Coverage>,
    /// What the view from outside has done; `None` where there is none.
    pub outside: Option<Outside>,
    /// What the agent had to drop.
    pub loss: Loss,
    futures: outside::Futures,
    modules: BTreeMap<u32, looptop_wire::proto::Module>,
    stack_names: names::StackNames,
}

impl Model {
    /// A model of the session that `hello` opens.
    pub fn new(hello: &looptop_wire::proto::HelloResponse) -> Self {
        Self {
            session: Session::new(hello),
            ..Self::default()
        }
    }

    /// The same of a model that holds no task that has ended: for many processes at once,
    /// each of which may send thousands of them.
    pub fn without_ended(hello: &looptop_wire::proto::HelloResponse) -> Self {
        let mut model = Self::new(hello);
        model.tasks.without_ended = true;
        model
    }

    /// The text behind an id; empty where there is none.
    pub fn text(&self, id: Option<TextId>) -> &str {
        id.map_or("", |id| self.texts.get(id))
    }

    /// What a runtime is called: by its name, with a number where another has the
    /// same; by its place in the order of registration where it has none; "other" where
    /// nobody registered it with an agent that has others.
    pub fn runtime_name(&self, id: RuntimeId) -> String {
        let named = |r: &&Runtime| match self.text(r.name) {
            "" if r.is_found() && self.has_agent() => "other",
            name => name,
        };
        let name = self
            .runtimes
            .iter()
            .find(|r| r.id == id)
            .as_ref()
            .map(named);
        if name.is_none() && self.outside.is_some() {
            // A thread drives one of several runtimes, and which is not known.
            return "?".to_owned();
        }
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return id.to_string();
        };
        let alike = self.runtimes.iter().filter(|r| named(r) == name);
        let mut ids: Vec<RuntimeId> = alike.map(|r| r.id).collect();
        ids.sort_unstable();
        match ids.iter().position(|other| *other == id) {
            Some(before) if ids.len() > 1 => format!("{name}#{}", before + 1),
            _ => name.to_owned(),
        }
    }

    /// There are several runtimes with workers. From outside the list of a `LocalSet`
    /// looks like one, which has none.
    pub fn has_several_runtimes(&self) -> bool {
        let has_workers = |r: &&Runtime| !(r.is_found() && r.flavor == Flavor::Local);
        self.runtimes.iter().filter(has_workers).nth(1).is_some()
    }

    /// "worker 3", or "worker 3 of runtime io" where there are several runtimes.
    pub fn worker_words(&self, id: WorkerId) -> String {
        let known = self.runtimes.iter().any(|r| r.id == id.runtime);
        if !self.has_several_runtimes() || (self.outside.is_some() && !known) {
            return format!("worker {}", id.index);
        }
        let runtime = self.runtime_name(id.runtime);
        format!("worker {} of runtime {runtime}", id.index)
    }

    /// The name given to a task, otherwise the function that it runs, where tokio says
    /// that (of blocking tasks), otherwise its future's, in short, otherwise the function
    /// that all tasks spawned at its location run, as far as stacks have named it.
    pub fn task_name(&self, task: &Task) -> Option<&str> {
        match self.text(task.name) {
            "" => task::function(self.text(task.fields))
                .or_else(|| self.future_name(task.future))
                .or_else(|| self.stalls.future_of(task.location?)),
            name => Some(name),
        }
    }

    /// The source location behind an id.
    pub fn location(&self, id: Option<LocationId>) -> Option<Location<'_>> {
        self.texts.location(id?)
    }

    /// The module behind the id in a stack frame.
    pub fn module(&self, id: u32) -> Option<&looptop_wire::proto::Module> {
        self.modules.get(&id)
    }

    /// Workers that are in one poll for longer than the agent's threshold.
    pub fn stalled_workers(&self) -> usize {
        self.workers
            .values()
            .filter(|w| w.state == WorkerState::Stalled)
            .count()
    }

    /// Tasks that are alive: those that are seen or, where they are not, as many as
    /// tokio counts; `None` where nobody knows.
    pub fn live_tasks(&self) -> Option<u64> {
        let seen = self.tasks.live_count() as u64;
        if self.session.has(Capability::Tasks) {
            // What the runtimes count is nearer than a list that is not whole.
            let torn = self.runtimes.iter().any(|runtime| runtime.torn);
            return Some(match self.counted_tasks().filter(|_| torn) {
                Some(counted) => counted.max(seen),
                None => seen,
            });
        }
        let runtimes = || self.runtimes.iter().filter(|runtime| !runtime.gone);
        match runtimes().next() {
            Some(_) => Some(total(runtimes().map(|runtime| runtime.live_tasks))),
            None => (!self.tasks.is_empty()).then_some(seen),
        }
    }

    /// Tasks that could run if a worker were free: the runtimes' queues where
    /// they are known, and otherwise the tasks seen as scheduled.
    pub fn waiting_tasks(&self) -> u64 {
        let queued = self.runtimes.iter().map(|r| r.global_queue);
        let local = self.workers.values().filter_map(|w| w.local_queue);
        total(queued.chain(local)).max(self.tasks.count(TaskState::Scheduled) as u64)
    }
}

/// The sum of counts that the target sent, which may be anything.
pub fn total(counts: impl IntoIterator<Item = u64>) -> u64 {
    counts.into_iter().fold(0, u64::saturating_add)
}
