//! What each action does to the state.

use crate::model::Span;

use super::{
    Action, Details, Effect, Frozen, Motion, Overlay, Playback, State, TaskLayout, Twin, ViewId,
    copy,
    lab::NO_LAB,
    page,
    rows::{RowKey, Sort},
    tables::{self, TableId, TaskGroupKey},
    view,
};

/// Does what a user asked for, and returns what is left to be done outside.
pub fn update(state: &mut State, action: Action) -> Vec<Effect> {
    state.prepare();
    let details = state.details;
    let mut effects = Vec::new();
    match action {
        Action::Quit => effects.push(Effect::Quit),
        Action::Suspend => effects.push(Effect::Suspend),
        Action::Copy => effects.extend(copy(state)),
        Action::Back => back(state),
        Action::Help => help(state),
        Action::Explain => explain(state),
        Action::Freeze if state.player.is_some() => effects.extend(state.play_or_pause()),
        Action::Freeze => freeze(state),
        Action::Travel(to) => effects.push(state.travel(to)),
        Action::Faster => effects.push(Effect::Playback(Playback::Faster)),
        Action::Slower => effects.push(Effect::Playback(Playback::Slower)),
        Action::Record => effects.push(Effect::Record),
        Action::SavePast => effects.push(Effect::SavePast),
        Action::Open => open(state),
        Action::Move(motion) => move_by(state, motion),
        Action::Select(row) => put_cursor(state, row),
        Action::Show(view) => show(state, view),
        Action::NextView => show_neighbour(state, true),
        Action::PreviousView => show_neighbour(state, false),
        Action::Group => group(state),
        Action::Warned => warned(state),
        Action::Resume => effects.push(Effect::Resume),
        Action::Finished => state.finished = !state.finished,
        Action::AllFrames => state.all_frames = !state.all_frames,
        Action::LongerSpan => state.span = neighbour_span(state.span, true),
        Action::ShorterSpan => state.span = neighbour_span(state.span, false),
        Action::Run(twin) => effects.extend(run(state, twin)),
        Action::OtherTwin => {
            let twin = state.lab.other_twin().unwrap_or(Twin::Broken);
            effects.extend(run(state, twin));
        }
        Action::Present => present(state),
        Action::Filter => state.editing = state.table().is_some(),
        _ => {
            if let Some(table) = state.table() {
                on_table(state, table, action);
            }
        }
    }
    if state.details != details {
        state.scroll = 0;
        state.distributions = None;
        effects.push(watch(state));
    }
    state.prepare();
    effects
}

/// Begins to watch the task whose details are open, and no other.
fn watch(state: &mut State) -> Effect {
    let task = state.watched();
    state.observe_anew(task);
    Effect::WatchTask(task)
}

/// The finding of what is looked at; details without one as they are; otherwise
/// the verdict's finding.
fn copy(state: &mut State) -> Option<Effect> {
    if state.watched().is_some() && state.own_finding().is_none() {
        let lines = page::lines(state).unwrap_or_default();
        let lines = lines.iter().map(|line| format!("{}\n", line.plain()));
        let text = page::title(state) + "\n" + &lines.collect::<String>();
        state.notify("details copied to the terminal's clipboard");
        return Some(Effect::Copy(text));
    }
    let Some(text) = state.finding().map(copy::finding) else {
        state.notify("no finding to copy");
        return None;
    };
    state.notify("finding copied to the terminal's clipboard");
    Some(Effect::Copy(text))
}

/// One layer at a time, and never out of the program.
fn back(state: &mut State) {
    if state.overlay.take().is_some() {
        state.scroll = 0;
    } else if state.details.is_some() {
        state.details = state.trail.pop();
        state.scroll = 0;
        state.link = None;
    } else if state.presenting {
        state.presenting = false;
    } else if state.table() == Some(TableId::Stalls) && state.opened_group.is_some() {
        close_stalls(state);
    } else if let Some(table) = state.table() {
        set_filter(state, table, String::new());
    }
}

