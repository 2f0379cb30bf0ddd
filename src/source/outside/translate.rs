//! What is seen from outside, in looptop's normal form.
//!
//! Nothing here does I/O or asks a clock.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use looptop_outside::waiting::TaskAt;
use looptop_procfs::syscalls;

use looptop_wire::{
    intern::Interner,
    proto::{self, Frame, LockHolder, Loss, Outside, StallState, ThreadState},
    split::split,
};

use super::{
    seen::{self, Does, Listing, Look, Polled, Runtime, Stack, Stall, Thread},
    tasks::{Changes, Tasks},
    waits::{HeldBy, Waits},
    workers::Workers,
};
use crate::source::host::Sample;

/// Stalls whose lock's holder is remembered.
const MAX_HOLDERS: usize = 1_024;

/// The state of one attachment.
#[derive(Debug)]
pub(super) struct Translator {
    interner: Interner,
    /// Those that were seen, and their names.
    threads: BTreeMap<u64, u32>,
    workers: Workers,
    tasks: Tasks,
    waits: Waits,
    /// The holders of the locks that stalls wait for, by stall.
    holders: BTreeMap<u64, LockHolder>,
    /// Who held the lock for which a thread waited, as it was seen last, and when.
    seen_holders: BTreeMap<u64, (u64, LockHolder)>,
    /// Those that were sent.
    modules: Vec<seen::Module>,
    outside: Outside,
    looking_ns: u64,
    listing_ns: u64,
    reading_ns: u64,
    sequence: u64,
    sent_ns: u64,
    /// Whether the state was sent as a whole.
    looked: bool,
    listed: bool,
    complete: bool,
}

impl Translator {
    /// Nothing was seen yet; so many tasks that ended are held. `lists` is whether
    /// tasks can be listed at all.
    pub(super) fn new(keep_ended: usize, lists: bool) -> Self {
        let mut workers = Workers::default();
        if !lists {
            workers.without_runtimes();
        }
        Self {
            interner: Interner::default(),
            threads: BTreeMap::new(),
            workers,
            tasks: Tasks::new(keep_ended),
            waits: Waits::default(),
            holders: BTreeMap::new(),
            seen_holders: BTreeMap::new(),
            modules: Vec::new(),
            outside: Outside::default(),
            looking_ns: 0,
            listing_ns: 0,
            reading_ns: 0,
            sequence: 0,
            sent_ns: 0,
            looked: false,
            listed: !lists,
            complete: false,
        }
    }

    /// The same in a session that has runtimes of another source: those here get ids from
    /// `first_runtime` on.
    pub(super) fn joining(keep_ended: usize, first_runtime: u32) -> Self {
        Self {
            workers: Workers::joining(first_runtime),
            ..Self::new(keep_ended, true)
        }
    }

    /// Of a core dump, of which there is one listing and then one look.
    pub(super) fn at_once(lists: bool) -> Self {
        let mut workers = Workers::at_once();
        if !lists {
            workers.without_runtimes();
        }
        Self {
            workers,
            ..Self::new(0, lists)
        }
    }

    /// The id of a runtime of the newest listing.
    pub(super) fn runtime_id(&self, key: u64) -> Option<u32> {
        self.workers.runtime(key)
    }

    /// Whether a task with this id, on the wire, was listed.
    pub(super) fn has_task(&self, id: u64) -> bool {
        self.tasks.has(id)
    }

    /// All tasks that are known, once more.
    pub(super) fn all_tasks(&mut self, now_ns: u64) -> Vec<Frame> {
        let changes = Changes {
            columns: self.tasks.all(),
            ..Changes::default()
        };
        self.frames(now_ns, Frame::default(), changes)
    }

    /// Tasks and runtimes are forgotten.
    pub(super) fn forget(&mut self, now_ns: u64) -> Vec<Frame> {
        let (_, gone) = self.workers.runtimes(&[]);
        let frame = Frame {
            runtimes: gone.into_iter().map(gone_runtime).collect(),
            ..Frame::default()
        };
        let changes = self.tasks.forget();
        self.frames(now_ns, frame, changes)
    }

