//! Runs the rules over the model and remembers what they found.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::model::{Model, Moment};

use super::{
    Finding, Severity, Subject, Verdict,
    rules::{self, Context, Memory},
    scans::{SCAN_STEP, Scan, Scans},
    stalls, unseen,
    verdict::{Level, Quiet},
    waits::Graph,
};

/// Which part of time the findings are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// What goes on now: a finding fades when it was not seen for
    /// [`FADE`](Window::FADE).
    Live,
    /// Everything since a moment, as for `looptop check`.
    Since(Moment),
}

impl Window {
    /// A finding stays on screen this long after it was last seen: long enough
    /// to be read, short enough that a cure shows within 3 s.
    pub const FADE: Duration = Duration::from_millis(2_500);

    pub(super) fn start(self, now: Moment) -> Moment {
        match self {
            Window::Live => now.minus(Self::FADE),
            Window::Since(moment) => moment,
        }
    }
}

/// The diagnosis of one session.
#[derive(Debug, Clone)]
pub struct Engine {
    window: Window,
    memory: Memory,
    scans: Scans,
    seen: Seen,
    findings: Vec<Finding>,
    /// As of the newest pass over the tasks; `None` while something else is to be said.
    quiet: Option<Quiet>,
}

/// By rule, and whom it is about.
type Seen = BTreeMap<(&'static str, Subject), Finding>;

/// Findings remembered at most; the mildest are dropped first.
const MAX_FINDINGS: usize = 500;

impl Engine {
    /// A diagnosis that has seen nothing.
    pub fn new(window: Window) -> Self {
        Self {
            window,
            memory: Memory::default(),
            scans: Scans::default(),
            seen: BTreeMap::new(),
            findings: Vec::new(),
            quiet: None,
        }
    }

    /// Makes the findings those since a later moment: what was last seen before it goes at
    /// the next look.
    pub fn begin_at(&mut self, since: Moment) {
        self.window = Window::Since(since);
    }

    /// Looks at the model as it is now. To be called after every whole frame;
    /// costs a pass over the tasks at most every 100 ms, and every
    /// [`SCAN_STEP`] where there are many.
    pub fn update(&mut self, model: &Model) {
        let due = self.scans.due(model);
        self.memory.observe(model, due.has(Scan::Memory));
        let context = Context {
            model,
            memory: &self.memory,
            since: self.window.start(model.now),
        };
        for rule in rules::ALL {
            let explained = self
                .seen
                .keys()
                .any(|(id, _)| rule.explained_by.contains(id));
            let supplied = rule.needs.iter().all(|kind| model.session.has(*kind));
            if explained || !supplied || (rule.scans_tasks && !due.has(Scan::Rule(rule.id))) {
                continue;
            }
            let found = (rule.check)(&context);
            if rule.over_window {
                self.seen
                    .retain(|(id, _), f| *id != rule.id || f.stall.is_none());
            }
            for finding in found {
                // Two of one look are about the same: the graver stands for both.
                let keeps_worst =
                    self.window != Window::Live || (rule.over_window && finding.stall.is_some());
                merge(keeps_worst, &mut self.seen, finding);
            }
        }
        for finding in self.seen.values_mut() {
            stalls::name_late(finding, model);
        }
        let since = context.since;
        self.seen.retain(|_, f| f.last_seen >= since);
        self.drop_explained();
        self.findings = self.seen.values().cloned().collect();
        #[cfg(feature = "planted")]
        if std::env::var_os("LOOPTOP_PLANTED").is_some_and(|d| d == "verdict") {
            let graver = crate::diagnose::Severity::Notice;
            self.findings.retain(|finding| finding.severity <= graver);
        }
        for finding in &mut self.findings {
            finding.live &= model.now.since(finding.last_seen) <= SCAN_STEP;
        }
        // The host is not named before the mistake that it made look small.
        let demoted = self.findings.iter().filter(|f| is_demoted(f));
        let host = demoted.map(|f| f.severity).max();
        self.findings.sort_by(|a, b| {
            weight(b, host)
                .cmp(&weight(a, host))
                .then_with(|| a.subject.cmp(&b.subject))
        });
        for dropped in self
            .findings
            .split_off(self.findings.len().min(MAX_FINDINGS))
        {
            self.seen.remove(&(dropped.rule, dropped.subject));
        }
        if !self.findings.is_empty() {
            self.quiet = None;
        } else if due.has(Scan::Quiet) || (self.quiet.is_none() && due.are_all()) {
            self.quiet = Some(Quiet::of(model));
        }
    }

    /// Who waits for whom, as of the newest look: 100 ms ago, of many tasks a second.
    pub fn waits(&self) -> Arc<Graph> {
        Arc::clone(self.memory.graph())
    }

    /// What was found, the gravest first.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// All findings in one sentence.
    pub fn verdict(&self, model: &Model) -> Verdict {
        let verdict = Verdict::over(model, &self.findings, self.quiet.unwrap_or_default());
        if verdict.level != Level::Healthy {
            return verdict;
        }
        // The screen shows it already, and where tasks wait is read again in seconds only.
        let context = self.context(model);
        let seeming = rules::deadlock::seeming(&context);
        match seeming.or_else(|| rules::lock_convoy::of_waits::seeming(&context)) {
            Some(seeming) => verdict.but(&seeming),
            None => verdict,
        }
    }

    /// Whether tasks seem to wait for each other, and a few seconds more will show whether
    /// they do.
    pub fn is_undecided(&self, model: &Model) -> bool {
        rules::deadlock::is_undecided(&self.context(model))
    }

    fn context<'a>(&'a self, model: &'a Model) -> Context<'a> {
        Context {
            model,
            memory: &self.memory,
            since: self.window.start(model.now),
        }
    }

    /// A symptom that was seen before its cause goes when the cause is known.
    fn drop_explained(&mut self) {
        let found: Vec<_> = self.seen.keys().map(|(id, _)| *id).collect();
        self.seen.retain(|(id, _), _| {
            let explained_by = rules::find(id).map_or(&[][..], |rule| rule.explained_by);
            !explained_by.iter().any(|cause| found.contains(cause))
        });
        let found = self.seen.values();
        let places: Vec<_> = found
            .map(|f| (f.rule, place(f), f.explains.clone()))
            .collect();
        self.seen.retain(|(id, _), finding| {
            let explained = rules::find(id).map_or(&[][..], |rule| rule.explained_here);
            let here = place(finding);
            let explains = |(rule, there, whom): &(&str, String, Vec<Subject>)| {
                let is_there = !here.is_empty() && here == *there;
                explained.contains(rule) && (is_there || whom.contains(&finding.subject))
            };
            !places.iter().any(explains)
        });
    }

    /// Rules that could not be judged in this window, and why. Those with a
    /// finding were.
    pub fn not_judged(&self, model: &Model) -> Vec<(&'static str, String)> {
        let context = self.context(model);
        let rules = rules::ALL.iter();
        let unfound = rules.filter(|rule| self.findings.iter().all(|f| f.rule != rule.id));
        let why = |rule: &rules::Rule| {
            if model.session.core_dump && !is_of_a_moment(rule) {
                return Some("a core dump is one moment, and it needs time".to_owned());
            }
            let supplied = rule.needs.iter().all(|kind| model.session.has(*kind));
            let here = supplied.then(|| (rule.not_judged)(&context)).flatten();
            unseen::reason(rule, model).or(here)
        };
        unfound
            .filter_map(|rule| Some((rule.id, why(rule)?)))
            .collect()
    }
}

/// Rules that judge what is so, and not what takes time.
const OF_A_MOMENT: [&str; 4] = ["deadlock", "futurelock", "stuck-task", "large-future"];

fn is_of_a_moment(rule: &rules::Rule) -> bool {
    OF_A_MOMENT.contains(&rule.id)
}

/// Adds what a look found to what earlier looks found. Over a window, a
/// finding is as it was at its worst, in all its fields; live, as it is now.
fn merge(keeps_worst: bool, seen: &mut Seen, mut found: Finding) {
    let key = (found.rule, found.subject.clone());
    if let Some(earlier) = seen.get(&key) {
        let first_seen = earlier.first_seen.min(found.first_seen);
        let worst = |f: &Finding| (f.severity, f.max, f.count);
        if keeps_worst && worst(earlier) > worst(&found) {
            found = Finding {
                last_seen: earlier.last_seen.max(found.last_seen),
                live: earlier.live || found.live,
                ..earlier.clone()
            };
        }
        found.severity = found.severity.max(earlier.severity);
        found.first_seen = first_seen;
    }
    seen.insert(key, found);
}

/// Where a finding is: by its location where it has one.
fn place(finding: &Finding) -> String {
    match &finding.subject {
        _ if !finding.location.is_empty() => finding.location.clone(),
        Subject::Process => "process".to_owned(),
        _ => String::new(),
    }
}

/// A stall that the code is to blame for, and that is a notice only because the
/// time for which the host gave it no CPU was taken off.
fn is_demoted(finding: &Finding) -> bool {
    finding.stall.is_some()
        && finding.severity == Severity::Notice
        && finding.max >= super::stalls::WARNING
}

/// Orders findings: the graver first, then causes before symptoms, what is going
/// on before what is over, the costlier before the cheaper. The host counts as no
/// graver than `host`.
fn weight(finding: &Finding, host: Option<Severity>) -> impl Ord + use<> {
    let rank = rules::find(finding.rule).map_or(0, |rule| rule.rank);
    let severity = match host {
        Some(host) if finding.rule == "host-starved" => finding.severity.min(host),
        _ => finding.severity,
    };
    (severity, rank, finding.live, finding.total, finding.count)
}
