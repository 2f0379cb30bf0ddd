//! What is known of each task that waits, and since when it does.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::facts::{Hold, ReadSoFar, TaskAt, TaskWait, Want, What};
use super::order::{Kind, Waiter, order};
use crate::awaits::By;
use crate::tasks::{AddressMap, AddressSet, Task, TaskKind, TaskState};

/// Tasks that are known.
const MAX_TASKS: usize = 1 << 18;

/// Jobs of the blocking pool that are looked at again at each listing.
const MAX_JOBS: usize = 4_096;

/// Why nothing is known of a task.
pub(super) type Why = Arc<str>;

/// The tasks that wait, by where they are.
#[derive(Debug, Default)]
pub(super) struct Records {
    known: AddressMap<Record>,
    /// Those of whom a search has found that they hold something.
    inferred: HashSet<TaskAt>,
    listing: u32,
    /// Those of the newest listing.
    idle: u64,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    read: u64,
    partial: u64,
    without: HashMap<Why, u64>,
}

#[derive(Debug)]
struct Record {
    id: u64,
    /// The newest listing that has it.
    listing: u32,
    /// It was seen idle first, or to have run last.
    idle_since: Instant,
    /// When it was tried.
    read_at: Option<Instant>,
    is_stale: bool,
    /// It was read twice as it is.
    is_sure: bool,
    is: Is,
}

impl Record {
    /// It may be one of those who wait for each other, if it stays so.
    fn is_unsure(&self) -> bool {
        let Is::Waits(wait) = &self.is else {
            return false;
        };
        let holds = !wait.new.holds.is_empty() || !wait.inferred.is_empty();
        holds && !self.is_sure && !wait.new.wants.is_empty()
    }

    /// It was to be woken by a timer since it was read, and perhaps waits for another one.
    fn is_overdue(&self, clock: Option<Duration>) -> bool {
        let (Is::Waits(wait), Some(clock)) = (&self.is, clock) else {
            return false;
        };
        let mut wants = wait.new.wants.iter();
        wants.any(|want| matches!(want.what, What::Timer { due } if due <= clock))
    }
}

#[derive(Debug)]
enum Is {
    /// It was not tried, or has moved meanwhile.
    Unknown,
    Without(Why),
    Waits(Box<Wait>),
}

#[derive(Debug)]
struct Wait {
    new: New,
    since: Instant,
    /// What a search has found that it holds.
    inferred: Vec<Hold>,
}

/// A chain that was read.
#[allow(clippy::struct_excessive_bools, reason = "each says one thing of it")]
#[derive(Debug)]
pub(super) struct New {
    pub(super) shape: u32,
    pub(super) by: By,
    pub(super) is_partial: bool,
    pub(super) wants: Vec<Want>,
    pub(super) holds: Vec<Hold>,
    pub(super) is_certain: bool,
    pub(super) is_scheduled: bool,
    pub(super) wakers_known: bool,
    /// It is to be read again soon.
    pub(super) is_stale: bool,
}

impl New {
    /// Whether two chains are one wait.
    fn is_same(&self, other: &Self) -> bool {
        self.shape == other.shape
            && self.wants.len() == other.wants.len()
            && self
                .wants
                .iter()
                .zip(&other.wants)
                .all(|(one, other)| one.node == other.node && one.what.is_same(&other.what))
    }
}