    /// The threads and stalls as of a look.
    pub(super) fn look(&mut self, now_ns: u64, look: &Look) -> Vec<Frame> {
        let workers = self.workers(now_ns, look);
        let polled: HashMap<_, _> = look
            .threads
            .iter()
            .filter_map(|thread| match thread.does {
                Does::Polling {
                    since_ns,
                    task: Some(task),
                } => Some((task.header, (thread.tid, since_ns))),
                _ => None,
            })
            .collect();
        let changes = self.tasks.polls(polled);
        self.count(look);
        let frame = Frame {
            threads: self.threads(look),
            workers,
            modules: self.new_modules(look),
            stalls: self.stalls(now_ns, &look.stalls),
            outside: Some(self.outside),
            ..Frame::default()
        };
        self.looked = true;
        self.frames(now_ns, frame, changes)
    }

    /// The runtimes and tasks as of a listing.
    pub(super) fn listing(&mut self, now_ns: u64, listing: &Listing) -> Vec<Frame> {
        let (ids, gone) = self.workers.runtimes(&listing.runtimes);
        let changes = self
            .tasks
            .listing(now_ns, listing, &ids, &mut self.interner);
        let listed = listing.runtimes.iter().zip(&ids);
        let mut runtimes: Vec<_> = listed.map(|(seen, id)| runtime(*id, seen)).collect();
        for runtime in &mut runtimes {
            runtime.name = self.interner.string(self.workers.name_of(runtime.id));
        }
        runtimes.extend(gone.into_iter().map(gone_runtime));
        self.outside.listings += 1;
        self.outside.listing_ns = Some(listing.took_ns);
        self.outside.unlisted_tasks = listing.unlisted;
        self.listing_ns = listing.cpu_ns;
        self.outside.cpu_ns = self.cpu_ns();
        self.listed = true;
        let frame = Frame {
            runtimes,
            outside: Some(self.outside),
            ..Frame::default()
        };
        self.frames(now_ns, frame, changes)
    }

    /// Where tasks and threads wait.
    pub(super) fn waits(&mut self, now_ns: u64, seen: &seen::Waits) -> Vec<Frame> {
        self.reading_ns = seen.cpu_ns;
        self.outside.cpu_ns = self.cpu_ns();
        let frame = self
            .waits
            .frame(now_ns, seen, &self.tasks, &mut self.interner);
        self.remember_holders(now_ns);
        let frame = Frame {
            outside: Some(self.outside),
            ..frame
        };
        self.frames(now_ns, frame, Changes::default())
    }

    fn cpu_ns(&self) -> u64 {
        let listing_ns = self.listing_ns.saturating_add(self.reading_ns);
        self.looking_ns.saturating_add(listing_ns)
    }

    /// The process and its machine.
    #[allow(clippy::needless_pass_by_value, reason = "a sample becomes a frame")]
    pub(super) fn host(&mut self, now_ns: u64, sample: Sample) -> Vec<Frame> {
        // Its threads are known from the looks.
        let frame = Frame {
            process: sample.process,
            host: sample.host,
            ..Frame::default()
        };
        self.frames(now_ns, frame, Changes::default())
    }

    fn count(&mut self, look: &Look) {
        let doing = &look.doing;
        let no_sampler = doing.no_sampler.as_deref().unwrap_or_default();
        let no_stop = doing.no_stop.as_deref().unwrap_or_default();
        self.looking_ns = doing.cpu_ns;
        self.outside = Outside {
            looks: doing.looks,
            read: doing.read,
            sampled: doing.sampled,
            stopped: doing.stopped,
            stopped_in_call: doing.stopped_in_call,
            held_p50_ns: doing.held_p50_ns,
            held_max_ns: doing.held_max_ns,
            no_sampler: self.interner.string(no_sampler),
            no_stop: self.interner.string(no_stop),
            cpu_ns: self.cpu_ns(),
            ..self.outside
        };
    }

    fn threads(&mut self, look: &Look) -> Vec<proto::Thread> {
        let threads = look.threads.iter().map(|thread| self.thread(thread));
        let mut threads: Vec<_> = threads.collect();
        let present = threads.iter().map(|thread| (thread.tid, thread.name));
        let present: BTreeMap<u64, u32> = present.collect();
        let before = std::mem::replace(&mut self.threads, present);
        let gone = before
            .into_keys()
            .filter(|tid| !self.threads.contains_key(tid));
        threads.extend(gone.map(|tid| proto::Thread {
            tid,
            state: ThreadState::Other.into(),
            gone: true,
            ..proto::Thread::default()
        }));
        threads
    }

