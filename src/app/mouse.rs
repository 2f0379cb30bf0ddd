//! What a click or the wheel means, by where it happens.

use ratatui::layout::Rect;

use super::{
    Action, Mode, Motion, RowKey, State, page,
    screen::{GUTTER, Screen, within},
    views::{self, ViewId},
};

/// What a mouse does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mouse {
    /// The left button went down.
    Click,
    /// The wheel turned up.
    WheelUp,
    /// The wheel turned down.
    WheelDown,
}

/// Rows that one notch of the wheel scrolls.
const NOTCH: i16 = 3;

/// Columns between two tabs, and before the first.
const TAB_GAP: u16 = 2;

/// A view's tab.
#[derive(Debug, Clone, Copy)]
pub struct Tab {
    /// Where it is.
    pub place: Rect,
    /// Its view.
    pub view: ViewId,
    /// Its name, as long as there is room for.
    pub title: &'static str,
}

/// The tabs with their places; their names are short where the long ones do not
/// all fit.
pub fn tabs(state: &State, area: Rect) -> Vec<Tab> {
    let width = |title: &str| u16::try_from(title.len() + 2).unwrap_or(u16::MAX);
    let shown = views::shown(state);
    let all = |gap: u16| {
        let widths = shown.iter().map(|id| width(id.view().title) + gap);
        widths.sum::<u16>() + 1
    };
    let gap = if all(TAB_GAP) > area.width {
        1
    } else {
        TAB_GAP
    };
    let short = all(gap) > area.width;
    let mut x = area.x + 1;
    shown
        .iter()
        .map(|id| {
            let view = id.view();
            let title = if short && *id != state.view {
                view.short
            } else {
                view.title
            };
            let place = Rect::new(x, area.y, width(title), 1).intersection(area);
            x += width(title) + gap;
            Tab {
                place,
                view: *id,
                title,
            }
        })
        .collect()
}

/// The action of a mouse event at a place; what has none is `None`.
pub fn action(state: &State, mouse: Mouse, x: u16, y: u16) -> Option<Action> {
    let screen = Screen::new(state.size)?;
    match mouse {
        Mouse::WheelUp => return Some(Action::Move(Motion::By(-NOTCH))),
        Mouse::WheelDown => return Some(Action::Move(Motion::By(NOTCH))),
        Mouse::Click => {}
    }
    if let Some(tab) = tabs(state, screen.tabs)
        .iter()
        .find(|tab| within(tab.place, x, y))
    {
        return Some(Action::Show(tab.view));
    }
    if page::is_open(state) || state.takes_text() {
        return None;
    }
    if state.lab_has_keys() {
        return on_lab(state, screen.body, x, y);
    }
    let Some(table) = state.table() else {
        return on_overview(state, screen.body, x, y);
    };
    let area = state.table_area()?;
    if within(area.head, x, y) {
        let placed = state.placed_columns(table);
        let x = (x - area.head.x).saturating_sub(GUTTER);
        let column = placed.iter().find(|p| (p.x..=p.x + p.width).contains(&x))?;
        return Some(Action::SortBy(column.index));
    }
    if within(area.rows, x, y) {
        return select(state, state.cursor().offset + usize::from(y - area.rows.y));
    }
    None
}

fn on_overview(state: &State, body: Rect, x: u16, y: u16) -> Option<Action> {
    let list = super::overview::lists(state, body)
        .into_iter()
        .find(|list| within(list.rows, x, y))?;
    select(
        state,
        list.first + list.offset + usize::from(y - list.rows.y),
    )
    .filter(|action| matches!(action, Action::Select(row) if *row < list.first + list.len))
}

/// A click chooses a scenario; it never switches one by accident.
fn on_lab(state: &State, body: Rect, x: u16, y: u16) -> Option<Action> {
    let layout = super::lab::Layout::new(body);
    let rows = layout.rows();
    if state.mode() == Mode::Presenter || !within(rows, x, y) {
        return None;
    }
    let len = state.lab.scenarios().len();
    let row = layout.first(state.lab.row(), len) + usize::from(y - rows.y);
    (row < len).then_some(Action::Select(row))
}

/// A click on the row under the cursor opens it.
fn select(state: &State, row: usize) -> Option<Action> {
    let key: &RowKey = state.rows.keys().get(row)?;
    if state.cursor().row == row && state.cursor().key.as_ref() == Some(key) {
        return Some(Action::Open);
    }
    Some(Action::Select(row))
}
