//! What each action does to the state.

use crate::model::Span;

use super::{
    Action, Details, Effect, Frozen, Motion, Overlay, Playback, Screen, State, TableState, ThemeId,
    Twin, ViewId, copy, page, palette,
    rows::Sort,
    tables::{self, TableId},
    views,
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
        Action::Edit => match state.source_place() {
            Some(place) => effects.push(Effect::Edit(place)),
            None => state.notify("no line is known of what is under the cursor"),
        },
        Action::Back => {
            if !back(state) && state.options.several {
                effects.push(Effect::Leave);
            }
        }
        Action::Processes => effects.push(Effect::Leave),
        Action::Palette => palette::toggle(state),
        Action::Choose => {
            if let Some(action) = palette::choose(state) {
                return update(state, action);
            }
        }
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
        Action::Group => (state.view.view().group)(state),
        Action::Warned => views::show_warned(state),
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
        Action::NextTheme => {
            let has_own = !state.options.own_theme.is_empty();
            effects.push(look(state, state.theme.next(has_own)));
        }
        Action::Theme(theme) => effects.push(look(state, theme)),
        Action::SaveScreen => effects.push(Effect::SaveScreen),
        Action::PresenterMode => present(state),
        Action::Filter => state.editing = state.table().is_some(),
        Action::SortNext => sort_neighbour(state, true),
        Action::SortPrevious => sort_neighbour(state, false),
        Action::SortBy(column) => on_table(state, |t, table| {
            if column == t.sort.column {
                t.sort.descending = !t.sort.descending;
            } else {
                sort_by(&mut t.sort, table, column);
            }
        }),
        Action::Invert => on_sort(state, |sort, _| sort.descending = !sort.descending),
        Action::PanRight => pan_right(state),
        Action::PanLeft => on_table(state, |t, _| t.pan = t.pan.saturating_sub(1)),
        Action::Type(text) => edit_typed(state, |typed| {
            typed.extend(text.chars().filter(|c| !c.is_control()));
        }),
        Action::Erase => edit_typed(state, |typed| {
            typed.pop();
        }),
        Action::EraseWord => edit_typed(state, |typed| {
            let kept = typed.trim_end().rfind(' ').map_or(0, |at| at + 1);
            typed.truncate(kept);
        }),
        Action::Accept => accept_filter(state),
        Action::Clear => {
            edit_filter(state, String::clear);
            state.editing = false;
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

/// One layer at a time, and never out of the program; `false` where there was none.
fn back(state: &mut State) -> bool {
    if state.overlay.take().is_some() {
        state.scroll = 0;
    } else if state.details.is_some() {
        state.details = state.trail.pop();
        state.scroll = 0;
        state.link = None;
    } else if state.presenting {
        state.presenting = false;
    } else if let Some(table) = state.table() {
        if table.table().back(state) {
            return true;
        }
        let filtered = !state.table_state(table).filter_text.is_empty();
        state.set_filter(table, String::new());
        return filtered;
    } else {
        return false;
    }
    true
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
    if let Some(why) = (id.view().absent)(state) {
        return state.notify(why);
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
    let ids = views::shown(state);
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

fn look(state: &mut State, theme: ThemeId) -> Effect {
    state.theme = theme;
    state.notify(format!("theme {theme}"));
    Effect::KeepTheme(theme)
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

/// Enter on what is under the cursor.
fn open(state: &mut State) {
    if state.details.is_some() {
        return follow_link(state);
    }
    let Some(key) = state.row_under_cursor().cloned() else {
        return;
    };
    match key.table() {
        Some(table) => table.table().open(state, &key),
        None => open_finding(state),
    }
}

/// What a finding is about, otherwise why it was found.
fn open_finding(state: &mut State) {
    let model = state.model();
    let finding = state.finding();
    let stall = finding
        .and_then(|f| f.stall)
        .filter(|id| model.stalls.get(*id).is_some());
    let task = finding
        .and_then(|f| f.task)
        .filter(|id| model.tasks.get(*id).is_some());
    match stall.map(Details::Stall).or(task.map(Details::Task)) {
        Some(details) => state.show_details(details),
        None => explain(state),
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

fn move_by(state: &mut State, motion: Motion) {
    if state.palette.is_some() {
        return move_in_palette(state, motion);
    }
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
    let there = moved(here, motion, page, last);
    if page::is_open(state) {
        state.scroll = there;
    } else {
        put_cursor(state, there);
    }
}

fn move_in_palette(state: &mut State, motion: Motion) {
    let last = palette::entries(state).len().saturating_sub(1);
    let body = Screen::new(state.size).map(|screen| palette::area(screen.body));
    let page = body.map_or(1, |area| usize::from(area.height).saturating_sub(1));
    if let Some(palette) = &mut state.palette {
        palette.row = moved(palette.row, motion, page, last);
    }
}

/// Where a movement leads from `here`, at most to `last`.
fn moved(here: usize, motion: Motion, page: usize, last: usize) -> usize {
    let there = match motion {
        Motion::Up => here.saturating_sub(1),
        Motion::Down => here + 1,
        Motion::By(n) => here.saturating_add_signed(isize::from(n)),
        Motion::PageUp => here.saturating_sub(page),
        Motion::PageDown => here + page,
        Motion::Top => 0,
        Motion::Bottom => last,
    };
    there.min(last)
}

fn put_cursor(state: &mut State, row: usize) {
    if state.lab_has_keys() {
        return state.lab.put_cursor(row);
    }
    let table = state.table();
    let keys = state.rows.keys();
    state.cursors.entry(table).or_default().put(row, keys);
}

/// Changes how the table on screen is looked at.
fn on_table(state: &mut State, change: impl FnOnce(&mut TableState, TableId)) {
    if let Some(table) = state.table()
        && let Some(looked_at) = state.tables.get_mut(&table)
    {
        change(looked_at, table);
    }
}

fn visible_columns(state: &State) -> Vec<usize> {
    let placed = state.table().map(|table| state.placed_columns(table));
    let placed = placed.unwrap_or_default();
    placed.iter().map(|place| place.index).collect()
}

fn pan_right(state: &mut State) {
    let visible = visible_columns(state);
    let table = state.table();
    let last = table.and_then(|table| state.columns(table).last().copied());
    if visible.last().copied() != last {
        on_table(state, |t, _| t.pan += 1);
    }
}

/// Changes what is being typed: a command, otherwise the filter.
fn edit_typed(state: &mut State, edit: impl FnOnce(&mut String)) {
    match &mut state.palette {
        Some(palette) => palette::edit(palette, edit),
        None => edit_filter(state, edit),
    }
}

fn edit_filter(state: &mut State, edit: impl FnOnce(&mut String)) {
    on_table(state, |t, table| {
        let mut text = t.filter_text.clone();
        edit(&mut text);
        t.set_filter(table, text);
    });
}

/// What was not understood stays open, with the spot marked.
fn accept_filter(state: &mut State) {
    let Some(table) = state.table() else { return };
    state.editing = state.table_state(table).filter_error.is_some();
}

fn sort_neighbour(state: &mut State, forward: bool) {
    let visible = visible_columns(state);
    on_sort(state, |sort, table| {
        let here = visible.iter().position(|c| *c == sort.column);
        let there = match (here, forward) {
            (None, _) => 0,
            (Some(n), true) => (n + 1) % visible.len(),
            (Some(n), false) => (n + visible.len() - 1) % visible.len(),
        };
        if let Some(column) = visible.get(there) {
            sort_by(sort, table, *column);
        }
    });
}

/// Changes how the table on screen is sorted.
fn on_sort(state: &mut State, change: impl FnOnce(&mut Sort, TableId)) {
    let Some(table) = state.table() else { return };
    let mut sort = state.sort(table);
    change(&mut sort, table);
    on_table(state, |t, _| t.sort = sort);
}

fn sort_by(sort: &mut Sort, table: TableId, column: usize) {
    if let Some(head) = tables::heads(table).get(column) {
        *sort = Sort {
            column,
            descending: head.starts_descending(),
        };
    }
}