    fn thread(&mut self, thread: &Thread) -> proto::Thread {
        proto::Thread {
            tid: thread.tid,
            name: self.interner.string(&thread.name),
            state: thread.state.into(),
            role: thread.role.into(),
            user_ns: thread.user_ns,
            system_ns: thread.system_ns,
            run_queue_ns: thread.run_queue_ns,
            voluntary_switches: thread.switches.map(|(voluntary, _)| voluntary),
            involuntary_switches: thread.switches.map(|(_, involuntary)| involuntary),
            gone: false,
        }
    }

    fn workers(&mut self, now_ns: u64, look: &Look) -> Vec<proto::Worker> {
        let tasks: HashMap<u64, u64> = look
            .threads
            .iter()
            .filter_map(|thread| match thread.does {
                Does::Polling {
                    task: Some(task), ..
                } => Some((thread.tid, self.tasks.id(task))),
                _ => None,
            })
            .collect();
        for thread in &look.threads {
            if let Does::Polling {
                task: Some(task), ..
            } = thread.does
                && let Some(runtime) = self.tasks.runtime(task)
            {
                self.workers.polls(thread.tid, runtime);
            }
        }
        let mut workers = self.workers.look(now_ns, look);
        for worker in &mut workers {
            worker.task = worker.tid.and_then(|tid| tasks.get(&tid).copied());
        }
        workers
    }

    fn stalls(&mut self, now_ns: u64, stalls: &[Stall]) -> Vec<proto::Stall> {
        let stalls = stalls.iter();
        stalls.map(|stall| self.stall(now_ns, stall)).collect()
    }

    fn new_modules(&mut self, look: &Look) -> Vec<proto::Module> {
        let known = self.modules.len().min(look.modules.len());
        self.modules.extend_from_slice(&look.modules[known..]);
        let new = look.modules.iter().enumerate().skip(known);
        let module = |(index, module): (usize, &super::seen::Module)| proto::Module {
            id: index as u32 + 1,
            path: self.interner.string(&module.path),
            build_id: module.build_id.clone(),
            base: module.base,
        };
        new.map(module).collect()
    }

    /// Who holds the lock that a stalled thread waits for; once that was seen, it is said of
    /// the stall to its end. Stalls are seen at other moments than holders.
    fn holder(&mut self, now_ns: u64, stall: &Stall) -> Option<LockHolder> {
        let now = stall
            .live
            .then(|| self.held_by(now_ns, stall.tid))
            .flatten();
        let during = stall.started_ns..=stall.started_ns.saturating_add(stall.duration_ns);
        let meanwhile = self.seen_holders.get(&stall.tid);
        let meanwhile = meanwhile.filter(|(at_ns, _)| during.contains(at_ns));
        if let Some(holder) = now.or_else(|| meanwhile.map(|(_, holder)| holder.clone())) {
            if self.holders.len() >= MAX_HOLDERS {
                self.holders.clear();
            }
            self.holders.insert(stall.id, holder);
        }
        if stall.live {
            self.holders.get(&stall.id).cloned()
        } else {
            self.holders.remove(&stall.id)
        }
    }

    /// Remembers who holds the locks that threads wait for.
    fn remember_holders(&mut self, now_ns: u64) {
        let waiters: Vec<u64> = self.waits.waiters().take(MAX_HOLDERS).collect();
        for waiter in waiters {
            if let Some(holder) = self.held_by(now_ns, waiter) {
                if self.seen_holders.len() >= MAX_HOLDERS {
                    self.seen_holders.clear();
                }
                self.seen_holders.insert(waiter, (now_ns, holder));
            }
        }
    }

    /// Who holds the lock that a thread waits for now.
    fn held_by(&mut self, now_ns: u64, waiter: u64) -> Option<LockHolder> {
        let (held_by, certain) = self.waits.holder(waiter)?;
        let polled = |task: TaskAt| Polled {
            header: task.header,
            id: task.id,
        };
        let held_by = match held_by {
            HeldBy::Thread(thread) => thread,
            HeldBy::Task(task) => {
                return Some(LockHolder {
                    certain,
                    task: Some(self.tasks.id(polled(task))),
                    location: self.tasks.location(polled(task)),
                    task_name: self.tasks.future(polled(task)),
                    ..LockHolder::default()
                });
            }
        };
        let frames = held_by.frames.iter();
        let module = |at: u32| {
            let (path, base) = self.waits.modules().get(at as usize)?;
            let mut known = self.modules.iter().zip(0..);
            let same = known.find(|(m, _)| m.base == *base && path == Path::new(&m.path));
            same.map(|(_, index)| index)
        };
        let frames = frames.map(|(at, offset)| (at.and_then(module), *offset));
        let seen = Stack {
            first_ns: now_ns,
            last_ns: now_ns,
            count: 1,
            frames: frames.collect(),
            evidence: proto::Evidence::Read,
            ..Stack::default()
        };
        let task = held_by.task.map(polled);
        Some(LockHolder {
            tid: held_by.tid,
            name: self.threads.get(&held_by.tid).copied().unwrap_or(0),
            stack: Some(stack(&seen, 0)),
            certain,
            task: task.map(|task| self.tasks.id(task)),
            location: task.map_or(0, |task| self.tasks.location(task)),
            doing: held_by
                .call
                .map_or(0, |number| self.interner.string(&syscalls::name(number))),
            ..LockHolder::default()
        })
    }

