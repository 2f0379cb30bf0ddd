//! Threads in handlers of the application's own, on their alternate signal stacks.

use super::odd::settle;
use super::own_signals::signal_stack;
use super::*;

/// The threads that are in a handler.
static SLEEPS: AtomicU64 = AtomicU64::new(0);
static COMPUTES: AtomicU64 = AtomicU64::new(0);

extern "C" fn sleeps_in_handler(_: libc::c_int) {
    SLEEPS.store(super::super::thread::current_tid(), Ordering::Release);
    let time = libc::timespec {
        tv_sec: 600,
        tv_nsec: 0,
    };
    loop {
        // SAFETY: `time` lives for the call.
        unsafe { libc::nanosleep(&raw const time, std::ptr::null_mut()) };
    }
}

extern "C" fn computes_in_handler(_: libc::c_int) {
    COMPUTES.store(super::super::thread::current_tid(), Ordering::Release);
    loop {
        std::hint::spin_loop();
    }
}

#[inline(never)]
fn raises(signal: libc::c_int) {
    // SAFETY: the handler is installed.
    unsafe { libc::raise(signal) };
    std::hint::black_box(());
}

fn handle(signal: libc::c_int, handler: extern "C" fn(libc::c_int)) {
    // SAFETY: the handlers only store atomics, and sleep or compute.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_ONSTACK;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut());
    }
}

fn in_handler(of: &'static AtomicU64) -> u64 {
    wait_for("the handler", || {
        Some(of.load(Ordering::Acquire)).filter(|&tid| tid != 0)
    })
}

fn assert_names(stack: &Stack, functions: &[&str]) {
    let mut resolver = Resolver::new(Some(std::process::id()));
    let text = Named::new(&mut resolver, stack).text();
    assert!(!stack.truncated, "{text}");
    for function in functions {
        assert!(text.contains(function), "{function} in\n{text}");
    }
}

/// Its threads end with it.
#[test]
#[ignore = "a child process of threads_in_handlers_on_their_signal_stacks"]
fn child_with_handlers() {
    prepare();
    let gate = Arc::new(Gate::default());
    let of_thread = Arc::clone(&gate);
    std::thread::spawn(move || {
        of_thread.stall_at(line!(), 1);
        loop {
            std::hint::spin_loop();
        }
    });
    let computes = gate.tid();
    settle(computes).expect("nobody else uses the signal stack that std gave it");

    handle(libc::SIGUSR2, sleeps_in_handler);
    handle(libc::SIGUSR1, computes_in_handler);
    let refused = capture_now(computes);
    assert!(matches!(refused, Err(NoStack::NoRoom(_))), "{refused:?}");

    std::thread::spawn(|| {
        register_current_thread();
        raises(libc::SIGUSR2);
    });
    let stack = settle(in_handler(&SLEEPS)).expect("blocked, so read, across both stacks");
    assert_names(&stack, &["sleeps_in_handler", "raises", "start_thread"]);

    std::thread::spawn(|| {
        let _stack = signal_stack();
        register_current_thread();
        raises(libc::SIGUSR1);
    });
    let stack = settle(in_handler(&COMPUTES)).expect("it answers the signal");
    assert_names(&stack, &["computes_in_handler", "raises", "start_thread"]);
}

/// In a process of its own: handlers belong to the process.
#[test]
fn threads_in_handlers_on_their_signal_stacks() {
    let test = "capture::native::tests::handlers::child_with_handlers";
    passes(&mut alone(&own_program(), test));
}
