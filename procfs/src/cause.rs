//! The cause of a stall, decided from what was observed of it.

use crate::syscalls::{Kind, kind};
use crate::{SchedState, SyscallState};

/// A poll that has computed this long is too long on an idle host as well.
const ENOUGH_CPU_NS: u64 = 50_000_000;

/// Why a poll does not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nothing says why.
    Unknown,
    /// On a CPU.
    Computing,
    /// Blocked in a system call that is neither a lock nor a sleep, or in the
    /// kernel's uninterruptible state.
    SystemCall,
    /// It waits for time to pass.
    Sleeping,
    /// Blocked by a futex.
    Lock,
    /// Ready to run, but without a CPU.
    StarvedByHost,
    /// Stopped by a signal or a debugger.
    Stopped,
    /// Waiting for a page of memory: blocked, but in no call.
    Page,
}

impl Cause {
    /// What a thread that is found in `state` would be stalled by.
    pub fn of(state: &SyscallState) -> Self {
        match state {
            SyscallState::Running => Self::Computing,
            SyscallState::In { number, args, .. } => match kind(*number, args) {
                Kind::Sleep => Self::Sleeping,
                Kind::Lock => Self::Lock,
                Kind::Other => Self::SystemCall,
            },
            SyscallState::Outside { .. } => Self::Page,
            SyscallState::Unknown => Self::Unknown,
        }
    }
}

/// How often the thread was found in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// On a CPU, or ready for one.
    pub running: u32,
    /// In a call that waits for time to pass.
    pub sleeping: u32,
    /// In one that waits for a lock or a condition.
    pub lock: u32,
    /// In any other.
    pub other_call: u32,
    /// Blocked in no call, hence by a page fault.
    pub page: u32,
    /// Blocked, but not to be seen in what.
    pub unseen: u32,
    /// By a signal or a debugger.
    pub stopped: u32,
}

impl Tally {
    /// It was found in a call.
    pub fn add_call(&mut self, kind: Kind) {
        match kind {
            Kind::Sleep => self.sleeping += 1,
            Kind::Lock => self.lock += 1,
            Kind::Other => self.other_call += 1,
        }
    }

    /// Looks in all.
    pub fn total(&self) -> u32 {
        self.running + self.blocked() + self.stopped
    }

    /// Each look found it on a CPU, or ready for one.
    pub fn is_never_blocked(&self) -> bool {
        self.running > 0 && self.running == self.total()
    }

    fn blocked(&self) -> u32 {
        self.sleeping + self.lock + self.other_call + self.page + self.unseen
    }
}

/// All that was observed of one stall so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Length of the observed part, ns. It begins one or two looks after
    /// the poll did.
    pub wall_ns: u64,
    /// Of it on a CPU.
    pub cpu_ns: Option<u64>,
    /// Of it waiting for a CPU.
    pub run_queue_ns: Option<u64>,
    /// Of it, the whole process was suspended.
    pub suspended_ns: u64,
    /// What the looks found.
    pub tally: Tally,
}

impl Observed {
    /// The cause: what took most of the observed time.
    ///
    /// 1. Suspended, or stopped at most looks: `Stopped`.
    /// 2. Neither on a CPU nor waiting for one for at least half of the time:
    ///    blocked, by the kind of call in which most looks found it; or, where
    ///    they found it ready to run, waiting for a CPU still.
    /// 3. Otherwise it wanted a CPU. `StarvedByHost` where it got less than a
    ///    fifth of what it wanted and less than 50 ms of it, else `Computing`: a computation that shares
    ///    its CPU with a few others is still to blame itself.
    /// 4. Without clocks the looks alone decide, by majority.
    pub fn cause(&self) -> Cause {
        let tally = &self.tally;
        if self.suspended_ns * 2 > self.wall_ns || tally.stopped * 2 > tally.total() {
            return Cause::Stopped;
        }
        let Some(cpu_ns) = self.cpu_ns.filter(|_| self.wall_ns > 0) else {
            return self.cause_by_looks();
        };
        let run_queue_ns = self.run_queue_ns.unwrap_or_default();
        let wanted_ns = cpu_ns + run_queue_ns;
        let active_wall_ns = self.wall_ns.saturating_sub(self.suspended_ns);
        if wanted_ns * 2 < active_wall_ns {
            // The kernel adds a wait for a CPU to the books only when it is
            // over: a thread that is ready at most looks but gets nowhere is
            // still waiting.
            return if tally.running > tally.blocked() {
                Cause::StarvedByHost
            } else {
                self.blocked_in()
            };
        }
        if cpu_ns * 5 < wanted_ns && cpu_ns < ENOUGH_CPU_NS {
            Cause::StarvedByHost
        } else {
            Cause::Computing
        }
    }

    fn cause_by_looks(&self) -> Cause {
        let tally = &self.tally;
        if tally.total() == 0 {
            Cause::Unknown
        } else if tally.running * 2 > tally.total() {
            Cause::Computing
        } else {
            self.blocked_in()
        }
    }

    fn blocked_in(&self) -> Cause {
        let tally = &self.tally;
        [
            (tally.sleeping, Cause::Sleeping),
            (tally.lock, Cause::Lock),
            (tally.other_call, Cause::SystemCall),
            (tally.page, Cause::Page),
            (tally.unseen, Cause::Unknown),
        ]
        .into_iter()
        .max_by_key(|(looks, _)| *looks)
        .filter(|(looks, _)| *looks > 0)
        .map_or(Cause::Unknown, |(_, cause)| cause)
    }

