//! The picture has holes.

use std::time::Duration;

use crate::{
    diagnose::{Finding, Severity, Subject},
    model::{Loss, total},
};

use super::{Context, Rule};

pub(super) const RULE: Rule = Rule {
    id: "telemetry-loss",
    summary: "something was dropped: the picture has holes",
    meaning: "The agent or console-subscriber reached a bound and dropped data, or the watchdog \
              itself was held up. What is shown is right, but not all.",
    threshold: "any loss counter grows, or the watchdog was held up for half of the time, within the \
                window",
    evidence: "the agent's absolute loss counters",
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
