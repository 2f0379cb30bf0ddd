//! The table of tasks.
//!
//! ```text
//! ─ Tasks  11 live · 1 running · 3 scheduled · 1 finished hidden (f) ───────────
//! ! STATE     NAME           BUSY%▼   POLL LONGEST  POLLS LOCATION
//! ■ ● running report           84%  843 ms  843 ms   4000 demo/src/service.rs:43
//!   ○ idle    http::conn       12%           2 ms    1000 demo/src/service.rs:40
//! ```

use std::time::Duration;

use crate::{
    app::{
        Details, Sort, State, TaskLayout, Tone,
        column::{Cell, Column, Context, Head, Key, Unit},
        quantity,
        rows::Request,
        waits::words,
    },
    diagnose::{Finding, Severity},
    model::{AsyncOp, Certainty, Location, Model, Task, TaskId, TaskKind, TaskState},
};

use super::{Depths, Table, tree};

/// All tasks.
#[derive(Debug)]
pub struct Tasks;

impl Table for Tasks {
    type Row = Task;
    type Key = TaskId;
    type Made = ();

    const COLUMNS: &'static [Column<Task>] = COLUMNS;
    const SORT: Sort = Sort::descending(COLUMNS, "busy%");
    const OTHERWISE: Sort = Sort::descending(COLUMNS, "poll");

    fn title(state: &State) -> (&'static str, String) {
        let tasks = &state.model().tasks;
        let live = quantity::count(tasks.live_count() as u64);
        let mut about = vec![format!("{live} live")];
        for (task_state, word) in [
            (TaskState::Running, "running"),
            (TaskState::Scheduled, "scheduled"),
        ] {
            let n = tasks.count(task_state);
            if n > 0 {
                about.push(format!("{} {word}", quantity::count(n as u64)));
            }
        }
        about.extend(torn(state.model()));
        let hidden = state.rows.finished_hidden;
        if hidden > 0 {
            let hidden = quantity::count(hidden as u64);
            about.push(format!(
                "{hidden} finished hidden ({})",
                state.key_of("finished")
            ));
        }
        about.extend(not_held(state.model(), tasks.refused));
        let layout = match state.task_layout {
            TaskLayout::List => None,
            TaskLayout::Tree => Some("as a tree"),
            TaskLayout::ByLocation => Some("by location"),
            TaskLayout::ByName => Some("by name"),
        };
        about.extend(layout.map(str::to_owned));
        ("Tasks", about.join(" · "))
    }

    fn empty(_: &State) -> String {
        "no task yet".to_owned()
    }

    fn rows<'a>(model: &'a Model, (): &'a (), request: &Request) -> impl Iterator<Item = &'a Task> {
        let finished = request.finished;
        let all = model.tasks.iter();
        all.filter(move |t| finished || t.is_live())
    }

    fn key(task: &Task) -> TaskId {
        task.id
    }

    fn row<'a>(model: &'a Model, (): &'a (), id: &TaskId) -> Option<&'a Task> {
        model.tasks.get(*id)
    }

    fn finding<'a>(state: &'a State, id: &TaskId) -> Option<&'a Finding> {
        state.finding_of_task(*id)
    }

    fn open(state: &mut State, id: &TaskId) {
        state.show_details(Details::Task(*id));
    }

    fn finished(model: &Model) -> usize {
        model.tasks.len() - model.tasks.live_count()
    }

    /// From outside nobody counts: names and places have the room.
    fn fit(heads: &mut [Head], model: &Model) {
        if !model.reads_tasks() {
            return;
        }
        for head in heads {
            match head.id {
                "name" => {
                    head.most = widest_name(model);
                    head.easy = head.most.min(EASY_NAME);
                    head.grow = 4;
                }
                "loc" => head.easy = EASY_PLACE,
                // Only those that were spawned since looptop came have one.
                "age" => head.priority = 10,
                "waits" if model.waits.read().is_some() => {
                    // What little is shown leaves room for it.
                    (head.priority, head.grow, head.most) = (2, 4, 60);
                }
                "waits" => head.unknown = true,
                id => head.unknown = COUNTED.contains(&id),
            }
        }
    }

    fn arrange(model: &Model, request: &Request, sorted: Vec<TaskId>) -> (Vec<TaskId>, Depths) {
        match request.layout {
            TaskLayout::Tree => tree(&model.tasks, &sorted),
            _ => (sorted, Depths::new()),
        }
    }
}

