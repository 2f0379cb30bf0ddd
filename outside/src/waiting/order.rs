//! Which tasks are read next.
//!
//! First one of each kind, then those that were never read, of each kind as many as of the
//! others; among these, one in [`SHARE`], those that were read once, the oldest first. A
//! task that has not run since it was read is as it was, as far as can be seen: it comes
//! again only after some time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::tasks::SpawnIndex;

/// Of so many that are read while some were never read, one was.
const SHARE: usize = 5;
/// What has not run since it was read is read again after so long.
pub(super) const AGAIN: Duration = Duration::from_secs(10);

/// What kind of task: those of one kind mostly wait at the same places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    pub(super) vtable: u64,
    /// Where it was spawned, where that is known.
    pub(super) spawned_at: Option<SpawnIndex>,
}

/// A task that waits, by its position in a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) at: u32,
    pub(super) kind: Kind,
    /// When it was read.
    pub(super) read_at: Option<Instant>,
    /// It has run since it was read, or something of it was to come later.
    pub(super) is_stale: bool,
}

/// The positions of those that are to be read now, in the order in which they are.
pub(super) fn order(waiters: &[Waiter], now: Instant) -> Vec<u32> {
    let mut of_kind: HashMap<Kind, u32> = HashMap::new();
    for waiter in waiters.iter().filter(|waiter| waiter.read_at.is_some()) {
        *of_kind.entry(waiter.kind).or_default() += 1;
    }
    let mut never = Vec::new();
    let mut again = Vec::new();
    for waiter in waiters {
        let Some(read_at) = waiter.read_at else {
            let rank = of_kind.entry(waiter.kind).or_default();
            never.push((*rank, waiter.at));
            *rank += 1;
            continue;
        };
        let age = now.saturating_duration_since(read_at);
        if waiter.is_stale {
            again.push((age + AGAIN, waiter.at));
        } else if age >= AGAIN {
            again.push((age, waiter.at));
        }
    }
    // Both keep the order of the listing among equals.
    never.sort_by_key(|(rank, _)| *rank);
    again.sort_by_key(|(age, _)| std::cmp::Reverse(*age));
    let first = never.partition_point(|(rank, _)| *rank == 0);
    let mut order = Vec::with_capacity(never.len() + again.len());
    order.extend(never[..first].iter().map(|(_, at)| *at));
    let mut again = again.into_iter().map(|(_, at)| at);
    for others in never[first..].chunks(SHARE - 1) {
        order.extend(others.iter().map(|(_, at)| *at));
        order.extend(again.next());
    }
    order.extend(again);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `KIND AGE [s]`: `-` was never read, `s` has run since.
    fn ordered(waiters: &[&str]) -> Vec<u32> {
        let now = Instant::now() + Duration::from_secs(1_000);
        let waiter = |(at, text): (usize, &&str)| {
            let words: Vec<&str> = text.split(' ').collect();
            let read_at = |age: u64| now.checked_sub(Duration::from_secs(age)).unwrap();
            Waiter {
                at: at as u32,
                kind: Kind {
                    vtable: words[0].parse().unwrap(),
                    spawned_at: None,
                },
                read_at: words[1].parse().ok().map(read_at),
                is_stale: words.len() > 2,
            }
        };
        let waiters: Vec<Waiter> = waiters.iter().enumerate().map(waiter).collect();
        order(&waiters, now)
    }

    #[test]
    fn first_one_of_each_kind_then_those_never_read_then_the_oldest() {
        for (waiters, expected) in [
            (
                &["1 -", "1 -", "2 -", "1 -", "3 -"][..],
                &[0, 2, 4, 1, 3][..],
            ),
            // Of one kind some were read: the other's turn.
            (&["1 1", "1 1", "1 -", "2 -", "2 -", "2 -"], &[3, 4, 2, 5]),
            // What has not run is as it was for a while.
            (&["1 9", "1 11", "1 30", "1 1 s", "1 3 s"], &[2, 4, 1, 3]),
            // Among those never read, one that was.
            (
                &["1 1 s", "1 2 s", "1 -", "1 -", "1 -", "1 -", "1 -", "2 -"],
                &[7, 2, 3, 4, 5, 1, 6, 0],
            ),
            (&[], &[]),
        ] {
            assert_eq!(ordered(waiters), expected, "{waiters:?}");
        }
    }
}