fn help(state: &mut State) {
    state.scroll = 0;
    state.overlay = match state.overlay {
        Some(Overlay::Help) => None,
        _ => Some(Overlay::Help),
    };
}

fn explain(state: &mut State) {
    state.scroll = 0;
    if matches!(state.overlay, Some(Overlay::Explain(..))) {
        state.overlay = None;
        return;
    }
    let finding = state.finding();
    if let Some(overlay) = finding.map(|f| Overlay::Explain(f.rule, f.subject.clone())) {
        state.overlay = Some(overlay);
    } else {
        let sentence = &state.shown().verdict.sentence;
        let notice = format!("no finding to explain: {sentence}");
        state.notify(notice);
    }
}

fn freeze(state: &mut State) {
    if state.frozen.is_some() {
        return state.go_live();
    }
    state.frozen = Some(Frozen {
        snapshot: state.live.clone(),
        at: state.now,
        lab: state.lab.clone(),
        place: None,
        activity: state.activity.clone(),
    });
}

fn show(state: &mut State, id: ViewId) {
    if !view::shown(state).any(|v| v.id == id) {
        state.notify(NO_LAB);
        return;
    }
    state.overlay = None;
    state.details = None;
    state.presenting = false;
    state.trail.clear();
    state.link = None;
    state.scroll = 0;
    state.view = id;
}

fn show_neighbour(state: &mut State, forward: bool) {
    let ids: Vec<ViewId> = view::shown(state).map(|v| v.id).collect();
    let here = ids.iter().position(|id| *id == state.view).unwrap_or(0);
    let step = if forward { 1 } else { ids.len() - 1 };
    show(state, ids[(here + step) % ids.len()]);
}

/// Has the lab run a twin of the scenario under the cursor.
fn run(state: &mut State, twin: Twin) -> Option<Effect> {
    match state.lab.ask(twin) {
        Ok((scenario, twin)) => Some(Effect::RunTwin(scenario, twin)),
        Err(why) => {
            state.notify(why);
            None
        }
    }
}

/// What covers the view would cover the large letters too.
fn present(state: &mut State) {
    state.presenting = state.mode() != super::Mode::Presenter;
    state.overlay = None;
    state.details = None;
    state.scroll = 0;
}

fn neighbour_span(span: Span, longer: bool) -> Span {
    let here = Span::ALL.iter().position(|s| *s == span).unwrap_or(0);
    let there = if longer {
        here + 1
    } else {
        here.saturating_sub(1)
    };
    Span::ALL.get(there).copied().unwrap_or(span)
}

/// Details of what is under the cursor: the stall where there is one, because
/// it says more than the thing that it holds.
fn open(state: &mut State) {
    if state.details.is_some() {
        return follow_link(state);
    }
    let model = state.model();
    let stall = |id| Some(Details::Stall(id));
    let opened = match state.row_under_cursor() {
        Some(RowKey::Task(id)) => Some(Details::Task(*id)),
        Some(RowKey::Stall(id)) => stall(*id),
        Some(RowKey::Group(key)) => match state.rows.group(key) {
            Some(group) if group.count > 1 && !group.filter().is_empty() => {
                let filter = group.filter();
                return open_stalls(state, filter);
            }
            group => group.and_then(|g| stall(g.example)),
        },
        Some(RowKey::Worker(id)) => {
            let task = model.workers.get(id).and_then(|w| w.task);
            let held = model.stalls.on_worker(*id).map(|s| Details::Stall(s.id));
            held.or(task.map(Details::Task))
        }
        Some(RowKey::Thread(tid)) => model.stalls.on_thread(*tid).and_then(|s| stall(s.id)),
        Some(RowKey::Finding(_)) => {
            let finding = state.finding();
            let held = finding
                .and_then(|f| f.stall)
                .filter(|id| model.stalls.get(*id).is_some());
            let task = finding
                .and_then(|f| f.task)
                .filter(|id| model.tasks.get(*id).is_some());
            held.map(Details::Stall).or(task.map(Details::Task))
        }
        Some(RowKey::Resource(id)) => Some(Details::Resource(*id)),
        Some(RowKey::Op(id)) => {
            let op = model.resources.op(*id);
            let task = op.and_then(|op| op.task);
            task.filter(|id| model.tasks.get(*id).is_some())
                .map(Details::Task)
        }
        Some(RowKey::TaskGroup(key)) => return open_group(state, *key),
        None => return,
    };
    match (opened, state.row_under_cursor()) {
        (Some(_), _) => {
            state.details = opened;
            state.trail.clear();
            state.link = None;
        }
        (None, Some(RowKey::Finding(_))) => explain(state),
        (None, Some(RowKey::Worker(_))) => state.notify("this worker is in no poll"),
        (None, Some(RowKey::Op(_))) => state.notify("no task is known that waits for this"),
        (None, _) => state.notify("nothing holds this thread"),
    }
}

