//! One sentence for the state of the loop: always on screen, first in reports.

use std::{fmt::Write, time::Duration};

use crate::model::{Lag, Model, TaskKind};

use super::{
    Finding, Severity, Subject,
    coverage::{self, Gap},
    words::{count, counted, spoken},
};

/// How the loop does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing is known yet.
    Unknown,
    /// No finding.
    Healthy,
    /// No finding, of a core dump: of one moment nothing can be called healthy.
    CoreDump,
    /// At worst a notice.
    Notice,
    /// Nothing can be said of the loop, or not of the part that works.
    NotObserving,
    /// At worst a warning.
    Warning,
    /// The loop stands still.
    Starved,
}

impl Level {
    /// From the mildest to the gravest.
    pub const ALL: [Level; 7] = [
        Level::Unknown,
        Level::Healthy,
        Level::CoreDump,
        Level::Notice,
        Level::NotObserving,
        Level::Warning,
        Level::Starved,
    ];

    /// The word on screen.
    pub fn word(self) -> &'static str {
        match self {
            Level::Unknown => "WAITING",
            Level::Healthy => "HEALTHY",
            Level::CoreDump => "CORE",
            Level::Notice => "NOTICE",
            Level::NotObserving => "NOT OBSERVING",
            Level::Warning => "SLOW",
            Level::Starved => "STARVED",
        }
    }
}

/// The verdict over all findings.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// How the loop does.
    pub level: Level,
    /// Who, where, why, how long; or that all is well.
    pub sentence: String,
    /// What to do instead; empty where nothing is to be done.
    pub remedy: String,
    /// Whom the sentence is about.
    pub finding: Option<(&'static str, Subject)>,
}

impl Verdict {
    /// The verdict over `findings`, which are ordered by weight; where there are none, also
    /// over the tasks that are `quiet`.
    pub(super) fn over(model: &Model, findings: &[Finding], quiet: Quiet) -> Self {
        let gap = coverage::gaps(model).into_iter().next();
        let Some(worst) = findings.first() else {
            return gap.map_or_else(
                || Self::without_findings(model, quiet),
                |gap| Self::not_observing(gap, 0),
            );
        };
        let gravest = findings.iter().map(|f| f.severity).max();
        let level = match gravest.unwrap_or(worst.severity) {
            Severity::Notice => Level::Notice,
            Severity::Warning if !stands_still(model) => Level::Warning,
            Severity::Warning | Severity::Critical => Level::Starved,
        };
        if let Some(gap) = gap.filter(|_| level < Level::NotObserving) {
            return Self::not_observing(gap, findings.len());
        }
        let others = findings.len() - 1;
        let mut sentence = worst.title.clone();
        let waiting = model.waiting_tasks();
        if worst.live && waiting > 0 && worst.stall.is_some() {
            let _ = write!(sentence, "; {}", counted(waiting, "task", "wait"));
        }
        if others > 0 {
            let _ = write!(sentence, " (+{others} more)");
        }
        Self {
            level,
            sentence,
            remedy: worst.remedy.clone(),
            finding: Some((worst.rule, worst.subject.clone())),
        }
    }

    /// Nothing is found, but for what is not sure yet.
    pub(super) fn but(self, unsure: &str) -> Self {
        Self {
            level: Level::Notice,
            sentence: format!("{unsure}, which is looked at again; else {}", self.sentence),
            ..self
        }
    }

    /// `findings` milder ones there are beside.
    fn not_observing(gap: Gap, findings: usize) -> Self {
        let more = match findings {
            0 => String::new(),
            n => format!(" (+{n} more)"),
        };
        Self {
            level: Level::NotObserving,
            sentence: gap.cause + &more,
            remedy: gap.remedy,
            finding: None,
        }
    }

    fn without_findings(model: &Model, quiet: Quiet) -> Self {
        let (level, sentence) = if model.since.is_none() {
            (Level::Unknown, "no data yet".to_owned())
        } else {
            // A target that reports no worker has some all the same.
            let workers = Some(model.workers.len() as u64).filter(|n| *n > 0);
            let known = [
                model.live_tasks().map(|n| count(n, "task")),
                workers.map(|n| count(n, model.worker_noun())),
            ];
            let known: Vec<_> = known.into_iter().flatten().collect();
            if model.session.core_dump {
                return Self {
                    level: Level::CoreDump,
                    sentence: of_one_moment(&known),
                    remedy: String::new(),
                    finding: None,
                };
            }
            let mut sentence = "nothing starves the loop".to_owned();
            if !known.is_empty() {
                let _ = write!(sentence, ": {}", known.join(", "));
            }
            sentence.push_str(&unread(model));
            sentence.push_str(&quiet.words(model));
            for remark in coverage::remarks(model) {
                let _ = write!(sentence, "; {remark}");
            }
            (Level::Healthy, sentence)
        };
        Self {
            level,
            sentence,
            remedy: String::new(),
            finding: None,
        }
    }
}

/// What can be said of a moment in which nothing was found.
fn of_one_moment(known: &[String]) -> String {
    let what = match known {
        [] => "one moment of a process".to_owned(),
        known => format!("one moment of {}", known.join(" and ")),
    };
    format!("{what}: nothing wrong was found, and what takes time cannot be judged")
}

