//! The machine as a whole.

use std::time::{Duration, SystemTime};

use crate::{Procfs, Stat, TICK_NS, number};

/// Ticks of all CPUs since the machine booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuTimes {
    busy: u64,
    total: u64,
}

impl CpuTimes {
    /// Parses the text of `/proc/stat`.
    pub fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        // user nice system idle iowait irq softirq steal; the guest's are in user.
        let ticks: Vec<u64> = line
            .split_ascii_whitespace()
            .take(8)
            .map_while(|ticks| ticks.parse().ok())
            .collect();
        let total = ticks.iter().fold(0, |sum: u64, n| sum.saturating_add(*n));
        let idle = ticks.get(3)?.saturating_add(*ticks.get(4)?);
        Some(Self {
            busy: total.saturating_sub(idle),
            total,
        })
    }

    /// Which share of all CPUs was busy, from 0 to 1.
    pub fn busy_share_since(self, before: Self) -> f64 {
        let total = self.total.saturating_sub(before.total);
        let busy = self.busy.saturating_sub(before.busy);
        if total == 0 {
            return 0.0;
        }
        (busy as f64 / total as f64).min(1.0)
    }
}

/// The lines of single CPUs in the text of `/proc/stat`.
fn count_cpus(stat: &str) -> u32 {
    let names = stat.lines().filter_map(|line| line.strip_prefix("cpu"));
    let numbered = names.filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    numbered.count() as u32
}

impl Procfs {
    /// The machine's CPU ticks.
    pub fn cpu_times(&self) -> Option<CpuTimes> {
        CpuTimes::parse(&self.text("stat")?)
    }

    /// How many CPUs the machine has, and their ticks.
    pub fn cpus(&self) -> Option<(u32, CpuTimes)> {
        let stat = self.text("stat")?;
        Some((count_cpus(&stat), CpuTimes::parse(&stat)?))
    }

    /// Memory of the machine and how much of it is available, in bytes.
    pub fn memory(&self) -> Option<(u64, u64)> {
        let memory = self.text("meminfo")?;
        let bytes = |key| Some(number(&memory, key)?.saturating_mul(1024));
        Some((bytes("MemTotal")?, bytes("MemAvailable")?))
    }

    /// Threads that run or want to, over the last minute.
    pub fn load_1m(&self) -> Option<f64> {
        let load = self.text("loadavg")?;
        load.split_ascii_whitespace().next()?.parse().ok()
    }

    /// Since the machine booted.
    pub fn uptime(&self) -> Option<Duration> {
        let uptime = self.text("uptime")?;
        let seconds = uptime.split_ascii_whitespace().next()?.parse().ok()?;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// When the process or thread of `stat` started, ns since the Unix epoch. From the
    /// uptime rather than the boot time, which has a resolution of a second.
    pub fn started_unix_ns(&self, stat: &Stat) -> Option<u64> {
        let started = Duration::from_nanos(stat.start_ticks.saturating_mul(TICK_NS));
        let age = self.uptime()?.saturating_sub(started);
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .ok()?;
        u64::try_from(now.checked_sub(age)?.as_nanos()).ok()
    }

    /// A number that the kernel is set to, for example `perf_event_paranoid` or
    /// `yama/ptrace_scope`; `None` where it has no such setting.
    pub fn setting(&self, name: &str) -> Option<i64> {
        let text = self.text(&format!("sys/kernel/{name}"))?;
        text.trim().parse().ok()
    }

    /// The machine's name.
    pub fn hostname(&self) -> Option<String> {
        Some(self.text("sys/kernel/hostname")?.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_counted_without_their_sum() {
        let stat = "cpu  10 0 10 70\ncpu0 1 2\ncpu1 1 2\ncpu12 1\nintr 5 cpu3\nctxt 7\n";
        assert_eq!(count_cpus(stat), 3);
    }

    #[test]
    fn the_share_of_busy_ticks() {
        let before = CpuTimes::parse("cpu  10 0 10 70 10 0 0 0 5 0\ncpu0 1\n").unwrap();
        let now = CpuTimes::parse("cpu  30 0 20 130 20 0 0 0 5 0\n").unwrap();
        assert!((now.busy_share_since(before) - 0.3).abs() < 1e-9);
        assert!(now.busy_share_since(now).abs() < 1e-9);
        for bad in ["", "cpu  1 2\n", "cpu x\n"] {
            assert_eq!(CpuTimes::parse(bad), None, "{bad:?}");
        }
    }
}
