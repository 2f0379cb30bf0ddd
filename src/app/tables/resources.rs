//! The table of resources.
//!
//! ```text
//! ─ Resources  12 live · t: who waits · 3 dropped hidden (f) ───────────────────
//!     ID KIND   TYPE          OPS▼     AGE ATTRIBUTES           LOCATION
//! ▶    1 Sync   Semaphore       2   12.3 s permits=0            src/main.rs:12
//! ```

use crate::{
    app::{
        Details, Sort, State, Tone,
        column::{Cell, Column, Context, Head, Key, Unit},
        quantity,
        rows::Request,
    },
    diagnose::Finding,
    model::{Model, Resource, ResourceId},
};

use super::{Table, tasks};

/// Locks, semaphores and timers of the target.
#[derive(Debug)]
pub struct Resources;

impl Table for Resources {
    type Row = Resource;
    type Key = ResourceId;
    type Made = ();

    const COLUMNS: &'static [Column<Resource>] = COLUMNS;
    const SORT: Sort = Sort::descending(COLUMNS, "ops");

    fn title(state: &State) -> (&'static str, String) {
        let resources = &state.model().resources;
        let live = quantity::count(resources.live_count() as u64);
        let mut about = vec![
            format!("{live} live"),
            format!("{}: who waits", state.key_of("group")),
        ];
        let hidden = state.rows.finished_hidden;
        if hidden > 0 {
            let hidden = quantity::count(hidden as u64);
            about.push(format!(
                "{hidden} dropped hidden ({})",
                state.key_of("finished")
            ));
        }
        about.extend(tasks::not_held(state.model(), resources.refused));
        ("Resources", about.join(" · "))
    }

    fn empty(_: &State) -> String {
        "no lock, timer or channel yet; those made before the subscriber started stay unseen"
            .to_owned()
    }

    fn rows<'a>(
        model: &'a Model,
        (): &'a (),
        request: &Request,
    ) -> impl Iterator<Item = &'a Resource> {
        let finished = request.finished;
        let all = model.resources.iter();
        all.filter(move |r| finished || r.is_live())
    }

    fn key(resource: &Resource) -> ResourceId {
        resource.id
    }

    fn row<'a>(model: &'a Model, (): &'a (), id: &ResourceId) -> Option<&'a Resource> {
        model.resources.get(*id)
    }

    fn finding<'a>(_: &'a State, _: &ResourceId) -> Option<&'a Finding> {
        None
    }

    fn open(state: &mut State, id: &ResourceId) {
        state.show_details(Details::Resource(*id));
    }

    fn finished(model: &Model) -> usize {
        model.resources.len() - model.resources.live_count()
    }
}

/// What can be shown of a resource.
const COLUMNS: &[Column<Resource>] = &[
    Column {
        head: Head::number("id", "ID", 6, 2, Unit::Count)
            .searched()
            .help("a number in the order of arrival"),
        key: |_, r| Key::Number(r.number as f64),
        cell: |_, r, _| Cell::new(r.number.to_string(), Tone::Dim),
    },
    Column {
        head: Head::number("parent", "PARENT", 6, 6, Unit::Count)
            .help("the resource that it is a part of"),
        key: |c, r| Key::count(number(c, r.parent)),
        cell: |c, r, _| Cell::known(number(c, r.parent), |n| n.to_string()),
    },
    Column {
        head: Head::text("kind", "KIND", 6, 4)
            .growing(1, 10)
            .searched()
            .help("timer, Sync, ..."),
        key: |c, r| Key::text(c.model.text(r.kind)),
        cell: |c, r, _| Cell::text(c.model.text(r.kind)),
    },
    Column {
        head: Head::text("type", "TYPE", 12, 0)
            .growing(2, 30)
            .searched()
            .help("Mutex, Semaphore, Sleep, ..."),
        key: |c, r| Key::text(c.model.text(r.type_name)),
        cell: |c, r, _| match c.model.text(r.type_name) {
            "" => Cell::unknown(),
            name if r.is_live() => Cell::new(name.to_owned(), Tone::Strong),
            name => Cell::new(name.to_owned(), Tone::Dim),
        },
    },
    Column {
        head: Head::number("ops", "OPS", 5, 1, Unit::Count)
            .help("operations that go on with it: most of them wait"),
        key: |c, r| Key::Number(c.model.resources.live_ops_on(r.id) as f64),
        cell: |c, r, _| match c.model.resources.live_ops_on(r.id) {
            0 => Cell::new("0", Tone::Dim),
            n => Cell::new(quantity::count(n as u64), Tone::Text),
        },
    },
    Column {
        head: Head::number("age", "AGE", 7, 1, Unit::Time).help("how long it has lived, or lived"),
        key: |c, r| Key::time(Some(r.age(c.now()))),
        cell: |c, r, _| Cell::new(quantity::duration(r.age(c.now())), Tone::Text),
    },
    Column {
        head: Head::text("state", "STATE", 6, 7).help("live or dropped"),
        key: |_, r| Key::text(if r.is_live() { "live" } else { "dropped" }),
        cell: |_, r, _| {
            if r.is_live() {
                Cell::new("● live", Tone::Running)
            } else {
                Cell::new("✓ gone", Tone::Dim)
            }
        },
    },
    Column {
        head: Head::text("vis", "VIS", 6, 5).help("public, or inner part of another"),
        key: |_, r| Key::text(visibility(r)),
        cell: |_, r, _| {
            let tone = if r.internal { Tone::Dim } else { Tone::Text };
            Cell::new(visibility(r), tone)
        },
    },
    Column {
        head: Head::text("attrs", "ATTRIBUTES", 14, 1)
            .growing(3, 60)
            .searched()
            .help("its state, as it reports it"),
        key: |c, r| Key::text(c.model.text(r.attributes)),
        cell: |c, r, _| Cell::text(c.model.text(r.attributes)),
    },
    Column {
        head: Head::text("loc", "LOCATION", 14, 1)
            .growing(3, 60)
            .cut_at_start()
            .searched()
            .help("where it was made"),
        key: |c, r| match c.model.location(r.location) {
            Some(l) => Key::Place(l.file, l.line),
            None => Key::Unknown,
        },
        cell: |c, r, _| Cell::known(c.model.location(r.location), |l| l.to_string()),
    },
    Column {
        head: Head::text("target", "TARGET", 12, 8)
            .growing(1, 30)
            .searched()
            .help("the module that reports it"),
        key: |c, r| Key::text(c.model.text(r.target)),
        cell: |c, r, _| Cell::text(c.model.text(r.target)),
    },
];

fn visibility(resource: &Resource) -> &'static str {
    if resource.internal { "inner" } else { "public" }
}

fn number(c: &Context<'_>, id: Option<ResourceId>) -> Option<u64> {
    Some(c.model.resources.get(id?)?.number)
}

/// "Mutex", "Sleep" or what else is known of it; empty where it is gone.
pub fn resource_name(model: &Model, id: ResourceId) -> String {
    match model.resources.get(id) {
        Some(r) if r.type_name.is_some() => model.text(r.type_name).to_owned(),
        Some(r) => format!("resource {}", r.number),
        None => String::new(),
    }
}
