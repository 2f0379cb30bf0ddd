//! One thread, from look to look.

use std::time::{Duration, Instant};

use looptop_procfs::cause::{Cause, Look};
use looptop_procfs::{Process, SchedStat, SchedState, Signature, SyscallState, TICK_NS, syscalls};
use looptop_symbols::scheduler::{Place, Snapshot, Ticks, Wait};
use looptop_unwind::{Beyond, Registers};

use super::poll::Poll;
use super::stall::{Call, RunningTask, Scope, StackSample, Stall};
use super::{MAX_ENDED, MAX_OPEN, MAX_SAMPLERS, Role, Shared, ThreadView};
use crate::Evidence;
use crate::code::Standing;
use crate::sampler::{Sampler, WordWatch};
use crate::stop::NoStop;
use crate::thread::ThreadFiles;

/// Bytes of a blocked thread's stack that are copied at once; what lies beyond is read
/// where it is needed.
const STACK: usize = 16 << 10;
/// Places where one thread parks: the driver, its condition variable.
const MAX_PARKS: usize = 8;
/// Between two looks at a parked thread that teach where its counters are.
const LEARN: Duration = Duration::from_millis(50);
/// A thread that was given a CPU more often since the last look has blocked in between;
/// others that want the same CPU make some dozens.
const FEW_SLICES: u64 = 100;
/// A thread that is never seen blocked is sampled after so long, to learn what it is.
const NEVER_BLOCKED: Duration = Duration::from_millis(500);
/// Threads that run no tokio are looked at again after so long at first, and at last.
const FIRST_AGAIN: Duration = Duration::from_millis(50);
const LAST_AGAIN: Duration = Duration::from_secs(8);
const LAST_AGAIN_POOL: Duration = Duration::from_millis(400);
/// Between two stops of one thread: in a poll by its age, else ever more rarely.
const STOP_AGAIN: Duration = Duration::from_secs(1);
const LAST_STOP_AGAIN: Duration = Duration::from_secs(16);
/// Ages of a poll after which a computing thread is sampled rarely.
const SAMPLE_ALL: Duration = Duration::from_millis(500);
const SAMPLE_EVERY: Duration = Duration::from_millis(500);
/// Between two breakpoints on a thread that goes from poll to poll, at most: a poll that
/// computes is to be known 100 ms after the threshold.
const LAST_WATCH_AGAIN: Duration = Duration::from_millis(40);
/// Between two breakpoints on one thread, unless its poll is long already.
const WATCH_AGAIN: Duration = Duration::from_millis(50);
/// How long threads stood still, of so many.
const MAX_HELD: usize = 1_024;
/// A sampler that nobody needs for so long is closed.
const SAMPLER_IDLE: Duration = Duration::from_secs(1);
/// Stacks that could not be read, until a thread is looked at ever more rarely.
const MAX_UNREAD: u32 = 3;
/// How often somebody is asked for the task of a poll.
const MAX_ASKED: u32 = 4;

/// What the last look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// It could not be seen, or the thread ran on while it was looked at.
    Unclear,
    Blocked(SyscallState),
    Running,
}

/// One turn of a scheduler's loop, for as long as its counters stand still.
#[derive(Debug)]
struct Turn {
    counters: Vec<u32>,
    since: Instant,
    began: SchedStat,
}

/// A thread that is watched.
#[derive(Debug)]
pub(super) struct Watched {
    tid: u64,
    role: Role,
    born: Instant,
    /// Stacks in a row that said nothing of it.
    unread: u32,
    files: Option<ThreadFiles>,
    sched: Option<SchedStat>,
    at: At,
    parked: bool,
    parks: Vec<Signature>,
    ticks: Ticks,
    /// The next look that may teach them, and how often it had been given a CPU at the
    /// last: nothing has grown before it runs again.
    learn: Instant,
    taught: Option<u64>,
    turn: Option<Turn>,
    /// Since when it has not blocked, and the count of times that it has.
    computing: Option<(Instant, u64)>,
    sampler: Option<Sampler>,
    /// When it was enabled last.
    sampled: Instant,
    poll: Option<Poll>,
    /// Nothing before that: it runs no tokio, as far as was seen.
    again: Instant,
    wait: Duration,
    next_stop: Instant,
    stop_wait: Duration,
    next_watch: Instant,
    watch_wait: Duration,
    next_sample: Instant,
}

