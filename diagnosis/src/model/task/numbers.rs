//! The numbers of a task, each of which may be unknown.

use std::time::Duration;

use looptop_wire::columns::Row;

use super::Task;
use crate::model::{Moment, TaskId, Tid};

/// A number that may be unknown, in the room of a number: there are as many tasks as the
/// target has, and every scan reads them all.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Packed(pub(super) u64);

impl Packed {
    pub(super) const UNKNOWN: Self = Self(u64::MAX);

    /// The greatest number of all becomes the one before it.
    pub(super) fn new(number: Option<u64>) -> Self {
        number.map_or(Self::UNKNOWN, |number| Self(number.min(u64::MAX - 1)))
    }

    pub(super) fn get(self) -> Option<u64> {
        (self != Self::UNKNOWN).then_some(self.0)
    }
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.get().fmt(f)
    }
}

macro_rules! numbers {
    ($($(#[$doc:meta])+ $name:ident: $type:ty = $read:expr, $written:expr;)+) => {
        #[derive(Debug, Clone, Copy)]
        pub(super) struct Numbers {
            $(pub(super) $name: Packed,)+
        }

        impl Numbers {
            pub(super) const UNKNOWN: Self = Self {
                $($name: Packed::UNKNOWN,)+
            };

            pub(super) fn of(row: &Row<'_>) -> Self {
                Self {
                    $($name: Packed::new($written(row)),)+
                }
            }
        }

        impl Task {
            $(
                $(#[$doc])+
                pub fn $name(&self) -> Option<$type> {
                    self.numbers.$name.get().map($read)
                }
            )+
        }
    };
}

numbers! {
    /// The id that tokio prints.
    tokio_id: u64 = u64::from, Row::tokio_id;
    /// The task that spawned it.
    parent: TaskId = TaskId, Row::parent;
    /// When it was spawned; `None` where it was there before it was looked at.
    spawned_at: Moment = Moment, Row::spawned_at_ns;
    /// When it ended; `None` while it lives.
    ended_at: Moment = Moment, |row: &Row<'_>| row.ended_at_ns().flatten();
    /// Polls that began.
    polls: u64 = u64::from, Row::polls;
    /// Time in finished polls.
    finished_busy: Duration = Duration::from_nanos, Row::busy_ns;
    /// Time between wake and poll, in finished waits.
    finished_scheduled: Duration = Duration::from_nanos, Row::scheduled_ns;
    /// Longest finished poll.
    longest_poll: Duration = Duration::from_nanos, Row::longest_poll_ns;
    /// Longest wait between wake and poll.
    longest_scheduled: Duration = Duration::from_nanos, Row::longest_scheduled_ns;
    /// Times that it was woken.
    wakes: u64 = u64::from, Row::wakes;
    /// Times that it woke itself.
    self_wakes: u64 = u64::from, Row::self_wakes;
    /// Its last wake.
    last_wake: Moment = Moment, |row: &Row<'_>| row.last_wake_at_ns().flatten();
    /// When the poll began that still runs.
    poll_started: Moment = Moment, |row: &Row<'_>| row.poll_started_at_ns().flatten();
    /// Thread of the current or last poll.
    tid: Tid = Tid, Row::tid;
    /// Since when it waits for a lock or permit of tokio's, where that is known.
    lock_wait: Moment = Moment, |row: &Row<'_>| row.lock_wait_since_ns().flatten();
    /// When its last poll ended, of a task that waits to be woken, or may.
    idle_since: Moment = Moment, |row: &Row<'_>| row.idle_since_ns().flatten();
    /// Wakers cloned; known where those dropped are.
    waker_clones: u64 = u64::from, Row::waker_clones;
    /// Wakers dropped; known where those cloned are.
    waker_drops: u64 = u64::from, Row::waker_drops;
    /// Size of the future in bytes.
    size: u64 = u64::from, Row::size_bytes;
    /// Its size before it was boxed for being large.
    original_size: u64 = u64::from, Row::original_size_bytes;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_is_not_0_and_takes_no_room() {
        for (number, expected) in [
            (None, None),
            (Some(0), Some(0)),
            (Some(u64::MAX - 1), Some(u64::MAX - 1)),
            (Some(u64::MAX), Some(u64::MAX - 1)),
        ] {
            assert_eq!(Packed::new(number).get(), expected);
        }
        assert_eq!(size_of::<Packed>(), size_of::<u64>());
        assert!(size_of::<Task>() <= 320, "{} bytes", size_of::<Task>());
    }
}
