//! What is not watched: why it cannot be said how the loop does, and what the
//! level of insight leaves out. A tool that watches nothing calls nothing healthy.

use std::time::Duration;

use crate::model::{Capability, Flavor, Model, Series, Stranger, TaskState};

use super::words::count;

/// Why it cannot be said how the loop does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// What was not observed, and why: one sentence without its full stop.
    pub cause: String,
    /// The line to change.
    pub remedy: String,
}

impl Gap {
    fn new(cause: String, remedy: &str) -> Self {
        Self {
            cause,
            remedy: remedy.to_owned(),
        }
    }
}

const REGISTER: &str = "call looptop_agent::register_current() in the runtime's \
                        on_thread_start, in HttpServer's factory, or first in its block_on";
const START: &str = "call looptop_agent::init() in an async main, or \
                     looptop_agent::register_current() first in block_on";
const FILTER: &str = "a filter hides tokio's spans: give it to your fmt layer alone, \
                      .with(fmt::layer().with_filter(..)), and set the subscriber before \
                      the first task";

const AGENT: &str = "call looptop_agent::init() in the program";

/// What the threads of unregistered runtimes did lately, and how the registered
/// ones did, is judged over this.
const LATELY: Duration = Duration::from_secs(10);
/// Strangers work from this share of one CPU on: what an idle runtime's timers
/// take is less.
const WORKS: f64 = 0.01;
/// The registered workers idle where they are busy for less than this share of
/// the CPU that the strangers use.
const IDLE_SHARE: f64 = 0.25;
/// A thread is busy from this share of one CPU on.
const BUSY: f64 = 0.1;
/// So long the first tasks may take to show.
const SETTLED: Duration = Duration::from_secs(1);

/// Why nothing may be called healthy; the gravest first.
pub fn gaps(model: &Model) -> Vec<Gap> {
    let mut gaps = Vec::new();
    if model.session.core_dump {
        gaps.extend(model.session.missing(Capability::Tasks).map(|why| {
            let remedy = "see whether the dump is of a program with tokio, and whole";
            Gap::new(why.to_owned(), remedy)
        }));
        return gaps;
    }
    if model.is_outside() {
        gaps.extend(unseen_outside(model));
        return gaps;
    }
    if !model.has_agent() || !model.complete {
        return gaps;
    }
    let strangers = unregistered(model);
    let gone = !model.runtimes.is_empty() && model.runtimes.iter().all(|r| r.gone);
    let none = model.workers.is_empty() || gone;
    if none && strangers > 0 {
        gaps.push(Gap::new(run(strangers), REGISTER));
    } else if gone {
        let cause = "every registered runtime was shut down".to_owned();
        gaps.push(Gap::new(cause, REGISTER));
    } else if none {
        let cause = "no runtime is registered, no worker was seen".to_owned();
        gaps.push(Gap::new(cause, START));
    } else if strangers > 0 && strangers_alone_work(model) {
        let threads = count(strangers, "thread");
        let verb = if strangers == 1 { "works" } else { "work" };
        let cause = format!("{threads} of unregistered runtimes {verb}, the registered idle");
        gaps.push(Gap::new(cause, REGISTER));
    }
    gaps.extend(polls_without_tasks(model));
    gaps
}

/// What cannot be seen from outside, of what a verdict is about.
fn unseen_outside(model: &Model) -> Option<Gap> {
    let observed = model.now.since(model.since?);
    if !model.complete || observed < SETTLED {
        return None;
    }
    let gap = |cause: &str, remedy: &str| Some(Gap::new(cause.to_owned(), remedy));
    if let Some(reason) = model.session.missing(Capability::Stalls) {
        let cause = format!("stalls cannot be watched from outside: {reason}");
        return gap(&cause, AGENT);
    }
    // Without symbols threads are known by their polls, and a program at rest has none.
    let driven = model.workers.values().any(|worker| worker.tid.is_some());
    if !driven && model.without_names().is_none() {
        let cause = if model.workers.is_empty() {
            "no thread was seen to drive a tokio runtime"
        } else {
            "no thread drives a tokio runtime any more"
        };
        return gap(
            cause,
            "see whether one runs; looptop_agent::init() would say it",
        );
    }
    let counted = model.counted_tasks().unwrap_or_default();
    if counted > 0 && model.tasks.is_empty() && model.session.has(Capability::Tasks) {
        let verb = if counted == 1 { "runs" } else { "run" };
        let cause = format!(
            "{} {verb}, and none could be listed",
            count(counted, "task")
        );
        return gap(&cause, AGENT);
    }
    None
}

