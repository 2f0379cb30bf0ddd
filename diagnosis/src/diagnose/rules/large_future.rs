//! Futures so large that moving them costs.

use std::collections::BTreeMap;

use crate::{
    diagnose::{Finding, Severity},
    model::{Capability, LocationId, Task, TaskKind},
};

use super::{Context, Rule};

pub(super) const RULE: Rule = Rule {
    id: "large-future",
    summary: "a task's future is very large",
    meaning: "Everything that lives across an await is part of the future. A large array or many \
              nested futures make it so large that every move copies much, and a stack may overflow.",
    threshold: "a spawned future of 16 KiB or more, boxed by tokio or not",
    evidence: "the size of the future as tokio reports it",
    remedy: "put the large value on the heap (Vec, Box), or let it go before the await",
    needs: &[Capability::Tasks],
    rank: 15,
    over_window: false,
    scans_tasks: true,
    explained_by: &[],
    explained_here: &[],
    not_judged: |_| None,
    check,
};

/// From this size on, in bytes.
pub(super) const LARGE: u64 = 16 << 10;

fn check(context: &Context<'_>) -> Vec<Finding> {
    let model = context.model;
    let mut largest: BTreeMap<LocationId, (&Task, u64, u64)> = BTreeMap::new();
    for task in model.tasks.iter().filter(|t| t.kind != TaskKind::Blocking) {
        let size = task.size().max(task.original_size()).unwrap_or_default();
        let lately = task.ended_at().is_none_or(|ended| ended >= context.since);
        let Some(location) = task.location.filter(|_| size >= LARGE && lately) else {
            continue;
        };
        let (most, bytes, count) = largest.entry(location).or_insert((task, size, 0));
        *count += 1;
        if size > *bytes {
            (*most, *bytes) = (task, size);
        }
    }
    let finding = |(task, bytes, count): (&Task, u64, u64)| {
        let mut finding = Finding::about_task(RULE.id, Severity::Warning, model, task);
        finding.count = count;
        finding.title = format!(
            "the future spawned at {} is {} KiB large",
            finding.location,
            bytes >> 10
        );
        finding.remedy =
            "put the large value on the heap (Vec, Box), or let it go before the await".to_owned();
        finding
    };
    largest.into_values().map(finding).collect()
}
