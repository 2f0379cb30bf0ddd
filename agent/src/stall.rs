//! The log of stalls: live ones, and a bounded number of ended ones.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

use looptop_procfs::SyscallState;
use looptop_wire::proto::TaskKind;

use crate::evidence::{self, Cause, Object, Observed};
use crate::holder::{Holder, Waiting};
use crate::ids::{RuntimeId, StallId, Tid, WorkerIndex};
use crate::task::site::SiteId;

/// Ended stalls that are kept for new viewers.
const MAX_ENDED: usize = 1_000;
/// Distinct stacks that are kept for one stall.
const MAX_STACKS: usize = 8;
/// Ended stalls of which the holder of their lock may still come out.
const RECENTLY_ENDED: usize = 64;

/// Who is stalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    Worker(RuntimeId, WorkerIndex),
    /// A polling thread that is no worker: the one in `block_on`.
    Thread(Tid),
}

/// The task that stalls, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TaskInfo {
    /// Empty where it has none.
    pub(crate) name: String,
    pub(crate) kind: TaskKind,
    /// Where it was spawned.
    pub(crate) site: Option<SiteId>,
}

/// What a stall covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StallScope {
    OnePoll,
    /// The worker published nothing meanwhile: one long poll, or up to 61
    /// shorter ones.
    UpTo61Polls,
}

/// One stack, innermost frame first, and when it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SeenStack {
    pub(crate) first_ns: u64,
    pub(crate) last_ns: u64,
    pub(crate) count: u32,
    /// Index of the module, and the address within it.
    pub(crate) frames: Vec<(Option<u32>, u64)>,
    pub(crate) truncated: bool,
    /// What the thread was in when it was taken.
    pub(crate) cause: Cause,
    pub(crate) syscall: Option<Cow<'static, str>>,
}

/// A stack as it was taken, innermost frame first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TakenStack {
    /// Index of the module, and the address within it.
    pub(crate) frames: Vec<(Option<u32>, u64)>,
    pub(crate) truncated: bool,
    /// What the thread was in.
    pub(crate) doing: SyscallState,
    pub(crate) taken_ns: u64,
    /// The sequence number of the thread's slot at that instant, where the thread
    /// itself has read it.
    pub(crate) sequence: Option<u64>,
}

/// A span of a trace, by OpenTelemetry's ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "otlp"), allow(dead_code))]
pub(crate) struct TraceIds {
    pub(crate) trace: [u8; 16],
    pub(crate) span: [u8; 8],
    /// Bit 0: it is sampled.
    pub(crate) flags: u8,
}

/// Everything that is known of a stall.
#[derive(Clone, Debug)]
pub(crate) struct Stall {
    pub(crate) id: StallId,
    pub(crate) live: bool,
    pub(crate) scope: StallScope,
    pub(crate) subject: Subject,
    pub(crate) tid: Option<Tid>,
    pub(crate) task: Option<u64>,
    pub(crate) description: Option<TaskInfo>,
    pub(crate) started_ns: u64,
    pub(crate) duration_ns: u64,
    pub(crate) cause: Cause,
    pub(crate) observed: Observed,
    pub(crate) syscall: Option<Cow<'static, str>>,
    pub(crate) object: Option<Object>,
    pub(crate) stacks: Vec<SeenStack>,
    pub(crate) no_stack: Option<String>,
    /// It turned out to be none.
    pub(crate) withdrawn: bool,
    /// The thread that holds the lock waited for, and that lock.
    pub(crate) holder: Option<Box<Holder>>,
    pub(crate) lock: Option<u64>,
    /// The trace that the poll belongs to.
    #[cfg_attr(not(feature = "otlp"), allow(dead_code))]
    pub(crate) trace: Option<TraceIds>,
    /// The log's revisions in which it began, and in which it last changed.
    begun: u64,
    revision: u64,
}

impl Stall {
    /// A stall that the watchdog has just recognised.
    pub(crate) fn new(subject: Subject, scope: StallScope, started_ns: u64) -> Self {
        Self {
            id: StallId(0),
            live: true,
            scope,
            subject,
            tid: None,
            task: None,
            description: None,
            started_ns,
            duration_ns: 0,
            cause: Cause::Unknown,
            observed: Observed::default(),
            syscall: None,
            object: None,
            stacks: Vec::new(),
            no_stack: None,
            withdrawn: false,
            holder: None,
            lock: None,
            trace: None,
            begun: 0,
            revision: 0,
        }
    }

