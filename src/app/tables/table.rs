//! What a table is: [`Table`] for the file that describes one, [`AnyTable`] for
//! everybody who handles a table without knowing what its rows are.

use std::{cmp::Ordering, collections::HashMap, fmt::Debug};

use crate::{
    app::{
        Head, RowKey, Sort, State,
        column::{Cell, Column, Context, Key, Placed},
        page::Line,
        rows::{FIRST_ROWS, Request, Selection},
    },
    diagnose::Finding,
    model::{Model, TaskId},
};

use super::{Made, TableId};

/// How deep the row of a task is in a tree.
pub type Depths = HashMap<TaskId, u8>;

/// What stands below a table about the row under the cursor, in so many columns:
/// a title and lines; nothing where the title is empty.
pub type Below = fn(&State, usize) -> (String, Vec<Line>);

/// A table: what its rows are, how they are shown, and what Enter does on one.
pub trait Table: Sync + 'static {
    /// What a row shows.
    type Row: 'static;
    /// Names a row; the cursor follows it wherever the row goes.
    type Key: Debug + Clone + Ord;
    /// What the rows are read from besides the model, such as groups with totals;
    /// `()` where they are in the model.
    type Made: Debug + Default;

    /// What can be shown of a row.
    const COLUMNS: &'static [Column<Self::Row>];
    /// How it is sorted until the user chooses.
    const SORT: Sort;
    /// How it is sorted where no row of a session has what that is by.
    const OTHERWISE: Sort = Self::SORT;
    /// Rows that are equal keep the order in which they come, rather than that of their
    /// keys.
    const KEEPS_ORDER: bool = false;
    /// What stands below it; a table without it fills the screen.
    const BELOW: Option<Below> = None;

    /// Its name, and what the rule above it says besides.
    fn title(state: &State) -> (&'static str, String);

    /// Why it has no row, as a sentence.
    fn empty(state: &State) -> String;

    /// Makes what the rows are read from.
    fn make(_context: &Context<'_>, _request: &Request) -> Self::Made {
        Self::Made::default()
    }

    /// The rows, before they are filtered and sorted.
    fn rows<'a>(
        model: &'a Model,
        made: &'a Self::Made,
        request: &Request,
    ) -> impl Iterator<Item = &'a Self::Row>;

    /// The name of a row.
    fn key(row: &Self::Row) -> Self::Key;

    /// The row of that name; `None` where it is gone.
    fn row<'a>(model: &'a Model, made: &'a Self::Made, key: &Self::Key) -> Option<&'a Self::Row>;

    /// It comes before all other rows, however they are sorted.
    fn comes_first(_context: &Context<'_>, _row: &Self::Row) -> bool {
        false
    }

    /// The finding that a row is about.
    fn finding<'a>(state: &'a State, key: &Self::Key) -> Option<&'a Finding>;

    /// Enter on a row.
    fn open(state: &mut State, key: &Self::Key);

    /// Esc in the table: leaves what Enter opened. `false` where there is nothing
    /// to leave, so that Esc clears the filter.
    fn back(_state: &mut State) -> bool {
        false
    }

    /// Things that are over, which [`Self::rows`] leaves out unless
    /// [`Request::finished`] is set.
    fn finished(_model: &Model) -> usize {
        0
    }

    /// Things that are looked at to make so many rows: what that costs.
    fn looked_at(_model: &Model, rows: usize) -> usize {
        rows
    }

    /// Puts sorted rows in another order, such as that of a tree, and says how deep
    /// each is in it.
    fn arrange(
        _model: &Model,
        _request: &Request,
        sorted: Vec<Self::Key>,
    ) -> (Vec<Self::Key>, Depths) {
        (sorted, Depths::new())
    }

    /// Widens or narrows columns for what this program has in them, and says of which
    /// nothing can be known in this session.
    fn fit(_heads: &mut [Head], _model: &Model) {}
}

/// Where a table is in the registry; the registry implements it.
pub trait Registered: Table {
    /// Its name.
    const ID: TableId;

    /// Its key among those of all tables.
    fn wrap(key: Self::Key) -> RowKey;