impl Watched {
    pub(super) fn new(tid: u64, now: Instant) -> Self {
        Self {
            tid,
            role: Role::Unknown,
            born: now,
            unread: 0,
            files: None,
            sched: None,
            at: At::Unclear,
            parked: false,
            parks: Vec::new(),
            ticks: Ticks::default(),
            learn: now,
            taught: None,
            turn: None,
            computing: None,
            sampler: None,
            sampled: now,
            poll: None,
            again: now,
            wait: FIRST_AGAIN,
            next_stop: now,
            stop_wait: STOP_AGAIN,
            next_watch: now,
            watch_wait: Duration::ZERO,
            next_sample: now,
        }
    }

    pub(super) fn has_sampler(&self) -> bool {
        self.sampler.is_some()
    }

    pub(super) fn has_files(&self) -> bool {
        self.files.is_some()
    }

    fn runs_tokio(&self) -> bool {
        matches!(
            self.role,
            Role::Worker | Role::CurrentThread | Role::BlockOn
        )
    }

    /// It has ended.
    pub(super) fn gone(&mut self, shared: &mut Shared) {
        self.end_poll(shared);
        self.files = None;
        self.sampler = None;
    }

    /// A look.
    pub(super) fn look(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        task_of: &dyn Fn(&[u64]) -> Option<RunningTask>,
    ) {
        if now < self.again {
            return;
        }
        let clock = Clock::new(now);
        let had_files = self.files.is_some();
        if self
            .sampler
            .as_ref()
            .is_some_and(|sampler| !sampler.is_enabled())
            && now.saturating_duration_since(self.sampled) >= SAMPLER_IDLE
        {
            self.sampler = None;
            shared.samplers = shared.samplers.saturating_sub(1);
        }
        let Some(files) = self.take_files(shared) else {
            self.at = At::Unclear;
            return;
        };
        let mut eye = Eye {
            files,
            clock,
            shared,
        };
        eye.shared.costs.looks += 1;
        let Some(sched) = eye.files.sched() else {
            self.gone(eye.shared);
            return;
        };
        let before = self.sched.replace(sched);
        let same = before.is_some_and(|before| before.slices == sched.slices);
        match self.at {
            At::Blocked(state) if same => self.stands_still(state, sched, &mut eye),
            _ => {
                let state = eye.files.syscall();
                match state {
                    SyscallState::In { .. } | SyscallState::Outside { .. } => {
                        self.is_blocked(state, sched, &mut eye);
                    }
                    SyscallState::Running => self.runs(before, sched, &mut eye),
                    SyscallState::Unknown => {
                        self.at = At::Unclear;
                        self.end_poll(eye.shared);
                    }
                }
            }
        }
        let Eye { files, shared, .. } = eye;
        self.judge(shared, task_of);
        let unknown = self.role == Role::Unknown && self.unread < MAX_UNREAD;
        let often = self.runs_tokio() || unknown || self.poll.is_some();
        if often && (had_files || shared.open < MAX_OPEN) {
            shared.open += usize::from(!had_files);
            self.files = Some(files);
        } else {
            shared.open = shared.open.saturating_sub(usize::from(had_files));
        }
        if !often {
            self.again = now + self.wait;
            let last = match self.role {
                Role::BlockingPool => LAST_AGAIN_POOL,
                _ => LAST_AGAIN,
            };
            self.wait = (self.wait * 2).min(last);
        }
    }

    fn take_files(&mut self, shared: &Shared) -> Option<ThreadFiles> {
        if let Some(files) = self.files.take() {
            return Some(files);
        }
        // Over the bound they are opened for each look.
        ThreadFiles::open(shared.process(), self.tid)
    }