impl Records {
    /// Takes in a listing; which of its tasks are to be read, in this order. Those at
    /// `pointing` may have what others wait for. Timers are due by `clock`.
    pub(super) fn listing(
        &mut self,
        tasks: &[Task],
        have_run: &AddressSet,
        pointing: &AddressSet,
        (at, clock): (Instant, Option<Duration>),
    ) -> Vec<u32> {
        self.listing = self.listing.wrapping_add(1);
        self.idle = 0;
        let mut waiters = Vec::with_capacity(tasks.len().min(MAX_TASKS));
        for (task, position) in tasks.iter().zip(0..) {
            let waits = match task.state {
                TaskState::Idle | TaskState::Scheduled => true,
                TaskState::Running => false,
                TaskState::Complete => continue,
            };
            if task.kind != TaskKind::Async {
                continue;
            }
            self.idle += u64::from(waits);
            let has_run = have_run.contains(&task.header);
            if let Some(waiter) = self.seen(task, waits, has_run, position, (at, clock)) {
                waiters.push(Waiter {
                    is_pointing: pointing.contains(&task.header),
                    ..waiter
                });
            }
        }
        let listing = self.listing;
        let counts = &mut self.counts;
        self.known.retain(|_, record| {
            let stays = record.listing == listing;
            if !stays {
                counts.remove(&record.is);
            }
            stays
        });
        order(&waiters, at)
    }

    fn seen(
        &mut self,
        task: &Task,
        waits: bool,
        has_run: bool,
        position: u32,
        (at, clock): (Instant, Option<Duration>),
    ) -> Option<Waiter> {
        let is_known = self.known.contains_key(&task.header);
        if !is_known && (!waits || self.known.len() >= MAX_TASKS) {
            return None;
        }
        let kind = Kind {
            vtable: task.vtable,
            spawned_at: task.spawned_at,
        };
        let new = || Record {
            id: task.id,
            listing: 0,
            idle_since: at,
            read_at: None,
            is_stale: false,
            is_sure: false,
            is: Is::Unknown,
        };
        let record = self.known.entry(task.header).or_insert_with(new);
        if record.id != task.id {
            self.counts.remove(&record.is);
            *record = new();
        }
        record.listing = self.listing;
        if !waits || has_run {
            record.idle_since = at;
            record.is_stale = true;
        }
        if !waits {
            // What was said of it is void without a word.
            self.counts.remove(&record.is);
            record.is = Is::Unknown;
            return None;
        }
        Some(Waiter {
            at: position,
            kind,
            id: task.id,
            is_pointing: false,
            read_at: record.read_at,
            is_stale: record.is_stale
                || matches!(record.is, Is::Unknown)
                || record.is_overdue(clock),
            is_unsure: record.is_unsure(),
        })
    }

    /// A chain was read; what is to be said. `None` where its task is unknown.
    pub(super) fn read(&mut self, task: TaskAt, new: New, now: Instant) -> Option<TaskWait> {
        let record = self.known.get_mut(&task.header)?;
        if record.id != task.id {
            return None;
        }
        let (mut since, mut inferred) = (record.idle_since, Vec::new());
        record.is_sure = false;
        if let Is::Waits(before) = &mut record.is
            && !record.is_stale
        {
            record.is_sure = before.new.is_same(&new);
            // It has run unseen where it waits otherwise.
            since = if before.new.is_same(&new) {
                before.since
            } else {
                record.idle_since = now;
                now
            };
            inferred = std::mem::take(&mut before.inferred);
        }
        self.counts.remove(&record.is);
        record.read_at = Some(now);
        record.is_stale = new.is_stale;
        record.is = Is::Waits(Box::new(Wait {
            new,
            since,
            inferred,
        }));
        self.counts.add(&record.is);
        record.word(task)
    }

    /// Looks again at jobs of the blocking pool that tasks wait for and that had not begun;
    /// what is to be said of those tasks whose jobs have. Where one has ended, its task
    /// is read again.
    pub(super) fn jobs_begun(
        &mut self,
        now: Instant,
        state: impl Fn(TaskAt) -> Option<TaskState>,
    ) -> Vec<TaskWait> {
        let mut changed = Vec::new();
        let mut looked = 0;
        for (header, record) in &mut self.known {
            let Is::Waits(wait) = &mut record.is else {
                continue;
            };
            let (mut has_changed, mut is_gone) = (false, false);
            for want in &mut wait.new.wants {
                let What::Job { job, has_begun } = &mut want.what else {
                    continue;
                };
                if *has_begun || looked == MAX_JOBS {
                    continue;
                }
                looked += 1;
                match state(*job) {
                    Some(TaskState::Scheduled) => {}
                    Some(TaskState::Running | TaskState::Idle) => {
                        (*has_begun, has_changed) = (true, true);
                    }
                    // It has woken its task.
                    Some(TaskState::Complete) | None => {
                        (*has_begun, has_changed, is_gone) = (true, true, true);
                    }
                }
            }
            record.is_stale |= is_gone;
            if has_changed {
                record.read_at = record.read_at.max(Some(now));
                let id = record.id;
                let task = TaskAt {
                    header: *header,
                    id,
                };
                changed.extend(record.word(task));
            }
        }
        changed
    }

