//! The threads that look at a process: one at its threads, one at its tasks.

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use looptop_outside::{
    Changed, Chosen, Life, ProcessMemory, RunningTask, Stall, Subject, Watch, WatchOptions,
    access::Access,
    tasks::{Activity, AddressSet, Tasks, Types},
    waits::FEW_TASKS,
};
use looptop_procfs::{Cause, SchedState};
use tokio::sync::mpsc::{self, error::TrySendError};

use super::{
    facts,
    hello::{self, Missing},
    names::{Names, Program},
    ran::Ran,
    reader::{self, Desk, Reading},
    seen::{Listing, Look, Waits},
    stop::{Guard, Stop},
};
use crate::source::{
    Problem,
    budget::{self, Budget, ThreadCpu},
};

/// A poll that takes longer is a stall.
pub(super) const THRESHOLD: Duration = Duration::from_millis(10);
/// Between two looks at the threads.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Between two listings of the tasks, at least.
const LIST_EVERY: Duration = Duration::from_secs(1);
/// The same where somebody asks for one.
const LIST_ON_DEMAND: Duration = Duration::from_millis(30);
/// The same while names are looked up.
const LIST_SOON: Duration = Duration::from_millis(250);
/// Names that are looked up are asked for so often.
const NAMES_EVERY: Duration = Duration::from_millis(20);
/// The share of a core that listing may take: after so many times as long as one took
/// comes the next.
const LIST_REST: f64 = 1.0 / 0.15 - 1.0;
/// The same of more than [`FEW_TASKS`], unless somebody asks for a listing: where listings
/// are shown, and where tasks are only looked for to be read. Neither makes the next one
/// come later than that.
const SHOWN_REST: (f64, Duration) = (1.0 / 0.03 - 1.0, Duration::from_secs(4));
const UNSHOWN_REST: (f64, Duration) = (1.0 / 0.01 - 1.0, Duration::from_secs(10));
/// The share of a core that reading the threads for a frame may take, likewise.
const READ_REST: u32 = 30;

/// What one of the threads saw.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) at: Instant,
    pub(super) what: What,
}

/// See [`Message`].
#[derive(Debug)]
pub(super) enum What {
    Look(Box<Look>),
    Listing(Box<Listing>),
    Waits(Box<Waits>),
    /// It is stopped, by a signal or a debugger. Said again and again, as long as it is.
    Stopped,
    /// The process is no longer what it was.
    Ended(Problem),
}

/// A process whose program was read, and that is not looked at yet.
#[derive(Debug)]
pub(super) struct Attached {
    subject: Subject,
    watch: Watch,
    types: Option<Arc<Types>>,
    name: String,
    /// Why the kernel's sampler may not be used.
    no_sampler: Option<String>,
    /// Why threads may not be stopped.
    no_stop: Option<String>,
    pub(super) missing: Missing,
}

impl Attached {
    /// Reads the program; some ten milliseconds, of a large one some hundred.
    pub(super) fn new(access: Access) -> Result<Self, Problem> {
        let subject = access.subject;
        let no_sampler = access.may_sample.as_ref().err().map(ToString::to_string);
        let no_stop = access.may_stop.as_ref().err().map(ToString::to_string);
        let options = WatchOptions {
            threshold: THRESHOLD,
            interval: LOOK_EVERY,
            may_sample: access.may_sample.is_ok(),
            may_stop: access.may_stop.is_ok(),
            ..WatchOptions::default()
        };
        let process = subject.process();
        let program = process.program();
        let name = program.as_deref().and_then(Path::file_name);
        let name = name.map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let watch = Watch::new(&subject, options);
        let mut watch = watch.map_err(|error| Problem::unreadable(subject.pid(), &name, &error))?;
        let (types, no_types) = match Types::load(&subject) {
            Ok(types) => (Some(Arc::new(types)), None),
            Err(error) => (None, Some(format!("tasks cannot be listed: {error}"))),
        };
        if let Some(types) = &types {
            watch.learn_types(types);
        }
        let missing = Missing {
            names: watch.sees_tasks_only().map(hello::polls_of_tasks_only),
            tasks: no_types,
            stalls: watch
                .unknown()
                .map(|why| format!("tokio's scheduler was not found in the program: {why}")),
        };
        Ok(Self {
            subject,
            watch,
            types,
            name,
            no_sampler,
            no_stop,
            missing,
        })
    }

