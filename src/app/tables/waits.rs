//! The table of those who wait, by what they wait for.
//!
//! ```text
//! ─ Waits  1,204 idle, 1,204 read · by what they wait for · t: by chain ───────────
//!  ▼TASKS OLDEST WAIT FOR                       AT             HELD BY
//! ▶     2  ≥12 s ⟲ DEADLOCK Mutex audit, Mute… src/bank.rs:2… each other
//!     812 ≥2.1 s permit of Semaphore pool (0 … src/pool.rs:88 5 GET /report, which wait for ...
//! ```

use std::{collections::HashMap, sync::Arc};

use crate::{
    app::{
        Details, Sort, State, Tone,
        column::{Cell, Column, Context, Head, Key, Unit},
        rows::Request,
        waits::{
            WaitGroup, WaitGrouping, WaitKey, below, details_of,
            words::{self, HeldBy},
        },
    },
    diagnose::{Finding, waits::Party},
    model::{Capability, Model},
};

use super::{Below, Table, TableId};

/// Those who wait, by what they wait for.
#[derive(Debug)]
pub struct Waits;

impl Table for Waits {
    type Row = WaitGroup;
    type Key = WaitKey;
    type Made = Groups;

    const COLUMNS: &'static [Column<WaitGroup>] = COLUMNS;
    const SORT: Sort = Sort::descending(COLUMNS, "tasks");
    const KEEPS_ORDER: bool = true;
    const BELOW: Option<Below> = Some(below);

    fn title(state: &State) -> (&'static str, String) {
        ("Waits", about(state, "by what they wait for", "by chain"))
    }

    fn empty(state: &State) -> String {
        empty(state)
    }

    fn make(context: &Context<'_>, _: &Request) -> Groups {
        Groups::new(context.waits.groups(WaitGrouping::Wanted))
    }

    fn rows<'a>(
        _: &'a Model,
        groups: &'a Groups,
        _: &Request,
    ) -> impl Iterator<Item = &'a WaitGroup> {
        groups.list.iter()
    }

    fn key(group: &WaitGroup) -> WaitKey {
        group.key.clone()
    }

    fn row<'a>(_: &'a Model, groups: &'a Groups, key: &WaitKey) -> Option<&'a WaitGroup> {
        groups.get(key)
    }

    /// Who waits for each other comes first.
    fn comes_first(_: &Context<'_>, group: &WaitGroup) -> bool {
        group.in_ring
    }

    fn finding<'a>(state: &'a State, key: &WaitKey) -> Option<&'a Finding> {
        finding(state, state.rows.row::<Self>(state.model(), key)?)
    }

    fn open(state: &mut State, key: &WaitKey) {
        let group = state.rows.row::<Self>(state.model(), key);
        let members = group.map(|group| group.members.clone());
        open(state, key, &members.unwrap_or_default());
    }
}

/// Groups, to be found by what they have in common.
#[derive(Debug)]
pub struct Groups {
    list: Arc<[WaitGroup]>,
    index: HashMap<WaitKey, usize>,
}

impl Default for Groups {
    fn default() -> Self {
        Self::new(Arc::new([]))
    }
}

impl Groups {
    pub(super) fn new(list: Arc<[WaitGroup]>) -> Self {
        let index = list.iter().enumerate();
        Self {
            index: index.map(|(n, group)| (group.key.clone(), n)).collect(),
            list,
        }
    }

    pub(super) fn all(&self) -> &[WaitGroup] {
        &self.list
    }

    pub(super) fn get(&self, key: &WaitKey) -> Option<&WaitGroup> {
        self.list.get(*self.index.get(key)?)
    }
}

/// How much was read, and how it is laid out.
pub(super) fn about(state: &State, how: &str, next: &str) -> String {
    let how = format!("{how} · {}: {next}", state.key_of("group"));
    match words::read(state.model()) {
        Some(read) => format!("{read} · {how}"),
        None => how,
    }
}

/// Why nobody waits.
pub(super) fn empty(state: &State) -> String {
    let model = state.model();
    let Some(read) = model.waits.read() else {
        return match model.session.missing(Capability::Waits) {
            Some(why) => format!("no chain is known: {why}"),
            None => "no chain was read yet".to_owned(),
        };
    };
    match (read.idle, model.text(read.without_reason)) {
        (0, _) => "no task is idle".to_owned(),
        (idle, "") if !read.complete => {
            format!("no chain of {} idle tasks was read yet", words::whole(idle))
        }
        (_, "") => "no chain of a task is known".to_owned(),
        (idle, why) => format!(
            "no chain of {} idle tasks is known: {why}",
            words::whole(idle)
        ),
    }
}

/// The finding about one of a group.
pub(super) fn finding<'a>(state: &'a State, group: &WaitGroup) -> Option<&'a Finding> {
    let tasks = group.members.iter().filter_map(|member| match member {
        Party::Task(id) => Some(*id),
        Party::Thread(_) => None,
    });
    // Of many the first will do.
    tasks.take(100).find_map(|id| state.finding_of_task(id))
}

/// The members of a group, the details of one.
pub(super) fn open(state: &mut State, key: &WaitKey, members: &[Party]) {
    match members {
        [] => state.notify("they wait no longer"),
        [one] => open_party(state, *one),
        _ => {
            state.cursors.remove(&Some(TableId::Waiting));
            state.opened_wait = Some(key.clone());
        }
    }
}