/// Why polls that compute are not seen, where that is so.
fn computing_unseen(model: &Model) -> Option<String> {
    let outside = model.outside.as_ref()?;
    let no_sampler = model.text(outside.no_sampler);
    let no_stop = model.text(outside.no_stop);
    let both = !no_sampler.is_empty() && !no_stop.is_empty();
    both.then(|| {
        format!("polls that compute are not seen: no sampling ({no_sampler}), no stops ({no_stop})")
    })
}

/// What the view from outside leaves out, beside a verdict that finds nothing.
fn remarks_outside(model: &Model) -> Vec<String> {
    let mut remarks = vec!["seen from outside, which shows no lag and no wakes".to_owned()];
    remarks.extend(model.without_names().map(str::to_owned));
    remarks.extend(computing_unseen(model));
    if let Some(reason) = model.session.missing(Capability::Tasks) {
        remarks.push(format!("tasks are not listed: {reason}"));
    }
    let torn = model.runtimes.iter().filter(|r| r.torn && !r.gone).count() as u64;
    if torn > 0 {
        let runtimes = count(torn, "runtime");
        remarks.push(format!(
            "not all tasks of {runtimes} are listed: they change too fast"
        ));
    }
    remarks.extend(unlisted(model));
    remarks.extend(restless(model));
    remarks
}

/// A worker that has not rested for so long, although none of its polls was long.
const RESTLESS: Duration = Duration::from_secs(5);
/// Samples that this takes at least.
const RESTLESS_SAMPLES: usize = 10;
/// Of its time.
const RESTLESS_SHARE: f64 = 0.9;

/// What a task that wakes itself looks like where nobody sees wakes.
fn restless(model: &Model) -> Option<String> {
    let busy = model.workers.values().filter_map(|worker| {
        let series = worker.busy_series.last(model.now, RESTLESS);
        let (n, sum) = series.fold((0, 0.0), |(n, sum), busy| (n + 1, sum + busy));
        let share = sum / f64::from(u32::try_from(n).ok()?);
        // A poll that is long says it itself.
        let from = model.now.minus(RESTLESS);
        let mut long = model.stalls.iter();
        let is_long = long.any(|s| s.worker == Some(worker.id) && s.overlaps(from, model.now));
        let restless = n >= RESTLESS_SAMPLES && share >= RESTLESS_SHARE && !is_long;
        restless.then_some((worker, share))
    });
    let (worker, share) = busy.max_by(|(_, one), (_, other)| one.total_cmp(other))?;
    let tasks = model.tasks.live();
    let mut running = tasks.filter(|task| task.state == TaskState::Running);
    let first = running.next();
    let alone = first.filter(|_| running.next().is_none());
    let whose = alone.and_then(|task| model.task_name(task));
    let whose = whose.map_or(String::new(), |name| format!(", of {name} just now"));
    Some(format!(
        "worker {} was busy for {:.0} % of the last {} s with short polls{whose}: a task that wakes \
         itself looks like that",
        worker.id.index,
        share * 100.0,
        RESTLESS.as_secs()
    ))
}

fn unlisted(model: &Model) -> Option<String> {
    let unlisted = model.outside.as_ref().map_or(0, |outside| outside.unlisted);
    (unlisted > 0).then(|| format!("{} could not be read", count(unlisted, "task")))
}

/// tokio counts tasks, and not one was ever shown although tasks can be seen.
fn polls_without_tasks(model: &Model) -> Option<Gap> {
    let observed = model.now.since(model.since?);
    let counted = model.counted_tasks()?;
    let shown = !model.tasks.is_empty() || !model.sites.is_empty() || model.reads_tasks();
    if shown || counted == 0 || observed < SETTLED || !model.session.has(Capability::Tasks) {
        return None;
    }
    let verb = if counted == 1 { "runs" } else { "run" };
    let cause = format!("{} {verb}, and none is shown", count(counted, "task"));
    Some(Gap::new(cause, FILTER))
}

