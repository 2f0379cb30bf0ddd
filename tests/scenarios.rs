//! Every scenario of the lab through `looptop check`: the broken twin yields
//! exactly the findings that it must, at the right place, and the fixed twin
//! none. Once with the agent in the lab, and once without, from outside.
#![cfg(feature = "demo")]

mod host;
mod lab;

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use host::Cpu;
use lab::{Lab, check};
use looptop_demo::{At, Expected, Flavor, Mode, Outside, Scenario};
use serde_json::Value;

/// How long a twin is observed; it shows itself within 3 s.
const WINDOW: &[&str] = &["--for", "3s", "--warmup", "1s", "--timeout", "20s"];
/// The cure shows within 3 s.
const AFTER_CURE: &[&str] = &["--for", "3s", "--warmup", "3s", "--timeout", "20s"];

/// Ended tasks are counted while the memory grows, and must have doubled between
/// two counts.
const TO_COUNT_TWICE: &[&str] = &["--for", "15s", "--warmup", "5s", "--timeout", "40s"];

/// How the lab is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum View {
    /// By its agent.
    Agent,
    /// From outside; the agent is switched off.
    Outside,
}

impl View {
    fn start(self, scenario: &Scenario, flavor: Flavor) -> Lab {
        let (mode, flavor) = (Mode::Broken.as_str(), flavor.as_str());
        match self {
            View::Agent => Lab::start(scenario.id, mode, flavor),
            View::Outside => Lab::start_without_agent(scenario.id, mode, flavor),
        }
    }

    fn target(self, lab: &Lab) -> String {
        match self {
            View::Agent => lab.agent().to_string(),
            View::Outside => format!("pid:{}", lab.pid()),
        }
    }

    /// What must be found.
    fn expected(self, scenario: &Scenario, flavor: Flavor) -> Vec<&Expected> {
        let found = |e: &&Expected| self == View::Agent || e.outside.is_found();
        scenario.expected_on(flavor).filter(found).collect()
    }

    /// Where it must be found.
    fn place(self, expected: &Expected) -> At {
        match expected.outside {
            Outside::FoundAt(at) if self == View::Outside => at,
            _ => expected.at,
        }
    }
}

/// From outside no task says its age, so that a leak must be seen to last; and nobody
/// says that the lab's time is shortened.
const TO_LEAK: &[&str] = &["--for", "100s", "--warmup", "1s", "--timeout", "130s"];

/// Tasks are listed once a second, and one of the listings must meet the crowd.
const TO_MEET_A_FLOOD: &[&str] = &["--for", "10s", "--warmup", "1s", "--timeout", "30s"];

/// Where tasks wait is read once a second, after the program's types were.
const TO_READ_WAITS: &[&str] = &["--for", "12s", "--warmup", "3s", "--timeout", "60s"];

fn window(scenario: &Scenario, view: View) -> &'static [&'static str] {
    let has = |rule| scenario.expected.iter().any(|e| e.rule == rule);
    let waits = |e: &Expected| matches!(e.outside, Outside::FoundAt(_));
    let is_read = view == View::Outside && scenario.expected.iter().any(waits);
    if view == View::Outside && (has("task-leak") || has("stuck-task")) {
        TO_LEAK
    } else if view == View::Outside && has("task-flood") {
        TO_MEET_A_FLOOD
    } else if is_read || has("deadlock") || has("futurelock") || has("stuck-task") {
        TO_READ_WAITS
    } else if has("unreaped-tasks") && view == View::Agent {
        TO_COUNT_TWICE
    } else {
        WINDOW
    }
}

fn findings(report: &Value) -> Vec<&Value> {
    report["findings"].as_array().unwrap().iter().collect()
}

/// A notice fails nothing: on a machine that the load, the lab and the check
/// share, a poll is held up for some milliseconds now and then.
fn counts(finding: &Value) -> bool {
    text(finding, "severity") != "notice"
}

/// One lab at a time, or they starve each other.
static ALONE: Mutex<()> = Mutex::new(());

fn text<'a>(finding: &'a Value, key: &str) -> &'a str {
    finding[key].as_str().unwrap_or_default()
}

/// A finding in a line.
fn brief(finding: &Value) -> String {
    let stack = finding["stack"].as_array().into_iter().flatten();
    let stack: Vec<_> = stack.take(8).map(|frame| text(frame, "function")).collect();
    format!(
        "{} {} ({}) in {} at {}, {} times, longest {} ms: {} < {}",
        text(finding, "severity"),
        text(finding, "rule"),
        text(finding, "cause_text"),
        text(finding, "function"),
        text(finding, "location"),
        finding["count"],
        finding["max_ms"],
        text(finding, "title"),
        stack.join(" < "),
    )
}

/// On a busy machine a twin is observed so many times at most.
const ATTEMPTS: usize = 4;

