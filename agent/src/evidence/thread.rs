//! Reading the evidence for one thread, through files that stay open.

use looptop_procfs::{ProcFile, SchedStat, SchedState, SyscallState};

use super::cause::Tally;
use super::syscalls::{self, Kind};
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

/// What one look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) syscall: SyscallState,
    pub(crate) state: Option<SchedState>,
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

impl Look {
    /// Counts this look.
    pub(crate) fn count(&self, tally: &mut Tally) {
        match (self.state, self.syscall) {
            (Some(SchedState::Stopped), _) => tally.stopped += 1,
            (_, SyscallState::In { number, args, .. }) => {
                tally.add_call(syscalls::kind(number, &args));
            }
            // Where only one file says so, the files were read between two states.
            (_, SyscallState::Running) | (Some(SchedState::Running), _) => tally.running += 1,
            // Blocked, but in no call: it has touched a page that is not there. A
            // disk keeps the thread uninterruptible, a handler of page faults
            // (`userfaultfd`) asleep.
            (_, SyscallState::Outside { .. }) => tally.page += 1,
            (Some(SchedState::Disk), _) => tally.add_call(Kind::Other),
            (Some(SchedState::Sleeping), _) => tally.unseen += 1,
            (Some(SchedState::Dead | SchedState::Other) | None, SyscallState::Unknown) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{Cause, Observed};

    #[test]
    fn a_wait_for_a_page_is_no_call_and_not_unseen() {
        let outside = SyscallState::Outside { sp: 16, pc: 32 };
        let cases = [
            (SchedState::Sleeping, outside, Cause::Page),
            (SchedState::Disk, outside, Cause::Page),
            (SchedState::Disk, SyscallState::Unknown, Cause::SystemCall),
            (SchedState::Sleeping, SyscallState::Unknown, Cause::Unknown),
            (SchedState::Running, outside, Cause::Computing),
            (SchedState::Running, SyscallState::Running, Cause::Computing),
            (SchedState::Stopped, outside, Cause::Stopped),
        ];
        for (state, syscall, cause) in cases {
            let mut observed = Observed::default();
            let state = Some(state);
            Look { syscall, state }.count(&mut observed.tally);
            assert_eq!(observed.cause(), cause, "{state:?} {syscall:?}");
        }
    }
}
