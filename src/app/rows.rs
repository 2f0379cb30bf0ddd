//! The rows of the table on screen: filtered and sorted, by id.
//!
//! They are made anew only when data, sorting or the filter changed, and for
//! long tables not more often than they can be afforded.

use std::time::{Duration, Instant};

use crate::model::{Model, Worker, WorkerState};

use super::{
    Snapshot,
    column::{Cell, Column, Context, Placed},
    filter::Filter,
    state::TaskLayout,
    tables::{self, Depths, Made, Registered, RowKey, TableId},
    waits::WaitKey,
};

/// How a table is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sort {
    /// Index of the column.
    pub column: usize,
    /// The largest first.
    pub descending: bool,
}

impl Sort {
    /// The largest of a column first. Where there is no such column, this does not
    /// compile.
    pub const fn descending<R>(columns: &[Column<R>], id: &str) -> Self {
        Self {
            column: column(columns, id),
            descending: true,
        }
    }

    /// The smallest of a column first. Where there is no such column, this does not
    /// compile.
    pub const fn ascending<R>(columns: &[Column<R>], id: &str) -> Self {
        Self {
            column: column(columns, id),
            descending: false,
        }
    }
}

const fn column<R>(columns: &[Column<R>], id: &str) -> usize {
    let mut at = 0;
    while at < columns.len() {
        if is_same(columns[at].head.id, id) {
            return at;
        }
        at += 1;
    }
    panic!("no column has this id")
}

const fn is_same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

/// What rows are made for.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Of this table, or of the overview's list.
    pub table: Option<TableId>,
    /// How they are sorted.
    pub sort: Sort,
    /// Which are shown.
    pub filter: Filter,
    /// What is over is shown, too.
    pub finished: bool,
    /// How tasks are laid out.
    pub layout: TaskLayout,
    /// The group of those who wait whose members are shown; `None` for all who wait.
    pub waits: Option<WaitKey>,
    /// Not all workers fit on the overview: the blocked ones come first.
    pub crowded: bool,
    /// All rows are in order; otherwise the first [`FIRST_ROWS`], of a long table.
    pub whole: bool,
}

/// So many rows are in order, as long as nobody looks at others.
pub(super) const FIRST_ROWS: usize = 1_000;

/// Rows that were selected from a table, or from the overview.
#[derive(Debug, Default)]
pub(super) struct Selection {
    pub(super) keys: Vec<RowKey>,
    pub(super) filtered_out: usize,
    pub(super) finished_hidden: usize,
    pub(super) looked_at: usize,
    pub(super) depths: Depths,
}

/// The rows on screen, and what they were made for.
#[derive(Debug, Default)]
pub struct Rows {
    keys: Vec<RowKey>,
    made: Made,
    depths: Depths,
    looked_at: usize,
    /// Rows that the filter left out.
    pub filtered_out: usize,
    /// Finished tasks, or dropped resources and operations, that are hidden.
    pub finished_hidden: usize,
    made_for: Option<Request>,
    revision: u64,
    made_at: Option<Instant>,
    /// All that was known when the source attached was there.
    complete: bool,
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

    /// The cells of the row at `index`; `None` where it is gone from the model, or no
    /// table's.
    pub fn cells<'a>(
        &'a self,
        context: &Context<'a>,
        index: usize,
        placed: &[Placed],
    ) -> Option<Vec<Cell>> {
        tables::cells(context, &self.made, self.keys.get(index)?, placed)
    }

    /// The row of a table that a key names.
    pub(super) fn row<'a, T: Registered>(
        &'a self,
        model: &'a Model,
        key: &T::Key,
    ) -> Option<&'a T::Row> {
        T::row(model, T::made(&self.made), key)
    }

    /// How deep each task is in the tree; empty where tasks are no tree.
    pub fn depths(&self) -> &Depths {
        &self.depths
    }

    /// All of them are in order.
    pub(super) fn are_whole(&self) -> bool {
        let made_for = self.made_for.as_ref();
        self.keys.len() <= FIRST_ROWS || made_for.is_some_and(|request| request.whole)
    }

    /// Whether they were made for this.
    pub(super) fn are_for(&self, request: &Request) -> bool {
        self.made_for.as_ref() == Some(request)
    }

    /// Whether they have to be made anew at `now`.
    pub(super) fn are_stale(&self, snapshot: &Snapshot, request: &Request, now: Instant) -> bool {
        if !self.are_for(request) {
            return true;
        }
        let rested = self
            .made_at
            .is_none_or(|at| now.saturating_duration_since(at) >= rest(self.looked_at));
        let is_first_whole = snapshot.model.complete && !self.complete;
        self.revision != snapshot.revision && (rested || is_first_whole)
    }

    /// Makes them anew.
    pub(super) fn make(
        &mut self,
        snapshot: &Snapshot,
        context: &Context<'_>,
        request: Request,
        now: Instant,
    ) {
        self.made = Made::default();
        let selection = match request.table {
            None => overview(snapshot, request.crowded),
            Some(table) => table.table().select(context, &request, &mut self.made),
        };
        self.keys = selection.keys;
        self.filtered_out = selection.filtered_out;
        self.finished_hidden = selection.finished_hidden;
        self.looked_at = selection.looked_at;
        self.depths = selection.depths;
        self.made_for = Some(request);
        self.revision = snapshot.revision;
        self.made_at = Some(now);
        self.complete = snapshot.model.complete;
    }
}

/// Sorting 100,000 rows takes some 25 ms: every two seconds is 1.2 % of a core.
/// What the rows show is always as new as the rest of the screen.
pub(super) fn rest(looked_at: usize) -> Duration {
    match looked_at {
        0..=10_000 => Duration::ZERO,
        10_001..=50_000 => Duration::from_secs(1),
        50_001..=150_000 => Duration::from_secs(2),
        _ => Duration::from_secs(3),
    }
}

/// The cursor goes through the findings first, then through the workers.
fn overview(snapshot: &Snapshot, crowded: bool) -> Selection {
    let findings = snapshot
        .findings
        .iter()
        .map(|f| RowKey::Finding(Box::new((f.rule, f.subject.clone()))));
    let mut workers: Vec<&Worker> = snapshot.model.workers.values().collect();
    if crowded {
        workers.sort_by_key(|w| (w.state != WorkerState::Stalled, w.id));
    }
    let workers = workers.into_iter().map(|w| RowKey::Workers(w.id));
    let keys: Vec<RowKey> = findings.chain(workers).collect();
    Selection {
        looked_at: keys.len(),
        keys,
        ..Selection::default()
    }
}
