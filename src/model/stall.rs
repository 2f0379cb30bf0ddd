//! Stalls: polls that ran longer than the agent's threshold.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use looptop_wire::proto::{self, StackSample};

use super::{
    Call, CallKind, Cause, Holder, LocationId, Moment, RuntimeId, StallId, StallScope, TaskId,
    TextId, Tid, WorkerId,
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

/// A stack with names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Resolved {
    /// Innermost first, inlined functions as frames of their own.
    pub frames: Vec<StackFrame>,
    /// Who is to blame.
    pub culprit: Option<Culprit>,
    /// Why names are missing, as a sentence for the screen.
    pub problem: Option<String>,
}

impl Resolved {
    /// The thread ran Rust code, rather than waiting in a system call: those are
    /// made by the C library, or by a call that is known to block.
    fn runs(&self) -> bool {
        let innermost = self.frames.first();
        let in_rust = innermost.is_some_and(|frame| {
            std::path::Path::new(&frame.file)
                .extension()
                .is_some_and(|extension| extension == "rs")
        });
        in_rust && self.culprit.as_ref().is_none_or(|c| c.call.is_none())
    }

    /// The poll is inside `block_in_place`, which has given its worker to another
    /// thread.
    fn is_in_place(&self) -> bool {
        self.frames.iter().any(|frame| {
            // What it calls, where it has become a part of its caller.
            if frame.function.ends_with("runtime_mt::exit_runtime") {
                return true;
            }
            let Some(path) = frame.function.strip_suffix("block_in_place") else {
                return false;
            };
            let of_tokio = match path.strip_suffix("::").map(|p| p.rsplit("::").next()) {
                Some(Some("task" | "blocking" | "worker" | "scheduler" | "block_in_place")) => true,
                _ => path.is_empty() && !frame.file.is_empty(),
            };
            of_tokio && (frame.file.is_empty() || frame.file.starts_with("tokio-"))
        })
    }

    /// The thread was in a call that never sleeps on a timer.
    fn does_io(&self) -> bool {
        let call = self.culprit.as_ref().and_then(|c| c.call.as_ref());
        matches!(
            call.map(|call| call.kind),
            Some(CallKind::File | CallKind::Terminal | CallKind::Network)
        )
    }
}

/// One frame of a stack.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct StackFrame {
    /// Readable name, or module and offset.
    pub function: String,
    /// Source file; empty where unknown.
    pub file: String,
    /// From 1; 0 where unknown.
    pub line: u32,
    /// Runtime, standard library or system: folded by default.
    pub plumbing: bool,
    /// The frame that the culprit names.
    pub culprit: bool,
}

/// The line that keeps a worker from its other tasks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Culprit {
    /// The user's function, readable.
    pub function: String,
    /// Its source file, relative where it can be.
    pub file: String,
    /// The line that called what blocks; 0 where unknown.
    pub line: u32,
    /// The blocking call below it, where recognised.
    pub call: Option<Call>,
}

