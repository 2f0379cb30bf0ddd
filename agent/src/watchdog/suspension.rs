//! Distinguishes a suspended process from a busy host when the watchdog runs late.

use looptop_procfs::{ProcFile, SchedStat};

use crate::procfs;
use crate::thread_clock::current_tid;

/// Being less late than this is never a suspension.
const LEAST_GAP_NS: u64 = 100_000_000;

/// The watchdog's own run-queue wait.
#[derive(Debug)]
pub(crate) struct Suspension {
    schedstat: Option<ProcFile>,
    waited_ns: u64,
    least_gap_ns: u64,
}

impl Suspension {
    /// For the calling thread.
    pub(crate) fn new(interval_ns: u64) -> Self {
        let schedstat = current_tid().and_then(|tid| procfs::open(tid, "schedstat"));
        Self {
            waited_ns: waited_ns(schedstat.as_ref()).unwrap_or_default(),
            schedstat,
            least_gap_ns: LEAST_GAP_NS.max(4 * interval_ns),
        }
    }

    /// How long the process stood still before this tick, which came `late_ns`
    /// too late: what the thread's wait for a CPU does not explain.
    pub(crate) fn look(&mut self, late_ns: u64) -> Option<u64> {
        if late_ns < self.least_gap_ns {
            // Reading the wait at each tick would cost more than it is worth; an
            // older value only makes a busy host look more so.
            return None;
        }
        let now_ns = waited_ns(self.schedstat.as_ref()).unwrap_or(self.waited_ns);
        let waited_ns = now_ns.saturating_sub(self.waited_ns);
        self.waited_ns = now_ns;
        Some(late_ns.saturating_sub(waited_ns)).filter(|gap| *gap >= self.least_gap_ns)
    }
}

fn waited_ns(schedstat: Option<&ProcFile>) -> Option<u64> {
    Some(schedstat?.parse(SchedStat::parse)?.run_queue_ns)
}
