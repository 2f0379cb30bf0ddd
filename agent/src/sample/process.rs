//! Process and host.

use std::path::Path;

use looptop_procfs::ProcFile;
use looptop_wire::proto;

use super::machine::Machine;
use super::{Usage, UsageFiles};
use crate::ids::Tid;
use crate::procfs;
use crate::thread_clock::{process_cpu_ns, thread_cpu_ns};

/// What is not exact at each call is read this often, ns: about 0.2 ms each time.
const PERIOD_NS: u64 = 1_000_000_000;

/// The `cpu.stat` of the outermost control group that is seen, of both versions.
const ROOT_GROUPS: [&str; 2] = ["/sys/fs/cgroup/cpu.stat", "/sys/fs/cgroup/cpu/cpu.stat"];

/// Follows the process and the host.
pub(crate) struct ProcessSampler {
    machine: Machine,
    next_ns: u64,
    /// Stays open: its path is long, and read at each call.
    cpu_stat: Option<ProcFile>,
    counted_threads: Option<u64>,
    process: proto::Process,
    host: Option<proto::Host>,
}

impl ProcessSampler {
    /// `started` is what the process used when the agent started.
    pub(crate) fn new(started: Usage) -> Self {
        let cgroup = procfs::own().text("cgroup").unwrap_or_default();
        let open = |path: String| {
            let file = ProcFile::open(Path::new(&path))?;
            throttled_ns(&file).is_some().then_some(file)
        };
        // In a container the path may be one of the host's; its own group is the root.
        let mut cpu_stats = looptop_procfs::cpu_stat_paths(&cgroup);
        cpu_stats.extend(ROOT_GROUPS.map(str::to_owned));
        Self {
            machine: Machine::new(),
            next_ns: 0,
            cpu_stat: cpu_stats.into_iter().find_map(open),
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
            self.next_ns = now_ns + PERIOD_NS;
            self.machine.add_process(&mut self.process);
            self.host = self.machine.host().or(self.host);
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
        if let Some(bytes) = usage.virtual_bytes {
            self.process.virtual_bytes = bytes;
        }
        self.process.heap_bytes = usage.heap;
        self.process.open_files = usage.open_files.or(self.process.open_files);
        self.process.open_file_limit = usage.open_file_limit;
    }
}

fn throttled_ns(cpu_stat: &ProcFile) -> Option<u64> {
    cpu_stat.parse(looptop_procfs::throttled_ns)
}
