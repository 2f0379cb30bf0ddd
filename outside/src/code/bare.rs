//! Where the polls of tasks are in a program without symbols.
//!
//! The table of functions of each task type says where its poll begins, and the unwind
//! rules where a function ends: both are in a stripped program too. A poll that begins
//! with a jump is what it jumps to.
//!
//! A task that is in `block_in_place` has given its worker away, and is no stall. That
//! function is found by the text of its panic, and by who calls it.
//!
//! With symbols the types say which polls are those of tasks, where the name leaves that
//! out, and the text where `block_in_place` was inlined.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use looptop_procfs::Mapping;
use looptop_symbols::scheduler::{Kind, Landmark, Landmarks, Place, Wait, place_by_polls};
use looptop_unwind::{Memory, ModuleInfo};
use memchr::memmem::Finder;

use super::Image;
use crate::tasks::{TaskKind, TaskType, Types};
use crate::{Page, Space};

/// What `block_in_place` says where it may not be called; in the code of the function
/// that runs what was given to it, unless it is inlined further out.
const IN_PLACE: &[u8] = b"asked to exit when not entered";
/// How far out its callers count as well: the text is in a function that has returned
/// meanwhile, where little is inlined.
const CALLERS: usize = 3;
/// Jumps that are followed from a poll.
const JUMPS: usize = 3;
/// A function that does nothing but jump is no longer.
const MAX_STUB: u64 = 32;
/// Bytes of a file that are read at once, and what is read again at the next piece.
const PIECE: u64 = 1 << 20;
const OVERLAP: u64 = 64;
/// Code and constants beyond this are not searched.
const MAX_SEARCHED: u64 = 1 << 30;

/// What the task types say of polls.
#[derive(Debug)]
pub(super) struct Bare {
    pub(super) landmarks: Landmarks,
    /// `block_in_place` was found, or is not in the program.
    sees_in_place: bool,
}

impl Bare {
    /// Of the types in `own`, the module of the program's file; `None` where it has
    /// none. `function` knows the bounds of functions.
    pub(super) fn of(
        types: &Types,
        own: &ModuleInfo,
        space: &impl Image,
        function: impl Fn(u64) -> Option<Range<u64>>,
    ) -> Option<Self> {
        let mut found = polls(types, own, space, |_| true, &function);
        if !found.values().any(|(_, mark)| *mark == Landmark::Poll) {
            return None;
        }
        let is_poll = |start: u64| found.contains_key(&start);
        let in_place = Searched::open(space, own).map_or(InPlace::Unfound, |code| {
            code.in_place(space, is_poll, &function)
        });
        let sees_in_place = !matches!(in_place, InPlace::Unfound);
        if let InPlace::Functions(functions) = in_place {
            // One that polls and has all of it inlined is none that can be judged.
            let marked = functions.into_iter();
            found.extend(marked.map(|range| (range.start, (range, Landmark::InPlace))));
        }
        Some(Self {
            landmarks: Landmarks::new(in_file(found, own), false),
            sees_in_place,
        })
    }

    /// Where a stack with these marks stands, and which of them is the task's poll.
    pub(super) fn place(&self, marks: &[Landmark], wait: Wait) -> (Place, Option<usize>) {
        match place_by_polls(marks, wait) {
            (Place::InPoll(Kind::Worker), poll) if !self.sees_in_place => (Place::HandedOver, poll),
            found => found,
        }
    }
}

/// What the task types add to the `known` landmarks of a program with symbols: which polls
/// are those of tasks, and functions into which `block_in_place` was inlined. Both have no
/// name there.
pub(super) fn beside_symbols(
    types: &Types,
    own: &ModuleInfo,
    space: &impl Image,
    known: &Landmarks,
    function: impl Fn(u64) -> Option<Range<u64>>,
) -> Vec<(Range<u64>, Landmark)> {
    let mut found = polls(types, own, space, |kind| kind.named, &function);
    for (_, mark) in found
        .values_mut()
        .filter(|(_, mark)| *mark == Landmark::Poll)
    {
        *mark = Landmark::Task;
    }
    let is_known =
        |start: u64| found.contains_key(&start) || known.at(start.wrapping_sub(own.base)).is_some();
    let in_place = Searched::open(space, own).map_or(InPlace::Unfound, |code| {
        code.in_place(space, is_known, &function)
    });
    if let InPlace::Functions(functions) = in_place {
        let marked = functions.into_iter();
        found.extend(marked.map(|range| (range.start, (range, Landmark::InPlace))));
    }
    in_file(found, own)
}

/// The same by the addresses that the file counts.
fn in_file(
    found: BTreeMap<u64, (Range<u64>, Landmark)>,
    own: &ModuleInfo,
) -> Vec<(Range<u64>, Landmark)> {
    let base = own.base;
    let inside = found.into_values().filter(|(range, _)| range.start >= base);
    inside
        .map(|(range, mark)| (range.start - base..range.end - base, mark))
        .collect()
}