/// Enter on a page: to where its selected line leads.
fn follow_link(state: &mut State) {
    let link = page::page(state).and_then(|page| {
        let selected = page.selected(state)?;
        page.links.get(selected).copied()
    });
    let (Some(link), Some(from)) = (link, state.details) else {
        return;
    };
    state.trail.push(from);
    // Two things that lead to each other make no endless way back.
    if state.trail.len() > MAX_TRAIL {
        state.trail.remove(0);
    }
    state.details = Some(link.to);
    state.link = None;
}

const MAX_TRAIL: usize = 32;

/// The tasks of a group, one by one.
fn open_group(state: &mut State, key: TaskGroupKey) {
    let Some(group) = state.rows.task_group(key) else {
        return;
    };
    if group.label.is_empty() {
        return state.notify("these tasks have nothing to be named by");
    }
    let column = match key {
        TaskGroupKey::Location(_) => "loc",
        TaskGroupKey::Name(_) => "name",
    };
    let text = format!("{column}:\"{}\"", group.label.replace('"', ""));
    state.task_layout = TaskLayout::List;
    set_filter(state, TableId::Tasks, text);
}

/// The stalls of a group, one by one.
fn open_stalls(state: &mut State, filter: String) {
    state.grouped = false;
    state.opened_group = Some(filter.clone());
    set_filter(state, TableId::Stalls, filter);
}

/// Stalls by culprit again; what showed those of one culprit goes.
fn close_stalls(state: &mut State) {
    state.grouped = true;
    let opened = state.opened_group.take();
    let stalls = state.tables.get(&TableId::Stalls);
    if opened.is_some() && opened.as_ref() == stalls.map(|t| &t.filter_text) {
        set_filter(state, TableId::Stalls, String::new());
    }
}

fn group(state: &mut State) {
    match state.view {
        ViewId::Stalls if state.grouped => state.grouped = false,
        ViewId::Stalls => close_stalls(state),
        ViewId::Resources => state.operations = !state.operations,
        ViewId::Tasks => {
            state.task_layout = state.task_layout.next();
            let parents = state.model().tasks.iter().any(|t| t.parent.is_some());
            if state.task_layout == TaskLayout::Tree && !parents {
                state.notify("no tree: the target does not say which task spawned which");
            }
        }
        _ => {}
    }
}

/// Only what a finding is about, or everything; the filter shows it.
fn warned(state: &mut State) {
    let table = TableId::Tasks;
    if matches!(
        state.task_layout,
        TaskLayout::ByLocation | TaskLayout::ByName
    ) {
        state.task_layout = TaskLayout::List;
    }
    let only = state
        .tables
        .get(&table)
        .is_some_and(|t| t.filter_text == "warn");
    let text = if only { "" } else { "warn" };
    set_filter(state, table, text.to_owned());
}

