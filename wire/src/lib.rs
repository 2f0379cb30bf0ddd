//! The protocol between looptop and the agent inside the observed application.
//!
//! Messages are Protobuf over gRPC (`looptop.agent.v1`); a recording holds the
//! same messages, and some of its own (`looptop.recording.v1`). The generated code
//! is in [`proto`] and [`recorded`]; the other modules hold what both ends must
//! agree upon beyond the message definitions:
//!
//! - [`histogram`]: the bucket boundaries of log-bucketed durations,
//! - [`intern`]: the sender's side of interned strings and locations,
//! - [`live`]: what a live peer must not send,
//! - [`split`]: how a frame that would be over 1 MiB becomes several,
//! - [`columns`]: reading and writing the task columns,
//! - [`instant`]: instants that may be missing,
//! - `socket` (on Unix): where an agent's socket is, and whether its folder is safe,
//! - `recording` (with the feature of that name): the format of recordings,
//! - `pprof` (likewise): profiles in pprof's format.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod columns;
pub mod histogram;
pub mod instant;
pub mod intern;
pub mod live;
#[cfg(feature = "pprof")]
pub mod pprof;
#[cfg(feature = "recording")]
pub mod recording;
#[cfg(unix)]
pub mod socket;
pub mod split;

/// Messages, client and server as generated from
/// `proto/looptop.agent.v1.proto`, which documents every field.
#[allow(missing_docs, clippy::pedantic, clippy::all, unreachable_pub)]
#[rustfmt::skip]
#[path = "generated/looptop.agent.v1.rs"]
pub mod proto;

/// Messages of recordings alone, as generated from
/// `proto/looptop.recording.v1.proto`, which documents every field.
#[allow(missing_docs, clippy::pedantic, clippy::all, unreachable_pub)]
#[rustfmt::skip]
#[path = "generated/looptop.recording.v1.rs"]
pub mod recorded;

/// The newest protocol revision of this crate.
///
/// It grows when a reader of the older one would misread the newer; additions
/// that readers may skip do not count.
pub const PROTOCOL: u32 = 1;

/// Where an agent listens and a viewer looks, unless another address is given. The same
/// as tokio-console's, so that one port serves both.
pub const DEFAULT_ADDR: &str = "127.0.0.1:6669";

/// No message is larger, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 1 << 20;
