//! The table of tasks by spawn location or by name, with totals.

use std::{collections::HashMap, time::Duration};

use crate::{
    app::{
        Sort, State, TaskLayout, Tone,
        column::{Cell, Column, Context, Head, Key, Unit},
        quantity,
        rows::Request,
    },
    diagnose::{Finding, Severity},
    model::{LocationId, Model, SiteKey, Task, TaskState, TextId},
};

use super::{Table, TableId, tasks, tasks::Tasks};

/// Tasks by spawn location or by name, with totals.
#[derive(Debug)]
pub struct TaskGroups;

impl Table for TaskGroups {
    type Row = TaskGroup;
    type Key = TaskGroupKey;
    type Made = Vec<TaskGroup>;

    const COLUMNS: &'static [Column<TaskGroup>] = COLUMNS;
    const SORT: Sort = Sort::descending(COLUMNS, "busy%");
    const OTHERWISE: Sort = Sort::descending(COLUMNS, "live");

    fn title(state: &State) -> (&'static str, String) {
        Tasks::title(state)
    }

    fn empty(state: &State) -> String {
        Tasks::empty(state)
    }

    fn make(context: &Context<'_>, request: &Request) -> Vec<TaskGroup> {
        let by = match request.layout {
            TaskLayout::ByName => TaskGrouping::Name,
            _ => TaskGrouping::Location,
        };
        let tasks = Tasks::rows(context.model, &(), request);
        group_tasks(context, tasks, by)
    }

    fn rows<'a>(
        _: &'a Model,
        groups: &'a Vec<TaskGroup>,
        _: &Request,
    ) -> impl Iterator<Item = &'a TaskGroup> {
        groups.iter()
    }

    fn key(group: &TaskGroup) -> TaskGroupKey {
        group.key
    }

    fn row<'a>(
        _: &'a Model,
        groups: &'a Vec<TaskGroup>,
        key: &TaskGroupKey,
    ) -> Option<&'a TaskGroup> {
        groups.iter().find(|group| group.key == *key)
    }

    fn finding<'a>(_: &'a State, _: &TaskGroupKey) -> Option<&'a Finding> {
        None
    }

    /// The tasks of the group, one by one.
    fn open(state: &mut State, key: &TaskGroupKey) {
        let Some(group) = state.rows.row::<Self>(state.model(), key) else {
            return;
        };
        if group.label.is_empty() {
            return state.notify("these tasks have nothing to be named by");
        }
        let column = match key {
            TaskGroupKey::Location(_) => "loc",
            TaskGroupKey::Name(_) | TaskGroupKey::Future(_) => "name",
        };
        let text = format!("{column}:\"{}\"", group.label.replace('"', ""));
        state.task_layout = TaskLayout::List;
        state.set_filter(TableId::Tasks, text);
    }

    fn finished(model: &Model) -> usize {
        Tasks::finished(model)
    }

    fn looked_at(model: &Model, _: usize) -> usize {
        model.tasks.len()
    }

    /// From outside nobody counts.
    fn fit(heads: &mut [Head], model: &Model) {
        for head in heads {
            head.unknown = model.reads_tasks() && COUNTED.contains(&head.id);
        }
    }
}

/// Columns of what only the program itself counts.
const COUNTED: [&str; 6] = ["busy%", "longest", "busy", "sched", "polls", "rate"];

/// What tasks of one group have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskGroupKey {
    /// Where they were spawned.
    Location(Option<LocationId>),
    /// Their name.
    Name(Option<TextId>),
    /// The type of their future, of those that have no name, or whose spawn location
    /// is not known.
    Future(TextId),
}

