//! A search of the heap for tasks.
//!
//! A cell begins at a multiple of 128, and its third word is the address of a vtable.
//! Whether it is alive its state word says: once a task is freed, no references are
//! left in it, whatever the allocator does with the memory.

use std::ops::Range;
use std::time::Instant;

use looptop_procfs::Mapping;

use super::cell::{Cell, HEAD};
use super::listing::ScanCost;
use super::types::Types;
use super::vtable::{self, CELL_ALIGN, VTABLE_AT};
use crate::space::{PAGE, Page, Pieces, Space, word};

/// Memory that is read at once: it stays in the CPU's second cache.
const CHUNK: u64 = 256 << 10;
/// Memory whose pages are asked for at once.
const REGION: u64 = 64 << 20;
/// Address space that is asked about, whether there is memory or not.
const MAX_MAPPED: u64 = 1 << 40;
/// Cells that are kept.
const MAX_CELLS: usize = 1 << 20;

/// A search of the heap that goes on from call to call.
#[derive(Debug)]
pub(super) struct Scan {
    /// What is still to be looked at, the next at the end.
    regions: Vec<Range<u64>>,
    /// Of the newest region: what is present, the next at the end.
    parts: Vec<Range<u64>>,
    pub(super) cost: ScanCost,
    chunk: Vec<u8>,
    heads: Pieces<HEAD>,
}

/// Whether tasks may be there: memory of an allocator, not a stack, as cells are built
/// on stacks and leave copies there.
pub(super) fn is_heap(mapping: &Mapping) -> bool {
    let path = mapping.path.as_os_str().as_encoded_bytes();
    let special = path.starts_with(b"[stack") || path.starts_with(b"[v");
    // Of no file, or of huge pages, which are files to the kernel.
    let anonymous = mapping.inode == 0 || path.starts_with(b"/anon_hugepage");
    mapping.read && mapping.write && !mapping.shared && !special && anonymous
}

/// The heap among mappings in the order of addresses. `stacks` are addresses in
/// threads' stacks.
pub(super) fn heap(mappings: &[Mapping], stacks: &[u64]) -> Vec<Range<u64>> {
    // A core dump may have tens of thousands of threads, and a million mappings.
    let mut stacks = stacks.to_vec();
    stacks.sort_unstable();
    let is_stack = |range: &Range<u64>| {
        let next = stacks.partition_point(|at| *at < range.start);
        stacks.get(next).is_some_and(|at| range.contains(at))
    };
    let all = mappings.iter().filter(|mapping| is_heap(mapping));
    let all = all.map(|mapping| mapping.range.clone());
    all.filter(|range| !is_stack(range)).collect()
}

impl Scan {
    pub(super) fn of(heap: &[Range<u64>]) -> Self {
        let mut left = MAX_MAPPED;
        let mut regions = Vec::new();
        for range in heap {
            let mut at = range.start;
            while at < range.end && left > 0 {
                let end = range.end.min(at.saturating_add(REGION));
                regions.push(at..end);
                left = left.saturating_sub(end - at);
                at = end;
            }
        }
        regions.reverse();
        Self {
            regions,
            parts: Vec::new(),
            cost: ScanCost::default(),
            chunk: vec![0; CHUNK as usize],
            heads: Pieces::default(),
        }
    }

    /// Looks at as many bytes more, and adds the tasks in them to `cells`; whether it
    /// has come to the end.
    pub(super) fn go_on(
        &mut self,
        space: &impl Space,
        types: &Types,
        bytes: u64,
        cells: &mut Vec<Cell>,
    ) -> bool {
        let start = Instant::now();
        let goal = self.cost.bytes.saturating_add(bytes);
        let mut headers = Vec::new();
        while self.cost.bytes < goal && headers.len() + cells.len() < MAX_CELLS {
            let Some(part) = self.parts.last_mut() else {
                let Some(region) = self.regions.pop() else {
                    self.cost.complete = true;
                    break;
                };
                let present = space.pages(&region).into_iter();
                let present = present.filter(|(_, page)| *page != Page::Swapped);
                self.parts = present.map(|(range, _)| range).collect();
                self.parts.reverse();
                continue;
            };
            let at = part.start;
            let length = (part.end - at).min(CHUNK);
            part.start += length;
            if part.is_empty() {
                self.parts.pop();
            }
            let read = space.read(at, &mut self.chunk[..length as usize]);
            // A page may have gone meanwhile: on after it.
            let next = at.checked_add((read as u64 / PAGE + 1) * PAGE);
            if let Some(next) = next.filter(|next| *next < at + length) {
                self.parts.push(next..at + length);
            }
            self.cost.bytes += (read as u64).max(1);
            search(types, at, &self.chunk[..read], &mut headers);
        }
        self.heads.read(space, &headers);
        let found = self.heads.iter().zip(&headers);
        cells.extend(found.filter_map(|(head, header)| Cell::of(space, types, *header, head?)));
        self.cost.time += start.elapsed();
        self.cost.complete
    }
}

