//! Tasks that were read, as columns of what changed.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use looptop_outside::tasks::{AddressMap, TaskState};
use looptop_wire::columns::{Record, Writer};
use looptop_wire::intern::Interner;
use looptop_wire::proto::{self, Certainty, SpawnSite, TaskKind};

use super::seen::{Future, Seen, Task};

/// Looks that did not find a task, all of them torn, until it counts as ended.
const PATIENCE: u8 = 3;
/// Of those that ended the newest are held.
const MAX_ENDED: usize = 1_000;
/// Ids from here on stand for tasks whose own id another one has: two versions of tokio in
/// one process count on their own.
const SECOND_IDS: u64 = 1 << 62;

/// Location, future type and kind: ids on the wire, of which 0 is none.
type Site = (u32, u32, i32);

/// What changed, or all of it.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Tasks of which the same is known share a message.
    pub(super) columns: Vec<proto::Tasks>,
    pub(super) forgotten: Vec<u64>,
    pub(super) sites: Vec<SpawnSite>,
}

/// The tasks that are known.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    known: AddressMap<Known>,
    /// Their ids on the wire.
    ids: HashSet<u64>,
    second_ids: u64,
    looks: u64,
    /// Those that ended, the oldest first.
    ended: VecDeque<Record>,
    sites: BTreeMap<Site, SpawnSite>,
    /// Not yet sent.
    changed: Vec<Record>,
    forgotten: Vec<u64>,
    changed_sites: BTreeSet<Site>,
}

#[derive(Debug)]
struct Known {
    record: Record,
    site: Site,
    list: u64,
    look: u64,
    missed: u8,
}

impl Tasks {
    /// Takes in a look.
    pub(super) fn take(&mut self, seen: &Seen, interner: &mut Interner) {
        self.looks += 1;
        for task in &seen.tasks {
            self.task(seen.at_ns, task, interner);
        }
        let mut gone = Vec::new();
        for (header, known) in &mut self.known {
            if known.look == self.looks {
                continue;
            }
            known.missed += 1;
            if known.missed >= PATIENCE || !seen.torn.contains(&known.list) {
                gone.push(*header);
            }
        }
        for header in gone {
            self.end(seen.at_ns, header);
        }
        while self.ended.len() > MAX_ENDED {
            self.forgotten.extend(self.ended.pop_front().map(|r| r.id));
        }
    }

    /// Forgets all of them: they are known otherwise now, or nobody asks.
    pub(super) fn forget(&mut self) {
        let known = std::mem::take(&mut self.known);
        let ended = std::mem::take(&mut self.ended);
        let ids = known.values().map(|known| known.record.id);
        self.forgotten.extend(ids.chain(ended.iter().map(|r| r.id)));
        self.ids.clear();
        self.changed.clear();
        self.looks = 0;
        for (site, totals) in &mut self.sites {
            if totals.spawned != totals.ended {
                totals.ended = totals.spawned;
                self.changed_sites.insert(*site);
            }
        }
    }

    /// What was not sent yet.
    pub(super) fn changes(&mut self) -> Changes {
        let mut writer = Writer::default();
        for record in self.changed.drain(..) {
            writer.push(&record);
        }
        let sites = std::mem::take(&mut self.changed_sites);
        let sites = sites.iter().filter_map(|site| self.sites.get(site));
        Changes {
            columns: writer.finish().collect(),
            forgotten: std::mem::take(&mut self.forgotten),
            sites: sites.cloned().collect(),
        }
    }

    /// All that are known.
    pub(super) fn all(&self) -> Changes {
        let mut writer = Writer::default();
        let known = self.known.values().map(|known| &known.record);
        for record in known.chain(&self.ended) {
            writer.push(record);
        }
        Changes {
            columns: writer.finish().collect(),
            forgotten: Vec::new(),
            sites: self.sites.values().cloned().collect(),
        }
    }

    /// The id on the wire of a task.
    pub(super) fn id(&self, header: u64, tokio_id: u64) -> u64 {
        let known = self.known.get(&header).map(|known| &known.record);
        known
            .filter(|record| record.tokio_id == Some(tokio_id))
            .map_or(tokio_id, |record| record.id)
    }

