//! Futures that tokio moved to the heap because of their size.

use std::collections::BTreeMap;

use crate::{
    diagnose::{Finding, Severity},
    model::{Capability, LocationId, Task},
};

use super::{Context, Rule, large_future::LARGE};

pub(super) const RULE: Rule = Rule {
    id: "auto-boxed-future",
    summary: "tokio boxed a future because of its size",
    meaning: "The future was over tokio's limit for the stack (2 KiB in debug builds, 16 KiB in \
              release builds), so tokio moved it to the heap when it was spawned.",
    threshold: "a future was boxed and is smaller than what large-future reports",
    evidence: "the sizes before and after, as tokio reports them",
    remedy: "nothing, unless it is spawned often: then box the large part yourself, or shrink it",
    needs: &[Capability::Tasks],
    rank: 2,
    over_window: false,
    scans_tasks: true,
    explained_by: &["large-future"],
    explained_here: &[],
    not_judged: |_| None,
    check,
};

fn check(context: &Context<'_>) -> Vec<Finding> {
    let model = context.model;
    // tokio's limit in release builds is that of large-future; a smaller one is
    // boxed in a debug build only, where nobody looks for speed.
    let boxed = |task: &&Task| {
        let original = task.original_size().unwrap_or_default();
        task.size().is_some_and(|size| size < original) && (LARGE / 2..LARGE).contains(&original)
    };
    let mut sites: BTreeMap<LocationId, &Task> = BTreeMap::new();
    for task in model.tasks.live().filter(boxed) {
        sites.extend(task.location.map(|location| (location, task)));
    }
    let finding = |task: &Task| {
        let mut finding = Finding::about_task(RULE.id, Severity::Notice, model, task);
        finding.title = format!(
            "tokio boxed the future spawned at {} ({} bytes)",
            finding.location,
            task.original_size().unwrap_or_default()
        );
        finding.remedy = RULE.remedy.to_owned();
        finding
    };
    sites.into_values().map(finding).collect()
}
