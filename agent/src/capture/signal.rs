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
//! The watchdog and the handlers share [`BUFFERS`] buffers, one for each capture
//! that is on its way. Who may touch one is told by [`Buffer::state`], a generation
//! and a [phase](Phase): the handler moves `Armed -> Writing -> Done`, the watchdog
//! `Idle -> Armed`. A thread that gets no CPU answers late: its buffer stays armed
//! and the watchdog takes the answer when it comes. Only where all buffers are
//! taken does the watchdog move the oldest `Armed -> Idle`. Each signal carries its
//! generation, which names its buffer, so a handler that finds another generation
//! or phase there leaves the buffer alone.
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

use std::cell::UnsafeCell;
use std::mem::offset_of;
use std::ops::Range;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use looptop_unwind::Registers;

use super::thread::{self, Registered};
use super::{NoStack, Unavailable, memory, restart};
use crate::clock::{self, Ticks};

/// How much of a stack is copied.
pub(super) const STACK_BYTES: usize = 64 * 1024;
/// How much of an alternate signal stack is copied at most, so that room is left for the
/// stack that its handler interrupted.
const MOST_OF_SIGNAL_STACK: usize = STACK_BYTES / 2;
/// How long the watchdog waits for the answer at once.
const PATIENCE: Duration = Duration::from_millis(5);
/// Captures that may be on their way at the same time.
pub(super) const BUFFERS: usize = 8;
/// Marks our signals among those that others may send with the same number.
const MAGIC: u64 = 0x10_0b70_u64 << 40;
/// Generations that fit beside the magic number.
const GENERATION_MASK: u64 = (1 << 40) - 1;
/// A stack below this size, without an alternate one, is not signalled.
const SMALLEST_STACK: usize = 32 * 1024;
/// What the handler itself may need beside the kernel's frame.
const HANDLER_STACK: usize = 2048;

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

/// Registers as a handler leaves them: numbers alone, so that an unused buffer is all
/// zero.
#[derive(Clone, Copy)]
struct Saved {
    pc: u64,
    sp: u64,
    fp: u64,
    /// Return address register; 0 on x86-64, which has none.
    lr: u64,
}

impl From<Saved> for Registers {
    fn from(Saved { pc, sp, fp, lr }: Saved) -> Self {
        Self {
            pc,
            sp,
            fp: Some(fp),
            lr: Some(lr),
        }
    }
}

/// What a handler copied.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) registers: Registers,
    /// Memory from the stack pointer upwards.
    pub(super) stack: Vec<u8>,
    /// Where that is the stack of another handler: the stack pointer that its signal
    /// interrupted, and the memory from there upwards.
    pub(super) interrupted: Option<(u64, Vec<u8>)>,
    /// When the handler ran.
    pub(super) taken: Ticks,
    /// The sequence number of the thread's slot then, if it has one.
    pub(super) sequence: Option<u64>,
}

struct Content {
    registers: Saved,
    taken: Ticks,
    sequence: Option<u64>,
    /// Of the stack that was interrupted, at the beginning of `bytes`.
    length: usize,
    /// The stack pointer that an interrupted handler's signal had interrupted, and how much
    /// from there upwards follows in `bytes`; 0 where there is none.
    interrupted: (u64, usize),
    bytes: [u8; STACK_BYTES],
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
                sequence: None,
                length: 0,
                interrupted: (0, 0),
                bytes: [0; STACK_BYTES],
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
    check_room(thread)?;
    if let Some(generation) = thread.pending {
        if !arrived(generation) {
            return Err(NoStack::StillPending);
        }
        thread::set_pending(tid, None);
    }

    let generation = arm(tid, thread)?;
    if let Err(error) = send(signal, tid, generation) {
        disarm(generation);
        return Err(error);
    }
    if wait(generation) {
        return Ok(read_content(generation));
    }
    thread::set_pending(tid, Some(generation));
    Err(NoStack::TimedOut)
}

