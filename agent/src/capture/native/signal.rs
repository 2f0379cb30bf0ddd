//! The signal that makes a thread copy its own registers and stack.
//!
//! # Why this is sound
//!
//! The handler runs on the captured thread, at any instruction of any code. It
//! therefore allocates nothing, takes no lock, touches no thread-local, and calls
//! nothing but `memcpy`, the clock (which [`install`] has set up) and, for a stack
//! that is not the registered one, `pread` of `pagemap` and `process_vm_readv`. It
//! restores `errno`.
//!
//! What it copies goes into one of the [`buffers`] that the watchdog and the handlers share.
//!
//! `SA_ONSTACK` puts the handler on the thread's alternate signal stack where it
//! has one (each thread of Rust's std does), so that a nearly full stack does not
//! overflow; the interrupted stack pointer is in the context either way.
//!
//! What is interrupted may be another handler on that alternate stack, and often is one
//! that has not begun yet: a thread that gets a CPU again takes the signals that wait for
//! it at once, a profiler's or a preempting runtime's before ours. The kernel has put what
//! that one interrupted on the alternate stack; so the thread's own stack is found there,
//! and copied as well.

mod buffers;
mod context;
mod room;

use std::cell::UnsafeCell;
#[cfg(test)]
use std::sync::atomic::AtomicU64;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

#[cfg(test)]
pub(super) use self::buffers::BUFFERS;
use self::buffers::GENERATION_MASK;
pub(super) use self::buffers::{STACK_BYTES, Snapshot};
use super::thread::{self, Registered};
use super::{NoStack, Unavailable, memory, restart};
use crate::clock;

/// How much of an alternate signal stack is copied at most, so that room is left for the
/// stack that its handler interrupted.
const MOST_OF_SIGNAL_STACK: usize = STACK_BYTES / 2;
/// How long the watchdog waits for the answer at once.
const PATIENCE: Duration = Duration::from_millis(5);
/// Marks our signals among those that others may send with the same number.
const MAGIC: u64 = 0x10_0b70_u64 << 40;

/// Number of the signal, 0 before installation.
static SIGNAL: AtomicI32 = AtomicI32::new(0);

struct Previous(UnsafeCell<Option<libc::sigaction>>);

// SAFETY: written once, before the handler that reads it is installed; `SIGNAL`
// and the system call that installs it order the two.
unsafe impl Sync for Previous {}

static PREVIOUS: Previous = Previous(UnsafeCell::new(None));

/// Nanoseconds that the last handler took; tests only, to measure.
#[cfg(test)]
pub(super) static HANDLER_NS: AtomicU64 = AtomicU64::new(0);

/// `siginfo_t` as `rt_tgsigqueueinfo` takes it, for `SI_QUEUE`.
#[repr(C)]
struct QueuedInfo {
    signal: i32,
    errno: i32,
    code: i32,
    padding: i32,
    pid: libc::pid_t,
    uid: libc::uid_t,
    value: u64,
    rest: [u64; 12],
}

const _: () = assert!(size_of::<QueuedInfo>() == size_of::<libc::siginfo_t>());

type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

/// Installs the handler for `SIGRTMIN + offset`, or the next real-time signal
/// that nobody handles yet. Where all are taken, the first one's handler is
/// called for signals that are not ours.
pub(super) fn install(offset: i32) -> Result<(), Unavailable> {
    let count = libc::SIGRTMAX() - libc::SIGRTMIN() + 1;
    if !(0..count).contains(&offset) {
        return Err(Unavailable::NoSuchSignal(offset, count - 1));
    }
    let wanted = libc::SIGRTMIN() + offset;
    let free = (0..count)
        .map(|step| libc::SIGRTMIN() + (offset + step) % count)
        .find(|&signal| disposition(signal).is_some_and(|old| old.sa_sigaction == libc::SIG_DFL));
    let signal = free.unwrap_or(wanted);
    memory::prepare();

    // SAFETY: the handler is not installed yet, so nobody reads `PREVIOUS`; the
    // caller serialises installations.
    unsafe { *PREVIOUS.0.get() = disposition(signal) };
    // SAFETY: all-zero is a valid `sigaction` (no flags, empty mask).
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler_address();
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
    // While the handler runs, no other signal handler may start on top of it:
    // it is short, and its stack may be small.
    // SAFETY: `sa_mask` is writable; `action` is initialised; the handler is safe
    // to run at any time.
    let result = unsafe {
        libc::sigfillset(&raw mut action.sa_mask);
        libc::sigaction(signal, &raw const action, std::ptr::null_mut())
    };
    if result != 0 {
        return Err(Unavailable::Install {
            signal,
            error: std::io::Error::last_os_error().to_string(),
        });
    }
    // The handler reads the clock, which must not set itself up there.
    clock::ticks();
    SIGNAL.store(signal, Ordering::Release);
    Ok(())
}

