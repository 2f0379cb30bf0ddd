//! A task that wakes itself as fast as it is polled.

use crate::{
    diagnose::{Finding, Severity},
    model::{Capability, Recent, Task, TaskKind},
};

use super::{Context, Rule};

pub(super) const RULE: Rule = Rule {
    id: "self-wake-spin",
    summary: "a task wakes itself as fast as it is polled",
    meaning: "The task never waits. It polls a condition in a loop, with yield_now or a waker of its \
              own; or what it awaits is ready each time: a closed channel, an error that repeats, a \
              stream that always has a next item, an interval that catches up. It takes a whole CPU \
              and a place in the queue of every round.",
    threshold: "more than 10,000 polls/s of one task, or more than 1,500 polls/s of one that keeps \
                its worker over 90 % busy; over half of them without a wake from outside. The wake \
                of a socket or a timer is one from outside",
    evidence: "the task's polls, wakes and self-wakes over the last second",
    remedy: "wait for the event: a Notify, a channel, or a timer (tokio::time::sleep); leave the loop \
             when a channel is closed, wait after an error, MissedTickBehavior::Delay for an interval",
    needs: &[Capability::Tasks, Capability::Wakes],
    rank: 50,
    over_window: false,
    scans_tasks: true,
    explained_by: &["descriptors"],
    explained_here: &[],
    not_judged: |_| None,
    check,
};

const POLLS_PER_SECOND: f64 = 10_000.0;
/// Of a task that leaves its worker no time for others: work that is split into
/// parts of a millisecond is polled less often.
const POLLS_OF_A_BUSY_TASK: f64 = 1_500.0;
const BUSY: f64 = 0.9;
const SHARE: f64 = 0.5;

fn check(context: &Context<'_>) -> Vec<Finding> {
    if !context.model.session.has(Capability::Wakes) {
        return Vec::new();
    }
    let candidates = context
        .model
        .tasks
        .live()
        .filter(|t| t.kind != TaskKind::Blocking);
    candidates
        .filter_map(|task| Some((task, task.recent(context.now())?)))
        .filter(|(_, recent)| spins(recent))
        .map(|(task, recent)| finding(context, task, &recent))
        .collect()
}

/// A poll that no wake from outside explains is the task's own doing; some
/// yields wake the task without a wake being reported.
pub(super) fn spins(recent: &Recent) -> bool {
    let foreign = (recent.wakes - recent.self_wakes).max(0.0);
    let often = recent.polls > POLLS_PER_SECOND
        || (recent.polls > POLLS_OF_A_BUSY_TASK && recent.busy > BUSY);
    often && foreign < recent.polls * (1.0 - SHARE)
}

fn finding(context: &Context<'_>, task: &Task, recent: &Recent) -> Finding {
    let model = context.model;
    let mut finding = Finding::about_task(RULE.id, Severity::Warning, model, task);
    let name = finding.task_label();
    finding.title = format!(
        "{name} wakes itself: {:.0} polls/s, {:.0} % of a worker (spawned at {})",
        recent.polls,
        recent.busy.min(1.0) * 100.0,
        finding.location
    );
    finding.remedy = if recent.polls > POLLS_PER_SECOND {
        "wait for the event instead of asking: a Notify, a channel, or a timer; an interval that \
         catches up needs MissedTickBehavior::Delay"
    } else {
        "what it awaits is ready each time: leave the loop when a channel is closed, wait after an \
         error, yield between ready items; an interval that catches up needs \
         MissedTickBehavior::Delay"
    }
    .to_owned();
    finding.count = task.self_wakes().unwrap_or_default();
    finding.total = task.busy(model.now).unwrap_or_default();
    finding
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spinning_is_told_from_working() {
        let busy = |polls, wakes, self_wakes| Recent {
            polls,
            wakes,
            self_wakes,
            busy: 0.98,
        };
        let recent = |polls, wakes, self_wakes| Recent {
            busy: 0.5,
            ..busy(polls, wakes, self_wakes)
        };
        for (case, expected) in [
            (recent(500_000.0, 500_000.0, 500_000.0), true),
            (recent(500_000.0, 0.0, 0.0), true),
            (recent(50_000.0, 50_000.0, 0.0), false),
            (recent(50_000.0, 50_000.0, 20_000.0), false),
            (recent(9_000.0, 9_000.0, 9_000.0), false),
            (busy(2_000.0, 2_000.0, 1_900.0), true),
            (busy(2_000.0, 0.0, 0.0), true),
            (busy(2_000.0, 2_000.0, 100.0), false),
            (busy(900.0, 900.0, 900.0), false),
        ] {
            assert_eq!(spins(&case), expected, "{case:?}");
        }
    }
}
