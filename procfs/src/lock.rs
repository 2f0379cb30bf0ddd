//! What a thread that waits in a futex waits for: which lock, if it is one.
//!
//! The kernel knows a futex by its address alone. What it belongs to shows in the value
//! that the thread expects there, and in the memory around it.

use std::ops::RangeInclusive;

/// A guard points at its lock, whose struct begins before the futex's word.
const BEFORE: u64 = 64;
/// How far a lock's word may be from where its guard points.
const GUARD: u64 = 8;

/// Commands of `futex(2)`, without the flags for private memory and the clock.
const COMMAND: u64 = 0x7f;
const WAIT: u64 = 0;
const LOCK_PI: u64 = 6;
const WAIT_BITSET: u64 = 9;
const LOCK_PI2: u64 = 13;

/// A mutex of std, or of the C library, for which others wait.
const CONTENDED: u32 = 2;
/// A `Once` of std that runs and for which others wait.
const RUNNING_QUEUED: u32 = 5;
/// A parked thread of std.
const PARKED: u32 = u32::MAX;
/// `parking_lot_core` waits for its word to leave this.
const PARKING_LOT: u32 = 1;
/// Flags of std's `RwLock`.
const READERS_WAIT: u32 = 1 << 30;
const WRITERS_WAIT: u32 = 1 << 31;
/// Flag of a futex with an owner, and the owner's bits.
const OWNER: u32 = 0x3fff_ffff;

/// What a lock is, as far as that shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockKind {
    /// Of the standard library.
    StdMutex,
    /// Of the standard library.
    StdRwLock,
    /// Of `parking_lot`.
    ParkingLotMutex,
    /// Of `parking_lot`.
    ParkingLotRwLock,
    /// Another: a mutex of the C library, a `Once`, one with priority inheritance.
    Other,
}

/// A lock that a thread waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lock {
    /// Distinguishes locks; of one lock the same for all that wait for it. Of std's the
    /// futex's word or the first of two, of `parking_lot`'s its key.
    pub address: u64,
    /// What it is.
    pub kind: LockKind,
    /// The thread that the lock itself names.
    pub owner: Option<u64>,
    /// The thread that the lock seems to name in std's own numbers. To be believed only
    /// of a thread that points at it: other memory may look the same.
    pub number: Option<u64>,
    /// The thread gives up after some time, without the lock.
    pub gives_up: bool,
}

impl Lock {
    /// The lock for which a thread waits in the call `futex` with `args`. `None` where it
    /// waits for something else (a condition, a wake), or no longer.
    pub fn of(args: &[u64; 6], read: impl Fn(u64) -> Option<u32>) -> Option<Self> {
        let (address, expected) = (args[0], args[2] as u32);
        let command = args[1] & COMMAND;
        let word = read(address)?;
        let lock = |address, kind| Self {
            address,
            kind,
            owner: None,
            number: None,
            gives_up: args[3] != 0,
        };
        match command {
            LOCK_PI | LOCK_PI2 => {
                let owner = u64::from(word & OWNER);
                return Some(Self {
                    owner: (owner != 0).then_some(owner),
                    ..lock(address, LockKind::Other)
                });
            }
            WAIT | WAIT_BITSET => {}
            _ => return None,
        }
        if command == WAIT && expected == PARKING_LOT && word == PARKING_LOT {
            let (address, kind) = of_parking_lot(address, &read)?;
            return Some(lock(address, kind));
        }
        match expected {
            // A mutex waits without a time limit; a condition that has this value does so
            // as well, but its word changes when the lock would be free.
            CONTENDED if word == CONTENDED => {
                let owner = owner_of_mutex(address, &read);
                let kind = match owner {
                    Some(_) => LockKind::Other,
                    None => LockKind::StdMutex,
                };
                Some(Self {
                    owner,
                    number: owner_of_reentrant(address, &read),
                    ..lock(address, kind)
                })
            }
            RUNNING_QUEUED if word == RUNNING_QUEUED => Some(lock(address, LockKind::Other)),
            PARKED => None,
            _ if expected & (READERS_WAIT | WRITERS_WAIT) != 0 && word == expected => {
                Some(lock(address, LockKind::StdRwLock))
            }
            // Writers wait beside the lock's own word.
            _ if command == WAIT_BITSET && word == expected => {
                let state = read(address.checked_sub(4)?)?;
                let held = state & !(READERS_WAIT | WRITERS_WAIT) != 0;
                let waits = state & WRITERS_WAIT != 0 && state != PARKED;
                (held && waits).then(|| lock(address - 4, LockKind::StdRwLock))
            }
            _ => None,
        }
    }