impl Culprit {
    /// `file:line`, or what of it is known.
    pub fn location(&self) -> String {
        match self.line {
            0 => self.file.clone(),
            line => format!("{}:{line}", self.file),
        }
    }
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
        let stack = self.resolved.as_ref()?;
        let telling = self.telling_stack();
        let another = telling.is_some_and(|s| self.agreement(s) == Agreement::Contradicts);
        let contradicts = match self.cause {
            _ if another => true,
            Cause::Sleeping => stack.runs() || stack.does_io(),
            Cause::Lock => stack.runs(),
            _ => false,
        };
        stack.culprit.as_ref().filter(|_| !contradicts)
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
            (Cause::Computing, _) if self.scope == StallScope::OnePoll => {
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

/// Stalls in progress, and the newest of those that ended.
#[derive(Debug, Clone, Default)]
pub struct StallLog {
    live: BTreeMap<StallId, Stall>,
    ended: VecDeque<Stall>,
    /// Stalls that ended, whether or not they are still held.
    pub total_ended: u64,
}

/// Ended stalls held.
const MAX_ENDED: usize = 2_000;
/// Stalls in progress held, whatever a peer sends; there is at most one a thread.
const MAX_LIVE: usize = 10_000;

impl StallLog {
    /// In progress, oldest first.
    pub fn live(&self) -> impl DoubleEndedIterator<Item = &Stall> {
        self.live.values()
    }

    /// Ended, newest first.
    pub fn ended(&self) -> impl DoubleEndedIterator<Item = &Stall> {
        self.ended.iter().rev()
    }

    /// In progress first, oldest first, then ended ones, newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Stall> {
        self.live().chain(self.ended())
    }

    /// How many are held.
    pub fn len(&self) -> usize {
        self.live.len() + self.ended.len()
    }

    /// None is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The stall of an id.
    pub fn get(&self, id: StallId) -> Option<&Stall> {
        self.live
            .get(&id)
            .or_else(|| self.ended.iter().rev().find(|s| s.id == id))
    }

    /// The stall in progress on a thread.
    pub fn on_thread(&self, tid: Tid) -> Option<&Stall> {
        self.live.values().find(|s| s.tid == Some(tid))
    }

    /// The stall in progress on a worker.
    pub fn on_worker(&self, worker: WorkerId) -> Option<&Stall> {
        self.live.values().find(|s| s.worker == Some(worker))
    }

    /// Gives a stall its stack with names, unless a recording did.
    pub fn resolve(&mut self, id: StallId, resolved: Arc<Resolved>) {
        if let Some(stall) = self.get_mut(id).filter(|s| !s.recorded_names) {
            stall.resolved = Some(resolved);
        }
    }

    /// Gives a stall the names of a recording.
    pub(super) fn resolve_recorded(&mut self, id: StallId, resolved: Arc<Resolved>) {
        if let Some(stall) = self.get_mut(id) {
            stall.resolved = Some(resolved);
            stall.recorded_names = true;
        }
    }

    fn get_mut(&mut self, id: StallId) -> Option<&mut Stall> {
        let ended = self.ended.iter_mut().rev().find(|s| s.id == id);
        self.live.get_mut(&id).or(ended)
    }

    /// Takes over the names that stalls have in `other`, a log of the same
    /// session.
    pub fn adopt_names(&mut self, other: &StallLog) {
        let names: BTreeMap<StallId, &Arc<Resolved>> = other
            .iter()
            .filter_map(|s| Some((s.id, s.resolved.as_ref()?)))
            .collect();
        for stall in self.live.values_mut().chain(&mut self.ended) {
            if let Some(resolved) = names.get(&stall.id) {
                stall.resolved.get_or_insert_with(|| Arc::clone(resolved));
            }
        }
    }

    /// The holders whose stacks are held, to be given names.
    pub(super) fn holders_mut(&mut self) -> impl Iterator<Item = &mut Arc<Holder>> {
        let stalls = self.live.values_mut().chain(&mut self.ended);
        stalls.filter_map(|stall| stall.holder.as_mut())
    }

    pub(super) fn update(&mut self, stall: &proto::Stall) {
        let id = StallId(stall.id);
        let at = self.ended.iter().rposition(|s| s.id == id);
        let earlier = self
            .live
            .remove(&id)
            .or_else(|| at.and_then(|at| self.ended.get(at).cloned()));
        if stall.withdrawn {
            if let Some(at) = at {
                self.ended.remove(at);
                self.total_ended -= 1;
            }
            return;
        }
        let stall = Stall::new(stall, earlier.as_ref());
        self.insert(stall, at);
    }

    pub(super) fn insert(&mut self, stall: Stall, ended_at: Option<usize>) {
        if stall.live {
            if self.live.len() < MAX_LIVE {
                self.live.insert(stall.id, stall);
            }
            return;
        }
        if let Some(held) = ended_at.and_then(|at| self.ended.get_mut(at)) {
            *held = stall;
            return;
        }
        self.total_ended += 1;
        self.live.remove(&stall.id);
        self.ended.push_back(stall);
        if self.ended.len() > MAX_ENDED {
            self.ended.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stall(id: u64, state: proto::StallState, ms: u64) -> proto::Stall {
        proto::Stall {
            id,
            state: state.into(),
            duration_ns: ms * 1_000_000,
            ..proto::Stall::default()
        }
    }

    #[test]
    fn a_stall_moves_from_live_to_ended_and_keeps_its_names() {
        let mut log = StallLog::default();
        log.update(&stall(1, proto::StallState::Live, 20));
        let resolved = Arc::new(Resolved::default());
        log.resolve(StallId(1), Arc::clone(&resolved));
        log.update(&stall(2, proto::StallState::Live, 10));
        log.update(&stall(1, proto::StallState::Ended, 70));
        assert_eq!(log.live().map(|s| s.id).collect::<Vec<_>>(), [StallId(2)]);
        let ended = log.ended().next().unwrap();
        assert_eq!(ended.age(Moment(u64::MAX)), Duration::from_millis(70));
        assert_eq!(ended.resolved, Some(resolved));
        log.update(&stall(1, proto::StallState::Ended, 71));
        assert_eq!(
            (log.len(), log.total_ended),
            (2, 1),
            "told twice, counted once"
        );
    }

    #[test]
    fn a_stall_that_was_none_leaves_nothing() {
        let withdrawn = |id| proto::Stall {
            withdrawn: true,
            ..stall(id, proto::StallState::Ended, 70)
        };
        let mut log = StallLog::default();
        log.update(&stall(1, proto::StallState::Live, 20));
        log.update(&stall(2, proto::StallState::Ended, 20));
        log.update(&stall(3, proto::StallState::Live, 20));
        for id in [1, 2, 4] {
            log.update(&withdrawn(id));
        }
        assert_eq!((log.len(), log.total_ended), (1, 0));
        assert!(log.get(StallId(3)).is_some());
    }

    #[test]
    fn the_stack_that_is_shown_was_taken_in_what_the_cause_says() {
        use StallScope::{OnePoll, UpTo61Polls};
        let sample = |cause: Cause, syscall, count| StackSample {
            cause: cause.into(),
            syscall,
            count,
            last_at_ns: u64::from(count),
            ..StackSample::default()
        };
        let (read, write) = (3, 4);
        // Cause and call of the stall, its stacks, which of them is shown, and
        // whether it names somebody.
        for (scope, cause, call, stacks, shown, named) in [
            (
                UpTo61Polls,
                Cause::SystemCall,
                read,
                vec![
                    sample(Cause::Lock, 5, 9),
                    sample(Cause::SystemCall, read, 1),
                ],
                1,
                true,
            ),
            (
                UpTo61Polls,
                Cause::SystemCall,
                read,
                vec![sample(Cause::Computing, 0, 2), sample(Cause::Lock, 5, 1)],
                0,
                false,
            ),
            (
                OnePoll,
                Cause::SystemCall,
                read,
                vec![sample(Cause::SystemCall, write, 2)],
                0,
                false,
            ),
            (
                UpTo61Polls,
                Cause::Computing,
                0,
                vec![sample(Cause::Lock, 5, 1)],
                0,
                false,
            ),
            (
                OnePoll,
                Cause::Computing,
                0,
                vec![sample(Cause::SystemCall, write, 1)],
                0,
                true,
            ),
            (
                UpTo61Polls,
                Cause::Page,
                0,
                vec![sample(Cause::Page, 0, 1)],
                0,
                true,
            ),
            // An agent that does not say what the thread did.
            (
                UpTo61Polls,
                Cause::Lock,
                5,
                vec![sample(Cause::Unknown, 0, 1), sample(Cause::Unknown, 0, 2)],
                1,
                true,
            ),
        ] {
            let mut stall = Stall::new(
                &proto::Stall {
                    scope: scope.into(),
                    cause: cause.into(),
                    syscall: call,
                    stacks: stacks.clone(),
                    ..proto::Stall::default()
                },
                None,
            );
            assert_eq!(stall.telling_stack(), Some(&stacks[shown]), "{cause:?}");
            stall.resolved = Some(Arc::new(Resolved {
                culprit: Some(Culprit::default()),
                ..Resolved::default()
            }));
            assert_eq!(stall.culprit().is_some(), named, "{cause:?} {stacks:?}");
        }
    }

    #[test]
    fn a_poll_inside_block_in_place_is_known_by_its_frames() {
        for (function, file, expected) in [
            (
                "blocking::block_in_place",
                "tokio-1.54.1/src/task/blocking.rs",
                true,
            ),
            ("worker::block_in_place", "", true),
            ("tokio::task::blocking::block_in_place", "", true),
            ("block_in_place::block_in_place", "", true),
            ("block_in_place", "tokio-1.54.1/src/task/blocking.rs", true),
            ("runtime_mt::exit_runtime", "", true),
            ("worker::block_in_place", "src/worker.rs", false),
            ("pool::block_in_place", "", false),
            ("worker::run", "", false),
        ] {
            let mut stall = Stall::new(&proto::Stall::default(), None);
            let frame = StackFrame {
                function: function.to_owned(),
                file: file.to_owned(),
                ..StackFrame::default()
            };
            stall.resolved = Some(Arc::new(Resolved {
                frames: vec![StackFrame::default(), frame],
                ..Resolved::default()
            }));
            assert_eq!(stall.is_in_place(), expected, "{function} {file}");
        }
    }

    #[test]
    fn the_log_is_bounded() {
        let mut log = StallLog::default();
        for id in 0..5_000 {
            log.update(&stall(id, proto::StallState::Ended, 10));
        }
        assert_eq!((log.len(), log.total_ended), (MAX_ENDED, 5_000));
        assert_eq!(log.ended().next().unwrap().id, StallId(4_999));
    }

    #[test]
    fn the_hosts_share_is_not_the_codes_fault() {
        let mut wire = stall(1, proto::StallState::Ended, 100);
        wire.run_queue_ns = Some(80_000_000);
        let stall = Stall::new(&wire, None);
        assert_eq!(stall.own_age(Moment(0)), Duration::from_millis(20));
    }

    #[test]
    fn a_stack_that_contradicts_the_cause_names_nobody() {
        let stack = |innermost: &str, call: Option<CallKind>| Resolved {
            frames: vec![StackFrame {
                file: innermost.to_owned(),
                ..StackFrame::default()
            }],
            culprit: Some(Culprit {
                function: "app::work".to_owned(),
                file: "src/app.rs".to_owned(),
                line: 7,
                call: call.map(|kind| Call {
                    kind,
                    name: String::new(),
                }),
            }),
            problem: None,
        };
        for (cause, innermost, call, named) in [
            (Cause::Sleeping, "std/src/thread/local.rs", None, false),
            (Cause::Lock, "src/app.rs", None, false),
            (Cause::Sleeping, "sysdeps/clock_nanosleep.c", None, true),
            (Cause::Sleeping, "", None, true),
            (Cause::Sleeping, "writev.c", Some(CallKind::Network), false),
            (Cause::Lock, "futex.c", Some(CallKind::Network), true),
            (Cause::Sleeping, "sleep.c", Some(CallKind::Database), true),
            (Cause::Sleeping, "src/asm.rs", Some(CallKind::Sleep), true),
            (Cause::Computing, "src/app.rs", None, true),
            (Cause::SystemCall, "src/asm.rs", None, true),
        ] {
            let mut stall = Stall::new(&proto::Stall::default(), None);
            stall.cause = cause;
            stall.resolved = Some(Arc::new(stack(innermost, call)));
            assert_eq!(stall.culprit().is_some(), named, "{cause:?} {innermost}");
        }
    }
}