/// The answer of `tid` to an earlier signal, if it has come meanwhile.
pub(super) fn late(tid: u64, thread: &Registered) -> Option<Snapshot> {
    let generation = thread.pending?;
    if !Buffer::of(generation).is(generation, Phase::Done) {
        return None;
    }
    let snapshot = read_content(generation);
    thread::set_pending(tid, None);
    Some(snapshot)
}

/// What a crash raises: whoever handles that does not come back, or not often.
const CRASHES: [libc::c_int; 7] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGABRT,
    libc::SIGTRAP,
    libc::SIGSYS,
];

/// Whether the application handles a signal on its threads' alternate signal stacks; about
/// 10 µs.
fn others_use_signal_stacks() -> bool {
    let ours = SIGNAL.load(Ordering::Acquire);
    let others = (1..=libc::SIGRTMAX()).filter(|signal| *signal != ours);
    let mut others = others.filter(|signal| !CRASHES.contains(signal));
    others.any(|signal| {
        disposition(signal).is_some_and(|now| {
            let is_handled = ![libc::SIG_DFL, libc::SIG_IGN].contains(&now.sa_sigaction);
            is_handled && now.sa_flags & libc::SA_ONSTACK != 0
        })
    })
}

/// Is there room for the kernel's frame and the handler's?
fn check_room(thread: &Registered) -> Result<(), NoStack> {
    // The kernel's own figure covers state that a thread must ask for (AMX); the
    // frame of one that did not is below 4 KiB.
    // SAFETY: takes and returns numbers.
    let frame = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) as usize }.clamp(2048, 4096);
    let (size, needed) = match thread.signal_stack {
        // Ours may come while another is on that stack. Where two do not fit the kernel
        // would end the process.
        Some(size) if others_use_signal_stacks() => (size, 2 * (frame + HANDLER_STACK)),
        Some(size) => (size, frame + HANDLER_STACK),
        None => (
            (thread.stack.1 - thread.stack.0) as usize,
            SMALLEST_STACK.max(frame + HANDLER_STACK),
        ),
    };
    if size < needed {
        return Err(NoStack::NoRoom(size));
    }
    Ok(())
}

fn arrived(generation: u64) -> bool {
    ARRIVED[generation as usize % ARRIVED.len()].load(Ordering::Acquire) >= generation
}

