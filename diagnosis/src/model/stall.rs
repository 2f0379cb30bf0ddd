//! Stalls: polls that ran longer than the agent's threshold.

mod log;
#[cfg(feature = "names")]
mod named;
mod resolved;

pub use log::StallLog;
pub use resolved::{Culprit, Resolved, StackFrame, brief_path, with_place};

use std::{sync::Arc, time::Duration};

use looptop_symbols::Call;
use looptop_wire::proto::{self, StackSample};

use super::{
    Cause, Holder, LocationId, Moment, RuntimeId, StallId, StallScope, TaskId, TextId, Tid,
    WorkerId,
};

/// One stall, in progress or ended.
#[derive(Debug, Clone)]
pub struct Stall {
    /// Unique within the session.
    pub id: StallId,
    /// Still in progress.
    pub live: bool,
    /// One poll, or possibly several.
    pub scope: StallScope,
    /// The worker; `None` for a thread that is none, as in `block_on`.
    pub worker: Option<WorkerId>,
    /// The thread.
    pub tid: Option<Tid>,
    /// The task in poll.
    pub task: Option<TaskId>,
    /// Its name.
    pub name: Option<TextId>,
    /// Where it was spawned.
    pub location: Option<LocationId>,
    /// When the poll began.
    pub started: Moment,
    /// As reported last: so far, or in the end.
    pub duration: Duration,
    /// Why it takes so long.
    pub cause: Cause,
    /// CPU time within the observed part.
    pub cpu: Option<Duration>,
    /// Time without a CPU although ready, within the observed part.
    pub run_queue: Option<Duration>,
    /// The part for which there is evidence.
    pub observed: Option<Duration>,
    /// The system call in which the thread was found most often.
    pub syscall: Option<TextId>,
    /// What the call works on.
    pub object: Option<TextId>,
    /// The thread that evidently holds the lock.
    pub lock_holder: Option<Tid>,
    /// What is known of that thread.
    pub holder: Option<Arc<Holder>>,
    /// The lock.
    pub lock_address: Option<u64>,
    /// Stacks, as addresses.
    pub stacks: Arc<[StackSample]>,
    /// Why there is no stack.
    pub no_stack_reason: Option<TextId>,
    /// The newest stack with names, once they were looked up.
    pub resolved: Option<Arc<Resolved>>,
    /// The names came with a recording: what this machine's files say does not
    /// count.
    pub(super) recorded_names: bool,
}

impl Stall {
    /// How long it lasts at `now`, or lasted.
    pub fn age(&self, now: Moment) -> Duration {
        if self.live {
            now.since(self.started).max(self.duration)
        } else {
            self.duration
        }
    }

    /// When it ended, or `now`.
    pub fn end(&self, now: Moment) -> Moment {
        self.started.plus(self.age(now))
    }

    /// Its length without the time in which the host gave the thread no CPU:
    /// what the code itself is to blame for.
    pub fn own_age(&self, now: Moment) -> Duration {
        self.age(now)
            .saturating_sub(self.run_queue.unwrap_or_default())
    }

    /// The culprit, once the stack has names. None where the stack contradicts
    /// the cause: the thread had just woken when it was taken, and was elsewhere.
    pub fn culprit(&self) -> Option<&Culprit> {
        self.stack()?.culprit.as_ref()
    }

    /// The call in which it waits, whether or not the stack names a culprit. One
    /// that only waits is none for a poll that computes.
    pub fn call(&self) -> Option<&Call> {
        let call = self.stack()?.call()?;
        (self.cause != Cause::Computing || !call.kind.only_waits()).then_some(call)
    }

    /// The function of the task's future, where a stack names it.
    pub fn future(&self) -> Option<&str> {
        self.resolved.as_ref()?.future.as_deref()
    }

    /// The stack with names, unless it contradicts the cause.
    fn stack(&self) -> Option<&Resolved> {
        let stack = self.resolved.as_deref()?;
        let shown = self.telling_stack();
        let another = shown.is_some_and(|s| self.agreement(s) == Agreement::Contradicts);
        let contradicts = match self.cause {
            _ if another => true,
            Cause::Sleeping => stack.runs() || stack.does_io(),
            Cause::Lock => stack.runs(),
            _ => false,
        };
        (!contradicts).then_some(stack)
    }

