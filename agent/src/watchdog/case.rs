//! A suspicion that becomes a stall: what the watchdog sees of one worker or
//! thread from look to look, until the poll ends.
//!
//! Time and evidence are arguments, so tests drive it with scripted looks.

mod report;
mod stack;

use std::collections::HashMap;
use std::sync::Mutex;

use looptop_wire::proto::TaskKind;

use self::stack::{CAPTURE_AGES_MS, LATE_NS, Late};
use super::observation::{Call, Observation};
use super::worker::Counters;
use crate::evidence::{Baseline, Look};
use crate::ids::{StallId, Tid};
use crate::stall::{Stall, StallLog, StallScope, Subject, TakenStack, TaskInfo};
use crate::sync::lock;
use crate::task::site::SiteId;
use crate::traces::Question;

/// Without slots, up to 61 polls look like one. A stall is then reported only
/// where the thread sat in one place, or spent this many thresholds of its own
/// time (computing or blocked, not waiting for a CPU), ...
const OWN_TIME_FACTOR: u64 = 5;
/// ... or after this many thresholds whatever it does: a busy host stretches 61
/// polls of 0.1 ms to nearly that.
const ANY_TIME_FACTOR: u64 = 20;

const MS: u64 = 1_000_000;

/// A poll that is older at the first look is observed from then on.
const OBSERVED_NS: u64 = MS;

/// Between two looks, so that many polls of which each is soon due do not keep
/// the watchdog busy.
const LEAST_REST_NS: u64 = 2 * MS;

/// The poll that a slot shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Poll {
    pub(crate) sequence: u64,
    pub(crate) started_ns: u64,
    pub(crate) task: Option<u64>,
    pub(crate) site: Option<SiteId>,
}

/// What one look saw of a subject that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    pub(crate) subject: Subject,
    pub(crate) tid: Option<Tid>,
    /// Since when its counters stand still, or its poll runs.
    pub(crate) since_ns: u64,
    pub(crate) poll: Option<Poll>,
    /// The worker's counters, which stand still.
    pub(crate) counters: Option<Counters>,
    /// Addresses above this one on the thread's stack lie outside `block_on`.
    pub(crate) stack_limit: Option<u64>,
    /// The runtime is driven in pieces: only a stack inside `block_on` counts.
    pub(crate) prove_inside: bool,
}

/// An answer to the question for a stack.
pub(crate) enum StackAnswer {
    Stack(TakenStack),
    /// Too many were asked for; ask again.
    Later,
    /// It is on its way: ask again.
    Due(String),
    /// Ask again, a few times.
    NotYet(String),
    /// There is none, whenever it is asked for.
    Never(String),
    /// Not this time.
    Failed(String),
}

/// Where evidence comes from.
pub(crate) trait Witness {
    fn clocks(&mut self, tid: Tid, now_ns: u64) -> Baseline;
    fn look(&mut self, tid: Tid) -> Look;
    fn describe(&mut self, task: u64) -> Option<TaskInfo>;
    fn stack(&mut self, tid: Tid) -> StackAnswer;
    /// A stack that was due, if it has come.
    fn late(&mut self, tid: Tid) -> Option<TakenStack>;
    /// Whether the thread still runs what `sight` shows: the same poll; or a
    /// worker whose counters have not moved.
    fn is_still(&mut self, sight: &Sight) -> bool;
}

/// What a look led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Too short, or no stall.
    Suspected,
    Stalled,
    /// Nobody drives the runtime: its thread does something else.
    Undriven,
}

/// The suspicions of all subjects.
#[derive(Debug, Default)]
pub(crate) struct Cases {
    threshold_ns: u64,
    interval_ns: u64,
    open: HashMap<Subject, Case>,
    /// Stacks that were on their way when their stalls ended.
    late: Vec<Late>,
    captures_lost: u64,
}

#[derive(Debug)]
struct Case {
    tid: Option<Tid>,
    since_ns: u64,
    poll: Option<Poll>,
    /// At the first look.
    seen_ns: u64,
    last_seen_ns: u64,
    observation: Option<Observation>,
    next_look_ns: u64,
    captures: usize,
    next_capture_ns: u64,
    /// Attempts at the stack that is due.
    attempts: u32,
    captures_lost: u64,
    /// A signal is on its way.
    due: bool,
    /// Stacks that were taken in addition.
    more: u32,
    /// Stacks that were taken before it was reported.
    early: Vec<TakenStack>,
    /// Asked once, when it is about to be reported.
    asked: bool,
    description: Option<TaskInfo>,
    stall: Option<StallId>,
    /// The call whose object the stall names.
    object_of: Option<Call>,
    /// To which trace the poll belongs.
    trace: Question,
}

