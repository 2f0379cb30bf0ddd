//! The table of those who wait, one by one: all of them, or those of a group.
//!
//! ```text
//! ─ Waiting  812 that wait for permit of Semaphore pool (0 of 5) · Esc: back ──────
//!     ID TASK               WAITED▼ WAIT FOR             AT             HELD BY
//! ▶   12 shop::handle        ≥2.1 s permit of Semapho… src/pool.rs:88 5 GET /report, ...
//! ```

use crate::{
    app::{
        Sort, State, Tone,
        column::{Cell, Column, Context, Head, Key, Unit},
        rows::Request,
        waits::{self as waiting, WaitGrouping, WaitKey, words},
    },
    diagnose::{Finding, waits::Party},
    model::{Model, Task},
};

use super::{Table, tasks, waits};

/// Those who wait, one by one.
#[derive(Debug)]
pub struct Waiting;

impl Table for Waiting {
    type Row = Waiter;
    type Key = Party;
    type Made = Vec<Waiter>;

    const COLUMNS: &'static [Column<Waiter>] = COLUMNS;
    const SORT: Sort = Sort::descending(COLUMNS, "waited");

    fn title(state: &State) -> (&'static str, String) {
        match &state.opened_wait {
            None => (
                "Waits",
                waits::about(state, "one by one", "by what they wait for"),
            ),
            Some(key) => {
                let (group, back) = (group_name(state, key), state.key_of("back"));
                ("Waits", format!("{group} · {back}: all"))
            }
        }
    }

    fn empty(state: &State) -> String {
        match &state.opened_wait {
            Some(_) => {
                let back = state.key_of("back");
                format!("they wait no longer; {back} shows the others")
            }
            None => waits::empty(state),
        }
    }

    fn make(context: &Context<'_>, request: &Request) -> Vec<Waiter> {
        let Some(key) = &request.waits else {
            let all = waiting::parties(context.model);
            return all.map(|(party, _)| Waiter(party)).collect();
        };
        let groups = context.waits.groups(grouping(key));
        let group = groups.iter().find(|group| group.key == *key);
        let members = group.map_or(&[][..], |group| &group.members);
        members.iter().copied().map(Waiter).collect()
    }

    fn rows<'a>(
        _: &'a Model,
        waiters: &'a Vec<Waiter>,
        _: &Request,
    ) -> impl Iterator<Item = &'a Waiter> {
        waiters.iter()
    }

    fn key(waiter: &Waiter) -> Party {
        waiter.0
    }

    fn row<'a>(_: &'a Model, waiters: &'a Vec<Waiter>, key: &Party) -> Option<&'a Waiter> {
        // They come in the order of their ids.
        let at = waiters.binary_search_by_key(key, |waiter| waiter.0);
        waiters.get(at.ok()?)
    }

    /// Who waits for each other comes first.
    fn comes_first(context: &Context<'_>, waiter: &Waiter) -> bool {
        context.waits.in_ring(waiter.0)
    }

    fn finding<'a>(state: &'a State, party: &Party) -> Option<&'a Finding> {
        match party {
            Party::Task(id) => state.finding_of_task(*id),
            Party::Thread(tid) => state.finding_of_stall(state.model().stalls.on_thread(*tid)?.id),
        }
    }

    fn open(state: &mut State, party: &Party) {
        waits::open_party(state, *party);
    }

    /// The groups again.
    fn back(state: &mut State) -> bool {
        state.opened_wait.take().is_some()
    }
}

/// One who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiter(Party);

/// By what the group was made whose key this is.
fn grouping(key: &WaitKey) -> WaitGrouping {
    match key {
        WaitKey::Ring(_) | WaitKey::For(_) => WaitGrouping::Wanted,
        WaitKey::Chain(_) | WaitKey::Function(..) => WaitGrouping::Chain,
    }
}

