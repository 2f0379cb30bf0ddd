//! One capture from look to frames.

use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, MutexGuard, PoisonError};

use looptop_procfs::SyscallState;

use super::signal::{self, STACK_BYTES, Snapshot};
use super::unwind::StackUnwinder;
use super::{Captured, ModuleInfo, NoStack, Stack, Unavailable, memory, syscall, thread};
use crate::ids::Tid;
use crate::procfs;

/// How often a blocked thread may wake during the look before it is given up.
const ATTEMPTS: usize = 3;
/// Share of the time on a CPU above which a thread counts as running, where the
/// kernel tells nothing better.
const RUNNING_SHARE: f64 = 0.5;

/// How much of a stack of unknown size is read at once.
const AHEAD: usize = 8 * 1024;

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

/// The stack of thread `tid` of this process, now; of any thread that Rust's std
/// has started, registered or not. For the watchdog's thread only, never for the
/// captured one.
///
/// Takes about 0.1 ms, at most 5 ms and the unwinding. A thread that gets no CPU
/// answers later: ask again, or ask [`late`].
pub(crate) fn capture(tid: u64) -> Result<Captured, NoStack> {
    with_engine(|engine| engine.capture(tid))
}

/// The answer to the signal of an earlier [`capture`], if it has come.
pub(crate) fn late(tid: u64) -> Option<Captured> {
    with_engine(|engine| {
        let thread = thread::find(tid).ok_or(NoStack::NotRegistered)?;
        let snapshot = signal::late(tid, &thread).ok_or(NoStack::StillPending)?;
        engine.unwinder.refresh();
        engine.unwind(&snapshot, SyscallState::Running)
    })
    .ok()
}

fn with_engine(
    f: impl FnOnce(&mut Engine) -> Result<Captured, NoStack>,
) -> Result<Captured, NoStack> {
    let mut engine = engine();
    let engine = engine.as_mut().ok_or(NoStack::NotInstalled)?;
    engine.guarded(f).unwrap_or(Err(NoStack::Internal))
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
        /// In a call, or outside of any.
        doing: SyscallState,
        stack: Stack,
    },
    Running,
    Unknown,
}

impl Engine {
    /// Unwinds something, by the modules as they are now.
    pub(super) fn with_unwinder<T>(
        &mut self,
        f: impl FnOnce(&mut StackUnwinder) -> T,
    ) -> Option<T> {
        self.guarded(|engine| {
            engine.unwinder.refresh();
            f(&mut engine.unwinder)
        })
    }

    /// The unwinder interprets tables that others wrote. Should it stumble, the stack
    /// is lost, not the caller.
    fn guarded<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| f(self)));
        if result.is_err() {
            self.unwinder = StackUnwinder::new();
        }
        result.ok()
    }

    fn capture(&mut self, tid: u64) -> Result<Captured, NoStack> {
        self.unwinder.refresh();
        match self.look(tid) {
            Look::Blocked { doing, stack } if !stack.truncated => Ok(Captured::now(stack, doing)),
            Look::Blocked { doing, stack } => {
                let better = match doing {
                    SyscallState::In { number, args, .. } if syscall::restarts(number, &args) => {
                        self.signal(tid, doing)
                    }
                    SyscallState::In { number, .. } => Err(NoStack::WouldInterrupt(number)),
                    _ => Err(NoStack::Unreadable),
                };
                match better {
                    Ok(signalled) if signalled.stack.frames.len() >= stack.frames.len() => {
                        Ok(signalled)
                    }
                    // What was found stands: it is right as far as it goes.
                    _ if stack.frames.len() > 1 => Ok(Captured::now(stack, doing)),
                    other => other,
                }
            }
            Look::Running => self.signal(tid, SyscallState::Running),
            Look::Unknown if runs(tid) => self.signal(tid, SyscallState::Unknown),
            Look::Unknown => Err(NoStack::StateUnknown),
        }
    }

    fn signal(&mut self, tid: u64, doing: SyscallState) -> Result<Captured, NoStack> {
        let thread = thread::find_or_add(tid).ok_or(NoStack::NotRegistered)?;
        let snapshot = signal::take(tid, &thread).inspect_err(|error| {
            if *error == NoStack::ThreadEnded {
                thread::forget(tid);
            }
        })?;
        self.unwind(&snapshot, doing)
    }

    fn unwind(&mut self, snapshot: &Snapshot, doing: SyscallState) -> Result<Captured, NoStack> {
        if snapshot.stack.is_empty() {
            return Err(NoStack::Unreadable);
        }
        Ok(Captured {
            stack: self.unwinder.unwind_copy(snapshot).stack,
            doing,
            taken_ns: crate::clock::to_ns(snapshot.taken),
            sequence: snapshot.sequence,
        })
    }

    /// Unwinds the thread where it is blocked, if it is: in a call, or, as one
    /// that waits for a page of memory, outside of any.
    fn look(&mut self, tid: u64) -> Look {
        for _ in 0..ATTEMPTS {
            let turns_before = turns(tid);
            let before = procfs::syscall(Tid(tid));
            let Some((sp, pc)) = before.blocked_at() else {
                return match before {
                    SyscallState::Running => Look::Running,
                    _ => Look::Unknown,
                };
            };
            let stack = self.unwind_blocked(tid, pc, sp);
            if procfs::syscall(Tid(tid)) == before && turns(tid) == turns_before {
                return Look::Blocked {
                    doing: before,
                    stack,
                };
            }
        }
        // It wakes all the time: as good as running, but in such calls, so a
        // signal could hit one.
        Look::Unknown
    }

    fn unwind_blocked(&mut self, tid: u64, pc: u64, sp: u64) -> Stack {
        let length = match thread::find(tid) {
            Some(thread) if (thread.stack.0..thread.stack.1).contains(&sp) => {
                let size = ((thread.stack.1 - sp) as usize).min(STACK_BYTES);
                memory::read(sp, &mut self.buffer[..size])
            }
            // Another stack, of unknown size: what is beyond is read where needed.
            _ => memory::read_stack(sp, &mut self.buffer[..AHEAD]),
        };
        let stack = &self.buffer[..length];
        self.unwinder.unwind_blocked(pc, sp, stack).stack
    }
}

/// How often the thread was given a CPU, where the kernel counts.
fn turns(tid: u64) -> Option<u64> {
    procfs::schedstat(Tid(tid)).map(|stat| stat.slices)
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
