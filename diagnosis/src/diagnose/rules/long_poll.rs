//! Polls that took long, where no watchdog saw them as they ran.

use std::time::Duration;

use crate::{
    diagnose::{Finding, Severity, stalls, words::human},
    model::{Capability, Site, SiteKey, TaskKind},
};

use super::{Context, Rule};

pub(super) const RULE: Rule = Rule {
    id: "long-poll",
    summary: "finished polls of one spawn location took long",
    meaning: "The polls are over, so there is no stack to show; but the tasks spawned here keep \
              their worker for long, again and again.",
    threshold: "polls of the last second took over 10 ms on average (notice), 100 ms (warning), and \
                no stall says more",
    evidence: "polls and busy time of the spawn location; p50, p99 and maximum where the agent keeps \
               a histogram",
    remedy: "split the work, spawn_blocking, or a dedicated pool; add the looptop agent to see the \
             line",
    needs: &[Capability::Tasks],
    rank: 20,
    over_window: false,
    scans_tasks: false,
    explained_by: &["nested-runtime", "host-starved"],
    explained_here: &[],
    not_judged: |_| None,
    check,
};

/// What the rates of a site are of, with some margin.
const RATES: Duration = Duration::from_secs(3);

fn check(context: &Context<'_>) -> Vec<Finding> {
    let sites = context
        .model
        .sites
        .iter()
        .filter(|(key, _)| key.kind != TaskKind::Blocking);
    sites
        .filter_map(|(key, site)| finding(context, *key, site))
        .collect()
}

fn finding(context: &Context<'_>, key: SiteKey, site: &Site) -> Option<Finding> {
    let model = context.model;
    let location = key.location?;
    let rates = site.rates(model.now)?;
    if rates.polls <= 0.0 {
        return None;
    }
    let mean = Duration::try_from_secs_f64(rates.busy / rates.polls).ok()?;
    // Rates are those of the last second or so, also where the window is shorter.
    let since = context.since.min(model.now.minus(RATES));
    let reported = model
        .stalls
        .iter()
        .any(|s| s.location == Some(location) && s.overlaps(since, model.now));
    // Polls that a watchdog would have seen, and did not report, kept no worker
    // from others: they were inside `block_in_place`.
    let acquitted = model.session.has(Capability::Stalls) && mean >= 2 * stalls::NOTICE;
    if mean < stalls::NOTICE || reported || acquitted || context.is_distorted() {
        return None;
    }
    let severity = if mean >= stalls::WARNING {
        Severity::Warning
    } else {
        Severity::Notice
    };
    let mut finding = Finding::about_site(RULE.id, severity, model, location);
    finding.count = rates.polls.ceil() as u64;
    finding.max = site.longest_poll.max(mean);
    finding.total = Duration::try_from_secs_f64(rates.busy).unwrap_or_default();
    let quantile = |q| site.poll_quantile(q).map(human);
    let spread = match (quantile(0.5), quantile(0.99)) {
        (Some(p50), Some(p99)) => {
            format!(", p50 {p50}, p99 {p99}, max {}", human(finding.max))
        }
        _ => String::new(),
    };
    finding.title = format!(
        "polls of tasks spawned at {} take {} on average{spread}",
        finding.location,
        human(mean)
    );
    finding.remedy = "split the work, or move it to spawn_blocking or a dedicated pool".to_owned();
    Some(finding)
}
