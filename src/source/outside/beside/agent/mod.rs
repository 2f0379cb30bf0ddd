//! The outside view beside an agent that shows no tasks: its listing joins the agent's
//! frames.
//!
//! All else is the agent's. Where it shows tasks after all, as when the application sets
//! a subscriber late, those that were listed are forgotten before its first one, and
//! nothing is listed any more. Tasks have tokio's ids in both. Texts get ids that
//! neither an agent nor console-subscriber beside it gives.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use looptop_outside::access::{self, ThisKernel};
use looptop_procfs::Procfs;
use looptop_wire::{
    intern::{Interner, MAX_ENTRIES},
    proto::{Capability, CapabilityKind, Flavor, Frame, HelloResponse, Outside, Tasks as Columns},
    split::split,
};
use tokio::{
    sync::mpsc,
    task::{JoinHandle, spawn_blocking},
};

use super::{
    driver::{Driver, Message, What},
    seen::{Future, Listing, Runtime},
    tasks::{Changes, Tasks},
};
use crate::source::{Options, Received, host, shift::Shift};

/// The tables of an agent and of console-subscriber end here.
const IDS: Shift = Shift(2 * MAX_ENTRIES as u32);
/// Listings that were not yet taken.
const MESSAGES: usize = 2;
/// Agent and viewer compute a process's start from clocks that may be set meanwhile.
const SAME_START: Duration = Duration::from_secs(2);
/// Runtimes of the agent's that are remembered.
const MAX_RUNTIMES: usize = 256;
/// The counts of one runtime, by the agent and from outside, at two instants: they
/// differ by no more than this part of the greater.
const ALIKE: u64 = 8;

/// The listing beside one connection.
pub(in crate::source) struct Beside {
    state: State,
    joined: Joined,
}

enum State {
    /// Nothing is listed.
    Off,
    /// The program is read, or may not be.
    Begins(JoinHandle<Option<Lists>>),
    Lists(Lists),
}

struct Lists {
    messages: mpsc::Receiver<Message>,
    /// Dropped, it ends the threads.
    _driver: Driver,
}

/// A listing, or that there are no more.
pub(in crate::source) struct Heard(Option<Box<Listing>>);

impl Beside {
    /// Begins to list, where the agent shows no tasks and its process is one of this
    /// machine that may be read.
    pub(in crate::source) fn attach(hello: &HelloResponse, options: &Options) -> Self {
        let mut joined = Joined::new(options.finished_tasks);
        joined.learn(&hello.capabilities);
        let state = if options.host && joined.lacks_tasks() && hello.pid != 0 {
            let hello = hello.clone();
            State::Begins(spawn_blocking(move || begin(&hello)))
        } else {
            State::Off
        };
        Self { state, joined }
    }

    /// What comes next; nothing ever where nothing is listed. Safe to cancel.
    pub(in crate::source) async fn next(&mut self) -> Heard {
        loop {
            match &mut self.state {
                State::Off => return std::future::pending().await,
                State::Begins(begins) => {
                    let lists = begins.await.ok().flatten();
                    self.state = lists.map_or(State::Off, State::Lists);
                }
                State::Lists(lists) => match lists.messages.recv().await {
                    Some(Message {
                        what: What::Listing(listing),
                        ..
                    }) => return Heard(Some(listing)),
                    Some(_) => {}
                    None => {
                        self.state = State::Off;
                        return Heard(None);
                    }
                },
            }
        }
    }

    /// As frames. `newest` is number and instant of the agent's newest.
    pub(in crate::source) fn frames(&mut self, heard: Heard, newest: (u64, u64)) -> Vec<Frame> {
        match heard.0 {
            Some(listing) => self.joined.listing(*listing, newest),
            None => self.joined.end(newest),
        }
    }

    /// The agent's frame as it is to go on, and what must go before it.
    pub(in crate::source) fn joined_by(
        &mut self,
        frame: Received,
        newest: (u64, u64),
    ) -> (Received, Vec<Frame>) {
        if matches!(self.state, State::Off) {
            return (frame, Vec::new());
        }
        if self.joined.meets(&frame) {
            self.state = State::Off;
            return (frame, self.joined.end(newest));
        }
        (self.joined.without_denial(frame), Vec::new())
    }
}

