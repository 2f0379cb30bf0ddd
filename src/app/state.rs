//! The state of the program: what the target is like, and where the user is.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use ratatui::layout::Size;

use crate::{
    diagnose::{Engine, Finding, Scope, Subject},
    model::{Activity, Model, ResourceId, Span, StallId, TaskId},
};

use super::{
    ColumnChoice, Connection, Context, Distributions, Head, LabState, Place, Player, Snapshot,
    ViewId,
    filter::{Filter, FilterError},
    overview, page,
    rows::{Request, RowKey, Rows, Sort},
    screen::{GUTTER, Screen, TableArea},
    tables::{self, Row, TableId},
    view,
};

/// What the command line decides.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The target as the user named it.
    pub target: String,
    /// The demo that was started together with the screen.
    pub lab: Option<Lab>,
    /// Columns that the configuration chose.
    pub columns: ColumnChoice,
}

/// The demo's scenario, as it was started.
#[derive(Debug, Clone, Default)]
pub struct Lab {
    /// Its id.
    pub scenario: String,
    /// "broken" or "fixed".
    pub mode: String,
    /// What it shows, one line.
    pub caption: String,
}

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

/// Details that cover the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Details {
    /// Of a task.
    Task(TaskId),
    /// Of a stall.
    Stall(StallId),
    /// Of a resource.
    Resource(ResourceId),
}

/// How the tasks are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TaskLayout {
    /// One by one.
    #[default]
    List,
    /// With totals for each spawn location.
    ByLocation,
    /// With totals for each name.
    ByName,
    /// Each below the task that spawned it.
    Tree,
}

impl TaskLayout {
    /// The one after it, round and round.
    #[must_use]
    pub fn next(self) -> Self {
        match self {
            Self::List => Self::ByLocation,
            Self::ByLocation => Self::ByName,
            Self::ByName => Self::Tree,
            Self::Tree => Self::List,
        }
    }
}

/// What covers everything but header and verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Overlay {
    /// All keys.
    Help,
    /// A finding and its rule.
    Explain(&'static str, Subject),
}

/// A frozen screen.
#[derive(Debug, Clone)]
pub struct Frozen {
    /// What it shows.
    pub snapshot: Snapshot,
    /// When it froze.
    pub at: Instant,
    /// What was known of the lab.
    pub lab: LabState,
    /// Where in the history it is; otherwise it is the moment when it froze.
    pub place: Option<Place>,
    /// What the task whose details are open did before.
    pub activity: Option<Activity>,
}

/// A key that was pressed, and what it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Echo {
    /// The key.
    pub key: super::Key,
    /// What it does, as in the help; empty where it is bound to nothing.
    pub help: &'static str,
    /// When.
    pub at: Instant,
}

/// What has the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The view.
    View,
    /// Details.
    Details,
    /// An overlay.
    Overlay,
    /// The filter's line.
    Filter,
    /// Verdict and figures in large letters.
    Presenter,
}

/// The whole state. No I/O; the run loop passes the time.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "switches of the user, independent of each other"
)]
pub struct State {
    /// What the command line decided.
    pub options: Options,
    /// What the connection does.
    pub connection: Connection,
    /// Which source feeds it, in a word.
    pub source: &'static str,
    /// The view on screen.
    pub view: ViewId,
    /// Details over the view.
    pub details: Option<Details>,
    /// What covers both.
    pub overlay: Option<Overlay>,
    /// The filter is being edited.
    pub editing: bool,
    /// The part of time that charts show.
    pub span: Span,
    /// Stalls by culprit line.
    pub grouped: bool,
    /// The filter that shows the stalls of one culprit, while they are looked at.
    pub(super) opened_group: Option<String>,
    /// How tasks are laid out.
    pub task_layout: TaskLayout,
    /// Resources are shown by the operations on them.
    pub operations: bool,
    /// Finished tasks and dropped resources are shown.
    pub finished: bool,
    /// All frames of a stack.
    pub all_frames: bool,
    /// Verdict and figures in large letters instead of the view.
    pub presenting: bool,
    /// The key that was pressed last, for an audience.
    pub echo: Option<Echo>,
    /// What is known of the lab.
    pub lab: LabState,
    /// First line on screen of details or overlay.
    pub scroll: usize,
    /// The link of the details that is selected; the first until one is.
    pub link: Option<page::LinkId>,
    /// Details that a link left behind, to go back to.
    pub(super) trail: Vec<Details>,
    /// The size of the screen.
    pub size: Size,
    /// The moment that the screen shows, on the viewer's own clock.
    pub now: Instant,
    /// Frozen, and since when.
    pub frozen: Option<Frozen>,
    /// The player, where the target is a recording.
    pub player: Option<Player>,
    /// What comes in is recorded, since then.
    pub recording: Option<Instant>,
    /// Distributions of the task whose details are open, where the target
    /// tells them.
    pub distributions: Option<Distributions>,
    /// What the task whose details are open did of late.
    pub(super) activity: Option<Activity>,
    /// The rows of the table on screen.
    pub rows: Rows,
    pub(super) live: Snapshot,
    /// Earlier moments shown so far.
    pub(super) earlier_shown: u64,
    /// Times that the user came back to the present.
    pub(super) epoch: u64,
    pub(super) engine: Engine,
    pub(super) notice: Option<(String, Instant)>,
    pub(super) tables: BTreeMap<TableId, TableState>,
    pub(super) cursors: BTreeMap<Option<TableId>, Cursor>,
}

