//! What is seen from outside, in an agent's session.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use looptop_wire::{
    columns::{self, Row},
    proto::{
        Capability, CapabilityKind, Cause, Flavor, Frame, Outside, Stall, StallState, StrangerKind,
        Tasks as Columns,
    },
};

use super::{Wants, shown::AgentTasks};
use crate::source::{
    Received,
    outside::{
        Shown,
        beside::{
            WAIT_FOR_NAMES,
            lists::{Evidence, Lists, Runtimes, Whose},
            own::{AGENT, without_lists},
            place::{FIRST_RUNTIME, Place},
        },
        ran::Ran,
        seen::{Listing, Look, Waits},
        translate::Translator,
    },
};

/// Threads that are watched at most.
const MAX_THREADS: usize = 1_024;

/// Who reads where tasks wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// The agent says that it does.
    Agent,
    /// The view.
    View,
    /// The view, and that was said.
    ViewAsSaid,
}

/// The view in the agent's session.
pub(super) struct Joined {
    /// Takes note of the tasks that have run, where tasks are listed to be read.
    ran: Ran,
    translator: Translator,
    /// What the agent says of tasks.
    word: Option<Capability>,
    /// Who reads where they wait.
    reader: Reader,
    /// Tasks that wait and are not of the session: the agent's own, and what it hides.
    others: HashSet<u64>,
    /// It has shown tasks.
    shows_tasks: bool,
    tasks: AgentTasks,
    /// The agent's runtimes.
    runtimes: Runtimes,
    /// Threads of runtimes that nobody registered, and whether the agent distinguishes
    /// their long polls itself.
    strangers: BTreeMap<u64, bool>,
    lists: Lists,
    /// The newest stall of the agent's of each stranger: when it began and ended.
    stalls: HashMap<u64, (u64, u64)>,
    /// The newest stall of each thread that was sent from here.
    sent_stalls: HashMap<u64, Stall>,
    /// Runtimes that were sent.
    sent_runtimes: BTreeSet<u32>,
    /// Workers of these: thread, place, task in poll.
    workers: BTreeMap<u64, (u32, u32, Option<u64>)>,
    /// Tasks of the agent's runtimes were sent.
    lists_tasks: bool,
    listings: u64,
    /// Listings that waited for names.
    waited: u32,
    /// Whether anything was sent.
    speaks: bool,
}

impl Joined {
    /// With whoever lists tasks, who is to know which have run.
    pub(super) fn with_ran(self, ran: Ran) -> Self {
        Self { ran, ..self }
    }

    pub(super) fn new(keep_ended: usize) -> Self {
        Self {
            ran: Ran::default(),
            translator: Translator::joining(keep_ended, FIRST_RUNTIME),
            word: None,
            reader: Reader::View,
            others: HashSet::new(),
            shows_tasks: false,
            tasks: AgentTasks::default(),
            runtimes: Runtimes::default(),
            strangers: BTreeMap::new(),
            lists: Lists::default(),
            stalls: HashMap::new(),
            sent_stalls: HashMap::new(),
            sent_runtimes: BTreeSet::new(),
            workers: BTreeMap::new(),
            lists_tasks: false,
            listings: 0,
            waited: 0,
            speaks: false,
        }
    }

    pub(super) fn learn(&mut self, capabilities: &[Capability]) {
        let of_tasks = |c: &&Capability| c.kind() == CapabilityKind::Tasks;
        if let Some(word) = capabilities.iter().rfind(of_tasks) {
            self.word = Some(word.clone());
        }
        let of_waits = |c: &&Capability| c.kind() == CapabilityKind::Waits;
        if let Some(word) = capabilities.iter().rfind(of_waits) {
            match (self.reader, word.available) {
                (_, true) => self.reader = Reader::Agent,
                (Reader::Agent, false) => self.reader = Reader::View,
                (Reader::View | Reader::ViewAsSaid, false) => {}
            }
        }
    }

    fn lacks_tasks(&self) -> bool {
        !self.shows_tasks && self.word.as_ref().is_some_and(|word| !word.available)
    }

    pub(super) fn wants(&self) -> Wants {
        if self.strangers.is_empty() || self.runtimes.has(FIRST_RUNTIME) {
            if self.lacks_tasks() {
                Wants::Tasks
            } else if self.reader == Reader::Agent {
                Wants::Nothing
            } else {
                Wants::Waits
            }
        } else {
            Wants::Strangers(self.strangers.keys().copied().collect())
        }
    }

