//! The stacks of a case: when they are taken, and whether they are its own.

use std::sync::Mutex;

use looptop_procfs::SyscallState;

use super::{Case, Cases, MS, Sight, StackAnswer, Witness};
use crate::ids::{StallId, Tid};
use crate::stall::{StallLog, TakenStack};
use crate::sync::lock;

/// Ages at which the stack is taken, ms; afterwards every 30 s.
pub(super) const CAPTURE_AGES_MS: [u64; 4] = [20, 100, 1_000, 5_000];
const CAPTURE_EVERY_NS: u64 = 30_000_000_000;
/// How often one stack is asked for, from look to look, until it is lost. One
/// for which a signal is on its way is asked for until it comes.
const CAPTURE_ATTEMPTS: u32 = 4;
/// What may be up to 61 polls is not reported before it has spent 50 ms on a CPU,
/// and may be over when that is known: its stack is taken when it has spent this.
const EARLY_CPU_NS: u64 = 20_000_000;
/// How long an answer is awaited after the end of the stall.
pub(super) const LATE_NS: u64 = 2_000_000_000;

/// A thread whose stack is this much shallower than any of the agent's tasks on
/// it is not inside `block_on`.
const STACK_SLACK: u64 = 1_024;

const OF_ANOTHER_POLL: &str = "the poll was over before its stack was taken";

/// A stack that is on its way to a stall that has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Late {
    pub(super) stall: StallId,
    pub(super) tid: Tid,
    pub(super) since_ns: u64,
    pub(super) last_seen_ns: u64,
    pub(super) sequence: Option<u64>,
    pub(super) until_ns: u64,
}

impl Late {
    /// Whether it was taken within the stall.
    fn is_of(&self, stack: &TakenStack) -> bool {
        match (self.sequence, stack.sequence) {
            (Some(poll), Some(taken_in)) => poll == taken_in,
            _ => (self.since_ns..=self.last_seen_ns).contains(&stack.taken_ns),
        }
    }
}

impl Cases {
    /// Gives stalls that have ended the stacks that were on their way. The thread
    /// takes the signal before it runs on, so they come with the end.
    pub(crate) fn collect_late(
        &mut self,
        now_ns: u64,
        log: &Mutex<StallLog>,
        witness: &mut impl Witness,
    ) {
        let lost = &mut self.captures_lost;
        self.late.retain(|late| match witness.late(late.tid) {
            Some(stack) if late.is_of(&stack) => {
                lock(log).amend(late.stall, |stall| stall.add_stack(stack));
                false
            }
            Some(_) => {
                *lost += 1;
                false
            }
            None => {
                let given_up = now_ns >= late.until_ns;
                *lost += u64::from(given_up);
                !given_up
            }
        });
    }
}

impl Case {
    /// What may soon be over, and long enough only then.
    pub(super) fn take_early_stack(
        &mut self,
        now_ns: u64,
        sight: &Sight,
        witness: &mut impl Witness,
    ) {
        let cpu_ns = self
            .observation
            .as_ref()
            .and_then(|o| o.observed().cpu_ns)
            .unwrap_or_default();
        if self.poll.is_none()
            && cpu_ns >= EARLY_CPU_NS
            && let Some(StackAnswer::Stack(stack)) = self.capture(now_ns, sight, witness)
        {
            self.early.push(stack);
        }
    }

    pub(super) fn capture(
        &mut self,
        now_ns: u64,
        sight: &Sight,
        witness: &mut impl Witness,
    ) -> Option<StackAnswer> {
        let tid = self.tid?;
        if now_ns < self.next_capture_ns {
            return None;
        }
        let mut answer = witness.stack(tid);
        if matches!(&answer, StackAnswer::Stack(stack) if self.is_earlier(stack)) {
            // The answer to a signal of long ago.
            self.captures_lost += 1;
            answer = witness.stack(tid);
        }
        if let StackAnswer::Stack(stack) = &answer
            && (self.is_earlier(stack) || !witness.is_still(sight))
        {
            answer = StackAnswer::NotYet(OF_ANOTHER_POLL.into());
        }
        self.due = matches!(answer, StackAnswer::Due(_));
        self.attempts += 1;
        let again = match &answer {
            StackAnswer::Later | StackAnswer::Due(_) => true,
            StackAnswer::NotYet(_) => self.attempts < CAPTURE_ATTEMPTS,
            StackAnswer::Stack(_) | StackAnswer::Never(_) | StackAnswer::Failed(_) => false,
        };
        if !again {
            let lost = matches!(answer, StackAnswer::NotYet(_) | StackAnswer::Failed(_));
            self.captures_lost += u64::from(lost);
            self.attempts = 0;
            self.captures += 1;
            // An age that has passed while nobody asked is not made up for.
            let later = CAPTURE_AGES_MS.iter().map(|ms| self.since_ns + ms * MS);
            self.next_capture_ns = later
                .skip(self.captures)
                .find(|at| *at > now_ns)
                .unwrap_or(now_ns + CAPTURE_EVERY_NS);
        }
        Some(answer)
    }

    /// Taken before the poll began.
    fn is_earlier(&self, stack: &TakenStack) -> bool {
        match (self.poll, stack.sequence) {
            (Some(poll), Some(sequence)) => poll.sequence != sequence,
            _ => stack.taken_ns < self.since_ns,
        }
    }

    /// Its thread is blocked higher up on its stack than `block_on`.
    pub(super) fn is_outside(&self, stack_limit: Option<u64>) -> bool {
        let depth = self.stack_pointer().zip(stack_limit);
        self.poll.is_none() && depth.is_some_and(|(sp, limit)| sp > limit + STACK_SLACK)
    }

    /// Its thread is certainly inside `block_on`.
    pub(super) fn is_inside(&self, stack_limit: Option<u64>) -> bool {
        let depth = self.stack_pointer().zip(stack_limit);
        self.poll.is_some() || depth.is_some_and(|(sp, limit)| sp <= limit + STACK_SLACK)
    }

    /// Where the thread's stack ended when it was last found blocked.
    fn stack_pointer(&self) -> Option<u64> {
        match self.observation.as_ref()?.last_syscall() {
            SyscallState::In { sp, .. } | SyscallState::Outside { sp, .. } => Some(sp),
            SyscallState::Running | SyscallState::Unknown => None,
        }
    }
}
