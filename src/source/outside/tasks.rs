//! Listings of tasks become columns of what changed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use looptop_outside::tasks::AddressMap;
use looptop_wire::{
    columns::{Record, Writer},
    intern::Interner,
    proto::{Certainty, SpawnSite, TaskKind, TaskState, Tasks as Columns},
};

use super::seen::{Future, Header, Listing, Place, Polled, Task};

/// Listings that did not have a task, all of them torn, until it counts as ended.
const PATIENCE: u8 = 3;
/// Ids from here on stand for tasks whose own id another one has: two versions of
/// tokio in one process count on their own.
const SECOND_IDS: u64 = 1 << 62;

/// What changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Tasks of which the same is known share a message.
    pub(super) columns: Vec<Columns>,
    pub(super) forgotten: Vec<u64>,
    pub(super) sites: Vec<SpawnSite>,
}

/// The tasks that are known.
#[derive(Debug)]
pub(super) struct Tasks {
    known: AddressMap<Known>,
    /// Their ids on the wire.
    ids: HashSet<u64>,
    second_ids: u64,
    sites: BTreeMap<Site, SpawnSite>,
    /// Ids of those that ended and are still held, the oldest first.
    ended: VecDeque<u64>,
    keep_ended: usize,
    listings: u64,
    /// The tasks in poll, with thread and since when.
    polled: HashMap<Header, (u64, u64)>,
}

/// Location, future type and kind: ids on the wire, of which 0 is none.
type Site = (u32, u32, i32);

#[derive(Debug, Clone)]
struct Known {
    /// As of the newest listing.
    listed: TaskState,
    record: Record,
    site: Site,
    listing: u64,
    missed: u8,
}

impl Tasks {
    /// Holds so many that ended.
    pub(super) fn new(keep_ended: usize) -> Self {
        Self {
            known: AddressMap::default(),
            ids: HashSet::new(),
            second_ids: 0,
            sites: BTreeMap::new(),
            ended: VecDeque::new(),
            keep_ended,
            listings: 0,
            polled: HashMap::new(),
        }
    }

    /// The id on the wire of a task.
    pub(super) fn id(&self, task: Polled) -> u64 {
        let known = self.known.get(&task.header).map(|known| &known.record);
        known
            .filter(|record| record.tokio_id == Some(task.id))
            .map_or(task.id, |record| record.id)
    }

    /// Whether one that lives has this id on the wire.
    pub(super) fn has(&self, id: u64) -> bool {
        self.ids.contains(&id)
    }

    /// The runtime of a task, on the wire.
    pub(super) fn runtime(&self, task: Polled) -> Option<u32> {
        let known = self.known.get(&task.header).map(|known| &known.record);
        let same = known.filter(|record| record.tokio_id == Some(task.id));
        same.and_then(|record| record.runtime)
    }

    /// The spawn location of a task, on the wire.
    pub(super) fn location(&self, task: Polled) -> u32 {
        let known = self.known.get(&task.header);
        known.and_then(|known| known.record.location).unwrap_or(0)
    }

    /// The type of a task's future, on the wire; 0 where it is not known.
    pub(super) fn future(&self, task: Polled) -> u32 {
        let known = self.known.get(&task.header).map(|known| &known.record);
        let same = known.filter(|record| record.tokio_id == Some(task.id));
        same.and_then(|record| record.future).unwrap_or(0)
    }

    /// The tasks that are in a poll now, with thread and since when: those whose poll
    /// began or ended have changed.
    pub(super) fn polls(&mut self, polled: HashMap<Header, (u64, u64)>) -> Changes {
        let before = std::mem::replace(&mut self.polled, polled);
        let headers: HashSet<Header> = before.keys().chain(self.polled.keys()).copied().collect();
        let mut writer = Writer::default();
        for header in headers {
            let now = self.polled.get(&header);
            if before.get(&header) == now {
                continue;
            }
            if let Some(known) = self.known.get_mut(&header) {
                known.set_poll(now.copied());
                writer.push(&known.record);
            }
        }
        Changes {
            columns: writer.finish().collect(),
            ..Changes::default()
        }
    }

