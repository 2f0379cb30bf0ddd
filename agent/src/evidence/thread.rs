//! Reading the evidence for one thread, through files that stay open.

use looptop_procfs::{Look, ProcFile, SchedStat, SchedState, SyscallState};

use crate::ids::Tid;
use crate::procfs;
use crate::thread_clock::thread_cpu_ns;

/// A thread's clocks at one instant, the start of what is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Baseline {
    pub(crate) at_ns: u64,
    pub(crate) cpu_ns: Option<u64>,
    pub(crate) sched: Option<SchedStat>,
}

/// Open files of one thread under `/proc/self/task`, opened when first needed.
#[derive(Debug)]
pub(crate) struct ThreadEvidence {
    tid: Tid,
    schedstat: Option<ProcFile>,
    syscall: Option<ProcFile>,
    stat: Option<ProcFile>,
}

impl ThreadEvidence {
    /// Opens what can be opened; costs about 20 µs, once for each thread.
    pub(crate) fn open(tid: Tid) -> Self {
        Self {
            tid,
            schedstat: procfs::open(tid, "schedstat"),
            syscall: procfs::open(tid, "syscall"),
            stat: procfs::open(tid, "stat"),
        }
    }

    /// The thread's clocks now; about 1 µs.
    pub(crate) fn clocks(&self, now_ns: u64) -> Baseline {
        Baseline {
            at_ns: now_ns,
            cpu_ns: thread_cpu_ns(self.tid),
            sched: self
                .schedstat
                .as_ref()
                .and_then(|f| f.parse(SchedStat::parse)),
        }
    }

    /// What the thread is doing now; about 4 µs.
    pub(crate) fn look(&self) -> Look {
        let syscall = self
            .syscall
            .as_ref()
            .and_then(|f| f.parse(SyscallState::parse));
        let state = self.stat.as_ref().and_then(|f| f.parse(SchedState::parse));
        Look {
            syscall: syscall.unwrap_or(SyscallState::Unknown),
            state,
        }
    }
}
