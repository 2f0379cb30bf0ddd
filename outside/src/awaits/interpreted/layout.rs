//! Where the fields of tokio's are, as far as they must be known without types.
//!
//! The compiler chooses their order. These are as rustc 1.95 lays out tokio 1.47 to 1.54,
//! with the locks of `parking_lot` and with those of the standard library; whoever reads
//! by them checks the structure around.

/// `tokio::sync::batch_semaphore::Semaphore`, which begins with its lock.
pub(super) struct Semaphore {
    /// Both ends of the list of those who wait.
    pub(super) queue: u64,
    pub(super) is_closed: u64,
    /// Those that are free, above a bit.
    pub(super) permits: u64,
}
pub(super) const SEMAPHORE: Semaphore = Semaphore {
    queue: 8,
    is_closed: 24,
    permits: 32,
};

/// `tokio::sync::batch_semaphore::Acquire`, which begins with the semaphore's address.
pub(super) struct Acquire {
    /// Permits that are still to be given.
    pub(super) left: u64,
    pub(super) amount: u64,
    pub(super) queued: u64,
}
pub(super) const ACQUIRE: Acquire = Acquire {
    left: 40,
    amount: 48,
    queued: 56,
};

/// Whether a future that begins with the address of a semaphore is one that queues for its
/// permits: that one waits for it, and holds nothing of it by that pointer.
pub(crate) fn is_queued_acquire(future: &[u8]) -> bool {
    let (left, amount) = (
        word_at(future, ACQUIRE.left),
        word_at(future, ACQUIRE.amount),
    );
    let queued = future.get(ACQUIRE.queued as usize);
    let waits =
        |left: u64, amount: u64| (1..1 << 32).contains(&amount) && (1..=amount).contains(&left);
    queued == Some(&1)
        && left
            .zip(amount)
            .is_some_and(|(left, amount)| waits(left, amount))
}

fn word_at(bytes: &[u8], at: u64) -> Option<u64> {
    let bytes = bytes.get(at as usize..)?.first_chunk()?;
    Some(u64::from_le_bytes(*bytes))
}

/// `tokio::sync::RwLock`, which begins with its semaphore.
pub(super) struct RwLock {
    /// How many may read at once.
    pub(super) readers: u64,
}
pub(super) const RW_LOCK: RwLock = RwLock { readers: 40 };
/// That number, where nobody has said another.
pub(super) const MAX_READERS: u64 = (u32::MAX >> 3) as u64;

/// `tokio::sync::Notify`.
pub(super) struct Notify {
    pub(super) lock: u64,
    pub(super) waiters: u64,
    pub(super) size: u64,
}
pub(super) const NOTIFY: Notify = Notify {
    lock: 8,
    waiters: 16,
    size: 32,
};

/// `tokio::sync::futures::Notified`, which begins with the address of its `Notify`.
pub(super) struct Notified {
    pub(super) state: u64,
}
pub(super) const NOTIFIED: Notified = Notified { state: 56 };

/// What the ends of a watch channel share: it begins with so many `Notify`s of receivers
/// and that of the senders.
pub(super) struct Watch {
    pub(super) notifies: u64,
    /// Of a receiver, which begins with the address of the channel.
    pub(super) version: u64,
}
pub(super) const WATCH: Watch = Watch {
    notifies: 8,
    version: 8,
};

/// `tokio::sync::Barrier`.
pub(super) struct Barrier {
    /// The addresses of its watch channel.
    pub(super) receiver: u64,
    pub(super) sender: u64,
    pub(super) arrived: u64,
    pub(super) of: u64,
}
pub(super) const BARRIER: Barrier = Barrier {
    receiver: 0,
    sender: 24,
    arrived: 32,
    of: 48,
};

