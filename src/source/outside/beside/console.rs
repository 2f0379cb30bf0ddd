//! Beside console-subscriber alone: its process read from outside.
//!
//! Threads, workers, runtimes and stalls come from here. Tasks are console-subscriber's,
//! with its ids, names and counts; of those that are read from outside only the future's
//! name, the place of its async fn and the runtime are taken, where tokio's id says
//! which task it is. Those that console-subscriber does not show are left out.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use looptop_outside::{
    Chosen,
    access::{self, ThisKernel},
};
use looptop_procfs::Procfs;
use looptop_wire::{
    columns::{Record, Row},
    proto::{Flavor, Frame, ThreadRole},
};
use tokio::{
    sync::mpsc,
    task::{JoinHandle, spawn_blocking},
};

use super::{
    WAIT_FOR_NAMES,
    own::{CONSOLE, without_lists},
    place::Place,
};
use crate::source::{
    Options, Problem,
    host::CONSOLE_THREAD,
    outside::{
        Shown, View,
        driver::{Attached, Driver, Message, Stacks, What},
        live::{INTERVAL, LONGEST, SHORTEST, since},
        reader::Reading,
        seen::{Does, Listing, Look},
        translate::Translator,
    },
};

/// What was seen and not yet taken.
const MESSAGES: usize = 16;
/// The two clocks may drift apart by so much until instants are moved anew: the server's
/// is the wall clock, which may be set.
const DRIFT: Duration = Duration::from_secs(1);

/// The view beside one connection.
pub(in crate::source) struct BesideConsole {
    state: State,
    pid: u32,
    origin: Instant,
    interval: Duration,
    reading: Reading,
    offset_ns: Option<i64>,
    translator: Translator,
    waited: u32,
}

enum State {
    /// Nothing is looked at.
    Off,
    /// The program is read, or may not be.
    Begins(JoinHandle<Result<Attached, Problem>>),
    Looks {
        messages: mpsc::Receiver<Message>,
        /// Dropped, it ends the threads.
        _driver: Driver,
    },
}

/// What comes from outside.
pub(in crate::source) struct HeardBesideConsole(Heard);

enum Heard {
    /// Whether it can be seen has turned out.
    View(View),
    Seen(Message),
}

/// What is seen, in console-subscriber's session.
#[derive(Debug, Default)]
pub(in crate::source) struct Joins {
    /// What can be seen has changed.
    pub(in crate::source) view: Option<View>,
    pub(in crate::source) frames: Vec<Frame>,
    /// Tasks by tokio's ids, with what is known of them here: runtime and future.
    pub(in crate::source) tasks: Vec<Record>,
    /// Those that have ended.
    pub(in crate::source) forgotten: Vec<u64>,
}

impl BesideConsole {
    /// Begins to read the process; nothing is, without one.
    pub(in crate::source) fn attach(pid: Option<u32>, origin: Instant, options: &Options) -> Self {
        let state = pid.map_or(State::Off, |pid| {
            State::Begins(spawn_blocking(move || {
                let access = access::examine(&Procfs::default(), &ThisKernel, pid);
                Attached::new(access.map_err(|refusal| Problem::refusal(&refusal))?)
            }))
        });
        Self {
            state,
            pid: pid.unwrap_or_default(),
            origin,
            reading: Reading::of(options),
            interval: match options.interval {
                Duration::ZERO => INTERVAL,
                interval => interval.clamp(SHORTEST, LONGEST),
            },
            offset_ns: None,
            translator: Translator::joining(0, 0),
            waited: 0,
        }
    }

    /// Threads are seen from outside.
    pub(in crate::source) fn looks(&self) -> bool {
        matches!(self.state, State::Looks { .. })
    }

    /// What comes next; nothing ever where nothing is looked at. Safe to cancel.
    pub(in crate::source) async fn next(&mut self) -> HeardBesideConsole {
        let heard = match &mut self.state {
            State::Off => return std::future::pending().await,
            State::Begins(begins) => {
                let attached = begins.await;
                self.state = State::Off;
                let attached =
                    attached.unwrap_or_else(|_panicked| Err(Problem::not_attached(self.pid)));
                Heard::View(match attached.and_then(|attached| self.start(attached)) {
                    Ok(view) => view,
                    Err(problem) => View::Not(problem.to_string()),
                })
            }
            State::Looks { messages, .. } => {
                if let Some(message) = messages.recv().await {
                    Heard::Seen(message)
                } else {
                    self.state = State::Off;
                    Heard::View(View::Not(Problem::not_attached(self.pid).to_string()))
                }
            }
        };
        HeardBesideConsole(heard)
    }

