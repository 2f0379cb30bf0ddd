//! One of the processes: how it does, in a row.

use std::time::{Duration, Instant};

use super::super::{Connection, copy};
use crate::{
    diagnose::{Finding, Level, Verdict},
    model::{Lag, Model, Moment, brief_path, with_place},
};

/// The time over which lag is shown.
const LAG: Duration = Duration::from_secs(10);
/// The time over which stalls are counted.
const STALLS: Duration = Duration::from_mins(1);

/// A process, as far as it is known.
#[derive(Debug, Clone)]
pub struct Process {
    /// Distinguishes it from all others of this run of looptop; in the order in which
    /// they came.
    pub id: u64,
    /// The target as the user named it, or as it was found.
    pub target: String,
    /// What the connection does.
    pub connection: Connection,
    /// A core dump, which is read rather than watched.
    pub is_core: bool,
    /// How it does; `None` until something was seen of it. What was seen last stays.
    pub summary: Option<Box<Summary>>,
}

/// How a process does.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The process behind the target; empty where unknown.
    pub session: String,
    /// What the application calls itself; empty where unknown.
    pub application: String,
    /// Its process id.
    pub pid: Option<u32>,
    /// All findings in one sentence.
    pub verdict: Verdict,
    /// The gravest finding.
    pub worst: Option<Finding>,
    /// How many there are.
    pub findings: usize,
    /// 99 of 100 probes of the last 10 s ran within this, in the runtime where that is
    /// longest; `None` where it is not measured.
    pub lag: Option<Duration>,
    /// Share of the last second that workers were busy, of all of them; `None` where it is
    /// not known.
    pub busy: Option<f64>,
    /// Stalls that began or went on in the last minute.
    pub stalls: u64,
}

impl Summary {
    /// Of a model and what was found in it, the gravest first.
    pub fn new(model: &Model, findings: &[Finding], verdict: Verdict) -> Self {
        let lag = |lag: &Lag| Some(lag.percentiles(model.now, LAG)?.p99);
        let busy: Vec<f64> = model
            .workers
            .values()
            .filter_map(crate::model::Worker::busy_ratio)
            .collect();
        let since = model.now.minus(STALLS);
        let of_late = |from: Moment| {
            let stalls = model.stalls.iter();
            stalls.filter(|s| s.overlaps(from, model.now)).count() as u64
        };
        Self {
            session: model.session.id.clone(),
            application: model.session.name.clone(),
            pid: model.session.pid,
            verdict,
            worst: findings.first().cloned(),
            findings: findings.len(),
            lag: model.lag.values().filter_map(lag).max(),
            busy: (!busy.is_empty()).then(|| busy.iter().sum::<f64>() / busy.len() as f64),
            stalls: of_late(since),
        }
    }

    /// Who is to blame, and where: function and line, as far as they are known. The function
    /// with its module alone: the whole path stands below. Of a deadlock all who wait for
    /// each other.
    pub fn culprit(&self) -> Option<String> {
        let worst = self.worst.as_ref()?;
        if let Some(ring) = ring(worst) {
            return Some(ring);
        }
        let function = brief_path(worst.function.as_deref().unwrap_or_default());
        Some(match (function, worst.location.as_str()) {
            ("", "") => worst.title.clone(),
            ("", place) => place.to_owned(),
            (function, "") => function.to_owned(),
            (function, place) => with_place(function, place),
        })
    }
}

/// "DEADLOCK of a (src/x.rs:1) and b (src/y.rs:2)", of a finding that is one.
fn ring(finding: &Finding) -> Option<String> {
    let stack = finding
        .stack
        .as_ref()
        .filter(|_| finding.rule == "deadlock")?;
    let members = stack.frames.iter().map(|frame| {
        let place = match (frame.file.as_str(), frame.line) {
            ("", _) => String::new(),
            (file, 0) => file.to_owned(),
            (file, line) => format!("{file}:{line}"),
        };
        with_place(brief_path(&frame.function), &place)
    });
    let members: Vec<String> = members.filter(|member| !member.is_empty()).collect();
    let (last, others) = members.split_last()?;
    // The sentence says how sure it is.
    let word = if finding.title.starts_with("deadlock") {
        "DEADLOCK"
    } else {
        "DEADLOCK?"
    };
    Some(if others.is_empty() {
        format!("{word} of {last}")
    } else {
        format!("{word} of {} and {last}", others.join(", "))
    })
}

