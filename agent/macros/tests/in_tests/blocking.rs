//! The mistakes of `tests/field` that block a worker, as tests: each with its cure.
//!
//! What only a crate has that the agent does not build with (`SQLite`, bcrypt, dashmap,
//! crossbeam) is here by the call in which such code waits.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, RwLock, mpsc};
use std::time::{Duration, Instant};

use crate::red::{line_of, run, run_with};

/// Longer than the limit, by enough for a busy machine.
const LONG: Duration = Duration::from_millis(400);

/// In `LONG` from now, on a thread.
fn later(then: impl FnOnce() + Send + 'static) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        std::thread::sleep(LONG);
        then();
    })
}

/// So much of a CPU, whatever else runs on this machine.
fn compute(cpu: Duration) -> u64 {
    let began = cpu_time();
    let mut sum = 0_u64;
    while cpu_time().saturating_sub(began) < cpu {
        for n in 0..20_000_u64 {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(n));
        }
    }
    sum
}

/// What this thread has used.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("procfs");
    let nanos = stat.split_whitespace().next().and_then(|n| n.parse().ok());
    Duration::from_nanos(nanos.expect("a number"))
}

mod sleep {
    use super::*;

    fn price() -> u32 {
        std::thread::sleep(LONG); // BLOCKS sleep
        3
    }

    #[looptop_agent::test]
    #[ignore = "fails on purpose"]
    async fn mistake() {
        assert_eq!(price(), 3);
    }

    #[looptop_agent::test]
    async fn cured() {
        tokio::time::sleep(LONG).await;
    }
}

mod in_a_task {
    use super::*;

    async fn handle() {
        tokio::task::yield_now().await;
        std::thread::sleep(LONG); // BLOCKS in_a_task
    }

    #[looptop_agent::test]
    #[ignore = "fails on purpose"]
    async fn mistake() {
        tokio::spawn(handle()).await.expect("no panic");
    }

    #[looptop_agent::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "fails on purpose"]
    async fn mistake_of_a_worker() {
        tokio::spawn(handle()).await.expect("no panic");
    }
}

mod std_command {
    use super::*;

    fn detect_ports() -> bool {
        let mut sleep = std::process::Command::new("sleep");
        let output = sleep.arg(LONG.as_secs_f64().to_string()).output(); // BLOCKS std_command
        output.is_ok()
    }

    #[looptop_agent::test]
    #[ignore = "fails on purpose"]
    async fn mistake() {
        assert!(detect_ports());
    }

    #[looptop_agent::test]
    async fn cured() {
        let mut sleep = tokio::process::Command::new("sleep");
        let output = sleep.arg(LONG.as_secs_f64().to_string()).output();
        assert!(output.await.is_ok());
    }
}

mod mpsc_recv {
    use super::*;

    fn ask() -> u32 {
        let (send, receive) = mpsc::channel();
        later(move || send.send(7).expect("somebody asks"));
        receive.recv().expect("an answer") // BLOCKS mpsc_recv
    }

    #[looptop_agent::test]
    #[ignore = "fails on purpose"]
    async fn mistake() {
        assert_eq!(ask(), 7);
    }

    #[looptop_agent::test]
    async fn cured() {
        let (send, receive) = tokio::sync::oneshot::channel();
        later(move || send.send(7).expect("somebody asks"));
        assert_eq!(receive.await, Ok(7));
    }
}

mod drop_join {
    use super::*;

    struct Consumer(Option<std::thread::JoinHandle<()>>);

    impl Drop for Consumer {
        fn drop(&mut self) {
            let thread = self.0.take().expect("it is dropped once");
            thread.join().expect("no panic"); // BLOCKS drop_join
        }
    }

    #[looptop_agent::test]
    #[ignore = "fails on purpose"]
    async fn mistake() {
        drop(Consumer(Some(later(|| {}))));
    }

    #[looptop_agent::test]
    async fn cured() {
        let consumer = Consumer(Some(later(|| {})));
        let dropped = tokio::task::spawn_blocking(move || drop(consumer));
        dropped.await.expect("no panic");
    }
}

mod block_in_place {
    use super::*;

    #[looptop_agent::test(flavor = "multi_thread", worker_threads = 2)]
    async fn is_no_block() {
        tokio::task::block_in_place(|| std::thread::sleep(LONG));
        let task = tokio::spawn(async {
            tokio::task::block_in_place(|| std::thread::sleep(LONG));
        });
        task.await.expect("no panic");
    }
}

mod listener_wait {
    use super::*;

    fn wait_for_commit() {
        let commit = Arc::new((Mutex::new(false), Condvar::new()));
        let other = Arc::clone(&commit);
        later(move || {
            *other.0.lock().expect("no panic") = true;
            other.1.notify_all();
        });
        let (done, changed) = &*commit;
        let done = done.lock().expect("no panic");
        drop(changed.wait_while(done, |done| !*done).expect("no panic")); // BLOCKS listener_wait
    }