impl Cases {
    pub(crate) fn new(threshold_ns: u64, interval_ns: u64) -> Self {
        Self {
            threshold_ns,
            interval_ns,
            open: HashMap::new(),
            late: Vec::new(),
            captures_lost: 0,
        }
    }

    /// The subject runs.
    pub(crate) fn see(
        &mut self,
        now_ns: u64,
        sight: &Sight,
        log: &Mutex<StallLog>,
        witness: &mut impl Witness,
    ) -> Outcome {
        let subject = sight.subject;
        let same = match self.open.get_mut(&subject) {
            Some(case) => case.continues_as(sight, self.interval_ns),
            None => false,
        };
        if !same {
            self.clear(sight.poll.map_or(now_ns, |p| p.started_ns), subject, log);
            self.open.insert(subject, Case::new(now_ns, sight));
        }
        let Some(case) = self.open.get_mut(&subject) else {
            return Outcome::Suspected;
        };
        case.last_seen_ns = now_ns;
        if same {
            case.trace.ask(case.tid);
        }
        // Most polls are over long before the next look. What may be many polls is
        // judged by its CPU time, which counts from the first look.
        let worth_ns = match case.poll {
            Some(_) => OBSERVED_NS,
            None => 0,
        };
        if same || now_ns.saturating_sub(case.since_ns) >= worth_ns {
            case.observe(now_ns, sight, witness);
        }
        if case.is_outside(sight.stack_limit) {
            self.clear(now_ns, subject, log);
            return Outcome::Undriven;
        }
        let proven = !sight.prove_inside || case.is_inside(sight.stack_limit);
        if case.stall.is_none() && proven && case.is_reportable(now_ns, self.threshold_ns, witness)
        {
            case.stall = Some(lock(log).begin(case.stall(subject)));
        }
        if let Some(id) = case.stall {
            case.report(id, now_ns, sight, log, witness);
            Outcome::Stalled
        } else {
            case.take_early_stack(now_ns, sight, witness);
            Outcome::Suspected
        }
    }

    /// The subject does not run, or runs something else since `ended_ns`.
    pub(crate) fn clear(&mut self, ended_ns: u64, subject: Subject, log: &Mutex<StallLog>) {
        if let Some(case) = self.open.remove(&subject) {
            self.end(ended_ns, case, None, log);
        }
    }

    /// The worker has published `busy_ns` of busy time for what it ran until now:
    /// the exact length, and the last word on whether it was a stall.
    pub(crate) fn published(
        &mut self,
        now_ns: u64,
        subject: Subject,
        busy_ns: u64,
        log: &Mutex<StallLog>,
        witness: &mut impl Witness,
    ) {
        let Some(mut case) = self.open.remove(&subject) else {
            return;
        };
        case.last_clocks(now_ns, witness);
        let rest_ns = self.rest_ns();
        if case.stall.is_none() && case.was_long(busy_ns, rest_ns, self.threshold_ns) {
            let mut stall = case.stall(subject);
            case.describe_in(&mut stall, now_ns);
            case.stall = Some(lock(log).begin(stall));
        }
        self.end(now_ns, case, Some(busy_ns), log);
    }

    fn end(
        &mut self,
        ended_ns: u64,
        mut case: Case,
        published_ns: Option<u64>,
        log: &Mutex<StallLog>,
    ) {
        let Some(id) = case.stall else { return };
        self.captures_lost += case.captures_lost;
        match case.tid.filter(|_| case.due) {
            Some(tid) => self.late.push(Late {
                stall: id,
                tid,
                since_ns: case.since_ns,
                last_seen_ns: case.last_seen_ns,
                sequence: case.poll.map(|p| p.sequence),
                until_ns: ended_ns + LATE_NS,
            }),
            // It ended before the stack that was due could be had.
            None => self.captures_lost += u64::from(case.attempts > 0),
        }
        let least = case.last_seen_ns.saturating_sub(case.since_ns);
        let most = ended_ns.saturating_sub(case.since_ns).max(least);
        // The worker measured it itself, from up to one look earlier.
        let duration_ns = match published_ns.filter(|_| case.poll.is_none()) {
            Some(busy_ns) => busy_ns.clamp(least, most + self.rest_ns()),
            None => most,
        };
        let early = std::mem::take(&mut case.early);
        let trace = case.trace.answer();
        let mut log = lock(log);
        log.update(id, |stall| {
            stall.trace = trace;
            for stack in early {
                stall.add_stack(stack);
            }
        });
        log.end(id, duration_ns);
    }

