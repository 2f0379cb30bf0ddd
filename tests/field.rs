//! The programs of `tests/field` through `looptop check`, against their table.
//!
//! Every run takes a few, the command for what takes longer (`at_length`) a case of each
//! kind. The whole table, some hundred trials in eight builds, half an hour once they are
//! built:
//!
//! ```text
//! cargo test --test field -- --ignored --nocapture
//! ```
//!
//! `LOOPTOP_FIELD_CASE`, `LOOPTOP_FIELD_LEVEL` and `LOOPTOP_FIELD_BUILD` name a part of
//! it (several with commas); `LOOPTOP_FIELD_FINDINGS=1` prints what is found in rows
//! that are right as well; `LOOPTOP_FIELD_BUILT=1` builds nothing;
//! `LOOPTOP_FIELD_LANES` says how many programs run side by side.

mod field_cases;
mod host;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use field_cases::{
    Case, Launch, brief, build, guard,
    table::{Table, Trial, Twin, document},
};
use host::Cpu;

/// Programs that sleep most of the time run side by side, so many unless
/// `LOOPTOP_FIELD_LANES` says otherwise.
const LANES: usize = 4;
/// What every run tries, at this level: of each way in which the cause is seen one that
/// sleeps, and a cure.
const BRIEFLY: &[(&str, u8)] = &[
    ("std_command", 0),
    ("drop_block_on", 0),
    ("c01_rwlock_recursive", 0),
    ("c25_closed_spin", 1),
    ("c13_ready_stream", 1),
    ("dashmap_await", 1),
    ("log_pipe", 3),
];
/// A trial is made so often at most, and only once on a machine that has nothing
/// else to do.
const ATTEMPTS: usize = 3;

/// What came of the trials of a run.
#[derive(Default)]
struct Tally {
    problems: Mutex<Vec<String>>,
    retries: AtomicUsize,
}

impl Tally {
    fn run(&self, trial: &Trial<'_>) {
        let began = Instant::now();
        let mut attempt = 1;
        let problems = loop {
            let (problems, others) = attempt_at(trial);
            if problems.is_empty() || others < host::BUSY || attempt == ATTEMPTS {
                break problems;
            }
            attempt += 1;
            self.retries.fetch_add(1, Relaxed);
            eprintln!(
                "{}: again, for others took {:.0} % of the CPUs:\n    {}",
                trial.name(),
                others * 100.0,
                problems.join("\n    ")
            );
        };
        let verdict = if problems.is_empty() { "ok" } else { "WRONG" };
        let took = began.elapsed().as_secs_f64();
        let again = match attempt {
            1 => String::new(),
            n => format!(" ({n} attempts)"),
        };
        let lines = problems.join("\n    ");
        eprintln!(
            "{:56} {took:5.1} s  {verdict}{again}\n    {lines}",
            trial.name()
        );
        if !problems.is_empty() {
            let mut all = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
            all.push(format!("{}\n    {lines}", trial.name()));
        }
    }
}

/// What is wrong with one run of a program, and the share of the CPUs that others
/// took meanwhile.
fn attempt_at(trial: &Trial<'_>) -> (Vec<String>, f64) {
    let row = trial.row;
    let environment: Vec<(&str, &str)> = row
        .set
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    let case = Case::start(&Launch {
        program: &trial.case.program,
        profile: trial.build,
        level: trial.level,
        cured: row.twin == Twin::Cured,
        environment: &environment,
    });
    if let Some(text) = &row.after {
        case.wait_for(text);
    }
    let before = Cpu::now(case.pid());
    let outcome = case.check(&["--for", &row.window, "--warmup", &row.warmup]);
    let others = Cpu::now(case.pid()).others_since(before);
    let mut problems = trial.problems(&outcome, others > host::BUSY);
    if outcome.report.is_null() {
        problems.push(format!("the program said: {}", case.said()));
    }
    if std::env::var_os("LOOPTOP_FIELD_FINDINGS").is_some() {
        let found: Vec<String> = outcome.findings().into_iter().map(brief).collect();
        let found = found.join("\n    ");
        eprintln!(
            "{}: exit {:?}\n    {found}\n{}",
            trial.name(),
            outcome.code,
            outcome.words()
        );
    }
    (problems, others)
}

/// Builds what the trials need, a build of each kind, and runs them: those that
/// sleep side by side, those that compute one by one.
fn run(trials: &[Trial<'_>]) {
    assert!(!trials.is_empty(), "no row has these names");
    let mut programs: BTreeMap<_, BTreeSet<&str>> = BTreeMap::new();
    for trial in trials {
        let wanted = programs.entry((trial.level, trial.build)).or_default();
        wanted.insert(&trial.case.program);
    }
    for ((level, profile), programs) in programs {
        let programs: Vec<&str> = programs.into_iter().collect();
        build(level, profile, &programs).unwrap();
    }
    let tally = Tally::default();
    let (computing, sleeping): (Vec<&Trial<'_>>, Vec<_>) =
        trials.iter().partition(|trial| trial.row.computes);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let lanes = std::env::var("LOOPTOP_FIELD_LANES").ok();
        for _ in 0..lanes.and_then(|n| n.parse().ok()).unwrap_or(LANES) {
            scope.spawn(|| {
                while let Some(trial) = sleeping.get(next.fetch_add(1, Relaxed)) {
                    tally.run(trial);
                }
            });
        }
    });
    for trial in computing {
        tally.run(trial);
    }
    let problems = tally.problems.into_inner().unwrap();
    eprintln!(
        "{} of {} trials as the table has it, {} made again on a busy machine",
        trials.len() - problems.len(),
        trials.len(),
        tally.retries.into_inner(),
    );
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn a_few_cases() {
    let table = Table::read();
    let briefly = |trial: &Trial<'_>| {
        trial.is_always() && BRIEFLY.contains(&(trial.case.program.as_str(), trial.level.number()))
    };
    let trials: Vec<_> = table.trials().into_iter().filter(briefly).collect();
    assert_eq!(trials.len(), BRIEFLY.len(), "each has one such row");
    run(&trials);
}