    /// Takes in what a frame of the agent's says; what must go before it.
    pub(super) fn meets(&mut self, frame: &Frame, newest: (u64, u64)) -> Vec<Frame> {
        self.runtimes.learn(&frame.runtimes);
        if let Some(coverage) = &frame.coverage {
            let drives = coverage
                .strangers
                .iter()
                .filter(|s| matches!(s.kind(), StrangerKind::Worker | StrangerKind::CurrentThread));
            let drives = drives.take(MAX_THREADS);
            self.strangers = drives.map(|s| (s.tid, s.polls_distinguished)).collect();
            self.stalls
                .retain(|tid, _| self.strangers.contains_key(tid));
        }
        let mut before = Vec::new();
        for stall in &frame.stalls {
            if let Some(tid) = stall.tid.filter(|tid| self.strangers.contains_key(tid)) {
                let span = span(stall);
                self.stalls.insert(tid, span);
                before.extend(self.withdrawn(tid, span, newest));
            }
        }
        if let Some(columns) = &frame.tasks {
            self.learn(&columns.capabilities);
            self.tasks.learn(columns, &frame.forgotten_tasks);
            if self.wants() == Wants::Waits {
                self.ran.add(&columns.id);
            }
            let available = self.word.as_ref().is_none_or(|word| word.available);
            if !self.shows_tasks && (available || !columns.id.is_empty()) {
                self.shows_tasks = true;
                if self.lists_tasks {
                    // It has them from now on. What only the view has comes again.
                    let frames = self.translator.forget(newest.1);
                    let mut frames = self.placed(frames, newest);
                    self.put_word(&mut frames);
                    if let Some(last) = frames.last_mut() {
                        last.outside = Some(Outside::default());
                    }
                    before.extend(frames);
                    self.lists_tasks = false;
                    self.listings = 0;
                }
            }
        }
        before
    }

    /// The agent has seen a stall itself that was sent from here.
    fn withdrawn(&mut self, tid: u64, span: (u64, u64), newest: (u64, u64)) -> Option<Frame> {
        let sent = self.sent_stalls.get(&tid)?;
        if !overlap(self::span(sent), span) {
            return None;
        }
        let mut stall = self.sent_stalls.remove(&tid)?;
        stall.state = StallState::Ended.into();
        stall.withdrawn = true;
        let (sequence, now_ns) = newest;
        Some(Frame {
            sequence,
            now_ns,
            stalls: vec![stall],
            ..Frame::default()
        })
    }

    /// A frame of the agent's without its word that tasks are not known, once they are;
    /// and with the workers of stalls on threads that are strangers to it.
    pub(super) fn completed(&self, frame: Received) -> Received {
        let of_tasks = |c: &Capability| c.kind() == CapabilityKind::Tasks;
        let mut said = frame.tasks.iter().flat_map(|tasks| &tasks.capabilities);
        let denies = self.lists_tasks && said.any(of_tasks);
        let place = |stall: &Stall| {
            let nowhere = stall.worker.is_none();
            stall
                .tid
                .filter(|_| nowhere)
                .and_then(|tid| self.workers.get(&tid))
        };
        if !denies && !frame.stalls.iter().any(|stall| place(stall).is_some()) {
            return frame;
        }
        let mut frame = frame.into_frame();
        if let (Some(tasks), true) = (&mut frame.tasks, denies) {
            tasks.capabilities.retain(|c| !of_tasks(c));
        }
        for stall in &mut frame.stalls {
            if let Some((runtime, worker, task)) = place(stall) {
                (stall.runtime, stall.worker) = (Some(*runtime), Some(*worker));
                stall.task = stall.task.or(*task);
            }
        }
        Received::made(frame)
    }

    /// The threads of strangers.
    pub(super) fn look(&mut self, at_ns: u64, look: &Look, newest: (u64, u64)) -> Vec<Frame> {
        let frames = self.translator.look(at_ns, look);
        let mut frames = self.placed(frames, newest);
        for frame in &mut frames {
            for worker in &frame.workers {
                if let Some(tid) = worker.tid {
                    let place = (worker.runtime, worker.index, worker.task);
                    self.workers.insert(tid, place);
                }
            }
            // Threads are the agent's, and so is what it has seen itself.
            frame.threads.clear();
            let stalls = std::mem::take(&mut frame.stalls);
            frame.stalls = stalls.into_iter().filter_map(|s| self.stall(s)).collect();
        }
        let watched: HashSet<u64> = look.threads.iter().map(|thread| thread.tid).collect();
        self.workers.retain(|tid, _| watched.contains(tid));
        frames
    }

    /// A stall, where the agent does not see it itself: its word withdraws one that was
    /// sent.
    fn stall(&mut self, mut stall: Stall) -> Option<Stall> {
        let tid = stall.tid?;
        let known = self.sent_stalls.get(&tid).is_some_and(|s| s.id == stall.id);
        let theirs = self.stalls.get(&tid).copied();
        if theirs.is_some_and(|theirs| overlap(theirs, span(&stall))) {
            if !known {
                return None;
            }
            stall.state = StallState::Ended.into();
            stall.withdrawn = true;
            self.sent_stalls.remove(&tid);
            return Some(stall);
        }
        // Who blocks is seen by the agent, and who computes where it knows the counters.
        let unseen = self.strangers.get(&tid) == Some(&false);
        let computes = stall.cause() == Cause::Computing;
        if stall.worker.is_none() || !(known || (unseen && computes)) {
            return None;
        }
        self.sent_stalls.insert(tid, stall.clone());
        Some(stall)
    }

