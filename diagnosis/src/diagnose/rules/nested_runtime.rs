//! A worker parked inside a second executor.

use crate::{
    diagnose::{
        Finding, Severity,
        mistakes::{self, Mistake},
        stalls,
    },
    model::{Capability, Model},
};

use super::{Context, Rule};

pub(super) const RULE: Rule = Rule {
    id: "nested-runtime",
    summary: "a worker is parked inside a second executor",
    meaning: "A poll called block_on, of another runtime or of a small executor. The worker sleeps \
              until the inner future is done, and cannot run anything else meanwhile; if the inner \
              future needs that worker, for ever.",
    threshold: "a stall over 10 ms whose stack passes through a block_on inside a poll",
    evidence: "the stack of the stalled thread",
    remedy: "make the caller async and .await the future",
    needs: &[Capability::Stalls, Capability::Stacks],
    rank: 90,
    over_window: true,
    scans_tasks: false,
    explained_by: &[],
    explained_here: &[],
    not_judged: |_| None,
    check,
};

fn check(context: &Context<'_>) -> Vec<Finding> {
    let model = context.model;
    mistakes::nested(model, context.since)
        .iter()
        .map(|mistake| finding(model, mistake))
        .collect()
}

fn finding(model: &Model, mistake: &Mistake<'_>) -> Finding {
    let shown = mistake.shown;
    let severity = if stalls::longest(mistake, model) >= stalls::CRITICAL {
        Severity::Critical
    } else {
        Severity::Warning
    };
    let mut finding = stalls::finding(RULE.id, severity, model, mistake);
    let executor = stalls::call(shown).map_or("block_on", |call| &call.name);
    finding.title = format!(
        "{} parked {} inside {executor}{}",
        stalls::place(shown, model),
        stalls::how_long(mistake, model),
        match shown.culprit() {
            Some(culprit) => format!(" called by {}", culprit.place()),
            None => stalls::whereabouts(shown, model),
        }
    );
    finding
}
