//! `targets`: the tokio programs of this machine.

use std::{fmt::Write, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Answer, Desk, Failure, Kind, limit};
use crate::{
    escape::escaped,
    mcp::answer::more,
    source::processes::{At, Lister, Listing, Row},
};

pub(super) struct Targets;

/// What a call may say.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Arguments {
    /// Programs at most (default 20).
    #[schemars(range(min = 1, max = 100))]
    limit: Option<usize>,
}

/// The programs.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Data {
    /// Those that can be attached to first.
    targets: Vec<Program>,
    /// Programs that are left out.
    more_targets: usize,
    /// Programs that were not looked at, as that takes too long; the next call reads on.
    unread: usize,
}

/// A program.
#[derive(Debug, Serialize, JsonSchema)]
struct Program {
    /// What other tools take as `target`; null where it cannot be attached to.
    target: Option<String>,
    /// Why it cannot; null where it can.
    why_not: Option<String>,
    /// Its process.
    pid: u32,
    /// What it calls itself, otherwise the file name of its program.
    name: String,
    /// Its user.
    user: String,
    /// What makes it observable: an agent, console-subscriber, or its tokio, from outside.
    instrument: String,
}

/// Programs where a call does not say how many.
const PROGRAMS: usize = 20;

impl Kind for Targets {
    const NAME: &'static str = "targets";
    const TITLE: &'static str = "Tokio programs of this machine";
    const ABOUT: &'static str = "The tokio programs that run on this machine, and by what `target` \
        other tools attach to each, or why that cannot be done. Needed only where there are \
        several: tools without a target take the only one.";
    type Arguments = Arguments;
    type Data = Data;

    async fn call(_: Arc<Desk>, arguments: Arguments) -> Result<Answer<Data>, Failure> {
        if !cfg!(all(target_os = "linux", not(looptop_elsewhere))) {
            return Err(Failure::new(
                "programs are found by Linux's procfs, which this system does not have; name a \
                 target as HOST:PORT",
            ));
        }
        let listing = Lister::default().list().await;
        Ok(answer(&listing, limit(arguments.limit, PROGRAMS)))
    }
}

fn answer(listing: &Listing, most: usize) -> Answer<Data> {
    let (can, cannot): (Vec<&Row>, Vec<_>) = listing
        .rows
        .iter()
        .partition(|row| matches!(row.at, At::Target(_)));
    let all = can.into_iter().chain(cannot);
    let data = Data {
        targets: all.take(most).map(program).collect(),
        more_targets: listing.rows.len().saturating_sub(most),
        unread: listing.unread,
    };
    Answer {
        text: text(&data),
        data,
    }
}

/// Arguments are left out: they may hold what nobody should read.
fn program(row: &Row) -> Program {
    let at = row.at.to_string();
    let (target, why_not) = match row.at {
        At::Target(_) => (Some(at), None),
        At::Refused(_) | At::Nowhere(_) => (None, Some(at)),
    };
    Program {
        target,
        why_not,
        pid: row.pid,
        name: row.name.clone(),
        user: row.user.clone(),
        instrument: row.instrument.clone(),
    }
}

fn text(data: &Data) -> String {
    let mut text = String::new();
    if data.targets.is_empty() {
        text.push_str("no tokio program runs here, or none that this user may see\n");
    }
    for program in &data.targets {
        let at = match (&program.target, &program.why_not) {
            (Some(target), _) => target.clone(),
            (None, why) => format!("cannot be attached to: {}", why.as_deref().unwrap_or("?")),
        };
        let line = format!(
            "{} ({}, pid {}, user {}): {at}",
            program.name, program.instrument, program.pid, program.user
        );
        let _ = writeln!(text, "{}", escaped(&line));
    }
    text.extend(more(data.more_targets, "program").map(|more| more + "\n"));
    if data.unread > 0 {
        let _ = writeln!(
            text,
            "{} more were not looked at yet: call again",
            data.unread
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_named_by_what_attaches_to_them() {
        let row = |pid, at: At| Row {
            pid,
            name: "shop".into(),
            arguments: "--password=x".into(),
            user: "root".into(),
            instrument: "tokio 1.54.1".into(),
            threads: 3,
            cpu: None,
            at,
        };
        let listing = Listing {
            rows: vec![
                row(7, At::Nowhere("no answer within 1 s".into())),
                row(8, At::Target("pid:8".parse().unwrap())),
                row(9, At::Target("pid:9".parse().unwrap())),
            ],
            unread: 2,
        };
        let answer = answer(&listing, 2);
        let targets: Vec<_> = answer
            .data
            .targets
            .iter()
            .map(|t| t.target.as_deref())
            .collect();
        assert_eq!(targets, [Some("pid:8"), Some("pid:9")]);
        assert_eq!((answer.data.more_targets, answer.data.unread), (1, 2));
        let data = serde_json::to_string(&answer.data).unwrap();
        assert!(!answer.text.contains("password") && !data.contains("password"));
    }
}
