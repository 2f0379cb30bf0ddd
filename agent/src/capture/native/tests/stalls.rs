//! Kinds of stall, each with the function, the line and the call that must be
//! named: 20 times out of 20.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::{Condvar, Mutex, RwLock, mpsc};

use super::*;

/// Longer than any test; a thread that is not woken is left behind.
const LONG: Duration = Duration::from_mins(10);
const ROUNDS: usize = 20;

struct Case {
    function: &'static str,
    stall: fn(&Gate),
    call: Option<CallKind>,
    /// The stack must be complete.
    complete: bool,
    /// The culprit may be a closure that the call calls back.
    calls_back: bool,
}

const fn case(function: &'static str, stall: fn(&Gate), call: Option<CallKind>) -> Case {
    Case {
        function,
        stall,
        call,
        complete: true,
        calls_back: false,
    }
}

const CASES: &[Case] = &[
    case("stalls::sleeps", sleeps, Some(CallKind::Sleep)),
    case("stalls::computes", computes, None),
    Case {
        calls_back: true,
        ..case("stalls::sorts", sorts, Some(CallKind::Compute))
    },
    case("stalls::locks_mutex", locks_mutex, Some(CallKind::Lock)),
    case("stalls::locks_rwlock", locks_rwlock, Some(CallKind::Lock)),
    case(
        "stalls::waits_condvar",
        waits_condvar,
        Some(CallKind::Condition),
    ),
    case(
        "stalls::waits_condvar_timed",
        waits_condvar_timed,
        Some(CallKind::Condition),
    ),
    case("stalls::receives", receives, Some(CallKind::Channel)),
    case(
        "stalls::receives_timed",
        receives_timed,
        Some(CallKind::Channel),
    ),
    case("stalls::joins", joins, Some(CallKind::Join)),
    case("stalls::opens_fifo", opens_fifo, Some(CallKind::File)),
    case("stalls::reads_pipe", reads_pipe, Some(CallKind::File)),
    case("stalls::syncs_file", syncs_file, Some(CallKind::File)),
    case(
        "stalls::reads_socket",
        reads_socket,
        Some(CallKind::Network),
    ),
    case(
        "stalls::reads_socket_timed",
        reads_socket_timed,
        Some(CallKind::Network),
    ),
    case(
        "stalls::resolves_name",
        resolves_name,
        Some(CallKind::NameResolution),
    ),
    case(
        "stalls::waits_process",
        waits_process,
        Some(CallKind::Process),
    ),
    case("stalls::polls_in_c", polls_in_c, None),
    Case {
        calls_back: true,
        ..case("stalls::sorts_in_c", sorts_in_c, Some(CallKind::Compute))
    },
    case(
        "stalls::blocks_on_in_runtime",
        blocks_on_in_runtime,
        Some(CallKind::NestedExecutor),
    ),
    case(
        "stalls::sleeps_on_worker",
        sleeps_on_worker,
        Some(CallKind::Sleep),
    ),
    case(
        "stalls::sleeps_in_current_thread",
        sleeps_in_current_thread,
        Some(CallKind::Sleep),
    ),
    case(
        "stalls::sleeps_in_block_in_place",
        sleeps_in_block_in_place,
        Some(CallKind::Sleep),
    ),
    Case {
        complete: false,
        ..case("stalls::recurses", |gate| recurses(gate, 4000), None)
    },
    Case {
        complete: false,
        ..case(
            "stalls::recurses_asleep",
            |gate| recurses_asleep(gate, 4000),
            Some(CallKind::Sleep),
        )
    },
];

