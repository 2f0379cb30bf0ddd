//! Process and host, by sysinfo, and what sysinfo does not know.

use std::fs;

use looptop_wire::proto;
use sysinfo::{
    CpuRefreshKind, MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, RefreshKind,
    System,
};

use super::{Usage, UsageFiles};
use crate::ids::Tid;
use crate::procfs;
use crate::thread_clock::{process_cpu_ns, thread_cpu_ns};

/// sysinfo is asked this often, ns: about 0.5 ms each time.
const PERIOD_NS: u64 = 1_000_000_000;

/// The `cpu.stat` of the outermost control group that is seen, of both versions.
const ROOT_GROUPS: [&str; 2] = ["/sys/fs/cgroup/cpu.stat", "/sys/fs/cgroup/cpu/cpu.stat"];

/// Follows the process and the host.
pub(crate) struct ProcessSampler {
    system: Option<System>,
    next_ns: u64,
    cpu_stat: Option<String>,
    counted_threads: Option<u64>,
    process: proto::Process,
    host: Option<proto::Host>,
}

impl ProcessSampler {
    /// `started` is what the process used when the agent started.
    pub(crate) fn new(started: Usage) -> Self {
        let refresh = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing().with_usage())
            .with_memory(MemoryRefreshKind::nothing().with_ram());
        let cgroup = procfs::own().text("cgroup").unwrap_or_default();
        let has_throttling = |path: &String| throttled_ns(path).is_some();
        // In a container the path may be one of the host's; its own group is the root.
        let mut cpu_stats = looptop_procfs::cpu_stat_paths(&cgroup);
        cpu_stats.extend(ROOT_GROUPS.map(str::to_owned));
        Self {
            system: System::new_with_specifics(refresh).ok(),
            next_ns: 0,
            cpu_stat: cpu_stats.into_iter().find(has_throttling),
            counted_threads: None,
            process: proto::Process {
                started_resident_bytes: started.resident,
                started_heap_bytes: started.heap,
                started_open_files: started.open_files,
                ..proto::Process::default()
            },
            host: None,
        }
    }

    /// Process and host; CPU is exact at each call, the rest at most 1 s old.
    pub(crate) fn sample(
        &mut self,
        now_ns: u64,
        agent: &[Tid],
        threads: u64,
        usage: &UsageFiles,
    ) -> (proto::Process, Option<proto::Host>) {
        if now_ns >= self.next_ns {
            let first = self.next_ns == 0;
            self.next_ns = now_ns + PERIOD_NS;
            self.refresh(first);
            self.add_usage(usage.read());
        }
        if let Some(cpu_ns) = process_cpu_ns() {
            self.process.cpu_ns = cpu_ns;
        }
        // Where no descriptor is left to list them with, they are counted.
        self.process.thread_count = match threads {
            0 => self.counted_threads.unwrap_or_default(),
            listed => listed,
        };
        self.process.agent_cpu_ns = agent.iter().filter_map(|tid| thread_cpu_ns(*tid)).sum();
        self.process.throttled_ns = self.cpu_stat.as_ref().and_then(throttled_ns);
        (self.process, self.host)
    }

    fn add_usage(&mut self, usage: Usage) {
        self.counted_threads = usage.threads;
        if let Some(resident) = usage.resident {
            self.process.resident_bytes = resident;
        }
        self.process.heap_bytes = usage.heap;
        self.process.open_files = usage.open_files.or(self.process.open_files);
        self.process.open_file_limit = usage.open_file_limit;
    }

    fn refresh(&mut self, first: bool) {
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
            self.process.resident_bytes = process.memory();
            self.process.virtual_bytes = process.virtual_memory();
            self.process.open_files = process.open_files().map(|n| n as u64);
            self.process.cpu_ns = process.accumulated_cpu_time() * 1_000_000;
        }
        system.refresh_cpu_usage();
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        if first {
            // The share of CPU needs two readings.
            return;
        }
        self.host = Some(proto::Host {
            cpus: system.cpus().len() as u32,
            cpu_ratio: f64::from(system.global_cpu_usage()) / 100.0,
            total_memory_bytes: system.total_memory(),
            available_memory_bytes: system.available_memory(),
            load_1m: System::load_average().map_or(0.0, |load| load.one),
        });
    }
}

fn throttled_ns(path: &String) -> Option<u64> {
    looptop_procfs::throttled_ns(&fs::read_to_string(path).ok()?)
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