    fn stall(&mut self, now_ns: u64, stall: &Stall) -> proto::Stall {
        let worker = self.workers.of(stall.tid);
        let state = if stall.live {
            StallState::Live
        } else {
            StallState::Ended
        };
        let holder = self.holder(now_ns, stall);
        let mut string = |text: &Option<String>| {
            let text = text.as_deref().unwrap_or_default();
            self.interner.string(text)
        };
        proto::Stall {
            id: stall.id,
            state: state.into(),
            scope: stall.scope.into(),
            runtime: worker.map(|(runtime, _)| runtime),
            worker: worker.map(|(_, index)| index),
            tid: Some(stall.tid),
            task: stall.task.map(|task| self.tasks.id(task)),
            location: stall.task.map_or(0, |task| self.tasks.location(task)),
            started_at_ns: stall.started_ns,
            duration_ns: stall.duration_ns,
            cause: stall.cause.into(),
            cpu_ns: stall.cpu_ns,
            run_queue_ns: stall.run_queue_ns,
            observed_ns: stall.observed_ns,
            syscall: string(&stall.syscall),
            object: string(&stall.object),
            no_stack_reason: string(&stall.no_stack),
            stacks: stall
                .stacks
                .iter()
                .map(|seen| stack(seen, string(&seen.syscall)))
                .collect(),
            samples: stall.looks,
            lock_address: stall.lock_address,
            withdrawn: stall.withdrawn,
            holder,
            ..proto::Stall::default()
        }
    }

    /// Numbers and dates a frame, and the others that its changes need.
    fn frames(&mut self, now_ns: u64, mut frame: Frame, changes: Changes) -> Vec<Frame> {
        self.sent_ns = self.sent_ns.max(now_ns);
        frame.strings = self.interner.take_strings();
        frame.locations = self.interner.take_locations();
        frame.sites = changes.sites;
        frame.forgotten_tasks = changes.forgotten;
        frame.loss = Some(Loss {
            strings: self.interner.refused(),
            ..Loss::default()
        });
        let complete = self.looked && self.listed;
        frame.snapshot_complete = complete && !std::mem::replace(&mut self.complete, complete);
        let mut columns = changes.columns.into_iter();
        frame.tasks = columns.next();
        let mut whole = vec![frame];
        whole.extend(columns.map(|tasks| Frame {
            tasks: Some(tasks),
            ..Frame::default()
        }));
        let last = whole.len() - 1;
        for at in 0..last {
            whole[at].more = true;
            let complete = std::mem::take(&mut whole[at].snapshot_complete);
            whole[last].snapshot_complete |= complete;
        }
        let now_ns = self.sent_ns;
        let dated = whole.into_iter().map(|mut frame| {
            frame.now_ns = now_ns;
            frame
        });
        let mut frames: Vec<Frame> = dated.flat_map(split).collect();
        for frame in &mut frames {
            self.sequence += 1;
            frame.sequence = self.sequence;
        }
        frames
    }
}

fn gone_runtime(id: u32) -> proto::Runtime {
    proto::Runtime {
        id,
        gone: true,
        ..proto::Runtime::default()
    }
}

fn runtime(id: u32, seen: &Runtime) -> proto::Runtime {
    proto::Runtime {
        id,
        flavor: seen.flavor.into(),
        workers: seen.workers.unwrap_or_default(),
        live_tasks: seen.counted,
        listed_tasks: Some(seen.listed),
        torn: seen.torn,
        found_by: seen.found_by.into(),
        ..proto::Runtime::default()
    }
}

