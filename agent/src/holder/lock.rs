//! What a thread that waits in a futex waits for: which lock, if it is one.
//!
//! The kernel knows a futex by its address alone. What it belongs to shows in the
//! value that the thread expects there, and in the memory around it.

use std::ops::RangeInclusive;

use crate::ids::Tid;

/// A guard points at its lock, whose struct begins before the futex's word.
const BEFORE: u64 = 64;

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

/// A lock that a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lock {
    /// Distinguishes locks; of one lock the same for all that wait for it.
    pub(crate) address: u64,
    /// The thread that the lock itself names.
    pub(crate) owner: Option<Tid>,
    /// The thread that the lock seems to name in std's own numbers. To be believed only
    /// of a thread that points at it: other memory may look the same.
    pub(crate) number: Option<u64>,
    /// The thread gives up after some time, without the lock.
    pub(crate) gives_up: bool,
}

impl Lock {
    /// The lock for which a thread waits in the call `futex` with `args`. `None`
    /// where it waits for something else (a condition, a wake), or no longer.
    pub(crate) fn of(args: &[u64; 6], read: impl Fn(u64) -> Option<u32>) -> Option<Self> {
        let (address, expected) = (args[0], args[2] as u32);
        let command = args[1] & COMMAND;
        let word = read(address)?;
        let lock = |address| Self {
            address,
            owner: None,
            number: None,
            gives_up: args[3] != 0,
        };
        match command {
            LOCK_PI | LOCK_PI2 => {
                let owner = u64::from(word & OWNER);
                return Some(Self {
                    owner: (owner != 0).then_some(Tid(owner)),
                    ..lock(address)
                });
            }
            WAIT | WAIT_BITSET => {}
            _ => return None,
        }
        if command == WAIT && expected == PARKING_LOT && word == PARKING_LOT {
            return key(address, &read).map(lock);
        }
        match expected {
            // A mutex waits without a time limit; a condition that has this value
            // does so as well, but its word changes when the lock would be free.
            CONTENDED if word == CONTENDED => Some(Self {
                owner: owner_of_mutex(address, &read),
                number: owner_of_reentrant(address, &read),
                ..lock(address)
            }),
            RUNNING_QUEUED if word == RUNNING_QUEUED => Some(lock(address)),
            PARKED => None,
            _ if expected & (READERS_WAIT | WRITERS_WAIT) != 0 && word == expected => {
                Some(lock(address))
            }
            // Writers wait beside the lock's own word.
            _ if command == WAIT_BITSET && word == expected => {
                let state = read(address.checked_sub(4)?)?;
                let held = state & !(READERS_WAIT | WRITERS_WAIT) != 0;
                let waits = state & WRITERS_WAIT != 0 && state != PARKED;
                (held && waits).then(|| lock(address - 4))
            }
            _ => None,
        }
    }

    /// Words that point at it, as a guard or a reference does. The key of a lock of
    /// `parking_lot` may be some bytes above the address.
    pub(crate) fn pointers(&self) -> RangeInclusive<u64> {
        self.address.saturating_sub(BEFORE)..=self.address.saturating_add(3)
    }
}

/// The thread that a mutex of the C library names; `None` where it is none such.
fn owner_of_mutex(address: u64, read: impl Fn(u64) -> Option<u32>) -> Option<Tid> {
    /// More threads do not wait for one mutex.
    const MAX_USERS: u32 = 4_096;
    /// Kinds and flags of a mutex.
    const MAX_KIND: u32 = 0x400;
    // lock, count, owner, users, kind
    let field = |n: u64| read(address.checked_add(n * 4)?);
    let (owner, users, kind) = (field(2)?, field(3)?, field(4)?);
    let plausible = (1..MAX_USERS).contains(&users) && kind < MAX_KIND && owner > 0;
    plausible.then_some(Tid(owner.into()))
}

/// The thread that a lock of std names which its owner may take again, such as the
/// one of standard output: before the mutex stands its owner's number, behind it how
/// often that has taken it. (Up to Rust 1.83 an address stood there, which is larger
/// than any number of a thread.)
pub(super) fn owner_of_reentrant(address: u64, read: impl Fn(u64) -> Option<u32>) -> Option<u64> {
    /// Nobody takes one so often, and no process has had so many threads.
    const MAX_COUNT: u32 = 1_024;
    let before = address.checked_sub(8)?;
    let count = read(address.checked_add(4)?)?;
    let (low, high) = (read(before)?, read(before + 4)?);
    let plausible = (1..MAX_COUNT).contains(&count) && low > 0 && high == 0;
    plausible.then_some(low.into())
}

/// What a thread of `parking_lot` waits for: it waits at a word of its own, and
/// beside that stands the lock's address.
fn key(word: u64, read: impl Fn(u64) -> Option<u32>) -> Option<u64> {
    /// How far from the word: key, next in queue, two tokens, then the word.
    const KEY_BEFORE: u64 = 32;
    /// Below and above are no addresses of a program.
    const ADDRESSES: std::ops::Range<u64> = 0x1_0000..1 << 47;
    let at = word.checked_sub(KEY_BEFORE)?;
    let key = u64::from(read(at)?) | u64::from(read(at.checked_add(4)?)?) << 32;
    // It must be memory, and not the thread's own.
    let plausible = ADDRESSES.contains(&key) && key.abs_diff(word) > 4_096;
    (plausible && read(key & !3).is_some()).then_some(key & !3)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u64 = 0x7f00_0000_1000;
    const BITSET: u64 = 0x89;
    const PRIVATE_WAIT: u64 = 0x80;

    /// Words of 4 bytes from [`AT`] minus 32 on.
    fn memory(words: &'static [(i64, u32)]) -> impl Fn(u64) -> Option<u32> {
        move |address| {
            let distance = address.wrapping_sub(AT) as i64;
            let known = words.iter().find(|(at, _)| *at == distance);
            known.map(|(_, word)| *word)
        }
    }

    fn args(operation: u64, expected: u32) -> [u64; 6] {
        [AT, operation, u64::from(expected), 0, 0, 0]
    }

    #[test]
    fn locks_are_told_from_what_is_none() {
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
            _ => (address == key & !3).then_some(9),
        };
        let lock = Lock::of(&args(PRIVATE_WAIT, 1), read);
        assert_eq!(lock.map(|l| l.address), Some(key & !3));
    }

    #[test]
    fn a_mutex_of_the_c_library_names_its_owner() {
        let words = &[(0, 2), (4, 0), (8, 4_213), (12, 1), (16, 0)];
        let lock = Lock::of(&args(PRIVATE_WAIT, 2), memory(words)).unwrap();
        assert_eq!(lock.owner, Some(Tid(4_213)));
        let inherited = Lock::of(&args(0x86, 0), memory(&[(0, 0x8000_1075)])).unwrap();
        assert_eq!(inherited.owner, Some(Tid(0x1075)));
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

    #[test]
    fn a_guard_points_at_the_lock_or_before_it() {
        let lock = Lock {
            address: AT,
            owner: None,
            number: None,
            gives_up: false,
        };
        for (distance, points) in [(0, true), (16, true), (64, true), (72, false), (-8, false)] {
            let word = AT.wrapping_sub_signed(distance);
            assert_eq!(lock.pointers().contains(&word), points, "{distance}");
        }
    }
}
