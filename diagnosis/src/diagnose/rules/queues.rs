//! Tasks that queue for a lock or permit of tokio's, and whether they are served.
//!
//! Which lock it is cannot be seen, so that a queue is that of the tasks of one
//! spawn location. It is served as long as its head, the one that has waited
//! longest, changes.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use crate::model::{LocationId, Model, Moment, Task, TaskId, TaskKind, TaskState};

/// Who waits for less is not in a queue.
pub(super) const LONG: Duration = Duration::from_millis(250);
/// Spawned by one task with less time between them, they are one batch.
const TOGETHER: Duration = Duration::from_millis(10);

/// Tasks of one location that wait.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    /// How many wait.
    pub waiting: usize,
    /// Likewise, but those of one parent that have done nothing else yet count as
    /// one.
    pub independent: usize,
    /// All of them were spawned together by one task.
    pub is_batch: bool,
    /// Live tasks of the location that do not wait for a lock.
    pub holders: usize,
    /// The task that has waited longest.
    pub first: TaskId,
    /// Since when it does.
    pub head: Moment,
    /// How long all of them have waited.
    pub total: Duration,
    /// Since when there has been a queue, as far as it was observed.
    pub since: Moment,
    /// When somebody was last served, as far as it was observed.
    pub served: Moment,
    /// How often somebody was served within the last seconds.
    pub moves: usize,
    /// How often the queue has grown since somebody was served.
    pub arrivals: usize,
    served_at: Vec<Moment>,
    /// Whether there were holders, at each look within the last seconds.
    held_at: Vec<(Moment, bool)>,
}

impl Queue {
    /// Somebody gets a permit now and then, hardly ever is one held, and the queue
    /// does not grow (whoever was served may come again): a limiter that gives
    /// permits out at its own pace. Whoever waits for it waits by design.
    pub(super) fn is_rationed(&self) -> bool {
        (1..MOVES).contains(&self.moves) && !self.is_held() && self.arrivals <= 1
    }

    /// Some task of the location holds what the others wait for, at more than a
    /// third of the looks; a permit that was used up at once is seen less often.
    pub(super) fn is_held(&self) -> bool {
        let held = self.held_at.iter().filter(|(_, held)| *held).count();
        self.held_at.len() >= LOOKS && held * 3 > self.held_at.len()
    }
}

/// Fewer looks than this do not show whether a lock is held.
const LOOKS: usize = 3;

/// Moments of service that are remembered: more say nothing more.
const MOVES: usize = 8;
/// Of what is older nothing is concluded.
const RECENT: Duration = Duration::from_secs(3);

/// The queues as they are now, with what is known of them from `earlier`.
pub(super) fn observe(
    model: &Model,
    earlier: &BTreeMap<LocationId, Queue>,
) -> BTreeMap<LocationId, Queue> {
    let mut waiting: BTreeMap<LocationId, Vec<(&Task, Moment)>> = BTreeMap::new();
    for task in model.tasks.live() {
        let (Some(since), Some(site)) = (task.lock_wait(), task.location) else {
            continue;
        };
        let is_task = matches!(task.kind, TaskKind::Task | TaskKind::Local);
        if is_task && task.state == TaskState::Idle && model.now.since(since) >= LONG {
            waiting.entry(site).or_default().push((task, since));
        }
    }
    if waiting.is_empty() {
        return BTreeMap::new();
    }
    let mut others: BTreeMap<LocationId, usize> = BTreeMap::new();
    for task in model.tasks.live().filter(|t| t.lock_wait().is_none()) {
        if let Some(site) = task.location.filter(|site| waiting.contains_key(site)) {
            *others.entry(site).or_default() += 1;
        }
    }
    waiting
        .into_iter()
        .filter_map(|(site, tasks)| {
            let holders = others.get(&site).copied().unwrap_or_default();
            Some((site, queue(model.now, &tasks, holders, earlier.get(&site))?))
        })
        .collect()
}

fn queue(
    now: Moment,
    tasks: &[(&Task, Moment)],
    holders: usize,
    earlier: Option<&Queue>,
) -> Option<Queue> {
    let (first, head) = tasks.iter().min_by_key(|(task, since)| (*since, task.id))?;
    let (fresh, veterans): (Vec<&Task>, Vec<_>) = tasks
        .iter()
        .map(|(task, _)| *task)
        .partition(|task| task.polls().is_none_or(|polls| polls <= 1));
    let parents: HashSet<Option<TaskId>> = fresh.iter().map(|task| task.parent()).collect();
    let mut queue = Queue {
        waiting: tasks.len(),
        independent: veterans.len() + parents.len(),
        is_batch: veterans.is_empty() && parents.len() == 1 && were_spawned_together(&fresh),
        holders,
        first: first.id,
        head: *head,
        total: tasks.iter().map(|(_, since)| now.since(*since)).sum(),
        since: now,
        served: now,
        moves: 0,
        arrivals: 0,
        served_at: Vec::new(),
        held_at: Vec::new(),
    };
    if let Some(earlier) = earlier {
        queue.since = earlier.since;
        queue.served_at.clone_from(&earlier.served_at);
        queue.held_at.clone_from(&earlier.held_at);
        if (earlier.first, earlier.head) == (queue.first, queue.head) {
            queue.served = earlier.served;
            let grew = usize::from(queue.waiting > earlier.waiting);
            queue.arrivals = earlier.arrivals + grew;
        } else {
            queue.served_at.push(now);
        }
    }
    queue.held_at.push((now, holders > 0));
    queue.held_at.retain(|(at, _)| now.since(*at) < RECENT);
    queue.served_at.retain(|at| now.since(*at) < RECENT);
    let old = queue.served_at.len().saturating_sub(MOVES);
    queue.served_at.drain(..old);
    queue.moves = queue.served_at.len();
    Some(queue)
}

/// Most of them followed the one before at once. A pause in between, or a
/// straggler, changes nothing.
fn were_spawned_together(tasks: &[&Task]) -> bool {
    let mut spawned: Vec<Moment> = tasks.iter().filter_map(|task| task.spawned_at()).collect();
    spawned.sort_unstable();
    let mut gaps: Vec<Duration> = spawned
        .windows(2)
        .map(|pair| pair[1].since(pair[0]))
        .collect();
    gaps.sort_unstable();
    gaps.get(gaps.len() / 2)
        .is_none_or(|median| *median <= TOGETHER)
}
