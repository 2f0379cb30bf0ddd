//! The starvation lab: a real service that makes every classic mistake of
//! asynchronous programming on demand, under load, and cures it on demand.
//!
//! One file and one line of [`scenarios`] for each mistake. The service runs on
//! an observed runtime; the [front](front), the load, the canary and the outside
//! world run on threads of their own, so that they measure starvation and are
//! not starved. Only `observed` touches the agent.
#![forbid(unsafe_code)]

pub mod cli;
pub mod listing;

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
mod scenario;
mod scenarios;
mod serve;
mod service;
mod snippet;

pub use figures::{Figures, Latency};
pub use lab::{Before, Entry, Status};
pub use readings::Reading;
pub use registry::{Unknown, find, scenarios};
pub use scenario::{At, Cause, Expected, Flavor, Mode, Place, Scenario};
pub use serve::{DEFAULT_SEED, ServeOptions, serve};