/// That the process runs another program than is in its file now, a sentence without its
/// full stop; `None` where it does not.
pub fn replaced(model: &Model) -> Option<String> {
    let file = model.session.replaced()?;
    Some(format!(
        "the program's file {file} was replaced or removed since it was started; names and \
         lines are of the program that runs"
    ))
}

/// What the level leaves out, beside a verdict that finds nothing: sentences
/// without their full stop.
pub fn remarks(model: &Model) -> Vec<String> {
    if model.is_outside() {
        return remarks_outside(model);
    }
    let mut remarks = Vec::new();
    if !model.has_agent() {
        return remarks;
    }
    let strangers = unregistered(model);
    let said = gaps(model)
        .iter()
        .any(|g| g.cause.contains(&run(strangers)));
    if strangers > 0 && !said {
        remarks.push(format!("{}: {}", run(strangers), watched(model, strangers)));
    }
    remarks.extend(found(model));
    let mut missing = model.session.all_missing();
    let blind = missing.find(|(kind, reason)| *kind == Capability::Coverage && !reason.is_empty());
    if let Some((_, reason)) = blind {
        remarks.push(format!(
            "whether threads run runtimes that nobody registered is not known: {reason}"
        ));
    }
    let skipped = model.coverage.as_ref().map_or(0, |c| c.skipped);
    if skipped > 0 {
        remarks.push(format!(
            "{} not looked at: too many",
            verb(skipped.into(), "thread", "was", "were")
        ));
    }
    if model.reads_tasks() {
        remarks.push(
            "tasks are read from outside, which shows no wakes and no polls of them".to_owned(),
        );
        remarks.extend(unlisted(model));
    }
    remarks.extend(unseen_at_level(model));
    remarks
}

/// The future of `main`, which is a task at level 1 alone, and runs beside the
/// workers of a multi-thread runtime only.
fn unseen_at_level(model: &Model) -> Option<String> {
    let beside = |r: &crate::model::Runtime| r.flavor == Flavor::MultiThread && !r.gone;
    let level = match (
        model.session.has(Capability::Tasks) && !model.reads_tasks(),
        model.session.has(Capability::TaskNames),
    ) {
        (true, true) => return None,
        (true, false) => 2,
        (false, _) => 0,
    };
    if !model.runtimes.iter().any(beside) {
        return None;
    }
    let blocks = model.session.has(Capability::Coverage);
    let what = if blocks {
        "does not see the future of main, and LocalSets in it only while they block"
    } else {
        "does not see the future of main, nor LocalSets in it"
    };
    Some(format!("level {level} {what}"))
}

/// What is seen of the threads of unregistered runtimes: a poll that blocks, and one
/// that computes only where the scheduler's counters are known.
fn watched(model: &Model, strangers: u64) -> String {
    let blind = |s: &&Stranger| !s.polls_distinguished;
    let coverage = model.coverage.as_ref();
    let blind: Vec<_> = coverage
        .into_iter()
        .flat_map(|c| c.unregistered().filter(blind))
        .filter(|s| !model.drives_found(s.tid))
        .collect();
    if blind.is_empty() {
        return "watched only for polls that block or compute for long".to_owned();
    }
    let pronoun = if strangers == 1 {
        "it blocks"
    } else {
        "they block"
    };
    let busy = blind
        .iter()
        .filter_map(|s| model.threads.get(&s.tid))
        .filter(|t| mean(&t.cpu_series, model) >= BUSY)
        .count() as u64;
    if busy == 0 {
        return format!("watched only while {pronoun}");
    }
    let them = match (busy, strangers) {
        (1, 1) => "it is busy".to_owned(),
        (1, _) => "1 of them is busy".to_owned(),
        (n, _) => format!("{n} of them are busy"),
    };
    format!("watched only while {pronoun}; {them}, whether in one poll is not known")
}

/// Threads of runtimes that nobody registered, and that are not seen from outside.
fn unregistered(model: &Model) -> u64 {
    let coverage = model.coverage.as_ref();
    let unseen = |s: &&Stranger| !model.drives_found(s.tid);
    coverage.map_or(0, |c| c.unregistered().filter(unseen).count() as u64)
}