    /// Adds a stack; one that was seen before counts up instead.
    pub(crate) fn add_stack(&mut self, stack: TakenStack) {
        self.no_stack = None;
        let at_ns = stack.taken_ns;
        let cause = Cause::of(&stack.doing);
        let syscall = match stack.doing {
            SyscallState::In { number, .. } => Some(evidence::name(number)),
            _ => None,
        };
        let is_same = |s: &&mut SeenStack| {
            s.frames == stack.frames && s.cause == cause && s.syscall == syscall
        };
        if let Some(seen) = self.stacks.iter_mut().find(is_same) {
            seen.last_ns = at_ns;
            seen.count += 1;
        } else if self.stacks.len() < MAX_STACKS {
            self.stacks.push(SeenStack {
                first_ns: at_ns,
                last_ns: at_ns,
                count: 1,
                frames: stack.frames,
                truncated: stack.truncated,
                cause,
                syscall,
            });
        }
    }

    /// Whether one of its stacks was taken while the thread did what the stall's
    /// cause says.
    pub(crate) fn has_informative_stack(&self) -> bool {
        let agrees = |s: &SeenStack| s.cause == self.cause && s.syscall == self.syscall;
        self.stacks.iter().any(agrees)
    }

    fn waits_for_lock(&self) -> bool {
        matches!(self.object, Some(Object::Lock(_)))
    }

    /// Its end shows that its thread has left the place where it stood. One that is
    /// known by its thread alone ends as well when a signal wakes that.
    fn ends_when_its_thread_goes_on(&self) -> bool {
        self.scope == StallScope::OnePoll || matches!(self.subject, Subject::Worker(..))
    }

    /// Notes why there is no stack, as long as there is none.
    pub(crate) fn add_no_stack(&mut self, reason: String) {
        if self.stacks.is_empty() {
            self.no_stack = Some(reason);
        }
    }
}

/// Live and ended stalls.
#[derive(Debug, Default)]
pub(crate) struct StallLog {
    live: BTreeMap<StallId, Stall>,
    ended: VecDeque<Stall>,
    last_id: u64,
    revision: u64,
    /// The revision up to which some viewer has everything.
    sent: u64,
    /// The revision up to which all viewers have taken everything.
    taken: u64,
    lost: u64,
}

impl StallLog {
    /// The newest stall's; 0 before the first.
    pub(crate) fn last_id(&self) -> StallId {
        StallId(self.last_id)
    }

    /// Adds a live stall and gives it an id.
    pub(crate) fn begin(&mut self, mut stall: Stall) -> StallId {
        self.last_id += 1;
        stall.id = StallId(self.last_id);
        let id = stall.id;
        self.revision += 1;
        (stall.begun, stall.revision) = (self.revision, self.revision);
        self.live.insert(id, stall);
        id
    }

    /// Changes a live stall.
    pub(crate) fn update(&mut self, id: StallId, change: impl FnOnce(&mut Stall)) {
        if let Some(stall) = self.live.get_mut(&id) {
            change(stall);
            self.revision += 1;
            stall.revision = self.revision;
        }
    }

    /// Ends a live stall with its final length.
    pub(crate) fn end(&mut self, id: StallId, duration_ns: u64) {
        let Some(mut stall) = self.live.remove(&id) else {
            return;
        };
        stall.live = false;
        stall.duration_ns = duration_ns;
        self.revision += 1;
        stall.revision = self.revision;
        if self.ended.len() >= MAX_ENDED {
            self.evict();
        }
        self.ended.push_back(stall);
    }

    /// A live stall turned out to be none. Viewers that know of it learn that.
    pub(crate) fn withdraw(&mut self, id: StallId) {
        match self.live.get_mut(&id) {
            Some(stall) if stall.begun <= self.sent => {
                stall.withdrawn = true;
                let duration_ns = stall.duration_ns;
                self.end(id, duration_ns);
            }
            Some(_) => {
                self.live.remove(&id);
            }
            None => {}
        }
    }

    /// Changes a stall that has ended, for evidence that came late.
    pub(crate) fn amend(&mut self, id: StallId, change: impl FnOnce(&mut Stall)) {
        if let Some(stall) = self.ended.iter_mut().rev().find(|s| s.id == id) {
            change(stall);
            self.revision += 1;
            stall.revision = self.revision;
        }
    }

