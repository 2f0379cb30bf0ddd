//! One thread's files of procfs, which stay open.

use looptop_procfs::{Look, ProcFile, Process, SchedStat, SchedState, Stat, Status, SyscallState};

/// Files of one thread that are read at each look.
#[derive(Debug)]
pub(crate) struct ThreadFiles {
    tid: u64,
    schedstat: ProcFile,
    /// `None` where this user may not read it.
    syscall: Option<ProcFile>,
    /// Opened when it is first needed.
    stat: Option<ProcFile>,
}

impl ThreadFiles {
    /// `None` where the thread has ended.
    pub(crate) fn open(process: &Process, tid: u64) -> Option<Self> {
        let thread = process.thread(tid);
        Some(Self {
            tid,
            schedstat: thread.open("schedstat")?,
            syscall: thread.open("syscall"),
            stat: None,
        })
    }

    /// What the scheduler did with it; `None` once it has ended. 1 µs.
    pub(crate) fn sched(&self) -> Option<SchedStat> {
        self.schedstat.parse(SchedStat::parse)
    }

    /// Where it stands with respect to the kernel. 2 µs.
    pub(crate) fn syscall(&self) -> SyscallState {
        let file = self.syscall.as_ref();
        let state = file.and_then(|file| file.parse(SyscallState::parse));
        state.unwrap_or(SyscallState::Unknown)
    }

    /// A look at it, for which `syscall` was read already. 3 µs.
    pub(crate) fn look(&mut self, process: &Process, syscall: SyscallState) -> Look {
        let state = self.stat(process, SchedState::parse);
        Look { syscall, state }
    }

    /// Its `stat`, parsed.
    pub(crate) fn stat<T>(
        &mut self,
        process: &Process,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        if self.stat.is_none() {
            self.stat = process.thread(self.tid).open("stat");
        }
        self.stat.as_ref()?.parse(parse)
    }

    /// Its whole `stat`.
    pub(crate) fn whole_stat(&mut self, process: &Process) -> Option<Stat> {
        self.stat(process, Stat::parse)
    }

    /// Times that it gave up its CPU, and that its CPU was taken from it. 20 µs.
    pub(crate) fn switches(&self, process: &Process) -> Option<(u64, u64)> {
        let text = std::fs::read_to_string(process.thread(self.tid).path("status")).ok()?;
        Status::parse_switches(&text)
    }
}
