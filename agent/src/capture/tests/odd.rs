//! Threads and processes that a sampler gets wrong easily.

use std::process::Command;
use std::sync::atomic::AtomicI32;
use std::sync::mpsc;

use super::*;

/// A thread of the C library, with a stack of our size and no signal stack.
fn c_thread(stack: usize, run: extern "C" fn(*mut libc::c_void) -> *mut libc::c_void) {
    // SAFETY: the attributes are initialised, used and destroyed once; `run` takes
    // and returns nothing.
    unsafe {
        let mut attributes = std::mem::zeroed();
        let mut thread = std::mem::zeroed();
        assert_eq!(libc::pthread_attr_init(&raw mut attributes), 0);
        assert_eq!(
            libc::pthread_attr_setstacksize(&raw mut attributes, stack),
            0
        );
        let result = libc::pthread_create(
            &raw mut thread,
            &raw const attributes,
            run,
            std::ptr::null_mut(),
        );
        assert_eq!(result, 0);
        libc::pthread_detach(thread);
        libc::pthread_attr_destroy(&raw mut attributes);
    }
}

/// Captures until there is a complete stack or a lasting reason.
fn settle(tid: u64) -> Result<RawStack, NoStack> {
    wait_for("a capture that settles", || match capture_now(tid) {
        Err(NoStack::TimedOut | NoStack::StillPending | NoStack::StateUnknown) => None,
        Ok(stack) if stack.truncated => None,
        result => Some(result),
    })
}

#[test]
fn a_tiny_stack_is_not_signalled_but_read_where_it_sleeps() {
    static SLEEPING: AtomicU64 = AtomicU64::new(0);
    static RUNNING: AtomicU64 = AtomicU64::new(0);
    extern "C" fn sleep(_: *mut libc::c_void) -> *mut libc::c_void {
        register_current_thread();
        SLEEPING.store(super::super::thread::current_tid(), Ordering::Release);
        // SAFETY: takes a number.
        unsafe { libc::sleep(600) };
        std::ptr::null_mut()
    }
    extern "C" fn run(_: *mut libc::c_void) -> *mut libc::c_void {
        register_current_thread();
        RUNNING.store(super::super::thread::current_tid(), Ordering::Release);
        while RUNNING.load(Ordering::Relaxed) != 0 {
            std::hint::spin_loop();
        }
        std::ptr::null_mut()
    }
    prepare();
    let started = |tid: &'static AtomicU64| {
        wait_for("the thread", || {
            Some(tid.load(Ordering::Acquire)).filter(|&tid| tid != 0)
        })
    };

    // The smallest that the C library takes. (Registering needs more than that
    // leaves with large thread-local storage, hence the margin.)
    let smallest = libc::PTHREAD_STACK_MIN + (8 << 10);
    c_thread(smallest, sleep);
    let tid = started(&SLEEPING);
    let stack = settle(tid).expect("blocked, so read");
    assert!(stack.frames.len() >= 3, "{stack:?}");

    c_thread(smallest, run);
    let tid = started(&RUNNING);
    let reason = settle(tid).expect_err("too small to signal");
    assert!(matches!(reason, NoStack::NoRoom(_)), "{reason}");
    RUNNING.store(0, Ordering::Relaxed);
}

#[test]
fn a_thread_in_a_handler_on_its_signal_stack() {
    static IN_HANDLER: AtomicU64 = AtomicU64::new(0);
    static GO_ON: AtomicBool = AtomicBool::new(false);
    extern "C" fn sleeps_in_handler(_: libc::c_int) {
        IN_HANDLER.store(super::super::thread::current_tid(), Ordering::Release);
        while !GO_ON.load(Ordering::Relaxed) {
            let time = libc::timespec {
                tv_sec: 600,
                tv_nsec: 0,
            };
            // SAFETY: `time` lives for the call.
            unsafe { libc::nanosleep(&raw const time, std::ptr::null_mut()) };
        }
    }
    #[inline(never)]
    fn raises() {
        // SAFETY: the handler is installed below.
        unsafe { libc::raise(libc::SIGUSR2) };
        std::hint::black_box(());
    }
    prepare();
    // SAFETY: the handler only stores atomics and sleeps.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = sleeps_in_handler as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = libc::SA_ONSTACK;
        libc::sigaction(libc::SIGUSR2, &raw const action, std::ptr::null_mut());
    }
    std::thread::spawn(|| {
        register_current_thread();
        raises();
    });
    let tid = wait_for("the handler", || {
        Some(IN_HANDLER.load(Ordering::Acquire)).filter(|&tid| tid != 0)
    });
    let stack = settle(tid).expect("blocked, so read, across both stacks");
    let mut resolver = Resolver::new(Some(std::process::id()));
    let named = Named::new(&mut resolver, &stack);
    let text = named.text();
    for function in ["sleeps_in_handler", "raises", "start_thread"] {
        assert!(text.contains(function), "{function} in\n{text}");
    }
    GO_ON.store(true, Ordering::Relaxed);
}

#[test]
fn a_thread_that_ended_yields_a_reason() {
    prepare();
    let tid = std::thread::spawn(|| {
        register_current_thread();
        super::super::thread::current_tid()
    })
    .join()
    .expect("thread");
    assert!(capture_now(tid).is_err());
}

