//! How much of this machine is busy with something else than a test.

#![allow(unreachable_pub, reason = "each test program has its own copy")]

/// Above this share of the CPUs for others, this machine does other work while it
/// runs the tests, and what is found may be the machine's.
pub const BUSY: f64 = 0.3;

/// CPU time in clock ticks: of everybody, of a program and of this test with the
/// programs that it has waited for, and the time of all CPUs, busy or not.
#[derive(Clone, Copy)]
pub struct Cpu {
    busy: u64,
    own: u64,
    all: u64,
}

impl Cpu {
    /// Until now; `pid` is the program under test.
    pub fn now(pid: u32) -> Self {
        let stat = std::fs::read_to_string("/proc/stat").unwrap();
        let line = stat.lines().next().unwrap();
        let ticks: Vec<u64> = line
            .split_whitespace()
            .skip(1)
            .take(8)
            .map(|n| n.parse().unwrap())
            .collect();
        let all = ticks.iter().sum();
        let [idle, waiting_for_disk] = [ticks[3], ticks[4]];
        Self {
            busy: all - idle - waiting_for_disk,
            own: used(&pid.to_string()) + used("self"),
            all,
        }
    }

    /// The share of all CPUs that went to others since `before`.
    pub fn others_since(self, before: Self) -> f64 {
        let own = self.own.saturating_sub(before.own);
        let others = (self.busy - before.busy).saturating_sub(own);
        others as f64 / (self.all - before.all).max(1) as f64
    }
}

/// CPU time of a process and of its children that have ended.
fn used(process: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let times = fields.split_whitespace().skip(11).take(4);
    times.filter_map(|n| n.parse::<u64>().ok()).sum()
}
