//! The futures of an await chain in columns: what each is called, where it waits, and how
//! for those below it.

use crate::{
    app::{
        State, Tone,
        waits::chain::{self, Row, What},
    },
    diagnose::waits::{Whose, whose},
    escape,
    model::{AwaitLink, TaskWait},
};

use super::{Line, waits::INDENT};

/// How wide the columns of a chain are.
pub(super) struct Layout {
    name: usize,
    place: usize,
    whole_places: bool,
}

/// Between two columns.
const GAP: usize = 2;

impl Layout {
    pub(super) fn new(state: &State, wait: &TaskWait, rows: &[Row], width: usize) -> Self {
        let room = width.saturating_sub(INDENT.len());
        let mut names = 0;
        let mut hows = 0;
        let mut places = [0; 2];
        for row in rows {
            let What::Future { node, how, .. } = &row.what else {
                continue;
            };
            let name = name(state, wait, *node, how);
            names = names.max(row.rails.chars().count() + columns(&name));
            if !is_of_macro(state, wait, *node) {
                hows = hows.max(columns(how));
            }
            for (whole, widest) in [true, false].into_iter().zip(&mut places) {
                *widest = (*widest).max(columns(&place(state, wait, *node, whole)));
            }
        }
        let most = room * 11 / 20;
        let rest = |place: usize| names.min(most) + GAP + place + GAP + hows;
        let whole_places = rest(places[0]) <= room;
        let place = if whole_places { places[0] } else { places[1] };
        Self {
            // What the others leave.
            name: names.min(room.saturating_sub(place + hows + 2 * GAP).max(most)),
            place: place.min(room / 3),
            whole_places,
        }
    }

    /// The row of a future.
    pub(super) fn line(
        &self,
        state: &State,
        wait: &TaskWait,
        row: &Row,
        (node, is_own): (usize, bool),
        how: &str,
    ) -> Line {
        let whole = state.all_frames;
        let (strong, text) = if is_own {
            (Tone::Strong, Tone::Text)
        } else {
            (Tone::Dim, Tone::Dim)
        };
        let line = Line::new(&format!("{INDENT}{}", row.rails), Tone::Border);
        let used = row.rails.chars().count();
        let name = name(state, wait, node, how);
        let name = if whole {
            name
        } else {
            end_of_path(&name, self.name.saturating_sub(used))
        };
        let spare = self.name.saturating_sub(used + columns(&name));
        let line = line.and(&name, strong);
        let place = place(state, wait, node, self.whole_places);
        let place = end_of(&place, self.place);
        let how = if is_of_macro(state, wait, node) {
            ""
        } else {
            how
        };
        if place.is_empty() && how.is_empty() {
            return line;
        }
        let gap = " ".repeat(spare + GAP);
        let line = line.and(&gap, Tone::Text).and(&place, text);
        if how.is_empty() {
            return line;
        }
        let gap = " ".repeat(self.place.saturating_sub(columns(&place)) + GAP);
        line.and(&gap, Tone::Text).and(how, Tone::Text)
    }
}

/// A row that is nothing but how a macro's future waits.
fn is_of_macro(state: &State, wait: &TaskWait, node: usize) -> bool {
    chain::is_of_macro(state.model(), &wait.shape.nodes[node])
}

fn name(state: &State, wait: &TaskWait, node: usize, how: &str) -> String {
    let model = state.model();
    let of = &wait.shape.nodes[node];
    let name = if is_of_macro(state, wait, node) && !how.is_empty() {
        how.to_owned()
    } else {
        chain::future_name(model, of)
    };
    let name = escape::escaped(&name);
    match of.link {
        AwaitLink::Kept => format!("kept, not polled: {name}"),
        AwaitLink::NotStarted => format!("not polled yet: {name}"),
        AwaitLink::Awaited | AwaitLink::Unknown => name.into_owned(),
    }
}

/// Where a future waits: with the whole path, or its last part. Lines of libraries help
/// nobody, unless one looks at all of a chain.
fn place(state: &State, wait: &TaskWait, node: usize, whole: bool) -> String {
    let model = state.model();
    let of = &wait.shape.nodes[node];
    let is_wanted = state.all_frames || whose(model, of) != Whose::Plumbing;
    let Some(location) = model.location(of.location).filter(|_| is_wanted) else {
        return String::new();
    };
    let text = location.to_string();
    let text = match text.rfind(['/', '\\']) {
        Some(at) if !whole => &text[at + 1..],
        _ => &text,
    };
    escape::escaped(text).into_owned()
}

/// Columns of escaped text.
fn columns(text: &str) -> usize {
    text.chars().map(escape::char_width).sum()
}

/// A path without as many of its first parts as it takes to fit.
fn end_of_path(path: &str, width: usize) -> String {
    if columns(path) <= width {
        return path.to_owned();
    }
    let mut parts = path.match_indices("::").map(|(at, _)| &path[at + 2..]);
    match parts.find(|rest| columns(rest) < width) {
        Some(rest) => format!("…{rest}"),
        None => end_of(path, width),
    }
}

/// The end of a text that is too wide.
fn end_of(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut used = 1;
    let kept: Vec<char> = text
        .chars()
        .rev()
        .take_while(|c| {
            used += escape::char_width(*c);
            used <= width
        })
        .collect();
    std::iter::once('…').chain(kept.into_iter().rev()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_between_their_parts() {
        for (path, width, expected) in [
            ("shop::pool::get", 15, "shop::pool::get"),
            ("shop::pool::get", 14, "…pool::get"),
            ("shop::pool::get", 9, "…get"),
            ("shop::pool::get", 3, "…et"),
            ("日本語::名前", 9, "…名前"),
        ] {
            assert_eq!(end_of_path(path, width), expected);
            assert!(columns(&end_of_path(path, width)) <= width);
        }
    }
}