    /// Time that the thread spent itself, on a CPU or blocked, not waiting for
    /// a CPU. Waits that last are not on the kernel's books yet, so the looks
    /// say how much of the rest was blocked.
    pub fn own_ns(&self) -> u64 {
        let cpu_ns = self.cpu_ns.unwrap_or_default().min(self.wall_ns);
        let looks = u64::from(self.tally.total().max(1));
        let rest_ns = (self.wall_ns - cpu_ns).saturating_sub(self.suspended_ns);
        cpu_ns + rest_ns / looks * u64::from(self.tally.blocked())
    }

    /// It was found blocked at every look, and hardly ever on a CPU.
    pub fn is_idle(&self) -> bool {
        self.tally.running == 0
            && self.tally.blocked() > 0
            && self.cpu_ns.is_some_and(|cpu| cpu * 10 < self.wall_ns)
            && self
                .run_queue_ns
                .is_some_and(|wait| wait * 10 < self.wall_ns)
    }
}

/// What one look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Where it stands with respect to the kernel.
    pub syscall: SyscallState,
    /// What the kernel says that it does.
    pub state: Option<SchedState>,
}

impl Look {
    /// Counts this look.
    pub fn count(&self, tally: &mut Tally) {
        match (self.state, self.syscall) {
            (Some(SchedState::Stopped), _) => tally.stopped += 1,
            (_, SyscallState::In { number, args, .. }) => {
                tally.add_call(kind(number, &args));
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

    const NOTHING: Tally = Tally {
        running: 0,
        sleeping: 0,
        lock: 0,
        other_call: 0,
        page: 0,
        unseen: 0,
        stopped: 0,
    };

    fn observed(wall: u64, cpu: u64, run_queue: u64, tally: Tally) -> Observed {
        Observed {
            wall_ns: wall * 1_000_000,
            cpu_ns: Some(cpu * 1_000_000),
            run_queue_ns: Some(run_queue * 1_000_000),
            suspended_ns: 0,
            tally,
        }
    }

    #[test]
    #[allow(clippy::too_many_lines, reason = "a table")]
    fn decision_table() {
        let running = |n| Tally {
            running: n,
            ..NOTHING
        };
        let sleeping = |n| Tally {
            sleeping: n,
            ..NOTHING
        };
        let lock = |n| Tally { lock: n, ..NOTHING };
        let call = |n| Tally {
            other_call: n,
            ..NOTHING
        };
        let cases = [
            ("a loop", observed(10, 10, 0, running(2)), Cause::Computing),
            (
                "a loop beside another",
                observed(10, 5, 5, running(2)),
                Cause::Computing,
            ),
            (
                "a loop beside three others",
                observed(20, 5, 15, running(4)),
                Cause::Computing,
            ),
            (
                "hardly a CPU",
                observed(20, 1, 18, running(4)),
                Cause::StarvedByHost,
            ),
            (
                "hardly a CPU, but too long by itself",
                observed(900, 60, 800, running(99)),
                Cause::Computing,
            ),
            ("a sleep", observed(10, 0, 0, sleeping(2)), Cause::Sleeping),
            ("a mutex", observed(10, 0, 0, lock(2)), Cause::Lock),
            ("a read", observed(10, 0, 0, call(2)), Cause::SystemCall),
            (
                "a page of a slow disk",
                observed(80, 0, 0, Tally { page: 5, ..NOTHING }),
                Cause::Page,
            ),
            (
                "mostly reads, some locks",
                observed(50, 5, 0, Tally { lock: 2, ..call(8) }),
                Cause::SystemCall,
            ),
            (
                "computes, then sleeps longer",
                observed(
                    100,
                    20,
                    0,
                    Tally {
                        running: 4,
                        ..sleeping(16)
                    },
                ),
                Cause::Sleeping,
            ),
            (
                "sleeps, then computes longer",
                observed(
                    100,
                    80,
                    0,
                    Tally {
                        running: 16,
                        ..sleeping(4)
                    },
                ),
                Cause::Computing,
            ),
            (
                "writes that keep the kernel busy",
                observed(
                    100,
                    70,
                    0,
                    Tally {
                        running: 10,
                        ..call(10)
                    },
                ),
                Cause::Computing,
            ),
            (
                "stopped by a debugger",
                observed(
                    100,
                    0,
                    0,
                    Tally {
                        stopped: 9,
                        ..running(1)
                    },
                ),
                Cause::Stopped,
            ),
            (
                "the laptop slept",
                Observed {
                    suspended_ns: 90_000_000,
                    ..observed(100, 1, 0, running(2))
                },
                Cause::Stopped,
            ),
            (
                "blocked in what nobody may see",
                observed(
                    100,
                    0,
                    0,
                    Tally {
                        unseen: 5,
                        ..NOTHING
                    },
                ),
                Cause::Unknown,
            ),
            (
                "ready all the time, but got no CPU yet",
                observed(100, 1, 0, running(5)),
                Cause::StarvedByHost,
            ),
            ("nothing observed", Observed::default(), Cause::Unknown),
            (
                "no clocks, found running",
                Observed {
                    tally: running(3),
                    ..Observed::default()
                },
                Cause::Computing,
            ),
            (
                "no clocks, found asleep",
                Observed {
                    tally: Tally {
                        running: 1,
                        ..sleeping(3)
                    },
                    ..Observed::default()
                },
                Cause::Sleeping,
            ),
        ];
        for (name, observed, expected) in cases {
            assert_eq!(observed.cause(), expected, "{name}");
        }
    }

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