    /// The worker of a poll that is observed was given away to another thread:
    /// the poll may take what time it likes. `drives` says whether a thread still
    /// drives the worker.
    pub(crate) fn acquit(&mut self, log: &Mutex<StallLog>, drives: impl Fn(Subject, Tid) -> bool) {
        let gave_away = |subject: &Subject, case: &Case| {
            let tid = case.tid.filter(|_| case.poll.is_some());
            tid.is_some_and(|tid| !drives(*subject, tid))
        };
        self.open.retain(|subject, case| {
            if !gave_away(subject, case) {
                return true;
            }
            if let Some(id) = case.stall {
                lock(log).withdraw(id);
            }
            false
        });
    }

    /// `from` has turned out to be `to`: a polling thread drives a worker.
    pub(crate) fn adopt(&mut self, from: Subject, to: Subject, log: &Mutex<StallLog>) {
        if self.open.is_empty() || self.open.contains_key(&to) {
            return;
        }
        if let Some(case) = self.open.remove(&from) {
            if let Some(id) = case.stall {
                lock(log).update(id, |stall| stall.subject = to);
            }
            self.open.insert(to, case);
        }
    }

    /// When to look again: after one interval if something may be stuck, after two
    /// if nothing is, and at the moment when a poll that was just seen for the first
    /// time would become a stall. So the watchdog reports each poll that is over the
    /// threshold and seen running, and needs no shorter interval for it.
    pub(crate) fn next_look_ns(&self, now_ns: u64) -> u64 {
        let idle_ns = now_ns + self.rest_ns();
        let cases = self.open.values();
        let due_ns = cases.filter_map(|case| case.next_ns(now_ns, self));
        due_ns.min().map_or(idle_ns, |due_ns| {
            due_ns.clamp(now_ns + LEAST_REST_NS.min(self.interval_ns), idle_ns)
        })
    }

    /// Nothing is observed, and no stack is due.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.late.is_empty()
    }

    /// Something was seen at two looks, or a stack is due.
    pub(crate) fn some_last(&self) -> bool {
        let mut open = self.open.values();
        !self.late.is_empty() || open.any(|case| case.last_seen_ns > case.seen_ns)
    }

    /// Between two looks while nothing may be stuck.
    fn rest_ns(&self) -> u64 {
        self.threshold_ns
            .min(2 * self.interval_ns)
            .max(self.interval_ns)
    }

    /// Stacks that were wanted and could not be had, since this was last asked.
    pub(crate) fn take_captures_lost(&mut self) -> u64 {
        let live = self.open.values_mut().map(|c| &mut c.captures_lost);
        let live: u64 = live.map(std::mem::take).sum();
        live + std::mem::take(&mut self.captures_lost)
    }

    /// All subjects that are observed.
    pub(crate) fn subjects(&self) -> Vec<Subject> {
        self.open.keys().copied().collect()
    }

    /// The whole process stood still for `gap_ns` until now.
    pub(crate) fn suspended(&mut self, gap_ns: u64) {
        self.open.retain(|_, case| case.stall.is_some());
        for case in self.open.values_mut() {
            if let Some(observation) = &mut case.observation {
                observation.suspended(gap_ns);
            }
        }
    }
}

/// The blocking pool is there to be blocked.
fn is_of_the_pool(task: &TaskInfo) -> bool {
    task.kind == TaskKind::Blocking
}

impl Case {
    fn new(now_ns: u64, sight: &Sight) -> Self {
        let since_ns = sight.poll.map_or(sight.since_ns, |p| p.started_ns);
        Self {
            tid: sight.tid,
            since_ns,
            poll: sight.poll,
            seen_ns: now_ns,
            last_seen_ns: now_ns,
            observation: None,
            next_look_ns: 0,
            captures: 0,
            attempts: 0,
            captures_lost: 0,
            due: false,
            more: 0,
            early: Vec::new(),
            next_capture_ns: since_ns + CAPTURE_AGES_MS[0] * MS,
            asked: false,
            description: None,
            stall: None,
            object_of: None,
            trace: Question::default(),
        }
    }