/// How often twins were observed, and how often only since it was wrong before.
#[derive(Default)]
struct Looks {
    all: usize,
    again: usize,
}

impl Looks {
    /// A machine whose noise spoils more than a quarter of all looks says nothing about
    /// what is right in the others; of few looks some may be spoilt nevertheless.
    fn are_too_noisy(&self) -> bool {
        self.again > (self.all / 4).max(3)
    }
}

#[test]
fn a_quarter_of_all_looks_may_be_spoilt() {
    for (all, again, expected) in [
        (0, 0, false),
        (5, 3, false),
        (6, 4, true),
        (40, 10, false),
        (40, 11, true),
    ] {
        assert_eq!(
            Looks { all, again }.are_too_noisy(),
            expected,
            "{all} {again}"
        );
    }
}

/// Checks a lab until nothing is wrong with the findings. On a machine that has
/// nothing else to do, once.
fn problems(
    scenario: &Scenario,
    target: &str,
    lab: &Lab,
    options: &[&str],
    looks: &mut Looks,
    wrong: impl Fn(&Value) -> Vec<String>,
) -> Vec<String> {
    for attempt in 1.. {
        looks.all += 1;
        looks.again += usize::from(attempt > 1);
        let before = Cpu::now(lab.pid());
        let (mut report, _) = check(target, options);
        let others = Cpu::now(lab.pid()).others_since(before);
        let is_starved = |f: &Value| text(f, "rule") == "host-starved";
        let findings = report["findings"].as_array_mut().unwrap();
        // What the lab is not made to show is true of the machine, which may have
        // been short of CPUs for a moment only.
        let starved = scenario.expected.iter().all(|e| e.rule != "host-starved")
            && findings.iter().any(is_starved);
        if starved && others > host::BUSY {
            findings.retain(|f| !is_starved(f));
        }
        let problems = wrong(&report);
        let undisturbed = others < host::BUSY && !starved;
        if problems.is_empty() || undisturbed || attempt == ATTEMPTS {
            return problems;
        }
        let percent = others * 100.0;
        eprintln!(
            "    while others took {percent:.0} % of the CPUs: {}",
            problems.join("\n    ")
        );
    }
    unreachable!("the last attempt returns")
}

/// What is wrong with the findings of the broken twin; empty if they are right.
fn wrong(scenario: &Scenario, flavor: Flavor, view: View, report: &Value) -> Vec<String> {
    let found = findings(report);
    let expected = view.expected(scenario, flavor).into_iter();
    let missing = expected.filter_map(|expected| {
        let of_rule: Vec<_> = found
            .iter()
            .filter(|f| text(f, "rule") == expected.rule)
            .collect();
        match of_rule.iter().find(|f| fits(scenario, view, expected, f)) {
            Some(_) => None,
            None => Some(format!(
                "no {} as expected among [{}]",
                expected.rule,
                of_rule
                    .iter()
                    .map(|f| brief(f))
                    .collect::<Vec<_>>()
                    .join("; ")
            )),
        }
    });
    let strange = found
        .iter()
        .filter(|f| counts(f))
        .filter(|f| scenario.expected.iter().all(|e| e.rule != text(f, "rule")))
        .map(|f| format!("unexpected {}", brief(f)));
    missing.chain(strange).collect()
}

fn fits(scenario: &Scenario, view: View, expected: &Expected, finding: &Value) -> bool {
    let cause = text(finding, "cause");
    let right_cause =
        expected.causes.is_empty() || expected.causes.iter().any(|c| c.as_str() == cause);
    let right_function = text(finding, "function").contains(expected.function);
    let right_place = scenario.place(view.place(expected)).is_none_or(|place| {
        let location = text(finding, "location").rsplit_once(':');
        location.is_some_and(|(file, line)| {
            let line: u32 = line.parse().unwrap_or_default();
            (place.file.ends_with(file) || file.ends_with(place.file))
                && (place.first..=place.last).contains(&line)
        })
    });
    right_cause && right_function && right_place
}

/// Both twins of a scenario on one lab, switched live.
fn run(scenario: &Scenario, flavor: Flavor, view: View, looks: &mut Looks) -> Vec<String> {
    let began = Instant::now();
    let lab = view.start(scenario, flavor);
    let target = view.target(&lab);
    let window = window(scenario, view);
    let mut problems = self::problems(scenario, &target, &lab, window, looks, |report| {
        wrong(scenario, flavor, view, report)
    });
    if scenario.has_broken_twin() {
        lab.switch(scenario.id, Mode::Fixed.as_str());
        problems.extend(self::problems(
            scenario,
            &target,
            &lab,
            AFTER_CURE,
            looks,
            |report| {
                let found = findings(report).into_iter().filter(|f| counts(f));
                found
                    .map(|f| format!("in the fixed twin: {}", brief(f)))
                    .collect()
            },
        ));
    }
    let (id, flavor) = (scenario.id, flavor.as_str());
    let id = match view {
        View::Agent => id.to_owned(),
        View::Outside => format!("{id} (outside)"),
    };
    let verdict = if problems.is_empty() { "ok" } else { "WRONG" };
    let took = began.elapsed().as_secs_f64();
    eprintln!("{id:32} {flavor:14} {took:5.1} s  {verdict}");
    for problem in &problems {
        eprintln!("    {problem}");
    }
    problems
        .iter()
        .map(|problem| format!("{id} {flavor}: {problem}"))
        .collect()
}