    /// It has been blocked in one and the same call since the last look.
    fn stands_still(&mut self, state: SyscallState, sched: SchedStat, eye: &mut Eye<'_>) {
        if self.poll.is_some() {
            let look = eye.files.look(eye.shared.program.process(), state);
            let now = eye.clock.now();
            if let Some(poll) = &mut self.poll {
                poll.proven(now, sched);
                poll.count_look(look);
                poll.add_again();
            }
            self.keep_watch(eye);
        } else if self.parked {
            self.learn(state, sched, eye);
        }
    }

    /// It is blocked, and was not in this call at the last look.
    fn is_blocked(&mut self, state: SyscallState, sched: SchedStat, eye: &mut Eye<'_>) {
        self.computing = None;
        self.rest_sampler();
        self.at = At::Blocked(state);
        let signature = Signature::of(state);
        if signature.is_some_and(|s| self.parks.contains(&s)) {
            self.parks_now(eye.shared);
            self.learn(state, sched, eye);
            return;
        }
        self.parked = false;
        let Some((sp, pc)) = state.blocked_at() else {
            return;
        };
        let mut copy = vec![0; STACK];
        let length = eye.shared.program.read_stack(sp, &mut copy);
        copy.truncate(length);
        let standing = eye.shared.program.stand(
            Registers::blocked(pc, sp),
            &copy,
            Beyond::InMemory,
            wait_of(state),
        );
        eye.shared.costs.read += 1;
        // What was read after it had run on is of two states.
        if !eye.is_still(state, sched) {
            eye.shared.costs.torn += 1;
            self.at = At::Unclear;
            self.goes_on(sched, None, eye);
            return;
        }
        let first = eye.shared.pid == self.tid;
        let place = match standing.place {
            // The first thread may drive a `LocalSet` beside a multi-thread runtime.
            Some(Place::Elsewhere)
                if first && eye.shared.program.is_bare() && wait_of(state) == Wait::Futex =>
            {
                Some(Place::Waits)
            }
            place => place,
        };
        let Some(place) = place else {
            self.unread = self.unread.saturating_add(1);
            self.end_poll(eye.shared);
            return;
        };
        self.takes_role(place, eye.shared.program.is_bare());
        match place {
            Place::InPoll(_) => self.in_poll(state, sched, &standing, &copy, sp, eye),
            Place::Parked(_) | Place::Waits => {
                self.parks_now(eye.shared);
                if let Some(signature) = signature {
                    if self.parks.len() == MAX_PARKS {
                        self.parks.remove(0);
                    }
                    self.parks.push(signature);
                }
                self.learn(state, sched, eye);
            }
            Place::InFuture | Place::HandedOver | Place::Pool | Place::Elsewhere => {
                self.end_poll(eye.shared);
            }
        }
    }

    /// `bare` where polls alone are known: then a thread is no other for being in none.
    fn takes_role(&mut self, place: Place, bare: bool) {
        self.unread = 0;
        if bare && self.runs_tokio() && matches!(place, Place::Pool | Place::Elsewhere) {
            return;
        }
        let role = Role::at(place, self.role);
        if role != self.role {
            self.role = role;
            self.wait = FIRST_AGAIN;
        }
    }

    fn parks_now(&mut self, shared: &mut Shared) {
        self.parked = true;
        self.turn = None;
        self.end_poll(shared);
    }

