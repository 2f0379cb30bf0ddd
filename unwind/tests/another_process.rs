//! The stack of a thread of another process, by reading alone.
#![cfg(all(
    target_os = "linux",
    not(looptop_elsewhere),
    any(target_arch = "x86_64", target_arch = "aarch64")
))]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use looptop_procfs::{Process, Procfs, SyscallState};
use looptop_unwind::{Beyond, MemFile, Memory, Registers, StackCopy, Unwinder, modules};

/// Run by the test below, as another process: says where its code is and waits.
#[test]
#[ignore = "is the process that is read"]
fn the_other_process() {
    // The line that the harness has begun has no end yet.
    println!(
        "\n{:#x} {}",
        waits as *const () as usize,
        std::process::id()
    );
    std::io::stdout().flush().unwrap();
    waits();
}

#[inline(never)]
fn waits() {
    let mut byte = [0];
    assert_eq!(std::io::stdin().read(&mut byte).unwrap(), 0);
    // Keeps the call from becoming the last one.
    std::hint::black_box(byte);
}

struct Other {
    child: Child,
    process: Process,
    /// Where the function is in which it waits.
    function: u64,
    /// What it goes on to say, for which there must be a reader.
    _output: BufReader<ChildStdout>,
}

impl Drop for Other {
    fn drop(&mut self) {
        // Its standard input is at its end then.
        drop(self.child.stdin.take());
        self.child.wait().ok();
    }
}

fn start() -> Other {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_other_process", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let pid = child.id();
    let mut lines = output.by_ref().lines().map_while(Result::ok);
    let function = lines.find_map(|line| {
        let address = line.strip_suffix(&format!(" {pid}"))?.strip_prefix("0x")?;
        u64::from_str_radix(address, 16).ok()
    });
    Other {
        process: Procfs::default().process(pid),
        function: function.expect("it says where its code is"),
        child,
        _output: output,
    }
}

/// Where its thread is that reads standard input, once it does.
fn reading(process: &Process) -> (u64, u64) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let mut tids = process.tids().unwrap();
        let found = tids.find_map(|tid| match process.thread(tid).syscall() {
            SyscallState::In { args, sp, pc, .. } if is_read(args) => Some((pc, sp)),
            _ => None,
        });
        if let Some(found) = found {
            return found;
        }
        assert!(Instant::now() < deadline, "no thread reads");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Of descriptor 0, and at least a byte: a futex has an address there.
fn is_read(args: [u64; 6]) -> bool {
    args[0] == 0 && args[2] >= 1
}

#[test]
fn a_blocked_thread_is_unwound_to_its_start() {
    let other = start();
    let (pc, sp) = reading(&other.process);
    let memory = MemFile::open(&other.process.path("mem")).unwrap();
    let mut unwinder = Unwinder::new();
    unwinder.set_modules(modules(&other.process.mappings().unwrap(), &memory));

    // All of it is read where it is needed, or a part was copied before.
    let mut copy = vec![0; 4096];
    let length = memory.read(sp, &mut copy);
    for bytes in [&[][..], &copy[..length]] {
        let stack = StackCopy {
            bytes,
            beyond: Beyond::InMemory,
        };
        let found = unwinder.unwind(&memory, Registers::blocked(pc, sp), stack);
        let program = other.process.program().unwrap();
        let own = unwinder.modules().iter().position(|m| m.path == program);
        let own = own.expect("the program is a module");
        let base = unwinder.modules()[own].base;
        let inside = other.function - base..other.function - base + 4096;
        let is_own = |(module, address): &(Option<looptop_unwind::ModuleIndex>, u64)| {
            module.is_some_and(|index| index.0 as usize == own) && inside.contains(address)
        };
        let frames = &found.stack.frames;
        assert!(frames.iter().any(is_own), "{inside:x?} in {frames:x?}");
        assert!(!found.stack.truncated, "{frames:x?}");
        assert!(frames.len() > 5 && found.end > sp);
        // Each frame's return address is where it says, on x86-64.
        assert_eq!(found.begins.len(), frames.len() - 1);
        #[cfg(target_arch = "x86_64")]
        for (begin, (module, address)) in found.begins.iter().zip(&frames[1..]) {
            let base = module.map_or(0, |index| unwinder.modules()[index.0 as usize].base);
            assert_eq!(memory.read_u64(begin - 8), Some(base + address + 1));
        }
    }

    // A copy that is too short says so, where there is nothing beyond it.
    let stack = StackCopy {
        bytes: &copy[..8],
        beyond: Beyond::Gone,
    };
    let found = unwinder.unwind(&memory, Registers::blocked(pc, sp), stack);
    assert!(found.stack.truncated && found.stack.frames.len() < 5);
}

#[test]
fn a_process_that_has_ended_has_no_stack() {
    let other = start();
    let (pc, sp) = reading(&other.process);
    let memory = MemFile::open(&other.process.path("mem")).unwrap();
    let mut unwinder = Unwinder::new();
    unwinder.set_modules(modules(&other.process.mappings().unwrap(), &memory));
    drop(other);
    let stack = StackCopy {
        bytes: &[],
        beyond: Beyond::InMemory,
    };
    let found = unwinder.unwind(&memory, Registers::blocked(pc, sp), stack);
    assert!(found.stack.truncated);
    assert_eq!(found.stack.frames.len(), 1);
}
