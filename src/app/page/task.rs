//! Details of a task: everything that is known of it, and why the rest is not.

use std::time::Duration;

use crate::{
    app::{Details, State, Tone, quantity, tables},
    model::{Capability, Certainty, Model, SiteKey, Stall, Task, TaskId},
};

use super::{Line, LinkId, Page, activity, explain, facts::Facts, stack, stall, waits};

pub(super) fn page(state: &State, id: TaskId, width: usize) -> Page {
    let model = state.model();
    let Some(task) = model.tasks.get(id) else {
        return Page::from(vec![Line::new(
            "this task ended and is no longer held",
            Tone::Dim,
        )]);
    };
    let mut lines = Vec::new();
    for finding in state.shown().findings.iter().filter(|f| f.is_about(id)) {
        let (glyph, tone) = explain::severity(finding.severity);
        let text = if finding.title.contains(finding.rule) {
            format!("{glyph} {}", finding.title)
        } else {
            format!("{glyph} {}: {}", finding.rule, finding.title)
        };
        lines.extend(Line::paragraph(&text, tone, 0, width));
        lines.extend(Line::paragraph(
            &format!("→ {}", finding.remedy),
            Tone::Strong,
            0,
            width,
        ));
    }
    let mut facts = Facts::new(width);
    let mut page = Page::from(lines);
    let before = page.lines.len();
    waits::task(state, task, &mut page, &mut facts);
    let title = if page.lines.len() > before {
        "Task"
    } else {
        ""
    };
    let mut lines = std::mem::take(&mut page.lines);
    identity(model, task, &mut facts);
    lines.extend(facts.section(title));
    lines.extend(future(state, task, &mut facts));
    page.lines = lines;
    operations(state, id, &mut page);
    let mut lines = std::mem::take(&mut page.lines);
    lines.extend(activity::lines(state, task, &mut facts));
    times(model, task, &mut facts);
    lines.extend(facts.section("Time"));
    counts(model, task, &mut facts);
    lines.extend(facts.section("Polls and wakes"));
    lines.extend(own_histograms(state, id, width));
    lines.extend(site(model, task, width));
    page.lines = lines;
    stalls(state, task, width, &mut page);
    page.lines.extend(facts.unknown());
    page
}

/// The live operations of the task: what it waits for.
fn operations(state: &State, id: TaskId, page: &mut Page) {
    let model = state.model();
    let mut ops: Vec<_> = model.resources.ops_of(id).collect();
    if ops.is_empty() {
        return;
    }
    ops.sort_by_key(|op| op.created_at);
    let title = format!("Waits for  ({}: the resource)", state.key_of("open"));
    page.lines.extend(Line::heading(&title));
    for op in ops.iter().take(50) {
        let resource = op.resource.and_then(|id| model.resources.get(id));
        if let Some(resource) = resource {
            page.link(LinkId::Op(op.id), Details::Resource(resource.id));
        }
        let name = resource.map_or("", |r| model.text(r.type_name));
        let at = resource.and_then(|r| model.location(r.location));
        let text = format!(
            "  {:>7}  {} {name} {} {}",
            quantity::duration(op.age(model.now)),
            model.text(op.source),
            quantity::or_unknown(at, |at| format!("({at})")),
            model.text(resource.and_then(|r| r.attributes)),
        );
        page.lines.push(Line::new(text.trim_end(), Tone::Text));
    }
    if ops.len() > 50 {
        let text = format!("  and {} more", ops.len() - 50);
        page.lines.push(Line::new(&text, Tone::Dim));
    }
}