/// What of the target is missing in the tables because it was dropped on the way;
/// `refused` by the viewer itself.
pub(super) fn not_held(model: &Model, refused: u64) -> Option<String> {
    let mut parts = Vec::new();
    if model.loss.console_events > 0 {
        let events = quantity::plural(model.loss.console_events, "event");
        parts.push(format!("! {events} dropped by console-subscriber"));
    }
    let unseen = model.loss.tasks.saturating_add(refused);
    if unseen > 0 {
        parts.push(format!("! {} not held", quantity::count(unseen)));
    }
    (!parts.is_empty()).then(|| parts.join(" · "))
}

/// Which runtimes' tasks are not all listed, with the number that they count.
fn torn(model: &Model) -> Option<String> {
    let torn = model.runtimes.iter().filter(|r| r.torn && !r.gone);
    let (counted, listed) = torn.fold((0_u64, 0_u64), |(counted, listed), runtime| {
        let found = runtime.listed_tasks.unwrap_or_default();
        (
            counted.saturating_add(runtime.live_tasks),
            listed.saturating_add(found),
        )
    });
    let count = quantity::count;
    let words = || format!("! torn: {} of {} listed", count(listed), count(counted));
    (counted > 0 || listed > 0).then(words)
}

/// Columns of what only the program itself knows; the longest poll from outside is none
/// but the present one.
const COUNTED: [&str; 13] = [
    "busy%",
    "longest",
    "polls",
    "rate",
    "busy",
    "sched",
    "idle",
    "idle-total",
    "wakes",
    "self",
    "woken",
    "parent",
    "fields",
];

/// What names and places have before lesser columns are shown.
const EASY_NAME: u16 = 56;
const EASY_PLACE: u16 = 30;
/// Kinds of tasks whose names are measured.
const MEASURED: usize = 1_000;

/// How wide the names of futures are, with the mark of a guess.
fn widest_name(model: &Model) -> u16 {
    let kinds = model.sites.keys().take(MEASURED);
    let names = kinds.filter_map(|kind| model.future_name(kind.future));
    let widest = names.map(|name| name.chars().count()).max().unwrap_or(0);
    (widest + 1).clamp(20, 100) as u16
}

