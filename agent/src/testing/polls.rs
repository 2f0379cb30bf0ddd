//! A poll in progress, from look to look, and what is said of it when it was too long.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::capture::{self, Captured, Stack};
use crate::evidence::{Baseline, Cause, Look, Object, ThreadEvidence};
use crate::ids::Tid;
use crate::watchdog::Observation;

/// A poll that is older at a look is observed from then on.
const OBSERVED_NS: u64 = 1_000_000;
/// What may be up to 61 polls is one where its thread spent this many limits on a CPU.
const MANY: u64 = 5;
/// Stacks of one poll that are kept.
const MAX_STACKS: usize = 4;
/// Polls of one test that are kept.
const MAX_BLOCKS: usize = 32;
/// Attempts at a stack of one poll.
const MAX_CAPTURES: u32 = 12;
/// A poll that goes on is reported after so many limits, within these times.
const LASTING: u64 = 100;
const LEAST_LASTING_NS: u64 = 1_000_000_000;
const MOST_LASTING_NS: u64 = 60_000_000_000;

/// Whose poll it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Whose {
    /// The test's own future.
    Root,
    /// A task on this worker.
    Worker(usize),
}

/// What one look saw of a poll in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sight {
    pub(super) whose: Whose,
    /// The same again is the same poll, or the same up to 61 of them.
    pub(super) key: (u64, u64, u64),
    pub(super) tid: Option<Tid>,
    pub(super) since_ns: u64,
    /// It is one poll.
    pub(super) is_one: bool,
}

/// A poll that was too long.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) whose: Whose,
    pub(super) since_ns: u64,
    pub(super) duration_ns: u64,
    /// Of it, its thread waited for a CPU or the process stood still.
    pub(super) host_ns: u64,
    pub(super) cause: Cause,
    pub(super) syscall: Option<Cow<'static, str>>,
    pub(super) object: Option<String>,
    /// Most often seen first.
    pub(super) stacks: Vec<SeenStack>,
    pub(super) no_stack: Option<String>,
}

/// A stack, and how often a look found it.
#[derive(Clone, Debug)]
pub(super) struct SeenStack {
    pub(super) stack: Stack,
    pub(super) cause: Cause,
    pub(super) count: u32,
}

/// Where evidence comes from.
pub(super) trait Witness {
    fn clocks(&mut self, tid: Tid, now_ns: u64) -> Baseline;
    fn look(&mut self, tid: Tid) -> Look;
    fn stack(&mut self, tid: Tid) -> Result<Captured, String>;
}

/// The process itself.
#[derive(Debug, Default)]
pub(super) struct Live {
    threads: HashMap<Tid, ThreadEvidence>,
}

impl Live {
    fn thread(&mut self, tid: Tid) -> &ThreadEvidence {
        let open = || ThreadEvidence::open(tid);
        self.threads.entry(tid).or_insert_with(open)
    }
}

impl Witness for Live {
    fn clocks(&mut self, tid: Tid, now_ns: u64) -> Baseline {
        self.thread(tid).clocks(now_ns)
    }

    fn look(&mut self, tid: Tid) -> Look {
        self.thread(tid).look()
    }

    fn stack(&mut self, tid: Tid) -> Result<Captured, String> {
        super::install_capture()?;
        capture::capture(tid.0).map_err(|why| why.to_string())
    }
}

/// The polls in progress of one test, and those that were too long.
#[derive(Debug, Default)]
pub(super) struct Polls {
    open: HashMap<Whose, Open>,
    pub(super) blocks: Vec<Block>,
    /// Those beyond the bound.
    pub(super) more: u64,
}

#[derive(Debug)]
struct Open {
    sight: Sight,
    last_ns: u64,
    observation: Option<Observation>,
    stacks: Vec<SeenStack>,
    no_stack: Option<String>,
    captures: u32,
    next_capture_ns: u64,
    object: Option<String>,
    /// It was reported while it went on.
    is_reported: bool,
}

impl Polls {
    /// Takes in all sights of one look; `again` says whether one is still the same.
    pub(super) fn look(
        &mut self,
        now_ns: u64,
        sights: &[Sight],
        limit_ns: u64,
        witness: &mut impl Witness,
        again: impl Fn(&Sight) -> bool,
    ) {
        let is_seen = |open: &Open| {
            let same = |sight: &&Sight| sight.whose == open.sight.whose;
            sights
                .iter()
                .find(same)
                .is_some_and(|s| s.key == open.sight.key)
        };
        let over: Vec<Whose> = self
            .open
            .iter()
            .filter(|(_, open)| !is_seen(open))
            .map(|(whose, _)| *whose)
            .collect();
        for whose in over {
            self.end(now_ns, whose, limit_ns, witness);
        }
        for sight in sights {
            let new = || Open {
                sight: *sight,
                last_ns: now_ns,
                observation: None,
                stacks: Vec::new(),
                no_stack: None,
                captures: 0,
                next_capture_ns: sight.since_ns + limit_ns / 10 * 6,
                object: None,
                is_reported: false,
            };
            let open = self.open.entry(sight.whose).or_insert_with(new);
            open.sight.tid = open.sight.tid.or(sight.tid);
            open.look(now_ns, limit_ns, witness, &again);
        }
    }

