//! The state of the program: what the target is like, and where the user is.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use ratatui::layout::Size;

use crate::{
    diagnose::{Engine, Finding, Subject, Window},
    model::{Activity, Model, ResourceId, SourceKind, Span, StallId, TaskId, Tid},
};

use super::{
    ColumnChoice, Connection, Context, Cursor, Distributions, LabState, Place, Player, Rows,
    Snapshot, TableState, ThemeId, ViewId,
    bindings::Keymap,
    page,
    palette::Palette,
    tables::{RowKey, TableId},
    views,
    waits::{Seen, WaitKey, WaitLayout},
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
    /// Keys that it binds otherwise.
    pub keys: Keymap,
    /// The theme at first.
    pub theme: ThemeId,
    /// The file of a theme of the user's own; empty without one.
    pub own_theme: String,
    /// There is a page of several processes to come back to.
    pub several: bool,
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

/// Details that cover the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Details {
    /// Of a task.
    Task(TaskId),
    /// Of a stall.
    Stall(StallId),
    /// Of a resource.
    Resource(ResourceId),
    /// Of a thread.
    Thread(Tid),
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
    /// The command palette.
    Palette,
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
    /// What kind of source feeds it; `None` until one is connected.
    pub source: Option<SourceKind>,
    /// How it looks.
    pub theme: ThemeId,
    /// The view on screen.
    pub view: ViewId,
    /// Details over the view.
    pub details: Option<Details>,
    /// What covers both.
    pub overlay: Option<Overlay>,
    /// The command palette, while it is open.
    pub palette: Option<Palette>,
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
    /// How those who wait are laid out.
    pub wait_layout: WaitLayout,
    /// The group of them that is looked at.
    pub(super) opened_wait: Option<WaitKey>,
    /// What was worked out of all who wait.
    pub waits: Seen,
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
    /// sends them.
    pub distributions: Option<Distributions>,
    /// What the task whose details are open did of late.
    pub(super) activity: Option<Activity>,
    /// The rows of the table on screen.
    pub rows: Rows,
    /// Those of what was on screen before.
    pub(super) other_rows: Rows,
    pub(super) live: Snapshot,
    /// Earlier moments shown so far.
    pub(super) earlier_shown: u64,
    /// Counts how often the user came back to the present.
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
        let engine = Engine::new(Window::Live);
        let live = Snapshot::new(model, &[], engine.verdict(&Model::default()), 0);
        Self {
            theme: options.theme,
            options,
            connection: Connection::Connecting {
                attempt: 1,
                problem: None,
            },
            source: None,
            view: ViewId::default(),
            details: None,
            overlay: None,
            palette: None,
            editing: false,
            span: Span::default(),
            grouped: true,
            opened_group: None,
            task_layout: TaskLayout::default(),
            operations: false,
            wait_layout: WaitLayout::default(),
            opened_wait: None,
            waits: Seen::default(),
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
            other_rows: Rows::default(),
            live,
            engine,
            notice: None,
            tables: TableId::ALL
                .iter()
                .map(|table| (*table, TableState::new(*table)))
                .collect(),
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
            waits: &self.waits,
            span: self.span,
            depths: self.rows.depths(),
        }
    }

    /// What has the keys.
    pub fn mode(&self) -> Mode {
        if self.palette.is_some() {
            return Mode::Palette;
        }
        self.below_palette()
    }

    /// Characters are text.
    pub fn takes_text(&self) -> bool {
        matches!(self.mode(), Mode::Filter | Mode::Palette)
    }

    /// What has the keys while no palette is open.
    pub fn below_palette(&self) -> Mode {
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
        let table = views::table(self)?;
        views::unavailable(self.view, self.model())
            .is_none()
            .then_some(table)
    }

    /// Details are open of which there is more to show: all frames of a stack, all
    /// futures of a chain, or the whole name of a future.
    pub fn has_more_details(&self) -> bool {
        let model = self.model();
        let named = |id| {
            let task = model.tasks.get(id);
            task.is_some_and(|task| task.future.is_some()) || model.waits.task(id).is_some()
        };
        match self.details {
            Some(Details::Stall(_)) => true,
            Some(Details::Task(id)) => named(id),
            _ => false,
        }
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
        let open = match self.below_palette() {
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

    /// The key of an action, for sentences that say what to press.
    pub fn key_of(&self, name: &'static str) -> String {
        super::bindings::key_of(&self.options.keys, name)
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

    /// The finding that `e` and `y` are about: that of the row under the cursor
    /// or of the details, otherwise the verdict's.
    pub fn finding(&self) -> Option<&Finding> {
        self.own_finding().or_else(|| {
            let (rule, subject) = self.shown().verdict.finding.as_ref()?;
            self.find_finding(rule, subject)
        })
    }

    pub(super) fn own_finding(&self) -> Option<&Finding> {
        match self.details {
            Some(Details::Task(id)) => return self.finding_of_task(id),
            Some(Details::Stall(id)) => return self.finding_of_stall(id),
            Some(Details::Thread(tid)) => {
                return self.finding_of_stall(self.model().stalls.on_thread(tid)?.id);
            }
            Some(Details::Resource(_)) => return None,
            None => {}
        }
        match self.row_under_cursor()? {
            RowKey::Finding(key) => self.find_finding(key.0, &key.1),
            key => key.table()?.table().finding(self, key),
        }
    }

    /// The finding about a task.
    pub(super) fn finding_of_task(&self, id: TaskId) -> Option<&Finding> {
        let findings = &self.shown().findings;
        findings.iter().find(|f| f.is_about(id))
    }

    /// The finding about a stall, or about the task that stalls.
    pub(super) fn finding_of_stall(&self, id: StallId) -> Option<&Finding> {
        let findings = &self.shown().findings;
        let of_task = || self.finding_of_task(self.model().stalls.get(id)?.task?);
        findings
            .iter()
            .find(|f| f.stall == Some(id))
            .or_else(of_task)
    }

    /// The finding of a rule about a subject.
    pub fn find_finding(&self, rule: &str, subject: &Subject) -> Option<&Finding> {
        let matches = |f: &&Finding| f.rule == rule && f.subject == *subject;
        self.shown().findings.iter().find(matches)
    }

    /// Opens details from a view.
    pub(super) fn show_details(&mut self, details: Details) {
        self.details = Some(details);
        self.trail.clear();
        self.link = None;
    }
}
