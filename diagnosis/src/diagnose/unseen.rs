//! What cannot be judged of a process that is seen from outside, rule by rule.

use crate::model::Model;

use super::rules::Rule;

/// Rules that look at what no look from outside shows, or not all of it; beside those
/// that lack what they need ([`Rule::needs`]), of which the target says why.
const RULES: [(&str, &str); 9] = [
    (
        "blocking-pool-full",
        "the pool's queue is not read: only jobs that tasks await are seen",
    ),
    (
        "never-yielded",
        "how often a task was polled is not in memory",
    ),
    (
        "shutdown-waits",
        "whether a runtime is being shut down is not read",
    ),
    (
        "growing-queue",
        "what the application measures itself is not read",
    ),
    (
        "unreaped-tasks",
        "ended tasks are in no list, and the memory is not searched for them",
    ),
    (
        "slow-schedule",
        "when a task was woken leaves no trace in memory",
    ),
    (
        "long-poll",
        "polls that are over leave no trace in memory; long ones are watched",
    ),
    (
        "large-future",
        "a box in which tokio puts a large future does not say its size",
    ),
    (
        "auto-boxed-future",
        "that tokio boxed a future leaves no trace in memory",
    ),
];

/// Why a rule cannot be judged of this target at all, or not in full; `None` where it can,
/// and where the target is not seen from outside.
pub(super) fn reason(rule: &Rule, model: &Model) -> Option<String> {
    if !model.is_outside() {
        return None;
    }
    let mut needs = rule.needs.iter();
    if let Some(missing) = needs.find_map(|kind| model.session.missing(*kind)) {
        // What would supply it is said once, where the insight is listed as missing.
        let why = missing.split_once("; ").map_or(missing, |(why, _)| why);
        return Some(why.to_owned());
    }
    let (_, reason) = RULES.iter().find(|(id, _)| *id == rule.id)?;
    Some(format!("from outside it is not known: {reason}"))
}

#[cfg(test)]
mod tests {
    use looptop_wire::proto;

    use super::*;
    use crate::{
        diagnose::{Engine, Window, rules},
        model::{Moment, fixtures},
    };

    #[test]
    fn each_rule_that_cannot_be_judged_says_why_in_one_clause_or_two() {
        for (id, _) in RULES {
            assert!(rules::find(id).is_some(), "{id}");
        }
        let mut model = Model::new(&fixtures::outside_hello());
        let frame = proto::Frame {
            outside: Some(proto::Outside::default()),
            ..fixtures::frame(Moment(1_000_000_000))
        };
        model.apply(&frame).expect("well-formed");
        let reasons = Engine::new(Window::Live).not_judged(&model);
        let of = |id: &str| {
            let found = reasons.iter().find(|(rule, _)| *rule == id);
            found.map(|(_, reason)| reason.as_str())
        };
        for (id, why) in [
            ("self-wake-spin", "wakes leave no trace"),
            ("loop-starved", "a probe for it would have to run"),
            (
                "growing-queue",
                "from outside it is not known: what the application",
            ),
        ] {
            let reason = of(id).expect(id);
            assert!(reason.starts_with(why), "{id}: {reason}");
            assert!(!reason.contains("looptop_agent::init"), "{reason}");
        }
        for id in ["blocked-worker", "nested-runtime", "task-flood"] {
            assert_eq!(of(id), None);
        }
        let with_agent = Model::new(&fixtures::hello());
        assert!(RULES.iter().all(|(id, _)| {
            let rule = rules::find(id).expect("a rule");
            reason(rule, &with_agent).is_none()
        }));
    }
}
