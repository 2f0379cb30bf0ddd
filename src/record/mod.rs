//! Recordings: what a source reported, to be looked at again.
//!
//! `docs/recording.md` describes the file. A recording is a hello and frames,
//! the same normal form that every source yields, in chunks of which each can
//! be read without the others: it begins with a keyframe, see
//! [`Model::keyframe`](crate::model::Model::keyframe).
//!
//! - [`format`]: blocks, checksums, bounds and the version rule,
//! - [`chunk`]: frames to and from one compressed chunk,
//! - [`writer`]: blocks to a file that may be cut anywhere,
//! - [`recorder`]: a source's events become chunks,
//! - [`recording`]: what was opened,
//! - `scan`: its blocks, the index, damage,
//! - [`frames`]: reading from any point on,
//! - `console`: console-subscriber's own recordings, translated,
//! - [`history`]: the same chunks in memory, for the live screen, and as a file,
//! - [`segments`]: a ring of files in a directory,
//! - [`redact`]: leaving names out.

mod console;
pub mod frames;
pub mod history;
pub mod recorder;
pub mod recording;
pub mod redact;
mod scan;
pub mod segments;
mod store;

#[cfg(test)]
mod fields;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod measure;
#[cfg(test)]
pub(crate) mod synthetic;
#[cfg(test)]
mod tests;

pub use looptop_wire::recording::{chunk, format, writer};

pub use frames::{Frames, Step};
pub use history::{Earlier, History, HistoryCopy};
pub use recorder::Recorder;
pub use recording::{Extent, OpenError, Recording};
