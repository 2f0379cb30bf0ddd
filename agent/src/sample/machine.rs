//! The machine, from `/proc`.

use looptop_procfs::{CpuTimes, Procfs};
use looptop_wire::proto;

use crate::procfs;

/// Follows the machine.
#[derive(Debug)]
pub(super) struct Machine {
    procfs: Procfs,
    cpus_before: Option<CpuTimes>,
}

impl Machine {
    pub(super) fn new() -> Self {
        Self {
            procfs: Procfs::default(),
            cpus_before: None,
        }
    }

    /// Nothing: the process's own files say it all.
    #[allow(clippy::unused_self, reason = "elsewhere")]
    pub(super) fn add_process(&mut self, _process: &mut proto::Process) {}

    /// Its load and memory now; `None` at the first call: the share of CPU needs two.
    pub(super) fn host(&mut self) -> Option<proto::Host> {
        let (cpus, now) = self.procfs.cpus()?;
        let before = self.cpus_before.replace(now)?;
        let (total, available) = self.procfs.memory()?;
        Some(proto::Host {
            cpus,
            cpu_ratio: now.busy_share_since(before),
            total_memory_bytes: total,
            available_memory_bytes: available,
            load_1m: self.procfs.load_1m().unwrap_or_default(),
        })
    }
}

/// What the machine calls itself.
pub(crate) fn hostname() -> Option<String> {
    Procfs::default().hostname()
}

/// When this process started, ns since the Unix epoch.
pub(crate) fn started_unix_ns() -> Option<u64> {
    Procfs::default().started_unix_ns(&procfs::own().stat()?)
}