    /// Differs between two processes, and between two programs of one process.
    pub(super) fn session(&self) -> String {
        let stat = self.subject.process().stat();
        let started = stat.as_ref().map_or(0, |stat| stat.start_ticks);
        // `exec` keeps the start, and puts the stack elsewhere.
        let stack = stat.and_then(|stat| stat.stack_start).unwrap_or_default();
        format!("outside-{}-{started:x}-{stack:x}", self.subject.pid())
    }

    /// The program's GNU build id; empty where it has none.
    pub(super) fn build_id(&self) -> Vec<u8> {
        let program = self.subject.process().path("exe");
        looptop_symbols::elf::build_id(&program).unwrap_or_default()
    }

    /// Empty where it is not known.
    pub(super) fn tokio_version(&self) -> String {
        let version = self.types.as_deref().and_then(Types::tokio_version);
        version.map_or_else(String::new, |version| version.to_string())
    }
}

/// The threads that look; they end within a look when it is dropped.
#[derive(Debug)]
pub(super) struct Driver {
    board: Board,
    /// Listings are shown, rather than only read.
    shows: Arc<AtomicBool>,
    _guard: Guard,
}

/// Whose stacks lead to the runtimes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stacks {
    /// Those of the threads that are watched.
    Watched,
    /// Those of all threads, though only some are watched: each is asked for at a listing.
    All,
}

/// What the thread that looks at threads lets the other know.
#[derive(Debug, Default)]
struct Shared {
    /// Those that are to be watched.
    chosen: Chosen,
    /// Blocked threads and where their stacks end.
    stacks: Vec<(u64, u64)>,
    /// Where files are mapped: what to add to an address of a file.
    programs: Vec<Program>,
    /// The process is stopped: nothing of it changes.
    is_stopped: bool,
}

type Board = Arc<Mutex<Shared>>;

impl Driver {
    /// Begins to look; what is seen goes to `out`, on the clock that began at `origin`.
    pub(super) fn start(
        attached: Attached,
        origin: Instant,
        (interval, reading): (Duration, Reading),
        (chosen, stacks): (Chosen, Stacks),
        out: mpsc::Sender<Message>,
    ) -> io::Result<Self> {
        let stop = Stop::default();
        let guard = stop.guard();
        let board = Board::default();
        lock(&board).chosen = chosen;
        let shows = Arc::new(AtomicBool::new(true));
        let tasks = attached
            .types
            .map(|types| Tasks::new(&attached.subject, types));
        let in_poll = tasks.as_ref().map(Tasks::in_poll);
        let threads = match stacks {
            Stacks::Watched => Threads::Watched(Arc::clone(&board)),
            Stacks::All => Threads::Asked(attached.subject.clone(), programs(&attached.watch)),
        };
        let desk = Arc::new(Desk::default());
        let watcher = Watcher {
            desk: Arc::clone(&desk),
            watch: attached.watch,
            subject: attached.subject.clone(),
            name: attached.name,
            no_sampler: attached.no_sampler,
            no_stop: attached.no_stop,
            origin,
            interval,
            board: Arc::clone(&board),
            out: out.clone(),
            stop: stop.clone(),
            cpu: ThreadCpu::default(),
            pending: Vec::new(),
            standing: Standing::default(),
            said_stopped: None,
        };
        let task_of = move |words: &[u64]| {
            let found = in_poll.as_ref()?.among(words)?;
            Some(RunningTask {
                header: found.header,
                id: found.id,
            })
        };
        let look = thread::Builder::new().name("looptop-look".into());
        look.spawn(move || watcher.run(&task_of))?;
        if let Some(tasks) = tasks {
            let types = Arc::clone(tasks.types());
            let budget = reading.budget.clone();
            let (reads, stops) = ((Arc::clone(&desk), reading), stop.clone());
            reader::start(&attached.subject, types, reads, out.clone(), stops)?;
            let list = (threads, desk, budget, None);
            Lister::start(
                &attached.subject,
                tasks,
                list,
                (out, Arc::clone(&shows)),
                stop,
            )?;
        }
        Ok(Self {
            board,
            shows,
            _guard: guard,
        })
    }

    /// From now on these threads are watched.
    pub(super) fn choose(&self, chosen: Chosen) {
        lock(&self.board).chosen = chosen;
    }

