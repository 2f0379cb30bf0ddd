//! Reading and writing the columns of [`Tasks`].
//!
//! A column is as long as `id`, or empty: unknown for all. Whatever a peer
//! sends, reading a [`Row`] cannot fail: [`check`] names the malformed column
//! first, and a missing value is `None`. A [`Record`] is written by [`push`], or
//! among others by a [`Writer`]; what is read is what was written.

use std::collections::BTreeMap;

use crate::{
    instant,
    proto::{Certainty, TaskKind, TaskState, Tasks},
};

/// A column of [`Tasks`] whose length fits neither rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// The column's name in the protocol.
    pub column: &'static str,
    /// How long it is.
    pub len: usize,
    /// How many ids there are.
    pub rows: usize,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { column, len, rows } = self;
        write!(
            f,
            "task column `{column}` has {len} entries for {rows} tasks"
        )
    }
}

impl std::error::Error for Malformed {}

/// All columns but `id`, by how they say that something is unknown or none.
macro_rules! for_each_column {
    ($do:ident) => {
        $do! {
            // 0 is unknown.
            enums {
                /// Its state.
                state: TaskState;
                /// Its kind.
                kind: TaskKind;
                /// Whether the name of its future's type is certain.
                future_certainty: Certainty;
            }
            // The value plus 1; 0 is unknown.
            plus_one {
                /// The runtime it runs on.
                runtime: u32;
            }
            // 0 is none, or unknown.
            nonzero {
                /// Interned name.
                name: u32;
                /// Spawn location.
                location: u32;
                /// The task that spawned it.
                parent: u64;
                /// Thread of the current or last poll.
                tid: u64;
                /// Bytes of the future.
                size_bytes: u64;
                /// Bytes of the future before it was boxed.
                original_size_bytes: u64;
                /// The id that tokio prints.
                tokio_id: u64;
                /// Interned text of further fields.
                fields: u32;
                /// Interned name of its future's type.
                future: u32;
                /// Where the async fn stands that made its future.
                future_location: u32;
            }
            // Unknown of all, or known of all.
            numbers {
                /// When it was spawned, ns on the agent's clock.
                spawned_at_ns: u64;
                /// Polls that began.
                polls: u64;
                /// Time in finished polls, ns.
                busy_ns: u64;
                /// Time between wake and poll, ns.
                scheduled_ns: u64;
                /// Longest finished poll, ns.
                longest_poll_ns: u64;
                /// Longest wait between wake and poll, ns.
                longest_scheduled_ns: u64;
                /// Times that it was woken.
                wakes: u64;
                /// Times that it woke itself.
                self_wakes: u64;
                /// Wakers cloned.
                waker_clones: u64;
                /// Wakers dropped.
                waker_drops: u64;
            }
            // Unknown of all, or known of all, and then an instant or none.
            instants {
                /// When it ended.
                ended_at_ns: u64;
                /// When it was last woken.
                last_wake_at_ns: u64;
                /// When the poll began that still runs.
                poll_started_at_ns: u64;
                /// Since when it waits for a lock or permit of tokio's.
                lock_wait_since_ns: u64;
                /// When its last poll ended, of a task that waits to be woken.
                idle_since_ns: u64;
            }
        }
    };
}

