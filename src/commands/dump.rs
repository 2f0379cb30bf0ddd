//! `looptop dump`: where every task waits, once, without a screen.

use std::{process::ExitCode, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::{NOT_OBSERVED, attach::one_target, print, runtime};
use crate::{
    cli::{self, DEFAULT_TARGET},
    config,
    diagnose::{spoken, waits::Rings},
    dump::Dump,
    model::{Model, Moment, WaitsRead},
    naming::{AgentSymbols, Naming},
    source::{self, Effort, Event, Options, Pace, Problem, Source, Target},
};

/// Reads, prints, and returns the exit code.
pub(super) fn run(mut options: cli::Dump) -> anyhow::Result<ExitCode> {
    let config = config::load()?;
    let target = options.target.get_or_insert(config.target);
    one_target("looptop dump", target, &options.more)?;
    let runtime = runtime()?;
    let dumped = runtime.block_on(dump(&options));
    runtime.shutdown_background();
    let Dumped { dump, remarks } = dumped?;
    for remark in remarks {
        eprintln!("looptop: {remark}");
    }
    print(dump.render(options.format).as_bytes())?;
    Ok(if dump.is_observed() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NOT_OBSERVED)
    })
}

/// Why there is no dump.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The target makes no sense.
    #[error(transparent)]
    Target(#[from] source::TargetError),
    /// Nothing could be attached to in time.
    #[error("{0}")]
    NotAttached(String),
}

/// What was read.
#[derive(Debug)]
pub struct Dumped {
    /// It.
    pub dump: Dump,
    /// What is to be said of it, sentences.
    pub remarks: Vec<String>,
}

/// Once all was read it is read on for this long, for the names of sockets, which come
/// late; and for so long where some seem to wait for each other, to see that they stay.
const SETTLES: Duration = Duration::from_millis(400);
const STAYS: Duration = Duration::from_secs(4);
/// Where tasks come and go faster than they are listed not all is ever read: it is read on
/// for so long once all that was listed was.
const LISTS_ON: Duration = Duration::from_secs(3);
/// Between two looks at rings.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Time allowed for the names of stacks, of what is left; and however little is left.
const NAMES: Duration = Duration::from_secs(20);
const NAMES_LEAST: Duration = Duration::from_secs(1);
/// A file is read for as long as that takes.
const OF_A_FILE: Duration = Duration::from_hours(24);

/// Reads the target as `options` say.
pub async fn dump(options: &cli::Dump) -> Result<Dumped, DumpError> {
    let name = options.target.as_deref().unwrap_or(DEFAULT_TARGET);
    let target: Target = name.parse()?;
    let runtime = tokio::runtime::Handle::current();
    let is_past = target.is_past();
    let options_of_source = Options {
        pace: Pace::Unlimited,
        effort: Effort::Full,
        changes_to_agent: false,
        ..Options::default()
    };
    let symbols = (!is_past).then(|| AgentSymbols {
        target: target.clone(),
        runtime: runtime.clone(),
    });
    let mut reader = Reader {
        source: source::spawn(target, options_of_source, &runtime),
        model: None,
        naming: None,
        rings: Rings::default(),
        looked: None,
        symbols,
        to_its_end: is_past,
        remarks: Vec::new(),
    };
    let patience = if is_past { OF_A_FILE } else { options.timeout };
    reader.attach(name, Instant::now() + patience).await?;
    let window = if is_past { OF_A_FILE } else { options.window };
    let deadline = Instant::now() + window;
    let ended = reader.read_on(deadline).await;
    let mut model = reader.model.take().unwrap_or_default();
    reader.rings.observe(&model);
    if let Some(mut naming) = reader.naming.take() {
        let left = deadline.saturating_duration_since(Instant::now());
        naming
            .finish(&mut model, left.clamp(NAMES_LEAST, NAMES))
            .await;
    }
    let mut dump = Dump::new(name, &model, &reader.rings);
    explain(&mut dump, &ended, window);
    Ok(Dumped {
        dump,
        remarks: reader.remarks,
    })
}

/// Of all tasks that were listed it was tried where they wait.
fn all_listed_was_read(read: &WaitsRead) -> bool {
    read.idle > 0 && read.read.saturating_add(read.without) >= read.idle
}

