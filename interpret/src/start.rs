//! What a run begins with: the function, what it is told, what it may take.

use std::time::Duration;

/// A function to run.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// Where it begins.
    pub function: u64,
    /// Its first arguments: numbers and pointers.
    pub arguments: [u64; 6],
    /// Where the thread's own memory is whose part is played. `None`: not known; what
    /// asks for it is refused.
    pub fs: Option<u64>,
    /// Changes of memory that come before.
    pub writes: Vec<(u64, Vec<u8>)>,
}

/// What code is told that asks for more than memory holds. Without an answer it is
/// refused.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// What the clocks say.
    pub clocks: Clocks,
    /// Functions of the vDSO, by their addresses: their own code reads pages that
    /// nobody else may read.
    pub functions: Vec<(u64, Function)>,
    /// The thread's id, as the system counts in the process.
    pub thread: Option<u64>,
    /// The processor's counter.
    pub counter: Option<u64>,
    /// What `cpuid` says: leaf and subleaf; EAX, EBX, ECX and EDX.
    pub cpuid: Vec<([u32; 2], [u32; 4])>,
    /// What `xgetbv` says of register 0: the states that the system saves.
    pub saved_states: Option<u64>,
    /// To which descriptors an event may be written.
    pub events: Events,
    /// Calls that only give something back count as done: `close`, `munmap`, `madvise`, `mprotect`,
    /// `shutdown`, `unlink`, `epoll_ctl`, a futex's wake; and the
    /// questions whether a descriptor is open (it is) and a child has ended (it has not). In the process nothing is given back.
    pub gives_back: bool,
}

/// Descriptors that count events (`eventfd`), by which a runtime wakes the thread that waits
/// for its driver. One event that is written to them counts as written, and wakes nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Events {
    /// None is known: what writes is refused.
    #[default]
    Refused,
    /// Those that count events.
    Of(Vec<u32>),
    /// Which descriptors count events is not known: to whichever the number one of eight
    /// bytes is written.
    OfAny,
}

/// What time it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Clocks {
    /// `CLOCK_REALTIME` and `CLOCK_REALTIME_COARSE`.
    pub realtime: Option<Duration>,
    /// `CLOCK_MONOTONIC` and `CLOCK_MONOTONIC_COARSE`.
    pub monotonic: Option<Duration>,
    /// `CLOCK_BOOTTIME`.
    pub boottime: Option<Duration>,
}

impl Clocks {
    pub(crate) fn of(&self, clock: u64) -> Option<Duration> {
        match clock {
            0 | 5 => self.realtime,
            1 | 6 => self.monotonic,
            7 => self.boottime,
            _ => None,
        }
    }
}

/// A function that is answered, not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// `clock_gettime`.
    ClockGettime,
    /// `gettimeofday`.
    Gettimeofday,
    /// `time`.
    Time,
    /// `getcpu`: always the first one.
    Getcpu,
}

/// What a run may take. It ends before it takes more.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Instructions; each element of a repeated one counts.
    pub steps: u64,
    /// Pages that are copied, the stack's among them.
    pub pages: usize,
    /// Calls that are noted.
    pub frames: usize,
    /// Atomic accesses that are noted; those beyond it are counted.
    pub atomics: usize,
    /// Words read that are noted.
    pub reads: usize,
    /// The end of the stack that the function gets, a multiple of a page. There, no
    /// memory of the process may be.
    pub stack_end: u64,
    /// Bytes of that stack.
    pub stack: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            steps: 1_000_000,
            pages: 1024,
            frames: 100_000,
            atomics: 10_000,
            reads: 0,
            // Below where Linux puts libraries, far above programs and their heaps.
            stack_end: 0x6000_0000_0000,
            stack: 1 << 20,
        }
    }
}
