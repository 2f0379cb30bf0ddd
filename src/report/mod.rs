//! Findings without a screen: text, JSON, and what CI systems read.
//!
//! All formats show the same [`Report`]; `docs/check.schema.json` describes the
//! JSON.

mod allow;
mod baseline;
mod commit;
mod entries;
mod formats;
mod text;
mod together;

pub use allow::Allow;
pub use baseline::{BASELINE_SCHEMA, Baseline, BaselineError, Key};
pub use commit::Commit;
pub use entries::{Entry, FrameEntry, GapEntry, LagEntry, NotJudged, TaskEntry, WorkerEntry};
pub use together::{Looked, Shared, TOGETHER_SCHEMA, Together};

use std::fmt;

use serde::Serialize;

use crate::{
    diagnose::{Engine, Finding, Level, Severity, remarks, replaced},
    model::{Model, Moment},
};
use entries::{lag, loss, missing, not_observed, round, tasks, worker};

/// Version of the JSON; it grows when a reader of the older one would misread.
pub const SCHEMA: u32 = 1;

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
    /// A JSON object a line: each finding, then the report without them.
    Ndjson,
    /// `JUnit` XML: a test case for each rule.
    Junit,
    /// Annotations of GitHub's workflow commands.
    Github,
}

/// What was found over a window of time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// As given by the user.
    pub target: String,
    /// The application's name; empty where unknown.
    pub name: String,
    /// Seconds observed.
    pub window_s: f64,
    /// waiting, healthy, notice, not observing, slow or starved.
    pub level: String,
    /// All findings in one sentence.
    pub verdict: String,
    /// Why it cannot be said how the loop does; empty where it was observed.
    pub not_observed: Vec<GapEntry>,
    /// What the level of insight leaves out, sentences.
    pub remarks: Vec<String>,
    /// What names or lines of functions the binary lacks, and how to get them;
    /// `null` where nothing is lacking.
    pub no_lines: Option<String>,
    /// The gravest first.
    pub findings: Vec<Entry>,
    /// Findings that the user allows, which do not count.
    pub allowed: Vec<Entry>,
    /// Findings that the baseline has, which do not count.
    pub known: Vec<Entry>,
    /// What the baseline has and was not found.
    pub resolved: Vec<Key>,
    /// Workers at the end of the window.
    pub workers: Vec<WorkerEntry>,
    /// Loop lag over the last minute of the window; `null` where unknown.
    pub lag_ms: Option<LagEntry>,
    /// Tasks at the end of the window.
    pub tasks: TaskEntry,
    /// Rules that could not be judged in this window.
    pub not_judged: Vec<NotJudged>,
    /// What was dropped, by kind; only what is not zero.
    pub loss: std::collections::BTreeMap<&'static str, u64>,
    /// What the target cannot supply, with the reasons.
    pub missing: std::collections::BTreeMap<String, String>,
}

impl Report {
    /// The report of a window that began at `since` and ends now.
    pub fn new(
        target: &str,
        model: &Model,
        engine: &Engine,
        since: Moment,
        allow: &[Allow],
    ) -> Self {
        let (allowed, findings): (Vec<&Finding>, Vec<_>) = engine
            .findings()
            .iter()
            .partition(|f| allow.iter().any(|a| a.covers(f)));
        let entries =
            |list: Vec<&Finding>| list.into_iter().map(|f| Entry::new(f, since)).collect();
        let window = model.now.since(since);
        let verdict = engine.verdict(model);
        let not_observed = not_observed(model, window);
        // Without a finding an empty window is no health.
        let (level, sentence) = match not_observed.first() {
            Some(gap) if verdict.level < Level::NotObserving => {
                (Level::NotObserving, gap.cause.clone())
            }
            _ => (verdict.level, verdict.sentence),
        };
        Self {
            schema: SCHEMA,
            target: target.to_owned(),
            name: model.session.name.clone(),
            window_s: round(window.as_secs_f64()),
            level: level.word().to_lowercase(),
            verdict: sentence,
            not_observed: not_observed.into_iter().map(GapEntry::from).collect(),
            remarks: remarks(model).into_iter().chain(replaced(model)).collect(),
            no_lines: model.stalls.missing_names().map(str::to_owned),
            findings: entries(findings),
            allowed: entries(allowed),
            known: Vec::new(),
            resolved: Vec::new(),
            workers: model.workers.values().map(|w| worker(model, w)).collect(),
            lag_ms: lag(model),
            tasks: tasks(model),
            not_judged: engine
                .not_judged(model)
                .into_iter()
                .map(|(rule, reason)| NotJudged { rule, reason })
                .collect(),
            loss: loss(&model.loss),
            missing: missing(model),
        }
    }

