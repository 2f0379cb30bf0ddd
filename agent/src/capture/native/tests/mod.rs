//! Captures of real threads, judged by the names that the viewer would show.

mod cost;
mod handlers;
mod million;
mod odd;
mod own_signals;
mod stalls;
mod stress;

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use looptop_symbols::{self as symbols, Binary, CallKind, CodeAddress, Culprit, Frame, Resolver};

use super::*;

/// How long a thread may take to get into its stall on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a stalled thread tells the test, and the test the thread.
#[derive(Default)]
pub(super) struct Gate {
    tid: AtomicU64,
    first_line: AtomicU32,
    last_line: AtomicU32,
    released: AtomicBool,
}

impl Gate {
    /// Called by the thread: the stall is in this many lines from `line` on.
    fn stall_at(&self, line: u32, lines: u32) {
        self.first_line.store(line, Ordering::Relaxed);
        self.last_line.store(line + lines - 1, Ordering::Relaxed);
        register_current_thread();
        self.tid
            .store(super::thread::current_tid(), Ordering::Release);
    }

    fn released(&self) -> bool {
        self.released.load(Ordering::Relaxed)
    }

    fn release(&self) {
        self.released.store(true, Ordering::Relaxed);
    }

    /// Waits for the thread to be about to stall.
    fn tid(&self) -> u64 {
        wait_for("a thread at its stall", || {
            Some(self.tid.load(Ordering::Acquire)).filter(|&tid| tid != 0)
        })
    }

    fn lines(&self) -> RangeInclusive<u32> {
        self.first_line.load(Ordering::Relaxed)..=self.last_line.load(Ordering::Relaxed)
    }
}

/// Polls until there is a value.
fn wait_for<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = poll() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A stack with names.
struct Named {
    frames: Vec<Frame>,
    culprit: Option<Culprit>,
    truncated: bool,
}

impl Named {
    fn new(resolver: &mut Resolver, stack: &Stack) -> Self {
        let modules: Vec<Arc<Binary>> = modules()
            .into_iter()
            .map(|module| {
                Arc::new(Binary {
                    path: module.path,
                    build_id: module.build_id,
                })
            })
            .collect();
        let addresses: Vec<CodeAddress> = stack
            .frames
            .iter()
            .map(|&(module, offset)| CodeAddress {
                binary: module.map(|index| Arc::clone(&modules[index.0 as usize])),
                offset,
            })
            .collect();
        let frames = resolver.resolve(&addresses).frames;
        Named {
            culprit: symbols::culprit(&frames),
            frames,
            truncated: stack.truncated,
        }
    }

    fn text(&self) -> String {
        use std::fmt::Write;
        let mut text = String::new();
        for frame in &self.frames {
            let _ = writeln!(
                text,
                "  {:?} {} {}",
                frame.origin,
                frame.label(),
                frame.location().unwrap_or_default()
            );
        }
        let _ = write!(
            text,
            "  culprit {:?}, truncated {}",
            self.culprit, self.truncated
        );
        text
    }

    fn is(&self, function: &str, lines: &RangeInclusive<u32>, call: Option<CallKind>) -> bool {
        self.culprit.as_ref().is_some_and(|culprit| {
            let full = self.frames[culprit.frame].function.as_deref();
            full.is_some_and(|full| symbols::name::clean(full).contains(function))
                && culprit.line.is_some_and(|line| lines.contains(&line))
                && culprit.blocking_call.as_ref().map(|call| call.kind) == call
        })
    }
}

impl Named {
    /// The culprit is this function, at an instruction of which the compiler
    /// says no line.
    fn is_at_no_line(&self, function: &str) -> bool {
        self.culprit.as_ref().is_some_and(|culprit| {
            let full = self.frames[culprit.frame].function.as_deref();
            let here = full.is_some_and(|full| symbols::name::clean(full).contains(function));
            here && culprit.line.is_none()
        })
    }
}

fn capture_now(tid: u64) -> Result<Stack, NoStack> {
    capture(tid).map(|captured| captured.stack)
}

/// The command that runs one ignored test of `program` alone: signals, handlers and memory
/// belong to the process.
fn alone(program: &Path, test: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["--ignored", "--exact", "--nocapture", test]);
    command
}

/// Runs it; what it printed, having passed.
fn passes(command: &mut Command) -> String {
    let output = command.output().expect("runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

fn own_program() -> PathBuf {
    std::env::current_exe().expect("own path")
}

/// Installs capture for the tests of this process.
fn prepare() {
    install(3).expect("stack capture installs");
}
