//! Files of `/proc`: a process writes names into them, and a file system in user space may
//! stand for all of it.

use looptop_procfs as procfs;
use looptop_procfs::{CpuTimes, SchedStat, Stat, Status, SyscallState};

use crate::guard::guarded;

/// The input is the text of any of the files.
pub fn run(data: &[u8]) {
    guarded(|| {
        let mappings: Vec<_> = procfs::mappings(data).collect();
        looptop_unwind::modules(&mappings, &Nothing);
        let text = String::from_utf8_lossy(data);
        let text = &*text;
        let _ = (
            Stat::parse(text),
            SchedStat::parse(text),
            SyscallState::parse(text),
            CpuTimes::parse(text),
            procfs::throttled_ns(text),
            procfs::cpu_stat_paths(text),
            procfs::number(text, "VmRSS"),
        );
        procfs::tcp_listeners(text).count();
        procfs::unix_listeners(text).count();
        let status = Status::new(text.to_owned());
        for key in ["Name", "VmRSS", "Cpus_allowed_list", "", ":"] {
            let _ = (status.text(key), status.number(key), status.bytes(key));
        }
        let _ = (
            status.process(),
            status.effective_uid(),
            status.switches(),
            status.cpus(),
            Status::parse_switches(text),
        );
        root(data);
    });
}

struct Nothing;

impl looptop_unwind::Memory for Nothing {
    fn read(&self, _: u64, _: &mut [u8]) -> usize {
        0
    }
}

/// All that is asked of a process, where each of its files has this text.
fn root(data: &[u8]) {
    let Ok(folder) = tempfile::tempdir_in("/dev/shm") else {
        return;
    };
    let process = folder.path().join("7");
    let thread = process.join("task/7");
    let _ = std::fs::create_dir_all(&thread);
    let _ = std::fs::create_dir_all(process.join("net"));
    for name in [
        "stat", "status", "maps", "cmdline", "comm", "cgroup", "net/tcp", "net/unix",
    ] {
        let _ = std::fs::write(process.join(name), data);
    }
    for name in ["stat", "schedstat", "status", "syscall", "wchan", "comm"] {
        let _ = std::fs::write(thread.join(name), data);
    }
    let procfs = procfs::Procfs::at(folder.path());
    let process = procfs.process(7);
    let _ = (process.stat(), process.status(), process.mappings());
    let _ = (process.command(), process.arguments(), process.name());
    let _ = (
        process.throttled_ns(),
        process.listeners(),
        process.listening(),
    );
    let _ = (process.socket(7), process.file_name());
    let thread = process.thread(7);
    let _ = (thread.stat(), thread.schedstat(), thread.switches());
    let _ = (thread.syscall(), thread.wchan(), thread.name());
}
