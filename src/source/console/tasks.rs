//! Tasks: console-subscriber's records and statistics as columns.

use std::collections::{BTreeSet, HashMap, VecDeque};

use console_api::{
    Location,
    tasks::{Stats, Task as Announced, TaskUpdate, task::Kind},
};
use looptop_wire::{
    columns::{self, Record},
    proto::{Certainty, SpawnSite, TaskKind, TaskState, Tasks as Columns},
};

use super::{
    clock::{ServerClock, duration_ns},
    names::{Names, value_number, value_text},
};
use crate::source::outside::Shown;

/// Tasks that are held at most. A server that announces more is hostile or
/// beyond what a screen can show; the rest is counted as lost.
const MAX_TASKS: usize = 1 << 20;

/// Where tokio spawns the closure that runs a worker. It shows up as a
/// blocking task that never ends, and is none of the application's.
const WORKER_FILE: &str = "runtime/scheduler/multi_thread/worker.rs";
/// The name under which such a task is shown.
pub(super) const WORKER_NAME: &str = "tokio worker thread";

/// What never changes about a task.
#[derive(Debug, Clone, Copy, Default)]
struct Identity {
    kind: TaskKind,
    name: u32,
    location: u32,
    parent: u64,
    tokio_id: u64,
    size_bytes: u64,
    original_size_bytes: u64,
    fields: u32,
}

/// One task, its values absolute and on the server's clock.
#[derive(Debug, Clone, Copy, Default)]
struct Task {
    /// `None` until the server sent the record: its statistics alone came.
    identity: Option<Identity>,
    created: Option<u64>,
    ended: Option<u64>,
    polls: u64,
    busy_ns: u64,
    scheduled_ns: u64,
    longest_poll_ns: u64,
    longest_scheduled_ns: u64,
    wakes: u64,
    self_wakes: u64,
    waker_clones: u64,
    waker_drops: u64,
    last_wake: Option<u64>,
    poll_started: Option<u64>,
    poll_ended: Option<u64>,
    /// Whether a row of it has been sent.
    announced: bool,
    /// What its spawn site has counted of it.
    counted: Counted,
    /// What the server does not report, and was read from outside.
    read: Read,
}

/// What is read of a task from outside; texts and places by the session's numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Read {
    runtime: Option<u32>,
    future: Option<u32>,
    certainty: Certainty,
    place: Option<u32>,
}

