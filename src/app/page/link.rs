//! A page's lines, and those among them that lead to other details.

use crate::{
    app::{Details, State},
    diagnose::waits::Party,
    model::{AsyncOpId, ResourceId, StallId, TaskId},
};

use super::{Line, height};

/// What a link stands for: the selection follows it, wherever its line goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkId {
    /// An operation; leads to its task.
    Op(AsyncOpId),
    /// A stall.
    Stall(StallId),
    /// Another task.
    Task(TaskId),
    /// A resource.
    Resource(ResourceId),
    /// One who could end a wait: which one of a chain, and who.
    Holder(u32, Party),
}

/// A line that leads somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Its line.
    pub line: usize,
    /// What it stands for.
    pub id: LinkId,
    /// Where it leads.
    pub to: Details,
}

/// The text of a page.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Escaped, and no wider than the page.
    pub lines: Vec<Line>,
    /// From top to bottom.
    pub links: Vec<Link>,
}

impl From<Vec<Line>> for Page {
    fn from(lines: Vec<Line>) -> Self {
        Self {
            lines,
            links: Vec::new(),
        }
    }
}

impl Page {
    /// Makes the next line a link.
    pub(super) fn link(&mut self, id: LinkId, to: Details) {
        let line = self.lines.len();
        self.links.push(Link { line, id, to });
    }

    /// The selected link: the one chosen, or the first; `None` without any.
    pub fn selected(&self, state: &State) -> Option<usize> {
        let chosen = self.links.iter().position(|l| Some(l.id) == state.link);
        chosen.or((!self.links.is_empty()).then_some(0))
    }

    /// Where a step up or down leads: to the next link where it is in sight,
    /// otherwise a line further. Returns the first line and the link.
    pub fn step(&self, state: &State, down: bool) -> (usize, Option<LinkId>) {
        let page = height(state);
        let last = self.lines.len().saturating_sub(page);
        let scroll = state.scroll.min(last);
        let here = self.selected(state);
        let next = match (here, down) {
            (Some(here), true) => self.links.get(here + 1),
            (Some(here), false) => here.checked_sub(1).and_then(|n| self.links.get(n)),
            (None, _) => None,
        };
        let seen = |scroll: usize, link: &Link| (scroll..scroll + page).contains(&link.line);
        if let Some(link) = next.filter(|link| seen(scroll, link)) {
            return (scroll, Some(link.id));
        }
        let scroll = if down {
            (scroll + 1).min(last)
        } else {
            scroll.saturating_sub(1)
        };
        let link = next.filter(|link| seen(scroll, link)).map(|link| link.id);
        (scroll, link.or(state.link))
    }
}
