//! Details of a stall: who, where, why, the remedy and the stack.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use crate::{
    app::{State, Tone, quantity, tables},
    model::{
        Capability, Culprit, Evidence, Model, Moment, Stall, StallId, StallScope, Task, WorkerId,
        with_place,
    },
};

use super::{Line, Page, stack, waits};

pub(super) fn page(state: &State, id: StallId, width: usize) -> Page {
    let model = state.model();
    let Some(stall) = model.stalls.get(id) else {
        return Page::from(vec![Line::new("this stall is no longer held", Tone::Dim)]);
    };
    let mut lines = headline(model, stall, width);
    let finding = state
        .shown()
        .findings
        .iter()
        .find(|f| f.stall == Some(id) || (f.task.is_some() && f.task == stall.task));
    if let Some(remedy) = finding.map(|f| f.remedy.as_str()).filter(|r| !r.is_empty()) {
        lines.extend(Line::paragraph(
            &format!("→ {remedy}"),
            Tone::Strong,
            0,
            width,
        ));
    }
    lines.extend(Line::heading("Who and where"));
    lines.extend(who(model, stall, width));
    lines.extend(Line::heading("Why"));
    lines.extend(why(model, stall, width));
    let mut page = Page::from(lines);
    if let Some(tid) = stall.tid.filter(|_| stall.live) {
        waits::thread(state, tid, &mut page, width);
    }
    page.lines.extend(stack_of(state, stall, width));
    page
}

fn headline(model: &Model, stall: &Stall, width: usize) -> Vec<Line> {
    let age = quantity::duration(stall.age(model.now));
    let cause = tables::cause_text(model, stall);
    let (text, tone) = if model.session.core_dump {
        (format!("● in a poll at that moment, {cause}"), Tone::Strong)
    } else if stall.live {
        (format!("■ LIVE for {age}, {cause}"), Tone::Critical)
    } else {
        let ago = quantity::duration(model.now.since(stall.end(model.now)));
        (
            format!("· ended {ago} ago after {age}, {cause}"),
            Tone::Text,
        )
    };
    Line::paragraph(&text, tone, 0, width)
}

fn who(model: &Model, stall: &Stall, width: usize) -> Vec<Line> {
    let task = stall.task.and_then(|id| model.tasks.get(id));
    let name = [
        model.text(stall.name),
        task.and_then(|t| model.task_name(t)).unwrap_or_default(),
        stall.future().unwrap_or_default(),
    ]
    .into_iter()
    .find(|n| !n.is_empty());
    let number = task.and_then(Task::tokio_id).or(stall.task.map(|id| id.0));
    let label = match (name, number) {
        (Some(name), Some(n)) => Some(format!("{name} (task {n})")),
        (Some(name), None) => Some(name.to_owned()),
        (None, Some(n)) => Some(format!("task {n}")),
        (None, None) => None,
    };
    let spawned = model.location(stall.location).map(|l| l.to_string());
    let worker = stall.worker.map(|w| tables::worker_name(model, w));
    let culprit = stall.culprit();
    let no_line = stall.resolved.as_ref().and_then(|stack| stack.missing());
    let missing = |kind| model.session.missing(kind);
    [
        Line::known("task", label, missing(Capability::Tasks), width),
        Line::known("spawned at", spawned, missing(Capability::Tasks), width),
        Line::known(
            "function",
            culprit.map(|c| match c.definition() {
                Some(definition) => format!("{}, {definition}", c.function),
                None => c.function.clone(),
            }),
            missing(Capability::Stacks),
            width,
        ),
        Line::known(
            "line",
            culprit.and_then(Culprit::location),
            no_line.or(missing(Capability::Stacks)),
            width,
        ),
        Line::known("worker", worker, missing(Capability::WorkerThreads), width),
        Line::known(
            "thread",
            stall.tid.map(|t| t.to_string()),
            missing(Capability::WorkerThreads),
            width,
        ),
    ]
    .concat()
}

