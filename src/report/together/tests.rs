use clap::ValueEnum;

use super::*;
use crate::{
    diagnose::{Engine, Window},
    model::{Model, Moment, fixtures},
    report::tests::{report as starving, unobserved},
};

fn healthy(target: &str) -> Report {
    use looptop_wire::proto;
    let since = Moment(18_000_000_000);
    let mut model = Model::new(&fixtures::hello());
    let frame = proto::Frame {
        snapshot_complete: true,
        runtimes: vec![proto::Runtime::default()],
        workers: vec![proto::Worker::default()],
        ..fixtures::frame(since.plus(std::time::Duration::from_secs(1)))
    };
    model.apply(&frame).unwrap();
    let mut engine = Engine::new(Window::Since(since));
    engine.update(&model);
    Report::new(target, &model, &engine, since, &[])
}

fn sick(target: &str) -> Report {
    Report {
        target: target.to_owned(),
        ..starving(&[])
    }
}

/// Two that are sick of the same, one that is well, and one that is not there.
fn four(baseline: Option<&Baseline>) -> Together {
    let mut worse = sick("b:1");
    for finding in &mut worse.findings {
        finding.severity = Severity::Critical;
        finding.max_ms *= 2.0;
    }
    let refused = "connection refused: nothing listens on d:1\u{1b}[2J".to_owned();
    Together::new(
        vec![
            ("a:1".to_owned(), Ok(sick("a:1"))),
            ("b:1".to_owned(), Ok(worse)),
            ("c:1".to_owned(), Ok(healthy("c:1"))),
            ("d:1".to_owned(), Err(refused)),
        ],
        baseline,
    )
}

#[test]
fn every_format_names_the_targets() {
    for format in Format::value_variants() {
        let rendered = four(None).render(*format, None);
        for target in ["a:1", "b:1", "c:1", "d:1"] {
            assert!(rendered.contains(target), "{format}: {rendered}");
        }
        insta::assert_snapshot!(format!("together_{format}"), rendered);
    }
}

#[test]
fn one_culprit_is_one_finding_with_its_targets() {
    let together = four(None);
    let alone = sick("a:1");
    assert_eq!(together.findings.len(), alone.findings.len());
    let first = &together.findings[0];
    assert_eq!(first.targets, ["a:1", "b:1"]);
    assert_eq!(first.entry.severity, Severity::Critical);
    let one = alone.findings.iter();
    let mut one =
        one.filter(|f| (f.rule, &f.location) == (first.entry.rule, &first.entry.location));
    let one = one.next().unwrap();
    assert_eq!(first.entry.count, 2 * one.count);
    assert!(first.entry.max_ms > one.max_ms);
}

#[test]
fn another_line_is_another_finding() {
    let mut other = sick("b:1");
    for finding in &mut other.findings {
        finding.location = finding.location.as_ref().map(|place| format!("{place}1"));
    }
    let of_one = sick("a:1");
    let located = of_one.findings.iter().filter(|f| f.location.is_some());
    let located = located.count();
    let (all, targets) = (
        of_one.findings.len(),
        vec![
            ("a:1".to_owned(), Ok(of_one)),
            ("b:1".to_owned(), Ok(other)),
        ],
    );
    assert!(located > 0);
    assert_eq!(Together::new(targets, None).findings.len(), all + located);
}

#[test]
fn what_was_not_looked_at_is_not_healthy() {
    let one = |result| Together::new(vec![("a:1".to_owned(), result)], None);
    let together = one(Err("nobody there".to_owned()));
    assert_eq!(together.level, "not observing");
    assert_eq!(together.verdict, "1 target: 1 not looked at");
    assert!(!together.is_observed());
    let together = one(Ok(unobserved(std::time::Duration::from_secs(6))));
    assert_eq!(together.level, "not observing");
    assert!(!together.is_observed() && !together.fails(Severity::Notice));
    let together = one(Ok(healthy("a:1")));
    assert_eq!(
        (together.level.as_str(), together.is_observed()),
        ("healthy", true)
    );
}

#[test]
fn a_baseline_knows_what_any_target_has_and_says_nothing_of_those_not_looked_at() {
    let baseline = four(None).baseline();
    let known = four(Some(&baseline));
    assert!(known.findings.is_empty() && !known.fails(Severity::Notice));
    assert_eq!(known.known[0].targets, ["a:1", "b:1"]);
    assert_eq!(known.baseline(), baseline);
    // One of them has none of it, and one is not there.
    assert!(known.resolved.is_empty());
    let two = |first: Report| {
        let targets = vec![
            ("a:1".to_owned(), Ok(first)),
            ("c:1".to_owned(), Ok(healthy("c:1"))),
        ];
        Together::new(targets, Some(&baseline)).resolved.len()
    };
    assert_eq!(two(sick("a:1")), 0);
    assert!(two(healthy("a:1")) > 0);
}

#[test]
fn the_published_schema_tells_what_is_printed() {
    let schema = include_str!("../../../docs/check-several.schema.json");
    let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
    let together = serde_json::to_value(four(None)).unwrap();
    let keys = |value: &serde_json::Value| -> Vec<String> {
        let mut keys: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    let required = |schema: &serde_json::Value| -> Vec<String> {
        let required = schema["required"].as_array().unwrap();
        let mut required: Vec<_> = required
            .iter()
            .map(|name| name.as_str().unwrap().to_owned())
            .collect();
        required.sort();
        required
    };
    assert_eq!(schema["properties"]["schema"]["const"], together["schema"]);
    assert_eq!(required(&schema), keys(&together));
    assert_eq!(keys(&schema["properties"]), keys(&together));
    let target = &schema["properties"]["targets"]["items"];
    assert_eq!(required(target), keys(&together["targets"][0]));
    assert_eq!(keys(&target["properties"]), keys(&together["targets"][0]));
    let levels = schema["properties"]["level"]["enum"].as_array().unwrap();
    for level in Level::ALL {
        assert!(levels.contains(&level.word().to_lowercase().into()));
    }
    // A finding is as in the report of one target, with its targets.
    let finding = &together["findings"][0];
    let alone = serde_json::to_value(&sick("a:1").findings[0]).unwrap();
    let mut with_targets = keys(&alone);
    with_targets.push("targets".to_owned());
    with_targets.sort();
    assert_eq!(keys(finding), with_targets);
    let added = &schema["$defs"]["finding"]["allOf"][1];
    assert_eq!(required(added), ["targets"]);
}
