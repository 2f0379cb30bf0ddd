//! The watchdog: one OS thread that looks at every worker every 5 ms while one of
//! them may be stuck, else every 10 ms, and at a poll when it would become a stall;
//! more rarely while nobody watches and nothing runs ([`calm`]).
//!
//! Two detectors, of which slots win: an odd sequence number that stands still
//! is one poll, exactly ([`crate::slot`]); counters of tokio that stand still
//! while a worker is awake are a poll or up to 61 short ones ([`worker`]). Both
//! end in one [`case`] for each worker, so no stall is reported twice.
//!
//! The same thread wakes the lag probes and keeps the worker map.

mod calm;
mod case;
mod elimination;
mod mapping;
mod observation;
#[cfg(all(
    target_os = "linux",
    not(looptop_elsewhere),
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
pub(crate) mod strangers;
mod suspension;
mod witness;
mod worker;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use looptop_wire::proto::Flavor;
use tokio::runtime::RuntimeMetrics;

use self::calm::Calm;
use self::case::{Cases, Outcome, Poll, Sight};
use self::elimination::{Doubts, Elimination};
use self::mapping::{Drivers, Mapping};

#[cfg(feature = "test")]
pub(crate) use self::observation::Observation;
pub(crate) use self::suspension::Suspension;
use self::witness::LiveWitness;
pub(crate) use self::worker::Counters;
use self::worker::{Activity, WorkerWatch};
use crate::clock::{now_ns, to_ns};
use crate::holder::Holders;
use crate::ids::{Tid, WorkerIndex};
use crate::runtimes::Runtime;
use crate::shared::Shared;
use crate::slot::{self, SlotView};
use crate::stall::Subject;
use crate::sync::lock;
use crate::thread_clock::thread_cpu_ns;

/// After this many panics of its own the watchdog gives up.
const MAX_PANICS: u32 = 3;

/// The name of its thread.
pub(crate) const THREAD_NAME: &str = "looptop-watchdog";

/// Runs until the agent is shut down.
pub(crate) fn run(shared: &Arc<Shared>) {
    shared.enter_own_thread();
    let mut panics = 0;
    let mut watchdog = Watchdog::new(Arc::clone(shared));
    let mut due_ns = now_ns() + watchdog.interval_ns;
    while !shared.is_stopping() {
        let wait_ns = due_ns.saturating_sub(now_ns());
        std::thread::park_timeout(Duration::from_nanos(wait_ns));
        let now = now_ns();
        if now < due_ns {
            continue;
        }
        let late_ns = now - due_ns;
        let look = std::panic::AssertUnwindSafe(|| watchdog.tick(now, late_ns));
        due_ns = if let Ok(due_ns) = std::panic::catch_unwind(look) {
            due_ns
        } else {
            panics += 1;
            if panics == MAX_PANICS {
                crate::complain("the watchdog failed and stalls are no longer detected");
                return;
            }
            watchdog = Watchdog::new(Arc::clone(shared));
            now + watchdog.interval_ns
        };
    }
}

struct Watchdog {
    shared: Arc<Shared>,
    interval_ns: u64,
    cases: Cases,
    witness: LiveWitness,
    suspension: Suspension,
    mapping: Mapping,
    watched: Vec<Watched>,
    slots: HashMap<Tid, SlotSight>,
    /// Subjects seen running in this tick.
    seen: HashSet<Subject>,
    drivers: Drivers,
    elimination: Elimination,
    doubts: Doubts,
    #[cfg(all(
        target_os = "linux",
        not(looptop_elsewhere),
        any(target_arch = "x86_64", target_arch = "aarch64")
    ))]
    strangers: strangers::Strangers,
    next_fire_ns: u64,
    holders: Holders,
    calm: Calm,
    /// A thread that drives no worker has polled since that was last asked.
    polled_elsewhere: bool,
}

/// What the watchdog keeps of one runtime.
struct Watched {
    runtime: Arc<Runtime>,
    metrics: Option<RuntimeMetrics>,
    workers: Vec<WorkerWatch>,
    /// Since when nobody drives it, and whether that ever happened.
    undriven_since_ns: Option<u64>,
    ever_undriven: bool,
}

