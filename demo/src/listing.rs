//! `looptop-demo list`: every scenario with its twins, from the registry.

use std::fmt::Write;

use serde::Serialize;

use crate::{
    registry,
    scenario::{At, Cause, Flavor, Mode, Outside, Place, Scenario},
};

/// A scenario as JSON.
#[derive(Debug, Serialize)]
pub struct Card {
    id: &'static str,
    caption: &'static str,
    notes: &'static str,
    watch: &'static str,
    broken: Option<&'static str>,
    fixed: &'static str,
    flavors: &'static [Flavor],
    workers: usize,
    expected: Vec<ExpectedFinding>,
    code: Code,
}

#[derive(Debug, Serialize)]
struct Code {
    broken: String,
    fixed: String,
}

/// An expected finding with its places resolved.
#[derive(Debug, Serialize)]
struct ExpectedFinding {
    rule: &'static str,
    causes: &'static [Cause],
    function: &'static str,
    at: At,
    /// Whether the outside view must find it too.
    outside: bool,
    /// Where the finding must point.
    place: Option<Place>,
    /// The guilty line itself.
    culprit: Option<Place>,
    /// The line that spawned the task.
    spawn: Option<Place>,
}

impl Card {
    /// All that the registry knows of `scenario`.
    pub fn of(scenario: &Scenario) -> Self {
        Card {
            id: scenario.id,
            caption: scenario.caption,
            notes: scenario.notes,
            watch: scenario.watch,
            broken: scenario.has_broken_twin().then_some(scenario.broken),
            fixed: scenario.fixed,
            flavors: scenario.flavors,
            workers: scenario.workers,
            expected: scenario
                .expected
                .iter()
                .map(|expected| ExpectedFinding {
                    rule: expected.rule,
                    causes: expected.causes,
                    function: expected.function,
                    at: expected.at,
                    outside: expected.outside.is_found(),
                    place: scenario.place(expected.at),
                    culprit: scenario.culprit(),
                    spawn: scenario.place(At::Spawn),
                })
                .collect(),
            code: Code {
                broken: scenario.code(Mode::Broken),
                fixed: scenario.code(Mode::Fixed),
            },
        }
    }
}

/// Every scenario as JSON, for `list --format json`.
///
/// # Errors
///
/// None in practice: the registry holds nothing that JSON cannot.
pub fn json() -> serde_json::Result<String> {
    let cards: Vec<Card> = registry::scenarios().iter().map(Card::of).collect();
    serde_json::to_string_pretty(&cards)
}

/// Every scenario as a table of one line each, for `list`.
pub fn table() -> String {
    let width = registry::scenarios()
        .iter()
        .map(|scenario| scenario.id.len())
        .max()
        .unwrap_or_default();
    let mut text = String::new();
    for scenario in registry::scenarios() {
        let _ = writeln!(text, "{:width$}  {}", scenario.id, scenario.caption);
        let _ = writeln!(text, "{:width$}  finds: {}", "", findings(scenario));
    }
    text
}

/// What a scenario's broken twin must yield, in words.
fn findings(scenario: &Scenario) -> String {
    let words: Vec<String> = scenario
        .expected
        .iter()
        .map(|expected| {
            let causes: Vec<&str> = expected.causes.iter().map(|cause| cause.as_str()).collect();
            match causes.as_slice() {
                [] => expected.rule.to_owned(),
                causes => format!("{} ({})", expected.rule, causes.join(" or ")),
            }
        })
        .collect();
    match words.as_slice() {
        [] => "nothing".to_owned(),
        words => words.join(", "),
    }
}

/// What of it the outside view finds, and why it does not find the rest.
fn outside(scenario: &Scenario) -> String {
    let unseen = scenario
        .expected
        .iter()
        .filter_map(|expected| match expected.outside {
            Outside::Found | Outside::FoundAt(_) => None,
            Outside::Unseen(reason) => Some((expected.rule, reason)),
        });
    let unseen: Vec<_> = unseen.collect();
    let all = unseen.len() == scenario.expected.len();
    match unseen.as_slice() {
        [] => "the same".to_owned(),
        [(_, reason), ..] if all => format!("nothing: {reason}"),
        unseen => {
            let without = unseen
                .iter()
                .map(|(rule, reason)| format!("without {rule}: {reason}"));
            without.collect::<Vec<_>>().join("; ")
        }
    }
}

/// Every scenario as a Markdown table, for the README.
pub fn markdown() -> String {
    let mut text = String::from(
        "| scenario | what it shows | must be found | from outside |\n|---|---|---|---|\n",
    );
    for scenario in registry::scenarios() {
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} |",
            scenario.id,
            scenario.caption.replace('|', "\\|"),
            findings(scenario),
            outside(scenario),
        );
    }
    text
}

/// `docs/scenarios.md`: the table, then both twins of every scenario as they
/// were compiled.
pub fn document() -> String {
    let mut text = String::from(
        "# The lab's scenarios\n\n\
         Generated from the registry by `looptop-demo list --format markdown`; a test\n\
         keeps this file current. `looptop demo SCENARIO` shows one.\n\n",
    );
    text.push_str(&markdown());
    for scenario in registry::scenarios() {
        let _ = write!(text, "\n## {}\n\n{}.\n\n", scenario.id, scenario.caption);
        if !scenario.notes.is_empty() {
            let _ = writeln!(text, "- The notes: {}", scenario.notes);
        }
        let _ = write!(
            text,
            "- Watch: {}\n- Must be found: {}\n",
            scenario.watch,
            findings(scenario)
        );
        let twins = [
            (Mode::Broken, scenario.broken, scenario.has_broken_twin()),
            (Mode::Fixed, scenario.fixed, true),
        ];
        for (mode, path, exists) in twins {
            if exists {
                let code = scenario.code(mode);
                let name = if mode == Mode::Broken {
                    "Broken"
                } else {
                    "Fixed"
                };
                let _ = write!(
                    text,
                    "\n{name}, `{path}`:\n\n```rust\n{}\n```\n",
                    code.trim_end()
                );
            }
        }
    }
    text
}