/// Reads the program; `None` where the process is another's, or cannot be read.
fn begin(hello: &HelloResponse) -> Option<Lists> {
    let procfs = Procfs::default();
    let mut found = HelloResponse::default();
    host::describe(&procfs, hello.pid, &mut found);
    if !is_same(hello, &found) {
        return None;
    }
    let access = access::examine(&procfs, &ThisKernel, hello.pid).ok()?;
    let (sender, messages) = mpsc::channel(MESSAGES);
    let driver = Driver::list(&access, sender)?;
    Some(Lists {
        messages,
        _driver: driver,
    })
}

/// Whether the agent speaks of the process that has its id here: in another pid
/// namespace or on another machine that is another one.
fn is_same(hello: &HelloResponse, found: &HelloResponse) -> bool {
    let started = (hello.process_started_unix_ns, found.process_started_unix_ns);
    let (Some(said), Some(seen)) = started else {
        return false;
    };
    !hello.exe.is_empty()
        && hello.exe == found.exe
        && Duration::from_nanos(said.abs_diff(seen)) <= SAME_START
}

/// The listings in the agent's session.
struct Joined {
    interner: Interner,
    tasks: Tasks,
    /// What the agent says of tasks.
    word: Option<Capability>,
    /// The agent's runtimes: flavor and count of tasks.
    runtimes: BTreeMap<u32, (Flavor, u64)>,
    lists: RuntimeIds,
    outside: Outside,
}

impl Joined {
    fn new(keep_ended: usize) -> Self {
        Self {
            interner: Interner::default(),
            tasks: Tasks::new(keep_ended),
            word: None,
            runtimes: BTreeMap::new(),
            lists: RuntimeIds::default(),
            outside: Outside::default(),
        }
    }

    fn learn(&mut self, capabilities: &[Capability]) {
        let of_tasks = |c: &&Capability| c.kind() == CapabilityKind::Tasks;
        if let Some(word) = capabilities.iter().rfind(of_tasks) {
            self.word = Some(word.clone());
        }
    }

    fn lacks_tasks(&self) -> bool {
        self.word.as_ref().is_some_and(|word| !word.available)
    }

    /// Takes in what a frame of the agent's says; whether it shows tasks itself.
    fn meets(&mut self, frame: &Frame) -> bool {
        for runtime in &frame.runtimes {
            if runtime.gone {
                self.runtimes.remove(&runtime.id);
            } else if self.runtimes.len() < MAX_RUNTIMES {
                let seen = (runtime.flavor(), runtime.live_tasks);
                self.runtimes.insert(runtime.id, seen);
            }
        }
        let Some(tasks) = &frame.tasks else {
            return false;
        };
        self.learn(&tasks.capabilities);
        !self.lacks_tasks() || !tasks.id.is_empty()
    }

    /// A frame of the agent's without its word that tasks are not known, once they are.
    fn without_denial(&self, frame: Received) -> Received {
        let of_tasks = |c: &Capability| c.kind() == CapabilityKind::Tasks;
        let mut said = frame.tasks.iter().flat_map(|tasks| &tasks.capabilities);
        if self.outside.listings == 0 || !said.any(of_tasks) {
            return frame;
        }
        let mut frame = frame.into_frame();
        if let Some(tasks) = &mut frame.tasks {
            tasks.capabilities.retain(|c| !of_tasks(c));
        }
        Received::made(frame)
    }

    fn listing(&mut self, listing: Listing, newest: (u64, u64)) -> Vec<Frame> {
        let listing = without_the_agents(listing);
        let (ids, learned) = self.lists.of(&listing.runtimes, &self.runtimes);
        let mut changes = self
            .tasks
            .listing(newest.1, &listing, &ids, &mut self.interner);
        if learned {
            // Those that were sent before are of a runtime that is known now.
            changes.columns.extend(self.tasks.all());
        }
        let torn = listing.runtimes.iter().filter(|runtime| runtime.torn);
        let missed = torn.map(|runtime| runtime.counted.saturating_sub(runtime.listed));
        let first = self.outside.listings == 0;
        self.outside = Outside {
            listings: self.outside.listings + 1,
            listing_ns: Some(listing.took_ns),
            unlisted_tasks: missed.fold(listing.unlisted, u64::saturating_add),
            cpu_ns: listing.cpu_ns,
            ..Outside::default()
        };
        let available = Capability {
            kind: CapabilityKind::Tasks.into(),
            available: true,
            reason: String::new(),
        };
        self.frames(changes, first.then_some(available), newest)
    }

