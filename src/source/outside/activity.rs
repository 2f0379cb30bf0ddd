//! Which idle tasks have run since the listing before.
//!
//! A task that is polled for microseconds looks idle at every listing. But its future is
//! not what it was: it holds other instants, lengths, positions. Where the beginning of it
//! is unchanged, it has done nothing, as far as can be seen.

use std::{
    collections::{HashMap, HashSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
};

use looptop_outside::{
    ProcessMemory,
    tasks::{Listing, TaskKind, TaskState, Types},
};

use super::seen::Header;

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
pub(super) struct Activity {
    /// Tokio's id of the task, and a hash of its future.
    seen: HashMap<Header, (u64, u64)>,
}

impl Activity {
    /// The idle tasks whose futures have changed since the listing before. Some 0.15 µs
    /// for each.
    pub(super) fn of(
        &mut self,
        listing: &Listing,
        types: &Types,
        memory: ProcessMemory,
    ) -> HashSet<Header> {
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
    ) -> HashSet<Header> {
        let before = std::mem::take(&mut self.seen);
        let mut changed = HashSet::new();
        for (header, id, bytes) in now {
            let Some(bytes) = bytes else { continue };
            let mut hasher = DefaultHasher::new();
            bytes.hash(&mut hasher);
            let hash = hasher.finish();
            let known = before.get(&header).filter(|(of, _)| *of == id);
            if known.is_some_and(|(_, earlier)| *earlier != hash) {
                changed.insert(header);
            }
            self.seen.insert(header, (id, hash));
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }
}
