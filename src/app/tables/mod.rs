//! The tables: a file each, with its columns as a list.
//!
//! To add a column, add an entry to its table's list: the screen, sorting, the
//! filter and the help all read it from there. To add a table, add a file, a
//! line to [`TableId`] and a line to [`with_columns!`].

mod groups;
mod ops;
mod resources;
mod stalls;
mod strip;
mod task_groups;
mod tasks;
mod threads;
mod tree;
mod workers;

pub use groups::{StallGroup, group};
pub use resources::resource_name;
pub use stalls::cause_text;
pub use strip::{bars, level_glyph};
pub use task_groups::{TaskGroup, TaskGroupKey, TaskGrouping, group_tasks};
pub use tasks::{kind_word, state_cell};
pub use threads::role_word;
pub use tree::tree;
pub use workers::worker_name;
pub(super) use {
    groups::COLUMNS as GROUPS, ops::COLUMNS as OPS, resources::COLUMNS as RESOURCES,
    stalls::COLUMNS as STALLS, task_groups::COLUMNS as TASK_GROUPS, tasks::COLUMNS as TASKS,
    tasks::name_of, tasks::waits_for, threads::COLUMNS as THREADS, workers::COLUMNS as WORKERS,
};

use super::{
    Head,
    column::{Cell, Context, Key, Placed},
};

/// Names a table.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum TableId {
    /// All tasks.
    Tasks,
    /// Workers of all runtimes.
    Workers,
    /// Stalls one by one.
    Stalls,
    /// Stalls by culprit line.
    StallGroups,
    /// Threads of the process.
    Threads,
    /// Tasks by spawn location or name.
    TaskGroups,
    /// Locks, timers, channels.
    Resources,
    /// Operations on resources: who waits for what.
    Ops,
}

impl TableId {
    /// All of them.
    pub const ALL: [TableId; 8] = [
        TableId::Tasks,
        TableId::Workers,
        TableId::Stalls,
        TableId::StallGroups,
        TableId::Threads,
        TableId::TaskGroups,
        TableId::Resources,
        TableId::Ops,
    ];
}

/// Evaluates `$body` with `$columns` as the list of the table's columns.
macro_rules! with_columns {
    ($table:expr, $columns:ident => $body:expr) => {
        match $table {
            TableId::Tasks => {
                let $columns = tasks::COLUMNS;
                $body
            }
            TableId::Workers => {
                let $columns = workers::COLUMNS;
                $body
            }
            TableId::Stalls => {
                let $columns = stalls::COLUMNS;
                $body
            }
            TableId::StallGroups => {
                let $columns = groups::COLUMNS;
                $body
            }
            TableId::Threads => {
                let $columns = threads::COLUMNS;
                $body
            }
            TableId::TaskGroups => {
                let $columns = task_groups::COLUMNS;
                $body
            }
            TableId::Resources => {
                let $columns = resources::COLUMNS;
                $body
            }
            TableId::Ops => {
                let $columns = ops::COLUMNS;
                $body
            }
        }
    };
}

/// The columns of a table, as they are laid out and named.
pub fn heads(table: TableId) -> Vec<&'static Head> {
    with_columns!(table, columns => columns.iter().map(|c| &c.head).collect())
}

/// The columns of a table as this program needs them: workers of several runtimes
/// have longer names.
pub fn heads_for(table: TableId, model: &crate::model::Model) -> Vec<Head> {
    let mut heads: Vec<Head> = heads(table).into_iter().copied().collect();
    if table == TableId::Workers {
        let width = workers::name_width(model);
        let name = heads.iter_mut().find(|head| head.id == "worker");
        if let Some(name) = name {
            (name.width, name.easy, name.most) = (width, width, width);
        }
    }
    heads
}

/// The column that sorts a table until the user chooses another.
pub fn default_sort(table: TableId) -> usize {
    let id = match table {
        TableId::Tasks | TableId::TaskGroups => "busy%",
        TableId::Workers => "worker",
        TableId::Stalls => "ago",
        TableId::StallGroups | TableId::Ops => "total",
        TableId::Threads => "cpu",
        TableId::Resources => "ops",
    };
    heads(table).iter().position(|h| h.id == id).unwrap_or(0)
}

/// A row with its table, to be formatted or matched.
#[derive(Debug, Clone, Copy)]
pub enum Row<'a> {
    /// A task.
    Task(&'a crate::model::Task),
    /// A worker.
    Worker(&'a crate::model::Worker),
    /// A stall.
    Stall(&'a crate::model::Stall),
    /// Stalls of one culprit.
    Group(&'a StallGroup),
    /// A thread.
    Thread(&'a crate::model::Thread),
    /// Tasks of one location or name.
    TaskGroup(&'a TaskGroup),
    /// A resource.
    Resource(&'a crate::model::Resource),
    /// An operation on one.
    Op(&'a crate::model::AsyncOp),
}

impl<'a> Row<'a> {
    /// The cells of the columns in `placed`.
    pub fn cells(self, context: &Context<'a>, placed: &[Placed]) -> Vec<Cell> {
        let cell = |p: &Placed| self.cell(context, p.index, usize::from(p.width));
        placed.iter().map(cell).collect()
    }

    /// One cell, formatted for `width` columns.
    pub fn cell(self, context: &Context<'a>, column: usize, width: usize) -> Cell {
        match self {
            Row::Task(r) => (tasks::COLUMNS[column].cell)(context, r, width),
            Row::Worker(r) => (workers::COLUMNS[column].cell)(context, r, width),
            Row::Stall(r) => (stalls::COLUMNS[column].cell)(context, r, width),
            Row::Group(r) => (groups::COLUMNS[column].cell)(context, r, width),
            Row::Thread(r) => (threads::COLUMNS[column].cell)(context, r, width),
            Row::TaskGroup(r) => (task_groups::COLUMNS[column].cell)(context, r, width),
            Row::Resource(r) => (resources::COLUMNS[column].cell)(context, r, width),
            Row::Op(r) => (ops::COLUMNS[column].cell)(context, r, width),
        }
    }

    /// The key of a column.
    pub fn key(self, context: &Context<'a>, column: usize) -> Key<'a> {
        match self {
            Row::Task(r) => (tasks::COLUMNS[column].key)(context, r),
            Row::Worker(r) => (workers::COLUMNS[column].key)(context, r),
            Row::Stall(r) => (stalls::COLUMNS[column].key)(context, r),
            Row::Group(r) => (groups::COLUMNS[column].key)(context, r),
            Row::Thread(r) => (threads::COLUMNS[column].key)(context, r),
            Row::TaskGroup(r) => (task_groups::COLUMNS[column].key)(context, r),
            Row::Resource(r) => (resources::COLUMNS[column].key)(context, r),
            Row::Op(r) => (ops::COLUMNS[column].key)(context, r),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_named_once_and_explained() {
        for table in TableId::ALL {
            let heads = heads(table);
            for (n, head) in heads.iter().enumerate() {
                assert!(!head.help.is_empty(), "{table:?} {}", head.id);
                assert!(
                    head.id
                        .chars()
                        .all(|c| c.is_ascii_lowercase() || "%-".contains(c))
                );
                assert_eq!(
                    heads.iter().position(|h| h.id == head.id),
                    Some(n),
                    "{}",
                    head.id
                );
                assert!(
                    usize::from(head.width) >= head.title.len() || head.grow > 0,
                    "{}",
                    head.id
                );
            }
            assert!(
                heads.iter().any(|h| h.searched),
                "{table:?} can be searched"
            );
            assert!(
                heads.iter().any(|h| h.priority == 0),
                "{table:?} keeps a column"
            );
        }
    }
}
