//! The program that is looked at, and its reins.

mod program;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use looptop_outside::Subject;
use looptop_outside::tasks::{Tasks, Types};
use looptop_procfs::SyscallState;
use looptop_unwind::Memory;

const MODE: &str = "LOOPTOP_TARGET";

/// It, running.
pub(crate) struct Target {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// What it said of itself when it was ready.
    pub(crate) first: Vec<u64>,
}

impl Target {
    /// Starts it, and waits until it is as `mode` says.
    pub(crate) fn start(mode: &str, number: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "target", "--ignored", "--nocapture"])
            .env(MODE, format!("{mode} {number}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut target = Self {
            child,
            input,
            output,
            first: Vec::new(),
        };
        target.first = target.answer();
        target
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Has it do something; what it says then.
    pub(crate) fn ask(&mut self, command: &str) -> Vec<u64> {
        writeln!(self.input, "{command}").unwrap();
        self.answer()
    }

    fn answer(&mut self) -> Vec<u64> {
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "it has ended");
            if let Some(answer) = line.strip_prefix("answer") {
                return answer
                    .split_whitespace()
                    .map(|n| n.parse().unwrap())
                    .collect();
            }
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The threads that are blocked in a call, and their stack pointers.
pub(crate) fn stack_pointers(subject: &Subject) -> Vec<(u64, u64)> {
    let process = subject.process();
    let pointer = |tid| match process.thread(tid).syscall() {
        SyscallState::In { sp, .. } | SyscallState::Outside { sp, .. } => Some((tid, sp)),
        _ => None,
    };
    let mut all: Vec<_> = process.tids().unwrap().filter_map(pointer).collect();
    all.sort_unstable();
    all
}

/// The stack from its pointer on.
pub(crate) fn stack(subject: &Subject, pointer: u64) -> Vec<u64> {
    let mut bytes = vec![0; 16 << 10];
    let read = subject.memory().read(pointer & !7, &mut bytes);
    let words = bytes[..read].as_chunks::<8>().0;
    words.iter().map(|word| u64::from_le_bytes(*word)).collect()
}

/// What this program is when it is the target.
pub(crate) fn run() {
    if let Ok(mode) = std::env::var(MODE) {
        let (mode, number) = mode.split_once(' ').unwrap();
        program::run(mode, number.parse().unwrap());
    }
}

fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// Prints what looks at a program cost.
pub(crate) fn measure(subject: &Subject, number: u64) {
    let start = Instant::now();
    let types = std::sync::Arc::new(Types::load(subject).unwrap());
    let loaded = start.elapsed();
    let mut tasks = Tasks::new(subject, types);
    let start = Instant::now();
    let listing = tasks.read(&stack_pointers(subject));
    let first = start.elapsed();
    assert_eq!(listing.runtimes[0].listed, number);
    for _ in 0..4 {
        tasks.read(&stack_pointers(subject));
    }
    let scan = tasks.listing().scan;
    let looks = 20;
    let (start, before) = (Instant::now(), cpu());
    for _ in 0..looks {
        let stacks = stack_pointers(subject);
        let listing = tasks.read(&stacks);
        assert_eq!(listing.runtimes[0].listed, number);
    }
    let (wall, cpu) = (
        start.elapsed() / looks,
        cpu().checked_sub(before).unwrap() / looks,
    );
    println!(
        "{number} tasks: types {loaded:.2?}, first listing {first:.2?}, heap {:.0} MB in {:.2?}, \
         renewed in {wall:.2?}, {cpu:.2?} CPU: {:.2} % of a core at one a second",
        scan.bytes as f64 / 1e6,
        scan.time,
        cpu.as_secs_f64() * 100.0,
    );
}
