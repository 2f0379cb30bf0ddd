//! Stalls by culprit line, and the columns of that table.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    app::{
        Tone,
        column::{Cell, Column, Head, Key, Unit},
        quantity,
    },
    model::{Cause, Model, Moment, Span, Stall, StallId},
};

use super::{stalls, tasks};

/// All stalls of one culprit line.
#[derive(Debug, Clone, PartialEq)]
pub struct StallGroup {
    /// `file:line` of the culprit, or of the spawn location; empty where unknown.
    pub location: String,
    /// The culprit's function; empty where unknown.
    pub function: String,
    /// Why the newest of them took so long.
    pub cause: String,
    /// How many there were.
    pub count: u64,
    /// Those that still go on.
    pub live: u64,
    /// All together.
    pub total: Duration,
    /// The longest.
    pub max: Duration,
    /// Share of one worker over the time span, 1 for a whole one.
    pub share: f64,
    /// The one that shows it best: the newest that lasted longest.
    pub example: StallId,
}

/// Groups the log's stalls; `share` is of the last `span`.
pub fn group(model: &Model, span: Span) -> Vec<StallGroup> {
    let mut groups: BTreeMap<(String, String), StallGroup> = BTreeMap::new();
    let window = window(model, span);
    for stall in model
        .stalls
        .iter()
        .filter(|s| s.cause != Cause::StarvedByHost)
    {
        let location = stalls::location(model, stall);
        let function = stall
            .culprit()
            .map(|c| c.function.clone())
            .unwrap_or_default();
        let age = stall.age(model.now);
        let group = groups
            .entry((location.clone(), function.clone()))
            .or_insert_with(|| StallGroup {
                location,
                function,
                cause: stalls::cause_text(model, stall),
                count: 0,
                live: 0,
                total: Duration::ZERO,
                max: Duration::ZERO,
                share: 0.0,
                example: stall.id,
            });
        group.count += 1;
        group.live += u64::from(stall.live);
        group.total += age;
        if age > group.max {
            group.max = age;
            group.example = stall.id;
        }
        group.share += overlap(stall, model.now, window).as_secs_f64() / window.as_secs_f64();
    }
    groups.into_values().collect()
}

/// The part of the span that was observed.
fn window(model: &Model, span: Span) -> Duration {
    let observed = model
        .since
        .map_or(Duration::ZERO, |since| model.now.since(since));
    let stalled = model
        .stalls
        .iter()
        .map(|s| model.now.since(s.started))
        .max();
    let known = observed.max(stalled.unwrap_or_default());
    span.duration().min(known).max(Duration::from_millis(1))
}

fn overlap(stall: &Stall, now: Moment, window: Duration) -> Duration {
    stall.end(now).since(stall.started.max(now.minus(window)))
}

/// What can be shown of a group.
pub(in crate::app) const COLUMNS: &[Column<StallGroup>] = &[
    Column {
        head: Head::number("count", "COUNT", 5, 0, Unit::Count).help("how many there were"),
        key: |_, g| Key::count(Some(g.count)),
        cell: |_, g, _| Cell::new(quantity::count(g.count), Tone::Text),
    },
    Column {
        head: Head::number("live", "LIVE", 6, 3, Unit::Count).help("those that still go on"),
        key: |_, g| Key::count(Some(g.live)),
        cell: |_, g, _| match g.live {
            0 => Cell::new("0", Tone::Dim),
            n => Cell::new(format!("■ {n}"), Tone::Critical),
        },
    },
    Column {
        head: Head::number("total", "TOTAL", 7, 0, Unit::Time).help("all together"),
        key: |_, g| Key::time(Some(g.total)),
        cell: |_, g, _| Cell::new(quantity::duration(g.total), Tone::Text),
    },
    Column {
        head: Head::number("max", "MAX", 7, 1, Unit::Time).help("the longest"),
        key: |_, g| Key::time(Some(g.max)),
        cell: |_, g, _| Cell::new(quantity::duration(g.max), tasks::age_tone(g.max)),
    },
    Column {
        head: Head::number("share", "SHARE", 5, 1, Unit::Share)
            .help("share of one worker over the time span; 100% is a whole worker lost"),
        key: |_, g| Key::Number(g.share),
        cell: |_, g, _| Cell::new(quantity::percent(g.share), Tone::Text),
    },
    Column {
        head: Head::text("fn", "FUNCTION", 14, 3)
            .growing(2, 50)
            .cut_at_start()
            .searched()
            .help("the culprit's function, from the stack"),
        key: |_, g| Key::text(&g.function),
        cell: |_, g, _| {
            if g.function.is_empty() {
                Cell::unknown()
            } else {
                Cell::new(g.function.clone(), Tone::Strong)
            }
        },
    },
    Column {
        head: Head::text("loc", "LOCATION", 16, 0)
            .growing(3, 60)
            .cut_at_start()
            .searched()
            .help("the blocking line where a stack names it, otherwise the spawn location"),
        key: |_, g| Key::text(&g.location),
        cell: |_, g, _| Cell::text(&g.location),
    },
    Column {
        head: Head::text("cause", "CAUSE", 14, 2)
            .growing(1, 40)
            .searched()
            .help("why one of them took so long"),
        key: |_, g| Key::text(&g.cause),
        cell: |_, g, _| Cell::text(&g.cause),
    },
];

#[cfg(test)]
mod tests {
    use looptop_wire::proto;

    use crate::model::fixtures;

    use super::*;

    #[test]
    fn stalls_of_one_line_are_one_group() {
        let mut model = fixtures::starving();
        let mut frame = fixtures::frame(model.now.plus(Duration::from_millis(100)));
        frame.stalls = (2..5)
            .map(|id| proto::Stall {
                id,
                state: proto::StallState::Ended.into(),
                location: 1,
                started_at_ns: model.now.0 - 5_000_000_000 + id,
                duration_ns: 50_000_000,
                ..proto::Stall::default()
            })
            .collect();
        model.apply(&frame).unwrap();
        let groups = group(&model, Span::Minute);
        let counts: Vec<(u64, u64, Duration)> =
            groups.iter().map(|g| (g.count, g.live, g.max)).collect();
        assert_eq!(
            counts,
            [
                (3, 0, Duration::from_millis(50)),
                (1, 1, Duration::from_millis(943))
            ]
        );
        assert!((groups[1].share - 0.19).abs() < 0.02, "{}", groups[1].share);
    }
}
