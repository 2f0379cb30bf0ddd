//! Runs the rules over the model and remembers what they found.

use std::{collections::BTreeMap, time::Duration};

use crate::model::{Model, Moment};

use super::{
    Finding, Subject, Verdict,
    rules::{self, Context, Memory},
};

/// Which part of time the findings are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// What goes on now: a finding fades when it was not seen for
    /// [`FADE`](Scope::FADE).
    Live,
    /// Everything since a moment, as for `looptop check`.
    Since(Moment),
}

impl Scope {
    /// A finding stays on screen this long after it was last seen: long enough
    /// to be read, short enough that a cure shows within 3 s.
    pub const FADE: Duration = Duration::from_millis(2_500);

    pub(super) fn start(self, now: Moment) -> Moment {
        match self {
            Scope::Live => now.minus(Self::FADE),
            Scope::Since(moment) => moment,
        }
    }
}

/// The diagnosis of one session.
#[derive(Debug, Clone)]
pub struct Engine {
    scope: Scope,
    memory: Memory,
    scanned_at: Option<Moment>,
    seen: BTreeMap<(&'static str, Subject), Finding>,
    findings: Vec<Finding>,
}

/// So many tasks are passed over at every look; more only every [`SCAN_STEP`].
const FEW_TASKS: usize = 5_000;
/// Often enough for rules that speak of a second and more.
const SCAN_STEP: Duration = Duration::from_millis(900);
/// Findings remembered at most; the mildest are dropped first.
const MAX_FINDINGS: usize = 500;

impl Engine {
    /// A diagnosis that has seen nothing.
    pub fn new(scope: Scope) -> Self {
        Self {
            scope,
            memory: Memory::default(),
            scanned_at: None,
            seen: BTreeMap::new(),
            findings: Vec::new(),
        }
    }

    /// Looks at the model as it is now. To be called after every whole frame;
    /// costs a pass over the tasks at most every 100 ms, and every
    /// [`SCAN_STEP`] where there are many.
    pub fn update(&mut self, model: &Model) {
        let scan = self.may_scan(model);
        self.memory.observe(model, scan);
        let context = Context {
            model,
            memory: &self.memory,
            since: self.scope.start(model.now),
        };
        for rule in rules::ALL {
            if rule.over_window {
                self.seen.retain(|(id, _), _| *id != rule.id);
            }
            let explained = self
                .seen
                .keys()
                .any(|(id, _)| rule.explained_by.contains(id));
            let supplied = rule.needs.iter().all(|kind| model.session.has(*kind));
            if explained || !supplied || (rule.scans_tasks && !scan) {
                continue;
            }
            let found = (rule.check)(&context);
            for finding in found {
                merge(&mut self.seen, finding);
            }
        }
        let since = context.since;
        self.seen.retain(|_, f| f.last_seen >= since);
        self.drop_explained();
        self.findings = self.seen.values().cloned().collect();
        for finding in &mut self.findings {
            finding.live &= model.now.since(finding.last_seen) <= SCAN_STEP;
        }
        self.findings.sort_by(|a, b| {
            weight(b)
                .cmp(&weight(a))
                .then_with(|| a.subject.cmp(&b.subject))
        });
        for dropped in self
            .findings
            .split_off(self.findings.len().min(MAX_FINDINGS))
        {
            self.seen.remove(&(dropped.rule, dropped.subject));
        }
    }

    /// Whether rules may pass over all tasks now.
    fn may_scan(&mut self, model: &Model) -> bool {
        let few = model.tasks.len() <= FEW_TASKS;
        let due = self
            .scanned_at
            .is_none_or(|at| model.now.since(at) >= SCAN_STEP);
        if due {
            self.scanned_at = Some(model.now);
        }
        few || due
    }

    /// What was found, the gravest first.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// All findings in one sentence.
    pub fn verdict(&self, model: &Model) -> Verdict {
        Verdict::over(model, &self.findings)
    }

    /// A symptom that was seen before its cause goes when the cause is known.
    fn drop_explained(&mut self) {
        let found: Vec<_> = self.seen.keys().map(|(id, _)| *id).collect();
        self.seen.retain(|(id, _), _| {
            let explained_by = rules::find(id).map_or(&[][..], |rule| rule.explained_by);
            !explained_by.iter().any(|cause| found.contains(cause))
        });
    }
}

/// Adds what a look found to what earlier looks found.
fn merge(seen: &mut BTreeMap<(&'static str, Subject), Finding>, mut found: Finding) {
    let key = (found.rule, found.subject.clone());
    if let Some(earlier) = seen.get(&key) {
        found.first_seen = earlier.first_seen.min(found.first_seen);
        found.severity = found.severity.max(earlier.severity);
        found.max = found.max.max(earlier.max);
        found.count = found.count.max(earlier.count);
        found.total = found.total.max(earlier.total);
    }
    seen.insert(key, found);
}

/// Orders findings: the graver first, then causes before symptoms, what is going
/// on before what is over, the costlier before the cheaper.
fn weight(finding: &Finding) -> impl Ord + use<> {
    let rank = rules::find(finding.rule).map_or(0, |rule| rule.rank);
    (
        finding.severity,
        rank,
        finding.live,
        finding.total,
        finding.count,
    )
}
