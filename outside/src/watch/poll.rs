//! A poll in progress.

use std::time::{Duration, Instant};

use looptop_procfs::cause::{Cause, Look, Observed, Tally};
use looptop_procfs::syscalls::{self, Kind};
use looptop_procfs::{Object, Process, SchedStat, Socket, SyscallState};

use super::stall::{Call, Life, RunningTask, Scope, StackSample, Stall, count};
use crate::sampler::WordWatch;

/// Before that much time the clock of a thread that computes says nothing: it goes by the
/// scheduler's tick, which is 1 to 10 ms.
const CLOCKS_COUNT: Duration = Duration::from_millis(40);
/// After that much time one that was on a CPU has been there at a tick.
const TICKED: Duration = Duration::from_millis(20);
/// Calls that are counted.
const MAX_CALLS: usize = 16;

/// A poll in progress, as far as it was seen.
#[derive(Debug)]
pub(crate) struct Poll {
    pub(crate) since: Instant,
    /// When it was last proven to be the same.
    pub(crate) seen: Instant,
    pub(crate) scope: Scope,
    /// Where the return address out of it is, and whether that is of a task's poll, or
    /// of what the future of `block_on` has called.
    pub(crate) slot: Option<u64>,
    pub(crate) is_task: bool,
    /// Sees the end of that frame.
    watch: Option<WordWatch>,
    /// Time on a CPU before the watch began, and all of it as of the newest proof by it:
    /// exact, while the clocks of a thread that computes go by the scheduler's tick.
    before_watch_ns: u64,
    on_cpu_ns: Option<u64>,
    /// The scheduler's counters in it.
    pub(crate) counters: Option<Vec<u32>>,
    /// A stack from the time since then has shown it.
    pub(crate) confirmed: bool,
    /// Words of its part of the stack, until somebody was asked for its task.
    pub(crate) words: Vec<u64>,
    pub(crate) task: Option<RunningTask>,
    pub(crate) asked: u32,
    began: SchedStat,
    now: SchedStat,
    tally: Tally,
    calls: Vec<SeenCall>,
    samples: Vec<StackSample>,
    /// The sample of a blocked thread, which counts for each look that finds it the same.
    standing: Option<usize>,
    samples_dropped: u64,
    pub(crate) stall: Option<u64>,
    told: bool,
}

/// A call in which the thread was in a poll.
#[derive(Debug)]
struct SeenCall {
    call: Call,
    /// Looks that found it there.
    looks: u32,
    object: Asked,
}

/// What a call works on.
#[derive(Debug)]
enum Asked {
    /// Nobody has looked yet.
    No,
    Yes(Option<Object>),
}

impl Poll {
    pub(crate) fn new(since: Instant, sched: SchedStat) -> Self {
        Self {
            since,
            seen: since,
            scope: Scope::OnePoll,
            slot: None,
            is_task: true,
            watch: None,
            before_watch_ns: 0,
            on_cpu_ns: None,
            counters: None,
            confirmed: false,
            words: Vec::new(),
            task: None,
            asked: 0,
            began: sched,
            now: sched,
            tally: Tally::default(),
            calls: Vec::new(),
            samples: Vec::new(),
            standing: None,
            samples_dropped: 0,
            stall: None,
            told: false,
        }
    }

    /// It was the same until now.
    pub(crate) fn proven(&mut self, now: Instant, sched: SchedStat) {
        self.seen = self.seen.max(now);
        self.now = sched;
    }

    /// It is over. A wait for a CPU is on the kernel's books only now.
    pub(crate) fn ends(&mut self, sched: SchedStat) {
        self.now.run_queue_ns = self.now.run_queue_ns.max(sched.run_queue_ns);
    }

    pub(crate) fn age(&self) -> Duration {
        self.seen.saturating_duration_since(self.since)
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.watch.is_some()
    }

    /// From now on its end is seen. The thread had so much time on a CPU until now.
    pub(crate) fn watch(&mut self, watch: WordWatch, sched: SchedStat) {
        self.before_watch_ns = sched.cpu_ns.saturating_sub(self.began.cpu_ns);
        self.watch = Some(watch);
    }

    /// What proves it from now on is something else.
    pub(crate) fn forget_watch(&mut self) {
        self.watch = None;
    }

    /// The thread's clocks are exact: it was just taken off its CPU.
    pub(crate) fn clocks_are_exact(&mut self, sched: SchedStat) {
        self.on_cpu_ns = Some(sched.cpu_ns.saturating_sub(self.began.cpu_ns));
    }

    /// Whether the watch says that its frame was not left; `None` where there is none.
    pub(crate) fn is_untouched(&mut self) -> Option<bool> {
        let untouched = self.watch.as_mut()?.untouched();
        if let Some(on_cpu) = untouched {
            let ns = u64::try_from(on_cpu.as_nanos()).unwrap_or(u64::MAX);
            self.on_cpu_ns = Some(self.before_watch_ns.saturating_add(ns));
        }
        Some(untouched.is_some())
    }

