//! Pages: text that covers the view and scrolls, line by line.
//!
//! A page is made of lines that are already escaped and fit the width, so that
//! scrolling knows where the end is.

mod activity;
mod chain;
mod explain;
mod facts;
mod help;
mod line;
mod link;
mod resource;
mod stack;
mod stall;
mod task;
mod thread;
mod waits;

pub use line::{Line, wrap};
pub use link::{Link, LinkId, Page};
pub use stall::worker_lines;

use super::{Details, Overlay, Screen, State, tables};

/// What a page is called, in its top rule.
pub fn title(state: &State) -> String {
    match (&state.overlay, state.details) {
        (Some(Overlay::Help), _) => "Help".to_owned(),
        (Some(Overlay::Explain(rule, _)), _) => format!("Explain: {rule}"),
        (None, Some(Details::Task(id))) => match state.model().tasks.get(id) {
            Some(task) => {
                let name = state.model().task_name(task).unwrap_or_default();
                let text = format!("Task {} {name}", task.tokio_id().unwrap_or(id.0));
                text.trim_end().to_owned()
            }
            None => format!("Task {id}"),
        },
        (None, Some(Details::Stall(_))) => "Stall".to_owned(),
        (None, Some(Details::Thread(tid))) => format!("Thread {tid}"),
        (None, Some(Details::Resource(id))) => match state.model().resources.get(id) {
            Some(r) => format!(
                "Resource {} {}",
                r.number,
                tables::resource_name(state.model(), id)
            ),
            None => "Resource".to_owned(),
        },
        (None, None) => String::new(),
    }
}

/// A page is open.
pub fn is_open(state: &State) -> bool {
    state.overlay.is_some() || state.details.is_some()
}

/// Rows that a page has for its lines, below its rule.
pub fn height(state: &State) -> usize {
    Screen::new(state.size).map_or(0, |s| usize::from(s.body.height).saturating_sub(1))
}

/// The lines of the page that is open.
pub fn lines(state: &State) -> Option<Vec<Line>> {
    Some(page(state)?.lines)
}

/// The page that is open.
pub fn page(state: &State) -> Option<Page> {
    let width = usize::from(state.size.width).saturating_sub(2);
    match (&state.overlay, state.details) {
        (Some(Overlay::Help), _) => Some(help::lines(state, width).into()),
        (Some(Overlay::Explain(rule, subject)), _) => {
            Some(explain::lines(state, rule, subject, width).into())
        }
        (None, Some(Details::Task(id))) => Some(task::page(state, id, width)),
        (None, Some(Details::Stall(id))) => Some(stall::page(state, id, width)),
        (None, Some(Details::Thread(tid))) => Some(thread::page(state, tid, width)),
        (None, Some(Details::Resource(id))) => Some(resource::page(state, id, width)),
        (None, None) => None,
    }
}
