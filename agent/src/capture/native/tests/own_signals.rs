//! An application with handlers and timers of its own, as profilers and preempting
//! runtimes have them: what it set must be there after any number of captures.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a runtime preempts its threads with.
const PREEMPTION: libc::c_int = libc::SIGURG;
/// What a profiler samples with.
const PROFILING: libc::c_int = libc::SIGPROF;
/// Of each timer, and with a prime between them, so that they meet at every distance.
const EVERY_NS: [libc::c_long; 2] = [700_000, 1_100_003];
/// Of a handler's own stack.
const OWN_STACK: usize = 64 << 10;

static DELIVERED: AtomicU64 = AtomicU64::new(0);

/// As a careful application's: it uses `errno`, and gives it back.
extern "C" fn handle(
    _signal: libc::c_int,
    _info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    // SAFETY: this thread's own `errno`.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        *errno = libc::EDOM;
        DELIVERED.fetch_add(1, Ordering::Relaxed);
        *errno = before;
    }
}

/// Preemption's runs on a stack of its own, as Go's does; the profiler's where it comes.
fn action(signal: libc::c_int) -> libc::sigaction {
    // SAFETY: zeros are a valid `sigaction`.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = handle;
    action.sa_sigaction = handler as libc::sighandler_t;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
    if signal == PREEMPTION {
        action.sa_flags |= libc::SA_ONSTACK;
    }
    action
}

/// Sets the application's handlers, before captures are installed.
pub(super) fn install() {
    for signal in [PREEMPTION, PROFILING] {
        let action = action(signal);
        // SAFETY: a complete action, whose handler touches nothing but atomics and `errno`.
        let result = unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    }
}

/// How many signals of the application's own came; its handlers must still be set.
pub(super) fn check() -> u64 {
    for signal in [PREEMPTION, PROFILING] {
        let set = action(signal);
        let mut now = set;
        // SAFETY: asks only.
        let result = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut now) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        assert_eq!(now.sa_sigaction, set.sa_sigaction, "signal {signal}");
    }
    let delivered = DELIVERED.load(Ordering::Relaxed);
    assert!(delivered > 0, "the application's own timers never fired");
    delivered
}

/// Gives this thread another stack for handlers than std's, on which two frames of the
/// kernel's have no room. It must not be dropped before the thread ends, or gives it back.
pub(super) fn signal_stack() -> Vec<u8> {
    let mut stack = vec![0_u8; OWN_STACK];
    let described = libc::stack_t {
        ss_sp: stack.as_mut_ptr().cast(),
        ss_flags: 0,
        ss_size: stack.len(),
    };
    // SAFETY: the memory lives for as long as it is this thread's, as the caller promises.
    let result = unsafe { libc::sigaltstack(&raw const described, std::ptr::null_mut()) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    stack
}

/// A thread's own timers and its own stack for handlers.
pub(super) struct OwnSignals {
    timers: Vec<libc::timer_t>,
    stack: Vec<u8>,
    mask: Mask,
}

impl OwnSignals {
    /// For this thread.
    pub(super) fn start() -> OwnSignals {
        let stack = signal_stack();
        let timers = [PREEMPTION, PROFILING]
            .into_iter()
            .zip(EVERY_NS)
            .map(|(signal, every)| timer(signal, every))
            .collect();
        OwnSignals {
            timers,
            stack,
            mask: Mask::of_this_thread(),
        }
    }

    /// On the same thread: what it set is as it set it.
    pub(super) fn check(self) {
        for timer in &self.timers {
            // SAFETY: made by `start`, and deleted once.
            let result = unsafe { libc::timer_delete(*timer) };
            assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        }
        assert!(
            self.mask == Mask::of_this_thread(),
            "this thread blocks other signals than before"
        );
        // SAFETY: zeros are a valid `stack_t`, which the call fills in.
        let mut now: libc::stack_t = unsafe { std::mem::zeroed() };
        let disabled = libc::stack_t {
            ss_flags: libc::SS_DISABLE,
            ..now
        };
        // SAFETY: no handler runs on the stack that is taken away.
        let result = unsafe { libc::sigaltstack(&raw const disabled, &raw mut now) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        assert_eq!(now.ss_sp, self.stack.as_ptr().cast_mut().cast());
    }
}

/// A timer that sends a signal to this thread, so often.
fn timer(signal: libc::c_int, every: libc::c_long) -> libc::timer_t {
    // SAFETY: zeros are a valid `sigevent`.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_THREAD_ID;
    event.sigev_signo = signal;
    // SAFETY: asks only.
    event.sigev_notify_thread_id = unsafe { libc::gettid() };
    let mut timer: libc::timer_t = std::ptr::null_mut();
    // SAFETY: a complete event, and a place for the timer.
    let result =
        unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    let every = libc::timespec {
        tv_sec: 0,
        tv_nsec: every,
    };
    let schedule = libc::itimerspec {
        it_interval: every,
        it_value: every,
    };
    // SAFETY: the timer was made above.
    let result =
        unsafe { libc::timer_settime(timer, 0, &raw const schedule, std::ptr::null_mut()) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    timer
}

/// The signals that a thread blocks.
#[derive(PartialEq)]
struct Mask(Vec<bool>);

impl Mask {
    fn of_this_thread() -> Mask {
        // SAFETY: zeros are a valid set, which the call fills in.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: asks only.
        let result =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut set) };
        assert_eq!(result, 0);
        // SAFETY: a set that was filled in.
        let blocks = |signal| unsafe { libc::sigismember(&raw const set, signal) == 1 };
        Mask((1..=libc::SIGRTMAX()).map(blocks).collect())
    }
}