    /// Nothing of the listings is left.
    fn end(&mut self, newest: (u64, u64)) -> Vec<Frame> {
        if self.outside.listings == 0 {
            return Vec::new();
        }
        self.outside = Outside::default();
        let changes = self.tasks.forget();
        self.frames(changes, self.word.clone(), newest)
    }

    fn frames(
        &mut self,
        changes: Changes,
        word: Option<Capability>,
        newest: (u64, u64),
    ) -> Vec<Frame> {
        let mut columns = changes.columns;
        if columns.is_empty() && word.is_some() {
            columns.push(Columns::default());
        }
        if let Some(first) = columns.first_mut() {
            first.capabilities.extend(word);
        }
        for columns in &mut columns {
            self.place(columns);
        }
        let mut sites = changes.sites;
        for site in &mut sites {
            site.location = IDS.id(site.location);
            site.future = IDS.id(site.future);
        }
        let mut columns = columns.into_iter();
        let first = Frame {
            strings: self
                .interner
                .take_strings()
                .into_iter()
                .map(|text| IDS.string(text))
                .collect(),
            locations: self
                .interner
                .take_locations()
                .into_iter()
                .map(|place| IDS.location(place))
                .collect(),
            tasks: columns.next(),
            forgotten_tasks: changes.forgotten,
            sites,
            outside: Some(self.outside),
            ..Frame::default()
        };
        let others = columns.map(|tasks| Frame {
            tasks: Some(tasks),
            ..Frame::default()
        });
        let (sequence, now_ns) = newest;
        let dated = std::iter::once(first).chain(others).map(|frame| Frame {
            sequence,
            now_ns,
            ..frame
        });
        dated.flat_map(split).collect()
    }

    /// Texts and runtimes by the ids that they have in the session.
    fn place(&self, columns: &mut Columns) {
        for column in [
            &mut columns.location,
            &mut columns.future,
            &mut columns.future_location,
        ] {
            for id in column {
                *id = IDS.id(*id);
            }
        }
        for runtime in &mut columns.runtime {
            let list = runtime.checked_sub(1);
            let agents = list.and_then(|list| self.lists.agents(list));
            *runtime = agents.map_or(0, |id| id + 1);
        }
    }
}

/// Lists of tasks, numbered as they were found, and which of the agent's runtimes each is.
#[derive(Debug, Default)]
struct RuntimeIds {
    ids: HashMap<u64, u32>,
    agents: BTreeMap<u32, u32>,
}

impl RuntimeIds {
    /// The numbers of a listing's lists, and whether one was recognised only now.
    fn of(&mut self, lists: &[Runtime], agents: &BTreeMap<u32, (Flavor, u64)>) -> (Vec<u32>, bool) {
        let ids = lists.iter().map(|list| {
            let next = self.ids.len() as u32;
            *self.ids.entry(list.key).or_insert(next)
        });
        let ids: Vec<u32> = ids.collect();
        let known = self.agents.len();
        for flavor in [Flavor::MultiThread, Flavor::CurrentThread] {
            let mut own = agents.iter().filter(|(_, (of, _))| *of == flavor);
            let found = lists.iter().zip(&ids);
            let mut found = found.filter(|(list, _)| list.flavor == flavor);
            if let (Some((agents, (_, count))), None) = (own.next(), own.next())
                && let (Some((list, id)), None) = (found.next(), found.next())
                && list.counted.abs_diff(*count) <= 1 + list.counted.max(*count) / ALIKE
            {
                self.agents.insert(*id, *agents);
            }
        }
        (ids, self.agents.len() > known)
    }

    fn agents(&self, list: u32) -> Option<u32> {
        self.agents.get(&list).copied()
    }
}

/// Without the tasks of the agent itself, and its runtime; nor those whose names are
/// still to come, which would say whether they are its.
fn without_the_agents(mut listing: Listing) -> Listing {
    // Tasks of one type share it.
    let mut own: HashMap<*const Future, (bool, bool)> = HashMap::new();
    let mut own_lists = HashSet::new();
    let mut keep = Vec::with_capacity(listing.tasks.len());
    for task in &listing.tasks {
        let Some(future) = &task.future else {
            keep.push(!listing.names_to_come);
            continue;
        };
        let (of_agent, of_server) = *own.entry(Arc::as_ptr(future)).or_insert_with(|| {
            let name = looptop_symbols::name::short_future(&future.name);
            let is = |of| name.starts_with(of);
            (is("looptop_agent::"), is("looptop_agent::server::"))
        });
        if of_server {
            own_lists.insert(task.runtime);
        }
        keep.push(!of_agent);
    }
    own_lists.remove(&None);
    let mut keep = keep.into_iter();
    listing
        .tasks
        .retain(|task| keep.next() == Some(true) && !own_lists.contains(&task.runtime));
    // Its place stays, by which tasks name their runtime.
    for at in own_lists.into_iter().flatten() {
        if let Some(runtime) = listing.runtimes.get_mut(at) {
            (runtime.flavor, runtime.torn) = (Flavor::Unknown, false);
        }
    }
    listing
}