    /// The key of a row of this table.
    fn unwrap(key: &RowKey) -> Option<&Self::Key>;

    /// What its rows are read from, among that of all tables.
    fn made(made: &Made) -> &Self::Made;

    /// The same, to be made anew.
    fn made_mut(made: &mut Made) -> &mut Self::Made;
}

/// A [`Table`] whatever its rows are.
pub(in crate::app) trait AnyTable: Sync {
    fn heads(&self) -> Vec<&'static Head>;
    fn fit(&self, heads: &mut [Head], model: &Model);
    fn sort(&self) -> Sort;
    fn other_sort(&self) -> Sort;
    fn below(&self) -> Option<Below>;
    fn title(&self, state: &State) -> (&'static str, String);
    fn empty(&self, state: &State) -> String;
    /// The rows, filtered and sorted.
    fn select(&self, context: &Context<'_>, request: &Request, made: &mut Made) -> Selection;
    /// The cells of the columns in `placed`; `None` where the row is gone, or
    /// another table's.
    fn cells<'a>(
        &self,
        context: &Context<'a>,
        made: &'a Made,
        key: &RowKey,
        placed: &[Placed],
    ) -> Option<Vec<Cell>>;
    fn finding<'a>(&self, state: &'a State, key: &RowKey) -> Option<&'a Finding>;
    fn open(&self, state: &mut State, key: &RowKey);
    fn back(&self, state: &mut State) -> bool;
}

impl<T: Registered> AnyTable for T {
    fn heads(&self) -> Vec<&'static Head> {
        T::COLUMNS.iter().map(|column| &column.head).collect()
    }

    fn fit(&self, heads: &mut [Head], model: &Model) {
        <T as Table>::fit(heads, model);
    }

    fn sort(&self) -> Sort {
        T::SORT
    }

    fn other_sort(&self) -> Sort {
        T::OTHERWISE
    }

    fn below(&self) -> Option<Below> {
        T::BELOW
    }

    fn title(&self, state: &State) -> (&'static str, String) {
        <T as Table>::title(state)
    }

    fn empty(&self, state: &State) -> String {
        <T as Table>::empty(state)
    }

    fn select(&self, context: &Context<'_>, request: &Request, made: &mut Made) -> Selection {
        *T::made_mut(made) = T::make(context, request);
        let model = context.model;
        let rows = || T::rows(model, T::made(made), request);
        let (sorted, filtered_out) = filtered_and_sorted::<T, _>(context, rows, request);
        let (keys, depths) = T::arrange(model, request, sorted);
        Selection {
            looked_at: T::looked_at(model, keys.len() + filtered_out),
            keys: keys.into_iter().map(T::wrap).collect(),
            filtered_out,
            finished_hidden: if request.finished {
                0
            } else {
                T::finished(model)
            },
            depths,
        }
    }

    fn cells<'a>(
        &self,
        context: &Context<'a>,
        made: &'a Made,
        key: &RowKey,
        placed: &[Placed],
    ) -> Option<Vec<Cell>> {
        let row = T::row(context.model, T::made(made), T::unwrap(key)?)?;
        let cell = |p: &Placed| (T::COLUMNS[p.index].cell)(context, row, usize::from(p.width));
        Some(placed.iter().map(cell).collect())
    }

    fn finding<'a>(&self, state: &'a State, key: &RowKey) -> Option<&'a Finding> {
        <T as Table>::finding(state, T::unwrap(key)?)
    }

    fn open(&self, state: &mut State, key: &RowKey) {
        if let Some(key) = T::unwrap(key) {
            <T as Table>::open(state, key);
        }
    }

    fn back(&self, state: &mut State) -> bool {
        <T as Table>::back(state)
    }
}