    /// Nothing is known of a task that waits; whether something was said of it.
    pub(super) fn without(&mut self, task: TaskAt, why: &Why, now: Instant) -> bool {
        let Some(record) = self.of(task) else {
            return false;
        };
        let was_said = matches!(record.is, Is::Waits(_));
        record.read_at = Some(now);
        record.is_stale = false;
        let before = std::mem::replace(&mut record.is, Is::Without(Arc::clone(why)));
        self.counts.remove(&before);
        self.counts.add(&Is::Without(Arc::clone(why)));
        was_said
    }

    /// A task did not wait when it was to be read: the next listing says what it does.
    pub(super) fn missed(&mut self, task: TaskAt) {
        if let Some(record) = self.of(task) {
            record.is_stale = true;
        }
    }

    fn of(&mut self, task: TaskAt) -> Option<&mut Record> {
        let record = self.known.get_mut(&task.header);
        record.filter(|record| record.id == task.id)
    }

    fn waits(&self) -> impl Iterator<Item = (u64, &Wait)> {
        self.known
            .iter()
            .filter_map(|(header, record)| match &record.is {
                Is::Waits(wait) => Some((*header, &**wait)),
                Is::Unknown | Is::Without(_) => None,
            })
    }

    /// The resources of which tasks say something.
    pub(super) fn resources(&self) -> AddressSet {
        let mut found = AddressSet::default();
        for (_, wait) in self.waits() {
            found.extend(
                wait.new
                    .wants
                    .iter()
                    .filter_map(|want| want.what.resource()),
            );
            found.extend(wait.new.holds.iter().map(|hold| hold.resource));
            found.extend(wait.inferred.iter().map(|hold| hold.resource));
        }
        found
    }

    /// The resources that chains say to be held.
    pub(super) fn held(&self) -> AddressSet {
        let holds = self.waits().flat_map(|(_, wait)| &wait.new.holds);
        holds.map(|hold| hold.resource).collect()
    }

    /// The resources that tasks want, and how the chains were had that say so.
    pub(super) fn wanted(&self) -> impl Iterator<Item = (u64, By)> {
        self.waits().flat_map(|(_, wait)| {
            let wants = wait.new.wants.iter();
            let wanted = wants.filter_map(|want| want.what.resource());
            wanted.map(|resource| (resource, wait.new.by))
        })
    }

    /// The channels in which tasks wait for room, of chains that came from the interpreter.
    pub(super) fn full_channels(&self) -> impl Iterator<Item = u64> {
        let read = self.waits().map(|(_, wait)| &wait.new);
        let interpreted = read.filter(|new| new.by == By::Interpreter);
        let wanted = interpreted.flat_map(|new| &new.wants);
        wanted.filter_map(|want| match want.what {
            What::Room { resource } => Some(resource),
            _ => None,
        })
    }

    /// Whether a task was never read.
    pub(super) fn is_new(&self, task: TaskAt) -> bool {
        let record = self.known.get(&task.header);
        record.is_none_or(|record| record.id != task.id || record.read_at.is_none())
    }

    /// Since when a task waits so, where it was read.
    pub(super) fn waits_since(&self, task: TaskAt) -> Option<Instant> {
        let record = self.known.get(&task.header)?;
        match &record.is {
            Is::Waits(wait) if record.id == task.id => Some(wait.since),
            _ => None,
        }
    }

