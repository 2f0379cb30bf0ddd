//! Processes as `/proc` shows them. It is read here anew, and not by looptop's own
//! readers, which are under test.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;
use rustix::process::{Pid, Signal};

/// A process id.
pub(crate) type ProcessId = u32;

/// Between two looks at something that is waited for.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One thread, as far as it may be left behind in a wrong state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Thread {
    pub(crate) tid: ProcessId,
    /// As `/proc` has it: R, S, T, ...
    pub(crate) state: char,
    /// Who traces it; 0 for nobody.
    pub(crate) tracer: ProcessId,
}

/// The threads of a process; none if it is gone.
pub(crate) fn threads(pid: ProcessId) -> Vec<Thread> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let thread = |path: &Path| {
        let status = fs::read_to_string(path.join("status")).ok()?;
        Some(Thread {
            tid: path.file_name()?.to_str()?.parse().ok()?,
            state: value(&status, "State:")?.chars().next()?,
            tracer: value(&status, "TracerPid:")?.parse().ok()?,
        })
    };
    let paths = tasks.flatten().map(|entry| entry.path());
    paths.filter_map(|path| thread(&path)).collect()
}

fn value<'a>(status: &'a str, key: &str) -> Option<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()
}

/// What each thread of a process does now, a line each: its name, its state, where the
/// kernel keeps it, and its system call. For whoever asks why it does not answer.
pub(crate) fn doings(pid: ProcessId) -> String {
    let doing = |thread: &Thread| {
        let file = |name: &str| {
            let path = format!("/proc/{pid}/task/{}/{name}", thread.tid);
            fs::read_to_string(path).unwrap_or_default()
        };
        let Thread { tid, state, tracer } = thread;
        format!(
            "{tid} {} {state} traced by {tracer}, in {}, call {}",
            file("comm").trim(),
            file("wchan"),
            file("syscall").trim()
        )
    };
    let lines: Vec<String> = threads(pid).iter().map(doing).collect();
    lines.join("\n")
}

/// Whether it runs; what has ended and was not waited for does not.
pub(crate) fn runs(pid: ProcessId) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
    !state.is_some_and(|state| state.starts_with(['Z', 'X']))
}

/// Whether all of it is stopped by a signal.
pub(crate) fn is_stopped(pid: ProcessId) -> bool {
    let threads = threads(pid);
    !threads.is_empty() && threads.iter().all(|thread| thread.state == 'T')
}

/// Open descriptors; `None` if it is gone.
pub(crate) fn descriptors(pid: ProcessId) -> Option<u64> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    Some(entries.flatten().count() as u64)
}

/// What its open descriptors are, by kind, the most frequent first.
pub(crate) fn descriptor_kinds(pid: ProcessId) -> String {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return String::new();
    };
    let mut kinds: Vec<(String, usize)> = Vec::new();
    for entry in entries.flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        let target = target.to_string_lossy();
        let kind = target.split(':').next().unwrap_or_default().to_owned();
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, n)) => *n += 1,
            None => kinds.push((kind, 1)),
        }
    }
    kinds.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let kinds = kinds.iter().take(5).map(|(kind, n)| format!("{n} {kind}"));
    kinds.collect::<Vec<_>>().join(", ")
}

/// Memory that it has for itself, in bytes; `None` if it is gone.
pub(crate) fn memory(pid: ProcessId) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kib: u64 = value(&status, "RssAnon:")?.parse().ok()?;
    Some(kib << 10)
}

/// Address space, in bytes; `None` if it is gone.
pub(crate) fn address_space(pid: ProcessId) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kib: u64 = value(&status, "VmSize:")?.parse().ok()?;
    Some(kib << 10)
}

