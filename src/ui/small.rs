//! A terminal below the least size: the verdict and what to do, nothing else.
//!
//! ```text
//! ■ STARVED  worker 2 blocked
//! 843 ms in report::render
//! (cpu.rs:42)
//! → heavy CPU: move it to a
//! dedicated pool (rayon)
//! ```

use ratatui::layout::Rect;

use crate::app::{State, Tone, page::wrap};

use super::{
    Painter,
    painter::shortened,
    verdict::{said, verdict_location},
};

pub(super) fn render(state: &State, painter: &mut Painter<'_>) {
    let area = painter.buffer.area;
    let width = usize::from(area.width);
    let height = usize::from(area.height);
    let said = said(state);
    let lead = format!("{} {}  ", said.glyph, said.word);
    let (sentence, remedy) = (said.sentence.as_str(), said.remedy);
    // A path is longer than a row of such a terminal: its file and line matter.
    let sentence = shortened(sentence, verdict_location(state), 0);
    let verdict = wrap(&format!("{lead}{sentence}"), width);
    let remedy = if remedy.is_empty() {
        Vec::new()
    } else {
        wrap(&format!("→ {remedy}"), width)
    };
    // What to do has the lower half, or what the verdict leaves; in one row it is left out.
    let below = remedy
        .len()
        .min(height.saturating_sub(verdict.len()).max(height / 2));
    let above = height - below;
    let strong = |n: usize| if n == 0 { said.tone } else { Tone::Text };
    let verdict = cut(&verdict, above);
    let remedy = cut(&remedy, below);
    let tones = (0..verdict.len()).map(strong);
    let tones = tones.chain(remedy.iter().map(|_| Tone::Strong));
    let lines = verdict.iter().chain(&remedy);
    for ((line, tone), y) in lines.zip(tones).zip(area.y..area.bottom()) {
        painter.put(area.x, y, area.width, line, tone);
    }
    if let Some(notice) = state.notice()
        && height > 3
    {
        let last = Rect {
            y: area.bottom() - 1,
            height: 1,
            ..area
        };
        painter.put(last.x, last.y, last.width, notice, Tone::BadgeFrozen);
    }
}

/// The first of the lines; what is left over goes on in the last, where it is cut.
fn cut(lines: &[String], most: usize) -> Vec<String> {
    if lines.len() <= most || most == 0 {
        return lines[..most.min(lines.len())].to_vec();
    }
    let mut kept = lines[..most - 1].to_vec();
    kept.push(lines[most - 1..].join(" "));
    kept
}