    pub(crate) fn count_look(&mut self, look: Look) {
        look.count(&mut self.tally);
        if let SyscallState::In { number, args, .. } = look.syscall {
            let call = Call { number, args };
            if let Some(seen) = self.calls.iter_mut().find(|seen| seen.call == call) {
                seen.looks += 1;
            } else if self.calls.len() < MAX_CALLS {
                self.calls.push(SeenCall {
                    call,
                    looks: 1,
                    object: match syscalls::kind(number, &args) {
                        Kind::Lock => Asked::Yes(Some(Object::Lock(args[0]))),
                        Kind::Sleep | Kind::Other => Asked::No,
                    },
                });
            }
        }
    }

    /// Looks what the call works on in which thread `tid` is, once for each.
    pub(crate) fn seek_object(
        &mut self,
        state: SyscallState,
        process: &Process,
        tid: u64,
        socket: impl FnOnce(i32, u64) -> Option<Socket>,
    ) {
        let SyscallState::In { number, args, .. } = state else {
            return;
        };
        let call = Call { number, args };
        let mut calls = self.calls.iter_mut();
        let unknown = |seen: &&mut SeenCall| seen.call == call && matches!(seen.object, Asked::No);
        if let Some(seen) = calls.find(unknown) {
            let object = Object::of(process, number, &args, socket);
            // As long as it is in the call, the descriptor is what it was.
            if process.thread(tid).syscall() == state {
                seen.object = Asked::Yes(object);
            }
        }
    }

    pub(crate) fn add(&mut self, sample: StackSample) {
        self.standing = None;
        let frames = sample.frames.clone();
        if count(&mut self.samples, sample) {
            self.standing = self.samples.iter().position(|s| s.frames == frames);
        } else {
            self.samples_dropped += 1;
        }
    }

    /// The thread stands as it stood.
    pub(crate) fn add_again(&mut self) {
        if let Some(sample) = self.standing.and_then(|at| self.samples.get_mut(at)) {
            sample.count = sample.count.saturating_add(1);
        }
    }

    /// The thread does not stand as it stood.
    pub(crate) fn moves(&mut self) {
        self.standing = None;
    }

    fn observed(&self) -> Observed {
        let ns = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        let of = |now: u64, began: u64| Some(now.saturating_sub(began));
        let mut run_queue_ns = of(self.now.run_queue_ns, self.began.run_queue_ns);
        let wall_ns = ns(self.age());
        let waited = run_queue_ns.is_some_and(|waited| waited * 2 > wall_ns);
        let mut cpu_ns = of(self.now.cpu_ns, self.began.cpu_ns);
        let none = cpu_ns == Some(0) && self.age() >= TICKED;
        let counts = self.age() >= CLOCKS_COUNT || waited || none;
        if let Some(exact_ns) = self.on_cpu_ns {
            let on_cpu_ns = exact_ns.max(cpu_ns.unwrap_or_default());
            cpu_ns = Some(on_cpu_ns);
            if self.tally.is_never_blocked() {
                // A wait for a CPU that goes on is not on the kernel's books yet.
                let rest_ns = wall_ns.saturating_sub(on_cpu_ns);
                run_queue_ns = run_queue_ns.max(Some(rest_ns));
            }
        } else if !counts {
            cpu_ns = None;
        }
        Observed {
            wall_ns,
            cpu_ns,
            run_queue_ns,
            suspended_ns: 0,
            tally: self.tally,
        }
    }

    /// As it is reported.
    pub(crate) fn report(&mut self, id: u64, tid: u64, over: bool, no_stack: &str) -> Stall {
        let observed = self.observed();
        let cause = observed.cause();
        let of_cause = |seen: &&SeenCall| {
            let state = SyscallState::In {
                number: seen.call.number,
                args: seen.call.args,
                sp: 0,
                pc: 0,
            };
            Cause::of(&state) == cause
        };
        let call = self.calls.iter().filter(of_cause);
        let call = call.max_by_key(|seen| seen.looks);
        let life = match (over, std::mem::replace(&mut self.told, true)) {
            (true, _) => Life::Ended,
            (false, false) => Life::Began,
            (false, true) => Life::GoesOn,
        };
        Stall {
            id,
            life,
            tid,
            task: self.task,
            started: self.since,
            duration: self.age(),
            scope: self.scope,
            cause,
            cpu: observed.cpu_ns.map(Duration::from_nanos),
            run_queue: observed.run_queue_ns.map(Duration::from_nanos),
            call: call.map(|seen| seen.call),
            object: call.and_then(|seen| match &seen.object {
                Asked::Yes(object) => object.clone(),
                Asked::No => None,
            }),
            samples: self.samples.clone(),
            samples_dropped: self.samples_dropped,
            no_stack: self.samples.is_empty().then(|| no_stack.to_owned()),
        }
    }
}
