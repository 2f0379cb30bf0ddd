//! What is seen of a process from outside: how, at what cost, and the names of futures.

use std::{collections::HashMap, sync::Arc, time::Duration};

use looptop_wire::proto;

use super::{
    Capability, Model, Moment, Runtime, RuntimeFound, RuntimeId, TextId, Texts, Tid, worker::Rate,
};

/// What the view from outside has done, in all.
#[derive(Debug, Clone, Default)]
pub struct Outside {
    /// Looks at the threads.
    pub looks: u64,
    /// Stacks read while their threads were blocked.
    pub read: u64,
    /// Stacks that the kernel's sampler copied.
    pub sampled: u64,
    /// Stacks for which a computing thread was stopped.
    pub stopped: u64,
    /// Stops that came just as the thread began a system call.
    pub stopped_in_call: u64,
    /// For how long stopped threads were held: half of them no longer.
    pub held_p50: Option<Duration>,
    /// The longest of these.
    pub held_max: Option<Duration>,
    /// Why the kernel's sampler is not used; `None` where it is.
    pub no_sampler: Option<TextId>,
    /// Why computing threads are not stopped; `None` where they may be.
    pub no_stop: Option<TextId>,
    /// CPU that the viewer used for it.
    pub cpu: Duration,
    /// Times that all tasks were listed; none where another source shows tasks.
    pub listings: u64,
    /// How long the newest listing took.
    pub listing: Option<Duration>,
    /// Tasks that were found and could not be listed.
    pub unlisted: u64,
    pub(super) cpu_rate: Rate,
}

impl Outside {
    /// CPUs that the viewer used for it over the last second.
    pub fn cpu_ratio(&self) -> Option<f64> {
        self.cpu_rate.per_second().map(|ns| ns / 1e9)
    }

    pub(super) fn update(&mut self, update: &proto::Outside, now: Moment) {
        let ns = |n: Option<u64>| n.map(Duration::from_nanos);
        self.looks = update.looks;
        self.read = update.read;
        self.sampled = update.sampled;
        self.stopped = update.stopped;
        self.stopped_in_call = update.stopped_in_call;
        self.held_p50 = ns(update.held_p50_ns);
        self.held_max = ns(update.held_max_ns);
        let text = |id: u32| (id != 0).then_some(TextId(id));
        self.no_sampler = text(update.no_sampler);
        self.no_stop = text(update.no_stop);
        self.cpu = Duration::from_nanos(update.cpu_ns);
        self.listings = update.listings;
        self.listing = ns(update.listing_ns);
        self.unlisted = update.unlisted_tasks;
        self.cpu_rate.push(now, update.cpu_ns);
    }

    pub(super) fn to_wire(&self) -> proto::Outside {
        let ns = |d: Option<Duration>| d.map(super::ids::nanos);
        proto::Outside {
            looks: self.looks,
            read: self.read,
            sampled: self.sampled,
            stopped: self.stopped,
            stopped_in_call: self.stopped_in_call,
            held_p50_ns: ns(self.held_p50),
            held_max_ns: ns(self.held_max),
            no_sampler: self.no_sampler.map_or(0, |id| id.0),
            no_stop: self.no_stop.map_or(0, |id| id.0),
            cpu_ns: super::ids::nanos(self.cpu),
            listings: self.listings,
            listing_ns: ns(self.listing),
            unlisted_tasks: self.unlisted,
        }
    }
}

/// The short names of the types of futures, each made once.
#[derive(Debug, Clone, Default)]
pub(super) struct Futures(HashMap<TextId, Arc<str>>);

/// Types of which short names are held.
const MAX_FUTURES: usize = 65_536;

impl Futures {
    /// Makes the short names that a column of texts needs.
    pub(super) fn learn(&mut self, texts: &Texts, column: &[u32]) {
        let mut last = 0;
        for id in column {
            // Neighbours are alike.
            if *id == last || *id == 0 {
                continue;
            }
            last = *id;
            let id = TextId(*id);
            if self.0.contains_key(&id) || self.0.len() >= MAX_FUTURES {
                continue;
            }
            let name = texts.get(id);
            if !name.is_empty() {
                self.0.insert(id, short(name).into());
            }
        }
    }
}

/// How a future's type is shown.
fn short(name: &str) -> String {
    looptop_symbols::name::short_future(name)
}

impl Model {
    /// The type of a future as the screen shows it: the outer function without its
    /// generics, and the program's own types within.
    pub fn future_name(&self, future: Option<TextId>) -> Option<&str> {
        self.futures.0.get(&future?).map(|name| &**name)
    }

    /// The process is seen from outside alone, so that what runs now has run at least
    /// since it was first seen.
    pub fn is_outside(&self) -> bool {
        let alone = !self.has_agent() && !self.session.has(Capability::Console);
        self.outside.is_some() && alone
    }

    /// Why functions have no names from outside, and threads are known by their long polls
    /// of tasks alone.
    pub fn without_names(&self) -> Option<&str> {
        let mut missing = self.session.all_missing();
        let found =
            missing.find(|(kind, reason)| *kind == Capability::Coverage && !reason.is_empty());
        found
            .map(|(_, reason)| reason)
            .filter(|_| self.is_outside())
    }

