//! The rows of the table on screen: filtered and sorted, by id.
//!
//! They are made anew only when data, sorting or the filter changed, and for
//! long tables not more often than they can be afforded.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::{
    diagnose::Subject,
    model::{
        AsyncOpId, Model, ResourceId, StallId, Task, TaskId, Tid, Worker, WorkerId, WorkerState,
    },
};

use super::{
    Snapshot,
    column::{Column, Context, Key},
    filter::Filter,
    state::TaskLayout,
    tables::{self, Row, StallGroup, TableId, TaskGroup, TaskGroupKey, TaskGrouping},
};

/// Which thing a row shows; the cursor follows it, wherever the row goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowKey {
    /// A task.
    Task(TaskId),
    /// A worker.
    Worker(WorkerId),
    /// A stall.
    Stall(StallId),
    /// Stalls of one culprit: location and function.
    Group(Box<(String, String)>),
    /// A thread.
    Thread(Tid),
    /// Tasks of one location or name.
    TaskGroup(TaskGroupKey),
    /// A resource.
    Resource(ResourceId),
    /// An operation on one.
    Op(AsyncOpId),
    /// A finding: rule and subject.
    Finding(Box<(&'static str, Subject)>),
}

/// How a table is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sort {
    /// Index of the column.
    pub column: usize,
    /// The largest first.
    pub descending: bool,
}

/// What rows are made for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Request {
    pub(super) table: Option<TableId>,
    pub(super) sort: Sort,
    pub(super) filter: Filter,
    pub(super) finished: bool,
    pub(super) layout: TaskLayout,
    /// Not all workers fit on the overview: the blocked ones come first.
    pub(super) crowded: bool,
}

/// The rows on screen, and what they were made for.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    keys: Vec<RowKey>,
    groups: Vec<StallGroup>,
    task_groups: Vec<TaskGroup>,
    depths: HashMap<TaskId, u8>,
    looked_at: usize,
    /// Rows that the filter left out.
    pub filtered_out: usize,
    /// Finished tasks, or dropped resources and operations, that are hidden.
    pub finished_hidden: usize,
    made_for: Option<Request>,
    revision: u64,
    made_at: Option<Instant>,
}