    /// Whether the task there waits for this resource itself.
    pub(super) fn waits_for(&self, header: u64, resource: u64) -> bool {
        let record = self.known.get(&header);
        record.is_some_and(|record| match &record.is {
            Is::Waits(wait) => {
                let mut wants = wait.new.wants.iter();
                wants.any(|want| want.what.resource() == Some(resource))
            }
            Is::Unknown | Is::Without(_) => false,
        })
    }

    /// A search has found that tasks hold these; those of whom it said otherwise before.
    pub(super) fn infer(
        &mut self,
        mut inferred: HashMap<TaskAt, Vec<Hold>>,
        now: Instant,
    ) -> Vec<TaskWait> {
        let mut changed = Vec::new();
        let before = std::mem::take(&mut self.inferred);
        let others = before.iter().filter(|task| !inferred.contains_key(task));
        let others: Vec<TaskAt> = others.copied().collect();
        for task in others {
            inferred.insert(task, Vec::new());
        }
        for (task, holds) in inferred {
            let Some(record) = self.of(task) else {
                continue;
            };
            let Is::Waits(wait) = &mut record.is else {
                continue;
            };
            let is_some = !holds.is_empty();
            if holds != wait.inferred {
                wait.inferred = holds;
                changed.extend(record.word(task));
            }
            self.inferred.extend(is_some.then_some(task));
        }
        for word in &mut changed {
            word.read_at = word.read_at.max(now);
        }
        changed
    }

    /// How much was read.
    pub(super) fn counted(&self) -> ReadSoFar {
        let without = &self.counts.without;
        let most = without
            .iter()
            .max_by_key(|(why, count)| (**count, why.len()));
        ReadSoFar {
            idle: self.idle,
            read: self.counts.read,
            partial: self.counts.partial,
            without: without.values().sum(),
            without_reason: most.map(|(why, _)| Arc::clone(why)),
            ..ReadSoFar::default()
        }
    }
}

impl Record {
    fn word(&self, task: TaskAt) -> Option<TaskWait> {
        let Is::Waits(wait) = &self.is else {
            return None;
        };
        let holds = wait.new.holds.iter().chain(&wait.inferred);
        Some(TaskWait {
            task,
            shape: wait.new.shape,
            wants: wait.new.wants.clone(),
            holds: holds.cloned().collect(),
            since: wait.since,
            read_at: self.read_at?,
            is_certain: wait.new.is_certain,
            is_scheduled: wait.new.is_scheduled,
            wakers_known: wait.new.wakers_known,
        })
    }
}

impl Counts {
    fn add(&mut self, is: &Is) {
        match is {
            Is::Unknown => {}
            Is::Without(why) => *self.without.entry(Arc::clone(why)).or_default() += 1,
            Is::Waits(wait) => {
                self.read += 1;
                self.partial += u64::from(wait.new.is_partial);
            }
        }
    }

