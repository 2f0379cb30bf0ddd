//! What a thread that waits in a futex waits for: which lock, if it is one.
//!
//! The kernel knows a futex by its address alone. What it belongs to shows in the value
//! that the thread expects there, and in the memory around it.

use std::ops::RangeInclusive;

use crate::waits::ResourceKind;

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

/// A lock that a thread waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lock {
    /// As a resource is called: of one lock the same for all that wait for it.
    pub(super) address: u64,
    pub(super) kind: ResourceKind,
    /// The thread that the lock itself names.
    pub(super) owner: Option<u64>,
    /// The thread gives up after some time, without the lock.
    pub(super) gives_up: bool,
}

impl Lock {
    /// The lock for which a thread waits in the call `futex` with `args`. `None` where it
    /// waits for something else (a condition, a wake), or no longer.
    pub(super) fn of(args: &[u64; 6], read: impl Fn(u64) -> Option<u32>) -> Option<Self> {
        let (address, expected) = (args[0], args[2] as u32);
        let command = args[1] & COMMAND;
        let word = read(address)?;
        let lock = |address, kind| Self {
            address,
            kind,
            owner: None,
            gives_up: args[3] != 0,
        };
        match command {
            LOCK_PI | LOCK_PI2 => {
                let owner = u64::from(word & OWNER);
                return Some(Self {
                    owner: (owner != 0).then_some(owner),
                    ..lock(address, ResourceKind::Other)
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
                    Some(_) => ResourceKind::Other,
                    None => ResourceKind::StdMutex,
                };
                Some(Self {
                    owner,
                    ..lock(address, kind)
                })
            }
            RUNNING_QUEUED if word == RUNNING_QUEUED => Some(lock(address, ResourceKind::Other)),
            PARKED => None,
            _ if expected & (READERS_WAIT | WRITERS_WAIT) != 0 && word == expected => {
                Some(lock(address, ResourceKind::StdRwLock))
            }
            // Writers wait beside the lock's own word.
            _ if command == WAIT_BITSET && word == expected => {
                let state = read(address.checked_sub(4)?)?;
                let held = state & !(READERS_WAIT | WRITERS_WAIT) != 0;
                let waits = state & WRITERS_WAIT != 0 && state != PARKED;
                (held && waits).then(|| lock(address - 4, ResourceKind::StdRwLock))
            }
            _ => None,
        }
    }

    /// Nobody holds it now: its word says so. Of others than std's that is not known.
    pub(super) fn is_free(&self, read: impl Fn(u64) -> Option<u32>) -> bool {
        match self.kind {
            ResourceKind::StdMutex => read(self.address) == Some(0),
            ResourceKind::StdRwLock => {
                let word = read(self.address);
                word.is_some_and(|word| word & !(READERS_WAIT | WRITERS_WAIT) == 0)
            }
            _ => false,
        }
    }
}

/// Words that point at a lock, as a guard or a reference does. The key of a lock of
/// `parking_lot` may be some bytes above the address.
pub(super) fn pointers(lock: u64) -> RangeInclusive<u64> {
    lock.saturating_sub(BEFORE)..=lock.saturating_add(3)
}

/// Whether a word points to where a guard of the lock points. Who only knows the lock
/// often points at what it is a part of.
pub(super) fn is_of_guard(lock: u64, word: u64) -> bool {
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

/// What a thread of `parking_lot` waits for: it waits at a word of its own, and beside that
/// stands the lock's address. Its conditions wait there too, and are no locks.
fn of_parking_lot(word: u64, read: impl Fn(u64) -> Option<u32>) -> Option<(u64, ResourceKind)> {
    /// How far from the word: key, next in queue, two tokens, then the word.
    const KEY_BEFORE: u64 = 32;
    /// Below and above are no addresses of a program.
    const ADDRESSES: std::ops::Range<u64> = 0x1_0000..1 << 47;
    /// A mutex that is locked, and for which others wait.
    const LOCKED_AND_PARKED: u32 = 3;
    /// Of an `RwLock`: some wait; a writer has it; one reader.
    const SOME_PARKED: u32 = 3;
    const WRITER: u32 = 8;
    const READER: u32 = 16;
    /// More threads do not read at once.
    const MAX_STATE: u32 = READER << 16;
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
        return Some((lock, ResourceKind::ParkingLotMutex));
    }
    let high = read(lock.checked_add(4)?)?;
    let is_held = state & WRITER != 0 || state >= READER;
    let is_lock = high == 0 && state < MAX_STATE && state & SOME_PARKED != 0 && is_held;
    is_lock.then_some((lock, ResourceKind::ParkingLotRwLock))
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
        use ResourceKind::{Other, ParkingLotMutex, ParkingLotRwLock, StdMutex, StdRwLock};
        type Case<'a> = (
            &'a str,
            u64,
            u32,
            &'a [(i64, u32)],
            Option<(i64, ResourceKind, Option<u64>)>,
        );
        // A key 0x10000 below the thread's own word.
        const FAR: i64 = -0x1_0000;
        let key = [(-32, 0xffff_1000), (-28, 0x7eff), (0, 1)];
        let with = |more: &[(i64, u32)]| [&key[..], more].concat();
        let mutex = with(&[(FAR, 3), (FAR + 4, 9)]);
        let readers = with(&[(FAR, 16 | 1), (FAR + 4, 0)]);
        let condition = with(&[(FAR, 0x1230), (FAR + 4, 0x7f00)]);
        let free = with(&[(FAR, 0), (FAR + 4, 0)]);
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
            (AT - 72, false, false),
            (AT + 8, false, false),
        ] {
            assert_eq!(pointers(AT).contains(&word), near, "{word:#x}");
            assert_eq!(is_of_guard(AT, word), guard, "{word:#x}");
        }
    }
}