impl Read {
    fn of(record: &Record) -> Self {
        Self {
            runtime: record.runtime,
            future: record.future,
            certainty: record.future_certainty,
            place: record.future_location,
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    spawned: u64,
    ended: u64,
    polls: u64,
    busy_ns: u64,
}

impl Task {
    fn is_running(&self) -> bool {
        self.ended.is_none() && self.poll_started > self.poll_ended
    }

    fn state(&self) -> TaskState {
        if self.ended.is_some() {
            TaskState::Completed
        } else if self.is_running() {
            TaskState::Running
        } else if self.polls == 0 || self.last_wake > self.poll_started {
            TaskState::Scheduled
        } else {
            TaskState::Idle
        }
    }

    /// Takes new statistics. The longest poll and wait are not sent: the last
    /// poll is known exactly, of those before only the mean, so what is kept
    /// is a lower bound.
    fn update(&mut self, stats: &Stats, clock: &ServerClock) {
        let polls = stats.poll_stats.as_ref();
        let count = polls.map_or(0, |p| p.polls);
        let busy_ns = duration_ns(polls.and_then(|p| p.busy_time.as_ref()));
        let scheduled_ns = duration_ns(stats.scheduled_time.as_ref());
        let since = count.saturating_sub(self.polls).max(1);
        let mean_busy = busy_ns.saturating_sub(self.busy_ns) / since;
        let mean_scheduled = scheduled_ns.saturating_sub(self.scheduled_ns) / since;

        self.created = clock.at(stats.created_at.as_ref()).or(self.created);
        self.ended = clock.at(stats.dropped_at.as_ref()).or(self.ended);
        self.polls = count;
        self.busy_ns = busy_ns;
        self.scheduled_ns = scheduled_ns;
        self.wakes = stats.wakes;
        self.self_wakes = stats.self_wakes;
        self.waker_clones = stats.waker_clones;
        self.waker_drops = stats.waker_drops;
        self.last_wake = clock.at(stats.last_wake.as_ref());
        self.poll_started = clock.at(polls.and_then(|p| p.last_poll_started.as_ref()));
        self.poll_ended = clock.at(polls.and_then(|p| p.last_poll_ended.as_ref()));
        let last_poll = match (self.poll_started, self.poll_ended) {
            (Some(started), Some(ended)) => ended.saturating_sub(started).min(busy_ns),
            _ => 0,
        };
        self.longest_poll_ns = self.longest_poll_ns.max(mean_busy).max(last_poll);
        self.longest_scheduled_ns = self.longest_scheduled_ns.max(mean_scheduled);
    }

    /// Waits are known where the server reports them.
    fn record(&self, id: u64, has_waits: bool) -> Record {
        let identity = self.identity.unwrap_or_default();
        let state = self.state();
        let is_idle = state == TaskState::Idle;
        Record {
            id,
            state,
            kind: identity.kind,
            name: Some(identity.name),
            location: Some(identity.location),
            parent: Some(identity.parent),
            size_bytes: Some(identity.size_bytes),
            original_size_bytes: Some(identity.original_size_bytes),
            tokio_id: Some(identity.tokio_id),
            fields: Some(identity.fields),
            spawned_at_ns: Some(self.created.unwrap_or(0)),
            ended_at_ns: Some(self.ended),
            polls: Some(self.polls),
            busy_ns: Some(self.busy_ns),
            scheduled_ns: has_waits.then_some(self.scheduled_ns),
            longest_poll_ns: Some(self.longest_poll_ns),
            longest_scheduled_ns: has_waits.then_some(self.longest_scheduled_ns),
            wakes: Some(self.wakes),
            self_wakes: Some(self.self_wakes),
            last_wake_at_ns: Some(self.last_wake),
            poll_started_at_ns: Some(self.poll_started.filter(|_| self.is_running())),
            idle_since_ns: Some(self.poll_ended.filter(|_| is_idle)),
            waker_clones: Some(self.waker_clones),
            waker_drops: Some(self.waker_drops),
            runtime: self.read.runtime,
            future: self.read.future,
            future_certainty: self.read.certainty,
            future_location: self.read.place,
            ..Record::default()
        }
    }
}

/// Location and kind of a spawn site.
type SiteKey = (u32, i32);

/// What an update did to the tasks.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Ids that the server uses anew: forgotten before `columns` is read.
    pub(super) reused: Vec<u64>,
    pub(super) columns: Option<Columns>,
    pub(super) forgotten: Vec<u64>,
    pub(super) sites: Vec<SpawnSite>,
}

/// All tasks of one server.
#[derive(Debug)]
pub(super) struct Tasks {
    known: HashMap<u64, Task>,
    /// Ended tasks, the oldest first.
    ended: VecDeque<u64>,
    keep_ended: usize,
    sites: HashMap<SiteKey, SpawnSite>,
    /// Tasks over the bound, and those whose record never came.
    refused: u64,
    nameless: u64,
    history: u64,
    /// The server reports how long tasks wait; those before 0.1.9 do not.
    reports_waits: bool,
    /// The server's ids of live tasks, by tokio's.
    by_tokio_id: HashMap<u64, u64>,
    /// What was read from outside of live tasks, by tokio's ids.
    read: HashMap<u64, Read>,
}

impl Tasks {
    pub(super) fn new(keep_ended: usize) -> Self {
        Self {
            known: HashMap::new(),
            ended: VecDeque::new(),
            keep_ended,
            sites: HashMap::new(),
            refused: 0,
            nameless: 0,
            history: 0,
            reports_waits: false,
            by_tokio_id: HashMap::new(),
            read: HashMap::new(),
        }
    }

    /// The live task that tokio counts with this number.
    pub(super) fn shown(&self, tokio_id: u64) -> Option<Shown> {
        let id = *self.by_tokio_id.get(&tokio_id)?;
        let identity = self.known.get(&id)?.identity?;
        Some(Shown {
            id,
            location: identity.location,
        })
    }

    /// Takes in what was read of tasks from outside, by tokio's ids, and which of them have
    /// ended. Those that the server does not report, or not yet, do not show.
    pub(super) fn join(&mut self, tasks: &[Record], ended: &[u64]) -> Changes {
        for id in ended {
            self.read.remove(id);
        }
        let mut touched = Vec::new();
        for record in tasks {
            let Some(tokio_id) = record.tokio_id else {
                continue;
            };
            let read = Read::of(record);
            if self.read.len() >= MAX_TASKS && !self.read.contains_key(&tokio_id) {
                continue;
            }
            if self.read.insert(tokio_id, read) == Some(read) {
                continue;
            }
            let id = self.by_tokio_id.get(&tokio_id).copied();
            if let Some((id, task)) = id.and_then(|id| Some((id, self.known.get_mut(&id)?))) {
                task.read = read;
                touched.push(id);
            }
        }
        let mut changes = Changes::default();
        self.write(&touched, &mut changes, &mut BTreeSet::new());
        changes
    }