/// What can be shown of a task.
const COLUMNS: &[Column<Task>] = &[
    Column {
        head: Head::text("warn", "!", 1, 0).help("a finding is about this task"),
        key: |c, t| alarm_key(c.alarms.get(&t.id).copied()),
        cell: |c, t, _| alarm_cell(c.alarms.get(&t.id).copied()),
    },
    Column {
        head: Head::number("id", "ID", 6, 5, Unit::Count)
            .searched()
            .help("the number that tokio gave it, or the session's own"),
        key: |_, t| Key::Number(t.tokio_id().unwrap_or(t.id.0) as f64),
        cell: |_, t, _| Cell::new(t.tokio_id().unwrap_or(t.id.0).to_string(), Tone::Dim),
    },
    Column {
        head: Head::text("state", "STATE", 9, 0).help("running, scheduled, idle, done"),
        key: |_, t| state_key(t.state),
        cell: |_, t, _| state_cell(t.state),
    },
    Column {
        head: Head::text("name", "NAME", 12, 0)
            .growing(2, 32)
            .easy(20)
            .searched()
            .help(
                "the name given to it, otherwise what it runs (~: probably) or where it was spawned",
            ),
        key: |c, t| match c.model.text(t.name) {
            "" => Key::text(nameless(c, t).unwrap_or_default()),
            name => Key::text(name),
        },
        cell: |c, t, _| {
            let branch = c.depths.get(&t.id).map_or_else(String::new, branch);
            let mut cell = match c.model.text(t.name) {
                "" => match nameless(c, t) {
                    Some(known_by) => Cell::new(known_by, Tone::Dim),
                    None => Cell::unknown(),
                },
                name if t.is_live() => Cell::new(name.to_owned(), Tone::Strong),
                name => Cell::new(name.to_owned(), Tone::Dim),
            };
            if is_guessed(c.model, t) {
                cell.0.insert(0, ("~".into(), Tone::Notice));
            }
            if !branch.is_empty() {
                cell.0.insert(0, (branch.into(), Tone::Dim));
            }
            cell
        },
    },
    Column {
        head: Head::number("busy%", "BUSY%", 5, 1, Unit::Share)
            .help("share of one worker in the last second, the poll in progress included"),
        key: |c, t| Key::number(t.recent(c.now()).map(|r| r.busy)),
        cell: |c, t, _| Cell::known(t.recent(c.now()), |r| quantity::percent(r.busy)),
    },
    Column {
        head: Head::number("poll", "POLL", 7, 1, Unit::Time)
            .help("how long the poll in progress has run (≥: at least)"),
        key: |c, t| Key::time(t.poll_age(c.now())),
        cell: |c, t, _| match t.poll_age(c.now()) {
            Some(age) => Cell::new(poll_age(c.model, age), age_tone(age)),
            None => Cell::default(),
        },
    },
    Column {
        head: Head::number("longest", "LONGEST", 7, 2, Unit::Time)
            .help("the longest poll, the one in progress included"),
        key: |c, t| Key::time(t.longest(c.now())),
        cell: |c, t, _| Cell::known(t.longest(c.now()), quantity::duration),
    },
    Column {
        head: Head::number("polls", "POLLS", 6, 3, Unit::Count).help("polls so far"),
        key: |_, t| Key::count(t.polls()),
        cell: |_, t, _| Cell::known(t.polls(), quantity::count),
    },
    Column {
        head: Head::number("rate", "POLLS/S", 7, 6, Unit::Count)
            .help("polls per second, over the last second"),
        key: |c, t| Key::number(t.recent(c.now()).map(|r| r.polls)),
        cell: |c, t, _| Cell::known(t.recent(c.now()), |r| quantity::short(r.polls)),
    },
    Column {
        head: Head::number("busy", "BUSY", 7, 4, Unit::Time).help("time in polls"),
        key: |c, t| Key::time(t.busy(c.now())),
        cell: |c, t, _| Cell::known(t.busy(c.now()), quantity::duration),
    },
    Column {
        head: Head::number("sched", "SCHED", 7, 6, Unit::Time)
            .help("time spent woken but not polled"),
        key: |c, t| Key::time(t.scheduled(c.now())),
        cell: |c, t, _| Cell::known(t.scheduled(c.now()), quantity::duration),
    },
    Column {
        head: Head::number("idle", "IDLE SINCE", 10, 5, Unit::Time)
            .help("how long ago its last poll ended, while it waits to be woken"),
        key: |c, t| Key::time(t.resting_for(c.now())),
        cell: |c, t, _| match t.resting_for(c.now()) {
            Some(idle) => Cell::new(quantity::duration(idle), Tone::Text),
            None if waits(t) => Cell::unknown(),
            None => Cell::default(),
        },
    },
    Column {
        head: Head::text("waits", "WAITS FOR", 12, 7)
            .growing(1, 40)
            .searched()
            .help("the lock, timer, channel or socket that it waits for, where that is known"),
        key: |c, t| Key::text(waits_for(c.model, t).unwrap_or_default()),
        cell: |c, t, _| match waits_for(c.model, t) {
            Some(what) => Cell::new(what, Tone::Text),
            None if waits(t) => Cell::unknown(),
            None => Cell::default(),
        },
    },
    Column {
        head: Head::number("idle-total", "IDLE TOTAL", 10, 8, Unit::Time)
            .help("time spent waiting to be woken, in total"),
        key: |c, t| Key::time(t.idle(c.now())),
        cell: |c, t, _| Cell::known(t.idle(c.now()), quantity::duration),
    },
    Column {
        head: Head::number("age", "AGE", 7, 6, Unit::Time).help("how long it has lived, or lived"),
        key: |c, t| Key::time(t.total(c.now())),
        cell: |c, t, _| Cell::known(t.total(c.now()), quantity::duration),
    },
    Column {
        head: Head::number("wakes", "WAKES", 6, 7, Unit::Count).help("times that it was woken"),
        key: |_, t| Key::count(t.wakes()),
        cell: |_, t, _| Cell::known(t.wakes(), quantity::count),
    },
    Column {
        head: Head::number("self", "SELF", 5, 7, Unit::Share).help("share of wakes by itself"),
        key: |_, t| Key::number(t.self_wake_share()),
        cell: |_, t, _| Cell::known(t.self_wake_share(), quantity::percent),
    },
    Column {
        head: Head::number("woken", "WOKEN", 7, 9, Unit::Time).help("time since its last wake"),
        key: |c, t| Key::time(t.last_wake().map(|at| c.now().since(at))),
        cell: |c, t, _| Cell::known(t.last_wake(), |at| quantity::duration(c.now().since(at))),
    },
    Column {
        head: Head::text("kind", "KIND", 8, 7).help("task, local, blocking or block-on"),
        key: |_, t| Key::text(kind_word(t.kind)),
        cell: |_, t, _| Cell::text(kind_word(t.kind)),
    },
    Column {
        head: Head::number("size", "SIZE", 8, 10, Unit::Bytes).help("size of the future (≤: at most)"),
        key: |_, t| Key::count(t.size()),
        cell: |c, t, _| Cell::known(t.size(), |size| future_size(c.model, size)),
    },
    Column {
        head: Head::number("tid", "THREAD", 7, 11, Unit::Count)
            .help("thread of the current or last poll"),
        key: |_, t| Key::count(t.tid().map(|tid| tid.0)),
        cell: |_, t, _| Cell::known(t.tid(), |tid| tid.to_string()),
    },
    Column {
        head: Head::number("parent", "PARENT", 6, 12, Unit::Count).help("the task that spawned it"),
        key: |_, t| Key::count(t.parent().map(|id| id.0)),
        cell: |c, t, _| {
            let id = |id| {
                c.model
                    .tasks
                    .get(id)
                    .and_then(Task::tokio_id)
                    .unwrap_or(id.0)
            };
            Cell::known(t.parent(), |p| id(p).to_string())
        },
    },
    Column {
        head: Head::text("loc", "LOCATION", 14, 1)
            .growing(3, 60)
            .easy(20)
            .cut_at_start()
            .searched()
            .help("where it was spawned; from outside, where its async fn stands"),
        key: |c, t| match place(c.model, t) {
            Some(l) => Key::Place(l.file, l.line),
            None => Key::Unknown,
        },
        cell: |c, t, _| Cell::known(place(c.model, t), |l| l.to_string()),
    },
    Column {
        head: Head::text("fields", "FIELDS", 12, 13)
            .growing(1, 60)
            .help("further fields of its span"),
        key: |c, t| Key::text(c.model.text(t.fields)),
        cell: |c, t, _| Cell::text(c.model.text(t.fields)),
    },
];

