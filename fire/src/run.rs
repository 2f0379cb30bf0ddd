//! A run: rounds of attack, calm and checks.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant, SystemTime},
};

use fastrand::Rng;
use rustix::process::{Resource, Signal, getrlimit, setrlimit};

use crate::{
    acts::{Act, Table},
    checks::{self, Counts, Deck, Slopes},
    cli::Options,
    ledger::{self, Entry},
    processes,
    programs::Programs,
    scene::{Place, Problem, Scene},
};

/// How long an attack goes on, in milliseconds.
const ATTACK: (u64, u64) = (5_000, 9_000);
/// Between two acts, in milliseconds.
const PAUSE: (u64, u64) = (30, 600);
/// Each attack begins with these, so that the shortest run has them.
const ALWAYS: [&str; 3] = ["viewer", "slow-viewer", "cut"];

/// The run was asked to end: the round is left as it is, and all is ended in order.
static STOP: AtomicBool = AtomicBool::new(false);

fn is_stopping() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// What a run has done.
struct Record {
    began: Instant,
    acts: BTreeMap<&'static str, u64>,
    counts: Counts,
    slopes: Slopes,
    findings: Vec<String>,
    /// The check at whose first finding the run ends, and whether there was one.
    until_found: Option<String>,
    is_found: bool,
}

impl Record {
    fn say(&self, text: &str) {
        let at = self.began.elapsed().as_secs_f64();
        println!("{at:8.3} s  {text}");
    }

    /// Takes what was found; whether it was anything.
    fn take(&mut self, problems: Vec<Problem>, round: u64) -> bool {
        let found = !problems.is_empty();
        for Problem { check, text } in problems {
            self.say(&format!("FINDING {check}: {text}"));
            self.is_found |= self.until_found.as_deref() == Some(check);
            self.findings
                .push(format!("round {round}, {check}: {text}"));
        }
        found
    }
}

/// Runs; whether all was true.
///
/// # Errors
///
/// There are no programs, no such act, or what takes part cannot be started.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let table = Table::new(&options.only)?;
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    let programs = Programs::find(options.programs.as_deref(), options.planted.is_some())?;
    println!(
        "seed {seed}, for {}: {} and {}",
        humantime::format_duration(options.window),
        programs.looptop.display(),
        programs.demo.display()
    );
    set_limits();
    let began = SystemTime::now();
    let mut record = Record {
        began: Instant::now(),
        acts: BTreeMap::new(),
        counts: Counts::default(),
        slopes: Slopes::default(),
        findings: Vec::new(),
        until_found: options.until_found.clone(),
        is_found: false,
    };
    let (place, why_no_mount) = Place::new(programs, options.planted.clone())?;
    let mut scene = Scene::start(place, why_no_mount, &mut Rng::with_seed(seed))?;
    scene.note_signals(&STOP)?;
    let left_out: Vec<_> = scene.left_out.iter().collect();
    for (act, why) in &left_out {
        record.say(&format!("left out: {act}: {why}"));
    }
    let mut deck = Deck::new(&scene.scenarios, &mut Rng::with_seed(seed));
    let mut rounds = 0;
    while record.began.elapsed() < options.window && !is_stopping() {
        rounds += 1;
        let found = round(
            &mut scene,
            &mut record,
            (seed, rounds),
            &table,
            &mut deck,
            options,
        );
        if record.is_found {
            break;
        }
        if !is_stopping() {
            scene.mend(found)?;
        }
    }
    record.say("the end");
    scene.end(&mut round_rng(seed, rounds + 1));
    checks::leftovers(&mut scene, &mut record.counts);
    scene.end_strays();
    record.take(std::mem::take(&mut scene.problems), rounds);
    drop(scene);
    let open = record.counts.too_few_judged();
    let open = open.map(|text| Problem::new("machine", text));
    record.take(open.into_iter().collect(), rounds);
    conclude(options, &record, (began, seed, rounds))
}

