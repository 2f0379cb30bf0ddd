//! A program that makes seventeen kinds of blocking calls, each once as a C program makes
//! it: `EINTR` is counted and not retried. Threads that compute, and go from call to
//! call, are beside them.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use libc::{c_long, c_void, timespec};

/// Each call takes so long.
const TIME: Duration = Duration::from_millis(50);
static SPEC: timespec = timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// The report is made; what the calls use goes.
static OVER: AtomicBool = AtomicBool::new(false);

#[derive(Default)]
struct Counts {
    calls: AtomicU64,
    /// Results that the call would not have had undisturbed.
    changed: AtomicU64,
}

/// Makes a call again and again; `expected` is its result.
fn row(
    counts: &Arc<Counts>,
    name: &'static str,
    expected: i64,
    mut call: impl FnMut() -> i64 + Send + 'static,
) {
    let counts = counts.clone();
    let calls = move || {
        loop {
            let begin = Instant::now();
            let result = call();
            let error = std::io::Error::last_os_error();
            if OVER.load(Relaxed) {
                return;
            }
            counts.calls.fetch_add(1, Relaxed);
            // Those that are fed may have been fed before they began.
            let early = begin.elapsed() + Duration::from_millis(1) < TIME && expected <= 0;
            if result != expected || early {
                counts.changed.fetch_add(1, Relaxed);
                eprintln!("{name}: {result} ({error}) after {:?}", begin.elapsed());
            }
        }
    };
    thread::Builder::new()
        .name(name.into())
        .spawn(calls)
        .unwrap();
}

fn pipe() -> [i32; 2] {
    let mut ends = [0; 2];
    // SAFETY: two descriptors into a local.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    ends
}

fn every_time(mut feed: impl FnMut() + Send + 'static) {
    thread::spawn(move || {
        loop {
            thread::sleep(TIME);
            feed();
        }
    });
}

/// A pipe that gets a byte now and then.
fn fed_pipe() -> i32 {
    let [reader, writer] = pipe();
    // SAFETY: a byte of a literal.
    every_time(move || assert_eq!(unsafe { libc::write(writer, b"x".as_ptr().cast(), 1) }, 1));
    reader
}

fn read_one(fd: i32, length: usize) -> i64 {
    let mut bytes = [0_u64; 1];
    // SAFETY: at most 8 bytes into a local.
    unsafe { libc::read(fd, bytes.as_mut_ptr().cast::<c_void>(), length) as i64 }
}

fn epoll(fd: i32) -> i32 {
    let mut event = libc::epoll_event {
        events: libc::EPOLLIN as u32,
        u64: 0,
    };
    // SAFETY: the event is a local.
    unsafe {
        let epoll = libc::epoll_create1(0);
        assert_eq!(
            libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event),
            0
        );
        epoll
    }
}

fn timer() -> i32 {
    let spec = libc::itimerspec {
        it_interval: SPEC,
        it_value: SPEC,
    };
    // SAFETY: the times are locals.
    unsafe {
        let timer = libc::timerfd_create(libc::CLOCK_MONOTONIC, 0);
        assert_eq!(
            libc::timerfd_settime(timer, 0, &raw const spec, std::ptr::null_mut()),
            0
        );
        timer
    }
}

/// A socket whose `recv` gives up after the time.
fn silent_socket() -> i32 {
    let mut ends = [0; 2];
    let time = libc::timeval {
        tv_sec: 0,
        tv_usec: 50_000,
    };
    // SAFETY: descriptors and time are locals.
    unsafe {
        assert_eq!(
            libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, ends.as_mut_ptr()),
            0
        );
        let length = size_of::<libc::timeval>() as u32;
        let (level, option) = (libc::SOL_SOCKET, libc::SO_RCVTIMEO);
        assert_eq!(
            libc::setsockopt(ends[0], level, option, (&raw const time).cast(), length),
            0
        );
    }
    ends[0]
}

#[repr(C)]
struct Message(c_long, [u8; 8]);