/// The functions that poll tasks and run jobs of the pool, by where they begin; of the
/// `wanted` types.
fn polls(
    types: &Types,
    own: &ModuleInfo,
    memory: &impl Memory,
    wanted: impl Fn(&TaskType) -> bool,
    function: &impl Fn(u64) -> Option<Range<u64>>,
) -> BTreeMap<u64, (Range<u64>, Landmark)> {
    let mut found = BTreeMap::new();
    let in_own = |module: usize| {
        types
            .modules()
            .get(module)
            .is_some_and(|m| m.path == own.path)
    };
    let own_types = types.iter().filter(|kind| in_own(kind.module));
    for kind in own_types.filter(|kind| wanted(kind)) {
        let mark = match kind.kind {
            TaskKind::Async => Landmark::Poll,
            TaskKind::Blocking => Landmark::Pool,
        };
        let mut at = kind.poll();
        for _ in 0..=JUMPS {
            let Some(range) = function(at).filter(|range| range.start == at) else {
                break;
            };
            let next = jump(memory, &range);
            // Where the linker has made one function of two it is not known whose it is.
            let entry = found.entry(at).or_insert((range, mark));
            if entry.1 != mark {
                entry.1 = Landmark::Pool;
            }
            match next {
                Some(next) => at = next,
                None => break,
            }
        }
    }
    found
}

/// Where a function goes that ends with a jump, and is short.
fn jump(memory: &impl Memory, range: &Range<u64>) -> Option<u64> {
    let length = range.end - range.start;
    if length > MAX_STUB {
        return None;
    }
    let mut code = vec![0; length as usize];
    if memory.read(range.start, &mut code) < code.len() {
        return None;
    }
    let distance = i32::from_le_bytes(code.last_chunk::<4>().copied()?);
    let to = range.end.wrapping_add_signed(i64::from(distance));
    match code[..code.len() - 4] {
        [.., 0xff, 0x25] => memory.read_u64(to),
        [.., 0xe9] => Some(to),
        _ => None,
    }
}

/// Where `block_in_place` is.
#[derive(Debug, PartialEq, Eq)]
enum InPlace {
    /// In these functions, or in what they call.
    Functions(Vec<Range<u64>>),
    /// The program has none.
    Absent,
    /// It has one, and no function was found that is it.
    Unfound,
}

/// The program's file, where it is mapped.
struct Searched {
    file: File,
    mappings: Vec<Mapping>,
}

impl Searched {
    fn open(space: &impl Image, own: &ModuleInfo) -> Option<Self> {
        let file = space.executable().ok()?;
        let mut mappings = space.mappings();
        mappings.retain(|mapping| mapping.path == own.path && mapping.inode != 0);
        Some(Self { file, mappings })
    }

    /// What calls the functions that are `known` is none of those.
    fn in_place(
        &self,
        space: &impl Space,
        known: impl Fn(u64) -> bool,
        function: &impl Fn(u64) -> Option<Range<u64>>,
    ) -> InPlace {
        let finder = Finder::new(IN_PLACE);
        let mut targets = BTreeSet::new();
        self.constants(|at, bytes| {
            targets.extend(finder.find_iter(bytes).map(|hit| at + hit as u64));
        });
        if targets.is_empty() {
            return InPlace::Absent;
        }
        // The text may be an argument of a macro's, which is a constant itself.
        for _ in 0..2 {
            let known = targets.clone();
            self.pointers(space, |at, word| {
                if known.contains(&word) {
                    targets.insert(at);
                }
            });
        }
        let mut found: BTreeMap<u64, u64> = BTreeMap::new();
        self.code(|at, bytes| {
            for hit in memchr::memchr_iter(0x8d, bytes) {
                let target = address_taken(at, bytes, hit);
                if target.is_some_and(|target| targets.contains(&target))
                    && let Some(range) = function(at + hit as u64)
                {
                    found.insert(range.start, range.end);
                }
            }
        });
        if found.is_empty() {
            return InPlace::Unfound;
        }
        let unknown = found.keys().copied().filter(|start| !known(*start));
        let mut newest: BTreeSet<u64> = unknown.collect();
        for _ in 0..CALLERS {
            let callees = std::mem::take(&mut newest);
            if callees.is_empty() {
                break;
            }
            self.code(|at, bytes| {
                for hit in memchr::memchr_iter(0xe8, bytes) {
                    let target = called(at, bytes, hit);
                    if target.is_some_and(|target| callees.contains(&target))
                        && let Some(range) = function(at + hit as u64)
                        && !known(range.start)
                        && found.insert(range.start, range.end).is_none()
                    {
                        newest.insert(range.start);
                    }
                }
            });
        }
        InPlace::Functions(found.into_iter().map(|(start, end)| start..end).collect())
    }

    /// Gives constants as the file has them, piece by piece.
    fn constants(&self, give: impl FnMut(u64, &[u8])) {
        self.pieces(|mapping| mapping.read && !mapping.execute, give);
    }

    fn code(&self, give: impl FnMut(u64, &[u8])) {
        self.pieces(|mapping| mapping.execute, give);
    }