/// The keys of the rows that the filter lets through, sorted, and how many it does
/// not.
pub(super) fn filtered_and_sorted<'a, T: Table, I: Iterator<Item = &'a T::Row>>(
    context: &Context<'a>,
    rows: impl Fn() -> I,
    request: &Request,
) -> (Vec<T::Key>, usize) {
    if !T::KEEPS_ORDER
        && let Some(ranked) = ranked::<T>(context, rows(), request)
    {
        return ranked;
    }
    let mut filtered_out = 0;
    let mut keyed: Vec<(bool, Key<'a>, T::Key)> = Vec::new();
    for row in rows() {
        match keyed_row::<T>(context, row, request) {
            Some((is_later, key)) => keyed.push((is_later, key, T::key(row))),
            None => filtered_out += 1,
        }
    }
    let descending = request.sort.descending;
    let order = |a: &(bool, Key<'a>, T::Key), b: &(bool, Key<'a>, T::Key)| {
        a.0.cmp(&b.0).then_with(|| a.1.order(&b.1, descending))
    };
    if T::KEEPS_ORDER {
        keyed.sort_by(order);
    } else {
        sort_first(&mut keyed, request, |a, b| {
            order(a, b).then_with(|| a.2.cmp(&b.2))
        });
    }
    let keys = keyed.into_iter().map(|(_, _, key)| key).collect();
    (keys, filtered_out)
}

/// Whether a row comes later than some that come first, and what it is sorted by; `None`
/// where the filter leaves it out.
fn keyed_row<'a, T: Table>(
    context: &Context<'a>,
    row: &'a T::Row,
    request: &Request,
) -> Option<(bool, Key<'a>)> {
    let matches = request
        .filter
        .matches(|column| (T::COLUMNS[column].key)(context, row));
    let sort_key = T::COLUMNS.get(request.sort.column).map(|c| c.key);
    matches.then(|| {
        let key = sort_key.map_or(Key::Unknown, |key| key(context, row));
        (!T::comes_first(context, row), key)
    })
}

/// The same by numbers, which takes a fraction of what it takes to compare keys; `None`
/// where some key is none.
fn ranked<'a, T: Table>(
    context: &Context<'a>,
    rows: impl Iterator<Item = &'a T::Row>,
    request: &Request,
) -> Option<(Vec<T::Key>, usize)> {
    let mut filtered_out = 0;
    let most = rows.size_hint().1.unwrap_or_default();
    let mut ranked = Vec::with_capacity(most.min(MAX_RESERVED));
    for row in rows {
        match keyed_row::<T>(context, row, request) {
            Some((is_later, key)) => {
                ranked.push((is_later, key.rank(request.sort.descending)?, T::key(row)));
            }
            None => filtered_out += 1,
        }
    }
    sort_first(&mut ranked, request, Ord::cmp);
    let keys = ranked.into_iter().map(|(_, _, key)| key).collect();
    Some((keys, filtered_out))
}

/// Rows for which there is room from the beginning.
const MAX_RESERVED: usize = 1 << 20;

/// Sorts rows: all, or the first of many, which is a fraction of the work.
fn sort_first<R>(rows: &mut [R], request: &Request, mut order: impl FnMut(&R, &R) -> Ordering) {
    if request.whole || rows.len() <= FIRST_ROWS {
        return rows.sort_unstable_by(order);
    }
    let (first, _, _) = rows.select_nth_unstable_by(FIRST_ROWS, &mut order);
    first.sort_unstable_by(order);
}

#[cfg(test)]
mod tests {
    use crate::app::{TaskLayout, filter::Filter};

    use super::*;

    #[test]
    fn of_a_long_table_the_first_rows_are_those_of_all_in_order() {
        let mut request = Request {
            table: None,
            sort: Sort {
                column: 0,
                descending: false,
            },
            filter: Filter::default(),
            finished: false,
            layout: TaskLayout::List,
            waits: None,
            crowded: false,
            whole: false,
        };
        for length in [0, 1, FIRST_ROWS, FIRST_ROWS + 1, 5 * FIRST_ROWS] {
            let in_order: Vec<usize> = (0..length).collect();
            let mut rows: Vec<usize> = in_order.iter().rev().copied().collect();
            sort_first(&mut rows, &request, Ord::cmp);
            let first = length.min(FIRST_ROWS);
            assert_eq!(rows[..first], in_order[..first]);
            request.whole = true;
            sort_first(&mut rows, &request, Ord::cmp);
            assert_eq!(rows, in_order);
            request.whole = false;
        }
    }
}
