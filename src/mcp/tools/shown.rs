//! What several answers have: frames of a stack, times.

use schemars::JsonSchema;
use serde::Serialize;

/// Frames shown of a stack.
pub(super) const FRAMES: usize = 8;

/// A frame of a stack.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Frame {
    /// The function, or module and offset.
    pub(super) function: String,
    /// `file:line`; null where unknown.
    pub(super) location: Option<String>,
}

/// The application's own frames of a stack, innermost first; all kinds where it has none.
pub(super) fn own_frames(
    stack: impl Iterator<Item = (String, Option<String>, bool)> + Clone,
) -> Vec<Frame> {
    let frame = |(function, location, _)| Frame { function, location };
    let own = stack.clone().filter(|(_, _, plumbing)| !plumbing);
    let own: Vec<Frame> = own.take(FRAMES).map(frame).collect();
    if own.is_empty() {
        stack.take(FRAMES).map(frame).collect()
    } else {
        own
    }
}

/// To a thousandth: more would only fill the answer.
pub(super) fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// A function and its place in a line.
pub(super) fn place(function: &str, location: Option<&str>) -> String {
    crate::model::with_place(function, location.unwrap_or_default())
}