/// A notice stays this long.
const NOTICE: Duration = Duration::from_secs(4);

impl State {
    /// A state that knows nothing of the target yet.
    pub fn new(options: Options, now: Instant) -> Self {
        let model = Arc::new(Model::default());
        let engine = Engine::new(Scope::Live);
        let live = Snapshot::new(model, &[], engine.verdict(&Model::default()), 0);
        Self {
            options,
            connection: Connection::Connecting {
                attempt: 1,
                problem: None,
            },
            source: "",
            view: ViewId::default(),
            details: None,
            overlay: None,
            editing: false,
            span: Span::default(),
            grouped: true,
            opened_group: None,
            task_layout: TaskLayout::default(),
            operations: false,
            finished: false,
            all_frames: false,
            presenting: false,
            echo: None,
            lab: LabState::default(),
            scroll: 0,
            link: None,
            trail: Vec::new(),
            size: Size::new(80, 24),
            now,
            frozen: None,
            player: None,
            recording: None,
            earlier_shown: 0,
            epoch: 0,
            distributions: None,
            activity: None,
            rows: Rows::default(),
            live,
            engine,
            notice: None,
            tables: TableId::ALL.map(|t| (t, TableState::new(t))).into(),
            cursors: BTreeMap::new(),
        }
    }

    /// What is on screen: the live program, or the frozen one.
    pub fn shown(&self) -> &Snapshot {
        self.frozen.as_ref().map_or(&self.live, |f| &f.snapshot)
    }

    /// The model on screen.
    pub fn model(&self) -> &Model {
        &self.shown().model
    }

