//! Several workers or tasks queue for one lock.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    diagnose::{Finding, Severity, Subject, stalls, verdict::count},
    model::{Capability, Model, Stall},
};

use super::{Context, Rule};

pub(super) const RULE: Rule = Rule {
    id: "lock-convoy",
    summary: "several polls queue for one lock",
    meaning: "One poll holds a lock for long, and the others that want it wait one behind the other, \
              each blocking its worker meanwhile.",
    threshold: "two or more stalls over 50 ms that wait for the same lock within the window",
    evidence: "stalls in futex with the lock's address, their stacks, and the holder's where another \
               stalled thread evidently is it",
    remedy: "hold the lock for less, split it, or use an async lock where it is held across an await",
    needs: &[Capability::Stalls, Capability::Cause],
    rank: 70,
    over_window: true,
    scans_tasks: false,
    explained_by: &[],
    check,
};

const LONG: Duration = Duration::from_millis(50);
const SEVERAL: usize = 2;

fn check(context: &Context<'_>) -> Vec<Finding> {
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
