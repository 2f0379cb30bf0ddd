//! Everything that matters, on one screen.
//!
//! ```text
//! ─ Loop lag  p50 0.2 ms  p99 812 ms ──  ─ Workers ──────────────────────────────
//!                                  ▆██   0 ○ parked                     12%  11%
//! ▁▁▁▁▁▂▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁███   3 ■ BLOCKED report      843 ms 100%  99%
//! ─ Process ─────────────────────────────────────────────────────────────────────
//!  cpu 1.2 of 4   memory 48.0 MiB   threads 7   host cpu 42%   load 1.70
//!  812 of 1,204 idle tasks wait for permit of Semaphore pool (pool.rs:88); held by ...
//! ─ Findings  2 ─────────────────────────────────────────────────────────────────
//!  ■ blocked-worker  worker 3 blocked 843 ms computing in report (service.rs:43)
//! ─ Worst spawn locations ───────────────────────────────────────────────────────
//!    BUSY LONGEST  POLL P99   LIVE  SPAWNS/S LOCATION
//! ```

use std::{borrow::Cow, time::Duration};

use ratatui::layout::Rect;

use crate::{
    app::{
        RowKey, State, Tone,
        column::{Cell, Head, place},
        overview::{List, lists, panels},
        quantity,
        screen::GUTTER,
        tables::{self, TableId},
        waits,
    },
    diagnose::{Finding, Level, Severity, counts_waiters},
    model::{Capability, Lag, Model, total},
};

use super::super::{Painter, chart, painter::shortened};

pub(super) fn render(state: &State, area: Rect, painter: &mut Painter<'_>) {
    let panels = panels(state, area);
    let [findings, workers] = lists(state, area);
    lag(state, panels.lag, painter);
    workers_panel(state, panels.workers, &workers, painter);
    process(state, panels.process, painter);
    findings_panel(state, panels.findings, &findings, painter);
    super::sites::render(state, panels.sites, painter);
}

/// Lag percentiles are over the last 10 s.
const LAG_WINDOW: Duration = Duration::from_secs(10);
/// A lag over this is shown by its tone.
const LAG_ALARM_MS: f64 = 100.0;

/// The runtime that lags most.
fn worst(model: &Model) -> Option<&Lag> {
    let p99 = |lag: &&Lag| lag.percentiles(model.now, LAG_WINDOW).map(|p| p.p99);
    model.lag.values().max_by_key(p99)
}