    /// Some stalled thread waits in a futex.
    pub(crate) fn some_waits_for_lock(&self) -> bool {
        self.live.values().any(Stall::waits_for_lock)
    }

    /// The live stalls whose threads wait in a futex, oldest first.
    pub(crate) fn waiting_for_locks(&self) -> Vec<Waiting> {
        let waiting = self.live.values().filter(|s| s.waits_for_lock());
        let of = |stall: &Stall| {
            Some(Waiting {
                stall: stall.id,
                tid: stall.tid?,
                has_holder: stall.holder.is_some(),
                is_exact: stall.ends_when_its_thread_goes_on(),
            })
        };
        waiting.filter_map(of).collect()
    }

    /// Notes the lock that a stall waits for and who holds it, where that was found,
    /// also if the stall has just ended.
    pub(crate) fn set_holder(&mut self, id: StallId, lock: u64, holder: Option<Box<Holder>>) {
        let mut ended = self.ended.iter_mut().rev().take(RECENTLY_ENDED);
        let ended = ended.find(|s| s.id == id);
        let Some(stall) = self.live.get_mut(&id).or(ended) else {
            return;
        };
        let known = stall.lock == Some(lock) && (holder.is_none() || stall.holder == holder);
        if known {
            return;
        }
        stall.lock = Some(lock);
        stall.holder = holder.or(stall.holder.take());
        self.revision += 1;
        stall.revision = self.revision;
    }

    /// Whether it has not ended.
    pub(crate) fn is_live(&self, id: StallId) -> bool {
        self.live.contains_key(&id)
    }

    /// `tid` did not hold `lock`, though it was named since `since_ns`: takes that back
    /// from all stalls, those that have just ended as well; true where there was one.
    pub(crate) fn take_back_holder(&mut self, lock: u64, tid: Tid, since_ns: u64) -> bool {
        let ended = self.ended.iter_mut().rev().take(RECENTLY_ENDED);
        let mut taken_back = false;
        for stall in self.live.values_mut().chain(ended) {
            let wrong = stall.lock == Some(lock)
                && stall.holder.as_ref().is_some_and(|holder| {
                    holder.tid == tid && !holder.certain && holder.stack.first_ns >= since_ns
                });
            if wrong {
                stall.holder = None;
                self.revision += 1;
                stall.revision = self.revision;
                taken_back = true;
            }
        }
        taken_back
    }

    /// Drops the oldest, but not the end of a stall that viewers hold to be live:
    /// there are no more of those than threads, and they would stay for ever.
    fn evict(&mut self) {
        let owed = |s: &Stall| s.begun <= self.sent && s.revision > self.taken;
        let place = self.ended.iter().position(|s| !owed(s)).unwrap_or(0);
        if let Some(evicted) = self.ended.remove(place)
            && evicted.revision > self.taken
        {
            self.lost += 1;
        }
    }

    /// The trace of a stall that is held, where it is known.
    #[cfg(feature = "otlp")]
    pub(crate) fn trace_of(&self, id: StallId) -> Option<TraceIds> {
        let mut ended = self.ended.iter().rev();
        let stall = self.live.get(&id).or_else(|| ended.find(|s| s.id == id));
        stall?.trace
    }

    /// The live stall of `subject`.
    pub(crate) fn live_of(&self, subject: Subject) -> Option<&Stall> {
        self.live.values().find(|s| s.subject == subject)
    }

    /// The revision of the newest change.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// What changed after `revision`, ended ones first.
    pub(crate) fn changed_after(&self, revision: u64) -> impl Iterator<Item = &Stall> {
        let ended = self.ended.iter().chain(self.live.values());
        ended.filter(move |s| s.revision > revision)
    }

    /// Some viewer has everything up to now.
    pub(crate) fn sent(&mut self) {
        self.sent = self.revision;
    }

    /// Viewers have taken everything up to `revision`.
    pub(crate) fn taken(&mut self, revision: u64) {
        self.taken = self.taken.max(revision);
    }

