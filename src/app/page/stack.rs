//! A stack: by default what matters of it, with the plumbing folded away.

use crate::{
    app::Tone,
    model::{Resolved, StackFrame},
};

use super::{Line, wrap};

/// The frames, innermost first; runs of plumbing become one line unless `all`
/// are wanted.
pub(super) fn lines(resolved: &Resolved, all: bool, width: usize) -> Vec<Line> {
    let mut lines = Vec::from(Line::heading(if all {
        "Stack, innermost first (a: fold)"
    } else {
        "Stack, innermost first (a: all frames)"
    }));
    let frames = &resolved.frames;
    let mut folded = 0;
    for (n, frame) in frames.iter().enumerate() {
        if frame.plumbing && !frame.culprit && !all {
            folded += 1;
            continue;
        }
        lines.extend(fold(&mut folded));
        lines.extend(one(n, frame, width));
    }
    lines.extend(fold(&mut folded));
    if let Some(problem) = resolved.missing() {
        lines.extend(Line::paragraph(problem, Tone::Notice, 2, width));
    }
    lines
}

fn fold(folded: &mut usize) -> Option<Line> {
    let n = std::mem::take(folded);
    let s = if n == 1 { "" } else { "s" };
    (n > 0).then(|| {
        Line::new(
            &format!("      · {n} frame{s} of runtime and library"),
            Tone::Dim,
        )
    })
}

fn one(n: usize, frame: &StackFrame, width: usize) -> Vec<Line> {
    let (mark, tone) = match (frame.culprit, frame.plumbing) {
        (true, _) => ("▶", Tone::Critical),
        (false, true) => (" ", Tone::Dim),
        (false, false) => (" ", Tone::Strong),
    };
    let indent = 8;
    let text = wrap(&frame.function, width.saturating_sub(indent));
    let mut lines: Vec<Line> = text
        .into_iter()
        .enumerate()
        .map(|(part, text)| match part {
            0 => Line(vec![(format!("  {mark} {n:>3} "), tone), (text, tone)]),
            _ => Line(vec![(" ".repeat(indent), tone), (text, tone)]),
        })
        .collect();
    if let Some(place) = frame.location() {
        let place = format!("at {place}");
        let tone = if frame.culprit {
            Tone::Strong
        } else {
            Tone::Dim
        };
        lines.extend(Line::paragraph(&place, tone, indent + 2, width));
    }
    lines
}