    /// Whether `sight` shows the same poll, or says which poll it is.
    fn continues_as(&mut self, sight: &Sight, interval_ns: u64) -> bool {
        if self.tid.is_some() && sight.tid != self.tid {
            return false;
        }
        let same = match (&self.poll, &sight.poll) {
            (Some(before), Some(now)) => before.sequence == now.sequence,
            (None, None) => sight.since_ns == self.since_ns,
            (None, Some(now)) => now.started_ns <= self.since_ns + interval_ns,
            (Some(_), None) => false,
        };
        if same {
            self.tid = sight.tid;
            if let (None, Some(poll)) = (self.poll, sight.poll) {
                self.poll = Some(poll);
                self.since_ns = poll.started_ns;
            }
        }
        same
    }

    /// When it is to be looked at again; `None` where there is no hurry.
    fn next_ns(&self, now_ns: u64, cases: &Cases) -> Option<u64> {
        let description = self.description.as_ref();
        match self.poll {
            Some(_) if self.stall.is_none() && description.is_some_and(is_of_the_pool) => None,
            Some(poll) if self.seen_ns == now_ns => Some(poll.started_ns + cases.threshold_ns),
            _ => Some(now_ns + cases.interval_ns),
        }
    }

    fn observe(&mut self, now_ns: u64, sight: &Sight, witness: &mut impl Witness) {
        let Some(tid) = self.tid else { return };
        let Some(observation) = &mut self.observation else {
            self.observation = Some(Observation::new(witness.clocks(tid, now_ns)));
            return;
        };
        if now_ns < self.next_look_ns {
            return;
        }
        let (clocks, look) = (witness.clocks(tid, now_ns), witness.look(tid));
        if !witness.is_still(sight) {
            // It was over meanwhile: what was seen may be of the next poll.
            return;
        }
        observation.clocks(clocks);
        observation.look(look);
        let age_ns = now_ns.saturating_sub(self.since_ns);
        self.next_look_ns = now_ns
            + match age_ns / MS {
                0..200 => 0,
                200..2_000 => 20 * MS,
                _ => 100 * MS,
            };
    }

    /// The thread's clocks after the end. The time since then is not the poll's, but
    /// there is one look of it at most.
    fn last_clocks(&mut self, now_ns: u64, witness: &mut impl Witness) {
        if let (Some(tid), Some(observation)) = (self.tid, &mut self.observation) {
            observation.clocks(witness.clocks(tid, now_ns));
        }
    }

    /// Whether what is over now, and may have been up to 61 polls, has spent so
    /// much CPU that it was none of short ones. It may have run for up to
    /// `unseen_ns` before the first look: where it computed afterwards, it did so
    /// then too.
    fn was_long(&self, busy_ns: u64, unseen_ns: u64, threshold_ns: u64) -> bool {
        let Some(observation) = self.observation.as_ref().filter(|_| self.poll.is_none()) else {
            return false;
        };
        let observed = observation.observed();
        let seen_ns = self.last_seen_ns.saturating_sub(self.since_ns);
        let mut cpu_ns = observed.cpu_ns.unwrap_or_default();
        if cpu_ns * 5 >= observed.wall_ns.min(busy_ns) * 4 {
            cpu_ns += busy_ns.saturating_sub(seen_ns).min(unseen_ns);
        }
        cpu_ns.min(busy_ns) >= threshold_ns * OWN_TIME_FACTOR
    }

    fn is_reportable(
        &mut self,
        now_ns: u64,
        threshold_ns: u64,
        witness: &mut impl Witness,
    ) -> bool {
        let age_ns = now_ns.saturating_sub(self.since_ns);
        if age_ns < threshold_ns {
            return false;
        }
        let Some(poll) = self.poll else {
            return self.is_surely_long(age_ns, threshold_ns);
        };
        self.ask(poll.task, witness);
        !self.description.as_ref().is_some_and(is_of_the_pool)
    }

    /// Asks the task table once.
    fn ask(&mut self, task: Option<u64>, witness: &mut impl Witness) {
        if !std::mem::replace(&mut self.asked, true) {
            self.description = task.and_then(|task| witness.describe(task));
        }
    }

    /// Whether what may be up to 61 polls is too long for short ones.
    fn is_surely_long(&self, age_ns: u64, threshold_ns: u64) -> bool {
        let evident = self.observation.as_ref().is_some_and(|observation| {
            let observed = observation.observed();
            let one_block = observation.is_one_block() && observed.wall_ns * 2 >= threshold_ns;
            one_block || observed.own_ns() >= threshold_ns * OWN_TIME_FACTOR
        });
        evident || age_ns >= threshold_ns * ANY_TIME_FACTOR
    }

    fn stall(&self, subject: Subject) -> Stall {
        let scope = StallScope::UpTo61Polls;
        Stall::new(subject, scope, self.since_ns)
    }
}

#[cfg(test)]
mod tests;
