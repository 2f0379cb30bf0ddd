//! Which span is which task's, for the spans of one subscriber.
//!
//! The registry could keep that with each span, for some 190 bytes and two
//! allocations a task. A map from the span's id costs a tenth; `Local::traced`
//! is the cache before it.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Mutex;

use super::record::Handle;
use crate::sync::lock;

/// Parts with a lock of their own.
const PARTS: usize = 64;

/// The tasks of open spans, by the spans' ids. Bounded by the live tasks that
/// the table admits.
#[derive(Debug)]
pub(crate) struct Spans([Part; PARTS]);

/// Alone in its cache line: threads that spawn at the same time use several.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Part(Mutex<HashMap<u64, Handle, BuildHasherDefault<Spread>>>);

impl Spans {
    pub(super) fn new() -> Box<Self> {
        Box::new(Self(std::array::from_fn(|_| Part::default())))
    }

    fn part(&self, span: u64) -> &Part {
        // Not the bits that the map itself takes: the lowest and the highest 7.
        &self.0[(spread(span) >> 48) as usize % PARTS]
    }

    pub(crate) fn insert(&self, span: u64, task: Handle) {
        lock(&self.part(span).0).insert(span, task);
    }

    /// A lock and a look; `None` for a span that is no task's.
    pub(crate) fn get(&self, span: u64) -> Option<Handle> {
        lock(&self.part(span).0).get(&span).copied()
    }

    /// The span has closed: its id may come again.
    pub(crate) fn remove(&self, span: u64) {
        lock(&self.part(span).0).remove(&span);
    }
}

/// Ids of spans differ in few, neighbouring bits.
#[derive(Debug, Default)]
struct Spread(u64);

fn spread(id: u64) -> u64 {
    let product = id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ (product >> 32)
}

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = spread(self.0 ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = spread(id);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::record::Chunk;

    #[test]
    fn a_span_leads_to_its_task_until_it_closes() {
        let spans = Spans::new();
        let chunk = Chunk::leaked(0, true);
        for n in 0..100_u64 {
            spans.insert(n << 40 | 7, Handle::new(chunk, n as usize));
        }
        for n in 0..100_u64 {
            assert_eq!(spans.get(n << 40 | 7).unwrap().index(), n as u32);
        }
        assert!(spans.get(8).is_none());
        spans.remove(7);
        assert!(spans.get(7).is_none());
    }

    /// Ids as the registry gives them: a slot, and above it the thread.
    #[test]
    fn ids_spread_over_the_parts() {
        let mut used = [0_usize; PARTS];
        for thread in 0..4_u64 {
            for slot in 1..=1_600 {
                used[(spread(thread << 38 | slot) >> 48) as usize % PARTS] += 1;
            }
        }
        let (least, most) = (used.iter().min().unwrap(), used.iter().max().unwrap());
        assert!(*least > 50 && *most < 200, "{least} to {most} of 100");
    }
}