    pub(super) fn listing(
        &mut self,
        at_ns: u64,
        listing: Listing,
        newest: (u64, u64),
    ) -> Vec<Frame> {
        // Tasks that came with their names would look as if they were new.
        if listing.names_to_come && self.waited < WAIT_FOR_NAMES {
            self.waited += 1;
            return Vec::new();
        }
        self.waited = WAIT_FOR_NAMES;
        let others = AGENT.without(listing, |_| true);
        let (mut listing, marked) = (others.listing, others.marked);
        let evidence = Evidence {
            listing: &listing,
            marked: &marked,
            shown: &|id| self.tasks.runtime(id),
            shows_tasks: self.shows_tasks,
        };
        let learned = self.lists.learn(&evidence, &self.runtimes);
        if self.shows_tasks {
            self.without_shown(&mut listing);
        }
        for list in &mut listing.runtimes {
            // Strangers drive no other.
            if self.lists.whose(list.key) != Whose::Strangers {
                list.flavor = Flavor::Unknown;
            }
        }
        let mut frames = self.translator.listing(at_ns, &listing);
        if learned {
            // Those that were sent before are of a runtime that is known now.
            frames.extend(self.translator.all_tasks(at_ns));
        }
        self.lists_tasks |= !self.shows_tasks;
        let first = self.lists_tasks && self.listings == 0;
        self.listings += u64::from(self.lists_tasks);
        let mut frames = self.placed(frames, newest);
        let torn = listing.runtimes.iter().filter(|list| list.torn);
        let missed = torn.map(|list| list.counted.saturating_sub(list.listed));
        let missed = missed.fold(listing.unlisted, u64::saturating_add);
        for outside in frames.iter_mut().filter_map(|f| f.outside.as_mut()) {
            outside.unlisted_tasks = missed;
        }
        if first {
            let available = Capability {
                kind: CapabilityKind::Tasks.into(),
                available: true,
                reason: String::new(),
            };
            put(&mut frames, Some(available));
        }
        frames
    }

    /// Where tasks wait that are in the session: the agent's, and those that are listed.
    pub(super) fn waits(&mut self, at_ns: u64, waits: &Waits, newest: (u64, u64)) -> Vec<Frame> {
        if self.reader == Reader::Agent {
            return Vec::new();
        }
        let mut frames = self.translator.waits(at_ns, waits);
        for frame in &mut frames {
            // What it takes stands beside what was read.
            frame.outside = None;
            let (tasks, translator) = (&self.tasks, &self.translator);
            let is_there = |id: u64| tasks.runtime(id).is_some() || translator.has_task(id);
            let others = &mut self.others;
            frame.task_waits.retain(|wait| {
                let is_there = is_there(wait.task);
                if is_there || wait.shape == 0 {
                    others.remove(&wait.task);
                } else {
                    others.insert(wait.task);
                }
                is_there
            });
            if let Some(read) = &mut frame.waits_read {
                let others = others.len() as u64;
                read.idle = read.idle.saturating_sub(others);
                read.read = read.read.saturating_sub(others);
            }
        }
        let speaks = self.speaks;
        let mut frames = self.placed(frames, newest);
        self.speaks = speaks;
        if std::mem::replace(&mut self.reader, Reader::ViewAsSaid) == Reader::View {
            let available = Capability {
                kind: CapabilityKind::Waits.into(),
                available: true,
                reason: String::new(),
            };
            put(&mut frames, Some(available));
        }
        frames
    }

    /// Leaves out what the agent shows: its runtimes, where it shows the tasks of them,
    /// and tasks of others.
    fn without_shown(&self, listing: &mut Listing) {
        let mut shown: HashSet<usize> = HashSet::new();
        for task in &listing.tasks {
            if let (Some(list), Some(_)) = (task.runtime, self.tasks.runtime(task.id)) {
                shown.insert(list);
            }
        }
        // Of those that are in no list it is not known whose they are.
        let others = |list: usize| !shown.contains(&list);
        listing
            .tasks
            .retain(|task| task.runtime.is_some_and(others));
        shown.retain(|list| {
            let list = listing.runtimes.get(*list);
            list.is_none_or(|list| self.lists.whose(list.key) != Whose::Strangers)
        });
        without_lists(listing, &shown);
    }