    /// Stalls that left the log before a viewer took them.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stall(started_ns: u64) -> Stall {
        let subject = Subject::Worker(RuntimeId(0), WorkerIndex(1));
        Stall::new(subject, StallScope::OnePoll, started_ns)
    }

    #[test]
    fn a_stall_lives_changes_and_ends() {
        let mut log = StallLog::default();
        let id = log.begin(stall(5));
        let begun = log.revision();
        assert_eq!(log.changed_after(0).count(), 1);
        assert_eq!(log.changed_after(begun).count(), 0);
        log.update(id, |s| s.duration_ns = 10);
        log.end(id, 12);
        let ended: Vec<_> = log.changed_after(begun).collect();
        assert_eq!(
            (ended.len(), ended[0].live, ended[0].duration_ns),
            (1, false, 12)
        );
        log.update(id, |s| s.duration_ns = 99);
        log.end(id, 99);
        assert_eq!(log.changed_after(0).next().map(|s| s.duration_ns), Some(12));
    }

    #[test]
    fn the_log_is_bounded_and_counts_what_no_viewer_took() {
        let mut log = StallLog::default();
        for n in 0..MAX_ENDED as u64 {
            let id = log.begin(stall(n));
            log.end(id, 1);
        }
        log.taken(log.revision());
        for n in 0..3 {
            let id = log.begin(stall(n));
            log.end(id, 1);
        }
        assert_eq!((log.changed_after(0).count(), log.lost()), (MAX_ENDED, 0));
        for n in 0..MAX_ENDED as u64 {
            let id = log.begin(stall(n));
            log.end(id, 1);
        }
        assert_eq!(log.lost(), 3);
    }

    #[test]
    fn the_end_of_a_stall_that_was_told_is_not_dropped() {
        let mut log = StallLog::default();
        let known = log.begin(stall(0));
        log.sent();
        log.end(known, 1);
        for n in 0..2 * MAX_ENDED as u64 {
            let id = log.begin(stall(n));
            log.end(id, 1);
        }
        assert_eq!(log.changed_after(0).count(), MAX_ENDED);
        let end = |log: &StallLog| log.changed_after(0).any(|s| s.id == known);
        assert!(end(&log));
        log.taken(log.revision());
        let id = log.begin(stall(1));
        log.end(id, 1);
        assert!(!end(&log), "it was taken");
    }

    #[test]
    fn equal_stacks_merge() {
        let mut stall = stall(0);
        stall.add_no_stack("rate limit".into());
        stall.add_stack(taken(10, 1, SyscallState::Running));
        stall.add_stack(taken(20, 2, SyscallState::Running));
        stall.add_stack(taken(30, 1, SyscallState::Running));
        stall.add_no_stack("later".into());
        assert_eq!(stall.no_stack, None);
        let seen: Vec<_> = stall.stacks.iter().map(|s| (s.count, s.last_ns)).collect();
        assert_eq!(seen, [(2, 30), (1, 20)]);
    }

    fn taken(taken_ns: u64, address: u64, doing: SyscallState) -> TakenStack {
        TakenStack {
            frames: vec![(Some(0), address)],
            truncated: false,
            doing,
            taken_ns,
            sequence: None,
        }
    }

    #[test]
    fn a_stack_keeps_the_state_in_which_it_was_taken() {
        let outside = SyscallState::Outside { sp: 1, pc: 2 };
        let mut stall = stall(0);
        stall.add_stack(taken(10, 1, SyscallState::Running));
        stall.cause = Cause::Page;
        assert!(!stall.has_informative_stack(), "it was not computing");
        stall.add_stack(taken(20, 1, outside));
        assert!(stall.has_informative_stack());
        let causes: Vec<_> = stall.stacks.iter().map(|s| s.cause).collect();
        assert_eq!(causes, [Cause::Computing, Cause::Page]);
    }

    #[test]
    fn a_withdrawn_stall_is_told_to_those_who_know_of_it() {
        let mut log = StallLog::default();
        let unknown = log.begin(stall(0));
        log.withdraw(unknown);
        assert_eq!(log.changed_after(0).count(), 0);
        let known = log.begin(stall(0));
        log.sent();
        log.withdraw(known);
        let sent: Vec<_> = log.changed_after(0).collect();
        assert_eq!(
            (sent.len(), sent[0].withdrawn, sent[0].live),
            (1, true, false)
        );
    }

    #[test]
    fn evidence_that_comes_late_changes_a_stall_that_has_ended() {
        let mut log = StallLog::default();
        let id = log.begin(stall(0));
        log.end(id, 1);
        let revision = log.revision();
        log.amend(id, |s| s.add_stack(taken(1, 1, SyscallState::Running)));
        let changed: Vec<_> = log.changed_after(revision).collect();
        assert_eq!((changed.len(), changed[0].stacks.len()), (1, 1));
    }
}