    /// What becomes of a task whose identity is known now.
    fn identified(&mut self, id: u64) {
        let Some(task) = self.known.get_mut(&id) else {
            return;
        };
        let tokio_id = task.identity.map_or(0, |identity| identity.tokio_id);
        if tokio_id != 0 && task.ended.is_none() {
            task.read = self.read.get(&tokio_id).copied().unwrap_or_default();
            self.by_tokio_id.insert(tokio_id, id);
        }
    }

    fn no_longer_shown(&mut self, id: u64) {
        let identity = self.known.get(&id).and_then(|task| task.identity);
        let tokio_id = identity.map_or(0, |identity| identity.tokio_id);
        if self.by_tokio_id.get(&tokio_id) == Some(&id) {
            self.by_tokio_id.remove(&tokio_id);
        }
    }

    /// Tasks that cannot be shown, or not by name.
    pub(super) fn lost(&self) -> u64 {
        self.refused + self.nameless
    }

    /// Ended tasks that retention has forgotten.
    pub(super) fn forgotten(&self) -> u64 {
        self.history
    }

    /// Takes an update.
    pub(super) fn update(
        &mut self,
        update: Option<TaskUpdate>,
        names: &mut Names,
        clock: &ServerClock,
    ) -> Changes {
        let update = update.unwrap_or_default();
        let mut stats = update.stats_update.values();
        self.reports_waits |= stats.any(|stats| stats.scheduled_time.is_some());
        let mut changes = Changes::default();
        let mut touched = Vec::new();
        for record in &update.new_tasks {
            let Some(id) = record.id.as_ref().map(|id| id.id) else {
                self.refused += 1;
                continue;
            };
            let another = self.is_another(id, update.stats_update.get(&id), clock);
            if another && self.forget(id) {
                changes.reused.push(id);
            }
            if let Some(task) = self.entry(id) {
                let had_no_name = task.identity.is_none() && task.announced;
                task.identity = Some(identity(record, names));
                self.nameless -= u64::from(had_no_name).min(self.nameless);
                self.identified(id);
                touched.push(id);
            }
        }
        let mut ended = Vec::new();
        for (id, stats) in &update.stats_update {
            let Some(task) = self.entry(*id) else {
                continue;
            };
            let ended_before = task.ended.is_some();
            task.update(stats, clock);
            if let Some(at) = task.ended.filter(|_| !ended_before) {
                ended.push((at, *id));
                self.no_longer_shown(*id);
            }
            touched.push(*id);
        }
        ended.sort_unstable();
        self.ended.extend(ended.into_iter().map(|(_, id)| id));
        touched.sort_unstable();
        touched.dedup();
        let mut sites = BTreeSet::new();
        self.forget_oldest(&mut changes, &mut sites);
        self.write(&touched, &mut changes, &mut sites);
        let totals = sites.iter().filter_map(|site| self.sites.get(site));
        changes.sites = totals.cloned().collect();
        changes
    }

    /// The task `id`, new where it is unknown; `None` where there is no room.
    fn entry(&mut self, id: u64) -> Option<&mut Task> {
        if self.known.len() >= MAX_TASKS && !self.known.contains_key(&id) {
            self.refused += 1;
            return None;
        }
        Some(self.known.entry(id).or_default())
    }

    /// Whether a record for a known id is of another task than the one known:
    /// span ids are unique only among those that live.
    fn is_another(&self, id: u64, stats: Option<&Stats>, clock: &ServerClock) -> bool {
        let Some(known) = self.known.get(&id) else {
            return false;
        };
        let created = stats.and_then(|stats| clock.at(stats.created_at.as_ref()));
        match (known.created, created) {
            (Some(known), Some(created)) => known != created,
            _ => known.ended.is_some(),
        }
    }

    /// Removes a task; whether the viewer had heard of it.
    fn forget(&mut self, id: u64) -> bool {
        self.no_longer_shown(id);
        let task = self.known.remove(&id);
        task.is_some_and(|task| task.announced)
    }

