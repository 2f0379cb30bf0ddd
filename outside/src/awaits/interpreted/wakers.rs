//! Whether a task can be woken by anything but what its tree shows.
//!
//! A waker of a task is one of the references that its header counts, beside the one of the
//! runtime's list and that of a `JoinHandle`. Where as many are left as there are places, of
//! those that the poll has accessed, with the task's waker in them, these are all: what was
//! inlined, and has no name, has none.

use super::super::chain::{Leaf, Node};
use super::nameless;
use super::wanted::Accesses;
use super::{NOTIFIED, ONE_REFERENCE};
use crate::space::Space;

/// A bit of a task's state word: it has a `JoinHandle`.
const JOIN_INTEREST: u64 = 8;

/// Whether each of a task's wakers, as its state word counts them, is at something that the
/// tree waits for.
pub(super) fn are_known<S: Space>(root: &Node, state: u64, accesses: &Accesses<'_, S>) -> bool {
    let Some(wakers) = count(state) else {
        return false;
    };
    let places = nameless::places(accesses);
    let waits = waits_of(root);
    places.len() as u64 == wakers && places.iter().all(|at| waits.iter().any(|w| is_same(w, at)))
}

/// Wakers that there are at most: handles to abort a task are counted among them.
fn count(state: u64) -> Option<u64> {
    // Of the runtime's list, of the handle, and of the queue that it is in when it was woken.
    let others = 1 + u64::from(state & JOIN_INTEREST != 0) + u64::from(state & NOTIFIED != 0);
    (state / ONE_REFERENCE).checked_sub(others)
}

fn waits_of(root: &Node) -> Vec<&Leaf> {
    let mut waits = Vec::new();
    let mut open = vec![root];
    while let Some(node) = open.pop() {
        waits.extend(&node.leaf);
        open.extend(&node.children);
    }
    waits
}

/// Whether two are one wait, whatever they are called.
fn is_same(one: &Leaf, other: &Leaf) -> bool {
    match (one, other) {
        (Leaf::Resource(one), Leaf::Resource(other)) => one.address == other.address,
        (Leaf::Task { header: one, .. }, Leaf::Task { header: other, .. }) => one == other,
        (Leaf::Socket { fd: one, .. }, Leaf::Socket { fd: other, .. }) => {
            one.is_some() && one == other
        }
        (Leaf::Timer { due: one }, Leaf::Timer { due: other }) => one == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_the_lists_the_handles_the_queues_or_a_wakers() {
        for (references, bits, wakers) in [
            (1, 0, Some(0)),
            (2, 0, Some(1)),
            (2, JOIN_INTEREST, Some(0)),
            (4, JOIN_INTEREST, Some(2)),
            (3, JOIN_INTEREST | NOTIFIED, Some(0)),
            (1, JOIN_INTEREST, None),
        ] {
            let state = (references * ONE_REFERENCE) | bits;
            assert_eq!(count(state), wakers, "{references} {bits:b}");
        }
    }
}
