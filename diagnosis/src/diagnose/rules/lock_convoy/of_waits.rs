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
        waits::{Party, asked_text, polled_wants, resource_text},
        words::{conjugated, count, human},
    },
    model::{Model, Moment, TaskId, WantKind},
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
fn state(context: &Context<'_>, queue: &Queue) -> Option<State> {
    let now = context.model.now;
    let patience = if queue.shows_holders && queue.held.is_none() {
        STUCK
    } else {
        STUCK_BEHIND_WORK
    };
    let grows = queue.arrivals >= 2 && queue.waiting.len() >= GROWN;
    if grows && queue.stands >= patience {
        return Some(State::Stuck);
    }
    let lasting = now.since(queue.since) >= LASTING;
    let many = queue.felt >= MANY;
    let slow = queue.felt >= 2 && queue.longest >= VERY_LONG && lasting;
    (many || slow).then_some(State::Slow)
}

fn finding(context: &Context<'_>, resource: u64, queue: &Queue) -> Option<Finding> {
    let model = context.model;
    let state = state(context, queue)?;
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
    let all_read = model.waits.read().is_some_and(|read| read.complete);
    let held = match &queue.held {
        Some((at, held)) if lately(*at) => format!("; {held}"),
        None if state == State::Stuck && queue.shows_holders && all_read => {
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
        one(model, of_it),
        human(queue.longest),
    );
    finding.remedy = super::remedy(state == State::Stuck).to_owned();
    Some(finding)
}

/// What one of them waits for, without how many: "permit of Semaphore pool".
fn one(model: &Model, want: &crate::model::Want) -> String {
    asked_text(model, &crate::model::Want { amount: 1, ..*want })
}
