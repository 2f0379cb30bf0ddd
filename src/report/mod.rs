//! Findings without a screen: text, JSON, and what CI systems read.
//!
//! All formats show the same [`Report`]; `docs/check.schema.json` describes the
//! JSON.

mod formats;
mod text;

use std::{fmt, str::FromStr, time::Duration};

use serde::Serialize;

use crate::{
    diagnose::{Engine, Finding, Gap, Level, Severity, cause_word, gaps, remarks},
    model::{Loss, Model, Moment, StackFrame, total},
};

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

/// What was not observed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GapEntry {
    /// One sentence.
    pub cause: String,
    /// The line to change.
    pub remedy: String,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// Id of the rule.
    pub rule: &'static str,
    /// notice, warning or critical.
    pub severity: Severity,
    /// One sentence.
    pub title: String,
    /// computing, system call, sleeping, lock, starved by host, stopped, page or
    /// unknown; `null` where the rule has no cause.
    pub cause: Option<&'static str>,
    /// The cause to the call.
    pub cause_text: String,
    /// A task that shows it: its name, or its id; `null` where there is none.
    pub task: Option<String>,
    /// `file:line`; `null` where unknown.
    pub location: Option<String>,
    /// The culprit's function; `null` where no stack names it.
    pub function: Option<String>,
    /// Innermost frame first.
    pub stack: Vec<FrameEntry>,
    /// How often.
    pub count: u64,
    /// The longest, in ms.
    pub max_ms: f64,
    /// All together, in ms.
    pub total_ms: f64,
    /// What to do instead.
    pub remedy: String,
    /// Milliseconds after the window began.
    pub first_seen_ms: f64,
    /// Milliseconds after the window began.
    pub last_seen_ms: f64,
}

/// A frame of a stack.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FrameEntry {
    /// Readable name, or module and offset.
    pub function: String,
    /// `file:line`; `null` where unknown.
    pub location: Option<String>,
    /// Runtime, standard library or system.
    pub plumbing: bool,
}

/// A rule that could not be judged: its silence means nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotJudged {
    /// Id of the rule.
    pub rule: &'static str,
    /// Why, as the rest of a sentence.
    pub reason: String,
}

/// A worker.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorkerEntry {
    /// In the order of registration.
    pub runtime: u32,
    /// What the runtime is called; `null` where it has no name.
    pub runtime_name: Option<String>,
    /// Within the runtime.
    pub index: u32,
    /// Thread id; `null` where unknown.
    pub tid: Option<u64>,
    /// Share of the last second; `null` where unknown.
    pub busy: Option<f64>,
    /// CPU share of the last second; `null` where unknown.
    pub cpu: Option<f64>,
}

/// Loop lag in ms.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LagEntry {
    /// Half of the probes.
    pub p50: f64,
    /// 99 of 100 probes.
    pub p99: f64,
    /// The worst.
    pub max: f64,
}

/// Tasks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskEntry {
    /// Alive at the end, as many as tokio counts where they are not seen; `null`
    /// where that is unknown too.
    pub live: Option<u64>,
    /// Spawned since the agent started; `null` where unknown.
    pub spawned: Option<u64>,
    /// Ended since the agent started; `null` where unknown.
    pub finished: Option<u64>,
}

/// A rule, or a rule at one location, whose findings do not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allow {
    rule: &'static str,
    location: Option<String>,
}

impl FromStr for Allow {
    type Err = String;

    /// `RULE` or `RULE=LOCATION`; a location is the end of a path, with or
    /// without a line.
    fn from_str(text: &str) -> Result<Self, String> {
        let (id, location) = match text.split_once('=') {
            Some((id, location)) => (id, Some(location.to_owned())),
            None => (text, None),
        };
        let rule = crate::diagnose::find(id).ok_or_else(|| {
            format!(
                "there is no rule '{id}'; did you mean '{}'?",
                crate::diagnose::nearest(id)
            )
        })?;
        Ok(Self {
            rule: rule.id,
            location,
        })
    }
}

impl Allow {
    fn covers(&self, finding: &Finding) -> bool {
        let place = self.location.as_deref().is_none_or(|wanted| {
            let file = finding
                .location
                .rsplit_once(':')
                .map_or("", |(file, _)| file);
            finding.location.ends_with(wanted) || file.ends_with(wanted)
        });
        finding.rule == self.rule && place
    }
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
            remarks: remarks(model),
            no_lines: model.stalls.missing_names().map(str::to_owned),
            findings: entries(findings),
            allowed: entries(allowed),
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

    /// Something was observed, and nothing of weight was left out.
    pub fn is_observed(&self) -> bool {
        self.not_observed.is_empty()
    }

    /// Some finding is at least as bad as `severity`.
    pub fn fails(&self, severity: Severity) -> bool {
        self.findings.iter().any(|f| f.severity >= severity)
    }

    /// The report in a format.
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Text => text::render(self),
            Format::Json => formats::json(self),
            Format::Ndjson => formats::ndjson(self),
            Format::Junit => formats::junit(self),
            Format::Github => formats::github(self),
        }
    }
}

