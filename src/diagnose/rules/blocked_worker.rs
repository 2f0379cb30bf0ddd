//! A poll that keeps a worker from its other tasks.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    diagnose::{Finding, Severity, Subject, finding::cause_word, stalls},
    model::{Cause, LocationId, Model, Stall},
};

use super::{Context, Rule};

pub(super) const RULE: Rule = Rule {
    id: "blocked-worker",
    summary: "a poll keeps a worker from its other tasks",
    meaning: "A worker runs one poll at a time. While a poll computes, sleeps, reads or waits for a \
              lock, every other task of that worker waits. Polls are meant to take well below a \
              millisecond.",
    threshold: "a poll runs longer than 10 ms (notice; three times, or once over 20 ms), 100 ms or \
                a fifth of all worker time (warning), 1 s (critical); while it lasts. The time in \
                which the host gave the thread no CPU does not count",
    evidence: "the watchdog's stalls: task, thread, CPU time, system call, stack",
    remedy: "by cause and call: await it (case A), spawn_blocking (case B), a dedicated pool (case C)",
    needs: &[],
    rank: 80,
    over_window: true,
    scans_tasks: false,
    explained_by: &[],
    check,
};

/// A single poll over this is worth a notice; shorter ones only if they recur,
/// because any thread is held up for some milliseconds now and then.
const SINGLE_NOTICE: Duration = Duration::from_millis(20);
const RECURRING: usize = 3;
/// Share of all worker time from which even short stalls are a warning.
const WARNING_SHARE: f64 = 0.2;

fn check(context: &Context<'_>) -> Vec<Finding> {
    let model = context.model;
    let own = |stall: &&Stall| {
        stall.overlaps(context.since, model.now)
            && stalls::is_own(stall, model)
            && !stalls::is_nested_runtime(stall)
    };
    let groups = group(model, model.stalls.iter().filter(own));
    let window = model
        .now
        .since(context.since.max(model.since.unwrap_or_default()));
    groups
        .into_values()
        .filter_map(|group| finding(model, &group, window))
        .collect()
}

/// Stalls by culprit. One without a stack (too short to be captured, or its names
/// are still looked up) counts with those of the same spawn location and cause.
fn group<'a>(
    model: &Model,
    all: impl Iterator<Item = &'a Stall>,
) -> BTreeMap<Subject, Vec<&'a Stall>> {
    let mut groups: BTreeMap<Subject, Vec<&Stall>> = BTreeMap::new();
    let mut known: BTreeMap<(LocationId, i32), Subject> = BTreeMap::new();
    let (named, nameless): (Vec<_>, Vec<_>) = all.partition(|s| s.culprit().is_some());
    for stall in named {
        let subject = stalls::subject(stall, model);
        if let Some(location) = stall.location {
            known.insert((location, stall.cause.into()), subject.clone());
        }
        groups.entry(subject).or_default().push(stall);
    }
    for stall in nameless {
        let alike = stall
            .location
            .and_then(|l| known.get(&(l, stall.cause.into())));
        let subject = alike
            .cloned()
            .unwrap_or_else(|| stalls::subject(stall, model));
        groups.entry(subject).or_default().push(stall);
    }
    groups
}

fn finding(model: &Model, group: &[&Stall], window: Duration) -> Option<Finding> {
    let now = model.now;
    let longest = group.iter().map(|s| s.own_age(now)).max()?;
    if longest < SINGLE_NOTICE && group.len() < RECURRING {
        return None;
    }
    let severity = severity(model, group, longest, window);
    let shown = stalls::most_telling(group, model)?;
    let mut finding = stalls::finding(RULE.id, severity, model, group, shown);
    finding.title = title(model, shown);
    finding.cause = Some(cause_of(group));
    Some(finding)
}

/// The cause that accounts for most of the time.
fn cause_of(group: &[&Stall]) -> Cause {
    let mut times: BTreeMap<i32, Duration> = BTreeMap::new();
    for stall in group {
        *times.entry(stall.cause.into()).or_default() += stall.duration;
    }
    let known = times
        .iter()
        .filter(|(cause, _)| **cause != i32::from(Cause::Unknown));
    let most = known
        .max_by_key(|(_, time)| **time)
        .map(|(cause, _)| *cause);
    most.and_then(|cause| cause.try_into().ok())
        .unwrap_or(Cause::Unknown)
}

fn severity(model: &Model, group: &[&Stall], longest: Duration, window: Duration) -> Severity {
    let total: Duration = group.iter().map(|s| s.own_age(model.now).min(window)).sum();
    let workers = model.workers.len().max(1) as f64;
    let share = total.as_secs_f64() / (workers * window.as_secs_f64()).max(1.0);
    if longest >= stalls::CRITICAL {
        Severity::Critical
    } else if longest >= stalls::WARNING || share >= WARNING_SHARE {
        Severity::Warning
    } else {
        Severity::Notice
    }
}

/// "worker 2 blocked 843 ms computing in `report::render` (demo/src/cpu.rs:42)".
fn title(model: &Model, stall: &Stall) -> String {
    let place = stalls::place(stall, model);
    let age = stalls::human(stall.age(model.now));
    let was = if stall.live { "blocked" } else { "was blocked" };
    let why = stalls::short_cause(stall, model);
    format!("{place} {was} {age}{why}{}", whereabouts(model, stall))
}

/// The culprit's function and line, or the task and where it was spawned.
fn whereabouts(model: &Model, stall: &Stall) -> String {
    if let Some(culprit) = stall.culprit() {
        return format!(" in {} ({})", culprit.function, culprit.location());
    }
    let name = stalls::task_name(stall, model);
    let location = stalls::location(stall, model);
    match (name.is_empty(), location.is_empty()) {
        (false, false) => format!(" in task {name} (spawned at {location})"),
        (false, true) => format!(" in task {name}"),
        (true, false) => format!(" in a task spawned at {location}"),
        (true, true) => match stall.cause {
            Cause::Unknown => format!(", {}", cause_word(Cause::Unknown).to_owned() + " cause"),
            _ => String::new(),
        },
    }
}