    /// A blocked thread is in a poll.
    fn in_poll(
        &mut self,
        state: SyscallState,
        sched: SchedStat,
        standing: &Standing,
        copy: &[u8],
        sp: u64,
        eye: &mut Eye<'_>,
    ) {
        self.goes_on(sched, standing.slot(), eye);
        let now = eye.clock.now();
        let look = eye.files.look(eye.shared.program.process(), state);
        let is_new = self.poll.is_none();
        let poll = self.poll.get_or_insert_with(|| Poll::new(now, sched));
        poll.confirmed = true;
        poll.proven(now, sched);
        poll.count_look(look);
        poll.add(sample(standing, Evidence::Read, state));
        if is_new {
            poll.is_task = standing.is_task;
            poll.slot = standing.slot();
            poll.words = standing.words(copy, sp);
            if poll.words.is_empty() {
                // It is further out than what was copied.
                let from = standing.frame(sp).unwrap_or(sp);
                let mut outer = vec![0; STACK];
                let length = eye.shared.program.read_stack(from, &mut outer);
                poll.words = standing.words(&outer[..length], from);
            }
            poll.counters = eye.shared.counters(&self.ticks);
            self.keep_watch(eye);
        }
    }

    /// The thread has run since the last look: whether the poll is the same is to be
    /// proven. `slot` is where a stack from now has the return address of its poll.
    fn goes_on(&mut self, sched: SchedStat, slot: Option<u64>, eye: &mut Eye<'_>) {
        let Some(poll) = &mut self.poll else { return };
        poll.moves();
        let same_slot = slot.is_none() || slot == poll.slot;
        let untouched = poll.is_untouched();
        let same_turn = || {
            let counters = poll.counters.as_ref();
            counters.is_some() && eye.shared.counters(&self.ticks).as_ref() == counters
        };
        // What a future of `block_on` has called may return within its poll.
        let left = untouched == Some(false) && poll.is_task;
        let same = match untouched {
            Some(true) if same_slot => true,
            _ if left || (poll.is_task && !same_slot) => false,
            _ if same_turn() => {
                poll.scope = Scope::OneTurn;
                poll.forget_watch();
                true
            }
            _ => false,
        };
        if same {
            poll.proven(eye.clock.now(), sched);
        } else {
            self.ends_now(eye);
        }
    }

    /// Its poll has ended since the clocks were read, perhaps: whoever looks may have lost
    /// its own CPU in between.
    fn ends_now(&mut self, eye: &mut Eye<'_>) {
        if let (Some(poll), Some(sched)) = (&mut self.poll, eye.files.sched()) {
            poll.ends(sched);
        }
        self.end_poll(eye.shared);
    }

    /// Sets a breakpoint on the end of the poll in which the thread is blocked.
    fn keep_watch(&mut self, eye: &mut Eye<'_>) {
        let Some(poll) = &mut self.poll else { return };
        let Some(slot) = poll.slot.filter(|_| !poll.is_watched()) else {
            return;
        };
        let now = eye.clock.now();
        let (At::Blocked(state), Some(sched)) = (self.at, self.sched) else {
            return;
        };
        if now < self.next_watch && poll.age() < eye.shared.options.threshold {
            return;
        }
        self.next_watch = now + WATCH_AGAIN;
        let watch = eye.shared.watch(self.tid, slot);
        // It must have been in the poll still when the watch began.
        if let Some(watch) = watch.filter(|_| eye.is_still(state, sched)) {
            poll.watch(watch, sched);
        }
    }

    /// It is on a CPU, or ready for one.
    fn runs(&mut self, before: Option<SchedStat>, sched: SchedStat, eye: &mut Eye<'_>) {
        self.at = At::Running;
        self.parked = false;
        self.goes_on(sched, None, eye);
        if let Some(poll) = &mut self.poll {
            poll.count_look(Look {
                syscall: SyscallState::Running,
                state: Some(SchedState::Running),
            });
        }
        let since = self.computes(before, sched, eye);
        let now = eye.clock.now();
        let half = eye.shared.options.threshold / 2;
        let long = since.is_some_and(|since| now.saturating_duration_since(since) >= half);
        let age = now.saturating_duration_since(self.born);
        // One that goes from call to call may be sampled, and not be stopped.
        let strange = self.role == Role::Unknown && age >= NEVER_BLOCKED;
        if !long && !strange && self.poll.is_none() {
            self.rest_sampler();
            return;
        }
        if self.samples(sched, eye) {
            return;
        }
        if long {
            self.stops(sched, eye);
        }
    }

