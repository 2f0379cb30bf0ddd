//! Where tokio's scheduler is in a program: the address ranges of its own functions, by
//! which a stack shows whose thread it is.
//!
//! They come from the symbol table of the executable (`.symtab`), which a release
//! build keeps unless it is stripped. The table is read in pieces, and only the few
//! functions that count are kept.

use std::fs::File;
use std::io;
use std::ops::Range;

use crate::elf::SymbolTable;

/// What a function of tokio says of a thread on whose stack it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Landmark {
    /// In `block_in_place`, where a thread may block.
    InPlace,
    /// A task's poll, or a job of the blocking pool: which of them its name leaves out.
    Poll,
    /// A task's poll.
    Task,
    /// Waits for work.
    Park,
    /// The scheduler of a worker of a multi-thread runtime.
    Worker,
    /// That of a current-thread runtime.
    CurrentThread,
    /// The same, where it waits for work.
    CurrentThreadPark,
    /// Some scheduler's context is set.
    Scoped,
    /// `block_on`.
    BlockOn,
    /// The blocking pool.
    Pool,
}

/// Every name that counts holds this, in the legacy mangling and in v0.
const MODULE: &[u8] = b"5tokio7runtime";

impl Landmark {
    /// What the function of a mangled name is, if it counts.
    pub fn of(mangled: &[u8]) -> Option<Self> {
        let mangled = std::str::from_utf8(mangled).unwrap_or_default();
        let has = |part: &str| mangled.contains(part);
        if !has("5tokio7runtime") || has("13drop_in_place") {
            None
        } else if has("14block_in_place") || has("12exit_runtime") {
            Some(Self::InPlace)
        } else if polls(&has) {
            // The legacy mangling leaves out what the task is.
            Some(if has("12BlockingTask") {
                Self::Pool
            } else if mangled.starts_with("_R") {
                Self::Task
            } else {
                Self::Poll
            })
        } else if has("8block_on") && BLOCK_ON.iter().any(|module| has(module)) {
            Some(Self::BlockOn)
        } else if PARK.iter().any(|module| has(module)) {
            Some(Self::Park)
        } else if has("7runtime7context6scoped") && has("3set") {
            Some(Self::Scoped)
        } else if has("7runtime8blocking4pool") {
            Some(Self::Pool)
        } else if has("7runtime4task") {
            None
        } else if has("9scheduler12multi_thread6worker") {
            (has("7Context") || has("6worker3run")).then_some(Self::Worker)
        } else if has("9scheduler14current_thread") {
            let parks = has("7Context") && has("4park");
            let drives = has("7Context") || has("8block_on") || has("9CoreGuard");
            match (parks, drives) {
                (true, _) => Some(Self::CurrentThreadPark),
                (_, true) => Some(Self::CurrentThread),
                _ => None,
            }
        } else {
            None
        }
    }
}

/// `raw::poll`, which is in the task's table of functions; or what it jumps to.
fn polls(has: &impl Fn(&str) -> bool) -> bool {
    let within = |module: &str, names: &[&str]| has(module) && names.iter().any(|name| has(name));
    has("4task3raw4poll")
        || within("4task7harness", &["4poll", "8shutdown", "8complete"])
        || within("4task4core", &["4poll"])
}

const BLOCK_ON: [&str; 5] = [
    "16CachedParkThread",
    "11MultiThread",
    "7runtime7runtime",
    "7runtime6handle",
    "7runtime7context",
];
const PARK: [&str; 6] = [
    "9scheduler12multi_thread4park",
    "7runtime4park",
    "7runtime6driver",
    "7runtime2io6driver",
    "7runtime4time",
    "7runtime6signal",
];

/// The functions that count.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Landmarks {
    /// By address, as the file counts.
    functions: Vec<(Range<u64>, Landmark)>,
    /// `block_on` waits in a function of its own, so that one that does not is in
    /// its future.
    parks_apart: bool,
}

impl Landmarks {
    /// Of functions in any order.
    pub fn new(mut functions: Vec<(Range<u64>, Landmark)>, parks_apart: bool) -> Self {
        use Landmark::{Poll, Pool, Task};
        functions.sort_by_key(|(range, _)| range.start);
        // The compiler has made one function of a task's poll and of a job.
        functions.dedup_by(|(range, other), (kept, landmark)| {
            let merged = range == kept
                && other != landmark
                && [&*other, &*landmark]
                    .iter()
                    .all(|l| matches!(l, Poll | Task | Pool));
            if merged {
                *landmark = Poll;
            }
            merged
        });
        Self {
            functions,
            parks_apart,
        }
    }

