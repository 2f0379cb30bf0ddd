//! A worker parked inside a second executor.

use std::collections::BTreeMap;

use crate::{
    diagnose::{Finding, Severity, Subject, stalls},
    model::{Capability, Model, Stall},
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
    check,
};

fn check(context: &Context<'_>) -> Vec<Finding> {
    let model = context.model;
    let now = model.now;
    let mut groups: BTreeMap<Subject, Vec<&Stall>> = BTreeMap::new();
    for stall in model.stalls.iter() {
        if stall.overlaps(context.since, now) && stalls::is_nested_runtime(stall) {
            groups
                .entry(stalls::subject(stall, model))
                .or_default()
                .push(stall);
        }
    }
    groups
        .into_values()
        .filter_map(|group| finding(model, &group))
        .collect()
}

fn finding(model: &Model, group: &[&Stall]) -> Option<Finding> {
    let shown = stalls::most_telling(group, model)?;
    let culprit = shown.culprit()?;
    let age = shown.age(model.now);
    let severity = if age >= stalls::CRITICAL {
        Severity::Critical
    } else {
        Severity::Warning
    };
    let mut finding = stalls::finding(RULE.id, severity, model, group, shown);
    finding.title = format!(
        "{} parked {} inside {} called by {} ({})",
        stalls::place(shown, model),
        stalls::human(age),
        stalls::call(shown).map_or("block_on", |call| &call.name),
        culprit.function,
        culprit.location()
    );
    Some(finding)
}