fn identity(model: &Model, task: &Task, facts: &mut Facts) {
    let missing = |kind| model.session.missing(kind);
    let named = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let parent = task.parent().map(|id| match model.tasks.get(id) {
        Some(parent) => format!(
            "{} {}",
            parent.tokio_id().unwrap_or(id.0),
            model.text(parent.name)
        ),
        None => id.to_string(),
    });
    let runtime = task
        .runtime
        .and_then(|id| model.runtimes.iter().find(|r| r.id == id));
    let nameless = missing(Capability::TaskNames);
    let spawned = model.reads_tasks().then_some(NOT_KEPT);
    let state = tables::state_cell(task.state).plain();
    facts.known("name", named(model.text(task.name)), nameless);
    facts.value("state", &state, Tone::Text);
    facts.known("kind", named(tables::kind_word(task.kind)), nameless);
    facts.known(
        "spawned at",
        model.location(task.location).map(|l| l.to_string()),
        spawned,
    );
    if !model.reads_tasks() {
        facts.known("parent", parent, nameless);
    }
    let optional = [
        ("runtime", runtime.map(|r| model.text(r.name).to_owned())),
        ("fields", named(model.text(task.fields))),
        (
            "size",
            task.size().map(|size| tables::future_size(model, size)),
        ),
        ("boxed from", task.original_size().map(quantity::bytes)),
        ("thread", task.tid().map(|tid| tid.to_string())),
    ];
    for (name, value) in optional {
        if let Some(value) = value.filter(|v| !v.is_empty()) {
            facts.value(name, &value, Tone::Text);
        }
    }
}

/// Why it is not known from outside where a task was spawned.
const NOT_KEPT: &str = "tokio keeps where a task was spawned only if it was built with \
                        --cfg tokio_unstable";
/// Why polls of a task are not known from outside.
const NOT_COUNTED: &str = "nobody counts the polls of a task, or their time, where no agent is \
                           in the program";

/// The type of its future, how sure that is, and where its async fn stands.
fn future(state: &State, task: &Task, facts: &mut Facts) -> Vec<Line> {
    let model = state.model();
    let Some(short) = model.future_name(task.future) else {
        return Vec::new();
    };
    let (sure, tone) = match task.future_certainty {
        _ if is_address(short) => (
            "an address: the program's symbols do not name it",
            Tone::Notice,
        ),
        Certainty::Certain => ("certain", Tone::Text),
        Certainty::Guessed => ("~ guessed: the most likely of several", Tone::Notice),
        Certainty::Unknown => (quantity::UNKNOWN, Tone::Dim),
    };
    let place = model.location(task.future_location);
    facts.value("runs", short, Tone::Strong);
    facts.value("name is", sure, tone);
    facts.known(
        "async fn at",
        place.map(|place| place.to_string()),
        Some(NO_PLACE),
    );
    if model.reads_tasks() {
        let text = "read from memory, nothing was stopped for it";
        facts.value("evidence", text, Tone::Dim);
    }
    let mut lines = facts.section(if state.all_frames {
        "Future  (a: in short)"
    } else {
        "Future  (a: its whole name)"
    });
    if state.all_frames {
        let whole = model.text(task.future);
        lines.extend(Line::paragraph(whole, Tone::Text, 2, facts.width()));
    }
    lines
}

/// `app+0x1cd4b1`: no name.
fn is_address(name: &str) -> bool {
    let offset = name.rsplit_once("+0x").map(|(_, offset)| offset);
    offset.is_some_and(|offset| offset.chars().all(|c| c.is_ascii_hexdigit()))
}

/// Why it is not known where an async fn stands.
const NO_PLACE: &str = "neither line tables (debug = \"line-tables-only\" in the profile) nor \
                        the panic location of an async fn say where this future is written";

fn times(model: &Model, task: &Task, facts: &mut Facts) {
    let now = model.now;
    let total = task.total(now);
    let missing = |kind| model.session.missing(kind);
    let waits = missing(Capability::Wakes).or(missing(Capability::ScheduleLatency));
    let share = |part: Duration| {
        let share = part.as_secs_f64() / total.unwrap_or_default().as_secs_f64().max(1e-9);
        let bar = "█".repeat((share.clamp(0.0, 1.0) * 20.0).round() as usize);
        format!(
            "{:>7}  {:>4}  {bar}",
            quantity::duration(part),
            quantity::percent(share)
        )
    };
    facts.known("age", total.map(quantity::duration), unborn(model));
    facts.known("busy", task.busy(now).map(share), uncounted(model));
    facts.known("scheduled", task.scheduled(now).map(share), waits);
    facts.known("idle", task.idle(now).map(share), waits);
    if let Some(idle) = task.resting_for(now) {
        let text = format!("{} ago", quantity::duration(idle));
        facts.value("idle since", &text, Tone::Strong);
    }
    if let Some(age) = task.poll_age(now) {
        let least = if model.reads_tasks() { "at least " } else { "" };
        let text = format!("{least}{} in this poll", quantity::duration(age));
        facts.value("running", &text, Tone::Strong);
    }
}

