//! Places in source code on a finished screen, `file.rs:42`, which a terminal can make links.

use ratatui::buffer::{Buffer, Cell};

use crate::{
    app::{SourcePlace, State},
    model::StackFrame,
};

/// A place that stands on the screen.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// Its first column.
    pub x: u16,
    /// Its row.
    pub y: u16,
    /// Its cells.
    pub cells: Vec<Cell>,
    /// What it says.
    pub place: SourcePlace,
}

/// Between the end of a file's name and its line.
const ENDING: &str = ".rs:";

/// The places on a screen of this state, each on one row. What is shortened on it is
/// completed from what the state knows, as far as it does.
pub fn links(state: &State, buffer: &Buffer) -> Vec<Link> {
    let width = usize::from(buffer.area.width).max(1);
    let mut links = Vec::new();
    let mut known = None;
    for (y, row) in (0..).zip(buffer.content.chunks(width)) {
        let mut x = 0;
        while x < row.len() {
            let length = row[x..].iter().take_while(|cell| is_part(cell)).count();
            let text: String = row[x..x + length].iter().map(Cell::symbol).collect();
            if let Some(used) = place_in(&text) {
                let known = known.get_or_insert_with(|| known_places(state));
                let is_cut = x > 0 && row[x - 1].symbol() == "…";
                if let Some(place) = completed(&text[..used], is_cut, known) {
                    links.push(Link {
                        x: x as u16,
                        y,
                        cells: row[x..x + used].to_vec(),
                        place,
                    });
                }
            }
            x += length.max(1);
        }
    }
    links
}

/// It can be a part of a path with a line; each is one column of ASCII.
fn is_part(cell: &Cell) -> bool {
    let mut bytes = cell.symbol().bytes();
    let first = bytes.next();
    let part = |b: u8| b.is_ascii_alphanumeric() || b"/._-+:".contains(&b);
    first.is_some_and(part) && bytes.next().is_none()
}

/// How much of a text is a path with a line, from its beginning.
fn place_in(text: &str) -> Option<usize> {
    let line = text.find(ENDING)? + ENDING.len();
    let digits = text[line..].bytes().take_while(u8::is_ascii_digit).count();
    (digits > 0).then_some(line + digits)
}

/// The places of what was found and of the stacks of the page, as the target has them.
fn known_places(state: &State) -> Vec<String> {
    let findings = &state.shown().findings;
    let mut known: Vec<String> = Vec::new();
    for finding in findings.iter() {
        known.push(finding.location.clone());
        let stack = finding.stack.iter();
        let frames = stack.flat_map(|stack| &stack.frames);
        known.extend(frames.filter_map(StackFrame::location));
    }
    known.extend(
        state
            .source_place()
            .map(|p| format!("{}:{}", p.file, p.line)),
    );
    known
}

/// What a text on the screen means: the only one that is known to end so, otherwise itself;
/// nothing for what was cut at its beginning.
fn completed(text: &str, is_cut: bool, known: &[String]) -> Option<SourcePlace> {
    let ends_so = |place: &&String| {
        let before = place.strip_suffix(text);
        before.is_some_and(|before| is_cut || before.is_empty() || before.ends_with('/'))
    };
    let mut all = known.iter().filter(ends_so);
    let found = all.next();
    let ambiguous = all.any(|other| Some(other) != found);
    match found.filter(|_| !ambiguous) {
        Some(place) => SourcePlace::parse(place),
        None if is_cut => None,
        None => SourcePlace::parse(text),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::{layout::Rect, style::Style};

    use super::*;
    use crate::app::fixtures::{empty_state, name_stall, starving_state};

    fn found(state: &State, text: &str) -> Vec<(u16, u16, usize, String)> {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 60, 2));
        buffer.set_string(0, 1, text, Style::new());
        let links = links(state, &buffer).into_iter();
        let links = links.map(|link| {
            let place = format!("{}:{}", link.place.file, link.place.line);
            (link.x, link.y, link.cells.len(), place)
        });
        links.collect()
    }

    #[test]
    fn places_are_found_with_their_cells() {
        let state = empty_state();
        for (text, x, length, place) in [
            ("in (src/main.rs:41), 3", 4, 14, "src/main.rs:41"),
            ("/a/b-1.0/c.rs:7", 0, 15, "/a/b-1.0/c.rs:7"),
            ("日 a.rs:1", 3, 6, "a.rs:1"),
        ] {
            assert_eq!(
                found(&state, text),
                [(x, 1, length, place.to_owned())],
                "{text}"
            );
        }
        for text in [
            "src/main.rs",
            "main.rs:",
            "main.rs:x",
            "10:30 a.c:3",
            "…in.rs:41",
            "",
        ] {
            assert_eq!(found(&state, text), [], "{text}");
        }
    }

    #[test]
    fn what_is_shortened_is_completed_where_one_place_is_meant() {
        let mut state = starving_state();
        name_stall(&mut state);
        state.prepare();
        let whole = "demo/src/report.rs:42".to_owned();
        assert_eq!(found(&state, "report.rs:42"), [(0, 1, 12, whole.clone())]);
        assert_eq!(found(&state, "…eport.rs:42"), [(1, 1, 11, whole)]);
        let other = "xreport.rs:42".to_owned();
        assert_eq!(found(&state, "xreport.rs:42"), [(0, 1, 13, other)]);
    }
}
