//! The table of stalls by culprit line, so that kinds show and not instances.
//!
//! ```text
//! ─ Stalls by culprit  1 live · 31 ended · t: one by one ───────────────────────
//!    LAST        COUNT LONGEST  ▼TOTAL CAUSE        FUNCTION       LOCATION
//!  ■ LIVE   ×31 in 6 s  843 ms   7.1 s computing    app::report    src/service.rs:43
//! ```

use std::{collections::BTreeMap, time::Duration};

use crate::{
    app::{
        Details, Sort, State, Tone,
        column::{Cell, Column, Context, Head, Key, Unit},
        quantity,
        rows::Request,
    },
    diagnose::{Finding, cause_word},
    model::{Cause, Model, Moment, Span, Stall, StallId},
};

use super::{Table, TableId, stalls, tasks};

/// Polls that took too long by culprit line, so that a kind is one row however often
/// it happens.
#[derive(Debug)]
pub struct StallGroups;

impl Table for StallGroups {
    type Row = StallGroup;
    /// Location and function of the culprit.
    type Key = Box<(String, String)>;
    type Made = Vec<StallGroup>;

    const COLUMNS: &'static [Column<StallGroup>] = COLUMNS;
    const SORT: Sort = Sort::descending(COLUMNS, "total");

    fn title(state: &State) -> (&'static str, String) {
        let about = format!(
            "{} · {}: one by one",
            stalls::counts(state),
            state.key_of("group")
        );
        if state.model().session.core_dump {
            ("Polls by culprit", about)
        } else {
            ("Stalls by culprit", about)
        }
    }

    /// A core dump has no times.
    fn fit(heads: &mut [Head], model: &Model) {
        for head in heads {
            head.unknown = model.session.core_dump && TIMED.contains(&head.id);
        }
    }

    fn empty(state: &State) -> String {
        stalls::none_seen(state)
    }

    fn make(context: &Context<'_>, _: &Request) -> Vec<StallGroup> {
        group(context.model, context.span)
    }

    fn rows<'a>(
        _: &'a Model,
        groups: &'a Vec<StallGroup>,
        _: &Request,
    ) -> impl Iterator<Item = &'a StallGroup> {
        groups.iter()
    }

    fn key(group: &StallGroup) -> Self::Key {
        Box::new((group.location.clone(), group.function.clone()))
    }

    fn row<'a>(
        _: &'a Model,
        groups: &'a Vec<StallGroup>,
        key: &Self::Key,
    ) -> Option<&'a StallGroup> {
        groups
            .iter()
            .find(|g| g.location == key.0 && g.function == key.1)
    }

    fn finding<'a>(state: &'a State, key: &Self::Key) -> Option<&'a Finding> {
        let group = state.rows.row::<Self>(state.model(), key)?;
        state.finding_of_stall(group.example)
    }

    /// The stalls of several, the details of one.
    fn open(state: &mut State, key: &Self::Key) {
        let Some(group) = state.rows.row::<Self>(state.model(), key) else {
            return;
        };
        let filter = group.filter();
        if group.count > 1 && !filter.is_empty() {
            state.grouped = false;
            state.opened_group = Some(filter.clone());
            return state.set_filter(TableId::Stalls, filter);
        }
        let details = Details::Stall(group.example);
        state.show_details(details);
    }
}

/// Stalls by culprit again; the filter that shows those of one culprit goes.
pub(in crate::app) fn close_group(state: &mut State) {
    state.grouped = true;
    let opened = state.opened_group.take();
    let typed = &state.table_state(TableId::Stalls).filter_text;
    if opened.as_ref() == Some(typed) {
        state.set_filter(TableId::Stalls, String::new());
    }
}

