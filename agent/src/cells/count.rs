//! One pass over the memory: which tasks have ended and wait to be joined?

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::time::Duration;

use super::layout::{self, CELL_ALIGN, VTABLE_AT, VTABLE_WORDS, Vtable};
use looptop_procfs::Mapping;

use super::memory::{self, Present};
use crate::capture::read_memory;
use crate::thread_clock::{current_tid, thread_cpu_ns};

/// Memory that one pass looks at.
const MAX_BYTES: u64 = 256 << 20;
/// Memory that is read at a time; then the thread rests.
const CHUNK: usize = 256 << 10;
/// It rests this many times as long as it worked: 2 % of a CPU.
const REST: u32 = 49;
const MAX_REST: Duration = Duration::from_millis(500);
/// Constant data of the program that is searched for vtables.
const MAX_CONSTANTS: u64 = 64 << 20;
/// A path in a spawn location.
const MAX_PATH: u64 = 4_096;

/// Where tasks were spawned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) file: String,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// Ended tasks of one type and, where tokio says it, one spawn location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The function that polls the type.
    pub(crate) poll: u64,
    pub(crate) place: Option<Place>,
    pub(crate) count: u64,
    pub(crate) bytes: u64,
}

/// The program's task types, found once.
#[derive(Debug, Default)]
pub(super) struct Types {
    vtables: HashMap<u64, Vtable>,
    /// From the lowest to the highest of them.
    range: Range<u64>,
}

impl Types {
    /// All vtables of the module that holds the one of the task at `header`, which
    /// is the agent's own. `None` where it does not look as expected.
    pub(super) fn of_program(header: u64) -> Option<Self> {
        let vtable = *memory::words(header + VTABLE_AT, 1).first()?;
        let mappings = memory::mappings();
        let own = mappings.iter().find(|m| m.range.contains(&vtable))?;
        let of_module = |m: &&Mapping| m.path == own.path && m.path.is_absolute();
        let module: Vec<&Mapping> = mappings.iter().filter(of_module).collect();
        let code: Vec<Range<u64>> = module
            .iter()
            .filter(|m| m.execute)
            .map(|m| m.range.clone())
            .collect();
        Vtable::of(&memory::words(vtable, VTABLE_WORDS), &code)?;
        let mut vtables = HashMap::new();
        // Constants with addresses in them are read-only once the loader is done;
        // some linkers leave them writable.
        let constants = module.iter().filter(|m| m.read && !m.execute);
        let mut left = MAX_CONSTANTS;
        for mapping in constants {
            let bytes = (mapping.range.end - mapping.range.start).min(left);
            left -= bytes;
            let words = memory::words(mapping.range.start, (bytes / 8) as usize);
            for (n, window) in words.windows(VTABLE_WORDS).enumerate() {
                if let Some(found) = Vtable::of(window, &code) {
                    vtables.insert(mapping.range.start + n as u64 * 8, found);
                }
            }
        }
        let low = vtables.keys().min().copied()?;
        let high = vtables.keys().max().copied()?;
        vtables.contains_key(&vtable).then_some(Self {
            vtables,
            range: low..high + 1,
        })
    }

    /// Counts the tasks of these types that have ended and were not joined. Takes
    /// long, for it rests most of the time; `stop` ends it early.
    pub(super) fn count(&self, stop: impl Fn() -> bool) -> Option<Vec<Ended>> {
        self.count_within(MAX_BYTES, stop)
    }

    /// The same of so many bytes of memory.
    fn count_within(&self, mut left: u64, stop: impl Fn() -> bool) -> Option<Vec<Ended>> {
        let mut counts = BTreeMap::<(u64, u64), (u64, u64)>::new();
        let present = Present::open();
        let mut buffer = vec![0; CHUNK];
        let own = buffer.as_ptr_range();
        let own = own.start as u64..own.end as u64;
        for mapping in memory::mappings().iter().filter(|m| memory::is_heap(m)) {
            for part in present.parts(&mapping.range) {
                let mut at = part.start;
                while at < part.end && left > 0 {
                    if stop() {
                        // The process, or its agent, ends: there is no next pass.
                        return None;
                    }
                    let before_ns = cpu_ns();
                    let length = (part.end - at).min(CHUNK as u64).min(left);
                    let read = read_memory(at, &mut buffer[..length as usize]);
                    self.scan(at, &buffer[..read], &own, &mut counts);
                    left -= length;
                    at += length;
                    rest(cpu_ns().saturating_sub(before_ns));
                }
            }
        }
        // Left as it is, the next pass would find the copies.
        buffer.fill(0);
        std::hint::black_box(&buffer);
        let mut places = HashMap::new();
        let of = |((poll, place), (count, bytes))| Ended {
            poll,
            place: places
                .entry(place)
                .or_insert_with(|| location(place))
                .clone(),
            count,
            bytes,
        };
        Some(counts.into_iter().map(of).collect())
    }

