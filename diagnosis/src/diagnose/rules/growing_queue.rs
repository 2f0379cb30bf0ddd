//! A gauge that only rises.

use std::{collections::VecDeque, time::Duration};

use crate::{
    diagnose::{Finding, Severity, Subject, words::more},
    model::{Moment, TextId},
};

use super::{Context, Rule, trend};

pub(super) const RULE: Rule = Rule {
    id: "growing-queue",
    summary: "a gauge of the application only rises",
    meaning: "The application reports the length of a queue, and it grows without pause: the \
              producer is faster than the consumer, and nothing holds it back.",
    threshold: "a gauge has risen for 30 s: nine of ten of its changes are rises, it rose in each \
                third of the time, and by 10 at least. How often it is reported does not matter",
    evidence: "gauges reported with looptop_agent::gauge(name, value)",
    remedy: "bound the channel, so that the producer waits for the consumer",
    needs: &[],
    rank: 40,
    over_window: false,
    scans_tasks: false,
    explained_by: &[],
    explained_here: &[],
    not_judged: |context| match context.model.gauges.len() {
        0 => None,
        _ => context.too_short(FOR),
    },
    check,
};

const FOR: Duration = Duration::from_secs(30);
const GROWTH: f64 = 10.0;
/// Fewer say nothing of the next.
const RISES: usize = 4;
/// In less time there are too few steps, however time is scaled.
const LEAST: Duration = Duration::from_secs(2);

fn check(context: &Context<'_>) -> Vec<Finding> {
    let gauges = context.memory.gauges.iter();
    gauges
        .filter_map(|(name, values)| finding(context, *name, values))
        .collect()
}

fn finding(
    context: &Context<'_>,
    name: TextId,
    values: &VecDeque<(Moment, f64)>,
) -> Option<Finding> {
    let model = context.model;
    let window = model.session.scaled(FOR).max(LEAST);
    let growth = growth(values, model.now, window)?;
    let text = model.text(Some(name)).to_owned();
    let value = model.gauges.get(&name)?.value;
    let mut finding = Finding::new(
        RULE.id,
        Severity::Warning,
        Subject::Named(text.clone()),
        model.now,
    );
    finding.task_name.clone_from(&text);
    finding.count = value.max(0.0) as u64;
    finding.title = format!(
        "{text} only grows: {value:.0} now, {}",
        more(growth / window.as_secs_f64())
    );
    finding.remedy = "bound the channel, so that the producer waits for the consumer".to_owned();
    Some(finding)
}

/// By how much the gauge rose over `window`, if it did all the time. `values` are
/// its changes.
fn growth(values: &VecDeque<(Moment, f64)>, now: Moment, window: Duration) -> Option<f64> {
    let from = now.minus(window);
    let start = values.iter().rposition(|(at, _)| *at <= from)?;
    let changes: Vec<f64> = values.range(start..).map(|(_, value)| *value).collect();
    let rises = changes.windows(2).filter(|pair| pair[1] > pair[0]).count();
    let steady = rises * 10 >= (changes.len() - 1) * 9 && rises >= RISES;
    let growth = trend::growth(&values.range(start..), from, now)?;
    (steady && growth >= GROWTH).then_some(growth)
}