/// Adds the addresses of what looks like a cell in `bytes`, which were read from
/// `base` on.
fn search(types: &Types, base: u64, bytes: &[u8], headers: &mut Vec<u64>) {
    for (cell, n) in bytes
        .as_chunks::<{ CELL_ALIGN as usize }>()
        .0
        .iter()
        .zip(0..)
    {
        let is_cell = word(cell, VTABLE_AT)
            .filter(|vtable| types.index(*vtable).is_some())
            .and_then(|_| word(cell, 0))
            .is_some_and(vtable::is_plausible);
        if is_cell {
            headers.push(base + n * CELL_ALIGN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_an_allocator() {
        for (line, expected) in [
            (
                "55d0c0c3a000-55d0c0c5b000 rw-p 00000000 00:00 0   [heap]",
                true,
            ),
            ("7f00-7f10 r-xp 00001000 08:01 42   /opt/my app", false),
            ("7f00-7f10 rw-p 00001000 08:01 42   /opt/my app", false),
            (
                "7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0   [stack]",
                false,
            ),
            ("7f20-7f30 rw-p 00000000 00:00 0 ", true),
            (
                "7f20-7f30 rw-p 00000000 00:00 0 [anon:jemalloc_pg_overcommit]",
                true,
            ),
            (
                "7f20-7f30 rw-p 00000000 00:0f 77 /anon_hugepage (deleted)",
                true,
            ),
            (
                "7f20-7f30 rw-s 00000000 00:00 7 /dev/shm/x (deleted)",
                false,
            ),
            ("7f20-7f30 r--p 00000000 00:00 0 [vvar]", false),
        ] {
            let mapping = Mapping::parse(line.as_bytes()).unwrap();
            assert_eq!(is_heap(&mapping), expected, "{line}");
        }
    }

    #[test]
    fn stacks_are_no_heap() {
        let of = |line: &str| Mapping::parse(line.as_bytes()).unwrap();
        let mappings = [
            of("1000-2000 rw-p 00000000 00:00 0"),
            of("3000-4000 rw-p 00000000 00:00 0"),
        ];
        let found = heap(&mappings, &[0x3500, 0x9000]);
        assert!(found.into_iter().eq(std::iter::once(0x1000..0x2000)));
    }

    /// All of it is said to be there, and none can be read.
    struct Gone;

    impl looptop_unwind::Memory for Gone {
        fn read(&self, _: u64, _: &mut [u8]) -> usize {
            0
        }
    }

    impl Space for Gone {
        fn mappings(&self) -> Vec<Mapping> {
            Vec::new()
        }

        fn pages(&self, range: &Range<u64>) -> Vec<(Range<u64>, Page)> {
            vec![(range.clone(), Page::Own)]
        }
    }

    #[test]
    fn a_search_ends_where_addresses_do() {
        let fake = super::super::tests::program();
        let types = super::super::tests::types(&fake).unwrap();
        let last = u64::MAX - 3 * PAGE..u64::MAX;
        let mut scan = Scan::of(std::slice::from_ref(&last));
        assert!(scan.go_on(&Gone, &types, 1 << 20, &mut Vec::new()));
    }

    #[test]
    fn a_stack_is_seen_among_many() {
        let of = |line: &str| Mapping::parse(line.as_bytes()).unwrap();
        let mappings = [
            of("1000-2000 rw-p 00000000 00:00 0"),
            of("3000-4000 rw-p 00000000 00:00 0"),
            of("5000-6000 rw-p 00000000 00:00 0"),
        ];
        let found = heap(&mappings, &[0x9000, 0x5fff, 0x2000, 0x1000]);
        assert!(found.into_iter().eq(std::iter::once(0x3000..0x4000)));
    }
}