/// What the ends of an mpsc channel share.
pub(super) struct Channel {
    /// Of its address; the counts of its `Arc` are so far before it.
    pub(super) align: u64,
    /// Blocks of messages, and where in them the next one is written and read.
    pub(super) tail: u64,
    pub(super) position: u64,
    pub(super) head: u64,
    pub(super) free_head: u64,
    pub(super) index: u64,
    pub(super) is_closed: u64,
    /// Of the waker of its receiver.
    pub(super) waker_state: u64,
    pub(super) semaphore: u64,
    pub(super) bound: u64,
    pub(super) senders: u64,
    pub(super) senders_unbounded: u64,
}
pub(super) const CHANNEL: Channel = Channel {
    align: 128,
    tail: 0,
    position: 8,
    head: 288,
    free_head: 296,
    index: 304,
    is_closed: 312,
    waker_state: 144,
    semaphore: 320,
    bound: 360,
    senders: 368,
    senders_unbounded: 328,
};

/// What the ends of a broadcast channel share.
pub(super) struct Broadcast {
    pub(super) length: u64,
    pub(super) mask: u64,
    pub(super) lock: u64,
    pub(super) senders: u64,
}
pub(super) const BROADCAST: Broadcast = Broadcast {
    length: 8,
    mask: 16,
    lock: 24,
    senders: 72,
};

/// `tokio::time::Sleep`, which begins with a kind and the address of a driver.
pub(super) struct Sleep {
    /// The address of the driver, where it is once more.
    pub(super) driver_again: Option<u64>,
    /// What the driver counts by: as it is registered there, and as it is asked for now.
    pub(super) registered: u64,
    pub(super) asked: u64,
    pub(super) waker_state: u64,
    pub(super) seconds: u64,
    pub(super) nanoseconds: u64,
}
pub(super) const SLEEPS: &[Sleep] = &[
    // tokio 1.49 on.
    Sleep {
        driver_again: Some(24),
        registered: 48,
        asked: 56,
        waker_state: 80,
        seconds: 96,
        nanoseconds: 104,
    },
    Sleep {
        driver_again: None,
        registered: 40,
        asked: 48,
        waker_state: 72,
        seconds: 88,
        nanoseconds: 96,
    },
];

/// The lists of tasks of a `JoinSet`, behind their lock.
pub(super) struct JoinSet {
    /// Where each list begins, from the lock.
    pub(super) lists: [u64; 2],
    /// Of an entry.
    pub(super) next: u64,
    pub(super) task: u64,
}
pub(super) const JOIN_SET: JoinSet = JoinSet {
    lists: [8, 24],
    next: 16,
    task: 24,
};

/// What tokio has for each descriptor: `tokio::runtime::io::ScheduledIo`.
pub(super) struct ScheduledIo {
    /// Of its address; the counts of its `Arc` are so far before it.
    pub(super) align: u64,
    pub(super) lock: u64,
    pub(super) waiters: u64,
    /// Wakers of who reads and who writes.
    pub(super) reader: u64,
    pub(super) writer: u64,
}
pub(super) const SCHEDULED_IO: ScheduledIo = ScheduledIo {
    align: 128,
    lock: 24,
    waiters: 32,
    reader: 48,
    writer: 64,
};

/// The future that waits for one to be ready; it begins with the address of what tokio has.
pub(super) struct Readiness {
    pub(super) interest: u64,
    pub(super) is_ready: u64,
    pub(super) state: u64,
}
pub(super) const READINESS: Readiness = Readiness {
    interest: 40,
    is_ready: 48,
    state: 56,
};

/// `tokio::io::PollEvented`, which begins with a kind and the address of a driver.
pub(super) struct PollEvented {
    pub(super) shared: u64,
    pub(super) fd: u64,
}
pub(super) const POLL_EVENTED: PollEvented = PollEvented { shared: 16, fd: 24 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_future_that_queues_for_permits() {
        // Where it queues: what is left, what was asked for, and whether it queues.
        for (what, left, amount, queued, expected) in [
            ("for a lock", 1, 1, 1, true),
            ("for some more", 3, 8, 1, true),
            ("it was never polled", 1, 1, 0, false),
            ("it has them", 0, 1, 1, false),
            ("something else", 9, 1, 1, false),
            ("another", 1, 1, 7, false),
        ] {
            let words: [u64; 8] = [0x5000, 0, 0, 0, 0, left, amount, queued];
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            assert_eq!(is_queued_acquire(&bytes), expected, "{what}");
            assert!(!is_queued_acquire(&bytes[..56]), "{what}, cut off");
        }
    }
}
