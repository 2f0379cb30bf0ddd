//! The buffers in which the handlers leave what they copied: [`BUFFERS`] of them, one for
//! each capture that is on its way.
//!
//! Who may touch one is in [`Buffer::state`], a generation and a [phase](Phase): the
//! handler moves `Armed -> Writing -> Done`, the watchdog `Idle -> Armed`. A thread that
//! gets no CPU answers late: its buffer stays armed and the watchdog takes the answer when
//! it comes. Only where all buffers are taken does the watchdog move the oldest
//! `Armed -> Idle`. Each signal carries its generation, which names its buffer, so a
//! handler that finds another generation or phase there leaves the buffer alone.

use std::cell::UnsafeCell;
use std::ops::Range;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use looptop_unwind::Registers;

use super::context::Saved;
use crate::capture::NoStack;
use crate::clock::Ticks;

/// How much of a stack is copied.
pub(in crate::capture::native) const STACK_BYTES: usize = 64 * 1024;
/// Captures that may be on their way at the same time.
pub(in crate::capture::native) const BUFFERS: usize = 8;
/// Generations that fit beside the mark of a signal.
pub(super) const GENERATION_MASK: u64 = (1 << 40) - 1;

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
enum Phase {
    /// The watchdog owns the buffer, or nobody does.
    Idle = 0,
    /// A signal is on its way; its handler may take the buffer.
    Armed = 1,
    /// The handler owns the buffer.
    Writing = 2,
    /// The handler has published; the watchdog owns the buffer.
    Done = 3,
}

const fn state(generation: u64, phase: Phase) -> u64 {
    generation << 2 | phase as u64
}

/// What a handler copied.
#[derive(Debug)]
pub(in crate::capture::native) struct Snapshot {
    pub(in crate::capture::native) registers: Registers,
    /// Memory from the stack pointer upwards.
    pub(in crate::capture::native) stack: Vec<u8>,
    /// Where that is the stack of another handler: the stack pointer that its signal
    /// interrupted, and the memory from there upwards.
    pub(in crate::capture::native) interrupted: Option<(u64, Vec<u8>)>,
    /// When the handler ran.
    pub(in crate::capture::native) taken: Ticks,
    /// The sequence number of the thread's slot then, if it has one.
    pub(in crate::capture::native) sequence: Option<u64>,
}

/// What a handler is to fill.
pub(super) struct Content {
    pub(super) registers: Saved,
    pub(super) taken: Ticks,
    /// Of the stack that was interrupted, at the beginning of `bytes`.
    pub(super) length: usize,
    /// The stack pointer that an interrupted handler's signal had interrupted, and how much
    /// from there upwards follows in `bytes`; 0 where there is none.
    pub(super) interrupted: (u64, usize),
    pub(super) bytes: [u8; STACK_BYTES],
    sequence: Option<u64>,
}

struct Buffer {
    state: AtomicU64,
    /// Bounds of the stack of the thread that is to be captured.
    low: AtomicU64,
    high: AtomicU64,
    /// The sequence number of that thread's slot; null where it has none. Slots
    /// live for ever.
    sequence: AtomicPtr<AtomicU64>,
    content: UnsafeCell<Content>,
}

// SAFETY: `content` is accessed only by the party that `state` names, see the
// module's documentation; every hand-over is a release store or exchange of
// `state` that the other party acquires.
unsafe impl Sync for Buffer {}

impl Buffer {
    #[allow(clippy::large_stack_arrays, reason = "evaluated for a static")]
    const fn new() -> Self {
        Self {
            state: AtomicU64::new(state(0, Phase::Idle)),
            low: AtomicU64::new(0),
            high: AtomicU64::new(0),
            sequence: AtomicPtr::new(std::ptr::null_mut()),
            content: UnsafeCell::new(Content {
                registers: Saved {
                    pc: 0,
                    sp: 0,
                    fp: 0,
                    lr: 0,
                },
                taken: Ticks(0),
                length: 0,
                interrupted: (0, 0),
                bytes: [0; STACK_BYTES],
                sequence: None,
            }),
        }
    }

    /// That of a generation.
    fn of(generation: u64) -> &'static Self {
        &TABLE[generation as usize % BUFFERS]
    }

    fn is(&self, generation: u64, phase: Phase) -> bool {
        self.state.load(Ordering::Acquire) == state(generation, phase)
    }
}

/// All zero, so that memory is taken only for buffers that were used.
static TABLE: [Buffer; BUFFERS] = [const { Buffer::new() }; BUFFERS];
/// The newest generation.
static NEWEST: AtomicU64 = AtomicU64::new(0);

/// The generations whose signals arrived, by their low bits.
static ARRIVED: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];

