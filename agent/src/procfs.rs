//! The parts of Linux's `/proc` that the agent reads, as pure parsers and as
//! open files.
//!
//! Elsewhere the files do not exist and everything here is `None`: callers
//! report that as unknown.

use std::fs::File;

use crate::ids::Tid;

/// More is never read from a file of `/proc/self/task`.
const MAX_LINE: usize = 1024;

/// A small file that is read again and again from its start, for example
/// `schedstat` of a thread. Reading through the open file costs about 0.8 µs,
/// opening it each time 6 µs.
#[derive(Debug)]
pub(crate) struct ProcFile(File);

impl ProcFile {
    /// Opens `/proc/self/task/TID/NAME`.
    pub(crate) fn of_thread(tid: Tid, name: &str) -> Option<Self> {
        if !cfg!(target_os = "linux") {
            return None;
        }
        File::open(format!("/proc/self/task/{}/{name}", tid.0))
            .ok()
            .map(Self)
    }

    /// Its first bytes as text; `None` once the thread has ended.
    pub(crate) fn read<'a>(&self, buffer: &'a mut [u8; MAX_LINE]) -> Option<&'a str> {
        let length = read_at_start(&self.0, buffer)?;
        std::str::from_utf8(buffer.get(..length)?).ok()
    }

    /// As [`ProcFile::read`], for a caller that needs no text afterwards.
    pub(crate) fn parse<T>(&self, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let mut buffer = [0; MAX_LINE];
        parse(self.read(&mut buffer)?)
    }
}

#[cfg(unix)]
pub(crate) fn read_at_start(file: &File, buffer: &mut [u8]) -> Option<usize> {
    use std::os::unix::fs::FileExt;
    file.read_at(buffer, 0).ok().filter(|n| *n > 0)
}

#[cfg(not(unix))]
pub(crate) fn read_at_start(_file: &File, _buffer: &mut [u8]) -> Option<usize> {
    None
}

/// `schedstat`: what the scheduler did with a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SchedStat {
    /// Time on a CPU, ns, in steps of the scheduler's tick.
    pub(crate) cpu_ns: u64,
    /// Time ready to run but without a CPU, ns.
    pub(crate) run_queue_ns: u64,
    /// Times that it was given a CPU.
    pub(crate) slices: u64,
}

pub(crate) fn parse_schedstat(text: &str) -> Option<SchedStat> {
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    Some(SchedStat {
        cpu_ns: numbers.next()?.ok()?,
        run_queue_ns: numbers.next()?.ok()?,
        slices: numbers.next()?.ok()?,
    })
}

/// State of a thread as the kernel's letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SchedState {
    Running,
    Sleeping,
    /// Uninterruptible.
    Disk,
    /// By a signal or a debugger.
    Stopped,
    Other,
}

/// `stat` of a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ThreadStat {
    pub(crate) name: String,
    pub(crate) state: SchedState,
    /// In clock ticks.
    pub(crate) user_ticks: u64,
    pub(crate) system_ticks: u64,
}

/// Linux fixes `USER_HZ` at 100 on every architecture that tokio supports, so
/// a clock tick of `/proc` is 10 ms.
pub(crate) const TICK_NS: u64 = 10_000_000;

pub(crate) fn parse_stat(text: &str) -> Option<ThreadStat> {
    // The name is in parentheses and may itself hold spaces and parentheses.
    let open = text.find('(')?;
    let close = text.rfind(')')?;
    let name = text.get(open + 1..close)?.to_owned();
    let mut fields = text.get(close + 1..)?.split_ascii_whitespace();
    let state = match fields.next()? {
        "R" => SchedState::Running,
        "S" | "I" => SchedState::Sleeping,
        "D" => SchedState::Disk,
        "T" | "t" => SchedState::Stopped,
        _ => SchedState::Other,
    };
    // Fields 14 and 15 of proc(5); the state was field 3.
    let mut times = fields.skip(10).map(str::parse);
    Some(ThreadStat {
        name,
        state,
        user_ticks: times.next()?.ok()?,
        system_ticks: times.next()?.ok()?,
    })
}

/// `status`: voluntary and involuntary context switches.
pub(crate) fn parse_switches(text: &str) -> Option<(u64, u64)> {
    let field = |name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name))?;
        line.trim().parse().ok()
    };
    Some((
        field("voluntary_ctxt_switches:")?,
        field("nonvoluntary_ctxt_switches:")?,
    ))
}

/// `syscall`: where a thread stands with respect to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SyscallState {
    /// On a CPU or ready for one, not blocked.
    Running,
    /// Blocked in a system call.
    In {
        /// Of this architecture.
        number: u64,
        args: [u64; 6],
        /// Stack pointer at the call.
        sp: u64,
        /// Code address after the call instruction.
        pc: u64,
    },
    /// Blocked outside any system call, for example by a page fault.
    Outside { sp: u64, pc: u64 },
    /// The agent may not or cannot read it.
    Unknown,
}

