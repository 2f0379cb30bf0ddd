//! Records as columns of the wire, in two steps: what is the same for every
//! viewer is read once; the ids of strings and locations, which belong to one
//! stream, are filled in for each.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use looptop_wire::columns::{self, Record};
use looptop_wire::intern::Interner;
use looptop_wire::proto::{TaskKind, TaskState, Tasks};

use super::record::{Handle, RESTING, Text, Wake, flag};
use super::site::SiteId;
use crate::clock::{self, Ticks};

/// Which columns a task has. A column that is unknown for a task must be absent,
/// so tasks that know different ones go into different messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// From the tracing layer.
    All,
    /// The future of `block_on`, whose wakes tokio does not report; or a task
    /// under a layer that does not see wakes.
    AllButWakes,
    /// From the hooks, with or without waits.
    Polls,
    PollsAndWaits,
}

const GROUPS: usize = Known::PollsAndWaits as usize + 1;

/// Tasks as they were read, free of any stream's ids.
#[derive(Debug, Default)]
pub(super) struct Columns {
    groups: [Group; GROUPS],
}

#[derive(Debug, Default)]
struct Group {
    /// `location` holds the site; there is no `name` and no `fields`.
    tasks: Tasks,
    /// Of the tasks that have any: by row, in ascending order, and whether its name
    /// is the task's now.
    texts: Vec<(usize, Arc<Text>, bool)>,
}

impl Columns {
    /// Adds what the record holds now. The caller keeps it from becoming another
    /// task's meanwhile.
    pub(super) fn read(&mut self, handle: Handle, text: Option<&Arc<Text>>) {
        let known = known(handle);
        let group = &mut self.groups[known as usize];
        if let Some(text) = text {
            let row = group.tasks.id.len();
            group
                .texts
                .push((row, Arc::clone(text), text.names(handle)));
        }
        let mut record = polls(handle, known);
        if matches!(known, Known::All | Known::PollsAndWaits) {
            add_waits(&mut record, handle);
        }
        if let Some(wake) = handle.wake() {
            add_sizes(&mut record, wake);
            if known == Known::All {
                add_wakes(&mut record, wake);
            }
        }
        columns::push(&mut group.tasks, &record);
    }

    /// One message for each set of columns, with the ids of one stream.
    pub(super) fn encode(&self, locations: &mut Locations, interner: &mut Interner) -> Vec<Tasks> {
        let groups = self.groups.iter().filter(|g| !g.tasks.id.is_empty());
        groups.map(|g| g.encode(locations, interner)).collect()
    }
}

impl Group {
    fn encode(&self, locations: &mut Locations, interner: &mut Interner) -> Tasks {
        let mut tasks = self.tasks.clone();
        for location in &mut tasks.location {
            *location = locations.id(SiteId::from_raw(*location), interner);
        }
        if !self.texts.is_empty() {
            tasks.name.resize(tasks.id.len(), 0);
            tasks.fields.resize(tasks.id.len(), 0);
        }
        for (row, text, names) in &self.texts {
            if *names {
                tasks.name[*row] = name(text, interner);
            }
            tasks.fields[*row] = interner.string(&text.fields);
        }
        tasks
    }
}

/// A name that a span gave may be new for every task: where such names have used up
/// their part of the table, the name of the span is left.
fn name(text: &Text, interner: &mut Interner) -> u32 {
    if text.span.is_empty() {
        return interner.string(&text.name);
    }
    let full = interner.passing(&text.name);
    full.unwrap_or_else(|| interner.string(text.span))
}

fn known(handle: Handle) -> Known {
    let hot = handle.hot();
    match handle.wake() {
        Some(_) if hot.is_block_on() || hot.has(flag::WAKES_UNSEEN) => Known::AllButWakes,
        Some(_) => Known::All,
        None if hot.has(flag::TIMED) => Known::PollsAndWaits,
        None => Known::Polls,
    }
}

