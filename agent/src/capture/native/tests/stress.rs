//! Many captures of threads that do what a sampler can break: no crash, no
//! deadlock, no changed `errno`, no failed system call.
//!
//! `LOOPTOP_TEST_CAPTURES=100000 cargo test --release -p looptop-agent stress --
//! --nocapture` for another number; it prints what capturing costs. A million of them, in
//! processes of several kinds: [`super::million`].

use std::io::{Read, Write};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use super::own_signals::{self, OwnSignals};
use super::*;

/// Enough to meet every kind of moment on each thread.
const DEFAULT_CAPTURES: usize = 3000;

/// How long they may take, on a loaded machine.
const LONGEST: Duration = Duration::from_mins(30);

/// How many, unless it is [`DEFAULT_CAPTURES`].
pub(super) const CAPTURES: &str = "LOOPTOP_TEST_CAPTURES";
/// Which works go on, where not all do: every so-manieth from one on ("2/5": the third, the
/// eighth, ...). Fewer threads at once get the CPUs sooner, and so more captures are made.
pub(super) const PART: &str = "LOOPTOP_TEST_PART";
/// Set where the application has timers and handlers of its own.
pub(super) const OWN_SIGNALS: &str = "LOOPTOP_TEST_OWN_SIGNALS";
/// Set where a debugger stops the process now and then.
pub(super) const DEBUGGED: &str = "LOOPTOP_TEST_DEBUGGED";
/// What the process must have mapped: an allocator that was loaded before the C library.
pub(super) const MAPPED: &str = "LOOPTOP_TEST_MAPPED";

/// What, besides a capture, makes a system call of a thread fail with `EINTR`: there it
/// would prove nothing of captures.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Fragile {
    /// Nothing does.
    No,
    /// A handler of the application's own.
    ByHandlers,
    /// A stop, by a debugger or `SIGSTOP`, as well.
    ByStops,
}

struct Work {
    name: &'static str,
    run: fn(u64),
    fragile: Fragile,
}

const fn work(name: &'static str, run: fn(u64), fragile: Fragile) -> Work {
    Work { name, run, fragile }
}

const WORK: &[Work] = &[
    work("allocates", allocates, Fragile::No),
    work("locks", locks, Fragile::No),
    work("loads libraries", loads_libraries, Fragile::No),
    work("resolves names", resolves_names, Fragile::No),
    work("asks the clock", asks_the_clock, Fragile::No),
    work("sorts in C", sorts_in_c, Fragile::No),
    work("checks errno", checks_errno, Fragile::No),
    work("polls", polls, Fragile::ByHandlers),
    work("sleeps in C", sleeps_in_c, Fragile::ByHandlers),
    work("reads and writes", reads_and_writes, Fragile::ByStops),
    work("starts threads", starts_threads, Fragile::No),
    work("unwinds panics", unwinds_panics, Fragile::No),
];

/// In a process of its own, because its memory is judged.
#[test]
fn stress() {
    println!("{}", passes(&mut child()));
}

/// The command of a process that is captured in.
pub(super) fn child() -> Command {
    alone(
        &own_program(),
        "capture::native::tests::stress::child_under_stress",
    )
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some()
}

