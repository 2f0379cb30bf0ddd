//! A fleet as operators have it: a real Prometheus, which runs as a user of its own, scrapes
//! the lab while it is broken and once it is cured. The alert names the function that is to
//! blame and ends; each panel of the board shows what the lab is known to do.
//!
//! Prometheus is Debian's package `prometheus` (its binaries are enough: `LOOPTOP_PROMETHEUS`
//! names their folder). Where there is none the tests say so and end, unless
//! `LOOPTOP_REQUIRE_PROMETHEUS` is set.
#![cfg(all(feature = "demo", target_os = "linux", not(looptop_elsewhere)))]

mod board;
#[path = "../lab/mod.rs"]
mod lab;
mod prometheus;

use std::time::{Duration, Instant};

use lab::Lab;
use prometheus::{Prometheus, Sample, promtool};

/// What the lab is known to be blocked by.
const CULPRIT: &str = "looptop_demo::scenarios::sleep_in_handler::wait_for_the_printer";
/// Long enough for windows of a minute, on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_mins(4);

fn file(path: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Asks again until the answer is as it must be.
fn until<T: std::fmt::Debug>(what: &str, ask: impl Fn() -> T, is_right: impl Fn(&T) -> bool) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ask();
        if is_right(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: {answer:#?}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Labels of the alerts of one name that fire.
fn firing(prometheus: &Prometheus, name: &str) -> Vec<Sample> {
    let query = format!("ALERTS{{alertname=\"{name}\", alertstate=\"firing\"}}");
    prometheus.query(&query)
}

#[test]
#[ignore = "takes two minutes"]
fn the_alert_names_the_culprit_and_ends_and_the_board_shows_what_there_is_at_length() {
    if !prometheus::is_there() {
        return;
    }
    let user = prometheus::own_user();
    let lab = Lab::start_scraped("sleep-in-handler", "broken", &user.to_string());
    let rules = file("deploy/prometheus/looptop.rules.yml");
    let prometheus = Prometheus::start(lab.agent(), &rules, user);
    let up = |up: &Vec<Sample>| up.first().is_some_and(|s| s.is(1.0));
    until("the lab is scraped", || prometheus.query("up"), up);

    for alert in ["LooptopWorkerBlocked", "LooptopFinding"] {
        let fires = until(
            alert,
            || firing(&prometheus, alert),
            |alerts| alerts.iter().any(|a| a.label("function") == CULPRIT),
        );
        let of_culprit = fires.iter().find(|a| a.label("function") == CULPRIT);
        let of_culprit = of_culprit.expect("it was just seen");
        assert_eq!(of_culprit.label("cause"), "sleeping", "{of_culprit:?}");
        let location = of_culprit.label("location");
        let line = line_of("demo/src/scenarios/sleep_in_handler.rs", "// <- culprit");
        assert!(location.ends_with(&line), "{location} and {line}");
    }
    let page = prometheus.scrape(lab.agent());
    promtool(&["check", "metrics"], &page);

    for panel in board::panels() {
        until(
            &panel.title,
            || panel.answers(&prometheus),
            |answers| panel.shows_the_lab(answers),
        );
    }

    lab.switch("sleep-in-handler", "fixed");
    for alert in ["LooptopWorkerBlocked", "LooptopFinding"] {
        until(alert, || firing(&prometheus, alert), Vec::is_empty);
    }
    let healthy = "looptop_verdict{level=\"healthy\"}";
    let is_so = |verdict: &Vec<Sample>| verdict.first().is_some_and(|s| s.is(1.0));
    until("the verdict", || prometheus.query(healthy), is_so);
}

/// `FILE:LINE` of the line that ends so.
fn line_of(path: &str, end: &str) -> String {
    let source = std::fs::read_to_string(file(path)).unwrap();
    let at = source.lines().position(|line| line.ends_with(end));
    format!("{path}:{}", at.unwrap() + 1)
}

#[test]
fn the_rules_are_right_by_their_own_tests() {
    if !prometheus::is_there() {
        return;
    }
    let rules = file("deploy/prometheus/looptop.rules.yml");
    promtool(&["check", "rules", rules.to_str().unwrap()], "");
    let tests = file("deploy/prometheus/looptop.rules.test.yml");
    promtool(&["test", "rules", tests.to_str().unwrap()], "");
    let scrape = file("deploy/prometheus/scrape.yml");
    promtool(
        &["check", "config", "--syntax-only", scrape.to_str().unwrap()],
        "",
    );
}