/// All tasks of one location or name.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskGroup {
    /// What they have in common.
    pub key: TaskGroupKey,
    /// The location or the name; empty where the target sends none.
    pub label: String,
    /// Those that live.
    pub live: u64,
    /// Those that ended and are still held.
    pub ended: u64,
    /// Those in a poll.
    pub running: u64,
    /// Those that wait for a worker.
    pub scheduled: u64,
    /// Polls of all.
    pub polls: u64,
    /// Polls per second, over the last second.
    pub rate: f64,
    /// Shares of a worker in the last second, added up.
    pub share: f64,
    /// Time in polls.
    pub busy: Duration,
    /// Time woken but not polled.
    pub waited: Duration,
    /// The longest poll.
    pub longest: Duration,
    /// The worst finding about one of them.
    pub alarm: Option<Severity>,
}

/// By what tasks are grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskGrouping {
    /// Spawn location.
    Location,
    /// Name.
    Name,
}

/// Groups `tasks`; costs a look at each.
pub fn group_tasks<'a>(
    context: &Context<'a>,
    tasks: impl Iterator<Item = &'a Task>,
    by: TaskGrouping,
) -> Vec<TaskGroup> {
    let mut groups: HashMap<TaskGroupKey, TaskGroup> = HashMap::new();
    for task in tasks {
        let key = match by {
            TaskGrouping::Location => match SiteKey::of(task).future {
                Some(future) => TaskGroupKey::Future(future),
                None => TaskGroupKey::Location(task.location),
            },
            TaskGrouping::Name => match task.future.filter(|_| task.name.is_none()) {
                Some(future) => TaskGroupKey::Future(future),
                None => TaskGroupKey::Name(task.name),
            },
        };
        groups
            .entry(key)
            .or_insert_with(|| TaskGroup::new(context, key))
            .add(context, task);
    }
    groups.into_values().collect()
}

impl TaskGroup {
    fn new(context: &Context<'_>, key: TaskGroupKey) -> Self {
        let label = match key {
            TaskGroupKey::Location(at) => context.model.location(at).map(|l| l.to_string()),
            TaskGroupKey::Name(name) => Some(context.model.text(name).to_owned()),
            TaskGroupKey::Future(future) => {
                context.model.future_name(Some(future)).map(str::to_owned)
            }
        };
        Self {
            key,
            label: label.unwrap_or_default(),
            live: 0,
            ended: 0,
            running: 0,
            scheduled: 0,
            polls: 0,
            rate: 0.0,
            share: 0.0,
            busy: Duration::ZERO,
            waited: Duration::ZERO,
            longest: Duration::ZERO,
            alarm: None,
        }
    }

    fn add(&mut self, context: &Context<'_>, task: &Task) {
        let now = context.now();
        let one = |yes: bool| u64::from(yes);
        self.live += one(task.is_live());
        self.ended += one(!task.is_live());
        self.running += one(task.state == TaskState::Running);
        self.scheduled += one(task.state == TaskState::Scheduled);
        self.polls = self.polls.saturating_add(task.polls().unwrap_or_default());
        if let Some(recent) = task.recent(now) {
            self.rate += recent.polls;
            self.share += recent.busy;
        }
        let add =
            |sum: Duration, part: Option<Duration>| sum.saturating_add(part.unwrap_or_default());
        self.busy = add(self.busy, task.busy(now));
        self.waited = add(self.waited, task.scheduled(now));
        self.longest = self.longest.max(task.longest(now).unwrap_or_default());
        self.alarm = self.alarm.max(context.alarms.get(&task.id).copied());
    }
}