fn handler_address() -> libc::sighandler_t {
    handler as Handler as libc::sighandler_t
}

/// What is installed for `signal` now.
fn disposition(signal: i32) -> Option<libc::sigaction> {
    // SAFETY: all-zero is a valid `sigaction`; the call only asks.
    unsafe {
        let mut old: libc::sigaction = std::mem::zeroed();
        (libc::sigaction(signal, std::ptr::null(), &raw mut old) == 0).then_some(old)
    }
}

/// Makes thread `tid` copy its registers and stack. Where it has not answered
/// within 5 ms, the answer can be fetched later: by this again, or by [`late`].
///
/// The caller makes sure that only one capture runs at a time, and that the
/// thread is not in a call that a signal interrupts visibly.
pub(super) fn take(tid: u64, thread: &Registered) -> Result<Snapshot, NoStack> {
    let signal = SIGNAL.load(Ordering::Acquire);
    if signal == 0 {
        return Err(NoStack::NotInstalled);
    }
    if let Some(snapshot) = late(tid, thread) {
        return Ok(snapshot);
    }
    if disposition(signal).is_none_or(|now| now.sa_sigaction != handler_address()) {
        return Err(NoStack::HandlerReplaced(signal));
    }
    room::check_room(thread)?;
    if let Some(generation) = thread.pending {
        if !buffers::arrived(generation) {
            return Err(NoStack::StillPending);
        }
        thread::set_pending(tid, None);
    }

    let stack = thread.stack.0..thread.stack.1;
    let generation = buffers::arm(&stack, crate::slot::sequence_of(tid))?;
    if let Err(error) = send(signal, tid, generation) {
        buffers::disarm(generation);
        return Err(error);
    }
    if let Some(snapshot) = wait(generation) {
        return Ok(snapshot);
    }
    thread::set_pending(tid, Some(generation));
    Err(NoStack::TimedOut)
}

/// The answer of `tid` to an earlier signal, if it has come meanwhile.
pub(super) fn late(tid: u64, thread: &Registered) -> Option<Snapshot> {
    let snapshot = buffers::fetch(thread.pending?)?;
    thread::set_pending(tid, None);
    Some(snapshot)
}

fn send(signal: i32, tid: u64, generation: u64) -> Result<(), NoStack> {
    // SAFETY: both take nothing and cannot fail.
    let (pid, uid) = unsafe { (libc::getpid(), libc::getuid()) };
    let info = QueuedInfo {
        signal,
        errno: 0,
        code: libc::SI_QUEUE,
        padding: 0,
        pid,
        uid,
        value: MAGIC | generation,
        rest: [0; 12],
    };
    // SAFETY: `info` has the layout of `siginfo_t` and lives for the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_tgsigqueueinfo,
            pid,
            tid as libc::pid_t,
            signal,
            &raw const info,
        )
    };
    if result == 0 {
        return Ok(());
    }
    let error = std::io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ESRCH) {
        return Err(NoStack::ThreadEnded);
    }
    Err(NoStack::Send(error.to_string()))
}

/// Waits until the handler has published; `None` when the time is up.
fn wait(generation: u64) -> Option<Snapshot> {
    let start = Instant::now();
    // A thread on another CPU answers within microseconds.
    while start.elapsed() < Duration::from_micros(20) {
        if buffers::is_done(generation) {
            break;
        }
        std::hint::spin_loop();
    }
    while !buffers::is_done(generation) && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_micros(50));
    }
    buffers::fetch(generation)
}

