//! Tasks: the live ones, and those that ended and are still retained.

mod numbers;

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    time::Duration,
};

use looptop_wire::{columns::Row, recorded::TaskWindows};

use super::{
    Certainty, LocationId, Moment, RuntimeId, TaskId, TaskKind, TaskState, TextId, ids::nanos,
};

use numbers::{Numbers, Packed};

/// One task. Numbers that the target cannot supply are `None`.
#[derive(Debug, Clone)]
pub struct Task {
    /// Unique within the session.
    pub id: TaskId,
    /// The name given to it.
    pub name: Option<TextId>,
    /// What it is.
    pub kind: TaskKind,
    /// What it does.
    pub state: TaskState,
    /// Where it was spawned.
    pub location: Option<LocationId>,
    /// Where it runs.
    pub runtime: Option<RuntimeId>,
    /// Further fields, as `key=value` text.
    pub fields: Option<TextId>,
    /// The type of its future, whole, as the binary has it.
    pub future: Option<TextId>,
    /// Whether that is certain.
    pub future_certainty: Certainty,
    /// Where the async fn stands that made its future.
    pub future_location: Option<LocationId>,
    numbers: Numbers,
    /// Counters one to two seconds ago.
    earlier: [Earlier; 2],
}

/// The counters at an earlier moment, if there was one.
#[derive(Debug, Clone, Copy)]
struct Earlier {
    at: Packed,
    polls: u64,
    wakes: u64,
    self_wakes: u64,
    busy_ns: u64,
}

impl Earlier {
    const NONE: Self = Self {
        at: Packed::UNKNOWN,
        polls: 0,
        wakes: 0,
        self_wakes: 0,
        busy_ns: 0,
    };

    fn get(self) -> Option<Counters> {
        Some(Counters {
            at: Moment(self.at.get()?),
            polls: self.polls,
            wakes: self.wakes,
            self_wakes: self.self_wakes,
            busy: Duration::from_nanos(self.busy_ns),
        })
    }
}