    /// From now on listings are sent, or they are there to be read only: where the tasks
    /// are that wait.
    pub(super) fn show_listings(&self, shown: bool) {
        // It guards no other data.
        self.shows.store(shown, Ordering::Relaxed);
    }

    /// Begins to list tasks, and looks at nothing else; `None` where that is not possible.
    /// Listings are sent once [`Self::show_listings`] says so; until then `ran` says who has
    /// run. As long as reading the program takes.
    pub(super) fn list(
        access: &Access,
        reading: Reading,
        ran: Ran,
        out: mpsc::Sender<Message>,
    ) -> Option<Self> {
        let subject = &access.subject;
        let types = Arc::new(Types::load(subject).ok()?);
        // It says where files are mapped, and nothing is looked at with it.
        let options = WatchOptions {
            threshold: THRESHOLD,
            interval: LOOK_EVERY,
            may_sample: false,
            may_stop: false,
            use_symbols: false,
        };
        let watch = Watch::new(subject, options).ok()?;
        let threads = Threads::Asked(subject.clone(), programs(&watch));
        let stop = Stop::default();
        let guard = stop.guard();
        let desk = Arc::new(Desk::default());
        let budget = reading.budget.clone();
        let (reads, stops) = ((Arc::clone(&desk), reading), stop.clone());
        reader::start(subject, Arc::clone(&types), reads, out.clone(), stops).ok()?;
        let tasks = Tasks::new(subject, types);
        let list = (threads, desk, budget, Some(ran));
        let shows = Arc::<AtomicBool>::default();
        Lister::start(subject, tasks, list, (out, Arc::clone(&shows)), stop).ok()?;
        Some(Self {
            board: Board::default(),
            shows,
            _guard: guard,
        })
    }
}

/// Where files are mapped.
fn programs(watch: &Watch) -> Vec<Program> {
    let modules = watch.modules().iter().map(|module| Program {
        path: module.path.clone(),
        base: module.base,
    });
    modules.collect()
}

fn lock(board: &Board) -> MutexGuard<'_, Shared> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks at the threads.
struct Watcher {
    desk: Arc<Desk>,
    watch: Watch,
    subject: Subject,
    name: String,
    no_sampler: Option<String>,
    no_stop: Option<String>,
    origin: Instant,
    interval: Duration,
    board: Board,
    out: mpsc::Sender<Message>,
    stop: Stop,
    cpu: ThreadCpu,
    /// Stalls that nobody could take yet.
    pending: Vec<Stall>,
    standing: Standing,
    /// When it was said last that it is stopped.
    said_stopped: Option<Instant>,
}

/// Whether a process is stopped, from looks at its state.
#[derive(Debug, Default)]
struct Standing {
    asked: Option<Instant>,
    /// Looks at which it was stopped, one after the other.
    looks: u32,
    /// It was seen before it was found to be stopped.
    was_seen: bool,
}

/// What a look at its state comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    GoesOn,
    Stopped,
    /// It was stopped until now.
    GoesOnAgain,
}

impl Standing {
    /// Takes in its state, as `ask` says it, where it is time for that.
    fn look(&mut self, now: Instant, ask: impl FnOnce() -> bool) -> Stands {
        let was_stopped = self.is_stopped();
        let due = |at: Instant| now.saturating_duration_since(at) >= ASK_EVERY;
        if self.asked.is_none_or(due) {
            self.asked = Some(now);
            self.looks = if ask() {
                self.looks.saturating_add(1)
            } else {
                0
            };
        }
        match (was_stopped, self.is_stopped()) {
            (_, true) => Stands::Stopped,
            (true, false) => Stands::GoesOnAgain,
            (false, false) => Stands::GoesOn,
        }
    }

    /// One look alone may have met a thread that is stopped for its stack.
    fn is_stopped(&self) -> bool {
        self.looks >= 2
    }
}

/// Its state is asked for so often.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// That it is stopped is said so often.
const SAY_EVERY: Duration = Duration::from_millis(500);

/// Stalls that wait for a slow consumer; then the oldest go.
const MAX_PENDING: usize = 4_096;