/// "; where 3 of 34 idle tasks wait was read so far"; empty where most was: a deadlock among
/// the others is not seen yet.
fn unread(model: &Model) -> String {
    let Some(read) = model.waits.read().filter(|read| !read.complete) else {
        return String::new();
    };
    let tried = read.read.saturating_add(read.without);
    if tried.saturating_mul(10) >= read.idle.saturating_mul(9) {
        return String::new();
    }
    let idle = count(read.idle, "idle task");
    format!("; where {tried} of {idle} wait was read so far")
}

/// Who idles for so long is worth a word: as a rule by design, but a program that
/// hangs looks like that.
const QUIET: Duration = Duration::from_secs(5);

/// Tasks that do nothing for long.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Quiet {
    tasks: u64,
    longest: Duration,
}

impl Quiet {
    /// Those of a model: a pass over its tasks.
    pub(super) fn of(model: &Model) -> Self {
        let tasks = model.tasks.live();
        let tasks = tasks.filter(|t| matches!(t.kind, TaskKind::Task | TaskKind::Local));
        let idle = tasks.filter_map(|t| t.idle_for(model.now).filter(|idle| *idle >= QUIET));
        idle.fold(Self::default(), |quiet, idle| Self {
            tasks: quiet.tasks + 1,
            longest: quiet.longest.max(idle),
        })
    }

    /// "; 2 tasks idle for over 5 s, up to 41.0 s", and whether nothing is known of where
    /// they wait; empty where there are none.
    fn words(self, model: &Model) -> String {
        // What polled between two looks, and left its future as it was, looks idle as well.
        let idle_word = if model.reads_tasks() {
            "seen idle only"
        } else {
            "idle"
        };
        // Who could wait for ever is among them, and nobody has looked.
        let unread = match model.waits.read() {
            Some(_) => "",
            None => " (where they wait was not read)",
        };
        match self.tasks {
            0 => String::new(),
            n => format!(
                "; {} {idle_word} for over {} s, up to {}{unread}",
                count(n, "task"),
                QUIET.as_secs(),
                spoken(self.longest)
            ),
        }
    }
}

/// The lag from which a loop counts as starved rather than slow.
const STARVED: Duration = Duration::from_millis(250);

/// Tasks have had to wait for long in the last seconds, wherever they came from.
fn stands_still(model: &Model) -> bool {
    let window = Duration::from_secs(2);
    let lag = |lag: &Lag| Some(lag.percentiles(model.now, window)?.p99);
    model.lag.values().filter_map(lag).any(|p99| p99 >= STARVED)
}

#[cfg(test)]
mod tests {
    use looptop_wire::proto;

    use super::*;
    use crate::model::{Moment, fixtures};

    #[test]
    fn what_was_not_read_yet_is_not_called_healthy_without_a_word() {
        for (idle, read, without, complete, expected) in [
            (
                34,
                3,
                0,
                false,
                "; where 3 of 34 idle tasks wait was read so far",
            ),
            (
                34,
                3,
                4,
                false,
                "; where 7 of 34 idle tasks wait was read so far",
            ),
            (34, 3, 0, true, ""),
            (20, 18, 0, false, ""),
            (0, 0, 0, false, ""),
        ] {
            let mut model = fixtures::starving();
            let frame = proto::Frame {
                waits_read: Some(proto::WaitsRead {
                    idle,
                    read,
                    without,
                    complete,
                    ..proto::WaitsRead::default()
                }),
                ..fixtures::frame(model.now)
            };
            model.apply(&frame).unwrap();
            assert_eq!(unread(&model), expected, "{read} {without} of {idle}");
        }
    }

    #[test]
    fn of_a_core_dump_nothing_is_called_healthy() {
        let mut hello = fixtures::hello();
        hello.core_dump = true;
        let mut model = Model::new(&hello);
        let frame = proto::Frame {
            snapshot_complete: true,
            ..fixtures::frame(Moment(1_000_000_000))
        };
        model.apply(&frame).unwrap();
        let verdict = Verdict::over(&model, &[], Quiet::of(&model));
        assert_eq!(verdict.level, Level::CoreDump);
        let expected = "one moment of 0 tasks: nothing wrong was found, and what takes time \
                        cannot be judged";
        assert_eq!(verdict.sentence, expected);
    }

    /// A target whose tasks are not seen, and what its runtimes say.
    fn sentence(runtimes: Vec<proto::Runtime>) -> String {
        let mut hello = fixtures::hello();
        for capability in &mut hello.capabilities {
            capability.available = false;
        }
        let mut model = Model::new(&hello);
        model
            .apply(&proto::Frame {
                runtimes,
                ..fixtures::frame(Moment(1_000_000_000))
            })
            .unwrap();
        Verdict::over(&model, &[], Quiet::of(&model)).sentence
    }

    #[test]
    fn tasks_that_are_not_seen_are_counted_by_tokio_or_not_at_all() {
        let runtime = |id, live_tasks, gone| proto::Runtime {
            id,
            live_tasks,
            gone,
            ..proto::Runtime::default()
        };
        assert_eq!(sentence(Vec::new()), "nothing starves the loop");
        let runtimes = vec![
            runtime(0, 50, false),
            runtime(1, 1, false),
            runtime(2, 9, true),
        ];
        assert_eq!(sentence(runtimes), "nothing starves the loop: 51 tasks");
    }
}