impl SyscallState {
    /// Of a thread of this process, now; about 6 µs. Who looks again and again
    /// keeps a [`ProcFile`].
    pub(crate) fn of_thread(tid: Tid) -> Self {
        let file = ProcFile::of_thread(tid, "syscall");
        let state = file.and_then(|file| file.parse(parse_syscall));
        state.unwrap_or(Self::Unknown)
    }
}

pub(crate) fn parse_syscall(text: &str) -> Option<SyscallState> {
    let mut words = text.split_ascii_whitespace();
    let first = words.next()?;
    if first == "running" {
        return Some(SyscallState::Running);
    }
    let mut hex = words.map(|w| u64::from_str_radix(w.strip_prefix("0x").unwrap_or(w), 16));
    if first == "-1" {
        return Some(SyscallState::Outside {
            sp: hex.next()?.ok()?,
            pc: hex.next()?.ok()?,
        });
    }
    let mut args = [0; 6];
    for arg in &mut args {
        *arg = hex.next()?.ok()?;
    }
    Some(SyscallState::In {
        number: first.parse().ok()?,
        args,
        sp: hex.next()?.ok()?,
        pc: hex.next()?.ok()?,
    })
}

/// Throttled time in a `cpu.stat` of a control group: version 2 counts
/// microseconds, version 1 nanoseconds.
pub(crate) fn parse_throttled_ns(text: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(' ')?;
        let value: u64 = value.trim().parse().ok()?;
        match key {
            "throttled_usec" => Some(value.saturating_mul(1_000)),
            "throttled_time" => Some(value),
            _ => None,
        }
    })
}

/// The `cpu.stat` of the control group in `/proc/self/cgroup`.
pub(crate) fn cgroup_cpu_stat_paths(cgroup: &str) -> Vec<String> {
    let mut paths: Vec<String> = cgroup
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            let path = path.trim_end_matches('/');
            if controllers.is_empty() {
                return Some(format!("/sys/fs/cgroup{path}/cpu.stat"));
            }
            let is_cpu = controllers.split(',').any(|c| c == "cpu");
            is_cpu.then(|| format!("/sys/fs/cgroup/cpu{path}/cpu.stat"))
        })
        .collect();
    // In a container the path may be one of the host's; its own group is the root.
    paths.push("/sys/fs/cgroup/cpu.stat".into());
    paths.push("/sys/fs/cgroup/cpu/cpu.stat".into());
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_with_a_hostile_name() {
        let text = "12 (a) R (b c) S 1 2 3 4 5 6 7 8 9 10 77 88 0 0 20";
        let stat = parse_stat(text).expect("well formed");
        assert_eq!(stat.name, "a) R (b c");
        assert_eq!(stat.state, SchedState::Sleeping);
        assert_eq!((stat.user_ticks, stat.system_ticks), (77, 88));
        for bad in ["", "12", "12 (x", "12 (x) S 1 2", ")(", "1 )x( R"] {
            assert_eq!(parse_stat(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn syscall_lines() {
        assert_eq!(parse_syscall("running\n"), Some(SyscallState::Running));
        let text = "230 0x1 0x0 0x7ffd 0x7ffe 0x0 0x0 0x7ffc 0x7f01";
        assert_eq!(
            parse_syscall(text),
            Some(SyscallState::In {
                number: 230,
                args: [1, 0, 0x7ffd, 0x7ffe, 0, 0],
                sp: 0x7ffc,
                pc: 0x7f01,
            })
        );
        assert_eq!(
            parse_syscall("-1 0x10 0x20"),
            Some(SyscallState::Outside { sp: 16, pc: 32 })
        );
        for bad in ["", "0 0x1", "x", "-1 0x10", "202 1 2 3 4 5 6 7", "\u{fffd}"] {
            assert_eq!(parse_syscall(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn schedstat_switches_and_throttling() {
        let stat = parse_schedstat("100 20 3\n").expect("well formed");
        assert_eq!((stat.cpu_ns, stat.run_queue_ns, stat.slices), (100, 20, 3));
        assert_eq!(parse_schedstat("100 20"), None);
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t1\n";
        assert_eq!(parse_switches(status), Some((7, 1)));
        assert_eq!(
            parse_throttled_ns("usage_usec 5\nthrottled_usec 7\n"),
            Some(7_000)
        );
        assert_eq!(
            parse_throttled_ns("nr_periods 5\nthrottled_time 7\n"),
            Some(7)
        );
        assert_eq!(parse_throttled_ns("usage_usec 5\n"), None);
    }

    #[test]
    fn control_groups_of_both_versions() {
        let paths = cgroup_cpu_stat_paths("4:cpu,cpuacct:/a\n0::/user.slice/x\n");
        assert_eq!(paths[0], "/sys/fs/cgroup/cpu/a/cpu.stat");
        assert_eq!(paths[1], "/sys/fs/cgroup/user.slice/x/cpu.stat");
    }
}