/// All stalls of one culprit line.
#[derive(Debug, Clone, PartialEq)]
pub struct StallGroup {
    /// `file:line` of the culprit, or of the spawn location; empty where unknown.
    pub location: String,
    /// The culprit's function; empty where unknown.
    pub function: String,
    /// Why they took so long: the known cause that took the most time.
    pub cause: String,
    /// How many there were.
    pub count: u64,
    /// Those that still go on.
    pub live: u64,
    /// When the first of them began.
    pub first: Moment,
    /// When the newest of them ended; the model's now while one goes on.
    pub last: Moment,
    /// All together.
    pub total: Duration,
    /// The longest.
    pub max: Duration,
    /// Share of one worker over the time span, 1 for a whole one.
    pub share: f64,
    /// The one that shows it best: the newest that lasted longest.
    pub example: StallId,
}

/// What stands for the function of stalls that no code is to blame for.
const HOST: &str = "the host";

impl StallGroup {
    /// The filter that leaves the stalls of this group alone; empty where it has
    /// nothing to be recognised by.
    pub fn filter(&self) -> String {
        let quoted = |text: &str| text.replace('"', "");
        match (self.function.as_str(), self.location.as_str()) {
            (HOST, "") => format!("cause:\"{}\"", cause_word(Cause::StarvedByHost)),
            ("", "") => String::new(),
            ("", location) => format!("loc:\"{}\"", quoted(location)),
            (function, "") => format!("fn:\"{}\"", quoted(function)),
            (function, location) => {
                format!("fn:\"{}\" loc:\"{}\"", quoted(function), quoted(location))
            }
        }
    }
}

/// Whom a stall is laid to: location and function of the culprit, or the host.
fn blamed(model: &Model, stall: &Stall) -> (String, String) {
    if stall.cause == Cause::StarvedByHost {
        return (String::new(), HOST.to_owned());
    }
    let function = stall.culprit().map(|c| c.function.clone());
    (stalls::location(model, stall), function.unwrap_or_default())
}

