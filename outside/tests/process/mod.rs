//! The program that is looked at, and its reins.

mod program;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use looptop_outside::Subject;
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