    /// Since when it has neither blocked, nor gone through its scheduler as far as that
    /// is known.
    fn computes(
        &mut self,
        before: Option<SchedStat>,
        sched: SchedStat,
        eye: &mut Eye<'_>,
    ) -> Option<Instant> {
        let now = eye.clock.now();
        let slices = before.map(|before| sched.slices.saturating_sub(before.slices));
        let blocked = match slices {
            Some(0) if self.computing.is_some() => None,
            Some(slices) if slices <= FEW_SLICES => {
                let process = eye.shared.program.process();
                Some(eye.files.switches(process).map(|(voluntary, _)| voluntary))
            }
            _ => {
                self.computing = None;
                return None;
            }
        };
        match (blocked, &mut self.computing) {
            (None, _) => {}
            (Some(None), computing) => *computing = None,
            (Some(Some(times)), Some((_, known))) if *known == times => {}
            (Some(Some(times)), computing) => *computing = Some((now, times)),
        }
        let (since, _) = self.computing?;
        let Some(counters) = eye.shared.counters(&self.ticks) else {
            self.turn = None;
            return Some(since);
        };
        let turn = match &mut self.turn {
            Some(turn) if turn.counters == counters => turn,
            other => other.insert(Turn {
                counters,
                since: now,
                began: sched,
            }),
        };
        Some(since.max(turn.since))
    }

    /// Reads what the kernel has sampled; `false` where there is no sampler.
    fn samples(&mut self, sched: SchedStat, eye: &mut Eye<'_>) -> bool {
        if self.sampler.is_none() {
            self.sampler = eye.shared.open_sampler(self.tid);
        }
        let Some(sampler) = &mut self.sampler else {
            return false;
        };
        let now = eye.clock.now();
        let taken = sampler.take();
        eye.shared.costs.samples_lost += sampler.take_lost();
        let age = self.poll.as_ref().map_or(Duration::ZERO, Poll::age);
        // Of a long poll some are enough.
        let rests = self.poll.is_none() && now + eye.shared.options.interval < self.next_watch;
        let wanted = !rests && (age < SAMPLE_ALL || now >= self.next_sample);
        sampler.enable(wanted);
        if wanted {
            self.sampled = now;
        }
        for taken in taken {
            eye.shared.costs.sampled += 1;
            if age >= SAMPLE_ALL {
                self.next_sample = now + SAMPLE_EVERY;
            }
            let standing =
                eye.shared
                    .program
                    .stand(taken.registers, &taken.stack, Beyond::Gone, Wait::Other);
            self.is_sampled(&standing, &taken.stack, taken.registers.sp, sched, eye);
        }
        if !self.runs_tokio() && self.role != Role::Unknown {
            self.sampler = None;
        }
        true
    }

    /// A stack from some moment since the last look.
    fn is_sampled(
        &mut self,
        standing: &Standing,
        stack: &[u8],
        sp: u64,
        sched: SchedStat,
        eye: &mut Eye<'_>,
    ) {
        let Some(place) = standing.place else { return };
        self.takes_role(place, eye.shared.program.is_bare());
        let slot = standing.slot();
        let in_poll = matches!(place, Place::InPoll(_));
        if let Some(poll) = &mut self.poll {
            let same = in_poll && (slot == poll.slot || !poll.is_task);
            if same {
                // From before the watch where it was not the same poll; but those were
                // thrown away when it began.
                poll.confirmed = true;
                poll.add(sample(standing, Evidence::Sampled, SyscallState::Running));
                return;
            }
            if poll.confirmed && poll.is_untouched() == Some(true) {
                // A stack that could not be read to its end.
                return;
            }
            self.ends_now(eye);
        }
        let Some(slot) = slot.filter(|_| in_poll) else {
            return;
        };
        if eye.clock.now() < self.next_watch {
            return;
        }
        // Most threads that compute go from poll to poll.
        let least = eye.shared.options.interval;
        self.watch_wait = (self.watch_wait * 2).clamp(least, LAST_WATCH_AGAIN.max(least));
        self.next_watch = eye.clock.now() + self.watch_wait;
        let Some(watch) = eye.shared.watch(self.tid, slot) else {
            return;
        };
        // It may be the next poll already, of which this stack is not.
        let mut poll = Poll::new(eye.clock.now(), sched);
        poll.slot = Some(slot);
        poll.is_task = standing.is_task;
        poll.watch(watch, sched);
        poll.counters = eye.shared.counters(&self.ticks);
        poll.words = standing.words(stack, sp);
        self.poll = Some(poll);
        if let Some(sampler) = &mut self.sampler {
            // Only a stack from now on proves that it was in a poll when the watch began.
            sampler.take();
        }
    }