    fn forget_oldest(&mut self, changes: &mut Changes, sites: &mut BTreeSet<SiteKey>) {
        while self.ended.len() > self.keep_ended {
            let Some(id) = self.ended.pop_front() else {
                return;
            };
            // An id that was reused has an entry of its former life.
            let Some(task) = self.known.get_mut(&id).filter(|task| task.ended.is_some()) else {
                continue;
            };
            sites.extend(count(&mut self.sites, task));
            self.history += 1;
            if self.forget(id) {
                changes.forgotten.push(id);
            }
        }
    }

    fn write(&mut self, touched: &[u64], changes: &mut Changes, sites: &mut BTreeSet<SiteKey>) {
        let mut columns = Columns::default();
        for id in touched {
            let Some(task) = self.known.get_mut(id) else {
                continue;
            };
            if !task.announced {
                task.announced = true;
                self.nameless += u64::from(task.identity.is_none());
            }
            sites.extend(count(&mut self.sites, task));
            columns::push(&mut columns, &task.record(*id, self.reports_waits));
        }
        if !columns.id.is_empty() {
            changes.columns = Some(columns);
        }
    }

    /// Id and birth (server's clock) of each live task.
    pub(super) fn births(&self) -> impl Iterator<Item = (u64, u64)> {
        let live = self.known.iter().filter(|(_, task)| task.ended.is_none());
        live.filter_map(|(id, task)| Some((*id, task.created?)))
    }
}

/// Adds what is new about `task` to the totals of its spawn site, and names the
/// site, if it has one.
fn count(sites: &mut HashMap<SiteKey, SpawnSite>, task: &mut Task) -> Option<SiteKey> {
    let identity = task.identity.filter(|i| i.location != 0)?;
    let kind = i32::from(identity.kind);
    let key = (identity.location, kind);
    let site = sites.entry(key).or_default();
    let now = Counted {
        spawned: 1,
        ended: u64::from(task.ended.is_some()),
        polls: task.polls,
        busy_ns: task.busy_ns,
    };
    let before = std::mem::replace(&mut task.counted, now);
    let add = |total: &mut u64, now: u64, before: u64| {
        *total = total.saturating_add(now.saturating_sub(before));
    };
    site.location = identity.location;
    site.kind = kind;
    add(&mut site.spawned, now.spawned, before.spawned);
    add(&mut site.ended, now.ended, before.ended);
    add(&mut site.polls, now.polls, before.polls);
    add(&mut site.busy_ns, now.busy_ns, before.busy_ns);
    site.longest_poll_ns = site.longest_poll_ns.max(task.longest_poll_ns);
    Some(key)
}

fn identity(record: &Announced, names: &mut Names) -> Identity {
    let owner = record.metadata.as_ref();
    let mut identity = Identity {
        kind: match record.kind() {
            Kind::Blocking => TaskKind::Blocking,
            Kind::Spawn => TaskKind::Task,
        },
        parent: record.parents.first().map_or(0, |span| span.id),
        ..Identity::default()
    };
    let mut location = record.location.clone();
    let mut other = Vec::new();
    for field in &record.fields {
        let Some(value) = &field.value else { continue };
        let number = value_number(value).unwrap_or(0);
        let name = names.field_name(field, owner).unwrap_or_default();
        match name {
            "kind" => identity.kind = kind(&value_text(value)).unwrap_or(identity.kind),
            "task.name" => identity.name = names.string(&value_text(value)),
            "task.id" => identity.tokio_id = number,
            "size.bytes" => identity.size_bytes = number,
            "original_size.bytes" => identity.original_size_bytes = number,
            "loc.file" if record.location.is_none() => {
                location.get_or_insert_default().file = Some(value_text(value));
            }
            "loc.line" if record.location.is_none() => {
                location.get_or_insert_default().line = u32::try_from(number).ok();
            }
            "loc.col" if record.location.is_none() => {
                location.get_or_insert_default().column = u32::try_from(number).ok();
            }
            _ => other.push(field),
        }
    }
    identity.fields = names.fields(other.into_iter(), owner);
    identity.location = names.location(location.as_ref());
    if identity.name == 0 && identity.kind == TaskKind::Blocking && is_worker(location.as_ref()) {
        identity.name = names.string(WORKER_NAME);
    }
    identity
}

fn kind(text: &str) -> Option<TaskKind> {
    match text {
        "task" => Some(TaskKind::Task),
        "local" => Some(TaskKind::Local),
        "blocking" => Some(TaskKind::Blocking),
        "block_on" => Some(TaskKind::BlockOn),
        _ => None,
    }
}

fn is_worker(location: Option<&Location>) -> bool {
    let file = location.and_then(|location| location.file.as_ref());
    file.is_some_and(|file| file.replace('\\', "/").ends_with(WORKER_FILE))
}