    /// Some poll may become too long: it is worth to look soon.
    pub(super) fn is_close(&self, now_ns: u64, limit_ns: u64) -> bool {
        let age = |open: &Open| now_ns.saturating_sub(open.sight.since_ns);
        self.open.values().any(|open| age(open) >= limit_ns / 4)
    }

    /// The whole process stood still for `gap_ns`.
    pub(super) fn suspended(&mut self, gap_ns: u64) {
        for open in self.open.values_mut() {
            if let Some(observation) = &mut open.observation {
                observation.suspended(gap_ns);
            }
        }
    }

    /// Nothing is polled any more.
    pub(super) fn end_all(&mut self, now_ns: u64, limit_ns: u64, witness: &mut impl Witness) {
        let open: Vec<Whose> = self.open.keys().copied().collect();
        for whose in open {
            self.end(now_ns, whose, limit_ns, witness);
        }
    }

    fn end(&mut self, now_ns: u64, whose: Whose, limit_ns: u64, witness: &mut impl Witness) {
        let Some(open) = self.open.remove(&whose) else {
            return;
        };
        let Some(block) = open.judged(now_ns, limit_ns, witness) else {
            return;
        };
        if self.blocks.len() < MAX_BLOCKS {
            self.blocks.push(block);
        } else {
            self.more += 1;
        }
    }

    /// Those that are too long by far and go on: each is given once. Nothing else may ever
    /// say what a test hangs in.
    pub(super) fn lasting(&mut self, now_ns: u64, limit_ns: u64) -> Vec<Block> {
        let least_ns = lasting_ns(limit_ns);
        let mut lasting = Vec::new();
        for open in self.open.values_mut().filter(|open| !open.is_reported) {
            let age_ns = now_ns.saturating_sub(open.sight.since_ns);
            let is_long = |o: &Observation| {
                o.observed().own_ns() >= limit_ns && is_one(&open.sight, o, limit_ns)
            };
            if age_ns >= least_ns && open.observation.as_ref().is_some_and(is_long) {
                open.is_reported = true;
                lasting.push(open.block(age_ns, 0));
            }
        }
        lasting
    }

    /// Those in progress, as they are now.
    pub(super) fn in_progress(&self, now_ns: u64) -> Vec<Block> {
        let open = self.open.values();
        open.map(|open| open.block(now_ns.saturating_sub(open.sight.since_ns), 0))
            .collect()
    }
}

impl Open {
    fn look(
        &mut self,
        now_ns: u64,
        limit_ns: u64,
        witness: &mut impl Witness,
        again: &impl Fn(&Sight) -> bool,
    ) {
        let Some(tid) = self.sight.tid else {
            self.last_ns = now_ns;
            return;
        };
        if now_ns.saturating_sub(self.sight.since_ns) < OBSERVED_NS {
            self.last_ns = now_ns;
            return;
        }
        let clocks = witness.clocks(tid, now_ns);
        match &mut self.observation {
            None => self.observation = Some(Observation::new(clocks)),
            Some(observation) => {
                let look = witness.look(tid);
                if !again(&self.sight) {
                    return;
                }
                observation.clocks(clocks);
                observation.look(look);
                self.name_object(look);
            }
        }
        self.last_ns = now_ns;
        if now_ns >= self.next_capture_ns && self.captures < MAX_CAPTURES {
            self.capture(now_ns, tid, limit_ns, witness, again);
        }
    }

    /// What the call works on in which the thread is: known while it is in it.
    fn name_object(&mut self, look: Look) {
        if self.object.is_none()
            && let looptop_procfs::SyscallState::In { number, args, .. } = look.syscall
            && let Some(Object::File(name)) = crate::evidence::object(number, &args)
        {
            self.object = Some(name);
        }
    }

