//! Which tasks are read next.
//!
//! First one of each kind, the rare kinds before the common ones: what few tasks do, many
//! wait for. Then those that point at what others wait for, which may hold it, and those that
//! hold something, wait, and were read so once only: a ring of such is one only if they stay
//! so. Then those that were never read, of each kind as many as of the others, the oldest of each kind
//! first: whoever holds something was there before those that queue for it. Among these,
//! one in [`SHARE`], those that were read once, the oldest first. A task that has not run
//! since it was read is as it was, as far as can be seen: it comes again only after some
//! time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::tasks::SpawnIndex;

/// Of so many that are read while some were never read, one was.
const SHARE: usize = 5;
/// So many of each kind are read by their age.
const OLDEST: usize = 64;
/// What has not run since it was read is read again after so long.
pub(super) const AGAIN: Duration = Duration::from_secs(10);
/// What holds something and waits is read a second time after so long.
const SURE: Duration = Duration::from_secs(2);
/// So many of them between two listings.
const MOST_UNSURE: usize = 256;

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
    /// tokio's, which grows from one task to the next.
    pub(super) id: u64,
    /// It points at what others wait for.
    pub(super) is_pointing: bool,
    /// When it was read.
    pub(super) read_at: Option<Instant>,
    /// It has run since it was read, or something of it was to come later.
    pub(super) is_stale: bool,
    /// It holds something and waits, and was read so once only.
    pub(super) is_unsure: bool,
}

/// What is known of the waiters of one kind.
#[derive(Debug, Default)]
struct OfKind {
    /// How many there are, and how many of them were read.
    all: u32,
    read: u32,
    never: Vec<(u64, u32)>,
}

/// The positions of those that are to be read now, in the order in which they are.
pub(super) fn order(waiters: &[Waiter], now: Instant) -> Vec<u32> {
    let mut kinds: HashMap<Kind, OfKind> = HashMap::new();
    let (mut pointing, mut again) = (Vec::new(), Vec::new());
    let mut unsure = Vec::new();
    for waiter in waiters {
        let of = kinds.entry(waiter.kind).or_default();
        of.all += 1;
        let Some(read_at) = waiter.read_at else {
            if waiter.is_pointing {
                // It is there for its kind, too.
                of.read += 1;
                pointing.push(waiter.at);
            } else {
                of.never.push((waiter.id, waiter.at));
            }
            continue;
        };
        of.read += 1;
        let age = now.saturating_duration_since(read_at);
        if waiter.is_unsure && age >= SURE {
            unsure.push((age, waiter.at));
        } else if waiter.is_stale {
            again.push((age + AGAIN, waiter.at));
        } else if age >= AGAIN {
            again.push((age, waiter.at));
        }
    }
    // By how many of the kind come before, and then how many there are.
    let mut never: Vec<(u32, u32, u32)> = Vec::with_capacity(waiters.len());
    for of in kinds.values_mut() {
        let oldest = of.never.len().min(OLDEST);
        if oldest > 0 {
            of.never.select_nth_unstable(oldest - 1);
            of.never[..oldest].sort_unstable();
            // The others as they are listed.
            of.never[oldest..].sort_unstable_by_key(|(_, at)| *at);
        }
        let ranked = (of.read..).zip(&of.never);
        never.extend(ranked.map(|(rank, (_, at))| (rank, of.all, *at)));
    }
    never.sort_unstable();
    unsure.sort_by_key(|(age, _)| std::cmp::Reverse(*age));
    again.extend(unsure.split_off(unsure.len().min(MOST_UNSURE)));
    again.sort_by_key(|(age, _)| std::cmp::Reverse(*age));
    let first = never.partition_point(|(rank, ..)| *rank == 0);
    let others = pointing.len() + unsure.len() + again.len();
    let mut order = Vec::with_capacity(never.len() + others);
    order.extend(never[..first].iter().map(|(.., at)| *at));
    order.extend(pointing);
    order.extend(unsure.into_iter().map(|(_, at)| at));
    let mut again = again.into_iter().map(|(_, at)| at);
    for others in never[first..].chunks(SHARE - 1) {
        order.extend(others.iter().map(|(.., at)| *at));
        order.extend(again.next());
    }
    order.extend(again);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `KIND AGE [s|u]`: `-` was never read, `p` neither and points at what others wait for,
    /// `s` has run since, `u` holds something and was read once. Those that are listed last are the oldest, as tokio lists them.
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
                id: 1_000 - at as u64,
                is_pointing: words[1] == "p",
                read_at: words[1].parse().ok().map(read_at),
                is_stale: words.get(2) == Some(&"s"),
                is_unsure: words.get(2) == Some(&"u"),
            }
        };
        let waiters: Vec<Waiter> = waiters.iter().enumerate().map(waiter).collect();
        order(&waiters, now)
    }

    #[test]
    fn first_one_of_each_kind_then_those_never_read_then_the_oldest() {
        for (waiters, expected) in [
            // Of each kind one, of the rare ones first, and of each its oldest.
            (
                &["1 -", "1 -", "2 -", "1 -", "3 -"][..],
                &[2, 4, 3, 1, 0][..],
            ),
            // Then who may hold what others wait for.
            (&["1 -", "1 p", "2 -", "1 -", "2 -"], &[4, 1, 2, 3, 0]),
            // And who may be in a ring, if it was not read a moment ago.
            (
                &["1 -", "1 p", "1 2 u", "1 3 u", "1 1 u", "2 3", "2 -"],
                &[1, 3, 2, 6, 0],
            ),
            // Of one kind some were read: the other's turn.
            (&["1 1", "1 1", "1 -", "2 -", "2 -", "2 -"], &[5, 4, 2, 3]),
            // What has not run is as it was for a while.
            (&["1 9", "1 11", "1 30", "1 1 s", "1 3 s"], &[2, 4, 1, 3]),
            // Among those never read, one that was.
            (
                &["1 1 s", "1 2 s", "1 -", "1 -", "1 -", "1 -", "1 -", "2 -"],
                &[7, 6, 5, 4, 3, 1, 2, 0],
            ),
            (&[], &[]),
        ] {
            assert_eq!(ordered(waiters), expected, "{waiters:?}");
        }
    }

    #[test]
    fn only_the_oldest_of_many_come_before_the_others() {
        let waiters: Vec<String> = (0..200).map(|_| "1 -".to_owned()).collect();
        let waiters: Vec<&str> = waiters.iter().map(String::as_str).collect();
        let order = ordered(&waiters);
        let oldest: Vec<u32> = (136..200).rev().collect();
        let others: Vec<u32> = (0..136).collect();
        assert_eq!(order, [oldest, others].concat());
    }
}