#[test]
#[ignore = "takes four minutes"]
fn a_case_of_each_kind_at_length() {
    let table = Table::read();
    let trials: Vec<_> = table
        .trials()
        .into_iter()
        .filter(Trial::is_always)
        .collect();
    run(&trials);
}

#[test]
#[ignore = "takes half an hour"]
fn the_whole_table() {
    let named = |variable: &str, name: &str| {
        std::env::var(variable).map_or(true, |names| names.split(',').any(|n| n == name))
    };
    let table = Table::read();
    let trials = table.trials().into_iter().filter(|trial| {
        named("LOOPTOP_FIELD_CASE", &trial.case.program)
            && named("LOOPTOP_FIELD_LEVEL", &trial.level.name())
            && named("LOOPTOP_FIELD_BUILD", trial.build)
    });
    run(&trials.collect::<Vec<_>>());
}

/// Runs these in tests, two side by side, and says which are not as the table has them.
fn run_in_tests(trials: &[guard::Trial<'_>]) {
    assert!(!trials.is_empty(), "no row has these names");
    let problems = Mutex::new(Vec::new());
    for build in guard::Build::ALL {
        let of_build: Vec<_> = trials.iter().filter(|trial| trial.build == build).collect();
        if of_build.is_empty() {
            continue;
        }
        let tests = build.tests();
        let next = AtomicUsize::new(0);
        let lane = || {
            while let Some(trial) = of_build.get(next.fetch_add(1, Relaxed)) {
                let began = Instant::now();
                let wrong = trial.run(&tests).join("\n    ");
                let verdict = if wrong.is_empty() { "ok" } else { "WRONG" };
                let took = began.elapsed().as_secs_f64();
                eprintln!("{:64} {took:5.1} s  {verdict}\n    {wrong}", trial.name());
                if !wrong.is_empty() {
                    let mut problems = problems.lock().unwrap_or_else(PoisonError::into_inner);
                    problems.push(format!("{}\n    {wrong}", trial.name()));
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(lane);
            }
        });
    }
    let problems = problems.into_inner().unwrap();
    let right = trials.len() - problems.len();
    eprintln!("{right} of {} tests as the table has it", trials.len());
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// In the build without line tables, which shares most with the programs'.
#[test]
#[ignore = "takes a minute"]
fn some_programs_under_the_attribute_at_length() {
    let table = Table::read();
    let mut trials = table.tests(guard::Build::Release);
    trials.retain(|trial| trial.row.always);
    run_in_tests(&trials);
}

/// `LOOPTOP_FIELD_CASE` and `LOOPTOP_FIELD_BUILD` (release, dev) name a part of it.
#[test]
#[ignore = "takes five minutes"]
fn all_programs_under_the_attribute() {
    let named = |variable: &str, name: &str| {
        std::env::var(variable).map_or(true, |names| names.split(',').any(|n| n == name))
    };
    let table = Table::read();
    let trials = guard::Build::ALL.map(|build| table.tests(build));
    let trials = trials.into_iter().flatten().filter(|trial| {
        named("LOOPTOP_FIELD_CASE", &trial.case.program)
            && named("LOOPTOP_FIELD_BUILD", trial.build.name())
    });
    run_in_tests(&trials.collect::<Vec<_>>());
}

/// `LOOPTOP_UPDATE_GENERATED=1` writes it anew.
#[test]
fn the_document_shows_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/field-cases.md");
    let table = document(&Table::read());
    if std::env::var_os("LOOPTOP_UPDATE_GENERATED").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap_or_default(),
        table,
        "docs/field-cases.md differs from tests/field/table.toml; run this test with LOOPTOP_UPDATE_GENERATED=1"
    );
}

/// Each program has its rows, and each row finds its program's lines.
#[test]
fn every_program_has_rows() {
    let table = Table::read();
    let programs: BTreeSet<String> =
        std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/field/src/bin"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
    let cases: BTreeSet<String> = table.cases.iter().map(|c| c.program.clone()).collect();
    assert_eq!(programs, cases);
    for trial in table.trials() {
        trial.assert_sense();
    }
    for trial in table.tests(guard::Build::Dev) {
        trial.assert_sense();
    }
    for case in &table.cases {
        let turns_red = case.tests.iter().any(|row| row.found.is_some());
        assert_ne!(turns_red, case.never_red.is_some(), "{}", case.program);
    }
}