impl Watcher {
    fn run(mut self, task_of: &dyn Fn(&[u64]) -> Option<RunningTask>) {
        let mut frame_due = Instant::now();
        loop {
            let chosen = lock(&self.board).chosen.clone();
            self.watch.choose(chosen);
            let now = Instant::now();
            let subject = &self.subject;
            let is_stopped = || {
                let stat = subject.process().stat();
                stat.is_some_and(|stat| stat.state == SchedState::Stopped)
            };
            match self.standing.look(now, is_stopped) {
                // What it was like when it was stopped is shown once.
                Stands::Stopped if self.standing.was_seen => {
                    if !self.stands_still(now) {
                        return;
                    }
                    continue;
                }
                Stands::GoesOn | Stands::Stopped => {}
                Stands::GoesOnAgain => {
                    lock(&self.board).is_stopped = false;
                    self.watch.forget();
                }
            }
            let rest = match self.watch.look(now, task_of) {
                Ok(rest) => rest,
                Err(changed) => return self.end(changed),
            };
            let stalls = self.watch.take_stalls();
            let locked = |stall: &Stall| stall.life != Life::Ended && stall.cause == Cause::Lock;
            if stalls.iter().any(locked) {
                self.desk.some_wait();
            }
            let urgent = stalls.iter().any(|stall| stall.life != Life::GoesOn);
            self.keep(stalls);
            if urgent || now >= frame_due {
                let began = Instant::now();
                if !self.send(now) {
                    return;
                }
                self.standing.was_seen = true;
                frame_due = now + self.interval.max(began.elapsed() * READ_REST);
            }
            if self.stop.sleep_until(now + rest) {
                return;
            }
        }
    }

    /// Says that it is stopped, and rests; `false` once it is no longer what it was, or
    /// nobody listens.
    fn stands_still(&mut self, now: Instant) -> bool {
        if let Err(changed) = self.subject.unchanged() {
            self.end(changed);
            return false;
        }
        let is_new = !std::mem::replace(&mut lock(&self.board).is_stopped, true);
        let due = |at: Instant| now.saturating_duration_since(at) >= SAY_EVERY;
        if is_new || self.said_stopped.is_none_or(due) {
            self.said_stopped = Some(now);
            let message = Message {
                at: now,
                what: What::Stopped,
            };
            if self.out.blocking_send(message).is_err() {
                return false;
            }
        }
        !self.stop.sleep_until(now + ASK_EVERY)
    }

    /// Of each stall the newest word counts.
    fn keep(&mut self, stalls: Vec<Stall>) {
        for stall in stalls {
            match self.pending.iter_mut().find(|known| known.id == stall.id) {
                Some(known) => *known = stall,
                None => self.pending.push(stall),
            }
        }
        let over = self.pending.len().saturating_sub(MAX_PENDING);
        self.pending.drain(..over);
    }

    /// Sends what was seen; `false` once nobody listens.
    fn send(&mut self, at: Instant) -> bool {
        {
            let mut board = lock(&self.board);
            board.stacks = self.watch.stack_pointers();
            if board.programs.len() != self.watch.modules().len() {
                board.programs = programs(&self.watch);
            }
        }
        if self.out.capacity() == 0 {
            return !self.out.is_closed();
        }
        let cpu_ns = self.cpu.used_ns();
        let mut look = facts::look(&mut self.watch, &self.pending, self.origin, cpu_ns);
        // Why it was not permitted is known here alone.
        look.doing.no_sampler = self.no_sampler.clone().or(look.doing.no_sampler);
        look.doing.no_stop = self.no_stop.clone().or(look.doing.no_stop);
        let message = Message {
            at,
            what: What::Look(Box::new(look)),
        };
        match self.out.try_send(message) {
            Ok(()) => {
                self.pending.clear();
                true
            }
            // It is sent with the next.
            Err(TrySendError::Full(_)) => true,
            Err(TrySendError::Closed(_)) => false,
        }
    }

    fn end(&mut self, changed: Changed) {
        self.send(Instant::now());
        let pid = self.subject.pid();
        let problem = match changed {
            Changed::Ended => Problem::process_ended(pid, &self.name),
            Changed::OtherProgram => Problem::other_program(pid, &self.name),
        };
        let message = Message {
            at: Instant::now(),
            what: What::Ended(problem),
        };
        // It fails where nobody listens any more.
        let _ = self.out.blocking_send(message);
        self.stop.now();
    }
}