fn lag(state: &State, area: Rect, painter: &mut Painter<'_>) {
    let model = state.model();
    let mut title: Vec<(Cow<'_, str>, Tone)> = vec![("Loop lag".into(), Tone::Title)];
    let found = worst(model).and_then(|lag| Some((lag, lag.percentiles(model.now, LAG_WINDOW)?)));
    let Some((lag, p)) = found else {
        if model.is_outside() {
            return super::polls::render(state, area, painter);
        }
        painter.rule(area, title);
        let reason = match model.session.missing(Capability::Lag) {
            Some(reason) if model.since.is_some() => format!("– {reason}"),
            _ => "– no sample yet".to_owned(),
        };
        return super::paragraph(&reason, Tone::Dim, area, 1, painter);
    };
    let figure = |name: &'static str, value: Duration| (name, value, quantity::duration(value));
    let width = |figures: &[(&str, Duration, String)]| -> usize {
        figures
            .iter()
            .map(|(name, _, text)| name.len() + text.chars().count() + 3)
            .sum()
    };
    let mut figures = vec![
        figure("p99", p.p99),
        figure("max", p.max),
        figure("p50", p.p50),
    ];
    // "Loop lag" and the rule's ends take 12 columns.
    while figures.len() > 1 && width(&figures) + 12 > usize::from(area.width) {
        figures.pop();
    }
    figures.sort_by_key(|(_, value, _)| *value);
    for (name, value, text) in figures {
        let ms = value.as_secs_f64() * 1e3;
        let tone = if ms >= LAG_ALARM_MS {
            Tone::Critical
        } else {
            Tone::Strong
        };
        title.push((format!("  {name} ").into(), Tone::Dim));
        title.push((text.into(), tone));
    }
    painter.rule(area, title);
    let inner = Rect {
        y: area.y + 1,
        height: area.height.saturating_sub(1),
        ..area
    };
    let mut columns = lag
        .series()
        .columns(model.now, state.span, usize::from(area.width));
    let pending = lag.pending(model.now).as_secs_f64() * 1e3;
    if let Some(last) = columns.last_mut().filter(|_| pending > 0.0) {
        *last = Some(last.unwrap_or(0.0).max(pending));
    }
    // A loop at rest must not look like a mountain range.
    let most = columns.iter().flatten().copied().fold(20.0, f64::max);
    chart::bars(&columns, most, LAG_ALARM_MS, inner, painter);
}

fn workers_panel(state: &State, area: Rect, list: &List, painter: &mut Painter<'_>) {
    let model = state.model();
    let title = match model.stalled_workers() {
        0 => format!("Workers  {}", model.workers.len()),
        n => format!("Workers  {} · {n} blocked", model.workers.len()),
    };
    painter.rule(area, [(title.into(), Tone::Title)]);
    if list.len == 0 {
        let reason = match model.since {
            Some(_) => tables::no_worker_seen(model),
            None => "no worker seen yet",
        };
        return super::paragraph(&format!("– {reason}"), Tone::Dim, area, 1, painter);
    }
    let heads = tables::heads_for(TableId::Workers, model);
    let heads: Vec<&Head> = heads.iter().collect();
    let known: Vec<usize> = (0..heads.len()).filter(|n| !heads[*n].unknown).collect();
    let known_heads: Vec<&Head> = known.iter().map(|n| heads[*n]).collect();
    // The mark of the cursor stands left of the columns.
    let mut placed = place(&known_heads, list.rows.width.saturating_sub(GUTTER), 0);
    for column in &mut placed {
        column.index = known[column.index];
        column.x += GUTTER;
    }
    let context = state.context();
    for_rows(state, list, painter, |painter, row, index| {
        let cells = state.rows.cells(&context, index, &placed);
        for (place, cell) in placed.iter().zip(cells.unwrap_or_default()) {
            let cell_area = Rect {
                x: row.x + place.x,
                width: place.width,
                ..row
            };
            painter.cell(cell_area, heads[place.index], &cell);
        }
    });
    heading(&heads, &placed, area, painter);
}

/// The names of the shares stand in the rule, above their columns.
fn heading(
    heads: &[&Head],
    placed: &[crate::app::column::Placed],
    area: Rect,
    painter: &mut Painter<'_>,
) {
    for place in placed.iter().filter(|p| p.x >= 22 + GUTTER) {
        let head = heads[place.index];
        let cell_area = Rect {
            x: area.x + place.x,
            y: area.y,
            width: place.width,
            height: 1,
        };
        painter.cell(cell_area, head, &Cell::new(head.title, Tone::Dim));
    }
}

/// Draws the visible rows of a list, and the cursor where it is among them.
fn for_rows(
    state: &State,
    list: &List,
    painter: &mut Painter<'_>,
    mut draw: impl FnMut(&mut Painter<'_>, Rect, usize),
) {
    for (n, y) in (list.offset..list.len).zip(list.rows.y..list.rows.bottom()) {
        let row = Rect {
            y,
            height: 1,
            ..list.rows
        };
        draw(painter, row, list.first + n);
        if state.cursor().row == list.first + n {
            painter.select(row);
        }
    }
}

fn process(state: &State, area: Rect, painter: &mut Painter<'_>) {
    let model = state.model();
    let mut pieces: Vec<(Cow<'_, str>, Tone)> = Vec::new();
    let mut add = |name: &str, value: String| {
        pieces.push((format!("  {name} ").into(), Tone::Dim));
        pieces.push((value.into(), Tone::Text));
    };
    let queued = total(model.runtimes.iter().map(|r| r.global_queue));
    let blocking = total(model.runtimes.iter().filter_map(|r| r.blocking_queue));
    let cpus = model.host.as_ref().map(|h| h.cpus).or(model.session.cpus);
    if let Some(p) = &model.process {
        let used = quantity::or_unknown(p.cpu_ratio(), |n| format!("{n:.2}"));
        let of = cpus.map_or(String::new(), |n| format!(" of {n}"));
        add("CPUs", used + &of);
        add("memory", quantity::bytes(p.resident));
    }
    if let Some(live) = model.live_tasks() {
        add("tasks", quantity::count(live));
    }
    if queued > 0 {
        add("queued", quantity::count(queued));
    }
    if blocking > 0 {
        add("blocking queue", quantity::count(blocking));
    }
    if let Some(h) = &model.host {
        add("host", quantity::percent(h.cpu_ratio));
        add("load", format!("{:.1}", h.load));
        add("free", quantity::bytes(h.available_memory));
    }
    if let Some(p) = &model.process {
        add("threads", p.thread_count.to_string());
        if let Some(files) = p.open_files {
            add("files", files.to_string());
        }
        if let Some(agent) = p.agent_ratio().filter(|_| !model.is_outside()) {
            add("agent", quantity::percent(agent));
        }
    }
    if pieces.is_empty() {
        pieces.push(("  – process and host are not known".into(), Tone::Dim));
    }
    let titled = area.height > 1;
    if titled {
        painter.rule(area, [("Process and host".into(), Tone::Title)]);
    }
    let line = Rect {
        y: area.y + u16::from(titled),
        height: 1,
        ..area
    };
    painter.pieces(line, pieces);
    let mut below = Rect {
        y: line.y + 1,
        height: area.height.saturating_sub(2),
        ..area
    };
    if waits::overview::is_known(state) && below.height > 0 {
        waits_line(state, below, painter);
        (below.y, below.height) = (below.y + 1, below.height - 1);
    }
    gauges(model, below, painter);
}

/// Where tasks wait, in one line.
fn waits_line(state: &State, area: Rect, painter: &mut Painter<'_>) {
    let Some((sentence, tone)) = waits::overview::sentence(state) else {
        return;
    };
    let pieces = [("  ".into(), Tone::Dim), (sentence.into(), tone)];
    painter.pieces(area, pieces);
}

/// The application's gauges; from outside, which has none, what the view has done.
fn gauges(model: &Model, area: Rect, painter: &mut Painter<'_>) {
    if let (Some(outside), true) = (&model.outside, model.gauges.is_empty()) {
        let pieces = [
            ("  outside ".into(), Tone::Dim),
            (quantity::outside(outside).into(), Tone::Text),
        ];
        painter.pieces(area, pieces);
        return;
    }
    let pieces = model.gauges.iter().flat_map(|(name, gauge)| {
        let name = crate::escape::escaped(model.text(Some(*name))).into_owned();
        [
            (Cow::from(format!("  {name} ")), Tone::Dim),
            (quantity::short(gauge.value).into(), Tone::Text),
        ]
    });
    painter.pieces(area, pieces);
}

fn findings_panel(state: &State, area: Rect, list: &List, painter: &mut Painter<'_>) {
    let shown = state.shown();
    let count = shown.findings.len();
    let title = if count == 0 {
        "Findings".to_owned()
    } else {
        format!("Findings  {count}")
    };
    let mut titles = vec![(title.into(), Tone::Title)];
    if let Some(missing) = shown.model.stalls.missing_names() {
        let missing = crate::escape::escaped(missing).into_owned();
        titles.push((format!("  {missing}").into(), Tone::Notice));
    }
    painter.rule(area, titles);
    if count == 0 && area.height > 1 {
        let (text, tone) = match (shown.model.since, shown.verdict.level) {
            (Some(_), Level::NotObserving) => ("– none, but not all is observed", Tone::Dim),
            (Some(_), _) => ("✓ none", Tone::Good),
            (None, _) => ("– no data yet", Tone::Good),
        };
        painter.put(
            area.x + 1,
            area.y + 1,
            area.width.saturating_sub(1),
            text,
            tone,
        );
    }
    for_rows(state, list, painter, |painter, row, index| {
        let RowKey::Finding(key) = &state.rows.keys()[index] else {
            return;
        };
        if let Some(finding) = state.find_finding(key.0, &key.1) {
            one(finding, row, painter);
        }
    });
}

fn one(finding: &Finding, row: Rect, painter: &mut Painter<'_>) {
    let (glyph, tone) = match finding.severity {
        Severity::Notice => ("◆", Tone::Notice),
        Severity::Warning => ("▲", Tone::Warning),
        Severity::Critical => ("■", Tone::Critical),
    };
    let times = if finding.count > 1 && !counts_waiters(finding.rule) {
        format!("{}× ", quantity::count(finding.count))
    } else {
        String::new()
    };
    let title = if finding.live { Tone::Text } else { Tone::Dim };
    let room = usize::from(row.width).saturating_sub(times.len() + 12);
    painter.pieces(
        row,
        [
            (format!(" {glyph} ").into(), tone),
            (format!("{:<8} ", finding.severity.name()).into(), tone),
            (times.into(), Tone::Dim),
            (shortened(&finding.title, &finding.location, room), title),
            (format!("  {}", finding.rule).into(), Tone::Dim),
        ],
    );
}
