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
                "no {} as expected among {of_rule:#?}",
                expected.rule
            )),
        }
    });
    let strange = found
        .iter()
        .filter(|f| scenario.expected.iter().all(|e| e.rule != text(f, "rule")))
        .map(|f| format!("unexpected {f:#}"));
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
    let target = lab.agent.to_string();
    let (report, _) = check(&target, WINDOW);
    let mut problems = wrong(scenario, &report);
    if scenario.has_broken_twin() {
        lab.switch(scenario.id, Mode::Fixed.as_str());
        let (report, code) = check(&target, AFTER_CURE);
        problems.extend(
            findings(&report)
                .iter()
                .map(|f| format!("in the fixed twin: {f:#}")),
        );
        if code != 0 {
            problems.push(format!("check of the fixed twin ended with {code}"));
        }
    }
    let verdict = if problems.is_empty() { "ok" } else { "WRONG" };
    let (id, flavor) = (scenario.id, flavor.as_str());
    eprintln!(
        "{id:22} {flavor:14} {:5.1} s  {verdict}",
        began.elapsed().as_secs_f64()
    );
    problems
        .iter()
        .map(|p| format!("{id} {flavor}: {p}"))
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
