//! Reading procfs. Whatever is missing or malformed is unknown, never a panic.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use looptop_wire::proto::{HelloResponse, Host, Process, Thread, ThreadState};

use super::{NamedThread, owner::entries};

/// The kernel counts user-visible CPU ticks at 100 Hz on every architecture
/// that this program runs on (`USER_HZ`, not `CONFIG_HZ`).
const TICK_NS: u64 = 10_000_000;

/// What `/proc/PID/stat` holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) name: String,
    pub(super) state: char,
    user_ticks: u64,
    system_ticks: u64,
    /// Since the machine booted.
    start_ticks: u64,
}

impl Stat {
    /// By a signal or a debugger.
    pub(super) fn is_stopped(&self) -> bool {
        matches!(self.state, 'T' | 't')
    }
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The name may hold spaces and parentheses; nothing behind it does.
    let (head, tail) = text.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let columns: Vec<&str> = tail.split_ascii_whitespace().collect();
    let number = |at: usize| columns.get(at)?.parse().ok();
    Some(Stat {
        name: name.into(),
        state: columns.first()?.chars().next()?,
        user_ticks: number(11)?,
        system_ticks: number(12)?,
        start_ticks: number(19)?,
    })
}

/// A process's `stat`; `None` where there is no such process.
pub(super) fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// All threads of a process; `None` where it has ended.
pub(super) fn threads(pid: u32) -> Option<Vec<NamedThread>> {
    let directory = format!("/proc/{pid}/task");
    let mut tids: Vec<u64> = entries(&directory).collect();
    tids.sort_unstable();
    let read = |tid: &u64| thread(&format!("{directory}/{tid}"), *tid);
    let threads: Vec<_> = tids.iter().filter_map(read).collect();
    (!threads.is_empty()).then_some(threads)
}

fn thread(directory: &str, tid: u64) -> Option<NamedThread> {
    let read = |file: &str| fs::read_to_string(format!("{directory}/{file}"));
    let stat = parse_stat(&read("stat").ok()?)?;
    let status = read("status").unwrap_or_default();
    let schedule = read("schedstat").unwrap_or_default();
    let mut schedule = schedule.split_ascii_whitespace().map(str::parse::<u64>);
    let on_cpu = schedule.next().and_then(Result::ok);
    let run_queue_ns = schedule.next().and_then(Result::ok);
    let (user_ns, system_ns) = split_cpu(&stat, on_cpu);
    let thread = Thread {
        tid,
        state: thread_state(stat.state).into(),
        user_ns,
        system_ns,
        run_queue_ns,
        voluntary_switches: status_number(&status, "voluntary_ctxt_switches"),
        involuntary_switches: status_number(&status, "nonvoluntary_ctxt_switches"),
        ..Thread::default()
    };
    Some((stat.name, thread))
}

/// Ticks separate user from system time, but in steps of 10 ms; the scheduler's
/// sum is exact. The sum of what is returned is the exact one.
fn split_cpu(stat: &Stat, on_cpu_ns: Option<u64>) -> (u64, u64) {
    let system = stat.system_ticks.saturating_mul(TICK_NS);
    match on_cpu_ns {
        Some(total) => (total - system.min(total), system.min(total)),
        None => (stat.user_ticks.saturating_mul(TICK_NS), system),
    }
}

fn thread_state(state: char) -> ThreadState {
    match state {
        'R' => ThreadState::Running,
        'S' | 'I' => ThreadState::Sleeping,
        'D' => ThreadState::Disk,
        'T' | 't' => ThreadState::Stopped,
        _ => ThreadState::Other,
    }
}

/// The number behind `key:` in a file of the form of `status` or `meminfo`.
fn status_number(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let value = line.strip_prefix(key)?.strip_prefix(':')?;
        value.split_ascii_whitespace().next()?.parse().ok()
    })
}

/// CPU, memory and files of a process; thread counts are for the caller.
pub(super) fn process(pid: u32) -> Process {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = |key| status_number(&status, key).map_or(0, |kib| kib.saturating_mul(1024));
    let stat = stat(pid);
    let ticks = stat.map_or(0, |s| s.user_ticks.saturating_add(s.system_ticks));
    let files = fs::read_dir(format!("/proc/{pid}/fd"));
    Process {
        cpu_ns: ticks.saturating_mul(TICK_NS),
        resident_bytes: kib("VmRSS"),
        virtual_bytes: kib("VmSize"),
        open_files: files.ok().map(|files| files.count() as u64),
        throttled_ns: throttled_ns(pid),
        ..Process::default()
    }
}

/// How long the process's control group (version 2) was held back.
fn throttled_ns(pid: u32) -> Option<u64> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let stat = fs::read_to_string(format!("/sys/fs/cgroup{group}/cpu.stat")).ok()?;
    let us = stat
        .lines()
        .find_map(|line| line.strip_prefix("throttled_usec "))?;
    Some(us.trim().parse::<u64>().ok()?.saturating_mul(1_000))
}

/// Ticks of all CPUs since the machine booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CpuTimes {
    busy: u64,
    total: u64,
}

