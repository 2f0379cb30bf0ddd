//! The command palette: what can be done here, found by a few letters of it.
//!
//! Its entries are the bindings that hold in what lies below it, so that each does what
//! its key would do.

use std::cmp::Reverse;

use ratatui::layout::Rect;

use super::{
    Action, State,
    bindings::{self, Binding, Where},
    fuzzy,
};

/// What was typed, and where the cursor is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Palette {
    /// The letters.
    pub typed: String,
    /// Which of the entries is under the cursor.
    pub row: usize,
}

/// Rows of entries at most.
const ROWS: u16 = 12;

/// Where the palette lies over a view: at its lower end, next to what is typed.
pub fn area(body: Rect) -> Rect {
    let height = body.height.min(ROWS + 1);
    Rect {
        y: body.bottom() - height,
        height,
        ..body
    }
}

/// What can be done below the palette and matches what was typed, the best first.
pub fn entries(state: &State) -> Vec<&'static Binding> {
    let typed = state.palette.as_ref().map_or("", |p| p.typed.as_str());
    let mut seen = Vec::new();
    let mut matching: Vec<(u32, &Binding)> = Vec::new();
    for binding in bindings::below_palette(state) {
        if seen.contains(&binding.name) {
            continue;
        }
        seen.push(binding.name);
        let by_help = || says(binding.help, typed).then_some(0);
        if let Some(points) = fuzzy::score(binding.name, typed).or_else(by_help) {
            matching.push((points, binding));
        }
    }
    if typed.trim().is_empty() {
        // What ends or stops the program is nobody's first wish.
        matching.sort_by_key(|(_, binding)| binding.at == Where::Always);
    } else {
        matching.sort_by_key(|(points, _)| Reverse(*points));
    }
    matching.into_iter().map(|(_, binding)| binding).collect()
}

/// A sentence has the words that were typed: letters alone are in any of that length.
fn says(help: &str, typed: &str) -> bool {
    let help = help.to_lowercase();
    let mut words = typed.split_whitespace();
    words.all(|word| help.contains(&word.to_lowercase()))
}

/// The first entry in sight, so that the cursor is among `height` of them.
pub fn first(row: usize, height: usize) -> usize {
    (row + 1).saturating_sub(height)
}

/// Opens or closes it.
pub(super) fn toggle(state: &mut State) {
    state.palette = match state.palette {
        Some(_) => None,
        None => Some(Palette::default()),
    };
}

/// Closes it; what was under the cursor is to be done.
pub(super) fn choose(state: &mut State) -> Option<Action> {
    let row = state.palette.as_ref()?.row;
    let chosen = entries(state)
        .get(row)
        .map(|binding| binding.action.clone());
    state.palette = None;
    chosen
}

/// Changes what was typed; the cursor goes to the best match.
pub(super) fn edit(palette: &mut Palette, edit: impl FnOnce(&mut String)) {
    edit(&mut palette.typed);
    palette.row = 0;
}
