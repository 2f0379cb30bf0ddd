//! The recording format: the same messages in a file, in chunks that can be read
//! alone. `docs/recording.md` describes it.
//!
//! - [`format`]: bytes and bounds,
//! - [`chunk`]: frames to and from one compressed chunk,
//! - [`private`]: files for their owner alone,
//! - [`ring`]: chunks in memory, of which the oldest goes,
//! - [`writer`]: blocks to a file.

pub mod chunk;
pub mod format;
pub mod private;
pub mod ring;
pub mod writer;