fn why(model: &Model, stall: &Stall, width: usize) -> Vec<Line> {
    let missing = model.session.missing(Capability::Cause);
    let time = |d| Some(quantity::duration(d));
    let observed = match stall.observed {
        Some(part) => format!(" within the {} observed", quantity::duration(part)),
        None => String::new(),
    };
    let part = |d: Option<_>| d.and_then(time).map(|text| text + &observed);
    let mut lines = [
        Line::known("cause", Some(tables::cause_text(model, stall)), None, width),
        Line::known("on CPU", part(stall.cpu), missing, width),
        Line::known("no CPU free", part(stall.run_queue), missing, width),
    ]
    .concat();
    let call = model.text(stall.syscall);
    if !call.is_empty() {
        lines.extend(Line::value("system call", call, Tone::Text, width));
    }
    let object = model.text(stall.object);
    if !object.is_empty() {
        lines.extend(Line::value("works on", object, Tone::Text, width));
    }
    if let Some(holder) = stall.lock_holder {
        let worker = model.workers.values().find(|w| w.tid == Some(holder));
        let text = match worker {
            Some(w) => format!(
                "worker {} (thread {holder})",
                tables::worker_name(model, w.id)
            ),
            None => format!("thread {holder}"),
        };
        lines.extend(Line::value("lock held by", &text, Tone::Strong, width));
    }
    if let Some(evidence) = evidence(model, stall) {
        lines.extend(Line::value("evidence", &evidence, Tone::Dim, width));
    }
    if let Some(text) = beware(stall.scope) {
        lines.extend(Line::value("beware", text, Tone::Notice, width));
    }
    lines
}

/// What a stall may be other than one long poll.
fn beware(scope: StallScope) -> Option<&'static str> {
    match scope {
        StallScope::OnePoll | StallScope::Unknown => None,
        StallScope::UpTo61Polls => {
            Some("this may be up to 61 short polls in a row: tokio counts only between them")
        }
        StallScope::OneTurn => Some(
            "this is one turn of the scheduler: one poll, or up to four in a row of tasks \
             that wake one another",
        ),
    }
}

/// How the stack was taken that is shown, where that is worth a word.
fn evidence(model: &Model, stall: &Stall) -> Option<String> {
    let outside = model.outside.as_ref();
    Some(match stall.telling_stack()?.evidence() {
        Evidence::Unknown | Evidence::Signal => return None,
        Evidence::Read => "stack read from memory, the thread was not stopped".to_owned(),
        Evidence::Sampled => "stack sampled by the kernel, the thread was not stopped".to_owned(),
        Evidence::Stopped => {
            let held = outside.and_then(|outside| outside.held_p50);
            let held = held.map_or(String::new(), |held| {
                format!(" (half of all stops: {} at most)", quantity::duration(held))
            });
            let why = model.text(outside.and_then(|outside| outside.no_sampler));
            let why = match why {
                "" => String::new(),
                why => format!("; the kernel's sampler is not used: {why}"),
            };
            format!("the computing thread was stopped for its stack{held}{why}")
        }
    })
}

fn stack_of(state: &State, stall: &Stall, width: usize) -> Vec<Line> {
    if let Some(resolved) = &stall.resolved {
        return stack::lines(resolved, state.all_frames, width);
    }
    let model = state.model();
    let reason = match (stall.stacks.is_empty(), model.text(stall.no_stack_reason)) {
        (false, _) => "looking up the names of its frames ...",
        (true, "") => match model.session.missing(Capability::Stacks) {
            Some(reason) => reason,
            None if stall.live => "not taken yet",
            None => "none was taken: it ended too soon",
        },
        (true, reason) => reason,
    };
    let mut lines = Vec::from(Line::heading("Stack"));
    lines.extend(Line::paragraph(reason, Tone::Dim, 2, width));
    lines
}

/// Newest stalls that are looked at for the lines below the workers.
const LOOKED_AT: usize = 500;
/// Kinds of stalls that are listed there.
const KINDS: usize = 60;

/// Stalls that happened for one reason at one place.
struct Kind<'a> {
    newest: &'a Stall,
    count: u64,
    first: Moment,
    longest: Duration,
    workers: BTreeSet<WorkerId>,
}

