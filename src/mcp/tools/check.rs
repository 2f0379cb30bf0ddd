//! `check`: what is wrong, who is to blame, what to do.

use std::{fmt::Write, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Answer, Desk, Failure, Kind, Wanted, limit, seconds,
    shown::{Frame, own_frames, round},
};
use crate::{
    mcp::answer::more,
    report::{Entry, Format, GapEntry, LagEntry, NotJudged, Report},
};

pub(super) struct Check;

/// What a call may say.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Arguments {
    /// HOST:PORT, unix:PATH, pid:N, core:FILE or the path of a recording; by default the
    /// only program there is.
    target: Option<String>,
    /// The time that the answer is about, 0 to 60 (default 5). The first call waits so long;
    /// later ones answer at once. Of a recording all is read.
    #[schemars(range(min = 0.0, max = 60.0))]
    seconds: Option<f64>,
    /// Findings at most (default 5).
    #[schemars(range(min = 1, max = 100))]
    limit: Option<usize>,
}

/// What was found.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Data {
    /// The target as it was named.
    target: String,
    /// The application's name; empty where unknown.
    name: String,
    /// Seconds that this is about.
    observed_s: f64,
    /// healthy, notice, slow, starved, not observing or waiting.
    level: String,
    /// All of it in one sentence.
    verdict: String,
    /// The gravest first.
    findings: Vec<Finding>,
    /// Findings that are left out.
    more_findings: usize,
    /// Why it cannot be said how the program does; empty where it was observed.
    not_observed: Vec<Gap>,
    /// What else limits what was seen, sentences.
    remarks: Vec<String>,
    /// How long a task that is ready waits for its turn, over the last minute.
    lag_ms: Option<Lag>,
    /// Tasks that are alive; null where unknown.
    live_tasks: Option<u64>,
    /// Rules that could not be judged in so short a time: their silence means nothing.
    not_judged: Vec<String>,
}

/// A finding.
#[derive(Debug, Serialize, JsonSchema)]
struct Finding {
    /// The rule, for `explain`.
    rule: String,
    /// notice, warning or critical.
    severity: String,
    /// One sentence: who, where, why, how long.
    title: String,
    /// Why it takes so long; null where the rule has no cause.
    cause: Option<String>,
    /// A task that shows it.
    task: Option<String>,
    /// The culprit's `file:line`; null where unknown.
    location: Option<String>,
    /// The culprit's function; null where no stack names it.
    function: Option<String>,
    /// The application's part of the stack, innermost first.
    stack: Vec<Frame>,
    /// How often it was seen.
    count: u64,
    /// The longest.
    max_ms: f64,
    /// All together.
    total_ms: f64,
    /// How long ago it was seen last.
    last_s_ago: f64,
    /// What to do instead.
    remedy: String,
}

/// What was not observed.
#[derive(Debug, Serialize, JsonSchema)]
struct Gap {
    /// Why.
    cause: String,
    /// The line to change.
    remedy: String,
}

/// Loop lag in ms.
#[derive(Debug, Serialize, JsonSchema)]
struct Lag {
    /// Half of the probes.
    p50: f64,
    /// 99 of 100 probes.
    p99: f64,
    /// The worst.
    max: f64,
}

/// Findings where a call does not say how many.
const FINDINGS: usize = 5;

impl Kind for Check {
    const NAME: &'static str = "check";
    const TITLE: &'static str = "What blocks the event loop";
    const ABOUT: &'static str = "What is wrong with a running tokio program, or in a recording of \
        one: each finding with its severity, the culprit's function and file:line, the cause, how \
        often and how long, the stack, and the remedy. The first thing to ask.";
    type Arguments = Arguments;
    type Data = Data;

    async fn call(desk: Arc<Desk>, arguments: Arguments) -> Result<Answer<Data>, Failure> {
        let Arguments {
            target,
            seconds: time,
            limit: most,
        } = arguments;
        of(&desk, target.as_deref(), time, most).await
    }
}

