//! The table of operations on resources: who waits for what.

use crate::{
    app::{
        Details, Sort, State, Tone,
        column::{Cell, Column, Context, Head, Key, Unit},
        quantity,
        rows::Request,
    },
    diagnose::Finding,
    model::{AsyncOp, AsyncOpId, Model, Resource},
};

use super::{Table, resources::resource_name, tasks};

/// Who waits for what.
#[derive(Debug)]
pub struct Ops;

impl Table for Ops {
    type Row = AsyncOp;
    type Key = AsyncOpId;
    type Made = ();

    const COLUMNS: &'static [Column<AsyncOp>] = COLUMNS;
    const SORT: Sort = Sort::descending(COLUMNS, "total");

    fn title(state: &State) -> (&'static str, String) {
        let resources = &state.model().resources;
        let live = quantity::plural(resources.live_count() as u64, "resource");
        let mut about = vec![live, "t: the resources".to_owned()];
        about.extend(tasks::not_held(state.model(), resources.refused));
        ("Who waits for what", about.join(" · "))
    }

    fn empty(_: &State) -> String {
        "no task waits for a resource now".to_owned()
    }

    fn rows<'a>(
        model: &'a Model,
        (): &'a (),
        request: &Request,
    ) -> impl Iterator<Item = &'a AsyncOp> {
        let finished = request.finished;
        let all = model.resources.ops();
        all.filter(move |op| finished || op.is_live())
    }

    fn key(op: &AsyncOp) -> AsyncOpId {
        op.id
    }

    fn row<'a>(model: &'a Model, (): &'a (), id: &AsyncOpId) -> Option<&'a AsyncOp> {
        model.resources.op(*id)
    }

    fn finding<'a>(state: &'a State, id: &AsyncOpId) -> Option<&'a Finding> {
        state.finding_of_task(state.model().resources.op(*id)?.task?)
    }

    fn open(state: &mut State, id: &AsyncOpId) {
        let model = state.model();
        let task = model.resources.op(*id).and_then(|op| op.task);
        let held = task.filter(|id| model.tasks.get(*id).is_some());
        let details = held.map(Details::Task);
        match details {
            Some(details) => state.show_details(details),
            None => state.notify("no task is known that waits for this"),
        }
    }
}

/// What can be shown of an operation.
const COLUMNS: &[Column<AsyncOp>] = &[
    Column {
        head: Head::number("id", "ID", 6, 4, Unit::Count)
            .searched()
            .help("a number in the order of arrival"),
        key: |_, o| Key::Number(o.number as f64),
        cell: |_, o, _| Cell::new(o.number.to_string(), Tone::Dim),
    },
    Column {
        head: Head::number("parent", "PARENT", 6, 8, Unit::Count)
            .help("the operation that it is a part of"),
        key: |c, o| Key::count(parent(c, o)),
        cell: |c, o, _| Cell::known(parent(c, o), |n| n.to_string()),
    },
    Column {
        head: Head::text("task", "TASK", 12, 0)
            .growing(2, 32)
            .searched()
            .help("the task that waits; Enter opens it"),
        key: |c, o| Key::text(task_name(c, o)),
        cell: |c, o, _| match task_name(c, o) {
            name if name.is_empty() => Cell::unknown(),
            name if o.is_live() => Cell::new(name, Tone::Strong),
            name => Cell::new(name, Tone::Dim),
        },
    },
    Column {
        head: Head::text("on", "ON", 10, 0)
            .growing(1, 20)
            .searched()
            .help("the resource: Mutex, Sleep, ..."),
        key: |c, o| Key::text(on(c, o)),
        cell: |c, o, _| Cell::text(&on(c, o)),
    },
    Column {
        head: Head::text("source", "OPERATION", 14, 1)
            .growing(1, 30)
            .searched()
            .help("Mutex::lock, Semaphore::acquire, ..."),
        key: |c, o| Key::text(c.model.text(o.source)),
        cell: |c, o, _| Cell::text(c.model.text(o.source)),
    },
    Column {
        head: Head::number("total", "TOTAL", 7, 0, Unit::Time)
            .help("how long it goes on, or went on"),
        key: |c, o| Key::time(Some(o.age(c.now()))),
        cell: |c, o, _| Cell::new(quantity::duration(o.age(c.now())), Tone::Text),
    },
    Column {
        head: Head::number("busy", "BUSY", 7, 5, Unit::Time).help("time in its polls"),
        key: |c, o| Key::time(Some(o.busy(c.now()))),
        cell: |c, o, _| Cell::new(quantity::duration(o.busy(c.now())), Tone::Text),
    },
    Column {
        head: Head::number("idle", "IDLE", 7, 4, Unit::Time).help("time that it waited"),
        key: |c, o| Key::time(Some(o.idle(c.now()))),
        cell: |c, o, _| Cell::new(quantity::duration(o.idle(c.now())), Tone::Text),
    },
    Column {
        head: Head::number("polls", "POLLS", 6, 3, Unit::Count).help("polls so far"),
        key: |_, o| Key::count(Some(o.polls)),
        cell: |_, o, _| Cell::new(quantity::count(o.polls), Tone::Text),
    },
    Column {
        head: Head::text("attrs", "ATTRIBUTES", 14, 2)
            .growing(2, 60)
            .searched()
            .help("its state, as it reports it"),
        key: |c, o| Key::text(c.model.text(o.attributes)),
        cell: |c, o, _| Cell::text(c.model.text(o.attributes)),
    },
    Column {
        head: Head::text("loc", "RESOURCE MADE AT", 16, 6)
            .growing(2, 60)
            .cut_at_start()
            .searched()
            .help("where the resource was made"),
        key: |c, o| match resource(c, o).and_then(|r| c.model.location(r.location)) {
            Some(l) => Key::Place(l.file, l.line),
            None => Key::Unknown,
        },
        cell: |c, o, _| {
            let location = resource(c, o).and_then(|r| c.model.location(r.location));
            Cell::known(location, |l| l.to_string())
        },
    },
];

fn resource<'a>(c: &Context<'a>, op: &AsyncOp) -> Option<&'a Resource> {
    c.model.resources.get(op.resource?)
}

fn parent(c: &Context<'_>, op: &AsyncOp) -> Option<u64> {
    Some(c.model.resources.op(op.parent?)?.number)
}

fn on(c: &Context<'_>, op: &AsyncOp) -> String {
    op.resource
        .map_or_else(String::new, |id| resource_name(c.model, id))
}

/// The waiting task's name; empty where none is known.
fn task_name(c: &Context<'_>, op: &AsyncOp) -> String {
    let task = op.task.and_then(|id| c.model.tasks.get(id));
    task.map_or_else(String::new, |task| tasks::name_of(c, task))
}
