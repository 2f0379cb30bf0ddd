//! One capture from look to frames.

use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::signal::{self, STACK_BYTES};
use super::unwind::StackUnwinder;
use super::{ModuleInfo, NoStack, RawStack, Unavailable, memory, syscall, thread};
use crate::ids::Tid;
use crate::procfs::SyscallState;

/// How often a blocked thread may wake during the look before it is given up.
const ATTEMPTS: usize = 3;
/// Share of the time on a CPU above which a thread counts as running, where the
/// kernel tells nothing better.
const RUNNING_SHARE: f64 = 0.5;

pub(super) struct Engine {
    unwinder: StackUnwinder,
    buffer: Vec<u8>,
}

static ENGINE: Mutex<Option<Engine>> = Mutex::new(None);

/// Held for a whole capture, which serialises them. Threads that are captured
/// never take it.
pub(super) fn engine() -> MutexGuard<'static, Option<Engine>> {
    ENGINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Installs stack capture, with `SIGRTMIN + signal_offset` or the next real-time
/// signal that is free. Once per process; further calls do nothing.
///
/// Reads the modules, which takes some milliseconds.
pub(crate) fn install(signal_offset: i32) -> Result<(), Unavailable> {
    let mut engine = engine();
    if engine.is_some() {
        return Ok(());
    }
    signal::install(signal_offset)?;
    let mut unwinder = StackUnwinder::new();
    unwinder.refresh();
    *engine = Some(Engine {
        unwinder,
        buffer: vec![0; STACK_BYTES],
    });
    Ok(())
}

/// The stack of thread `tid` of this process, now. For the watchdog's thread
/// only, never for the captured one.
///
/// Takes about 0.1 ms, at most 20 ms and the unwinding.
pub(crate) fn capture(tid: u64) -> Result<RawStack, NoStack> {
    let mut engine = engine();
    let engine = engine.as_mut().ok_or(NoStack::NotInstalled)?;
    // The unwinder interprets tables that others wrote. Should it stumble, the
    // stack is lost, not the watchdog.
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| engine.capture(tid)));
    result.unwrap_or_else(|_| {
        engine.unwinder = StackUnwinder::new();
        Err(NoStack::Internal)
    })
}

/// All modules that frames may name, by index; the list only grows.
pub(crate) fn modules() -> Vec<ModuleInfo> {
    engine()
        .as_ref()
        .map(|engine| engine.unwinder.modules().to_vec())
        .unwrap_or_default()
}

/// A look at a thread that did not run during it.
enum Look {
    Blocked {
        number: u64,
        args: [u64; 6],
        stack: RawStack,
    },
    Running,
    Unknown,
}

impl Engine {
    fn capture(&mut self, tid: u64) -> Result<RawStack, NoStack> {
        self.unwinder.refresh();
        match self.look(tid) {
            Look::Blocked { stack, .. } if !stack.truncated => Ok(stack),
            Look::Blocked {
                number,
                args,
                stack,
            } => {
                let better = if syscall::restarts(number, &args) {
                    self.signal(tid)
                } else {
                    Err(NoStack::WouldInterrupt(number))
                };
                match better {
                    Ok(signalled) if signalled.frames.len() >= stack.frames.len() => Ok(signalled),
                    // What was found stands: it is right as far as it goes.
                    _ if stack.frames.len() > 1 => Ok(stack),
                    other => other,
                }
            }
            Look::Running => self.signal(tid),
            Look::Unknown if runs(tid) => self.signal(tid),
            Look::Unknown => Err(NoStack::StateUnknown),
        }
    }

    fn signal(&mut self, tid: u64) -> Result<RawStack, NoStack> {
        let thread = thread::find(tid).ok_or(NoStack::NotRegistered)?;
        let snapshot = signal::take(tid, &thread)?;
        if snapshot.stack.is_empty() {
            return Err(NoStack::Unreadable);
        }
        Ok(self.unwinder.unwind_copy(&snapshot))
    }

    /// Unwinds the thread where it is blocked, if it is.
    fn look(&mut self, tid: u64) -> Look {
        for _ in 0..ATTEMPTS {
            let turns_before = turns(tid);
            let before = SyscallState::of_thread(Tid(tid));
            let SyscallState::In {
                number,
                args,
                sp,
                pc,
            } = before
            else {
                return match before {
                    SyscallState::Running => Look::Running,
                    _ => Look::Unknown,
                };
            };
            let stack = self.unwind_blocked(tid, pc, sp);
            if SyscallState::of_thread(Tid(tid)) == before && turns(tid) == turns_before {
                return Look::Blocked {
                    number,
                    args,
                    stack,
                };
            }
        }
        // It wakes all the time: as good as running, but in such calls, so a
        // signal could hit one.
        Look::Unknown
    }

    fn unwind_blocked(&mut self, tid: u64, pc: u64, sp: u64) -> RawStack {
        let size = match thread::find(tid) {
            Some(thread) if (thread.stack.0..thread.stack.1).contains(&sp) => {
                ((thread.stack.1 - sp) as usize).min(STACK_BYTES)
            }
            // Another stack, of unknown size: read where needed.
            _ => 0,
        };
        let length = memory::read(sp, &mut self.buffer[..size]);
        self.unwinder.unwind_blocked(pc, sp, &self.buffer[..length])
    }
}

/// How often the thread was given a CPU, where the kernel tells: the third number
/// of `schedstat`.
fn turns(tid: u64) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/self/task/{tid}/schedstat")).ok()?;
    text.split_ascii_whitespace().nth(2)?.parse().ok()
}

/// Is the thread on a CPU for most of a millisecond? For kernels that hide what
/// system call it is in.
fn runs(tid: u64) -> bool {
    let Some(before) = cpu_time(tid) else {
        return false;
    };
    let start = std::time::Instant::now();
    std::thread::sleep(std::time::Duration::from_millis(1));
    let Some(after) = cpu_time(tid) else {
        return false;
    };
    after.saturating_sub(before) as f64 > start.elapsed().as_nanos() as f64 * RUNNING_SHARE
}

/// CPU time of a thread of this process in ns.
fn cpu_time(tid: u64) -> Option<u64> {
    /// The kernel's number of a thread's CPU clock: the complement of its id,
    /// "of a thread" (4), "as scheduled" (2).
    fn clock(tid: u64) -> libc::clockid_t {
        !(tid as libc::clockid_t) << 3 | 6
    }
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is writable; a clock that does not exist is an error.
    let result = unsafe { libc::clock_gettime(clock(tid), &raw mut time) };
    (result == 0).then_some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}