    /// Nobody holds it now: its word says so. Of others than std's that is not known.
    pub fn is_free(&self, read: impl Fn(u64) -> Option<u32>) -> bool {
        match self.kind {
            LockKind::StdMutex => read(self.address) == Some(0),
            LockKind::StdRwLock => {
                let word = read(self.address);
                word.is_some_and(|word| word & !(READERS_WAIT | WRITERS_WAIT) == 0)
            }
            _ => false,
        }
    }
}

/// Words that point at a lock, as a guard or a reference does. The key of a lock of
/// `parking_lot` may be some bytes above the address.
pub fn pointers(lock: u64) -> RangeInclusive<u64> {
    lock.saturating_sub(BEFORE)..=lock.saturating_add(3)
}

/// Whether a word points to where a guard of the lock points. Who only knows the lock
/// often points at what it is a part of.
pub fn is_of_guard(lock: u64, word: u64) -> bool {
    lock.checked_sub(word & !3)
        .is_some_and(|distance| distance <= GUARD)
}

/// The thread that a mutex of the C library names; `None` where it is none such.
fn owner_of_mutex(address: u64, read: impl Fn(u64) -> Option<u32>) -> Option<u64> {
    /// More threads do not wait for one mutex.
    const MAX_USERS: u32 = 4_096;
    /// Kinds and flags of a mutex.
    const MAX_KIND: u32 = 0x400;
    // lock, count, owner, users, kind
    let field = |n: u64| read(address.checked_add(n * 4)?);
    let (owner, users, kind) = (field(2)?, field(3)?, field(4)?);
    let plausible = (1..MAX_USERS).contains(&users) && kind < MAX_KIND && owner > 0;
    plausible.then_some(owner.into())
}

/// The thread that a lock of std names which its owner may take again, such as the
/// one of standard output: before the mutex stands its owner's number, behind it how
/// often that has taken it. (Up to Rust 1.83 an address stood there, which is larger
/// than any number of a thread.)
pub fn owner_of_reentrant(address: u64, read: impl Fn(u64) -> Option<u32>) -> Option<u64> {
    /// Nobody takes one so often, and no process has had so many threads.
    const MAX_COUNT: u32 = 1_024;
    let before = address.checked_sub(8)?;
    let count = read(address.checked_add(4)?)?;
    let (low, high) = (read(before)?, read(before + 4)?);
    let plausible = (1..MAX_COUNT).contains(&count) && low > 0 && high == 0;
    plausible.then_some(low.into())
}

