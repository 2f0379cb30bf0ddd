//! Every scenario of the lab through `looptop check`: the broken twin yields
//! exactly the findings that it must, at the right place, and the fixed twin
//! none.
#![cfg(feature = "demo")]

mod lab;

use std::time::Instant;

use lab::{Lab, check};
use looptop_demo::{Expected, Flavor, Mode, Scenario};
use serde_json::Value;

/// How long a twin is observed; it shows itself within 3 s.
const WINDOW: &[&str] = &["--for", "3s", "--warmup", "1s", "--timeout", "20s"];
/// The cure shows within 3 s.
const AFTER_CURE: &[&str] = &["--for", "3s", "--warmup", "3s", "--timeout", "20s"];

fn findings(report: &Value) -> Vec<&Value> {
    report["findings"].as_array().unwrap().iter().collect()
}

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

/// Time that CPUs worked for somebody, and time in all, in clock ticks since
/// the start of the system.
#[derive(Clone, Copy)]
struct Cpu {
    busy: u64,
    all: u64,
    lab: u64,
}

impl Cpu {
    fn now(lab: &Lab) -> Self {
        let stat = std::fs::read_to_string("/proc/stat").unwrap();
        let ticks: Vec<u64> = stat
            .lines()
            .next()
            .unwrap()
            .split_whitespace()
            .skip(1)
            .take(8)
            .map(|n| n.parse().unwrap())
            .collect();
        let all = ticks.iter().sum();
        // Idle and waiting for a disk.
        let busy = all - ticks[3] - ticks[4];
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", lab.pid())).unwrap();
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .unwrap()
            .1
            .split_whitespace()
            .collect();
        let lab = fields[11..13]
            .iter()
            .map(|n| n.parse::<u64>().unwrap())
            .sum();
        Self { busy, all, lab }
    }

    /// The share of all CPUs that others than the lab had since `before`.
    fn others_since(self, before: Self) -> f64 {
        let others = (self.busy - before.busy).saturating_sub(self.lab - before.lab);
        others as f64 / (self.all - before.all).max(1) as f64
    }
}

/// Above this share of the CPUs for others, `host-starved` is no mistake: this
/// machine does other work while it runs the tests.
const BUSY_HOST: f64 = 0.3;

/// Checks a lab. What is true of the machine that runs the tests, and not of
/// the lab, is left out.
fn check_lab(scenario: &Scenario, lab: &Lab, options: &[&str]) -> Value {
    let before = Cpu::now(lab);
    let (mut report, _) = check(&lab.agent.to_string(), options);
    let others = Cpu::now(lab).others_since(before);
    if others > BUSY_HOST && scenario.expected.iter().all(|e| e.rule != "host-starved") {
        let findings = report["findings"].as_array_mut().unwrap();
        findings.retain(|f| text(f, "rule") != "host-starved");
    }
    report
}

/// What is wrong with the findings of the broken twin; empty if they are right.
fn wrong(scenario: &Scenario, report: &Value) -> Vec<String> {
    let found = findings(report);
    let missing = scenario.expected.iter().filter_map(|expected| {
        let of_rule: Vec<_> = found
            .iter()
            .filter(|f| text(f, "rule") == expected.rule)
            .collect();
        match of_rule.iter().find(|f| fits(scenario, expected, f)) {
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
        .filter(|f| scenario.expected.iter().all(|e| e.rule != text(f, "rule")))
        .map(|f| format!("unexpected {}", brief(f)));
    missing.chain(strange).collect()
}

fn fits(scenario: &Scenario, expected: &Expected, finding: &Value) -> bool {
    let cause = text(finding, "cause");
    let right_cause =
        expected.causes.is_empty() || expected.causes.iter().any(|c| c.as_str() == cause);
    let right_function = text(finding, "function").contains(expected.function);
    let right_place = scenario.place(expected.at).is_none_or(|place| {
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
fn run(scenario: &Scenario, flavor: Flavor) -> Vec<String> {
    let began = Instant::now();
    let lab = Lab::start(scenario.id, Mode::Broken.as_str(), flavor.as_str());
    let report = check_lab(scenario, &lab, WINDOW);
    let mut problems = wrong(scenario, &report);
    if scenario.has_broken_twin() {
        lab.switch(scenario.id, Mode::Fixed.as_str());
        let report = check_lab(scenario, &lab, AFTER_CURE);
        problems.extend(
            findings(&report)
                .iter()
                .map(|f| format!("in the fixed twin: {}", brief(f))),
        );
    }
    let (id, flavor) = (scenario.id, flavor.as_str());
    let verdict = if problems.is_empty() { "ok" } else { "WRONG" };
    let took = began.elapsed().as_secs_f64();
    eprintln!("{id:22} {flavor:14} {took:5.1} s  {verdict}");
    for problem in &problems {
        eprintln!("    {problem}");
    }
    problems
        .iter()
        .map(|problem| format!("{id} {flavor}: {problem}"))
        .collect()
}

fn run_all(flavor: Flavor) {
    let only = std::env::var("LOOPTOP_SCENARIO").ok();
    let scenarios = looptop_demo::scenarios()
        .iter()
        .filter(|s| s.flavors.contains(&flavor))
        .filter(|s| only.as_deref().is_none_or(|id| s.id == id));
    let problems: Vec<String> = scenarios.flat_map(|s| run(s, flavor)).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_twin_on_several_workers() {
    run_all(Flavor::MultiThread);
}

#[test]
fn every_twin_on_one_thread() {
    run_all(Flavor::CurrentThread);
}