    fn start(&mut self, attached: Attached) -> Result<View, Problem> {
        let view = View::of(&attached.missing);
        if attached.missing.tasks.is_some() {
            // No listing will say which runtimes there are.
            self.translator = Translator::new(0, false);
        }
        let (sender, messages) = mpsc::channel(MESSAGES);
        let all = (Chosen::All, Stacks::Watched);
        let how = (self.interval, self.reading.clone());
        let driver = Driver::start(attached, self.origin, how, all, sender);
        let driver = driver.map_err(|error| Problem::no_thread(self.pid, &error))?;
        self.state = State::Looks {
            messages,
            _driver: driver,
        };
        Ok(view)
    }

    /// In console-subscriber's session, whose clock shows `now_ns` now. `shown` are its
    /// tasks, by tokio's ids.
    pub(in crate::source) fn take(
        &mut self,
        heard: HeardBesideConsole,
        now_ns: u64,
        shown: &dyn Fn(u64) -> Option<Shown>,
    ) -> Joins {
        let message = match heard.0 {
            Heard::View(view) => {
                return Joins {
                    view: Some(view),
                    ..Joins::default()
                };
            }
            Heard::Seen(message) => message,
        };
        let local_ns = since(self.origin, Instant::now());
        let offset_ns = self.offset(now_ns, local_ns);
        let at_ns = since(self.origin, message.at);
        let mut joins = Joins::default();
        let frames = match message.what {
            What::Look(look) => self.translator.look(at_ns, &without_its_thread(*look)),
            What::Listing(listing) => {
                // Without names it is not known what is its own.
                if listing.names_to_come && self.waited < WAIT_FOR_NAMES {
                    self.waited += 1;
                    return joins;
                }
                self.waited = WAIT_FOR_NAMES;
                let listing = without_its_own(*listing, shown);
                self.translator.listing(at_ns, &listing)
            }
            What::Waits(waits) => self.translator.waits(at_ns, &waits),
            // console-subscriber is silent then, too.
            What::Stopped => Vec::new(),
            What::Ended(problem) => {
                self.state = State::Off;
                joins.view = Some(View::Not(problem.to_string()));
                // No thread, no worker and no runtime is left.
                let mut frames = self.translator.look(at_ns, &Look::default());
                frames.extend(self.translator.forget(at_ns));
                frames
            }
        };
        let place = Place {
            offset_ns,
            task: shown,
            runtime: &Some::<u32>,
        };
        for frame in frames {
            let mut frame = place.frame(frame);
            joins.tasks.extend(
                frame
                    .tasks
                    .take()
                    .iter()
                    .flat_map(|columns| Row::all(columns).map(|row| row.record())),
            );
            // Tasks and their places of spawning are console-subscriber's, whose counts
            // are of all tasks.
            frame.sites.clear();
            joins.forgotten.append(&mut frame.forgotten_tasks);
            if let Some(outside) = &mut frame.outside {
                (outside.listings, outside.unlisted_tasks) = (0, 0);
            }
            joins.frames.push(frame);
        }
        joins
    }

    /// From the view's clock to the server's: as it was, unless one of them was set.
    fn offset(&mut self, now_ns: u64, local_ns: u64) -> i64 {
        let offset = i64::try_from(i128::from(now_ns) - i128::from(local_ns)).unwrap_or(0);
        let held = self
            .offset_ns
            .filter(|held| Duration::from_nanos(held.abs_diff(offset)) <= DRIFT);
        *self.offset_ns.insert(held.unwrap_or(offset))
    }
}

/// console-subscriber's own thread drives none of the program's runtimes.
fn without_its_thread(mut look: Look) -> Look {
    let mut own = Vec::new();
    for thread in &mut look.threads {
        if thread.name == CONSOLE_THREAD {
            own.push(thread.tid);
            thread.role = ThreadRole::Agent;
            (thread.drives, thread.does) = (Flavor::Unknown, Does::Unknown);
        }
    }
    look.stalls.retain(|stall| !own.contains(&stall.tid));
    look
}

