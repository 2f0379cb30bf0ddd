//! Several targets that were observed at once: findings of one culprit are one finding, with
//! the targets that have it. `docs/check-several.schema.json` describes the JSON.

use std::fmt::Write;

use serde::Serialize;

use super::{
    Baseline, Commit, Entry, Format, Key, Report,
    formats::{self, XML, xml},
    text,
};
use crate::{
    diagnose::{Level, Severity},
    escape::escaped,
};

/// Version of the JSON; it grows when a reader of the older one would misread.
pub const TOGETHER_SCHEMA: u32 = 1;

/// What was found in several targets.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Together {
    /// [`TOGETHER_SCHEMA`].
    pub schema: u32,
    /// The worst of all; "not observing" where a target was not looked at and none is worse.
    pub level: String,
    /// How many do how, in one sentence.
    pub verdict: String,
    /// The gravest first; those of one rule and location are one.
    pub findings: Vec<Shared>,
    /// Findings that the user allows, which do not count.
    pub allowed: Vec<Shared>,
    /// Findings that the baseline has, which do not count.
    pub known: Vec<Shared>,
    /// What the baseline has and was found in no target; empty unless all were looked at.
    pub resolved: Vec<Key>,
    /// Each target, in the order of the user.
    pub targets: Vec<Looked>,
}

/// A finding, as it was where it was worst, and the targets that have it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shared {
    /// The finding. Its count and total are of all targets.
    #[serde(flatten)]
    pub entry: Entry,
    /// As the user named them.
    pub targets: Vec<String>,
}

/// A target, and what became of the look at it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Looked {
    /// As the user named it.
    pub target: String,
    /// Why there is no report; `null` where there is one.
    pub error: Option<String>,
    /// The report as of this target alone; `null` where there is none.
    pub report: Option<Report>,
}

impl Together {
    /// Of the targets, each with its report or the reason why there is none. What
    /// `baseline` has does not count.
    pub fn new(
        targets: Vec<(String, Result<Report, String>)>,
        baseline: Option<&Baseline>,
    ) -> Self {
        let looked = |(target, result): (String, Result<Report, String>)| match result {
            Ok(report) => Looked {
                target,
                error: None,
                report: Some(match baseline {
                    Some(baseline) => report.against(baseline),
                    None => report,
                }),
            },
            Err(error) => Looked {
                target,
                error: Some(error),
                report: None,
            },
        };
        let mut targets: Vec<Looked> = targets.into_iter().map(looked).collect();
        let all_looked_at = targets.iter().all(Looked::is_observed);
        let resolved = if all_looked_at {
            in_all(targets.iter().filter_map(|looked| looked.report.as_ref()))
        } else {
            Vec::new()
        };
        // What one target does not have another one may.
        for report in targets.iter_mut().filter_map(|l| l.report.as_mut()) {
            report.resolved.clear();
        }
        Self {
            schema: TOGETHER_SCHEMA,
            level: worst(&targets).word().to_lowercase(),
            verdict: verdict(&targets),
            findings: shared(&targets, |report| &report.findings),
            allowed: shared(&targets, |report| &report.allowed),
            known: shared(&targets, |report| &report.known),
            resolved,
            targets,
        }
    }

    /// Reports of the targets that have one.
    pub fn reports(&self) -> impl Iterator<Item = &Report> {
        self.targets.iter().filter_map(|l| l.report.as_ref())
    }

    /// Every target was looked at, and nothing of weight was left out.
    pub fn is_observed(&self) -> bool {
        self.targets.iter().all(Looked::is_observed)
    }

    /// Some finding is at least as bad as `severity`.
    pub fn fails(&self, severity: Severity) -> bool {
        self.findings.iter().any(|f| f.entry.severity >= severity)
    }

    /// What a later check is to know.
    pub fn baseline(&self) -> Baseline {
        let reports = self.reports();
        Baseline::of(reports.flat_map(|report| report.findings.iter().chain(&report.known)))
    }

    /// In a format, as [`Report::render`].
    pub fn render(&self, format: Format, commit: Option<&Commit>) -> String {
        match format {
            Format::Text => self.text(),
            Format::Json => formats::json(self),
            Format::Ndjson => self.ndjson(),
            Format::Junit => self.junit(),
            Format::Github => self.github(commit),
        }
    }