/// Who the members of a group are: "10 that wait for permit of Semaphore pool (0 free)".
fn group_name(state: &State, key: &WaitKey) -> String {
    let context = state.context();
    let groups = context.waits.groups(grouping(key));
    let Some(group) = groups.iter().find(|group| group.key == *key) else {
        return "none any more".to_owned();
    };
    let count = words::whole(group.members.len() as u64);
    match key {
        WaitKey::Ring(_) => format!("⟲ {count} that wait for each other"),
        WaitKey::For(_) => {
            format!(
                "{count} that wait for {}",
                words::group_wants(&context, group)
            )
        }
        WaitKey::Chain(_) | WaitKey::Function(..) => {
            format!("{count} in {}", words::own_chain(&context, group.oldest))
        }
    }
}

/// What can be shown of one who waits.
const COLUMNS: &[Column<Waiter>] = &[
    Column {
        head: Head::text("warn", "!", 1, 0).help("a finding is about this task"),
        key: |c, w| tasks::alarm_key(alarm(c, w)),
        cell: |c, w, _| tasks::alarm_cell(alarm(c, w)),
    },
    Column {
        head: Head::number("id", "ID", 6, 1, Unit::Count)
            .searched()
            .help("the number that tokio gave the task; of a thread the system's"),
        key: |c, w| Key::Number(number(c, *w) as f64),
        cell: |c, w, _| Cell::new(number(c, *w).to_string(), Tone::Dim),
    },
    Column {
        head: Head::text("name", "TASK", 14, 0)
            .growing(2, 48)
            .searched()
            .help("the task's name, or what it runs; or the thread"),
        key: |c, w| Key::text(words::name(c, w.0)),
        cell: |c, w, _| Cell::new(words::name(c, w.0), Tone::Strong),
    },
    Column {
        head: Head::number("waited", "WAITED", 7, 0, Unit::Time)
            .help("for how long it has waited (≥: at least)"),
        key: |c, w| {
            let since = waiting::since(c.model, w.0);
            Key::time(since.map(|since| c.now().since(since.at)))
        },
        cell: |c, w, _| {
            let since = waiting::since(c.model, w.0);
            Cell::known(
                since.and_then(|since| words::waited(c.model, since)),
                |text| text,
            )
        },
    },
    Column {
        head: Head::text("wait", "WAIT FOR", 20, 0)
            .growing(3, 64)
            .easy(40)
            .searched()
            .help("what it waits for; ⟲: one that waits for it as well"),
        key: |c, w| Key::text(words::wants(c.model, w.0)),
        cell: |c, w, _| {
            let mark = c.waits.in_ring(w.0).then_some(waits::IN_RING);
            waits::marked(mark, &words::wants(c.model, w.0))
        },
    },
    Column {
        head: Head::text("at", "AT", 14, 2)
            .growing(2, 44)
            .cut_at_start()
            .searched()
            .help("the line of the application's own code at which it waits"),
        key: |c, w| Key::text(words::place(c, w.0)),
        cell: |c, w, _| Cell::text(&words::place(c, w.0)),
    },
    Column {
        head: Head::text("held", "HELD BY", 14, 3)
            .growing(3, 110)
            .easy(40)
            .searched()
            .help("who could end it, and what that one waits for (~: probably)"),
        key: |c, w| {
            let held = words::held_by(c, w.0);
            Key::text(held.map_or(String::new(), words::HeldBy::in_column))
        },
        cell: |c, w, _| waits::held_cell(words::held_by(c, w.0)),
    },
    Column {
        head: Head::text("chain", "CHAIN", 20, 7)
            .growing(3, 90)
            .searched()
            .help("the futures of the application's own, each awaiting the next"),
        key: |c, w| Key::text(words::own_chain(c, w.0)),
        cell: |c, w, _| Cell::text(&words::own_chain(c, w.0)),
    },
];

fn number(c: &Context<'_>, waiter: Waiter) -> u64 {
    match waiter.0 {
        Party::Task(id) => {
            let task = c.model.tasks.get(id);
            task.and_then(Task::tokio_id).unwrap_or(id.0)
        }
        Party::Thread(tid) => tid.0,
    }
}

fn alarm(c: &Context<'_>, waiter: &Waiter) -> Option<crate::diagnose::Severity> {
    match waiter.0 {
        Party::Task(id) => c.alarms.get(&id).copied(),
        Party::Thread(_) => None,
    }
}