    fn rest_sampler(&mut self) {
        if let Some(sampler) = &mut self.sampler {
            if sampler.is_enabled() {
                sampler.enable(false);
            }
            sampler.take();
        }
    }

    /// Stops the thread for its stack, where that is permitted and not too often.
    fn stops(&mut self, sched: SchedStat, eye: &mut Eye<'_>) {
        let now = eye.clock.now();
        if now < self.next_stop {
            return;
        }
        let counters = eye.shared.counters(&self.ticks);
        let known = self.runs_tokio() || self.role == Role::BlockingPool;
        if counters.is_none() && known {
            // A stack would not say whether it is one poll.
            return;
        }
        // Never one that is in a system call now, or stopped by somebody else.
        let state = eye.files.syscall();
        let look = eye.files.look(eye.shared.program.process(), state);
        let computes = Some(SchedState::Running);
        if look.syscall != SyscallState::Running || look.state != computes {
            return;
        }
        let Some(stop) = eye.shared.stop(self.tid) else {
            self.next_stop = now + self.stop_wait;
            self.stop_wait = (self.stop_wait * 2).min(LAST_STOP_AGAIN);
            return;
        };
        let standing =
            eye.shared
                .program
                .stand(stop.registers, &stop.stack, Beyond::Gone, Wait::Other);
        let same_turn = counters.is_some() && eye.shared.counters(&self.ticks) == counters;
        if let Some(place) = standing.place {
            self.takes_role(place, eye.shared.program.is_bare());
        }
        let in_poll = matches!(standing.place, Some(Place::InPoll(_)));
        let turn = self.turn.as_ref().filter(|_| in_poll && same_turn);
        let Some(turn) = turn else {
            self.next_stop = now + self.stop_wait;
            self.stop_wait = (self.stop_wait * 2).min(LAST_STOP_AGAIN);
            return;
        };
        let sched = eye.files.sched().unwrap_or(sched);
        let poll = self.poll.get_or_insert_with(|| {
            let mut poll = Poll::new(turn.since, turn.began);
            poll.scope = Scope::OneTurn;
            poll.is_task = standing.is_task;
            poll.words = standing.words(&stop.stack, stop.registers.sp);
            poll.counters = counters;
            poll
        });
        poll.confirmed = true;
        poll.proven(now, sched);
        poll.count_look(look);
        poll.clocks_are_exact(sched);
        poll.add(sample(&standing, Evidence::Stopped, SyscallState::Running));
        self.stop_wait = STOP_AGAIN;
        // At 20 ms, 80 ms, 320 ms, ... of its age.
        self.next_stop = now + (poll.age() * 3).max(eye.shared.options.threshold);
    }

    fn learn(&mut self, state: SyscallState, sched: SchedStat, eye: &mut Eye<'_>) {
        let now = eye.clock.now();
        let ran = self.taught != Some(sched.slices);
        if !ran || !self.ticks.wants() || now < self.learn {
            return;
        }
        let SyscallState::In { sp, .. } = state else {
            return;
        };
        if eye.shared.program.is_bare() && !self.runs_tokio() {
            // It may be anybody's wait.
            return;
        }
        self.learn = now + LEARN;
        let program = &eye.shared.program;
        let snapshot = Snapshot::take(sp, &|at, buffer| program.read(at, buffer));
        if eye.is_still(state, sched) {
            self.ticks.learn(snapshot);
            self.taught = Some(sched.slices);
        }
    }