impl Rows {
    /// Their keys, in order.
    pub fn keys(&self) -> &[RowKey] {
        &self.keys
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The row at `index`; `None` where it is gone from the model, or no table's.
    pub fn row<'a>(&'a self, model: &'a Model, index: usize) -> Option<Row<'a>> {
        match self.keys.get(index)? {
            RowKey::Task(id) => model.tasks.get(*id).map(Row::Task),
            RowKey::Worker(id) => model.workers.get(id).map(Row::Worker),
            RowKey::Stall(id) => model.stalls.get(*id).map(Row::Stall),
            RowKey::Thread(tid) => model.threads.get(tid).map(Row::Thread),
            RowKey::Group(key) => self.group(key).map(Row::Group),
            RowKey::TaskGroup(key) => self.task_group(*key).map(Row::TaskGroup),
            RowKey::Resource(id) => model.resources.get(*id).map(Row::Resource),
            RowKey::Op(id) => model.resources.op(*id).map(Row::Op),
            RowKey::Finding(_) => None,
        }
    }

    /// The group of a key.
    pub(super) fn group(&self, key: &(String, String)) -> Option<&StallGroup> {
        let matches = |g: &&StallGroup| g.location == key.0 && g.function == key.1;
        self.groups.iter().find(matches)
    }

    /// The tasks of a location or name.
    pub(super) fn task_group(&self, key: TaskGroupKey) -> Option<&TaskGroup> {
        self.task_groups.iter().find(|g| g.key == key)
    }

    /// How deep each task is in the tree; empty where tasks are no tree.
    pub fn depths(&self) -> &HashMap<TaskId, u8> {
        &self.depths
    }

    /// Whether they have to be made anew at `now`.
    pub(super) fn are_stale(&self, snapshot: &Snapshot, request: &Request, now: Instant) -> bool {
        if self.made_for.as_ref() != Some(request) {
            return true;
        }
        let rested = self
            .made_at
            .is_none_or(|at| now.saturating_duration_since(at) >= self.rest());
        self.revision != snapshot.revision && rested
    }

    /// Sorting 100,000 rows takes some 25 ms: every two seconds is 1.2 % of a core.
    /// What the rows show is always as new as the rest of the screen.
    fn rest(&self) -> Duration {
        match self.looked_at {
            0..=10_000 => Duration::ZERO,
            10_001..=50_000 => Duration::from_secs(1),
            50_001..=150_000 => Duration::from_secs(2),
            _ => Duration::from_secs(3),
        }
    }

    /// Makes them anew.
    pub(super) fn make(
        &mut self,
        snapshot: &Snapshot,
        context: &Context<'_>,
        request: Request,
        now: Instant,
    ) {
        let model = &*snapshot.model;
        self.finished_hidden = 0;
        self.groups = match request.table {
            Some(TableId::StallGroups) => tables::group(model, context.span),
            _ => Vec::new(),
        };
        let made = match request.table {
            None => Made {
                keys: overview(snapshot, request.crowded),
                filtered_out: 0,
            },
            Some(TableId::Tasks) => {
                let tasks = self.tasks(model, request.finished);
                select(context, tasks, tables::TASKS, &request, |t| {
                    RowKey::Task(t.id)
                })
            }
            Some(TableId::TaskGroups) => {
                let by = match request.layout {
                    TaskLayout::ByName => TaskGrouping::Name,
                    _ => TaskGrouping::Location,
                };
                let tasks = self.tasks(model, request.finished);
                self.task_groups = tables::group_tasks(context, tasks, by);
                let key = |g: &TaskGroup| RowKey::TaskGroup(g.key);
                let groups = self.task_groups.iter();
                select(context, groups, tables::TASK_GROUPS, &request, key)
            }
            Some(TableId::Resources) => {
                let (all, finished) = (&model.resources, request.finished);
                if !finished {
                    self.finished_hidden = all.len() - all.live_count();
                }
                let shown = all.iter().filter(|r| finished || r.is_live());
                select(context, shown, tables::RESOURCES, &request, |r| {
                    RowKey::Resource(r.id)
                })
            }
            Some(TableId::Ops) => {
                let finished = request.finished;
                let shown = model.resources.ops().filter(|o| finished || o.is_live());
                select(context, shown, tables::OPS, &request, |o| RowKey::Op(o.id))
            }
            Some(TableId::Workers) => select(
                context,
                model.workers.values(),
                tables::WORKERS,
                &request,
                |w| RowKey::Worker(w.id),
            ),
            Some(TableId::Stalls) => select(
                context,
                model.stalls.iter(),
                tables::STALLS,
                &request,
                |s| RowKey::Stall(s.id),
            ),
            Some(TableId::StallGroups) => {
                let key = |g: &StallGroup| {
                    RowKey::Group(Box::new((g.location.clone(), g.function.clone())))
                };
                select(context, self.groups.iter(), tables::GROUPS, &request, key)
            }
            Some(TableId::Threads) => select(
                context,
                model.threads.values(),
                tables::THREADS,
                &request,
                |t| RowKey::Thread(t.tid),
            ),
        };
        self.keys = made.keys;
        self.filtered_out = made.filtered_out;
        self.looked_at = match request.table {
            Some(TableId::TaskGroups) => model.tasks.len(),
            _ => self.keys.len() + self.filtered_out,
        };
        self.depths.clear();
        if (request.table, request.layout) == (Some(TableId::Tasks), TaskLayout::Tree) {
            self.make_tree(model);
        }
        self.made_for = Some(request);
        self.revision = snapshot.revision;
        self.made_at = Some(now);
    }
}

impl Rows {
    /// The tasks to show; counts the finished ones that are not.
    fn tasks<'a>(
        &mut self,
        model: &'a Model,
        finished: bool,
    ) -> impl Iterator<Item = &'a Task> + use<'a> {
        if !finished {
            self.finished_hidden = model.tasks.len() - model.tasks.live_count();
        }
        model.tasks.iter().filter(move |t| finished || t.is_live())
    }

    fn make_tree(&mut self, model: &Model) {
        let sorted: Vec<TaskId> = self
            .keys
            .iter()
            .filter_map(|key| match key {
                RowKey::Task(id) => Some(*id),
                _ => None,
            })
            .collect();
        let (order, depths) = tables::tree(&model.tasks, &sorted);
        self.keys = order.into_iter().map(RowKey::Task).collect();
        self.depths = depths;
    }
}

struct Made {
    keys: Vec<RowKey>,
    filtered_out: usize,
}

/// Filters and sorts; equal rows keep the order of their keys.
fn select<'a, R: 'static>(
    context: &Context<'a>,
    rows: impl Iterator<Item = &'a R>,
    columns: &'static [Column<R>],
    request: &Request,
    name: impl Fn(&R) -> RowKey,
) -> Made {
    let sort_key = columns.get(request.sort.column).map(|c| c.key);
    let mut filtered_out = 0;
    let mut keyed: Vec<(Key<'a>, RowKey)> = Vec::new();
    for row in rows {
        if request
            .filter
            .matches(|column| (columns[column].key)(context, row))
        {
            let key = sort_key.map_or(Key::Unknown, |key| key(context, row));
            keyed.push((key, name(row)));
        } else {
            filtered_out += 1;
        }
    }
    let descending = request.sort.descending;
    keyed.sort_unstable_by(|(a, m), (b, n)| a.order(b, descending).then_with(|| m.cmp(n)));
    Made {
        keys: keyed.into_iter().map(|(_, key)| key).collect(),
        filtered_out,
    }
}

/// The cursor goes through the findings first, then through the workers.
fn overview(snapshot: &Snapshot, crowded: bool) -> Vec<RowKey> {
    let findings = snapshot
        .findings
        .iter()
        .map(|f| RowKey::Finding(Box::new((f.rule, f.subject.clone()))));
    let mut workers: Vec<&Worker> = snapshot.model.workers.values().collect();
    if crowded {
        workers.sort_by_key(|w| (w.state != WorkerState::Stalled, w.id));
    }
    let workers = workers.into_iter().map(|w| RowKey::Worker(w.id));
    findings.chain(workers).collect()
}
