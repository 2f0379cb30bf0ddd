//! A million captures in processes as people have them: under other allocators, with the
//! application's own signals, beside a profiler and a debugger.
//!
//! `cargo test --release -p looptop-agent million -- --ignored --nocapture`; it needs
//! `gdb`, `perf`, and the libraries `libjemalloc2` and `libmimalloc2.0` (Debian's names).

use std::fs::File;
use std::process::{Child, Stdio};

use super::stress;
use super::*;

/// All together, unless [`stress::CAPTURES`] says otherwise.
const ALL: usize = 1_000_000;
/// In so many processes of each kind, one after the other, each with a part of the works.
const PARTS: usize = 4;
/// How long a debugger has the process before it lets go.
const DEBUGGED_FOR: Duration = Duration::from_secs(2);
/// How long a process may take for its captures, on a loaded machine.
const LONGEST: Duration = Duration::from_mins(30);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Beside {
    Nothing,
    Profiler,
    Debugger,
}

/// A kind of process: its allocator (a library, or the C library's own), whether it has
/// signals of its own, and what looks at it besides.
const KINDS: &[(Option<&str>, bool, Beside)] = &[
    (None, false, Beside::Nothing),
    (None, true, Beside::Nothing),
    (None, false, Beside::Profiler),
    (None, true, Beside::Profiler),
    (None, false, Beside::Debugger),
    (None, true, Beside::Debugger),
    (Some("libjemalloc.so.2"), false, Beside::Nothing),
    (Some("libjemalloc.so.2"), true, Beside::Nothing),
    (Some("libmimalloc.so.2"), false, Beside::Nothing),
    (Some("libmimalloc.so.2"), true, Beside::Nothing),
];

#[test]
#[ignore = "takes minutes, and needs gdb, perf, jemalloc and mimalloc"]
fn a_million_captures_harm_nothing() {
    let all = std::env::var(stress::CAPTURES).map_or(ALL, |all| all.parse().expect("a number"));
    let each = all.div_ceil(KINDS.len() * PARTS);
    let folder = tempfile::tempdir().expect("a folder");
    let kinds = KINDS
        .iter()
        .flat_map(|kind| (0..PARTS).map(move |part| (kind, part)));
    for (number, (&(allocator, own_signals, beside), part)) in kinds.enumerate() {
        let name = format!(
            "{}, {} signals of its own, beside {beside:?}, part {part} of {PARTS}",
            allocator.unwrap_or("the C library's allocator"),
            if own_signals { "with" } else { "without" },
        );
        let log = folder.path().join(format!("{number}.log"));
        let began = Instant::now();
        let mut command = stress::child();
        command
            .env(stress::CAPTURES, each.to_string())
            .env(stress::PART, format!("{part}/{PARTS}"))
            .stdout(File::create(&log).expect("a log"))
            .stderr(Stdio::inherit());
        if let Some(allocator) = allocator {
            command
                .env("LD_PRELOAD", library(allocator))
                .env(stress::MAPPED, allocator);
        }
        if own_signals {
            command.env(stress::OWN_SIGNALS, "1");
        }
        if beside == Beside::Debugger {
            command.env(stress::DEBUGGED, "1");
        }
        let mut child = command.spawn().expect("starts");
        let looks = look_until_it_ends(&mut child, beside, folder.path());
        let status = child.wait().expect("a child of this test");
        let text = std::fs::read_to_string(&log).expect("a log");
        println!(
            "== {name}: {each} captures in {:.0} s, {looks} looks by others\n{text}",
            began.elapsed().as_secs_f64()
        );
        assert!(
            status.success() && text.contains("1 passed"),
            "{name}: {status}\n{text}"
        );
        assert!(
            beside == Beside::Nothing || looks > 0,
            "{name}: nobody looked"
        );
    }
    println!("{} captures in all", each * KINDS.len() * PARTS);
}

fn library(name: &str) -> PathBuf {
    let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"];
    let found = folders.iter().map(|folder| Path::new(folder).join(name));
    found.into_iter().find(|path| path.exists()).unwrap_or_else(|| {
        panic!("looked for {name} in {folders:?} in vain: apt-get install libjemalloc2 libmimalloc2.0")
    })
}

/// How often something else looked at the process.
fn look_until_it_ends(child: &mut Child, beside: Beside, folder: &Path) -> usize {
    let pid = child.id().to_string();
    let mut looks = 0;
    let began = Instant::now();
    while child.try_wait().expect("a child of this test").is_none() {
        if began.elapsed() > LONGEST {
            let _ = child.kill();
            panic!("no end after {LONGEST:?}");
        }
        let looked = match beside {
            Beside::Nothing => false,
            Beside::Profiler => profile(&pid, folder),
            Beside::Debugger => debug(&pid),
        };
        looks += usize::from(looked);
        std::thread::sleep(Duration::from_millis(50));
    }
    looks
}

/// Samples the process as fast as it goes for a second; whether it came to it.
fn profile(pid: &str, folder: &Path) -> bool {
    let mut perf = Command::new("perf");
    perf.args(["record", "--quiet", "-F", "5000", "-g", "-p", pid, "-o"])
        .arg(folder.join("perf.data"))
        .args(["--", "sleep", "1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    perf.status().expect("perf starts").success()
}

/// Attaches, lets the process go on under the debugger for a while, and lets it go.
fn debug(pid: &str) -> bool {
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch", "-p", pid])
        .args(["-ex", "handle all nostop noprint pass"])
        .args(["-ex", "thread apply all backtrace 3", "-ex", "continue"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut gdb = gdb.spawn().expect("gdb starts");
    let began = Instant::now();
    loop {
        if let Some(status) = gdb.try_wait().expect("a child of this test") {
            return status.success();
        }
        if began.elapsed() > DEBUGGED_FOR {
            // It stops the process, has no further command, and so lets it go.
            // SAFETY: a signal to a child that was not waited for.
            unsafe { libc::kill(gdb.id().cast_signed(), libc::SIGINT) };
            std::thread::sleep(Duration::from_millis(500));
        } else {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