/// Groups the log's stalls; `share` is of the last `span`.
pub fn group(model: &Model, span: Span) -> Vec<StallGroup> {
    let mut groups: BTreeMap<(String, String), StallGroup> = BTreeMap::new();
    let mut causes: BTreeMap<(String, String), BTreeMap<String, Duration>> = BTreeMap::new();
    let window = window(model, span);
    for stall in model.stalls.iter() {
        let (location, function) = blamed(model, stall);
        let age = stall.age(model.now);
        if stall.cause != Cause::Unknown {
            let known = causes.entry((location.clone(), function.clone()));
            let text = stalls::cause_text(model, stall);
            *known.or_default().entry(text).or_default() += age;
        }
        let group = groups
            .entry((location.clone(), function.clone()))
            .or_insert_with(|| StallGroup {
                location,
                function,
                cause: cause_word(Cause::Unknown).to_owned(),
                count: 0,
                live: 0,
                first: stall.started,
                last: stall.end(model.now),
                total: Duration::ZERO,
                max: Duration::ZERO,
                share: 0.0,
                example: stall.id,
            });
        group.count += 1;
        group.live += u64::from(stall.live);
        group.first = group.first.min(stall.started);
        group.last = group.last.max(stall.end(model.now));
        group.total += age;
        if age > group.max {
            group.max = age;
            group.example = stall.id;
        }
        group.share += overlap(stall, model.now, window).as_secs_f64() / window.as_secs_f64();
    }
    for (key, causes) in causes {
        let most = causes.into_iter().max_by_key(|(_, total)| *total);
        if let (Some(group), Some((cause, _))) = (groups.get_mut(&key), most) {
            group.cause = cause;
        }
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

/// Columns that take time.
const TIMED: [&str; 4] = ["max", "total", "share", "live"];

/// What can be shown of a group.
const COLUMNS: &[Column<StallGroup>] = &[
    Column {
        head: Head::number("last", "LAST", 7, 0, Unit::Time)
            .help("how long ago the newest ended; live while one goes on"),
        key: |c, g| {
            Key::Number(match g.live {
                0 => c.now().since(g.last).as_secs_f64(),
                _ => -1.0,
            })
        },
        cell: |c, g, _| match g.live {
            0 => Cell::new(quantity::duration(c.now().since(g.last)), Tone::Dim),
            _ => stalls::live(c),
        },
    },
    Column {
        head: Head::number("count", "COUNT", 12, 0, Unit::Count)
            .help("how many there were, and in how long a time until now"),
        key: |_, g| Key::count(Some(g.count)),
        cell: |c, g, _| {
            let count = quantity::count(g.count);
            match g.count {
                1 => Cell::new(count, Tone::Text),
                _ if c.model.session.core_dump => Cell::new(count, Tone::Strong),
                _ => Cell(vec![
                    (format!("×{count}").into(), Tone::Strong),
                    (
                        format!(" in {}", quantity::duration(c.now().since(g.first))).into(),
                        Tone::Dim,
                    ),
                ]),
            }
        },
    },
    Column {
        head: Head::number("max", "LONGEST", 7, 0, Unit::Time).help("the longest"),
        key: |_, g| Key::time(Some(g.max)),
        cell: |_, g, _| Cell::new(quantity::duration(g.max), tasks::age_tone(g.max)),
    },
    Column {
        head: Head::number("total", "TOTAL", 7, 2, Unit::Time).help("all together"),
        key: |_, g| Key::time(Some(g.total)),
        cell: |_, g, _| Cell::new(quantity::duration(g.total), Tone::Text),
    },
    Column {
        head: Head::number("share", "SHARE", 5, 4, Unit::Share)
            .help("share of one worker over the time span; 100% is a whole worker lost"),
        key: |_, g| Key::Number(g.share),
        cell: |_, g, _| Cell::new(quantity::percent(g.share), Tone::Text),
    },
    Column {
        head: Head::text("cause", "CAUSE", 12, 1)
            .growing(1, 40)
            .searched()
            .help("why they took so long: the cause that took the most time"),
        key: |_, g| Key::text(&g.cause),
        cell: |_, g, _| Cell::text(&g.cause),
    },
    Column {
        head: Head::text("fn", "FUNCTION", 13, 3)
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
        head: Head::text("loc", "LOCATION", 14, 0)
            .growing(3, 60)
            .cut_at_start()
            .searched()
            .help("the blocking line where a stack names it, otherwise the spawn location"),
        key: |_, g| Key::text(&g.location),
        cell: |_, g, _| Cell::text(&g.location),
    },
    Column {
        head: Head::number("live", "LIVE", 6, 5, Unit::Count).help("those that still go on"),
        key: |_, g| Key::count(Some(g.live)),
        cell: |_, g, _| match g.live {
            0 => Cell::new("0", Tone::Dim),
            n => Cell::new(format!("■ {n}"), Tone::Critical),
        },
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
        assert_eq!(groups[0].filter(), "loc:\"demo/src/service.rs:40\"");
        let ago = |at: Moment| model.now.since(at).as_millis();
        let span: Vec<_> = groups.iter().map(|g| (ago(g.first), ago(g.last))).collect();
        assert_eq!(span, [(5_099, 5_049), (943, 0)]);
    }

    #[test]
    fn stalls_of_the_host_are_one_group_that_names_it() {
        let mut model = fixtures::starving();
        let mut frame = fixtures::frame(model.now.plus(Duration::from_millis(100)));
        frame.stalls = (2..5)
            .map(|id| proto::Stall {
                id,
                state: proto::StallState::Ended.into(),
                location: id as u32,
                cause: proto::Cause::StarvedByHost.into(),
                started_at_ns: model.now.0 - 5_000_000_000,
                duration_ns: 50_000_000,
                ..proto::Stall::default()
            })
            .collect();
        model.apply(&frame).unwrap();
        let groups = group(&model, Span::Minute);
        let host: Vec<_> = groups.iter().filter(|g| g.function == "the host").collect();
        assert_eq!(host.len(), 1);
        assert_eq!((host[0].count, host[0].location.as_str()), (3, ""));
        assert_eq!(host[0].filter(), "cause:\"starved by host\"");
    }
}