#[test]
#[ignore = "a child process of stress"]
fn child_under_stress() {
    if let Ok(mapped) = std::env::var(MAPPED) {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("own maps");
        assert!(maps.contains(&mapped), "{mapped} was not loaded:\n{maps}");
    }
    let own_signals = is_set(OWN_SIGNALS);
    let debugged = is_set(DEBUGGED);
    let most_fragile = match (own_signals, debugged) {
        (true, _) => Fragile::No,
        (false, true) => Fragile::ByHandlers,
        (false, false) => Fragile::ByStops,
    };
    if own_signals {
        own_signals::install();
    }
    prepare();
    let captures = std::env::var(CAPTURES)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(DEFAULT_CAPTURES);
    let only = std::env::var("LOOPTOP_TEST_STRESS").unwrap_or_default();
    let part = std::env::var(PART).unwrap_or_else(|_| "0/1".into());
    let (first, every) = part.split_once('/').expect("a part such as 0/1");
    let (first, every) = (first.parse().expect("first"), every.parse().expect("every"));
    let stop = Arc::new(AtomicBool::new(false));
    let (tids, threads): (Vec<_>, Vec<_>) = WORK
        .iter()
        .skip(first)
        .step_by(every)
        .filter(|work| work.fragile <= most_fragile && work.name.contains(&only))
        .map(|&Work { name, run, .. }| {
            let gate = Arc::new(Gate::default());
            let (of_thread, stop) = (Arc::clone(&gate), Arc::clone(&stop));
            let body = move || {
                let own = own_signals.then(OwnSignals::start);
                of_thread.stall_at(line!(), 1);
                let mut round = 0;
                while !stop.load(Ordering::Relaxed) {
                    run(round);
                    round += 1;
                }
                if let Some(own) = own {
                    own.check();
                }
                round
            };
            let thread = std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(body);
            ((name, gate.tid()), thread.expect("thread"))
        })
        .unzip();

    let mut figures = Figures::default();
    let mut memory = 0;
    let began = Instant::now();
    let mut taken = 0;
    for &(name, tid) in tids.iter().cycle() {
        if taken == captures {
            break;
        }
        assert!(
            began.elapsed() < LONGEST,
            "{taken} of {captures} in {LONGEST:?}"
        );
        if figures.capture(name, tid) {
            taken += 1;
            if taken == captures / 2 {
                memory = resident_kib();
            }
        }
    }
    let grown = resident_kib().saturating_sub(memory);
    stop.store(true, Ordering::Relaxed);
    for (thread, (name, _)) in threads.into_iter().zip(&tids) {
        let rounds = thread
            .join()
            .unwrap_or_else(|_| panic!("{name} found harm"));
        println!("{name}: {rounds} rounds");
    }
    if own_signals {
        println!("{} signals of the application's own", own_signals::check());
    }
    figures.print(captures);
    println!("memory grew by {grown} KiB in the second half");
    assert!(grown < 64 << 10, "captures leak: {grown} KiB");
    assert!(figures.complete * 2 > captures, "most stacks are complete");
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_ascii_whitespace().next());
    number.and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[derive(Default)]
struct Figures {
    complete: usize,
    truncated: std::collections::BTreeMap<&'static str, usize>,
    reasons: std::collections::BTreeMap<String, usize>,
    /// Nanoseconds.
    signalled: Vec<u64>,
    blocked: Vec<u64>,
    handler: Vec<u64>,
}

impl Figures {
    /// Whether there is a stack: a thread that gets no CPU answers another time.
    fn capture(&mut self, name: &'static str, tid: u64) -> bool {
        let handler = &super::super::signal::HANDLER_NS;
        handler.store(0, Ordering::Relaxed);
        let start = Instant::now();
        let result = capture_now(tid);
        let took = start.elapsed().as_nanos() as u64;
        match result {
            Ok(ref stack) => {
                assert!(!stack.frames.is_empty());
                if stack.truncated {
                    *self.truncated.entry(name).or_default() += 1;
                } else {
                    self.complete += 1;
                }
                match handler.load(Ordering::Relaxed) {
                    0 => self.blocked.push(took),
                    time => {
                        self.handler.push(time);
                        self.signalled.push(took);
                    }
                }
            }
            Err(ref reason) => *self.reasons.entry(format!("{name}: {reason}")).or_default() += 1,
        }
        if matches!(result, Err(NoStack::StillPending)) {
            // Asked again at once, it would have had no time to answer.
            std::thread::sleep(Duration::from_micros(100));
        }
        result.is_ok()
    }

    fn print(&mut self, captures: usize) {
        println!("{captures} captures, {} complete", self.complete);
        println!("truncated: {:?}", self.truncated);
        println!("no stack: {:#?}", self.reasons);
        for (name, times) in [
            ("handler", &mut self.handler),
            ("whole capture with a signal", &mut self.signalled),
            ("whole capture without", &mut self.blocked),
        ] {
            times.sort_unstable();
            let at = |share: usize| {
                let place = (times.len() * share / 1000).min(times.len().saturating_sub(1));
                times.get(place).map_or(0.0, |&ns| ns as f64 / 1000.0)
            };
            println!(
                "{name}: {} times, µs: p50 {:.1}, p90 {:.1}, p99 {:.1}, max {:.1}",
                times.len(),
                at(500),
                at(900),
                at(990),
                at(1000)
            );
        }
    }
}