    /// None are known, and none were sent that should be forgotten.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty() && self.ended.is_empty() && self.forgotten.is_empty()
    }

    fn task(&mut self, now_ns: u64, task: &Task, interner: &mut Interner) {
        let same = |known: &&mut Known| known.record.tokio_id == tokio_id(task);
        if let Some(known) = self.known.get_mut(&task.header).filter(same) {
            (known.look, known.missed) = (self.looks, 0);
            let before = known.record;
            known.record.state = state(task.state);
            known.record.runtime = task.runtime.map(|id| id.0).or(known.record.runtime);
            if known.record != before {
                self.changed.push(known.record);
            }
            return;
        }
        // Another task is where this one was.
        self.end(now_ns, task.header);
        let record = self.record(now_ns, task, interner);
        let site = site(&record);
        let (location, future, kind) = site;
        let totals = self.sites.entry(site).or_insert_with(|| SpawnSite {
            location,
            future,
            kind,
            ..SpawnSite::default()
        });
        totals.spawned += 1;
        self.changed_sites.insert(site);
        self.changed.push(record);
        let known = Known {
            record,
            site,
            list: task.list,
            look: self.looks,
            missed: 0,
        };
        self.known.insert(task.header, known);
    }

    fn record(&mut self, now_ns: u64, task: &Task, interner: &mut Interner) -> Record {
        let mut id = task.id;
        if id == 0 || !self.ids.insert(id) {
            self.second_ids += 1;
            id = SECOND_IDS + self.second_ids;
            self.ids.insert(id);
        }
        let place = task.spawned_at.as_ref();
        let place = place.and_then(|at| location(interner, &at.file, at.line, at.column));
        let mut record = Record {
            id,
            tokio_id: tokio_id(task),
            state: state(task.state),
            kind: if task.local {
                TaskKind::Local
            } else {
                TaskKind::Task
            },
            runtime: task.runtime.map(|id| id.0),
            location: place,
            size_bytes: task.size,
            // Those of the first look may be of any age.
            spawned_at_ns: (self.looks > 1).then_some(now_ns),
            ended_at_ns: Some(None),
            ..Record::default()
        };
        if let Some(future) = task.future.as_deref() {
            set_future(&mut record, future, interner);
        }
        record
    }

    fn end(&mut self, now_ns: u64, header: u64) {
        let Some(known) = self.known.remove(&header) else {
            return;
        };
        let mut record = known.record;
        record.state = proto::TaskState::Completed;
        record.ended_at_ns = Some(Some(now_ns));
        self.ids.remove(&record.id);
        if let Some(totals) = self.sites.get_mut(&known.site) {
            totals.ended += 1;
            self.changed_sites.insert(known.site);
        }
        self.changed.push(record);
        self.ended.push_back(record);
    }
}

fn tokio_id(task: &Task) -> Option<u64> {
    (task.id != 0).then_some(task.id)
}