/// A slot at the last look, and when its sequence number last changed.
#[derive(Clone, Copy)]
struct SlotSight {
    view: SlotView,
    changed_ns: u64,
    tick: u64,
}

impl Watchdog {
    fn new(shared: Arc<Shared>) -> Self {
        let interval_ns = shared.config.watchdog_interval_ns();
        Self {
            cases: Cases::new(shared.config.stall_threshold_ns(), interval_ns),
            witness: LiveWitness::new(&shared),
            suspension: Suspension::new(interval_ns),
            mapping: Mapping::default(),
            watched: Vec::new(),
            slots: HashMap::new(),
            seen: HashSet::new(),
            drivers: Drivers::default(),
            elimination: Elimination::default(),
            doubts: Doubts::default(),
            #[cfg(all(
                target_os = "linux",
                not(looptop_elsewhere),
                any(target_arch = "x86_64", target_arch = "aarch64")
            ))]
            strangers: strangers::Strangers::new(shared.config.stall_threshold_ns()),
            next_fire_ns: 0,
            holders: Holders::new(&shared),
            calm: Calm::default(),
            polled_elsewhere: false,
            interval_ns,
            shared,
        }
    }

    /// Looks at everything; gives when to look again.
    fn tick(&mut self, now_ns: u64, late_ns: u64) -> u64 {
        if late_ns > self.interval_ns {
            self.shared.watchdog_late_ns.fetch_add(late_ns, Relaxed);
        }
        if let Some(gap_ns) = self.suspension.look(late_ns) {
            self.forgive(now_ns, gap_ns);
        }
        self.adopt_new_runtimes(now_ns);
        let is_gone = |watched: &Watched| watched.runtime.is_gone();
        let period_ns = self.probe_period_ns();
        self.next_fire_ns = self.next_fire_ns.min(now_ns + period_ns);
        let chores = now_ns >= self.next_fire_ns || self.watched.iter().any(is_gone);
        if !chores && self.nothing_runs(now_ns) {
            #[cfg(all(
                target_os = "linux",
                not(looptop_elsewhere),
                any(target_arch = "x86_64", target_arch = "aarch64")
            ))]
            let stranger = self.some_stranger_is_blocked(now_ns);
            #[cfg(not(all(
                target_os = "linux",
                not(looptop_elsewhere),
                any(target_arch = "x86_64", target_arch = "aarch64")
            )))]
            let stranger = false;
            if !stranger {
                return self.next_look_ns(now_ns);
            }
        }
        if chores {
            self.next_fire_ns = now_ns + period_ns;
            self.chores(now_ns);
        }
        self.mapping
            .refresh(self.watched.iter().map(|w| &w.runtime), now_ns, chores);
        self.drivers
            .refresh(self.watched.iter().map(|w| &w.runtime));
        self.eliminate(now_ns, chores);
        self.read_slots(now_ns);
        self.acquit_those_that_gave_their_worker_away();
        let newest = lock(&self.shared.stalls).last_id();
        self.look_at_workers(now_ns);
        self.look_at_threads(now_ns);
        self.look_at_stuck_threads(now_ns);
        self.conclude_on_unmapped_workers();
        #[cfg(all(
            target_os = "linux",
            not(looptop_elsewhere),
            any(target_arch = "x86_64", target_arch = "aarch64")
        ))]
        self.look_at_strangers(now_ns, chores);
        if lock(&self.shared.stalls).last_id() != newest {
            self.shared.news.notify_one();
        }
        self.end_what_was_not_seen(now_ns);
        self.cases
            .collect_late(now_ns, &self.shared.stalls, &mut self.witness);
        self.holders.look(now_ns);
        let lost = self.cases.take_captures_lost();
        self.shared.captures_lost.fetch_add(lost, Relaxed);
        self.next_look_ns(now_ns)
    }

    /// The process stood still: nothing that was seen before is evidence.
    fn forgive(&mut self, now_ns: u64, gap_ns: u64) {
        self.cases.suspended(gap_ns);
        for watch in self.watched.iter_mut().flat_map(|w| &mut w.workers) {
            watch.forgive(now_ns);
        }
    }

    fn adopt_new_runtimes(&mut self, now_ns: u64) {
        if self.shared.runtimes.revision() == self.mapping.revision {
            return;
        }
        self.mapping.revision = self.shared.runtimes.revision();
        for runtime in self.shared.runtimes.all() {
            if self.watched.iter().any(|w| w.runtime.id == runtime.id) {
                continue;
            }
            let Some(metrics) = runtime.metrics() else {
                continue;
            };
            let workers = runtime.worker_indices();
            let workers = workers.map(|w| WorkerWatch::new(Counters::of(&metrics, w), now_ns));
            self.watched.push(Watched {
                workers: workers.collect(),
                metrics: Some(metrics),
                runtime,
                undriven_since_ns: None,
                ever_undriven: false,
            });
        }
    }

    /// Every 100 ms, and more rarely while nothing runs: wakes the probes and lets go of what
    /// has ended.
    fn chores(&mut self, now_ns: u64) {
        let metrics = self.watched.iter().filter_map(|w| w.metrics.as_ref());
        crate::subscriber::count(now_ns, metrics);
        for watched in &mut self.watched {
            if watched.runtime.is_gone() {
                watched.metrics = None;
                watched.runtime.release();
            } else if watched.undriven_since_ns.is_some() {
                watched.runtime.probe.call_off();
            } else {
                watched.runtime.probe.fire(now_ns);
            }
        }
        self.watched.retain(|w| w.metrics.is_some());
        self.witness.forget_ended_threads();
    }

    fn read_slots(&mut self, now_ns: u64) {
        let (slots, drivers) = (&mut self.slots, &self.drivers);
        let mut elsewhere = false;
        slot::for_each(|view| {
            let sight = slots.entry(Tid(view.tid)).or_insert(SlotSight {
                view,
                changed_ns: now_ns,
                tick: now_ns,
            });
            if sight.view.sequence != view.sequence {
                sight.changed_ns = now_ns;
                elsewhere |= !drivers.drives(Tid(view.tid));
            }
            sight.view = view;
            sight.tick = now_ns;
        });
        self.polled_elsewhere |= elsewhere;
        slots.retain(|_, sight| sight.tick == now_ns);
    }

    /// Takes threads out of the maps that evidently do not drive their workers; true where
    /// there were some.
    fn doubt(&mut self, now_ns: u64) -> bool {
        let watched = self.watched.iter();
        let watched = watched.filter_map(|w| Some((&*w.runtime, w.metrics.as_ref()?)));
        self.doubts.look(watched, now_ns)
    }

    fn eliminate(&mut self, now_ns: u64, search: bool) {
        self.doubt(now_ns);
        let own = lock(&self.shared.own_threads);
        let drivers = &self.drivers;
        let watched = self.watched.iter();
        let watched = watched.filter_map(|w| Some((&*w.runtime, w.metrics.as_ref()?)));
        // One that has driven a worker before is of the blocking pool now, or drives
        // another, which a task of the agent will show.
        let is_known = |tid| drivers.drives(tid) || drivers.has_driven(tid) || own.contains(&tid);
        #[cfg(all(
            target_os = "linux",
            not(looptop_elsewhere),
            any(target_arch = "x86_64", target_arch = "aarch64")
        ))]
        let is_apart = |tid| self.strangers.drives_nothing(tid);
        #[cfg(not(all(
            target_os = "linux",
            not(looptop_elsewhere),
            any(target_arch = "x86_64", target_arch = "aarch64")
        )))]
        let is_apart = |_| None;
        self.elimination
            .look(&watched, now_ns, search, is_known, is_apart);
    }

    /// Ends, as if it had never been, what was seen of a poll that has given its
    /// worker away.
    fn acquit_those_that_gave_their_worker_away(&mut self) {
        let (watched, drivers) = (&self.watched, &self.drivers);
        let still_drives = |subject, tid| match subject {
            Subject::Worker(runtime, worker) => {
                let runtime = watched.iter().find(|w| w.runtime.id == runtime);
                runtime.is_none_or(|w| lock(&w.runtime.map).thread(worker) == Some(tid))
            }
            Subject::Thread(tid) => !drivers.has_driven(tid),
        };
        self.cases.acquit(&self.shared.stalls, still_drives);
    }

    fn look_at_workers(&mut self, now_ns: u64) {
        self.seen.clear();
        let unmapped_ns = {
            let own = lock(&self.shared.own_threads);
            let slots = self.slots.iter();
            slots
                .filter(|(tid, _)| !self.drivers.drives(**tid) && !own.contains(tid))
                .map(|(_, slot)| slot.poll().map_or(slot.changed_ns, |_| now_ns))
                .max()
        };
        let threads_answer = self.elimination.answer(now_ns);
        for watched in &mut self.watched {
            for worker in watched.runtime.worker_indices() {
                let look = WorkerLook {
                    now_ns,
                    cases: &mut self.cases,
                    witness: &mut self.witness,
                    slots: &self.slots,
                    unmapped_ns,
                    threads_answer,
                };
                let Some(sight) = look.sight(watched, worker, &self.shared) else {
                    continue;
                };
                self.seen.insert(sight.subject);
                let outcome =
                    self.cases
                        .see(now_ns, &sight, &self.shared.stalls, &mut self.witness);
                if outcome == Outcome::Undriven {
                    watched.undriven(sight.since_ns);
                }
            }
        }
    }

    /// Polls on threads that drive no worker: `block_on`, above all.
    fn look_at_threads(&mut self, now_ns: u64) {
        let own = lock(&self.shared.own_threads).clone();
        for (tid, slot) in &self.slots {
            let is_worker = self.drivers.drives(*tid) || self.drivers.has_driven(*tid);
            if is_worker || own.contains(tid) {
                continue;
            }
            let Some(poll) = slot.poll() else { continue };
            let sight = Sight {
                subject: Subject::Thread(*tid),
                tid: Some(*tid),
                since_ns: poll.started_ns,
                poll: Some(poll),
                counters: None,
                stack_limit: None,
                prove_inside: false,
            };
            self.seen.insert(sight.subject);
            self.cases
                .see(now_ns, &sight, &self.shared.stalls, &mut self.witness);
        }
    }

    /// Threads that are stuck in a poll, each of which drives a worker, though nobody
    /// knows which.
    fn look_at_stuck_threads(&mut self, now_ns: u64) {
        let running_since = |watched: &Watched| {
            let runtime = Arc::clone(&watched.runtime);
            let map = lock(&runtime.map);
            let unmapped = runtime
                .worker_indices()
                .filter(|w| map.thread(*w).is_none());
            unmapped.filter_map(|w| runtime.running_since_ns(w)).max()
        };
        let Some(since_ns) = self.watched.iter().filter_map(running_since).max() else {
            return;
        };
        for tid in self.elimination.stuck() {
            if self.slots.get(&tid).is_some_and(|s| s.poll().is_some()) {
                continue;
            }
            let sight = Sight {
                subject: Subject::Thread(tid),
                tid: Some(tid),
                since_ns,
                poll: None,
                counters: None,
                stack_limit: None,
                prove_inside: false,
            };
            self.seen.insert(sight.subject);
            self.cases
                .see(now_ns, &sight, &self.shared.stalls, &mut self.witness);
        }
    }

    /// Workers without a thread are stalled where all threads that may be theirs are.
    fn conclude_on_unmapped_workers(&self) {
        let stalled = {
            let log = lock(&self.shared.stalls);
            let mut stuck = self.elimination.stuck().peekable();
            let is_stalled = |tid| log.live_of(Subject::Thread(tid)).is_some();
            stuck.peek().is_some() && stuck.all(is_stalled)
        };
        for watched in &self.watched {
            // The thread of a current-thread runtime is not sought.
            let sought = watched.runtime.flavor != Flavor::CurrentThread;
            watched.runtime.set_unmapped_stalled(stalled && sought);
        }
    }

    fn end_what_was_not_seen(&mut self, now_ns: u64) {
        for subject in self.cases.subjects() {
            if !self.seen.contains(&subject) {
                self.cases.clear(now_ns, subject, &self.shared.stalls);
            }
        }
    }
}

