//! CPU time, which other programs on the machine cannot disturb as they do the clock.

use std::{fs, time::Duration};

use nix::time::{ClockId, clock_gettime};

/// CPU time of all threads that a process has, to the nanosecond.
pub(crate) fn of_process(pid: u32) -> anyhow::Result<Duration> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the two reads; its time is then lost.
        let Ok(schedstat) = fs::read_to_string(thread?.path().join("schedstat")) else {
            continue;
        };
        let on_cpu = schedstat.split(' ').next().and_then(|n| n.parse().ok());
        nanoseconds += on_cpu.unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// CPU time of this process.
pub(crate) fn own() -> anyhow::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}

/// What a span of CPU time is of one core, in percent.
pub(crate) fn percent(used: Duration, of: Duration) -> f64 {
    used.as_secs_f64() / of.as_secs_f64() * 100.0
}
