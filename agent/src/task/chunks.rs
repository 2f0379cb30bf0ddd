//! The records of a shard, found by their index without a lock.

use std::sync::OnceLock;

use super::record::Chunk;

/// A place for each chunk, in blocks of 1, 2, 4, ...
#[derive(Debug)]
pub(super) struct Chunks([OnceLock<Block>; BLOCKS]);

type Block = Box<[OnceLock<&'static Chunk>]>;

/// Room for 1,023 chunks.
const BLOCKS: usize = 10;

impl Chunks {
    pub(super) const fn new() -> Self {
        Self([const { OnceLock::new() }; BLOCKS])
    }

    fn place(number: usize) -> (usize, usize) {
        let block = (number + 1).ilog2() as usize;
        (block, number + 1 - (1 << block))
    }

    #[inline]
    pub(super) fn get(&self, number: usize) -> Option<&'static Chunk> {
        let (block, at) = Self::place(number);
        self.0.get(block)?.get()?.get(at)?.get().copied()
    }

    /// Shows a chunk to everybody. Once for each number.
    pub(super) fn add(&self, number: usize, chunk: &'static Chunk) {
        let (block, at) = Self::place(number);
        let Some(block_of) = self.0.get(block) else {
            return;
        };
        let places = block_of.get_or_init(|| (0..1 << block).map(|_| OnceLock::new()).collect());
        // Taken already: the caller's mistake, and harmless.
        let _ = places[at].set(chunk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_place_of_its_own() {
        let chunks = Chunks::new();
        assert!(chunks.get(0).is_none());
        let all: Vec<_> = (0..20).map(|n| Chunk::leaked(0, n, false)).collect();
        for (number, chunk) in all.iter().enumerate() {
            chunks.add(number, chunk);
        }
        for (number, chunk) in all.iter().enumerate() {
            assert!(
                chunks
                    .get(number)
                    .is_some_and(|got| std::ptr::eq(got, *chunk))
            );
        }
        assert!(chunks.get(20).is_none());
        assert!(chunks.get(100_000).is_none());
    }
}
