//! The list on screen, of a table or of the overview: its rows, its cursor, and how a
//! table is looked at.

use super::{
    Head, RowKey, State, TaskLayout,
    column::{Placed, place},
    filter::{Filter, FilterError},
    overview,
    rows::{FIRST_ROWS, Request, Sort},
    screen::{GUTTER, Screen, TableArea},
    tables::{self, TableId},
};

/// Rows in which a table says why it has none.
const EMPTY: usize = 4;

/// How a table is looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct TableState {
    /// How it is sorted.
    pub sort: Sort,
    /// The filter as typed.
    pub filter_text: String,
    /// The filter, as far as it was understood.
    pub filter: Filter,
    /// Why what is typed was not understood.
    pub filter_error: Option<FilterError>,
    /// Columns passed over.
    pub pan: usize,
}

/// Where the cursor is in a list, and which row is the first on screen.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cursor {
    /// What it follows; nothing until the user moves it.
    pub key: Option<RowKey>,
    /// Its row.
    pub row: usize,
    /// The first row on screen.
    pub offset: usize,
}

impl State {
    /// How a table is looked at.
    pub fn table_state(&self, table: TableId) -> &TableState {
        &self.tables[&table]
    }

    /// Where the cursor is in the list on screen.
    pub fn cursor(&self) -> &Cursor {
        static START: Cursor = Cursor {
            key: None,
            row: 0,
            offset: 0,
        };
        self.cursors.get(&self.table()).unwrap_or(&START)
    }

    /// What is under the cursor.
    pub fn row_under_cursor(&self) -> Option<&RowKey> {
        self.rows.keys().get(self.cursor().row)
    }

    /// Where the table on screen is.
    pub fn table_area(&self) -> Option<TableArea> {
        let body = Screen::new(self.size)?.body;
        Some(match tables::below(self.table()?) {
            Some(_) if self.rows.is_empty() => TableArea::needing(body, EMPTY),
            Some(_) => TableArea::needing(body, self.rows.len()),
            None => TableArea::filling(body),
        })
    }

    /// Makes the rows of the list on screen current and keeps the cursor on its
    /// thing and on screen. To be called before drawing.
    pub fn prepare(&mut self) {
        self.look_at_waits();
        let table = self.table();
        let request = self.request(table);
        let mut rows = std::mem::take(&mut self.rows);
        if !rows.are_for(&request) {
            // Who comes back to a long table need not wait until it is sorted again.
            std::mem::swap(&mut rows, &mut self.other_rows);
        }
        if rows.are_stale(self.shown(), &request, self.now) {
            rows.make(self.shown(), &self.context(), request, self.now);
        }
        self.rows = rows;
        let page = self.page();
        let cursor = self.cursors.entry(table).or_default();
        cursor.follow(self.rows.keys());
        cursor.scroll_into(page, self.rows.len());
        if self.is_far_down(table) && !self.rows.are_whole() {
            // Its thing is among those that are in no order yet.
            self.prepare();
        }
    }

    fn request(&self, table: Option<TableId>) -> Request {
        let (sort, filter) = match table {
            Some(table) => {
                let state = &self.tables[&table];
                (self.sort(table), state.filter.clone())
            }
            None => (
                Sort {
                    column: 0,
                    descending: false,
                },
                Filter::default(),
            ),
        };
        let crowded = table.is_none()
            && Screen::new(self.size).is_some_and(|screen| {
                let room = usize::from(overview::panels(self, screen.body).workers.height);
                self.model().workers.len() + 1 > room
            });
        Request {
            table,
            sort,
            filter,
            finished: self.finished,
            layout: self.task_layout,
            waits: self.opened_wait.clone(),
            crowded,
            whole: self.task_layout == TaskLayout::Tree || self.is_far_down(table),
        }
    }

    /// The cursor is not among the first rows of a long table, or soon is not.
    fn is_far_down(&self, table: Option<TableId>) -> bool {
        let row = self.cursors.get(&table).map_or(0, |cursor| cursor.row);
        row + 2 * usize::from(self.size.height) >= FIRST_ROWS
    }

    /// Rows that are visible at once.
    pub(super) fn page(&self) -> usize {
        let body = Screen::new(self.size).map_or(1, |s| s.body.height);
        let rows = self.table_area().map_or(body, |area| area.rows.height);
        usize::from(rows).max(1)
    }

    /// How a table is sorted: as was chosen; by something else where no row of this
    /// session has that.
    pub fn sort(&self, table: TableId) -> Sort {
        let chosen = self.tables[&table].sort;
        let heads = tables::heads_for(table, self.model());
        if heads.get(chosen.column).is_some_and(|head| head.unknown) {
            return tables::other_sort(table);
        }
        chosen
    }

    /// The columns of a table that have anything to show in this session, or that the
    /// configuration names.
    pub(super) fn columns(&self, table: TableId) -> Vec<usize> {
        let mut columns = self.options.columns.of(table);
        if !self.options.columns.names(table) {
            let heads = tables::heads_for(table, self.model());
            columns.retain(|index| !heads[*index].unknown);
        }
        columns
    }

    /// Columns of the table on screen that are visible, with their places.
    pub fn placed_columns(&self, table: TableId) -> Vec<Placed> {
        let heads = tables::heads_for(table, self.model());
        let chosen = self.columns(table);
        let chosen_heads: Vec<&Head> = chosen.iter().map(|i| &heads[*i]).collect();
        let width = self.size.width.saturating_sub(GUTTER);
        let mut placed = place(&chosen_heads, width, self.tables[&table].pan);
        for column in &mut placed {
            column.index = chosen[column.index];
        }
        placed
    }

    /// Takes `text` as the filter of a table.
    pub(super) fn set_filter(&mut self, table: TableId, text: String) {
        if let Some(state) = self.tables.get_mut(&table) {
            state.set_filter(table, text);
        }
    }
}

impl TableState {
    pub(super) fn new(table: TableId) -> Self {
        Self {
            sort: tables::default_sort(table),
            filter_text: String::new(),
            filter: Filter::default(),
            filter_error: None,
            pan: 0,
        }
    }

    /// Takes `text` as the filter, as far as it is understood.
    pub(super) fn set_filter(&mut self, table: TableId, text: String) {
        (self.filter, self.filter_error) = Filter::read(&text, &tables::heads(table));
        self.filter_text = text;
    }
}

impl Cursor {
    /// Goes where its thing went; where that is gone, stays on the row.
    fn follow(&mut self, keys: &[RowKey]) {
        if let Some(key) = &self.key
            && keys.get(self.row) != Some(key)
        {
            // A thing that a filter hides is found again when it is back.
            self.row = keys.iter().position(|k| k == key).unwrap_or(self.row);
        }
        self.row = self.row.min(keys.len().saturating_sub(1));
    }

    fn scroll_into(&mut self, page: usize, rows: usize) {
        self.offset = self
            .offset
            .min(self.row)
            .max((self.row + 1).saturating_sub(page))
            .min(rows.saturating_sub(page));
    }

    /// Puts it on a row, to follow what is there.
    pub(super) fn put(&mut self, row: usize, keys: &[RowKey]) {
        self.row = row.min(keys.len().saturating_sub(1));
        self.key = keys.get(self.row).cloned();
    }
}