/// The check of a target.
pub(super) async fn of(
    desk: &Desk,
    target: Option<&str>,
    time: Option<f64>,
    most: Option<usize>,
) -> Result<Answer<Data>, Failure> {
    let time = seconds(time)?;
    let (name, watched) = desk.watched(target, Wanted::Findings(time)).await?;
    let report = watched.report(&name, time);
    let remarks = watched.remarks();
    drop(watched);
    Ok(answer(report, remarks, limit(most, FINDINGS)))
}

fn answer(mut report: Report, remarks: Vec<String>, most: usize) -> Answer<Data> {
    let more_findings = report.findings.len().saturating_sub(most);
    report.findings.truncate(most);
    let not_judged = std::mem::take(&mut report.not_judged);
    let mut text = report.render(Format::Text, None);
    if let Some(more) = more(more_findings, "finding") {
        let _ = writeln!(text, "{more}");
    }
    if !not_judged.is_empty() {
        let rules: Vec<&str> = not_judged.iter().map(|n| n.rule).collect();
        let _ = writeln!(
            text,
            "not judged, as that takes longer or is not seen: {}",
            rules.join(", ")
        );
    }
    for remark in &remarks {
        let _ = writeln!(text, "{}", crate::escape::escaped(remark));
    }
    Answer {
        text,
        data: data(report, not_judged, remarks, more_findings),
    }
}

fn data(
    report: Report,
    not_judged: Vec<NotJudged>,
    mut remarks: Vec<String>,
    more_findings: usize,
) -> Data {
    let window_ms = report.window_s * 1e3;
    remarks.extend(report.remarks);
    remarks.extend(report.no_lines);
    Data {
        target: report.target,
        name: report.name,
        observed_s: report.window_s,
        level: report.level,
        verdict: report.verdict,
        findings: report
            .findings
            .into_iter()
            .map(|f| finding(f, window_ms))
            .collect(),
        more_findings,
        not_observed: report.not_observed.into_iter().map(gap).collect(),
        remarks,
        lag_ms: report
            .lag_ms
            .map(|LagEntry { p50, p99, max }| Lag { p50, p99, max }),
        live_tasks: report.tasks.live,
        not_judged: not_judged.into_iter().map(|n| n.rule.to_owned()).collect(),
    }
}

fn gap(GapEntry { cause, remedy }: GapEntry) -> Gap {
    Gap { cause, remedy }
}

fn finding(entry: Entry, window_ms: f64) -> Finding {
    let frames = entry.stack.iter();
    let frames = frames.map(|f| (f.function.clone(), f.location.clone(), f.plumbing));
    Finding {
        rule: entry.rule.to_owned(),
        severity: entry.severity.to_string(),
        stack: own_frames(frames),
        title: entry.title,
        cause: Some(entry.cause_text)
            .filter(|text| !text.is_empty())
            .or(entry.cause.map(str::to_owned)),
        task: entry.task,
        location: entry.location,
        function: entry.function,
        count: entry.count,
        max_ms: entry.max_ms,
        total_ms: entry.total_ms,
        last_s_ago: round((window_ms - entry.last_seen_ms).max(0.0) / 1e3),
        remedy: entry.remedy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        diagnose::{Engine, Window},
        model::{Moment, fixtures},
    };

    #[test]
    fn the_answer_has_the_place_and_says_what_it_leaves_out() {
        let model = fixtures::starving();
        let since = Moment(18_000_000_000);
        let mut engine = Engine::new(Window::Since(since));
        engine.update(&model);
        let mut report = Report::new("here", &model, &engine, since, &[]);
        report.findings.extend(report.findings.clone());
        let all = report.findings.len();
        let answer = answer(report, vec!["a part is damaged".into()], 1);
        let data = &answer.data;
        assert_eq!((data.findings.len(), data.more_findings), (1, all - 1));
        let place = data.findings[0].location.clone().unwrap();
        assert!(place.contains("demo/src/service.rs:"), "{place}");
        assert!(answer.text.contains(&place), "{}", answer.text);
        assert!(answer.text.contains("more finding"), "{}", answer.text);
        assert!(answer.text.contains("a part is damaged"), "{}", answer.text);
        assert!(data.not_judged.contains(&"task-leak".to_owned()));
    }
}