    /// What workers are called that are counted: those that are known where not all are.
    pub fn worker_noun(&self) -> &'static str {
        match self.without_names() {
            Some(_) => "known worker",
            None => "worker",
        }
    }

    /// Tasks are read from outside, also where an agent that shows none has the rest:
    /// nobody counts their polls and wakes. Not where another source shows tasks, and
    /// the view from outside fills what that does not say of them.
    pub fn reads_tasks(&self) -> bool {
        let listed = |outside: &Outside| outside.listings > 0 || self.is_outside();
        self.outside.as_ref().is_some_and(listed)
    }

    /// A runtime was found from outside: nobody registered it.
    pub fn is_found(&self, runtime: RuntimeId) -> bool {
        let found = self.runtimes.iter().find(|found| found.id == runtime);
        match found {
            Some(runtime) => runtime.is_found(),
            // A thread drives one of several, and which is not known.
            None => self.outside.is_some(),
        }
    }

    /// A thread drives a runtime that was found from outside.
    pub fn drives_found(&self, tid: Tid) -> bool {
        let mut workers = self.workers.values();
        workers.any(|worker| worker.tid == Some(tid) && self.is_found(worker.id.runtime))
    }
}

impl Runtime {
    /// Its list of tasks was found from outside.
    pub fn is_found(&self) -> bool {
        matches!(self.found_by, RuntimeFound::Stack | RuntimeFound::Task)
    }
}

#[cfg(test)]
mod tests {
    use looptop_wire::columns::{self, Record};

    use super::*;
    use crate::model::{Certainty, LocationId, TaskId, fixtures};

    #[test]
    fn a_task_is_called_by_its_future_and_a_name_comes_first() {
        let mut model = Model::new(&fixtures::hello());
        let mut tasks = proto::Tasks::default();
        let whole = "app::serve<app::Store>::{{closure}}";
        for (id, name) in [(1, None), (2, Some(2))] {
            columns::push(
                &mut tasks,
                &Record {
                    id,
                    name,
                    future: Some(1),
                    future_certainty: Certainty::Guessed,
                    future_location: Some(4),
                    ..Record::default()
                },
            );
        }
        let text = |id, text: &str| proto::InternedString {
            id,
            text: text.to_owned(),
        };
        let frame = proto::Frame {
            strings: vec![text(1, whole), text(2, "conn")],
            tasks: Some(tasks),
            ..fixtures::frame(Moment(7))
        };
        model.apply(&frame).unwrap();
        let mut copy = Model::new(&fixtures::hello());
        for frame in model.keyframe() {
            copy.apply(&frame).unwrap();
        }
        for model in [model, copy] {
            let name = |id| model.task_name(model.tasks.get(TaskId(id)).unwrap());
            let short = short(whole);
            assert_eq!((name(1), name(2)), (Some(&*short), Some("conn")));
            let task = model.tasks.get(TaskId(1)).unwrap();
            assert_eq!(task.future_certainty, Certainty::Guessed);
            assert_eq!(task.future_location, Some(LocationId(4)));
            assert_eq!(task.total(Moment(9)), None, "nobody saw it begin");
            assert_eq!(model.text(task.future), whole);
        }
    }

    #[test]
    fn whose_the_tasks_are_depends_on_who_is_beside() {
        let (looks, lists) = ((1, 0), (1, 1));
        // An agent, console-subscriber; looks and listings; alone, reads tasks.
        for (agent, console, (looks, listings), alone, reads) in [
            ("", false, (0, 0), true, true),
            ("", false, lists, true, true),
            ("", true, looks, false, false),
            ("1.0", false, looks, false, false),
            ("1.0", true, looks, false, false),
            ("1.0", false, lists, false, true),
        ] {
            let mut hello = fixtures::hello();
            hello.agent_version = agent.to_owned();
            let of_console = |c: &&mut proto::Capability| c.kind() == Capability::Console;
            let known = hello.capabilities.iter_mut().find(of_console).unwrap();
            known.available = console;
            let mut model = Model::new(&hello);
            let frame = proto::Frame {
                outside: Some(proto::Outside {
                    looks,
                    listings,
                    ..proto::Outside::default()
                }),
                ..fixtures::frame(Moment(7))
            };
            model.apply(&frame).unwrap();
            let found = (model.is_outside(), model.reads_tasks());
            assert_eq!(
                found,
                (alone, reads),
                "{agent} {console} {looks} {listings}"
            );
        }
    }

    #[test]
    fn the_cost_is_a_share_of_a_core() {
        let mut outside = Outside::default();
        for second in 0..3 {
            let update = proto::Outside {
                cpu_ns: second * 30_000_000,
                ..proto::Outside::default()
            };
            outside.update(&update, Moment(second * 1_000_000_000));
        }
        assert!((outside.cpu_ratio().unwrap() - 0.03).abs() < 1e-9);
    }
}
