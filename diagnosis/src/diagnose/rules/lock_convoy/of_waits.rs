//! Queues for one of tokio's locks or semaphores, as the futures of the tasks say it.

use std::{sync::Arc, time::Duration};

use super::RULE;
use crate::{
    diagnose::{
        Finding, Severity, Subject,
        rules::{
            Context,
            chains::{explained, frames, spot},
            waiting::Queue,
        },
        waits::{Party, asked_text, kind, polled_wants, resource_text},
        words::{conjugated, count, human},
    },
    model::{Model, Moment, ResourceKind, TaskId, Want, WantKind},
};

/// So many are a queue.
const MANY: usize = 5;
/// Waiting for so long, two are enough.
const VERY_LONG: Duration = Duration::from_secs(2);
/// The queue has stood for so long that it is no moment's.
const LASTING: Duration = Duration::from_secs(2);
/// Nobody was served for so long that nobody is.
const STUCK: Duration = Duration::from_secs(5);
/// The same where it is not known who holds it, or those that hold it work.
const STUCK_BEHIND_WORK: Duration = Duration::from_secs(30);
/// Who was seen to hold it is named for so long: a holder is read at some moments only.
const LATELY: Duration = Duration::from_secs(10);
/// With so many waiting in a queue that stands still, growth is no chance.
const GROWN: usize = 3;

pub(super) fn findings(context: &Context<'_>) -> Vec<Finding> {
    let queues = context.memory.waiting.queues.iter();
    let found = queues.filter_map(|(resource, queue)| finding(context, *resource, queue));
    found.collect()
}

/// How a queue stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is served, and long.
    Slow,
    /// Nobody is served.
    Stuck,
}

/// A queue is felt by those for whom somebody waits in turn. Tasks for which nobody waits,
/// spawned to go through a limiter in their time, are late for nobody.
fn state(context: &Context<'_>, resource: u64, queue: &Queue) -> Option<State> {
    let now = context.model.now;
    let patience = if queue.shows_holders && queue.held.is_none() {
        STUCK
    } else {
        STUCK_BEHIND_WORK
    };
    let many = queue.waiting.len() >= GROWN;
    let grows = queue.arrivals >= 2 && many;
    if grows && queue.stands >= patience {
        return Some(State::Stuck);
    }
    // All are there already: nobody joins it any more.
    if many && is_never_served(queue) && is_for_nobody(context.model, resource, queue) {
        return Some(State::Stuck);
    }
    let lasting = now.since(queue.since) >= LASTING;
    let many = queue.felt >= MANY;
    let slow = queue.felt >= 2 && queue.longest >= VERY_LONG && lasting;
    (many || slow).then_some(State::Slow)
}

/// A queue that nobody joins any more, in which nobody is served. Of many tasks not every
/// look has all: where nobody was ever seen to leave it, a third of the time will do.
fn is_never_served(queue: &Queue) -> bool {
    let nobody_left = queue.moves == 0 && queue.longest >= STUCK_BEHIND_WORK;
    queue.stands >= STUCK_BEHIND_WORK || nobody_left && queue.stands >= STUCK_BEHIND_WORK / 3
}

/// Nobody waits so by design: for a mutex, which is no limiter, or for permits that no task
/// holds, so that none gives one back.
fn is_for_nobody(model: &Model, resource: u64, queue: &Queue) -> bool {
    is_unheld(model, queue) || kind(model, resource) == ResourceKind::Mutex
}

/// Each task was asked, and none holds any.
fn is_unheld(model: &Model, queue: &Queue) -> bool {
    let all_read = model.waits.read().is_some_and(|read| read.complete);
    queue.shows_holders && queue.held.is_none() && all_read
}

/// Nobody was served for so long that it is worth a word what is not known yet.
const STANDS: Duration = Duration::from_millis(2_500);

/// The queue of which most seems to wait for ever, where it was not observed for long enough
/// to be sure, and what is known of it.
fn longest_unsure<'a>(context: &'a Context<'a>) -> Option<(u64, &'a Queue)> {
    let model = context.model;
    let waiting = &context.memory.waiting;
    let kept = waiting.kept(model);
    let unsure = waiting.queues.iter().filter(|(resource, queue)| {
        let first = queue.waiting.first();
        // In a short window not all were read for long enough to stand.
        let stands = queue.stands >= STANDS || queue.moves == 0 && queue.longest >= STANDS;
        queue.waiting.len() >= GROWN
            && stands
            && queue.stands < STUCK_BEHIND_WORK
            && state(context, **resource, queue).is_none()
            && first.is_some_and(|first| !kept.contains(&Party::Task(*first)))
    });
    let most = unsure.max_by_key(|(_, queue)| queue.waiting.len())?;
    Some((*most.0, most.1))
}

