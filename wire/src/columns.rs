//! Checked access to the columns of [`Tasks`].
//!
//! A column is as long as `id`, or empty: unknown for all. Whatever a peer
//! sends, reading a [`Row`] cannot fail: [`check`] names the malformed column
//! first, and a missing value is `None`.

use std::collections::HashSet;

use crate::proto::{TaskKind, TaskState, Tasks};

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

macro_rules! for_each_column {
    ($do:ident) => {
        $do!(
            state,
            kind,
            name,
            location,
            parent,
            spawned_at_ns,
            ended_at_ns,
            polls,
            busy_ns,
            scheduled_ns,
            longest_poll_ns,
            wakes,
            self_wakes,
            last_wake_at_ns,
            poll_started_at_ns,
            tid,
            waker_clones,
            waker_drops,
            size_bytes,
            original_size_bytes,
            tokio_id,
            runtime,
            fields,
            longest_scheduled_ns,
            lock_wait_since_ns,
            idle_since_ns
        )
    };
}

/// Checks that every column is as long as `id`, or empty.
pub fn check(tasks: &Tasks) -> Result<(), Malformed> {
    let rows = tasks.id.len();
    macro_rules! check_all {
        ($($column:ident),*) => {$(
            let len = tasks.$column.len();
            if len != 0 && len != rows {
                return Err(Malformed { column: stringify!($column), len, rows });
            }
        )*};
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
        ($($column:ident),*) => {$(
            if !tasks.$column.is_empty() {
                tail.$column = tasks.$column.split_off(at.min(tasks.$column.len()));
            }
        )*};
    }
    for_each_column!(split_all);
    tail
}

/// Takes the rows of `newer` into `older`: of a task in both the newer row
/// counts, and tasks that `gone` names are left out of the older. Both must have
/// passed [`check`]. `false`, and nothing is changed, where they do not supply
/// the same columns.
pub fn merge(older: &mut Tasks, newer: &Tasks, gone: &[u64]) -> bool {
    if newer.id.is_empty() && gone.is_empty() {
        return true;
    }
    let (old_rows, new_rows) = (older.id.len(), newer.id.len());
    let both = old_rows > 0 && new_rows > 0;
    let mut alike = true;
    macro_rules! compare_all {
        ($($column:ident),*) => {$(
            alike &= !both || older.$column.is_empty() == newer.$column.is_empty();
        )*};
    }
    for_each_column!(compare_all);
    if !alike {
        return false;
    }
    let superseded: HashSet<u64> = newer.id.iter().chain(gone).copied().collect();
    let kept: Vec<usize> = (0..old_rows)
        .filter(|i| !superseded.contains(&older.id[*i]))
        .collect();
    macro_rules! merge_all {
        ($($column:ident),*) => {$(
            let old = std::mem::take(&mut older.$column);
            older.$column = kept.iter().filter_map(|i| old.get(*i).copied()).collect();
            older.$column.extend(&newer.$column);
        )*};
    }
    merge_all!(id);
    for_each_column!(merge_all);
    true
}

/// One task of a [`Tasks`] message. Instants that the protocol sends "plus 1,
/// 0 for none" are plain here.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    tasks: &'a Tasks,
    index: usize,
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)*) => {$(
        $(#[$doc])*
        pub fn $name(&self) -> Option<$type> {
            self.tasks.$name.get(self.index).copied()
        }
    )*};
}

macro_rules! nonzero {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)*) => {$(
        $(#[$doc])*
        pub fn $name(&self) -> Option<$type> {
            self.tasks.$name.get(self.index).copied().filter(|n| *n != 0)
        }
    )*};
}

macro_rules! instants {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// The outer `None` is unknown, the inner one "no such instant".
        #[allow(clippy::option_option)]
        pub fn $name(&self) -> Option<Option<u64>> {
            self.tasks.$name.get(self.index).map(|n| n.checked_sub(1))
        }
    )*};
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

    /// Its state.
    pub fn state(&self) -> TaskState {
        let state = self.tasks.state.get(self.index).copied();
        state.and_then(|s| s.try_into().ok()).unwrap_or_default()
    }

    /// Its kind.
    pub fn kind(&self) -> TaskKind {
        let kind = self.tasks.kind.get(self.index).copied();
        kind.and_then(|k| k.try_into().ok()).unwrap_or_default()
    }

    nonzero! {
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
    }

    /// The runtime it runs on.
    pub fn runtime(&self) -> Option<u32> {
        self.tasks
            .runtime
            .get(self.index)
            .and_then(|n| n.checked_sub(1))
    }

    numbers! {
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

    instants! {
        /// When it ended.
        ended_at_ns;
        /// When it was last woken.
        last_wake_at_ns;
        /// When the poll began that still runs.
        poll_started_at_ns;
        /// Since when it waits for a lock or permit of tokio's.
        lock_wait_since_ns;
        /// When its last poll ended, of a task that waits to be woken.
        idle_since_ns;
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

    #[test]
    fn merging_keeps_the_newer_row() {
        let mut older = two_tasks();
        let newer = Tasks {
            id: vec![older.id[1], 99],
            polls: vec![40, 50],
            state: vec![1, 1],
            name: vec![0, 0],
            ended_at_ns: vec![0, 0],
            ..Tasks::default()
        };
        let first = older.id[0];
        assert!(merge(&mut older, &newer, &[]));
        check(&older).unwrap();
        assert_eq!(older.id, [first, newer.id[0], 99]);
        assert_eq!(older.polls, [3, 40, 50]);
        assert!(merge(&mut older, &Tasks::default(), &[first]));
        assert_eq!(older.polls, [40, 50]);
        let other = Tasks {
            id: vec![1],
            ..Tasks::default()
        };
        let before = older.clone();
        assert!(
            !merge(&mut older, &other, &[]),
            "polls are unknown in one of them"
        );
        assert_eq!(older, before);
    }
}
