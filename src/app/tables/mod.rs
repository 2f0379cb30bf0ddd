//! The tables: a file each, and the registry.
//!
//! To add a column, add an entry to the list of its table: the screen, sorting, the
//! filter, the help and `docs/keys.md` all read it from there.
//!
//! To add a table, add a file with a type that is a [`Table`], its `mod` and its line
//! in `tables!`. A view shows it (`app/views/`).

mod ops;
mod resources;
mod stall_groups;
mod stalls;
mod strip;
mod table;
mod task_groups;
mod task_list;
mod tasks;
mod threads;
mod tree;
mod wait_chains;
mod waiting;
mod waits;
mod workers;

pub use resources::resource_name;
pub(super) use stall_groups::close_group;
pub use stall_groups::{StallGroup, group};
pub use stalls::cause_text;
pub use strip::{bars, level_glyph};
pub(super) use table::AnyTable;
pub use table::{Below, Depths, Registered, Table};
pub use task_groups::{TaskGroup, TaskGroupKey, TaskGrouping, group_tasks};
pub use task_list::{ListedTask, TaskList, TaskQuery, list_tasks};
pub(super) use tasks::{future_size, name_of, waits_for};
pub use tasks::{kind_word, state_cell};
pub use threads::role_word;
pub use tree::tree;
pub use workers::{none_seen as no_worker_seen, worker_name};

use crate::{diagnose::Subject, model::Model};

use super::{
    Head, Sort, State,
    column::{Cell, Context, Placed},
};

/// Makes of each line an id, a key for its rows, and a place for what they are read
/// from. The type has the id's name and is in the file.
macro_rules! tables {
    ($($(#[$doc:meta])+ $id:ident = $file:ident,)+) => {
        /// Names a table.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord,
            serde::Serialize, serde::Deserialize,
        )]
        #[serde(rename_all = "kebab-case")]
        pub enum TableId {
            $($(#[$doc])+ $id,)+
        }

        impl TableId {
            /// All of them.
            pub const ALL: &'static [TableId] = &[$(TableId::$id,)+];

            pub(super) fn table(self) -> &'static dyn AnyTable {
                match self {
                    $(TableId::$id => &$file::$id,)+
                }
            }
        }

        /// Which thing a row shows; the cursor follows it wherever the row goes.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub enum RowKey {
            $(
                #[doc = concat!("A row of [`TableId::", stringify!($id), "`].")]
                $id(<$file::$id as Table>::Key),
            )+
            /// A finding, which is in a list and in no table: rule and subject.
            Finding(Box<(&'static str, Subject)>),
        }

        impl RowKey {
            /// The table whose row it is.
            pub fn table(&self) -> Option<TableId> {
                match self {
                    $(RowKey::$id(_) => Some(TableId::$id),)+
                    RowKey::Finding(_) => None,
                }
            }
        }

        /// What the rows of each table are read from besides the model.
        #[derive(Debug, Default)]
        pub struct Made {
            $($file: <$file::$id as Table>::Made,)+
        }

        $(
            impl Registered for $file::$id {
                const ID: TableId = TableId::$id;

                fn wrap(key: Self::Key) -> RowKey {
                    RowKey::$id(key)
                }

                fn unwrap(key: &RowKey) -> Option<&Self::Key> {
                    match key {
                        RowKey::$id(key) => Some(key),
                        _ => None,
                    }
                }

                fn made(made: &Made) -> &Self::Made {
                    &made.$file
                }

                fn made_mut(made: &mut Made) -> &mut Self::Made {
                    &mut made.$file
                }
            }
        )+
    };
}

tables! {
    /// All tasks.
    Tasks = tasks,
    /// Workers of all runtimes.
    Workers = workers,
    /// Stalls one by one.
    Stalls = stalls,
    /// Stalls by culprit line.
    StallGroups = stall_groups,
    /// Threads of the process.
    Threads = threads,
    /// Tasks by spawn location or name.
    TaskGroups = task_groups,
    /// Locks, timers, channels.
    Resources = resources,
    /// Operations on resources: who waits for what.
    Ops = ops,
    /// Those who wait, by what they wait for.
    Waits = waits,
    /// Those who wait, by their await chain.
    WaitChains = wait_chains,
    /// Those who wait, one by one.
    Waiting = waiting,
}

/// The columns of a table, as they are laid out and named.
pub fn heads(table: TableId) -> Vec<&'static Head> {
    table.table().heads()
}

/// The columns of a table as wide as this program needs them.
pub fn heads_for(table: TableId, model: &Model) -> Vec<Head> {
    let mut heads: Vec<Head> = heads(table).into_iter().copied().collect();
    table.table().fit(&mut heads, model);
    heads
}

/// How a table is sorted until the user chooses.
pub fn default_sort(table: TableId) -> Sort {
    table.table().sort()
}

/// How a table is sorted where no row of a session has what it is to be sorted by.
pub fn other_sort(table: TableId) -> Sort {
    table.table().other_sort()
}

/// A table's name, and what the rule above it says besides.
pub fn title(table: TableId, state: &State) -> (&'static str, String) {
    table.table().title(state)
}

/// Why a table has no row, as a sentence.
pub fn empty(table: TableId, state: &State) -> String {
    table.table().empty(state)
}

/// What stands below a table, where it leaves room for that.
pub fn below(table: TableId) -> Option<Below> {
    table.table().below()
}

/// The cells of a row; `None` where it is gone, or in no table.
pub(super) fn cells<'a>(
    context: &Context<'a>,
    made: &'a Made,
    key: &RowKey,
    placed: &[Placed],
) -> Option<Vec<Cell>> {
    key.table()?.table().cells(context, made, key, placed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_named_once_and_explained() {
        for table in TableId::ALL.iter().copied() {
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
