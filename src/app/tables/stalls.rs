//! The table of stalls, one by one.

use crate::{
    app::{
        Details, Sort, State, Tone,
        column::{Cell, Column, Context, Head, Key, Unit},
        quantity,
        rows::Request,
    },
    diagnose::{Finding, cause_word},
    model::{Capability, Cause, Culprit, Model, Stall, StallId},
};

use super::{Table, close_group, tasks, workers};

/// Polls that took too long, one by one, live ones first.
#[derive(Debug)]
pub struct Stalls;

impl Table for Stalls {
    type Row = Stall;
    type Key = StallId;
    type Made = ();

    const COLUMNS: &'static [Column<Stall>] = COLUMNS;
    const SORT: Sort = Sort::ascending(COLUMNS, "ago");

    fn title(state: &State) -> (&'static str, String) {
        let about = format!("{} · {}: by culprit", counts(state), state.key_of("group"));
        if state.model().session.core_dump {
            ("Polls", about)
        } else {
            ("Stalls", about)
        }
    }

    fn empty(state: &State) -> String {
        none_seen(state)
    }

    fn rows<'a>(model: &'a Model, (): &'a (), _: &Request) -> impl Iterator<Item = &'a Stall> {
        model.stalls.iter()
    }

    fn key(stall: &Stall) -> StallId {
        stall.id
    }

    fn row<'a>(model: &'a Model, (): &'a (), id: &StallId) -> Option<&'a Stall> {
        model.stalls.get(*id)
    }

    fn finding<'a>(state: &'a State, id: &StallId) -> Option<&'a Finding> {
        state.finding_of_stall(*id)
    }

    fn open(state: &mut State, id: &StallId) {
        state.show_details(Details::Stall(*id));
    }

    fn fit(heads: &mut [Head], model: &Model) {
        for head in heads {
            head.unknown = model.session.core_dump && head.id == "length";
        }
    }

    fn back(state: &mut State) -> bool {
        let opened = state.opened_group.is_some();
        if opened {
            close_group(state);
        }
        opened
    }
}

/// What stands for when one ended that goes on: of a core dump that it did so then.
pub(super) fn live(c: &Context<'_>) -> Cell {
    if c.model.session.core_dump {
        Cell::new("● then", Tone::Text)
    } else {
        Cell::new("■ LIVE", Tone::Critical)
    }
}

/// How many stalls there are.
pub(super) fn counts(state: &State) -> String {
    let stalls = &state.model().stalls;
    let (live, ended) = (stalls.live().count() as u64, stalls.total_ended);
    if state.model().session.core_dump {
        return format!("{} at that moment", quantity::count(live));
    }
    format!(
        "{} live · {} ended",
        quantity::count(live),
        quantity::count(ended)
    )
}

/// Why there is no stall.
pub(super) fn none_seen(state: &State) -> String {
    let session = &state.model().session;
    let threshold = quantity::duration(session.stall_threshold);
    if let Some(reason) = session.missing(Capability::Stalls) {
        return format!("no stall seen; only those caught in the act would show: {reason}");
    }
    let text = format!("no poll ran longer than {threshold}");
    let model = state.model();
    match model.since.filter(|_| model.is_outside()) {
        Some(since) => {
            let ago = quantity::duration(model.now.since(since));
            format!("{text} since looptop came, {ago} ago")
        }
        None => text,
    }
}