/// Why the age of a task is not known.
fn unborn(model: &Model) -> Option<&'static str> {
    let outside = "it was there when looptop came, and no task holds when it was spawned";
    model.reads_tasks().then_some(outside)
}

/// Why the polls of a task are not known.
fn uncounted(model: &Model) -> Option<&'static str> {
    model.reads_tasks().then_some(NOT_COUNTED)
}

fn counts(model: &Model, task: &Task, facts: &mut Facts) {
    let now = model.now;
    let missing = |kind| model.session.missing(kind);
    let recent = task.recent(now);
    let polls = task.polls().map(|n| match recent {
        Some(r) => format!(
            "{} ({}/s now)",
            quantity::count(n),
            quantity::short(r.polls)
        ),
        None => quantity::count(n),
    });
    let own = task.self_wakes().map(|n| match task.self_wake_share() {
        Some(share) => format!(
            "{} ({} of all)",
            quantity::count(n),
            quantity::percent(share)
        ),
        None => quantity::count(n),
    });
    let held = task.wakers().map(|(clones, drops)| {
        let kept = clones.saturating_sub(drops);
        format!("{kept} held ({clones} cloned, {drops} dropped)")
    });
    let ago = |at| format!("{} ago", quantity::duration(now.since(at)));
    // From outside the longest is none but the present one, which is said above.
    let longest = task.longest(now).filter(|_| !model.reads_tasks());
    let latency = missing(Capability::ScheduleLatency);
    let wakes = missing(Capability::Wakes);
    let chain = model.waits.task(task.id);
    if let Some(what) = tables::waits_for(model, task).filter(|_| chain.is_none()) {
        facts.value("waits for", &what, Tone::Text);
    }
    facts.known("polls", polls, uncounted(model));
    facts.known(
        "longest poll",
        longest.map(quantity::duration),
        uncounted(model),
    );
    facts.known("wakes", task.wakes().map(quantity::count), wakes);
    facts.known("self-wakes", own, wakes);
    facts.known("last wake", task.last_wake().map(ago), wakes);
    let wait = task.longest_scheduled().map(quantity::duration);
    facts.known("longest wait", wait, latency);
    facts.known("wakers", held, missing(Capability::Wakers));
}

/// Poll durations of all tasks spawned where this one was.
fn site(model: &Model, task: &Task, width: usize) -> Vec<Line> {
    let Some(site) = model.sites.get(&SiteKey::of(task)) else {
        return Vec::new();
    };
    if site.polls == 0 && site.poll_histogram().is_empty() {
        // Seen from outside: nobody counts polls.
        let text = format!(
            "{} seen, {} live, {} ended",
            quantity::count(site.spawned),
            quantity::count(site.live()),
            quantity::count(site.ended),
        );
        let mut lines = Vec::from(Line::heading("All tasks of this kind"));
        lines.extend(Line::paragraph(&text, Tone::Text, 2, width));
        return lines;
    }
    let mut lines = Vec::from(Line::heading("Polls of all tasks spawned at this location"));
    let quantile = |q| quantity::or_unknown(site.poll_quantile(q), quantity::duration);
    let text = format!(
        "{}, {} live; poll p50 {}  p90 {}  p99 {}  max {}",
        quantity::plural(site.spawned, "task"),
        quantity::count(site.live()),
        quantile(0.5),
        quantile(0.9),
        quantile(0.99),
        quantity::duration(site.longest_poll),
    );
    lines.extend(Line::paragraph(&text, Tone::Text, 2, width));
    lines.extend(histogram(site.poll_histogram(), width));
    lines
}