/// Runtimes that nobody registered, and that are seen from outside.
fn found(model: &Model) -> Option<String> {
    let found = model.runtimes.iter();
    let found = found.filter(|r| r.is_found() && !r.gone && r.flavor != Flavor::Local);
    match found.count() as u64 {
        0 => None,
        n => Some(format!(
            "{} that nobody registered {} seen from outside, which shows no lag and no wakes",
            count(n, "runtime"),
            if n == 1 { "is" } else { "are" }
        )),
    }
}

/// "5 threads run tokio runtimes that nobody registered".
fn run(threads: u64) -> String {
    if threads == 1 {
        "1 thread runs a tokio runtime that nobody registered".to_owned()
    } else {
        format!("{threads} threads run tokio runtimes that nobody registered")
    }
}

fn verb(n: u64, noun: &str, one: &str, many: &str) -> String {
    format!("{} {}", count(n, noun), if n == 1 { one } else { many })
}

/// Lately.
fn mean(series: &Series, model: &Model) -> f64 {
    let samples: Vec<f64> = series.last(model.now, LATELY).collect();
    let n = samples.len().max(1) as f64;
    samples.into_iter().sum::<f64>() / n
}

/// The unregistered runtimes' threads work, and the registered workers do not.
fn strangers_alone_work(model: &Model) -> bool {
    let Some(coverage) = &model.coverage else {
        return false;
    };
    let threads = coverage.unregistered();
    let unseen = threads.filter(|s| !model.drives_found(s.tid));
    let threads = unseen.filter_map(|s| model.threads.get(&s.tid));
    let strange: f64 = threads.map(|t| mean(&t.cpu_series, model)).sum();
    let known: f64 = model
        .workers
        .values()
        .map(|w| mean(&w.busy_series, model))
        .sum();
    strange >= WORKS && known < strange * IDLE_SHARE
}

#[cfg(test)]
mod tests {
    use looptop_wire::proto;

    use super::*;
    use crate::model::{Moment, RuntimeFound, StrangerKind, fixtures};