/// What can be shown of a stall.
const COLUMNS: &[Column<Stall>] = &[
    Column {
        head: Head::text("ago", "ENDED", 11, 0)
            .unit(Unit::Time)
            .help("live, or how long ago it ended; live ones come first"),
        // The log's own order is live first, then the newest.
        key: |c, s| {
            Key::Number(if s.live {
                -1.0 - s.age(c.now()).as_secs_f64()
            } else {
                c.now().since(s.end(c.now())).as_secs_f64()
            })
        },
        cell: |c, s, _| {
            if s.live {
                live(c)
            } else {
                let ago = quantity::duration(c.now().since(s.end(c.now())));
                Cell::new(format!("{ago} ago"), Tone::Dim)
            }
        },
    },
    Column {
        head: Head::number("length", "LENGTH", 7, 0, Unit::Time)
            .help("how long it lasts or lasted"),
        key: |c, s| Key::time(Some(s.age(c.now()))),
        cell: |c, s, _| {
            let age = s.age(c.now());
            Cell::new(quantity::duration(age), tasks::age_tone(age))
        },
    },
    Column {
        head: Head::text("worker", "WORKER", 6, 5)
            .growing(1, 12)
            .help("the worker that it holds"),
        key: |_, s| {
            Key::number(
                s.worker
                    .map(|w| f64::from(w.runtime.0) * 65_536.0 + f64::from(w.index)),
            )
        },
        cell: |c, s, _| Cell::known(s.worker, |w| workers::worker_name(c.model, w)),
    },
    Column {
        head: Head::text("cause", "CAUSE", 14, 1)
            .growing(1, 40)
            .searched()
            .help("computing, blocked in a system call, waiting for a lock, starved by the host"),
        key: |c, s| Key::text(cause_text(c.model, s)),
        cell: |c, s, _| match s.cause {
            Cause::Unknown => Cell::unknown(),
            _ => Cell::text(&cause_text(c.model, s)),
        },
    },
    Column {
        head: Head::text("task", "TASK", 12, 1)
            .growing(1, 30)
            .searched()
            .help("the task in poll"),
        key: |c, s| Key::text(task_name(c, s)),
        cell: |c, s, _| match task_name(c, s) {
            name if name.is_empty() => Cell::unknown(),
            name => Cell::new(name.into_owned(), Tone::Strong),
        },
    },
    Column {
        head: Head::text("fn", "FUNCTION", 14, 2)
            .growing(2, 40)
            .cut_at_start()
            .searched()
            .help("the culprit's function, from the stack"),
        key: |_, s| Key::text(s.culprit().map_or("", |c| &c.function)),
        cell: |_, s, _| Cell::text(s.culprit().map_or("", |c| &c.function)),
    },
    Column {
        head: Head::text("loc", "LOCATION", 16, 1)
            .growing(3, 60)
            .cut_at_start()
            .searched()
            .help("the blocking line where a stack names it, otherwise the spawn location, or where the async code is written"),
        key: |c, s| Key::text(location(c.model, s)),
        cell: |c, s, _| Cell::text(&location(c.model, s)),
    },
    Column {
        head: Head::number("cpu", "CPU", 7, 6, Unit::Time).help("CPU time within it"),
        key: |_, s| Key::time(s.cpu),
        cell: |_, s, _| Cell::known(s.cpu, quantity::duration),
    },
    Column {
        head: Head::number("runq", "NO CPU", 7, 7, Unit::Time)
            .help("time in which it could have run, but the host gave it no CPU"),
        key: |_, s| Key::time(s.run_queue),
        cell: |_, s, _| Cell::known(s.run_queue, quantity::duration),
    },
    Column {
        head: Head::number("tid", "THREAD", 7, 8, Unit::Count).help("its thread"),
        key: |_, s| Key::count(s.tid.map(|tid| tid.0)),
        cell: |_, s, _| Cell::known(s.tid, |tid| tid.to_string()),
    },
];

/// The cause to the call: "sleeping in nanosleep", "system call read /tmp/fifo".
pub fn cause_text(model: &Model, stall: &Stall) -> String {
    let (call, object) = (model.text(stall.syscall), model.text(stall.object));
    let mut text = cause_word(stall.cause).to_owned();
    let names_call = matches!(
        stall.cause,
        Cause::SystemCall | Cause::Sleeping | Cause::Lock
    );
    if names_call && !call.is_empty() {
        text = match stall.cause {
            Cause::SystemCall => format!("in {call}"),
            _ => format!("{text} in {call}"),
        };
    }
    if names_call && !object.is_empty() {
        text = format!("{text} ({object})");
    }
    text
}

/// `file:line` of the culprit, or of the spawn location, or where its async code is
/// written; empty where unknown.
pub(super) fn location(model: &Model, stall: &Stall) -> String {
    let culprit = stall.culprit();
    culprit
        .and_then(Culprit::location)
        .or_else(|| model.location(stall.location).map(|l| l.to_string()))
        .or_else(|| culprit?.definition())
        .unwrap_or_default()
}

fn task_name<'a>(c: &Context<'a>, stall: &'a Stall) -> std::borrow::Cow<'a, str> {
    let name = c.model.text(stall.name);
    if !name.is_empty() {
        return name.into();
    }
    let task = stall.task.and_then(|id| c.model.tasks.get(id));
    match task {
        Some(task) => tasks::name_of(c, task).into(),
        // It ended before anybody listed it, but its stack says what it ran.
        None => stall.future().unwrap_or_default().into(),
    }
}