    /// Takes in a listing. `runtimes` are the ids of its runtimes on the wire.
    pub(super) fn listing(
        &mut self,
        now_ns: u64,
        listing: &Listing,
        runtimes: &[u32],
        interner: &mut Interner,
    ) -> Changes {
        self.listings += 1;
        let mut writer = Writer::default();
        let mut touched = Touched::default();
        for task in &listing.tasks {
            let runtime = task.runtime.and_then(|at| runtimes.get(at)).copied();
            self.task(now_ns, task, runtime, interner, &mut writer, &mut touched);
        }
        let torn: HashSet<Option<u32>> = listing
            .runtimes
            .iter()
            .zip(runtimes)
            .filter_map(|(runtime, id)| runtime.torn.then_some(Some(*id)))
            .collect();
        self.missing(now_ns, &torn, &mut writer, &mut touched);
        let mut forgotten = touched.forgotten;
        while self.ended.len() > self.keep_ended {
            forgotten.extend(self.ended.pop_front());
        }
        Changes {
            columns: writer.finish().collect(),
            forgotten,
            sites: self.changed(&touched.sites),
        }
    }

    /// All that are known.
    pub(super) fn all(&self) -> Vec<Columns> {
        let mut writer = Writer::default();
        for known in self.known.values() {
            writer.push(&known.record);
        }
        writer.finish().collect()
    }

    /// Forgets all of them: another source has them now.
    pub(super) fn forget(&mut self) -> Changes {
        let mut writer = Writer::default();
        let mut touched = Touched::default();
        self.keep_ended = 0;
        for (_, known) in std::mem::take(&mut self.known) {
            self.end(0, known, &mut writer, &mut touched);
        }
        let mut forgotten = touched.forgotten;
        forgotten.extend(self.ended.drain(..));
        Changes {
            forgotten,
            sites: self.changed(&touched.sites),
            ..Changes::default()
        }
    }

    fn changed(&self, sites: &BTreeSet<Site>) -> Vec<SpawnSite> {
        let changed = sites.iter().filter_map(|site| self.sites.get(site));
        changed.cloned().collect()
    }

    fn task(
        &mut self,
        now_ns: u64,
        task: &Task,
        runtime: Option<u32>,
        interner: &mut Interner,
        writer: &mut Writer,
        touched: &mut Touched,
    ) {
        let poll = self.polled.get(&task.header).copied();
        if let Some(known) = self.known.get_mut(&task.header)
            && known.record.tokio_id == Some(task.id)
        {
            (known.listing, known.missed) = (self.listings, 0);
            let before = known.record;
            known.listed = task.state;
            known.record.runtime = runtime.or(known.record.runtime);
            if known.record.future.is_none() {
                set_future(&mut known.record, task.future.as_deref(), interner);
                let site = site(&known.record);
                if site != known.site {
                    // It was counted where nothing is known.
                    let before = std::mem::replace(&mut known.site, site);
                    count(&mut self.sites, before).spawned -= 1;
                    count(&mut self.sites, site).spawned += 1;
                    touched.sites.extend([before, site]);
                }
            }
            known.set_poll(poll);
            // What is sent has changed, if only in what is not sent: it is not at rest.
            if known.record != before || task.has_run {
                writer.push(&known.record);
            }
            return;
        }
        // Another task is where this one was.
        if let Some(known) = self.known.remove(&task.header) {
            self.end(now_ns, known, writer, touched);
        }
        let record = self.record(now_ns, task, runtime, interner);
        let site = site(&record);
        count(&mut self.sites, site).spawned += 1;
        touched.sites.insert(site);
        let mut known = Known {
            listed: task.state,
            record,
            site,
            listing: self.listings,
            missed: 0,
        };
        known.set_poll(poll);
        writer.push(&known.record);
        self.known.insert(task.header, known);
    }

