//! Where the parts of the overview are, and which rows its lists show.
//!
//! ```text
//! lag chart        | workers
//! process, host, tasks; where these wait; gauges
//! findings         | spawn locations     (one above the other if narrow)
//! ```

use ratatui::layout::Rect;

use super::{RowKey, State, waits};

/// The panels; one without height is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Panels {
    /// Loop lag over time.
    pub lag: Rect,
    /// The workers.
    pub workers: Rect,
    /// Process, host and gauges.
    pub process: Rect,
    /// The findings.
    pub findings: Rect,
    /// The worst spawn locations.
    pub sites: Rect,
}

/// A part of the cursor's list in one panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct List {
    /// Where its rows are.
    pub rows: Rect,
    /// Its first row's number in the cursor's list.
    pub first: usize,
    /// How many it has.
    pub len: usize,
    /// How many of them are above the panel's first line.
    pub offset: usize,
}

impl Panels {
    /// Divides the body for so many workers, findings and lines on the process.
    pub fn new(body: Rect, workers: usize, findings: usize, process: u16) -> Self {
        let tall = body.height;
        let process = if tall >= 12 { process.max(1) } else { 1 };
        let wanted = u16::try_from(workers.max(3))
            .unwrap_or(u16::MAX)
            .saturating_add(1);
        let wanted = wanted.max(tall / 4);
        let most = if tall >= 30 {
            tall / 2
        } else {
            (tall * 2 / 5).max(4)
        };
        let top = wanted.clamp(4, most).min(tall);
        let left = (body.width * 2 / 5).max(26).min(body.width);
        let rest = tall.saturating_sub(top + process);
        let part = |x: u16, y: u16, width: u16, height: u16| {
            Rect::new(body.x + x, body.y + y, width, height).intersection(body)
        };
        let below = top + process;
        let (findings, sites) = if body.width >= 120 {
            let half = body.width * 3 / 5;
            (
                part(0, below, half, rest),
                part(half + 1, below, body.width - half - 1, rest),
            )
        } else {
            // Findings get what they need, the locations at least four lines.
            let needed = u16::try_from(findings.max(1))
                .unwrap_or(u16::MAX)
                .saturating_add(1);
            let upper = if rest < 8 {
                needed.clamp(2, 4).min(rest)
            } else {
                needed.clamp(3, rest - 4)
            };
            (
                part(0, below, body.width, upper),
                part(0, below + upper, body.width, rest - upper),
            )
        };
        Self {
            lag: part(0, 0, left, top),
            workers: part(left + 1, 0, body.width - left - 1, top),
            process: part(0, top, body.width, process),
            findings,
            sites,
        }
    }
}

/// The panels for what the state shows.
pub fn panels(state: &State, body: Rect) -> Panels {
    let shown = state.shown();
    let gauges = u16::from(!shown.model.gauges.is_empty() || shown.model.outside.is_some());
    Panels::new(
        body,
        shown.model.workers.len(),
        shown.findings.len(),
        2 + gauges + u16::from(waits::overview::is_known(state)),
    )
}

/// The lists that the cursor goes through: findings, then workers.
pub fn lists(state: &State, body: Rect) -> [List; 2] {
    let panels = panels(state, body);
    let keys = state.rows.keys();
    let findings = keys
        .iter()
        .take_while(|k| matches!(k, RowKey::Finding(_)))
        .count();
    let cursor = state.cursor().row;
    let list = |panel: Rect, first: usize, len: usize| {
        let height = panel.height.saturating_sub(1);
        let rows = Rect::new(panel.x, panel.y + 1, panel.width, height).intersection(panel);
        let own = cursor.saturating_sub(first).min(len.saturating_sub(1));
        let offset = (own + 1).saturating_sub(usize::from(height));
        List {
            rows,
            first,
            len,
            offset: if cursor < first { 0 } else { offset },
        }
    };
    [
        list(panels.findings, 0, findings),
        list(panels.workers, findings, keys.len() - findings),
    ]
}
