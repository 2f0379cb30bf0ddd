//! What of waiting shows only over time: rings that stay, places at which others pass, and
//! queues that are not served.

pub(super) mod held;
mod passing;
mod queue;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use looptop_waits::{FEW_TASKS, LISTED_OFTEN};

use crate::{
    diagnose::waits::{Graph, Party, Ring, is_polled, kept_in},
    model::{HoldRole, Model, Moment, ResourceKind, TaskId, TaskWait, Want, WantKind},
};

pub(super) use passing::Passing;
pub(super) use queue::Queue;

/// What is remembered of waiting.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waiting {
    /// Who waits for whom.
    pub graph: Arc<Graph>,
    /// Rings that are there now.
    rings: Vec<Standing>,
    /// Tasks behind futures of their own.
    behind_own: Vec<BehindOwn>,
    /// Places at which tasks wait, and pass.
    pub passing: Passing,
    /// Tasks that queue for one lock or semaphore, by its id.
    pub queues: BTreeMap<u64, Queue>,
    looked_at: Option<Moment>,
}

/// A ring, and since when it is known.
#[derive(Debug, Clone)]
struct Standing {
    ring: Ring,
    since: Moment,
    /// It is no accident of when its members were read.
    is_proven: bool,
}

/// A task that waits for what a future of its own has, or will be given first, which is
/// kept and not polled any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BehindOwn {
    /// The task.
    pub task: TaskId,
    /// What it waits for.
    pub want: Want,
    /// The outermost node that is kept.
    pub kept: usize,
    /// The node in that which has it, or waits for it.
    pub within: usize,
    /// It has it; otherwise it stands before the task in the queue.
    pub has_it: bool,
    /// The tree is the task's for certain.
    pub is_certain: bool,
    /// Since when it is known.
    pub since: Moment,
}

/// With more than [`FEW_TASKS`] the graph is made anew no more often than this, or than this
/// for each task.
const STEP: Duration = Duration::from_secs(1);
const STEP_OF_EACH: Duration = Duration::from_micros(20);
/// What was read once may never have been so: tasks run while they are read. It is true
/// once it has stood for so long, in which each task that has run is read again.
const STANDS: Duration = Duration::from_millis(2_500);
/// The same of one in which something is only probable.
pub(super) const STANDS_PROBABLY: Duration = Duration::from_millis(3_500);

impl Waiting {
    /// Takes note of what waits now.
    pub(in crate::diagnose) fn observe(&mut self, model: &Model) {
        if model.waits.is_empty() && self.looked_at.is_none() {
            return;
        }
        let now = model.now;
        let is_due = model.session.core_dump
            || model.tasks.len() <= FEW_TASKS
            || self.looked_at.is_none_or(|at| now.since(at) >= step(model));
        if self.graph.is_of(model) || !is_due {
            return self.prove(model);
        }
        self.looked_at = Some(now);
        self.graph = Arc::new(Graph::of(model));
        let before: HashMap<About, &Standing> = {
            let all = self.rings.iter();
            all.map(|known| (about(&known.ring), known)).collect()
        };
        let rings = self.graph.rings().iter().filter(|r| !r.members.is_empty());
        self.rings = rings
            .map(|ring| {
                let known = before.get(&about(ring));
                Standing {
                    ring: ring.clone(),
                    since: known.map_or(now, |known| known.since),
                    is_proven: known.is_some_and(|known| known.is_proven),
                }
            })
            .collect();
        self.prove(model);
        let about = |own: &BehindOwn| (own.task, own.want.resource, own.within);
        let before: HashMap<_, Moment> = {
            let all = self.behind_own.iter();
            all.map(|known| (about(known), known.since)).collect()
        };
        let found = model.waits.tasks().filter_map(|wait| behind_own(wait, now));
        self.behind_own = found
            .map(|found| {
                let known = before.get(&about(&found));
                BehindOwn {
                    since: known.map_or(now, |since| *since),
                    ..found
                }
            })
            .collect();
        self.passing.observe(model);
        self.queues = queue::observe(model, &self.graph, &self.queues);
    }

    /// What is proven of a ring stays so while it is there.
    fn prove(&mut self, model: &Model) {
        for standing in &mut self.rings {
            standing.is_proven |= is_proven(model, standing);
        }
    }

    /// The rings that are no accident of when their members were read.
    pub(in crate::diagnose) fn rings<'a>(
        &'a self,
        model: &'a Model,
    ) -> impl Iterator<Item = &'a Ring> {
        let standing = self.rings.iter();
        let standing = standing.filter(|standing| standing.is_proven || is_proven(model, standing));
        standing.map(|standing| &standing.ring)
    }

    /// The rings that may yet be an accident, and since when each is known.
    pub(super) fn unproven<'a>(
        &'a self,
        model: &'a Model,
    ) -> impl Iterator<Item = (&'a Ring, Moment)> {
        let standing = self.rings.iter();
        let standing =
            standing.filter(|standing| !standing.is_proven && !is_proven(model, standing));
        standing.map(|standing| (&standing.ring, standing.since))
    }

    /// Tasks that wait behind futures of their own, at more than one look.
    pub(super) fn behind_own<'a>(
        &'a self,
        model: &'a Model,
    ) -> impl Iterator<Item = &'a BehindOwn> {
        let found = self.behind_own.iter();
        found.filter(|own| stands(model, own.since, STANDS, [Party::Task(own.task)]))
    }

    /// Those that a ring keeps, or a task that is behind its own future.
    pub(super) fn kept(&self, model: &Model) -> HashSet<Party> {
        let mut kept = HashSet::new();
        for ring in self.rings(model) {
            kept.extend(ring.members.iter().map(|member| member.party));
            kept.extend(&ring.behind);
        }
        for own in self.behind_own(model) {
            kept.insert(Party::Task(own.task));
            kept.extend(self.follows(own));
        }
        kept
    }

    /// Those that wait for the same as a task that is behind its own future.
    pub(super) fn follows(&self, own: &BehindOwn) -> &[Party] {
        match own.want.resource {
            Some(resource) => self.graph.waiters(resource),
            None => &[],
        }
    }
}