    fn record(
        &mut self,
        now_ns: u64,
        task: &Task,
        runtime: Option<u32>,
        interner: &mut Interner,
    ) -> Record {
        let mut id = task.id;
        if id == 0 || !self.ids.insert(id) {
            self.second_ids += 1;
            id = SECOND_IDS + self.second_ids;
            self.ids.insert(id);
        }
        let spawned_at = task.spawned_at.as_ref();
        let spawned_at = spawned_at.and_then(|place| location(place, interner));
        let mut record = Record {
            id,
            tokio_id: (task.id != 0).then_some(task.id),
            kind: task.kind,
            runtime,
            location: spawned_at,
            size_bytes: task.size,
            // Those of the first listing may be of any age.
            spawned_at_ns: (self.listings > 1).then_some(now_ns),
            ended_at_ns: Some(None),
            ..Record::default()
        };
        set_future(&mut record, task.future.as_deref(), interner);
        record
    }

    /// Those that the listing did not have have ended, unless it is not whole.
    fn missing(
        &mut self,
        now_ns: u64,
        torn: &HashSet<Option<u32>>,
        writer: &mut Writer,
        touched: &mut Touched,
    ) {
        let listing = self.listings;
        let mut gone = Vec::new();
        for (header, known) in &mut self.known {
            if known.listing == listing {
                continue;
            }
            known.missed += 1;
            if known.missed >= PATIENCE || !torn.contains(&known.record.runtime) {
                gone.push(*header);
            }
        }
        for header in gone {
            if let Some(known) = self.known.remove(&header) {
                self.end(now_ns, known, writer, touched);
            }
        }
    }

    #[allow(clippy::needless_pass_by_value, reason = "it is over")]
    fn end(&mut self, now_ns: u64, known: Known, writer: &mut Writer, touched: &mut Touched) {
        let Known {
            mut record, site, ..
        } = known;
        record.state = TaskState::Completed;
        record.ended_at_ns = Some(Some(now_ns));
        record.poll_started_at_ns = Some(None);
        self.ids.remove(&record.id);
        if let Some(totals) = self.sites.get_mut(&site) {
            totals.ended += 1;
            touched.sites.insert(site);
        }
        // The same id may come again only where it is not a counter's.
        if self.keep_ended == 0 {
            touched.forgotten.push(record.id);
            return;
        }
        writer.push(&record);
        self.ended.push_back(record.id);
    }
}

#[derive(Debug, Default)]
struct Touched {
    sites: BTreeSet<Site>,
    forgotten: Vec<u64>,
}

impl Known {
    /// The poll in progress, with its thread, or none; a listing says no more than that
    /// the task was in some poll.
    fn set_poll(&mut self, poll: Option<(u64, u64)>) {
        self.record.poll_started_at_ns = Some(poll.map(|(_, since)| since));
        self.record.tid = poll.map(|(tid, _)| tid).or(self.record.tid);
        self.record.state = match (poll, self.listed) {
            (Some(_), _) => TaskState::Running,
            // It has left that poll since, or is in one that was not seen to begin.
            (None, state) => state,
        };
    }
}

/// By its spawn location, or by the type of its future.
fn site(record: &Record) -> Site {
    let future = match record.location {
        Some(_) => 0,
        None => record.future.unwrap_or(0),
    };
    (record.location.unwrap_or(0), future, record.kind.into())
}

/// The totals of a site.
fn count(sites: &mut BTreeMap<Site, SpawnSite>, site: Site) -> &mut SpawnSite {
    let (location, future, kind) = site;
    sites.entry(site).or_insert_with(|| SpawnSite {
        location,
        future,
        kind,
        ..SpawnSite::default()
    })
}

fn location(place: &Place, interner: &mut Interner) -> Option<u32> {
    let id = interner.location(&place.file, place.line, place.column);
    (id != 0).then_some(id)
}