    /// Without rows of tasks that the agent shows by now.
    fn without_rows(&self, columns: Columns) -> Columns {
        let is_theirs = |id: &u64| self.tasks.runtime(*id).is_some();
        if !self.shows_tasks || !columns.id.iter().any(is_theirs) {
            return columns;
        }
        let mut others = Columns {
            capabilities: columns.capabilities.clone(),
            ..Columns::default()
        };
        for row in Row::all(&columns).filter(|row| !is_theirs(&row.id())) {
            columns::push(&mut others, &row.record());
        }
        others
    }

    /// The process may not be looked at: where tasks are missing, that is said beside the
    /// agent's reason.
    pub(super) fn refused(&mut self, why: &str, (sequence, now_ns): (u64, u64)) -> Vec<Frame> {
        let mut frames = vec![Frame {
            sequence,
            now_ns,
            ..Frame::default()
        }];
        if self.reader != Reader::Agent {
            let word = Capability {
                kind: CapabilityKind::Waits.into(),
                available: false,
                reason: format!("its process is not looked at from outside: {why}"),
            };
            put(&mut frames, Some(word));
        }
        if let Some(word) = self.word.as_mut().filter(|word| !word.available) {
            word.reason = format!(
                "{}, and its process is not looked at from outside: {why}",
                word.reason
            );
            self.put_word(&mut frames);
        }
        frames.retain(|frame| frame.tasks.is_some());
        frames
    }

    /// Nothing of the view is left.
    pub(super) fn end(&mut self, newest: (u64, u64)) -> Vec<Frame> {
        if !std::mem::take(&mut self.speaks) {
            return Vec::new();
        }
        let mut frames = self.translator.look(newest.1, &Look::default());
        frames.extend(self.translator.forget(newest.1));
        let mut frames = self.placed(frames, newest);
        for frame in &mut frames {
            frame.threads.clear();
            frame.outside = None;
        }
        if let Some(last) = frames.last_mut() {
            last.outside = Some(Outside::default());
        }
        if self.lists_tasks {
            self.put_word(&mut frames);
        }
        self.lists_tasks = false;
        self.listings = 0;
        self.speaks = false;
        self.workers.clear();
        self.sent_stalls.clear();
        frames
    }

    /// What the agent says of tasks counts again.
    fn put_word(&self, frames: &mut [Frame]) {
        put(frames, self.word.clone());
    }

    /// Frames of the view in the agent's session.
    fn placed(&mut self, frames: Vec<Frame>, (sequence, now_ns): (u64, u64)) -> Vec<Frame> {
        self.speaks = true;
        let ids = self.ids();
        let place = Place {
            offset_ns: 0,
            task: &|id| Some(Shown { id, location: 0 }),
            runtime: &|id| match ids.get(&id) {
                Some(Whose::Agents(theirs)) => *theirs,
                Some(Whose::Strangers) => Some(id),
                Some(Whose::Unknown) | None => None,
            },
        };
        let mut placed: Vec<Frame> = frames.into_iter().map(|f| place.frame(f)).collect();
        for frame in &mut placed {
            (frame.sequence, frame.now_ns) = (sequence, now_ns);
            frame.runtimes.retain_mut(|runtime| {
                let strange = ids.get(&runtime.id) == Some(&Whose::Strangers);
                if strange && !runtime.gone {
                    self.sent_runtimes.insert(runtime.id);
                    return true;
                }
                // It has ended, or turned out to be the agent's.
                runtime.gone = true;
                self.sent_runtimes.remove(&runtime.id)
            });
            // An id that the agent has is not to be forgotten.
            frame
                .forgotten_tasks
                .retain(|id| self.tasks.runtime(*id).is_none());
            frame.tasks = frame.tasks.take().map(|columns| self.without_rows(columns));
            if let Some(outside) = &mut frame.outside {
                outside.listings = self.listings;
            }
        }
        placed
    }

    /// Whose the runtimes are, by their ids on the wire.
    fn ids(&self) -> HashMap<u32, Whose> {
        let keys = self.lists.keys();
        keys.filter_map(|(key, whose)| Some((self.translator.runtime_id(key)?, whose)))
            .collect()
    }
}

/// Puts a capability into the first frame.
fn put(frames: &mut [Frame], word: Option<Capability>) {
    if let (Some(first), Some(word)) = (frames.first_mut(), word) {
        let columns = first.tasks.get_or_insert_with(Columns::default);
        columns.capabilities.push(word);
    }
}

/// When a stall began and ended, or was last seen.
fn span(stall: &Stall) -> (u64, u64) {
    let end = stall.started_at_ns.saturating_add(stall.duration_ns);
    (stall.started_at_ns, end)
}

fn overlap(one: (u64, u64), other: (u64, u64)) -> bool {
    one.0 < other.1 && other.0 < one.1
}
