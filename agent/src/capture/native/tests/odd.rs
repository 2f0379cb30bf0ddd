//! Threads and processes that a sampler gets wrong easily.

use std::sync::atomic::AtomicI32;
use std::sync::mpsc;

use looptop_procfs::SyscallState;

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
pub(super) fn settle(tid: u64) -> Result<Stack, NoStack> {
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

/// A thread that runs with all signals masked until it is told otherwise, and
/// then without until it is released.
struct Masked {
    gate: Arc<Gate>,
    unmask: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Masked {
    fn start() -> Self {
        let (gate, unmask) = (Arc::new(Gate::default()), Arc::new(AtomicBool::new(false)));
        let (of_thread, may_unmask) = (Arc::clone(&gate), Arc::clone(&unmask));
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
            while !may_unmask.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            mask(libc::SIG_UNBLOCK);
            while !of_thread.released() {
                std::hint::spin_loop();
            }
        });
        Self {
            gate,
            unmask,
            thread,
        }
    }

    fn unmask(&self) {
        self.unmask.store(true, Ordering::Relaxed);
    }

    fn end(self) {
        self.gate.release();
        self.thread.join().expect("thread");
    }
}

#[test]
fn a_masked_signal_times_out_once_and_is_not_repeated() {
    prepare();
    let masked = Masked::start();
    let tid = masked.gate.tid();
    assert_eq!(capture_now(tid), Err(NoStack::TimedOut));
    assert_eq!(capture_now(tid), Err(NoStack::StillPending));
    masked.unmask();
    // The late handler clears the way for the next.
    settle(tid).expect("captured again");
    masked.end();
}

#[test]
fn a_late_answer_is_kept_with_its_instant() {
    prepare();
    let masked = Masked::start();
    let tid = masked.gate.tid();
    assert_eq!(capture_now(tid), Err(NoStack::TimedOut));
    assert_eq!(late(tid), None);
    let before_ns = crate::clock::now_ns();
    masked.unmask();
    let captured = wait_for("the late answer", || late(tid));
    let now_ns = crate::clock::now_ns();
    assert!((before_ns..=now_ns).contains(&captured.taken_ns));
    assert!(!captured.stack.frames.is_empty());
    assert_eq!(late(tid), None, "it is given once");
    masked.end();
}

#[test]
fn more_late_answers_than_buffers() {
    prepare();
    let count = super::super::signal::BUFFERS + 1;
    let all: Vec<Masked> = (0..count).map(|_| Masked::start()).collect();
    for masked in &all {
        let tid = masked.gate.tid();
        assert_eq!(capture_now(tid), Err(NoStack::TimedOut));
        // The first one's buffer is another's in the end.
        assert_eq!(capture_now(tid), Err(NoStack::StillPending));
    }
    for masked in &all {
        masked.unmask();
        settle(masked.gate.tid()).expect("captured after all");
    }
    all.into_iter().for_each(Masked::end);
}

#[test]
fn a_thread_that_never_registered() {
    prepare();
    let released = Arc::new(AtomicBool::new(false));
    let (send, receive) = mpsc::channel();
    let (sender, stop) = (send.clone(), Arc::clone(&released));
    let runs = std::thread::spawn(move || {
        let _ = sender.send(super::super::thread::current_tid());
        while !stop.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    });
    let running = receive.recv().expect("the thread runs");
    std::thread::spawn(move || {
        let _ = send.send(super::super::thread::current_tid());
        std::thread::sleep(Duration::from_mins(10));
    });
    let asleep = receive.recv().expect("the thread sleeps");
    assert_eq!(super::super::thread::find(asleep), None);
    let stack = settle(running).expect("complete while it runs");
    assert!(stack.frames.len() > 3);
    let stack = settle(asleep).expect("complete while it sleeps");
    assert!(stack.frames.len() > 3);
    released.store(true, Ordering::Relaxed);
    runs.join().expect("thread");
    // What was noted of it goes when it is found to have ended.
    let gone = |tid| capture_now(tid).is_err();
    wait_for("the end", || gone(running).then_some(()));
}

#[repr(C)]
struct FaultApi {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
struct FaultRange {
    start: u64,
    length: u64,
    mode: u64,
    ioctls: u64,
}

/// A page whose first touch waits until the descriptor is closed; `None` where
/// the system does not let us.
fn missing_page() -> Option<(u64, i32)> {
    const API: libc::c_ulong = 0xc018_aa3f;
    const REGISTER: libc::c_ulong = 0xc020_aa00;
    // SAFETY: a fresh mapping that only the test touches; both structures are those
    // of the calls and live for them.
    unsafe {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let page = libc::mmap(std::ptr::null_mut(), 4096, protection, kind, -1, 0);
        let faults = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) as i32;
        let mut api = FaultApi {
            api: 0xaa,
            features: 0,
            ioctls: 0,
        };
        let mut range = FaultRange {
            start: page as u64,
            length: 4096,
            mode: 1,
            ioctls: 0,
        };
        let ready = faults >= 0
            && libc::ioctl(faults, API, &raw mut api) == 0
            && libc::ioctl(faults, REGISTER, &raw mut range) == 0;
        ready.then_some((page as u64, faults))
    }
}

#[inline(never)]
fn touch(page: u64) -> u8 {
    // SAFETY: mapped, and unmapped by nobody.
    unsafe { std::ptr::read_volatile(page as *const u8) }
}

#[test]
fn a_wait_for_a_page_is_read_without_a_signal() {
    prepare();
    let Some((page, faults)) = missing_page() else {
        println!("skipped: no userfaultfd for this user");
        return;
    };
    let gate = Arc::new(Gate::default());
    let of_thread = Arc::clone(&gate);
    let thread = std::thread::spawn(move || {
        of_thread.stall_at(line!(), 1);
        touch(page)
    });
    let tid = gate.tid();
    let captured = wait_for("a complete stack in the fault", || {
        let outside = |c: &Captured| matches!(c.doing, SyscallState::Outside { .. });
        capture(tid).ok().filter(outside)
    });
    let mut resolver = Resolver::new(Some(std::process::id()));
    let named = Named::new(&mut resolver, &captured.stack);
    let innermost = named
        .frames
        .iter()
        .take(2)
        .filter_map(|f| f.function.as_deref());
    let functions: Vec<_> = innermost.collect();
    let touches = functions
        .iter()
        .any(|name| name.contains("read_volatile") || name.contains("touch"));
    assert!(touches, "{}", named.text());
    assert!(!captured.stack.truncated, "{}", named.text());
    // SAFETY: ours, and closed once.
    unsafe { libc::close(faults) };
    assert_eq!(thread.join().expect("it goes on"), 0);
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
    let test = "capture::native::tests::odd::child_with_its_own_real_time_signals";
    let mut child = alone(&own_program(), test);
    passes(&mut child);
    passes(child.env("LOOPTOP_TEST_ALL_TAKEN", "1"));
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
    let own = own_program();
    let stripped = Command::new("strip")
        .arg("-o")
        .args([&program, &own])
        .status();
    if !stripped.is_ok_and(|status| status.success()) {
        println!("skipped: no strip(1) on this machine");
        return;
    }
    passes(&mut alone(
        &program,
        "capture::native::tests::odd::child_without_names",
    ));
}