/// Without the runtime on which it serves: none of its tasks is shown. One of which that
/// may be so, and tasks have no name yet, is left out until they have.
fn without_its_own(mut listing: Listing, shown: &dyn Fn(u64) -> Option<Shown>) -> Listing {
    let lists = listing.runtimes.len();
    let (mut is_programs, mut is_nameless) = (vec![false; lists], vec![false; lists]);
    for task in &listing.tasks {
        if let Some(list) = task.runtime.filter(|list| *list < lists) {
            is_programs[list] |= shown(task.id).is_some();
            is_nameless[list] |= task.future.is_none();
        }
    }
    let unknown = (0..lists).filter(|list| is_nameless[*list] && !is_programs[*list]);
    let unknown: HashSet<usize> = unknown.collect();
    without_lists(&mut listing, &unknown);
    let left = (0..lists).filter(|list| !unknown.contains(list));
    let is_programs: Vec<bool> = left.map(|list| is_programs[list]).collect();
    let may_own = |list: usize| is_programs.get(list) == Some(&false);
    CONSOLE.without(listing, may_own).listing
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use looptop_wire::proto::StallScope;

    use super::*;
    use crate::{
        model::{Model, Moment, RuntimeId, TaskId, Tid},
        source::outside::seen::{Future, Polled, Runtime, Stall, Task, Thread},
    };

    const MS: u64 = 1_000_000;
    /// The server's clock is an hour ahead of the view's.
    const AHEAD: u64 = 3_600_000 * MS;

    fn task(id: u64, list: usize, name: &str) -> Task {
        Task {
            header: id * 64,
            id,
            runtime: Some(list),
            future: (!name.is_empty()).then(|| {
                Arc::new(Future {
                    name: name.to_owned(),
                    certain: true,
                    place: None,
                })
            }),
            ..Task::default()
        }
    }

    /// The program's runtime, on which the server shows task 5 as 50; and the server's own.
    fn listing(names_to_come: bool) -> Listing {
        let runtime = |key, flavor| Runtime {
            key,
            flavor,
            counted: 2,
            listed: 2,
            ..Runtime::default()
        };
        Listing {
            runtimes: vec![
                runtime(0x900, Flavor::CurrentThread),
                runtime(0x901, Flavor::MultiThread),
            ],
            tasks: vec![
                task(1, 0, "console_subscriber::aggregator::Aggregator::run"),
                task(2, 0, "h2::server::Connection"),
                task(5, 1, "app::serve::{{closure}}"),
                task(6, 1, "app::unseen::{{closure}}"),
            ],
            names_to_come,
            ..Listing::default()
        }
    }

    fn look() -> Look {
        let polled = Polled {
            header: 5 * 64,
            id: 5,
        };
        let thread = |tid, name: &str, drives, task| Thread {
            tid,
            name: name.to_owned(),
            role: ThreadRole::Worker,
            drives,
            does: Does::Polling {
                since_ns: 10 * MS,
                task,
            },
            ..Thread::default()
        };
        let stall = |id, tid, task| Stall {
            id,
            live: true,
            scope: StallScope::OnePoll,
            tid,
            task,
            started_ns: 10 * MS,
            duration_ns: 30 * MS,
            ..Stall::default()
        };
        Look {
            threads: vec![
                thread(400, CONSOLE_THREAD, Flavor::CurrentThread, None),
                thread(501, "tokio-rt-worker", Flavor::MultiThread, Some(polled)),
            ],
            stalls: vec![stall(1, 400, None), stall(2, 501, Some(polled))],
            ..Look::default()
        }
    }

    struct Session {
        beside: BesideConsole,
        model: Model,
        tasks: Vec<Record>,
    }

    impl Session {
        fn new() -> Self {
            let hello = crate::model::fixtures::hello();
            let mut model = Model::new(&looptop_wire::proto::HelloResponse {
                agent_version: String::new(),
                ..hello
            });
            model.apply(&Frame::default()).unwrap();
            Self {
                beside: BesideConsole::attach(None, Instant::now(), &Options::default()),
                model,
                tasks: Vec::new(),
            }
        }

        fn take(&mut self, what: What) -> Joins {
            let at = self.beside.origin + Duration::from_millis(40);
            let shown = |id: u64| {
                (id == 5).then_some(Shown {
                    id: 50,
                    location: 3,
                })
            };
            let heard = HeardBesideConsole(Heard::Seen(Message { at, what }));
            let now_ns = AHEAD + since(self.beside.origin, Instant::now());
            let mut joins = self.beside.take(heard, now_ns, &shown);
            for frame in &joins.frames {
                self.model.apply(frame).unwrap();
            }
            self.tasks.append(&mut joins.tasks);
            joins
        }
    }

    #[test]
    fn what_the_server_does_not_report_joins_and_its_own_does_not() {
        let mut session = Session::new();
        session.take(What::Listing(Box::new(listing(false))));
        session.take(What::Look(Box::new(look())));
        let model = &session.model;
        let roles: Vec<_> = model.threads.values().map(|t| (t.tid, t.role)).collect();
        let (own, worker) = (ThreadRole::Agent, ThreadRole::Worker);
        assert_eq!(roles, [(Tid(400), own), (Tid(501), worker)]);
        let runtimes: Vec<_> = model.runtimes.iter().map(|r| (r.id, r.flavor)).collect();
        assert_eq!(runtimes, [(RuntimeId(0), Flavor::MultiThread)]);
        let workers: Vec<_> = model.workers.values().map(|w| (w.tid, w.task)).collect();
        assert_eq!(workers, [(Some(Tid(501)), Some(TaskId(50)))]);
        let stalls: Vec<_> = model.stalls.live().map(|s| (s.tid, s.task)).collect();
        assert_eq!(stalls, [(Some(Tid(501)), Some(TaskId(50)))]);
        let stall = model.stalls.live().next().unwrap();
        let began = stall.started.since(Moment(AHEAD));
        assert!((Duration::from_millis(5)..Duration::from_mins(1)).contains(&began));
        assert!(!model.is_outside() && !model.reads_tasks());
        // No row of a task comes from here: the server's get what is known of them.
        assert!(model.tasks.is_empty());
        let mut known: Vec<_> = session.tasks.iter().map(|t| t.tokio_id).collect();
        known.sort_unstable();
        known.dedup();
        assert_eq!(known, [Some(5), Some(6)]);
        assert!(session.tasks.iter().all(|t| t.runtime == Some(0)));
    }

    #[test]
    fn a_listing_without_names_waits_for_them_but_not_for_ever() {
        let mut session = Session::new();
        let mut sends = |to_come| {
            let joins = session.take(What::Listing(Box::new(listing(to_come))));
            !joins.frames.is_empty()
        };
        let came: Vec<bool> = (0..=WAIT_FOR_NAMES).map(|_| sends(true)).collect();
        let (last, before) = came.split_last().unwrap();
        assert!(*last && before.iter().all(|came| !came));
        assert!(sends(true), "once is enough");
        let mut session = Session::new();
        let joins = session.take(What::Listing(Box::new(listing(false))));
        assert!(!joins.frames.is_empty());
    }

    #[test]
    fn a_runtime_whose_tasks_have_no_names_yet_may_be_the_servers() {
        let mut nameless = listing(false);
        for task in &mut nameless.tasks {
            task.future = None;
        }
        let left = without_its_own(nameless.clone(), &|_| None);
        assert!(left.runtimes.is_empty() && left.tasks.is_empty());
        let shown = |id: u64| (id == 5).then_some(Shown { id, location: 0 });
        let left = without_its_own(nameless, &shown);
        let keys: Vec<u64> = left.runtimes.iter().map(|list| list.key).collect();
        assert_eq!(keys, [0x901], "the server shows a task of it");
        let tasks: Vec<_> = left.tasks.iter().map(|t| (t.id, t.runtime)).collect();
        assert_eq!(tasks, [(5, Some(0)), (6, Some(0))]);
    }

    #[test]
    fn when_the_process_is_another_nothing_of_it_is_left() {
        let mut session = Session::new();
        session.take(What::Listing(Box::new(listing(false))));
        session.take(What::Look(Box::new(look())));
        let joins = session.take(What::Ended(Problem::other_program(7, "app")));
        let Some(View::Not(why)) = joins.view else {
            panic!("{joins:?}");
        };
        assert!(why.contains("runs another program now"), "{why}");
        let model = &session.model;
        assert!(model.threads.is_empty() && model.runtimes[0].gone);
        assert!(model.workers.values().all(|worker| worker.tid.is_none()));
        assert_eq!(joins.forgotten.len(), 2, "what was read of tasks");
        assert!(!session.beside.looks());
    }
}