    fn remove(&mut self, is: &Is) {
        match is {
            Is::Unknown => {}
            Is::Without(why) => {
                if let Some(count) = self.without.get_mut(why) {
                    *count -= 1;
                    if *count == 0 {
                        self.without.remove(why);
                    }
                }
            }
            Is::Waits(wait) => {
                self.read -= 1;
                self.partial -= u64::from(wait.new.is_partial);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::awaits::Role;
    use crate::waiting::facts::What;

    fn task(header: u64, state: TaskState) -> Task {
        Task {
            header,
            id: header / 16,
            vtable: 1,
            kind: TaskKind::Async,
            state,
            runtime: None,
            spawned_at: None,
        }
    }

    fn at(header: u64) -> TaskAt {
        TaskAt {
            header,
            id: header / 16,
        }
    }

    fn chain(shape: u32, resource: u64) -> New {
        New {
            shape,
            by: By::Types,
            is_partial: false,
            wants: vec![Want {
                node: 0,
                what: What::Permits {
                    resource,
                    amount: 1,
                    given: 0,
                },
            }],
            holds: Vec::new(),
            is_certain: true,
            is_scheduled: false,
            wakers_known: false,
            is_stale: false,
        }
    }

    /// What happens to one task, a second after the other, and how long it has waited then.
    enum Step {
        Listed(TaskState, bool),
        Read(u32, u64),
    }

    #[test]
    fn since_when_a_task_waits() {
        use Step::{Listed, Read};
        use TaskState::{Idle, Running, Scheduled};
        type Case<'a> = (&'a str, &'a [Step], u64);
        let cases: &[Case<'_>] = &[
            ("read at once", &[Listed(Idle, false), Read(1, 64)], 1),
            (
                "listed long before",
                &[Listed(Idle, false), Listed(Idle, false), Read(1, 64)],
                2,
            ),
            (
                "read again as it was",
                &[
                    Listed(Idle, false),
                    Read(1, 64),
                    Listed(Scheduled, false),
                    Read(1, 64),
                ],
                3,
            ),
            (
                "at another place",
                &[Listed(Idle, false), Read(1, 64), Read(2, 64)],
                0,
            ),
            (
                "for another lock",
                &[Listed(Idle, false), Read(1, 64), Read(1, 128)],
                0,
            ),
            (
                "it has run between",
                &[
                    Listed(Idle, false),
                    Read(1, 64),
                    Listed(Idle, true),
                    Read(1, 64),
                ],
                1,
            ),
            (
                "it was seen in a poll",
                &[
                    Listed(Idle, false),
                    Read(1, 64),
                    Listed(Running, false),
                    Listed(Idle, false),
                    Read(1, 64),
                ],
                2,
            ),
        ];
        for (what, steps, waited) in cases {
            let mut records = Records::default();
            let mut now = Instant::now();
            let mut word = None;
            for step in *steps {
                now += Duration::from_secs(1);
                match step {
                    Listed(state, has_run) => {
                        let mut have_run = AddressSet::default();
                        have_run.extend(has_run.then_some(16));
                        let order = records.listing(
                            &[task(16, *state)],
                            &have_run,
                            &AddressSet::default(),
                            (now, None),
                        );
                        let known = word.is_some() && !has_run && *state != Running;
                        assert_eq!(order.is_empty(), known || *state == Running, "{what}");
                    }
                    Read(shape, resource) => {
                        word = records.read(at(16), chain(*shape, *resource), now);
                    }
                }
                if let Listed(Running, _) = step {
                    word = None;
                }
            }
            let since = word.unwrap().since;
            assert_eq!((now - since).as_secs(), *waited, "{what}");
        }
    }

    #[test]
    fn a_timer_that_is_due_is_read_again_and_another_one_is_another_wait() {
        let mut records = Records::default();
        let began = Instant::now();
        let none = AddressSet::default();
        let task = [task(16, TaskState::Idle)];
        let timer = |due: u64| New {
            wants: vec![Want {
                node: 0,
                what: What::Timer {
                    due: Duration::from_secs(due),
                },
            }],
            ..chain(1, 64)
        };
        // The second, when the timer is due that it reads; whether it reads, and for how
        // long it waits then.
        let steps = [
            (1, 3, true, Some(0)),
            (2, 3, false, None),
            (3, 6, true, Some(0)),
            (5, 6, false, None),
            // Nobody has woken it.
            (7, 6, true, Some(4)),
            (8, 6, true, Some(5)),
        ];
        for (second, due, reads, waited) in steps {
            let now = began + Duration::from_secs(second);
            let clock = Some(Duration::from_secs(second));
            let order = records.listing(&task, &none, &none, (now, clock));
            assert_eq!(!order.is_empty(), reads, "{second}");
            if reads {
                let word = records.read(at(16), timer(due), now).unwrap();
                assert_eq!(Some((now - word.since).as_secs()), waited, "{second}");
            }
        }
    }

    #[test]
    fn a_job_that_begins_is_said_and_one_that_has_ended_is_read_again() {
        let none = AddressSet::default();
        for (state, has_begun, reads_again) in [
            (Some(TaskState::Scheduled), None, false),
            (Some(TaskState::Running), Some(true), false),
            (Some(TaskState::Complete), Some(true), true),
            (None, Some(true), true),
        ] {
            let mut records = Records::default();
            let began = Instant::now();
            let tasks = [task(16, TaskState::Idle)];
            records.listing(&tasks, &none, &none, (began, None));
            let (job, has_not) = (at(256), false);
            let wants = vec![Want {
                node: 0,
                what: What::Job {
                    job,
                    has_begun: has_not,
                },
            }];
            records.read(
                at(16),
                New {
                    wants,
                    ..chain(1, 64)
                },
                began,
            );
            let now = began + Duration::from_secs(2);
            let said = records.jobs_begun(now, |asked| {
                assert_eq!(asked, job);
                state
            });
            let said = said.first().map(|wait| {
                assert_eq!(
                    (wait.task, wait.since),
                    (at(16), began),
                    "it waits as it did"
                );
                matches!(
                    wait.wants[0].what,
                    What::Job {
                        has_begun: true,
                        ..
                    }
                )
            });
            assert_eq!(said, has_begun, "{state:?}");
            let order = records.listing(&tasks, &none, &none, (now, None));
            assert_eq!(!order.is_empty(), reads_again, "{state:?}");
        }
    }

    #[test]
    fn what_was_read_is_counted_and_goes_with_its_task() {
        let mut records = Records::default();
        let now = Instant::now();
        let none = AddressSet::default();
        let all = [16, 32, 48, 64].map(|header| task(header, TaskState::Idle));
        assert_eq!(
            records.listing(&all, &none, &none, (now, None)),
            [0, 1, 2, 3]
        );
        let partial = New {
            is_partial: true,
            ..chain(1, 64)
        };
        records.read(at(16), partial, now);
        records.read(at(32), chain(1, 64), now);
        let why: Why = "it has no name".into();
        assert!(
            !records.without(at(48), &why, now),
            "nothing was said of it"
        );
        let counted = records.counted();
        assert_eq!(
            (counted.idle, counted.read, counted.partial, counted.without),
            (4, 2, 1, 1)
        );
        assert_eq!(counted.without_reason, Some(why.clone()));
        assert!(records.without(at(32), &why, now), "it is void now");
        assert_eq!(records.counted().without, 2);
        // One has ended, and another is where one was.
        let mut other = task(16, TaskState::Idle);
        other.id = 99;
        let left = [other, task(48, TaskState::Idle)];
        assert_eq!(records.listing(&left, &none, &none, (now, None)), [0]);
        let counted = records.counted();
        assert_eq!((counted.idle, counted.read, counted.without), (2, 0, 1));
        assert_eq!(
            records.read(at(16), chain(1, 64), now),
            None,
            "it is another"
        );
    }

    #[test]
    fn what_a_search_finds_joins_what_the_chain_says() {
        let mut records = Records::default();
        let now = Instant::now();
        let all = [16, 32].map(|header| task(header, TaskState::Idle));
        records.listing(
            &all,
            &AddressSet::default(),
            &AddressSet::default(),
            (now, None),
        );
        records.read(at(16), chain(1, 64), now);
        records.read(at(32), chain(1, 128), now);
        assert!(records.waits_for(16, 64) && !records.waits_for(32, 64));
        let hold = Hold {
            node: 0,
            resource: 64,
            role: Role::Guard,
            amount: 1,
            name: None,
            is_certain: false,
        };
        let found = HashMap::from([(at(32), vec![hold.clone()])]);
        let changed = records.infer(found.clone(), now);
        assert_eq!(changed.len(), 1);
        assert_eq!(
            (changed[0].task, &changed[0].holds[..]),
            (at(32), &[hold][..])
        );
        assert_eq!(records.infer(found, now), [], "it was said");
        let mut resources: Vec<u64> = records.resources().into_iter().collect();
        resources.sort_unstable();
        assert_eq!(resources, [64, 128]);
        let changed = records.infer(HashMap::new(), now);
        assert_eq!((changed.len(), changed[0].holds.len()), (1, 0));
    }
}