/// The details of one who waits.
pub(super) fn open_party(state: &mut State, party: Party) {
    let details: Option<Details> = details_of(state.model(), party);
    match details {
        Some(details) => state.show_details(details),
        None => state.notify("it waits no longer"),
    }
}

/// How many wait so.
pub(super) const TASKS: Column<WaitGroup> = Column {
    head: Head::number("tasks", "TASKS", 6, 0, Unit::Count)
        .help("how many tasks, or threads, wait so"),
    key: |_, g| Key::count(Some(g.members.len() as u64)),
    cell: |_, g, _| Cell::new(words::whole(g.members.len() as u64), Tone::Strong),
};

/// How long the one has waited that has done so longest.
pub(super) const OLDEST: Column<WaitGroup> = Column {
    head: Head::number("oldest", "OLDEST", 7, 0, Unit::Time)
        .help("how long the one has waited that has done so longest (≥: at least)"),
    key: |c, g| Key::time(Some(c.now().since(g.since.at))),
    cell: |c, g, _| match words::waited(c.model, g.since) {
        Some(text) => Cell::new(text, Tone::Text),
        None => Cell::unknown(),
    },
};

/// What they wait for.
pub(super) const WAIT: Column<WaitGroup> = Column {
    head: Head::text("wait", "WAIT FOR", 22, 0)
        .growing(4, 64)
        .easy(44)
        .searched()
        .help("what they wait for; ⟲: they wait for each other"),
    key: |c, g| Key::text(plain_wants(c, g)),
    cell: |c, g, _| {
        let text = words::group_wants(c, g);
        marked(deadlock(c, g), &text)
    },
};

/// What is waited for, behind the mark of a ring.
pub(super) fn marked(mark: Option<&'static str>, text: &str) -> Cell {
    match mark {
        Some(mark) => Cell(vec![
            (mark.into(), Tone::Critical),
            (text.to_owned().into(), Tone::Text),
        ]),
        None => Cell::text(text),
    }
}

/// What stands before what one wants who is in a ring.
pub(super) const IN_RING: &str = "⟲ ";

/// What stands before what those want who wait for each other.
fn deadlock(c: &Context<'_>, group: &WaitGroup) -> Option<&'static str> {
    Some(match words::ring_of(c, group) {
        Some(ring) if ring.is_certain => "⟲ DEADLOCK ",
        Some(_) => "⟲ DEADLOCK? ",
        None if group.in_ring => IN_RING,
        None => return None,
    })
}

fn plain_wants(c: &Context<'_>, group: &WaitGroup) -> String {
    let word = deadlock(c, group).unwrap_or_default();
    format!("{word}{}", words::group_wants(c, group))
}

/// Where they wait.
pub(super) const AT: Column<WaitGroup> = Column {
    head: Head::text("at", "AT", 14, 1)
        .growing(2, 44)
        .easy(24)
        .cut_at_start()
        .searched()
        .help("the line of the application's own code at which they wait"),
    key: |c, g| Key::text(words::group_place(c, g)),
    cell: |c, g, _| Cell::text(&words::group_place(c, g)),
};

/// Who could end it.
pub(super) const HELD: Column<WaitGroup> = Column {
    head: Head::text("held", "HELD BY", 14, 1)
        .growing(4, 110)
        .easy(50)
        .searched()
        .help("who could end it, and what that one waits for (~: probably)"),
    key: |c, g| {
        let held = words::group_held_by(c, g);
        Key::text(held.map_or(String::new(), HeldBy::in_column))
    },
    cell: |c, g, _| held_cell(words::group_held_by(c, g)),
};

/// Who could end a wait, as a cell.
pub(super) fn held_cell(held: Option<HeldBy>) -> Cell {
    match held {
        Some(held) if held.is_certain => Cell::new(held.in_column(), Tone::Text),
        Some(held) => Cell(vec![
            ("~".into(), Tone::Notice),
            (held.in_column().into(), Tone::Text),
        ]),
        None => Cell::unknown(),
    }
}

/// What tasks wait so.
pub(super) const FUTURE: Column<WaitGroup> = Column {
    head: Head::text("future", "FUTURE", 16, 6)
        .growing(2, 44)
        .searched()
        .help("the tasks that wait so; of different ones the oldest"),
    key: |c, g| Key::text(words::name(c, g.oldest)),
    cell: |c, g, _| {
        let mut text = words::name(c, g.oldest);
        if g.mixed {
            text.push_str(" and others");
        }
        Cell::text(&text)
    },
};

/// The futures that they are in.
pub(super) const CHAIN: Column<WaitGroup> = Column {
    head: Head::text("chain", "CHAIN", 20, 7)
        .growing(3, 90)
        .searched()
        .help("the futures of the application's own, each awaiting the next; branches in brackets, with & where all are needed"),
    key: |c, g| Key::text(words::own_chain(c, g.oldest)),
    cell: |c, g, _| Cell::text(&words::own_chain(c, g.oldest)),
};

/// What can be shown of a group.
const COLUMNS: &[Column<WaitGroup>] = &[TASKS, OLDEST, WAIT, AT, HELD, FUTURE, CHAIN];