#[cfg(test)]
mod tests {
    use looptop_wire::proto::{self, TaskState};

    use super::*;
    use crate::{
        model::{Capability as Kind, Model, RuntimeId, TaskId},
        source::outside::seen::Task,
    };

    const NO_TRACING: &str = "tokio shows its tasks only when built otherwise";

    fn denial() -> Capability {
        Capability {
            kind: CapabilityKind::Tasks.into(),
            available: false,
            reason: NO_TRACING.to_owned(),
        }
    }

    fn task(id: u64, runtime: usize, name: &str) -> Task {
        Task {
            header: id * 64,
            id,
            state: TaskState::Idle,
            runtime: Some(runtime),
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

    fn list(key: u64, flavor: Flavor, counted: u64) -> Runtime {
        Runtime {
            key,
            flavor,
            counted,
            ..Runtime::default()
        }
    }

    fn hello(available: bool) -> HelloResponse {
        let mut word = denial();
        word.available = available;
        HelloResponse {
            agent_version: "1".to_owned(),
            capabilities: vec![word],
            ..HelloResponse::default()
        }
    }

    fn agents(frame: Frame) -> Received {
        Received::made(frame)
    }

    fn applied(model: &mut Model, frames: &[Frame]) {
        for frame in frames {
            model.apply(frame).unwrap();
        }
    }

    #[test]
    fn a_listing_joins_the_agents_frames_and_goes_when_the_agent_has_tasks() {
        let hello = hello(false);
        let mut model = Model::new(&hello);
        let mut joined = Joined::new(10);
        joined.learn(&hello.capabilities);
        let state = Frame {
            sequence: 1,
            now_ns: 50,
            runtimes: vec![proto::Runtime {
                id: 3,
                flavor: Flavor::MultiThread.into(),
                live_tasks: 2,
                ..proto::Runtime::default()
            }],
            tasks: Some(Columns {
                capabilities: vec![denial()],
                ..Columns::default()
            }),
            ..Frame::default()
        };
        assert!(!joined.meets(&state));
        let passed = joined.without_denial(agents(state.clone()));
        assert_eq!(*passed, state, "nothing is listed yet");
        applied(&mut model, std::slice::from_ref(&state));
        let listing = Listing {
            runtimes: vec![
                list(0x900, Flavor::MultiThread, 3),
                list(0x901, Flavor::CurrentThread, 2),
            ],
            tasks: vec![
                task(7, 0, "app::serve::{{closure}}"),
                task(8, 0, "app::serve::{{closure}}"),
                task(9, 0, "looptop_agent::probe::run::{{closure}}"),
                task(1, 1, "looptop_agent::server::serve::{{closure}}"),
                task(2, 1, "h2::server::Connection"),
            ],
            ..Listing::default()
        };
        let frames = joined.listing(listing, (4, 90));
        assert!(frames.iter().all(|f| (f.sequence, f.now_ns) == (4, 90)));
        applied(&mut model, &frames);
        assert!(model.session.has(Kind::Tasks) && model.reads_tasks());
        let mut ids: Vec<_> = model.tasks.live().map(|t| (t.id, t.runtime)).collect();
        ids.sort_unstable();
        let runtime = Some(RuntimeId(3));
        assert_eq!(ids, [(TaskId(7), runtime), (TaskId(8), runtime)]);
        let seven = model.tasks.get(TaskId(7)).unwrap();
        assert_eq!(model.task_name(seven), Some("app::serve"));
        // The agent says it once more, and again.
        let passed = joined.without_denial(agents(state));
        applied(&mut model, &[passed.into_frame()]);
        assert!(model.session.has(Kind::Tasks));
        let its_own = Frame {
            tasks: Some(Columns {
                capabilities: vec![self::hello(true).capabilities[0].clone()],
                id: vec![8],
                state: vec![TaskState::Idle.into()],
                ..Columns::default()
            }),
            ..Frame::default()
        };
        assert!(joined.meets(&its_own));
        let end = joined.end((5, 95));
        applied(&mut model, &end);
        applied(&mut model, &[its_own]);
        let ids: Vec<_> = model.tasks.live().map(|t| (t.id, t.future)).collect();
        assert_eq!(ids, [(TaskId(8), None)]);
        assert!(model.session.has(Kind::Tasks) && !model.reads_tasks());
        assert!(model.sites.values().all(|site| site.live() == 0));
        assert!(joined.end((6, 99)).is_empty(), "once");
    }

    #[test]
    fn when_the_listing_ends_the_agents_word_counts_again() {
        let hello = hello(false);
        let mut model = Model::new(&hello);
        let mut joined = Joined::new(10);
        joined.learn(&hello.capabilities);
        let listing = Listing {
            runtimes: vec![list(1, Flavor::MultiThread, 1)],
            tasks: vec![task(7, 0, "app::serve")],
            ..Listing::default()
        };
        applied(&mut model, &joined.listing(listing, (1, 1)));
        assert!(model.session.has(Kind::Tasks));
        applied(&mut model, &joined.end((1, 2)));
        assert_eq!(model.session.missing(Kind::Tasks), Some(NO_TRACING));
        assert!(model.tasks.is_empty());
    }

    #[test]
    fn a_list_is_a_runtime_of_the_agents_where_it_can_be_no_other() {
        use Flavor::{CurrentThread as One, Local, MultiThread as Many};
        // The agent's runtimes, the lists, and the agent's runtime of each list.
        for (own, lists, expected) in [
            (vec![(5, Many, 9)], vec![(Many, 10)], vec![Some(5)]),
            (vec![(5, Many, 9)], vec![(Many, 30)], vec![None]),
            (
                vec![(5, Many, 9)],
                vec![(Many, 9), (Many, 9)],
                vec![None, None],
            ),
            (
                vec![(5, Many, 9), (6, Many, 4)],
                vec![(Many, 9)],
                vec![None],
            ),
            (
                vec![(5, Many, 9), (6, One, 4)],
                vec![(One, 4), (Local, 9), (Many, 9)],
                vec![Some(6), None, Some(5)],
            ),
            (vec![], vec![(Many, 1)], vec![None]),
        ] {
            let own: BTreeMap<_, _> = own.into_iter().map(|(id, of, n)| (id, (of, n))).collect();
            let lists = lists.into_iter().zip(100..);
            let lists: Vec<_> = lists.map(|((of, n), key)| list(key, of, n)).collect();
            let mut ids = RuntimeIds::default();
            let (numbers, learned) = ids.of(&lists, &own);
            let found: Vec<_> = numbers.iter().map(|list| ids.agents(*list)).collect();
            assert_eq!(found, expected, "{own:?} {lists:?}");
            assert_eq!(learned, expected.iter().any(Option::is_some));
            assert!(!ids.of(&lists, &own).1, "they are known");
        }
    }

    #[test]
    fn another_process_with_the_same_id_is_not_read() {
        let process = |exe: &str, started| HelloResponse {
            exe: exe.to_owned(),
            process_started_unix_ns: started,
            ..HelloResponse::default()
        };
        let second = 1_000_000_000;
        for (said, found, expected) in [
            (
                ("/app", Some(50 * second)),
                ("/app", Some(51 * second)),
                true,
            ),
            (
                ("/app", Some(50 * second)),
                ("/app", Some(90 * second)),
                false,
            ),
            (
                ("/app", Some(50 * second)),
                ("/sh", Some(50 * second)),
                false,
            ),
            (("", Some(50 * second)), ("", Some(50 * second)), false),
            (("/app", None), ("/app", Some(50 * second)), false),
        ] {
            let (said, found) = (process(said.0, said.1), process(found.0, found.1));
            assert_eq!(is_same(&said, &found), expected);
        }
    }

    #[test]
    fn who_has_no_name_yet_may_be_the_agents() {
        let listing = |names_to_come| {
            let listing = Listing {
                runtimes: vec![list(1, Flavor::MultiThread, 2)],
                tasks: vec![task(7, 0, "app::serve"), task(8, 0, "")],
                names_to_come,
                ..Listing::default()
            };
            let kept = without_the_agents(listing).tasks;
            kept.iter().map(|task| task.id).collect::<Vec<_>>()
        };
        assert_eq!(listing(true), [7]);
        assert_eq!(listing(false), [7, 8]);
    }
}
