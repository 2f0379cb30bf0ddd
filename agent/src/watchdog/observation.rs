//! What accumulates while a suspected or live stall is observed.

use std::borrow::Cow;

use looptop_procfs::SyscallState;

use crate::evidence::{self, Baseline, Cause, Look, Object, Observed, Tally};

/// Different calls that are counted in one stall.
const MAX_CALLS: usize = 8;

/// A system call on one thing, and how many looks found the thread in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    number: u64,
    args: [u64; 6],
    looks: u32,
}

impl Call {
    /// Whether both are the same call on the same thing, which the first
    /// argument names: a file's descriptor, a lock's address.
    fn is(&self, number: u64, args: &[u64; 6]) -> bool {
        self.number == number && self.args[0] == args[0]
    }

    /// Whether a thread in `state` is in this call.
    pub(crate) fn is_in(&self, state: &SyscallState) -> bool {
        matches!(state, SyscallState::In { number, args, .. } if self.is(*number, args))
    }

    fn cause(&self) -> Cause {
        match evidence::kind(self.number, &self.args) {
            evidence::Kind::Sleep => Cause::Sleeping,
            evidence::Kind::Lock => Cause::Lock,
            evidence::Kind::Other => Cause::SystemCall,
        }
    }

    pub(crate) fn name(&self) -> Cow<'static, str> {
        evidence::name(self.number)
    }

    /// What the call works on; some microseconds.
    pub(crate) fn object(&self) -> Option<Object> {
        evidence::object(self.number, &self.args)
    }
}

impl PartialEq for Call {
    fn eq(&self, other: &Self) -> bool {
        self.is(other.number, &other.args)
    }
}

/// The evidence so far.
#[derive(Clone, Debug)]
pub(crate) struct Observation {
    baseline: Baseline,
    last: Baseline,
    tally: Tally,
    calls: Vec<Call>,
    suspended_ns: u64,
    last_syscall: SyscallState,
}

impl Observation {
    pub(crate) fn new(baseline: Baseline) -> Self {
        Self {
            baseline,
            last: baseline,
            tally: Tally::default(),
            calls: Vec::new(),
            suspended_ns: 0,
            last_syscall: SyscallState::Unknown,
        }
    }

    /// Adds the clocks of a later instant.
    pub(crate) fn clocks(&mut self, now: Baseline) {
        // A thread that has ended has no clocks: keep the last word.
        if now.cpu_ns.is_some() || self.last.cpu_ns.is_none() {
            self.last = now;
        }
    }

    /// Adds one look at what the thread does.
    pub(crate) fn look(&mut self, look: Look) {
        look.count(&mut self.tally);
        self.last_syscall = look.syscall;
        let SyscallState::In { number, args, .. } = look.syscall else {
            return;
        };
        if let Some(call) = self.calls.iter_mut().find(|c| c.is(number, &args)) {
            call.looks += 1;
        } else if self.calls.len() < MAX_CALLS {
            self.calls.push(Call {
                number,
                args,
                looks: 1,
            });
        }
    }

    /// The whole process stood still for `gap_ns`.
    pub(crate) fn suspended(&mut self, gap_ns: u64) {
        self.suspended_ns += gap_ns;
    }

    /// The sum of it.
    pub(crate) fn observed(&self) -> Observed {
        let delta = |now: Option<u64>, then: Option<u64>| Some(now?.saturating_sub(then?));
        let wait = |b: &Baseline| b.sched.map(|s| s.run_queue_ns);
        Observed {
            wall_ns: self.last.at_ns.saturating_sub(self.baseline.at_ns),
            cpu_ns: delta(self.last.cpu_ns, self.baseline.cpu_ns),
            run_queue_ns: delta(wait(&self.last), wait(&self.baseline)),
            suspended_ns: self.suspended_ns,
            tally: self.tally,
        }
    }

    /// It sat in one place for the whole observed time: no CPU to speak of, and
    /// hardly a switch to it. Then it is one poll, whatever the counters allow.
    pub(crate) fn is_one_block(&self) -> bool {
        let slices = |b: &Baseline| b.sched.map(|s| s.slices);
        let (Some(now), Some(then)) = (slices(&self.last), slices(&self.baseline)) else {
            return false;
        };
        let observed = self.observed();
        // A spurious wake now and then (a signal, a time slice) is allowed.
        let allowed = 1 + observed.wall_ns / 20_000_000;
        observed.is_idle() && now.saturating_sub(then) <= allowed
    }

    /// How often the thread was given a CPU meanwhile, where the kernel counts.
    #[cfg(feature = "test")]
    pub(crate) fn turns(&self) -> Option<u64> {
        let (now, then) = (self.last.sched?, self.baseline.sched?);
        Some(now.slices.saturating_sub(then.slices))
    }

    /// What the last look found the thread in.
    pub(crate) fn last_syscall(&self) -> SyscallState {
        self.last_syscall
    }

    /// The call in which most looks found it, of those that such a cause is about.
    pub(crate) fn call(&self, cause: Cause) -> Option<Call> {
        let about = self.calls.iter().filter(|call| call.cause() == cause);
        about.max_by_key(|call| call.looks).copied()
    }

    /// The last look found it in this call.
    pub(crate) fn is_in(&self, call: &Call) -> bool {
        call.is_in(&self.last_syscall)
    }
}