/// Opens a buffer for the next generation's handler: a free one, else the one
/// whose answer nobody has fetched, else the one that has waited longest.
fn arm(tid: u64, thread: &Registered) -> Result<u64, NoStack> {
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
    buffer.low.store(thread.stack.0, Ordering::Relaxed);
    buffer.high.store(thread.stack.1, Ordering::Relaxed);
    let sequence = crate::slot::sequence_of(tid).map_or(std::ptr::null_mut(), |cell| {
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
fn disarm(generation: u64) -> bool {
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

/// Waits until the handler has published; false when the time is up.
fn wait(generation: u64) -> bool {
    let done = || Buffer::of(generation).is(generation, Phase::Done);
    let start = Instant::now();
    // A thread on another CPU answers within microseconds.
    while start.elapsed() < Duration::from_micros(20) {
        if done() {
            return true;
        }
        std::hint::spin_loop();
    }
    while start.elapsed() < PATIENCE {
        if done() {
            return true;
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    done()
}

/// Copies what the handler published, and frees the buffer.
fn read_content(generation: u64) -> Snapshot {
    let buffer = Buffer::of(generation);
    // SAFETY: the caller has acquired `Done` for this generation, so no handler
    // may touch the content before the next `arm`.
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
    snapshot
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
    let copy = unsafe { &mut *buffer.content.get() };
    copy.registers = registers(context);
    copy.taken = clock::ticks();
    // SAFETY: null, or the number in a slot, which lives for ever.
    let sequence = unsafe { buffer.sequence.load(Ordering::Relaxed).as_ref() };
    copy.sequence = sequence.map(|cell| cell.load(Ordering::Relaxed));
    let sp = copy.registers.sp;
    let low = buffer.low.load(Ordering::Relaxed);
    let high = buffer.high.load(Ordering::Relaxed);
    let own = low..high;
    copy.interrupted = (0, 0);
    if own.contains(&sp) {
        // SAFETY: this thread's own stack, from its stack pointer on.
        copy.length = unsafe { copy_own(sp, high, &mut copy.bytes) };
    } else if let Some(length) = on_signal_stack(sp, &context.uc_stack) {
        // Another handler's, whose end is known.
        let most = length.min(MOST_OF_SIGNAL_STACK);
        copy.length = memory::read_stack_pages(sp, &mut copy.bytes[..most]);
        let (handlers, rest) = copy.bytes.split_at_mut(copy.length);
        if let Some(sp) = interrupted_sp(handlers, &context.uc_stack, &own) {
            // SAFETY: as above: where this thread was when the other handler began.
            copy.interrupted = (sp, unsafe { copy_own(sp, high, rest) });
        }
    } else {
        // Another stack, such as a coroutine's. Its end is not known, so the kernel does
        // the copying.
        copy.length = memory::read_stack_pages(sp, &mut copy.bytes);
    }
    // Release: the watchdog that acquires this state sees the content.
    buffer
        .state
        .store(state(generation, Phase::Done), Ordering::Release);
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

/// How much of the alternate signal stack is in use, where `sp` is on it.
fn on_signal_stack(sp: u64, stack: &libc::stack_t) -> Option<usize> {
    let offset = sp.checked_sub(stack.ss_sp as u64)?;
    let length = (stack.ss_size as u64).checked_sub(offset)?;
    (length > 0).then_some(length as usize)
}

/// The stack pointer on the thread's `own` stack that was interrupted by the signal whose
/// handler's stack begins with `copied`. The kernel has put a context there, which is
/// known by the description of the alternate stack in it.
fn interrupted_sp(copied: &[u8], stack: &libc::stack_t, own: &Range<u64>) -> Option<u64> {
    const DESCRIBED: usize = offset_of!(libc::ucontext_t, uc_stack);
    const BEGIN: usize = DESCRIBED + offset_of!(libc::stack_t, ss_sp);
    const SIZE: usize = DESCRIBED + offset_of!(libc::stack_t, ss_size);
    const SP: usize = offset_of!(libc::ucontext_t, uc_mcontext) + SP_OF_CONTEXT;
    let word = |at: usize| {
        let bytes = copied.get(at..at + 8)?;
        bytes.try_into().ok().map(u64::from_ne_bytes)
    };
    let context = |at: usize| {
        let same =
            word(at + BEGIN)? == stack.ss_sp as u64 && word(at + SIZE)? == stack.ss_size as u64;
        word(at + SP).filter(|sp| same && own.contains(sp))
    };
    (0..copied.len()).step_by(8).find_map(context)
}

#[cfg(target_arch = "x86_64")]
const SP_OF_CONTEXT: usize = offset_of!(libc::mcontext_t, gregs) + 8 * libc::REG_RSP as usize;
#[cfg(target_arch = "aarch64")]
const SP_OF_CONTEXT: usize = offset_of!(libc::mcontext_t, sp);

#[cfg(target_arch = "x86_64")]
fn registers(context: &libc::ucontext_t) -> Saved {
    let all = &context.uc_mcontext.gregs;
    Saved {
        pc: all[libc::REG_RIP as usize] as u64,
        sp: all[libc::REG_RSP as usize] as u64,
        fp: all[libc::REG_RBP as usize] as u64,
        lr: 0,
    }
}

#[cfg(target_arch = "aarch64")]
fn registers(context: &libc::ucontext_t) -> Saved {
    let all = &context.uc_mcontext;
    Saved {
        pc: all.pc,
        sp: all.sp,
        fp: all.regs[29],
        lr: all.regs[30],
    }
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
