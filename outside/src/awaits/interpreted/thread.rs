//! Where a thread's own memory is.

use std::ops::Range;

use crate::space::{Space, words};

/// The address in the register FS: of the C library's description of the thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ThreadPointer(pub(super) u64);

/// Bytes below the end of a stack in which the description of its thread is searched:
/// what the program itself keeps for each thread is below it.
const NEAR: u64 = 256 << 10;
/// Mappings in which that of the first thread is searched: the loader makes a small one.
const SMALL: u64 = 1 << 20;
const MAX_SMALL: usize = 256;
/// Where it holds the thread's id, in glibc since 2.3.
const TID_AT: u64 = 0x2d0;

/// That of a thread, by its id and its stack pointer. Its first and its third word are
/// its own address; the id of the thread in it decides, where the process counts its
/// threads as we do.
pub(super) fn pointer(space: &impl Space, tid: u64, stack: u64) -> Option<ThreadPointer> {
    let mappings = space.mappings();
    let of_stack = mappings.iter().find(|m| m.range.contains(&stack))?;
    let near = of_stack.range.end.saturating_sub(NEAR).max(stack & !7);
    let own = candidates(space, near..of_stack.range.end);
    if let Some(found) = own.iter().rev().find(|at| has_id(space, **at, tid)) {
        return Some(ThreadPointer(*found));
    }
    let anonymous = mappings.iter().filter(|mapping| {
        let small = mapping.range.end - mapping.range.start <= SMALL;
        mapping.read && mapping.write && mapping.inode == 0 && small
    });
    let others: Vec<u64> = anonymous
        .take(MAX_SMALL)
        .flat_map(|mapping| candidates(space, mapping.range.clone()))
        .collect();
    let found = others.iter().find(|at| has_id(space, **at, tid));
    // In a container the ids are others: on the thread's own stack there is but one.
    found.or(own.last()).copied().map(ThreadPointer)
}

fn has_id(space: &impl Space, at: u64, tid: u64) -> bool {
    let word = at.checked_add(TID_AT).and_then(|at| space.read_u64(at));
    word.is_some_and(|word| word & 0xffff_ffff == tid)
}

/// The addresses of words that hold their own address, as the second word after them does.
fn candidates(space: &impl Space, range: Range<u64>) -> Vec<u64> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    let read = space.read(range.start, &mut bytes);
    let words: Vec<u64> = words(&bytes[..read]).collect();
    let found = words.windows(3).zip((range.start..).step_by(8));
    found
        .filter(|(words, at)| words[0] == *at && words[2] == *at)
        .map(|(_, at)| at)
        .collect()
}