/// The task's own distributions, where the target sends them.
fn own_histograms(state: &State, id: TaskId, width: usize) -> Vec<Line> {
    let Some(both) = state.distributions.as_ref().filter(|d| d.task == id) else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    for (title, one) in [
        ("Its polls", &both.polls),
        ("Its waits between wake and poll", &both.scheduled),
    ] {
        let Some(one) = one else { continue };
        lines.extend(Line::heading(title));
        let counts = one.counts.iter().copied();
        let quantile = |q| {
            let ns = looptop_wire::histogram::quantile(counts.clone(), q);
            quantity::or_unknown(ns.map(Duration::from_nanos), quantity::duration)
        };
        let text = format!(
            "p10 {}  p25 {}  p50 {}  p75 {}  p90 {}  p95 {}  p99 {}",
            quantile(0.1),
            quantile(0.25),
            quantile(0.5),
            quantile(0.75),
            quantile(0.9),
            quantile(0.95),
            quantile(0.99)
        );
        lines.extend(Line::paragraph(&text, Tone::Text, 2, width));
        lines.extend(histogram(&one.counts, width));
        if let Some(longest) = one.longest_outlier {
            let were = if one.outliers == 1 { "was" } else { "were" };
            let text = format!(
                "{} more {were} longer than the target counts, the longest {}",
                quantity::count(one.outliers),
                quantity::duration(longest)
            );
            lines.extend(Line::paragraph(&text, Tone::Notice, 2, width));
        }
    }
    lines
}

/// Decades of time, a bar each on a logarithmic scale.
fn histogram(counts: &[(usize, u64)], width: usize) -> Vec<Line> {
    const NAMES: [&str; 8] = [
        "< 1 µs", "1 µs", "10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "≥ 1 s",
    ];
    /// From here on a poll keeps others waiting.
    const ALARM: usize = 5;
    let mut decades = [0u64; NAMES.len()];
    for (bucket, n) in counts {
        let ns = looptop_wire::histogram::lower_bound(*bucket).max(1);
        let decade = (ns.ilog10() as usize)
            .saturating_sub(2)
            .min(NAMES.len() - 1);
        decades[decade] = decades[decade].saturating_add(*n);
    }
    let scale = |n: u64| {
        if n == 0 {
            0.0
        } else {
            (n as f64).log10() + 1.0
        }
    };
    let most = decades.iter().map(|n| scale(*n)).fold(0.0, f64::max);
    if most <= 0.0 {
        return Vec::new();
    }
    let room = width.saturating_sub(24).min(60) as f64;
    let line = |(decade, n): (usize, &u64)| {
        let bar = "█".repeat((scale(*n) / most * room).round() as usize);
        let tone = if decade >= ALARM {
            Tone::Warning
        } else {
            Tone::Chart
        };
        let label = format!("  {:<8} {:>6}  ", NAMES[decade], quantity::count(*n));
        Line::new(&label, Tone::Dim).and(&bar, tone)
    };
    decades.iter().enumerate().map(line).collect()
}

/// Its own stalls, or those of its siblings, and the stack of the newest.
fn stalls(state: &State, task: &Task, width: usize, page: &mut Page) {
    let model = state.model();
    let own = |s: &&Stall| s.task == Some(task.id);
    let site = |s: &&Stall| task.location.is_some() && s.location == task.location;
    let (title, stalls) = match model.stalls.iter().filter(own).take(20).collect::<Vec<_>>() {
        none if none.is_empty() => (
            "Stalls of tasks spawned at this location",
            model.stalls.iter().filter(site).take(20).collect(),
        ),
        own => ("Its stalls", own),
    };
    if stalls.is_empty() {
        return;
    }
    let title = format!("{title}  ({}: details)", state.key_of("open"));
    page.lines.extend(Line::heading(&title));
    for stall in &stalls {
        page.link(LinkId::Stall(stall.id), Details::Stall(stall.id));
        page.lines.extend(stall::brief(model, stall, "", "", width));
    }
    if let Some(resolved) = stalls.iter().find_map(|s| s.resolved.as_ref()) {
        page.lines
            .extend(stack::lines(resolved, state.all_frames, width));
    }
}