#[allow(clippy::too_many_lines, reason = "a table of calls")]
fn calls(counts: &Arc<Counts>) {
    let quiet = || pipe()[0];
    let (fed, timer, silent) = (fed_pipe(), timer(), silent_socket());
    row(counts, "read-pipe", 1, move || read_one(fed, 1));
    row(counts, "read-timerfd", 8, move || read_one(timer, 8));
    let (first, second) = (epoll(quiet()), epoll(quiet()));
    // SAFETY, of all that follow: what the calls are given are locals of their closures.
    row(counts, "epoll_wait", 0, move || unsafe {
        let mut event = std::mem::zeroed();
        i64::from(libc::epoll_wait(first, &raw mut event, 1, 50))
    });
    row(counts, "epoll_pwait2", 0, move || unsafe {
        let mut event: libc::epoll_event = std::mem::zeroed();
        libc::syscall(
            libc::SYS_epoll_pwait2,
            second,
            &raw mut event,
            1,
            &raw const SPEC,
            0,
            8,
        )
    });
    let poll = |fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let (third, fourth, fifth) = (quiet(), quiet(), quiet());
    row(counts, "poll", 0, move || unsafe {
        let mut poll = poll(third);
        i64::from(libc::poll(&raw mut poll, 1, 50))
    });
    row(counts, "ppoll", 0, move || unsafe {
        let mut poll = poll(fourth);
        i64::from(libc::ppoll(
            &raw mut poll,
            1,
            &raw const SPEC,
            std::ptr::null(),
        ))
    });
    row(counts, "select", 0, move || unsafe {
        let mut set: libc::fd_set = std::mem::zeroed();
        libc::FD_SET(fifth, &raw mut set);
        let mut time = libc::timeval {
            tv_sec: 0,
            tv_usec: 50_000,
        };
        let none = std::ptr::null_mut();
        i64::from(libc::select(
            fifth + 1,
            &raw mut set,
            none,
            none,
            &raw mut time,
        ))
    });
    row(counts, "nanosleep", 0, || unsafe {
        i64::from(libc::nanosleep(&raw const SPEC, std::ptr::null_mut()))
    });
    row(counts, "clock_nanosleep", 0, || unsafe {
        let none = std::ptr::null_mut();
        i64::from(libc::clock_nanosleep(
            libc::CLOCK_MONOTONIC,
            0,
            &raw const SPEC,
            none,
        ))
    });
    row(counts, "usleep", 0, || unsafe {
        i64::from(libc::usleep(50_000))
    });
    // -1 with ETIMEDOUT or EAGAIN is what these are to return; the error is checked.
    let fails_with = |result: i64, error: i32| {
        let found = std::io::Error::last_os_error().raw_os_error();
        if result == -1 && found == Some(error) {
            0
        } else {
            -2
        }
    };
    row(counts, "futex", 0, move || unsafe {
        let word = 0_u32;
        let wait = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
        let result = libc::syscall(
            libc::SYS_futex,
            &raw const word,
            wait,
            0,
            &raw const SPEC,
            0,
            0,
        );
        fails_with(result, libc::ETIMEDOUT)
    });
    row(counts, "recv", 0, move || unsafe {
        let mut byte = 0_u8;
        let result = libc::recv(silent, (&raw mut byte).cast(), 1, 0);
        fails_with(result as i64, libc::EAGAIN)
    });
    let semaphore = unsafe { libc::semget(libc::IPC_PRIVATE, 1, 0o600 | libc::IPC_CREAT) };
    row(counts, "semtimedop", 0, move || unsafe {
        let mut operation = libc::sembuf {
            sem_num: 0,
            sem_op: -1,
            sem_flg: 0,
        };
        let number = libc::SYS_semtimedop;
        let result = libc::syscall(number, semaphore, &raw mut operation, 1, &raw const SPEC);
        fails_with(result, libc::EAGAIN)
    });
    let queue = unsafe { libc::msgget(libc::IPC_PRIVATE, 0o600 | libc::IPC_CREAT) };
    every_time(move || unsafe {
        let message = Message(1, [0; 8]);
        libc::msgsnd(queue, (&raw const message).cast(), 8, 0);
    });
    row(counts, "msgrcv", 8, move || unsafe {
        let mut message = Message(0, [0; 8]);
        libc::msgrcv(queue, (&raw mut message).cast(), 8, 0, 0) as i64
    });
    row(counts, "sigtimedwait", 0, move || unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGUSR2);
        let result = libc::sigtimedwait(&raw const set, std::ptr::null_mut(), &raw const SPEC);
        fails_with(i64::from(result), libc::EAGAIN)
    });
    row(counts, "std-sleep", 0, || {
        thread::sleep(TIME);
        0
    });
    row(counts, "std-park_timeout", 0, || {
        thread::park_timeout(TIME);
        0
    });
    // Kernel objects outlive their process; these are gone when nobody uses them.
    let remove = move || unsafe {
        libc::semctl(semaphore, 0, libc::IPC_RMID);
        libc::msgctl(queue, libc::IPC_RMID, std::ptr::null_mut());
    };
    *REMOVE.lock().unwrap() = Some(Box::new(remove));
}

static REMOVE: std::sync::Mutex<Option<Box<dyn FnOnce() + Send>>> = std::sync::Mutex::new(None);

/// Makes the calls until its standard input ends, and reports them.
pub(crate) fn run() {
    let counts = Arc::new(Counts::default());
    calls(&counts);
    // One that computes all the time, one that goes from call to call, and a runtime.
    thread::spawn(|| {
        let mut number = 1_u64;
        loop {
            number = std::hint::black_box(number.wrapping_mul(3).wrapping_add(1));
        }
    });
    thread::spawn(|| {
        loop {
            for _ in 0..2_000 {
                std::hint::black_box(std::fs::metadata("/proc/self").is_ok());
            }
            thread::sleep(Duration::from_millis(1));
        }
    });
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
    runtime.spawn(async {
        loop {
            let end = Instant::now() + Duration::from_millis(30);
            while Instant::now() < end {
                std::hint::spin_loop();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    // The line that the harness has begun has no end yet.
    println!("\ncalling");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    let (calls, changed) = (counts.calls.load(Relaxed), counts.changed.load(Relaxed));
    OVER.store(true, Relaxed);
    println!("calls {calls} changed {changed}");
    if let Some(remove) = REMOVE.lock().unwrap().take() {
        remove();
    }
    std::process::exit(0);
}