/// Whether the signal of a generation has come to its thread.
pub(super) fn arrived(generation: u64) -> bool {
    ARRIVED[generation as usize % ARRIVED.len()].load(Ordering::Acquire) >= generation
}

/// Whether its handler has published what it copied.
pub(super) fn is_done(generation: u64) -> bool {
    Buffer::of(generation).is(generation, Phase::Done)
}

/// Opens a buffer for the next generation's handler: a free one, else the one
/// whose answer nobody has fetched, else the one that has waited longest. `stack` are the
/// bounds of the stack of the thread that is to be captured, `sequence` is the number in
/// its slot, if it has one.
pub(super) fn arm(
    stack: &Range<u64>,
    sequence: Option<&'static AtomicU64>,
) -> Result<u64, NoStack> {
    let usable = |buffer: &'static Buffer| {
        let state = buffer.state.load(Ordering::Acquire);
        let order = [Phase::Idle, Phase::Done, Phase::Armed];
        let place = order.iter().position(|p| *p as u64 == state & 3)?;
        Some((place, state >> 2))
    };
    let candidates = (0..).zip(&TABLE);
    let candidates = candidates.filter_map(|(index, buffer)| Some((usable(buffer)?, index)));
    let ((place, earlier), index) = candidates.min().ok_or(NoStack::Busy)?;
    let buffer = &TABLE[index as usize];
    if place == 2 && !disarm(earlier) {
        return Err(NoStack::Busy);
    }
    // The next number that names this buffer.
    let newest = NEWEST.load(Ordering::Relaxed);
    let generation = ((newest / BUFFERS as u64 + 1) * BUFFERS as u64 + index) & GENERATION_MASK;
    NEWEST.store(generation, Ordering::Relaxed);
    buffer.low.store(stack.start, Ordering::Relaxed);
    buffer.high.store(stack.end, Ordering::Relaxed);
    let sequence = sequence.map_or(std::ptr::null_mut(), |cell| {
        std::ptr::from_ref(cell).cast_mut()
    });
    buffer.sequence.store(sequence, Ordering::Relaxed);
    // Release: the handler that acquires this state sees the bounds.
    buffer
        .state
        .store(state(generation, Phase::Armed), Ordering::Release);
    Ok(generation)
}

/// Closes a buffer again; false if a handler has taken it.
pub(super) fn disarm(generation: u64) -> bool {
    Buffer::of(generation)
        .state
        .compare_exchange(
            state(generation, Phase::Armed),
            state(generation, Phase::Idle),
            Ordering::AcqRel,
            Ordering::Acquire,
        )
        .is_ok()
}

/// Has `fill` copy what is interrupted, if the watchdog still waits for that generation's
/// answer; `fill` gets the bounds of the thread's stack. For the handler: allocates nothing
/// and takes no lock.
pub(super) fn answer(generation: u64, fill: impl FnOnce(&mut Content, &Range<u64>)) {
    ARRIVED[generation as usize % ARRIVED.len()].fetch_max(generation, Ordering::Release);
    let buffer = Buffer::of(generation);
    let taken = buffer.state.compare_exchange(
        state(generation, Phase::Armed),
        state(generation, Phase::Writing),
        Ordering::AcqRel,
        Ordering::Relaxed,
    );
    if taken.is_err() {
        return;
    }
    // SAFETY: `Writing` of our generation makes this handler the owner.
    let content = unsafe { &mut *buffer.content.get() };
    // SAFETY: null, or the number in a slot, which lives for ever.
    let sequence = unsafe { buffer.sequence.load(Ordering::Relaxed).as_ref() };
    content.sequence = sequence.map(|cell| cell.load(Ordering::Relaxed));
    let low = buffer.low.load(Ordering::Relaxed);
    let high = buffer.high.load(Ordering::Relaxed);
    fill(content, &(low..high));
    // Release: the watchdog that acquires this state sees the content.
    buffer
        .state
        .store(state(generation, Phase::Done), Ordering::Release);
}

/// Copies what the handler published, and frees the buffer; `None` where it has not, or no
/// longer.
pub(super) fn fetch(generation: u64) -> Option<Snapshot> {
    if !is_done(generation) {
        return None;
    }
    let buffer = Buffer::of(generation);
    // SAFETY: `Done` of this generation was acquired, so no handler may touch the content
    // before the next `arm`, and only the watchdog fetches and arms.
    let content = unsafe { &*buffer.content.get() };
    let (stack, rest) = content.bytes.split_at(content.length);
    let (sp, length) = content.interrupted;
    let snapshot = Snapshot {
        registers: content.registers.into(),
        stack: stack.to_vec(),
        interrupted: (length > 0).then(|| (sp, rest[..length].to_vec())),
        taken: content.taken,
        sequence: content.sequence,
    };
    buffer
        .state
        .store(state(generation, Phase::Idle), Ordering::Release);
    Some(snapshot)
}