    fn pieces(&self, wanted: impl Fn(&Mapping) -> bool, mut give: impl FnMut(u64, &[u8])) {
        let mut left = MAX_SEARCHED;
        let mut bytes = Vec::new();
        for mapping in self.mappings.iter().filter(|mapping| wanted(mapping)) {
            let range = &mapping.range;
            let mut at = range.start;
            while at < range.end && left > 0 {
                let end = range.end.min(at + PIECE + OVERLAP);
                bytes.resize((end - at) as usize, 0);
                let offset = at - range.start + mapping.offset;
                let read = self.file.read_at(&mut bytes, offset).unwrap_or(0);
                give(at, &bytes[..read]);
                at += PIECE;
                left = left.saturating_sub(PIECE);
            }
        }
    }

    /// Gives each word that may be a pointer: those of the file, and where the loader
    /// has written them those of the process.
    fn pointers(&self, space: &impl Space, mut give: impl FnMut(u64, u64)) {
        self.constants(|at, bytes| {
            for (n, word) in crate::space::words(bytes).enumerate() {
                give(at + n as u64 * 8, word);
            }
        });
        let mut bytes = Vec::new();
        let constants = self.mappings.iter().filter(|m| m.read && !m.execute);
        for mapping in constants {
            let pages = space.pages(&mapping.range).into_iter();
            for (own, _) in pages.filter(|(_, page)| *page == Page::Own) {
                let mut at = own.start;
                while at < own.end {
                    bytes.resize((own.end - at).min(PIECE) as usize, 0);
                    let read = space.read(at, &mut bytes);
                    for (n, word) in crate::space::words(&bytes[..read]).enumerate() {
                        give(at + n as u64 * 8, word);
                    }
                    at += PIECE;
                }
            }
        }
    }
}

/// What `lea r64, [rip + distance]` gives, where its second byte is at `hit`.
fn address_taken(at: u64, bytes: &[u8], hit: usize) -> Option<u64> {
    let prefix = *bytes.get(hit.checked_sub(1)?)?;
    let operand = *bytes.get(hit + 1)?;
    let is_lea = prefix & 0xfb == 0x48 && operand & 0xc7 == 0x05;
    is_lea.then(|| relative(at, bytes, hit + 2)).flatten()
}

/// What a call at `hit` calls.
fn called(at: u64, bytes: &[u8], hit: usize) -> Option<u64> {
    relative(at, bytes, hit + 1)
}

/// What the distance at `offset`, which ends an instruction, leads to.
fn relative(at: u64, bytes: &[u8], offset: usize) -> Option<u64> {
    let distance = bytes.get(offset..offset + 4)?.try_into().ok()?;
    let end = at + offset as u64 + 4;
    Some(end.wrapping_add_signed(i64::from(i32::from_le_bytes(distance))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_that_lead_to_an_address() {
        for (bytes, hit, taken, what) in [
            (
                &[0x48, 0x8d, 0x3d, 0x10, 0, 0, 0][..],
                1,
                Some(0x1017),
                "lea rdi",
            ),
            (
                &[0x4c, 0x8d, 0x05, 0xf9, 0xff, 0xff, 0xff],
                1,
                Some(0x1000),
                "lea r8",
            ),
            (&[0x48, 0x8d, 0x3c, 0x10, 0, 0, 0], 1, None, "of registers"),
            (&[0x0f, 0x8d, 0x3d, 0x10, 0, 0, 0], 1, None, "a jump"),
            (&[0x48, 0x8d, 0x3d, 0x10, 0], 1, None, "cut"),
            (&[0x8d, 0x3d, 0x10, 0, 0, 0], 0, None, "without its prefix"),
        ] {
            assert_eq!(address_taken(0x1000, bytes, hit), taken, "{what}");
        }
        let call = [0xe8, 0xfb, 0xff, 0xff, 0xff];
        assert_eq!(called(0x1000, &call, 0), Some(0x1000));
        assert_eq!(called(0x1000, &call[..4], 0), None);
    }

    #[test]
    fn a_poll_that_jumps_leads_on() {
        struct Code(Vec<u8>);
        impl Memory for Code {
            fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
                let from = (address - 0x1000) as usize;
                let bytes = self.0.get(from..).unwrap_or_default();
                let length = bytes.len().min(buffer.len());
                buffer[..length].copy_from_slice(&bytes[..length]);
                length
            }
        }
        let pointer = 0x1234_u64.to_le_bytes();
        let through = [&[0xff, 0x25, 2, 0, 0, 0, 0, 0][..], &pointer].concat();
        for (code, length, expected, what) in [
            (vec![0xe9, 0x10, 0, 0, 0], 5, Some(0x1015), "near"),
            (through, 6, Some(0x1234), "through a table"),
            (
                vec![0x31, 0xc0, 0xe9, 0xf9, 0xff, 0xff, 0xff],
                7,
                Some(0x1000),
                "at its end",
            ),
            (vec![0xe8, 0x10, 0, 0, 0], 5, None, "a call"),
            (vec![0xe9, 0], 5, None, "cut"),
            (vec![0xe9; 64], 64, None, "too long"),
        ] {
            assert_eq!(
                jump(&Code(code), &(0x1000..0x1000 + length)),
                expected,
                "{what}"
            );
        }
    }
}