    fn capture(
        &mut self,
        now_ns: u64,
        tid: Tid,
        limit_ns: u64,
        witness: &mut impl Witness,
        again: &impl Fn(&Sight) -> bool,
    ) {
        self.captures += 1;
        self.next_capture_ns = now_ns;
        match witness.stack(tid) {
            // It was over before the stack was taken.
            Ok(_) if !again(&self.sight) => {}
            Ok(taken) => {
                let cause = Cause::of(&taken.doing);
                let rest_ns = (limit_ns / 5).max(10_000_000) << self.captures.min(6);
                self.next_capture_ns = now_ns + rest_ns;
                let same = |seen: &&mut SeenStack| {
                    seen.stack.frames == taken.stack.frames && seen.cause == cause
                };
                if let Some(seen) = self.stacks.iter_mut().find(same) {
                    seen.count += 1;
                } else if self.stacks.len() < MAX_STACKS {
                    self.stacks.push(SeenStack {
                        stack: taken.stack,
                        cause,
                        count: 1,
                    });
                }
            }
            Err(why) => self.no_stack = Some(why),
        }
    }

    /// What it was, if it was too long by itself.
    ///
    /// Time in which the thread waited for a CPU, and in which the process stood still, is
    /// the machine's. The kernel adds such a wait to its books when it is over, so the
    /// clocks are read once more after the end.
    fn judged(mut self, now_ns: u64, limit_ns: u64, witness: &mut impl Witness) -> Option<Block> {
        // It was last seen at one look, and was over at the next.
        let least_ns = self.last_ns.saturating_sub(self.sight.since_ns);
        let tid = self.sight.tid?;
        let observation = self.observation.as_mut()?;
        observation.clocks(witness.clocks(tid, now_ns));
        let observed = observation.observed();
        let waited_ns = observed.run_queue_ns.unwrap_or_default() + observed.suspended_ns;
        // What is neither on a CPU nor blocked waits for one, also where no book says so.
        let seen_ns = observed.own_ns() + before_ns(&self.sight, &observed, now_ns);
        let own_ns = least_ns.saturating_sub(waited_ns).min(seen_ns);
        if own_ns < limit_ns {
            return None;
        }
        let is_one = is_one(&self.sight, observation, limit_ns);
        is_one.then(|| self.block(least_ns, least_ns - own_ns))
    }

    fn block(&self, duration_ns: u64, host_ns: u64) -> Block {
        let observation = self.observation.as_ref();
        let cause = observation.map_or(Cause::Unknown, |o| o.observed().cause());
        let call = observation.and_then(|o| o.call(cause));
        let mut stacks = self.stacks.clone();
        // What the cause says comes first, and of that what was seen most often.
        stacks.sort_by_key(|seen| (seen.cause != cause, std::cmp::Reverse(seen.count)));
        Block {
            whose: self.sight.whose,
            since_ns: self.sight.since_ns,
            duration_ns,
            host_ns,
            cause,
            syscall: call.map(|call| call.name()),
            object: self.object.clone(),
            stacks,
            no_stack: self.no_stack.clone(),
        }
    }
}

/// What goes on for so long is reported.
pub(super) fn lasting_ns(limit_ns: u64) -> u64 {
    let lasting_ns = limit_ns.saturating_mul(LASTING);
    let lasting_ns = lasting_ns.clamp(LEAST_LASTING_NS, MOST_LASTING_NS);
    lasting_ns.max(limit_ns.saturating_mul(2))
}

/// Whether it is one poll, and not up to 61 short ones.
fn is_one(sight: &Sight, observation: &Observation, limit_ns: u64) -> bool {
    let many = |cpu_ns: u64| cpu_ns >= limit_ns.saturating_mul(MANY);
    sight.is_one || is_one_block(observation) || observation.observed().cpu_ns.is_some_and(many)
}

/// Whether it sat in one place: next to no CPU of its own time, hardly a turn, and blocked at
/// nearly each look. One may have found it ready, before its call or after it, and others
/// while it waited for a CPU, by the share of its time that the kernel's books have of that.
fn is_one_block(observation: &Observation) -> bool {
    const LOOKS: u32 = 10;
    let observed = observation.observed();
    let (tally, wall_ns) = (observed.tally, observed.wall_ns);
    let waited_ns = observed.run_queue_ns.unwrap_or_default();
    let waiting = (u64::from(tally.total()) * waited_ns).div_ceil(wall_ns.max(1));
    let ready = u64::from(1 + tally.total() / LOOKS) + waiting;
    let few_turns = |turns: u64| turns <= 2 + wall_ns / 20_000_000;
    observed
        .cpu_ns
        .is_some_and(|cpu| cpu * 10 < observed.own_ns())
        && tally.total() > 1
        && u64::from(tally.running) <= ready
        && observation.turns().is_some_and(few_turns)
}

/// How long it ran before it was observed: its thread did then what it did later.
fn before_ns(sight: &Sight, observed: &looptop_procfs::Observed, now_ns: u64) -> u64 {
    let all_ns = now_ns.saturating_sub(sight.since_ns);
    all_ns.saturating_sub(observed.wall_ns)
}

#[cfg(test)]
mod tests;
