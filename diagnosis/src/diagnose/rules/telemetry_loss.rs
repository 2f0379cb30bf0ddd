//! The picture has holes.

use std::time::Duration;

use crate::{
    diagnose::{
        Finding, Severity, Subject, stalls,
        words::{count, human},
    },
    model::{Loss, Stall, total},
};

use super::{Context, Rule};

pub(super) const RULE: Rule = Rule {
    id: "telemetry-loss",
    summary: "something was dropped: the picture has holes",
    meaning: "The agent or console-subscriber reached a bound and dropped data, or the watchdog \
              itself was held up. What is shown is right, but not all. Or the agent itself kept a \
              poll waiting.",
    threshold: "any loss counter grows, or the watchdog was held up for half of the time, or a poll \
                stands in the agent's own code for 10 ms, within the window",
    evidence: "the agent's absolute loss counters; the stacks of stalls",
    remedy: "raise the bound that the finding names, or observe fewer tasks",
    needs: &[],
    rank: 5,
    over_window: false,
    scans_tasks: false,
    explained_by: &["host-starved"],
    explained_here: &[],
    not_judged: |_| None,
    check,
};

/// The watchdog of a busy machine is late all the time; one that slept through
/// this share of the time saw no more than a part.
const LATE_SHARE: f64 = 0.5;
/// Less is a hiccup.
const LATE_NS: u64 = 2_000_000_000;

fn check(context: &Context<'_>) -> Vec<Finding> {
    let holes = holes(context);
    holes.into_iter().chain(own_stalls(context)).collect()
}

/// Polls that stood in the agent's own code: nothing of the application's is to
/// blame.
fn own_stalls(context: &Context<'_>) -> Option<Finding> {
    let model = context.model;
    let is_agents = |stall: &&Stall| {
        stall.overlaps(context.since, model.now)
            && stall.own_age(model.now) >= stalls::NOTICE
            && stalls::agents_function(stall).is_some()
    };
    let group: Vec<&Stall> = model.stalls.iter().filter(is_agents).collect();
    let shown = group.iter().max_by_key(|stall| stall.own_age(model.now))?;
    let mut finding = Finding::new(RULE.id, Severity::Notice, Subject::Process, model.now);
    finding.title = format!(
        "the agent itself kept {} waiting for up to {}, in {}",
        count(group.len() as u64, "poll"),
        human(shown.age(model.now)),
        stalls::agents_function(shown).unwrap_or_default(),
    );
    finding.count = group.len() as u64;
    finding.max = shown.age(model.now);
    finding.total = group.iter().map(|stall| stall.age(model.now)).sum();
    finding.stack = shown.resolved.clone();
    finding.stall = Some(shown.id);
    finding.remedy = "this is the agent's doing, not the application's: observe fewer tasks, or \
                      use level 2 or 0, and report it"
        .to_owned();
    Some(finding)
}

fn holes(context: &Context<'_>) -> Vec<Finding> {
    let losses = &context.memory.losses;
    let Some((_, now)) = losses.back() else {
        return Vec::new();
    };
    let base = losses
        .iter()
        .rev()
        .find(|(at, _)| *at <= context.since)
        .or(losses.front());
    let lost = base
        .map(|(at, then)| lost_since(then, now, context.now().since(*at)))
        .unwrap_or_default();
    if lost.is_empty() {
        return Vec::new();
    }
    let mut finding = Finding::new(
        RULE.id,
        Severity::Notice,
        Subject::Process,
        context.model.now,
    );
    finding.count = total(lost.iter().map(|(_, n)| *n));
    let parts: Vec<_> = lost.iter().map(|(what, n)| format!("{n} {what}")).collect();
    finding.title = format!("the picture has holes: {}", parts.join(", "));
    finding.remedy =
        "what is shown is right, but not all: raise the bound, or observe fewer tasks".to_owned();
    vec![finding]
}

fn lost_since(then: &Loss, now: &Loss, window: Duration) -> Vec<(&'static str, u64)> {
    let late = now.watchdog_late_ns.saturating_sub(then.watchdog_late_ns);
    let held_up = late >= LATE_NS && late as f64 > window.as_nanos() as f64 * LATE_SHARE;
    [
        ("tasks untracked", now.tasks.saturating_sub(then.tasks)),
        (
            "names or locations dropped",
            now.strings.saturating_sub(then.strings),
        ),
        (
            "frames skipped (slow viewer)",
            now.frames.saturating_sub(then.frames),
        ),
        ("stalls dropped", now.stalls.saturating_sub(then.stalls)),
        (
            "threads without a slot",
            now.slots.saturating_sub(then.slots),
        ),
        (
            "console events dropped",
            now.console_events.saturating_sub(then.console_events),
        ),
        (
            "ms of watchdog delay",
            if held_up { late / 1_000_000 } else { 0 },
        ),
    ]
    .into_iter()
    .filter(|(_, n)| *n > 0)
    .collect()
}
