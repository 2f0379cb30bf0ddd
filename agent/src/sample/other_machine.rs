//! Machine and process where there is no `/proc`, by sysinfo.

use looptop_wire::proto;
use sysinfo::{
    CpuRefreshKind, MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, RefreshKind,
    System,
};

/// Follows both.
pub(super) struct Machine {
    system: Option<System>,
    /// The share of CPU needs two readings.
    was_read: bool,
}

impl Machine {
    pub(super) fn new() -> Self {
        let refresh = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing().with_usage())
            .with_memory(MemoryRefreshKind::nothing().with_ram());
        Self {
            system: System::new_with_specifics(refresh).ok(),
            was_read: false,
        }
    }

    /// Memory, descriptors and CPU time of this process.
    pub(super) fn add_process(&mut self, record: &mut proto::Process) {
        let Some(system) = &mut self.system else {
            return;
        };
        let pid = Pid::from_u32(std::process::id());
        let kind = ProcessRefreshKind::nothing()
            .with_cpu()
            .with_memory()
            .without_tasks();
        let only = ProcessesToUpdate::Some(&[pid]);
        system.refresh_processes_specifics(only, false, kind);
        if let Some(process) = system.process(pid) {
            record.resident_bytes = process.memory();
            record.virtual_bytes = process.virtual_memory();
            record.open_files = process.open_files().map(|n| n as u64);
            record.cpu_ns = process.accumulated_cpu_time() * 1_000_000;
        }
    }

    /// The machine's load and memory now; `None` at the first call.
    pub(super) fn host(&mut self) -> Option<proto::Host> {
        let system = self.system.as_mut()?;
        system.refresh_cpu_usage();
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        if !std::mem::replace(&mut self.was_read, true) {
            return None;
        }
        Some(proto::Host {
            cpus: system.cpus().len() as u32,
            cpu_ratio: f64::from(system.global_cpu_usage()) / 100.0,
            total_memory_bytes: system.total_memory(),
            available_memory_bytes: system.available_memory(),
            load_1m: System::load_average().map_or(0.0, |load| load.one),
        })
    }
}

/// What the machine calls itself.
pub(crate) fn hostname() -> Option<String> {
    System::host_name().ok()
}

/// When this process started, ns since the Unix epoch, to the second.
pub(crate) fn started_unix_ns() -> Option<u64> {
    let pid = Pid::from_u32(std::process::id());
    let mut system = System::new_with_specifics(RefreshKind::nothing()).ok()?;
    let kind = ProcessRefreshKind::nothing().without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, kind);
    let started = system.process(pid)?.start_time();
    (started > 0).then(|| started * 1_000_000_000)
}
