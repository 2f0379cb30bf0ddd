//! Which idle tasks have run since the listing before.
//!
//! A task that is polled for microseconds looks idle at every listing. But its future is
//! not what it was: it holds other instants, lengths, positions. Where it is unchanged, it
//! has done nothing, as far as can be seen. Its beginning is compared at each listing; what
//! is behind that of all tasks too, or of many large ones of some of them in turn.

use super::{AddressMap, AddressSet, Listing, TaskKind, TaskState, Types};
use crate::ProcessMemory;

/// Where a task is.
type Header = u64;

/// Bytes of the beginning of a future that are compared.
const BYTES: usize = 256;
/// Pieces of so many bytes behind it: of one future, and of all at one listing.
const MAX_PIECES: usize = 31;
const MAX_ALL_PIECES: usize = 1 << 15;

/// A task that waits, and where its future is.
struct Idle {
    header: Header,
    id: u64,
    future: u64,
    length: usize,
}

impl Idle {
    /// Where the pieces behind its beginning are; the last one ends with it.
    fn rest(&self) -> impl Iterator<Item = u64> {
        let pieces = self.length.saturating_sub(BYTES).div_ceil(BYTES);
        let last = self.length.saturating_sub(BYTES);
        let pieces = (1..=pieces.min(MAX_PIECES)).map(move |n| (n * BYTES).min(last));
        pieces.map(|offset| self.future.saturating_add(offset as u64))
    }
}

/// The futures as they were.
#[derive(Debug, Default)]
pub struct Activity {
    /// In the order of the listing, which is nearly that of the listing before.
    seen: Vec<Seen>,
    /// The first of those that wait whose rest is compared next.
    next: usize,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    header: Header,
    /// Tokio's id of the task.
    id: u64,
    hash: u64,
    /// Of what is behind the beginning, when that was read last.
    rest: Option<u64>,
}

impl Activity {
    /// The idle tasks whose futures have changed since the listing before. Some 0.15 µs
    /// for each, and as much for each 256 bytes more, up to 5 ms.
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
                length: length.unwrap_or(BYTES),
            })
        });
        let idle: Vec<_> = idle.collect();
        let places: Vec<u64> = idle.iter().map(|task| task.future).collect();
        let mut lengths = idle.iter().map(|task| task.length.min(BYTES));
        let mut hashes = Vec::with_capacity(idle.len());
        memory.each::<BYTES>(&places, |piece| {
            let length = lengths.next().unwrap_or(BYTES);
            hashes.push(piece.map(|bytes| hash(&bytes[..length])));
        });
        let hashes = idle.iter().zip(hashes);
        let mut changed = self.compare(hashes.map(|(task, hash)| (task.header, task.id, hash)));
        let rests = self.rests(&idle, memory);
        self.compare_rests(&rests, &mut changed);
        changed
    }

    /// Hashes of what is behind the beginnings of futures, of as many as it is the turn of.
    fn rests(&mut self, idle: &[Idle], memory: ProcessMemory) -> Vec<(Header, u64)> {
        let mut places: Vec<u64> = Vec::new();
        let mut whose: Vec<(Header, usize)> = Vec::new();
        let from = if self.next < idle.len() { self.next } else { 0 };
        self.next = 0;
        for (at, task) in (from..idle.len()).chain(0..from).map(|at| (at, &idle[at])) {
            if places.len() >= MAX_ALL_PIECES {
                self.next = at;
                break;
            }
            let before = places.len();
            places.extend(task.rest());
            if places.len() > before {
                whose.push((task.header, places.len() - before));
            }
        }
        let mut hashes = Vec::with_capacity(places.len());
        memory.each::<BYTES>(&places, |piece| {
            hashes.push(piece.map(|bytes| hash(bytes)));
        });
        let mut hashes = hashes.into_iter();
        let rests = whose.into_iter().filter_map(|(header, count)| {
            let mut all = Some(0);
            for hash in hashes.by_ref().take(count) {
                all = all.zip(hash).map(|(all, hash)| joined(all, hash));
            }
            Some((header, all?))
        });
        rests.collect()
    }

    /// Adds those of which the rest differs from before.
    fn compare_rests(&mut self, rests: &[(Header, u64)], changed: &mut AddressSet) {
        if rests.is_empty() {
            return;
        }
        let rests: AddressMap<u64> = rests.iter().copied().collect();
        for seen in &mut self.seen {
            let Some(rest) = rests.get(&seen.header) else {
                continue;
            };
            if seen.rest.is_some_and(|before| before != *rest) {
                changed.insert(seen.header);
            }
            seen.rest = Some(*rest);
        }
    }

    /// Those whose hashes differ from before; of what cannot be read nothing is known.
    fn compare(&mut self, now: impl Iterator<Item = (Header, u64, Option<u64>)>) -> AddressSet {
        let before = std::mem::take(&mut self.seen);
        self.seen.reserve(before.len());
        let mut before = Before::of(&before);
        let mut changed = AddressSet::default();
        for (header, id, hash) in now {
            let Some(hash) = hash else { continue };
            let known = before.get(header).filter(|known| known.id == id);
            if known.is_some_and(|known| known.hash != hash) {
                changed.insert(header);
            }
            let rest = known.and_then(|known| known.rest);
            self.seen.push(Seen {
                header,
                id,
                hash,
                rest,
            });
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
    words.chain(rest).fold(0, joined)
}

fn joined(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95)
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
    fn all_of_a_future_is_compared() {
        for (length, expected) in [
            (0, &[][..]),
            (256, &[]),
            (257, &[1]),
            (512, &[256]),
            (700, &[256, 444]),
            (1 << 20, &[256, 512, 768]),
        ] {
            let idle = Idle {
                header: 64,
                id: 1,
                future: 0,
                length,
            };
            let rest: Vec<u64> = idle.rest().take(3).collect();
            assert_eq!(rest, expected, "{length}");
            assert!(idle.rest().count() <= MAX_PIECES);
        }
    }

    #[test]
    fn one_that_changed_behind_its_beginning_has_run() {
        let mut activity = Activity::default();
        let (one, other) = (Some(hash(b"one")), Some(hash(b"other")));
        let mut changed = |rests: &[(Header, u64)]| {
            let heads = [(16, 1, one), (32, 2, other)];
            let mut changed = activity.compare(heads.into_iter());
            activity.compare_rests(rests, &mut changed);
            changed.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(changed(&[(16, 7), (32, 7)]), [0; 0]);
        // It is the turn of one of them.
        assert_eq!(changed(&[(16, 7)]), [0; 0]);
        assert_eq!(changed(&[]), [0; 0]);
        assert_eq!(changed(&[(16, 8), (32, 7)]), [16]);
        assert_eq!(changed(&[(16, 8), (32, 8)]), [32]);
    }

    #[test]
    fn a_future_that_changed_has_run() {
        let mut activity = Activity::default();
        let mut changed = |now: &[(Header, u64, Option<u64>)]| {
            let mut changed: Vec<_> = activity.compare(now.iter().copied()).into_iter().collect();
            changed.sort_unstable();
            changed
        };
        let (old, new) = (Some(hash(b"old")), Some(hash(b"new")));
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