/// What is wrong with a process, from the least to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pain {
    /// Nothing was found.
    None,
    /// Nothing is known yet.
    Unknown,
    /// A notice.
    Notice,
    /// Nothing can be said of the loop.
    NotObserving,
    /// A warning.
    Slow,
    /// It gives no data: frozen, paused, gone, or never reached.
    NoData,
    /// The loop stands still.
    Starved,
}

impl Process {
    /// One of which nothing is known.
    pub fn new(id: u64, target: String, is_core: bool) -> Self {
        Self {
            id,
            target,
            connection: Connection::Connecting {
                attempt: 1,
                problem: None,
            },
            is_core,
            summary: None,
        }
    }

    /// Why there is no data, and what to do, where that is so.
    pub fn problem(&self) -> Option<&str> {
        match &self.connection {
            Connection::Silent { problem, .. }
            | Connection::Paused { problem, .. }
            | Connection::Lost { problem, .. }
            | Connection::Connecting {
                problem: Some(problem),
                ..
            } => Some(problem),
            _ => None,
        }
    }

    /// A summary that says how it does now: what was seen of one that gives no data is old.
    pub fn current(&self) -> Option<&Summary> {
        let live = matches!(self.connection, Connection::Live | Connection::Ended);
        self.summary.as_deref().filter(|_| live)
    }

    /// How bad it is.
    pub fn pain(&self) -> Pain {
        if self.problem().is_some() {
            return Pain::NoData;
        }
        let Some(summary) = self.current() else {
            return Pain::Unknown;
        };
        match summary.verdict.level {
            Level::Unknown => Pain::Unknown,
            Level::Healthy | Level::CoreDump => Pain::None,
            Level::Notice => Pain::Notice,
            Level::NotObserving => Pain::NotObserving,
            Level::Warning => Pain::Slow,
            Level::Starved => Pain::Starved,
        }
    }

    /// Orders those of equal pain, the worst first: by lag, then by the longest that was
    /// found, both in doublings, so that rows do not change places for a little.
    pub(super) fn measure(&self) -> (u32, u32) {
        let doublings = |time: Option<Duration>| {
            let millis = time.map_or(0, |time| time.as_millis().max(1));
            128 - millis.leading_zeros()
        };
        let summary = self.current();
        let worst = summary.and_then(|s| s.worst.as_ref());
        (
            doublings(summary.and_then(|s| s.lag)),
            doublings(worst.map(|finding| finding.max)),
        )
    }

    /// What it is called: by its application where that is known.
    pub fn name(&self) -> String {
        match self.summary.as_deref() {
            Some(summary) if !summary.application.is_empty() => {
                format!("{} {}", summary.application, self.target)
            }
            _ => self.target.clone(),
        }
    }

    /// What is said of it, and what to do; the second is empty where there is nothing.
    pub fn sentences(&self) -> (&str, &str) {
        if let Some(problem) = self.problem() {
            return (problem, "");
        }
        match self.current() {
            Some(summary) => (&summary.verdict.sentence, &summary.verdict.remedy),
            None => ("nothing has come from it yet", ""),
        }
    }

    /// What a filter looks for words in.
    pub(super) fn text(&self) -> String {
        let culprit = self.current().and_then(Summary::culprit);
        let level = self.current().map(|s| s.verdict.level.word());
        format!(
            "{} {} {} {}",
            self.name(),
            level.unwrap_or_default(),
            culprit.unwrap_or_default(),
            self.problem().unwrap_or_default()
        )
    }

    /// The row as plain text, for a ticket or a chat.
    pub(super) fn copied(&self) -> String {
        let name = format!("{}\n", crate::escape::escaped(&self.name()));
        let worst = self.current().and_then(|s| s.worst.as_ref());
        let rest = match worst {
            Some(finding) => copy::finding(finding),
            None => crate::escape::escaped(self.sentences().0).into_owned() + "\n",
        };
        name + &rest
    }

    /// How long the next attempt is away.
    pub fn retry_in(&self, now: Instant) -> Option<Duration> {
        match &self.connection {
            Connection::Lost {
                retry_at: Some(at), ..
            } => Some(at.saturating_duration_since(now)),
            _ => None,
        }
    }
}