/// How reading came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ended {
    /// All was read that there is.
    Complete,
    OutOfTime,
    /// The target has ended, or nobody may look any more.
    Gone,
}

/// Why chains are missing that would be there with more time.
fn explain(dump: &mut Dump, ended: &Ended, window: Duration) {
    let is_whole = dump.read.as_ref().is_some_and(|read| read.complete);
    let why = match ended {
        Ended::Complete => return,
        Ended::OutOfTime if is_whole => return,
        Ended::OutOfTime => format!(
            "{} were not enough to read it; `--for {}` gives it more time",
            spoken(window),
            humantime::format_duration(window * 6)
        ),
        Ended::Gone => "it went away before it was read".to_owned(),
    };
    if let Some(no_chains) = &mut dump.no_chains {
        *no_chains = why;
    } else if dump.groups.is_empty() && dump.tasks.idle > 0 {
        dump.no_chains = Some(why);
    }
}

/// Reads a target into a model.
struct Reader {
    source: Source,
    model: Option<Model>,
    naming: Option<Naming>,
    rings: Rings,
    /// When rings were looked at.
    looked: Option<Moment>,
    symbols: Option<AgentSymbols>,
    /// It is a file.
    to_its_end: bool,
    remarks: Vec<String>,
}

/// What an event came to.
enum Came {
    Something,
    /// Nothing more comes.
    End,
    Lost(Problem),
}

impl Reader {
    /// Waits for a session and its first whole state, or the end of a file.
    async fn attach(&mut self, name: &str, deadline: Instant) -> Result<(), DumpError> {
        let mut last_problem: Option<Problem> = None;
        while let Some(event) = self.next(deadline).await {
            let problem = match &event {
                Some(Event::Silent { problem, .. }) => Some(problem.clone()),
                Some(Event::Lost { problem, retry_in }) if retry_in.is_none() => {
                    return Err(DumpError::NotAttached(problem.to_string()));
                }
                _ => None,
            };
            last_problem = problem.or(last_problem);
            match self.take(event) {
                Came::Something if self.is_complete() => return Ok(()),
                Came::Something => {}
                Came::Lost(problem) => last_problem = Some(problem),
                Came::End if self.model.is_some() => return Ok(()),
                Came::End => break,
            }
        }
        let unknown = if self.model.is_some() {
            "answered, but its state did not arrive in time"
        } else {
            "did not answer in time"
        };
        let unknown = || format!("{name} {unknown}; allow more with --timeout");
        let why = last_problem.map_or_else(unknown, |problem| problem.to_string());
        Err(DumpError::NotAttached(why))
    }

    /// What comes next; `None` at `deadline`, however much has come by then.
    #[allow(clippy::option_option, reason = "in time or not, an event or the end")]
    async fn next(&mut self, deadline: Instant) -> Option<Option<Event>> {
        // What is there already comes before a deadline that is over.
        if Instant::now() >= deadline {
            return None;
        }
        timeout_at(deadline, self.source.recv()).await.ok()
    }

    /// Reads until all chains are known, nothing more comes, or it is `deadline`. A file is
    /// read to its end: what threads wait for comes after the chains of a core dump, and
    /// what a recording says last is meant.
    async fn read_on(&mut self, deadline: Instant) -> Ended {
        let (mut read_at, mut listed_at) = (None, None);
        loop {
            let chains = self.model.as_ref().and_then(|model| model.waits.read());
            if chains.is_some_and(|read| read.complete) {
                read_at.get_or_insert(Instant::now());
            }
            if chains.is_some_and(all_listed_was_read) {
                listed_at.get_or_insert(Instant::now());
            }
            let of_torn = listed_at.map_or(deadline, |at| deadline.min(at + LISTS_ON));
            let settled = read_at.map_or(of_torn, |at| deadline.min(at + SETTLES));
            let some_may_be_stuck = self.some_may_be_stuck();
            let until = if self.to_its_end {
                deadline
            } else if some_may_be_stuck {
                // It is no answer to leave out who waits for each other, if there is time.
                read_at.map_or(deadline, |at| deadline.min(at + STAYS))
            } else {
                settled
            };
            let Some(event) = self.next(until).await else {
                return match read_at.or(listed_at) {
                    Some(_) => Ended::Complete,
                    None => Ended::OutOfTime,
                };
            };
            match self.take(event) {
                Came::Something => {}
                Came::End => return Ended::Complete,
                Came::Lost(problem) => {
                    self.remarks
                        .push(format!("it went away while it was read: {problem}"));
                    return Ended::Gone;
                }
            }
        }
    }

