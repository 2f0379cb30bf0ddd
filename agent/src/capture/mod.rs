//! The stack of a blocked worker, taken while it is blocked.
//!
//! Who calls what: a polling thread calls [`register_current_thread`] once, which
//! makes its capture cheaper but is not needed; the watchdog, and only the
//! watchdog, calls [`capture`] and [`late`]; the publisher reads
//! [`modules`]. Names are not looked up here: a stack is a list of (module,
//! offset), which the viewer resolves from the binary on disk.
//!
//! Two ways lead to a stack, the gentler first:
//!
//! 1. **Without touching the thread.** A thread that sits in a system call shows
//!    its stack and code pointers in `/proc/self/task/TID/syscall`; its stack is
//!    copied with `process_vm_readv` and unwound. The one register that this
//!    leaves unknown and some frames need, the frame pointer, is computed from
//!    the prologue of the first function that uses one, and checked.
//!    The result counts only if the thread did not run meanwhile.
//! 2. **With a signal**, for a thread that runs, or whose stack could not be
//!    unwound to its end in the first way and whose system call restarts by
//!    itself. The handler copies registers and used stack into a preallocated
//!    buffer, nothing else (`signal`).
//!
//! A thread in a call that a signal would interrupt visibly (`poll`, `nanosleep`,
//! a socket with a time-out, ...) is never signalled. A running thread that enters
//! such a call in the microseconds between the look and the signal has its call
//! restarted by the handler (x86-64).
//!
//! Where the application handles signals on its threads' alternate stacks itself (a Go
//! library does), a thread is signalled only if its stack has room for two handlers: the
//! 8 KiB that std gives a thread have not, and the kernel ends a process whose frame finds
//! no room.
//!
//! The copy is unwound on the caller's thread by the `.eh_frame` rules of the process's
//! modules, as the crate `looptop-unwind` does for any process; what is of this one is
//! here: its memory (`memory`), its loader (`unwind`), its signals and threads.
//!
//! # Cost, measured
//!
//! On a 2-core x86-64 machine with a load above 10, glibc 2.36, release build, by
//! `cargo test --release -p looptop-agent cost -- --ignored --nocapture`:
//!
//! | part | median | 90 % | most |
//! |---|---|---|---|
//! | handler, on the captured thread | 0.3 µs | 0.3 µs | 4.4 µs |
//! | signal sent until copied (the watchdog looks every 50 µs) | 138 µs | 149 µs | 17 ms |
//! | unwinding the copy, rules in the cache | 4.9 µs | 5.4 µs | 114 µs |
//! | whole capture of a sleeping thread, without a signal | 21.5 µs | 22.4 µs | 24 ms |
//! | reading the modules, once and after `dlopen` | 0.35 ms | | |
//!
//! The long tails are waits for a CPU. A thread that computes and gets no CPU for
//! 5 ms yields [`NoStack::TimedOut`], and its signal stays on the way: the next
//! [`capture`], or [`late`], finds the answer. It was taken when the thread next
//! got a CPU, before it did anything else.
//!
//! Other systems than Linux on x86-64 and aarch64 have no stacks: `install` says
//! so and everything else goes on working. On aarch64 the code is the same but
//! for registers; there is no prologue analysis (the C library keeps frame
//! records there) and no restart of a call by the handler.

#[cfg(all(
    target_os = "linux",
    not(looptop_elsewhere),
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod native;
#[cfg(not(all(
    target_os = "linux",
    not(looptop_elsewhere),
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
#[path = "unsupported.rs"]
mod native;
#[cfg(feature = "test")]
mod waiting;

pub(crate) use native::{
    Words, capture, install, is_registered, late, modules, read_memory, register_current_thread,
    words_of_blocked, words_of_running,
};

use looptop_procfs::SyscallState;
#[cfg(feature = "test")]
pub(crate) use waiting::where_it_waits;

pub(crate) use looptop_unwind::{ModuleIndex, ModuleInfo, Stack};

/// A stack, with the instant and the state of the thread in which it was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Captured {
    pub stack: Stack,
    /// What the thread was in: a call, on a CPU, or waiting for a page.
    pub doing: SyscallState,
    /// On the agent's clock.
    pub taken_ns: u64,
    /// The sequence number of the thread's slot at that instant, where the thread
    /// itself has read it.
    pub sequence: Option<u64>,
}

impl Captured {
    #[allow(dead_code, reason = "not on systems without stacks")]
    fn now(stack: Stack, doing: SyscallState) -> Self {
        Self {
            stack,
            doing,
            taken_ns: crate::clock::now_ns(),
            sequence: None,
        }
    }
}

/// Why stacks cannot be had in this process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(dead_code, reason = "each system builds only the variants it can meet")]
pub(crate) enum Unavailable {
    #[error(
        "stacks are not available on this platform ({os} on {arch}); they need Linux on x86-64 or aarch64"
    )]
    Platform {
        os: &'static str,
        arch: &'static str,
    },
    #[error("signal SIGRTMIN+{0} is out of range; choose an offset from 0 to {1}")]
    NoSuchSignal(i32, i32),
    #[error("could not install a handler for signal {signal}: {error}")]
    Install { signal: i32, error: String },
}

/// Why this capture yielded no stack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(dead_code, reason = "each system builds only the variants it can meet")]
pub(crate) enum NoStack {
    #[error("stacks are not available on this platform")]
    Platform,
    #[error("stack capture is not installed")]
    NotInstalled,
    #[error("the thread is not registered with the agent, or has ended")]
    NotRegistered,
    #[error("the thread has ended")]
    ThreadEnded,
    #[error(
        "the thread sits in system call {0}, which a signal would interrupt visibly, and its stack could not be unwound without one"
    )]
    WouldInterrupt(u64),
    #[error(
        "the kernel does not tell whether the thread is in a system call that a signal would interrupt; it is not disturbed"
    )]
    StateUnknown,
    #[error(
        "the thread has not yet taken the signal (it gets no CPU, is in an uninterruptible system call, or masks the signal)"
    )]
    TimedOut,
    #[error("the thread has not yet taken the signal of an earlier capture")]
    StillPending,
    #[error("an earlier capture is still being written")]
    Busy,
    #[error(
        "the application installed its own handler for the capture signal {0} after the agent had started; where it is there before, the agent takes another signal"
    )]
    HandlerReplaced(i32),
    #[error(
        "the thread's signal stack has no room for the handler, beside one of the application's \
         own where that has any with SA_ONSTACK ({0} bytes)"
    )]
    NoRoom(usize),
    #[error("the capture signal could not be sent: {0}")]
    Send(String),
    #[error("the stack could not be read")]
    Unreadable,
    #[error("unwinding failed unexpectedly")]
    Internal,
}

impl NoStack {
    /// The signal is on its way: the answer comes when the thread gets a CPU.
    pub(crate) fn is_due(&self) -> bool {
        matches!(self, Self::TimedOut | Self::StillPending)
    }

    /// Whether the next look may find what this one did not: the thread had no
    /// CPU to take the signal on, is about to take it, or was between two states
    /// when the kernel was asked.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::TimedOut | Self::StillPending | Self::Busy | Self::StateUnknown
        )
    }
}
