//! The registry is complete, and what it says of the code is so.

use std::{collections::HashSet, fs, path::Path};

use looptop_demo::{At, Flavor, Mode, listing, scenarios};

/// The scenarios that the lab was built to show.
const WANTED: &[&str] = &[
    "big-json",
    "blocking-db",
    "blocking-file",
    "blocking-http",
    "blocking-pool-full",
    "burst-timer",
    "busy-yield",
    "cpu-in-handler",
    "fire-and-forget-leak",
    "forgotten-await",
    "forgotten-permit",
    "forgotten-sender",
    "full-mailboxes",
    "futurelock",
    "graceful-shutdown",
    "healthy-busy",
    "heavy-cpu",
    "host-contention",
    "huge-future",
    "lock-order",
    "lost-waker",
    "nested-block-on",
    "nested-permit",
    "never-yields",
    "no-timeout",
    "orphaned-siblings",
    "pool-exhaustion",
    "rate-limited-job",
    "retry-storm",
    "rwlock-reentrant",
    "sequential-awaits",
    "sleep-in-handler",
    "slow-log",
    "std-mutex-held",
    "sync-dns",
    "three-requests",
    "too-many-workers",
    "unbounded-fanout",
    "unbounded-queue",
    "unpolled-buffer",
    "unreaped-tasks",
];

#[test]
fn every_wanted_scenario_is_there_once() {
    let mut ids: Vec<&str> = scenarios().iter().map(|scenario| scenario.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, WANTED);
}

#[test]
fn every_scenario_has_what_a_slide_needs() {
    for scenario in scenarios() {
        let id = scenario.id;
        assert!(
            !scenario.caption.is_empty() && !scenario.watch.is_empty(),
            "{id}"
        );
        assert!(
            scenario.caption.len() <= 100,
            "{id}: one line for the stage"
        );
        assert!(!scenario.flavors.is_empty() && scenario.workers > 0, "{id}");
        let mut modes = vec![Mode::Fixed];
        modes.extend(scenario.has_broken_twin().then_some(Mode::Broken));
        for mode in modes {
            let code = scenario.code(mode);
            assert!(!code.is_empty(), "{id} {mode}: no code");
            let lines = code.lines().count();
            assert!(
                lines <= 24,
                "{id} {mode}: {lines} lines are too many for a slide"
            );
            let width = code.lines().map(str::len).max().unwrap_or_default();
            assert!(width <= 96, "{id} {mode}: {width} columns are too many");
        }
    }
}

#[test]
fn endpoints_differ() {
    let mut seen = HashSet::new();
    for scenario in scenarios() {
        assert!(seen.insert(scenario.fixed), "{}", scenario.fixed);
        assert!(
            !scenario.has_broken_twin() || seen.insert(scenario.broken),
            "{}",
            scenario.broken
        );
    }
}

#[test]
fn every_expected_finding_has_its_place_in_the_source() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for scenario in scenarios() {
        assert!(
            scenario.expected.is_empty() || scenario.has_broken_twin(),
            "{}: expects findings of nothing",
            scenario.id
        );
        if scenario.has_broken_twin() {
            let culprit = scenario.culprit().expect(scenario.id);
            let source = fs::read_to_string(workspace.join(culprit.file)).unwrap();
            let line = source.lines().nth(culprit.first as usize - 1).unwrap();
            assert!(line.contains("// <-"), "{line}");
        }
        for expected in scenario.expected {
            let Some(place) = scenario.place(expected.at) else {
                assert_eq!(expected.at, At::Nowhere, "{}", scenario.id);
                continue;
            };
            let source = fs::read_to_string(workspace.join(place.file)).unwrap();
            let lines: Vec<&str> = source
                .lines()
                .skip(place.first as usize - 1)
                .take((place.last - place.first + 1) as usize)
                .collect();
            let name = expected.function.rsplit("::").next().unwrap_or_default();
            assert!(
                lines.iter().any(|line| line.contains(name)),
                "{}: {name} is not in {place:?}",
                scenario.id
            );
        }
    }
}

#[test]
fn every_scenario_runs_on_some_flavor_with_every_mode_named() {
    for mode in Mode::ALL {
        assert_eq!(mode.as_str().parse(), Ok(mode));
    }
    for flavor in Flavor::ALL {
        assert_eq!(flavor.as_str().parse(), Ok(flavor));
    }
}

#[test]
fn the_list_reads_well() {
    insta::assert_snapshot!(listing::table());
}

#[test]
fn the_list_as_json_has_code_and_places() {
    let cards: serde_json::Value = serde_json::from_str(&listing::json().unwrap()).unwrap();
    let cards = cards.as_array().unwrap();
    assert_eq!(cards.len(), scenarios().len());
    let sleep = &cards[0];
    assert_eq!(sleep["id"], "sleep-in-handler");
    assert_eq!(sleep["expected"][0]["rule"], "blocked-worker");
    assert_eq!(sleep["expected"][0]["causes"][0], "sleeping");
    assert_eq!(
        sleep["expected"][0]["place"]["file"],
        "demo/src/scenarios/sleep_in_handler.rs"
    );
    assert!(
        sleep["code"]["broken"]
            .as_str()
            .unwrap()
            .contains("thread::sleep")
    );
}

/// Set to write the README's table instead of comparing it.
const UPDATE: &str = "LOOPTOP_UPDATE_GENERATED";

#[test]
fn the_document_of_the_scenarios_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/scenarios.md");
    let wanted = listing::document();
    if std::env::var_os(UPDATE).is_some() {
        fs::write(&path, &wanted).unwrap();
        return;
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == wanted,
        "docs/scenarios.md differs from the registry; run the test with {UPDATE}=1"
    );
}

#[test]
fn readmes_have_the_table_of_the_registry() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    has_the_table(&root.join("README.md"));
    has_the_table(&root.join("../README.md"));
}

fn has_the_table(path: &Path) {
    let readme = fs::read_to_string(path).unwrap();
    let begin = "<!-- scenarios: generated from the registry -->\n";
    let (before, rest) = readme
        .split_once(begin)
        .unwrap_or_else(|| panic!("{} has no table of scenarios", path.display()));
    let (_, after) = rest.split_once("<!-- /scenarios -->").unwrap();
    let table = listing::markdown();
    let wanted = format!("{before}{begin}{table}<!-- /scenarios -->{after}");
    if std::env::var_os(UPDATE).is_some() {
        fs::write(path, &wanted).unwrap();
        return;
    }
    assert!(
        readme == wanted,
        "the table in {} differs from the registry; run the test with {UPDATE}=1",
        path.display()
    );
}