#[test]
fn a_masked_signal_times_out_once_and_is_not_repeated() {
    prepare();
    let gate = Arc::new(Gate::default());
    let of_thread = Arc::clone(&gate);
    let (masked, is_masked) = mpsc::channel();
    let (unmask, may_unmask) = mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let mask = |how| {
            // SAFETY: `all` is initialised by `sigfillset`.
            unsafe {
                let mut all = std::mem::zeroed();
                libc::sigfillset(&raw mut all);
                libc::pthread_sigmask(how, &raw const all, std::ptr::null_mut());
            }
        };
        mask(libc::SIG_BLOCK);
        of_thread.stall_at(line!(), 1);
        masked.send(()).expect("test waits");
        while may_unmask.try_recv().is_err() {
            std::hint::spin_loop();
        }
        mask(libc::SIG_UNBLOCK);
        while !of_thread.released() {
            std::hint::spin_loop();
        }
    });
    is_masked.recv().expect("thread runs");
    let tid = gate.tid();
    assert_eq!(capture_now(tid), Err(NoStack::TimedOut));
    assert_eq!(capture_now(tid), Err(NoStack::StillPending));
    unmask.send(()).expect("thread waits");
    // The late handler clears the way for the next.
    settle(tid).expect("captured again");
    gate.release();
    thread.join().expect("thread");
}

/// Run alone in a process of its own by the test below, because signals and
/// handlers belong to the process.
#[test]
#[ignore = "a child process of application_with_its_own_real_time_signals"]
fn child_with_its_own_real_time_signals() {
    static FOREIGN: AtomicI32 = AtomicI32::new(0);
    extern "C" fn foreign(_: libc::c_int) {
        FOREIGN.fetch_add(1, Ordering::Relaxed);
    }
    let set = |signal| {
        // SAFETY: the handler only counts.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = foreign as extern "C" fn(libc::c_int) as usize;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    };
    let all_taken = std::env::var_os("LOOPTOP_TEST_ALL_TAKEN").is_some();
    let first = libc::SIGRTMIN() + 3;
    let taken = if all_taken {
        libc::SIGRTMIN()..=libc::SIGRTMAX()
    } else {
        first..=first
    };
    taken.for_each(set);

    prepare();
    let ours = super::super::signal::installed();
    assert_eq!(ours == first, all_taken, "took {ours}, {first} was wanted");

    let gate = Arc::new(Gate::default());
    let of_thread = Arc::clone(&gate);
    let thread = std::thread::spawn(move || {
        of_thread.stall_at(line!(), 1);
        while !of_thread.released() {
            std::hint::spin_loop();
        }
    });
    let tid = gate.tid();
    settle(tid).expect("captured");
    assert_eq!(FOREIGN.load(Ordering::Relaxed), 0, "ours stay ours");
    // The application's own signals still reach its handler.
    // SAFETY: a handler is installed.
    unsafe { libc::raise(first) };
    assert_eq!(FOREIGN.load(Ordering::Relaxed), 1);
    // And when it takes ours away, nothing is sent into its handler.
    set(ours);
    assert_eq!(capture_now(tid), Err(NoStack::HandlerReplaced(ours)));
    assert_eq!(FOREIGN.load(Ordering::Relaxed), 1);
    gate.release();
    thread.join().expect("thread");
}

#[test]
fn application_with_its_own_real_time_signals() {
    for all_taken in [false, true] {
        let mut child = Command::new(std::env::current_exe().expect("own path"));
        child.args([
            "--ignored",
            "--exact",
            "capture::tests::odd::child_with_its_own_real_time_signals",
        ]);
        if all_taken {
            child.env("LOOPTOP_TEST_ALL_TAKEN", "1");
        }
        let output = child.output().expect("runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn signals_out_of_range_are_refused() {
    for offset in [-1, 1000] {
        let error = super::super::signal::install(offset).expect_err("no such signal");
        assert!(error.to_string().contains("offset from 0 to"), "{error}");
    }
}

/// Run in a stripped copy of this program by the test below.
#[test]
#[ignore = "a child process of a_stripped_program"]
fn child_without_names() {
    prepare();
    let gate = Arc::new(Gate::default());
    let of_thread = Arc::clone(&gate);
    let runs = std::thread::spawn(move || {
        of_thread.stall_at(line!(), 1);
        while !of_thread.released() {
            std::hint::spin_loop();
        }
    });
    settle(gate.tid()).expect("complete while it runs");
    let asleep = Arc::new(Gate::default());
    let of_thread = Arc::clone(&asleep);
    std::thread::spawn(move || {
        of_thread.stall_at(line!(), 1);
        std::thread::sleep(Duration::from_mins(10));
    });
    settle(asleep.tid()).expect("complete while it sleeps");
    gate.release();
    runs.join().expect("thread");
}

#[test]
fn a_stripped_program() {
    let directory = tempfile::tempdir().expect("directory");
    let program = directory.path().join("stripped");
    let own = std::env::current_exe().expect("own path");
    let stripped = Command::new("strip")
        .arg("-o")
        .args([&program, &own])
        .status();
    if !stripped.is_ok_and(|status| status.success()) {
        println!("skipped: no strip(1) on this machine");
        return;
    }
    let mut child = Command::new(&program);
    child.args([
        "--ignored",
        "--exact",
        "capture::tests::odd::child_without_names",
    ]);
    let output = child.output().expect("runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}