/// "400 tasks wait for a permit of Semaphore pool, up to 8.1 s, and none was seen to get it".
fn unserved(model: &Model, resource: u64, queue: &Queue) -> Option<String> {
    let first = *queue.waiting.first()?;
    let wait = model.waits.task(first)?;
    let (wants, _) = polled_wants(wait);
    let mut wants = wants.iter();
    let of_it =
        wants.find(|want| want.kind == WantKind::Permits && want.resource == Some(resource))?;
    let many = queue.waiting.len() as u64;
    Some(format!(
        "{} {} for a {}, up to {}, and none was seen to get it",
        count(many, "task"),
        conjugated(many, "wait"),
        one(model, resource, queue, of_it),
        human(queue.longest),
    ))
}

/// Why it is not known of a queue whether it is one by design.
pub(super) fn unsure(context: &Context<'_>) -> Option<String> {
    let (resource, queue) = longest_unsure(context)?;
    let unserved = unserved(context.model, resource, queue)?;
    let held = queue.held.as_ref();
    let held = held.map_or(String::new(), |(_, held)| format!("; {held}"));
    Some(format!(
        "{unserved}{held}: that it is not by design shows after {} s",
        STUCK_BEHIND_WORK.as_secs()
    ))
}

/// A queue for what no task holds, of which some seconds more will show whether somebody
/// else gives it.
pub(in crate::diagnose) fn seeming(context: &Context<'_>) -> Option<String> {
    let model = context.model;
    let (resource, queue) = longest_unsure(context)?;
    let is_long = queue.stands >= STUCK && is_unheld(model, queue);
    let unserved = is_long.then(|| unserved(model, resource, queue))??;
    Some(format!("{unserved}; no task holds any"))
}

fn finding(context: &Context<'_>, resource: u64, queue: &Queue) -> Option<Finding> {
    let model = context.model;
    let state = state(context, resource, queue)?;
    let waiting = &context.memory.waiting;
    let all_kept = waiting.kept(model);
    let kept = |id: &&TaskId| all_kept.contains(&Party::Task(**id));
    // A deadlock says it better.
    if queue.waiting.iter().filter(kept).count() * 2 >= queue.waiting.len() {
        return None;
    }
    let first = *queue.waiting.first()?;
    let wait = model.waits.task(first)?;
    let (wants, _) = polled_wants(wait);
    let of_it = wants
        .iter()
        .find(|want| want.kind == WantKind::Permits && want.resource == Some(resource))?;
    let at = spot(model, Party::Task(first));
    let subject = match at.line(model) {
        Some(line) => Subject::Line(line),
        None => Subject::Named(resource_text(model, resource)),
    };
    let mut finding = Finding::new(RULE.id, Severity::Warning, subject, model.now);
    finding.location = at.line(model).unwrap_or_default();
    finding.function = (!at.function.is_empty()).then(|| at.function.clone());
    finding.task = Some(first);
    let name = model.tasks.get(first);
    let name = name.and_then(|task| model.task_name(task));
    name.unwrap_or_default().clone_into(&mut finding.task_name);
    finding.count = queue.waiting.len() as u64;
    finding.max = queue.longest;
    finding.total = queue.total;
    finding.first_seen = model
        .now
        .minus(queue.longest)
        .max(model.since.unwrap_or_default());
    finding.stack = Some(Arc::new(frames(model, std::slice::from_ref(&at))));
    let parties: Vec<Party> = queue.waiting.iter().copied().map(Party::Task).collect();
    finding.explains = explained(model, &parties);
    let place = match at.text(model) {
        text if text.is_empty() => text,
        text => format!(" ({text})"),
    };
    let lately = |at: Moment| model.now.since(at) <= LATELY;
    let held = match &queue.held {
        Some((at, held)) if lately(*at) => format!("; {held}"),
        None if state == State::Stuck && is_unheld(model, queue) => {
            "; no task holds any".to_owned()
        }
        _ => String::new(),
    };
    let stands = match state {
        State::Slow => String::new(),
        State::Stuck => {
            let stands = human(queue.stands);
            format!(", and none has got it for {stands}")
        }
    };
    finding.title = format!(
        "{} {} for a {}{place}, up to {}{stands}{held}",
        count(finding.count, "task"),
        conjugated(finding.count, "wait"),
        one(model, resource, queue, of_it),
        human(queue.longest),
    );
    finding.remedy = super::remedy(state == State::Stuck).to_owned();
    Some(finding)
}

/// What one of them waits for, without how many: "permit of Semaphore pool". Of an `RwLock`
/// all of them: "`RwLock` cache to read"; "`RwLock` cache, 3 of them to write".
fn one(model: &Model, resource: u64, queue: &Queue, want: &Want) -> String {
    let text = |amount| asked_text(model, &Want { amount, ..*want });
    if kind(model, resource) != ResourceKind::RwLock {
        return text(1);
    }
    let tasks = queue.waiting.iter().filter_map(|id| model.waits.task(*id));
    let of_it = |want: &&Want| want.kind == WantKind::Permits && want.resource == Some(resource);
    let wants = tasks.filter_map(|task| task.wants.iter().find(of_it));
    let (all, writers) = wants.fold((0, 0), |(all, writers), want| {
        (all + 1, writers + usize::from(want.amount > 1))
    });
    if writers == 0 || writers == all {
        return text(want.amount);
    }
    format!("{}, {writers} of them to write", text(0))
}
