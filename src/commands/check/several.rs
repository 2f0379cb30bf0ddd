//! `looptop check` of several targets: all at once, and one report of them.

use std::sync::Arc;

use super::{CheckError, Checked, Found, Looked};
use crate::{
    cli::Check,
    live::several::{Asked, Finder},
    report::{Baseline, Report, Together},
};

/// Observes all of them at once, each on a task of its own.
pub(super) async fn check(
    asked: Asked,
    options: &Check,
    baseline: Option<&Baseline>,
) -> anyhow::Result<Looked> {
    let members = Finder::new(asked).first().await?;
    if members.named.is_empty() {
        let why = "nothing was found on this machine that can be attached to; `looptop ls` lists \
                   the tokio programs that run here, and why not";
        return Err(CheckError::NotAttached(why.to_owned()).into());
    }
    let options = Arc::new(options.clone());
    let running: Vec<_> = members
        .named
        .into_iter()
        .map(|named| {
            let (name, options) = (named.name.clone(), Arc::clone(&options));
            let checked = tokio::spawn(async move { super::check(&name, &options).await });
            (named.name, checked)
        })
        .collect();
    let mut remarks = members.remarks;
    let mut targets: Vec<(String, Result<Report, String>)> = Vec::new();
    for (name, checked) in running {
        let result = match checked.await {
            Ok(Ok(checked)) => Ok(taken(&name, checked, &mut remarks)),
            Ok(Err(error)) => Err(error.to_string()),
            Err(panicked) => Err(format!(
                "looking at it came to an end by a mistake of looptop's: {panicked}; please \
                 report it"
            )),
        };
        targets.push((name, result));
    }
    // Beside whatever was found in others, and in every format.
    remarks.extend(targets.iter().filter_map(|(name, result)| {
        let why = result.as_ref().err()?;
        Some(format!("{name} was not looked at: {why}"))
    }));
    Ok(Looked {
        report: Found::Several(Together::new(targets, baseline)),
        remarks,
    })
}

fn taken(name: &str, checked: Checked, remarks: &mut Vec<String>) -> Report {
    let of_it = checked.remarks.into_iter();
    remarks.extend(of_it.map(|remark| format!("{name}: {remark}")));
    checked.report
}