/// What can be shown of a group.
const COLUMNS: &[Column<TaskGroup>] = &[
    Column {
        head: Head::text("warn", "!", 1, 0).help("the worst finding about one of them"),
        key: |_, g| tasks::alarm_key(g.alarm),
        cell: |_, g, _| tasks::alarm_cell(g.alarm),
    },
    Column {
        head: Head::number("live", "LIVE", 5, 0, Unit::Count).help("those that live"),
        key: |_, g| Key::count(Some(g.live)),
        cell: |_, g, _| Cell::new(quantity::count(g.live), Tone::Strong),
    },
    Column {
        head: Head::number("ended", "ENDED", 5, 4, Unit::Count)
            .help("those that ended and are still held (f shows them)"),
        key: |_, g| Key::count(Some(g.ended)),
        cell: |_, g, _| Cell::new(quantity::count(g.ended), Tone::Dim),
    },
    Column {
        head: Head::number("running", "RUN", 4, 2, Unit::Count).help("those in a poll"),
        key: |_, g| Key::count(Some(g.running)),
        cell: |_, g, _| Cell::new(quantity::count(g.running), Tone::Text),
    },
    Column {
        head: Head::number("scheduled", "SCHED", 5, 2, Unit::Count)
            .help("those that wait for a worker"),
        key: |_, g| Key::count(Some(g.scheduled)),
        cell: |_, g, _| Cell::new(quantity::count(g.scheduled), Tone::Text),
    },
    Column {
        head: Head::number("busy%", "BUSY%", 5, 0, Unit::Share)
            .help("their shares of a worker in the last second, added up"),
        key: |_, g| Key::Number(g.share),
        cell: |_, g, _| Cell::new(quantity::percent(g.share), Tone::Text),
    },
    Column {
        head: Head::number("longest", "LONGEST", 7, 1, Unit::Time).help("the longest poll of one"),
        key: |_, g| Key::time(Some(g.longest)),
        cell: |_, g, _| Cell::new(quantity::duration(g.longest), tasks::age_tone(g.longest)),
    },
    Column {
        head: Head::number("busy", "BUSY", 7, 2, Unit::Time).help("time in polls, of all"),
        key: |_, g| Key::time(Some(g.busy)),
        cell: |_, g, _| Cell::new(quantity::duration(g.busy), Tone::Text),
    },
    Column {
        head: Head::number("sched", "WAITED", 7, 3, Unit::Time)
            .help("time woken but not polled, of all"),
        key: |_, g| Key::time(Some(g.waited)),
        cell: |_, g, _| Cell::new(quantity::duration(g.waited), Tone::Text),
    },
    Column {
        head: Head::number("polls", "POLLS", 6, 3, Unit::Count).help("polls of all"),
        key: |_, g| Key::count(Some(g.polls)),
        cell: |_, g, _| Cell::new(quantity::count(g.polls), Tone::Text),
    },
    Column {
        head: Head::number("rate", "POLLS/S", 7, 4, Unit::Count).help("polls per second, of all"),
        key: |_, g| Key::Number(g.rate),
        cell: |_, g, _| Cell::new(quantity::short(g.rate), Tone::Text),
    },
    Column {
        head: Head::text("group", "TASKS OF", 16, 0)
            .growing(1, 80)
            .cut_at_start()
            .searched()
            .help("the spawn location or the name that they share; Enter lists them"),
        key: |_, g| Key::text(&g.label),
        cell: |_, g, _| Cell::text(&g.label),
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::model::{Span, TaskId, fixtures};

    use super::*;

    #[test]
    fn totals_are_of_all_tasks_of_a_group() {
        let model = fixtures::starving();
        let alarms = BTreeMap::from([(TaskId(4), Severity::Warning)]);
        let context = Context {
            model: &model,
            alarms: &alarms,
            functions: &BTreeMap::new(),
            waits: &crate::app::waits::Seen::default(),
            span: Span::Minute,
            depths: &HashMap::new(),
        };
        for by in [TaskGrouping::Location, TaskGrouping::Name] {
            let mut groups = group_tasks(&context, model.tasks.iter(), by);
            groups.sort_by_key(|g| g.key);
            let live: u64 = groups.iter().map(|g| g.live).sum();
            assert_eq!(live, model.tasks.live_count() as u64);
            let polls: u64 = groups.iter().map(|g| g.polls).sum();
            assert_eq!(polls, (1..=12).map(|id| id * 1_000).sum::<u64>());
            let alarmed: Vec<&str> = groups
                .iter()
                .filter(|g| g.alarm.is_some())
                .map(|g| g.label.as_str())
                .collect();
            let expected = match by {
                TaskGrouping::Location => "demo/src/service.rs:43",
                TaskGrouping::Name => "report",
            };
            assert_eq!(alarmed, [expected]);
        }
    }
}