/// See the module's documentation for what may be done here.
extern "C" fn handler(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the location of this thread's `errno` is always valid.
    let errno = unsafe { *libc::__errno_location() };
    #[cfg(test)]
    let start = test_clock();
    // SAFETY: the kernel passes a valid `info` with `SA_SIGINFO`.
    match unsafe { own_generation(&*info) } {
        // SAFETY: with `SA_SIGINFO` the kernel passes this thread's context.
        Some(generation) => unsafe {
            let context = &mut *context.cast::<libc::ucontext_t>();
            answer(generation, context);
            restart::interrupted_call(context);
        },
        None => chain(signal, info, context),
    }
    #[cfg(test)]
    HANDLER_NS.store(test_clock() - start, Ordering::Relaxed);
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

#[cfg(test)]
fn test_clock() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is writable; the call is async-signal-safe.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The generation that a signal of ours carries.
///
/// # Safety
///
/// `info` was filled by the kernel.
unsafe fn own_generation(info: &libc::siginfo_t) -> Option<u64> {
    if info.si_code != libc::SI_QUEUE {
        return None;
    }
    // SAFETY: both fields are valid for `SI_QUEUE`; `getpid` cannot fail.
    let (sender, value, own) = unsafe {
        (
            info.si_pid(),
            info.si_value().sival_ptr as u64,
            libc::getpid(),
        )
    };
    (sender == own && value & !GENERATION_MASK == MAGIC).then_some(value & GENERATION_MASK)
}

/// Fills the generation's buffer, if the watchdog still waits for it.
///
/// # Safety
///
/// Called by the handler, with the context of the thread that it runs on.
unsafe fn answer(generation: u64, context: &libc::ucontext_t) {
    buffers::answer(generation, |copy, own| {
        copy.registers = context::registers(context);
        copy.taken = clock::ticks();
        copy.interrupted = (0, 0);
        let sp = copy.registers.sp;
        if own.contains(&sp) {
            // SAFETY: this thread's own stack, from its stack pointer on.
            copy.length = unsafe { copy_own(sp, own.end, &mut copy.bytes) };
        } else if let Some(length) = context::on_signal_stack(sp, &context.uc_stack) {
            // Another handler's, whose end is known.
            let most = length.min(MOST_OF_SIGNAL_STACK);
            copy.length = memory::read_stack_pages(sp, &mut copy.bytes[..most]);
            let (handlers, rest) = copy.bytes.split_at_mut(copy.length);
            if let Some(sp) = context::interrupted_sp(handlers, &context.uc_stack, own) {
                // SAFETY: as above: where this thread was when the other handler began.
                copy.interrupted = (sp, unsafe { copy_own(sp, own.end, rest) });
            }
        } else {
            // Another stack, such as a coroutine's. Its end is not known, so the kernel does
            // the copying.
            copy.length = memory::read_stack_pages(sp, &mut copy.bytes);
        }
    });
}

/// Copies this thread's own stack from `sp` to its end, or as much of it as fits, and
/// returns how much that is.
///
/// # Safety
///
/// `sp` is, or was when the handler that runs now began, the stack pointer of this thread,
/// and `high` the upper end of its stack: all memory between the two is mapped, and nobody
/// but this thread, which is here, changes it.
unsafe fn copy_own(sp: u64, high: u64, to: &mut [u8]) -> usize {
    let length = ((high - sp) as usize).min(to.len());
    // SAFETY: as promised by the caller; `to` is at least so long, and no stack.
    unsafe { std::ptr::copy_nonoverlapping(sp as *const u8, to.as_mut_ptr(), length) };
    length
}

/// Hands a signal that is not ours to the handler that was there before.
fn chain(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: `PREVIOUS` was written before this handler was installed.
    let Some(previous) = (unsafe { &*PREVIOUS.0.get() }) else {
        return;
    };
    let address = previous.sa_sigaction;
    if address == libc::SIG_DFL || address == libc::SIG_IGN {
        return;
    }
    // SAFETY: the application installed this address as a handler of the kind
    // that its flags name, and the arguments are the kernel's.
    unsafe {
        if previous.sa_flags & libc::SA_SIGINFO == 0 {
            std::mem::transmute::<usize, extern "C" fn(libc::c_int)>(address)(signal);
        } else {
            std::mem::transmute::<usize, Handler>(address)(signal, info, context);
        }
    }
}

#[cfg(test)]
pub(super) fn installed() -> i32 {
    SIGNAL.load(Ordering::Acquire)
}