impl CpuTimes {
    /// From 0 to 1.
    pub(super) fn busy_share_since(self, before: Self) -> f64 {
        let total = self.total.saturating_sub(before.total);
        let busy = self.busy.saturating_sub(before.busy);
        if total == 0 {
            return 0.0;
        }
        (busy as f64 / total as f64).min(1.0)
    }
}

/// The machine's CPU ticks.
pub(super) fn cpu_times() -> Option<CpuTimes> {
    parse_cpu_times(&fs::read_to_string("/proc/stat").ok()?)
}

fn parse_cpu_times(text: &str) -> Option<CpuTimes> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    // user nice system idle iowait irq softirq steal; the guest's are in user.
    let ticks: Vec<u64> = line
        .split_ascii_whitespace()
        .take(8)
        .map_while(|ticks| ticks.parse().ok())
        .collect();
    let total = ticks.iter().fold(0, |sum: u64, n| sum.saturating_add(*n));
    let idle = ticks.get(3)?.saturating_add(*ticks.get(4)?);
    Some(CpuTimes {
        busy: total.saturating_sub(idle),
        total,
    })
}

/// CPUs, memory and load of the machine.
pub(super) fn host() -> Host {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = |key| status_number(&memory, key).map_or(0, |kib| kib.saturating_mul(1024));
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_ascii_whitespace().next();
    Host {
        cpus: cpus_of("self").unwrap_or(1),
        total_memory_bytes: kib("MemTotal"),
        available_memory_bytes: kib("MemAvailable"),
        load_1m: load.and_then(|l| l.parse().ok()).unwrap_or(0.0),
        ..Host::default()
    }
}

/// Fills in what an agent would report of its process.
pub(super) fn describe(pid: u32, hello: &mut HelloResponse) {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let exe = fs::read_link(format!("/proc/{pid}/exe")).ok();
    let file_name = exe.as_ref().and_then(|exe| exe.file_name());
    let stat = stat(pid);
    hello.pid = pid;
    hello.name = match (file_name, &stat) {
        (Some(name), _) => name.to_string_lossy().into_owned(),
        (None, Some(stat)) => stat.name.clone(),
        (None, None) => String::new(),
    };
    hello.exe = exe.map_or_else(String::new, |exe| exe.to_string_lossy().into_owned());
    hello.hostname = read("/proc/sys/kernel/hostname").trim().into();
    hello.os = std::env::consts::OS.into();
    hello.arch = std::env::consts::ARCH.into();
    hello.cpus = cpus_of(&pid.to_string()).unwrap_or(0);
    hello.process_started_unix_ns = stat.and_then(|stat| started_unix_ns(&stat));
}

/// CPUs on which a process may run.
fn cpus_of(pid: &str) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let count = |range: &str| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let (from, to): (u32, u32) = (from.parse().ok()?, to.parse().ok()?);
        to.checked_sub(from)?.checked_add(1)
    };
    let counts = list.trim().split(',').map(count);
    counts.sum::<Option<u32>>().filter(|n| *n > 0)
}

/// From uptime rather than the boot time, which has a resolution of a second.
fn started_unix_ns(stat: &Stat) -> Option<u64> {
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split_ascii_whitespace().next()?.parse().ok()?;
    let started = Duration::from_nanos(stat.start_ticks.saturating_mul(TICK_NS));
    let age = Duration::try_from_secs_f64(uptime)
        .ok()?
        .saturating_sub(started);
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()?;
    u64::try_from(now.checked_sub(age)?.as_nanos()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse() {
        let text = "42 (a) R (b) S 1 2 3 4 5 6 7 8 9 10 700 300 15 16 17 18 19 20 12345 22";
        let stat = parse_stat(text).unwrap();
        let expected = Stat {
            name: "a) R (b".into(),
            state: 'S',
            user_ticks: 700,
            system_ticks: 300,
            start_ticks: 12_345,
        };
        assert_eq!(stat, expected);
        assert_eq!(
            split_cpu(&stat, Some(10_000_000_123)),
            (7_000_000_123, 3_000_000_000)
        );
        assert_eq!(split_cpu(&stat, Some(5)), (0, 5));
        assert_eq!(split_cpu(&stat, None), (7_000_000_000, 3_000_000_000));
        for broken in ["", "42", "42 (x)", "42 (x) S 1 2", ")("] {
            assert_eq!(parse_stat(broken), None, "{broken}");
        }
    }

    #[test]
    fn numbers_behind_keys() {
        let text = "VmRSS:\t  123 kB\nVmRSSx: 9\nvoluntary_ctxt_switches:\t7\n";
        assert_eq!(status_number(text, "VmRSS"), Some(123));
        assert_eq!(status_number(text, "voluntary_ctxt_switches"), Some(7));
        assert_eq!(status_number(text, "Vm"), None);
    }

    #[test]
    fn the_share_of_busy_ticks() {
        let before = parse_cpu_times("cpu  10 0 10 70 10 0 0 0 5 0\ncpu0 1\n").unwrap();
        let now = parse_cpu_times("cpu  30 0 20 130 20 0 0 0 5 0\n").unwrap();
        assert!((now.busy_share_since(before) - 0.3).abs() < 1e-9);
        assert!(now.busy_share_since(now).abs() < 1e-9);
        assert_eq!(parse_cpu_times("cpu  1 2\n"), None);
    }
}
