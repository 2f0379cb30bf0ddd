//! What a task waits for in a program without names.
//!
//! No function says which futures there are. But a poll that ends without a result has left
//! the task's waker wherever it waits; of what it has accessed that is taken where it is.
//! Channels for one message look like too much else, and are left out. Whoever polls its
//! futures with a waker of its own (`FuturesUnordered`) is not seen, so that more may be
//! waited for than is said.

use std::collections::HashSet;
use std::sync::Arc;

use looptop_interpret::Run;

use super::super::chain::{Leaf, Node, NodeKind};
use super::layout::ACQUIRE;
use super::nodes::leaf_node;
use super::tree::Tree;
use super::wanted::{Accesses, Looked};
use crate::space::Space;

/// A waker is near the state that guards it.
const WAKER: u64 = 24;
/// Of one task.
const MAX_LEAVES: usize = 16;

/// A future that has no name, with what it waits for; `None` where that is not seen.
pub(super) fn root<S: Space>(accesses: &Accesses<'_, S>) -> Option<Node> {
    let leaves = Nameless::of(accesses).leaves();
    let mut root = Node::new(NodeKind::Combinator, &Arc::from(""), None);
    root.children = leaves.into_iter().map(leaf_node).collect();
    (!root.children.is_empty()).then_some(root)
}

/// What a task waits for, of what its poll has accessed, with its waker there.
pub(super) fn places<S: Space>(accesses: &Accesses<'_, S>) -> Vec<Leaf> {
    let mut leaves = Nameless::of(accesses).leaves();
    leaves.retain(|leaf| match leaf {
        Leaf::Task { header, .. } => accesses.waits_for_end(*header),
        _ => true,
    });
    leaves
}

/// What a poll has accessed, as a tree of parts that are looked at by themselves.
struct Nameless<'a, S> {
    accesses: &'a Accesses<'a, S>,
    tree: Tree,
    leaves: Vec<Leaf>,
}

/// Parts of that tree.
const READS: usize = 0;
const NUMBERS: usize = 1;
const FIRST: usize = 2;

impl<'a, S: Space> Nameless<'a, S> {
    fn of(accesses: &'a Accesses<'a, S>) -> Self {
        let run: &Run = accesses.run;
        let mut tree = Tree::default();
        let reads = tree.add_part();
        tree.all[reads].reads = (0..run.reads.len()).collect();
        let numbers = tree.add_part();
        let is_number = |at: &usize| run.atomics[*at].size == 8;
        tree.all[numbers].atomics = (0..run.atomics.len()).filter(is_number).collect();
        // Each place once.
        let mut seen = HashSet::new();
        for (number, atomic) in run.atomics.iter().enumerate() {
            if seen.insert((atomic.address, atomic.size)) {
                let part = tree.add_part();
                tree.all[part].atomics.push(number);
            }
        }
        let mut seen = HashSet::new();
        for (number, frame) in run.frames.iter().enumerate() {
            if seen.insert((frame.entry, frame.arguments[0])) {
                let part = tree.add_part();
                tree.all[part].calls.push(number as u32);
            }
        }
        Self {
            accesses,
            tree,
            leaves: Vec::new(),
        }
    }

    fn leaves(mut self) -> Vec<Leaf> {
        for part in FIRST..self.tree.all.len() {
            let leaf = self.leaf(part);
            if let Some(leaf) = leaf.filter(|leaf| !self.leaves.contains(leaf)) {
                self.leaves.push(leaf);
            }
            if self.leaves.len() >= MAX_LEAVES {
                return self.leaves;
            }
        }
        self.leaves
    }

    /// What is waited for where one access was.
    fn leaf(&self, part: usize) -> Option<Leaf> {
        let of = |scope: Vec<usize>| Looked {
            accesses: self.accesses,
            tree: &self.tree,
            scope,
            owner: None,
        };
        let polled = &self.tree.all[part];
        if !polled.calls.is_empty() {
            return of(vec![part]).task();
        }
        let atomic = &self.accesses.run.atomics[*polled.atomics.first()?];
        let at = atomic.address;
        if atomic.size == 8 {
            let looked = of(vec![part, READS]);
            let is_ours = self.is_ours(at.saturating_sub(WAKER), 2 * WAKER);
            return is_ours.then(|| looked.message().or_else(|| looked.timer()))?;
        }
        let looked = of(vec![part, READS, NUMBERS]);
        if let Some(permits) = looked.permits() {
            let own = |at: u64| looked.acquire(at).is_some() && self.is_ours(at, ACQUIRE.queued);
            return looked.pointers_to(at).any(own).then_some(permits);
        }
        // One is at an address of its own kind; its list looks like that of a `Notify`.
        if let Some((io, _)) = looked.places_of_sockets().next() {
            return looked.waits_at(io).then(|| looked.socket("", false))?;
        }
        looked.notified_itself().or_else(|| looked.broadcast())
    }

    /// Whether the task's waker is there.
    fn is_ours(&self, at: u64, length: u64) -> bool {
        self.accesses.has_waker(at, length)
    }
}