/// What makes a ring the same at two looks: its members, and what they wait for.
type About = Vec<(Party, WantKind, Option<u64>, Option<TaskId>)>;

fn about(ring: &Ring) -> About {
    let members = ring.members.iter();
    members
        .map(|m| (m.party, m.want.kind, m.want.resource, m.want.task))
        .collect()
}

/// It was there at two looks: what is read of different tasks at different moments is no
/// ring by itself, and what is read of a task that runs meanwhile is nothing at all.
fn is_proven(model: &Model, standing: &Standing) -> bool {
    // A core dump is of one moment.
    if model.session.core_dump {
        return true;
    }
    let least = if standing.ring.is_certain {
        STANDS
    } else {
        STANDS_PROBABLY
    };
    let members = standing.ring.members.iter().map(|member| member.party);
    stands(model, standing.since, least, members)
}

/// Between two graphs of many tasks.
fn step(model: &Model) -> Duration {
    let tasks = u32::try_from(model.tasks.len()).unwrap_or(u32::MAX);
    STEP.max(STEP_OF_EACH.saturating_mul(tasks))
}

/// What was read of some first at `since` has stood for so long, and was looked at again:
/// each task that has run is read anew, and those that have not are as they were.
fn stands(
    model: &Model,
    since: Moment,
    least: Duration,
    parties: impl IntoIterator<Item = Party>,
) -> bool {
    // A core dump is of one moment.
    if model.session.core_dump {
        return true;
    }
    // Of many tasks the newest listing, by which all of them were read, may be older than
    // `since`.
    let is_listed_often = model.tasks.len() <= LISTED_OFTEN;
    let all_read = model
        .waits
        .read()
        .is_none_or(|read| read.complete && is_listed_often);
    // An instrument within the process knows that it has not run since.
    let is_as_read = |wait: &TaskWait| {
        let (idle_since, is_exact) = model.waits_since(wait);
        is_exact && idle_since < wait.read_at
    };
    let is_read_again = |party: Party| match party {
        Party::Task(id) => {
            let wait = model.waits.task(id);
            wait.is_some_and(|wait| all_read || wait.read_at > since || is_as_read(wait))
        }
        Party::Thread(tid) => model.waits.thread(tid).is_some(),
    };
    model.now.since(since) >= least && parties.into_iter().all(is_read_again)
}

/// What a task waits for while a future of its own, kept and not polled, has it, or stands
/// before it in the queue.
fn behind_own(wait: &TaskWait, now: Moment) -> Option<BehindOwn> {
    let shape = &*wait.shape;
    if shape.cut.is_some() || wait.scheduled {
        return None;
    }
    let is_queue = |want: &&Want| {
        matches!(want.kind, WantKind::Permits | WantKind::Room) && want.resource.is_some()
    };
    let polled = |want: &&Want| is_polled(shape, want.node as usize);
    for want in wait.wants.iter().filter(is_queue).filter(polled) {
        if want.given >= want.amount.max(1) {
            continue;
        }
        let found = |kept, within: u32, has_it, certain: bool| BehindOwn {
            task: wait.task,
            want: *want,
            kept,
            within: within as usize,
            has_it,
            is_certain: certain && wait.certain,
            since: now,
        };
        let of_it = |resource: u64| want.resource == Some(resource);
        let held = wait.holds.iter().find_map(|hold| {
            let fits = of_it(hold.resource)
                && match want.kind {
                    WantKind::Room => hold.role == HoldRole::Receiver,
                    _ => hold.role == HoldRole::Permits,
                };
            let kept = kept_in(shape, hold.node as usize).filter(|_| fits)?;
            Some(found(kept, hold.node, true, hold.certain))
        });
        let stands_before = || {
            wait.wants.iter().find_map(|other| {
                let fits = other.kind == want.kind && other.resource == want.resource;
                let kept = kept_in(shape, other.node as usize).filter(|_| fits)?;
                let has_it = other.kind == WantKind::Permits && other.given > 0;
                Some(found(kept, other.node, has_it, true))
            })
        };
        if let Some(found) = held.or_else(stands_before) {
            return Some(found);
        }
    }
    None
}

/// It is a lock or semaphore, for which tasks queue.
fn is_queued_for(kind: ResourceKind) -> bool {
    matches!(
        kind,
        ResourceKind::Mutex | ResourceKind::RwLock | ResourceKind::Semaphore
    )
}