/// It is neither in a poll nor over, so that it waits for something.
fn waits(task: &Task) -> bool {
    matches!(task.state, TaskState::Idle | TaskState::Unknown) && task.poll_started().is_none()
}

/// Operations that are named before the rest is counted.
const NAMED: usize = 2;

/// What a task waits for: what its await chain ends in, otherwise, as far as the target
/// knows, the operations that are not part of others, or one of tokio's locks. `None`
/// where it waits for nothing, or nobody knows for what.
pub(in crate::app) fn waits_for(model: &Model, task: &Task) -> Option<String> {
    if !waits(task) {
        return None;
    }
    if let Some(wait) = model.waits.task(task.id) {
        return words::in_short(model, wait);
    }
    let ops: Vec<&AsyncOp> = model.resources.ops_of(task.id).collect();
    let outermost = |op: &&&AsyncOp| {
        let parent = op.parent;
        parent.is_none_or(|id| !ops.iter().any(|other| other.id == id))
    };
    let mut names: Vec<&str> = ops
        .iter()
        .filter(outermost)
        .map(|op| model.text(op.source))
        .filter(|name| !name.is_empty())
        .collect();
    let lock = task.lock_wait().map(|since| {
        let age = quantity::duration(model.now.since(since));
        format!("lock or permit, {age}")
    });
    names.dedup();
    match names.len() {
        0 => lock,
        n if n <= NAMED => Some(names.join(", ")),
        n => Some(format!("{}, {} more", names[..NAMED].join(", "), n - NAMED)),
    }
}

/// What stands before a task's name in the tree.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "it is handed to `map` over a reference"
)]
fn branch(depth: &u8) -> String {
    match usize::from(*depth) {
        0 => String::new(),
        depth => format!("{}└ ", " ".repeat((depth - 1).min(8))),
    }
}

/// Sorts and filters by severity, the worst first.
pub(super) fn alarm_key(alarm: Option<Severity>) -> Key<'static> {
    match alarm {
        None => Key::Unknown,
        Some(Severity::Notice) => Key::Rank(2, "notice"),
        Some(Severity::Warning) => Key::Rank(1, "warning"),
        Some(Severity::Critical) => Key::Rank(0, "critical"),
    }
}