fn move_by(state: &mut State, motion: Motion) {
    if let (Motion::Up | Motion::Down, Some(page)) = (motion, page::page(state))
        && !page.links.is_empty()
    {
        (state.scroll, state.link) = page.step(state, motion == Motion::Down);
        return;
    }
    let page = state.page();
    let (here, last) = match page::lines(state) {
        Some(lines) => (
            state.scroll,
            lines.len().saturating_sub(page::height(state)),
        ),
        None if state.lab_has_keys() => {
            let last = state.lab.scenarios().len().saturating_sub(1);
            (state.lab.row(), last)
        }
        None => (state.cursor().row, state.rows.len().saturating_sub(1)),
    };
    let there = match motion {
        Motion::Up => here.saturating_sub(1),
        Motion::Down => here + 1,
        Motion::By(n) => here.saturating_add_signed(isize::from(n)),
        Motion::PageUp => here.saturating_sub(page),
        Motion::PageDown => here + page,
        Motion::Top => 0,
        Motion::Bottom => last,
    }
    .min(last);
    if page::is_open(state) {
        state.scroll = there;
    } else {
        put_cursor(state, there);
    }
}

fn put_cursor(state: &mut State, row: usize) {
    if state.lab_has_keys() {
        return state.lab.put_cursor(row);
    }
    let table = state.table();
    let keys = state.rows.keys();
    state.cursors.entry(table).or_default().put(row, keys);
}

fn set_filter(state: &mut State, table: TableId, text: String) {
    if let Some(t) = state.tables.get_mut(&table) {
        t.set_filter(table, text);
    }
}

fn on_table(state: &mut State, table: TableId, action: Action) {
    let visible: Vec<usize> = state
        .placed_columns(table)
        .iter()
        .map(|p| p.index)
        .collect();
    let last = state.options.columns.of(table).last().copied();
    let Some(t) = state.tables.get_mut(&table) else {
        return;
    };
    let typed = t.filter_text.clone();
    match action {
        Action::Invert => t.sort.descending = !t.sort.descending,
        Action::SortNext => sort_neighbour(&mut t.sort, table, &visible, true),
        Action::SortPrevious => sort_neighbour(&mut t.sort, table, &visible, false),
        Action::SortBy(column) if column == t.sort.column => t.sort.descending = !t.sort.descending,
        Action::SortBy(column) => sort_by(&mut t.sort, table, column),
        Action::PanRight if visible.last().copied() != last => t.pan += 1,
        Action::PanLeft => t.pan = t.pan.saturating_sub(1),
        Action::Type(text) => {
            let text: String = text.chars().filter(|c| !c.is_control()).collect();
            t.set_filter(table, typed + &text);
        }
        Action::Erase => {
            let mut shorter = typed;
            shorter.pop();
            t.set_filter(table, shorter);
        }
        Action::EraseWord => {
            let kept = typed.trim_end().rfind(' ').map_or(0, |at| at + 1);
            t.set_filter(table, typed[..kept].to_owned());
        }
        // What was not understood stays open, with the spot marked.
        Action::Accept => state.editing = t.filter_error.is_some(),
        Action::Clear => {
            t.set_filter(table, String::new());
            state.editing = false;
        }
        _ => {}
    }
}

fn sort_neighbour(sort: &mut Sort, table: TableId, visible: &[usize], forward: bool) {
    let here = visible.iter().position(|c| *c == sort.column);
    let there = match (here, forward) {
        (None, _) => 0,
        (Some(n), true) => (n + 1) % visible.len(),
        (Some(n), false) => (n + visible.len() - 1) % visible.len(),
    };
    if let Some(column) = visible.get(there) {
        sort_by(sort, table, *column);
    }
}

fn sort_by(sort: &mut Sort, table: TableId, column: usize) {
    if let Some(head) = tables::heads(table).get(column) {
        *sort = Sort {
            column,
            descending: head.starts_descending(),
        };
    }
}
