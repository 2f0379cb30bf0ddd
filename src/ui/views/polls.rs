//! The polls that took too long, over time: a panel of the overview where the loop's lag
//! cannot be known.
//!
//! ```text
//! ─ Polls over 10 ms  3, longest 302 ms ─
//!        █        █                   █
//! ▁▁▁▁▁▁▁█▁▁▁▁▁▁▁▁█▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁█▁
//! ```

use std::borrow::Cow;

use ratatui::layout::Rect;

use crate::{
    app::{State, Tone, page, quantity},
    model::{Capability, Model, Moment, Span, Stall},
};

use super::super::{Painter, chart};

/// Newest stalls that are looked at.
const LOOKED_AT: usize = 2_000;
/// A poll over this is shown by its tone.
const ALARM_MS: f64 = 100.0;
/// The chart is never of less: short polls must not look like a mountain range.
const LEAST_MS: f64 = 50.0;

pub(super) fn render(state: &State, area: Rect, painter: &mut Painter<'_>) {
    let model = state.model();
    let threshold = quantity::duration(model.session.stall_threshold);
    let mut title: Vec<(Cow<'_, str>, Tone)> =
        vec![(format!("Polls over {threshold}").into(), Tone::Title)];
    let inner = Rect {
        y: area.y + 1,
        height: area.height.saturating_sub(1),
        ..area
    };
    if let Some(reason) = model.session.missing(Capability::Stalls) {
        painter.rule(area, title);
        return super::paragraph(&format!("– {reason}"), Tone::Dim, area, 1, painter);
    }
    let long = long_polls(model, state.span);
    let Some(longest) = long.iter().map(|stall| stall.age(model.now)).max() else {
        painter.rule(area, title);
        return none(model, state.span, inner, painter);
    };
    let tone = if longest.as_secs_f64() * 1e3 >= ALARM_MS {
        Tone::Critical
    } else {
        Tone::Strong
    };
    let count = quantity::count(long.len() as u64);
    title.push((format!("  {count}, longest ").into(), Tone::Dim));
    title.push((quantity::duration(longest).into(), tone));
    painter.rule(area, title);
    let columns = columns(model, &long, state.span, usize::from(area.width));
    let most = columns.iter().flatten().copied().fold(LEAST_MS, f64::max);
    chart::bars(&columns, most, ALARM_MS, inner, painter);
}

/// The polls of the span that kept others waiting.
fn long_polls(model: &Model, span: Span) -> Vec<&Stall> {
    let begin = model.now.minus(span.duration());
    let newest = model.stalls.iter().take(LOOKED_AT);
    let lately = newest.filter(|stall| stall.overlaps(begin, model.now));
    lately.filter(|stall| !stall.is_in_place()).collect()
}

/// That there was none, in how long a time, and why there is no lag instead.
fn none(model: &Model, span: Span, area: Rect, painter: &mut Painter<'_>) {
    let Some(since) = model.since else {
        return super::paragraph("– nothing seen yet", Tone::Dim, area, 0, painter);
    };
    let watched = model.now.since(since).min(span.duration());
    let text = format!("✓ none in the last {}", quantity::duration(watched));
    painter.put(
        area.x + 1,
        area.y,
        area.width.saturating_sub(1),
        &text,
        Tone::Good,
    );
    let Some(reason) = model.session.missing(Capability::Lag) else {
        return;
    };
    let width = area.width.saturating_sub(4);
    let lines = page::wrap(&format!("– loop lag: {reason}"), usize::from(width));
    // Half a sentence helps nobody.
    if lines.len() < usize::from(area.height) {
        super::paragraph(&lines.join(" "), Tone::Dim, area, 1, painter);
    }
}

/// The longest of them in each part of the span, in ms; 0 where there was none, and
/// unknown before anything was observed.
fn columns(model: &Model, long: &[&Stall], span: Span, count: usize) -> Vec<Option<f64>> {
    let window = span.duration();
    let ago = |at: Moment| model.now.since(at).min(window).as_secs_f64() / window.as_secs_f64();
    let column = |at: Moment| {
        let from_right = (ago(at) * count as f64) as usize;
        count.saturating_sub(1).saturating_sub(from_right)
    };
    let mut columns = vec![None; count];
    if let (Some(since), true) = (model.since, count > 0) {
        columns[column(since)..].fill(Some(0.0));
        for stall in long {
            let ms = stall.age(model.now).as_secs_f64() * 1e3;
            for value in &mut columns[column(stall.started)..=column(stall.end(model.now))] {
                *value = Some(value.map_or(ms, |other: f64| other.max(ms)));
            }
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use looptop_wire::proto;

    use crate::model::fixtures;

    use super::*;

    #[test]
    fn each_part_of_the_span_has_its_longest_poll() {
        let mut model = Model::new(&fixtures::hello());
        let s = 1_000_000_000;
        let stall = |id, started_at_ns, ms: u64| proto::Stall {
            id,
            state: proto::StallState::Ended.into(),
            started_at_ns,
            duration_ns: ms * 1_000_000,
            ..proto::Stall::default()
        };
        let first = fixtures::frame(Moment(90 * s));
        model.apply(&first).unwrap();
        let mut frame = fixtures::frame(Moment(100 * s));
        frame.stalls = vec![
            stall(1, 95 * s, 20),
            stall(2, 95 * s + 30_000_000, 700),
            stall(3, 97 * s, 2_000),
            stall(4, 10 * s, 50),
        ];
        model.apply(&frame).unwrap();
        let long = long_polls(&model, Span::TenSeconds);
        assert_eq!(long.len(), 3, "one was before");
        let all = columns(&model, &long, Span::TenSeconds, 10);
        let known: Vec<f64> = all.iter().map(|value| value.unwrap_or(-1.0)).collect();
        assert_eq!(
            known,
            [
                0.0, 0.0, 0.0, 0.0, 20.0, 700.0, 2_000.0, 2_000.0, 2_000.0, 0.0
            ]
        );
        let minute = columns(&model, &long, Span::Minute, 6);
        assert_eq!(minute[0], None, "nothing was observed");
        assert_eq!(minute[5], Some(2_000.0));
        assert_eq!(columns(&model, &long, Span::Minute, 0), []);
    }
}