impl Watched {
    #[cfg_attr(
        not(all(target_os = "linux", not(looptop_elsewhere))),
        allow(dead_code)
    )]
    fn threads(&self) -> Vec<Tid> {
        let map = lock(&self.runtime.map);
        let workers = self.runtime.worker_indices();
        workers.filter_map(|w| map.thread(w)).collect()
    }

    fn undriven(&mut self, since_ns: u64) {
        self.undriven_since_ns = Some(since_ns);
        self.ever_undriven = true;
        self.runtime.set_driven(false);
        self.runtime.probe.call_off();
    }
}

impl SlotSight {
    /// The poll that runs on the slot's thread.
    fn poll(&self) -> Option<Poll> {
        self.view.polling().then(|| Poll {
            sequence: self.view.sequence,
            started_ns: to_ns(self.view.started),
            task: Some(self.view.task).filter(|t| *t != 0),
            site: self.view.site,
        })
    }
}

/// One look at one worker.
struct WorkerLook<'a> {
    now_ns: u64,
    cases: &'a mut Cases,
    witness: &'a mut LiveWitness,
    slots: &'a HashMap<Tid, SlotSight>,
    /// When a thread last polled of which nobody knows which worker it drives.
    unmapped_ns: Option<u64>,
    /// Workers without a thread are stuck, and so are their threads, which are looked
    /// at themselves.
    threads_answer: bool,
}

