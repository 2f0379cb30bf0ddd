//! The culprit on a stack, and the frames worth showing.

use std::sync::Arc;

use super::calls::{self, BlockingCall};
use super::{Frame, Origin, name};

/// The code to blame for a stall.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Culprit {
    /// The tidied name, with its crate: `app::report::render`.
    pub function: String,
    /// Source file, as in [`Frame::file`].
    pub file: Option<Arc<str>>,
    /// Line of the call (or of the computation), from 1.
    pub line: Option<u32>,
    /// The blocking call that it makes, if it is a known one.
    pub blocking_call: Option<BlockingCall>,
    /// What of a dependency it called, on the way to where the time goes:
    /// `bcrypt::hash`.
    pub within: Option<String>,
    /// Whose code it is: the user's, or a dependency's where no frame is the
    /// user's.
    pub origin: Origin,
    /// Position of its frame on the stack.
    pub frame: usize,
}

impl Culprit {
    /// `file:line`, or `file`.
    pub fn location(&self) -> Option<String> {
        let file = self.file.as_ref()?;
        Some(match self.line {
            Some(line) => format!("{file}:{line}"),
            None => file.to_string(),
        })
    }
}

/// A line of a folded stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row {
    /// Position of a frame.
    Frame(usize),
    /// That many frames are left out here.
    Hidden(usize),
}

/// The innermost frame of user code; where there is none in a poll, the innermost
/// of a dependency. `frames` are innermost first.
///
/// User code that only drives the runtime (`main` around `block_on`) is not to
/// blame for what runs inside.
pub fn culprit(frames: &[Frame]) -> Option<Culprit> {
    let executor = frames
        .iter()
        .position(|frame| frame.function.as_deref().is_some_and(calls::is_executor));
    let runs_in_poll = |position: usize| match executor {
        // Outside of every executor that is on the stack: it drives them.
        Some(first) => position < first || calls::inside_executor(frames, position),
        None => true,
    };
    let find = |origin: Origin| {
        frames.iter().enumerate().position(|(position, frame)| {
            frame.origin == origin && frame.function.is_some() && runs_in_poll(position)
        })
    };
    // C is the call, or what the call is made of, and nobody's to mend.
    let is_rust = |position: &usize| {
        let function = frames[*position].function.as_deref();
        function.is_some_and(|function| !name::crates(function).is_empty())
    };
    // A stack that does not reach an executor was cut short: the user's frame may
    // lie beyond.
    let of_dependency = || executor.and_then(|_| find(Origin::Dependency).filter(is_rust));
    let position = find(Origin::User).or_else(of_dependency)?;
    let frame = &frames[position];
    // A dependency is itself the call: `rusqlite` is both.
    let reach = match frame.origin {
        Origin::User => position,
        _ => outermost_of_same_origin(frames, position) + 1,
    };
    let blocking_call = calls::blocking_call(frames, reach);
    Some(Culprit {
        function: frame.label(),
        file: frame.file.clone(),
        line: frame.line,
        within: within(frames, position, blocking_call.as_ref()),
        blocking_call,
        origin: frame.origin,
        frame: position,
    })
}

/// The dependency's function that the user's frame at `position` called, as far out
/// as the call; its own innermost ones are of no use to a reader.
fn within(frames: &[Frame], position: usize, call: Option<&BlockingCall>) -> Option<String> {
    if frames[position].origin != Origin::User {
        return None;
    }
    let innermost = call.map_or(0, |call| call.frame.min(position));
    let is_executor = |frame: &Frame| frame.function.as_deref().is_some_and(calls::is_executor);
    let called = frames[innermost..position]
        .iter()
        .rev()
        .take_while(|frame| !is_executor(frame))
        .find(|frame| frame.origin == Origin::Dependency && frame.function.is_some())?;
    Some(called.label())
}

fn outermost_of_same_origin(frames: &[Frame], position: usize) -> usize {
    let same = frames[position..]
        .iter()
        .take_while(|frame| frame.origin == frames[position].origin);
    position + same.count() - 1
}

/// The default view: user code, the blocking call, and one frame around them;
/// what lies between is counted. Without user code, everything.
pub fn fold(frames: &[Frame]) -> Vec<Row> {
    let Some(culprit) = culprit(frames) else {
        return (0..frames.len()).map(Row::Frame).collect();
    };
    let mut shown = vec![false; frames.len()];
    // What the culprit calls, or where its computation is: its next inner frame.
    let call = culprit.blocking_call.as_ref().map(|call| call.frame);
    let call = call.filter(|&call| call < culprit.frame);
    if let Some(inner) = call.or(culprit.frame.checked_sub(1)) {
        shown[inner] = true;
    }
    shown[culprit.frame] = true;
    let mut outermost = culprit.frame;
    for (position, frame) in frames.iter().enumerate() {
        if frame.origin == Origin::User {
            shown[position] = true;
            outermost = outermost.max(position);
        }
    }
    if let Some(context) = shown.get_mut(outermost + 1) {
        *context = true;
    }
    rows(&shown, frames)
}

fn rows(shown: &[bool], frames: &[Frame]) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut hidden = 0;
    let mut last: Option<&Frame> = None;
    for (position, &show) in shown.iter().enumerate() {
        // A closure and the function around it, at the same line, are one to a
        // reader.
        let repeats = last.is_some_and(|last| same_place(last, &frames[position]));
        if !show || repeats {
            hidden += 1;
            continue;
        }
        if hidden > 0 {
            rows.push(Row::Hidden(hidden));
            hidden = 0;
        }
        rows.push(Row::Frame(position));
        last = Some(&frames[position]);
    }
    if hidden > 0 {
        rows.push(Row::Hidden(hidden));
    }
    rows
}

fn same_place(one: &Frame, other: &Frame) -> bool {
    let clean = |frame: &Frame| frame.function.as_deref().map(name::clean);
    one.line.is_some()
        && one.line == other.line
        && one.file == other.file
        && clean(one) == clean(other)
}