fn polls(handle: Handle, known: Known) -> Record {
    let (hot, cold) = (handle.hot(), handle.cold());
    let ns = |ticks: u64| Some(clock::duration_ns(ticks));
    // Read once: state and instant belong together.
    let since = hot.since.load(Relaxed);
    let state = state(handle, known, since);
    let rests = since & RESTING != 0 && matches!(state, TaskState::Idle | TaskState::Unknown);
    let since_if = |is_so: bool| {
        if is_so {
            instant(since & !RESTING)
        } else {
            None
        }
    };
    let spawned = Ticks(cold.spawned.load(Relaxed));
    Record {
        id: hot.id(),
        tokio_id: Some(hot.id()),
        state,
        kind: hot.kind(),
        location: Some(hot.site().into()),
        parent: Some(cold.parent.load(Relaxed)),
        // There, too, it is the number plus 1.
        runtime: cold.runtime.load(Relaxed).checked_sub(1),
        spawned_at_ns: Some(clock::to_ns(spawned)),
        ended_at_ns: Some(since_if(state == TaskState::Completed)),
        poll_started_at_ns: Some(since_if(state == TaskState::Running)),
        idle_since_ns: Some(since_if(rests)),
        polls: Some(hot.polls.load(Relaxed)),
        busy_ns: ns(hot.busy.load(Relaxed)),
        longest_poll_ns: ns(hot.longest_poll.load(Relaxed)),
        tid: Some(hot.tid.load(Relaxed).into()),
        ..Record::default()
    }
}

fn add_waits(record: &mut Record, handle: Handle) {
    let longest = match handle.wake() {
        Some(wake) => wake.longest_scheduled.load(Relaxed),
        None => handle.cold().longest_scheduled(),
    };
    let scheduled = handle.hot().scheduled.load(Relaxed);
    record.scheduled_ns = Some(clock::duration_ns(scheduled));
    record.longest_scheduled_ns = Some(clock::duration_ns(longest));
}

fn add_sizes(record: &mut Record, wake: &Wake) {
    record.size_bytes = Some(wake.size.load(Relaxed).into());
    record.original_size_bytes = Some(wake.original_size.load(Relaxed).into());
}

fn add_wakes(record: &mut Record, wake: &Wake) {
    // The part first: it must not exceed the whole.
    let own = wake.own_wakes.load(Relaxed) + wake.deferred_wakes.load(Relaxed);
    record.self_wakes = Some(own);
    record.wakes = Some(wake.wakes());
    record.last_wake_at_ns = Some(instant(wake.woken_at.load(Relaxed)));
    // Likewise.
    record.waker_drops = Some(wake.drops());
    record.waker_clones = Some(wake.clones());
    record.lock_wait_since_ns = Some(instant(wake.lock_wait.load(Relaxed)));
}

fn state(handle: Handle, known: Known, since: u64) -> TaskState {
    let hot = handle.hot();
    if hot.has(flag::ENDED) {
        return TaskState::Completed;
    }
    if since != 0 && since & RESTING == 0 {
        return TaskState::Running;
    }
    if hot.polls.load(Relaxed) == 0 {
        return TaskState::Scheduled;
    }
    match (known, handle.wake()) {
        (Known::All, Some(wake)) if wake.is_due() => TaskState::Scheduled,
        (Known::All, _) => TaskState::Idle,
        (Known::AllButWakes, _) if hot.kind() == TaskKind::BlockOn => TaskState::Idle,
        // Idle or scheduled: without wakes nobody knows.
        _ => TaskState::Unknown,
    }
}

/// When it was, in ns; 0 ticks are never.
fn instant(ticks: u64) -> Option<u64> {
    (ticks != 0).then(|| clock::to_ns(Ticks(ticks)))
}

/// Ids of locations in one stream, by site: most tasks share one with others.
#[derive(Debug, Default)]
pub(super) struct Locations(Vec<Option<u32>>);

impl Locations {
    /// 0 for no site.
    pub(super) fn id(&mut self, site: Option<SiteId>, interner: &mut Interner) -> u32 {
        let Some(id) = site else { return 0 };
        let at = usize::from(id.raw());
        if self.0.len() <= at {
            self.0.resize(at + 1, None);
        }
        *self.0[at].get_or_insert_with(|| match id.get() {
            Some(site) => interner.location(site.file, site.line, site.column),
            None => 0,
        })
    }
}