    /// Looks at rings, where it is time for that; whether some may yet prove to be none.
    fn some_may_be_stuck(&mut self) -> bool {
        let Some(model) = &self.model else {
            return false;
        };
        let due = |at: Moment| model.now.since(at) >= LOOK_EVERY;
        if self.looked.is_none_or(due) {
            self.looked = Some(model.now);
            self.rings.observe(model);
        }
        self.rings.are_open(model)
    }

    fn is_complete(&self) -> bool {
        self.model.as_ref().is_some_and(|model| model.complete)
    }

    fn take(&mut self, event: Option<Event>) -> Came {
        match event {
            Some(Event::Connected { hello, .. }) => {
                let model = Model::new(&hello);
                self.naming = Some(Naming::new(&model, self.symbols.clone()));
                (self.rings, self.looked) = (Rings::default(), None);
                self.model = Some(model);
            }
            Some(Event::Frame(frame)) => {
                if let (Some(model), Some(naming)) = (&mut self.model, &mut self.naming) {
                    // What is malformed was left out and does not stop the dump.
                    let _ = model.apply(&frame);
                    naming.request(model);
                    naming.apply(model);
                }
            }
            Some(Event::Lost { problem, .. }) => return Came::Lost(problem),
            Some(Event::Recording(extent)) => self.remarks.extend(extent.remark),
            Some(Event::Gap(why)) => self.remarks.push(why),
            Some(Event::Ended) | None => return Came::End,
            Some(_) => {}
        }
        Came::Something
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::{cli::Cli, model::fixtures};

    fn of(model: &Model) -> Dump {
        Dump::new("pid:4711", model, &Rings::default())
    }

    #[test]
    fn what_is_missing_for_want_of_time_says_so_and_how_to_have_more() {
        let nothing = of(&Model::new(&fixtures::hello()));
        assert!(!nothing.is_observed());
        for (ended, expected) in [
            (
                Ended::OutOfTime,
                "10 s were not enough to read it; `--for 1m` gives it more time",
            ),
            (Ended::Gone, "it went away before it was read"),
        ] {
            let mut dump = nothing.clone();
            explain(&mut dump, &ended, Duration::from_secs(10));
            assert_eq!(dump.no_chains.as_deref(), Some(expected));
        }
        // What the target says of itself stays where there was time.
        let mut dump = nothing.clone();
        explain(&mut dump, &Ended::Complete, Duration::from_secs(10));
        assert_eq!(dump, nothing);
        // Of what was read the rest is said where it is counted.
        let read = of(&fixtures::waits());
        let mut dump = read.clone();
        explain(&mut dump, &Ended::Gone, Duration::from_secs(10));
        assert_eq!(dump, read);
    }

    #[test]
    fn a_listing_is_read_once_each_of_its_tasks_was_tried() {
        for (idle, read, without, expected) in [
            (0, 0, 0, false),
            (3, 2, 0, false),
            (3, 3, 0, true),
            (3, 1, 2, true),
            // Some of an earlier listing have ended.
            (3, 4, 0, true),
        ] {
            let so_far = WaitsRead {
                idle,
                read,
                without,
                ..WaitsRead::default()
            };
            assert_eq!(all_listed_was_read(&so_far), expected, "{so_far:?}");
        }
    }

    #[test]
    fn no_time_at_all_is_refused() {
        let parse = |time| Cli::try_parse_from(["looptop", "dump", "pid:1", "--for", time]);
        assert!(parse("2s").is_ok());
        let refused = parse("0s").expect_err("a refusal").to_string();
        assert!(
            refused.contains("nothing can be read in no time"),
            "{refused}"
        );
    }
}
