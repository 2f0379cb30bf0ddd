//! The starvation lab: a real service that makes every classic mistake of
//! asynchronous programming on demand, under load, and cures it on demand.
//!
//! One file and one line of [`scenarios`] for each mistake. The service runs on
//! an observed runtime; the front, the load, the canary and the outside
//! world run on threads of their own, so that they measure starvation and are
//! not starved. Only `observed` touches the agent.
#![forbid(unsafe_code)]

pub mod bench;
pub mod cli;
pub mod listing;

/// Messages, client and server of the lab's remote control, as generated from
/// `proto/looptop.lab.v1.proto`, which documents every field.
#[allow(missing_docs, clippy::pedantic, clippy::all, unreachable_pub)]
#[rustfmt::skip]
#[path = "generated/looptop.lab.v1.rs"]
pub mod proto;

mod calibrate;
mod control;
mod figures;
mod fixtures;
mod front;
mod lab;
mod load;
mod observed;
mod phase;
mod random;
mod readings;
mod registry;
mod remote;
mod scenario;
mod scenarios;
mod serve;
mod service;
mod snippet;

pub use figures::{Figures, Latency};
pub use lab::{Before, Entry, Status};
pub use readings::Reading;
pub use registry::{Unknown, find, scenarios};
pub use scenario::{At, Cause, Expected, Flavor, Mode, Outside, Place, Scenario};
pub use serve::{DEFAULT_SEED, ServeOptions, serve};