/// Lists the tasks.
struct Lister {
    tasks: Tasks,
    names: Names,
    activity: Activity,
    /// Where another knows who has run, as long as listings are not shown.
    ran: Option<Ran>,
    memory: ProcessMemory,
    threads: Threads,
    /// Where the thread that reads takes listings from.
    desk: Arc<Desk>,
    budget: Option<Budget>,
    out: mpsc::Sender<Message>,
    /// Listings go there, too.
    shows: Arc<AtomicBool>,
    stop: Stop,
    cpu: ThreadCpu,
}

/// Where the thread that lists knows of threads and programs from.
enum Threads {
    /// Another thread looks at them.
    Watched(Board),
    /// Nobody does: it asks procfs.
    Asked(Subject, Vec<Program>),
}

/// Threads that are asked for their stacks at a listing.
const MAX_ASKED: usize = 1_024;

impl Threads {
    /// The process is stopped, as far as that is known.
    fn is_stopped(&self) -> bool {
        match self {
            Self::Watched(board) => lock(board).is_stopped,
            Self::Asked(..) => false,
        }
    }

    fn are_known(&self, late: bool) -> bool {
        let Self::Watched(board) = self else {
            return true;
        };
        let board = lock(board);
        !board.programs.is_empty() && (late || !board.stacks.is_empty())
    }

    /// Blocked threads and where their stacks end; `None` once the process is no longer
    /// what it was.
    fn stacks(&self) -> Option<Vec<(u64, u64)>> {
        match self {
            Self::Watched(board) => Some(lock(board).stacks.clone()),
            Self::Asked(subject, _) => {
                subject.unchanged().ok()?;
                let process = subject.process();
                let blocked = |tid| Some((tid, process.thread(tid).syscall().blocked_at()?.0));
                let tids = process.tids().ok()?.take(MAX_ASKED);
                Some(tids.filter_map(blocked).collect())
            }
        }
    }

    fn programs(&self) -> Vec<Program> {
        match self {
            Self::Watched(board) => lock(board).programs.clone(),
            Self::Asked(_, programs) => programs.clone(),
        }
    }
}

/// The first listing waits so long for the first stacks.
const FIRST_STACKS: Duration = Duration::from_millis(150);

/// Between two listings of so many tasks, of which one took so much CPU.
fn every(tasks: usize, spent: Duration, is_shown: bool) -> Duration {
    if tasks <= FEW_TASKS {
        return LIST_EVERY;
    }
    let (rest, most) = if is_shown { SHOWN_REST } else { UNSHOWN_REST };
    spent.mul_f64(rest).clamp(LIST_EVERY, most)
}

impl Lister {
    fn start(
        subject: &Subject,
        tasks: Tasks,
        (threads, desk, budget, ran): (Threads, Arc<Desk>, Option<Budget>, Option<Ran>),
        (out, shows): (mpsc::Sender<Message>, Arc<AtomicBool>),
        stop: Stop,
    ) -> io::Result<()> {
        let lister = Self {
            names: Names::start(subject, budget.clone())?,
            activity: Activity::default(),
            ran,
            memory: subject.memory(),
            tasks,
            threads,
            desk,
            budget,
            out,
            shows,
            stop,
            cpu: ThreadCpu::default(),
        };
        let list = thread::Builder::new().name("looptop-list".into());
        list.spawn(move || lister.run())?;
        Ok(())
    }

    fn run(mut self) {
        let begin = Instant::now();
        while !self.threads.are_known(begin.elapsed() >= FIRST_STACKS) {
            if self.stop.sleep_until(Instant::now() + LOOK_EVERY) {
                return;
            }
        }
        loop {
            let ends = || self.stop.is_due();
            let Some(turn) = budget::turn(self.budget.as_ref(), ends) else {
                return;
            };
            let now = Instant::now();
            let cpu = self.cpu.used_ns();
            let stood = self.threads.is_stopped();
            let Some(stacks) = self.threads.stacks() else {
                return;
            };
            self.tasks.read(&stacks);
            let took = now.elapsed();
            if self.stop.is_due() {
                return;
            }
            self.names.renew();
            let have_run = self.have_run();
            // It may take long until somebody takes it.
            drop(turn);
            if !self.send(took, &have_run) {
                return;
            }
            // What is read of a task comes after the task.
            self.desk.listed(self.tasks.listing(), &have_run, now);
            let used_ns = self.cpu.used_ns();
            // Where the clock of the thread is not known, its time stands for it.
            let spent = match used_ns.saturating_sub(cpu) {
                0 => now.elapsed(),
                ns => Duration::from_nanos(ns),
            };
            let rest = spent.mul_f64(LIST_REST);
            let every = if self.names.are_awaited() {
                LIST_SOON
            } else {
                self.every(spent)
            };
            let rested = Instant::now() + rest.min(Duration::from_mins(1));
            let due = (now + every).max(rested);
            let soonest = (now + LIST_ON_DEMAND).max(rested);
            // The listing was begun while it was stopped: the next would be the same.
            let stood = stood && self.threads.is_stopped();
            if self.rest_until(due, soonest, took) || (stood && self.rest_while_stopped()) {
                return;
            }
        }
    }