/// Checks that every column is as long as `id`, or empty.
pub fn check(tasks: &Tasks) -> Result<(), Malformed> {
    let rows = tasks.id.len();
    macro_rules! check_all {
        ($($group:ident { $($(#[$doc:meta])* $column:ident: $type:ty;)* })*) => {$($(
            let len = tasks.$column.len();
            if len != 0 && len != rows {
                return Err(Malformed { column: stringify!($column), len, rows });
            }
        )*)*};
    }
    for_each_column!(check_all);
    Ok(())
}

/// Moves the rows from `at` on into a new [`Tasks`].
pub(crate) fn split_off(tasks: &mut Tasks, at: usize) -> Tasks {
    let mut tail = Tasks {
        id: tasks.id.split_off(at),
        ..Tasks::default()
    };
    macro_rules! split_all {
        ($($group:ident { $($(#[$doc:meta])* $column:ident: $type:ty;)* })*) => {$($(
            if !tasks.$column.is_empty() {
                tail.$column = tasks.$column.split_off(at.min(tasks.$column.len()));
            }
        )*)*};
    }
    for_each_column!(split_all);
    tail
}

macro_rules! define {
    (
        enums { $($(#[$enum_doc:meta])* $enum:ident: $enum_type:ty;)* }
        plus_one { $($(#[$plus_doc:meta])* $plus:ident: $plus_type:ty;)* }
        nonzero { $($(#[$nonzero_doc:meta])* $nonzero:ident: $nonzero_type:ty;)* }
        numbers { $($(#[$number_doc:meta])* $number:ident: $number_type:ty;)* }
        instants { $($(#[$instant_doc:meta])* $instant:ident: $instant_type:ty;)* }
    ) => {
        /// One task as a writer knows it.
        ///
        /// `None` is unknown, or none where a column does not distinguish the two. Of
        /// instants the outer `None` is unknown, the inner one "no such instant".
        #[allow(clippy::option_option)]
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Record {
            /// The task's id, unique within the session.
            pub id: u64,
            $($(#[$enum_doc])* pub $enum: $enum_type,)*
            $($(#[$plus_doc])* pub $plus: Option<$plus_type>,)*
            $($(#[$nonzero_doc])* pub $nonzero: Option<$nonzero_type>,)*
            $($(#[$number_doc])* pub $number: Option<$number_type>,)*
            $($(#[$instant_doc])* pub $instant: Option<Option<$instant_type>>,)*
        }

        impl Record {
            /// The columns that must be there for it, and for whatever shares its
            /// message: a bit for each.
            fn known(&self) -> u32 {
                let mut known = 0;
                $(known = (known << 1) | u32::from(self.$number.is_some());)*
                $(known = (known << 1) | u32::from(self.$instant.is_some());)*
                known
            }
        }

        /// Adds a task. All tasks of one message must have the same numbers and
        /// instants that are not `None`; see [`Writer`].
        #[inline]
        pub fn push(tasks: &mut Tasks, record: &Record) {
            let rows = tasks.id.len();
            tasks.id.push(record.id);
            $(push_or_leave(&mut tasks.$enum, rows, record.$enum.into());)*
            $(
                let plus_one = record.$plus.map_or(0, |value| value.saturating_add(1));
                push_or_leave(&mut tasks.$plus, rows, plus_one);
            )*
            $(push_or_leave(&mut tasks.$nonzero, rows, record.$nonzero.unwrap_or_default());)*
            $(tasks.$number.extend(record.$number);)*
            $(tasks.$instant.extend(record.$instant.map(instant::write));)*
            debug_assert_eq!(check(tasks), Ok(()), "tasks of one message know the same");
        }

        impl Row<'_> {
            $(
                $(#[$enum_doc])*
                pub fn $enum(&self) -> $enum_type {
                    let value = self.tasks.$enum.get(self.index).copied();
                    value.and_then(|value| value.try_into().ok()).unwrap_or_default()
                }
            )*
            $(
                $(#[$plus_doc])*
                pub fn $plus(&self) -> Option<$plus_type> {
                    self.tasks.$plus.get(self.index).and_then(|value| value.checked_sub(1))
                }
            )*
            $(
                $(#[$nonzero_doc])*
                pub fn $nonzero(&self) -> Option<$nonzero_type> {
                    self.tasks.$nonzero.get(self.index).copied().filter(|value| *value != 0)
                }
            )*
            $(
                $(#[$number_doc])*
                pub fn $number(&self) -> Option<$number_type> {
                    self.tasks.$number.get(self.index).copied()
                }
            )*
            $(
                $(#[$instant_doc])*
                ///
                /// The outer `None` is unknown, the inner one "no such instant".
                #[allow(clippy::option_option)]
                pub fn $instant(&self) -> Option<Option<$instant_type>> {
                    self.tasks.$instant.get(self.index).map(|value| instant::read(*value))
                }
            )*

            /// All of it.
            pub fn record(&self) -> Record {
                Record {
                    id: self.id(),
                    $($enum: self.$enum(),)*
                    $($plus: self.$plus(),)*
                    $($nonzero: self.$nonzero(),)*
                    $($number: self.$number(),)*
                    $($instant: self.$instant(),)*
                }
            }
        }
    };
}
for_each_column!(define);

/// Where 0 says as much as a missing column, the column begins with the first value
/// that is not 0.
#[inline]
fn push_or_leave<T: Copy + Default + PartialEq>(column: &mut Vec<T>, rows: usize, value: T) {
    if column.is_empty() {
        if value == T::default() {
            return;
        }
        column.resize(rows, T::default());
    }
    column.push(value);
}

/// Tasks to messages: those of which different things are known go into different
/// ones, because a column is there for all of a message or for none.
#[derive(Debug, Default)]
pub struct Writer {
    messages: BTreeMap<u32, Tasks>,
}

impl Writer {
    /// Adds a task.
    pub fn push(&mut self, record: &Record) {
        push(self.messages.entry(record.known()).or_default(), record);
    }

    /// The messages, none of them empty.
    pub fn finish(self) -> impl Iterator<Item = Tasks> {
        self.messages.into_values()
    }
}

/// One task of a [`Tasks`] message, to be read. Instants that the protocol sends "plus
/// 1, 0 for none" are plain here.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    tasks: &'a Tasks,
    index: usize,
}

impl<'a> Row<'a> {
    /// The rows of `tasks`.
    pub fn all(tasks: &'a Tasks) -> impl Iterator<Item = Row<'a>> {
        (0..tasks.id.len()).map(move |index| Row { tasks, index })
    }

    /// The task's id, unique within the session.
    pub fn id(&self) -> u64 {
        self.tasks.id.get(self.index).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_tasks() -> Tasks {
        Tasks {
            id: vec![7, 8],
            state: vec![TaskState::Idle.into(), 99],
            polls: vec![3, 4],
            name: vec![0, 5],
            ended_at_ns: vec![0, 1],
            ..Tasks::default()
        }
    }

    #[test]
    fn rows_tell_unknown_from_none() {
        let tasks = two_tasks();
        check(&tasks).unwrap();
        let rows: Vec<_> = Row::all(&tasks).collect();
        assert_eq!(rows[0].id(), 7);
        assert_eq!(rows[0].state(), TaskState::Idle);
        assert_eq!(
            rows[1].state(),
            TaskState::Unknown,
            "a value from the future"
        );
        assert_eq!((rows[0].name(), rows[1].name()), (None, Some(5)));
        assert_eq!(
            (rows[0].ended_at_ns(), rows[1].ended_at_ns()),
            (Some(None), Some(Some(0)))
        );
        assert_eq!(rows[0].wakes(), None, "an empty column is unknown");
        assert_eq!(rows[1].polls(), Some(4));
    }

    #[test]
    fn tasks_of_which_different_things_are_known_do_not_share_a_message() {
        let record = |id, polls, name| Record {
            id,
            polls,
            name,
            ended_at_ns: Some(None),
            ..Record::default()
        };
        let mut writer = Writer::default();
        writer.push(&record(1, Some(10), None));
        writer.push(&record(2, None, Some(7)));
        writer.push(&record(3, Some(30), Some(8)));
        let messages: Vec<Tasks> = writer.finish().collect();
        let rows = |tasks: &Tasks| (tasks.id.clone(), tasks.polls.clone(), tasks.name.clone());
        assert_eq!(
            messages.iter().map(rows).collect::<Vec<_>>(),
            [
                (vec![2], vec![], vec![7]),
                (vec![1, 3], vec![10, 30], vec![0, 8])
            ]
        );
        assert!(messages[0].parent.is_empty(), "none of them has one");
        assert_eq!(messages[0].ended_at_ns, [0], "known to live");
        assert!(messages[0].idle_since_ns.is_empty());
    }

    #[test]
    fn a_short_column_is_named() {
        let tasks = Tasks {
            wakes: vec![1],
            ..two_tasks()
        };
        let error = check(&tasks).unwrap_err();
        assert_eq!(
            error.to_string(),
            "task column `wakes` has 1 entries for 2 tasks"
        );
    }

    #[test]
    fn splitting_keeps_rows_together() {
        let mut head = two_tasks();
        let tail = split_off(&mut head, 1);
        check(&head).unwrap();
        check(&tail).unwrap();
        assert_eq!((head.polls, tail.polls), (vec![3], vec![4]));
        assert!(tail.wakes.is_empty());
    }
}