    /// What cells may look at.
    pub fn context(&self) -> Context<'_> {
        let shown = self.shown();
        Context {
            model: &shown.model,
            alarms: &shown.alarms,
            functions: &shown.functions,
            span: self.span,
            depths: self.rows.depths(),
        }
    }

    /// What has the keys.
    pub fn mode(&self) -> Mode {
        match (&self.overlay, self.editing, self.details) {
            (Some(_), ..) => Mode::Overlay,
            (None, true, _) => Mode::Filter,
            (None, false, Some(_)) => Mode::Details,
            (None, false, None) if self.presenting => Mode::Presenter,
            (None, false, None) => Mode::View,
        }
    }

    /// The table of the view; `None` where it is none or has nothing to show.
    pub fn table(&self) -> Option<TableId> {
        let table = view::table(self)?;
        view::unavailable(self.view, self.model())
            .is_none()
            .then_some(table)
    }

    /// How a table is looked at.
    pub fn table_state(&self, table: TableId) -> &TableState {
        &self.tables[&table]
    }

    /// Details of a stall are open.
    pub fn shows_stall_details(&self) -> bool {
        matches!(self.details, Some(Details::Stall(_)))
    }

    /// The lab on screen, live or frozen.
    pub fn shown_lab(&self) -> &LabState {
        // The cursor moves in a frozen list too, but nothing in it changes.
        self.frozen.as_ref().map_or(&self.lab, |f| &f.lab)
    }

    /// Keys that move and switch are for the lab's list.
    pub fn lab_has_keys(&self) -> bool {
        let open = match self.mode() {
            Mode::Presenter => true,
            Mode::View => self.view == ViewId::Lab,
            _ => false,
        };
        open && self.lab.status.is_some()
    }

    /// Remembers a key for the audience.
    pub fn note_key(&mut self, key: super::Key) {
        let help = super::bindings::bound(self, key).map_or("", |b| b.help);
        self.echo = Some(Echo {
            key,
            help,
            at: self.now,
        });
    }

    /// A sentence that passes, while it lasts.
    pub fn notice(&self) -> Option<&str> {
        let (text, since) = self.notice.as_ref()?;
        let age = self.now.saturating_duration_since(*since);
        (age < NOTICE).then_some(text.as_str())
    }

    /// Shows a sentence that passes.
    pub fn notify(&mut self, text: impl Into<String>) {
        self.notice = Some((text.into(), self.now));
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

    /// The finding that `e` and `y` are about: that of the row under the cursor
    /// or of the details, otherwise the verdict's.
    pub fn finding(&self) -> Option<&Finding> {
        self.own_finding().or_else(|| {
            let (rule, subject) = self.shown().verdict.finding.as_ref()?;
            self.find_finding(rule, subject)
        })
    }

    pub(super) fn own_finding(&self) -> Option<&Finding> {
        let findings = &self.shown().findings;
        let of_task = |id: TaskId| findings.iter().find(|f| f.task == Some(id));
        let of_stall = |id: StallId| {
            let task = self.model().stalls.get(id).and_then(|s| s.task);
            findings
                .iter()
                .find(|f| f.stall == Some(id))
                .or_else(|| of_task(task?))
        };
        match self.details {
            Some(Details::Task(id)) => return of_task(id),
            Some(Details::Stall(id)) => return of_stall(id),
            Some(Details::Resource(_)) => return None,
            None => {}
        }
        match self.row_under_cursor()? {
            RowKey::Finding(key) => self.find_finding(key.0, &key.1),
            RowKey::Task(id) => of_task(*id),
            RowKey::Stall(id) => of_stall(*id),
            RowKey::Group(key) => of_stall(self.rows.group(key)?.example),
            RowKey::Worker(id) => of_stall(self.model().stalls.on_worker(*id)?.id),
            RowKey::Thread(tid) => of_stall(self.model().stalls.on_thread(*tid)?.id),
            RowKey::Op(id) => of_task(self.model().resources.op(*id)?.task?),
            RowKey::TaskGroup(_) | RowKey::Resource(_) => None,
        }
    }

    /// The finding of a rule about a subject.
    pub fn find_finding(&self, rule: &str, subject: &Subject) -> Option<&Finding> {
        let matches = |f: &&Finding| f.rule == rule && f.subject == *subject;
        self.shown().findings.iter().find(matches)
    }

    /// Where the table on screen is.
    pub fn table_area(&self) -> Option<TableArea> {
        let body = Screen::new(self.size)?.body;
        match self.table()? {
            TableId::Workers => Some(TableArea::needing(body, self.rows.len())),
            _ => Some(TableArea::filling(body)),
        }
    }

    /// Makes the rows of the list on screen current and keeps the cursor on its
    /// thing and on screen. To be called before drawing.
    pub fn prepare(&mut self) {
        let table = self.table();
        let request = self.request(table);
        let mut rows = std::mem::take(&mut self.rows);
        if rows.are_stale(self.shown(), &request, self.now) {
            rows.make(self.shown(), &self.context(), request, self.now);
        }
        self.rows = rows;
        let page = self.page();
        let cursor = self.cursors.entry(table).or_default();
        cursor.follow(self.rows.keys());
        cursor.scroll_into(page, self.rows.len());
    }

    fn request(&self, table: Option<TableId>) -> Request {
        let (sort, filter) = match table {
            Some(table) => {
                let state = &self.tables[&table];
                (state.sort, state.filter.clone())
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
            crowded,
        }
    }

    /// Rows that are visible at once.
    pub(super) fn page(&self) -> usize {
        let body = Screen::new(self.size).map_or(1, |s| s.body.height);
        let rows = self.table_area().map_or(body, |area| area.rows.height);
        usize::from(rows).max(1)
    }

    /// Columns of the table on screen that are visible, with their places.
    pub fn placed_columns(&self, table: TableId) -> Vec<super::column::Placed> {
        let heads = tables::heads_for(table, self.model());
        let chosen = self.options.columns.of(table);
        let chosen_heads: Vec<&Head> = chosen.iter().map(|i| &heads[*i]).collect();
        let width = self.size.width.saturating_sub(GUTTER);
        let mut placed = super::column::place(&chosen_heads, width, self.tables[&table].pan);
        for column in &mut placed {
            column.index = chosen[column.index];
        }
        placed
    }

    /// The row under the cursor, where the list is a table.
    pub fn selected_row(&self) -> Option<Row<'_>> {
        self.rows.row(self.model(), self.cursor().row)
    }
}

impl TableState {
    fn new(table: TableId) -> Self {
        let column = tables::default_sort(table);
        let descending = tables::heads(table)[column].starts_descending();
        // The log's own order and that of workers begin with the smallest.
        let descending = descending && !matches!(table, TableId::Workers | TableId::Stalls);
        Self {
            sort: Sort { column, descending },
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