    /// The tasks of the newest listing that have run since the one before, as far as that is
    /// known.
    fn have_run(&mut self) -> AddressSet {
        let (types, found) = (self.tasks.types(), self.tasks.listing());
        match &self.ran {
            Some(ran) if !self.shows.load(Ordering::Relaxed) => {
                self.activity = Activity::default();
                ran.take(&found.tasks)
            }
            _ => self.activity.of(found, types, self.memory),
        }
    }

    /// Between two listings, where one took so much CPU.
    fn every(&self, spent: Duration) -> Duration {
        let tasks = self.tasks.listing().tasks.len();
        every(tasks, spent, self.shows.load(Ordering::Relaxed))
    }

    /// Rests until the process goes on; `true` once it should end.
    fn rest_while_stopped(&self) -> bool {
        while self.threads.is_stopped() {
            if self.stop.sleep_until(Instant::now() + ASK_EVERY) {
                return true;
            }
        }
        false
    }

    /// Sends what the newest look has found, where it is shown; `false` once nobody listens.
    fn send(&mut self, took: Duration, have_run: &AddressSet) -> bool {
        if !self.shows.load(Ordering::Relaxed) {
            return !self.out.is_closed();
        }
        let programs = self.threads.programs();
        let (types, found) = (self.tasks.types(), self.tasks.listing());
        let listing = facts::listing(found, types, &mut self.names, &programs, have_run);
        let message = Message {
            at: Instant::now(),
            what: What::Listing(Box::new(Listing {
                took_ns: super::live::ns(took),
                cpu_ns: self.cpu.used_ns(),
                names_to_come: self.names.are_awaited(),
                ..listing
            })),
        };
        self.out.blocking_send(message).is_ok()
    }

    /// Rests until the next look, and sends the newest once more as soon as its names are
    /// there: of many tasks the next look is seconds away. `true` once it should end.
    fn rest_until(&mut self, due: Instant, soonest: Instant, took: Duration) -> bool {
        while self.names.are_awaited() && Instant::now() < due {
            if self.stop.sleep_until(due.min(Instant::now() + NAMES_EVERY)) {
                return true;
            }
            self.names.renew();
            if !self.names.are_awaited() && !self.send(took, &AddressSet::default()) {
                return true;
            }
        }
        self.desk.rest(due, soonest, &self.stop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_tasks_are_listed_as_often_as_their_share_of_a_core_allows() {
        for (tasks, spent_ms, is_shown, expected_ms) in [
            (FEW_TASKS, 500, true, 1_000),
            (FEW_TASKS + 1, 1, true, 1_000),
            (100_000, 60, true, 1_940),
            (100_000, 500, true, 4_000),
            (10_000, 4, false, 1_000),
            (100_000, 60, false, 5_940),
            (1_000_000, 900, false, 10_000),
        ] {
            let every = every(tasks, Duration::from_millis(spent_ms), is_shown);
            assert_eq!(every.as_millis(), expected_ms, "{tasks} in {spent_ms} ms");
        }
    }

    #[test]
    fn a_process_that_is_stopped_is_known_at_the_second_look() {
        use Stands::{GoesOn, GoesOnAgain, Stopped};
        let mut standing = Standing::default();
        let mut now = Instant::now();
        for (is_stopped, expected) in [
            (false, GoesOn),
            // A thread that is stopped for its stack.
            (true, GoesOn),
            (false, GoesOn),
            (true, GoesOn),
            (true, Stopped),
            (true, Stopped),
            (false, GoesOnAgain),
            (false, GoesOn),
        ] {
            assert_eq!(standing.look(now, || is_stopped), expected);
            now += ASK_EVERY;
        }
        standing.look(now, || true);
        assert_eq!(standing.look(now, || true), GoesOn, "it was asked just now");
    }
}