impl From<Counters> for Earlier {
    fn from(counters: Counters) -> Self {
        Self {
            at: Packed::new(Some(counters.at.0)),
            polls: counters.polls,
            wakes: counters.wakes,
            self_wakes: counters.self_wakes,
            busy_ns: nanos(counters.busy),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Counters {
    at: Moment,
    polls: u64,
    wakes: u64,
    self_wakes: u64,
    busy: Duration,
}

/// What a task did in the last one to two seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Recent {
    /// Polls per second.
    pub polls: f64,
    /// Wakes per second.
    pub wakes: f64,
    /// Self-wakes per second.
    pub self_wakes: f64,
    /// Busy share of one worker, 0 to 1, the poll in progress included.
    pub busy: f64,
}

const WINDOW: Duration = Duration::from_secs(1);

impl Task {
    /// Wakers cloned, and dropped.
    pub fn wakers(&self) -> Option<(u64, u64)> {
        self.waker_clones().zip(self.waker_drops())
    }

    /// How long it has lived, or lived.
    pub fn total(&self, now: Moment) -> Option<Duration> {
        Some(self.ended_at().unwrap_or(now).since(self.spawned_at()?))
    }

    /// Time in polls, the one in progress included.
    pub fn busy(&self, now: Moment) -> Option<Duration> {
        Some(self.finished_busy()? + self.poll_age(now).unwrap_or_default())
    }

    /// Time spent woken but not polled, the wait in progress included.
    pub fn scheduled(&self, now: Moment) -> Option<Duration> {
        let waiting = match (self.state, self.last_wake()) {
            (TaskState::Scheduled, Some(woken)) => now.since(woken),
            _ => Duration::ZERO,
        };
        Some(self.finished_scheduled()? + waiting)
    }

    /// Time spent waiting to be woken, in total.
    pub fn idle(&self, now: Moment) -> Option<Duration> {
        Some(
            self.total(now)?
                .saturating_sub(self.busy(now)?)
                .saturating_sub(self.scheduled(now)?),
        )
    }

    /// For how long it has not been polled, exactly, of a task that waits to be woken,
    /// or may where wakes are not known.
    pub fn resting_for(&self, now: Moment) -> Option<Duration> {
        self.idle_since().map(|since| now.since(since))
    }

    /// For how long it has been neither polled nor woken, at least; `None` where
    /// it is not idle or that is not known.
    ///
    /// Exactly, where the target says when its last poll ended. Otherwise, where
    /// wakes are known, since its last wake, less its longest poll, in
    /// which that wake was answered; and else since its counters last changed, which
    /// the newer window knows to within its length.
    pub fn idle_for(&self, now: Moment) -> Option<Duration> {
        // Where wakes are not known, a task between two polls is as good as idle.
        let rests = match self.state {
            TaskState::Idle => true,
            TaskState::Unknown => self.wakes().is_none() && self.idle_since().is_some(),
            _ => false,
        };
        if !rests || !self.is_live() {
            return None;
        }
        if let Some(resting) = self.resting_for(now) {
            return Some(resting);
        }
        let unchanged = match self.earlier[1].get() {
            Some(newer) => now.since(newer.at).saturating_sub(WINDOW),
            None => Duration::ZERO,
        };
        let unwoken = self.wakes().map(|_| {
            let woken = self
                .last_wake()
                .unwrap_or_default()
                .max(self.spawned_at().unwrap_or_default());
            let answer = self.longest_poll().unwrap_or_default();
            let wait = self.longest_scheduled().unwrap_or_default();
            now.since(woken).saturating_sub(answer + wait)
        });
        Some(unchanged.max(unwoken.unwrap_or_default()))
    }

    /// How long the poll in progress runs.
    pub fn poll_age(&self, now: Moment) -> Option<Duration> {
        self.poll_started().map(|started| now.since(started))
    }

    /// The longest poll, the one in progress included.
    pub fn longest(&self, now: Moment) -> Option<Duration> {
        self.longest_poll().max(self.poll_age(now))
    }

    /// It has not ended.
    pub fn is_live(&self) -> bool {
        self.ended_at().is_none()
    }

    /// Self-wakes among all wakes, 0 to 1; `None` where unknown or never woken.
    pub fn self_wake_share(&self) -> Option<f64> {
        match (self.self_wakes()?, self.wakes()?) {
            (_, 0) => None,
            (own, all) => Some(own as f64 / all as f64),
        }
    }

    /// Rates over the last one to two seconds; `None` before a second passed.
    pub fn recent(&self, now: Moment) -> Option<Recent> {
        if self.polls().is_none() && self.wakes().is_none() && self.finished_busy().is_none() {
            // Nobody counts.
            return None;
        }
        // A task that stopped changing stops being updated: its newer counters
        // then are the ones to compare with, or its past would linger.
        let then = match self.earlier.map(Earlier::get) {
            [_, Some(newer)] if now.since(newer.at) >= WINDOW => newer,
            [Some(older), _] => older,
            [None, newer] => newer?,
        };
        let seconds = now.since(then.at).as_secs_f64();
        if seconds < WINDOW.as_secs_f64() * 0.9 {
            return None;
        }
        let counters = self.counters(now);
        let per = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        Some(Recent {
            polls: per(counters.polls, then.polls),
            wakes: per(counters.wakes, then.wakes),
            self_wakes: per(counters.self_wakes, then.self_wakes),
            busy: counters.busy.saturating_sub(then.busy).as_secs_f64() / seconds,
        })
    }

    fn counters(&self, now: Moment) -> Counters {
        Counters {
            at: now,
            polls: self.polls().unwrap_or_default(),
            wakes: self.wakes().unwrap_or_default(),
            self_wakes: self.self_wakes().unwrap_or_default(),
            busy: self.busy(now).unwrap_or_default(),
        }
    }

    /// Adds its windows to those of a recording.
    pub(super) fn push_windows(&self, now: Moment, windows: &mut TaskWindows) {
        let current = self.plain_counters();
        let both = self.earlier.iter().zip([false, true]);
        for (then, newer) in both.filter_map(|(then, newer)| Some((then.get()?, newer))) {
            windows.id.push(self.id.0);
            windows.newer.push(newer);
            windows.age_ns.push(now.0.wrapping_sub(then.at.0));
            windows.polls.push(current[0].wrapping_sub(then.polls));
            windows.wakes.push(current[1].wrapping_sub(then.wakes));
            windows
                .self_wakes
                .push(current[2].wrapping_sub(then.self_wakes));
            windows
                .busy_ns
                .push(current[3].wrapping_sub(nanos(then.busy)));
        }
    }

    /// Polls, wakes, self-wakes, and nanoseconds in finished polls.
    fn plain_counters(&self) -> [u64; 4] {
        [
            self.polls().unwrap_or_default(),
            self.wakes().unwrap_or_default(),
            self.self_wakes().unwrap_or_default(),
            nanos(self.finished_busy().unwrap_or_default()),
        ]
    }

    fn new(id: TaskId) -> Self {
        Self {
            id,
            name: None,
            kind: TaskKind::Unknown,
            state: TaskState::Unknown,
            location: None,
            runtime: None,
            fields: None,
            future: None,
            future_certainty: Certainty::Unknown,
            future_location: None,
            numbers: Numbers::UNKNOWN,
            earlier: [Earlier::NONE; 2],
        }
    }

    fn update(&mut self, row: &Row<'_>, now: Moment) {
        self.name = row.name().map(TextId);
        self.kind = row.kind();
        self.state = row.state();
        self.location = row.location().map(LocationId);
        self.runtime = row.runtime().map(RuntimeId);
        self.fields = row.fields().map(TextId);
        self.future = row.future().map(TextId);
        self.future_certainty = row.future_certainty();
        self.future_location = row.future_location().map(LocationId);
        self.numbers = Numbers::of(row);
        if !self.is_live() {
            self.state = TaskState::Completed;
            self.numbers.poll_started = Packed::UNKNOWN;
            self.numbers.idle_since = Packed::UNKNOWN;
        }
        match self.earlier[1].get() {
            Some(c) if now.since(c.at) < WINDOW => {}
            _ => self.earlier = [self.earlier[1], self.counters(now).into()],
        }
    }
}

/// The function in which the closure of a blocking task was written, from its fields:
/// `app::save` of `fn=app::save::{{closure}}::{{closure}}`.
pub(super) fn function(fields: &str) -> Option<&str> {
    let mut fields = fields.split(' ');
    let mut path = fields.find_map(|field| field.strip_prefix("fn="))?;
    while let Some((before, "{{closure}}" | "")) = path.rsplit_once("::") {
        path = before;
    }
    // Of what has type parameters, which may have spaces, only a part is here.
    let is_path = |c: char| c.is_alphanumeric() || "_:".contains(c);
    (path.contains("::") && path.chars().all(is_path)).then_some(path)
}

/// All tasks of the session, in no particular order.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    list: Vec<Task>,
    index: HashMap<TaskId, u32, BuildHasherDefault<IdHasher>>,
    states: [usize; 5],
    /// Tasks that were not taken in because of the bound.
    pub refused: u64,
    /// Tasks go as they end.
    pub(super) without_ended: bool,
}

/// Tasks held at most, whatever a peer sends.
const MAX_TASKS: usize = 2_000_000;

impl Tasks {
    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Task> {
        self.list.iter()
    }

