//! What a report is made of, and how it comes from the model.

use std::time::Duration;

use serde::Serialize;

use crate::{
    diagnose::{Finding, Gap, Severity, cause_word, gaps},
    model::{Loss, Model, Moment, StackFrame, total},
};

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

impl Entry {
    pub(super) fn new(finding: &Finding, since: Moment) -> Self {
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

pub(super) fn not_observed(model: &Model, window: Duration) -> Vec<Gap> {
    let mut all = gaps(model);
    if all.is_empty() && window < LEAST_WINDOW && !model.session.core_dump {
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

pub(super) fn worker(model: &Model, worker: &crate::model::Worker) -> WorkerEntry {
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

pub(super) fn lag(model: &Model) -> Option<LagEntry> {
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

pub(super) fn tasks(model: &Model) -> TaskEntry {
    let sum = |count: fn(&crate::model::Site) -> u64| {
        (!model.sites.is_empty()).then(|| total(model.sites.values().map(count)))
    };
    TaskEntry {
        live: model.live_tasks(),
        spawned: sum(|site| site.spawned),
        finished: sum(|site| site.ended),
    }
}

pub(super) fn missing(model: &Model) -> std::collections::BTreeMap<String, String> {
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

pub(super) fn loss(loss: &Loss) -> std::collections::BTreeMap<&'static str, u64> {
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
        ("refused_viewers", loss.refused_viewers),
        ("refused_connections", loss.refused_connections),
        ("refused_calls", loss.refused_calls),
    ]
    .into_iter()
    .filter(|(_, n)| *n > 0)
    .collect()
}

fn ms(duration: Duration) -> f64 {
    round(duration.as_secs_f64() * 1e3)
}

/// To microseconds of a millisecond, so that reports do not suggest more.
pub(super) fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