impl WorkerLook<'_> {
    /// What the worker runs, or `None` where it runs nothing that may be a stall.
    fn sight(self, watched: &mut Watched, worker: WorkerIndex, shared: &Shared) -> Option<Sight> {
        let now_ns = self.now_ns;
        let runtime = Arc::clone(&watched.runtime);
        let subject = Subject::Worker(runtime.id, worker);
        let tid = lock(&runtime.map).thread(worker);
        let slot = tid.and_then(|tid| self.slots.get(&tid));
        let poll = slot.and_then(SlotSight::poll);
        if let Some(tid) = tid {
            self.cases
                .adopt(Subject::Thread(tid), subject, &shared.stalls);
        }

        let (activity, counters, published_ns) = watched.activity(worker, now_ns)?;
        if let Some(busy_ns) = published_ns.filter(|_| poll.is_none()) {
            let log = &shared.stalls;
            self.cases
                .published(now_ns, subject, busy_ns, log, self.witness);
        }
        let since_ns = match activity {
            Activity::Running { since_ns } => Some(since_ns),
            Activity::Parked | Activity::NotStarted => None,
        };
        runtime.set_running_since(worker, since_ns);
        if since_ns.is_none() || since_ns != watched.undriven_since_ns {
            watched.undriven_since_ns = None;
            runtime.set_driven(true);
        }
        if poll.is_none() {
            let since_ns = since_ns?;
            let polls_seen = slot.is_some_and(|s| s.changed_ns > since_ns);
            let slot_must_tell = tid.is_none() && self.unmapped_ns.is_some_and(|at| at > since_ns);
            let thread_must_tell = tid.is_none() && self.threads_answer;
            let must_tell = slot_must_tell || thread_must_tell;
            if polls_seen || must_tell || watched.undriven_since_ns.is_some() {
                return None;
            }
        }
        let one_thread = runtime.flavor == Flavor::CurrentThread;
        if one_thread && tid.is_some_and(has_ended) {
            return None;
        }
        Some(Sight {
            subject,
            tid,
            since_ns: since_ns.unwrap_or(now_ns),
            poll,
            counters: Some(counters),
            stack_limit: one_thread.then(|| runtime.stack_limit()).flatten(),
            prove_inside: one_thread && watched.ever_undriven,
        })
    }
}

impl Watched {
    /// What the worker's counters mean, and the busy time that it published
    /// since the last look.
    fn activity(
        &mut self,
        worker: WorkerIndex,
        now_ns: u64,
    ) -> Option<(Activity, Counters, Option<u64>)> {
        let metrics = self.metrics.as_ref()?;
        let watch = self.workers.get_mut(worker.index())?;
        let counters = Counters::of(metrics, worker);
        let before_ns = watch.busy_ns();
        let activity = watch.look(counters, now_ns, self.runtime.has_started(now_ns));
        let published_ns = counters.busy_ns.checked_sub(before_ns).filter(|ns| *ns > 0);
        Some((activity, counters, published_ns))
    }
}

fn has_ended(tid: Tid) -> bool {
    cfg!(all(target_os = "linux", not(looptop_elsewhere))) && thread_cpu_ns(tid).is_none()
}