    pub(super) fn as_slice(&self) -> &[Task] {
        &self.list
    }

    /// The live ones.
    pub fn live(&self) -> impl Iterator<Item = &Task> {
        self.list.iter().filter(|t| t.is_live())
    }

    /// The task of an id.
    pub fn get(&self, id: TaskId) -> Option<&Task> {
        self.index.get(&id).map(|i| &self.list[*i as usize])
    }

    /// How many there are, finished ones included.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// None has been seen.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many are in a state; costs nothing.
    pub fn count(&self, state: TaskState) -> usize {
        self.states[state as usize]
    }

    /// How many are alive; costs nothing.
    pub fn live_count(&self) -> usize {
        self.len() - self.count(TaskState::Completed)
    }

    /// Reads what the updates of these tasks are going to need. Tasks that change
    /// lie anywhere in a large table; asked for together, they come from memory
    /// in the time of one.
    pub(super) fn read_ahead(&self, ids: &[u64]) {
        let indices = ids.iter().filter_map(|id| self.index.get(&TaskId(*id)));
        let tasks = indices.filter_map(|index| self.list.get(*index as usize));
        // Some fields of each, as the table has several cache lines for a task.
        let read = tasks.fold(0, |sum, task| {
            let numbers = &task.numbers;
            let [older, newer] = &task.earlier;
            let some = [
                numbers.tokio_id,
                numbers.polls,
                numbers.tid,
                older.at,
                newer.at,
            ];
            some.iter().fold(sum ^ task.id.0, |sum, n| sum ^ n.0)
        });
        std::hint::black_box(read);
    }

    pub(super) fn update(&mut self, row: &Row<'_>, now: Moment) {
        let id = TaskId(row.id());
        let index = match self.index.get(&id) {
            Some(index) => *index as usize,
            None if self.list.len() >= MAX_TASKS => {
                self.refused += 1;
                return;
            }
            None => {
                let index = self.list.len();
                self.index.insert(id, index as u32);
                self.list.push(Task::new(id));
                self.states[TaskState::Unknown as usize] += 1;
                index
            }
        };
        let task = &mut self.list[index];
        self.states[task.state as usize] -= 1;
        task.update(row, now);
        let goes = self.without_ended && !task.is_live();
        self.states[task.state as usize] += 1;
        if goes {
            self.remove(id);
        }
    }

    /// Takes over the windows of a recording, each for the task it names.
    pub(super) fn restore_windows(&mut self, windows: &TaskWindows, now: Moment) {
        for (i, id) in windows.id.iter().enumerate() {
            let Some(index) = self.index.get(&TaskId(*id)) else {
                continue;
            };
            let task = &mut self.list[*index as usize];
            let [polls, wakes, self_wakes, busy] = task.plain_counters();
            let before = |now: u64, column: &[u64]| {
                now.wrapping_sub(column.get(i).copied().unwrap_or_default())
            };
            let newer = windows.newer.get(i).copied().unwrap_or_default();
            task.earlier[usize::from(newer)] = Earlier {
                at: Packed::new(Some(before(now.0, &windows.age_ns))),
                polls: before(polls, &windows.polls),
                wakes: before(wakes, &windows.wakes),
                self_wakes: before(self_wakes, &windows.self_wakes),
                busy_ns: before(busy, &windows.busy_ns),
            };
        }
    }

