//! A task that waits for what does not come.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use looptop_waits::LISTED_OFTEN;

use crate::{
    diagnose::{
        Finding, Severity, Subject,
        waits::{Party, asked_text, holders_text, polled_wants},
        words::{count, spoken},
    },
    model::{Model, ResourceKind, TaskId, WantKind},
};

use super::{
    Context, Rule,
    chains::{Spot, explained, frames, name, several, spot, who, why_not_read},
    deadlock,
};

pub(super) const RULE: Rule = Rule {
    id: "stuck-task",
    summary: "a task waits for what does not come",
    meaning: "A task waits at a line at which others of its kind pass at once: for an answer that \
              nobody sends any more (the sender lies in a map), for a lock or a place in a channel \
              that nobody gives back. Or it waits for a message that nobody is left to send: it \
              has the only sender itself. It will wait for ever, with all that it holds. Accept \
              loops, idle connections, tickers and shutdown listeners wait for the outside, for \
              time or for a notification, and are none.",
    threshold: "a task has waited over a minute for an answer (oneshot), a lock, a permit or a place \
                in a channel, with no time-out and no cancellation beside it, and five others of \
                its kind that began later have passed there within two seconds, the last of them \
                within that minute, and no task is known that has the sender; or all senders of the channel from which it receives are its own",
    evidence: "the futures of the tasks as they are in memory, at each reading",
    remedy: "answer on every path and drop senders that are not needed; put a time-out around the wait",
    needs: &[],
    rank: 60,
    over_window: false,
    scans_tasks: false,
    explained_by: &[],
    explained_here: &["deadlock", "futurelock", "lock-convoy"],
    not_judged,
    check,
};

/// Waiting for so long where others pass is no patience.
const MINUTE: Duration = Duration::from_mins(1);
/// Not shorter in a demonstration either: what is read once a second shows no less.
const AT_LEAST: Duration = Duration::from_secs(5);

fn minute(model: &Model) -> Duration {
    model.session.scaled(MINUTE).max(AT_LEAST)
}

fn not_judged(context: &Context<'_>) -> Option<String> {
    let model = context.model;
    why_not_read(context).or_else(|| {
        let read = model.waits.read().is_some();
        if read && model.tasks.len() > LISTED_OFTEN {
            return Some(format!(
                "of more than {LISTED_OFTEN} tasks it is not seen in time which of them pass"
            ));
        }
        let observed = context.window();
        (read && observed < minute(model)).then(|| {
            format!(
                "it needs {:.0} s, and {:.1} s were observed",
                minute(model).as_secs_f64(),
                observed.as_secs_f64()
            )
        })
    })
}

fn check(context: &Context<'_>) -> Vec<Finding> {
    let model = context.model;
    let waiting = &context.memory.waiting;
    let kept = waiting.kept(model);
    let mut findings = Vec::new();
    for stuck in waiting
        .passing
        .stuck(model.now, minute(model) + unseen_for(model))
    {
        let tasks = stuck.tasks.iter().copied();
        let tasks: Vec<TaskId> = tasks.filter(|id| is_alone(context, &kept, *id)).collect();
        let finding = finding(context, &tasks, |n| {
            let others = count(stuck.passed as u64, "other");
            let that = if n == 1 {
                "it began"
            } else {
                "the first began"
            };
            format!(", where {others} have passed since {that}")
        });
        findings.extend(finding);
    }
    let mut unsent: BTreeMap<Spot, Vec<TaskId>> = BTreeMap::new();
    for ring in waiting
        .rings(model)
        .filter(|r| deadlock::is_never_ending(r))
    {
        if let Party::Task(id) = ring.members[0].party {
            unsent
                .entry(spot(model, Party::Task(id)))
                .or_default()
                .push(id);
        }
    }
    for tasks in unsent.values() {
        let finding = finding(context, tasks, |n| {
            let whose = if n == 1 { "its own" } else { "their own" };
            format!(", whose only senders are {whose}: it never ends")
        });
        findings.extend(finding);
    }
    findings
}

/// For so long one that has gone on may not be known to have.
fn unseen_for(model: &Model) -> Duration {
    if model.tasks.len() <= LISTED_OFTEN {
        return Duration::ZERO;
    }
    BETWEEN_LOOKS_AT_MANY
}

