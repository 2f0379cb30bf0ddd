//! `looptop explain` and `docs/detection.md`, from the registry.

use std::fmt::Write;

use super::{
    Case,
    remedy::{self, HEAVY_CPU},
    rules::{self, Rule},
};

/// The scale, for the document.
const SEVERITIES: &str = "
## Severities

What a severity means is what the requests of a service feel; `looptop check` fails
from a warning on, unless `--fail-on` says otherwise.

| severity | meaning | a poll that blocks, without the time in which it had no CPU |
|---|---|---|
| notice | nobody suffers yet | three times over 10 ms, or once over 20 ms |
| warning | others wait noticeably | once 100 ms; or shorter ones that take a fifth of one worker's time; or three and more that last 50 ms as a rule and take a hundredth of all workers' time, so that they are the service's 99th percentile |
| critical | the loop stands still | 1 s |

A finding over a window is as it was at its worst, in all its fields. The host is
never named before a mistake of the code that is a notice only because of it.

A rule that needs a longer time than was observed is listed as not judged: its
silence means nothing.
";

/// What a rule means, as text for the terminal.
pub fn explain(rule: &Rule) -> String {
    let Rule {
        id,
        summary,
        meaning,
        threshold,
        evidence,
        remedy,
        ..
    } = rule;
    format!(
        "{id}: {summary}\n\n{meaning}\n\nFires when  {threshold}\nEvidence    {evidence}\nRemedy      {remedy}\n"
    )
}

/// All rules, a line each.
pub fn list() -> String {
    let width = rules::ALL
        .iter()
        .map(|r| r.id.len())
        .max()
        .unwrap_or_default();
    rules::ALL.iter().fold(String::new(), |mut text, rule| {
        let _ = writeln!(text, "{:width$}  {}", rule.id, rule.summary);
        text
    })
}

/// `docs/detection.md`.
pub fn all_rules() -> String {
    let mut text = String::from(
        "# What looptop detects\n\n\
         Generated from the rule registry (`diagnosis/src/diagnose/rules`); `looptop explain RULE`\n\
         prints the same. A test keeps this file current.\n",
    );
    for Rule {
        id,
        summary,
        meaning,
        threshold,
        evidence,
        remedy,
        ..
    } in rules::ALL
    {
        let _ = write!(
            text,
            "\n## `{id}`\n\n{summary}.\n\n{meaning}\n\n\
             - **Fires when** {threshold}\n- **Evidence** {evidence}\n- **Remedy** {remedy}\n"
        );
    }
    text.push_str(SEVERITIES);
    text.push_str("\n## Remedies by case\n\n| case | meaning |\n|---|---|\n");
    for case in [Case::A, Case::B, Case::C] {
        let _ = writeln!(text, "| {case:?} | {} |", case.meaning());
    }
    let _ = write!(
        text,
        "\nCPU work of one poll is heavy (case C) from {} ms.\n\n\
         ## Blocking calls that are recognised\n\n| call | case | remedy |\n|---|---|---|\n",
        HEAVY_CPU.as_millis()
    );
    for (call, advice) in remedy::table() {
        let _ = writeln!(text, "| {call} | {:?} | {} |", advice.case, advice.text);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Set to write the document instead of comparing it.
    const UPDATE: &str = "LOOPTOP_UPDATE_GENERATED";

    #[test]
    fn the_document_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/detection.md");
        if std::env::var_os(UPDATE).is_some() {
            std::fs::write(path, all_rules()).unwrap();
        }
        assert!(
            std::fs::read_to_string(path).unwrap_or_default() == all_rules(),
            "docs/detection.md differs from the registry; run this test with {UPDATE}=1"
        );
    }
}