    /// Takes over what is known of functions from elsewhere: which of those that poll are
    /// polls of tasks, and what has no name.
    pub fn learn(&mut self, known: Vec<(Range<u64>, Landmark)>) {
        let mut new = Vec::new();
        for (range, mark) in known {
            let first = self
                .functions
                .partition_point(|(other, _)| other.start < range.start);
            let same = self.functions[first..]
                .iter_mut()
                .take_while(|(other, _)| other.start == range.start);
            let mut has_name = false;
            for (_, landmark) in same {
                has_name = true;
                if matches!(landmark, Landmark::Poll | Landmark::Task) {
                    *landmark = mark;
                }
            }
            if !has_name {
                new.push((range, mark));
            }
        }
        self.functions.extend(new);
        self.functions.sort_by_key(|(range, _)| range.start);
    }

    /// What the function around `address` is.
    pub fn at(&self, address: u64) -> Option<Landmark> {
        let after = self
            .functions
            .partition_point(|(range, _)| range.start <= address);
        let (range, landmark) = self.functions.get(after.checked_sub(1)?)?;
        range.contains(&address).then_some(*landmark)
    }

    /// Whether `block_on` waits in a function of its own.
    pub fn parks_apart(&self) -> bool {
        self.parks_apart
    }

    fn has(&self, landmark: Landmark) -> bool {
        self.functions.iter().any(|(_, l)| *l == landmark)
    }
}

/// Why the functions are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// The file cannot be read.
    #[error("the program's own file cannot be read")]
    Unreadable,
    /// It has no symbols.
    #[error("the binary is stripped of its symbols; leave `strip` out of the profile")]
    Stripped,
    /// It has some, and none of them is tokio's.
    #[error("the symbols of the binary name no scheduler of tokio")]
    NoScheduler,
}

/// Symbol tables beyond this are not read.
const MAX_TABLE: u64 = 256 << 20;
/// Functions that are kept at most: a task's poll for each kind of task.
const MAX_FUNCTIONS: usize = 200_000;

/// Reads the symbols of `file`, a 64-bit little-endian ELF file. Some milliseconds
/// for a release build; up to a second for a very large one without optimisation.
///
/// # Errors
///
/// It has no such symbols, or cannot be read.
pub fn read(file: &File) -> Result<Landmarks, Unknown> {
    let table = SymbolTable::of(file).map_err(|_| Unknown::Unreadable)?;
    let mut table = table.ok_or(Unknown::Stripped)?;
    for range in [&mut table.entries, &mut table.names] {
        range.end = range.end.min(range.start.saturating_add(MAX_TABLE));
    }
    let names = names(file, &table).map_err(|_| Unknown::Unreadable)?;
    let landmarks = functions(file, &table, &names).map_err(|_| Unknown::Unreadable)?;
    let polls = landmarks.has(Landmark::Poll) || landmarks.has(Landmark::Task);
    if polls && landmarks.has(Landmark::Park) {
        Ok(landmarks)
    } else {
        Err(Unknown::NoScheduler)
    }
}

/// The names that count, by their place among all.
fn names(file: &File, table: &SymbolTable) -> io::Result<Vec<(u32, Landmark, bool)>> {
    let finder = Finder::new(MODULE);
    let mut found = Vec::new();
    let mut names = table.names(file);
    while let Some((begin, piece)) = names.next_piece()? {
        let mut at = 0;
        while let Some(hit) = finder.find(&piece[at..]) {
            let hit = at + hit;
            let start = piece[..hit]
                .iter()
                .rposition(|byte| *byte == 0)
                .map_or(0, |end| end + 1);
            let end = piece[hit..]
                .iter()
                .position(|byte| *byte == 0)
                .map_or(piece.len(), |end| hit + end);
            let name = &piece[start..end];
            if let (Some(landmark), Ok(place)) =
                (Landmark::of(name), u32::try_from(begin + start as u64))
            {
                found.push((place, landmark, parks_thread(name)));
            }
            at = end;
        }
    }
    Ok(found)
}

/// The function in which a thread waits in `block_on`.
fn parks_thread(name: &[u8]) -> bool {
    let name = std::str::from_utf8(name).unwrap_or_default();
    name.contains("7runtime4park") && name.contains("5Inner4park")
}

