//! Whether a stranger's scheduler has gone on. Stacks look the same in one long poll and
//! in many short ones; the scheduler's own counters do not.
//!
//! A worker of tokio keeps its `Core` on the heap: a tick for each turn of its loop,
//! and how often it has parked, and parked or unparked. While it parks and while it
//! polls a task, the context on the thread's stack points at it. Where these numbers
//! are differs from build to build, so they are learned: between two looks at the
//! parked thread one number has grown by the times that it parked, another by just
//! twice as much. What else has grown there in each such pair holds the tick, which
//! grows with each turn.
//!
//! While none of these numbers changes, and the context still points at them, the
//! thread is within one turn: one poll, or up to four where a task wakes the next
//! one (tokio's LIFO slot). A thread that never parks cannot be learned, and nothing
//! is known of it.

use std::collections::{BTreeMap, BTreeSet};

/// Of the stack of a parked thread this is looked at.
const STACK: usize = 32 << 10;
/// Behind a pointer. A `Core` takes some 200 to 600 bytes.
const WINDOW: usize = 1 << 10;
/// Different pointers of one stack.
const MAX_POINTERS: usize = 768;
/// Pairs of looks in which all that is learned has held.
const PAIRS: u32 = 3;
/// Attempts to learn, each of up to so many pairs, before a thread is let be.
const MAX_FAILURES: u32 = 8;
/// A counter grows by less than this between two looks.
const MOST: u32 = 1 << 24;
/// Below and above are no addresses of a program.
const ADDRESSES: std::ops::Range<u64> = 0x1_0000..1 << 47;

/// Copies memory from an address on; gives the number of bytes.
pub type Read<'a> = &'a dyn Fn(u64, &mut [u8]) -> usize;

/// What a parked thread's stack points at.
#[derive(Debug)]
pub struct Snapshot {
    /// By the pointer.
    targets: BTreeMap<u64, Target>,
}

#[derive(Debug)]
struct Target {
    /// Where on the stack the pointer is.
    roots: Vec<u64>,
    words: Vec<u32>,
}

/// What is known of the words behind one pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    roots: Vec<u64>,
    /// Words that grew in each pair, by their index.
    grown: Vec<usize>,
    /// Of these such as grew twice as much as another, in each pair.
    doubles: Vec<(usize, usize)>,
}

/// The counters of one thread's scheduler, as far as they are known.
#[derive(Debug, Default)]
pub struct Ticks {
    last: Option<Snapshot>,
    groups: BTreeMap<u64, Group>,
    pairs: u32,
    failures: u32,
    known: Vec<Counters>,
}

/// Counters of which one pointer leads to the same parks as others: all that they
/// lead to, and the pointers of the outermost.
#[derive(Debug)]
struct Counters {
    pointer: u64,
    /// Where the pointer is, innermost first.
    roots: Vec<u64>,
    /// Addresses.
    words: BTreeSet<u64>,
    parks: BTreeSet<u64>,
}

impl Snapshot {
    /// Of the thread whose stack ends at `sp`. `None` where the stack has more pointers
    /// than are followed: the context may
    /// be among the others.
    pub fn take(sp: u64, read: Read<'_>) -> Option<Self> {
        let mut stack = vec![0; STACK];
        let length = read(sp, &mut stack);
        let own = sp..sp + STACK as u64;
        let mut targets: BTreeMap<u64, Target> = BTreeMap::new();
        let words = words::<8>(&stack[..length]).map(u64::from_le_bytes);
        for (at, word) in (sp..).step_by(8).zip(words) {
            if word % 8 != 0 || !ADDRESSES.contains(&word) || own.contains(&word) {
                continue;
            }
            if let Some(target) = targets.get_mut(&word) {
                target.roots.push(at);
            } else if targets.len() == MAX_POINTERS {
                return None;
            } else {
                let mut memory = vec![0; WINDOW];
                let length = read(word, &mut memory);
                let words = self::words::<4>(&memory[..length]);
                let target = Target {
                    roots: vec![at],
                    words: words.map(u32::from_le_bytes).collect(),
                };
                targets.insert(word, target);
            }
        }
        Some(Self { targets })
    }
}

fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    let words = bytes.chunks_exact(N);
    words.map(|word| word.try_into().unwrap_or([0; N]))
}