/// What the Workers view shows below its table: the newest stalls of a worker,
/// or of all. Those alike are one line, with how many there were.
pub fn worker_lines(state: &State, worker: Option<WorkerId>, width: usize) -> Vec<Line> {
    let model = state.model();
    let wanted = |s: &&Stall| s.worker.is_some() && (worker.is_none() || s.worker == worker);
    let stalls = model.stalls.iter().filter(wanted).take(LOOKED_AT);
    let kinds = kinds(model, stalls);
    if kinds.is_empty() {
        return vec![Line::new("✓ no stall seen", Tone::Good)];
    }
    let line = |kind: &Kind<'_>| {
        let many = kind.workers.len() > 1;
        let who = match (worker, kind.workers.first()) {
            (None, Some(_)) if many => format!("{} workers ", kind.workers.len()),
            (None, Some(of)) => format!("#{} ", tables::worker_name(model, *of)),
            _ => String::new(),
        };
        let repeated = match kind.count {
            1 => String::new(),
            n if model.session.core_dump => format!("×{}", quantity::count(n)),
            n => format!(
                "×{} in {}, up to {}",
                quantity::count(n),
                quantity::duration(model.now.since(kind.first)),
                quantity::duration(kind.longest)
            ),
        };
        brief(model, kind.newest, &who, &repeated, width)
    };
    kinds.iter().take(KINDS).flat_map(line).collect()
}

/// Stalls of the same place and cause, the kind of the newest first.
fn kinds<'a>(model: &Model, stalls: impl Iterator<Item = &'a Stall>) -> Vec<Kind<'a>> {
    let mut places = HashMap::new();
    let mut kinds: Vec<Kind<'_>> = Vec::new();
    for stall in stalls {
        let culprit = stall.culprit();
        let place = (
            culprit.map(|c| (c.function.as_str(), c.file.as_str(), c.line)),
            stall.location.filter(|_| culprit.is_none()),
            stall.cause,
        );
        let at = *places.entry(place).or_insert(kinds.len());
        if at == kinds.len() {
            kinds.push(Kind {
                newest: stall,
                count: 0,
                first: stall.started,
                longest: Duration::ZERO,
                workers: BTreeSet::new(),
            });
        }
        let kind = &mut kinds[at];
        kind.count += 1;
        kind.first = kind.first.min(stall.started);
        kind.longest = kind.longest.max(stall.age(model.now));
        kind.workers.extend(stall.worker);
    }
    kinds
}

/// A stall in a line; `repeated`, where it is not empty, says how often it was so,
/// and the length of one that is over then stands in it.
pub(super) fn brief(
    model: &Model,
    stall: &Stall,
    who: &str,
    repeated: &str,
    width: usize,
) -> Vec<Line> {
    let age = quantity::duration(stall.age(model.now));
    let of_core = model.session.core_dump;
    let age = if of_core { String::new() } else { age };
    let (when, tone) = if of_core {
        ("● then".to_owned(), Tone::Text)
    } else if stall.live {
        ("■ now".to_owned(), Tone::Critical)
    } else {
        let ago = quantity::duration(model.now.since(stall.end(model.now)));
        (format!("{ago} ago"), Tone::Text)
    };
    let place = stall
        .culprit()
        .map(Culprit::sentence)
        .or_else(|| {
            let at = model.location(stall.location)?.to_string();
            let name = Some(model.text(stall.name)).filter(|name| !name.is_empty());
            Some(with_place(name.or(stall.future()).unwrap_or_default(), &at))
        })
        .unwrap_or_default();
    let cause = tables::cause_text(model, stall);
    let text = match repeated {
        "" => format!("{who}{age:>7}  {cause}  {place}"),
        _ if stall.live => format!("{who}{age:>7}  {cause} {repeated}  {place}"),
        _ => format!("{who}{cause} {repeated}  {place}"),
    };
    let mut lines = Line::value(&when, &text, tone, width);
    lines.truncate(1);
    lines
}