    pub(super) fn remove(&mut self, id: TaskId) {
        let Some(index) = self.index.remove(&id) else {
            return;
        };
        let task = self.list.swap_remove(index as usize);
        self.states[task.state as usize] -= 1;
        if let Some(moved) = self.list.get(index as usize) {
            self.index.insert(moved.id, index);
        }
    }
}

impl<'a> IntoIterator for &'a Tasks {
    type Item = &'a Task;
    type IntoIter = std::slice::Iter<'a, Task>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Ids are small numbers in sequence; multiplying spreads them well enough and
/// costs a tenth of the default hasher. A hostile peer can only slow down its
/// own viewer.
#[derive(Debug, Clone, Copy, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0 ^ n)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(26);
    }
}

#[cfg(test)]
mod tests {
    use looptop_wire::proto::Tasks as Columns;

    use super::*;

    #[test]
    fn a_blocking_task_says_its_function() {
        for (fields, expected) in [
            ("fn=app::save::{{closure}}", Some("app::save")),
            ("fn=app::main::{{closure}}::{{closure}}", Some("app::main")),
            ("a=1 fn=app::Store::load b=2", Some("app::Store::load")),
            ("fn=app::run<app::A, app::B>::{{closure}}", None),
            ("fn=<app::A as app::Run>::run", None),
            ("fn={{closure}}", None),
            ("url=/fn=x", None),
            ("", None),
        ] {
            assert_eq!(function(fields), expected, "{fields}");
        }
    }

    fn update(tasks: &mut Tasks, columns: &Columns, now: Moment) {
        for row in Row::all(columns) {
            tasks.update(&row, now);
        }
    }

    #[test]
    fn states_are_counted_through_changes_and_removal() {
        let mut tasks = Tasks::default();
        let idle = TaskState::Idle.into();
        let columns = Columns {
            id: vec![1, 2, 3],
            state: vec![idle; 3],
            ..Columns::default()
        };
        update(&mut tasks, &columns, Moment(0));
        assert_eq!((tasks.count(TaskState::Idle), tasks.live_count()), (3, 3));
        let ended = Columns {
            id: vec![2],
            ended_at_ns: vec![6],
            ..Columns::default()
        };
        update(&mut tasks, &ended, Moment(5));
        assert_eq!((tasks.count(TaskState::Idle), tasks.live_count()), (2, 2));
        tasks.remove(TaskId(1));
        tasks.remove(TaskId(99));
        assert_eq!((tasks.count(TaskState::Idle), tasks.len()), (1, 2));
        assert_eq!(tasks.get(TaskId(3)).unwrap().id, TaskId(3));
        assert_eq!(tasks.get(TaskId(1)).map(|t| t.id), None);
    }

    #[test]
    fn a_poll_in_progress_counts_as_busy() {
        let mut tasks = Tasks::default();
        let columns = Columns {
            id: vec![1],
            state: vec![TaskState::Running.into()],
            busy_ns: vec![100],
            scheduled_ns: vec![50],
            longest_poll_ns: vec![90],
            spawned_at_ns: vec![0],
            poll_started_at_ns: vec![1_001],
            ..Columns::default()
        };
        update(&mut tasks, &columns, Moment(1_000));
        let task = tasks.get(TaskId(1)).unwrap();
        let now = Moment(3_000);
        assert_eq!(task.busy(now), Some(Duration::from_nanos(2_100)));
        assert_eq!(task.longest(now), Some(Duration::from_micros(2)));
        assert_eq!(task.idle(now), Some(Duration::from_nanos(850)));
        assert_eq!(task.wakes(), None);
    }

    #[test]
    fn rates_fade_when_a_task_falls_silent() {
        let mut tasks = Tasks::default();
        for ms in (0..=3_000).step_by(100) {
            let columns = Columns {
                id: vec![1],
                polls: vec![ms * 10],
                ..Columns::default()
            };
            update(&mut tasks, &columns, Moment(ms * 1_000_000));
        }
        let task = tasks.get(TaskId(1)).unwrap();
        let rate = task.recent(Moment(3_000_000_000)).unwrap().polls;
        assert!((rate - 10_000.0).abs() < 1.0, "{rate}");
        let later = task.recent(Moment(9_000_000_000)).unwrap().polls;
        assert!(later < 2_000.0, "{later}");
    }
}
