//! Which sockets a future waits for, and for what of them.

use super::super::chain::{Interest, Leaf};
use super::super::leaf;
use super::layout::{POLL_EVENTED, READINESS, SCHEDULED_IO};
use super::wanted::{Looked, WAKER_SIZE};
use crate::space::Space;

impl<S: Space> Looked<'_, S> {
    /// A socket: the lock of what tokio has for it was taken. Which one it is the kernel
    /// says, or what was read to come there.
    pub(super) fn socket(&self, owner: &str, is_named: bool) -> Option<Leaf> {
        match self.places_of_sockets().next() {
            Some(place) => self.socket_at(place, owner, is_named),
            None => is_named.then_some(Leaf::Socket {
                fd: None,
                interest: leaf::interest(owner),
            }),
        }
    }

    /// Those at some places, each once.
    pub(super) fn sockets_at(&self, places: impl Iterator<Item = (u64, u64)>) -> Vec<Leaf> {
        let mut sockets = Vec::new();
        for place in places {
            let socket = self.socket_at(place, "", true);
            sockets.extend(socket.filter(|socket| !sockets.contains(socket)));
        }
        sockets
    }

    /// Where tokio has something for a descriptor, and its counts.
    pub(super) fn places_of_sockets(&self) -> impl Iterator<Item = (u64, u64)> {
        let accesses = self.accesses;
        self.locks().filter_map(move |lock| {
            let io = lock.checked_sub(SCHEDULED_IO.lock)?;
            let counts = io.checked_sub(SCHEDULED_IO.align)?;
            let fits = io.is_multiple_of(SCHEDULED_IO.align)
                && accesses.is_shared(counts)
                && accesses.is_list(io.checked_add(SCHEDULED_IO.waiters)?);
            fits.then_some((io, counts))
        })
    }

    fn socket_at(&self, (io, counts): (u64, u64), owner: &str, is_named: bool) -> Option<Leaf> {
        let accesses = self.accesses;
        let fd = accesses.sockets.of(io).or_else(|| {
            let mut found: Vec<i32> = self
                .pointers_to(counts)
                .filter_map(|at| self.descriptor(at))
                .collect();
            found.dedup();
            // Others may look like it.
            <[i32; 1]>::try_from(found).ok().map(|[fd]| fd)
        });
        let is_known = fd.is_some() || is_named;
        let may_be_one = || accesses.sockets.are_unknown() && self.waits_at(io);
        if !is_known && !may_be_one() {
            return None;
        }
        let interest = self.interest(io);
        Some(Leaf::Socket {
            fd,
            interest: match interest {
                Interest::Unknown => leaf::interest(owner),
                known => known,
            },
        })
    }

    /// The descriptor beside the pointer to what tokio has for it.
    fn descriptor(&self, shared: u64) -> Option<i32> {
        let accesses = self.accesses;
        let socket = shared.checked_sub(POLL_EVENTED.shared)?;
        let field = |offset: u64| accesses.word(socket.checked_add(offset)?);
        let fits = field(0)? & 0xffff_ffff <= 1 && accesses.is_shared(field(8)?);
        fits.then(|| one_descriptor(field(POLL_EVENTED.fd)?, field(POLL_EVENTED.fd + 8)))?
    }

    /// Whether a waker of the task is where a socket has those of who waits for it.
    pub(super) fn waits_at(&self, io: u64) -> bool {
        let of_futures = |at: u64| self.accesses.has_waker(at, READINESS.state);
        let slots = io.saturating_add(SCHEDULED_IO.reader);
        self.accesses.has_waker(slots, 2 * WAKER_SIZE) || self.pointers_to(io).any(of_futures)
    }

    /// What a poll has asked of a socket that was not ready, as bits: to read, to write. Then
    /// it looks whether its waker is there already, which need not be the task's own.
    pub(super) fn asked(&self, io: u64) -> u64 {
        let has_read = |offset: u64| {
            let slot = io.saturating_add(offset);
            let mut reads = self.reads();
            reads.any(|read| (slot..slot.saturating_add(WAKER_SIZE)).contains(&read.address))
        };
        u64::from(has_read(SCHEDULED_IO.reader)) | u64::from(has_read(SCHEDULED_IO.writer)) << 1
    }

    /// What a socket is to be ready for: as its future says, by what was asked, or by the
    /// waker that is there.
    fn interest(&self, io: u64) -> Interest {
        let accesses = self.accesses;
        let of_future = self.pointers_to(io).find_map(|at| {
            let field = |offset: u64| accesses.byte(at.checked_add(offset)?);
            let fits = field(READINESS.is_ready)? <= 1 && field(READINESS.state)? <= 2;
            let bits = accesses.word(at.checked_add(READINESS.interest)?)?;
            (fits && bits < 64).then_some(bits & 3)
        });
        let bits = of_future.unwrap_or_else(|| match self.asked(io) {
            0 => {
                let is_ours = |at: u64| accesses.has_waker(io.wrapping_add(at), WAKER_SIZE);
                u64::from(is_ours(SCHEDULED_IO.reader))
                    | u64::from(is_ours(SCHEDULED_IO.writer)) << 1
            }
            asked => asked,
        });
        match bits {
            1 => Interest::Readable,
            2 => Interest::Writable,
            _ => Interest::Unknown,
        }
    }
}

/// The descriptor of which `first` and `second` are what stands there. With debug
/// assertions mio has the number of its selector before it, of which a program has a few;
/// without, whatever comes next is behind it. Where both may be, it is not known.
fn one_descriptor(first: u64, second: Option<u64>) -> Option<i32> {
    /// As many runtimes have sockets, mostly; lower descriptors are the standard streams.
    const SELECTORS: std::ops::RangeInclusive<u64> = 1..=2;
    const LOWEST: i32 = 3;
    let descriptor = |word: u64| {
        let number = (word as u32).cast_signed();
        (0..1 << 20).contains(&number).then_some(number)
    };
    let behind = second.and_then(descriptor).filter(|fd| *fd >= LOWEST);
    match behind {
        Some(fd) if SELECTORS.contains(&first) => Some(fd),
        Some(_) if first >> 32 == 0 => None,
        _ => descriptor(first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_is_known_from_the_number_of_a_selector() {
        let pointer = Some(0x7f35_e401_0400);
        for (first, second, expected) in [
            // Without debug assertions: what comes behind it is a pointer, or nothing.
            (12, pointer, Some(12)),
            (12, None, Some(12)),
            (0x7f35_0000_000c, Some(5), Some(12)),
            // With them.
            (1, Some(0xc_0000_000c), Some(12)),
            (2, Some(9), Some(9)),
            // Either.
            (7, Some(9), None),
            // Neither.
            (u64::from(u32::MAX), pointer, None),
        ] {
            assert_eq!(
                one_descriptor(first, second),
                expected,
                "{first:#x} {second:x?}"
            );
        }
    }
}
