//! Tasks that queue for one lock or semaphore, as their futures say it, and whether they
//! are served.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    diagnose::waits::{Graph, Party, kind, polled_wants, waited},
    model::{AwaitsBy, Model, Moment, ResourceKind, TaskId, TaskWait, WantKind},
};

use super::{held, is_queued_for};

/// Those that wait for a lock or semaphore.
#[derive(Debug, Clone, Default)]
pub(crate) struct Queue {
    /// They, the one that has waited longest first.
    pub waiting: Vec<TaskId>,
    /// Those of them that have waited for long.
    pub long: usize,
    /// Those of these for whom somebody waits in turn: a connection, or a task that waits
    /// for their end; or that have been served before and have come again. All of them
    /// behind an `RwLock`.
    pub felt: usize,
    /// How long the first has waited, and all of them together.
    pub longest: Duration,
    /// All of them together.
    pub total: Duration,
    /// Since when there has been a queue, as far as it was observed.
    pub since: Moment,
    /// For how long nobody has been served, as far as it was observed: of tasks that were
    /// not read again in time nothing is known.
    pub stands: Duration,
    /// Who holds it, as it was last seen, and when.
    pub held: Option<(Moment, String)>,
    looked_at: Moment,
    /// At how many looks more were served, or the queue has grown since somebody was.
    pub moves: usize,
    /// At how many looks the queue has grown since somebody was served.
    pub arrivals: usize,
    /// Who holds it shows: all that wait were read by types, or all that know it were asked.
    pub shows_holders: bool,
    came_again: BTreeSet<TaskId>,
    left: BTreeSet<TaskId>,
}

/// Who waits for less is not in a queue: a second is what two readings are apart.
pub(super) const LONG: Duration = Duration::from_secs(1);
/// The same where nobody knows when a task was polled last: one that comes back to the
/// same wait between two readings looks as if it had never left it.
const LONG_BY_READING: Duration = Duration::from_secs(3);
/// Tasks that have left are remembered, to know them when they come again.
const MAX_LEFT: usize = 4_096;

pub(super) fn observe(
    model: &Model,
    graph: &Graph,
    earlier: &BTreeMap<u64, Queue>,
) -> BTreeMap<u64, Queue> {
    let queued_for = graph
        .wanted()
        .filter(|(resource, parties)| parties.len() >= 2 && is_queued_for(kind(model, *resource)));
    queued_for
        .filter_map(|(resource, parties)| {
            let queue = queue(model, graph, resource, parties, earlier.get(&resource))?;
            Some((resource, queue))
        })
        .collect()
}

fn queue(
    model: &Model,
    graph: &Graph,
    resource: u64,
    parties: &[Party],
    earlier: Option<&Queue>,
) -> Option<Queue> {
    let now = model.now;
    let mut queued: Vec<&TaskWait> = Vec::new();
    for party in parties {
        let Party::Task(id) = party else { continue };
        let Some(wait) = model.waits.task(*id).filter(|wait| !wait.scheduled) else {
            continue;
        };
        // Of whom tokio itself says that it asked a lock is judged by that.
        let is_judged = model
            .tasks
            .get(*id)
            .is_some_and(|t| t.lock_wait().is_some());
        let (wants, _) = polled_wants(wait);
        let is_permit = |want: &&&crate::model::Want| {
            want.kind == WantKind::Permits && want.resource == Some(resource)
        };
        if !is_judged && wants.iter().any(|want| is_permit(&want)) {
            queued.push(wait);
        }
    }
    if queued.len() < 2 {
        return None;
    }
    queued.sort_by_key(|wait| (model.waits_since(wait).0, wait.task));
    let ids: BTreeSet<TaskId> = queued.iter().map(|wait| wait.task).collect();
    let mut queue = Queue {
        waiting: queued.iter().map(|wait| wait.task).collect(),
        since: now,
        looked_at: now,
        shows_holders: queued.iter().all(|wait| wait.shape.by == AwaitsBy::Types)
            || model
                .waits
                .resource(resource)
                .is_some_and(|r| r.holders_known),
        ..Queue::default()
    };
    if let Some(earlier) = earlier {
        queue.since = earlier.since;
        queue.moves = earlier.moves;
        queue.held.clone_from(&earlier.held);
        queue.left.clone_from(&earlier.left);
        queue.came_again.clone_from(&earlier.came_again);
        let left = earlier.waiting.iter().filter(|id| !ids.contains(id));
        let left: Vec<TaskId> = left.copied().collect();
        if left.is_empty() {
            let all_read = model.waits.read().is_some_and(|read| read.complete);
            let more = now.since(earlier.looked_at);
            queue.stands = earlier.stands + if all_read { more } else { Duration::ZERO };
            let grew = queue.waiting.len() > earlier.waiting.len();
            queue.arrivals = earlier.arrivals + usize::from(grew);
        } else {
            queue.moves += 1;
        }
        if queue.left.len() < MAX_LEFT {
            queue.left.extend(left);
        }
        let again = ids.intersection(&queue.left).copied();
        queue.came_again.extend(again);
        queue.came_again.retain(|id| ids.contains(id));
    }
    if let Some(held) = held::sentence(model, graph, resource) {
        queue.held = Some((now, held));
    }
    // A semaphore or a mutex may be a limiter, behind which tasks wait by design; nobody takes
    // an RwLock for one.
    let is_no_limiter = kind(model, resource) == ResourceKind::RwLock;
    let mut joined: BTreeSet<Party> = BTreeSet::new();
    for wait in &queued {
        let Some(for_now) = waited(model, wait) else {
            continue;
        };
        queue.total += for_now;
        queue.longest = queue.longest.max(for_now);
        let (_, is_exact) = model.waits_since(wait);
        if for_now < if is_exact { LONG } else { LONG_BY_READING } {
            continue;
        }
        queue.long += 1;
        let serves = wait.wants.iter().any(|want| want.kind == WantKind::Socket);
        // One that joins many has spawned a batch.
        let before = joined.len();
        joined.extend(graph.joiners(wait.task));
        let new_joiner = joined.len() > before;
        if is_no_limiter || serves || new_joiner || queue.came_again.contains(&wait.task) {
            queue.felt += 1;
        }
    }
    Some(queue)
}
