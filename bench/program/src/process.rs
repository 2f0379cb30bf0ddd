//! What the process asks of the system and learns about itself.

use std::{fs, io, time::Duration};

use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::resource::{Resource, setrlimit},
    time::{ClockId, clock_gettime},
    unistd::Pid,
};

/// Keeps this thread, and every thread that it starts, on one CPU.
pub(crate) fn pin(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set)?;
    Ok(())
}

/// The address space that the process may take; beyond it, allocations fail and
/// the process aborts. A safety net: workloads stop earlier by themselves.
pub(crate) fn limit_memory(bytes: u64) -> io::Result<()> {
    // Stacks and arenas of threads reserve address space that they never use.
    let reserved = 2 << 30;
    setrlimit(Resource::RLIMIT_AS, bytes + reserved, bytes + reserved)?;
    Ok(())
}

/// Resident bytes, exact (`statm` may lag by some pages per CPU).
pub(crate) fn resident() -> io::Result<u64> {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup")?;
    let kilobytes = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Rss:"))
        .and_then(|rest| rest.trim().strip_suffix("kB"))
        .and_then(|number| number.trim().parse::<u64>().ok());
    let unreadable = || io::Error::other("no Rss in /proc/self/smaps_rollup");
    Ok(kilobytes.ok_or_else(unreadable)? << 10)
}

/// CPU time of the process so far, all threads.
pub(crate) fn cpu_time() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}

/// The system's monotonic clock, the same in every process.
pub(crate) fn monotonic() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_MONOTONIC)?.into())
}

/// A clock for work that never waits.
#[derive(Clone, Copy)]
pub(crate) enum Clock {
    /// What a user waits for.
    Wall,
    /// CPU time of the calling thread. Right where one thread does it all, and
    /// blind to whatever else the machine does in between.
    Thread,
}

impl Clock {
    pub(crate) fn now(self) -> Duration {
        let id = match self {
            Self::Wall => ClockId::CLOCK_MONOTONIC,
            Self::Thread => ClockId::CLOCK_THREAD_CPUTIME_ID,
        };
        // Both clocks exist wherever this program builds.
        clock_gettime(id).map_or(Duration::ZERO, Duration::from)
    }
}
