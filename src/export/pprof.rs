//! Stalls as a profile for `go tool pprof` and others: how many, for how long, by stack,
//! with cause, task, thread and worker as labels. `looptop_wire::pprof` is the encoder.

use std::{
    io::{self, Write},
    time::Duration,
};

use looptop_wire::pprof::{Builder, Frame, Label, Measure};

use super::{
    folded::Unseen,
    walk::{Address, StallRow, Walked, walk},
};
use crate::{escape::escaped, model::StackFrame, record::Recording};

/// Writes the profile of a recording. What found no room in it is among what the walk has
/// left out.
pub fn write(recording: &Recording, out: &mut impl Write) -> io::Result<Walked> {
    let mut walked = walk(recording, &mut Unseen)?;
    let mut builder = Builder::new(&[
        Measure::new("stalls", "count"),
        Measure::new("blocked", "nanoseconds"),
    ]);
    if let Some(first) = recording.sessions().first() {
        let began = first.unix_ns().unwrap_or_default();
        let length = nanos(recording.length());
        builder.time(i64::try_from(began).unwrap_or_default(), length);
        builder.comment(&format!(
            "looptop: stalls of {}",
            escaped(&first.hello.name)
        ));
    }
    for stall in &walked.stalls {
        add(&mut builder, stall);
    }
    walked.stalls_left_out += builder.left_out();
    out.write_all(&builder.finish())?;
    Ok(walked)
}

fn add(builder: &mut Builder, stall: &StallRow) {
    let named = stall.stack.as_ref().map_or(&[][..], |stack| &stack.frames);
    let shown: Vec<_> = named
        .iter()
        .map(|frame| (escaped(&frame.function), escaped(&frame.file), frame.line))
        .collect();
    // Names are looked up already, whichever library each is of.
    let program = builder.module(&stall.program.path, &stall.program.build_id);
    let mut frames: Vec<Frame<'_>> = Vec::new();
    for (frame, (function, file, line)) in named.iter().zip(&shown) {
        frames.push(match nameless(frame, stall) {
            Some(address) => of_address(builder, address),
            None => Frame::named(function, file, *line).within(program),
        });
    }
    if frames.is_empty() {
        for address in &stall.addresses {
            frames.push(of_address(builder, address));
        }
    }
    // A profile is of stacks: one that was not seen has its cause in its place.
    let cause = format!("[{}]", stall.cause_word());
    if frames.is_empty() {
        frames.push(Frame::named(&cause, "", 0).within(program));
    }
    let task = match (stall.task.as_str(), stall.spawned_at.as_str()) {
        ("", place) => escaped(place),
        (name, _) => escaped(name),
    };
    let thread = stall.tid.map(|tid| tid.to_string()).unwrap_or_default();
    let worker = stall
        .worker
        .map(|worker| format!("{}.{}", worker.runtime, worker.index));
    let labels = [
        Label::new("cause", stall.cause_word()),
        Label::new("task", &task),
        Label::new("thread", &thread),
        Label::new("worker", worker.as_deref().unwrap_or_default()),
    ];
    builder.sample(&frames, &[1, nanos(stall.duration)], &labels);
}

/// The address of a frame that has no name but that.
fn nameless<'a>(frame: &StackFrame, stall: &'a StallRow) -> Option<&'a Address> {
    if !frame.file.is_empty() || !frame.function.contains("+0x") {
        return None;
    }
    let mut addresses = stall.addresses.iter();
    addresses.find(|address| address.to_string() == frame.function)
}

fn of_address<'a>(builder: &mut Builder, address: &Address) -> Frame<'a> {
    let module = builder.module(&address.binary.path, &address.binary.build_id);
    Frame::address(address.offset).within(module)
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
