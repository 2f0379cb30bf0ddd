//! Several workers or tasks queue for one lock.
//!
//! Workers wait for a lock of the standard library's kind, which shows as a
//! stall, with the lock's address. Tasks wait for one of tokio's; that shows at
//! level 1 as the last thing that each asked for, and not which lock it is, so
//! that they are grouped by where they were spawned.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use crate::{
    diagnose::{Finding, Severity, Subject, stalls, verdict::count},
    model::{Capability, LocationId, Model, Moment, Stall, Task, TaskId, TaskKind, TaskState},
};

use super::{Context, Rule};

pub(super) const RULE: Rule = Rule {
    id: "lock-convoy",
    summary: "several polls or tasks queue for one lock",
    meaning: "One holds a lock for long, and the others that want it wait one behind the other: \
              polls on a lock of the standard library, each blocking its worker meanwhile, or tasks \
              on a lock, semaphore or pool of tokio's.",
    threshold: "two or more stalls over 50 ms that wait for the same lock within the window; or five \
                or more tasks of one spawn location that wait over 250 ms for a lock or permit of \
                tokio's (a batch that one task spawned behind its own limit does not count)",
    evidence: "stalls in futex with the lock's address, their stacks, and the holder's where another \
               stalled thread evidently is it; at level 1, the tasks that last asked a lock and were \
               told to wait",
    remedy: "hold the lock for less, split it, or use an async lock where it is held across an await",
    needs: &[Capability::Stalls, Capability::Cause],
    rank: 70,
    over_window: true,
    scans_tasks: true,
    explained_by: &[],
    check,
};

const LONG: Duration = Duration::from_millis(50);
const SEVERAL: usize = 2;
/// For tasks, which may well wait: that is what they are for.
const LONG_FOR_A_TASK: Duration = Duration::from_millis(250);
const MANY: usize = 5;

fn check(context: &Context<'_>) -> Vec<Finding> {
    let mut findings = workers(context);
    findings.extend(tasks(context.model));
    findings
}

fn workers(context: &Context<'_>) -> Vec<Finding> {
    let model = context.model;
    let now = model.now;
    let mut groups: BTreeMap<(Option<u64>, Subject), Vec<&Stall>> = BTreeMap::new();
    for stall in model.stalls.iter() {
        if stall.overlaps(context.since, now)
            && stalls::waits_for_lock(stall)
            && stall.own_age(now) >= LONG
        {
            // By the lock where it is known, by the waiting code otherwise.
            let subject = match stall.lock_address {
                Some(_) => Subject::Process,
                None => stalls::subject(stall, model),
            };
            groups
                .entry((stall.lock_address, subject))
                .or_default()
                .push(stall);
        }
    }
    groups
        .into_values()
        .filter(|group| group.len() >= SEVERAL)
        .filter_map(|group| finding(model, &group))
        .collect()
}

fn finding(model: &Model, group: &[&Stall]) -> Option<Finding> {
    let shown = stalls::most_telling(group, model)?;
    let waiting = group.iter().filter(|s| s.live).count();
    let holder = group.iter().find_map(|s| s.lock_holder);
    let held = holder.map_or(String::new(), |tid| {
        match model.stalls.on_thread(tid).and_then(Stall::culprit) {
            Some(culprit) => format!(", held in {} ({})", culprit.function, culprit.location()),
            None => format!(", held by thread {tid}"),
        }
    });
    let mut finding = stalls::finding(RULE.id, Severity::Warning, model, group, shown);
    finding.title = format!(
        "{} waited for one lock, {waiting} now, up to {}, at {}{held}",
        count(group.len() as u64, "poll"),
        stalls::human(shown.age(model.now)),
        stalls::location(shown, model),
    );
    Some(finding)
}

/// Tasks of one spawn location that wait for a lock.
#[derive(Default)]
struct Queue<'a> {
    waiting: Vec<(&'a Task, Moment)>,
    /// Of these, tasks that have done nothing else yet, by their parents: those
    /// of one parent are a batch that it bounds.
    batches: HashSet<Option<TaskId>>,
    others: usize,
}

fn tasks(model: &Model) -> Vec<Finding> {
    let mut queues: BTreeMap<LocationId, Queue<'_>> = BTreeMap::new();
    for task in model.tasks.live() {
        let (Some(since), Some(site)) = (task.lock_wait, task.location) else {
            continue;
        };
        let is_task = matches!(task.kind, TaskKind::Task | TaskKind::Local);
        if !is_task || task.state != TaskState::Idle || model.now.since(since) < LONG_FOR_A_TASK {
            continue;
        }
        let queue = queues.entry(site).or_default();
        queue.waiting.push((task, since));
        if task.polls.is_some_and(|polls| polls > 1) {
            queue.others += 1;
        } else {
            queue.batches.insert(task.parent);
        }
    }
    queues
        .into_iter()
        .filter(|(_, queue)| queue.others + queue.batches.len() >= MANY)
        .filter_map(|(site, queue)| of_tasks(model, site, &queue.waiting))
        .collect()
}

fn of_tasks(model: &Model, site: LocationId, waiting: &[(&Task, Moment)]) -> Option<Finding> {
    let (first, since) = waiting.iter().min_by_key(|(_, since)| *since)?;
    let ages = waiting.iter().map(|(_, since)| model.now.since(*since));
    let mut finding = Finding::about_site(RULE.id, Severity::Warning, model, site);
    finding.task = Some(first.id);
    finding.task_name = model.text(first.name).to_owned();
    finding.count = waiting.len() as u64;
    finding.max = model.now.since(*since);
    finding.total = ages.sum();
    finding.first_seen = *since;
    finding.title = format!(
        "{} spawned at {} wait for a lock or permit, up to {}",
        count(finding.count, "task"),
        finding.location,
        stalls::human(finding.max),
    );
    finding.remedy =
        "hold the lock or permit only around what needs it, never across a slow call; \
                      poll or drop what holds it"
            .to_owned();
    Some(finding)
}