    /// Whether its poll has become a stall.
    fn judge(&mut self, shared: &mut Shared, task_of: &dyn Fn(&[u64]) -> Option<RunningTask>) {
        let Some(poll) = &mut self.poll else { return };
        if !poll.confirmed || poll.age() < shared.options.threshold {
            return;
        }
        if poll.task.is_none() && poll.asked < MAX_ASKED {
            poll.asked += 1;
            poll.task = task_of(&poll.words);
            if poll.task.is_some() || poll.asked == MAX_ASKED {
                poll.words = Vec::new();
            }
        }
        if let At::Blocked(state) = self.at {
            let (program, sockets) = (&shared.program, &mut shared.sockets);
            let process = program.process();
            poll.seek_object(state, process, self.tid, |_, inode| {
                sockets.ask(process, inode)
            });
        }
        if poll.stall.is_some() {
            return;
        }
        poll.stall = Some(shared.next_id);
        shared.next_id += 1;
        self.watch_wait = Duration::ZERO;
    }

    fn end_poll(&mut self, shared: &mut Shared) {
        let Some(mut poll) = self.poll.take() else {
            return;
        };
        if let Some(sched) = self.sched {
            poll.ends(sched);
        }
        if let Some(id) = poll.stall {
            if shared.ended.len() == MAX_ENDED {
                shared.ended.pop_front();
                shared.costs.stalls_dropped += 1;
            }
            let stall = poll.report(id, self.tid, true, &shared.no_stack());
            shared.ended.push_back(stall);
        }
    }

    /// The stall in which it is.
    pub(super) fn stall(&mut self, shared: &Shared) -> Option<Stall> {
        let poll = self.poll.as_mut()?;
        let id = poll.stall?;
        Some(poll.report(id, self.tid, false, &shared.no_stack()))
    }

    /// Where it is blocked, if it may run tokio; any may where `bare`.
    pub(super) fn stack_pointer(&self, bare: bool) -> Option<(u64, u64)> {
        match (self.role, self.at) {
            (Role::Other, _) if !bare => None,
            (_, At::Blocked(state)) => Some((self.tid, state.blocked_at()?.0)),
            _ => None,
        }
    }

    pub(super) fn view(&mut self, process: &Process, shared: &Shared) -> Option<ThreadView> {
        let mut opened = None;
        let files = match &mut self.files {
            Some(files) => files,
            None => opened.insert(ThreadFiles::open(process, self.tid)?),
        };
        let stat = files.whole_stat(process)?;
        let sched = files.sched()?;
        let (voluntary, involuntary) = files.switches(process).unwrap_or_default();
        let call = match files.syscall() {
            SyscallState::In { number, args, .. } => Some(Call { number, args }),
            _ => None,
        };
        let poll = self.poll.as_ref().filter(|poll| poll.confirmed);
        Some(ThreadView {
            tid: self.tid,
            name: stat.name,
            state: stat.state,
            role: match self.role {
                // No poll was seen on it, of those that are known: it may be of the
                // blocking pool.
                Role::Other if shared.program.is_bare() => Role::Unknown,
                role => role,
            },
            user_ns: stat.user_ticks.saturating_mul(TICK_NS),
            system_ns: stat.system_ticks.saturating_mul(TICK_NS),
            cpu_ns: sched.cpu_ns,
            run_queue_ns: sched.run_queue_ns,
            voluntary_switches: voluntary,
            involuntary_switches: involuntary,
            call,
            parked: self.parked && self.runs_tokio(),
            in_poll_since: poll.map(|poll| poll.since),
            task: poll.and_then(|poll| poll.task),
            polls_distinguished: self.ticks.are_known() || shared.costs.no_sampler.is_none(),
        })
    }
}

fn wait_of(state: SyscallState) -> Wait {
    match state {
        SyscallState::In { number, .. } => Wait::of(&syscalls::name(number)),
        _ => Wait::Other,
    }
}

