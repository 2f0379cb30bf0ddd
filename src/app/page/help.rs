//! The help: all keys, made from the binding table; the columns of the table on
//! screen; the filter's grammar.

use crate::app::{Head, State, Tone, bindings, tables};

use super::{Line, wrap};

const KEYS: usize = 14;

pub(super) fn lines(state: &State, width: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    for section in bindings::sections() {
        lines.extend(Line::heading(section.title));
        for binding in section.bindings {
            let keys = bindings::names(&state.options.keys, binding);
            lines.extend(entry(&keys, binding.help, Tone::Key, width));
        }
    }
    if let Some(table) = state.table() {
        lines.extend(Line::heading(
            "Columns here (name in a filter, heading, meaning)",
        ));
        let heads = tables::heads_for(table, state.model());
        let (unknown, known): (Vec<&Head>, Vec<&Head>) = heads.iter().partition(|h| h.unknown);
        for head in known {
            let meaning = format!("{}: {}", head.title, head.help);
            lines.extend(entry(head.id, &meaning, Tone::Strong, width));
        }
        if !unknown.is_empty() {
            let titles: Vec<&str> = unknown.iter().map(|head| head.title).collect();
            let text = format!(
                "left out, because nothing in this session can say it: {}",
                titles.join(", ")
            );
            lines.extend(Line::paragraph(&text, Tone::Dim, 2, width));
        }
        lines.extend(Line::heading("Filter"));
        for (example, meaning) in bindings::FILTERS {
            lines.extend(entry(example, meaning, Tone::Strong, width));
        }
    }
    lines.extend(Line::heading("Mouse"));
    lines.extend(Line::paragraph(
        "click selects a row, again opens it; a click on a heading sorts, on a tab opens it; the wheel scrolls",
        Tone::Text,
        2,
        width,
    ));
    // The first heading needs no space above.
    lines.remove(0);
    lines
}

fn entry(name: &str, meaning: &str, tone: Tone, width: usize) -> Vec<Line> {
    let text = wrap(meaning, width.saturating_sub(KEYS + 3));
    let label = |n: usize| {
        if n == 0 {
            format!("  {name:<KEYS$} ")
        } else {
            " ".repeat(KEYS + 3)
        }
    };
    text.into_iter()
        .enumerate()
        .map(|(n, text)| Line(vec![(label(n), tone), (text, Tone::Text)]))
        .collect()
}
