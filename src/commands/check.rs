//! `looptop check`: observe for a while, without a screen, and report.

mod several;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;

use tokio::time::{Instant, timeout_at};

use super::{FINDINGS, NOT_OBSERVED, print, runtime};
use crate::{
    cli::Check,
    config,
    diagnose::{Engine, Window},
    live::several::Asked,
    model::{Model, Moment},
    naming::{AgentSymbols, Naming},
    report::{Baseline, Commit, Report, Together},
    source::{
        self, Event, Options, Pace, Problem, Source, Target,
        targets::{Meant, meant},
    },
};

/// Observes, prints the report, and returns its exit code.
pub(super) fn run(mut options: Check) -> anyhow::Result<ExitCode> {
    let config = config::load()?;
    if options.targets.is_empty() {
        options.targets.push(config.target);
    }
    let meant = if options.all {
        None
    } else {
        Some(meant(&options.targets)?)
    };
    // What is wrong with it is said before anything is observed.
    let baseline = options.baseline.as_deref().map(read_baseline).transpose()?;
    let runtime = runtime()?;
    let checked = runtime.block_on(async {
        Ok::<_, anyhow::Error>(match meant {
            Some(Meant::Alone(one)) => {
                Looked::alone(check(&one.name, &options).await?, baseline.as_ref())
            }
            Some(Meant::Several(wanted)) => {
                several::check(Asked::new(wanted), &options, baseline.as_ref()).await?
            }
            None => several::check(Asked::machine(), &options, baseline.as_ref()).await?,
        })
    });
    runtime.shutdown_background();
    let looked = checked?;
    for remark in &looked.remarks {
        eprintln!("looptop: {remark}");
    }
    let commit = Commit::from_environment(|name| std::env::var(name).ok());
    let rendered = match &looked.report {
        Found::Alone(report) => report.render(options.format, commit.as_ref()),
        Found::Several(together) => together.render(options.format, commit.as_ref()),
    };
    print(rendered.as_bytes())?;
    let mut is_taken = false;
    if let Some(path) = &options.write_baseline {
        if looked.report.is_observed() {
            write_baseline(path, &looked.report.baseline())?;
            is_taken = baseline.is_none();
        } else {
            eprintln!(
                "looptop: {} was not written: what was not observed is not known",
                path.display()
            );
        }
    }
    Ok(ExitCode::from(looked.report.code(&options, is_taken)))
}

/// What was found, and what is to be said besides.
struct Looked {
    report: Found,
    remarks: Vec<String>,
}

impl Looked {
    fn alone(checked: Checked, baseline: Option<&Baseline>) -> Self {
        let Checked { report, remarks } = checked;
        let report = match baseline {
            Some(baseline) => report.against(baseline),
            None => report,
        };
        Self {
            report: Found::Alone(Box::new(report)),
            remarks,
        }
    }
}

/// What was found in one target, or in several.
enum Found {
    Alone(Box<Report>),
    Several(Together),
}

impl Found {
    fn is_observed(&self) -> bool {
        match self {
            Self::Alone(report) => report.is_observed(),
            Self::Several(together) => together.is_observed(),
        }
    }

    fn baseline(&self) -> Baseline {
        match self {
            Self::Alone(report) => report.baseline(),
            Self::Several(together) => together.baseline(),
        }
    }

    /// The exit code. Findings that are taken into a baseline do not count.
    fn code(&self, options: &Check, is_taken: bool) -> u8 {
        let of = |report: &Report| Outcome {
            fails: report.fails(options.fail_on) && !is_taken,
            is_observed: report.is_observed(),
        };
        match self {
            Self::Alone(report) => code([of(report)]),
            Self::Several(together) => code(together.targets.iter().map(|looked| {
                let report = looked.report.as_ref();
                report.map_or(Outcome::default(), of)
            })),
        }
    }
}

/// What became of the look at a target; by default it was none.
#[derive(Debug, Clone, Copy, Default)]
struct Outcome {
    /// There are findings that count.
    fails: bool,
    /// It was looked at, and nothing of weight was left out.
    is_observed: bool,
}

/// The exit code, of one target as of several: what was found is found, whatever else was
/// not looked at; and nothing is clean of which some was not.
fn code(targets: impl IntoIterator<Item = Outcome>) -> u8 {
    let mut all_observed = None;
    for target in targets {
        if target.fails {
            return FINDINGS;
        }
        all_observed = Some(all_observed.unwrap_or(true) && target.is_observed);
    }
    match all_observed {
        Some(true) => 0,
        Some(false) | None => NOT_OBSERVED,
    }
}

