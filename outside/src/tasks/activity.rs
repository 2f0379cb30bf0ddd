//! Which idle tasks have run since the listing before.
//!
//! A task that is polled for microseconds looks idle at every listing. But its future is
//! not what it was: it holds other instants, lengths, positions. Where the beginning of it
//! is unchanged, it has done nothing, as far as can be seen.

use super::{AddressMap, AddressSet, Listing, TaskKind, TaskState, Types};
use crate::ProcessMemory;

/// Where a task is.
type Header = u64;

/// Bytes of a future that are compared.
const BYTES: usize = 256;

/// A task that waits, and where its future is.
struct Idle {
    header: Header,
    id: u64,
    future: u64,
    length: usize,
}

/// The futures as they were.
#[derive(Debug, Default)]
pub struct Activity {
    /// In the order of the listing, which is nearly that of the listing before.
    seen: Vec<Seen>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    header: Header,
    /// Tokio's id of the task.
    id: u64,
    hash: u64,
}

impl Activity {
    /// The idle tasks whose futures have changed since the listing before. Some 0.15 µs
    /// for each.
    pub fn of(&mut self, listing: &Listing, types: &Types, memory: ProcessMemory) -> AddressSet {
        let tasks = listing.tasks.iter();
        let idle = tasks.filter(|t| t.kind == TaskKind::Async && t.state == TaskState::Idle);
        let idle = idle.filter_map(|task| {
            let of = types.get(task.vtable)?;
            let offset = of.future_offset();
            // What lies behind it changes with the neighbours in the list of tasks.
            let length = usize::try_from(of.trailer_offset.saturating_sub(offset));
            Some(Idle {
                header: task.header,
                id: task.id,
                future: task.header.saturating_add(offset),
                length: length.unwrap_or(BYTES).min(BYTES),
            })
        });
        let idle: Vec<_> = idle.collect();
        let places: Vec<u64> = idle.iter().map(|task| task.future).collect();
        let pieces = memory.gather::<BYTES>(&places);
        self.compare(idle.iter().zip(&pieces).map(|(task, piece)| {
            let piece = piece.as_ref().map(|bytes| &bytes[..task.length]);
            (task.header, task.id, piece)
        }))
    }

    /// Those whose bytes differ from before; of what cannot be read nothing is known.
    fn compare<'a>(
        &mut self,
        now: impl Iterator<Item = (Header, u64, Option<&'a [u8]>)>,
    ) -> AddressSet {
        let before = std::mem::take(&mut self.seen);
        self.seen.reserve(before.len());
        let mut before = Before::of(&before);
        let mut changed = AddressSet::default();
        for (header, id, bytes) in now {
            let Some(bytes) = bytes else { continue };
            let hash = hash(bytes);
            let known = before.get(header).filter(|known| known.id == id);
            if known.is_some_and(|known| known.hash != hash) {
                changed.insert(header);
            }
            self.seen.push(Seen { header, id, hash });
        }
        changed
    }
}

/// What was seen, asked for in nearly its own order.
struct Before<'a> {
    seen: &'a [Seen],
    /// After the newest that was asked for.
    next: usize,
    /// All of them, once one was not where it was expected.
    places: Option<AddressMap<usize>>,
}

impl<'a> Before<'a> {
    fn of(seen: &'a [Seen]) -> Self {
        Self {
            seen,
            next: 0,
            places: None,
        }
    }

    fn get(&mut self, header: Header) -> Option<&'a Seen> {
        let expected = self.seen.get(self.next);
        if let Some(seen) = expected.filter(|seen| seen.header == header) {
            self.next += 1;
            return Some(seen);
        }
        let seen = self.seen;
        let places = self.places.get_or_insert_with(|| {
            let headers = seen.iter().map(|seen| seen.header);
            headers.zip(0..).collect()
        });
        let place = *places.get(&header)?;
        self.next = place + 1;
        seen.get(place)
    }
}

/// A hash that differs where one word differs, some 20 ns. It is compared with that of the
/// same task alone: a program that made two of them equal would hide its own activity.
fn hash(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    let rest = rest.iter().map(|byte| u64::from(*byte));
    words.chain(rest).fold(0, |hash: u64, word| {
        (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_counts() {
        let bytes: Vec<u8> = (0..255).collect();
        let whole = hash(&bytes);
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 0x80;
            assert_ne!(hash(&other), whole, "{at}");
        }
        assert_eq!(hash(&bytes.clone()), whole);
    }

    #[test]
    fn a_future_that_changed_has_run() {
        let mut activity = Activity::default();
        let mut changed = |now: &[(Header, u64, Option<&[u8]>)]| {
            let mut changed: Vec<_> = activity.compare(now.iter().copied()).into_iter().collect();
            changed.sort_unstable();
            changed
        };
        let (old, new) = (Some(&b"old"[..]), Some(&b"new"[..]));
        assert_eq!(changed(&[(1, 1, old), (2, 2, old), (3, 3, old)]), [0; 0]);
        assert_eq!(changed(&[(1, 1, old), (2, 2, new), (3, 9, new)]), [2]);
        assert_eq!(changed(&[(1, 1, new), (2, 2, None), (3, 9, new)]), [1]);
        assert_eq!(
            changed(&[(2, 2, old)]),
            [0; 0],
            "it was not read in between"
        );
        // In any order, with new ones in between and without others.
        let many: Vec<_> = (10..20).map(|n| (n, n, old)).collect();
        assert_eq!(changed(&many), [0; 0]);
        let others = [(15, 15, new), (50, 50, new), (11, 11, new), (12, 12, old)];
        assert_eq!(changed(&others), [11, 15]);
    }
}
