//! A poll that keeps a worker from its other tasks.

use std::time::Duration;

use crate::{
    diagnose::{
        Finding, Severity,
        finding::cause_word,
        mistakes::{self, Mistake},
        stalls,
        words::counted,
    },
    model::{Cause, Model},
};

use super::{Context, Rule};

pub(super) const RULE: Rule = Rule {
    id: "blocked-worker",
    summary: "a poll keeps a worker from its other tasks",
    meaning: "A worker runs one poll at a time. While a poll computes, sleeps, reads or waits for a \
              lock, every other task of that worker waits. Polls are meant to take well below a \
              millisecond.",
    threshold: "a poll runs longer than 10 ms (notice; three times, or once over 20 ms); 100 ms, or \
                shorter ones take a fifth of one worker's time, or last 50 ms as a rule and take a \
                hundredth of all workers' time (warning: they are the 99th percentile of a \
                service); 1 s (critical); while it lasts. The time in which the host gave the \
                thread no CPU does not count, nor what is inside block_in_place, nor do a clone or \
                mprotect below 1 s. Where no stack names code or a call, and while threads mostly \
                wait for a CPU, an unknown cause or a lock is a notice below 1 s. At level 0 up to 61 polls in a row look like one: what \
                computes counts from 50 ms there",
    evidence: "the watchdog's stalls: task, thread, CPU time, system call, stack",
    remedy: "by cause and call: await it (case A), spawn_blocking (case B), a dedicated pool (case C)",
    needs: &[],
    rank: 80,
    over_window: true,
    scans_tasks: false,
    explained_by: &[],
    explained_here: &["deadlock"],
    not_judged: |_| None,
    check,
};

/// A single poll over this is worth a notice; shorter ones only if they recur,
/// because any thread is held up for some milliseconds now and then.
const SINGLE_NOTICE: Duration = Duration::from_millis(20);
const RECURRING: usize = 3;

fn check(context: &Context<'_>) -> Vec<Finding> {
    let model = context.model;
    mistakes::of(model, context.since)
        .iter()
        .filter(|mistake| !mistake.is_convoy)
        .filter_map(|mistake| finding(context, mistake))
        .collect()
}

fn finding(context: &Context<'_>, mistake: &Mistake<'_>) -> Option<Finding> {
    let model = context.model;
    let ages = mistake.stalls.iter().map(|s| s.own_age(model.now));
    if ages.max()? < SINGLE_NOTICE && mistake.stalls.len() < RECURRING {
        return None;
    }
    let mut severity = stalls::severity(model, mistake, context.window());
    if severity < Severity::Critical && is_perhaps_no_cpu(mistake) && context.is_distorted() {
        severity = Severity::Notice;
    }
    let mut finding = stalls::finding(RULE.id, severity, model, mistake);
    finding.title = title(model, mistake);
    Some(finding)
}

/// Waits for nothing but a lock within, which another thread of the channel keeps for
/// some instructions while it has a CPU.
const SEND_WITHOUT_BOUND: &str = "std::sync::mpsc::Sender::send";

/// Nothing says that it did not wait for a CPU: no stack that names code or a call, or a
/// call that waits for nobody, and at most a lock, which a thread without a CPU may keep.
fn is_perhaps_no_cpu(mistake: &Mistake<'_>) -> bool {
    let mut stalls = mistake.stalls.iter();
    let nameless = stalls.all(|stall| match stall.call() {
        Some(call) => call.name == SEND_WITHOUT_BOUND,
        None => stall.culprit().is_none(),
    });
    nameless && matches!(mistake.cause, Cause::Unknown | Cause::Lock)
}

/// "worker 2 blocked 843 ms computing in `report::render` (demo/src/cpu.rs:42)".
fn title(model: &Model, mistake: &Mistake<'_>) -> String {
    let stall = mistake.shown;
    let place = stalls::place(stall, model);
    let age = stalls::how_long(mistake, model);
    let was = if stall.live { "blocked" } else { "was blocked" };
    let why = stalls::short_cause(stall, model);
    // Who holds the lock comes before the one that waits for it.
    if mistake.waiters == 0
        && stall.cause == Cause::Lock
        && let Some(held) = stalls::holder(mistake, model)
    {
        let lock = stall.call().map(|call| call.name.as_str());
        let lock = lock.map_or(String::new(), |name| format!(" ({name})"));
        let is = if stall.live { "is" } else { "was" };
        let who = stalls::whereabouts(stall, model);
        let comma = if who.is_empty() { "" } else { "," };
        return format!(
            "a lock{lock} {is} {}: {place} {was} {age} waiting for it{comma}{who}",
            held.text
        );
    }
    let others = match mistake.waiters as u64 {
        0 => String::new(),
        n => format!(
            "; {} for the lock that it holds",
            counted(n, "poll", "wait")
        ),
    };
    let mut who = stalls::whereabouts(stall, model);
    if who.is_empty() && stall.cause == Cause::Unknown {
        who = format!(", {} cause", cause_word(Cause::Unknown));
    }
    format!("{place} {was} {age}{why}{who}{others}")
}
