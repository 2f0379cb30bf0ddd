//! What procfs knows of a process and its machine, as an agent would report it.

use looptop_procfs::{Process, Procfs, SchedState, Stat, TICK_NS};
use looptop_wire::proto::{self, HelloResponse, Host, ThreadState};

use super::NamedThread;

/// All threads of a process; `None` where it has ended.
pub(super) fn threads(process: &Process) -> Option<Vec<NamedThread>> {
    let mut tids: Vec<u64> = process.tids().ok()?.collect();
    tids.sort_unstable();
    let threads: Vec<_> = tids
        .into_iter()
        .filter_map(|tid| thread(process, tid))
        .collect();
    (!threads.is_empty()).then_some(threads)
}

fn thread(process: &Process, tid: u64) -> Option<NamedThread> {
    let of = process.thread(tid);
    let stat = of.stat()?;
    let switches = of.switches();
    let schedule = of.schedstat();
    let (user_ns, system_ns) = split_cpu(&stat, schedule.map(|schedule| schedule.cpu_ns));
    let thread = proto::Thread {
        tid,
        state: thread_state(stat.state).into(),
        user_ns,
        system_ns,
        run_queue_ns: schedule.map(|schedule| schedule.run_queue_ns),
        voluntary_switches: switches.map(|(voluntary, _)| voluntary),
        involuntary_switches: switches.map(|(_, involuntary)| involuntary),
        ..proto::Thread::default()
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

fn thread_state(state: SchedState) -> ThreadState {
    match state {
        SchedState::Running => ThreadState::Running,
        SchedState::Sleeping => ThreadState::Sleeping,
        SchedState::Disk => ThreadState::Disk,
        SchedState::Stopped => ThreadState::Stopped,
        SchedState::Dead | SchedState::Other => ThreadState::Other,
    }
}

/// CPU, memory and files of a process; thread counts are for the caller.
pub(super) fn process(process: &Process) -> proto::Process {
    let status = process.status().unwrap_or_default();
    let stat = process.stat();
    let ticks = stat.map_or(0, |s| s.user_ticks.saturating_add(s.system_ticks));
    proto::Process {
        cpu_ns: ticks.saturating_mul(TICK_NS),
        resident_bytes: status.bytes("VmRSS").unwrap_or_default(),
        virtual_bytes: status.bytes("VmSize").unwrap_or_default(),
        open_files: process.open_files(),
        throttled_ns: process.throttled_ns(),
        open_file_limit: process
            .text("limits")
            .ok()
            .and_then(|text| file_limit(&text)),
        heap_bytes: status.bytes("RssAnon"),
        ..proto::Process::default()
    }
}

/// The soft limit of open files in the text of `limits`; `None` where there is none.
fn file_limit(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// CPUs, memory and load of the machine.
pub(super) fn host(procfs: &Procfs) -> Host {
    let (total, available) = procfs.memory().unwrap_or_default();
    Host {
        cpus: cpus_of(&procfs.own()).unwrap_or(1),
        total_memory_bytes: total,
        available_memory_bytes: available,
        load_1m: procfs.load_1m().unwrap_or_default(),
        ..Host::default()
    }
}

/// Fills in what an agent would report of its process.
pub(super) fn describe(procfs: &Procfs, pid: u32, hello: &mut HelloResponse) {
    let process = procfs.process(pid);
    let exe = process.exe();
    // Without the mark of one that was replaced.
    let program = process.program();
    let file_name = program.as_ref().and_then(|program| program.file_name());
    let stat = process.stat();
    hello.pid = pid;
    hello.name = match (file_name, &stat) {
        (Some(name), _) => name.to_string_lossy().into_owned(),
        (None, Some(stat)) => stat.name.clone(),
        (None, None) => String::new(),
    };
    hello.exe = exe.map_or_else(String::new, |exe| exe.to_string_lossy().into_owned());
    hello.hostname = procfs.hostname().unwrap_or_default();
    hello.os = std::env::consts::OS.into();
    hello.arch = std::env::consts::ARCH.into();
    hello.cpus = cpus_of(&process).unwrap_or(0);
    hello.process_started_unix_ns = stat.and_then(|stat| procfs.started_unix_ns(&stat));
}

/// CPUs on which a process may run.
fn cpus_of(process: &Process) -> Option<u32> {
    process.status()?.cpus()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_is_the_soft_one() {
        let limits = "Limit  Soft Limit  Hard Limit  Units\n\
                      Max open files            1024                 524288               files\n";
        assert_eq!(file_limit(limits), Some(1_024));
        assert_eq!(file_limit("Max open files unlimited unlimited files"), None);
        assert_eq!(file_limit(""), None);
    }

    #[test]
    fn the_exact_sum_is_split_by_ticks() {
        let stat = Stat {
            name: "a".into(),
            state: SchedState::Sleeping,
            user_ticks: 700,
            system_ticks: 300,
            start_ticks: 12_345,
            stack_start: None,
        };
        assert_eq!(
            split_cpu(&stat, Some(10_000_000_123)),
            (7_000_000_123, 3_000_000_000)
        );
        assert_eq!(split_cpu(&stat, Some(5)), (0, 5));
        assert_eq!(split_cpu(&stat, None), (7_000_000_000, 3_000_000_000));
    }
}
