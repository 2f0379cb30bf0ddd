//! `looptop explain`: what a rule means.

use std::process::ExitCode;

use super::print;
use crate::diagnose;

/// Explains the rule, or lists them all.
pub(super) fn run(rule: Option<&str>) -> anyhow::Result<ExitCode> {
    print(explain(rule)?.as_bytes())
}

/// A rule that does not exist, with the nearest one.
#[derive(Debug, thiserror::Error)]
#[error("there is no rule '{id}'; did you mean '{nearest}'? `looptop explain` lists them all")]
pub(super) struct UnknownRule {
    id: String,
    nearest: &'static str,
}

fn explain(id: Option<&str>) -> Result<String, UnknownRule> {
    let Some(id) = id else {
        return Ok(diagnose::list());
    };
    diagnose::find(id)
        .map(diagnose::explain)
        .ok_or_else(|| UnknownRule {
            id: id.to_owned(),
            nearest: diagnose::nearest(id),
        })
}