fn functions(
    file: &File,
    table: &SymbolTable,
    names: &[(u32, Landmark, bool)],
) -> io::Result<Landmarks> {
    let mut found = Vec::new();
    let mut parks_apart = false;
    table.functions(file, |name, function| {
        if let Ok(index) = names.binary_search_by_key(&name, |(at, ..)| *at) {
            let (_, landmark, parks) = names[index];
            found.push((function, landmark));
            parks_apart |= parks;
        }
        found.len() < MAX_FUNCTIONS
    })?;
    Ok(Landmarks::new(found, parks_apart))
}

/// Looks for one part in many texts (Horspool), also where nothing is optimised.
struct Finder<'a> {
    part: &'a [u8],
    /// By its last byte, how far a window moves on.
    skip: [u8; 256],
}

impl<'a> Finder<'a> {
    /// `part` is not empty, and shorter than 256 bytes.
    fn new(part: &'a [u8]) -> Self {
        let length = part.len() as u8;
        let mut skip = [length; 256];
        for (index, byte) in (1u8..).zip(part.iter().take(part.len().saturating_sub(1))) {
            skip[usize::from(*byte)] = length - index;
        }
        Self { part, skip }
    }

    fn find(&self, text: &[u8]) -> Option<usize> {
        let mut last = self.part.len().checked_sub(1)?;
        while let Some(byte) = text.get(last) {
            let at = last + 1 - self.part.len();
            if *byte == self.part[self.part.len() - 1] && text[at..=last] == *self.part {
                return Some(at);
            }
            last += usize::from(self.skip[usize::from(*byte)].max(1));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_manglings() {
        use Landmark::{
            BlockOn, CurrentThread, CurrentThreadPark, InPlace, Park, Poll, Pool, Scoped, Task,
            Worker,
        };
        let cases: [(&str, Option<Landmark>); 24] = [
            (
                "_ZN5tokio7runtime4task3raw4poll17h0123456789abcdefE",
                Some(Poll),
            ),
            (
                "_RINvNtNtNtCs1_5tokio7runtime4task3raw4pollNCNvCs2_3app7session0INtNtCs3_5alloc4sync3ArcNtNtNtNtB6_9scheduler12multi_thread6handle6HandleEECs2_3app",
                Some(Task),
            ),
            (
                "_RINvNtNtNtCs1_5tokio7runtime4task3raw4pollINtNtNtB6_8blocking4task12BlockingTaskNCNvMs_NtNtNtB6_9scheduler12multi_thread6workerNtB1_6Launch6launch0ENtNtB1_8schedule16BlockingScheduleECs2_3app",
                Some(Pool),
            ),
            (
                "_ZN5tokio7runtime9scheduler12multi_thread6worker7Context3run17h0E",
                Some(Worker),
            ),
            (
                "_RNvMs_NtNtNtNtCs1_5tokio7runtime9scheduler12multi_thread6workerNtB4_7Context8run_task",
                Some(Worker),
            ),
            (
                "_ZN5tokio7runtime9scheduler12multi_thread6worker3run17h0E",
                Some(Worker),
            ),
            (
                "_ZN5tokio7runtime9scheduler12multi_thread6worker14block_in_place17h0E",
                Some(InPlace),
            ),
            (
                "_ZN5tokio7runtime7context10runtime_mt12exit_runtime17h0E",
                Some(InPlace),
            ),
            (
                "_ZN5tokio7runtime9scheduler12multi_thread4park6Parker4park17h0E",
                Some(Park),
            ),
            ("_ZN5tokio7runtime4park5Inner4park17h0E", Some(Park)),
            ("_ZN5tokio7runtime2io6driver6Driver4turn17h0E", Some(Park)),
            (
                "_ZN5tokio7runtime4park16CachedParkThread8block_on17h0E",
                Some(BlockOn),
            ),
            (
                "_ZN5tokio7runtime7runtime7Runtime8block_on17h0E",
                Some(BlockOn),
            ),
            (
                "_ZN5tokio7runtime9scheduler14current_thread9CoreGuard8block_on17h0E",
                Some(CurrentThread),
            ),
            (
                "_RNvMs3_NtNtNtCs1_5tokio7runtime9scheduler14current_threadNtB5_7Context4park",
                Some(CurrentThreadPark),
            ),
            (
                "_ZN5tokio7runtime7context6scoped15Scoped$LT$T$GT$3set17h0E",
                Some(Scoped),
            ),
            ("_ZN5tokio7runtime8blocking4pool5Inner3run17h0E", Some(Pool)),
            // Whoever wakes a task runs these.
            (
                "_ZN5tokio7runtime9scheduler14current_thread6Handle8schedule17h0E",
                None,
            ),
            (
                "_ZN5tokio7runtime4task7harness20Harness$LT$T$C$S$GT$4poll17h0E",
                Some(Poll),
            ),
            (
                "_ZN5tokio7runtime4task4core17Core$LT$T$C$S$GT$4poll17h0E",
                Some(Poll),
            ),
            ("_ZN5tokio7runtime4task4join16drop_join_handle17h0E", None),
            (
                "_ZN4core3ptr13drop_in_place5tokio7runtime4task3raw4poll17h0E",
                None,
            ),
            ("_ZN10rayon_core8registry12WorkerThread3run17h0E", None),
            ("_ZN3app7runtime4task3raw4poll17h0E", None),
        ];
        for (name, expected) in cases {
            assert_eq!(Landmark::of(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn a_part_is_found_wherever_it_is() {
        let finder = Finder::new(MODULE);
        for filler in [b'5', b'e', b't', b'x'] {
            for before in 0..40 {
                let text = [&vec![filler; before][..], MODULE, b"\0rest"].concat();
                assert_eq!(finder.find(&text), Some(before), "{before}");
                assert_eq!(finder.find(&text[..before + MODULE.len() - 1]), None);
            }
        }
        assert_eq!(finder.find(b""), None);
    }

    #[test]
    fn addresses_are_found_in_their_functions() {
        let functions = vec![(0x30..0x40, Landmark::Park), (0x10..0x20, Landmark::Poll)];
        let landmarks = Landmarks::new(functions, true);
        for (address, expected) in [
            (0xf, None),
            (0x10, Some(Landmark::Poll)),
            (0x1f, Some(Landmark::Poll)),
            (0x20, None),
            (0x3f, Some(Landmark::Park)),
            (0x40, None),
        ] {
            assert_eq!(landmarks.at(address), expected, "{address:#x}");
        }
        assert_eq!(Landmarks::default().at(1), None);
        let mut learned = Landmarks::new(
            vec![
                (0x10..0x20, Landmark::Poll),
                (0x30..0x40, Landmark::Worker),
                (0x70..0x80, Landmark::Task),
            ],
            true,
        );
        learned.learn(vec![
            (0x70..0x80, Landmark::InPlace),
            (0x50..0x60, Landmark::InPlace),
            (0x30..0x40, Landmark::Task),
            (0x10..0x20, Landmark::Task),
        ]);
        let marks = learned.on([0x18, 0x38, 0x58, 0x78].into_iter());
        let [poll, worker, inlined] = [Landmark::Task, Landmark::Worker, Landmark::InPlace];
        assert_eq!(marks, [poll, worker, inlined, inlined]);
        for (marks, expected) in [
            ([Landmark::Task, Landmark::Pool], Landmark::Poll),
            ([Landmark::Pool, Landmark::Poll], Landmark::Poll),
            ([Landmark::Task, Landmark::Task], Landmark::Task),
        ] {
            let merged = marks.map(|mark| (0x10..0x20, mark)).to_vec();
            assert_eq!(Landmarks::new(merged, true).at(0x18), Some(expected));
        }
        // The tests of this crate run no tokio.
        let own = File::open(std::env::current_exe().expect("a path")).expect("own file");
        assert_eq!(read(&own), Err(Unknown::NoScheduler));
    }

    #[test]
    fn what_is_no_program_is_refused() {
        use std::io::Write;
        let mut file = tempfile::tempfile().expect("a file");
        assert_eq!(read(&file), Err(Unknown::Unreadable));
        file.write_all(&[0xff; 4096]).expect("room");
        assert_eq!(read(&file), Err(Unknown::Unreadable));
    }

    #[test]
    fn a_program_without_symbols_is_stripped() {
        use std::io::Write;
        let mut header = vec![0u8; 64];
        header[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        header[40] = 64;
        header[58] = 64;
        header[60] = 1;
        header.extend([0; 64]);
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&header).expect("room");
        assert_eq!(read(&file), Err(Unknown::Stripped));
    }
}