/// A baseline that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{} {why}", path.display())]
pub struct BadBaseline {
    path: PathBuf,
    why: String,
}

fn read_baseline(path: &Path) -> Result<Baseline, BadBaseline> {
    let bad = |why: String| BadBaseline {
        path: path.to_owned(),
        why,
    };
    let text = std::fs::read_to_string(path).map_err(|error| {
        bad(format!(
            "could not be read: {error}; --write-baseline writes a baseline"
        ))
    })?;
    Baseline::parse(&text).map_err(|error| bad(error.to_string()))
}

fn write_baseline(path: &Path, baseline: &Baseline) -> anyhow::Result<()> {
    let text = baseline.render();
    std::fs::write(path, text)
        .with_context(|| format!("the baseline {} could not be written", path.display()))
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The target makes no sense.
    #[error(transparent)]
    Target(#[from] source::TargetError),
    /// Nothing could be attached to in time.
    #[error("{0}")]
    NotAttached(String),
    /// The target went away while it was observed.
    #[error("the target went away while it was observed: {0}")]
    Gone(String),
}

/// Time allowed, after the window, for the names of the last stacks: a large program's
/// are read in less than a second, and on a machine without a free CPU in many.
const NAMES: Duration = Duration::from_secs(20);
/// How long a live target is observed by default.
const WINDOW: Duration = Duration::from_secs(10);

/// How much longer a live target is observed at most while tasks seem to wait for each
/// other: where they wait is read again within some seconds.
const UNDECIDED: Duration = Duration::from_secs(10);
/// Whether they still seem to is asked so often.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// A core dump is read for as long as that takes.
const OF_A_FILE: Duration = Duration::from_hours(24);

/// When to stop observing.
#[derive(Debug, Clone, Copy)]
enum Until {
    /// At a time of day, whatever the target does.
    Clock(Instant),
    /// At a moment of a recording.
    Moment(Moment),
    /// At the end of a recording.
    End,
}

/// What a check found.
#[derive(Debug)]
pub struct Checked {
    /// The report.
    pub report: Report,
    /// What could not be read of a recording, or found out in time, as sentences.
    pub remarks: Vec<String>,
}

/// The target, and what it says of itself on the way.
struct Observed {
    source: Source,
    remarks: Vec<String>,
}

/// Damage of one recording that is reported, at most.
const MAX_REMARKS: usize = 20;

impl Observed {
    /// The next event; `None` after the last. Safe to cancel.
    async fn recv(&mut self) -> Option<Event> {
        let event = self.source.recv().await;
        let remark = match &event {
            Some(Event::Recording(extent)) => extent.remark.clone(),
            Some(Event::Gap(why)) => Some(why.clone()),
            _ => None,
        };
        if self.remarks.len() < MAX_REMARKS {
            self.remarks.extend(remark);
        }
        event
    }
}

/// Observes the target of this name as `options` say.
pub async fn check(name: &str, options: &Check) -> Result<Checked, CheckError> {
    let target: Target = name.parse()?;
    let runtime = tokio::runtime::Handle::current();
    let is_core = matches!(target, Target::Core(_));
    // Of both all is taken that comes; of a recording some of it where that is asked for.
    let recorded = target.is_past();
    let options_of_source = Options {
        pace: Pace::Unlimited,
        // What was seen so far is of one session.
        changes_to_agent: false,
        ..Options::default()
    };
    let symbols = (!recorded).then(|| AgentSymbols {
        target: target.clone(),
        runtime: runtime.clone(),
    });
    let mut source = Observed {
        source: source::spawn(target, options_of_source, &runtime),
        remarks: Vec::new(),
    };
    let patience = if is_core {
        // As long as reading it takes.
        OF_A_FILE
    } else {
        options.timeout
    };
    let mut model = attach(&mut source, name, patience).await?;
    let mut naming = Naming::new(&model, symbols);

    let warm = if recorded {
        Until::Moment(model.now.plus(options.warmup))
    } else {
        Until::Clock(Instant::now() + options.warmup)
    };
    observe(&mut source, &mut model, &mut naming, None, warm).await?;
    let since = model.now;
    let mut engine = Engine::new(Window::Since(since));
    let end = match (recorded, options.window) {
        (true, None) => Until::End,
        (true, Some(_)) if is_core => Until::End,
        (true, Some(window)) => Until::Moment(since.plus(window)),
        (false, window) => Until::Clock(Instant::now() + window.unwrap_or(WINDOW)),
    };
    observe(&mut source, &mut model, &mut naming, Some(&mut engine), end).await?;
    if !recorded {
        // Who would end it now might say "healthy" over a deadlock.
        let longest = Instant::now() + UNDECIDED;
        while engine.is_undecided(&model) && Instant::now() < longest {
            let end = Until::Clock(Instant::now() + LOOK_AGAIN);
            if !observe(&mut source, &mut model, &mut naming, Some(&mut engine), end).await? {
                break;
            }
        }
    }
    let nameless = naming.finish(&mut model, NAMES).await;
    if nameless > 0 {
        source.remarks.push(format!(
            "the names of {nameless} stacks were not found within {} s: this machine has no CPU \
             for it; check again when it has",
            NAMES.as_secs()
        ));
    }
    engine.update(&model);
    Ok(Checked {
        report: Report::new(name, &model, &engine, since, &options.allow),
        remarks: source.remarks,
    })
}

/// Waits for a session and its first whole state.
async fn attach(
    source: &mut Observed,
    name: &str,
    patience: Duration,
) -> Result<Model, CheckError> {
    let deadline = Instant::now() + patience;
    let mut last_problem: Option<Problem> = None;
    let mut model: Option<Model> = None;
    while let Ok(event) = timeout_at(deadline, source.recv()).await {
        match event {
            Some(Event::Connected { hello, .. }) => model = Some(Model::new(&hello)),
            Some(Event::Frame(frame)) => {
                let Some(model) = &mut model else { continue };
                let _ = model.apply(&frame);
                if model.complete {
                    return Ok(std::mem::take(model));
                }
            }
            Some(Event::Lost { problem, retry_in }) => {
                let text = problem.to_string();
                last_problem = Some(problem);
                if retry_in.is_none() {
                    return Err(CheckError::NotAttached(text));
                }
            }
            Some(Event::Silent { problem, .. }) => last_problem = Some(problem),
            Some(_) => {}
            None => break,
        }
    }
    let unknown = if model.is_some() {
        "answered, but its state did not arrive in time"
    } else {
        "did not answer in time"
    };
    let unknown = || format!("{name} {unknown}; allow more with --timeout");
    let why = last_problem.map_or_else(unknown, |p| p.to_string());
    Err(CheckError::NotAttached(why))
}

/// Feeds the model, and the diagnosis if there is one, until `end`; false where the source
/// ended before.
async fn observe(
    source: &mut Observed,
    model: &mut Model,
    naming: &mut Naming,
    mut engine: Option<&mut Engine>,
    until: Until,
) -> Result<bool, CheckError> {
    loop {
        if matches!(until, Until::Moment(end) if model.now >= end) {
            return Ok(true);
        }
        let event = match until {
            Until::Clock(end) => match timeout_at(end, source.recv()).await {
                Ok(event) => event,
                Err(_) => return Ok(true),
            },
            Until::Moment(_) | Until::End => source.recv().await,
        };
        match event {
            Some(Event::Frame(frame)) => {
                // What is malformed was left out and does not stop the check.
                let _ = model.apply(&frame);
                naming.request(model);
                naming.apply(model);
                if let Some(engine) = engine.as_deref_mut().filter(|_| !frame.more) {
                    engine.update(model);
                }
            }
            Some(Event::Connected { hello, .. }) if hello.session != model.session.id => {
                return Err(CheckError::Gone(
                    "another process answers in its place".into(),
                ));
            }
            // After a gap in a recording all is sent anew.
            Some(Event::Connected { hello, .. }) => *model = Model::new(&hello),
            Some(Event::Lost { problem, .. }) => return Err(CheckError::Gone(problem.to_string())),
            Some(Event::Ended) | None => return Ok(false),
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_counts_and_what_was_not_looked_at_is_never_clean() {
        let clean = Outcome {
            fails: false,
            is_observed: true,
        };
        let found = Outcome {
            fails: true,
            ..clean
        };
        // Much was left out, and what was seen is enough.
        let found_in_part = Outcome {
            fails: true,
            is_observed: false,
        };
        let unreached = Outcome::default();
        let none: &[Outcome] = &[];
        for (targets, expected) in [
            (&[clean][..], 0),
            (&[found], 1),
            (&[found_in_part], 1),
            (&[unreached], 3),
            (&[clean, clean], 0),
            (&[clean, found], 1),
            (&[clean, unreached], 3),
            (&[unreached, unreached], 3),
            (&[unreached, found], 1),
            (&[found, unreached], 1),
            (&[found_in_part, unreached, clean], 1),
            (none, 3),
        ] {
            let all = targets.iter().copied();
            assert_eq!(code(all), expected, "{targets:?}");
        }
    }
}
