//! Which span is which task's, for the spans of other people's subscribers.
//!
//! The registry could keep that with each span, for some 190 bytes and two
//! allocations a task. A map from the span's id costs a tenth; `Local::traced`
//! is the cache before it. The links of the map are in the records.

use std::sync::Mutex;
use std::sync::atomic::AtomicU32;

use super::index::{Index, Nodes};
use super::record::{Handle, Wake};
use super::{Table, empty_index};
use crate::sync::lock;

/// Parts that are written under a lock of their own.
const PARTS: usize = 64;

/// Whose span it is, and its id: spans of two subscribers may share an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SpanKey {
    pub(super) realm: u16,
    pub(super) span: u64,
}

/// The tasks of open spans. Bounded by the live tasks that the table admits.
#[derive(Debug)]
pub(super) struct Spans([Part; PARTS]);

/// Alone in its cache lines: threads that spawn at the same time use several.
#[derive(Debug)]
#[repr(align(128))]
struct Part {
    index: Index,
    /// The number of spans, and the lock of those who write.
    held: Mutex<usize>,
}

impl Spans {
    #[allow(clippy::large_stack_arrays, reason = "evaluated for a static")]
    pub(super) const fn new() -> Self {
        let mut parts = [const { Part::new() }; PARTS];
        let mut number = 1;
        while number < PARTS {
            parts[number].index.part = number as u32;
            number += 1;
        }
        Self(parts)
    }

    fn part(&self, hash: usize) -> &Part {
        // Not the bits by which the part chooses its bucket.
        &self.0[(hash >> 48) % PARTS]
    }

    /// The record of the task to which the span belongs. Takes no lock.
    pub(super) fn find(&self, table: &Table, key: SpanKey) -> Option<Handle> {
        let hash = spread(key);
        let node = self.part(hash).index.find(&Records(table), hash, key)?;
        table.record(node)
    }

    /// The span is open from now on, and the task's.
    pub(super) fn insert(&self, table: &Table, key: SpanKey, task: Handle) {
        let Some(wake) = task.wake() else { return };
        // A span whose end nobody has reported.
        self.remove(table, task);
        wake.set_span(Some(key));
        let part = self.part(spread(key));
        let mut held = lock(&part.held);
        *held += 1;
        part.index.insert(&Records(table), task.number(), *held);
    }

    /// The task's span has closed: its id may come again.
    pub(super) fn remove(&self, table: &Table, task: Handle) {
        let Some((wake, key)) = task.wake().and_then(|wake| Some((wake, wake.span()?))) else {
            return;
        };
        let part = self.part(spread(key));
        let mut held = lock(&part.held);
        if wake.span() == Some(key) {
            *held -= 1;
            part.index.remove(&Records(table), task.number());
            wake.set_span(None);
        }
    }
}

impl Part {
    const fn new() -> Self {
        Self {
            index: empty_index(),
            held: Mutex::new(0),
        }
    }
}

/// All records of a table, each by its number.
struct Records<'a>(&'a Table);

impl Records<'_> {
    fn wake(&self, node: u32) -> Option<&'static Wake> {
        self.0.record(node)?.wake()
    }
}

impl Nodes for Records<'_> {
    type Key = SpanKey;

    fn is(&self, node: u32, key: SpanKey) -> bool {
        self.wake(node).and_then(Wake::span) == Some(key)
    }

    fn hash(&self, node: u32) -> usize {
        self.wake(node).and_then(Wake::span).map_or(0, spread)
    }

    fn link(&self, node: u32, set: usize) -> &AtomicU32 {
        // Only records with a wake part are ever inserted.
        static NOWHERE: AtomicU32 = AtomicU32::new(u32::MAX);
        self.wake(node)
            .map_or(&NOWHERE, |wake| &wake.span_links[set])
    }
}

/// Ids of spans differ in few, neighbouring bits.
fn spread(key: SpanKey) -> usize {
    let mixed = key.span ^ u64::from(key.realm).rotate_left(40);
    let product = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (product ^ (product >> 32)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Birth;

    fn table() -> &'static Table {
        Box::leak(Box::new(Table::new()))
    }

    fn task(table: &Table, id: u64) -> Handle {
        let birth = Birth {
            id,
            traced: true,
            ..Birth::default()
        };
        table.spawn(&birth, None, None).expect("there is room")
    }

    #[test]
    fn a_span_leads_to_its_task_until_it_closes() {
        let (table, spans) = (table(), Spans::new());
        let key = |n: u64, realm| SpanKey {
            realm,
            span: n << 40 | 7,
        };
        for n in 0..5_000 {
            // Two subscribers may give the same id.
            spans.insert(table, key(n, 0), task(table, 2 * n + 1));
            spans.insert(table, key(n, 1), task(table, 2 * n + 2));
        }
        for n in 0..5_000 {
            let id = |realm| spans.find(table, key(n, realm)).map(|task| task.id());
            assert_eq!((id(0), id(1)), (Some(2 * n + 1), Some(2 * n + 2)));
        }
        assert!(spans.find(table, key(5_000, 0)).is_none());
        let closed = spans.find(table, key(7, 0)).expect("it is open");
        spans.remove(table, closed);
        spans.remove(table, closed);
        assert!(spans.find(table, key(7, 0)).is_none());
        assert!(spans.find(table, key(7, 1)).is_some());
    }

    /// A reader finds what is there while everything around it comes and goes.
    #[test]
    fn what_is_there_is_found_beside_others_that_come_and_go() {
        use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

        const KEPT: u64 = 64;
        let (table, spans) = (table(), Spans::new());
        let kept: Vec<SpanKey> = (1..=KEPT).map(|span| SpanKey { realm: 0, span }).collect();
        for key in &kept {
            spans.insert(table, *key, task(table, key.span));
        }
        // As many as make the map grow several times, and then move about.
        let others: Vec<Handle> = (KEPT + 1..=20_000).map(|id| task(table, id)).collect();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Relaxed) {
                        for key in &kept {
                            let found = spans.find(table, *key).map(|task| task.id());
                            assert_eq!(found, Some(key.span));
                        }
                    }
                });
            }
            for round in 1..=5_u64 {
                let key = |n: usize| SpanKey {
                    realm: 0,
                    span: round << 32 | n as u64,
                };
                for (n, other) in others.iter().enumerate() {
                    spans.insert(table, key(n), *other);
                }
                for other in &others {
                    spans.remove(table, *other);
                }
            }
            done.store(true, Relaxed);
        });
    }

    /// Ids as the registry gives them: a slot, and above it the thread.
    #[test]
    fn ids_spread_over_the_parts() {
        let mut used = [0_usize; PARTS];
        for thread in 0..4_u64 {
            for slot in 1..=1_600 {
                let span = thread << 38 | slot;
                used[(spread(SpanKey { realm: 0, span }) >> 48) % PARTS] += 1;
            }
        }
        let (least, most) = (used.iter().min().unwrap(), used.iter().max().unwrap());
        assert!(*least > 50 && *most < 200, "{least} to {most} of 100");
    }
}
