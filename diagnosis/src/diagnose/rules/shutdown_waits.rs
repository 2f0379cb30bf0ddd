//! A runtime was shut down, and its shutdown does not end.

use std::time::Duration;

use crate::{
    diagnose::{Finding, Severity, Subject},
    model::{Capability, Culprit, Resolved, Runtime, Wait},
};

use super::{Context, Rule};

pub(super) const RULE: Rule = Rule {
    id: "shutdown-waits",
    summary: "a runtime's shutdown waits for a blocking job",
    meaning: "A runtime that is dropped waits for the jobs of its blocking pool that have begun, \
              for ever: they cannot be cancelled. The thread that drops it stands still, and a \
              program does not end.",
    threshold: "a thread has waited for a runtime's shutdown for 5 s",
    evidence: "the stacks of the threads that the shutdown waits for",
    remedy: "let the job look at a flag or a CancellationToken now and then, or end the runtime \
             with shutdown_timeout",
    needs: &[Capability::Stacks],
    rank: 58,
    over_window: false,
    scans_tasks: false,
    explained_by: &[],
    explained_here: &[],
    not_judged: |_| None,
    check,
};

const FOR: Duration = Duration::from_secs(5);

fn check(context: &Context<'_>) -> Vec<Finding> {
    let runtimes = context.model.runtimes.iter();
    runtimes.filter_map(|r| finding(context, r)).collect()
}

fn finding(context: &Context<'_>, runtime: &Runtime) -> Option<Finding> {
    let model = context.model;
    let age = model.now.since(runtime.shutdown_began?);
    if age < FOR {
        return None;
    }
    let stacks = || runtime.shutdown_waits.iter().filter_map(named);
    // Whoever shuts down in the background waits for nothing.
    if !stacks().any(is_shutdown) {
        return None;
    }
    let jobs: Vec<&Wait> = runtime
        .shutdown_waits
        .iter()
        .filter(|wait| named(wait).is_some_and(is_job))
        .collect();
    let job = jobs.iter().find(|wait| culprit(wait).is_some());
    let mut finding = Finding::new(
        RULE.id,
        Severity::Warning,
        Subject::Runtime(runtime.id),
        model.now,
    );
    finding.max = age;
    finding.total = age;
    let named = jobs.iter().filter(|wait| culprit(wait).is_some());
    finding.count = (named.count() as u64).max(1);
    let name = match model.text(runtime.name) {
        "" => String::new(),
        name => format!(" {name}"),
    };
    let what = match job.and_then(|wait| culprit(wait)) {
        Some(culprit) => {
            finding.location = culprit.location().unwrap_or_default();
            finding.function = Some(culprit.function.clone());
            match &culprit.call {
                Some(call) => format!("{} ({})", culprit.function, call.name),
                None => culprit.function.clone(),
            }
        }
        None => "a job of its blocking pool".to_owned(),
    };
    finding.stack = job.and_then(|wait| wait.resolved.clone());
    let seconds = age.as_secs();
    finding.title = format!("runtime{name} was shut down {seconds} s ago and waits for {what}");
    finding.remedy = "let the job look at a flag or a CancellationToken now and then, or end the \
                      runtime with shutdown_timeout"
        .to_owned();
    Some(finding)
}

fn named(wait: &Wait) -> Option<&Resolved> {
    wait.resolved.as_deref()
}

fn culprit(wait: &Wait) -> Option<&Culprit> {
    named(wait)?.culprit.as_ref()
}

/// The thread waits until a runtime's threads have ended.
fn is_shutdown(stack: &Resolved) -> bool {
    stack
        .frames
        .iter()
        .any(|f| f.function.contains("BlockingPool") && f.function.contains("shutdown"))
}

/// The thread runs a job of a blocking pool.
fn is_job(stack: &Resolved) -> bool {
    let of_pool =
        |function: &str| function.contains("BlockingTask") || function.ends_with("Inner::run");
    !is_shutdown(stack) && stack.frames.iter().any(|f| of_pool(&f.function))
}
