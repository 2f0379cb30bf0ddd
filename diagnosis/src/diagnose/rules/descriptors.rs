//! Open descriptors near their limit.

use crate::{
    diagnose::{Finding, Severity, Subject},
    model::{Process, Task, TaskKind},
};

use super::{Context, Rule, self_wake_spin};

pub(super) const RULE: Rule = Rule {
    id: "descriptors",
    summary: "the process has nearly all descriptors open that it may",
    meaning: "Every socket and file takes a descriptor, and the process may have only so many. With \
              none left accept, connect and open fail with EMFILE; a loop that asks accept again at \
              once spins, because the connection is still there.",
    threshold: "nine tenths of the limit are open (warning), or all but three (critical); a task \
                that spins meanwhile is part of it",
    evidence: "open descriptors and their soft limit",
    remedy: "close what is not used, bound the connections (a Semaphore before accept), wait after \
             an error of accept, and raise the limit (ulimit -n)",
    needs: &[],
    rank: 68,
    over_window: false,
    scans_tasks: false,
    explained_by: &[],
    explained_here: &[],
    not_judged: |_| None,
    check,
};

const NEAR: f64 = 0.9;
/// Fewer free ones are none: the agent keeps one, and a library may as well.
const SPARE: u64 = 3;

fn check(context: &Context<'_>) -> Vec<Finding> {
    let process = context.model.process.as_ref();
    process
        .and_then(|process| finding(context, process))
        .into_iter()
        .collect()
}

fn finding(context: &Context<'_>, process: &Process) -> Option<Finding> {
    let model = context.model;
    let (open, limit) = (process.open_files?, process.open_file_limit?);
    let full = open.saturating_add(SPARE) >= limit;
    if limit == 0 || (!full && (open as f64) < limit as f64 * NEAR) {
        return None;
    }
    let severity = if full {
        Severity::Critical
    } else {
        Severity::Warning
    };
    let mut finding = Finding::new(RULE.id, severity, Subject::Process, model.now);
    finding.count = open;
    let spins = spinner(context);
    let spin = spins.map_or(String::new(), |task| {
        finding.task = Some(task.id);
        finding.task_name = model.text(task.name).to_owned();
        let location = model.location(task.location);
        finding.location = location.map(|l| l.to_string()).unwrap_or_default();
        let place = match finding.location.as_str() {
            "" => String::new(),
            location => format!(" (spawned at {location})"),
        };
        format!("; {}{place} asks again and again", finding.task_label())
    });
    let used = if full { "are used up" } else { "run out" };
    finding.title = format!("descriptors {used}: {open} of {limit} open{spin}");
    finding.remedy = if spins.is_some() {
        "close what is not used; after an error of accept wait a moment (sleep) before the next, and \
         bound the connections"
    } else {
        "close what is not used, bound the connections (a Semaphore before accept), or raise the \
         limit (ulimit -n)"
    }
    .to_owned();
    Some(finding)
}

/// The task that spins fastest.
fn spinner<'a>(context: &Context<'a>) -> Option<&'a Task> {
    let now = context.now();
    let tasks = context.model.tasks.live();
    tasks
        .filter(|t| t.kind != TaskKind::Blocking)
        .filter_map(|task| Some((task, task.recent(now)?)))
        .filter(|(_, recent)| self_wake_spin::spins(recent))
        .max_by(|(_, a), (_, b)| a.busy.total_cmp(&b.busy))
        .map(|(task, _)| task)
}