fn sample(standing: &Standing, evidence: Evidence, state: SyscallState) -> StackSample {
    let call = match state {
        SyscallState::In { number, args, .. } => Some(Call { number, args }),
        _ => None,
    };
    StackSample {
        frames: standing.unwound.stack.frames.clone(),
        truncated: standing.unwound.stack.truncated,
        count: 1,
        evidence,
        cause: Cause::of(&state),
        call,
    }
}

/// Now, while a look goes on.
#[derive(Debug, Clone, Copy)]
struct Clock {
    now: Instant,
    began: Instant,
}

impl Clock {
    fn new(now: Instant) -> Self {
        Self {
            now,
            began: Instant::now(),
        }
    }

    fn now(self) -> Instant {
        self.now + self.began.elapsed()
    }
}

/// What looks at one thread.
struct Eye<'a> {
    files: ThreadFiles,
    clock: Clock,
    shared: &'a mut Shared,
}

impl Eye<'_> {
    /// Whether the thread is still in the call in which it was: what was read between is
    /// of one state.
    fn is_still(&self, state: SyscallState, sched: SchedStat) -> bool {
        let slices = self.files.sched().map(|sched| sched.slices);
        slices == Some(sched.slices) && self.files.syscall() == state
    }
}

impl Shared {
    fn process(&self) -> &Process {
        self.program.process()
    }

    fn counters(&self, ticks: &Ticks) -> Option<Vec<u32>> {
        ticks.now(&|at, buffer| self.program.read(at, buffer))
    }

    fn watch(&mut self, tid: u64, slot: u64) -> Option<WordWatch> {
        if !self.options.may_sample {
            return None;
        }
        let watch = WordWatch::open(i32::try_from(tid).ok()?, slot).ok()?;
        self.costs.polls_watched += 1;
        Some(watch)
    }

    fn open_sampler(&mut self, tid: u64) -> Option<Sampler> {
        let allowed = self.options.may_sample && self.costs.no_sampler.is_none();
        if !allowed || self.samplers >= MAX_SAMPLERS {
            return None;
        }
        match Sampler::open(i32::try_from(tid).ok()?) {
            Ok(sampler) => {
                self.samplers += 1;
                Some(sampler)
            }
            Err(error) => {
                // Where others have one, that is no reason to give up, nor a thread that has
                // ended.
                if self.samplers == 0 && error.raw_os_error() != Some(libc::ESRCH) {
                    self.costs.no_sampler = Some(format!("perf_event_open: {error}"));
                }
                None
            }
        }
    }

    fn stop(&mut self, tid: u64) -> Option<crate::stop::Stop> {
        let stopper = self.stopper.as_ref()?;
        match stopper.stop(i32::try_from(tid).ok()?) {
            Ok(stop) => {
                self.costs.stopped += 1;
                self.costs.stopped_in_call += u64::from(stop.in_call);
                self.costs.held_max = self.costs.held_max.max(Some(stop.held));
                if self.held.len() == MAX_HELD {
                    self.held.pop_front();
                }
                let held = u32::try_from(stop.held.as_micros()).unwrap_or(u32::MAX);
                self.held.push_back(held);
                Some(stop)
            }
            Err(NoStop::Ended) => None,
            Err(error) => {
                self.costs.stops_failed += 1;
                if matches!(error, NoStop::Refused(_)) && self.costs.stopped == 0 {
                    self.costs.no_stop = Some(error.to_string());
                }
                None
            }
        }
    }

    fn no_stack(&self) -> String {
        let reason =
            |what: &str, why: &Option<String>| why.as_ref().map(|why| format!("{what}: {why}"));
        let reasons = [
            reason("the thread was not sampled", &self.costs.no_sampler),
            reason("it was not stopped", &self.costs.no_stop),
        ];
        let reasons: Vec<String> = reasons.into_iter().flatten().collect();
        if reasons.is_empty() {
            "the thread was not seen in it".to_owned()
        } else {
            reasons.join("; ")
        }
    }
}