/// The scenarios of [`a_share_of_all_twins_at_length`]. Beside what `tests/recordings.rs` has
/// of all rules; `LOOPTOP_SCENARIO` names another one, or `all`, which takes a quarter of
/// an hour.
const SHARE: &[&str] = &[
    "sleep-in-handler",
    "cpu-in-handler",
    "blocking-file",
    "std-mutex-held",
    "busy-yield",
    "never-yields",
    "three-requests",
    "sequential-awaits",
    "healthy-busy",
];

/// The same from outside: a stall of each evidence, and nothing.
const SHARE_OUTSIDE: &[&str] = &["sleep-in-handler", "cpu-in-handler", "healthy-busy"];

/// What every run looks at: something that sleeps, computes, waits for a lock, spins, and
/// nothing.
fn briefly(flavor: Flavor, view: View) -> &'static [&'static str] {
    match (flavor, view) {
        (Flavor::MultiThread, View::Agent) => &["std-mutex-held", "healthy-busy"],
        (Flavor::CurrentThread, View::Agent) => &["busy-yield"],
        (Flavor::MultiThread, View::Outside) => &["cpu-in-handler"],
        (Flavor::CurrentThread, View::Outside) => &["sleep-in-handler"],
    }
}

/// Those of `LOOPTOP_SCENARIO` (an id, or `all`), otherwise `share`.
fn run_all(flavor: Flavor, view: View, share: &[&str]) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let wanted = std::env::var("LOOPTOP_SCENARIO").ok();
    let scenarios = looptop_demo::scenarios()
        .iter()
        .filter(|s| s.flavors.contains(&flavor))
        .filter(|s| match wanted.as_deref() {
            Some("all") => true,
            Some(id) => s.id == id,
            None => share.contains(&s.id),
        });
    let mut looks = Looks::default();
    let problems = scenarios.flat_map(|s| run(s, flavor, view, &mut looks));
    let problems: Vec<String> = problems.collect();
    let Looks { all, again } = looks;
    eprintln!("{again} of {all} looks were made again, since others took the CPUs");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(
        !looks.are_too_noisy(),
        "{again} of {all} looks were wrong on this busy machine, and were made again: too many \
         to be its noise alone"
    );
}

fn run_briefly(flavor: Flavor, view: View) {
    run_all(flavor, view, briefly(flavor, view));
}

/// Where tasks seem to wait for each other when the window is over, a few seconds more show
/// whether they do. When they begin to seem so differs from run to run.
#[test]
#[ignore = "takes a minute"]
fn a_deadlock_is_sure_however_short_the_window_at_length() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::start_without_agent("lock-order", "broken", "multi-thread");
    let target = format!("pid:{}", lab.pid());
    let mut looks = Vec::new();
    let was_longer = (1..=12).any(|window| {
        let options = ["--warmup", "0s", "--timeout", "20s", "--for"];
        let (report, code) = check(&target, &[&options[..], &[&format!("{window}s")]].concat());
        let findings = report["findings"].as_array().unwrap();
        let found = findings.iter().any(|f| f["rule"] == "deadlock");
        let took = report["window_s"].as_f64().unwrap();
        looks.push((window, took, found, code));
        found && took > f64::from(window) + 0.5
    });
    assert!(was_longer, "{looks:?}");
}

/// More of them in each flavour and view.
#[test]
#[ignore = "takes four minutes"]
fn a_share_of_all_twins_at_length() {
    for flavor in [Flavor::MultiThread, Flavor::CurrentThread] {
        run_all(flavor, View::Agent, SHARE);
        run_all(flavor, View::Outside, SHARE_OUTSIDE);
    }
}

#[test]
fn every_twin_on_several_workers() {
    run_briefly(Flavor::MultiThread, View::Agent);
}

#[test]
fn every_twin_on_one_thread() {
    run_briefly(Flavor::CurrentThread, View::Agent);
}

#[test]
fn every_twin_on_several_workers_from_outside() {
    run_briefly(Flavor::MultiThread, View::Outside);
}

#[test]
fn every_twin_on_one_thread_from_outside() {
    run_briefly(Flavor::CurrentThread, View::Outside);
}