    /// Counts what begins in `bytes`, which were read from `base` on.
    fn scan(
        &self,
        base: u64,
        bytes: &[u8],
        own: &Range<u64>,
        counts: &mut BTreeMap<(u64, u64), (u64, u64)>,
    ) {
        let word = |at: u64| -> Option<u64> {
            let at = usize::try_from(at).ok()?;
            let bytes = bytes.get(at..at.checked_add(8)?)?;
            bytes.try_into().ok().map(u64::from_ne_bytes)
        };
        let mut header = base.next_multiple_of(CELL_ALIGN);
        while let Some(vtable) = word(header - base + VTABLE_AT) {
            let at = header - base;
            header += CELL_ALIGN;
            if !self.range.contains(&vtable) || own.contains(&(base + at)) {
                continue;
            }
            let Some(found) = self.vtables.get(&vtable) else {
                continue;
            };
            if !word(at).is_some_and(layout::is_unreaped) {
                continue;
            }
            let place = found.location_at.and_then(|offset| word(at + offset));
            let count = counts
                .entry((found.poll, place.unwrap_or_default()))
                .or_default();
            count.0 += 1;
            count.1 += found.cell;
        }
    }
}

fn cpu_ns() -> u64 {
    current_tid().and_then(thread_cpu_ns).unwrap_or_default()
}

fn rest(worked_ns: u64) {
    let worked = Duration::from_nanos(worked_ns);
    std::thread::sleep((worked * REST).min(MAX_REST));
}

/// The `std::panic::Location` at an address.
fn location(address: u64) -> Option<Place> {
    if address == 0 || !address.is_multiple_of(8) {
        return None;
    }
    let words = memory::words(address, 3);
    let [file, length, position] = *words.as_slice() else {
        return None;
    };
    let (line, column) = (position as u32, (position >> 32) as u32);
    if length > MAX_PATH || line == 0 {
        return None;
    }
    let file = memory::text(file, length as usize)?;
    Some(Place { file, line, column })
}

#[cfg(all(
    test,
    target_os = "linux",
    not(looptop_elsewhere),
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod tests {
    use std::task::Context;

    use super::*;

    #[test]
    fn a_location_is_read_as_the_compiler_wrote_it() {
        let here = std::panic::Location::caller();
        let found = location(std::ptr::from_ref(here) as u64).unwrap();
        assert_eq!(
            (found.file.as_str(), found.line),
            (here.file(), here.line())
        );
        assert_eq!(found.column, here.column());
        assert_eq!(location(0), None);
        assert_eq!(location(8), None);
    }

    #[test]
    fn tasks_that_nobody_joined_are_counted_one_by_one() {
        let answer = |n: u64| async move { [n; 40] };
        let other = |n: u64| async move { [n; 90] };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            // A task that stays, as the agent's probe does.
            let (tell, told) = std::sync::mpsc::channel();
            tokio::spawn(std::future::poll_fn(move |cx: &mut Context<'_>| {
                let _ = tell.send(cx.waker().data() as u64);
                std::task::Poll::<()>::Pending
            }));
            tokio::task::yield_now().await;
            let header = told.recv().unwrap();
            let mut answers: Vec<_> = (0..137).map(|n| tokio::spawn(answer(n))).collect();
            let others: Vec<_> = (0..41).map(|n| tokio::spawn(other(n))).collect();
            for _ in 0..400 {
                tokio::task::yield_now().await;
            }
            let types = Types::of_program(header).expect("as in all versions that were seen");
            let counts = types.count_within(u64::MAX, || false).unwrap();
            let of = |n: u64| counts.iter().filter(|e| e.count == n).count();
            assert_eq!((of(137), of(41)), (1, 1), "{counts:?}");
            if cfg!(tokio_unstable) {
                let placed = counts.iter().find(|e| e.count == 137).unwrap();
                assert_eq!(placed.place.as_ref().unwrap().file, file!());
            }
            let large = counts.iter().find(|e| e.count == 41).unwrap();
            assert!(large.bytes >= 41 * 90 * 8, "{large:?}");
            // Two are joined, the others thrown away.
            for answer in answers.drain(..2) {
                answer.await.unwrap();
            }
            drop(others);
            let counts = types.count_within(u64::MAX, || false).unwrap();
            let of = |n: u64| counts.iter().filter(|e| e.count == n).count();
            assert_eq!((of(135), of(41)), (1, 0), "{counts:?}");
        });
    }
}