fn allocates(round: u64) {
    let mut all: Vec<Vec<u8>> = Vec::new();
    for size in 1..200 {
        all.push(vec![round as u8; size * 37 % 5000]);
    }
    assert!(all.iter().flatten().all(|&byte| byte == round as u8));
}

fn locks(_round: u64) {
    static SHARED: Mutex<u64> = Mutex::new(0);
    for _ in 0..100 {
        *SHARED.lock().expect("nobody panics with it") += 1;
    }
}

fn loads_libraries(_round: u64) {
    for name in [c"libm.so.6", c"libresolv.so.2", c"libutil.so.1"] {
        // SAFETY: a terminated name; libraries of the system without surprises.
        unsafe {
            let library = libc::dlopen(name.as_ptr(), libc::RTLD_NOW);
            if !library.is_null() {
                libc::dlclose(library);
            }
        }
    }
}

fn resolves_names(_round: u64) {
    use std::net::ToSocketAddrs;
    let mut found = ("localhost", 80).to_socket_addrs().expect("in /etc/hosts");
    assert!(found.next().is_some());
}

fn asks_the_clock(_round: u64) {
    let mut last = Instant::now();
    for _ in 0..1000 {
        let now = Instant::now();
        assert!(now >= last);
        last = now;
    }
}

fn sorts_in_c(round: u64) {
    extern "C" fn compare(one: *const libc::c_void, other: *const libc::c_void) -> libc::c_int {
        // SAFETY: `qsort` passes pointers to elements.
        let (one, other) = unsafe { (*one.cast::<u64>(), *other.cast::<u64>()) };
        one.cmp(&other) as libc::c_int
    }
    let mut numbers: Vec<u64> = (0..2000).map(|i| i * 7919 % (1999 + round % 7)).collect();
    // SAFETY: the vector's elements, and a comparison of such.
    unsafe { libc::qsort(numbers.as_mut_ptr().cast(), numbers.len(), 8, Some(compare)) };
    assert!(numbers.is_sorted());
}

fn checks_errno(round: u64) {
    let mark = 1 + (round % 100) as libc::c_int;
    // SAFETY: this thread's own `errno`.
    unsafe { *libc::__errno_location() = mark };
    for _ in 0..2000 {
        // SAFETY: as above.
        assert_eq!(unsafe { *libc::__errno_location() }, mark);
        std::hint::spin_loop();
    }
}

fn polls(_round: u64) {
    // SAFETY: no entries.
    let ready = unsafe { libc::poll(std::ptr::null_mut(), 0, 1) };
    assert_eq!(ready, 0, "{}", std::io::Error::last_os_error());
    let mut time = libc::timeval {
        tv_sec: 0,
        tv_usec: 300,
    };
    // SAFETY: no sets, and a time that lives for the call.
    let ready = unsafe {
        let none = std::ptr::null_mut();
        libc::select(0, none, none, none, &raw mut time)
    };
    assert_eq!(ready, 0, "{}", std::io::Error::last_os_error());
}

fn sleeps_in_c(_round: u64) {
    let time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 200_000,
    };
    // SAFETY: `time` lives for the call.
    let result = unsafe { libc::nanosleep(&raw const time, std::ptr::null_mut()) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

fn reads_and_writes(round: u64) {
    let (mut one, mut other) = std::os::unix::net::UnixStream::pair().expect("pair");
    // With a time-out, a signal would make the read fail.
    other
        .set_read_timeout(Some(Duration::from_mins(1)))
        .expect("time-out");
    let sent = [round as u8; 100];
    let mut received = [0; 100];
    one.write_all(&sent).expect("write");
    // Not `read_exact`, which would hide an interruption.
    assert_eq!(other.read(&mut received).expect("read"), 100);
    assert_eq!(sent, received);
    let mut file = tempfile::tempfile().expect("file");
    file.write_all(&sent).expect("write");
    file.sync_data().expect("sync");
}

fn starts_threads(round: u64) {
    let thread = std::thread::spawn(move || {
        register_current_thread();
        round + 1
    });
    assert_eq!(thread.join().expect("thread"), round + 1);
}

fn unwinds_panics(round: u64) {
    let result = std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new(round)));
    let payload = result.expect_err("it panicked");
    assert_eq!(payload.downcast_ref::<u64>(), Some(&round));
}
