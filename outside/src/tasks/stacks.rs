//! What the stacks of blocked threads lead to: runtimes, `LocalSet`s and tasks.
//!
//! A worker, and a thread in `block_on`, holds pointers to its scheduler on its stack,
//! and in the thread-locals that lie above it. A thread that drives a `LocalSet` holds
//! an `Rc` of the set's context, which holds the `Arc` with the list.

use std::ops::Range;

use super::addresses::AddressSet;
use super::cell::{Cell, HEAD};
use super::owned::{Budget, HANDLE, MAX_OWNERS, Owned};
use super::types::Types;
use super::vtable::CELL_ALIGN;
use crate::space::{Pieces, Space, words};

/// Bytes of one stack that are read, from the pointer on and from its end back.
const MAX_STACK: u64 = 64 << 10;
/// Bytes of all stacks that are read at a time.
const MAX_STACKS: u64 = 4 << 20;
/// Pointers that are followed at a time.
const MAX_POINTERS: usize = 32 << 10;
/// Pointers that are remembered.
const MAX_TRIED: usize = 256 << 10;
/// Bytes of shards and of tasks that are read at a time, to see whether they are some: a
/// runtime has no more than a few thousand.
const MAX_SHARD_BYTES: u64 = 64 << 20;
/// Handles that are read at once.
const AT_ONCE: usize = 64;

/// Searches stacks, each pointer once.
#[derive(Debug, Default)]
pub(super) struct Stacks {
    tried: AddressSet,
    heads: Pieces<HEAD>,
    handles: Pieces<HANDLE>,
}

/// What was found on stacks.
#[derive(Debug, Default)]
pub(super) struct OnStacks {
    /// Lists, with the address of the scheduler that holds them where that is known.
    pub(super) lists: Vec<(Owned, Option<u64>)>,
    /// Tasks, in polls or not.
    pub(super) tasks: Vec<Cell>,
}

impl Stacks {
    /// Follows all pointers again.
    pub(super) fn forget(&mut self) {
        self.tried.clear();
    }

    /// Searches the stacks from these stack pointers on. `mapped` are all writable
    /// mappings, `heap` those of allocators, in the order of addresses.
    pub(super) fn search(
        &mut self,
        space: &impl Space,
        types: &Types,
        pointers: &[u64],
        mapped: &[Range<u64>],
        heap: &[Range<u64>],
    ) -> OnStacks {
        if self.tried.len() > MAX_TRIED {
            self.tried.clear();
        }
        let mut new = self.new_pointers(space, pointers, mapped, heap);
        let mut found = OnStacks::default();
        self.heads.read(space, &new);
        let heads = self.heads.iter().zip(&new);
        let cells = heads.map(|(head, at)| Cell::of(space, types, *at, head?));
        let cells: Vec<Option<Cell>> = cells.collect();
        let mut cells = cells.into_iter();
        new.retain(|_| match cells.next().flatten() {
            Some(cell) => {
                found.tasks.push(cell);
                false
            }
            None => true,
        });
        let left = Budget::new(MAX_SHARD_BYTES);
        let within = self.follow(space, types, &new, heap, &left, &mut found);
        self.follow(space, types, &within, heap, &left, &mut found);
        found
    }

    /// Words of stacks that point to a heap and were not followed before.
    fn new_pointers(
        &mut self,
        space: &impl Space,
        pointers: &[u64],
        mapped: &[Range<u64>],
        heap: &[Range<u64>],
    ) -> Vec<u64> {
        let mut left = MAX_STACKS;
        let mut new = Vec::new();
        let mut bytes = Vec::new();
        for pointer in pointers {
            let Some(stack) = around(mapped, *pointer) else {
                continue;
            };
            for part in parts(*pointer & !7..stack.end) {
                let length = (part.end - part.start).min(left);
                left -= length;
                bytes.resize(length as usize, 0);
                let read = space.read_stack(part.start, &mut bytes);
                for word in words(&bytes[..read]) {
                    let points = word.is_multiple_of(8)
                        && new.len() < MAX_POINTERS
                        && around(heap, word).is_some();
                    if points && self.tried.insert(word) {
                        new.push(word);
                    }
                }
            }
        }
        new
    }

    /// Looks for a list behind each address; pointers in what looks like an `Rc` are
    /// returned, to be followed too.
    fn follow(
        &mut self,
        space: &impl Space,
        types: &Types,
        addresses: &[u64],
        heap: &[Range<u64>],
        left: &Budget,
        found: &mut OnStacks,
    ) -> Vec<u64> {
        let mut within = Vec::new();
        let mut all = Vec::new();
        for addresses in addresses.chunks(AT_ONCE) {
            self.handles.read(space, addresses);
            for (handle, address) in self.handles.iter().zip(addresses) {
                let mut rest = [0; HANDLE];
                let bytes = if let Some(handle) = handle {
                    &handle[..]
                } else {
                    // One at the end of what is mapped is shorter.
                    let read = space.read(*address, &mut rest);
                    &rest[..read]
                };
                all.clear();
                all.extend(words(bytes));
                let counted = matches!(all[..], [strong, weak, ..]
                    if (1..MAX_OWNERS).contains(&strong) && (1..MAX_OWNERS).contains(&weak));
                if let Some(owned) = Owned::within(space, types, *address, &all, left) {
                    // Other pointers lead into a scheduler, where anything may look
                    // like counts.
                    let is_handle = counted && address.is_multiple_of(CELL_ALIGN);
                    found.lists.push((owned, is_handle.then_some(*address)));
                } else if counted {
                    let next = all.iter().skip(2).take(2).copied();
                    within.extend(next.filter(|next| {
                        next.is_multiple_of(8)
                            && around(heap, *next).is_some()
                            && self.tried.insert(*next)
                    }));
                }
            }
        }
        within
    }
}

/// Which of `handles` stand on the stacks from these stack pointers on: the position of
/// the stack among them, and the handle, each once.
pub(super) fn holding(
    space: &impl Space,
    pointers: &[u64],
    mapped: &[Range<u64>],
    handles: &AddressSet,
) -> Vec<(usize, u64)> {
    let mut left = MAX_STACKS;
    let mut found = Vec::new();
    let mut bytes = Vec::new();
    for (n, pointer) in pointers.iter().enumerate() {
        let Some(stack) = around(mapped, *pointer) else {
            continue;
        };
        let first = found.len();
        let mut seen = AddressSet::default();
        for part in parts(*pointer & !7..stack.end) {
            let length = (part.end - part.start).min(left);
            left -= length;
            bytes.resize(length as usize, 0);
            let read = space.read_stack(part.start, &mut bytes);
            for word in words(&bytes[..read]).filter(|word| handles.contains(word)) {
                if seen.insert(word) {
                    found.push((n, word));
                }
            }
        }
        if left == 0 {
            // This one was perhaps not read to its end.
            found.truncate(first);
            break;
        }
    }
    found
}

/// The mapping that contains an address.
pub(super) fn around(ranges: &[Range<u64>], address: u64) -> Option<&Range<u64>> {
    let after = ranges.partition_point(|range| range.start <= address);
    let range = &ranges[after.checked_sub(1)?];
    range.contains(&address).then_some(range)
}

/// The beginning and the end of a deep stack; all of another.
fn parts(stack: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let length = stack.end.saturating_sub(stack.start);
    let first = stack.start..stack.start + length.min(MAX_STACK);
    let last = first.end.max(stack.end.saturating_sub(MAX_STACK))..stack.end;
    [first, last].into_iter().filter(|part| !part.is_empty())
}