impl Entry {
    fn new(finding: &Finding, since: Moment) -> Self {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let stack = finding
            .stack
            .as_ref()
            .map_or(&[][..], |stack| &stack.frames);
        Self {
            rule: finding.rule,
            severity: finding.severity,
            title: finding.title.clone(),
            cause: finding.cause.map(cause_word),
            cause_text: finding.cause_text.clone(),
            task: some(&finding.task_name).or_else(|| finding.task.map(|id| id.to_string())),
            location: some(&finding.location),
            function: finding.function.clone(),
            stack: stack.iter().map(FrameEntry::new).collect(),
            count: finding.count,
            max_ms: ms(finding.max),
            total_ms: ms(finding.total),
            remedy: finding.remedy.clone(),
            first_seen_ms: ms(finding.first_seen.since(since)),
            last_seen_ms: ms(finding.last_seen.since(since)),
        }
    }
}

impl FrameEntry {
    fn new(frame: &StackFrame) -> Self {
        Self {
            function: frame.function.clone(),
            location: frame.location(),
            plumbing: frame.plumbing,
        }
    }
}

/// A window over which no sample came says nothing, whatever lay before it.
const LEAST_WINDOW: Duration = Duration::from_millis(50);

fn not_observed(model: &Model, window: Duration) -> Vec<Gap> {
    let mut all = gaps(model);
    if all.is_empty() && window < LEAST_WINDOW {
        all.push(Gap {
            cause: "no sample came in the time observed".to_owned(),
            remedy: "observe for longer (--for), and see whether the target answers".to_owned(),
        });
    }
    all
}

impl From<Gap> for GapEntry {
    fn from(gap: Gap) -> Self {
        Self {
            cause: gap.cause,
            remedy: gap.remedy,
        }
    }
}

fn worker(model: &Model, worker: &crate::model::Worker) -> WorkerEntry {
    let thread = worker.tid.and_then(|tid| model.threads.get(&tid));
    let runtime = model.runtimes.iter().find(|r| r.id == worker.id.runtime);
    WorkerEntry {
        runtime: worker.id.runtime.0,
        runtime_name: runtime
            .filter(|r| !model.text(r.name).is_empty())
            .map(|r| model.runtime_name(r.id)),
        index: worker.id.index,
        tid: worker.tid.map(|tid| tid.0),
        busy: worker.busy_ratio().map(round),
        cpu: thread.and_then(crate::model::Thread::cpu_ratio).map(round),
    }
}

fn lag(model: &Model) -> Option<LagEntry> {
    let window = Duration::from_mins(1);
    let worst = model
        .lag
        .values()
        .filter_map(|lag| lag.percentiles(model.now, window))
        .max_by_key(|p| p.p99)?;
    Some(LagEntry {
        p50: ms(worst.p50),
        p99: ms(worst.p99),
        max: ms(worst.max),
    })
}

fn tasks(model: &Model) -> TaskEntry {
    let sum = |count: fn(&crate::model::Site) -> u64| {
        (!model.sites.is_empty()).then(|| total(model.sites.values().map(count)))
    };
    TaskEntry {
        live: model.live_tasks(),
        spawned: sum(|site| site.spawned),
        finished: sum(|site| site.ended),
    }
}

fn missing(model: &Model) -> std::collections::BTreeMap<String, String> {
    let name = |kind: crate::model::Capability| {
        let name = kind.as_str_name().trim_start_matches("CAPABILITY_KIND_");
        name.to_lowercase()
    };
    model
        .session
        .all_missing()
        .map(|(kind, why)| (name(kind), why.to_owned()))
        .collect()
}

fn loss(loss: &Loss) -> std::collections::BTreeMap<&'static str, u64> {
    [
        ("tasks", loss.tasks),
        ("strings", loss.strings),
        ("frames", loss.frames),
        ("stalls", loss.stalls),
        ("history", loss.history),
        ("captures", loss.captures),
        ("slots", loss.slots),
        ("watchdog_late_ms", loss.watchdog_late_ns / 1_000_000),
        ("console_events", loss.console_events),
    ]
    .into_iter()
    .filter(|(_, n)| *n > 0)
    .collect()
}

fn ms(duration: Duration) -> f64 {
    round(duration.as_secs_f64() * 1e3)
}

/// To microseconds of a millisecond, so that reports do not suggest more.
fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
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
    use std::sync::Arc;

    use looptop_wire::proto;

    use super::*;
    use crate::{
        diagnose::Window,
        model::{Culprit, Resolved, StallId, fixtures},
    };

    /// The starving fixture, with its stack resolved.
    fn report(allow: &[&str]) -> Report {
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
            insta::assert_snapshot!(format!("report_{format}"), report(&[]).render(*format));
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
    fn unobserved(window: Duration) -> Report {
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
            insta::assert_snapshot!(format!("not_observing_{format}"), report.render(*format));
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