    /// A runtime of two workers, with `busy` of each and of `strangers` threads'
    /// CPU, over ten seconds.
    #[allow(
        clippy::struct_excessive_bools,
        reason = "each is so or not, on its own"
    )]
    struct Case {
        workers: u32,
        tasks: u64,
        gone: bool,
        busy: f64,
        strangers: u64,
        kind: StrangerKind,
        polls_distinguished: bool,
        cpu: f64,
        missing: &'static [Capability],
        agent: bool,
        shown: bool,
    }

    const QUIET: Case = Case {
        workers: 2,
        tasks: 0,
        gone: false,
        busy: 0.0,
        strangers: 0,
        kind: StrangerKind::Worker,
        polls_distinguished: false,
        cpu: 0.0,
        missing: &[Capability::Tasks, Capability::TaskNames],
        agent: true,
        shown: false,
    };

    fn model(case: &Case) -> Model {
        let mut hello = fixtures::hello();
        if !case.agent {
            hello.agent_version.clear();
        }
        for capability in &mut hello.capabilities {
            capability.available = !case.missing.contains(&capability.kind());
            capability.reason = "the binary is stripped".to_owned();
        }
        let mut model = Model::new(&hello);
        let since = 1_000_000_000;
        for step in 0..=100 {
            let now_ns = since + step * 100_000_000;
            let elapsed = (step * 100_000_000) as f64;
            let frame = proto::Frame {
                now_ns,
                snapshot_complete: step == 0,
                runtimes: (case.workers > 0)
                    .then(|| proto::Runtime {
                        flavor: proto::Flavor::MultiThread.into(),
                        workers: case.workers,
                        live_tasks: case.tasks,
                        gone: case.gone,
                        ..proto::Runtime::default()
                    })
                    .into_iter()
                    .collect(),
                workers: (0..case.workers)
                    .map(|index| proto::Worker {
                        index,
                        busy_ns: (elapsed * case.busy) as u64,
                        ..proto::Worker::default()
                    })
                    .collect(),
                threads: (0..case.strangers)
                    .map(|n| proto::Thread {
                        tid: 900 + n,
                        user_ns: (elapsed * case.cpu) as u64,
                        ..proto::Thread::default()
                    })
                    .collect(),
                coverage: Some(proto::Coverage {
                    strangers: (0..case.strangers)
                        .map(|n| proto::Stranger {
                            tid: 900 + n,
                            kind: case.kind.into(),
                            since_ns: since,
                            cpu_ns: None,
                            polls_distinguished: case.polls_distinguished,
                        })
                        .collect(),
                    ..proto::Coverage::default()
                }),
                tasks: case.shown.then(|| proto::Tasks {
                    id: vec![1],
                    ..proto::Tasks::default()
                }),
                ..proto::Frame::default()
            };
            model.apply(&frame).unwrap();
        }
        assert_eq!(model.now, Moment(since + 10_000_000_000));
        model
    }

    #[test]
    fn strangers_that_are_seen_from_outside_are_no_gap() {
        for workers in [0, 2] {
            let mut model = model(&Case {
                workers,
                strangers: 2,
                cpu: 0.2,
                ..QUIET
            });
            assert_eq!(gaps(&model).len(), 1);
            let worker = |index| proto::Worker {
                runtime: 128,
                index,
                tid: Some(900 + u64::from(index)),
                ..proto::Worker::default()
            };
            let found = proto::Runtime {
                id: 128,
                flavor: Flavor::MultiThread.into(),
                found_by: RuntimeFound::Stack.into(),
                ..proto::Runtime::default()
            };
            let frame = proto::Frame {
                now_ns: model.now.0,
                runtimes: vec![found],
                workers: vec![worker(0), worker(1)],
                outside: Some(proto::Outside {
                    looks: 1,
                    ..proto::Outside::default()
                }),
                ..proto::Frame::default()
            };
            model.apply(&frame).unwrap();
            assert_eq!(gaps(&model), []);
            let remarks = remarks(&model).join("; ");
            let found = "1 runtime that nobody registered is seen from outside";
            assert!(remarks.contains(found), "{remarks}");
            assert!(!remarks.contains("run tokio runtimes"), "{remarks}");
        }
    }

    #[test]
    #[allow(clippy::too_many_lines, reason = "a table of cases")]
    fn what_is_not_observed_and_why() {
        let level1: &[Capability] = &[];
        let cases: [(&str, Case, &str); 14] = [
            ("a healthy service", QUIET, ""),
            (
                "a synchronous main, nobody runs",
                Case {
                    workers: 0,
                    ..QUIET
                },
                "no runtime is registered, no worker was seen",
            ),
            (
                "a synchronous main beside runtimes",
                Case {
                    workers: 0,
                    strangers: 5,
                    ..QUIET
                },
                "5 threads run tokio runtimes that nobody registered",
            ),
            (
                "no agent",
                Case {
                    workers: 0,
                    agent: false,
                    ..QUIET
                },
                "",
            ),
            (
                "the runtime has ended",
                Case {
                    gone: true,
                    ..QUIET
                },
                "every registered runtime was shut down",
            ),
            (
                "main idles, an unregistered one works",
                Case {
                    strangers: 2,
                    cpu: 0.2,
                    ..QUIET
                },
                "2 threads of unregistered runtimes work, the registered idle",
            ),
            (
                "both work",
                Case {
                    strangers: 2,
                    cpu: 0.2,
                    busy: 0.3,
                    ..QUIET
                },
                "",
            ),
            (
                "an unregistered one idles as well",
                Case {
                    strangers: 1,
                    cpu: 0.001,
                    ..QUIET
                },
                "",
            ),
            (
                "the future of main works",
                Case {
                    strangers: 1,
                    kind: StrangerKind::BlockOn,
                    cpu: 0.5,
                    ..QUIET
                },
                "",
            ),
            (
                "no runtime, but the thread of main waits in block_on",
                Case {
                    workers: 0,
                    strangers: 1,
                    kind: StrangerKind::BlockOn,
                    ..QUIET
                },
                "no runtime is registered, no worker was seen",
            ),
            ("level 0 shows no tasks", Case { tasks: 50, ..QUIET }, ""),
            (
                "level 1 and a filter",
                Case {
                    tasks: 50,
                    missing: level1,
                    ..QUIET
                },
                "50 tasks run, and none is shown",
            ),
            (
                "level 1 without tasks",
                Case {
                    missing: level1,
                    ..QUIET
                },
                "",
            ),
            (
                "level 1",
                Case {
                    tasks: 50,
                    missing: level1,
                    shown: true,
                    ..QUIET
                },
                "",
            ),
        ];
        for (name, case, expected) in cases {
            let gaps = gaps(&model(&case));
            let found: Vec<_> = gaps.iter().map(|g| g.cause.as_str()).collect();
            assert_eq!(found.join("; "), expected, "{name}");
            assert!(gaps.iter().all(|g| !g.remedy.is_empty()), "{name}");
        }
    }

    #[test]
    fn what_each_level_leaves_out() {
        use Capability::{Coverage, TaskNames, Tasks};
        let cases: [(&str, &'static [Capability], u64, &[&str]); 5] = [
            ("level 1", &[], 0, &[]),
            (
                "level 2",
                &[TaskNames],
                0,
                &[
                    "level 2 does not see the future of main, and LocalSets in it only while they block",
                ],
            ),
            (
                "level 0",
                &[Tasks, TaskNames],
                0,
                &[
                    "level 0 does not see the future of main, and LocalSets in it only while they block",
                ],
            ),
            (
                "level 0 without a census",
                &[Tasks, TaskNames, Coverage],
                0,
                &[
                    "whether threads run runtimes that nobody registered is not known: the binary is stripped",
                    "level 0 does not see the future of main, nor LocalSets in it",
                ],
            ),
            (
                "level 1 and an unregistered runtime",
                &[],
                1,
                &[
                    "1 thread runs a tokio runtime that nobody registered: watched only while it blocks",
                ],
            ),
        ];
        for (name, missing, strangers, expected) in cases {
            let case = Case {
                missing,
                strangers,
                shown: true,
                ..QUIET
            };
            assert_eq!(remarks(&model(&case)), expected, "{name}");
        }
    }

    #[test]
    fn tasks_read_beside_an_agent_are_not_its_level() {
        let case = Case {
            tasks: 50,
            missing: &[Capability::TaskNames],
            ..QUIET
        };
        let mut model = model(&case);
        let listing = proto::Outside {
            listings: 1,
            unlisted_tasks: 2,
            ..proto::Outside::default()
        };
        let joined = proto::Frame {
            now_ns: model.now.0,
            outside: Some(listing),
            ..proto::Frame::default()
        };
        model.apply(&joined).unwrap();
        assert_eq!(gaps(&model), [], "no filter hides what is listed");
        let expected = [
            "tasks are read from outside, which shows no wakes and no polls of them",
            "2 tasks could not be read",
            "level 0 does not see the future of main, and LocalSets in it only while they block",
        ];
        assert_eq!(remarks(&model), expected);
    }

    #[test]
    fn what_is_seen_of_unregistered_runtimes() {
        let cases = [
            (
                1,
                false,
                0.0,
                "runs a tokio runtime that nobody registered: watched only while it blocks",
            ),
            (
                1,
                false,
                0.5,
                "runs a tokio runtime that nobody registered: watched only while it blocks; it is busy, whether in one poll is not known",
            ),
            (
                3,
                false,
                0.5,
                "run tokio runtimes that nobody registered: watched only while they block; 3 of them are busy, whether in one poll is not known",
            ),
            (
                3,
                true,
                0.5,
                "run tokio runtimes that nobody registered: watched only for polls that block or compute for long",
            ),
        ];
        for (strangers, polls_distinguished, cpu, expected) in cases {
            let case = Case {
                strangers,
                polls_distinguished,
                cpu,
                // The registered ones work as well.
                busy: 0.5,
                missing: &[],
                shown: true,
                ..QUIET
            };
            let remarks = remarks(&model(&case));
            assert_eq!(remarks.len(), 1, "{remarks:?}");
            assert!(remarks[0].ends_with(expected), "{remarks:?}");
        }
    }

    #[test]
    fn live_tasks_are_counted_where_they_are_not_seen() {
        let seen = |case: Case| model(&case).live_tasks();
        assert_eq!(seen(Case { tasks: 50, ..QUIET }), Some(50));
        assert_eq!(
            seen(Case {
                workers: 0,
                ..QUIET
            }),
            None
        );
        let shown = Case {
            tasks: 50,
            shown: true,
            missing: &[],
            ..QUIET
        };
        assert_eq!(seen(shown), Some(1));
    }
}
