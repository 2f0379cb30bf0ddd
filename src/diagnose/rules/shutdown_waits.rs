//! A runtime that was shut down and still waits for its threads.

use std::time::Duration;

use crate::{
    diagnose::{Finding, Severity, Subject, stalls, words::human},
    model::{Culprit, Runtime},
};

use super::{Context, Rule};

pub(super) const RULE: Rule = Rule {
    id: "shutdown-waits",
    summary: "a runtime was shut down and waits for a job that does not end",
    meaning: "Dropping a runtime cancels its tasks, but waits for every job of spawn_blocking that \
              has begun: these cannot be cancelled. The process seems to hang on its way out.",
    threshold: "a shutdown has waited for over 5 s (warning)",
    evidence: "when the shutdown began, and the stacks of the threads that it waits for",
    remedy: "let the job look at a flag or channel, use Runtime::shutdown_timeout, or give it a \
             thread of its own",
    needs: &[],
    rank: 75,
    over_window: false,
    scans_tasks: false,
    explained_by: &[],
    explained_here: &[],
    not_judged: |_| None,
    check,
};

const LONG: Duration = Duration::from_secs(5);

fn check(context: &Context<'_>) -> Vec<Finding> {
    let runtimes = context.model.runtimes.iter();
    runtimes
        .filter_map(|runtime| finding(context, runtime))
        .collect()
}

fn finding(context: &Context<'_>, runtime: &Runtime) -> Option<Finding> {
    let model = context.model;
    let began = runtime.shutdown_began?;
    let waited = model.now.since(began);
    if waited < LONG {
        return None;
    }
    let subject = Subject::Runtime(runtime.id);
    let mut finding = Finding::new(RULE.id, Severity::Warning, subject, model.now);
    finding.max = waited;
    finding.total = waited;
    finding.first_seen = began;
    finding.count = runtime.shutdown_waits.len().max(1) as u64;
    let stacks = runtime.shutdown_waits.iter();
    let named = stacks.filter_map(|wait| wait.resolved.as_ref());
    let stack = named.max_by_key(|stack| stack.culprit.is_some());
    let culprit: Option<&Culprit> = stack.and_then(|stack| stack.culprit.as_ref());
    let what = match culprit {
        Some(culprit) => {
            finding.function = Some(culprit.function.clone());
            finding.location = culprit.location();
            stalls::code(culprit)
        }
        None => "a job of the blocking pool".to_owned(),
    };
    finding.stack = stack.cloned();
    let name = match model.text(runtime.name) {
        "" => "the runtime".to_owned(),
        name => format!("runtime {name}"),
    };
    finding.title = format!(
        "{name} was shut down {} ago and waits for {what}",
        human(waited)
    );
    finding.remedy =
        "let the job look at a flag or channel and end, or use Runtime::shutdown_timeout"
            .to_owned();
    Some(finding)
}
