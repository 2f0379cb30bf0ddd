//! Stalls: polls that ran longer than the agent's threshold.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use looptop_symbols::{Call, CallKind};
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

/// A stack with names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Resolved {
    /// Innermost first, inlined functions as frames of their own.
    pub frames: Vec<StackFrame>,
    /// Who is to blame.
    pub culprit: Option<Culprit>,
    /// The blocking call, also where nobody is to blame.
    pub call: Option<Call>,
    /// The function of the future that the task polls, readable.
    pub future: Option<String>,
    /// Why names are missing, as a sentence for the screen.
    pub problem: Option<String>,
    /// The program was built without line tables: how to get them, likewise.
    pub no_lines: Option<String>,
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
        in_rust && self.call().is_none()
    }

    /// The blocking call: the culprit's, or the stack's where nobody is to blame.
    pub fn call(&self) -> Option<&Call> {
        let of_culprit = self.culprit.as_ref().and_then(|c| c.call.as_ref());
        of_culprit.or(self.call.as_ref())
    }

    /// What of names or lines is missing, and how to get it.
    pub fn missing(&self) -> Option<&str> {
        self.problem.as_deref().or(self.no_lines.as_deref())
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
        matches!(
            self.call().map(|call| call.kind),
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
    /// Where its async fn is written, `src/main.rs:41`: where the body begins, not what
    /// blocks. Known of programs without line tables.
    pub written: Option<String>,
    /// The blocking call below it, where recognised.
    pub call: Option<Call>,
    /// What of a dependency it called, on the way to where the time goes:
    /// `bcrypt::hash`.
    pub within: Option<String>,
    /// It is a dependency's: no frame of the stack is the application's own.
    pub foreign: bool,
}

impl Culprit {
    /// `file:line`, or the file; `None` where neither is known.
    pub fn location(&self) -> Option<String> {
        source(&self.file, self.line)
    }

    /// `app::sign_in (src/main.rs:7)`, or what of it is known: `app::sign_in (async code
    /// at src/main.rs:3)`.
    pub fn place(&self) -> String {
        let place = self.location().or_else(|| self.definition());
        with_place(&self.function, &place.unwrap_or_default())
    }

    /// `async code at src/main.rs:3`; `None` where that is not known, or where it is all
    /// that is known, and the function's name.
    pub fn definition(&self) -> Option<String> {
        let written = self.written.as_deref()?;
        (!self.function.ends_with(written)).then(|| format!("async code at {written}"))
    }

    /// The place with what it called of a dependency: `bcrypt::hash called by
    /// app::sign_in (src/main.rs:7)`.
    pub fn sentence(&self) -> String {
        match &self.within {
            Some(within) => format!("{within} called by {}", self.place()),
            None if self.foreign => format!("{}, of a dependency", self.place()),
            None => self.place(),
        }
    }
}

impl StackFrame {
    /// `file:line`, or the file; `None` where neither is known.
    pub fn location(&self) -> Option<String> {
        source(&self.file, self.line)
    }
}

fn source(file: &str, line: u32) -> Option<String> {
    match (file, line) {
        ("", _) => None,
        (file, 0) => Some(file.to_owned()),
        (file, line) => Some(format!("{file}:{line}")),
    }
}

/// A name and its place in a sentence: `app::handler (src/main.rs:7)`; only one of
/// them where the other is not known, never an empty bracket.
pub fn with_place(name: &str, place: &str) -> String {
    match (name, place) {
        (name, "") => name.to_owned(),
        ("", place) => place.to_owned(),
        (name, place) => format!("{name} ({place})"),
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
    /// The function that tasks spawned at a location run; `None` where they run
    /// several.
    futures: BTreeMap<LocationId, Option<Arc<str>>>,
    ended: VecDeque<Stall>,
    /// Stalls that ended, whether or not they are still held.
    pub total_ended: u64,
}

/// Stacks that are asked for what they lack; all of one program lack the same.
const RECENT: usize = 64;
/// Locations of which it is remembered what their tasks run.
const MAX_LOCATIONS: usize = 4_096;
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
            let (location, future) = (stall.location, resolved.future.clone());
            stall.resolved = Some(resolved);
            self.learn(location, future.as_deref());
        }
    }

    /// Remembers which function the tasks of a location run.
    fn learn(&mut self, location: Option<LocationId>, future: Option<&str>) {
        let (Some(location), Some(future)) = (location, future) else {
            return;
        };
        if self.futures.len() >= MAX_LOCATIONS && !self.futures.contains_key(&location) {
            return;
        }
        let known = self
            .futures
            .entry(location)
            .or_insert_with(|| Some(future.into()));
        if known.as_deref().is_some_and(|known| known != future) {
            *known = None;
        }
    }

    /// The function that all tasks spawned at a location run, as far as stacks
    /// have named it.
    pub fn future_of(&self, location: LocationId) -> Option<&str> {
        self.futures.get(&location)?.as_deref()
    }

    /// Gives a stall the names of a recording.
    pub(super) fn resolve_recorded(&mut self, id: StallId, resolved: Arc<Resolved>) {
        if let Some(stall) = self.get_mut(id) {
            let (location, future) = (stall.location, resolved.future.clone());
            stall.resolved = Some(resolved);
            stall.recorded_names = true;
            self.learn(location, future.as_deref());
        }
    }

    fn get_mut(&mut self, id: StallId) -> Option<&mut Stall> {
        let ended = self.ended.iter_mut().rev().find(|s| s.id == id);
        self.live.get_mut(&id).or(ended)
    }

    /// What of names or lines the stacks of the newest stalls lack, and how to get
    /// it.
    pub fn missing_names(&self) -> Option<&str> {
        let stacks = self.iter().filter_map(|s| s.resolved.as_deref());
        stacks.take(RECENT).find_map(Resolved::missing)
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
        for (location, future) in &other.futures {
            self.futures
                .entry(*location)
                .or_insert_with(|| future.clone());
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
            "reported twice, counted once"
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
    fn tasks_of_one_location_are_named_by_what_they_run() {
        let mut log = StallLog::default();
        let runs = |future: &str| {
            Arc::new(Resolved {
                future: Some(future.to_owned()),
                ..Resolved::default()
            })
        };
        for (id, location, future, expected) in [
            (1, 7, "app::serve", Some("app::serve")),
            (2, 7, "app::serve", Some("app::serve")),
            (3, 8, "app::poll", Some("app::poll")),
            // One place that spawns anything says nothing of what it spawns.
            (4, 8, "app::other", None),
            (5, 8, "app::poll", None),
        ] {
            log.update(&proto::Stall {
                location,
                ..stall(id, proto::StallState::Ended, 10)
            });
            log.resolve(StallId(id), runs(future));
            assert_eq!(log.future_of(LocationId(location)), expected, "{future}");
        }
        assert_eq!(log.future_of(LocationId(9)), None);
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
    fn a_place_is_never_empty() {
        let culprit = |function: &str, file: &str, line, within: Option<&str>| Culprit {
            function: function.into(),
            file: file.into(),
            line,
            within: within.map(Into::into),
            ..Culprit::default()
        };
        for (culprit, expected) in [
            (
                culprit("app::f", "src/a.rs", 7, None),
                "app::f (src/a.rs:7)",
            ),
            (culprit("app::f", "src/a.rs", 0, None), "app::f (src/a.rs)"),
            (culprit("app::f", "", 0, None), "app::f"),
            (culprit("app::f", "", 7, None), "app::f"),
            (culprit("", "src/a.rs", 7, None), "src/a.rs:7"),
            (
                culprit("app::f", "", 0, Some("bcrypt::hash")),
                "bcrypt::hash called by app::f",
            ),
        ] {
            assert_eq!(culprit.sentence(), expected);
        }
        let written = |culprit: Culprit| Culprit {
            written: Some("src/a.rs:3".into()),
            ..culprit
        };
        for (culprit, expected) in [
            (
                written(culprit("app::f", "", 0, None)),
                "app::f (async code at src/a.rs:3)",
            ),
            (
                written(culprit("app::f", "src/a.rs", 7, None)),
                "app::f (src/a.rs:7)",
            ),
            (
                written(culprit("async code at src/a.rs:3", "", 0, None)),
                "async code at src/a.rs:3",
            ),
        ] {
            assert_eq!(culprit.sentence(), expected);
        }
        let foreign = Culprit {
            foreign: true,
            ..culprit("bcrypt::hash", "", 0, None)
        };
        assert_eq!(foreign.sentence(), "bcrypt::hash, of a dependency");
        assert_eq!(foreign.location(), None);
    }

    #[test]
    fn a_call_is_known_without_a_culprit_and_never_waits_while_it_computes() {
        let call = |kind| {
            Some(Call {
                kind,
                name: "call".to_owned(),
            })
        };
        for (cause, kind, expected) in [
            (Cause::Sleeping, CallKind::Sleep, true),
            (Cause::Lock, CallKind::NestedExecutor, true),
            (Cause::Computing, CallKind::Condition, false),
            (Cause::Computing, CallKind::Compute, true),
        ] {
            let mut stall = Stall::new(&proto::Stall::default(), None);
            stall.cause = cause;
            stall.resolved = Some(Arc::new(Resolved {
                call: call(kind),
                ..Resolved::default()
            }));
            assert_eq!(stall.call().is_some(), expected, "{cause:?} in {kind:?}");
            assert_eq!(stall.culprit(), None);
        }
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
                ..Culprit::default()
            }),
            ..Resolved::default()
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