fn state(state: TaskState) -> proto::TaskState {
    match state {
        TaskState::Idle => proto::TaskState::Idle,
        TaskState::Scheduled => proto::TaskState::Scheduled,
        TaskState::Running => proto::TaskState::Running,
        TaskState::Complete => proto::TaskState::Completed,
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

fn set_future(record: &mut Record, future: &Future, interner: &mut Interner) {
    let name = interner.type_name(&future.name);
    record.future = (name != 0).then_some(name);
    record.future_certainty = match record.future {
        Some(_) if future.certain => Certainty::Certain,
        Some(_) => Certainty::Guessed,
        None => Certainty::Unknown,
    };
    record.future_location = future
        .place
        .as_ref()
        .and_then(|(file, line, column)| location(interner, file, *line, *column));
}

fn location(interner: &mut Interner, file: &str, line: u32, column: u32) -> Option<u32> {
    let id = interner.location(file, line, column);
    (id != 0).then_some(id)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use looptop_wire::columns::Row;

    use super::*;
    use crate::ids::RuntimeId;

    fn task(header: u64, id: u64, state: TaskState) -> Task {
        Task {
            header,
            id,
            state,
            local: false,
            list: 1,
            runtime: Some(RuntimeId(0)),
            spawned_at: None,
            future: Some(Arc::new(Future {
                name: "app::serve::{{closure}}".into(),
                certain: true,
                place: Some(("src/main.rs".into(), 7, 1)),
            })),
            size: Some(64),
        }
    }

    /// Ids and states of what a look changed, and the ids that are forgotten.
    type Sent = (Vec<(u64, proto::TaskState)>, Vec<u64>);

    fn sent(changes: &Changes) -> Sent {
        let rows = changes.columns.iter().flat_map(Row::all);
        let mut rows: Vec<_> = rows.map(|row| (row.id(), row.state())).collect();
        rows.sort_unstable_by_key(|(id, _)| *id);
        (rows, changes.forgotten.clone())
    }

    use proto::TaskState::{Completed, Idle, Running, Scheduled};

    #[test]
    fn only_what_changed_is_sent_and_what_is_missing_has_ended() {
        let (mut tasks, mut interner) = (Tasks::default(), Interner::default());
        let mut look = |now: &[(u64, u64, TaskState)], torn: bool| {
            let seen = Seen {
                at_ns: 5,
                tasks: now.iter().map(|(h, id, s)| task(*h, *id, *s)).collect(),
                torn: torn.then_some(1).into_iter().collect(),
                ..Seen::default()
            };
            tasks.take(&seen, &mut interner);
            sent(&tasks.changes())
        };
        let idle = TaskState::Idle;
        let all = look(&[(0x40, 1, idle), (0x80, 2, TaskState::Running)], false);
        assert_eq!(all, (vec![(1, Idle), (2, Running)], vec![]));
        let same = [(0x40, 1, idle), (0x80, 2, TaskState::Running)];
        assert_eq!(look(&same, false), (vec![], vec![]));
        let other = [
            (0x40, 1, TaskState::Scheduled),
            (0x80, 2, TaskState::Running),
        ];
        assert_eq!(look(&other, false), (vec![(1, Scheduled)], vec![]));
        // A torn list may have missed it; another task in its place has not.
        let first = (0x40, 1, TaskState::Scheduled);
        assert_eq!(look(&[first], true), (vec![], vec![]));
        assert_eq!(look(&[first], true), (vec![], vec![]));
        assert_eq!(look(&[first], true), (vec![(2, Completed)], vec![]));
        let instead = look(&[(0x40, 3, idle)], true);
        assert_eq!(instead, (vec![(1, Completed), (3, Idle)], vec![]));
        assert_eq!(look(&[], false), (vec![(3, Completed)], vec![]));
    }

    #[test]
    fn a_later_viewer_gets_all_and_sites_count_what_came_and_went() {
        let (mut tasks, mut interner) = (Tasks::default(), Interner::default());
        let mut take = |tasks: &mut Tasks, ids: &[u64]| {
            let of = |id: &u64| task(id * 64, *id, TaskState::Idle);
            let seen = Seen {
                tasks: ids.iter().map(of).collect(),
                ..Seen::default()
            };
            tasks.take(&seen, &mut interner);
        };
        take(&mut tasks, &[1, 2, 3]);
        take(&mut tasks, &[2, 3]);
        let all = tasks.all();
        let expected = vec![(1, Completed), (2, Idle), (3, Idle)];
        assert_eq!(sent(&all), (expected, vec![]));
        assert_eq!(all.sites.len(), 1);
        assert_eq!((all.sites[0].spawned, all.sites[0].ended), (3, 1));
        // The first are of any age, later ones are not.
        take(&mut tasks, &[2, 3, 4]);
        let columns = tasks.all().columns;
        let rows = columns.iter().flat_map(Row::all);
        let born: Vec<_> = rows
            .filter(|row| row.spawned_at_ns().is_some())
            .map(|row| row.id())
            .collect();
        assert_eq!(born, [4]);
        tasks.changes();
        tasks.forget();
        let changes = tasks.changes();
        let mut forgotten = changes.forgotten.clone();
        forgotten.sort_unstable();
        assert_eq!(forgotten, [1, 2, 3, 4]);
        assert!(tasks.is_empty() && tasks.all().columns.is_empty());
        assert_eq!(changes.sites[0].ended, changes.sites[0].spawned);
    }

    #[test]
    fn those_that_ended_are_held_up_to_a_bound() {
        let (mut tasks, mut interner) = (Tasks::default(), Interner::default());
        let most = MAX_ENDED as u64;
        let seen = Seen {
            tasks: (1..=most + 3)
                .map(|id| task(id * 64, id, TaskState::Idle))
                .collect(),
            ..Seen::default()
        };
        tasks.take(&seen, &mut interner);
        tasks.take(&Seen::default(), &mut interner);
        assert_eq!(tasks.changes().forgotten.len(), 3);
        assert_eq!(sent(&tasks.all()).0.len(), MAX_ENDED);
    }

    #[test]
    fn two_tasks_with_one_id_have_two_on_the_wire() {
        let (mut tasks, mut interner) = (Tasks::default(), Interner::default());
        let seen = Seen {
            tasks: vec![
                task(0x40, 7, TaskState::Idle),
                task(0x80, 7, TaskState::Idle),
            ],
            ..Seen::default()
        };
        tasks.take(&seen, &mut interner);
        let (rows, _) = sent(&tasks.changes());
        assert_eq!(rows, [(7, Idle), (SECOND_IDS + 1, Idle)]);
    }
}