impl Group {
    /// What has grown from `before` to `after`; `None` where nothing says that
    /// parks are counted there.
    fn of(before: &Target, after: &Target) -> Option<Self> {
        let grown: Vec<(usize, u32)> = before
            .words
            .iter()
            .zip(&after.words)
            .enumerate()
            .map(|(index, (before, after))| (index, after.wrapping_sub(*before)))
            .filter(|(_, by)| (1..MOST).contains(by))
            .collect();
        let double = |(index, by): &(usize, u32)| {
            let halves = grown.iter().filter(|(_, half)| half * 2 == *by);
            let pairs: Vec<_> = halves.map(|(half, _)| (*half, *index)).collect();
            pairs
        };
        let group = Self {
            roots: common(&before.roots, &after.roots),
            grown: grown.iter().map(|(index, _)| *index).collect(),
            doubles: grown.iter().flat_map(double).collect(),
        };
        group.is_possible().then_some(group)
    }

    fn and(&self, other: &Self) -> Option<Self> {
        let group = Self {
            roots: common(&self.roots, &other.roots),
            grown: common(&self.grown, &other.grown),
            doubles: common(&self.doubles, &other.doubles),
        };
        group.is_possible().then_some(group)
    }

    /// Both counts of parks and the tick.
    fn is_possible(&self) -> bool {
        !self.roots.is_empty() && self.grown.len() >= 3 && !self.doubles.is_empty()
    }
}

fn common<T: Copy + PartialEq>(a: &[T], b: &[T]) -> Vec<T> {
    a.iter().filter(|item| b.contains(item)).copied().collect()
}

impl Counters {
    fn of(pointer: u64, group: &Group) -> Self {
        let at = |index: &usize| pointer + *index as u64 * 4;
        Self {
            pointer,
            roots: group.roots.clone(),
            words: group.grown.iter().map(at).collect(),
            parks: group.doubles.iter().map(|(half, _)| at(half)).collect(),
        }
    }

    /// Takes the other's over.
    fn merge(&mut self, other: Self) {
        self.words.extend(other.words);
        self.parks.extend(other.parks);
        if other.roots.last() > self.roots.last() {
            (self.pointer, self.roots) = (other.pointer, other.roots);
        }
    }

    /// The pointers among which that of the scheduler's context is: its frame is one
    /// of the outermost.
    fn context(&self) -> impl Iterator<Item = u64> + '_ {
        let (inner, outer) = (self.roots.first(), self.roots.last());
        let middle = inner
            .zip(outer)
            .map_or(0, |(inner, outer)| inner.midpoint(*outer));
        self.roots.iter().copied().filter(move |at| *at >= middle)
    }
}

impl Ticks {
    /// Whether a look at the parked thread would teach anything.
    pub fn wants(&self) -> bool {
        !self.are_known() && self.failures < MAX_FAILURES
    }

    /// Whether they are known.
    pub fn are_known(&self) -> bool {
        self.pairs >= PAIRS
    }

    /// The thread was parked while `now` was taken, and has run since the one before.
    pub fn learn(&mut self, now: Option<Snapshot>) {
        let Some(now) = now else {
            self.failures = MAX_FAILURES;
            return;
        };
        let Some(last) = self.last.replace(now) else {
            return;
        };
        let Some(now) = &self.last else { return };
        let pair = |(pointer, before): (&u64, &Target)| {
            Some((*pointer, Group::of(before, now.targets.get(pointer)?)?))
        };
        let seen = last.targets.iter().filter_map(pair);
        self.groups = if self.pairs == 0 {
            seen.collect()
        } else {
            seen.filter_map(|(pointer, group)| {
                Some((pointer, self.groups.get(&pointer)?.and(&group)?))
            })
            .collect()
        };
        if self.groups.is_empty() {
            self.pairs = 0;
            self.failures += 1;
        } else {
            self.pairs += 1;
        }
        if self.are_known() {
            self.settle();
        }
        if !self.wants() {
            self.last = None;
        }
    }

    /// Parking leaves pointers behind further inside, which a poll writes over: what
    /// leads to the same parks is one.
    fn settle(&mut self) {
        for (pointer, group) in std::mem::take(&mut self.groups) {
            let mut counters = Counters::of(pointer, &group);
            let (same, other) = std::mem::take(&mut self.known)
                .into_iter()
                .partition(|known: &Counters| !known.parks.is_disjoint(&counters.parks));
            self.known = other;
            for known in same {
                counters.merge(known);
            }
            self.known.push(counters);
        }
    }

