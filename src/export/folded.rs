//! Stacks of stalls as `a;b;c microseconds`, for flame graphs.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::Duration,
};

use super::walk::{StallRow, Visitor, Walked, walk};
use crate::{escape::escaped, model::Model, record::Recording};

/// Writes the stalls of a recording, equal stacks as one line. Stacks begin with
/// the application and the task, and end with the innermost function; a stall
/// without a stack ends with its cause in brackets.
pub fn write(recording: &Recording, out: &mut impl Write) -> io::Result<Walked> {
    let walked = walk(recording, &mut Unseen)?;
    let mut lines = BTreeMap::<String, Duration>::new();
    for stall in &walked.stalls {
        *lines.entry(line(stall)).or_default() += stall.duration;
    }
    for (stack, time) in lines {
        writeln!(out, "{stack} {}", time.as_micros())?;
    }
    Ok(walked)
}

fn line(stall: &StallRow) -> String {
    let task = match (stall.task.as_str(), stall.spawned_at.as_str()) {
        ("", "") => "(unnamed task)",
        ("", place) => place,
        (name, _) => name,
    };
    let mut frames = vec![part(&stall.process), part(task)];
    let functions = stall.functions();
    if functions.is_empty() {
        frames.push(format!("[{}]", stall.cause_word()));
    }
    frames.extend(functions.iter().rev().map(|f| part(f)));
    frames.join(";")
}

/// A frame without what the format itself uses.
fn part(name: &str) -> String {
    match name {
        "" => "(unknown)".to_owned(),
        name => escaped(name).replace(';', ":"),
    }
}

/// Stalls are all that is wanted.
pub(super) struct Unseen;

impl Visitor for Unseen {
    fn session(&mut self, _: Duration, _: &Model, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn frame(&mut self, _: Duration, _: &Model, _: &looptop_wire::proto::Frame) -> io::Result<()> {
        Ok(())
    }
}