    /// " on 2 of 3 targets: A, B".
    fn on(&self, finding: &Shared) -> String {
        let (n, all) = (finding.targets.len(), self.targets.len());
        let names = finding.targets.join(", ");
        format!(" on {n} of {all} targets: {names}")
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "looptop check of {} targets", self.targets.len());
        let level = self.level.to_uppercase();
        let _ = writeln!(text, "{level}: {}\n", self.verdict);
        for looked in &self.targets {
            looked.text(&mut text);
        }
        text.push('\n');
        for finding in &self.findings {
            let on = self.on(finding);
            text::entry(&mut text, &finding.entry, &escaped(&on));
        }
        for (word, findings) in [("allowed", &self.allowed), ("known", &self.known)] {
            for finding in findings {
                let (rule, title) = (finding.entry.rule, escaped(&finding.entry.title));
                let on = self.on(finding);
                let _ = writeln!(text, "{word:<9} {rule}  {title};{}", escaped(&on));
            }
        }
        for key in &self.resolved {
            let _ = writeln!(text, "resolved  {}", escaped(&key.to_string()));
        }
        for (sentence, targets) in self.left_out() {
            let targets = escaped(&targets.join(", ")).into_owned();
            let _ = writeln!(text, "{}  ({targets})", escaped(&sentence));
        }
        text
    }

    /// What could not be judged, was not seen or was dropped, each with the targets of
    /// which it is so.
    fn left_out(&self) -> Vec<(String, Vec<String>)> {
        let mut all: Vec<(String, Vec<String>)> = Vec::new();
        for looked in &self.targets {
            let Some(report) = &looked.report else {
                continue;
            };
            let unjudged = report.not_judged.iter();
            let unjudged = unjudged.map(|n| format!("not judged  {}: {}", n.rule, n.reason));
            let remarks = report.remarks.iter();
            let remarks = remarks.filter(|remark| !report.verdict.contains(*remark));
            let remarks = remarks.map(|remark| format!("not seen  {remark}"));
            let lost = report.loss.iter();
            let lost = lost.map(|(what, n)| format!("dropped   {what} {n}"));
            for sentence in unjudged.chain(remarks).chain(lost) {
                match all.iter_mut().find(|(known, _)| *known == sentence) {
                    Some((_, targets)) => targets.push(looked.target.clone()),
                    None => all.push((sentence, vec![looked.target.clone()])),
                }
            }
        }
        all
    }

    fn ndjson(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            formats::line(&mut text, "finding", finding, &[]);
        }
        for looked in &self.targets {
            match &looked.report {
                Some(report) => formats::line(&mut text, "report", report, &["findings"]),
                None => formats::line(&mut text, "error", looked, &["report"]),
            }
        }
        formats::line(&mut text, "together", self, &["findings", "targets"]);
        text
    }

    /// A suite for each target.
    fn junit(&self) -> String {
        let mut text = String::from(XML);
        text.push_str("<testsuites name=\"looptop\">\n");
        for looked in &self.targets {
            let name = format!("looptop {}", looked.target);
            if let Some(report) = &looked.report {
                formats::suite(&mut text, &name, report);
                continue;
            }
            let why = xml(looked.error.as_deref().unwrap_or_default());
            let _ = writeln!(
                text,
                "<testsuite name=\"{}\" tests=\"1\" failures=\"0\" errors=\"1\">\n  \
                 <testcase classname=\"looptop\" name=\"observed\">\n    \
                 <error message=\"{why}\"/>\n  </testcase>\n</testsuite>",
                xml(&name)
            );
        }
        text.push_str("</testsuites>\n");
        text
    }

    fn github(&self, commit: Option<&Commit>) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let on = self.on(finding);
            formats::annotation(&mut text, &finding.entry, &on, commit);
        }
        let known = self.known.iter();
        for finding in known.filter(|f| f.entry.severity >= Severity::Warning) {
            let (rule, title) = (finding.entry.rule, escaped(&finding.entry.title));
            let on = self.on(finding);
            let _ = writeln!(text, "looptop: known: {rule}: {title};{}", escaped(&on));
        }
        for key in &self.resolved {
            let _ = writeln!(text, "looptop: resolved: {}", escaped(&key.to_string()));
        }
        for looked in &self.targets {
            let target = &looked.target;
            if let Some(error) = &looked.error {
                formats::unobserved(&mut text, &format!("{target}: {error}"));
            }
            let gaps = looked.report.iter().flat_map(|r| &r.not_observed);
            for gap in gaps {
                let why = format!("{target}: {}. {}", gap.cause, gap.remedy);
                formats::unobserved(&mut text, &why);
            }
        }
        for looked in &self.targets {
            looked.text(&mut text);
        }
        let level = self.level.to_uppercase();
        let _ = writeln!(text, "looptop: {level}: {}", self.verdict);
        text
    }
}

impl Looked {
    fn is_observed(&self) -> bool {
        self.report.as_ref().is_some_and(Report::is_observed)
    }