    /// The stack that shows the stall best: one that was taken while the thread did
    /// what the cause says, before others; of those the one that was seen most
    /// often; of equals the newest.
    pub fn telling_stack(&self) -> Option<&StackSample> {
        let weight = |s: &&StackSample| (self.agreement(s), s.count, s.last_at_ns);
        self.stacks.iter().max_by_key(weight)
    }

    /// Whether a stack was taken while the thread did what the cause says.
    fn agreement(&self, stack: &StackSample) -> Agreement {
        let is_another_call = || {
            let (call, in_stack) = (self.syscall.map_or(0, |text| text.0), stack.syscall);
            self.cause == Cause::SystemCall && call != 0 && in_stack != 0 && call != in_stack
        };
        match (self.cause, stack.cause()) {
            // One poll that computes for most of the time has been seen in a call.
            (Cause::Computing, _)
                if matches!(self.scope, StallScope::OnePoll | StallScope::OneTurn) =>
            {
                if stack.cause() == Cause::Computing {
                    Agreement::Agrees
                } else {
                    Agreement::Unknown
                }
            }
            (Cause::Unknown | Cause::StarvedByHost | Cause::Stopped, _) | (_, Cause::Unknown) => {
                Agreement::Unknown
            }
            (cause, seen) if cause != seen || is_another_call() => Agreement::Contradicts,
            _ => Agreement::Agrees,
        }
    }

    /// The poll has given its worker away (`block_in_place`) and may block: it keeps
    /// nobody waiting.
    pub fn is_in_place(&self) -> bool {
        self.resolved
            .as_ref()
            .is_some_and(|stack| stack.is_in_place())
    }

    /// It overlaps the time from `from` to `now`.
    pub fn overlaps(&self, from: Moment, now: Moment) -> bool {
        self.live || self.end(now) >= from
    }

    pub(super) fn new(stall: &proto::Stall, earlier: Option<&Stall>) -> Self {
        let text = |id: u32| (id != 0).then_some(TextId(id));
        let ns = |n: Option<u64>| n.map(Duration::from_nanos);
        let stacks: Arc<[StackSample]> = match earlier {
            Some(earlier) if *earlier.stacks == *stall.stacks => Arc::clone(&earlier.stacks),
            _ => stall.stacks.iter().take(MAX_SAMPLES).map(bounded).collect(),
        };
        Self {
            id: StallId(stall.id),
            live: stall.state() == proto::StallState::Live,
            scope: stall.scope(),
            worker: stall
                .runtime
                .zip(stall.worker)
                .map(|(runtime, index)| WorkerId {
                    runtime: RuntimeId(runtime),
                    index,
                }),
            tid: stall.tid.map(Tid),
            task: stall.task.map(TaskId),
            name: text(stall.name),
            location: (stall.location != 0).then_some(LocationId(stall.location)),
            started: Moment(stall.started_at_ns),
            duration: Duration::from_nanos(stall.duration_ns),
            cause: stall.cause(),
            cpu: ns(stall.cpu_ns),
            run_queue: ns(stall.run_queue_ns),
            observed: ns(stall.observed_ns),
            syscall: text(stall.syscall),
            object: text(stall.object),
            lock_holder: stall
                .lock_holder_tid
                .or(stall.holder.as_ref().map(|h| h.tid))
                // A task that is suspended is on no thread.
                .filter(|tid| *tid != 0)
                .map(Tid),
            holder: stall
                .holder
                .as_ref()
                .map(|h| Holder::new(h, earlier.and_then(|e| e.holder.as_deref())))
                .map(Arc::new),
            lock_address: stall.lock_address,
            resolved: earlier.and_then(|e| e.resolved.clone()),
            recorded_names: earlier.is_some_and(|e| e.recorded_names),
            stacks,
            no_stack_reason: text(stall.no_stack_reason),
        }
    }
}

/// How a stack fits the cause of its stall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Agreement {
    Contradicts,
    /// Nothing says what the thread did then, or the cause says nothing of it.
    Unknown,
    Agrees,
}

/// Stacks of one stall, and frames of one stack, that are held whatever a peer
/// sends; an agent sends fewer.
const MAX_SAMPLES: usize = 16;
const MAX_FRAMES: usize = 512;

pub(super) fn bounded(sample: &StackSample) -> StackSample {
    let mut sample = sample.clone();
    sample.truncated |= sample.frames.len() > MAX_FRAMES;
    sample.frames.truncate(MAX_FRAMES);
    sample.frames.shrink_to_fit();
    sample
}

#[cfg(test)]
mod tests;