/// Its hard limit of descriptors.
pub(crate) fn most_descriptors(pid: ProcessId) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Processes whose environment says that a run has started them, with their command
/// lines.
pub(crate) fn marked(mark: &str) -> Vec<(ProcessId, String)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let process = |name: &str| {
        let pid: ProcessId = name.parse().ok()?;
        let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let is_marked = environment
            .split(|byte| *byte == 0)
            .any(|entry| entry == mark.as_bytes());
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        // By its name: where it is differs from machine to machine.
        let (program, arguments) = command.split_once(' ').unwrap_or((&command, ""));
        let program = program.rsplit('/').next().unwrap_or(program);
        (is_marked && runs(pid)).then(|| (pid, format!("{program} {arguments}").trim().to_owned()))
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    names.filter_map(|name| process(name.to_str()?)).collect()
}

/// Those that a process has started and that run.
pub(crate) fn children(pid: ProcessId) -> Vec<ProcessId> {
    let lists = threads(pid).into_iter().filter_map(|thread| {
        fs::read_to_string(format!("/proc/{pid}/task/{}/children", thread.tid)).ok()
    });
    let pids = lists.flat_map(|list| {
        let pids = list.split_whitespace().filter_map(|word| word.parse().ok());
        pids.collect::<Vec<ProcessId>>()
    });
    pids.filter(|pid| runs(*pid)).collect()
}

/// Sends a signal.
///
/// # Errors
///
/// It is gone.
pub(crate) fn signal(pid: ProcessId, signal: Signal) -> anyhow::Result<()> {
    let raw = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = raw.with_context(|| format!("{pid} is no process id"))?;
    rustix::process::kill_process(pid, signal).context("no signal could be sent: it is gone")
}

/// Waits until something is so; whether it was within `patience`.
pub(crate) fn until(patience: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// CPU time in clock ticks: of everybody, of some processes and this one, and the time of
/// all CPUs, busy or not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cpu {
    busy: u64,
    own: u64,
    all: u64,
}

impl Cpu {
    /// Until now, with `pids` as one's own.
    pub(crate) fn now(pids: &[ProcessId]) -> Option<Self> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let fields = stat.lines().next()?.split_whitespace().skip(1).take(8);
        let ticks: Vec<u64> = fields.map(str::parse).collect::<Result<_, _>>().ok()?;
        let all = ticks.iter().sum();
        let idle = ticks.get(3)? + ticks.get(4)?;
        let own: u64 = pids.iter().map(|pid| used(&pid.to_string())).sum();
        Some(Self {
            busy: all - idle,
            own: own + used("self"),
            all,
        })
    }

    /// The share of all CPUs that went to others since `before`.
    pub(crate) fn others_since(self, before: Self) -> f64 {
        let own = self.own.saturating_sub(before.own);
        let others = self.busy.saturating_sub(before.busy).saturating_sub(own);
        others as f64 / self.all.saturating_sub(before.all).max(1) as f64
    }
}

/// CPU time of a process and of its children that have ended.
fn used(process: &str) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let times = fields.split_whitespace().skip(11).take(4);
    times.filter_map(|n| n.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_stopped_process_is_seen_and_so_is_its_end() {
        let mut child = Command::new("sleep")
            .arg("60")
            .env("LOOPTOP_FIRE", "test of processes")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let pid = child.id();
        let patience = Duration::from_secs(20);
        let mark = "LOOPTOP_FIRE=test of processes";
        assert!(until(patience, || marked(mark).len() == 1));
        assert_eq!(marked(mark), [(pid, "sleep 60".to_owned())]);
        assert!(!is_stopped(pid) && runs(pid));
        signal(pid, Signal::STOP).unwrap();
        assert!(until(patience, || is_stopped(pid)));
        assert_eq!(threads(pid).first().map(|thread| thread.tracer), Some(0));
        assert!(descriptors(pid) >= Some(3) && memory(pid).is_some());
        assert!(most_descriptors(pid) > Some(0));
        assert!(doings(pid).contains(" sleep T traced by 0"));
        signal(pid, Signal::KILL).unwrap();
        assert!(
            until(patience, || !runs(pid)),
            "an ended child does not run"
        );
        child.wait().unwrap();
        assert_eq!((descriptors(pid), memory(pid)), (None, None));
        assert_eq!(marked(mark), []);
    }
}