fn stack(seen: &Stack, syscall: u32) -> proto::StackSample {
    let frame = |(module, offset): &(Option<u32>, u64)| proto::CodeAddress {
        module: module.map_or(0, |index| index + 1),
        offset: *offset,
    };
    proto::StackSample {
        first_at_ns: seen.first_ns,
        last_at_ns: seen.last_ns,
        count: seen.count,
        frames: seen.frames.iter().map(frame).collect(),
        truncated: seen.truncated,
        cause: seen.cause.into(),
        syscall,
        evidence: seen.evidence.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        model::{Model, Moment, TaskId, Tid},
        source::outside::{
            hello::{Missing, complete},
            seen::{Doing, Future, Module, Place, Polled, Task},
        },
    };
    use looptop_wire::proto::{
        Cause, Certainty, Evidence, Flavor, HelloResponse, StallScope, TaskState, ThreadRole,
        WorkerState,
    };

    const MS: u64 = 1_000_000;

    fn polled() -> Polled {
        Polled {
            header: 0x1000,
            id: 7,
        }
    }

    /// Worker 501 sits in a poll of task 7 since 5 ms, 502 is parked.
    fn stalling() -> Look {
        let worker = |tid, does| Thread {
            tid,
            name: "tokio-rt-worker".to_owned(),
            role: ThreadRole::Worker,
            drives: Flavor::MultiThread,
            does,
            ..Thread::default()
        };
        let poll = Does::Polling {
            since_ns: 5 * MS,
            task: Some(polled()),
        };
        Look {
            threads: vec![worker(501, poll), worker(502, Does::Parked)],
            stalls: vec![Stall {
                id: 1,
                live: true,
                scope: StallScope::OnePoll,
                tid: 501,
                task: Some(polled()),
                started_ns: 5 * MS,
                duration_ns: 40 * MS,
                cause: Cause::Sleeping,
                syscall: Some("clock_nanosleep".to_owned()),
                stacks: vec![Stack {
                    count: 3,
                    frames: vec![(Some(0), 0x10), (None, 0x7f00)],
                    cause: Cause::Sleeping,
                    evidence: Evidence::Read,
                    ..Stack::default()
                }],
                ..Stall::default()
            }],
            modules: vec![Module {
                path: "/app/server".to_owned(),
                build_id: vec![1, 2],
                base: 0x5000,
            }],
            doing: Doing {
                looks: 12,
                read: 1,
                no_sampler: Some("the kernel forbids it".to_owned()),
                cpu_ns: 3 * MS,
                ..Doing::default()
            },
        }
    }

    fn listing() -> Listing {
        let future = Arc::new(Future {
            name: "app::serve::{{closure}}".to_owned(),
            certain: false,
            place: Some(Place {
                file: "src/main.rs".into(),
                line: 7,
                column: 1,
            }),
        });
        let task = |header, id| Task {
            header,
            id,
            state: TaskState::Idle,
            runtime: Some(0),
            future: Some(Arc::clone(&future)),
            ..Task::default()
        };
        Listing {
            runtimes: vec![Runtime {
                key: 0x9000,
                flavor: Flavor::MultiThread,
                counted: 3,
                listed: 2,
                torn: true,
                ..Runtime::default()
            }],
            tasks: vec![task(0x1000, 7), task(0x2000, 8)],
            cpu_ns: 2 * MS,
            ..Listing::default()
        }
    }

    fn applied(model: &mut Model, frames: Vec<Frame>) {
        for frame in frames {
            model.apply(&frame).unwrap();
        }
    }

    #[test]
    fn a_look_and_a_listing_are_one_picture() {
        let hello = complete(
            HelloResponse::default(),
            &Missing::default(),
            "1.54.1".to_owned(),
            0,
        );
        let mut model = Model::new(&hello);
        let mut translator = Translator::new(10, true);
        applied(&mut model, translator.look(45 * MS, &stalling()));
        assert!(!model.complete, "the tasks are still to come");
        assert!(model.workers.is_empty(), "of which runtime they are, too");
        applied(&mut model, translator.listing(50 * MS, &listing()));
        assert!(model.complete && model.is_outside());
        let mut look = stalling();
        look.doing.cpu_ns = 4 * MS;
        applied(&mut model, translator.look(60 * MS, &look));

        let worker = model.workers.values().next().unwrap();
        assert_eq!(worker.state, WorkerState::Stalled);
        assert_eq!((worker.tid, worker.task), (Some(Tid(501)), Some(TaskId(7))));
        let task = model.tasks.get(TaskId(7)).unwrap();
        assert_eq!(task.state, TaskState::Running);
        assert_eq!(task.poll_started(), Some(Moment(5 * MS)));
        assert_eq!(task.future_certainty, Certainty::Guessed);
        let place = model.location(task.future_location).unwrap();
        assert_eq!(place.to_string(), "src/main.rs:7");
        let stall = model.stalls.live().next().unwrap();
        assert_eq!(stall.worker, Some(worker.id));
        assert_eq!(stall.stacks[0].frames[0].module, 1);
        assert_eq!(stall.stacks[0].evidence(), Evidence::Read);
        let module = model.module(1).unwrap();
        assert_eq!((module.base, &*module.build_id), (0x5000, &[1, 2][..]));
        let runtime = &model.runtimes[0];
        assert_eq!((runtime.live_tasks, runtime.torn), (3, true));
        assert_eq!(model.live_tasks(), Some(3), "as the runtime counts");
        let outside = model.outside.as_ref().unwrap();
        assert_eq!((outside.looks, outside.listings), (12, 1));
        assert_eq!(outside.cpu, std::time::Duration::from_millis(6));
        assert_eq!(model.text(outside.no_sampler), "the kernel forbids it");
    }

    /// A look each 100 ms misses most locks that are held for as long: whoever was seen to
    /// hold one meanwhile is said of the stall when it ends.
    #[test]
    fn a_task_that_held_the_lock_of_a_stall_is_said_of_it() {
        use looptop_outside::{
            awaits::Role,
            waiting::{Found, Hold, TaskWait, ThreadWait, Want, What},
        };
        let mut translator = Translator::new(10, true);
        translator.look(4 * MS, &stalling());
        translator.listing(5 * MS, &listing());
        let at = std::time::Instant::now();
        let waiter = ThreadWait {
            tid: 501,
            want: Some(Want {
                node: 0,
                what: What::Permits {
                    resource: 64,
                    amount: 1,
                    given: 0,
                },
            }),
            holds: Vec::new(),
            task: None,
            since: at,
            function: None,
            place: None,
            call: None,
            frames: Vec::new(),
        };
        let holder = TaskWait {
            task: TaskAt {
                header: 0x2000,
                id: 8,
            },
            shape: 1,
            wants: Vec::new(),
            holds: vec![Hold {
                node: 0,
                resource: 64,
                role: Role::Guard,
                amount: 1,
                name: None,
                is_certain: false,
            }],
            since: at,
            read_at: at,
            is_certain: true,
            is_scheduled: false,
            wakers_known: false,
        };
        let seen = |found| seen::Waits {
            found,
            at,
            cpu_ns: 0,
        };
        let found = Found {
            threads: vec![waiter],
            tasks: vec![holder],
            ..Found::default()
        };
        translator.waits(20 * MS, &seen(found));
        let over = Found {
            threads_void: vec![501],
            ..Found::default()
        };
        translator.waits(44 * MS, &seen(over));
        let mut ended = stalling();
        ended.stalls[0].live = false;
        let frames = translator.look(46 * MS, &ended);
        let stall = frames.iter().find_map(|frame| frame.stalls.first());
        let holder = stall.and_then(|stall| stall.holder.as_ref()).unwrap();
        assert_eq!(
            (holder.tid, holder.task, holder.certain),
            (0, Some(8), false)
        );
        assert_ne!(holder.task_name, 0);
        // Another one that began later is not about that.
        let mut later = stalling();
        (later.stalls[0].id, later.stalls[0].started_ns) = (2, 60 * MS);
        later.stalls[0].live = false;
        let frames = translator.look(101 * MS, &later);
        let stall = frames.iter().find_map(|frame| frame.stalls.first());
        assert!(stall.unwrap().holder.is_none());
    }

    #[test]
    fn threads_that_end_are_gone_and_without_a_list_nothing_waits_for_one() {
        let mut model = Model::new(&HelloResponse::default());
        let mut translator = Translator::new(10, false);
        applied(&mut model, translator.look(MS, &stalling()));
        assert!(model.complete);
        assert_eq!((model.threads.len(), model.workers.len()), (2, 2));
        let mut look = stalling();
        look.threads.remove(0);
        look.stalls.clear();
        applied(&mut model, translator.look(2 * MS, &look));
        assert_eq!(model.threads.len(), 1);
        assert_eq!(model.workers.values().next().unwrap().tid, None);
    }
}
