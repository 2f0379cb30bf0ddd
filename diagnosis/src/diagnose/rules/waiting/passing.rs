//! Places at which tasks wait for what only others of the program can give: who passes
//! there, and who does not.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

use crate::{
    diagnose::waits::{Whose, is_polled, kind, place, whose},
    model::{
        AwaitKind, AwaitShape, LocationId, Model, Moment, ResourceKind, TaskId, TextId, Want,
        WantKind,
    },
};

/// What tasks of one kind wait for at one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Spot {
    /// The future of the tasks.
    pub future: Option<TextId>,
    /// The line, or the function where the binary has no lines.
    pub location: Option<LocationId>,
    function: Option<TextId>,
    kind: i32,
}

/// A task at a spot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Visit {
    spot: Spot,
    since: Moment,
}

/// Tasks at spots, and those that have passed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Passing {
    visits: BTreeMap<TaskId, Visit>,
    /// Since when those that passed had waited, the newest last.
    passed: BTreeMap<Spot, VecDeque<(Moment, Moment)>>,
}

/// Tasks that do not pass where others do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stuck {
    /// Where.
    pub spot: Spot,
    /// They, the one that has waited longest first.
    pub tasks: Vec<TaskId>,
    /// How many others have passed since the longest began to wait.
    pub passed: usize,
}

/// Who is gone after this has passed quickly: a second, and the time between two readings.
const QUICK: Duration = Duration::from_millis(2_100);
/// So many must have passed.
const ENOUGH: usize = 5;
/// Passes remembered of a spot.
const MAX_PASSED: usize = 64;
/// Spots and tasks remembered.
const MAX_SPOTS: usize = 1_024;
const MAX_VISITS: usize = 100_000;

impl Passing {
    pub(super) fn observe(&mut self, model: &Model) {
        let now = model.now;
        let mut spots: HashMap<(u32, u32), Option<Spot>> = HashMap::new();
        let mut visits = BTreeMap::new();
        for wait in model.waits.tasks().take(MAX_VISITS) {
            if wait.scheduled || wait.shape.cut.is_some() {
                continue;
            }
            let soon = wait.wants.iter().filter(|want| comes_soon(model, want));
            let spot = soon.filter_map(|want| {
                let known = spots.entry((wait.shape.id, want.node));
                *known.or_insert_with(|| spot(model, &wait.shape, want))
            });
            if let Some(spot) = spot.min() {
                let visit = Visit {
                    spot,
                    since: wait.since,
                };
                visits.insert(wait.task, visit);
            }
        }
        for (task, earlier) in &self.visits {
            let stays = visits
                .get(task)
                .is_some_and(|visit| (visit.spot, visit.since) == (earlier.spot, earlier.since));
            if stays || now.since(earlier.since) > QUICK {
                continue;
            }
            if self.passed.len() >= MAX_SPOTS && !self.passed.contains_key(&earlier.spot) {
                continue;
            }
            let passed = self.passed.entry(earlier.spot).or_default();
            passed.push_back((earlier.since, now));
            if passed.len() > MAX_PASSED {
                passed.pop_front();
            }
        }
        self.visits = visits;
    }

    /// Who has waited for `minute` or longer where others have come and gone meanwhile, the
    /// last of them within that time.
    pub(in crate::diagnose::rules) fn stuck(&self, now: Moment, minute: Duration) -> Vec<Stuck> {
        let mut spots: BTreeMap<Spot, Vec<(Moment, TaskId)>> = BTreeMap::new();
        for (task, visit) in &self.visits {
            if now.since(visit.since) >= minute {
                let tasks = spots.entry(visit.spot).or_default();
                tasks.push((visit.since, *task));
            }
        }
        let stuck = spots.into_iter().filter_map(|(spot, mut tasks)| {
            tasks.sort_unstable();
            let (longest, _) = *tasks.first()?;
            let passed = self.passed.get(&spot)?.iter();
            let passed = passed.filter(|(since, _)| *since > longest);
            let passed: Vec<Moment> = passed.map(|(_, at)| *at).collect();
            let lately = passed.last().is_some_and(|at| now.since(*at) <= minute);
            (passed.len() >= ENOUGH && lately).then(|| Stuck {
                spot,
                tasks: tasks.into_iter().map(|(_, task)| task).collect(),
                passed: passed.len(),
            })
        });
        stuck.collect()
    }
}

/// What somebody who works gives soon: a lock, a place in a channel, an answer. Messages
/// of a mailbox, sockets, timers and notifications come when they come.
fn comes_soon(model: &Model, want: &Want) -> bool {
    let kind = want.resource.map(|id| kind(model, id));
    match want.kind {
        WantKind::Permits => kind != Some(ResourceKind::OnceCell),
        WantKind::Room => true,
        WantKind::Message => kind == Some(ResourceKind::Oneshot),
        _ => false,
    }
}

/// Where a task waits for something, if all of the application's code around it has no
/// other hope: with a time-out or a cancellation beside it, it is idle by design.
fn spot(model: &Model, shape: &AwaitShape, want: &Want) -> Option<Spot> {
    let node = want.node as usize;
    let place = place(model, shape, node).filter(|_| is_polled(shape, node))?;
    let path: Vec<usize> = std::iter::successors(Some(node), |at| shape.parent(*at)).collect();
    let is_own = |at: &usize| whose(model, &shape.nodes[*at]) == Whose::Application;
    let outermost = path.iter().rposition(is_own)?;
    let has_other_hope = path[..=outermost].iter().any(|at| {
        matches!(
            shape.nodes[*at].kind,
            AwaitKind::Select | AwaitKind::Combinator | AwaitKind::Unknown
        )
    });
    let function = shape.nodes[place.node].future;
    (!has_other_hope).then_some(Spot {
        future: shape.nodes[0].future,
        location: place.location,
        function: function.filter(|_| place.location.is_none()),
        kind: want.kind.into(),
    })
}
