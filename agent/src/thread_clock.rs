//! The CPU clock of any thread of this process, by its thread id.
//!
//! The kernel builds the id of a thread's CPU clock from the thread id, so no
//! `pthread_t` (which must not outlive its thread) is needed: a thread that has
//! ended gives an error, never undefined behaviour. One read costs about
//! 0.3 µs.

use crate::ids::Tid;

/// The id of the calling thread; `None` where the agent does not know.
#[cfg(all(target_os = "linux", not(looptop_elsewhere)))]
#[allow(unsafe_code)]
pub(crate) fn current_tid() -> Option<Tid> {
    // SAFETY: takes no argument, cannot fail, touches no memory of ours.
    let tid = unsafe { libc::gettid() };
    u64::try_from(tid).ok().map(Tid)
}

/// CPU time of the thread `tid` in nanoseconds, user and system; `None` once it
/// has ended.
#[cfg(all(target_os = "linux", not(looptop_elsewhere)))]
pub(crate) fn thread_cpu_ns(tid: Tid) -> Option<u64> {
    // CPUCLOCK_PERTHREAD_MASK | CPUCLOCK_SCHED, as in the kernel's
    // `include/linux/posix-timers.h`.
    const PER_THREAD_SCHED: libc::clockid_t = 4 | 2;
    let tid = libc::clockid_t::try_from(tid.0).ok()?;
    read_clock((!tid << 3) | PER_THREAD_SCHED)
}

/// CPU time of this process in nanoseconds, user and system.
#[cfg(unix)]
pub(crate) fn process_cpu_ns() -> Option<u64> {
    read_clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// The system's monotonic clock in nanoseconds, by which tokio's timers go.
#[cfg(unix)]
#[cfg_attr(not(feature = "waits"), allow(dead_code))]
pub(crate) fn monotonic_ns() -> Option<u64> {
    read_clock(libc::CLOCK_MONOTONIC)
}

#[cfg(unix)]
#[allow(unsafe_code)]
fn read_clock(clock: libc::clockid_t) -> Option<u64> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid, exclusively borrowed timespec for the whole
    // call; an unknown clock id makes the call fail with EINVAL.
    let status = unsafe { libc::clock_gettime(clock, &raw mut time) };
    if status != 0 {
        return None;
    }
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanos = u64::try_from(time.tv_nsec).ok()?;
    Some(seconds * 1_000_000_000 + nanos)
}

/// The id of the calling thread; `None` where the agent does not know.
#[cfg(not(all(target_os = "linux", not(looptop_elsewhere))))]
pub(crate) fn current_tid() -> Option<Tid> {
    None
}

/// CPU time of a thread; `None` where the agent does not know.
#[cfg(not(all(target_os = "linux", not(looptop_elsewhere))))]
pub(crate) fn thread_cpu_ns(_tid: Tid) -> Option<u64> {
    None
}

/// CPU time of this process; `None` where the agent does not know.
#[cfg(not(unix))]
pub(crate) fn process_cpu_ns() -> Option<u64> {
    None
}

#[cfg(all(test, target_os = "linux", not(looptop_elsewhere)))]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn the_clock_of_a_thread_runs_while_it_computes() {
        let tid = current_tid().expect("Linux has thread ids");
        let before = thread_cpu_ns(tid).expect("this thread lives");
        let deadline = Instant::now() + Duration::from_secs(20);
        while thread_cpu_ns(tid).is_some_and(|now| now < before + 2_000_000) {
            assert!(Instant::now() < deadline, "2 ms of CPU within 20 s");
        }
        assert!(process_cpu_ns().is_some_and(|all| all >= 2_000_000));
    }

    #[test]
    fn a_thread_that_has_ended_has_no_clock() {
        let tid = std::thread::spawn(current_tid).join().ok().flatten();
        let tid = tid.expect("Linux has thread ids");
        let deadline = Instant::now() + Duration::from_secs(20);
        // The kernel may take a moment to reap it after the join.
        while thread_cpu_ns(tid).is_some() {
            assert!(Instant::now() < deadline, "an ended thread keeps a clock");
            std::thread::yield_now();
        }
    }
}
