//! A map from a key to a record, read without a lock.
//!
//! A poll looks its task up; a thread that lost its CPU while it held a lock would
//! stop every poll that looks. So readers take none: they follow chains whose
//! links are in the records themselves, beside writers who insert and remove under
//! a lock of their own. Three things make that sound:
//!
//! - *A record never goes away*, it is only used again. A reader that stands on one
//!   which was removed goes on from there; its link still leads somewhere.
//! - *A chain's end says which chain it is.* A record that was used again may have
//!   taken the reader into another chain; then it ends at the wrong end, and begins
//!   anew. Insertion is at the front only, so the right end means that nothing was
//!   passed over.
//! - *There are two sets of links*, used in turns as the map grows: the larger one
//!   is built beside the one that is read.
//!
//! Orderings: links and heads are stored with `Release` and loaded with `Acquire`,
//! so that who comes to a record by one sees its key, and the links behind it.
//! Whoever looks a key up has got it from the thread that inserted it.
//! `agent/models` runs this file through every order that the memory model allows.

use std::sync::OnceLock;

use crate::sync::atomic::AtomicU32;
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Sizes that a map goes through, each twice the one before. In the largest the
/// chains get longer.
pub(super) const LEVELS: usize = 12;

/// No node, but the end of a chain: which one, in the other bits.
const END: u32 = 1 << 31;
const LEVEL_SHIFT: u32 = 26;
const PART_SHIFT: u32 = 20;

/// Chains that a reader begins before it gives up, and records that it visits. Far
/// from what happens: it would have to be moved time and again.
const ATTEMPTS: usize = 64;
const STEPS: usize = 1 << 14;

/// The records of a map.
pub(super) trait Nodes {
    /// What records are looked up by.
    type Key: Copy;

    /// Whether the record has this key.
    fn is(&self, node: u32, key: Self::Key) -> bool;

    /// The hash of the record's key.
    fn hash(&self, node: u32) -> usize;

    /// The link of one of the two sets.
    fn link(&self, node: u32, set: usize) -> &AtomicU32;
}

/// The heads of the chains.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) levels: [OnceLock<Box<[AtomicU32]>>; LEVELS],
    /// The level that is read, plus 1; 0 while there is none.
    pub(super) current: AtomicU32,
    /// Buckets of the first level: a power of two, 256 at most.
    pub(super) first: usize,
    /// Distinguishes the maps between which records move; below 64.
    pub(super) part: u32,
}

impl Index {
    fn end(&self, level: usize, bucket: usize) -> u32 {
        END | (level as u32) << LEVEL_SHIFT | self.part << PART_SHIFT | bucket as u32
    }

    fn heads(&self, current: u32) -> Option<(usize, &[AtomicU32])> {
        let level = (current as usize).checked_sub(1)?;
        Some((level, self.levels.get(level)?.get()?))
    }

    /// The record with this key, whose hash is `hash`. Takes no lock.
    #[inline]
    pub(super) fn find<N: Nodes>(&self, nodes: &N, hash: usize, key: N::Key) -> Option<u32> {
        let mut steps = STEPS;
        for _ in 0..ATTEMPTS {
            let (level, heads) = self.heads(self.current.load(Acquire))?;
            let bucket = hash & (heads.len() - 1);
            let end = self.end(level, bucket);
            let mut node = heads[bucket].load(Acquire);
            while node & END == 0 {
                if nodes.is(node, key) {
                    return Some(node);
                }
                steps = steps.checked_sub(1)?;
                node = nodes.link(node, level % 2).load(Acquire);
            }
            if node == end {
                return None;
            }
        }
        None
    }

    /// Inserts a record, whose key is set and not in the map; with it, the map holds
    /// `held`. Under the writers' lock.
    pub(super) fn insert(&self, nodes: &impl Nodes, node: u32, held: usize) {
        let current = self.current.load(Relaxed);
        let room = self.heads(current).map_or(0, |(_, heads)| heads.len());
        if held > room && (current as usize) < LEVELS {
            self.grow(nodes, current);
        }
        if let Some((level, heads)) = self.heads(self.current.load(Relaxed)) {
            let bucket = nodes.hash(node) & (heads.len() - 1);
            push(nodes, node, level, &heads[bucket]);
        }
    }

    /// Removes a record, whose key is still set. Under the writers' lock.
    pub(super) fn remove(&self, nodes: &impl Nodes, node: u32) {
        let Some((level, heads)) = self.heads(self.current.load(Relaxed)) else {
            return;
        };
        let bucket = nodes.hash(node) & (heads.len() - 1);
        let mut place = &heads[bucket];
        loop {
            let at = place.load(Relaxed);
            if at & END != 0 {
                return;
            }
            let link = nodes.link(at, level % 2);
            if at == node {
                // Its own link stays, for a reader that stands on it.
                return place.store(link.load(Relaxed), Release);
            }
            place = link;
        }
    }

    /// Builds the next level beside the current one, which stays as it is for those
    /// who read it.
    #[cold]
    fn grow(&self, nodes: &impl Nodes, current: u32) {
        let level = current as usize;
        let ends = (0..self.first << level).map(|bucket| AtomicU32::new(self.end(level, bucket)));
        let heads: Box<[AtomicU32]> = ends.collect();
        if let Some((old_level, old)) = self.heads(current) {
            for head in old {
                let mut node = head.load(Relaxed);
                while node & END == 0 {
                    let bucket = nodes.hash(node) & (heads.len() - 1);
                    push(nodes, node, level, &heads[bucket]);
                    node = nodes.link(node, old_level % 2).load(Relaxed);
                }
            }
        }
        if self.levels[level].set(heads).is_ok() {
            self.current.store(current + 1, Release);
        }
    }
}

fn push(nodes: &impl Nodes, node: u32, level: usize, head: &AtomicU32) {
    let link = nodes.link(node, level % 2);
    // Release: who comes here by an old link must see what is behind.
    link.store(head.load(Relaxed), Release);
    head.store(node, Release);
}
