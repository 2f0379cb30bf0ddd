//! A task that nothing can wake any more.

use std::time::Duration;

use crate::{
    diagnose::{Finding, Severity, words::human},
    model::{Capability, TaskKind},
};

use super::{Context, Rule};

pub(super) const RULE: Rule = Rule {
    id: "lost-waker",
    summary: "a task waits, and nothing is left that could wake it",
    meaning: "A future returned Pending without keeping a clone of its waker, or dropped the last \
              one. The task will never be polled again.",
    threshold: "an idle task without a waker for over 1 s",
    evidence: "clones and drops of the task's wakers",
    remedy: "store cx.waker().clone() before returning Pending, and wake it when ready",
    needs: &[Capability::Tasks, Capability::Wakers],
    rank: 50,
    over_window: false,
    scans_tasks: false,
    explained_by: &[],
    explained_here: &[],
    not_judged: |_| None,
    check,
};

/// A waker may be between two owners for a moment.
const LONG: Duration = Duration::from_secs(1);

fn check(context: &Context<'_>) -> Vec<Finding> {
    let model = context.model;
    let now = model.now;
    let mut lost: Vec<_> = context
        .memory
        .without_waker
        .iter()
        .filter(|(_, (since, _))| now.since(*since) >= LONG)
        .filter_map(|(id, (since, _))| Some((model.tasks.get(*id)?, *since)))
        .filter(|(task, _)| matches!(task.kind, TaskKind::Task | TaskKind::Local))
        .collect();
    lost.sort_unstable_by_key(|(task, _)| task.id);
    let finding = |(task, since): (&crate::model::Task, _)| {
        let mut finding = Finding::about_task(RULE.id, Severity::Warning, model, task);
        let name = finding.task_label();
        finding.max = now.since(since);
        let wakers = task.wakers().map_or_else(String::new, |(clones, drops)| {
            format!("{clones} cloned, {drops} dropped")
        });
        finding.title = format!(
            "{name} lost its last waker {} ago and will never run again ({wakers}; spawned at {})",
            human(finding.max),
            finding.location
        );
        finding.remedy =
            "store cx.waker().clone() before returning Pending, and wake it when ready".to_owned();
        finding.first_seen = since;
        finding
    };
    lost.into_iter().map(finding).collect()
}