/// A severity's glyph.
pub(super) fn alarm_cell(alarm: Option<Severity>) -> Cell {
    match alarm {
        None => Cell::default(),
        Some(Severity::Notice) => Cell::new("◆", Tone::Notice),
        Some(Severity::Warning) => Cell::new("▲", Tone::Warning),
        Some(Severity::Critical) => Cell::new("■", Tone::Critical),
    }
}

fn state_key(state: TaskState) -> Key<'static> {
    let rank = match state {
        TaskState::Running => 4,
        TaskState::Scheduled => 3,
        TaskState::Idle => 2,
        TaskState::Completed => 1,
        TaskState::Unknown => return Key::Unknown,
    };
    Key::Rank(rank, state_word(state))
}

/// The word for a task's state; empty where it is not known.
pub(super) fn state_word(state: TaskState) -> &'static str {
    match state {
        TaskState::Running => "running",
        TaskState::Scheduled => "scheduled",
        TaskState::Idle => "idle",
        TaskState::Completed => "done",
        TaskState::Unknown => "",
    }
}

/// A task's state as glyph and word.
pub fn state_cell(state: TaskState) -> Cell {
    let (text, tone) = match state {
        TaskState::Running => ("● running", Tone::Running),
        TaskState::Scheduled => ("◌ sched.", Tone::Scheduled),
        TaskState::Idle => ("○ idle", Tone::Text),
        TaskState::Completed => ("✓ done", Tone::Dim),
        TaskState::Unknown => (quantity::UNKNOWN, Tone::Dim),
    };
    Cell::new(text, tone)
}

/// The word for a task's kind; empty where it is not known.
pub fn kind_word(kind: TaskKind) -> &'static str {
    match kind {
        TaskKind::Unknown => "",
        TaskKind::Task => "task",
        TaskKind::Local => "local",
        TaskKind::Blocking => "blocking",
        TaskKind::BlockOn => "block-on",
    }
}

/// Where a task was spawned; where that is not known, where its async fn stands.
pub(super) fn place<'a>(model: &'a Model, task: &Task) -> Option<Location<'a>> {
    let spawned = model.location(task.location);
    spawned.or_else(|| model.location(task.future_location))
}

/// What stands for its name is the most likely of several.
fn is_guessed(model: &Model, task: &Task) -> bool {
    task.future_certainty == Certainty::Guessed
        && model.text(task.name).is_empty()
        && model.future_name(task.future).is_some()
}

/// How long a poll has run: from outside at least so long.
pub(super) fn poll_age(model: &Model, age: Duration) -> String {
    let least = if model.reads_tasks() { "≥" } else { "" };
    format!("{least}{}", quantity::duration(age))
}

/// How large a future is: from outside at most so large, as it shares its place with its
/// result.
pub(in crate::app) fn future_size(model: &Model, size: u64) -> String {
    let most = if model.reads_tasks() { "≤" } else { "" };
    format!("{most}{}", quantity::bytes(size))
}

/// How alarming it is that one poll takes this long.
pub(super) fn age_tone(age: Duration) -> Tone {
    match age.as_millis() {
        0..10 => Tone::Text,
        10..100 => Tone::Notice,
        100..1_000 => Tone::Warning,
        _ => Tone::Critical,
    }
}

/// What a task without a name is known by in a table: the function that it runs,
/// where a stack of a task of its location named it, or the end of the path of
/// where it was spawned.
fn nameless(c: &Context<'_>, task: &Task) -> Option<String> {
    if let Some(function) = c.model.task_name(task) {
        return Some(function.to_owned());
    }
    if let Some(function) = task.location.and_then(|at| c.functions.get(&at)) {
        return Some(function.clone());
    }
    let location = place(c.model, task)?.to_string();
    let file = location.rsplit(['/', '\\']).next().unwrap_or_default();
    Some(format!("at {file}"))
}

/// A task's name, or what else it is known by.
pub(in crate::app) fn name_of(c: &Context<'_>, task: &Task) -> String {
    let function = task.location.and_then(|at| c.functions.get(&at));
    match (c.model.task_name(task), place(c.model, task)) {
        (None, Some(location)) => function.cloned().unwrap_or(location.to_string()),
        (None, None) => format!("task {}", task.tokio_id().unwrap_or(task.id.0)),
        (Some(name), _) => name.to_owned(),
    }
}