    /// What `baseline` has does not count any more.
    #[must_use]
    pub fn against(mut self, baseline: &Baseline) -> Self {
        self.resolved = baseline.without(self.findings.iter().chain(&self.allowed));
        let (known, new) = self.findings.into_iter().partition(|f| baseline.knows(f));
        (self.known, self.findings) = (known, new);
        self
    }

    /// What a later check is to know: all that was found, and is not allowed.
    pub fn baseline(&self) -> Baseline {
        Baseline::of(self.findings.iter().chain(&self.known))
    }

    /// Something was observed, and nothing of weight was left out.
    pub fn is_observed(&self) -> bool {
        self.not_observed.is_empty()
    }

    /// Some finding is at least as bad as `severity`.
    pub fn fails(&self, severity: Severity) -> bool {
        self.findings.iter().any(|f| f.severity >= severity)
    }

    /// The report in a format; `commit` is where its lines are on GitHub, for that format.
    pub fn render(&self, format: Format, commit: Option<&Commit>) -> String {
        match format {
            Format::Text => text::render(self),
            Format::Json => formats::json(self),
            Format::Ndjson => formats::ndjson(self),
            Format::Junit => formats::junit(self),
            Format::Github => formats::github(self, commit),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Format::Text => "text",
            Format::Json => "json",
            Format::Ndjson => "ndjson",
            Format::Junit => "junit",
            Format::Github => "github",
        };
        f.pad(name)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use looptop_wire::proto;

    use super::*;
    use crate::{
        diagnose::{Window, cause_word},
        model::{Culprit, Resolved, StackFrame, StallId, fixtures},
    };

    /// The starving fixture, with its stack resolved.
    pub(super) fn report(allow: &[&str]) -> Report {
        let mut model = fixtures::starving();
        let frame = |function: &str, file: &str, line, plumbing| StackFrame {
            function: function.into(),
            file: file.into(),
            line,
            plumbing,
            culprit: !plumbing,
        };
        let resolved = Resolved {
            frames: vec![
                frame("core::fmt::write", "core/src/fmt/mod.rs", 1, true),
                frame("report::render", "demo/src/report.rs", 42, false),
                frame("tokio::runtime::task::raw::poll", "", 0, true),
            ],
            culprit: Some(Culprit {
                function: "report::render".into(),
                file: "demo/src/report.rs".into(),
                line: 42,
                ..Culprit::default()
            }),
            ..Resolved::default()
        };
        model.stalls.resolve(StallId(1), Arc::new(resolved));
        let since = Moment(18_000_000_000);
        let mut engine = Engine::new(Window::Since(since));
        engine.update(&model);
        let allow: Vec<Allow> = allow.iter().map(|a| a.parse().unwrap()).collect();
        Report::new("http://127.0.0.1:6669", &model, &engine, since, &allow)
    }

    #[test]
    fn every_format() {
        use clap::ValueEnum;
        for format in Format::value_variants() {
            insta::assert_snapshot!(
                format!("report_{format}"),
                report(&[]).render(*format, None)
            );
        }
    }

    /// The properties that a schema requires, and those that a value has.
    fn assert_same_keys(schema: &serde_json::Value, value: &serde_json::Value, what: &str) {
        let mut required: Vec<_> = schema["required"].as_array().unwrap().clone();
        let described = schema["properties"].as_object().unwrap();
        required.sort_by_key(ToString::to_string);
        let names = |map: &serde_json::Map<_, _>| -> Vec<serde_json::Value> {
            let mut names: Vec<_> = map.keys().cloned().map(Into::into).collect();
            names.sort_by_key(ToString::to_string);
            names
        };
        assert_eq!(required, names(described), "{what}: required and described");
        assert_eq!(
            required,
            names(value.as_object().unwrap()),
            "{what}: promised and printed"
        );
    }

    #[test]
    fn the_published_schema_tells_what_is_printed() {
        let schema = include_str!("../../docs/check.schema.json");
        let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
        let report = serde_json::to_value(report(&[])).unwrap();
        assert_eq!(schema["properties"]["schema"]["const"], report["schema"]);
        assert_same_keys(&schema, &report, "report");
        let finding = &schema["$defs"]["finding"];
        assert_same_keys(finding, &report["findings"][0], "finding");
        let frame = &finding["properties"]["stack"]["items"];
        assert_same_keys(frame, &report["findings"][0]["stack"][0], "frame");
        let properties = &schema["properties"];
        assert_same_keys(
            &properties["workers"]["items"],
            &report["workers"][0],
            "worker",
        );
        assert_same_keys(&properties["lag_ms"], &report["lag_ms"], "lag");
        assert_same_keys(&properties["tasks"], &report["tasks"], "tasks");
        let unjudged = &report["not_judged"][0];
        assert_same_keys(&properties["not_judged"]["items"], unjudged, "not judged");
        let gap = serde_json::to_value(GapEntry {
            cause: "no worker was seen".into(),
            remedy: "call init()".into(),
        });
        let gaps = &properties["not_observed"]["items"];
        assert_same_keys(gaps, &gap.unwrap(), "gap");
        let levels = properties["level"]["enum"].as_array().unwrap();
        for level in Level::ALL {
            assert!(levels.contains(&level.word().to_lowercase().into()));
        }
        let causes = finding["properties"]["cause"]["enum"].as_array().unwrap();
        for cause in (0..8).filter_map(|n| crate::model::Cause::try_from(n).ok()) {
            assert!(causes.contains(&cause_word(cause).into()), "{cause:?}");
        }
    }

    /// A synchronous main with the agent, and two threads that run tokio.
    pub(super) fn unobserved(window: Duration) -> Report {
        let since = Moment(18_000_000_000);
        let mut model = Model::new(&fixtures::hello());
        let stranger = |tid| proto::Stranger {
            tid,
            kind: proto::StrangerKind::Worker.into(),
            ..proto::Stranger::default()
        };
        let frame = proto::Frame {
            snapshot_complete: true,
            coverage: Some(proto::Coverage {
                strangers: vec![stranger(7), stranger(8)],
                ..proto::Coverage::default()
            }),
            ..fixtures::frame(since.plus(window))
        };
        model.apply(&frame).unwrap();
        let mut engine = Engine::new(Window::Since(since));
        engine.update(&model);
        Report::new("http://127.0.0.1:6669", &model, &engine, since, &[])
    }

    #[test]
    fn nothing_observed_is_not_healthy_in_any_format() {
        use clap::ValueEnum;
        let report = unobserved(Duration::from_secs(6));
        assert!(!report.is_observed() && !report.fails(Severity::Notice));
        assert_eq!(report.level, "not observing");
        for format in Format::value_variants() {
            insta::assert_snapshot!(
                format!("not_observing_{format}"),
                report.render(*format, None)
            );
        }
    }

    #[test]
    fn a_window_without_a_sample_is_not_healthy() {
        let since = Moment(18_000_000_000);
        let mut model = Model::new(&fixtures::hello());
        let frame = proto::Frame {
            snapshot_complete: true,
            runtimes: vec![proto::Runtime::default()],
            workers: vec![proto::Worker::default()],
            ..fixtures::frame(since)
        };
        model.apply(&frame).unwrap();
        let report = |model: &Model| {
            let mut engine = Engine::new(Window::Since(since));
            engine.update(model);
            let report = Report::new("127.0.0.1:6669", model, &engine, since, &[]);
            (report.level.clone(), report.is_observed())
        };
        assert_eq!(report(&model), ("not observing".into(), false));
        let later = fixtures::frame(since.plus(Duration::from_secs(1)));
        model.apply(&later).unwrap();
        assert_eq!(report(&model), ("healthy".into(), true));
    }

    #[test]
    fn severity_decides() {
        let report = report(&[]);
        assert!(report.fails(Severity::Notice) && report.fails(Severity::Warning));
        assert!(!report.fails(Severity::Critical));
    }

    #[test]
    fn the_github_format_links_the_lines_of_the_commit() {
        let commit = Commit::from_environment(|name| {
            let value = match name {
                "GITHUB_SERVER_URL" => "https://github.com",
                "GITHUB_REPOSITORY" => "acme/shop",
                _ => "0a1b2c",
            };
            Some(value.to_owned())
        });
        insta::assert_snapshot!(
            "report_github_of_a_commit",
            report(&[]).render(Format::Github, commit.as_ref())
        );
    }

    #[test]
    fn only_what_the_baseline_does_not_have_counts() {
        let before = report(&[]);
        let baseline = before.baseline();
        let known = report(&[]).against(&baseline);
        assert!(before.fails(Severity::Notice) && !known.fails(Severity::Notice));
        assert_eq!(known.known.len(), before.findings.len());
        assert_eq!((&known.findings, &known.resolved), (&vec![], &vec![]));
        // What is known stays known when the file is written anew.
        assert_eq!(known.baseline(), baseline);
        let none = report(&[]).against(&Baseline::default());
        assert_eq!(none.findings.len(), before.findings.len());
    }

    #[test]
    fn a_line_that_moves_is_no_new_finding_and_another_file_is() {
        let mut moved = report(&[]);
        let baseline = moved.baseline();
        let place = |report: &mut Report, location: &str| {
            for finding in &mut report.findings {
                finding.location = finding.location.as_ref().map(|_| location.to_owned());
                finding.title = "other words and numbers".into();
            }
        };
        place(&mut moved, "demo/src/report.rs:77");
        assert!(!moved.clone().against(&baseline).fails(Severity::Notice));
        place(&mut moved, "demo/src/other.rs:42");
        let compared = moved.against(&baseline);
        assert!(compared.fails(Severity::Notice));
        assert!(
            compared
                .resolved
                .iter()
                .any(|key| key.rule == "blocked-worker")
        );
    }

    #[test]
    fn what_a_baseline_has_is_said_in_every_format_that_people_read() {
        let mut before = report(&[]);
        before.findings.retain(|f| f.rule == "blocked-worker");
        let mut gone = before.findings.clone();
        for finding in &mut gone {
            finding.function = Some("report::gone".into());
        }
        let entries = before.findings.iter().chain(&gone);
        let compared = before.clone().against(&Baseline::of(entries));
        for format in [Format::Text, Format::Github] {
            insta::assert_snapshot!(format!("baseline_{format}"), compared.render(format, None));
        }
    }

    #[test]
    fn what_is_allowed_does_not_count() {
        for (allow, fails) in [
            ("blocked-worker", false),
            ("blocked-worker=report.rs", false),
            ("blocked-worker=report.rs:42", false),
            ("blocked-worker=other.rs", true),
            ("task-flood", true),
        ] {
            let report = report(&[allow]);
            assert_eq!(report.fails(Severity::Notice), fails, "{allow}");
            assert_eq!(report.allowed.is_empty(), fails, "{allow}");
        }
        assert_eq!(
            "blocked-wroker".parse::<Allow>(),
            Err("there is no rule 'blocked-wroker'; did you mean 'blocked-worker'?".into())
        );
    }
}