/// Each round has a chance of its own, so that how long one takes changes no other.
fn round_rng(seed: u64, round: u64) -> Rng {
    Rng::with_seed(seed ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn round(
    scene: &mut Scene,
    record: &mut Record,
    (seed, number): (u64, u64),
    table: &Table,
    deck: &mut Deck,
    options: &Options,
) -> bool {
    let mut rng = round_rng(seed, number);
    record.say(&format!("round {number}: attack"));
    attack(scene, record, table, &mut rng);
    record.say("calm");
    scene.calm_down(&mut rng.fork());
    let began = Instant::now();
    while began.elapsed() < options.calm && !is_stopping() {
        thread::sleep(Duration::from_millis(50));
        // A viewer that read Ctrl-Z late stopped itself after it was to go on.
        for viewer in &scene.cast {
            if processes::is_stopped(viewer.pid()) {
                drop(processes::signal(viewer.pid(), Signal::CONT));
            }
        }
    }
    if is_stopping() {
        return false;
    }
    checks::after_calm(scene, &mut record.slopes, &mut record.counts);
    record.say(&format!("checked: {}", record.slopes.last()));
    let mut found = record.take(std::mem::take(&mut scene.problems), number);
    if !record.is_found {
        let judged = checks::verdicts(scene, deck, &mut record.counts, &mut rng.fork());
        record.say(&format!("judged: {}", judged.join(", ")));
        checks::leftovers(scene, &mut record.counts);
        found |= record.take(std::mem::take(&mut scene.problems), number);
    }
    scene.recordings.clear();
    found
}

fn attack(scene: &mut Scene, record: &mut Record, table: &Table, rng: &mut Rng) {
    let window = Duration::from_millis(rng.u64(ATTACK.0..ATTACK.1));
    let began = Instant::now();
    let mut always = ALWAYS.iter().filter_map(|name| table.find(name));
    while began.elapsed() < window && !is_stopping() {
        let act = always.next().unwrap_or_else(|| table.draw(rng));
        act_once(act, scene, record, &mut rng.fork());
        let pause = Duration::from_millis(rng.u64(PAUSE.0..PAUSE.1));
        let until = Instant::now() + pause;
        while Instant::now() < until {
            scene.tend();
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn act_once(act: &'static Act, scene: &mut Scene, record: &mut Record, rng: &mut Rng) {
    if scene.left_out.contains_key(act.name) {
        return;
    }
    match act.run(scene, rng) {
        Ok(what) => {
            *record.acts.entry(act.name).or_default() += 1;
            record.say(&format!("  {}: {what}", act.name));
        }
        // What is frozen does not answer, and there may be nobody to do it to.
        Err(why) => record.say(&format!("  {}: not done: {why:#}", act.name)),
    }
}

fn conclude(
    options: &Options,
    record: &Record,
    (began, seed, rounds): (SystemTime, u64, u64),
) -> anyhow::Result<bool> {
    let took = record.began.elapsed();
    let counts = &record.counts;
    println!(
        "seed {seed}: {rounds} rounds in {:.1} minutes",
        took.as_secs_f64() / 60.0
    );
    println!("acts: {}", ledger::list(&record.acts));
    println!(
        "checks: {}; {} verdicts looked at again, {} not judged; {} frames missed and counted",
        ledger::list(&counts.checks),
        counts.verdicts_again,
        counts.not_judged,
        counts.frames_missed
    );
    for finding in &record.findings {
        println!("FINDING {finding}");
    }
    let n = record.findings.len();
    println!("{n} findings");
    if let Some(path) = &options.log {
        let entry = Entry {
            began,
            seed,
            took,
            rounds,
            acts: &record.acts,
            checks: &counts.checks,
            findings: &record.findings,
        };
        let minutes = ledger::add(path, &entry)?;
        println!("{minutes:.1} minutes in all in {}", path.display());
    }
    Ok(record.findings.is_empty())
}

/// Raises the limit on open files as far as it goes, for a thousand connections. Less is
/// no reason not to begin.
fn set_limits() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    // Those that are killed leave no core dumps.
    let mut limit = getrlimit(Resource::Core);
    limit.current = Some(0);
    let _ = setrlimit(Resource::Core, limit);
}
