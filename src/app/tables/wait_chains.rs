//! The table of those who wait, by their await chain.
//!
//! ```text
//! ─ Waits  1,204 idle, 1,204 read · by chain · t: one by one ──────────────────────
//!  ▼TASKS OLDEST CHAIN                          WAIT FOR              HELD BY
//! ▶   812 ≥2.1 s handle > pool::get             permit of Semaphore … 5 GET /report, which ...
//! ```

use crate::{
    app::{
        Sort, State,
        column::{Column, Context, Head},
        rows::Request,
        waits::{self as waiting, WaitGroup, WaitGrouping, WaitKey},
    },
    diagnose::Finding,
    model::Model,
};

use super::{
    Below, Table,
    waits::{self, Groups},
};

/// Those who wait, by their await chain.
#[derive(Debug)]
pub struct WaitChains;

impl Table for WaitChains {
    type Row = WaitGroup;
    type Key = WaitKey;
    type Made = Groups;

    const COLUMNS: &'static [Column<WaitGroup>] = COLUMNS;
    const SORT: Sort = Sort::descending(COLUMNS, "tasks");
    const KEEPS_ORDER: bool = true;
    const BELOW: Option<Below> = Some(waiting::below);

    fn title(state: &State) -> (&'static str, String) {
        ("Waits", waits::about(state, "by chain", "one by one"))
    }

    fn empty(state: &State) -> String {
        waits::empty(state)
    }

    fn make(context: &Context<'_>, _: &Request) -> Groups {
        Groups::new(context.waits.groups(WaitGrouping::Chain))
    }

    fn rows<'a>(
        _: &'a Model,
        groups: &'a Groups,
        _: &Request,
    ) -> impl Iterator<Item = &'a WaitGroup> {
        groups.all().iter()
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
        waits::finding(state, state.rows.row::<Self>(state.model(), key)?)
    }

    fn open(state: &mut State, key: &WaitKey) {
        let group = state.rows.row::<Self>(state.model(), key);
        let members = group.map(|group| group.members.clone());
        waits::open(state, key, &members.unwrap_or_default());
    }
}

/// What can be shown of a group: its chain first.
const COLUMNS: &[Column<WaitGroup>] = &[
    waits::TASKS,
    waits::OLDEST,
    Column {
        head: Head {
            width: 24,
            easy: 40,
            priority: 0,
            grow: 4,
            ..waits::CHAIN.head
        },
        ..waits::CHAIN
    },
    Column {
        head: Head {
            width: 16,
            priority: 1,
            ..waits::WAIT.head
        },
        ..waits::WAIT
    },
    Column {
        head: Head {
            priority: 5,
            ..waits::AT.head
        },
        ..waits::AT
    },
    waits::HELD,
    waits::FUTURE,
];