#[test]
fn every_kind_of_stall_names_function_line_and_call() {
    prepare();
    let mut resolver = Resolver::new(Some(std::process::id()));
    let only = std::env::var("LOOPTOP_TEST_STALL").unwrap_or_default();
    let mut failures = Vec::new();
    for case in CASES.iter().filter(|case| case.function.contains(&only)) {
        if let Err(failure) = check(case, &mut resolver) {
            failures.push(format!("{}: {failure}", case.function));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn check(case: &Case, resolver: &mut Resolver) -> Result<(), String> {
    let gate = Arc::new(Gate::default());
    let of_thread = Arc::clone(&gate);
    let stall = case.stall;
    std::thread::Builder::new()
        .stack_size(16 << 20)
        .spawn(move || stall(&of_thread))
        .map_err(|error| error.to_string())?;
    let tid = gate.tid();

    // It may still be on its way into the call.
    let mut last = String::from("no capture");
    let start = Instant::now();
    let right = |result: &Result<Stack, NoStack>, resolver: &mut Resolver| match result {
        Ok(stack) => {
            let named = Named::new(resolver, stack);
            let lines = gate.lines();
            let right = (named.is(case.function, &lines, case.call)
                || case.calls_back && named.is(case.function, &lines, None)
                // Some instructions belong to no line.
                || case.calls_back && named.is_at_no_line(case.function)
                // Between two rounds of work the thread asks whether to go on.
                || named.is("::released", &(1..=u32::MAX), None))
                && named.truncated != case.complete;
            (right, format!("{lines:?}\n{}", named.text()))
        }
        Err(reason) => (false, reason.to_string()),
    };
    let mut rounds = 0;
    while rounds < ROUNDS {
        let result = capture_now(tid);
        if result.as_ref().is_err_and(NoStack::is_passing) && start.elapsed() < PATIENCE {
            // The machine gave the thread no CPU; the watchdog would come again.
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        let (is_right, text) = right(&result, resolver);
        last = text;
        if is_right {
            rounds += 1;
        } else if rounds > 0 || start.elapsed() > Duration::from_secs(5) {
            gate.release();
            return Err(format!("after {rounds} right ones:\n{last}"));
        } else {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    gate.release();
    if std::env::var_os("LOOPTOP_TEST_SHOW").is_some() {
        println!("{}\n{last}", case.function);
    }
    Ok(())
}

#[inline(never)]
fn sleeps(gate: &Gate) {
    gate.stall_at(line!() + 1, 1);
    std::thread::sleep(LONG);
    black_box(gate);
}

#[inline(never)]
fn computes(gate: &Gate) {
    gate.stall_at(line!() + 1, 6);
    let mut sum = 0_u64;
    while !gate.released() {
        for i in 0..100_000 {
            sum = black_box(sum.wrapping_mul(31).wrapping_add(i));
        }
    }
}

#[inline(never)]
fn sorts(gate: &Gate) {
    let mut numbers: Vec<u64> = (0..4_000_000_u64)
        .map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .collect();
    gate.stall_at(line!() + 1, 6);
    while !gate.released() {
        numbers.sort_by(|a, b| {
            black_box(a)
                .rotate_left(7)
                .cmp(&black_box(b).rotate_left(7))
        });
        numbers.sort_by(|a, b| black_box(b).cmp(black_box(a)));
    }
}

#[inline(never)]
fn locks_mutex(gate: &Gate) {
    let mutex: &'static Mutex<u32> = Box::leak(Box::new(Mutex::new(0)));
    std::mem::forget(mutex.lock());
    gate.stall_at(line!() + 1, 1);
    drop(mutex.lock());
}

#[inline(never)]
fn locks_rwlock(gate: &Gate) {
    let lock: &'static RwLock<u32> = Box::leak(Box::new(RwLock::new(0)));
    std::mem::forget(lock.read());
    gate.stall_at(line!() + 1, 1);
    drop(lock.write());
}

#[inline(never)]
fn waits_condvar(gate: &Gate) {
    let (mutex, condition) = (Mutex::new(()), Condvar::new());
    let guard = mutex.lock().expect("fresh");
    gate.stall_at(line!() + 1, 1);
    drop(condition.wait(guard));
}

#[inline(never)]
fn waits_condvar_timed(gate: &Gate) {
    let (mutex, condition) = (Mutex::new(()), Condvar::new());
    let guard = mutex.lock().expect("fresh");
    gate.stall_at(line!() + 1, 1);
    drop(condition.wait_timeout(guard, LONG));
}

#[inline(never)]
fn receives(gate: &Gate) {
    let (sender, receiver) = mpsc::channel::<u32>();
    gate.stall_at(line!() + 1, 1);
    let _ = receiver.recv();
    drop(sender);
}

#[inline(never)]
fn receives_timed(gate: &Gate) {
    let (sender, receiver) = mpsc::channel::<u32>();
    gate.stall_at(line!() + 1, 1);
    let _ = receiver.recv_timeout(LONG);
    drop(sender);
}

#[inline(never)]
fn joins(gate: &Gate) {
    let thread = std::thread::spawn(|| std::thread::sleep(LONG));
    gate.stall_at(line!() + 1, 1);
    let _ = thread.join();
}

#[inline(never)]
fn opens_fifo(gate: &Gate) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("fifo");
    let name = std::ffi::CString::new(path.to_str().expect("text")).expect("no zero");
    // SAFETY: `name` is a terminated string.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    gate.stall_at(line!() + 1, 1);
    let _ = std::fs::read_to_string(&path);
}

#[inline(never)]
fn reads_pipe(gate: &Gate) {
    let (mut reader, writer) = std::io::pipe().expect("pipe");
    gate.stall_at(line!() + 1, 1);
    let _ = reader.read(&mut [0; 16]);
    drop(writer);
}

#[inline(never)]
fn syncs_file(gate: &Gate) {
    let mut file = tempfile::tempfile().expect("temporary file");
    let content = vec![7; 1 << 16];
    gate.stall_at(line!() + 1, 5);
    while !gate.released() {
        file.write_all(&content).expect("write");
        file.sync_all().expect("sync");
        file.set_len(0).expect("truncate");
    }
}

#[inline(never)]
fn reads_socket(gate: &Gate) {
    let (mut stream, _peer) = connected();
    gate.stall_at(line!() + 1, 1);
    let _ = stream.read(&mut [0; 16]);
}

#[inline(never)]
fn reads_socket_timed(gate: &Gate) {
    let (mut stream, _peer) = connected();
    stream.set_read_timeout(Some(LONG)).expect("time-out");
    gate.stall_at(line!() + 1, 1);
    let _ = stream.read(&mut [0; 16]);
}

fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let stream = TcpStream::connect(listener.local_addr().expect("bound")).expect("connect");
    (stream, listener.accept().expect("accept").0)
}

/// The head of glibc's resolver state, of which each thread has one.
#[repr(C)]
struct ResolverState {
    retransmit: libc::c_int,
    retry: libc::c_int,
    options: libc::c_ulong,
    servers: libc::c_int,
    address: [libc::sockaddr_in; 3],
}

unsafe extern "C" {
    fn __res_state() -> *mut ResolverState;
    fn __res_init() -> libc::c_int;
}

#[inline(never)]
fn resolves_name(gate: &Gate) {
    use std::net::ToSocketAddrs;
    // A name server that never answers.
    let server = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback");
    let port = server.local_addr().expect("bound").port();
    // SAFETY: the C library hands out this thread's own state, initialised by
    // `__res_init`; the fields are those of its public header.
    unsafe {
        assert_eq!(__res_init(), 0);
        let state = &mut *__res_state();
        state.retransmit = 600;
        state.servers = 1;
        state.address[0].sin_family = libc::AF_INET as libc::sa_family_t;
        state.address[0].sin_port = port.to_be();
        state.address[0].sin_addr.s_addr = u32::from(std::net::Ipv4Addr::LOCALHOST).to_be();
    }
    gate.stall_at(line!() + 1, 1);
    let _ = ("a.name.nobody.has", 80).to_socket_addrs();
}

#[inline(never)]
fn waits_process(gate: &Gate) {
    let mut child = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .expect("sleep(1)");
    gate.stall_at(line!() + 1, 1);
    let _ = child.wait();
}

#[inline(never)]
fn polls_in_c(gate: &Gate) {
    let (one, _other) = std::os::unix::net::UnixStream::pair().expect("pair");
    let mut entry = libc::pollfd {
        fd: one.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    gate.stall_at(line!() + 2, 1);
    // SAFETY: one entry, as said.
    let ready = unsafe { libc::poll(&raw mut entry, 1, 600_000) };
    assert_eq!(ready, 0, "{}", std::io::Error::last_os_error());
}

#[inline(never)]
fn sorts_in_c(gate: &Gate) {
    extern "C" fn compare(one: *const libc::c_void, other: *const libc::c_void) -> libc::c_int {
        // SAFETY: `qsort` passes pointers to elements.
        let (one, other) = unsafe { (*one.cast::<u32>(), *other.cast::<u32>()) };
        one.rotate_left(5).cmp(&other.rotate_left(5)) as libc::c_int
    }
    let mut numbers: Vec<u32> = (0..1_000_000).collect();
    gate.stall_at(line!() - 9, 22);
    while !gate.released() {
        // SAFETY: the vector's elements, and a comparison of such.
        unsafe {
            libc::qsort(numbers.as_mut_ptr().cast(), numbers.len(), 4, Some(compare));
        }
    }
}

#[inline(never)]
fn blocks_on_in_runtime(gate: &Gate) {
    multi_thread().block_on(async {
        let handle = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| {
            gate.stall_at(line!() + 1, 1);
            handle.block_on(tokio::time::sleep(LONG));
        });
    });
}

#[inline(never)]
fn sleeps_in_block_in_place(gate: &Gate) {
    multi_thread().block_on(async {
        tokio::task::block_in_place(|| {
            gate.stall_at(line!() + 1, 1);
            std::thread::sleep(LONG);
        });
    });
}

#[inline(never)]
fn sleeps_in_current_thread(gate: &Gate) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("runtime").block_on(async {
        tokio::task::yield_now().await;
        gate.stall_at(line!() + 1, 1);
        std::thread::sleep(LONG);
    });
}

#[inline(never)]
fn sleeps_on_worker(gate: &Gate) {
    // The gate outlives the scope, in which the task runs.
    let runtime = multi_thread();
    let shared = Arc::new(Gate::default());
    let of_task = Arc::clone(&shared);
    runtime.spawn(async move {
        tokio::task::yield_now().await;
        of_task.stall_at(line!() + 1, 1);
        std::thread::sleep(LONG);
    });
    let tid = shared.tid();
    gate.first_line
        .store(*shared.lines().start(), Ordering::Relaxed);
    gate.last_line
        .store(*shared.lines().end(), Ordering::Relaxed);
    gate.tid.store(tid, Ordering::Release);
    std::thread::sleep(LONG);
}

fn multi_thread() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_time().build();
    runtime.expect("runtime")
}

#[inline(never)]
fn recurses(gate: &Gate, depth: u32) {
    let room = black_box([depth; 32]);
    if depth > 0 {
        recurses(gate, depth - 1);
        black_box(room);
        return;
    }
    gate.stall_at(line!() + 1, 6);
    let mut sum = 0_u64;
    while !gate.released() {
        for i in 0..100_000 {
            sum = black_box(sum.wrapping_mul(31).wrapping_add(i));
        }
    }
    black_box(room);
}

#[inline(never)]
fn recurses_asleep(gate: &Gate, depth: u32) {
    let room = black_box([depth; 32]);
    if depth > 0 {
        recurses_asleep(gate, depth - 1);
        black_box(room);
        return;
    }
    gate.stall_at(line!() + 1, 1);
    std::thread::sleep(LONG);
    black_box(room);
}