    #[looptop_agent::test]
    #[ignore = "fails on purpose"]
    async fn mistake() {
        wait_for_commit();
    }

    #[looptop_agent::test]
    async fn cured() {
        let commit = Arc::new(tokio::sync::Notify::new());
        let other = Arc::clone(&commit);
        later(move || other.notify_one());
        commit.notified().await;
    }
}

mod cpu_exact {
    use super::*;

    fn render() -> u64 {
        compute(LONG) // BLOCKS cpu_exact
    }

    #[looptop_agent::test]
    #[ignore = "fails on purpose"]
    async fn mistake() {
        assert_ne!(render(), 1);
    }

    #[looptop_agent::test]
    async fn cured() {
        let rendered = tokio::task::spawn_blocking(render).await;
        assert_ne!(rendered.expect("no panic"), 1);
    }

    /// Many short polls in a row are none that is long.
    #[looptop_agent::test]
    async fn in_parts() {
        let task = tokio::spawn(async {
            for _ in 0..40 {
                compute(Duration::from_millis(10));
                tokio::task::yield_now().await;
            }
        });
        task.await.expect("no panic");
    }

    /// What takes long because others take the CPU.
    #[looptop_agent::test(max_poll = "150ms")]
    async fn on_a_busy_machine() {
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let spin = |stop: Arc<std::sync::atomic::AtomicBool>| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        };
        let spinners: Vec<_> = (0..12)
            .map(|_| {
                let stop = Arc::clone(&stop);
                std::thread::spawn(move || spin(stop))
            })
            .collect();
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(2) {
            compute(Duration::from_millis(50));
            tokio::task::yield_now().await;
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for spinner in spinners {
            let joined = tokio::task::spawn_blocking(|| spinner.join());
            joined.await.expect("no panic").expect("no panic");
        }
    }
}

mod log_pipe {
    use super::*;

    fn handle_query() {
        let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
        let thread = later(move || drop(reader.read_to_end(&mut Vec::new())));
        let lines = vec![b'.'; 1 << 20];
        writer.write_all(&lines).expect("somebody reads"); // BLOCKS log_pipe
        drop((writer, thread));
    }

    #[looptop_agent::test]
    #[ignore = "fails on purpose"]
    async fn mistake() {
        handle_query();
    }

    #[looptop_agent::test]
    async fn cured() {
        let handled = tokio::task::spawn_blocking(handle_query);
        handled.await.expect("no panic");
    }
}

mod silent_peer {
    use super::*;

    /// A peer that answers late.
    fn peer() -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().expect("somebody comes");
            std::thread::sleep(LONG);
            socket.write_all(b"7").expect("somebody reads");
        });
        address
    }

    fn fetch(address: std::net::SocketAddr) -> u8 {
        let mut socket = TcpStream::connect(address).expect("it listens");
        let mut answer = [0];
        socket.read_exact(&mut answer).expect("an answer"); // BLOCKS silent_peer
        answer[0]
    }

    #[looptop_agent::test]
    #[ignore = "fails on purpose"]
    async fn mistake() {
        assert_eq!(fetch(peer()), b'7');
    }

    #[looptop_agent::test]
    async fn cured() {
        use tokio::io::AsyncReadExt as _;
        let socket = tokio::net::TcpStream::connect(peer()).await;
        let answer = socket.expect("it listens").read_u8().await;
        assert_eq!(answer.expect("an answer"), b'7');
    }
}

mod flock_wait {
    use super::*;

    fn take_lock() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let held = file.reopen().expect("the same file");
        held.lock().expect("nobody has it");
        later(move || drop(held));
        file.as_file().lock().expect("it is let go"); // BLOCKS flock_wait
    }

    #[looptop_agent::test]
    #[ignore = "fails on purpose"]
    async fn mistake() {
        take_lock();
    }

    #[looptop_agent::test]
    async fn cured() {
        let taken = tokio::task::spawn_blocking(take_lock);
        taken.await.expect("no panic");
    }
}

mod rwlock_writer {
    use super::*;

    fn register(table: &RwLock<u32>) {
        *table.write().expect("no panic") += 1; // BLOCKS rwlock_writer
    }

    /// A table that a thread reads for long.
    fn table() -> Arc<RwLock<u32>> {
        let table = Arc::new(RwLock::new(0));
        let read = Arc::clone(&table);
        let (begun, begins) = mpsc::channel();
        std::thread::spawn(move || {
            let held = read.read().expect("no panic");
            begun.send(()).expect("somebody waits");
            std::thread::sleep(LONG);
            drop(held);
        });
        begins.recv().expect("it reads");
        table
    }

    #[looptop_agent::test]
    #[ignore = "fails on purpose"]
    async fn mistake() {
        register(&table());
    }

