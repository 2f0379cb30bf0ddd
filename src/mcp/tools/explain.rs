//! `explain`: what a rule means.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Answer, Desk, Failure, Kind};
use crate::{diagnose, mcp::answer::Source};

pub(super) struct Explain;

/// What a call may say.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Arguments {
    /// A rule as findings name it, such as `blocked-worker`; without it all are listed.
    rule: Option<String>,
}

/// What rules mean.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Data {
    /// The rule that was asked for, or all, each with its summary alone.
    rules: Vec<Rule>,
}

/// A rule.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(
    clippy::struct_field_names,
    reason = "`rule` is what all answers call it"
)]
struct Rule {
    /// Its id.
    rule: String,
    /// What it is, a few words.
    summary: String,
    /// What it means.
    meaning: Option<String>,
    /// When it fires.
    fires_when: Option<String>,
    /// What it looks at.
    evidence: Option<String>,
    /// What to do.
    remedy: Option<String>,
}

impl Kind for Explain {
    const NAME: &'static str = "explain";
    const TITLE: &'static str = "What a rule means";
    const ABOUT: &'static str = "What a rule of looptop's diagnosis means: when it fires, by what \
        evidence, and what to do about it. Asks no program. Without a rule: the list of all.";
    const SOURCE: Source = Source::Own;
    type Arguments = Arguments;
    type Data = Data;

    async fn call(_: Arc<Desk>, arguments: Arguments) -> Result<Answer<Data>, Failure> {
        explain(arguments.rule.as_deref())
    }
}

fn explain(id: Option<&str>) -> Result<Answer<Data>, Failure> {
    let Some(id) = id else {
        return Ok(Answer {
            text: diagnose::list(),
            data: Data {
                rules: diagnose::rules::ALL.iter().map(summary).collect(),
            },
        });
    };
    let rule = diagnose::find(id).ok_or_else(|| {
        let nearest = diagnose::nearest(id);
        Failure::new(format!(
            "there is no rule '{id}'; did you mean '{nearest}'? `explain` without a rule lists all"
        ))
    })?;
    let some = |text: &str| Some(text.to_owned());
    Ok(Answer {
        text: diagnose::explain(rule),
        data: Data {
            rules: vec![Rule {
                meaning: some(rule.meaning),
                fires_when: some(rule.threshold),
                evidence: some(rule.evidence),
                remedy: some(rule.remedy),
                ..summary(rule)
            }],
        },
    })
}

fn summary(rule: &diagnose::Rule) -> Rule {
    Rule {
        rule: rule.id.to_owned(),
        summary: rule.summary.to_owned(),
        meaning: None,
        fires_when: None,
        evidence: None,
        remedy: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_explained_and_a_misspelt_one_is_named() {
        let one = explain(Some("blocked-worker")).unwrap();
        assert!(one.data.rules[0].remedy.is_some());
        assert!(one.text.starts_with("blocked-worker: "));
        assert_eq!(
            explain(None).unwrap().data.rules.len(),
            diagnose::rules::ALL.len()
        );
        let wrong = explain(Some("blocked-wroker")).unwrap_err().to_string();
        assert!(wrong.contains("did you mean 'blocked-worker'?"), "{wrong}");
    }
}