/// Many tasks are looked at from outside at least so often.
const BETWEEN_LOOKS_AT_MANY: Duration = Duration::from_secs(10);

/// Nothing else says better why it waits.
fn is_alone(context: &Context<'_>, kept: &HashSet<Party>, id: TaskId) -> bool {
    let (model, waiting) = (context.model, &context.memory.waiting);
    let queued = |id: TaskId| {
        let wait = model.waits.task(id)?;
        let (wants, _) = polled_wants(wait);
        let resource = wants.first()?.resource?;
        Some(waiting.queues.get(&resource)?.waiting.len() > 2)
    };
    // An answer whose sender is known, and goes on some time, is late and not lost.
    let is_coming = |id: TaskId| {
        let wait = model.waits.task(id)?;
        let (wants, _) = polled_wants(wait);
        let message = wants
            .first()
            .filter(|want| want.kind == WantKind::Message)?;
        Some(!waiting.graph.holders_of(message).is_empty())
    };
    !kept.contains(&Party::Task(id)) && queued(id) != Some(true) && is_coming(id) != Some(true)
}

fn finding(
    context: &Context<'_>,
    tasks: &[TaskId],
    why: impl Fn(usize) -> String,
) -> Option<Finding> {
    let model = context.model;
    let first = *tasks.first()?;
    let known = model.waits.task(first)?;
    let (wants, _) = polled_wants(known);
    let want = *wants.first()?;
    let at = spot(model, Party::Task(first));
    let subject = match at.line(model) {
        Some(line) => Subject::Line(line),
        None => Subject::Named(at.function.clone()),
    };
    let mut finding = Finding::new(RULE.id, Severity::Warning, subject, model.now);
    finding.location = at.line(model).unwrap_or_default();
    finding.function = (!at.function.is_empty()).then(|| at.function.clone());
    finding.task = Some(first);
    finding.tasks = tasks.to_vec();
    finding.tasks.sort_unstable();
    let known = model.tasks.get(first);
    let task_name = known.and_then(|task| model.task_name(task));
    task_name
        .unwrap_or_default()
        .clone_into(&mut finding.task_name);
    let ages = tasks.iter().filter_map(|id| model.waits.task(*id));
    let ages: Vec<Duration> = ages
        .map(|wait| model.now.since(model.waits_since(wait).0))
        .collect();
    finding.count = tasks.len() as u64;
    finding.max = ages.iter().copied().max().unwrap_or_default();
    finding.total = ages.iter().sum();
    finding.first_seen = model
        .now
        .minus(finding.max)
        .max(model.since.unwrap_or_default());
    finding.stack = Some(Arc::new(frames(model, std::slice::from_ref(&at))));
    let parties: Vec<Party> = tasks.iter().copied().map(Party::Task).collect();
    finding.explains = explained(model, &parties);
    let place = match at.text(model) {
        text if text.is_empty() => text,
        text => format!(" ({text})"),
    };
    let who = match tasks.len() as u64 {
        1 => format!("{} has waited", who(model, Party::Task(first))),
        n => format!(
            "{} have waited up to",
            several(n, &name(model, Party::Task(first)))
        ),
    };
    let held = holders_text(
        model,
        &context.memory.waiting.graph,
        parties.first().copied().filter(|_| tasks.len() == 1),
        want,
    );
    let joint = match want.kind {
        WantKind::Task => ",",
        _ => ";",
    };
    let held = held.map_or(String::new(), |held| format!("{joint} {held}"));
    let why = why(tasks.len());
    finding.title = format!(
        "{who} {} for {}{place}{why}{held}",
        spoken(finding.max),
        asked_text(model, want),
    );
    let kind = want.resource.and_then(|id| model.waits.resource(id));
    finding.remedy = match (want.kind, kind.map(|r| r.kind)) {
        (WantKind::Message, Some(ResourceKind::Oneshot)) => {
            "send an answer, or drop the sender, on every path: one that is forgotten in a map is \
             neither; put a time-out around the wait"
        }
        (WantKind::Message, _) => {
            "drop the sender that the receiver's own task keeps: the channel ends with its last sender"
        }
        _ => RULE.remedy,
    }
    .to_owned();
    Some(finding)
}