    fn level(&self) -> Level {
        let word = self.report.as_ref().map(|report| report.level.as_str());
        let is_it = |level: &Level| Some(level.word().to_lowercase().as_str()) == word;
        let level = Level::ALL.into_iter().find(is_it);
        level.unwrap_or(Level::NotObserving)
    }

    fn text(&self, text: &mut String) {
        let target = escaped(&self.target).into_owned();
        let Some(report) = &self.report else {
            let why = self.error.as_deref().unwrap_or_default();
            let _ = writeln!(text, "NOT LOOKED AT  {target}: {}", escaped(why));
            return;
        };
        let name = match report.name.as_str() {
            "" => String::new(),
            name => format!(" {}", escaped(name)),
        };
        let window = if report.window_s > 0.0 {
            format!("{:.1} s", report.window_s)
        } else {
            "one moment".to_owned()
        };
        let (level, verdict) = (report.level.to_uppercase(), escaped(&report.verdict));
        let _ = writeln!(
            text,
            "{level:<14} {target}{name}, {window} observed: {verdict}"
        );
        for gap in &report.not_observed {
            if gap.cause != report.verdict {
                let _ = writeln!(text, "    not observed: {}", escaped(&gap.cause));
            }
            let _ = writeln!(text, "    remedy: {}", escaped(&gap.remedy));
        }
        if let Some(no_lines) = &report.no_lines {
            let _ = writeln!(text, "    {}", escaped(no_lines));
        }
    }
}

fn worst(targets: &[Looked]) -> Level {
    let levels = targets.iter().map(Looked::level);
    levels.max().unwrap_or(Level::Unknown)
}

/// "3 targets: 1 starved, 1 healthy, 1 not looked at".
fn verdict(targets: &[Looked]) -> String {
    let mut counts: Vec<String> = Vec::new();
    for level in Level::ALL.into_iter().rev() {
        let mut of = targets.iter().filter(|looked| looked.report.is_some());
        let n = of.by_ref().filter(|l| l.level() == level).count();
        if n > 0 {
            counts.push(format!("{n} {}", level.word().to_lowercase()));
        }
    }
    let errors = targets.iter().filter(|l| l.report.is_none()).count();
    if errors > 0 {
        counts.push(format!("{errors} not looked at"));
    }
    let noun = if targets.len() == 1 {
        "target"
    } else {
        "targets"
    };
    format!("{} {noun}: {}", targets.len(), counts.join(", "))
}

/// What all of them have not found.
fn in_all<'a>(mut reports: impl Iterator<Item = &'a Report>) -> Vec<Key> {
    let first = reports.next().map_or_else(Vec::new, |r| r.resolved.clone());
    reports.fold(first, |mut keys, report| {
        keys.retain(|key| report.resolved.contains(key));
        keys
    })
}

/// The findings of all targets: those of one rule and location are one, or of one rule and
/// function where the location is not known.
fn shared(targets: &[Looked], of: impl Fn(&Report) -> &Vec<Entry>) -> Vec<Shared> {
    let culprit = |entry: &Entry| match &entry.location {
        Some(location) => (entry.rule, Some(location.clone()), None),
        None => (entry.rule, None, entry.function.clone()),
    };
    let mut all: Vec<Shared> = Vec::new();
    for looked in targets {
        for entry in looked.report.iter().flat_map(&of) {
            let same = |known: &&mut Shared| culprit(&known.entry) == culprit(entry);
            let Some(known) = all.iter_mut().find(same) else {
                all.push(Shared {
                    entry: entry.clone(),
                    targets: vec![looked.target.clone()],
                });
                continue;
            };
            known.add(entry, &looked.target);
        }
    }
    // Where several are as grave, what more of them have comes first.
    all.sort_by_key(|shared| std::cmp::Reverse((shared.entry.severity, shared.targets.len())));
    all
}

impl Shared {
    fn add(&mut self, entry: &Entry, target: &str) {
        let mine = &self.entry;
        let count = mine.count.saturating_add(entry.count);
        let total_ms = mine.total_ms + entry.total_ms;
        let first_seen_ms = mine.first_seen_ms.min(entry.first_seen_ms);
        let last_seen_ms = mine.last_seen_ms.max(entry.last_seen_ms);
        let weight = |entry: &Entry| (entry.severity, entry.max_ms);
        let worst = if weight(entry) > weight(mine) {
            entry
        } else {
            mine
        };
        self.entry = Entry {
            count,
            total_ms,
            first_seen_ms,
            last_seen_ms,
            ..worst.clone()
        };
        if self.targets.last().is_none_or(|last| last != target) {
            self.targets.push(target.to_owned());
        }
    }
}

#[cfg(test)]
mod tests;
