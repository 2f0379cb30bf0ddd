//! A task that has been in its first poll ever since.

use std::time::Duration;

use crate::{
    diagnose::{Finding, Severity, stalls, words::human},
    model::{Capability, Cause, Stall, Task, TaskKind},
};

use super::{Context, Rule};

pub(super) const RULE: Rule = Rule {
    id: "never-yielded",
    summary: "a task has never yielded since it started",
    meaning: "The task's first poll still runs and computes. A loop without an await cannot be \
              cancelled, timed out or shut down: tokio acts only between polls.",
    threshold: "the first poll of an async task runs for over 1 s, without the time in which the \
                host gave it no CPU, and is not seen to wait",
    evidence: "the task's poll count and the age of its poll; the cause of its stall, if there is one",
    remedy: "await within the loop (yield_now, consume_budget), check a CancellationToken, or move \
             the loop to a thread of its own",
    needs: &[Capability::Tasks],
    rank: 60,
    over_window: false,
    scans_tasks: true,
    explained_by: &[],
    explained_here: &[],
    not_judged: |_| None,
    check,
};

const LONG: Duration = Duration::from_secs(1);

fn check(context: &Context<'_>) -> Vec<Finding> {
    let model = context.model;
    let now = model.now;
    let suspects = model.tasks.live().filter(|t| {
        matches!(t.kind, TaskKind::Task | TaskKind::Local)
            && t.polls().is_some_and(|polls| polls <= 1)
            && t.poll_age(now).is_some_and(|age| age >= LONG)
    });
    suspects.filter_map(|task| finding(context, task)).collect()
}

/// One that sleeps or waits will return; what it does is another rule's. One that
/// the host keeps from running has not had the time to yield. Where the agent
/// watches stalls and reports none, the poll has let go of its worker, as in
/// `block_in_place`.
fn may_never_yield(context: &Context<'_>, stall: Option<&Stall>) -> bool {
    let model = context.model;
    match stall {
        None => !model.session.has(Capability::Stalls) && !context.is_distorted(),
        Some(stall) if stall.is_in_place() => false,
        Some(stall) => match stall.cause {
            Cause::Computing => true,
            // A target without evidence knows no cause at all.
            Cause::Unknown => !model.session.has(Capability::Cause) || stalls::is_own(stall, model),
            _ => false,
        },
    }
}

fn finding(context: &Context<'_>, task: &Task) -> Option<Finding> {
    let model = context.model;
    let stall = model.stalls.live().find(|s| s.task == Some(task.id));
    if !may_never_yield(context, stall) {
        return None;
    }
    // What the host took from it is not its own.
    let age = match stall {
        Some(stall) => stall.own_age(model.now),
        None => task.poll_age(model.now)?,
    };
    if age < LONG {
        return None;
    }
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
        human(age),
        finding.location
    );
    finding.remedy =
        "await inside the loop (yield_now, consume_budget) and check a CancellationToken"
            .to_owned();
    finding.first_seen = task.spawned_at().unwrap_or(model.now.minus(age));
    Some(finding)
}