    #[looptop_agent::test]
    async fn cured() {
        let table = Arc::new(tokio::sync::RwLock::new(0));
        let held = Arc::clone(&table).read_owned().await;
        later(move || drop(held));
        *table.write().await += 1;
    }
}

mod goes_on {
    use super::*;

    fn rebuild() {
        std::thread::sleep(Duration::from_secs(8)); // BLOCKS goes_on
    }

    /// It is reported after a second, whether or not it ends.
    #[looptop_agent::test(max_poll = "10ms")]
    #[ignore = "fails on purpose"]
    async fn mistake() {
        rebuild();
        eprintln!("and it has ended");
    }

    #[looptop_agent::test(max_poll = "10ms", allow = ["rebuild"])]
    #[ignore = "run by another"]
    async fn allowed() {
        rebuild();
    }
}

/// Each mistake, the words that name it, and the mark of its line.
const MISTAKES: &[(&str, &str, &str)] = &[
    (
        "sleep",
        "it sleeps in std::thread::sleep",
        "blocking::sleep::price",
    ),
    (
        "in_a_task",
        "it sleeps in std::thread::sleep",
        "blocking::in_a_task::handle",
    ),
    (
        "std_command",
        "in std::process::Command",
        "blocking::std_command::detect_ports",
    ),
    (
        "mpsc_recv",
        "in std::sync::mpsc",
        "blocking::mpsc_recv::ask",
    ),
    (
        "drop_join",
        "in std::thread::JoinHandle::join",
        "blocking::drop_join::Consumer",
    ),
    (
        "listener_wait",
        "in std::sync::Condvar",
        "blocking::listener_wait::wait_for_commit",
    ),
    ("cpu_exact", "it computes", "blocking::cpu_exact::render"),
    ("log_pipe", "write", "blocking::log_pipe::handle_query"),
    (
        "silent_peer",
        "in recv on a socket",
        "blocking::silent_peer::fetch",
    ),
    ("flock_wait", "flock", "blocking::flock_wait::take_lock"),
    (
        "rwlock_writer",
        "std::sync::RwLock",
        "blocking::rwlock_writer::register",
    ),
];

fn place(case: &str) -> String {
    place_of(&format!("BLOCKS {case}"))
}

fn place_of(mark: &str) -> String {
    line_of(
        include_str!("blocking.rs"),
        "tests/in_tests/blocking.rs",
        mark,
    )
}

#[test]
fn each_mistake_turns_its_test_red_with_its_line() {
    let mut wrong = Vec::new();
    for (case, why, function) in MISTAKES {
        let test = format!("blocking::{case}::mistake");
        let ran = run(&test);
        let place = place(case);
        let words = ["blocked: a poll took", why, function, place.as_str()];
        let missing: Vec<_> = words.iter().filter(|w| !ran.said.contains(**w)).collect();
        if !ran.failed || !missing.is_empty() {
            wrong.push(format!("{test}: {missing:?} in\n{}", ran.said));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn a_poll_that_goes_on_is_told_of_while_it_does() {
    let test = "blocking::goes_on::mistake";
    let ran = run_with(test, &[("RUST_TEST_NOCAPTURE", "1")]);
    let place = place("goes_on");
    ran.assert_red(test, &["still blocked: a poll has taken 1", &place]);
    let position = |words: &str| ran.said.find(words);
    let (told, ended) = (position("still blocked: "), position("and it has ended"));
    assert!(told < ended, "{}", ran.said);
    let allowed = run("blocking::goes_on::allowed");
    assert!(!allowed.failed, "{}", allowed.said);
    assert!(!allowed.said.contains("still blocked"), "{}", allowed.said);
}

mod jobs {
    use super::*;

    fn export_rows() {
        std::thread::sleep(Duration::from_secs(8)); // KEEPS jobs
    }

    #[looptop_agent::test(max_poll = "10ms")]
    #[ignore = "run by another"]
    async fn outlive_their_test() {
        for _ in 0..3 {
            tokio::task::spawn_blocking(export_rows);
        }
        let ended = tokio::task::spawn_blocking(|| ());
        ended.await.expect("no panic");
    }
}

#[test]
fn the_jobs_that_keep_a_runtime_are_named() {
    let test = "blocking::jobs::outlive_their_test";
    let ran = run(test);
    assert!(!ran.failed, "{}", ran.said);
    let place = place_of("KEEPS jobs");
    let words = [
        "waits for jobs of spawn_blocking",
        "3 x ",
        "export_rows",
        &place,
    ];
    for word in words {
        assert!(ran.said.contains(word), "{word}: {}", ran.said);
    }
}

#[test]
fn a_blocked_worker_of_many_has_its_task_and_line() {
    let test = "blocking::in_a_task::mistake_of_a_worker";
    let place = place("in_a_task");
    let task = "the task in_tests::blocking::in_a_task::handle";
    run(test).assert_red(test, &["it sleeps", &place, task]);
}
