//! A task that has been in its first poll ever since.

use std::time::Duration;

use crate::{
    diagnose::{Finding, Severity, stalls},
    model::{Capability, Cause, Task, TaskKind},
};

use super::{Context, Rule};

pub(super) const RULE: Rule = Rule {
    id: "never-yielded",
    summary: "a task has never yielded since it started",
    meaning: "The task's first poll still runs and computes. A loop without an await cannot be \
              cancelled, timed out or shut down: tokio acts only between polls.",
    threshold: "the first poll of an async task runs for over 1 s and is not seen to wait",
    evidence: "the task's poll count and the age of its poll; the cause of its stall, if there is one",
    remedy: "await within the loop (yield_now, consume_budget), check a CancellationToken, or move \
             the loop to a thread of its own",
    needs: &[Capability::Tasks],
    rank: 60,
    over_window: false,
    scans_tasks: true,
    explained_by: &[],
    check,
};

const LONG: Duration = Duration::from_secs(1);

fn check(context: &Context<'_>) -> Vec<Finding> {
    let model = context.model;
    let now = model.now;
    let suspects = model.tasks.live().filter(|t| {
        matches!(t.kind, TaskKind::Task | TaskKind::Local)
            && t.polls.is_some_and(|polls| polls <= 1)
            && t.poll_age(now).is_some_and(|age| age >= LONG)
    });
    suspects.filter_map(|task| finding(context, task)).collect()
}

fn finding(context: &Context<'_>, task: &Task) -> Option<Finding> {
    let model = context.model;
    let stall = model.stalls.live().find(|s| s.task == Some(task.id));
    // One that sleeps or waits will return; what it does is another rule's.
    let waits = |cause| {
        matches!(
            cause,
            Cause::Sleeping | Cause::SystemCall | Cause::Lock | Cause::Stopped
        )
    };
    if stall.is_some_and(|s| waits(s.cause)) {
        return None;
    }
    let age = task.poll_age(model.now)?;
    let mut finding = Finding::about_task(RULE.id, Severity::Warning, model, task);
    if let Some(stall) = stall {
        let location = stalls::location(stall, model);
        if !location.is_empty() {
            finding.location = location;
        }
    }
    finding.function = stall.and_then(|s| s.culprit()).map(|c| c.function.clone());
    finding.stack = stall.and_then(|s| s.resolved.clone());
    finding.stall = stall.map(|s| s.id);
    finding.cause = stall.map(|s| s.cause);
    finding.cause_text = stall
        .map(|s| stalls::cause_text(s, model))
        .unwrap_or_default();
    finding.max = age;
    finding.total = age;
    let name = finding.task_label();
    finding.title = format!(
        "{name} has never yielded in {} ({})",
        stalls::human(age),
        finding.location
    );
    finding.remedy =
        "await inside the loop (yield_now, consume_budget) and check a CancellationToken"
            .to_owned();
    finding.first_seen = task.spawned_at;
    Some(finding)
}
