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
/// Where it holds the thread's id: in glibc since 2.3, and in musl since 1.1.
const TID_AT: u64 = 0x2d0;
const MUSL_TID_AT: u64 = 0x30;

/// That of a thread, by its id and its stack pointer. Its first word is its own address,
/// in glibc the third one as well; in musl, two words lead to the threads before and behind
/// it. The id of the thread in it decides, where the process counts its threads as we do.
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
    let is_glibc = at.checked_add(16).and_then(|at| space.read_u64(at)) == Some(at);
    let place = if is_glibc { TID_AT } else { MUSL_TID_AT };
    let word = at.checked_add(place).and_then(|at| space.read_u64(at));
    word.is_some_and(|word| word & 0xffff_ffff == tid)
}

/// The addresses of words that hold their own address, as the second word after them does,
/// or that of another such place, as the third one does.
fn candidates(space: &impl Space, range: Range<u64>) -> Vec<u64> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    let read = space.read_stack(range.start, &mut bytes);
    let words: Vec<u64> = words(&bytes[..read]).collect();
    let found = words.windows(4).zip((range.start..).step_by(8));
    let is_pointer = |word: u64| word.is_multiple_of(8) && (1 << 12..1 << 47).contains(&word);
    found
        .filter(|(words, at)| {
            words[0] == *at && (words[2] == *at || words[1..].iter().all(|at| is_pointer(*at)))
        })
        .filter(|(words, at)| {
            // Of musl's the threads before and behind have one, too.
            let of_other = |other: u64| space.read_u64(other) == Some(other);
            words[2] == *at || (of_other(words[2]) && of_other(words[3]))
        })
        .map(|(_, at)| at)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::path::PathBuf;

    use looptop_procfs::Mapping;
    use looptop_unwind::Memory;

    use super::*;
    use crate::Page;

    /// One mapping, at an address.
    struct Stack(Vec<u64>);

    const AT: u64 = 0x7000_0000_0000;

    impl Memory for Stack {
        fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
            let bytes: Vec<u8> = self.0.iter().flat_map(|word| word.to_le_bytes()).collect();
            let from = address.checked_sub(AT).unwrap_or(u64::MAX) as usize;
            let Some(there) = bytes.get(from..) else {
                return 0;
            };
            let length = there.len().min(buffer.len());
            buffer[..length].copy_from_slice(&there[..length]);
            length
        }
    }

    impl Space for Stack {
        fn mappings(&self) -> Vec<Mapping> {
            vec![Mapping {
                range: AT..AT + self.0.len() as u64 * 8,
                read: true,
                write: true,
                execute: false,
                shared: false,
                offset: 0,
                inode: 0,
                path: PathBuf::new(),
                deleted: false,
            }]
        }

        fn pages(&self, _: &Range<u64>) -> Vec<(Range<u64>, Page)> {
            Vec::new()
        }
    }

    #[test]
    fn a_thread_of_either_library_is_found() {
        for (name, words, tid_at) in [
            ("glibc", vec![0, AT + 0x900, 1], TID_AT),
            (
                "musl",
                vec![0, AT + 0x800, AT + 0x400, AT + 0x800],
                MUSL_TID_AT,
            ),
        ] {
            let mut stack = vec![0_u64; 512];
            let own = 0x800 / 8;
            // The first word is its own address, and so is the one of the thread before.
            stack[own] = AT + 0x800;
            stack[0x400 / 8] = AT + 0x400;
            if name == "glibc" {
                (stack[own + 1], stack[own + 2]) = (words[1], AT + 0x800);
            } else {
                stack[own + 1..own + 4].copy_from_slice(&words[1..]);
            }
            stack[own + tid_at as usize / 8] = 77;
            let space = Stack(stack);
            let found = pointer(&space, 77, AT + 0x10);
            assert_eq!(found, Some(ThreadPointer(AT + 0x800)), "{name}");
        }
    }
}
