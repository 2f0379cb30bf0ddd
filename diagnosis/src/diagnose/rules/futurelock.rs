//! A task that waits for what a future of its own has, which it does not poll any more.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    diagnose::{
        Finding, Severity, Subject,
        waits::{Party, asked_text, function_words, place},
    },
    model::{Model, WantKind},
};

use super::{
    Context, Rule,
    chains::{Spot, behind_words, explained, frames, spot, who, why_not_read},
    waiting::BehindOwn,
};

pub(super) const RULE: Rule = Rule {
    id: "futurelock",
    summary: "a task waits for what a future of its own holds, and does not poll that any more",
    meaning: "A future that was begun and is kept (by select! with a &mut, in a stream of buffered \
              futures, in a variable) goes on only when its task polls it. If it holds a lock or a \
              permit, or stands in the queue for one, and the task then waits for the same lock \
              elsewhere, the task waits for itself: nobody polls the one that would give it back. \
              Everybody else who wants the lock waits with it.",
    threshold: "a task waits for a lock, a permit or a place in a channel which a future that it \
                keeps and does not poll has, or before which that stands in the queue; at two looks",
    evidence: "the task's future as it is in memory: which of the futures in it are polled, what \
               those that are not hold, and in whose queue they stand",
    remedy: "drop the kept future before waiting for what it holds, poll both together, or spawn it \
             as a task of its own",
    needs: &[],
    rank: 94,
    over_window: false,
    scans_tasks: false,
    explained_by: &[],
    explained_here: &[],
    not_judged: why_not_read,
    check,
};

fn check(context: &Context<'_>) -> Vec<Finding> {
    let model = context.model;
    let mut mistakes: BTreeMap<(Spot, Spot), Vec<&BehindOwn>> = BTreeMap::new();
    for own in context.memory.waiting.behind_own(model) {
        let spots = (spot(model, Party::Task(own.task)), kept_spot(model, own));
        mistakes.entry(spots).or_default().push(own);
    }
    let mistakes = mistakes.iter();
    let findings = mistakes.map(|((waits, kept), all)| finding(context, waits, kept, all));
    findings.collect()
}

/// Where the kept future stands.
fn kept_spot(model: &Model, own: &BehindOwn) -> Spot {
    let Some(wait) = model.waits.task(own.task) else {
        return Spot::default();
    };
    let shape = &*wait.shape;
    match place(model, shape, own.within) {
        Some(place) if place.node >= own.kept => Spot::at(model, &place),
        // What is kept is a library's: a lock's own future.
        _ => Spot::named(function_words(model, &shape.nodes[own.kept])),
    }
}

fn finding(context: &Context<'_>, waits: &Spot, kept: &Spot, all: &[&BehindOwn]) -> Finding {
    let model = context.model;
    let subject = match waits.line(model) {
        Some(line) => Subject::Line(line),
        None => Subject::Named(waits.function.clone()),
    };
    let mut finding = Finding::new(RULE.id, Severity::Critical, subject, model.now);
    finding.location = waits.line(model).unwrap_or_default();
    finding.function = (!waits.function.is_empty()).then(|| waits.function.clone());
    // The one that keeps most others waiting.
    let waiting = &context.memory.waiting;
    let follows = |own: &&BehindOwn| waiting.follows(own).len();
    let Some(shown) = all.iter().copied().rev().max_by_key(follows) else {
        return finding;
    };
    finding.task = Some(shown.task);
    finding.tasks = all.iter().map(|own| own.task).collect();
    finding.tasks.sort_unstable();
    let name = model.tasks.get(shown.task);
    let name = name.and_then(|task| model.task_name(task));
    name.unwrap_or_default().clone_into(&mut finding.task_name);
    let mut parties: Vec<Party> = all.iter().map(|own| Party::Task(own.task)).collect();
    for own in all {
        parties.extend(waiting.follows(own));
    }
    parties.sort_unstable();
    parties.dedup();
    finding.count = parties.len() as u64;
    let ages = all.iter().filter_map(|own| {
        let wait = model.waits.task(own.task)?;
        Some(model.now.since(model.waits_since(wait).0))
    });
    let ages: Vec<_> = ages.collect();
    finding.max = ages.iter().copied().max().unwrap_or_default();
    finding.total = ages.iter().sum();
    finding.first_seen = model
        .now
        .minus(finding.max)
        .max(model.since.unwrap_or_default());
    finding.stack = Some(Arc::new(frames(model, &[waits.clone(), kept.clone()])));
    finding.explains = explained(model, &parties);
    let behind = behind_words(parties.len().saturating_sub(all.len()));
    let times = match all.len() {
        1 => String::new(),
        n => format!(" (and {} like it)", n - 1),
    };
    let at = bracketed(&waits.text(model));
    let kept_at = match (kept.function.as_str(), kept.text(model)) {
        ("", _) => "a future".to_owned(),
        (name, text) if text.is_empty() || text.ends_with(name) => name.to_owned(),
        (name, text) => format!("{name} ({text})"),
    };
    let what = asked_text(model, &shown.want);
    let sure = if shown.is_certain { "" } else { "probably " };
    let verb = match (shown.has_it, shown.want.kind) {
        (true, WantKind::Room) => "alone receives from",
        (true, _) => "holds",
        (false, _) => "stands before it in the queue for",
    };
    finding.title = format!(
        "{}{times} waits for {what}{at}, and {sure}a future of its own {verb} it: {kept_at}, which \
         it keeps and does not poll{behind}",
        who(model, Party::Task(shown.task)),
    );
    finding.cause_text = format!("waits for {what} behind {kept_at}, its own");
    RULE.remedy.clone_into(&mut finding.remedy);
    finding
}

fn bracketed(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(" ({text})")
    }
}