/// What is known of its future, which comes late where a file is mapped late.
fn set_future(record: &mut Record, future: Option<&Future>, interner: &mut Interner) {
    let Some(future) = future else {
        return;
    };
    let name = interner.type_name(&future.name);
    record.future = (name != 0).then_some(name);
    record.future_certainty = match record.future {
        Some(_) if future.certain => Certainty::Certain,
        Some(_) => Certainty::Guessed,
        None => Certainty::Unknown,
    };
    let place = future.place.as_ref();
    record.future_location = place.and_then(|place| location(place, interner));
}

/// The kind of tasks, of a `LocalSet` or not.
pub(super) fn kind(local: bool) -> TaskKind {
    if local {
        TaskKind::Local
    } else {
        TaskKind::Task
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::source::outside::seen::Runtime;

    const IDLE: TaskState = TaskState::Idle;

    fn task(header: Header, id: u64, state: TaskState) -> Task {
        Task {
            header,
            id,
            state,
            kind: kind(false),
            runtime: Some(0),
            future: Some(Arc::new(Future {
                name: "app::serve::{{closure}}".to_owned(),
                certain: true,
                place: Some(Place {
                    file: "src/main.rs".into(),
                    line: 7,
                    column: 1,
                }),
            })),
            ..Task::default()
        }
    }

    fn listing(tasks: &[(Header, u64, TaskState)], torn: bool) -> Listing {
        let tasks = tasks
            .iter()
            .map(|(header, id, state)| task(*header, *id, *state));
        Listing {
            tasks: tasks.collect(),
            runtimes: vec![Runtime {
                torn,
                ..Runtime::default()
            }],
            ..Listing::default()
        }
    }

    /// Rows as `id state`, in the order of ids.
    fn rows(changes: &Changes) -> String {
        let mut rows: Vec<String> = changes
            .columns
            .iter()
            .flat_map(|columns| {
                looptop_wire::columns::check(columns).unwrap();
                columns
                    .id
                    .iter()
                    .zip(looptop_wire::columns::Row::all(columns))
            })
            .map(|(id, row)| format!("{id} {:?}", row.state()))
            .collect();
        rows.sort_unstable();
        rows.join(", ")
    }

    #[test]
    fn only_what_changed_is_sent_and_what_is_gone_has_ended() {
        use TaskState::{Running, Scheduled};
        let mut tasks = Tasks::new(10);
        let mut interner = Interner::default();
        // Tasks of a listing, whether it is torn, and the rows that are sent.
        for (n, (seen, torn, expected)) in [
            (vec![(16, 1, IDLE), (32, 2, IDLE)], false, "1 Idle, 2 Idle"),
            (vec![(16, 1, IDLE), (32, 2, IDLE)], false, ""),
            (
                vec![(16, 1, IDLE), (32, 2, Scheduled)],
                false,
                "2 Scheduled",
            ),
            (vec![(16, 1, IDLE)], true, ""),
            (vec![(16, 1, IDLE)], true, ""),
            (vec![(16, 1, IDLE)], true, "2 Completed"),
            (
                vec![(16, 1, Running), (48, 3, IDLE)],
                false,
                "1 Running, 3 Idle",
            ),
            (
                vec![(16, 4, IDLE)],
                false,
                "1 Completed, 3 Completed, 4 Idle",
            ),
            (vec![], false, "4 Completed"),
        ]
        .into_iter()
        .enumerate()
        {
            let changes = tasks.listing(100, &listing(&seen, torn), &[0], &mut interner);
            assert_eq!(rows(&changes), expected, "listing {n}");
        }
        let site = tasks.sites.values().next().unwrap();
        assert_eq!((site.spawned, site.ended), (4, 4));
        assert_eq!((site.location, site.future), (0, 1), "by the future's type");
    }

    #[test]
    fn the_age_is_known_of_those_that_came_later() {
        let mut tasks = Tasks::new(10);
        let mut interner = Interner::default();
        let mut spawned = |seen: &[_], now| {
            let changes = tasks.listing(now, &listing(seen, false), &[0], &mut interner);
            changes.columns[0].spawned_at_ns.clone()
        };
        assert_eq!(spawned(&[(16, 1, IDLE)], 100), [0; 0]);
        assert_eq!(spawned(&[(16, 1, IDLE), (32, 2, IDLE)], 200), [200]);
    }

    #[test]
    fn a_name_that_comes_late_moves_a_task_to_its_site() {
        let mut tasks = Tasks::new(10);
        let mut interner = Interner::default();
        let mut nameless = listing(&[(16, 1, IDLE)], false);
        nameless.tasks[0].future = None;
        tasks.listing(1, &nameless, &[0], &mut interner);
        let named = listing(&[(16, 1, IDLE)], false);
        let changes = tasks.listing(2, &named, &[0], &mut interner);
        assert_eq!(rows(&changes), "1 Idle");
        let mut sites: Vec<_> = changes
            .sites
            .iter()
            .map(|s| (s.future, s.spawned))
            .collect();
        sites.sort_unstable();
        assert_eq!(sites, [(0, 0), (1, 1)]);
    }

    #[test]
    fn two_tasks_with_one_id_are_two() {
        let mut tasks = Tasks::new(10);
        let mut interner = Interner::default();
        let seen = [(16, 7, IDLE), (32, 7, IDLE)];
        let changes = tasks.listing(1, &listing(&seen, false), &[0], &mut interner);
        assert_eq!(changes.columns[0].id, [7, SECOND_IDS + 1]);
        assert_eq!(changes.columns[0].tokio_id, [7, 7]);
        let polled = |header| tasks.id(Polled { header, id: 7 });
        assert_eq!((polled(16), polled(32)), (7, SECOND_IDS + 1));
        assert_eq!(polled(99), 7, "not listed yet");
    }

    #[test]
    fn a_poll_in_progress_is_the_newer_word() {
        let mut tasks = Tasks::new(10);
        let mut interner = Interner::default();
        let seen = [(16, 1, IDLE), (32, 2, IDLE)];
        tasks.listing(1, &listing(&seen, false), &[0], &mut interner);
        let polls = tasks.polls(HashMap::from([(16, (501, 40))]));
        assert_eq!(rows(&polls), "1 Running");
        assert_eq!(polls.columns[0].poll_started_at_ns, [41]);
        assert_eq!(polls.columns[0].tid, [501]);
        assert_eq!(rows(&tasks.polls(HashMap::from([(16, (501, 40))]))), "");
        let polls = tasks.polls(HashMap::new());
        assert_eq!(rows(&polls), "1 Idle");
        assert_eq!(polls.columns[0].poll_started_at_ns, [0]);
    }

    #[test]
    fn once_forgotten_nothing_of_them_is_left() {
        let mut tasks = Tasks::new(10);
        let mut interner = Interner::default();
        for seen in [&[(16, 1, IDLE), (32, 2, IDLE)][..], &[(16, 1, IDLE)]] {
            tasks.listing(1, &listing(seen, false), &[0], &mut interner);
        }
        assert_eq!(tasks.all()[0].id, [1]);
        let changes = tasks.forget();
        assert_eq!(
            (rows(&changes), changes.forgotten),
            (String::new(), vec![1, 2])
        );
        assert_eq!((changes.sites[0].spawned, changes.sites[0].ended), (2, 2));
        assert!(tasks.all().is_empty());
    }

    #[test]
    fn what_ended_is_held_up_to_a_bound() {
        let mut interner = Interner::default();
        for (keep, rows_sent, forgotten) in [
            (0, "", vec![1, 2]),
            (1, "1 Completed, 2 Completed", vec![1]),
        ] {
            let mut tasks = Tasks::new(keep);
            tasks.listing(
                1,
                &listing(&[(16, 1, IDLE), (32, 2, IDLE)], false),
                &[0],
                &mut interner,
            );
            let changes = tasks.listing(2, &listing(&[], false), &[0], &mut interner);
            assert_eq!(rows(&changes), rows_sent);
            let mut gone = changes.forgotten;
            gone.sort_unstable();
            assert_eq!(gone.len(), forgotten.len());
        }
    }
}