    /// The counters now; `None` where they are not known, or the thread's context
    /// does not point at them.
    pub fn now(&self, read: Read<'_>) -> Option<Vec<u32>> {
        if !self.are_known() {
            return None;
        }
        let word = |at: u64| {
            let mut bytes = [0; 8];
            (read(at, &mut bytes) == 8).then(|| u64::from_le_bytes(bytes))
        };
        let mut values = Vec::new();
        for counters in &self.known {
            // Frames further inside than the context are others now. Were it the
            // context that does not point there, its core would be another thread's.
            if !counters
                .context()
                .all(|at| word(at) == Some(counters.pointer))
            {
                return None;
            }
            for at in &counters.words {
                let mut bytes = [0; 4];
                if read(*at, &mut bytes) < bytes.len() {
                    return None;
                }
                values.push(u32::from_le_bytes(bytes));
            }
        }
        Some(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SP: u64 = 0x7f00_0000_0000;
    const CORE: u64 = 0x5500_0000_1000;
    const TASK: u64 = 0x5500_0000_4000;

    /// A thread whose stack points at a core and at a task.
    #[derive(Default)]
    struct Thread {
        tick: u32,
        parks: u32,
        task: u32,
        handed_over: bool,
    }

    impl Thread {
        /// Some turns of the loop, of which the last parks.
        fn turn(&mut self, polls: u32) {
            self.tick += polls + 1;
            self.parks += 1;
            self.task += 7;
        }

        fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
            let mut stack = [0_u64; 64];
            stack[3] = CORE + 0x40;
            stack[20] = TASK;
            stack[40] = if self.handed_over { 0 } else { CORE };
            let stack: Vec<u8> = stack.iter().flat_map(|w| w.to_le_bytes()).collect();
            let mut core = [0_u32; 80];
            core[4] = 2 * self.parks;
            core[8] = self.parks;
            core[10] = 4_711;
            core[70] = self.tick;
            let core: Vec<u8> = core.iter().flat_map(|w| w.to_le_bytes()).collect();
            let task = self.task.to_le_bytes().repeat(2);
            for (start, bytes) in [(SP, stack), (CORE, core), (TASK, task)] {
                let Some(from) = address.checked_sub(start) else {
                    continue;
                };
                if let Some(rest) = bytes.get(from as usize..).filter(|rest| !rest.is_empty()) {
                    let length = rest.len().min(buffer.len());
                    buffer[..length].copy_from_slice(&rest[..length]);
                    return length;
                }
            }
            0
        }

        fn teach(&self, ticks: &mut Ticks) {
            ticks.learn(Snapshot::take(SP, &|at, buffer| self.read(at, buffer)));
        }

        fn counters(&self, ticks: &Ticks) -> Option<Vec<u32>> {
            ticks.now(&|at, buffer| self.read(at, buffer))
        }
    }

    fn learned(thread: &mut Thread) -> Ticks {
        let mut ticks = Ticks::default();
        for polls in [1, 3, 2, 9] {
            assert!(ticks.wants());
            thread.turn(polls);
            thread.teach(&mut ticks);
        }
        ticks
    }

    #[test]
    fn a_turn_of_the_loop_is_seen_and_a_long_poll_is_none() {
        let mut thread = Thread::default();
        let ticks = learned(&mut thread);
        assert!(ticks.are_known() && !ticks.wants());
        let before = thread.counters(&ticks).expect("known");
        // Within a poll the task's own memory changes as it likes.
        thread.task += 1;
        assert_eq!(thread.counters(&ticks), Some(before.clone()));
        // Another poll, without parking.
        thread.tick += 1;
        assert_ne!(thread.counters(&ticks), Some(before));
    }

    #[test]
    fn a_core_that_was_handed_over_says_nothing() {
        let mut thread = Thread::default();
        let ticks = learned(&mut thread);
        thread.handed_over = true;
        assert_eq!(thread.counters(&ticks), None);
    }

    #[test]
    fn what_does_not_count_parks_is_not_learned() {
        let mut thread = Thread::default();
        let mut ticks = Ticks::default();
        for _ in 0..20 {
            // It polls and never parks.
            thread.tick += 1;
            thread.task += 1;
            if ticks.wants() {
                thread.teach(&mut ticks);
            }
        }
        assert!(!ticks.are_known());
        assert!(!ticks.wants(), "given up after some attempts");
        assert_eq!(thread.counters(&ticks), None);
    }

    #[test]
    fn a_stack_of_too_many_pointers_teaches_nothing() {
        let pointers = |address: u64, buffer: &mut [u8]| {
            let words =
                (0..buffer.len() as u64 / 8).map(|n| (CORE + address + 64 * n).to_le_bytes());
            for (into, word) in buffer.chunks_exact_mut(8).zip(words) {
                into.copy_from_slice(&word);
            }
            buffer.len()
        };
        assert!(Snapshot::take(0x1_0000, &pointers).is_none());
        let mut ticks = Ticks::default();
        ticks.learn(None);
        assert!(!ticks.wants());
    }
}