/// What a thread of `parking_lot` waits for: it waits at a word of its own, and beside that
/// stands the lock's address. Its conditions wait there too, and are no locks. Those of
/// `dashmap` wait there as well, which count readers in fours; a writer has all bits.
fn of_parking_lot(word: u64, read: impl Fn(u64) -> Option<u32>) -> Option<(u64, LockKind)> {
    /// How far from the word: key, next in queue, two tokens, then the word.
    const KEY_BEFORE: u64 = 32;
    /// Below and above are no addresses of a program.
    const ADDRESSES: std::ops::Range<u64> = 0x1_0000..1 << 47;
    /// A mutex that is locked, and for which others wait.
    const LOCKED_AND_PARKED: u32 = 3;
    /// Of an `RwLock`: some wait; all else is who has it.
    const SOME_PARKED: u32 = 3;
    /// More threads do not read at once, each of which counts 16.
    const MAX_STATE: u32 = 16 << 16;
    let at = word.checked_sub(KEY_BEFORE)?;
    let key = u64::from(read(at)?) | u64::from(read(at.checked_add(4)?)?) << 32;
    // It must be memory, and not the thread's own.
    if !ADDRESSES.contains(&key) || key.abs_diff(word) <= 4_096 {
        return None;
    }
    // Writers that wait for readers do so at the next byte.
    let lock = key & !3;
    let state = read(lock)?;
    if state & 0xff == LOCKED_AND_PARKED && key == lock {
        return Some((lock, LockKind::ParkingLotMutex));
    }
    let high = read(lock.checked_add(4)?)?;
    let is_held = state & !SOME_PARKED != 0;
    let by_many = high == 0 && state < MAX_STATE;
    let by_all_bits = high == u32::MAX && state | SOME_PARKED == u32::MAX;
    let is_lock = (by_many || by_all_bits) && state & SOME_PARKED != 0 && is_held;
    is_lock.then_some((lock, LockKind::ParkingLotRwLock))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u64 = 0x7f00_0000_1000;
    const BITSET: u64 = 0x89;
    const PRIVATE_WAIT: u64 = 0x80;

    /// Words of 4 bytes at their distances from [`AT`].
    fn memory(words: &[(i64, u32)]) -> impl Fn(u64) -> Option<u32> {
        move |address| {
            let distance = address.wrapping_sub(AT) as i64;
            let known = words.iter().find(|(at, _)| *at == distance);
            known.map(|(_, word)| *word)
        }
    }

    #[test]
    fn what_a_futex_is_of() {
        use LockKind::{Other, ParkingLotMutex, ParkingLotRwLock, StdMutex, StdRwLock};
        type Case<'a> = (
            &'a str,
            u64,
            u32,
            &'a [(i64, u32)],
            Option<(i64, LockKind, Option<u64>)>,
        );
        // A key 0x10000 below the thread's own word.
        const FAR: i64 = -0x1_0000;
        let key = [(-32, 0xffff_1000), (-28, 0x7eff), (0, 1)];
        let with = |more: &[(i64, u32)]| [&key[..], more].concat();
        let mutex = with(&[(FAR, 3), (FAR + 4, 9)]);
        let readers = with(&[(FAR, 16 | 1), (FAR + 4, 0)]);
        let condition = with(&[(FAR, 0x1230), (FAR + 4, 0x7f00)]);
        let free = with(&[(FAR, 0), (FAR + 4, 0)]);
        let of_dashmap = with(&[(FAR, u32::MAX - 2), (FAR + 4, u32::MAX)]);
        let read_in_dashmap = with(&[(FAR, 4 | 2), (FAR + 4, 0)]);
        let cases: &[Case<'_>] = &[
            ("a mutex", BITSET, 2, &[(0, 2)], Some((0, StdMutex, None))),
            ("it was let go", BITSET, 2, &[(0, 0)], None),
            (
                "one of the C library",
                PRIVATE_WAIT,
                2,
                &[(0, 2), (8, 77), (12, 1), (16, 0)],
                Some((0, Other, Some(77))),
            ),
            ("a once", BITSET, 5, &[(0, 5)], Some((0, Other, None))),
            ("a parked thread", BITSET, u32::MAX, &[(0, u32::MAX)], None),
            (
                "a reader",
                BITSET,
                0x7fff_ffff,
                &[(0, 0x7fff_ffff)],
                Some((0, StdRwLock, None)),
            ),
            (
                "a writer",
                BITSET,
                7,
                &[(0, 7), (-4, 1 << 31 | 3)],
                Some((-4, StdRwLock, None)),
            ),
            ("a condition", BITSET, 7, &[(0, 7), (-4, 0)], None),
            (
                "a mutex of parking_lot",
                PRIVATE_WAIT,
                1,
                &mutex,
                Some((FAR, ParkingLotMutex, None)),
            ),
            (
                "its lock of readers",
                PRIVATE_WAIT,
                1,
                &readers,
                Some((FAR, ParkingLotRwLock, None)),
            ),
            (
                "one of dashmap that is written",
                PRIVATE_WAIT,
                1,
                &of_dashmap,
                Some((FAR, ParkingLotRwLock, None)),
            ),
            (
                "one that is read",
                PRIVATE_WAIT,
                1,
                &read_in_dashmap,
                Some((FAR, ParkingLotRwLock, None)),
            ),
            ("its condition", PRIVATE_WAIT, 1, &condition, None),
            ("nobody holds it", PRIVATE_WAIT, 1, &free, None),
            (
                "with an owner",
                6,
                0,
                &[(0, 0x8000_002a)],
                Some((0, Other, Some(42))),
            ),
            ("a wake", 1, 2, &[(0, 2)], None),
            ("memory that is gone", BITSET, 2, &[], None),
        ];
        for (what, command, expected, words, lock) in cases {
            let args = [AT, *command, u64::from(*expected), 0, 0, 0];
            let found = Lock::of(&args, memory(words));
            let found = found.map(|lock| {
                let distance = lock.address.wrapping_sub(AT) as i64;
                (distance, lock.kind, lock.owner)
            });
            assert_eq!(found, *lock, "{what}");
        }
    }

    #[test]
    fn a_guard_points_at_the_lock_and_an_arc_at_its_counts() {
        for (word, near, guard) in [
            (AT, true, true),
            (AT - 8, true, true),
            (AT - 16, true, false),
            (AT - 64, true, false),
            (AT - 64 - 8, false, false),
            (AT + 8, false, false),
        ] {
            assert_eq!(pointers(AT).contains(&word), near, "{word:#x}");
            assert_eq!(is_of_guard(AT, word), guard, "{word:#x}");
        }
    }

    fn args(operation: u64, expected: u32) -> [u64; 6] {
        [AT, operation, u64::from(expected), 0, 0, 0]
    }

    #[test]
    fn what_is_no_lock_is_none() {
        type Case = (&'static str, u64, u32, &'static [(i64, u32)], Option<i64>);
        let cases: [Case; 11] = [
            ("a mutex of std", BITSET, 2, &[(0, 2)], Some(0)),
            ("just released", BITSET, 2, &[(0, 0)], None),
            ("a parked thread", BITSET, u32::MAX, &[(0, u32::MAX)], None),
            ("a condition", BITSET, 7, &[(0, 7), (-4, 0)], None),
            (
                "a reader",
                BITSET,
                0x4000_0001,
                &[(0, 0x4000_0001)],
                Some(0),
            ),
            (
                "a writer, beside the word",
                BITSET,
                3,
                &[(0, 3), (-4, 0x8000_0001)],
                Some(-4),
            ),
            (
                "a condition beside a free lock",
                BITSET,
                3,
                &[(0, 3), (-4, 0x8000_0000)],
                None,
            ),
            ("a once", BITSET, 5, &[(0, 5)], Some(0)),
            ("unmapped", BITSET, 2, &[], None),
            ("a wake", 0x81, 2, &[(0, 2)], None),
            (
                "parking_lot",
                PRIVATE_WAIT,
                1,
                // The key is 0x5500_0000_2000, which is memory: see below.
                &[(0, 1), (-32, 0x2000), (-28, 0x5500)],
                None,
            ),
        ];
        for (what, operation, expected, words, lock) in cases {
            let found = Lock::of(&args(operation, expected), memory(words));
            let address = lock.map(|at| AT.wrapping_add_signed(at));
            assert_eq!(found.map(|l| l.address), address, "{what}");
            assert_eq!(found.and_then(|l| l.owner), None, "{what}");
        }
    }

    #[test]
    fn parking_lot_waits_for_the_key_beside_its_word() {
        let key = 0x5500_0000_2001_u64;
        let read = |address: u64| match address.wrapping_sub(AT) as i64 {
            0 => Some(1),
            -32 => Some(key as u32),
            -28 => Some((key >> 32) as u32),
            // A writer has it, and others wait.
            _ if address == key & !3 => Some(9),
            _ => (address == (key & !3) + 4).then_some(0),
        };
        let lock = Lock::of(&args(PRIVATE_WAIT, 1), read);
        assert_eq!(lock.map(|l| l.address), Some(key & !3));
    }

    #[test]
    fn a_mutex_of_the_c_library_names_its_owner() {
        let words = &[(0, 2), (4, 0), (8, 4_213), (12, 1), (16, 0)];
        let lock = Lock::of(&args(PRIVATE_WAIT, 2), memory(words)).unwrap();
        assert_eq!(lock.owner, Some(4_213));
        let inherited = Lock::of(&args(0x86, 0), memory(&[(0, 0x8000_1075)])).unwrap();
        assert_eq!(inherited.owner, Some(0x1075));
    }

    #[test]
    fn a_lock_that_may_be_taken_again_names_its_owner_by_number() {
        type Case = (&'static str, &'static [(i64, u32)], Option<u64>);
        let cases: [Case; 4] = [
            ("held once", &[(-8, 12), (-4, 0), (0, 2), (4, 1)], Some(12)),
            ("a mutex", &[(-8, 12), (-4, 0), (0, 2), (4, 0)], None),
            (
                "behind an address",
                &[(-8, 0x2000), (-4, 0x55), (0, 2), (4, 1)],
                None,
            ),
            ("nobody", &[(-8, 0), (-4, 0), (0, 2), (4, 1)], None),
        ];
        for (what, words, number) in cases {
            let lock = Lock::of(&args(BITSET, 2), memory(words)).unwrap();
            assert_eq!((lock.number, lock.owner), (number, None), "{what}");
        }
    }
}
